"""Records of orders that wait for a trigger price."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from binance_pm.sandbox.contracts import Contract, Product
from binance_pm.sandbox.market import Side
from binance_pm.sandbox.records import ZERO, OrderRecord


class ConditionalRecord(msgspec.Struct, kw_only=True):
    """One algo or conditional order, in any state."""

    product: Product
    contract: Contract
    number: int = 0
    """The exchange's id."""
    client_id: str = ""
    side: Side
    position_side: str = "BOTH"
    type: str
    time_in_force: str = "GTC"
    quantity: Decimal = ZERO
    price: Decimal = ZERO
    trigger_price: Decimal = ZERO
    activate_price: Decimal = ZERO
    """Price from which a trailing order follows the market; 0 for at once."""
    callback_rate: Decimal = ZERO
    """Percent by which the market must turn to trigger a trailing order."""
    working_type: str = "CONTRACT_PRICE"
    price_match: str = "NONE"
    close_position: bool = False
    price_protect: bool = False
    reduce_only: bool = False
    closing: bool = False
    self_trade_prevention: str = "NONE"
    good_till: int = 0
    state: str = "NEW"
    time: int = 0
    update_time: int = 0
    trigger_time: int = 0
    order: OrderRecord | None = None
    """The order that was placed at the trigger."""
    extreme: Decimal | None = None
    """Highest or lowest price since a trailing order was activated."""
    hidden_until: float = 0.0

    @property
    def status(self) -> str:
        """The status; an algo order of USD-M is finished when the order that it placed has ended."""
        is_over = self.order is not None and not self.order.is_open
        return "FINISHED" if self.product == "UM" and self.state == "TRIGGERED" and is_over else self.state

    @property
    def is_trailing(self) -> bool:
        """Whether the order is a trailing order."""
        return self.type == "TRAILING_STOP_MARKET"

    @property
    def is_market(self) -> bool:
        """Whether the triggered order is a market order."""
        return self.type.endswith("_MARKET")

    @property
    def waits_for_rise(self) -> bool:
        """Whether a higher price triggers the order."""
        return (self.side == "BUY") is not self.type.startswith("TAKE_PROFIT")

    def is_reached(self, price: Decimal) -> bool:
        """Whether this price triggers the order; also update the extreme price of a trailing order."""
        if not self.is_trailing:
            return price >= self.trigger_price if self.waits_for_rise else price <= self.trigger_price
        if self.extreme is None:
            # A rise activates a trailing sell order, and a fall then triggers the order.
            is_active = price <= self.activate_price if self.waits_for_rise else price >= self.activate_price
            if self.activate_price and not is_active:
                return False
            self.extreme = price
        if self.waits_for_rise:
            self.extreme = min(self.extreme, price)
            return price >= self.extreme * (1 + self.callback_rate / 100)
        self.extreme = max(self.extreme, price)
        return price <= self.extreme * (1 - self.callback_rate / 100)
