"""Equity, margin, balances and positions of Portfolio Margin and Portfolio Margin Pro accounts."""

from __future__ import annotations

from decimal import Decimal
from typing import overload

from msgspec import field

from binance_pm.declaration import EndpointGroup, get
from binance_pm.enums import AccountStatus, AccountType, PositionSide
from binance_pm.limits import LimitType
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
    """The most that may be transferred out, in USD."""
    total_available_balance: Decimal | None
    """USD; None if the exchange sends an empty text, as it does for real accounts."""
    total_margin_open_loss: Decimal | None
    """The loss of the open margin orders, in USD; None if the exchange sends an empty text."""
    update_time: Milliseconds
    """Milliseconds since the epoch; 0 if the account never changed."""


class Balance(Model, frozen=True):
    """What the account holds and owes in one asset, in units of the asset."""

    asset: str
    """Such as ``USDT``."""
    total_wallet_balance: Decimal
    """Cross margin, USD-M and COIN-M wallets together; unrealized profit is not included."""
    cross_margin_borrowed: Decimal
    """Principal owed."""
    cross_margin_free: Decimal
    """Available in cross margin."""
    cross_margin_interest: Decimal
    """Interest owed."""
    cross_margin_locked: Decimal
    """Held for open orders."""
    um_wallet_balance: Decimal
    """Wallet balance of USD-M futures."""
    um_unrealized_pnl: Decimal = field(name="umUnrealizedPNL")
    """Unrealized profit of USD-M positions."""
    cm_wallet_balance: Decimal
    """Wallet balance of COIN-M futures."""
    cm_unrealized_pnl: Decimal | None = field(name="cmUnrealizedPNL")
    """None if the exchange sends an empty text, as it does for assets without COIN-M positions."""
    update_time: Milliseconds
    """Milliseconds since the epoch; 0 if nothing ever happened."""
    negative_balance: Decimal
    """The loss of futures beyond their wallets; already contained in the wallets."""
    cross_margin_asset: Decimal | None = None
    """Free and locked together; according to the documents, missing if one asset is requested."""


class UmAsset(Model, frozen=True):
    """What the USD-M side of the account holds and owes in one margin asset, in units of the asset."""

    asset: str
    """The margin asset, such as ``USDT``."""
    cross_wallet_balance: Decimal
    """Wallet balance in cross margin, without unrealized profit."""
    cross_un_pnl: Decimal
    """Unrealized profit of all positions margined in the asset."""
    maint_margin: Decimal
    """Maintenance margin of the positions margined in the asset."""
    initial_margin: Decimal
    """Initial margin of positions and open orders together."""
    position_initial_margin: Decimal
    """Initial margin of the positions at the mark price."""
    open_order_initial_margin: Decimal
    """Initial margin of the open orders."""
    update_time: Milliseconds
    """Milliseconds since the epoch; 0 if nothing ever happened."""


class UmPosition(Model, frozen=True):
    """One USD-M position, which may be empty; amounts in the margin asset of the symbol unless stated otherwise."""

    symbol: str
    """Such as ``BTCUSDT``."""
    initial_margin: Decimal
    """Initial margin at the mark price."""
    maint_margin: Decimal
    """Maintenance margin."""
    unrealized_profit: Decimal
    """Unrealized profit at the mark price."""
    position_side: PositionSide
    """Which side the position is on: BOTH in one-way mode, LONG or SHORT in hedge mode."""
    position_amt: Decimal
    """In units of the base asset; negative for a short position, also in hedge mode."""
    update_time: Milliseconds
    """Milliseconds since the epoch; 0 if nothing ever happened."""
    notional: Decimal
    """Value at the mark price; negative for a short position."""


class UmAccount(Model, frozen=True):
    """Assets and positions of the USD-M side."""

    assets: list[UmAsset]
    """One entry for each margin asset."""
    positions: list[UmPosition]
    """Symbols with a position or an open order; any other symbol has no position."""


class CmAsset(Model, frozen=True):
    """What the COIN-M side of the account holds and owes in one margin asset, in units of the asset."""

    asset: str
    """The margin asset, such as ``BTC``."""
    cross_wallet_balance: Decimal
    """Wallet balance in cross margin, without unrealized profit."""
    cross_un_pnl: Decimal
    """Unrealized profit of all positions margined in the asset."""
    maint_margin: Decimal
    """Maintenance margin of the positions margined in the asset."""
    initial_margin: Decimal
    """Initial margin of positions and open orders together."""
    position_initial_margin: Decimal
    """Initial margin of the positions at the mark price."""
    open_order_initial_margin: Decimal
    """Initial margin of the open orders."""
    update_time: Milliseconds
    """Milliseconds since the epoch; 0 if nothing ever happened."""


class CmPosition(Model, frozen=True):
    """One COIN-M position; amounts in the coin of the symbol unless stated otherwise."""

    symbol: str
    """Such as ``BTCUSD_PERP``."""
    position_side: PositionSide
    """Which side the position is on: BOTH in one-way mode, LONG or SHORT in hedge mode."""
    position_amt: Decimal
    """In contracts; negative for a short position, also in hedge mode."""
    entry_price: Decimal
    """USD."""
    unrealized_profit: Decimal
    """Unrealized profit at the mark price."""
    initial_margin: Decimal
    """Initial margin of position and open orders together."""
    maint_margin: Decimal
    """Maintenance margin."""
    position_initial_margin: Decimal
    """Initial margin of the position at the mark price."""
    open_order_initial_margin: Decimal
    """Initial margin of the open orders."""
    leverage: Decimal
    """A whole number."""
    max_qty: Decimal
    """The largest position that the leverage allows."""
    update_time: Milliseconds
    """Milliseconds since the epoch; 0 if nothing ever happened."""
    break_even_price: Decimal | None = None
    """USD; not documented, but present in real responses."""
    notional_value: Decimal | None = None
    """Value at the mark price; not documented, but present in real responses."""


class CmAccount(Model, frozen=True):
    """Assets and positions of the COIN-M side."""

    assets: list[CmAsset]
    """One entry for each margin asset."""
    positions: list[CmPosition]
    """A symbol without a position may be missing."""


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
    """To be ignored for Portfolio Margin Pro, with and without SPAN, according to the documents."""
    total_available_balance: Decimal | None
    """To be ignored likewise; None if the exchange sends an empty text."""
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
    """USD."""
    risk_unit_mm_list: list[RiskUnit] = field(name="riskUnitMMList")
    """Maintenance margin of each underlying."""
    margin_mm: Decimal = field(name="marginMM")
    """USD; the documents do not define this part of the maintenance margin."""
    other_mm: Decimal = field(name="otherMM")
    """USD; the documents do not define this part of the maintenance margin."""
    account_status: AccountStatus
    """Risk state, as the exchange reports it."""
    account_type: AccountType
    """The portfolio margin product of the account."""


class AccountApi(EndpointGroup):
    """The account of the key."""

    @get("/papi/v1/account", weights=20)
    async def account(self, *, recv_window: int | None = None) -> Account:
        """Equity, margin and risk state of the whole Portfolio Margin account.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/account/Account-Information
        (read 2026-11-29)
        """
        ...

    @overload
    async def balance(self, asset: None = None, *, recv_window: int | None = None) -> list[Balance]: ...
    @overload
    async def balance(self, asset: str, *, recv_window: int | None = None) -> Balance: ...
    @get("/papi/v1/balance", weights=20, single="asset")
    async def balance(self, asset: str | None = None, *, recv_window: int | None = None) -> list[Balance] | Balance:
        """Wallet balances and debts, of one asset or of every asset.

        With ``asset``, the method returns one `Balance`, otherwise a list.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/account (read 2026-11-29)
        """
        ...

    @get("/papi/v2/um/account", weights=5)
    async def um_account(self, *, recv_window: int | None = None) -> UmAccount:
        """USD-M assets of the account, and positions of the symbols with a position or an open order.

        A symbol that is missing has no position. The exchange's page says that every symbol is listed; its change log
        of 2024-08-23 and real responses of 2026-09 say otherwise. ``account`` returns the equity and the risk state.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/account/Get-UM-Account-Detail-V2
        (read 2026-11-29)
        """
        ...

    @get("/papi/v1/cm/account", weights=5)
    async def cm_account(self, *, recv_window: int | None = None) -> CmAccount:
        """COIN-M assets and positions of the account.

        Positions count contracts, and amounts are in the coin of the symbol. A symbol without a position may be
        missing: treat it as flat.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/account/Get-CM-Account-Detail
        (read 2026-11-29)
        """
        ...

    # According to the documents, this endpoint counts by IP, according to the newest SDK by account: it is charged to
    # both.
    @get("/sapi/v1/portfolio/account", weights={LimitType.IP: 5, LimitType.UID: 5})
    async def pro_account(self, *, recv_window: int | None = None) -> ProAccount:
        """Equity, margin and risk state of a Portfolio Margin Pro account.

        Ignore ``account_initial_margin`` and ``total_available_balance``: for Portfolio Margin Pro, with and without
        SPAN, they have no meaning.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin-pro/account (read 2026-11-29)
        """
        ...

    @get("/sapi/v2/portfolio/account", weights=5)
    async def span_account(self, *, recv_window: int | None = None) -> SpanAccount:
        """Equity, margin by risk unit and risk state of a Portfolio Margin Pro SPAN account.

        Accounts of another product are refused with -21001 (`AuthenticationError`).

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin-pro/account/Get-Classic-Portfolio-Margin-Account-Info-V2
        (read 2026-11-29)
        """
        ...
