"""Large responses, decoded row by row: the same result, but equal rows are one object."""

from __future__ import annotations

import json
from collections.abc import Generator
from decimal import Decimal
from itertools import count
from typing import Any

import msgspec
import pytest

from binance_pm.api.account import UmAccount, UmPosition
from binance_pm.rows import SMALLEST, are_rows
from binance_pm.wire import Model, decoder
from tests.benchmarks.answering import body_of


def positions(*amounts: str) -> bytes:
    """Return a large body with positions of these amounts."""
    whole = json.loads(body_of("realistic"))
    whole["positions"] = [
        {**whole["positions"][0], "symbol": f"S{place}USDT", "positionAmt": amount}
        for place, amount in enumerate([*amounts, *["0.00000000"] * 50])
    ]
    body = json.dumps(whole, separators=(",", ":")).encode()
    assert len(body) >= SMALLEST
    return body


def test_repeated_rows_are_the_same_objects() -> None:
    """Equal bytes are decoded once, and keep their place."""
    decode = decoder(UmAccount)
    first = decode(positions("1", "2", "3"))

    second = decode(positions("1", "5", "3"))

    assert second == msgspec.json.decode(positions("1", "5", "3"), type=UmAccount)
    same = [before is after for before, after in zip(first.positions, second.positions, strict=True)]
    assert same == [True, False, *[True] * (len(same) - 2)]
    assert str(second.positions[-1].position_amt) == "0.00000000"


def test_another_account_has_its_own_lists() -> None:
    """Changing a list of one response changes no other."""
    decode = decoder(UmAccount)
    first = decode(positions("1"))
    first.positions.clear()

    assert len(decode(positions("1")).positions) == 51


@pytest.mark.parametrize("bad", ['"1_0"', '"NaN"', "null", "[]", '"1e999"'])
def test_an_error_names_the_row_in_the_whole_response(bad: str) -> None:
    """Whatever rows were decoded before."""
    decode = decoder(UmAccount)
    decode(positions("1", "2", "3"))
    body = positions("1", "2", "3").replace(b'"positionAmt":"3"', f'"positionAmt":{bad}'.encode())

    for _ in range(2):
        with pytest.raises(ValueError, match=r"`\$\.positions\[2\]\.positionAmt`$"):
            decode(body)


@pytest.mark.parametrize("body", [b"[]", b"{}", b'{"assets":null,"positions":[]}', b'{"assets":[],"positions":{}}'])
def test_another_shape_is_refused(body: bytes) -> None:
    """Large and small bodies of another shape give the same error."""
    with pytest.raises(ValueError, match=r"`\$"):
        decoder(UmAccount)(body + b" " * SMALLEST)


def test_memory_is_bounded_although_rows_always_change() -> None:
    """New rows are not kept forever."""
    decode = decoder(UmAccount)
    for number in range(400):
        amounts = [f"{number}.{place}" for place in range(100)]

        read = decode(positions(*amounts))

        assert [one.position_amt for one in read.positions[:100]] == list(map(Decimal, amounts))


class Mutable(msgspec.Struct):
    """A row that could be changed by one of its users."""

    amount: Decimal


class Beside(Model, frozen=True):
    """Rows and another field."""

    rows: list[UmPosition]
    total: Decimal


class Optional(Model, frozen=True):
    """Rows that may be missing."""

    rows: list[UmPosition] | None = None


class OfMutable(Model, frozen=True):
    """Rows that cannot be shared."""

    rows: list[Mutable]


@pytest.mark.parametrize("kind", [Beside, Optional, OfMutable, list[UmPosition], dict[str, UmPosition], Mutable])
def test_only_lists_of_frozen_rows_are_shared(kind: Any) -> None:
    """Every other type is decoded as a whole."""
    assert not are_rows(msgspec.inspect.type_info(kind))
    assert are_rows(msgspec.inspect.type_info(UmAccount))


def test_a_large_response_is_decoded_in_steps() -> None:
    """Other tasks can run between the steps, whether the rows are looked up or the body is decoded as a whole."""
    decode = decoder(UmAccount)
    for number in range(4):
        body = positions(*[f"{number}.{place}" for place in range(600)])

        steps, end = run_steps(decode.steps(body))

        assert steps >= 2
        assert end == msgspec.json.decode(body, type=UmAccount)


def run_steps(steps: Generator[None, None, UmAccount]) -> tuple[int, UmAccount]:
    """Return how many steps there were, and the result."""
    for number in count():
        try:
            next(steps)
        except StopIteration as end:
            return number, end.value
    raise AssertionError
