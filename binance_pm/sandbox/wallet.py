"""The balances of one account: futures wallets with their income rows, and cross margin with its loans.

A futures wallet changes by income rows alone, so the rows of a wallet always add up to its balance.
"""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from hashlib import sha512
from typing import TYPE_CHECKING

from binance_pm.sandbox.records import ZERO, IncomeRow

if TYPE_CHECKING:
    from binance_pm.sandbox.contracts import Product

_DIGITS = Decimal("0.00000001")
_FIRST_TRANSACTION = 9_689_322_392


class Wallet:
    """The balances of one account, by asset.

    Attributes:
        futures: balances of the USD-M and COIN-M wallets, by product and asset; may be negative.
        income: the income rows of both wallets, oldest first, by product.
        free: cross margin that is not locked.
        locked: cross margin that open orders lock.
        borrowed: principal of the loans.
        interest: interest that is owed for the loans.
    """

    def __init__(self, holder: str) -> None:
        self.futures: defaultdict[tuple[Product, str], Decimal] = defaultdict(Decimal)
        self.income: dict[Product, list[IncomeRow]] = {"UM": [], "CM": []}
        self.free: defaultdict[str, Decimal] = defaultdict(Decimal)
        self.locked: defaultdict[str, Decimal] = defaultdict(Decimal)
        self.borrowed: defaultdict[str, Decimal] = defaultdict(Decimal)
        self.interest: defaultdict[str, Decimal] = defaultdict(Decimal)
        self.updated: dict[tuple[Product, str], int] = {}
        self._transaction = _FIRST_TRANSACTION + int.from_bytes(sha512(holder.encode()).digest()[:3]) * 100_000

    def new_transaction(self) -> int:
        """Return the next transaction id."""
        self._transaction += 1
        return self._transaction

    def book(
        self, product: Product, asset: str, income: Decimal, kind: str, time: int, *, symbol: str = "", trade: str = ""
    ) -> int:
        """Change a futures wallet by an income row, and return the transaction id; nothing changes for an income of 0.

        Args:
            product: UM or CM.
            asset: the asset of the wallet.
            income: the change, rounded to 8 digits.
            kind: the type of the row, such as COMMISSION.
            time: milliseconds since the epoch.
            symbol: the symbol that the row belongs to, if any.
            trade: the id of the trade that the row belongs to, if any.
        """
        income = income.quantize(_DIGITS)
        transaction = self.new_transaction()
        if income:
            self.futures[product, asset] += income
            self.updated[product, asset] = time
            self.income[product].append(
                IncomeRow(
                    symbol=symbol,
                    kind=kind,
                    amount=income,
                    asset=asset,
                    time=time,
                    transaction=transaction,
                    trade=trade,
                )
            )
        return transaction

    def margin(self, asset: str) -> Decimal:
        """Return what cross margin holds of an asset, free and locked; loans are not subtracted."""
        return self.free[asset] + self.locked[asset]

    def owed(self, asset: str) -> Decimal:
        """Return what is owed of an asset: principal and interest."""
        return self.borrowed[asset] + self.interest[asset]

    def assets(self) -> list[str]:
        """Return the assets with any balance, in the order in which they were first held."""
        named = dict.fromkeys(asset for _, asset in self.futures)
        for balances in (self.free, self.locked, self.borrowed, self.interest):
            named |= dict.fromkeys(balances)
        return [asset for asset in named if self._holds(asset)]

    def _holds(self, asset: str) -> bool:
        futures = (self.futures.get((product, asset)) for product in self.income)
        margin = (rows.get(asset) for rows in (self.free, self.locked, self.borrowed, self.interest))
        return any(futures) or any(margin)

    def negative(self, asset: str) -> Decimal:
        """Return the negative balance of the futures wallets in an asset, as a number of 0 or below."""
        return sum((min(ZERO, self.futures.get((product, asset), ZERO)) for product in self.income), ZERO)


def cover_negative(wallet: Wallet, now: float) -> None:
    """Cover negative balances of the futures wallets from cross margin, as far as it reaches."""
    for (product, asset), balance in tuple(wallet.futures.items()):
        covered = min(-balance, wallet.free[asset])
        if covered > 0:
            wallet.free[asset] -= covered
            wallet.book(product, asset, covered, "TRANSFER", int(now * 1000))


def collect(wallet: Wallet, product: Product, asset: str, collected: Decimal, now: float) -> None:
    """Move an amount from a futures wallet to cross margin."""
    wallet.free[asset] += collected
    wallet.updated["MARGIN", asset] = int(now * 1000)
    wallet.book(product, asset, -collected, "TRANSFER", int(now * 1000))
