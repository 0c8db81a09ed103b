"""USD-M orders are matched, kept, refused and answered as on the exchange."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from binance_pm.sandbox import Fault
from binance_pm.sandbox.faults import WRITE_FAULTS

if TYPE_CHECKING:
    from tests.sandbox.conftest import Desk

ORDER = "um/order"
LIMIT = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.010"}
MARKET = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.010"}
DAY = 24 * 3600


async def place(desk: Desk, **changes: object) -> Any:
    """Place a purchase of BTC far below the market, unless told otherwise; None leaves a parameter out."""
    sent = LIMIT | {"price": "50000"} | changes
    return await desk("POST", ORDER, **{name: value for name, value in sent.items() if value is not None})


async def position(desk: Desk, symbol: str = "BTCUSDT", side: str = "BOTH") -> Decimal:
    """Return the amount of a position."""
    rows = await desk("GET", "um/positionRisk", symbol=symbol)
    return sum((Decimal(row["positionAmt"]) for row in rows if row["positionSide"] == side), Decimal(0))


async def test_a_limit_order_rests(desk: Desk) -> None:
    """It is open, is found by both ids, and has no fill."""
    placed = await place(desk, newClientOrderId="mine")
    found = [
        await desk("GET", ORDER, symbol="BTCUSDT", origClientOrderId="mine"),
        await desk("GET", ORDER, symbol="BTCUSDT", orderId=placed["orderId"]),
        await desk("GET", "um/openOrder", symbol="BTCUSDT", origClientOrderId="mine"),
        *(await desk("GET", "um/openOrders", symbol="BTCUSDT")),
    ]

    assert (placed["status"], placed["clientOrderId"], placed["price"]) == ("NEW", "mine", "50000.00")
    assert placed["orderId"] > 2**53
    assert all(one == found[0] for one in found)
    assert (found[0]["executedQty"], found[0]["avgPrice"]) == ("0.000", "0.00000")


async def test_a_limit_order_is_filled_at_its_own_price(desk: Desk) -> None:
    """When the market crosses it, it trades as the maker."""
    before = await position(desk)
    await place(desk, newClientOrderId="mine", price="59000")

    desk.move("BTCUSDT", "58900")

    order = await desk("GET", ORDER, symbol="BTCUSDT", origClientOrderId="mine")
    [trade] = [one for one in await desk("GET", "um/userTrades", symbol="BTCUSDT") if one["maker"]]
    assert (order["status"], order["avgPrice"], order["executedQty"]) == ("FILLED", "59000.00000", "0.010")
    assert (trade["orderId"], trade["price"], trade["commission"]) == (order["orderId"], "59000.00", "0.11800000")
    assert await position(desk) == before + Decimal("0.010")
    assert await desk("GET", "um/openOrders", symbol="BTCUSDT") == []


async def test_a_market_order_takes_level_by_level(desk: Desk) -> None:
    """The larger it is, the worse its average price."""
    small = await desk("POST", ORDER, **MARKET, newOrderRespType="RESULT")
    large = await desk("POST", ORDER, **(MARKET | {"quantity": "3"}), newOrderRespType="RESULT")
    [one, other] = [await desk("GET", ORDER, symbol="BTCUSDT", orderId=order["orderId"]) for order in (small, large)]

    assert (small["status"], large["status"]) == ("FILLED", "FILLED")
    assert Decimal(60000) < Decimal(one["avgPrice"]) < Decimal(other["avgPrice"])
    assert Decimal(other["cumQuote"]) / 3 == pytest.approx(Decimal(other["avgPrice"]), abs=Decimal("0.001"))


async def test_an_acknowledgement_tells_nothing_of_fills(desk: Desk) -> None:
    """It says NEW even for an order that was filled at once."""
    placed = await desk("POST", ORDER, **MARKET)

    assert (placed["status"], placed["executedQty"]) == ("NEW", "0")
    assert [order.status for order in desk.orders(placed["clientOrderId"])] == ["FILLED"]


async def test_what_an_immediate_order_cannot_take_expires(desk: Desk) -> None:
    """An IOC order keeps what it took and leaves nothing in the book."""
    placed = await place(desk, timeInForce="IOC", price="60000.1", quantity="5", newOrderRespType="RESULT")

    assert placed["status"] == "EXPIRED"
    assert 0 < Decimal(placed["executedQty"]) < 5


@pytest.mark.parametrize(
    ("force", "price", "quantity", "code"), [("GTX", "60001", "0.010", -5022), ("FOK", "60000.1", "5", -5021)]
)
async def test_a_refused_order_never_existed(desk: Desk, force: str, price: str, quantity: str, code: int) -> None:
    """A post-only order that would take, and a fill-or-kill order that cannot be filled, leave no record."""
    refused = await place(desk, timeInForce=force, price=price, quantity=quantity, newClientOrderId="mine")
    asked = await desk("GET", ORDER, symbol="BTCUSDT", origClientOrderId="mine")

    assert (refused["code"], asked["code"]) == (code, -2013)
    assert desk.orders("mine") == ()


async def test_a_post_only_order_rests(desk: Desk) -> None:
    """Below the best ask it waits as any other."""
    placed = await place(desk, timeInForce="GTX", price="60000", newOrderRespType="RESULT")

    assert placed["status"] == "NEW"


async def test_a_fill_or_kill_order_is_filled_at_once(desk: Desk) -> None:
    """If the book has enough at its price."""
    placed = await place(desk, timeInForce="FOK", price="60100", quantity="1", newOrderRespType="RESULT")

    assert (placed["status"], placed["executedQty"]) == ("FILLED", "1.000")


async def test_an_order_good_till_a_date_expires(desk: Desk) -> None:
    """At that date, in whole seconds."""
    until = int(desk.clock.now + 1000) * 1000
    placed = await place(desk, timeInForce="GTD", goodTillDate=until + 1, newClientOrderId="mine")
    desk.clock.now += 999
    before = desk.orders("mine")[0].status
    desk.clock.now += 1

    assert (placed["goodTillDate"], before) == (until, "NEW")
    assert [(one.status, one.update_time) for one in desk.orders("mine")] == [("EXPIRED", until)]


@pytest.mark.parametrize(
    ("mode", "maker", "taker"),
    [
        ("EXPIRE_MAKER", "EXPIRED_IN_MATCH", "FILLED"),
        ("EXPIRE_TAKER", "NEW", "EXPIRED_IN_MATCH"),
        ("EXPIRE_BOTH", "EXPIRED_IN_MATCH", "EXPIRED_IN_MATCH"),
        (None, "FILLED", "FILLED"),
    ],
)
async def test_self_trade_prevention(desk: Desk, mode: str | None, maker: str, taker: str) -> None:
    """Two orders of an account that would meet expire as the mode of the incoming one says."""
    await place(desk, newClientOrderId="resting", price="60000")
    await place(
        desk,
        newClientOrderId="incoming",
        side="SELL",
        price="59990",
        quantity="0.600",
        selfTradePreventionMode=mode,
    )

    statuses = {order.client_order_id: order.status for order in desk.orders()}
    assert (statuses["resting"], statuses["incoming"]) == (maker, taker)


async def test_orders_at_one_price_are_served_in_their_order(desk: Desk) -> None:
    """If the market offers less than all of them want, the first gets it; an amended one goes to the end."""
    for name in ("first", "second"):
        await place(desk, newClientOrderId=name, price="59000.0", quantity="2")
    await desk("PUT", ORDER, symbol="BTCUSDT", side="BUY", origClientOrderId="first", price="59000", quantity="2.001")

    # The best ask and the next two levels are at or below 59000.
    desk.move("BTCUSDT", "58986")

    [second], [first] = desk.orders("second"), desk.orders("first")
    assert second.status == "FILLED"
    assert 0 < first.executed < 2


async def test_an_amendment_is_recorded(desk: Desk) -> None:
    """Ids stay, price and quantity change, and the history shows the caller's own mark."""
    placed = await place(desk, newClientOrderId="mine")
    changed = await desk(
        "PUT",
        ORDER,
        symbol="BTCUSDT",
        side="BUY",
        origClientOrderId="mine",
        price="50100",
        quantity="0.02",
        modifyId=17,
    )
    await desk("PUT", ORDER, symbol="BTCUSDT", side="BUY", orderId=placed["orderId"], price="50200", quantity="0.02")
    latest, first = await desk("GET", "um/orderAmendment", symbol="BTCUSDT", origClientOrderId="mine")

    assert (changed["orderId"], changed["modifyId"], changed["price"]) == (placed["orderId"], 17, "50100.00")
    assert first["amendment"] == {
        "price": {"before": "50000.00", "after": "50100.00"},
        "origQty": {"before": "0.010", "after": "0.020"},
        "count": 1,
        "modifyId": 17,
    }
    assert (latest["amendment"]["count"], "modifyId" in latest["amendment"]) == (2, False)


async def test_an_amendment_that_leaves_nothing_cancels(desk: Desk) -> None:
    """A new quantity that is filled already ends the order."""
    await place(desk, newClientOrderId="mine", price="60000", quantity="5")
    desk.move("BTCUSDT", "59999")
    changed = await desk(
        "PUT", ORDER, symbol="BTCUSDT", side="BUY", origClientOrderId="mine", price="60000", quantity="0.001"
    )

    assert (changed["status"], changed["origQty"]) == ("CANCELED", "5.000")


async def test_an_amended_post_only_order_does_not_take(desk: Desk) -> None:
    """It is cancelled instead."""
    await place(desk, newClientOrderId="mine", timeInForce="GTX")
    changed = await desk(
        "PUT", ORDER, symbol="BTCUSDT", side="BUY", origClientOrderId="mine", price="61000", quantity="0.010"
    )

    assert changed["status"] == "CANCELED"


async def test_cancelling(desk: Desk) -> None:
    """It ends an open order once; -2011 says that it is not open."""
    await place(desk, newClientOrderId="mine")
    cancelled = await desk("DELETE", ORDER, symbol="BTCUSDT", origClientOrderId="mine")
    again = await desk("DELETE", ORDER, symbol="BTCUSDT", origClientOrderId="mine")
    found = await desk("GET", ORDER, symbol="BTCUSDT", origClientOrderId="mine")

    assert (cancelled["status"], again["code"], found["status"]) == ("CANCELED", -2011, "CANCELED")


async def test_cancelling_all_orders_of_a_symbol(desk: Desk) -> None:
    """Orders of other symbols stay."""
    for number in range(3):
        await place(desk, newClientOrderId=f"btc-{number}")
    await place(desk, symbol="ETHUSDT", price="2500", quantity="1", newClientOrderId="eth")
    done = await desk("DELETE", "um/allOpenOrders", symbol="BTCUSDT")

    assert done == {"code": 200, "msg": "The operation of cancel all open order is done."}
    assert await desk("GET", "um/openOrders", symbol="BTCUSDT") == []
    assert desk.orders("eth")[0].status == "NEW"


async def test_client_order_ids_are_unique_among_open_orders(desk: Desk) -> None:
    """The second is refused while the first is open; afterwards the newest answers to the id."""
    first = await place(desk, newClientOrderId="mine")
    refused = await place(desk, newClientOrderId="mine")
    await desk("DELETE", ORDER, symbol="BTCUSDT", orderId=first["orderId"])
    second = await place(desk, newClientOrderId="mine")
    found = await desk("GET", ORDER, symbol="BTCUSDT", origClientOrderId="mine")

    assert refused["code"] == -4116
    assert found["orderId"] == second["orderId"] != first["orderId"]


async def test_the_exchange_names_an_order_without_an_id(desk: Desk) -> None:
    """By 22 letters and digits."""
    placed = await place(desk)

    assert len(placed["clientOrderId"]) == 22
    assert placed["clientOrderId"].isalnum()


@pytest.mark.parametrize("match", ["QUEUE", "QUEUE_5", "OPPONENT", "OPPONENT_5"])
async def test_price_match(desk: Desk, match: str) -> None:
    """The price is that of a level of the book: of the own side, or of the other side."""
    placed = await place(desk, price=None, priceMatch=match, newOrderRespType="RESULT")

    assert (Decimal(placed["price"]) <= 60000) is match.startswith("QUEUE")
    assert placed["priceMatch"] == match


async def test_a_reduce_only_order_ends_at_the_position(desk: Desk) -> None:
    """It fills what there is to close, and expires."""
    await desk("POST", ORDER, **MARKET)
    held = await position(desk)
    await desk(
        "POST", ORDER, **(MARKET | {"side": "SELL", "quantity": held + 1}), reduceOnly=True, newClientOrderId="close"
    )

    [order] = desk.orders("close")
    assert (order.status, order.executed) == ("EXPIRED", held)
    assert await position(desk) == 0


async def test_hedge_mode_keeps_two_legs(desk: Desk) -> None:
    """Each leg has its own position; an order against a leg cannot turn it."""
    for row in await desk("GET", "um/positionRisk"):
        amount = Decimal(row["positionAmt"])
        side = "SELL" if amount > 0 else "BUY"
        await desk("POST", ORDER, symbol=row["symbol"], side=side, type="MARKET", quantity=abs(amount), reduceOnly=True)
    changed = await desk("POST", "um/positionSide/dual", dualSidePosition=True)
    same = await desk("POST", "um/positionSide/dual", dualSidePosition=True)
    await desk("POST", ORDER, **MARKET, positionSide="LONG")
    await desk("POST", ORDER, **(MARKET | {"side": "SELL", "quantity": "0.020"}), positionSide="SHORT")
    refused = await desk("POST", ORDER, **MARKET)
    closing = await desk("POST", ORDER, **(MARKET | {"side": "SELL"}), positionSide="LONG", newOrderRespType="RESULT")
    nothing = await desk("POST", ORDER, **(MARKET | {"side": "SELL"}), positionSide="LONG")

    assert (changed["code"], same["code"], refused["code"], nothing["code"]) == (200, -4059, -4061, -2022)
    assert closing["status"] == "FILLED"
    assert await position(desk, side="LONG") == 0
    assert await position(desk, side="SHORT") == Decimal("-0.020")


async def test_the_position_mode_stays_while_there_are_positions(desk: Desk) -> None:
    """The demo's account has both, and COIN-M cannot differ from USD-M."""
    with_orders = await desk("POST", "um/positionSide/dual", dualSidePosition=True)
    for order in await desk("GET", "um/openOrders"):
        await desk("DELETE", "um/allOpenOrders", symbol=order["symbol"])
    with_positions = await desk("POST", "um/positionSide/dual", dualSidePosition=True)
    of_cm = await desk("POST", "cm/positionSide/dual", dualSidePosition=True)

    assert (with_orders["code"], with_positions["code"], of_cm["code"]) == (-4067, -4068, -4220)


REFUSED: list[tuple[dict[str, object], int]] = [
    ({"symbol": "XYZUSDT"}, -1121),
    ({"side": "HOLD"}, -1117),
    ({"type": "ICEBERG"}, -1116),
    ({"type": "STOP_MARKET"}, -4120),
    ({"timeInForce": "DAY"}, -1115),
    ({"timeInForce": None}, -1102),
    ({"quantity": None}, -1102),
    ({"price": None}, -1102),
    ({"price": None, "priceMatch": "OPPONENT_20"}, -1130),
    ({"priceMatch": "QUEUE"}, -1106),
    ({"type": "MARKET"}, -1106),
    ({"type": "MARKET", "price": None}, -1106),
    ({"timeInForce": "GTD"}, -1102),
    ({"goodTillDate": 1_900_000_000_000}, -1106),
    ({"timeInForce": "GTD", "goodTillDate": 1_800_000_600_000}, -1130),
    ({"positionSide": "LONG"}, -4061),
    ({"positionSide": "UP"}, -4060),
    ({"newOrderRespType": "FULL"}, -1136),
    ({"newClientOrderId": "a" * 33}, -1100),
    ({"newClientOrderId": "a" * 37}, -4015),
    ({"newClientOrderId": "no spaces"}, -1100),
    ({"newClientOrderId": ""}, -1105),
    ({"price": "0"}, -4001),
    ({"price": "50000.05"}, -4014),
    ({"price": "50000.001"}, -1111),
    ({"price": "130000"}, -4016),
    ({"side": "SELL", "price": "20000"}, -4024),
    ({"quantity": "0"}, -4003),
    ({"quantity": "0.0101"}, -1111),
    ({"quantity": "20000"}, -4005),
    ({"symbol": "ETHUSDT", "quantity": "0.001", "price": "2500"}, -4164),
    ({"side": "BUY", "reduceOnly": "true"}, -2022),
    ({"quantity": "101"}, -2027),
]


@pytest.mark.parametrize(
    ("changes", "code"), REFUSED, ids=[f"{code}-{place}" for place, (_, code) in enumerate(REFUSED)]
)
async def test_wrong_orders_are_refused(desk: Desk, changes: dict[str, object], code: int) -> None:
    """With the documented code, and without a record."""
    before = len(desk.orders())
    refused = await place(desk, **changes)

    assert refused["code"] == code
    assert len(desk.orders()) == before


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"side": "SELL"}, -1117),
        ({"price": "50000", "quantity": "0.010"}, -5027),
        ({"price": "50000.05"}, -4014),
        ({"quantity": "0.0101"}, -1111),
        ({"origClientOrderId": "other"}, -2013),
        ({"origClientOrderId": None}, -1102),
    ],
)
async def test_wrong_amendments_are_refused(desk: Desk, changes: dict[str, object], code: int) -> None:
    """The order stays as it was."""
    await place(desk, newClientOrderId="mine")
    sent = {"symbol": "BTCUSDT", "side": "BUY", "origClientOrderId": "mine", "price": "50100", "quantity": "0.020"}
    sent = {name: value for name, value in (sent | changes).items() if value is not None}
    refused = await desk("PUT", ORDER, **sent)
    [order] = desk.orders("mine")

    assert refused["code"] == code
    assert (order.price, order.quantity, order.amendments) == (Decimal(50000), Decimal("0.010"), [])


@pytest.mark.parametrize(("method", "path"), [("GET", ORDER), ("GET", "um/openOrder"), ("DELETE", ORDER)])
async def test_an_order_is_named_by_one_id_at_least(desk: Desk, method: str, path: str) -> None:
    """Without one the request is refused."""
    assert (await desk(method, path, symbol="BTCUSDT"))["code"] == -1102


async def test_an_unfilled_order_is_forgotten_after_three_days(desk: Desk) -> None:
    """Queries then say that it does not exist, and cannot tell this from an order that never was."""
    await place(desk, newClientOrderId="mine")
    await desk("DELETE", ORDER, symbol="BTCUSDT", origClientOrderId="mine")
    desk.clock.now += 3 * DAY
    kept = await desk("GET", ORDER, symbol="BTCUSDT", origClientOrderId="mine")
    desk.clock.now += 1
    gone = await desk("GET", ORDER, symbol="BTCUSDT", origClientOrderId="mine")
    listed = await desk("GET", "um/allOrders", symbol="BTCUSDT")

    assert (kept["status"], gone["code"]) == ("CANCELED", -2013)
    assert "mine" not in {order["clientOrderId"] for order in listed}


async def test_a_filled_order_is_forgotten_after_ninety_days(desk: Desk) -> None:
    """Its trades stay."""
    placed = await desk("POST", ORDER, **MARKET)
    desk.clock.now += 90 * DAY
    kept = await desk("GET", ORDER, symbol="BTCUSDT", orderId=placed["orderId"])
    desk.clock.now += 1
    gone = await desk("GET", ORDER, symbol="BTCUSDT", orderId=placed["orderId"])
    trades = await desk("GET", "um/userTrades", symbol="BTCUSDT", fromId=0)

    assert (kept["status"], gone["code"]) == ("FILLED", -2013)
    assert placed["orderId"] in {trade["orderId"] for trade in trades}


async def test_all_orders_from_an_id_on(desk: Desk) -> None:
    """Ascending, with the order of that id, and no more than the limit."""
    ids = [(await place(desk))["orderId"] for _ in range(4)]
    rows = await desk("GET", "um/allOrders", symbol="BTCUSDT", orderId=ids[1], limit=2)
    latest = await desk("GET", "um/allOrders", symbol="BTCUSDT", limit=2)

    assert [row["orderId"] for row in rows] == ids[1:3]
    assert [row["orderId"] for row in latest] == ids[2:]


async def test_windows_are_limited(desk: Desk) -> None:
    """Seven days, and not backwards."""
    end = int(desk.clock.now * 1000)
    wide = await desk("GET", "um/userTrades", symbol="BTCUSDT", startTime=end - 8 * DAY * 1000, endTime=end)
    turned = await desk("GET", "um/userTrades", symbol="BTCUSDT", startTime=end, endTime=end - 1)
    both = await desk("GET", "um/userTrades", symbol="BTCUSDT", startTime=end, fromId=1)

    assert (wide["code"], turned["code"], both["code"]) == (-4165, -1023, -1128)


async def test_funding_every_eight_hours(desk: Desk) -> None:
    """Each position pays or receives, and the wallet follows."""
    held = len(await desk("GET", "um/positionRisk"))
    desk.clock.now += 8 * 3600
    rows = await desk("GET", "um/income", incomeType="FUNDING_FEE")
    everything = await desk("GET", "um/income", limit=1000)
    wallet = (await desk("GET", "/papi/v2/um/account"))["assets"][0]["crossWalletBalance"]

    assert len(rows) == held
    assert sum(Decimal(row["income"]) for row in everything) == Decimal(wallet)


async def test_leverage_limits_the_position(desk: Desk) -> None:
    """With a higher leverage the largest position is smaller."""
    await desk("POST", "um/leverage", symbol="BTCUSDT", leverage=125)
    refused = await place(desk, quantity="20")

    assert refused["code"] == -2027


async def test_fees_are_paid_in_bnb_if_wanted(desk: Desk) -> None:
    """If the wallet has none, they are paid in the settlement asset."""
    await desk("POST", "um/feeBurn", feeBurn=True)
    await desk("POST", ORDER, **MARKET)

    trades = await desk("GET", "um/userTrades", symbol="BTCUSDT")
    assert trades[-1]["commissionAsset"] == "USDT"
    assert await desk("GET", "um/feeBurn") == {"feeBurn": True}


async def test_margin_limits_the_position(desk: Desk) -> None:
    """Without leverage, an order needs its whole value."""
    await desk("POST", "um/leverage", symbol="BTCUSDT", leverage=1)
    quantity = (desk.exchange.statement(desk.account).free / 50_000).quantize(Decimal("0.001")) + 1
    refused = await place(desk, quantity=quantity)
    accepted = await place(desk, quantity=quantity - 2)

    assert (refused["code"], accepted["status"]) == (-2019, "NEW")


@pytest.mark.parametrize(
    ("fall", "status"), [("0.02", "REDUCE_ONLY"), ("0.045", "FORCE_LIQUIDATION"), ("0.3", "BANKRUPTED")]
)
async def test_an_account_in_need_is_liquidated(poor: Desk, fall: str, status: str) -> None:
    """Its orders are cancelled, its positions closed by force, and new orders refused."""
    before = {row["symbol"]: Decimal(row["positionAmt"]) for row in await poor("GET", "um/positionRisk")}
    orders = [order["orderId"] for order in await poor("GET", "um/openOrders")]
    for symbol, amount in before.items():
        price = poor.exchange.market.price(symbol, poor.clock.now)
        poor.move(symbol, price * (1 - Decimal(fall).copy_sign(amount)))
    poor.clock.now += 1
    told = (await poor("GET", "account"))["accountStatus"]
    refused = await place(poor)
    forced = await poor("GET", "um/forceOrders")
    after = {row["symbol"]: Decimal(row["positionAmt"]) for row in await poor("GET", "um/positionRisk")}

    assert told == status
    assert refused["code"] == (-4407 if status == "REDUCE_ONLY" else -2023)
    assert bool(forced) is (status != "REDUCE_ONLY")
    assert {order["symbol"] for order in forced} == (set(before) if forced else set())
    assert all(order["clientOrderId"].startswith("autoclose-") for order in forced)
    assert all(abs(after.get(symbol, Decimal(0))) < abs(amount) for symbol, amount in before.items() if forced)
    open_orders = {order.order_id for order in poor.orders() if order.status == "NEW"}
    assert open_orders == (set() if forced else set(orders))


@pytest.mark.parametrize(
    ("name", "effects", "records"),
    [
        ("lost request", 0, 0),
        ("lost response", 1, 1),
        ("late effect", 0, 0),
        ("response without effect", 0, 0),
        ("delivered twice", 2, 2),
        ("not found at first", 1, 1),
        ("timeout, done", 1, 1),
        ("timeout, not done", 0, 0),
        ("unknown error, done", 1, 1),
        ("service unavailable", 0, 0),
        ("throttled", 0, 0),
    ],
)
async def test_faults_of_writes(desk: Desk, name: str, effects: int, records: int) -> None:
    """The truth of the exchange tells what each fault did to a market order."""
    desk.exchange.inject(WRITE_FAULTS[name])
    try:
        answer = await desk("POST", ORDER, **MARKET, newClientOrderId="mine")
    except ConnectionResetError:
        answer = None

    assert (answer is None) is WRITE_FAULTS[name].drop
    assert desk.exchange.requests[-1].effects == effects
    assert len(desk.orders("mine")) == records


async def test_a_late_effect(desk: Desk) -> None:
    """The order appears when the delay is over, at the price of that time."""
    desk.exchange.inject(Fault(method="POST", path="/papi/v1/um/order", drop=True, effect_after=3.0))
    with pytest.raises(ConnectionResetError):
        await desk("POST", ORDER, **MARKET, newClientOrderId="mine")
    desk.clock.now += 2.9
    before = await desk("GET", ORDER, symbol="BTCUSDT", origClientOrderId="mine")
    desk.clock.now += 0.2
    after = await desk("GET", ORDER, symbol="BTCUSDT", origClientOrderId="mine")

    assert (before["code"], after["status"]) == (-2013, "FILLED")
    assert after["time"] == int(desk.clock.now * 1000) - 100


async def test_no_effect_after_the_receive_window(desk: Desk) -> None:
    """A request that is delayed beyond its recvWindow never has an effect."""
    desk.exchange.inject(Fault(drop=True, effect_after=3.0))
    with pytest.raises(ConnectionResetError):
        await desk("POST", ORDER, **MARKET, newClientOrderId="mine", recvWindow=2000)
    desk.clock.now += 10

    assert desk.orders("mine") == ()
    assert desk.exchange.requests[-1].effects == 0


async def test_an_order_may_be_hidden_at_first(desk: Desk) -> None:
    """Queries say -2013 for a while after the exchange accepted it."""
    desk.exchange.inject(Fault(hidden_for=2.0))
    placed = await place(desk, newClientOrderId="mine")
    at_once = await desk("GET", ORDER, symbol="BTCUSDT", orderId=placed["orderId"])
    listed = await desk("GET", "um/openOrders", symbol="BTCUSDT")
    desk.clock.now += 2.0
    later = await desk("GET", ORDER, symbol="BTCUSDT", orderId=placed["orderId"])

    assert (at_once["code"], listed, later["status"]) == (-2013, [], "NEW")


@pytest.mark.parametrize("fields", [{"deliveries": 0}, {"effect_after": 1.0}])
def test_faults_that_make_no_sense(fields: dict[str, Any]) -> None:
    """They are refused when they are made."""
    with pytest.raises(ValueError, match=r"deliveries|effect_after"):
        Fault(**fields)
