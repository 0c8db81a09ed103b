"""The value and the margin of an account at a given time.

Margin is simpler than that of the real exchange: maintenance margin by the leverage brackets of each symbol, and a
fraction of each loan; initial margin by the leverage of the symbol, but at least twice the maintenance margin. Equity
is everything that the account holds, in USD; assets other than USDT count for 95 %.
"""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, Protocol

from binance_pm.sandbox.records import ZERO

if TYPE_CHECKING:
    from collections.abc import Iterator

    from binance_pm.sandbox.account import SimulatedAccount
    from binance_pm.sandbox.contracts import Contract
    from binance_pm.sandbox.futures import Futures
    from binance_pm.sandbox.market import Market
    from binance_pm.sandbox.records import HeldPosition, OrderRecord
    from binance_pm.sandbox.wallet import Wallet

# uniMMR above which a Portfolio Margin Pro account has each status; at or below the last, it is liquidated.
# https://developers.binance.com/docs/derivatives/portfolio-margin-pro (read 2026-11-21)
_LINES = ((Decimal("1.5"), "NORMAL"), (Decimal("1.2"), "MARGIN_CALL"), (Decimal("1.05"), "REDUCE_ONLY"))
LIQUIDATION = Decimal("1.05")
"""The uniMMR at which an account is liquidated."""
HIGHEST_UNI_MMR = Decimal(99_999_999)
"""The uniMMR of an account without maintenance margin."""

_COLLATERAL_RATE = Decimal("0.95")
_LOAN_MAINTENANCE = Decimal("0.05")
_LOAN_INITIAL = Decimal("0.1")


def collateral_rate(asset: str) -> Decimal:
    """Return the fraction of an asset's value that counts as collateral."""
    return Decimal(1) if asset == "USDT" else _COLLATERAL_RATE


class Row(NamedTuple):
    """A position valued at a given time, in the asset in which its contract is settled."""

    contract: Contract
    side: str
    amount: Decimal
    entry: Decimal
    """Price at which it was opened."""
    price: Decimal
    """Mark price."""
    profit: Decimal
    notional: Decimal
    maintenance: Decimal
    initial: Decimal
    updated: int

    @property
    def symbol(self) -> str:
        """The symbol."""
        return self.contract.symbol


class Statement:
    """An account valued at a given time.

    Attributes:
        account: the account that is valued.
        um: its USD-M positions.
        cm: its COIN-M positions.
        order_margin: initial margin of the open orders by contract, in the settlement asset.
    """

    def __init__(
        self,
        account: SimulatedAccount,
        market: Market,
        wallet: Wallet,
        *,
        um: Futures,
        cm: Futures,
        at: float,
        is_bankrupt: bool,
    ) -> None:
        self.account = account
        self.um: tuple[Row, ...] = tuple(_rows(um, at))
        self.cm: tuple[Row, ...] = tuple(_rows(cm, at))
        self.order_margin: defaultdict[Contract, Decimal] = defaultdict(Decimal)
        for desk in (um, cm):
            for order in desk.matching.open.values():
                self.order_margin[order.contract] += order_margin(desk, order, at)
        self._market = market
        self._wallet = wallet
        self._at = at
        self._is_bankrupt = is_bankrupt

    @property
    def wallet(self) -> Decimal:
        """USDT in the USD-M wallet."""
        return self._wallet.futures["UM", "USDT"]

    @property
    def rows(self) -> tuple[Row, ...]:
        """All positions."""
        return self.um + self.cm

    def profit_in(self, asset: str, rows: tuple[Row, ...]) -> Decimal:
        """Return the unrealised profit of positions that are settled in an asset."""
        return sum((row.profit for row in rows if row.contract.settled_in == asset), ZERO)

    @cached_property
    def maintenance(self) -> Decimal:
        """Maintenance margin in USD."""
        return self._positions("maintenance") + self._loans * _LOAN_MAINTENANCE

    @cached_property
    def initial(self) -> Decimal:
        """Initial margin of positions, orders and loans in USD."""
        orders = (margin * self._usd(contract) for contract, margin in self.order_margin.items())
        return self._positions("initial") + sum(orders, ZERO) + self._loans * _LOAN_INITIAL

    @cached_property
    def equity(self) -> Decimal:
        """USD, after collateral haircut."""
        return sum((value * (collateral_rate(asset) if value > 0 else 1) for asset, value in self._values), ZERO)

    @cached_property
    def actual_equity(self) -> Decimal:
        """USD, without collateral haircut."""
        return sum((value for _, value in self._values), ZERO)

    @cached_property
    def uni_mmr(self) -> Decimal:
        """Equity over maintenance margin."""
        return self.equity / self.maintenance if self.maintenance else HIGHEST_UNI_MMR

    @property
    def free(self) -> Decimal:
        """USD that is not needed for initial margin."""
        return max(self.equity - self.initial, ZERO)

    @property
    def status(self) -> str:
        """The status for the threshold that uniMMR exceeds."""
        if self._is_bankrupt:
            return "BANKRUPTED"
        return next((status for line, status in _LINES if self.uni_mmr > line), "FORCE_LIQUIDATION")

    @cached_property
    def _values(self) -> list[tuple[str, Decimal]]:
        """The net value of each asset in USD."""
        assets = dict.fromkeys([*self._wallet.assets(), *(row.contract.settled_in for row in self.rows)])
        return [(asset, self._held(asset) * self._market.usd(asset, self._at)) for asset in assets]

    def _held(self, asset: str) -> Decimal:
        wallet = self._wallet
        futures = sum((wallet.futures.get((product, asset), ZERO) for product in wallet.income), ZERO)
        return futures + wallet.margin(asset) - wallet.owed(asset) + self.profit_in(asset, self.rows)

    @property
    def _loans(self) -> Decimal:
        owed = self._wallet.borrowed
        return sum((owed[asset] * self._market.usd(asset, self._at) for asset in owed if owed[asset]), ZERO)

    def _positions(self, margin: str) -> Decimal:
        return sum((getattr(row, margin) * self._usd(row.contract) for row in self.rows), ZERO)

    def _usd(self, contract: Contract) -> Decimal:
        return self._market.usd(contract.settled_in, self._at)


class Valued(Protocol):
    """An account that can be valued."""

    def statement(self, at: float) -> Statement:
        """Return the account, valued at a given time."""
        ...


def order_margin(desk: Futures, order: OrderRecord, at: float) -> Decimal:
    """Return the initial margin that an open order needs, in the settlement asset."""
    opening = desk.opening(order)
    if not opening:
        return ZERO
    price = order.price or desk.market.price_of(order.contract, at)
    return _initial(desk, order.contract, opening, price)


def _rows(desk: Futures, at: float) -> Iterator[Row]:
    for position in desk.held:
        yield _valued(desk, position, desk.market.price_of(position.contract, at))


def _valued(desk: Futures, position: HeldPosition, price: Decimal) -> Row:
    contract = position.contract
    return Row(
        contract,
        position.side,
        position.amount,
        position.entry,
        price,
        contract.gain(position.amount, position.entry, price),
        contract.notional(position.amount, price),
        contract.maintenance(position.amount, price),
        _initial(desk, contract, abs(position.amount), price),
        position.update_time,
    )


def _initial(desk: Futures, contract: Contract, quantity: Decimal, price: Decimal) -> Decimal:
    by_leverage = contract.notional(quantity, price) / desk.leverage_of(contract.symbol)
    return max(by_leverage, 2 * contract.maintenance(quantity, price))
