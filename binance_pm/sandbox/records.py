"""What the exchange keeps of an account: orders, trades, amendments, positions and income."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from binance_pm.sandbox.contracts import Contract, Product
from binance_pm.sandbox.market import Side

OPEN_STATUSES = frozenset({"NEW", "PARTIALLY_FILLED"})
ZERO = Decimal(0)


class TradeRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One fill of an order."""

    trade_id: int
    order_id: int
    symbol: str
    side: Side
    position_side: str
    price: Decimal
    quantity: Decimal
    is_maker: bool
    commission: Decimal
    """A charge is positive."""
    commission_asset: str
    profit: Decimal = ZERO
    """Realised profit, without the commission."""
    time: int
    """Milliseconds since the epoch."""
    appears: int = 0
    """When queries begin to show the row, in milliseconds since the epoch."""


class AmendmentRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One change of an order."""

    amendment_id: int
    time: int
    price_before: Decimal
    price: Decimal
    quantity_before: Decimal
    quantity: Decimal
    count: int
    """How many changes the order has had, including this one."""
    modify_id: int | None
    price_match: str


class OrderRecord(msgspec.Struct, kw_only=True):
    """One order, in any state."""

    product: Product
    contract: Contract
    order_id: int = 0
    client_order_id: str = ""
    side: Side
    position_side: str = "BOTH"
    type: str = "LIMIT"
    original_type: str = ""
    """Type of the conditional order that led to this one; empty for the same as ``type``."""
    time_in_force: str = "GTC"
    quantity: Decimal
    price: Decimal = ZERO
    reduce_only: bool = False
    closing: bool = False
    """Whether the order may only reduce its position: reduce-only, or against the side of a hedge leg."""
    price_match: str = "NONE"
    self_trade_prevention: str = "NONE"
    good_till: int = 0
    """Milliseconds since the epoch; 0 for none."""
    status: str = "NEW"
    time: int = 0
    update_time: int = 0
    priority: int = 0
    """Place in the queue at its price: the lower, the earlier."""
    hidden_until: float = 0.0
    """Queries do not find the order before this time, in seconds since the epoch."""
    executed: Decimal = ZERO
    paid: Decimal = ZERO
    """Sum of price times quantity of all fills."""
    value: Decimal = ZERO
    """Sum of the fills in the settlement asset."""
    amendments: list[AmendmentRecord] = []
    trades: list[TradeRecord] = []
    stop_price: Decimal = ZERO
    """Trigger price of a stop order of cross margin."""
    is_working: bool = True
    """Whether the order is in the book; a stop order is not before it triggers."""
    iceberg: Decimal = ZERO
    list_id: int = -1
    """The order list of an OCO leg."""
    side_effect: str = "NO_SIDE_EFFECT"
    repays_at_cancel: bool = True
    borrowed: Decimal = ZERO
    """What was borrowed for the order."""
    locked: Decimal = ZERO
    """Balance that the order still locks."""
    cancel_id: str = ""
    """The client id of the request that cancelled a margin order; empty if the exchange generates this id."""
    counter_id: int = 0
    """The order with which self-trade prevention prevented a match."""
    strategy_id: int = 0
    """The conditional order of COIN-M that placed the order."""
    reported: str = ""
    """The status that was last reported."""

    @property
    def symbol(self) -> str:
        """The symbol."""
        return self.contract.symbol

    @property
    def is_open(self) -> bool:
        """Whether the order can still be filled."""
        return self.status in OPEN_STATUSES

    @property
    def is_buy(self) -> bool:
        """Whether the order buys."""
        return self.side == "BUY"

    @property
    def is_post_only(self) -> bool:
        """Whether the order must not take."""
        return self.time_in_force == "GTX" or self.type == "LIMIT_MAKER"

    @property
    def remaining(self) -> Decimal:
        """The quantity that is not filled."""
        return self.quantity - self.executed

    @property
    def average_price(self) -> Decimal:
        """Average price of the fills; 0 without fills."""
        if not self.executed:
            return ZERO
        if self.contract.size is None:
            return self.paid / self.executed
        return self.executed * self.contract.size / self.value

    def accepts(self, price: Decimal) -> bool:
        """Whether the order may be filled at this price."""
        if self.price == 0:
            return True
        return price <= self.price if self.is_buy else price >= self.price


class ListRecord(msgspec.Struct, kw_only=True):
    """One OCO list: a limit order and a stop order, of which at most one is executed."""

    list_id: int
    client_id: str
    symbol: str
    time: int
    legs: tuple[OrderRecord, OrderRecord]
    """The stop order, then the limit order."""
    borrowed: Decimal = ZERO
    borrowed_asset: str = ""

    @property
    def is_open(self) -> bool:
        """Whether an order of the list is open."""
        return any(leg.is_open for leg in self.legs)


class HeldPosition(msgspec.Struct, kw_only=True):
    """The position of one symbol, or of one leg in hedge mode."""

    contract: Contract
    side: str
    """BOTH, LONG or SHORT."""
    amount: Decimal = ZERO
    """Negative for a short position."""
    entry: Decimal = ZERO
    realized: Decimal = ZERO
    """The profit realised so far, without commissions."""
    update_time: int = 0

    def add(self, quantity: Decimal, price: Decimal, time: int) -> Decimal:
        """Change the position by a signed quantity, and return the realised profit in the settlement asset."""
        closed = ZERO
        if self.amount * quantity < 0:
            closed = min(abs(quantity), abs(self.amount)).copy_sign(self.amount)
        profit = self.contract.gain(closed, self.entry, price)
        opened = quantity + closed
        kept = self.amount - closed
        if opened:
            self.entry = self._average(kept, opened, price)
        self.amount = kept + opened
        if not self.amount:
            self.entry = ZERO
        self.update_time = time
        return profit

    def _average(self, kept: Decimal, opened: Decimal, price: Decimal) -> Decimal:
        if not kept:
            return price
        if self.contract.size is None:
            return (kept * self.entry + opened * price) / (kept + opened)
        return (kept + opened) / (kept / self.entry + opened / price)


class IncomeRow(msgspec.Struct, frozen=True, kw_only=True):
    """One change of a futures wallet."""

    symbol: str
    kind: str
    amount: Decimal
    asset: str
    time: int
    transaction: int
    trade: str = ""
    appears: int = 0
    """When queries begin to show the row, in milliseconds since the epoch."""
