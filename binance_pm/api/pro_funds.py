"""Portfolio Margin Pro: balances, and what moves funds between the wallets."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Literal, TypeAlias

from binance_pm.api.account import Balance
from binance_pm.api.checks import all_or_none, time_range
from binance_pm.api.funds import Confirmation, FutureType, Transaction, TransferSide
from binance_pm.declaration import Namespace, get, post
from binance_pm.limits import LimitType, Priority
from binance_pm.paging import ByTime
from binance_pm.resolution import ByReading
from binance_pm.wire import Amount, Milliseconds, Model, Time

EarnAsset: TypeAlias = Literal["LDUSDT", "RWUSD"]
"""An asset of Simple Earn that counts as collateral."""

EarnTransferType: TypeAlias = Literal["EARN_TO_FUTURE", "FUTURE_TO_EARN"]
"""The direction of a transfer between Earn and futures."""


class ProBalance(Balance, frozen=True):
    """What a Portfolio Margin Pro account holds and owes in one asset, in units of the asset."""

    option_wallet_balance: Decimal | None = None
    """Wallet balance of options; None unless the account is a SPAN account."""
    option_equity: Decimal | None = None
    """Equity of options; None unless the account is a SPAN account."""


class ProNegativeBalanceInterest(Model, frozen=True):
    """The interest charged once on a negative balance of futures, of a Portfolio Margin Pro account."""

    asset: str
    """The asset of the negative balance."""
    interest: Decimal
    """In units of the asset."""
    interest_accrued_time: Milliseconds
    """Milliseconds since the epoch; spelled ``interest_accured_time`` in `NegativeBalanceInterest`."""
    interest_rate: Decimal
    """Rate by day."""
    principal: Decimal
    """The negative balance, in units of the asset."""


class EarnAssetBalance(Model, frozen=True):
    """How much of an Earn asset can be transferred."""

    asset: str
    """The Earn asset, such as ``LDUSDT``."""
    amount: Decimal
    """In units of the asset."""


class ProFunds(Namespace, name="pro"):
    """Balances of Portfolio Margin Pro, and what moves funds between its wallets."""

    @get("/sapi/v1/portfolio/balance", weights=20)
    async def balance(self, asset: str | None = None, *, recv_window: int | None = None) -> list[ProBalance]:
        """Wallet balances and debts, of one asset or of every asset: a list in both cases.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin-pro/account/Get-Classic-Portfolio-Margin-Balance-Info
        (read 2026-11-29)
        """
        ...

    @post(
        "/sapi/v1/portfolio/bnb-transfer",
        weights=1500,
        security="USER_DATA",
        priority=Priority.BACKGROUND,
        resolve=ByReading(("pro.balance",)),
    )
    async def bnb_transfer(
        self, amount: Amount, transfer_side: TransferSide, *, check: bool = True, recv_window: int | None = None
    ) -> Transaction:
        """Transfer BNB between the margin wallet and the USD-M wallet, and return the id of the transfer.

        The exchange allows 2 transfers in any 10 minutes, and has no list of them.

        Raises:
            RequestRejected: code -21002, the account cannot make transfers.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin-pro/account/BNB-transfer
        (read 2026-11-29)
        """
        ...

    @post(
        "/sapi/v1/portfolio/auto-collection",
        weights=1500,
        security="USER_DATA",
        priority=Priority.BACKGROUND,
        resolve=ByReading(("pro.balance",)),
    )
    async def auto_collection(self, *, recv_window: int | None = None) -> Confirmation:
        """Collect all assets except BNB from the futures wallets into the margin wallet.

        The exchange allows 500 collections in any hour. If the response is lost, a second call only collects what is
        left.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin-pro/account/Fund-Auto-collection
        (read 2026-11-29)
        """
        ...

    @post(
        "/sapi/v1/portfolio/asset-collection",
        weights=60,
        security="USER_DATA",
        resolve=ByReading(("pro.balance",)),
        check=all_or_none("amount", "future_type"),
    )
    async def asset_collection(
        self,
        asset: str,
        *,
        amount: Amount | None = None,
        future_type: FutureType | None = None,
        check: bool = True,
        recv_window: int | None = None,
    ) -> Confirmation:
        """Collect one asset from the futures wallets into the margin wallet, or an amount of it from one wallet.

        Without ``amount`` and ``future_type``, which need each other, everything of the asset is collected. BNB cannot
        be collected.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin-pro/account/Fund-Collection-by-Asset
        (read 2026-11-29)
        """
        ...

    @post(
        "/sapi/v1/portfolio/repay-futures-negative-balance",
        weights=1500,
        security="USER_DATA",
        priority=Priority.BACKGROUND,
        resolve=ByReading(("pro.balance",)),
    )
    async def repay_futures_negative_balance(self, *, recv_window: int | None = None) -> Confirmation:
        """Repay all negative balances of futures from the margin wallet.

        If the response is lost, a second call finds nothing left to repay.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin-pro/account/Repay-futures-Negative-Balance
        (read 2026-11-29)
        """
        ...

    @get(
        "/sapi/v1/portfolio/interest-history",
        weights=50,
        priority=Priority.BACKGROUND,
        # The widest range is not documented; it is 30 days for the same history of Portfolio Margin.
        page=ByTime(
            key=("asset", "interest_accrued_time"),
            time="interest_accrued_time",
            most=100,
            window=timedelta(days=30),
            limit="size",
        ),
        check=time_range(),
    )
    async def negative_balance_interest_history(
        self,
        asset: str | None = None,
        *,
        start_time: Time | None = None,
        end_time: Time | None = None,
        size: int | None = None,
        check: bool = True,
        recv_window: int | None = None,
    ) -> list[ProNegativeBalanceInterest]:
        """Interest charged on negative balances of futures, newest first.

        Both ends of a range are included; the widest range is not documented. The response has at most ``size`` rows,
        by default 10 and at most 100.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin-pro/account/Query-Classic-Portfolio-Margin-Negative-Balance-Interest-History
        (read 2026-11-29)
        """
        ...

    @get("/sapi/v1/portfolio/earn-asset-balance", weights=1500)
    async def earn_asset_balance(
        self, asset: str, transfer_type: EarnTransferType, *, check: bool = True, recv_window: int | None = None
    ) -> EarnAssetBalance:
        """The amount of an Earn asset that can be transferred in one direction.

        According to the newest SDK, the only asset is LDUSDT.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin-pro/account/Get-Transferable-Earn-Asset-Balance-Portfolio-Margin
        (read 2026-11-29)
        """
        ...

    @post(
        "/sapi/v1/portfolio/earn-asset-transfer",
        weights={LimitType.UID: 1500},
        priority=Priority.BACKGROUND,
        resolve=ByReading(("pro.earn_asset_balance",)),
    )
    async def earn_asset_transfer(
        self,
        asset: EarnAsset,
        transfer_type: EarnTransferType,
        amount: Amount,
        *,
        check: bool = True,
        recv_window: int | None = None,
    ) -> Confirmation:
        """Transfer an Earn asset between the Earn wallet and the futures wallet.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin-pro/account/Transfer-LDUSDT-Portfolio-Margin
        (read 2026-11-29)
        """
        ...
