"""Algo orders of USD-M and conditional orders of COIN-M wait, trigger and become ordinary orders."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.sandbox.conftest import Desk

ALGO = {"algoType": "CONDITIONAL", "symbol": "BTCUSDT", "side": "SELL", "quantity": "0.010", "clientAlgoId": "mine"}
CM = {"symbol": "BTCUSD_PERP", "side": "SELL", "quantity": "5", "newClientStrategyId": "mine"}
DAY = 24 * 3600
CASES = [
    ("BUY", "STOP_MARKET", "61000", "60900", "61000"),
    ("SELL", "STOP_MARKET", "59000", "59100", "59000"),
    ("BUY", "TAKE_PROFIT_MARKET", "59000", "59100", "59000"),
    ("SELL", "TAKE_PROFIT_MARKET", "61000", "60900", "61000"),
]


async def algo(desk: Desk, **changes: object) -> Any:
    """Place an algo order; None leaves a parameter out."""
    sent = ALGO | {"type": "STOP_MARKET", "triggerPrice": "59000"} | changes
    return await desk("POST", "um/algo/order", **{name: value for name, value in sent.items() if value is not None})


async def status(desk: Desk) -> Any:
    """Return the algo order."""
    return await desk("GET", "um/algo/algoOrder", clientAlgoId="mine")


@pytest.mark.parametrize(("side", "kind", "trigger", "near", "reached"), CASES)
async def test_an_algo_order_triggers(desk: Desk, side: str, kind: str, trigger: str, near: str, reached: str) -> None:
    """At its price it becomes an order that can be found by its own id; before, it has none."""
    placed = await algo(desk, side=side, type=kind, triggerPrice=trigger)
    desk.move("BTCUSDT", near)
    before = await status(desk)
    desk.move("BTCUSDT", reached)
    after = await status(desk)
    order = await desk("GET", "um/order", symbol="BTCUSDT", orderId=after["actualOrderId"])

    assert (placed["algoStatus"], before["algoStatus"], before["actualOrderId"]) == ("NEW", "NEW", "")
    assert (after["algoStatus"], order["status"], order["origType"]) == ("FINISHED", "FILLED", kind)
    assert after["actualPrice"] == order["avgPrice"]
    assert await desk("GET", "um/algo/openAlgoOrders", symbol="BTCUSDT") == []


async def test_a_stop_limit_order_rests_when_triggered(desk: Desk) -> None:
    """TRIGGERED is no fill."""
    await algo(desk, type="STOP", price="59500")
    desk.move("BTCUSDT", "59000")
    triggered = await status(desk)
    desk.move("BTCUSDT", "59600")

    assert triggered["algoStatus"] == "TRIGGERED"
    assert (await status(desk))["algoStatus"] == "FINISHED"


async def test_a_trailing_order_follows_the_market(desk: Desk) -> None:
    """It is activated by a rise, and triggers when the market falls by the callback rate from its highest price."""
    await algo(desk, type="TRAILING_STOP_MARKET", triggerPrice=None, callbackRate="1", activatePrice="61000")
    for price in ("59000", "61000", "63000", "62500"):
        desk.move("BTCUSDT", price)
        assert (await status(desk))["algoStatus"] == "NEW"
    desk.move("BTCUSDT", "62370")

    assert (await status(desk))["algoStatus"] == "FINISHED"


async def test_closing_the_whole_position(desk: Desk) -> None:
    """The quantity is that of the position when it triggers."""
    await desk("POST", "um/order", symbol="BTCUSDT", side="BUY", type="MARKET", quantity="3")
    await algo(desk, quantity=None, closePosition=True)
    desk.move("BTCUSDT", "58000")
    rows = await desk("GET", "um/positionRisk", symbol="BTCUSDT")

    assert (await status(desk))["algoStatus"] == "FINISHED"
    assert rows == []


async def test_an_order_that_is_refused_when_triggered(desk: Desk) -> None:
    """Without a position, an order that closes one is rejected; nothing else happens."""
    await algo(desk, symbol="TKN001USDT", side="BUY", triggerPrice="9000", quantity=None, closePosition=True)
    desk.move("TKN001USDT", "10000")

    assert (await status(desk))["algoStatus"] == "REJECTED"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"triggerPrice": None}, -1102),
        ({"quantity": None}, -1102),
        ({"type": "STOP"}, -1102),
        ({"callbackRate": "1"}, -1106),
        ({"triggerPrice": "60500"}, -2021),
        ({"closePosition": "true"}, -4137),
        ({"closePosition": "true", "quantity": None, "reduceOnly": "true"}, -4138),
        ({"type": "TRAILING_STOP_MARKET", "triggerPrice": None}, -1102),
        ({"type": "TRAILING_STOP_MARKET", "triggerPrice": None, "callbackRate": "21"}, -1130),
        ({"type": "TRAILING_STOP_MARKET", "triggerPrice": None, "callbackRate": "1", "activatePrice": "59000"}, -2021),
        ({"workingType": "INDEX"}, -4031),
        ({"positionSide": "LONG"}, -4061),
        ({"symbol": "XYZUSDT"}, -1121),
    ],
)
async def test_wrong_algo_orders_are_refused(desk: Desk, changes: dict[str, object], code: int) -> None:
    """With the documented code."""
    assert (await algo(desk, **changes))["code"] == code
    assert (await status(desk))["code"] == -2013


async def test_client_ids_are_unique_while_they_wait(desk: Desk) -> None:
    """And two hundred orders may wait."""
    await algo(desk)
    again = await algo(desk)
    for number in range(199):
        await algo(desk, clientAlgoId=f"number-{number}")
    many = await algo(desk, clientAlgoId="one-too-many")

    assert (again["code"], many["code"]) == (-4116, -4045)


async def test_cancelling_algo_orders(desk: Desk) -> None:
    """One or all of a symbol; ordinary orders are not touched."""
    await desk(
        "POST", "um/order", symbol="BTCUSDT", side="BUY", type="LIMIT", timeInForce="GTC", quantity="1", price="50000"
    )
    await algo(desk)
    first = [await desk("DELETE", "um/algo/order", clientAlgoId="mine") for _ in range(2)]
    await algo(desk, clientAlgoId="other")
    done = await desk("DELETE", "um/algo/allOpenOrders", symbol="BTCUSDT")
    kept = await desk("GET", "um/openOrders", symbol="BTCUSDT")
    await desk("DELETE", "um/allOpenOrders", symbol="BTCUSDT")

    assert first == [{"complete": True}, {"code": -2011, "msg": "Unknown order sent."}]
    assert (done["code"], len(kept)) == (200, 1)
    assert [row["algoStatus"] for row in await desk("GET", "um/algo/allAlgoOrders", symbol="BTCUSDT")] == [
        "CANCELED"
    ] * 2


async def test_a_cm_conditional_order_moves_to_the_history(desk: Desk) -> None:
    """While it waits only the one query finds it, afterwards only the other."""
    placed = await desk("POST", "cm/conditional/order", **CM, strategyType="STOP_MARKET", stopPrice="59000")
    waiting = [
        await desk("GET", f"cm/conditional/{path}", symbol="BTCUSD_PERP", newClientStrategyId="mine")
        for path in ("openOrder", "orderHistory")
    ]
    desk.move("BTCUSDT", "58900")
    ended = [
        await desk("GET", f"cm/conditional/{path}", symbol="BTCUSD_PERP", newClientStrategyId="mine")
        for path in ("openOrder", "orderHistory")
    ]
    order = await desk("GET", "cm/order", symbol="BTCUSD_PERP", orderId=ended[1]["orderId"])

    assert (placed["strategyStatus"], placed["pair"]) == ("NEW", "BTCUSD")
    assert (waiting[0]["strategyStatus"], waiting[1]["code"]) == ("NEW", -2013)
    assert (ended[0]["code"], ended[1]["strategyStatus"], ended[1]["status"]) == (-2013, "TRIGGERED", "FILLED")
    assert (order["origQty"], order["status"]) == ("5", "FILLED")


async def test_only_a_trailing_stop_of_cm_has_its_fields(desk: Desk) -> None:
    """A stop leaves them out."""
    stop = await desk("POST", "cm/conditional/order", **CM, strategyType="STOP_MARKET", stopPrice="59000")
    trailing = await desk(
        "POST",
        "cm/conditional/order",
        **(CM | {"newClientStrategyId": "other"}),
        strategyType="TRAILING_STOP_MARKET",
        callbackRate="1",
        activationPrice="61000",
    )

    assert trailing.keys() - stop.keys() == {"activatePrice", "priceRate"}
    assert (trailing["activatePrice"], trailing["priceRate"]) == ("61000.00", "1")


@pytest.mark.parametrize(("days", "code"), [(7, None), (7.001, -2013)])
async def test_an_unfilled_cm_conditional_order_is_forgotten_after_seven_days(
    desk: Desk, days: float, code: int | None
) -> None:
    """An ordinary order after three."""
    await desk("POST", "cm/conditional/order", **CM, strategyType="STOP_MARKET", stopPrice="30000")
    cancelled = await desk("DELETE", "cm/conditional/order", symbol="BTCUSD_PERP", newClientStrategyId="mine")
    desk.clock.now += days * DAY
    asked = await desk("GET", "cm/conditional/orderHistory", symbol="BTCUSD_PERP", newClientStrategyId="mine")

    assert cancelled["strategyStatus"] == "CANCELED"
    assert asked.get("code") == code


async def test_cm_orders_count_contracts(desk: Desk) -> None:
    """Profit, fees and margin are in the coin."""
    sent = {"symbol": "BTCUSD_PERP", "type": "MARKET", "newOrderRespType": "RESULT"}
    bought = await desk("POST", "cm/order", **sent, side="BUY", quantity="10")
    desk.move("BTCUSDT", "66000")
    [row] = await desk("GET", "cm/positionRisk", pair="BTCUSD")
    await desk("POST", "cm/order", **sent, side="SELL", quantity="10")
    income = await desk("GET", "cm/income")
    trades = await desk("GET", "cm/userTrades", symbol="BTCUSD_PERP")
    fraction = await desk("POST", "cm/order", **sent, side="BUY", quantity="1.5")

    gain = 1000 / Decimal(row["entryPrice"]) - 1000 / Decimal(66000)
    assert (bought["status"], bought["pair"], fraction["code"]) == ("FILLED", "BTCUSD", -1111)
    assert Decimal(row["unRealizedProfit"]) == pytest.approx(gain, abs=Decimal("0.0000001"))
    assert {one["asset"] for one in income} == {"BTC"}
    assert sum(Decimal(one["realizedPnl"]) for one in trades) == pytest.approx(gain, abs=Decimal("0.00001"))
    wallet = {one["asset"]: Decimal(one["crossWalletBalance"]) for one in (await desk("GET", "cm/account"))["assets"]}
    assert wallet["BTC"] == sum(Decimal(one["income"]) for one in income)
