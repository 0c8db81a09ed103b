"""Portfolio Margin Pro: settings, bankruptcy loans, and rates of collateral."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Unpack

from binance_pm.api.checks import between, time_range
from binance_pm.api.funds import Confirmation, RepayFuturesSwitch, Transaction
from binance_pm.api.orders import PageQuery
from binance_pm.api.pro_funds import ProFunds
from binance_pm.api.streams import ProListenKey
from binance_pm.declaration import Namespace, delete, get, post
from binance_pm.endpoint import Weights
from binance_pm.limits import LimitType, Priority
from binance_pm.paging import ByPage
from binance_pm.resolution import ByReading, ByValue
from binance_pm.wire import Amount, Milliseconds, Model


class BankruptcyLoan(Model, frozen=True):
    """What the account owes after a bankruptcy."""

    asset: str
    """The asset of the loan."""
    amount: Decimal
    """In units of the asset; 0 if nothing is owed."""


class BankruptcyRepayment(Model, frozen=True):
    """One repayment of the bankruptcy loan."""

    asset: str
    """The asset that was repaid."""
    amount: Decimal
    """In units of the asset."""
    repay_time: Milliseconds
    """Milliseconds since the epoch."""


class BankruptcyRepayments(Model, frozen=True):
    """A page of the repayments of the bankruptcy loan."""

    total: int
    """The number of rows on all pages."""
    rows: list[BankruptcyRepayment]
    """The rows of the page."""


class DeltaMode(Model, frozen=True):
    """Whether delta mode is on; the documents do not define the mode."""

    delta_enabled: bool
    """True if it is on."""


class MarginCallLevel(Model, frozen=True):
    """The uniMMR below which the exchange warns the owner of the account, by e-mail and SMS."""

    margin_call_level: Decimal | None = None
    """From 1.1 to 2.0; None if no level is set."""


class AssetIndexPrice(Model, frozen=True):
    """The index price of an asset."""

    asset: str
    """Such as ``BTC``."""
    asset_index_price: Decimal
    """USD."""
    time: Milliseconds
    """Milliseconds since the epoch."""


class CollateralRate(Model, frozen=True):
    """The share of an asset's value that counts as collateral."""

    asset: str
    """Such as ``BTC``."""
    collateral_rate: Decimal
    """From 0 to 1."""


class CollateralTier(Model, frozen=True):
    """One range of the amount held in an asset, with its own collateral rate."""

    tier_floor: Decimal
    """The lower end of the range, in units of the asset."""
    tier_cap: Decimal
    """The upper end of the range, in units of the asset."""
    collateral_rate: Decimal
    """The share of the value in this range that counts as collateral."""
    cum: Decimal
    """A constant for the quick calculation of the equity."""


class TieredCollateralRate(Model, frozen=True):
    """The collateral rates of an asset, which depend on the amount held."""

    asset: str
    """Such as ``BTC``."""
    collateral_info: list[CollateralTier]
    """The tiers, lowest first."""


class MarginAssetLeverage(Model, frozen=True):
    """The leverage of an asset in margin."""

    asset: str
    """Such as ``USDT``."""
    leverage: int
    """The highest leverage."""


class ProSettings(Namespace, name="pro"):
    """Settings of a Portfolio Margin Pro account."""

    @get("/sapi/v1/portfolio/repay-futures-switch", weights=30)
    async def repay_futures_switch(self, *, recv_window: int | None = None) -> RepayFuturesSwitch:
        """Whether negative balances of futures are repaid automatically.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin-pro/account/Get-Auto-repay-futures-Status
        (read 2026-11-29)
        """
        ...

    @post(
        "/sapi/v1/portfolio/repay-futures-switch",
        weights=1500,
        priority=Priority.BACKGROUND,
        repeat="same_effect",
        resolve=ByValue(query="pro.repay_futures_switch", parameter="auto_repay", field="auto_repay"),
    )
    async def set_repay_futures_switch(
        self, *, auto_repay: bool, resolve: bool | None = None, recv_window: int | None = None
    ) -> Confirmation:
        """Switch the automatic repayment of negative balances of futures on or off, at most 20 times a day.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin-pro/account/Change-Auto-repay-futures-Status
        (read 2026-11-29)
        """
        ...

    @get("/sapi/v1/portfolio/delta-mode", weights=1500)
    async def delta_mode(self, *, recv_window: int | None = None) -> DeltaMode:
        """Whether delta mode is on.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin-pro/account/Get-Delta-Mode-Status
        (read 2026-11-29)
        """
        ...

    @post(
        "/sapi/v1/portfolio/delta-mode",
        weights=1500,
        priority=Priority.BACKGROUND,
        repeat="same_effect",
        resolve=ByValue(query="pro.delta_mode", parameter="delta_enabled", field="delta_enabled"),
    )
    async def set_delta_mode(
        self, *, delta_enabled: bool, resolve: bool | None = None, recv_window: int | None = None
    ) -> Confirmation:
        """Switch delta mode on or off, for Portfolio Margin Pro and Portfolio Margin accounts.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin-pro/account/Switch-Delta-Mode
        (read 2026-11-29)
        """
        ...

    @get("/sapi/v1/portfolio/margin-call-level", weights=1500)
    async def margin_call_level(self, *, recv_window: int | None = None) -> MarginCallLevel:
        """The uniMMR below which the exchange sends a margin call, by e-mail and SMS only.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin-pro/account/Get-Margin-Call-Level
        (read 2026-11-29)
        """
        ...

    @post(
        "/sapi/v1/portfolio/margin-call-level",
        weights=1500,
        security="USER_DATA",
        priority=Priority.BACKGROUND,
        repeat="same_effect",
        resolve=ByValue(query="pro.margin_call_level", parameter="margin_call_level", field="margin_call_level"),
        check=between("margin_call_level", "1.1", "2.0"),
    )
    async def set_margin_call_level(
        self,
        margin_call_level: Amount,
        *,
        check: bool = True,
        resolve: bool | None = None,
        recv_window: int | None = None,
    ) -> MarginCallLevel:
        """Set the uniMMR below which the exchange sends a margin call, from 1.1 to 2.0, and return it.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin-pro/account/Set-Margin-Call-Level
        (read 2026-11-29)
        """
        ...

    @delete(
        "/sapi/v1/portfolio/margin-call-level",
        weights=1500,
        security="USER_DATA",
        priority=Priority.BACKGROUND,
        repeat="same_effect",
        resolve=ByValue(query="pro.margin_call_level", field="margin_call_level"),
    )
    async def delete_margin_call_level(
        self, *, resolve: bool | None = None, recv_window: int | None = None
    ) -> Confirmation:
        """Delete the margin call level that was set.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin-pro/account/Delete-Margin-Call-Level
        (read 2026-11-29)
        """
        ...


class Pro(ProFunds, ProSettings, ProListenKey, name="pro"):
    """Portfolio Margin Pro, as ``client.pro``."""

    @get("/sapi/v1/portfolio/pmLoan", weights={LimitType.UID: 500})
    async def bankruptcy_loan(self, *, recv_window: int | None = None) -> BankruptcyLoan:
        """What the account owes after a bankruptcy.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin-pro/account/Query-Classic-Portfolio-Margin-Bankruptcy-Loan-Amount
        (read 2026-11-29)
        """
        ...

    @post(
        "/sapi/v1/portfolio/repay",
        weights={LimitType.UID: 3000},
        priority=Priority.BACKGROUND,
        resolve=ByReading(("pro.bankruptcy_loan_repay_history", "pro.bankruptcy_loan")),
    )
    async def repay_bankruptcy_loan(self, *, recv_window: int | None = None) -> Transaction:
        """Repay the bankruptcy loan with USDT of the spot account, and return the id of the repayment.

        According to the newest SDK, the key needs the permission "Spot & Margin Trading".

        Raises:
            RequestRejected: code -21004, nothing is owed; code -21005, the wallet holds too little; code -21006, a
                repayment is running: read the history before another call.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin-pro/account/Classic-Portfolio-Margin-Bankruptcy-Loan-Repay
        (read 2026-11-29)
        """
        ...

    @get(
        "/sapi/v1/portfolio/pmloan-history",
        weights=500,
        priority=Priority.BACKGROUND,
        page=ByPage(key=("asset", "amount", "repay_time"), time="repay_time", window=timedelta(days=360)),
        check=time_range(timedelta(days=360)),
    )
    async def bankruptcy_loan_repay_history(self, **pages: Unpack[PageQuery]) -> BankruptcyRepayments:
        """Repayments of the bankruptcy loan, by page.

        Without times, the response covers the last 30 days; a range has at most 360 days, and both of its ends are
        included. A page has at most ``size`` rows, by default 10 and at most 100.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin-pro/account/Query-Portfolio-Margin-Pro-Bankruptcy-Loan-Repay-History
        (read 2026-11-29)
        """
        ...

    @get("/sapi/v1/portfolio/asset-index-price", weights=Weights(1, without={"asset": 50}), security="MARKET_DATA")
    async def asset_index_price(self, asset: str | None = None) -> list[AssetIndexPrice]:
        """Index prices in USD, of one asset or of every asset at fifty times the weight: a list in both cases.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin-pro/market-data (read 2026-11-29)
        """
        ...

    @get("/sapi/v1/portfolio/collateralRate", weights=50, security="MARKET_DATA")
    async def collateral_rate(self) -> list[CollateralRate]:
        """Collateral rate of each asset, of Portfolio Margin.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin-pro/market-data/Classic-Portfolio-Margin-Collateral-Rate
        (read 2026-11-29)
        """
        ...

    @get("/sapi/v2/portfolio/collateralRate", weights=50)
    async def tiered_collateral_rate(self, *, recv_window: int | None = None) -> list[TieredCollateralRate]:
        """Collateral rates of each asset by the amount held, of Portfolio Margin Pro.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin-pro/market-data/Portfolio-Margin-Pro-Tiered-Collateral-Rate
        (read 2026-11-29)
        """
        ...

    @get("/sapi/v1/portfolio/margin-asset-leverage", weights=50)
    async def margin_asset_leverage(self, *, recv_window: int | None = None) -> list[MarginAssetLeverage]:
        """Leverage of each asset in margin.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin-pro/market-data/Get-Portfolio-Margin-Asset-Leverage
        (read 2026-11-29)
        """
        ...
