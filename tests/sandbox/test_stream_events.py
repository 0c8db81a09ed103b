"""Every change of an account pushes the events that the exchange would push, in the same order."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from binance_pm.api.stream_events import EVENT_TYPES, decode_event
from binance_pm.sandbox import Fault
from tests.support.encoded import encoded
from tests.support.followers import FakeFollower

if TYPE_CHECKING:
    from tests.sandbox.conftest import Desk

HOUR = 3600
LIMIT = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.010"}
MARKET = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.010"}
CM = {"symbol": "BTCUSD_PERP", "side": "BUY", "type": "MARKET", "quantity": "2"}
STOP = {"symbol": "BTCUSDT", "side": "SELL", "quantity": "0.010", "algoType": "CONDITIONAL", "type": "STOP_MARKET"}
MARGIN = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01"}
OCO = {"symbol": "BTCUSDT", "side": "BUY", "quantity": "0.01", "price": "59000", "stopPrice": "61000"}


@pytest.fixture
async def follower(desk: Desk) -> FakeFollower:
    """Return a connection that follows the account of the desk."""
    return await following(desk)


async def following(desk: Desk) -> FakeFollower:
    """Return a connection that follows an account."""
    follower = FakeFollower((await desk("POST", "listenKey"))["listenKey"])
    desk.exchange.streams.open(follower)
    return follower


def kinds(events: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Return the type, execution type and status of each event."""
    return [kind(event) for event in events]


def kind(event: dict[str, Any]) -> tuple[str, ...]:
    """Return the type, execution type and status of an event."""
    names = {
        "ORDER_TRADE_UPDATE": ("order", "o", "x", "X"),
        "ACCOUNT_UPDATE": ("account", "a", "m"),
        "ALGO_UPDATE": ("algo", "ao", "X"),
        "CONDITIONAL_ORDER_TRADE_UPDATE": ("strategy", "so", "os"),
    }
    flat = {"executionReport": ("margin", "x", "X"), "listStatus": ("list", "l")}
    if event["e"] in names:
        name, inner, *fields = names[event["e"]]
        return name, *(event[inner][field] for field in fields)
    name, *fields = flat.get(event["e"], (event["e"],))
    return name, *(event[field] for field in fields)


def check(events: list[dict[str, Any]]) -> None:
    """Check that every event has exactly the fields that the exchange documents, and is pushed in the order of E."""
    for event in events:
        decoded = decode_event(msgspec.json.encode(event))
        assert type(decoded) is EVENT_TYPES[event["e"]]
        assert encoded(decoded, event) == event
    assert [event["E"] for event in events] == sorted(event["E"] for event in events)


async def test_a_resting_order_pushes_no_balance(desk: Desk, follower: FakeFollower) -> None:
    """Placing, changing and cancelling an order push only events of the order, with the values of the query."""
    placed = await desk("POST", "um/order", **LIMIT, price="50000", newClientOrderId="mine")
    change = {"symbol": "BTCUSDT", "side": "BUY", "orderId": placed["orderId"]}
    await desk("PUT", "um/order", **change, price="50100", quantity="0.020", modifyId=7)
    await desk("DELETE", "um/order", symbol="BTCUSDT", origClientOrderId="mine")

    events = follower.take()
    check(events)
    assert kinds(events) == [("order", "NEW", "NEW"), ("order", "AMENDMENT", "NEW"), ("order", "CANCELED", "CANCELED")]
    new, amended, cancelled = (event["o"] for event in events)
    assert (new["i"], new["c"], new["p"], new["q"], new["b"]) == (
        placed["orderId"],
        "mine",
        "50000.00",
        "0.010",
        "500.00000",
    )
    assert (amended["M"], amended["p"], amended["b"]) == ("7", "50100.00", "1002.00000")
    assert (cancelled["b"], events[0]["fs"], events[0]["i"]) == ("0.00000", "UM", "")


async def test_a_fill_pushes_the_account_first(desk: Desk, follower: FakeFollower) -> None:
    """ACCOUNT_UPDATE comes before ORDER_TRADE_UPDATE, and both have the values of the queries."""
    await desk("POST", "um/order", **LIMIT, price="59000", newClientOrderId="mine")
    follower.take()

    desk.move("BTCUSDT", "58900")

    account, order = events = follower.take()
    check(events)
    assert kinds(events) == [("account", "ORDER"), ("order", "TRADE", "FILLED")]
    assert account["T"] == order["T"] == order["o"]["T"]
    queried = await desk("GET", "um/order", symbol="BTCUSDT", origClientOrderId="mine")
    [trade] = [
        one for one in await desk("GET", "um/userTrades", symbol="BTCUSDT") if one["orderId"] == queried["orderId"]
    ]
    fields = order["o"]
    assert (fields["i"], fields["X"], fields["z"]) == (queried["orderId"], queried["status"], queried["executedQty"])
    assert (fields["ap"], order["T"]) == (queried["avgPrice"], queried["updateTime"])
    assert (fields["t"], fields["L"], fields["l"]) == (trade["id"], trade["price"], trade["qty"])
    assert (fields["n"], fields["N"], fields["m"]) == (trade["commission"], trade["commissionAsset"], trade["maker"])
    assert fields["rp"] == trade["realizedPnl"]


async def test_positions_and_balances_equal_the_queries(desk: Desk, follower: FakeFollower) -> None:
    """The amounts of ACCOUNT_UPDATE equal those of the account and of the position risk."""
    await desk("POST", "um/order", **MARKET)

    [update] = [event for event in follower.take() if event["e"] == "ACCOUNT_UPDATE"]
    risk = next(row for row in await desk("GET", "um/positionRisk") if row["symbol"] == "BTCUSDT")
    account = await desk("GET", "/papi/v2/um/account")
    [position], [balance] = update["a"]["P"], update["a"]["B"]
    assert (position["pa"], position["ep"], position["bep"]) == (
        risk["positionAmt"],
        risk["entryPrice"],
        risk["breakEvenPrice"],
    )
    assert (position["up"], update["T"]) == (risk["unRealizedProfit"], risk["updateTime"])
    [usdt] = [row for row in account["assets"] if row["asset"] == "USDT"]
    assert (balance["wb"], balance["cw"], balance["bc"]) == (
        usdt["crossWalletBalance"],
        usdt["crossWalletBalance"],
        "0",
    )


async def test_hedge_mode_pushes_every_side_of_the_symbol(desk: Desk, follower: FakeFollower) -> None:
    """In hedge mode, the event contains the empty position BOTH and the unchanged other leg."""
    for row in await desk("GET", "um/positionRisk"):
        side = "SELL" if Decimal(row["positionAmt"]) > 0 else "BUY"
        amount = row["positionAmt"].lstrip("-")
        await desk("POST", "um/order", symbol=row["symbol"], side=side, type="MARKET", quantity=amount)
        await desk("DELETE", "um/allOpenOrders", symbol=row["symbol"])
    await desk("POST", "um/positionSide/dual", dualSidePosition=True)
    follower.take()

    await desk("POST", "um/order", **MARKET, positionSide="LONG")

    [update] = [event for event in follower.take() if event["e"] == "ACCOUNT_UPDATE"]
    check([update])
    assert [(row["ps"], Decimal(row["pa"])) for row in update["a"]["P"]] == [
        ("BOTH", 0),
        ("LONG", Decimal("0.010")),
        ("SHORT", 0),
    ]


async def test_coin_m_has_its_own_product(desk: Desk, follower: FakeFollower) -> None:
    """Events of COIN-M count contracts, and contain the asset of the contract and the account's alias."""
    await desk("POST", "cm/order", **CM)

    events = follower.take()
    check(events)
    assert kinds(events) == [("order", "NEW", "NEW"), ("account", "ORDER"), ("order", "TRADE", "FILLED")]
    assert {event["fs"] for event in events} == {"CM"}
    assert (events[1]["a"]["P"][0]["pa"], events[1]["a"]["B"][0]["a"], events[2]["o"]["N"]) == ("2", "BTC", "BTC")
    assert events[2]["i"]


async def test_an_order_that_must_not_rest_expires(desk: Desk, follower: FakeFollower) -> None:
    """An IOC order without a match is EXPIRED."""
    await desk("POST", "um/order", **(LIMIT | {"timeInForce": "IOC"}), price="59000")

    events = follower.take()
    check(events)
    assert kinds(events) == [("order", "NEW", "NEW"), ("order", "EXPIRED", "EXPIRED")]


async def test_self_trade_prevention_expires_in_match(desk: Desk, follower: FakeFollower) -> None:
    """The order that must not be matched is EXPIRED, with the status EXPIRED_IN_MATCH."""
    await desk("POST", "um/order", **LIMIT, price="60000")
    follower.take()

    sale = LIMIT | {"side": "SELL", "quantity": "0.600", "selfTradePreventionMode": "EXPIRE_MAKER"}
    await desk("POST", "um/order", **sale, price="59990")

    assert ("order", "EXPIRED", "EXPIRED_IN_MATCH") in kinds(follower.take())


async def test_an_algo_order_is_reported_until_it_is_finished(desk: Desk, follower: FakeFollower) -> None:
    """An algo order pushes NEW, TRIGGERING, TRIGGERED, the events of its order, and FINISHED."""
    placed = await desk("POST", "um/algo/order", **STOP, triggerPrice="59000", clientAlgoId="stop-1")
    desk.move("BTCUSDT", "58900")

    events = follower.take()
    check(events)
    assert kinds(events) == [
        ("algo", "NEW"),
        ("algo", "TRIGGERING"),
        ("algo", "TRIGGERED"),
        ("order", "NEW", "NEW"),
        ("account", "ORDER"),
        ("order", "TRADE", "FILLED"),
        ("algo", "FINISHED"),
    ]
    queried = await desk("GET", "um/algo/algoOrder", algoId=placed["algoId"])
    finished = events[-1]["ao"]
    assert (finished["aid"], finished["X"], finished["ai"]) == (
        placed["algoId"],
        queried["algoStatus"],
        queried["actualOrderId"],
    )
    assert str(events[3]["o"]["i"]) == events[2]["ao"]["ai"] == finished["ai"]


async def test_a_cancelled_algo_order_is_reported(desk: Desk, follower: FakeFollower) -> None:
    """The last event of a cancelled algo order is CANCELED."""
    placed = await desk("POST", "um/algo/order", **STOP, triggerPrice="50000")
    await desk("DELETE", "um/algo/order", algoId=placed["algoId"])

    assert kinds(follower.take()) == [("algo", "NEW"), ("algo", "CANCELED")]


async def test_a_conditional_order_names_the_order_that_it_placed(desk: Desk, follower: FakeFollower) -> None:
    """The order of a COIN-M strategy has the strategy's id and type, and the trigger has the order's id."""
    sent = {"symbol": "BTCUSD_PERP", "side": "SELL", "quantity": "1", "strategyType": "STOP_MARKET"}
    placed = await desk("POST", "cm/conditional/order", **sent, stopPrice="59000", newClientStrategyId="strategy")
    desk.move("BTCUSDT", "58900")

    events = follower.take()
    check(events)
    assert kinds(events)[:3] == [("strategy", "NEW"), ("strategy", "TRIGGERED"), ("order", "NEW", "NEW")]
    trigger, order = events[1]["so"], events[2]["o"]
    assert (order["si"], order["st"]) == (placed["strategyId"], "C_STOP_MARKET")
    assert trigger["i"] == order["i"]


async def test_a_margin_order_pushes_balances_after_each_report(desk: Desk, follower: FakeFollower) -> None:
    """The balance is locked, exchanged and released, with the values of the query."""
    placed = await desk("POST", "margin/order", **MARGIN, price="59000", newClientOrderId="mine")
    desk.move("BTCUSDT", "58900")

    events = follower.take()
    check(events)
    assert kinds(events) == [
        ("margin", "NEW", "NEW"),
        ("outboundAccountPosition",),
        ("margin", "TRADE", "FILLED"),
        ("outboundAccountPosition",),
    ]
    [usdt] = [row for row in events[1]["B"] if row["a"] == "USDT"]
    assert usdt["l"] == "590.00000000"
    report = events[2]
    [trade] = await desk("GET", "margin/myTrades", symbol="BTCUSDT")
    assert (report["i"], report["t"], report["n"], report["N"]) == (
        placed["orderId"],
        trade["id"],
        trade["commission"],
        trade["commissionAsset"],
    )
    assert report["I"] > events[0]["I"]
    assert events[3]["U"] > events[1]["U"]
    held = {row["asset"]: row for row in await desk("GET", "balance")}
    for row in events[3]["B"]:
        assert (row["f"], row["l"]) == (held[row["a"]]["crossMarginFree"], held[row["a"]]["crossMarginLocked"])


async def test_a_cancelled_margin_order_has_both_ids(desk: Desk, follower: FakeFollower) -> None:
    """The report has the id of the request, and the id of the order as the original one."""
    await desk("POST", "margin/order", **MARGIN, price="55000", newClientOrderId="mine")
    follower.take()
    await desk("DELETE", "margin/order", symbol="BTCUSDT", origClientOrderId="mine", newClientOrderId="cancel-mine")

    report, balances = events = follower.take()
    check(events)
    assert (report["x"], report["c"], report["C"]) == ("CANCELED", "cancel-mine", "mine")
    assert [row["l"] for row in balances["B"]] == ["0.00000000"]


async def test_an_order_list_is_reported_from_start_to_end(desk: Desk, follower: FakeFollower) -> None:
    """Both orders and the list are pushed; after one order is filled, the other expires and the list is done."""
    placed = await desk("POST", "margin/order/oco", **OCO)
    desk.move("BTCUSDT", "58900")

    events = [event for event in follower.take() if event["e"] != "outboundAccountPosition"]
    check(events)
    assert kinds(events) == [
        ("margin", "NEW", "NEW"),
        ("margin", "NEW", "NEW"),
        ("list", "EXEC_STARTED"),
        ("margin", "EXPIRED", "EXPIRED"),
        ("margin", "TRADE", "FILLED"),
        ("list", "ALL_DONE"),
    ]
    assert {event["g"] for event in events} == {placed["orderListId"]}


async def test_a_cancelled_list_is_done_once(desk: Desk, follower: FakeFollower) -> None:
    """A cancelled list is reported as done once, after both of its orders."""
    placed = await desk("POST", "margin/order/oco", **OCO)
    follower.take()
    await desk("DELETE", "margin/orderList", symbol="BTCUSDT", orderListId=placed["orderListId"])

    events = [event for event in follower.take() if event["e"] != "outboundAccountPosition"]
    assert kinds(events) == [("margin", "CANCELED", "CANCELED")] * 2 + [("list", "ALL_DONE")]


async def test_self_trade_prevention_of_margin_names_the_counterparty(desk: Desk, follower: FakeFollower) -> None:
    """The report has the prevented quantity and the order that would have been matched."""
    maker = await desk("POST", "margin/order", **MARGIN, price="60000")
    follower.take()
    sale = {
        "side": "SELL",
        "quantity": "0.6",
        "sideEffectType": "MARGIN_BUY",
        "selfTradePreventionMode": "EXPIRE_MAKER",
    }
    taker = await desk("POST", "margin/order", **(MARGIN | sale), price="59990")

    events = follower.take()
    check(events)
    [report] = [event for event in events if event.get("x") == "TRADE_PREVENTION"]
    assert (report["i"], report["X"], report["U"], report["A"]) == (
        maker["orderId"],
        "EXPIRED_IN_MATCH",
        taker["orderId"],
        "0.01000000",
    )


async def test_loans_push_the_debt(desk: Desk, follower: FakeFollower) -> None:
    """Borrowing and repaying push principal, interest and the whole debt, and then the balance."""
    borrowed = await desk("POST", "marginLoan", asset="BTC", amount="0.1")
    repaid = await desk("POST", "repayLoan", asset="BTC", amount="0.05")

    events = follower.take()
    check(events)
    assert [event["e"] for event in events] == ["liabilityChange", "outboundAccountPosition"] * 2
    loan, repayment = events[0], events[2]
    assert (loan["t"], loan["T"], loan["p"]) == ("BORROW", borrowed["tranId"], "0.10000000")
    assert (repayment["t"], repayment["T"]) == ("REPAY", repaid["tranId"])
    assert Decimal(repayment["p"]) + Decimal(repayment["i"]) == Decimal("0.05")
    [btc] = [row for row in await desk("GET", "balance") if row["asset"] == "BTC"]
    assert Decimal(repayment["l"]) == Decimal(btc["crossMarginBorrowed"]) + Decimal(btc["crossMarginInterest"])


async def test_a_transfer_pushes_difference_and_result(desk: Desk, follower: FakeFollower) -> None:
    """Cross margin gets a difference and its balance, and the futures wallet an update without positions."""
    await desk("POST", "asset-collection", asset="USDT")

    difference, update, result = events = follower.take()
    check(events)
    assert kinds(events) == [("balanceUpdate",), ("account", "ASSET_TRANSFER"), ("outboundAccountPosition",)]
    [balance] = update["a"]["B"]
    assert (balance["wb"], Decimal(balance["bc"]), update["a"]["P"]) == ("0.00000000", -Decimal(difference["d"]), [])
    [usdt] = [row for row in await desk("GET", "balance") if row["asset"] == "USDT"]
    assert result["B"] == [{"a": "USDT", "f": usdt["crossMarginFree"], "l": "0.00000000"}]


async def test_a_change_of_leverage_is_pushed(desk: Desk, follower: FakeFollower) -> None:
    """A change of leverage is pushed for each product."""
    await desk("POST", "um/leverage", symbol="BTCUSDT", leverage=10)
    await desk("POST", "cm/leverage", symbol="BTCUSD_PERP", leverage=5)

    events = follower.take()
    check(events)
    assert [(event["fs"], event["ac"]) for event in events] == [
        ("UM", {"s": "BTCUSDT", "l": 10}),
        ("CM", {"s": "BTCUSD_PERP", "l": 5}),
    ]


async def test_funding_names_its_symbol_and_no_position(desk: Desk, follower: FakeFollower) -> None:
    """The event of funding names the symbol but no position."""
    for _ in range(16):
        desk.clock.now += HOUR / 2
        await desk("POST", "listenKey")
    events = [event for event in follower.take() if event["e"] == "ACCOUNT_UPDATE"]

    check(events)
    rows = await desk("GET", "um/income", incomeType="FUNDING_FEE")
    assert events
    assert {(event["a"]["S"], Decimal(event["a"]["B"][0]["bc"])) for event in events} == {
        (row["symbol"], Decimal(row["income"])) for row in rows
    }
    assert all((event["a"]["m"], event["a"]["P"]) == ("FUNDING_FEE", []) for event in events)


async def test_a_liquidation_is_reported_as_such(poor: Desk) -> None:
    """Liquidation orders are CALCULATED and then filled, after the open orders were cancelled."""
    follower = await following(poor)
    held = await poor("GET", "um/positionRisk")
    row = max(held, key=lambda one: abs(Decimal(one["notional"])))
    factor = Decimal("0.6") if Decimal(row["positionAmt"]) > 0 else Decimal("1.6")

    poor.move(row["symbol"], str((Decimal(row["markPrice"]) * factor).quantize(Decimal("0.1"))))

    events = follower.take()
    check(events)
    forced = [event["o"] for event in events if event["e"] == "ORDER_TRADE_UPDATE" and event["o"]["o"] == "LIQUIDATION"]
    assert forced[0]["c"].startswith("autoclose-")
    assert [(one["x"], one["X"]) for one in forced[:2]] == [("CALCULATED", "NEW"), ("TRADE", "FILLED")]
    assert ("order", "CANCELED", "CANCELED") in kinds(events)


async def test_the_risk_level_is_pushed_when_it_gets_worse(poor: Desk) -> None:
    """Both streams push the risk level once, each with its own event name, with the figures of the account."""
    follower = await following(poor)
    pro = FakeFollower((await poor("POST", "/fapi/v1/listenKey"))["listenKey"], product="pro")
    streams = poor.exchange.streams
    streams.open(pro)
    streams.tick()
    held = await poor("GET", "um/positionRisk")
    row = max(held, key=lambda one: abs(Decimal(one["notional"])))
    factor = Decimal("0.97") if Decimal(row["positionAmt"]) > 0 else Decimal("1.03")
    poor.move(row["symbol"], str((Decimal(row["markPrice"]) * factor).quantize(Decimal("0.1"))))
    for _ in range(3):
        poor.clock.now += 1.5
        streams.tick()

    [level] = [event for event in follower.take() if event["e"] == "riskLevelChange"]
    [pro_level] = [event for event in pro.take() if event["e"] == "RISK_LEVEL_CHANGE"]
    check([level])
    check([pro_level])
    assert level["s"] == pro_level["s"] == "MARGIN_CALL"
    assert Decimal(level["u"]) < Decimal("1.5")


async def test_a_pro_account_is_pushed_every_five_seconds(desk: Desk) -> None:
    """The figures of a Pro account are pushed every five seconds."""
    pro = FakeFollower((await desk("POST", "/fapi/v1/listenKey"))["listenKey"], product="pro")
    desk.exchange.streams.open(pro)

    for _ in range(12):
        desk.exchange.streams.tick()
        desk.clock.now += 1

    events = pro.take()
    check(events)
    assert [event["e"] for event in events] == ["PM_PRO_ACCOUNT_UPDATE"] * 3
    account = await desk("GET", "/sapi/v1/portfolio/account")
    assert Decimal(events[-1]["eq"]) == pytest.approx(Decimal(account["accountEquity"]), rel=Decimal("0.01"))


async def test_a_discarded_effect_pushes_nothing(desk: Desk, follower: FakeFollower) -> None:
    """A discarded effect pushes nothing, a repeated effect pushes twice, and a late effect pushes later."""
    desk.exchange.inject(Fault(method="POST", discard=True))
    await desk("POST", "um/order", **MARKET)
    assert follower.take() == []

    desk.exchange.inject(Fault(method="POST", deliveries=2))
    await desk("POST", "um/order", **MARKET)
    assert [event["e"] for event in follower.take()].count("ACCOUNT_UPDATE") == 2

    desk.exchange.inject(Fault(method="POST", drop=True, effect_after=2))
    with pytest.raises(ConnectionResetError):
        await desk("POST", "um/order", **MARKET)
    assert follower.take() == []
    desk.clock.now += 3
    desk.exchange.streams.tick()
    assert ("order", "TRADE", "FILLED") in kinds(follower.take())
