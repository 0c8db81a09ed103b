"""What new orders, changes and queries of USD-M and COIN-M futures refuse before they are sent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal

import pytest

from binance_pm import ENDPOINTS
from tests.support.sample import sample_of

WEEK = 7 * 24 * 3600 * 1000
DAY = WEEK // 7
NOW = 1_795_910_400_000

Arguments = Mapping[str, object]
Change = Mapping[str, object]
"""Arguments that differ from a valid call; None leaves an argument out."""

LIMIT: Arguments = {
    "symbol": "BTCUSDT",
    "side": "BUY",
    "type": "LIMIT",
    "quantity": "0.01",
    "price": "98450.1",
    "time_in_force": "GTC",
}
MARKET: Arguments = {"symbol": "BTCUSDT", "side": "SELL", "type": "MARKET", "quantity": Decimal("0.01")}
CHANGE: Arguments = {"symbol": "BTCUSDT", "side": "BUY", "quantity": "1", "price": 2, "order_id": 1}
ORDER: Arguments = {"symbol": "BTCUSDT", "order_id": 1}
SYMBOL: Arguments = {"symbol": "BTCUSDT"}

# An endpoint, a valid call, a change that is refused, the parameters that the text names, a change that is accepted.
Row = tuple[str, Arguments, Change, str, Change]

NEW_ORDER: list[Row] = [
    ("new_order", LIMIT, {"symbol": ""}, "symbol", {"position_side": "LONG"}),
    ("new_order", LIMIT, {"side": "HOLD"}, "side", {"side": "SELL"}),
    ("new_order", LIMIT, {"type": "STOP"}, "type", {"new_order_resp_type": "RESULT"}),
    ("new_order", LIMIT, {"position_side": "NONE"}, "position_side", {"position_side": "SHORT"}),
    ("new_order", LIMIT, {"new_order_resp_type": "FULL"}, "new_order_resp_type", {"new_order_resp_type": "ACK"}),
    ("new_order", LIMIT, {"price_match": "NONE", "price": None}, "price_match", {}),
    ("new_order", LIMIT, {"quantity": None}, "quantity", {}),
    ("new_order", LIMIT, {"quantity": 0}, "quantity", {"quantity": 1}),
    ("new_order", LIMIT, {"quantity": 0.5}, "quantity", {"quantity": "1"}),
    ("new_order", LIMIT, {"price": "-1"}, "price", {"price": Decimal("1e2")}),
    ("new_order", LIMIT, {"price": "1e5"}, "price", {"price": 100_000}),
    ("new_order", LIMIT, {"price": None}, "price price_match", {"price": None, "price_match": "QUEUE_5"}),
    ("new_order", LIMIT, {"price_match": "QUEUE"}, "price price_match", {"price": None, "price_match": "OPPONENT"}),
    ("new_order", LIMIT, {"time_in_force": None}, "time_in_force", {"time_in_force": "GTX"}),
    ("new_order", MARKET, {"price": 1}, "price", {}),
    ("new_order", MARKET, {"price_match": "QUEUE"}, "price_match", {"reduce_only": True}),
    ("new_order", MARKET, {"time_in_force": "IOC"}, "time_in_force", {}),
    ("new_order", MARKET, {"quantity": None}, "quantity", {}),
    (
        "new_order",
        MARKET,
        {"reduce_only": True, "position_side": "LONG"},
        "reduce_only position_side",
        {"reduce_only": True, "position_side": "BOTH"},
    ),
    ("new_order", MARKET, {"reduce_only": "true"}, "reduce_only", {"reduce_only": False}),
    ("new_order", MARKET, {"new_client_order_id": "x" * 33}, "new_client_order_id", {"new_client_order_id": "x" * 32}),
    ("new_order", MARKET, {"new_client_order_id": "web_1"}, "new_client_order_id", {"new_client_order_id": "web1"}),
]

CHANGE_AND_QUERIES: list[Row] = [
    ("modify_order", CHANGE, {"price": None}, "price price_match", {"price": None, "price_match": "QUEUE"}),
    ("modify_order", CHANGE, {"price_match": "QUEUE"}, "price price_match", {"modify_id": 7}),
    ("modify_order", CHANGE, {"order_id": None}, "order_id orig_client_order_id", {"orig_client_order_id": "a"}),
    ("modify_order", CHANGE, {"quantity": "0"}, "quantity", {"order_id": None, "orig_client_order_id": "a"}),
    *(
        (name, ORDER, change, named, {"orig_client_order_id": "a", "order_id": None})
        for name in ("cancel_order", "order", "open_order", "order_amendments")
        for change, named in [
            ({"order_id": None}, "order_id orig_client_order_id"),
            ({"order_id": None, "orig_client_order_id": ""}, "orig_client_order_id"),
        ]
    ),
    ("cancel_all_orders", SYMBOL, {"symbol": ""}, "symbol", {}),
    ("order_amendments", ORDER, {"start_time": 2, "end_time": 1}, "start_time end_time", {"start_time": 1}),
    ("force_orders", {}, {"auto_close_type": "BOTH"}, "auto_close_type", {"auto_close_type": "ADL"}),
    ("force_orders", {}, {"start_time": 2, "end_time": 1}, "start_time end_time", {"end_time": 1}),
]

UM: list[Row] = [
    (
        "new_order",
        LIMIT,
        {"time_in_force": "GTD"},
        "time_in_force good_till_date",
        {"time_in_force": "GTD", "good_till_date": NOW},
    ),
    ("new_order", LIMIT, {"good_till_date": NOW}, "time_in_force good_till_date", {}),
    ("new_order", MARKET, {"good_till_date": NOW}, "good_till_date", {}),
    (
        "new_order",
        LIMIT,
        {"time_in_force": "GTD", "good_till_date": NOW // 1000},
        "good_till_date",
        {"time_in_force": "GTD", "good_till_date": NOW},
    ),
    (
        "new_order",
        LIMIT,
        {"self_trade_prevention_mode": "NONE"},
        "self_trade_prevention_mode",
        {"self_trade_prevention_mode": "EXPIRE_BOTH"},
    ),
    (
        "all_orders",
        SYMBOL,
        {"start_time": NOW, "end_time": NOW + WEEK},
        "start_time end_time",
        {"start_time": NOW, "end_time": NOW + WEEK - 1},
    ),
    (
        "trades",
        SYMBOL,
        {"start_time": NOW, "end_time": NOW + WEEK + 1},
        "start_time end_time",
        {"start_time": NOW, "end_time": NOW + WEEK},
    ),
    ("trades", SYMBOL, {"from_id": 1, "start_time": 1}, "from_id start_time", {"from_id": 1, "limit": 1000}),
    ("trades", SYMBOL, {"from_id": 1, "end_time": 1}, "from_id end_time", {"end_time": 1}),
]

ROWS = [(f"um.{name}", *rest) for name, *rest in [*NEW_ORDER, *CHANGE_AND_QUERIES, *UM]]


@pytest.mark.parametrize(("name", "call", "refused", "named", "accepted"), ROWS)
def test_what_is_refused(name: str, call: Arguments, refused: Change, named: str, accepted: Change) -> None:
    """The text of a refusal names the parameters that break the rule, and a similar call is accepted."""
    check = ENDPOINTS[name].check
    assert check is not None
    for valid in (call, {**call, **accepted}):
        check(without_none(valid))

    with pytest.raises(ValueError, match=r"\w") as error:
        check(without_none({**call, **refused}))

    assert all(re.search(rf"\b{one}\b", str(error.value)) for one in named.split())


def without_none(arguments: Arguments) -> Arguments:
    """Return the arguments as a check gets them."""
    return {name: value for name, value in arguments.items() if value is not None}


@pytest.mark.parametrize("name", [name for name, endpoint in ENDPOINTS.items() if endpoint.check])
def test_no_sample_is_refused(name: str) -> None:
    """Each documented call passes the checks of its endpoint."""
    endpoint, sample = ENDPOINTS[name], sample_of(name)

    assert endpoint.check is not None
    for call in [sample, *sample.get("variants", [])]:
        endpoint.check(call["call"])
