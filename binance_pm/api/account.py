"""The Portfolio Margin account as a whole."""

from __future__ import annotations

from decimal import Decimal

from msgspec import field

from binance_pm.endpoint import get
from binance_pm.enums import AccountStatus
from binance_pm.wire import Milliseconds, Model


class Account(Model, frozen=True):
    """The whole portfolio margin account, valued in USD."""

    uni_mmr: Decimal = field(name="uniMMR")
    """Equity over maintenance margin; liquidation begins at or below 1.05."""
    account_equity: Decimal
    """USD, after collateral haircut."""
    actual_equity: Decimal
    """USD, without collateral haircut."""
    account_initial_margin: Decimal
    """USD."""
    account_maint_margin: Decimal
    """USD."""
    account_status: AccountStatus
    """Risk state, as the exchange reports it."""
    virtual_max_withdraw_amount: Decimal
    """USD that may be transferred out at most."""
    total_available_balance: Decimal | None
    """USD; None where the exchange sends an empty text, as it does on real accounts."""
    total_margin_open_loss: Decimal | None
    """USD that open margin orders would lose; None where the exchange sends an empty text."""
    update_time: Milliseconds
    """Milliseconds since the epoch; 0 on an account that never changed."""


class AccountApi:
    """The account as a whole."""

    @get("/papi/v1/account", weight=20)
    async def account(self, *, recv_window: int | None = None) -> Account:
        """Equity, margin and risk state of the whole Portfolio Margin account.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/account/Account-Information
        (read 2026-11-21)
        """
        ...
