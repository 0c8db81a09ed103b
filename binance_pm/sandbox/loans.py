"""Loans of cross margin: borrowing, interest by the hour, and repaying.

Interest is charged when a loan is taken and at the end of every hour, also on negative balances of the futures wallets.
Large negative balances are covered every hour by converting other assets.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from binance_pm.sandbox import order_errors
from binance_pm.sandbox.event_fields import liability_change
from binance_pm.sandbox.market import MAJORS
from binance_pm.sandbox.messages import Refusal
from binance_pm.sandbox.records import ZERO

if TYPE_CHECKING:
    from binance_pm.sandbox.market import Market
    from binance_pm.sandbox.valuation import Valued
    from binance_pm.sandbox.wallet import Wallet

DAILY_RATE = Decimal("0.0003")
NEGATIVE_BALANCE_RATE = Decimal("0.0001164")
"""By day."""
NEGATIVE_BALANCE_LIMIT = Decimal(100_000)
"""USD that a negative balance may be worth before it is covered by conversion; the exchange's own limit differs."""
BORROWABLE = frozenset({"USDT", "USDC", *MAJORS})
BORROW_LIMIT = Decimal(500_000)
"""USD that may be owed of one asset."""
_INITIAL = Decimal("0.1")
_DIGITS = Decimal("0.00000001")


class LoanRow(msgspec.Struct, frozen=True, kw_only=True):
    """One loan or repayment."""

    transaction: int
    asset: str
    principal: Decimal
    interest: Decimal = ZERO
    time: int
    appears: int = 0
    """When queries begin to show the row, in milliseconds since the epoch."""


class InterestRow(msgspec.Struct, frozen=True, kw_only=True):
    """One charge of interest."""

    transaction: int
    asset: str
    principal: Decimal
    interest: Decimal
    rate: Decimal
    """By day."""
    kind: str
    time: int
    appears: int = 0
    """When queries begin to show the row, in milliseconds since the epoch."""


class ExchangeRow(msgspec.Struct, frozen=True, kw_only=True):
    """A conversion of other assets that covered a negative balance."""

    asset: str
    negative: Decimal
    """The negative balance, as a number above 0."""
    threshold: Decimal
    time: int


class Loans:
    """The loans of one account.

    Attributes:
        loans: what was borrowed, oldest first.
        repayments: what was repaid, oldest first.
        interest: the interest of loans, oldest first.
        negative: the interest of negative balances, oldest first.
        exchanges: the conversions that covered negative balances, oldest first.
    """

    def __init__(self, wallet: Wallet, market: Market) -> None:
        self.loans: list[LoanRow] = []
        self.repayments: list[LoanRow] = []
        self.interest: list[InterestRow] = []
        self.negative: list[InterestRow] = []
        self.exchanges: list[ExchangeRow] = []
        self._wallet = wallet
        self._market = market

    def most(self, account: Valued, asset: str, now: float) -> Decimal:
        """Return the largest amount of an asset that can be borrowed."""
        price = self._market.usd(asset, now)
        room = min(account.statement(now).free / _INITIAL, BORROW_LIMIT - self._wallet.owed(asset) * price)
        return (max(ZERO, room) / price).quantize(_DIGITS, "ROUND_DOWN")

    def borrow(self, account: Valued, asset: str, amount: Decimal, now: float) -> int:
        """Borrow an amount, and return the transaction id.

        Raises:
            Refusal: 51014 for an asset that cannot be borrowed, 51006 for too much.
        """
        if asset not in BORROWABLE:
            raise Refusal(order_errors.NOT_BORROWABLE)
        if not 0 < amount <= self.most(account, asset, now):
            raise Refusal(order_errors.EXCEEDS_BORROWABLE)
        transaction = self._wallet.new_transaction()
        self._wallet.borrowed[asset] += amount
        self._wallet.free[asset] += amount
        self._touch(asset, now)
        self.loans.append(LoanRow(transaction=transaction, asset=asset, principal=amount, time=int(now * 1000)))
        interest = self._charge(asset, amount, "ON_BORROW", now)
        self._record(asset, "BORROW", transaction, amount, interest)
        return transaction

    def repay(self, asset: str, amount: Decimal, now: float) -> int:
        """Repay an amount from the free balance, interest first, and return the transaction id.

        Raises:
            Refusal: -3015 for more than is owed, -3041 for more than is free.
        """
        wallet = self._wallet
        if not 0 < amount <= wallet.owed(asset):
            raise Refusal(order_errors.EXCEEDS_DEBT)
        if amount > wallet.free[asset]:
            raise Refusal(order_errors.BALANCE_TOO_SMALL)
        interest = min(amount, wallet.interest[asset])
        wallet.free[asset] -= amount
        wallet.interest[asset] -= interest
        wallet.borrowed[asset] -= amount - interest
        self._touch(asset, now)
        transaction = wallet.new_transaction()
        row = LoanRow(
            transaction=transaction, asset=asset, principal=amount - interest, interest=interest, time=int(now * 1000)
        )
        self.repayments.append(row)
        self._record(asset, "REPAY", transaction, row.principal, row.interest)
        return transaction

    def _record(self, asset: str, kind: str, transaction: int, principal: Decimal, interest: Decimal) -> None:
        total = self._wallet.owed(asset)
        event = liability_change(asset, kind, transaction, principal=principal, interest=interest, total=total)
        self._wallet.events.add(event)

    def repay_what_is_free(self, asset: str, now: float, most: Decimal | None = None) -> None:
        """Repay as much as is owed and free, if anything."""
        wallet = self._wallet
        amount = min(wallet.owed(asset), wallet.free[asset], *([] if most is None else [most]))
        if amount > 0:
            self.repay(asset, amount, now)

    def accrue(self, now: float) -> None:
        """Charge the interest of an hour."""
        for asset, principal in tuple(self._wallet.borrowed.items()):
            if principal:
                self._charge(asset, principal, "PERIODIC", now)
        for asset in {asset for _, asset in self._wallet.futures}:
            principal = -self._wallet.negative(asset)
            interest = (principal * NEGATIVE_BALANCE_RATE / 24).quantize(_DIGITS)
            if interest:
                self._wallet.interest[asset] += interest
                self.negative.append(self._row(asset, principal, interest, NEGATIVE_BALANCE_RATE, "PORTFOLIO", now))

    def convert(self, now: float) -> None:
        """Cover negative balances above the threshold with stable coins of cross margin, at index prices."""
        wallet = self._wallet
        for (product, asset), balance in tuple(wallet.futures.items()):
            price = self._market.usd(asset, now)
            threshold = (NEGATIVE_BALANCE_LIMIT / price).quantize(_DIGITS)
            if -balance <= threshold:
                continue
            left = -balance * price
            for coin in ("USDT", "USDC"):
                part = min(left, wallet.free[coin])
                wallet.free[coin] -= part
                left -= part
            wallet.book(product, asset, -balance - left / price, "TRANSFER", int(now * 1000))
            row = ExchangeRow(asset=asset, negative=-balance, threshold=threshold, time=int(now * 1000))
            self.exchanges.append(row)

    def _charge(self, asset: str, principal: Decimal, kind: str, now: float) -> Decimal:
        interest = (principal * DAILY_RATE / 24).quantize(_DIGITS)
        self._wallet.interest[asset] += interest
        self.interest.append(self._row(asset, principal, interest, DAILY_RATE, kind, now))
        return interest

    def _row(
        self, asset: str, principal: Decimal, interest: Decimal, rate: Decimal, kind: str, now: float
    ) -> InterestRow:
        return InterestRow(
            transaction=1_352_286_576_000_000_000 + self._wallet.new_transaction(),
            asset=asset,
            principal=principal,
            interest=interest,
            rate=rate,
            kind=kind,
            time=int(now * 1000),
        )

    def _touch(self, asset: str, now: float) -> None:
        self._wallet.updated["MARGIN", asset] = int(now * 1000)
