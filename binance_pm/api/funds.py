"""Funds of the account: collections, transfers, negative balances of futures, and the limit of its orders."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Literal, TypeAlias

from binance_pm.api.checks import all_or_none, time_range
from binance_pm.declaration import EndpointGroup, get, post
from binance_pm.enums import OpenEnum
from binance_pm.limits import Priority
from binance_pm.paging import ByTime
from binance_pm.resolution import ByReading, ByValue
from binance_pm.wire import Amount, Milliseconds, Model, Time

TransferSide: TypeAlias = Literal["TO_UM", "FROM_UM"]
"""The direction of a transfer: to the USD-M wallet, or from it."""

FutureType: TypeAlias = Literal["UM", "CM", "OPTION"]
"""The wallet that a collection takes from: USD-M, COIN-M, or options, which only SPAN accounts have."""


class RateLimitType(OpenEnum):
    """What a rate limit counts."""

    ORDERS = "ORDERS"
    REQUEST_WEIGHT = "REQUEST_WEIGHT"


class RateLimitInterval(OpenEnum):
    """The unit of a rate limit's window."""

    SECOND = "SECOND"
    MINUTE = "MINUTE"
    HOUR = "HOUR"
    DAY = "DAY"


class AccountRateLimit(Model, frozen=True):
    """One rate limit of the account."""

    rate_limit_type: RateLimitType
    """What the limit counts."""
    interval: RateLimitInterval
    """The unit of the window."""
    interval_num: int
    """The length of the window, in this unit."""
    limit: int
    """The most that the window allows; what has been used is not shown."""


class NegativeBalanceInterest(Model, frozen=True):
    """The interest charged once on a negative balance of futures."""

    asset: str
    """The asset of the negative balance."""
    interest: Decimal
    """In units of the asset."""
    interest_accured_time: Milliseconds
    """Milliseconds since the epoch; the exchange's own spelling."""
    interest_rate: Decimal
    """Rate by day."""
    principal: Decimal
    """The negative balance, in units of the asset."""


class ExchangedBalance(Model, frozen=True):
    """The negative balance in one asset, which the exchange settled by selling other assets."""

    asset: str
    """The asset of the negative balance."""
    negative_balance: Decimal
    """In units of the asset."""
    negative_max_threshold: Decimal
    """The negative balance that the exchange tolerates, in units of the asset."""


class NegativeBalanceExchange(Model, frozen=True):
    """One automatic exchange of assets, which settled negative balances of futures."""

    start_time: Milliseconds
    """When the exchange began, in milliseconds since the epoch."""
    end_time: Milliseconds
    """When the exchange ended, in milliseconds since the epoch."""
    details: list[ExchangedBalance]
    """The negative balances, one entry for each asset."""


class NegativeBalanceExchanges(Model, frozen=True):
    """All automatic exchanges in a range of time."""

    total: int
    """The number of rows."""
    rows: list[NegativeBalanceExchange]
    """Newest first."""


class Confirmation(Model, frozen=True):
    """The exchange accepted a request; its response has no id by which the result can be found."""

    msg: str
    """Usually ``success``."""


class Transaction(Model, frozen=True):
    """The exchange accepted a transfer, a loan or a repayment."""

    tran_id: int
    """The id of the transaction; the ``tx_id`` of a row in the history of loans or repayments."""


class RepayFuturesSwitch(Model, frozen=True):
    """Whether negative balances of futures are repaid automatically."""

    auto_repay: bool
    """True if automatic repayment is on."""


class FundsApi(EndpointGroup):
    """Funds of the account, and the limit of its orders."""

    @get("/papi/v1/rateLimit/order", weights=1)
    async def order_rate_limit(self, *, recv_window: int | None = None) -> list[AccountRateLimit]:
        """Limits of the account for orders, usually 1200 a minute; accounts of VIP levels may have other limits.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/account/Query-User-Rate-Limit
        (read 2026-11-29)
        """
        ...

    @post(
        "/papi/v1/auto-collection",
        weights=750,
        priority=Priority.BACKGROUND,
        resolve=ByReading(("balance", "um.income", "cm.income")),
    )
    async def auto_collection(self, *, recv_window: int | None = None) -> Confirmation:
        """Collect all assets except BNB from the futures wallets into the margin wallet.

        The exchange allows 500 collections in any hour. If the response is lost, a second call only collects what is
        left.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/account/Fund-Auto-collection
        (read 2026-11-29)
        """
        ...

    @post(
        "/papi/v1/asset-collection",
        weights=30,
        resolve=ByReading(("balance", "um.income", "cm.income")),
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

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/account/Fund-Collection-by-Asset
        (read 2026-11-29)
        """
        ...

    @post(
        "/papi/v1/bnb-transfer",
        weights=750,
        priority=Priority.BACKGROUND,
        resolve=ByReading(("balance", "um.income")),
    )
    async def bnb_transfer(
        self, amount: Amount, transfer_side: TransferSide, *, check: bool = True, recv_window: int | None = None
    ) -> Transaction:
        """Transfer BNB between the margin wallet and the USD-M wallet, and return the id of the transfer.

        The exchange allows 10 transfers in any 10 minutes, and has no list of them.

        Raises:
            RequestRejected: code -21002, the account cannot make transfers.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/account/BNB-transfer
        (read 2026-11-29)
        """
        ...

    @get("/papi/v1/repay-futures-switch", weights=30)
    async def repay_futures_switch(self, *, recv_window: int | None = None) -> RepayFuturesSwitch:
        """Whether negative balances of futures are repaid automatically.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/account/Get-Auto-repay-futures-Status
        (read 2026-11-29)
        """
        ...

    @post(
        "/papi/v1/repay-futures-switch",
        weights=750,
        priority=Priority.BACKGROUND,
        repeat="same_effect",
        resolve=ByValue(query="repay_futures_switch", parameter="auto_repay", field="auto_repay"),
    )
    async def set_repay_futures_switch(
        self, *, auto_repay: bool, resolve: bool | None = None, recv_window: int | None = None
    ) -> Confirmation:
        """Switch the automatic repayment of negative balances of futures on or off, at most 20 times a day.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/account/Change-Auto-repay-futures-Status
        (read 2026-11-29)
        """
        ...

    @post(
        "/papi/v1/repay-futures-negative-balance",
        weights=750,
        security="USER_DATA",
        priority=Priority.BACKGROUND,
        resolve=ByReading(("balance",)),
    )
    async def repay_futures_negative_balance(self, *, recv_window: int | None = None) -> Confirmation:
        """Repay all negative balances of futures from the margin wallet.

        If the response is lost, a second call finds nothing left to repay.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/account/Repay-futures-Negative-Balance
        (read 2026-11-29)
        """
        ...

    @get(
        "/papi/v1/portfolio/interest-history",
        weights=50,
        priority=Priority.BACKGROUND,
        page=ByTime(
            key=("asset", "interest_accured_time"),
            time="interest_accured_time",
            most=100,
            window=timedelta(days=30),
            limit="size",
        ),
        check=time_range(timedelta(days=30)),
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
    ) -> list[NegativeBalanceInterest]:
        """Interest charged on negative balances of futures, newest first.

        Without times, the response covers the last seven days; a range has at most 30 days, and both of its ends are
        included. The response has at most ``size`` rows, by default 10 and at most 100.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/account/Query-Portfolio-Margin-Negative-Balance-Interest-History
        (read 2026-11-29)
        """
        ...

    @get(
        "/papi/v1/portfolio/negative-balance-exchange-record",
        weights=100,
        priority=Priority.BACKGROUND,
        check=time_range(timedelta(days=92)),
    )
    async def negative_balance_exchange_history(
        self, start_time: Time, end_time: Time, *, check: bool = True, recv_window: int | None = None
    ) -> NegativeBalanceExchanges:
        """Automatic exchanges of assets that settled negative balances of futures, newest first.

        A range has at most three months, and both of its ends are included.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/account/Query-User-Negative-Balance-Auto-Exchange-Record
        (read 2026-11-29)
        """
        ...
