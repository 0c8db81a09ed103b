"""Unrealized profit is known for each asset, and in total only if all assets are dollars."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import httpx
import msgspec
import pytest

from binance_pm.api.account import UmAccount
from binance_pm.fleet import Change, Fleet, Reading
from binance_pm.fleet.summary import in_dollars, profits_of
from binance_pm.metrics import Metrics
from tests.support.echo import Echo, events_of, watched
from tests.support.scrape import scrape


def position(symbol: str, profit: str) -> dict[str, Any]:
    """Return an open position as the exchange sends it."""
    amounts = dict.fromkeys(("initialMargin", "maintMargin", "notional"), "1")
    held = {"symbol": symbol, "positionSide": "BOTH", "updateTime": 0, "positionAmt": "1", "unrealizedProfit": profit}
    return amounts | held


def asset(name: str, profit: str) -> dict[str, Any]:
    """Return a margin asset as the exchange sends it."""
    names = ("crossWalletBalance", "maintMargin", "initialMargin", "positionInitialMargin", "openOrderInitialMargin")
    return dict.fromkeys(names, "0") | {"asset": name, "crossUnPnl": profit, "updateTime": 0}


def account(positions: dict[str, str], assets: dict[str, str] | None = None) -> bytes:
    """Return a body of um_account."""
    return msgspec.json.encode(
        {
            "assets": [asset(*one) for one in (assets or {}).items()],
            "positions": [position(*one) for one in positions.items()],
        }
    )


@pytest.mark.parametrize("assets", [{}, {"USDT": "10", "BTC": "-0.5"}, {"USDT": "0", "BTC": "0"}, {"USDT": "10"}])
def test_bitcoins_are_not_added_to_dollars(assets: dict[str, str]) -> None:
    """Whether or not the account lists its assets."""
    um = msgspec.json.decode(account({"BTCUSDT": "10", "ETHBTC": "-0.5"}, assets), type=UmAccount)

    profits = profits_of(um)

    assert profits == {"BTC": Decimal("-0.5"), "USDT": Decimal(10)}
    assert in_dollars(profits) is None


@pytest.mark.parametrize(
    ("symbol", "of"),
    [
        ("BTCUSDT", "USDT"),
        ("BTCUSDC", "USDC"),
        ("ETHBTC", "BTC"),
        ("BTCUSDT_260327", "USDT"),
        ("1000SATSFDUSD", "FDUSD"),
        ("BNBETH", "ETH"),
        ("BTC", "BTC"),
        ("SOMETHINGXYZ", "SOMETHINGXYZ"),
    ],
)
def test_the_asset_of_a_position_is_the_end_of_its_symbol(symbol: str, of: str) -> None:
    """An unknown asset is listed by its symbol, and is no dollar."""
    um = msgspec.json.decode(account({symbol: "-3"}), type=UmAccount)

    assert profits_of(um) == {of: Decimal(-3)}
    assert (in_dollars(profits_of(um)) is None) is (of not in {"USDT", "USDC", "FDUSD"})


def test_the_exchanges_own_sum_of_an_asset_is_used() -> None:
    """An asset listed by the account is recognised at the end of symbols."""
    body = account({"BTCUSDT": "1", "BTCXYZ": "2"}, {"USDT": "1.5", "XYZ": "0"})

    assert profits_of(msgspec.json.decode(body, type=UmAccount)) == {"USDT": Decimal("1.5"), "XYZ": Decimal(2)}


def test_dollars_of_several_kinds_are_added() -> None:
    """An asset without profit does not prevent the total."""
    um = msgspec.json.decode(account({"BTCUSDT": "10", "ETHUSDC": "-3", "ETHBTC": "0"}), type=UmAccount)

    assert in_dollars(profits_of(um)) == Decimal(7)
    assert in_dollars({}) == Decimal(0)


def test_a_fleet_reports_profit_by_asset() -> None:
    """After the contract in BTC is closed, the total is known again, in snapshots, events and metrics."""
    held = {"BTCUSDT": "10", "ETHBTC": "-0.5"}
    metrics = Metrics()
    texts: list[str] = []

    async def trouble(_: int) -> httpx.Response | None:
        return httpx.Response(200, content=account(held))

    async def act(echo: Echo, fleet: Fleet) -> None:
        metrics.watch(fleet)
        echo.trouble_at("/papi/v2/um/account", trouble)
        await asyncio.sleep(5)
        (snapshot,) = fleet.snapshot()
        assert (snapshot.unrealized_profit, snapshot.profits) == (None, {"BTC": Decimal("-0.5"), "USDT": Decimal(10)})
        texts.append(scrape(metrics.registry).text)
        del held["ETHBTC"]
        await asyncio.sleep(20)
        (snapshot,) = fleet.snapshot()
        assert (snapshot.unrealized_profit, snapshot.profits) == (Decimal(10), {"USDT": Decimal(10)})
        texts.append(scrape(metrics.registry).text)
        await asyncio.sleep(20)

    readings = events_of(Reading, watched(act))[:3]
    first, second, third = (
        {name: change for name, change in reading.changed.items() if "profit" in name} for reading in readings
    )

    assert first == {
        "unrealized_profit.BTC": Change(None, Decimal("-0.5")),
        "unrealized_profit.USDT": Change(None, Decimal(10)),
    }
    assert second == {
        "unrealized_profit": Change(None, Decimal(10)),
        "unrealized_profit.BTC": Change(Decimal("-0.5"), Decimal(0)),
        "unrealized_profit.USDT": Change(Decimal(10), None),
    }
    assert third == {}
    assert 'account_unrealized_profit{account="account-0",asset="BTC"} -0.5' in texts[0]
    assert 'account_unrealized_profit_usd{account="account-0"}' not in texts[0]
    assert 'account_unrealized_profit_usd{account="account-0"} 10.0' in texts[1]
