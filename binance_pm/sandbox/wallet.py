"""The balances of one account: futures wallets with their income rows, and cross margin with its loans.

A futures wallet changes by income rows alone, so the rows of a wallet always add up to its balance.
"""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from hashlib import sha512
from typing import TYPE_CHECKING

from binance_pm.sandbox.event_fields import account_update, balance_update, outbound_account_position
from binance_pm.sandbox.pending_events import PendingEvents
from binance_pm.sandbox.records import ZERO, IncomeRow

if TYPE_CHECKING:
    from binance_pm.sandbox.contracts import Product

_DIGITS = Decimal("0.00000001")
_FIRST_TRANSACTION = 9_689_322_392
# Reason of a change of a futures wallet, by the type of the income; the event of a fill includes profit and commission.
_REASONS = {"FUNDING_FEE": "FUNDING_FEE", "INSURANCE_CLEAR": "INSURANCE_CLEAR", "TRANSFER": "ASSET_TRANSFER"}


class Wallet:
    """The balances of one account, by asset.

    Attributes:
        futures: balances of the USD-M and COIN-M wallets, by product and asset; may be negative.
        income: the income rows of both wallets, oldest first, by product.
        free: cross margin that is not locked.
        locked: cross margin that open orders lock.
        borrowed: principal of the loans.
        interest: interest that is owed for the loans.
        events: the events to push on the user data stream.
    """

    def __init__(self, holder: str) -> None:
        self.futures: defaultdict[tuple[Product, str], Decimal] = defaultdict(Decimal)
        self.income: dict[Product, list[IncomeRow]] = {"UM": [], "CM": []}
        self.free: defaultdict[str, Decimal] = defaultdict(Decimal)
        self.locked: defaultdict[str, Decimal] = defaultdict(Decimal)
        self.borrowed: defaultdict[str, Decimal] = defaultdict(Decimal)
        self.interest: defaultdict[str, Decimal] = defaultdict(Decimal)
        self.updated: dict[tuple[Product, str], int] = {}
        self.events: PendingEvents = PendingEvents()
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
            self._record(product, asset, income, kind, time, symbol)
        return transaction

    def _record(self, product: Product, asset: str, income: Decimal, kind: str, time: int, symbol: str) -> None:
        if self.events.is_recording and kind in _REASONS:
            event = account_update(product, _REASONS[kind], time, [(asset, self.futures[product, asset], income)])
            self.events.add(event)
            if kind == "FUNDING_FEE":
                event["a"]["S"] = symbol

    def transfer(self, asset: str, change: Decimal, time: int) -> None:
        """Add an amount to cross margin, or subtract it if negative; the futures wallet is booked separately."""
        self.free[asset] += change
        self.updated["MARGIN", asset] = time
        self.events.add(balance_update(asset, change, time, self.events.next_update()))

    def record_margin_balances(self, time: int) -> None:
        """Record the event of the margin balances that have changed since the last such event, if any have."""
        if self.events.is_recording:
            seen = self.events.balances
            changed = {asset: now for asset, now in self.margin_balances().items() if seen.get(asset) != now}
            seen |= changed
            if changed:
                self.events.add(outbound_account_position(changed, time, self.events.next_update()))

    def margin_balances(self) -> dict[str, tuple[Decimal, Decimal]]:
        """Return the free and locked balances of cross margin, by asset."""
        names = dict.fromkeys([*self.free, *self.locked])
        return {asset: (self.free[asset], self.locked[asset]) for asset in names}

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
            wallet.transfer(asset, -covered, int(now * 1000))
            wallet.book(product, asset, covered, "TRANSFER", int(now * 1000))


def collect(wallet: Wallet, product: Product, asset: str, collected: Decimal, now: float) -> None:
    """Move an amount from a futures wallet to cross margin."""
    wallet.transfer(asset, collected, int(now * 1000))
    wallet.book(product, asset, -collected, "TRANSFER", int(now * 1000))
