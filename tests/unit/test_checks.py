"""Local checks refuse what the exchange would refuse, and name the parameters."""

from __future__ import annotations

import inspect
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal

import pytest

from binance_pm.api.checks import (
    RESERVED_IDS,
    Shape,
    all_of,
    all_or_none,
    at_least_one,
    at_most_one,
    between,
    client_id,
    exactly_one,
    excludes,
    good_till_date,
    reduce_only,
    shapes,
    time_range,
    whole,
)
from binance_pm.argument_types import type_check
from binance_pm.endpoint import Check
from binance_pm.wire import Amount, Time

BY_TYPE = shapes(
    "type",
    {"LIMIT": Shape(("quantity", "price|price_match"), may_have=("iceberg",)), "MARKET": Shape(("quantity",))},
    source="rules of spot",
)
DAY = timedelta(days=1)
NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)
LATEST = 253_402_300_799_000

# A check, arguments that it refuses, the parameters that the text names, and similar arguments that it accepts.
CASES: list[tuple[Check, dict[str, object], str, dict[str, object]]] = [
    (at_least_one("a", "b", "c"), {"d": 1}, "a b c", {"b": 0}),
    (at_most_one("a", "b", "c"), {"a": 1, "c": 1}, "a c", {"c": 1}),
    (exactly_one("a", "b"), {}, "a b", {"a": 1}),
    (exactly_one("a", "b"), {"a": 1, "b": 1}, "a b", {"b": 1}),
    (all_or_none("a", "b"), {"a": 1}, "a b", {}),
    (all_or_none("a", "b"), {"b": 1}, "a b", {"a": 1, "b": 1}),
    (excludes("a", "b", "c"), {"a": 1, "c": 1}, "a c", {"b": 1, "c": 1}),
    (all_of(at_least_one("a"), at_least_one("b")), {"a": 1}, "b", {"a": 1, "b": 1}),
    (between("rate", "0.1", 20), {"rate": "0.09"}, "rate", {"rate": "0.1"}),
    (between("rate", "0.1", 20), {"rate": Decimal("20.1")}, "rate", {"rate": 20}),
    (between("leverage", 1), {"leverage": 0}, "leverage", {"leverage": 10**9}),
    (whole("quantity"), {"quantity": "1.5"}, "quantity", {"quantity": "2.0"}),
    (client_id("id"), {"id": "x" * 33}, "id", {"id": "x" * 32}),
    (client_id("id", longest=36), {"id": "x" * 37}, "id", {"id": "x" * 36}),
    (client_id("id"), {"id": ""}, "id", {}),
    (client_id("id"), {"id": "a b"}, "id", {"id": "a.b:c/d_e-F"}),
    (client_id("id"), {"id": "aé"}, "id", {"id": "a"}),
    (client_id("id"), {"id": "a\n"}, "id", {"id": "a"}),
    (client_id("id", characters="a-zA-Z0-9_-"), {"id": "a.b"}, "id", {"id": "a_b"}),
    *((client_id("id"), {"id": f"{start}1"}, "id", {"id": f"1{start}"}) for start in RESERVED_IDS),
    (time_range(), {"start_time": 2, "end_time": 1}, "start_time end_time", {"start_time": 1, "end_time": 1}),
    (time_range(DAY), {"start_time": 0, "end_time": 86_400_001}, "start_time end_time", {"start_time": 0}),
    (
        time_range(DAY),
        {"start_time": NOON, "end_time": NOON + DAY + timedelta(milliseconds=1)},
        "start_time end_time",
        {"start_time": NOON, "end_time": NOON + DAY},
    ),
    (time_range(DAY), {"start_time": 1, "end_time": NOON}, "start_time end_time", {"end_time": NOON}),
    (good_till_date, {"time_in_force": "GTD"}, "time_in_force good_till_date", {"time_in_force": "GTC"}),
    (good_till_date, {"good_till_date": LATEST - 1}, "time_in_force good_till_date", {}),
    (
        good_till_date,
        {"time_in_force": "GTD", "good_till_date": LATEST},
        "good_till_date",
        {"time_in_force": "GTD", "good_till_date": LATEST - 1},
    ),
    (
        good_till_date,
        {"time_in_force": "GTD", "good_till_date": 1_795_910_400},
        "good_till_date",
        {"time_in_force": "GTD", "good_till_date": NOON},
    ),
    (
        reduce_only,
        {"reduce_only": True, "position_side": "LONG"},
        "reduce_only position_side",
        {"reduce_only": True, "position_side": "BOTH"},
    ),
    (reduce_only, {"reduce_only": False, "position_side": "SHORT"}, "reduce_only position_side", {"reduce_only": True}),
    (BY_TYPE, {"type": "LIMIT", "price": 1}, "quantity", {"type": "LIMIT", "price": 1, "quantity": 1}),
    (BY_TYPE, {"type": "LIMIT", "quantity": 1}, "price price_match", {"type": "OTHER", "quantity": 1}),
    (
        BY_TYPE,
        {"type": "LIMIT", "quantity": 1, "price": 1, "price_match": "QUEUE"},
        "price price_match",
        {"type": "LIMIT", "quantity": 1, "price_match": "QUEUE", "iceberg": 1},
    ),
    (BY_TYPE, {"type": "MARKET", "quantity": 1, "price": 1}, "price", {"type": "MARKET", "quantity": 1}),
    (
        BY_TYPE,
        {"type": "MARKET", "quantity": 1, "iceberg": 1},
        "iceberg",
        {"type": "MARKET", "quantity": 1, "iceberg": False, "side": "BUY"},
    ),
]


@pytest.mark.parametrize(("check", "refused", "named", "accepted"), CASES)
def test_a_check_names_the_parameters(
    check: Check, refused: dict[str, object], named: str, accepted: dict[str, object]
) -> None:
    """The text of a refusal names the parameters that break the rule, and similar arguments are accepted."""
    with pytest.raises(ValueError, match=r"\w") as error:
        check(refused)

    assert all(re.search(rf"\b{name}\b", str(error.value)) for name in named.split())
    check(accepted)


def test_a_table_names_its_source() -> None:
    """A rule that another page of the exchange documents is marked as such."""
    with pytest.raises(ValueError, match="rules of spot"):
        BY_TYPE({"type": "MARKET"})


def parameters(**annotations: Any) -> dict[str, inspect.Parameter]:
    """Return parameters with these annotations."""
    return {
        name: inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation)
        for name, annotation in annotations.items()
    }


TYPES = type_check(
    parameters(
        side=Literal["BUY", "SELL"],
        force=Literal["GTC"] | None,
        amount=Amount | None,
        symbol=str | None,
        limit=int | None,
        start_time=Time | None,
        reduce_only=bool | None,
        other=object,
    )
)


@pytest.mark.parametrize(
    ("name", "refused", "accepted"),
    [
        ("side", "buy", "BUY"),
        ("side", b"BUY", "SELL"),
        ("force", "GTX", "GTC"),
        ("symbol", "", "BTCUSDT"),
        ("symbol", 5, "BTCUSDT"),
        ("limit", True, 0),
        ("limit", "5", 5),
        ("start_time", NOON.replace(tzinfo=None), NOON),
        ("start_time", "2026-11-29", 0),
        ("start_time", 1.5, 1),
        ("reduce_only", "true", True),
        ("reduce_only", 0, False),
        *(("amount", value, "0.00000001") for value in (0, -1, "0", "0.000", "-1", Decimal(0), Decimal("-0"))),
        *(
            ("amount", value, Decimal("1E-8"))
            for value in ("1e3", "1E-8", "+1", ".5", "5.", " 1", "1_000", "\u0661", "", "NaN")
        ),
        *(("amount", value, 1) for value in (1.0, float("nan"), True, None, b"1", Decimal("NaN"), Decimal("Infinity"))),
        ("amount", "9" * 21, "9" * 20),
    ],
)
def test_the_declared_types_are_checked(name: str, refused: object, accepted: object) -> None:
    """Values of other types or not listed, amounts that are not above 0, and empty texts are refused."""
    assert TYPES is not None
    with pytest.raises(ValueError, match=rf"^{name} "):
        TYPES({name: refused})

    TYPES({name: accepted, "other": "", "undeclared": ""})


def test_other_types_are_not_checked() -> None:
    """Without a type that can be checked, there is no check."""
    assert type_check(parameters(other=object, either=list[str] | None)) is None
