"""Orders, order lists and loans of cross margin."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.sandbox.conftest import Desk

ORDER = "margin/order"
LIMIT = {
    "symbol": "BTCUSDT",
    "side": "BUY",
    "type": "LIMIT",
    "timeInForce": "GTC",
    "quantity": "0.01",
    "price": "55000",
}
OCO = {
    "symbol": "BTCUSDT", "side": "BUY", "quantity": "0.01", "price": "58000", "stopPrice": "62000",
    "stopLimitPrice": "62100", "stopLimitTimeInForce": "GTC", "listClientOrderId": "list",
}  # fmt: skip


async def place(desk: Desk, **changes: object) -> Any:
    """Place an order below the market, unless told otherwise; None leaves a parameter out."""
    sent = LIMIT | changes
    return await desk("POST", ORDER, **{name: value for name, value in sent.items() if value is not None})


async def market(desk: Desk, **changes: object) -> Any:
    """Place a market order."""
    return await place(desk, **({"type": "MARKET", "price": None, "timeInForce": None} | changes))


async def balance(desk: Desk, asset: str) -> dict[str, Decimal]:
    """Return free, locked, borrowed and interest of an asset."""
    rows = {row["asset"]: row for row in await desk("GET", "balance")}
    names = ("Free", "Locked", "Borrowed", "Interest")
    return {name.lower(): Decimal(rows.get(asset, {}).get(f"crossMargin{name}", 0)) for name in names}


async def test_a_limit_order_locks_what_it_pays(desk: Desk) -> None:
    """Cancelling releases it."""
    before = await balance(desk, "USDT")
    placed = await place(desk, newClientOrderId="mine")
    locked = await balance(desk, "USDT")
    cancelled = await desk("DELETE", ORDER, symbol="BTCUSDT", origClientOrderId="mine", newClientOrderId="cancel")

    assert (placed["status"], placed["fills"]) == ("NEW", [])
    assert (locked["locked"], locked["free"]) == (Decimal(550), before["free"] - 550)
    assert (cancelled["status"], cancelled["origClientOrderId"], cancelled["clientOrderId"]) == (
        "CANCELED",
        "mine",
        "cancel",
    )
    assert await balance(desk, "USDT") == before


async def test_a_fill_exchanges_balances(desk: Desk) -> None:
    """The fee is paid in what is received, and the order is filled at its own price."""
    before = await balance(desk, "USDT")
    await place(desk, newClientOrderId="mine")
    desk.move("BTCUSDT", "54900")
    order = await desk("GET", ORDER, symbol="BTCUSDT", origClientOrderId="mine")
    [trade] = await desk("GET", "margin/myTrades", symbol="BTCUSDT")
    after = await balance(desk, "USDT")

    assert (order["status"], order["cummulativeQuoteQty"]) == ("FILLED", "550.00000000")
    assert (trade["commission"], trade["commissionAsset"], trade["isMaker"]) == ("0.00001000", "BTC", True)
    assert (after["free"], after["locked"]) == (before["free"] - 550, 0)
    assert (await balance(desk, "BTC"))["free"] == Decimal("0.00999")


@pytest.mark.parametrize("effect", ["MARGIN_BUY", "AUTO_BORROW_REPAY"])
async def test_missing_balance_is_borrowed(desk: Desk, effect: str) -> None:
    """If the side effect says so; a sale of what is not there then borrows it."""
    refused = await market(desk, side="SELL")
    sold = await market(desk, side="SELL", sideEffectType=effect)

    assert refused["code"] == -2010
    assert (sold["status"], sold["marginBuyBorrowAmount"], sold["marginBuyBorrowAsset"]) == (
        "FILLED",
        "0.01000000",
        "BTC",
    )
    assert (await balance(desk, "BTC"))["borrowed"] == Decimal("0.01")


async def test_what_is_received_repays(desk: Desk) -> None:
    """AUTO_REPAY pays interest and principal."""
    await market(desk, side="SELL", sideEffectType="MARGIN_BUY")
    await market(desk, quantity="0.02", sideEffectType="AUTO_REPAY")
    after = await balance(desk, "BTC")
    history = await desk("GET", "margin/repayLoan", asset="BTC")

    assert (after["borrowed"], after["interest"]) == (0, 0)
    assert Decimal(history["rows"][0]["amount"]) > Decimal("0.01")


@pytest.mark.parametrize(("repays", "owed"), [(None, 0), ("false", 1)])
async def test_a_cancelled_order_repays_what_it_borrowed(desk: Desk, repays: str | None, owed: int) -> None:
    """Unless that was switched off; the interest stays."""
    free = (await balance(desk, "USDT"))["free"]
    quantity = (free / 55000).quantize(Decimal("0.01")) + 1
    await place(desk, newClientOrderId="mine", quantity=quantity, sideEffectType="MARGIN_BUY", autoRepayAtCancel=repays)
    borrowed = (await balance(desk, "USDT"))["borrowed"]
    await desk("DELETE", ORDER, symbol="BTCUSDT", origClientOrderId="mine")

    assert borrowed > 0
    assert bool((await balance(desk, "USDT"))["borrowed"] > 1) is bool(owed)


async def test_a_market_order_by_value(desk: Desk) -> None:
    """It buys as much as the value pays for."""
    bought = await market(desk, quantity=None, quoteOrderQty="1000")

    assert Decimal(990) < Decimal(bought["cummulativeQuoteQty"]) <= 1000
    assert bought["origQty"] == bought["executedQty"]


@pytest.mark.parametrize(
    ("kind", "side", "stop", "reached"),
    [
        ("STOP_LOSS", "BUY", "61000", "61000"),
        ("TAKE_PROFIT", "BUY", "59000", "59000"),
        ("STOP_LOSS_LIMIT", "BUY", "61000", "61000"),
    ],
)
async def test_a_stop_order_works_when_triggered(desk: Desk, kind: str, side: str, stop: str, reached: str) -> None:
    """Before, it is not in the book, though it locks its balance."""
    is_limit = kind.endswith("LIMIT")
    await place(
        desk,
        newClientOrderId="mine",
        type=kind,
        side=side,
        stopPrice=stop,
        price="61500" if is_limit else None,
        timeInForce="GTC" if is_limit else None,
    )
    before = await desk("GET", ORDER, symbol="BTCUSDT", origClientOrderId="mine")
    desk.move("BTCUSDT", reached)
    after = await desk("GET", ORDER, symbol="BTCUSDT", origClientOrderId="mine")

    assert (before["isWorking"], before["status"]) == (False, "NEW")
    assert (after["isWorking"], after["status"]) == (True, "FILLED")
    assert (await balance(desk, "USDT"))["locked"] == 0


@pytest.mark.parametrize(("price", "limit", "stop"), [("57900", "FILLED", "EXPIRED"), ("62000", "EXPIRED", "FILLED")])
async def test_one_order_of_a_list_is_executed(desk: Desk, price: str, limit: str, stop: str) -> None:
    """The other one expires, and the list is done."""
    placed = await desk("POST", "margin/order/oco", **OCO)
    locked = (await balance(desk, "USDT"))["locked"]
    desk.move("BTCUSDT", price)
    ended = await desk("GET", "margin/orderList", origClientOrderId="list")
    statuses = [
        (await desk("GET", ORDER, symbol="BTCUSDT", orderId=leg["orderId"]))["status"] for leg in placed["orders"]
    ]

    assert (placed["listOrderStatus"], ended["listOrderStatus"]) == ("EXECUTING", "ALL_DONE")
    assert locked == Decimal(621)
    assert statuses == [stop, limit]
    assert (await balance(desk, "USDT"))["locked"] == 0
    assert await desk("GET", "margin/openOrderList") == []


@pytest.mark.parametrize("by", ["leg", "list", "all"])
async def test_cancelling_one_order_cancels_the_list(desk: Desk, by: str) -> None:
    """Whichever way it is cancelled."""
    placed = await desk("POST", "margin/order/oco", **OCO)
    if by == "leg":
        await desk("DELETE", ORDER, symbol="BTCUSDT", orderId=placed["orders"][1]["orderId"])
    elif by == "list":
        await desk("DELETE", "margin/orderList", symbol="BTCUSDT", listClientOrderId="list")
    else:
        await desk("DELETE", "margin/allOpenOrders", symbol="BTCUSDT")

    assert {order.status for order in desk.orders() if order.list_id > 0} == {"CANCELED"}
    assert (await balance(desk, "USDT"))["locked"] == 0
    again = await desk("DELETE", "margin/orderList", symbol="BTCUSDT", listClientOrderId="list")
    assert again["code"] == -2011


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"timeInForce": "GTX"}, -1115),
        ({"type": "MARKET"}, -1106),
        ({"type": "LIMIT_MAKER", "timeInForce": None, "price": "61000"}, -2010),
        ({"type": "STOP_LOSS", "price": None, "timeInForce": None}, -1102),
        ({"type": "STOP_LOSS", "price": None, "timeInForce": None, "stopPrice": "59000"}, -2010),
        ({"quantity": None}, -1102),
        ({"quantity": "0.0100001"}, -1013),
        ({"price": "55000.001"}, -1013),
        ({"quantity": "0.00001"}, -1013),
        ({"price": "50000"}, 51113),
        ({"quantity": "90"}, -2010),
        ({"symbol": "TKN001USDT"}, -1121),
        ({"quoteOrderQty": "10"}, -1106),
    ],
)
async def test_wrong_margin_orders_are_refused(desk: Desk, changes: dict[str, object], code: int) -> None:
    """With the code of the documents or of spot, and without a change of the balances."""
    before = await balance(desk, "USDT")

    assert (await place(desk, **changes))["code"] == code
    assert await balance(desk, "USDT") == before


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"price": "61000"}, -2010),
        ({"stopPrice": "59000"}, -2010),
        ({"stopLimitPrice": None}, -1128),
        ({"limitClientOrderId": "same", "stopClientOrderId": "same"}, -2010),
    ],
)
async def test_wrong_lists_are_refused(desk: Desk, changes: dict[str, object], code: int) -> None:
    """Prices around the market, both stop-limit parameters, and three different ids."""
    sent = {name: value for name, value in (OCO | changes).items() if value is not None}

    assert (await desk("POST", "margin/order/oco", **sent))["code"] == code


async def test_a_client_order_id_is_unique_among_open_orders(desk: Desk) -> None:
    """The code is that of spot."""
    await place(desk, newClientOrderId="mine")

    assert (await place(desk, newClientOrderId="mine"))["msg"] == "Duplicate order sent."


async def test_borrowing_and_repaying(desk: Desk) -> None:
    """Interest is charged at once and every hour; a repayment pays it first."""
    most = Decimal((await desk("GET", "margin/maxBorrowable", asset="BTC"))["amount"])
    too_much = await desk("POST", "marginLoan", asset="BTC", amount=most + 1)
    loan = await desk("POST", "marginLoan", asset="BTC", amount="1")
    desk.clock.now += 2 * 3600
    owed = await balance(desk, "BTC")
    interest = await desk("GET", "margin/marginInterestHistory", asset="BTC")
    repaid = await desk("POST", "repayLoan", asset="BTC", amount="0.5")
    after = await balance(desk, "BTC")
    loans = await desk("GET", "margin/marginLoan", asset="BTC", txId=loan["tranId"])
    more = await desk("POST", "repayLoan", asset="BTC", amount="2")

    assert (too_much["code"], more["code"]) == (51006, -3015)
    assert [row["type"] for row in interest["rows"]] == ["PERIODIC", "PERIODIC", "ON_BORROW"]
    assert owed["interest"] == sum(Decimal(row["interest"]) for row in interest["rows"])
    assert after["interest"] == 0
    assert after["borrowed"] == Decimal("0.5") + owed["interest"]
    assert [(row["principal"], row["status"]) for row in loans["rows"]] == [("1.00000000", "CONFIRMED")]
    assert repaid["tranId"] > loan["tranId"]


async def test_a_debt_is_repaid_with_other_assets(desk: Desk) -> None:
    """They are converted at their index prices, in their order."""
    before = await balance(desk, "USDT")
    await desk("POST", "marginLoan", asset="ETH", amount="1")
    repaid = await desk("POST", "margin/repay-debt", asset="ETH", amount="0.5", specifyRepayAssets="USDT,USDC")
    after = await balance(desk, "USDT")

    assert (repaid["success"], repaid["specifyRepayAssets"]) == (True, ["USDT", "USDC"])
    assert after["free"] == before["free"] - 1500


async def test_loans_count_in_margin(desk: Desk) -> None:
    """A loan changes no equity, but needs margin."""
    before = desk.exchange.statement(desk.account)
    equity, initial = before.equity, before.initial
    await desk("POST", "marginLoan", asset="USDT", amount="1000")
    after = desk.exchange.statement(desk.account)

    assert after.equity == pytest.approx(equity, abs=1)
    assert after.initial == initial + 100
