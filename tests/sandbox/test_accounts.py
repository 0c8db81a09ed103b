"""Accounts are worth what their balances and positions say."""

from __future__ import annotations

from decimal import Decimal

import pytest

from binance_pm.sandbox import Exchange, SimulatedAccount
from binance_pm.sandbox.account import make_accounts
from binance_pm.sandbox.market import Market
from binance_pm.sandbox.state import AccountState
from binance_pm.sandbox.valuation import Statement

NOON = 1_800_000_000.0


@pytest.fixture
def market() -> Market:
    """A market that opened at noon."""
    return Market(seed=7, start=NOON)


@pytest.mark.parametrize("uni_mmr", ["1.10", "1.60", "12.00"])
def test_an_account_starts_where_it_is_told(market: Market, uni_mmr: str) -> None:
    """The uniMMR of an account at the start is the one it was made with."""
    statement = AccountState(SimulatedAccount("desk", uni_mmr=uni_mmr), market).statement(NOON)

    assert round(statement.uni_mmr, 6) == Decimal(uni_mmr)


def test_equity_follows_the_profit(market: Market) -> None:
    """Equity changes by exactly what the positions gain or lose."""
    before, after = (AccountState(SimulatedAccount("desk"), market).statement(NOON + elapsed) for elapsed in (0, 60))

    assert after.equity - before.equity == after.profit_in("USDT", after.um) - before.profit_in("USDT", before.um)


def test_profit_is_of_amount_and_price(market: Market) -> None:
    """A position gains its amount times the change of its price."""
    before, after = (
        AccountState(SimulatedAccount("desk"), market).statement(NOON + elapsed).rows[0] for elapsed in (0, 60)
    )

    change = market.price(before.symbol, NOON + 60) - market.price(before.symbol, NOON)

    assert after.profit - before.profit == before.amount * change


def test_some_accounts_are_short() -> None:
    """Not everybody bets on the same side."""
    market = Market(seed=7, start=NOON)
    rows = [row for account in make_accounts(12, seed=7) for row in AccountState(account, market).statement(NOON).rows]

    assert {row.amount > 0 for row in rows} == {True, False}


def test_statuses_change_within_a_minute() -> None:
    """Of a dozen accounts at least two pass a line in the first minute, and one reaches the last."""
    market = Market(seed=7, start=NOON)

    before, after = (
        [AccountState(one, market).statement(NOON + elapsed).status for one in make_accounts(12, seed=7)]
        for elapsed in (0, 60)
    )

    assert sum(was != now for was, now in zip(before, after, strict=True)) >= 2
    assert "FORCE_LIQUIDATION" in after


@pytest.mark.parametrize(
    ("equity", "status"),
    [
        ("1.51", "NORMAL"),
        ("1.50", "MARGIN_CALL"),
        ("1.21", "MARGIN_CALL"),
        ("1.20", "REDUCE_ONLY"),
        ("1.06", "REDUCE_ONLY"),
        ("1.05", "FORCE_LIQUIDATION"),
        ("-0.10", "FORCE_LIQUIDATION"),
    ],
)
def test_status_by_the_lines(market: Market, equity: str, status: str) -> None:
    """An account is in the state of the highest line it is above."""
    statement = AccountState(SimulatedAccount("desk"), market).statement(NOON)
    statement.__dict__["uni_mmr"] = Decimal(equity)

    assert statement.status == status


def test_nothing_is_free_in_need(market: Market) -> None:
    """Where initial margin needs more than there is, nothing is free."""
    statement = AccountState(SimulatedAccount("desk", uni_mmr="1.10"), market).statement(NOON)

    assert statement.free == 0


def test_margin_adds_up(market: Market) -> None:
    """The margin of the account is that of its positions."""
    statement = AccountState(SimulatedAccount("desk"), market).statement(NOON + 30)

    assert statement.initial == 2 * sum(row.maintenance for row in statement.rows)


def test_same_seed_same_exchange() -> None:
    """Two exchanges of one seed have the same accounts, keys and holdings."""

    def summary(statement: Statement) -> tuple[str, str, Decimal]:
        return statement.account.api_key, statement.account.api_secret, statement.equity

    one, two = (Exchange(clock=lambda: NOON) for _ in range(2))

    assert [summary(one.statement(account)) for account in one.accounts] == [
        summary(two.statement(account)) for account in two.accounts
    ]


def test_other_seed_other_exchange() -> None:
    """Another seed changes the keys."""
    assert Exchange(seed=1).accounts[0].api_key != Exchange(seed=2).accounts[0].api_key


def test_default_accounts_have_names() -> None:
    """Accounts are numbered from one."""
    assert [account.label for account in Exchange(accounts=2).accounts] == ["account-01", "account-02"]
