"""What the endpoints of USD-M and COIN-M futures refuse before a request is sent."""

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
    "quantity": "1",
    "price": "98450.1",
    "time_in_force": "GTC",
}
MARKET: Arguments = {"symbol": "BTCUSDT", "side": "SELL", "type": "MARKET", "quantity": Decimal("1.00")}
CHANGE: Arguments = {"symbol": "BTCUSDT", "side": "BUY", "quantity": "1", "price": 2, "order_id": 1}
ORDER: Arguments = {"symbol": "BTCUSDT", "order_id": 1}
SYMBOL: Arguments = {"symbol": "BTCUSDT"}

HEDGE: Arguments = {"dual_side_position": True}

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
    ("set_leverage", {"symbol": "BTCUSDT", "leverage": 1}, {"leverage": 0}, "leverage", {"leverage": 150}),
    ("set_leverage", {"symbol": "BTCUSDT", "leverage": 1}, {"leverage": "5"}, "leverage", {"leverage": 5}),
    ("set_position_mode", HEDGE, {"dual_side_position": "true"}, "dual_side_position", {"dual_side_position": False}),
    ("income", {}, {"income_type": "FEES"}, "income_type", {"income_type": "FUNDING_FEE"}),
    ("income", {}, {"start_time": 2, "end_time": 1}, "start_time end_time", {"start_time": 1, "end_time": 2}),
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

UM_DOWNLOADS: list[Row] = [
    (name, {"start_time": NOW, "end_time": NOW}, refused, "start_time end_time", {"end_time": NOW + 365 * DAY})
    for name in ("trade_download_id", "order_download_id", "income_download_id")
    for refused in ({"end_time": NOW - 1}, {"end_time": NOW + 367 * DAY})
]

STOP: Arguments = {
    "algo_type": "CONDITIONAL",
    "symbol": "BTCUSDT",
    "side": "SELL",
    "type": "STOP",
    "quantity": "0.01",
    "price": "90000",
    "trigger_price": "91000",
}
STOP_MARKET = {name: value for name, value in STOP.items() if name != "price"} | {"type": "STOP_MARKET"}
TRAILING: Arguments = {
    "algo_type": "CONDITIONAL",
    "symbol": "BTCUSDT",
    "side": "SELL",
    "type": "TRAILING_STOP_MARKET",
    "quantity": 1,
    "callback_rate": "0.1",
}
CLOSING = {name: value for name, value in STOP_MARKET.items() if name != "quantity"} | {"close_position": True}
ALGO: Arguments = {"algo_id": 1}

UM_ALGO: list[Row] = [
    ("new_algo_order", STOP, {"algo_type": "VP"}, "algo_type", {"type": "TAKE_PROFIT"}),
    ("new_algo_order", STOP, {"type": "LIMIT"}, "type", {"working_type": "MARK_PRICE"}),
    ("new_algo_order", STOP, {"working_type": "INDEX"}, "working_type", {"price_protect": True}),
    ("new_algo_order", STOP, {"quantity": None}, "quantity", {}),
    ("new_algo_order", STOP, {"price": None}, "price price_match", {"price": None, "price_match": "QUEUE"}),
    ("new_algo_order", STOP, {"price_match": "QUEUE"}, "price price_match", {"time_in_force": "GTX"}),
    ("new_algo_order", STOP, {"trigger_price": None}, "trigger_price", {}),
    ("new_algo_order", STOP, {"close_position": True}, "close_position", {"close_position": False}),
    ("new_algo_order", STOP, {"callback_rate": 1}, "callback_rate", {}),
    ("new_algo_order", STOP, {"good_till_date": NOW}, "good_till_date", {"reduce_only": True}),
    (
        "new_algo_order",
        STOP,
        {"time_in_force": "GTD"},
        "good_till_date",
        {"time_in_force": "GTD", "good_till_date": NOW},
    ),
    ("new_algo_order", STOP, {"reduce_only": True, "position_side": "SHORT"}, "reduce_only position_side", {}),
    ("new_algo_order", STOP, {"client_algo_id": "x" * 37}, "client_algo_id", {"client_algo_id": "x" * 36}),
    ("new_algo_order", STOP, {"client_algo_id": "autoclose-1"}, "client_algo_id", {"client_algo_id": "a-autoclose-"}),
    ("new_algo_order", STOP_MARKET, {"price": 1}, "price", {"type": "TAKE_PROFIT_MARKET"}),
    ("new_algo_order", STOP_MARKET, {"time_in_force": "GTC"}, "time_in_force", {}),
    ("new_algo_order", STOP_MARKET, {"quantity": None}, "quantity close_position", {"close_position": False}),
    ("new_algo_order", CLOSING, {"quantity": 1}, "quantity close_position", {}),
    ("new_algo_order", CLOSING, {"close_position": False}, "quantity close_position", {}),
    ("new_algo_order", CLOSING, {"reduce_only": True}, "close_position reduce_only", {}),
    ("new_algo_order", CLOSING, {"position_side": "SHORT"}, "close_position position_side", {"position_side": "LONG"}),
    (
        "new_algo_order",
        CLOSING,
        {"side": "BUY", "position_side": "LONG"},
        "close_position position_side",
        {"side": "BUY", "position_side": "SHORT"},
    ),
    ("new_algo_order", TRAILING, {"callback_rate": None}, "callback_rate", {"activate_price": 1}),
    ("new_algo_order", TRAILING, {"callback_rate": "0.09"}, "callback_rate", {}),
    ("new_algo_order", TRAILING, {"callback_rate": "20.1"}, "callback_rate", {"callback_rate": 20}),
    ("new_algo_order", TRAILING, {"trigger_price": 1}, "trigger_price", {}),
    ("new_algo_order", TRAILING, {"close_position": True}, "close_position", {}),
    ("cancel_algo_order", ALGO, {"algo_id": None}, "algo_id client_algo_id", {"client_algo_id": "a"}),
    ("algo_order", ALGO, {"algo_id": None}, "algo_id client_algo_id", {"client_algo_id": "a", "algo_id": None}),
    ("cancel_all_algo_orders", SYMBOL, {"symbol": ""}, "symbol", {}),
    (
        "all_algo_orders",
        SYMBOL,
        {"start_time": NOW, "end_time": NOW + WEEK},
        "start_time end_time",
        {"start_time": NOW, "end_time": NOW + WEEK - 1},
    ),
]

CM: list[Row] = [
    (
        "income",
        {},
        {"start_time": NOW, "end_time": NOW + 201 * DAY},
        "start_time end_time",
        {"start_time": NOW, "end_time": NOW + 200 * DAY},
    ),
    ("new_order", LIMIT, {"quantity": "1.5"}, "quantity", {"quantity": "2.0"}),
    ("new_order", LIMIT, {"time_in_force": "GTD"}, "time_in_force", {"time_in_force": "GTX"}),
    ("modify_order", CHANGE, {"quantity": "1.5"}, "quantity", {"quantity": 2}),
    ("all_orders", SYMBOL, {"symbol": None}, "symbol pair", {"symbol": None, "pair": "BTCUSD"}),
    ("all_orders", SYMBOL, {"pair": "BTCUSD"}, "symbol pair", {"order_id": 1}),
    ("all_orders", SYMBOL, {"start_time": 2, "end_time": 1}, "start_time end_time", {"start_time": 1, "end_time": NOW}),
    ("trades", SYMBOL, {"symbol": None}, "symbol pair", {"symbol": None, "pair": "BTCUSD"}),
    ("trades", SYMBOL, {"pair": "BTCUSD"}, "symbol pair", {"from_id": 1}),
    ("trades", SYMBOL, {"symbol": None, "pair": "BTCUSD", "from_id": 1}, "from_id pair", {"from_id": 0}),
    ("trades", SYMBOL, {"from_id": 1, "start_time": 1}, "from_id start_time", {"start_time": 1}),
    ("trades", SYMBOL, {"from_id": 1, "end_time": 1}, "from_id end_time", {"end_time": 1}),
    (
        "trades",
        SYMBOL,
        {"start_time": NOW, "end_time": NOW + DAY + 1},
        "start_time end_time",
        {"start_time": NOW, "end_time": NOW + DAY},
    ),
]

CM_STOP: Arguments = {
    "symbol": "BTCUSD_PERP",
    "side": "SELL",
    "strategy_type": "STOP",
    "quantity": 10,
    "price": "90000",
    "stop_price": "91000",
}
CM_MARKET = {name: value for name, value in CM_STOP.items() if name != "price"} | {"strategy_type": "STOP_MARKET"}
CM_TRAILING: Arguments = {
    "symbol": "BTCUSD_PERP",
    "side": "SELL",
    "strategy_type": "TRAILING_STOP_MARKET",
    "quantity": 1,
    "callback_rate": "0.1",
}
STRATEGY: Arguments = {"symbol": "BTCUSD_PERP", "strategy_id": 1}
BY_CLIENT = {"strategy_id": None, "new_client_strategy_id": "a"}

CM_CONDITIONAL: list[Row] = [
    ("new_conditional_order", CM_STOP, {"strategy_type": "LIMIT"}, "strategy_type", {"strategy_type": "TAKE_PROFIT"}),
    ("new_conditional_order", CM_STOP, {"quantity": None}, "quantity", {}),
    ("new_conditional_order", CM_STOP, {"quantity": "0.5"}, "quantity", {"quantity": "5"}),
    ("new_conditional_order", CM_STOP, {"price": None}, "price", {"time_in_force": "GTX"}),
    ("new_conditional_order", CM_STOP, {"stop_price": None}, "stop_price", {}),
    ("new_conditional_order", CM_STOP, {"time_in_force": "GTD"}, "time_in_force", {}),
    ("new_conditional_order", CM_STOP, {"callback_rate": 1}, "callback_rate", {}),
    ("new_conditional_order", CM_STOP, {"working_type": "INDEX"}, "working_type", {"working_type": "MARK_PRICE"}),
    (
        "new_conditional_order",
        CM_STOP,
        {"reduce_only": True, "position_side": "SHORT"},
        "reduce_only position_side",
        {"position_side": "SHORT"},
    ),
    (
        "new_conditional_order",
        CM_STOP,
        {"new_client_strategy_id": "x" * 37},
        "new_client_strategy_id",
        {"new_client_strategy_id": "x" * 36},
    ),
    ("new_conditional_order", CM_MARKET, {"price": 1}, "price", {"strategy_type": "TAKE_PROFIT_MARKET"}),
    ("new_conditional_order", CM_MARKET, {"quantity": None}, "quantity", {}),
    ("new_conditional_order", CM_MARKET, {"time_in_force": "GTC"}, "time_in_force", {}),
    ("new_conditional_order", CM_MARKET, {"activation_price": 1}, "activation_price", {}),
    ("new_conditional_order", CM_TRAILING, {"callback_rate": None}, "callback_rate", {"activation_price": 1}),
    ("new_conditional_order", CM_TRAILING, {"callback_rate": "5.1"}, "callback_rate", {"callback_rate": 5}),
    ("new_conditional_order", CM_TRAILING, {"callback_rate": "0.09"}, "callback_rate", {}),
    ("new_conditional_order", CM_TRAILING, {"stop_price": 1}, "stop_price", {}),
    *(
        (name, STRATEGY, {"strategy_id": None}, "strategy_id new_client_strategy_id", BY_CLIENT)
        for name in ("cancel_conditional_order", "open_conditional_order", "conditional_order_history")
    ),
    ("cancel_all_conditional_orders", SYMBOL, {"symbol": ""}, "symbol", {}),
    (
        "all_conditional_orders",
        {},
        {"start_time": NOW, "end_time": NOW + WEEK},
        "start_time end_time",
        {"start_time": NOW, "end_time": NOW + WEEK - 1},
    ),
]

UM_ROWS = [*NEW_ORDER, *CHANGE_AND_QUERIES, *UM, *UM_DOWNLOADS, *UM_ALGO]
CM_ROWS = [*NEW_ORDER, *CHANGE_AND_QUERIES, *CM, *CM_CONDITIONAL]
ROWS = [(f"{prefix}.{name}", *rest) for prefix, rows in [("um", UM_ROWS), ("cm", CM_ROWS)] for name, *rest in rows]


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
