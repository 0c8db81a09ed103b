"""Values that the exchange adds later are kept."""

from __future__ import annotations

import copy
import pickle

import msgspec
import pytest

from binance_pm import AccountStatus, AccountType, PositionSide
from binance_pm.enums import OpenEnum

ENUMS = [AccountStatus, AccountType, PositionSide]


def test_the_values_are_the_exchanges() -> None:
    """The known values are those of the exchange's documents, in their order."""
    assert [[member.value for member in enum] for enum in ENUMS] == [
        [
            "NORMAL",
            "MARGIN_CALL",
            "SUPPLY_MARGIN",
            "REDUCE_ONLY",
            "ACTIVE_LIQUIDATION",
            "FORCE_LIQUIDATION",
            "BANKRUPTED",
        ],
        ["PM_1", "PM_2", "PM_3"],
        ["BOTH", "LONG", "SHORT"],
    ]


@pytest.mark.parametrize("enum", ENUMS)
@pytest.mark.parametrize("value", ["NEW_STATE", "", "normal", "中", "is_known"])
def test_an_unknown_value_is_kept(enum: type[OpenEnum], value: str) -> None:
    """An unknown value is a member whose text, repr and name come from its value."""
    member = enum(value)

    assert type(member) is enum
    assert (member, str(member), f"{member}", member.value, member.name) == (value,) * 5
    assert (member.is_known, next(iter(enum)).is_known, member in list(enum)) == (False, True, False)
    assert member != enum("OTHER")


@pytest.mark.parametrize("member", [AccountStatus("NEW_STATE"), AccountStatus.NORMAL])
def test_equal_values_are_equal_members(member: AccountStatus) -> None:
    """Members are equal by their text, and hash so that either finds the other in a dict."""
    assert member == AccountStatus(str(member)) == str(member)
    assert {str(member): 1}[member] == {member: 1}[AccountStatus(str(member))] == 1


@pytest.mark.parametrize("value", ["NORMAL", "NEW_STATE"])
def test_a_value_survives_pickling_and_copying(value: str) -> None:
    """A member is the same in another process."""
    member = AccountStatus(value)
    copies = [pickle.loads(pickle.dumps(member)), copy.copy(member), copy.deepcopy(member)]

    assert [(type(made), made, made.is_known) for made in copies] == [(AccountStatus, value, member.is_known)] * 3


@pytest.mark.parametrize("value", [None, 1, 1.5, b"NORMAL", ("NORMAL",)])
def test_a_value_that_is_not_text_is_refused(value: object) -> None:
    """Only text can be a value."""
    with pytest.raises(ValueError, match="AccountStatus"):
        AccountStatus(value)


@pytest.mark.parametrize("value", ["NORMAL", "NEW_STATE", ""])
def test_msgspec_reads_and_writes_it(value: str) -> None:
    """A response with an unknown value is decoded, and encoded unchanged."""
    body = msgspec.json.encode([value])

    read = msgspec.json.decode(body, type=list[AccountStatus])

    assert (read, type(read[0]), msgspec.json.encode(read)) == ([value], AccountStatus, body)


@pytest.mark.parametrize("body", [b"5", b"null", b"[]", b"true"])
def test_msgspec_refuses_a_value_that_is_not_text(body: bytes) -> None:
    """A number instead of a value is an error."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(body, type=AccountStatus)
