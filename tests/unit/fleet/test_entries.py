"""Entries of a stream can be read back: nothing is lost or renamed."""

from __future__ import annotations

from decimal import Decimal
from typing import get_args

import msgspec
import pytest

from binance_pm import AccountStatus, ConfigurationError
from binance_pm.amounts import plain
from binance_pm.endpoint import ENDPOINTS
from binance_pm.enums import PositionSide
from binance_pm.errors import CallInfo
from binance_pm.fleet import (
    AccountFailed,
    BalanceChanged,
    BudgetTight,
    Change,
    FleetEvent,
    Fresh,
    HostBlocked,
    HostUnblocked,
    Missed,
    PositionChanged,
    Reading,
    Stale,
    Started,
    StatusChanged,
    StreamEvent,
    ThresholdCrossed,
    TimedResponse,
    decode_event,
)
from binance_pm.fleet.products import PRODUCTS
from binance_pm.fleet.relay.entries import Gap, keys_of
from tests.support.paths import SAMPLES

AT = 1_800_000_000.25


def timed(name: str) -> TimedResponse:
    """Return the sampled response of an endpoint."""
    sample = msgspec.json.decode((SAMPLES / f"{name}.json").read_bytes())
    return TimedResponse(ENDPOINTS[name].decode(msgspec.json.encode(sample["answer"])), AT)


EVENTS: list[StreamEvent] = [
    Reading(
        at=AT,
        label="desk-1",
        responses={name: timed(name) for product in PRODUCTS.values() for name in product.read},
        changed={
            "uni_mmr": Change(None, Decimal("1.50")),
            "account_equity": Change(Decimal("1E+3"), Decimal("-0.00000001")),
            "account_status": Change(AccountStatus.NORMAL, AccountStatus("FROZEN")),
            "unrealized_profit": Change(plain(Decimal("0.00000000")), None),
        },
    ),
    PositionChanged(
        at=AT,
        label="desk-1",
        market="um",
        symbol="BTCUSDT",
        position_side=PositionSide.LONG,
        position_amt=Decimal("-0.010"),
        entry_price=Decimal("60000.1"),
    ),
    BalanceChanged(at=AT, label="desk-1", market="cm", asset="BTC", wallet_balance=plain(Decimal("0.00000001"))),
    StatusChanged(at=AT, label="desk-1", before=AccountStatus.NORMAL, after=AccountStatus("FROZEN")),
    ThresholdCrossed(at=AT, label="ü", name="warn", threshold=Decimal("1.5"), below=True, uni_mmr=Decimal("1.49")),
    Stale(at=AT, label="desk-1", age=None, max_age=6.0, reason="NoResponse"),
    Fresh(at=AT, label="desk-1", age=0.25),
    AccountFailed(at=AT, label="desk-1", endpoint="account", error="e", error_type="NoResponse", retry_at=None),
    HostBlocked(at=AT, origin="https://papi.binance.com", until=AT + 60, banned=False),
    HostUnblocked(at=AT, origin="https://papi.binance.com"),
    BudgetTight(at=AT, pool="IP /papi", wanted=2.0, available=1.0, interval=30.0, is_tight=True),
    Started(at=AT, shard="1/2", since=None, previous_run=None, previous_number=0),
    Gap(at=AT, shard="1/2", readings=1, events=2, vanished=3, since=AT - 1, until=AT),
    Missed(at=AT, shard="1/2", entries=7),
]


def test_every_event_is_tested() -> None:
    """A new event has to be added to these tests; no event can be changed."""
    assert {type(event) for event in EVENTS} == {*get_args(FleetEvent), Started, Gap, Missed}
    assert all(event.__struct_config__.frozen for event in EVENTS)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_event_is_read_back_unchanged(event: StreamEvent) -> None:
    """Its class, its amounts to the digit, and the types of its responses."""
    text = msgspec.json.encode(event)
    back = decode_event(text)

    assert back == event
    assert msgspec.json.encode(back) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[" * 100_000,
        '{"type":"Tomorrow","at":1.0}',
        '{"type":"Fresh","at":1.0}',
        '{"type":"Reading","at":1.0,"label":"a","responses":{"nope":{"response":{},"at":1.0}},"changed":{}}',
        '{"type":"Reading","at":1.0,"label":"a","responses":{"account":{"response":{},"at":1.0}},"changed":{}}',
        '{"type":"Reading","at":1.0,"label":"a","responses":{},"changed":{"uni_mmr":["x",null]}}',
    ],
)
def test_an_invalid_entry_is_refused(text: str) -> None:
    """With one kind of error, whatever is wrong."""
    with pytest.raises(ValueError, match=r"."):
        decode_event(text)


def test_an_unknown_field_is_ignored() -> None:
    """A newer version may have written the field."""
    assert decode_event('{"type":"Fresh","at":1.0,"label":"a","age":0.5,"new":1}') == Fresh(at=1.0, label="a", age=0.5)


@pytest.mark.parametrize("name", ["", "a b", "a{b", "a\nb", "x" * 65])
def test_names_that_change_the_key_are_refused(name: str) -> None:
    """A brace would put the keys on different nodes of a cluster."""
    with pytest.raises(ConfigurationError):
        keys_of(name, "g", CallInfo("x"))
    with pytest.raises(ConfigurationError):
        keys_of("s", name, CallInfo("x"))
