"""For the sections about arguments that are refused before a call is sent."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from binance_pm import ENDPOINTS

LIMIT = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "quantity": 1, "price": 1, "time_in_force": "GTC"}
MARKET = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": 1}
CLOSING = {
    "algo_type": "CONDITIONAL",
    "symbol": "BTCUSDT",
    "side": "BUY",
    "type": "STOP_MARKET",
    "trigger_price": 1,
    "close_position": True,
}
OCO = {"symbol": "LTCBTC", "side": "BUY", "quantity": 1, "price": 1, "stop_price": 2}
WEEK = {"start_time": 1, "end_time": 8 * 24 * 3600 * 1000}

CALLS: list[tuple[str, Mapping[str, object]]] = [
    ("um.new_order", {**LIMIT, "side": "HOLD"}),
    ("um.new_order", {**LIMIT, "symbol": ""}),
    ("um.new_order", {**LIMIT, "symbol": 5}),
    ("um.new_order", {**LIMIT, "quantity": 0}),
    ("um.new_order", {**LIMIT, "quantity": 0.5}),
    ("um.new_order", {**LIMIT, "quantity": "1e3"}),
    ("um.new_order", {**LIMIT, "quantity": float("nan")}),
    ("um.new_order", {**LIMIT, "reduce_only": "true"}),
    ("um.new_order", {**LIMIT, "price_match": "QUEUE"}),
    ("um.new_order", {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "quantity": 1}),
    ("um.new_order", {**MARKET, "price": 1, "time_in_force": "GTC"}),
    ("um.new_order", {**MARKET, "reduce_only": True, "position_side": "LONG"}),
    ("um.new_order", {**LIMIT, "new_client_order_id": "a b"}),
    ("um.new_order", {**LIMIT, "new_client_order_id": "web_1"}),
    ("um.new_order", {**LIMIT, "time_in_force": "GTD"}),
    ("um.new_order", {**LIMIT, "time_in_force": "GTD", "good_till_date": 1_795_910_400}),
    ("um.order", {"symbol": "BTCUSDT"}),
    ("um.order", {"symbol": "BTCUSDT", "order_id": "1"}),
    ("um.trades", {"symbol": "BTCUSDT", "start_time": "2026"}),
    ("um.trades", {"symbol": "BTCUSDT", "start_time": datetime(2026, 11, 1)}),  # noqa: DTZ001 - it is refused for this
    ("um.trades", {"symbol": "BTCUSDT", "from_id": 1, "start_time": 1}),
    ("um.trades", {"symbol": "BTCUSDT", "start_time": 2, "end_time": 1}),
    ("um.trades", {"symbol": "BTCUSDT", **WEEK}),
    ("um.all_orders", {"symbol": "BTCUSDT", **WEEK}),
    ("um.set_leverage", {"symbol": "BTCUSDT", "leverage": 0}),
    ("um.new_algo_order", {**CLOSING, "quantity": 1}),
    ("um.new_algo_order", {**CLOSING, "reduce_only": False}),
    ("um.new_algo_order", {**CLOSING, "position_side": "LONG"}),
    ("cm.new_order", {**LIMIT, "quantity": "1.5"}),
    (
        "cm.new_conditional_order",
        {"symbol": "BTCUSD_PERP", "side": "BUY", "strategy_type": "TRAILING_STOP_MARKET", "quantity": 1},
    ),
    (
        "cm.new_conditional_order",
        {
            "symbol": "BTCUSD_PERP",
            "side": "BUY",
            "strategy_type": "TRAILING_STOP_MARKET",
            "quantity": 1,
            "callback_rate": 9,
        },
    ),
    ("margin.new_order", {**LIMIT, "price": 1, "stop_price": 1}),
    ("margin.new_order", {**LIMIT, "time_in_force": "IOC", "iceberg_qty": 1}),
    ("margin.new_order", {**MARKET, "auto_repay_at_cancel": True}),
    ("margin.new_oco", {**OCO, "side": "SELL", "price": 1}),
    ("margin.new_oco", {**OCO, "side": "BUY", "price": 3}),
    ("margin.new_oco", {**OCO, "stop_limit_price": 1}),
    ("margin.new_oco", {**OCO, "list_client_order_id": "a", "stop_client_order_id": "a"}),
    ("pro.set_margin_call_level", {"margin_call_level": 3}),
]
"""Endpoints, and arguments that they refuse."""


def refusals() -> list[str]:
    """Return the texts of refusals, each after the name of the endpoint."""
    said: list[str] = []
    for name, arguments in CALLS:
        check = ENDPOINTS[name].check
        assert check is not None
        try:
            check(arguments)
        except ValueError as error:
            said.append(f"{name}: {error}")
    assert len(said) == len(CALLS)
    return said
