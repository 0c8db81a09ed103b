"""Long histories: how they are made, how long rows are kept, and which rows a full response has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from binance_pm.sandbox import Exchange, SimulatedAccount
from binance_pm.sandbox.past import KINDS
from tests.sandbox.conftest import NOON, Caller, Desk
from tests.support.clocks import FakeClock

NOW = int(NOON * 1000)
DAY = 86_400_000
PATHS = {
    "um.all_orders": ("um/allOrders", {"symbol": "BTCUSDT", "orderId": 1}, "time"),
    "cm.all_orders": ("cm/allOrders", {"pair": "BTCUSD", "orderId": 1}, "time"),
    "um.trades": ("um/userTrades", {"symbol": "BTCUSDT", "fromId": 1}, "time"),
    "cm.trades": ("cm/userTrades", {"symbol": "BTCUSD_PERP", "fromId": 1}, "time"),
    "um.income": ("um/income", {"startTime": NOW - 60 * DAY, "symbol": "BTCUSDT"}, "time"),
    "cm.income": ("cm/income", {"startTime": NOW - 60 * DAY}, "time"),
    "margin.loan_history": ("margin/marginLoan", {"asset": "BTC", "startTime": NOW - 5 * DAY}, "timestamp"),
    "margin.repay_history": ("margin/repayLoan", {"asset": "BTC", "startTime": NOW - 5 * DAY}, "timestamp"),
    "margin.interest_history": (
        "margin/marginInterestHistory",
        {"asset": "BTC", "startTime": NOW - 5 * DAY},
        "interestAccuredTime",
    ),
}


def add(desk: Desk, name: str, times: list[int], **more: Any) -> None:
    """Add rows to a list of the desk."""
    symbol = "BTCUSD_PERP" if name.startswith("cm.") else "BTCUSDT"
    desk.exchange.add_history(desk.account, name, times, symbol=symbol, **more)


async def times_of(desk: Desk, name: str, **more: object) -> list[int]:
    """Return the times that a list shows, oldest first."""
    path, parameters, time = PATHS[name]
    shown = await desk("GET", path, **(parameters | more))
    rows = cast("list[dict[str, Any]]", shown if isinstance(shown, list) else shown["rows"])
    # The account itself was opened at noon.
    return sorted(row[time] for row in rows if row[time] < NOW)


@pytest.mark.parametrize("name", KINDS)
async def test_rows_of_the_past_are_shown(desk: Desk, name: str) -> None:
    """In each list that can be extended, once their time has come."""
    times = [NOW - 3 * DAY, NOW - 2 * DAY, NOW - 2 * DAY, NOW - 5_000]
    add(desk, name, times, late={NOW - 5_000: 60_000})

    first = await times_of(desk, name)
    desk.clock.now += 61

    assert (first, await times_of(desk, name)) == (times[:3], times)


async def test_ids_are_in_the_order_of_time(desk: Desk) -> None:
    """Also those of rows that are added before others."""
    add(desk, "um.trades", [NOW - 2 * DAY, NOW - DAY])
    add(desk, "um.trades", [NOW - 4 * DAY, NOW - 3 * DAY])

    rows = await desk("GET", "um/userTrades", symbol="BTCUSDT", fromId=1)

    assert [row["time"] for row in rows] == [NOW - days * DAY for days in (4, 3, 2, 1)]
    assert [row["id"] for row in rows] == sorted({row["id"] for row in rows})


async def test_added_income_changes_the_balance(desk: Desk) -> None:
    """The rows of a wallet still add up to it."""
    before = await desk("GET", "balance", asset="USDT")
    add(desk, "um.income", [NOW - DAY])
    after = await desk("GET", "balance", asset="USDT")

    assert float(after["umWalletBalance"]) - float(before["umWalletBalance"]) == pytest.approx(0.01)


async def test_old_rows_disappear(desk: Desk) -> None:
    """Trades of futures and income of USD-M after three months, orders after 90 days."""
    times = [NOW - 95 * DAY, NOW - 91 * DAY, NOW - DAY]
    for name in ("um.trades", "um.income", "um.all_orders"):
        add(desk, name, times)

    assert await times_of(desk, "um.trades") == times[1:]
    assert await times_of(desk, "um.income", startTime=NOW - 92 * DAY, endTime=NOW - DAY) == times[1:]
    # The order of the trades is as old as the first of them.
    assert await times_of(desk, "um.all_orders") == times[2:]


@pytest.mark.parametrize("newest", [False, True])
async def test_a_full_window_has_the_oldest_or_the_newest_rows(
    calling: Callable[[Exchange], Caller], clock: FakeClock, *, newest: bool
) -> None:
    """Which of them the real exchange shows is not documented."""
    account = SimulatedAccount("desk", uni_mmr="50")
    exchange = Exchange(accounts=[account], clock=clock, sleep=clock.sleep, newest_rows=newest)
    desk = Desk(calling(exchange), account)
    times = [NOW - DAY + number for number in range(5)]
    for name in ("um.trades", "um.income"):
        add(desk, name, times)

    for path in ("um/userTrades", "um/income"):
        rows = await desk("GET", path, symbol="BTCUSDT", startTime=NOW - DAY, endTime=NOW - 1, limit=3)
        assert [row["time"] for row in rows] == (times[2:] if newest else times[:3])
    rows = await desk("GET", "um/userTrades", symbol="BTCUSDT", fromId=1, limit=3)
    assert [row["time"] for row in rows] == times[:3]


@pytest.mark.parametrize(("name", "symbol"), [("um.position_risk", "BTCUSDT"), ("um.trades", "XYZ")])
def test_other_lists_and_symbols_are_refused(desk: Desk, name: str, symbol: str) -> None:
    """The text names what can be extended."""
    with pytest.raises(ValueError, match=r"extended|symbol"):
        desk.exchange.add_history(desk.account, name, [NOW], symbol=symbol)


def test_no_rows_are_no_change(desk: Desk) -> None:
    """An empty history can be added."""
    before = len(desk.orders())

    desk.exchange.add_history(desk.account, "um.trades", [])

    assert len(desk.orders()) == before
