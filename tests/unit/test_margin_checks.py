"""What calls of margin, of the account's funds and of Portfolio Margin Pro refuse before they are sent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest

from binance_pm import ENDPOINTS, Client, ConfigurationError
from binance_pm.api.margin_orders import MarginOrderType

DAY = 24 * 3600 * 1000
NOW = 1_795_910_400_000

Arguments = Mapping[str, Any]
Change = Mapping[str, Any]
"""Arguments that differ from a valid call; None leaves an argument out."""

# An endpoint, a valid call, a change that is refused, the parameters that the text names, a change that is accepted.
Row = tuple[str, Arguments, Change, str, Change]


def order(kind: str, **others: object) -> Arguments:
    """Return the arguments of a margin order."""
    return {"symbol": "BTCUSDT", "side": "BUY", "type": kind, "quantity": "0.01", **others}


PLACE, PLACE_LIST = "margin.new_order", "margin.new_oco"
LIMIT = order("LIMIT", price="98450.1", time_in_force="GTC")
MARKET = order("MARKET")
STOP = order("STOP_LOSS", stop_price=90_000)
STOP_LIMIT = order("STOP_LOSS_LIMIT", stop_price=90_000, price=89_000, time_in_force="GTC")
PROFIT = order("TAKE_PROFIT", stop_price=100_000)
PROFIT_LIMIT = order("TAKE_PROFIT_LIMIT", stop_price=100_000, price=99_000, time_in_force="GTC")
MAKER = order("LIMIT_MAKER", price=98_000)
BY_QUOTE = {"quantity": None, "quote_order_qty": 100}

NEW_ORDER: list[Row] = [
    *(
        (PLACE, call, {name: None}, name, {})
        for call in (LIMIT, STOP, STOP_LIMIT, PROFIT, PROFIT_LIMIT, MAKER)
        for name in sorted(call.keys() - {"symbol", "side", "type"})
    ),
    (PLACE, MARKET, {"quantity": None}, "quantity quote_order_qty", BY_QUOTE),
    (PLACE, MARKET, {"quote_order_qty": 100}, "quantity quote_order_qty", BY_QUOTE),
    *((PLACE, call, {"quote_order_qty": 1}, "quote_order_qty", {}) for call in (LIMIT, STOP, MAKER)),
    *((PLACE, call, {"price": 1}, "price", {}) for call in (MARKET, STOP, PROFIT)),
    *((PLACE, call, {"stop_price": 1}, "stop_price", {}) for call in (MARKET, LIMIT, MAKER)),
    *((PLACE, call, {"time_in_force": "GTC"}, "time_in_force", {}) for call in (MARKET, STOP, MAKER)),
    *(
        (PLACE, call, {"iceberg_qty": 1, "time_in_force": "IOC"}, "iceberg_qty", {"iceberg_qty": 1})
        for call in (LIMIT, STOP_LIMIT, PROFIT_LIMIT)
    ),
    (PLACE, MAKER, {"iceberg_qty": 1, "stop_price": 1}, "stop_price", {"iceberg_qty": 1}),
    (PLACE, MARKET, {"side": "HOLD"}, "side", {"side": "SELL"}),
    (PLACE, MARKET, {"type": "STOP"}, "type", {}),
    (PLACE, LIMIT, {"time_in_force": "GTX"}, "time_in_force", {"time_in_force": "FOK"}),
    (PLACE, MARKET, {"quantity": 0.5}, "quantity", {"quantity": Decimal("0.5")}),
    (
        PLACE,
        MARKET,
        {"side_effect_type": "BORROW"},
        "side_effect_type",
        {"side_effect_type": "AUTO_REPAY"},
    ),
    (
        PLACE,
        MARKET,
        {"auto_repay_at_cancel": False, "side_effect_type": "AUTO_REPAY"},
        "auto_repay_at_cancel side_effect_type",
        {"auto_repay_at_cancel": False, "side_effect_type": "AUTO_BORROW_REPAY"},
    ),
    (
        PLACE,
        MARKET,
        {"auto_repay_at_cancel": True},
        "auto_repay_at_cancel side_effect_type",
        {"auto_repay_at_cancel": True, "side_effect_type": "MARGIN_BUY"},
    ),
    *(
        (
            PLACE,
            MARKET,
            {"new_client_order_id": refused},
            "new_client_order_id",
            {"new_client_order_id": good},
        )
        for refused, good in [("x" * 37, "x" * 36), ("a.b", "a_b"), ("web_1", "web-1")]
    ),
    (
        PLACE,
        MARKET,
        {"new_order_resp_type": "ALL"},
        "new_order_resp_type",
        {"new_order_resp_type": "FULL"},
    ),
]

OCO: Arguments = {"symbol": "LTCBTC", "side": "SELL", "quantity": 1, "price": "1.2", "stop_price": "0.8"}
STOP_PART = {"stop_limit_price": "0.7", "stop_limit_time_in_force": "GTC"}

NEW_OCO: list[Row] = [
    (PLACE_LIST, OCO, {"price": "0.8"}, "price stop_price", {"price": "0.81"}),
    (PLACE_LIST, OCO, {"side": "BUY"}, "price stop_price", {"side": "BUY", "price": "0.8", "stop_price": "1.2"}),
    (PLACE_LIST, OCO, {"side": "BUY", "price": "0.8"}, "price stop_price", {}),
    (PLACE_LIST, OCO, {"stop_limit_price": 1}, "stop_limit_price stop_limit_time_in_force", STOP_PART),
    (
        PLACE_LIST,
        OCO,
        {"stop_limit_time_in_force": "GTC"},
        "stop_limit_price stop_limit_time_in_force",
        STOP_PART,
    ),
    (
        PLACE_LIST,
        OCO,
        {"side_effect_type": "AUTO_BORROW_REPAY"},
        "side_effect_type",
        {"side_effect_type": "AUTO_REPAY"},
    ),
    (PLACE_LIST, OCO, {"new_order_resp_type": "FULL"}, "new_order_resp_type", {"new_order_resp_type": "ACK"}),
    *(
        (PLACE_LIST, OCO, {one: "a", other: "a"}, f"{one} {other}", {one: "a", other: "b"})
        for one, other in [
            ("list_client_order_id", "limit_client_order_id"),
            ("list_client_order_id", "stop_client_order_id"),
            ("limit_client_order_id", "stop_client_order_id"),
        ]
    ),
    *(
        (PLACE_LIST, OCO, {name: "autoclose-1"}, name, {name: "a"})
        for name in ("list_client_order_id", "limit_client_order_id", "stop_client_order_id")
    ),
]

SYMBOL: Arguments = {"symbol": "BTCUSDT"}
ASSET: Arguments = {"asset": "USDT"}
BACKWARDS = {"start_time": NOW, "end_time": NOW - 1}
INSTANT = {"start_time": NOW, "end_time": NOW}


def window(milliseconds: int) -> Change:
    """Return a range of time of this length."""
    return {"start_time": NOW - milliseconds, "end_time": NOW}


QUERIES: list[Row] = [
    *(
        (name, {**SYMBOL, "order_id": 1}, {"order_id": None}, "order_id orig_client_order_id", other)
        for name in ("margin.order", "margin.cancel_order")
        for other in [{"order_id": None, "orig_client_order_id": "a"}]
    ),
    ("margin.cancel_order", {**SYMBOL, "order_id": 1}, {"new_client_order_id": "ios_1"}, "new_client_order_id", {}),
    ("margin.oco", {"order_list_id": 1}, {"order_list_id": None}, "order_list_id orig_client_order_id", {}),
    (
        "margin.cancel_oco",
        {**SYMBOL, "order_list_id": 1},
        {"order_list_id": None},
        "order_list_id list_client_order_id",
        {"order_list_id": None, "list_client_order_id": "a"},
    ),
    ("margin.cancel_all_orders", SYMBOL, {"symbol": ""}, "symbol", {}),
    *((name, SYMBOL, BACKWARDS, "start_time end_time", INSTANT) for name in ("margin.all_orders", "margin.trades")),
    ("margin.trades", SYMBOL, window(DAY), "start_time end_time", window(DAY - 1)),
    *(
        (name, call, {"from_id": 1, time: 1}, f"from_id {time}", {"from_id": 1})
        for name, call in [("margin.trades", SYMBOL), ("margin.all_ocos", {})]
        for time in ("start_time", "end_time")
    ),
    *((name, {}, BACKWARDS, "start_time end_time", INSTANT) for name in ("margin.force_orders", "margin.all_ocos")),
    *(
        (name, ASSET, window(30 * DAY + 1), "start_time end_time", window(30 * DAY))
        for name in (
            "margin.loan_history",
            "margin.repay_history",
            "margin.interest_history",
            "negative_balance_interest_history",
        )
    ),
    ("margin.loan_history", ASSET, {"archived": "yes"}, "archived", {"archived": True}),
    ("negative_balance_exchange_history", INSTANT, window(93 * DAY), "start_time end_time", window(92 * DAY)),
    ("pro.negative_balance_interest_history", {}, BACKWARDS, "start_time end_time", window(1000 * DAY)),
    ("pro.bankruptcy_loan_repay_history", {}, window(360 * DAY + 1), "start_time end_time", window(360 * DAY)),
]

FUNDS: list[Row] = [
    *(
        (name, ASSET, change, "amount future_type", {"amount": 1, "future_type": "OPTION"})
        for name in ("asset_collection", "pro.asset_collection")
        for change in [{"amount": 1}, {"future_type": "CM"}]
    ),
    ("asset_collection", {**ASSET, "amount": 1, "future_type": "UM"}, {"future_type": "SPOT"}, "future_type", {}),
    *(
        (name, {"amount": 1, "transfer_side": "TO_UM"}, {"transfer_side": "TO_CM"}, "transfer_side", {"amount": "0.1"})
        for name in ("bnb_transfer", "pro.bnb_transfer")
    ),
    *(
        (name, {**ASSET, "amount": 1}, {"amount": amount}, "amount", {"amount": "0.5"})
        for name in ("margin.borrow", "margin.repay", "margin.repay_debt")
        for amount in (0, "-1", "1e3", 0.5, "NaN")
    ),
    ("pro.set_margin_call_level", {"margin_call_level": 2}, {"margin_call_level": "2.01"}, "margin_call_level", {}),
    (
        "pro.set_margin_call_level",
        {"margin_call_level": 2},
        {"margin_call_level": Decimal("1.09")},
        "margin_call_level",
        {"margin_call_level": "1.1"},
    ),
    (
        "pro.earn_asset_balance",
        {"asset": "LDUSDT", "transfer_type": "EARN_TO_FUTURE"},
        {"transfer_type": "TO_EARN"},
        "transfer_type",
        {"transfer_type": "FUTURE_TO_EARN"},
    ),
    (
        "pro.earn_asset_transfer",
        {"asset": "RWUSD", "transfer_type": "EARN_TO_FUTURE", "amount": 1},
        {"asset": "BTC"},
        "asset",
        {"asset": "LDUSDT"},
    ),
]

ROWS = [*NEW_ORDER, *NEW_OCO, *QUERIES, *FUNDS]


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


def test_every_type_of_order_has_its_rules() -> None:
    """A row refuses an order of each type."""
    assert {row[1]["type"] for row in NEW_ORDER} == {one.value for one in MarginOrderType}


async def test_rules_that_are_not_the_exchanges_own_name_their_source() -> None:
    """PAPI documents no table of order types for margin."""
    async with Client("key", "secret") as client:
        with pytest.raises(ConfigurationError) as refused:
            await client.margin.new_order(symbol="BTCUSDT", side="BUY", type="LIMIT", quantity=1, price=1)

    assert "rules of spot" in refused.value.reason


def test_a_listen_key_is_not_shown() -> None:
    """The printed form may end up in a log, and the key gives access to the stream."""
    key = ENDPOINTS["create_listen_key"].decode(b'{"listenKey":"pqia91ma19a5s61"}')

    assert key.listen_key == "pqia91ma19a5s61"
    assert "pqia91ma19a5s61" not in f"{key} {key!r}"
