"""Cross margin: loans, repayments and interest."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Final, Unpack

from binance_pm.api.checks import time_range
from binance_pm.api.funds import Transaction
from binance_pm.api.margin_ocos import MarginOcos
from binance_pm.api.margin_orders import MarginOrders
from binance_pm.api.orders import PageQuery
from binance_pm.declaration import get, post
from binance_pm.enums import OpenEnum
from binance_pm.limits import Priority
from binance_pm.paging import ByPage
from binance_pm.resolution import ByReading
from binance_pm.wire import Amount, Milliseconds, Model


class InterestQuery(PageQuery, total=False):
    """Which interest is returned."""

    archived: bool
    """Whether the rows are older than six months; False by default."""


class LoanQuery(InterestQuery, total=False):
    """Which loans or repayments of an asset are returned."""

    tx_id: int
    """Only this transaction; the times have no effect then."""


class LoanStatus(OpenEnum):
    """The state of a loan or a repayment."""

    PENDING = "PENDING"
    """Not executed yet."""
    CONFIRMED = "CONFIRMED"
    """Executed."""
    FAILED = "FAILED"
    """Not executed."""


class InterestType(OpenEnum):
    """Why interest was charged."""

    PERIODIC = "PERIODIC"
    """Charged every hour."""
    ON_BORROW = "ON_BORROW"
    """Charged when the loan was taken."""
    PERIODIC_CONVERTED = "PERIODIC_CONVERTED"
    """Charged every hour, and converted into BNB."""
    ON_BORROW_CONVERTED = "ON_BORROW_CONVERTED"
    """Charged when the loan was taken, and converted into BNB."""
    PORTFOLIO = "PORTFOLIO"
    """Charged on the negative balance of Portfolio Margin."""


class MaxBorrowable(Model, frozen=True):
    """How much of an asset can be borrowed, in units of the asset."""

    amount: Decimal
    """What the account can borrow now."""
    borrow_limit: Decimal
    """The most that the VIP level of the account can borrow."""


class MaxWithdraw(Model, frozen=True):
    """How much of an asset can be transferred out of the account."""

    amount: Decimal
    """In units of the asset."""


class MarginLoan(Model, frozen=True):
    """One loan."""

    tx_id: int
    """The ``tran_id`` in the response to `borrow`."""
    asset: str
    """The asset that was borrowed."""
    principal: Decimal
    """The amount, in units of the asset."""
    timestamp: Milliseconds
    """Milliseconds since the epoch."""
    status: LoanStatus
    """The state of the loan."""


class MarginLoans(Model, frozen=True):
    """A page of loans."""

    rows: list[MarginLoan]
    """The rows of the page, newest first."""
    total: int
    """The number of rows on all pages."""


class MarginRepayment(Model, frozen=True):
    """One repayment; amounts in units of the asset."""

    tx_id: int
    """The ``tran_id`` in the response to `repay`."""
    asset: str
    """The asset that was repaid."""
    amount: Decimal
    """Principal and interest together."""
    principal: Decimal
    """The part that reduced the loan."""
    interest: Decimal
    """The part that paid interest."""
    timestamp: Milliseconds
    """Milliseconds since the epoch."""
    status: LoanStatus
    """The state of the repayment."""


class MarginRepayments(Model, frozen=True):
    """A page of repayments."""

    rows: list[MarginRepayment]
    """The rows of the page, newest first."""
    total: int
    """The number of rows on all pages."""


class MarginInterest(Model, frozen=True):
    """The interest charged once on a loan."""

    tx_id: int
    """Unique among the rows."""
    asset: str
    """The asset in which interest was charged."""
    raw_asset: str
    """The asset of the loan, before a conversion into BNB."""
    principal: Decimal
    """The loan, in units of its asset."""
    interest: Decimal
    """In units of ``asset``."""
    interest_rate: Decimal
    """The rate that was charged."""
    interest_accured_time: Milliseconds
    """Milliseconds since the epoch; the exchange's own spelling."""
    type: InterestType
    """Why interest was charged."""


class MarginInterests(Model, frozen=True):
    """A page of interest."""

    rows: list[MarginInterest]
    """The rows of the page, newest first."""
    total: int
    """The number of rows on all pages."""


class DebtRepayment(Model, frozen=True):
    """What `repay_debt` repaid."""

    asset: str
    """The asset of the loan."""
    amount: Decimal
    """In units of the asset."""
    specify_repay_assets: list[str]
    """The assets that were used."""
    update_time: Milliseconds
    """Milliseconds since the epoch."""
    success: bool
    """Whether the repayment was made."""


_MONTH: Final = timedelta(days=30)


class Margin(MarginOrders, MarginOcos, name="margin"):
    """Cross margin, as ``client.margin``."""

    @get("/papi/v1/margin/maxBorrowable", weights=5)
    async def max_borrowable(self, asset: str, *, recv_window: int | None = None) -> MaxBorrowable:
        """The most of an asset that the account can borrow.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/account/Margin-Max-Borrow
        (read 2026-11-29)
        """
        ...

    @get("/papi/v1/margin/maxWithdraw", weights=5)
    async def max_withdraw(self, asset: str, *, recv_window: int | None = None) -> MaxWithdraw:
        """The most of an asset that can be transferred out of the account.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/account/Query-Margin-Max-Withdraw
        (read 2026-11-29)
        """
        ...

    @post(
        "/papi/v1/marginLoan",
        weights=100,
        security="MARGIN",
        resolve=ByReading(("margin.loan_history", "balance")),
    )
    async def borrow(
        self, asset: str, amount: Amount, *, check: bool = True, recv_window: int | None = None
    ) -> Transaction:
        """Borrow an amount of an asset, and return the id of the loan.

        Raises:
            RequestRejected: code 51006, the amount is above what `max_borrowable` returns; code 51007, a loan or a
                repayment is pending; code 51014, the asset cannot be borrowed; code 51061, the exchange has too little
                of it.
            OutcomeUnknown, NoResponse: the loan may exist. `loan_history` shows it: compare amount and time, because
                a loan has no id of the caller.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/trade/Margin-Account-Borrow
        (read 2026-11-29)
        """
        ...

    @post(
        "/papi/v1/repayLoan",
        weights=100,
        security="MARGIN",
        resolve=ByReading(("margin.repay_history", "balance")),
    )
    async def repay(
        self, asset: str, amount: Amount, *, check: bool = True, recv_window: int | None = None
    ) -> Transaction:
        """Repay an amount of a loan from the balance in the same asset, and return the id of the repayment.

        Raises:
            RequestRejected: code 51007, a loan or a repayment is pending; code 51068, a liquidation is in progress.
            OutcomeUnknown, NoResponse: the repayment may have been made: `repay_history` shows it.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/trade/Margin-Account-Repay
        (read 2026-11-29)
        """
        ...

    # The documents label the weight as one of orders, of which 1200 a minute are allowed; the SDK counts it by IP.
    @post(
        "/papi/v1/margin/repay-debt",
        weights=3000,
        priority=Priority.BACKGROUND,
        resolve=ByReading(("balance", "margin.repay_history")),
    )
    async def repay_debt(
        self,
        asset: str,
        *,
        amount: Amount | None = None,
        specify_repay_assets: str | None = None,
        check: bool = True,
        recv_window: int | None = None,
    ) -> DebtRepayment:
        """Repay a loan by selling other assets of the margin wallet, at half of the weight that a minute allows.

        Without ``amount``, the whole loan is repaid. ``specify_repay_assets`` are the assets to be used, separated by
        commas; the asset of the loan is always used first. One call repays at most 50,000 USD.

        Raises:
            OutcomeUnknown, NoResponse: the repayment may have been made: compare ``cross_margin_borrowed`` of
                ``balance`` before and after.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/trade/Margin-Account-Repay-Debt
        (read 2026-11-29)
        """
        ...

    @get(
        "/papi/v1/margin/marginLoan",
        weights=10,
        priority=Priority.BACKGROUND,
        page=ByPage(key=("tx_id",), time="timestamp", window=_MONTH, archive=timedelta(days=182)),
        check=time_range(_MONTH),
    )
    async def loan_history(self, asset: str, **query: Unpack[LoanQuery]) -> MarginLoans:
        """Loans of one asset by page, newest first.

        Without times, the response covers the last seven days; a range has at most 30 days, and both of its ends are
        included. Loans older than six months need ``archived=True``. A page has at most ``size`` rows, by default 10
        and at most 100.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/account/Query-Margin-Loan-Record
        (read 2026-11-29)
        """
        ...

    @get(
        "/papi/v1/margin/repayLoan",
        weights=10,
        priority=Priority.BACKGROUND,
        page=ByPage(key=("tx_id",), time="timestamp", window=_MONTH, archive=timedelta(days=182)),
        check=time_range(_MONTH),
    )
    async def repay_history(self, asset: str, **query: Unpack[LoanQuery]) -> MarginRepayments:
        """Repayments of one asset by page, newest first, with the same ranges and pages as `loan_history`.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/account/Query-Margin-repay-Record
        (read 2026-11-29)
        """
        ...

    @get(
        "/papi/v1/margin/marginInterestHistory",
        weights=1,
        priority=Priority.BACKGROUND,
        page=ByPage(key=("tx_id",), time="interest_accured_time", window=_MONTH, archive=timedelta(days=182)),
        check=time_range(_MONTH),
    )
    async def interest_history(self, asset: str | None = None, **query: Unpack[InterestQuery]) -> MarginInterests:
        """Interest on loans by page, newest first, with the same ranges and pages as `loan_history`.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/account/Get-Margin-BorrowLoan-Interest-History
        (read 2026-11-29)
        """
        ...
