"""Portfolio Margin Pro accounts, with and without SPAN."""

from __future__ import annotations

from decimal import Decimal

from msgspec import field

from binance_pm.declaration import EndpointGroup, get
from binance_pm.enums import AccountStatus, AccountType
from binance_pm.limits import LimitType
from binance_pm.wire import Model


class ProAccount(Model, frozen=True):
    """A Portfolio Margin Pro account, valued in USD."""

    uni_mmr: Decimal = field(name="uniMMR")
    """Equity over maintenance margin: reduce only at or below 1.2, liquidation at or below 1.05."""
    account_equity: Decimal
    """USD, after collateral haircut."""
    actual_equity: Decimal
    """USD, without collateral haircut."""
    account_maint_margin: Decimal
    """USD."""
    account_initial_margin: Decimal
    """USD."""
    total_available_balance: Decimal | None
    """USD; None if the exchange sends an empty text."""
    account_status: AccountStatus
    """Risk state, as the exchange reports it."""
    account_type: AccountType
    """The portfolio margin product of the account."""


class RiskUnit(Model, frozen=True):
    """The maintenance margin that SPAN requires for all positions on one underlying."""

    asset: str
    """The underlying, such as ``BTC``."""
    uni_maintain_usd: Decimal
    """USD."""


class SpanAccount(Model, frozen=True):
    """A Portfolio Margin Pro SPAN account, valued in USD."""

    uni_mmr: Decimal = field(name="uniMMR")
    """Equity over maintenance margin: reduce only at or below 1.2, liquidation at or below 1.05."""
    account_equity: Decimal
    """USD, after collateral haircut."""
    actual_equity: Decimal
    """USD, without collateral haircut."""
    account_maint_margin: Decimal
    """USD: the sum of the risk units, ``margin_mm`` and ``other_mm``."""
    risk_unit_mm_list: list[RiskUnit] = field(name="riskUnitMMList")
    """Maintenance margin of each underlying."""
    margin_mm: Decimal = field(name="marginMM")
    """Maintenance margin of borrowed assets, USD."""
    other_mm: Decimal = field(name="otherMM")
    """The rest of the maintenance margin, USD."""
    account_status: AccountStatus
    """Risk state, as the exchange reports it."""
    account_type: AccountType
    """The portfolio margin product of the account."""


class ProAccountApi(EndpointGroup):
    """Portfolio Margin Pro accounts."""

    # According to the documents, this endpoint counts by IP, according to the newest SDK by account: it is charged to
    # both.
    @get("/sapi/v1/portfolio/account", weights={LimitType.IP: 5, LimitType.UID: 5})
    async def pro_account(self, *, recv_window: int | None = None) -> ProAccount:
        """Equity, margin and risk state of a Portfolio Margin Pro account.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin-pro/account (read 2026-11-21)
        """
        ...

    @get("/sapi/v2/portfolio/account", weights=5)
    async def span_account(self, *, recv_window: int | None = None) -> SpanAccount:
        """Equity, margin by risk unit and risk state of a Portfolio Margin Pro SPAN account.

        Accounts of another product are refused with -21001 (`AuthenticationError`).

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin-pro/account/Get-Classic-Portfolio-Margin-Account-Info-V2
        (read 2026-11-21)
        """
        ...
