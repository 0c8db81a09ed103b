"""The state of one account, and how time changes it.

An account is brought up to date when a request or a test asks for it: the time since the last visit is passed through
in steps of a second, or in at most 120 steps if more time has passed.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from binance_pm.sandbox.conditional import Triggers
from binance_pm.sandbox.futures import Futures
from binance_pm.sandbox.liquidation import Liquidation
from binance_pm.sandbox.loans import Loans
from binance_pm.sandbox.margin import CrossMargin
from binance_pm.sandbox.market import ETHBTC
from binance_pm.sandbox.opening import portfolio
from binance_pm.sandbox.records import ZERO, OrderRecord
from binance_pm.sandbox.settings import Settings
from binance_pm.sandbox.valuation import Statement
from binance_pm.sandbox.wallet import Wallet, cover_negative

if TYPE_CHECKING:
    from collections.abc import Iterator

    from binance_pm.sandbox.account import SimulatedAccount
    from binance_pm.sandbox.contracts import Product
    from binance_pm.sandbox.market import Market

FUNDING_SECONDS = 8 * 3600
_HOUR = 3600
_MOST_STEPS = 120
_SHORTEST_STEP = 0.05
_FEE = Decimal("0.0005")


class AccountState:
    """The state of one account.

    Attributes:
        account: the account.
        market: prices and contracts.
        opened: when the account was opened, in milliseconds since the epoch.
        wallet: its balances.
        um: its USD-M futures.
        cm: its COIN-M futures.
        loans: its loans of cross margin.
        margin: its orders of cross margin.
        settings: its switches and what else is only stored.
        triggers: its algo and conditional orders, by product.
        is_hedged: whether the position mode is that of two legs, for USD-M and COIN-M.
        liquidation: closes its positions in need; None if the exchange never does.
        lists_all_symbols: whether the USD-M account lists flat symbols too.
        shows_newest: whether a window with more rows than a response shows the newest of them.
    """

    def __init__(
        self,
        account: SimulatedAccount,
        market: Market,
        *,
        is_liquidated: bool = True,
        lists_all_symbols: bool = False,
        shows_newest: bool = False,
    ) -> None:
        self.account = account
        self.market = market
        self.opened: int = int(market.start * 1000)
        self.wallet: Wallet = Wallet(account.label)
        self.um: Futures = Futures(account.label, "UM", market, self.wallet)
        self.cm: Futures = Futures(account.label, "CM", market, self.wallet)
        self.loans: Loans = Loans(self.wallet, market)
        self.margin: CrossMargin = CrossMargin(account.label, market, self.wallet, self.loans)
        self.settings: Settings = Settings(account.label)
        self.triggers: dict[Product, Triggers] = {"UM": Triggers(self.um), "CM": Triggers(self.cm)}
        self.is_hedged: bool = False
        self.liquidation: Liquidation | None = Liquidation(self.um, self.cm) if is_liquidated else None
        self.lists_all_symbols = lists_all_symbols
        self.shows_newest = shows_newest
        self._reached = market.start
        self._open()

    def futures(self, product: Product) -> Futures:
        """Return the futures of a product."""
        return self.um if product == "UM" else self.cm

    def record_changes(self, now: float) -> None:
        """Record the events of all changes that are not reported with an order."""
        self.triggers["UM"].record_finished(now)
        self.wallet.record_margin_balances(int(now * 1000))

    def set_recording(self, *, is_recording: bool) -> None:
        """Start or stop recording events."""
        events = self.wallet.events
        if is_recording and not events.is_recording:
            events.balances = self.wallet.margin_balances()
        events.is_recording = is_recording

    @property
    def earned(self) -> Decimal:
        """LDUSDT in the USD-M wallet."""
        return self.wallet.futures["UM", "LDUSDT"]

    def orders(self) -> list[OrderRecord]:
        """Return all orders ever, of every product."""
        matchings = (self.um.matching, self.cm.matching, self.margin.matching)
        return [order for matching in matchings for order in matching.orders.values()]

    def statement(self, at: float) -> Statement:
        """Return the account with its present holdings, valued at the prices of any time."""
        is_bankrupt = self.liquidation is not None and self.liquidation.loan > 0
        return Statement(self.account, self.market, self.wallet, um=self.um, cm=self.cm, at=at, is_bankrupt=is_bankrupt)

    def advance(self, now: float, *, at_once: bool = False) -> None:
        """Let the time until now pass: fills, funding and liquidation.

        Args:
            now: seconds since the epoch.
            at_once: look at the market now, even if that was done less than a twentieth of a second ago.
        """
        before = self._reached
        if abs(now - before) < _SHORTEST_STEP and not at_once:
            return
        if now <= before:
            # The clock was set back: nothing is charged a second time.
            self._step(now, now)
            return
        for at in _steps(before, now):
            self._step(before, at)
            before = at
        self._reached = now

    def _step(self, before: float, at: float) -> None:
        for moment in _ends(before, at, FUNDING_SECONDS):
            for desk in (self.um, self.cm):
                desk.fund(moment)
        for moment in _ends(before, at, _HOUR):
            self.loans.accrue(moment)
            if self.settings.repays_futures:
                cover_negative(self.wallet, moment)
            self.loans.convert(moment)
        self.margin.step(at)
        for desk in (self.um, self.cm):
            desk.matching.step(at)
            self.triggers[desk.product].step(self, at)
        if self.liquidation is not None:
            self.liquidation.step(self, at)

    def _open(self) -> None:
        """Book the deposits, the positions of the start, and two orders that would close half of a position each."""
        held, now = portfolio(self.account, self.market), self.market.start
        fees = sum((abs(row.amount * row.entry * _FEE).quantize(Decimal("0.00000001")) for row in held.holdings), ZERO)
        self.wallet.book("UM", "USDT", held.wallet + fees, "TRANSFER", self.opened)
        self.wallet.free["USDT"] = held.margin
        self.wallet.free["USDC"] = held.collateral
        for row in held.holdings:
            self.um.adopt(row.contract, row.amount, row.entry, now)
        for row in held.holdings[:2]:
            self._take_profit(row.contract.symbol)
        contract = self.market.contract("UM", ETHBTC)
        if self.account.holds_ethbtc and contract is not None:
            # Bought at twice today's price, for a hundredth of the wallet.
            bought = contract.rounded(held.wallet / 100 / self.market.usd("ETH", now))
            self.um.adopt(contract, max(bought, contract.step), self.market.price_of(contract, now) * 2, now)

    def _take_profit(self, symbol: str) -> None:
        position = self.um.positions[symbol, "BOTH"]
        contract, is_long = position.contract, position.amount > 0
        price = position.entry * (Decimal("1.25") if is_long else Decimal("0.75"))
        quantity = contract.rounded(abs(position.amount) / 2) or contract.step
        order = OrderRecord(
            product="UM",
            contract=contract,
            side="SELL" if is_long else "BUY",
            quantity=quantity,
            price=contract.on_tick(price, up=is_long),
            reduce_only=True,
            closing=True,
        )
        self.um.matching.add(order, self.market.start)


def _steps(before: float, now: float) -> Iterator[float]:
    """Return the times between the last visit and now at which the account is looked at, ending with now."""
    step = max(1.0, (now - before) / _MOST_STEPS)
    at = before - before % 1.0 + step
    while at < now:
        yield at
        at += step
    yield now


def _ends(before: float, at: float, period: float) -> Iterator[float]:
    """Return the ends of the exchange's periods after the one time, until and including the other."""
    for number in range(int(before // period) + 1, int(at // period) + 1):
        yield number * period
