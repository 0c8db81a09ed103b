"""Responses of the sandbox agree with one another, and with the declared endpoints."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from decimal import Decimal
from typing import Literal

import pytest

from binance_pm import ENDPOINTS, Client, RequestRejected
from binance_pm.sandbox.handlers import HANDLERS
from binance_pm.testing import Sandbox

DAY = 24 * 3600 * 1000


@pytest.fixture(params=["direct", "httpx"])
async def client(pm_sandbox: Sandbox, request: pytest.FixtureRequest) -> AsyncGenerator[Client]:
    """A client of the first account, on either engine."""
    async with pm_sandbox.client(session=pm_sandbox.session(engine=request.param)) as client:
        yield client


def test_every_declared_endpoint_has_a_handler() -> None:
    """What the client declares can be tried without a key."""
    assert set(ENDPOINTS) <= HANDLERS.keys()


async def test_balances_are_the_accounts_equity(client: Client) -> None:
    """Wallets and unrealised profit add up, and the USD-M wallet is that of the USD-M side."""
    um, account, balances = await client.um_account(), await client.account(), await client.balance()
    by_asset = {balance.asset: balance for balance in balances}

    assert by_asset["USDT"].um_wallet_balance == um.assets[0].cross_wallet_balance
    assert by_asset["USDC"].total_wallet_balance == by_asset["USDC"].cross_margin_asset
    worth = sum(balance.total_wallet_balance + balance.um_unrealized_pnl for balance in balances)
    assert worth == pytest.approx(account.actual_equity, rel=Decimal("0.001"))


async def test_the_balance_of_one_asset(client: Client) -> None:
    """One object, without the field that the documents leave out; an unknown asset is refused."""
    balance = await client.balance("USDC")

    assert (balance.asset, balance.cross_margin_asset) == ("USDC", None)
    with pytest.raises(RequestRejected) as refused:
        await client.balance("XYZ")
    assert refused.value.code == -1108


async def test_no_account_has_coin_margined_positions(client: Client) -> None:
    """The COIN-M side is empty."""
    account = await client.cm_account()

    assert ([asset.asset for asset in account.assets], account.positions) == (["BTC"], [])


async def test_position_risk_is_that_of_the_positions(client: Client) -> None:
    """The open positions of the USD-M account, with prices that explain their profit."""
    held = {one.symbol: one for one in (await client.um_account()).positions if one.position_amt}
    risks = await client.um.position_risk()

    assert {risk.symbol: risk.position_amt for risk in risks} == {
        symbol: position.position_amt for symbol, position in held.items()
    }
    for risk in risks:
        gain = risk.position_amt * (risk.mark_price - risk.entry_price)
        assert risk.un_realized_profit == pytest.approx(gain, abs=Decimal("0.00001"))
        assert risk.notional == pytest.approx(risk.position_amt * risk.mark_price, abs=Decimal("0.00001"))
    assert [risk.symbol for risk in await client.um.position_risk(risks[0].symbol)] == [risks[0].symbol]
    assert await client.um.position_risk("TKN280USDT") == []


async def test_leverage_is_kept(client: Client, pm_sandbox: Sandbox) -> None:
    """It is the account's own, and shown with the largest notional that it allows."""
    symbol = (await client.um.position_risk())[0].symbol
    changed = await client.um.set_leverage(symbol, 5)
    [risk] = await client.um.position_risk(symbol)
    async with pm_sandbox.client(1) as other:
        others = await other.um.position_risk()

    assert (changed.symbol, changed.leverage) == (symbol, 5)
    assert (risk.leverage, risk.max_notional_value) == (5, changed.max_notional_value)
    assert {one.leverage for one in others} == {20}


@pytest.mark.parametrize(
    ("symbol", "leverage", "code"), [("BTCUSDT", 126, -4028), ("BTCUSDT", 0, -4028), ("X", 5, -1121)]
)
async def test_impossible_leverage_is_refused(client: Client, symbol: str, leverage: int, code: int) -> None:
    """A leverage out of range, and a symbol that the market does not have."""
    with pytest.raises(RequestRejected) as refused:
        await client.um.set_leverage(symbol, leverage, check=False)

    assert refused.value.code == code


async def test_open_orders_would_close_half_of_a_position(client: Client, pm_sandbox: Sandbox) -> None:
    """They only reduce, so they need no margin; all together they weigh forty times as much as those of one symbol."""
    held = {risk.symbol: risk for risk in await client.um.position_risk()}
    before = pm_sandbox.exchange.used("papi")
    orders = await client.um.open_orders()
    weights = [pm_sandbox.exchange.used("papi") - before]
    [order] = await client.um.open_orders(orders[0].symbol)
    weights.append(pm_sandbox.exchange.used("papi") - before - weights[0])

    assert weights == [40, 1]
    assert (order, len(orders), len({one.order_id for one in orders})) == (orders[0], 2, 2)
    for one in orders:
        position = held[one.symbol]
        assert one.orig_qty == pytest.approx(abs(position.position_amt) / 2, abs=1)
        assert one.side == ("SELL" if position.position_amt > 0 else "BUY")
        assert (one.reduce_only, one.executed_qty, one.status) == (True, 0, "NEW")
        assert (one.price > position.mark_price) is (one.side == "SELL")


async def test_income_adds_up_to_the_wallet(client: Client) -> None:
    """The deposit less the fees is what the wallet holds."""
    rows = await client.um.income()
    wallet = (await client.um_account()).assets[0].cross_wallet_balance

    assert sum(row.income for row in rows) == wallet
    assert len({(row.income_type, row.tran_id) for row in rows}) == len(rows)
    assert [row.symbol for row in rows if row.income_type == "TRANSFER"] == [""]


@pytest.mark.parametrize(
    ("income_type", "expected"), [("COMMISSION", True), ("TRANSFER", True), ("FUNDING_FEE", False)]
)
async def test_income_of_one_type(
    client: Client, income_type: Literal["COMMISSION", "TRANSFER", "FUNDING_FEE"], *, expected: bool
) -> None:
    """Only what is asked for comes back, and no more rows than the limit."""
    rows = await client.um.income(income_type=income_type)

    assert bool(rows) is expected
    assert {row.income_type for row in rows} <= {income_type}
    assert await client.um.income(income_type=income_type, limit=1) == rows[:1]


async def test_income_of_a_range(client: Client) -> None:
    """Both ends are included; nothing is outside, and an impossible range is refused."""
    opened = (await client.um.income(limit=1))[0].time

    assert await client.um.income(start_time=opened, end_time=opened)
    assert await client.um.income(start_time=opened - DAY, end_time=opened - 1) == []
    assert await client.um.income(end_time=opened + 8 * DAY) == []
    with pytest.raises(RequestRejected) as refused:
        await client.um.income(start_time=opened, end_time=opened - 1, check=False)
    assert refused.value.code == -1023
