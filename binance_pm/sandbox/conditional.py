"""Orders that wait for a price: algo orders of USD-M and conditional orders of COIN-M.

A triggered order becomes an ordinary order of the same client id. Mark price and contract price are the same here, so
``workingType`` and ``priceProtect`` make no difference.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from binance_pm.sandbox import order_errors
from binance_pm.sandbox.contracts import Contract, Product
from binance_pm.sandbox.market import Side
from binance_pm.sandbox.messages import Refusal
from binance_pm.sandbox.order_checks import check_risk, matched_price
from binance_pm.sandbox.records import ZERO, OrderRecord

if TYPE_CHECKING:
    from binance_pm.sandbox.futures import Futures
    from binance_pm.sandbox.valuation import Valued

_MOST_WAITING = 200
_FIRST_ID = {"UM": 2_146_000, "CM": 123_000}


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
    """The order that it became."""
    extreme: Decimal | None = None
    """Highest or lowest price since a trailing order was activated."""
    hidden_until: float = 0.0

    @property
    def status(self) -> str:
        """Its status; an algo order of USD-M is finished when the order that it became has ended."""
        is_over = self.order is not None and not self.order.is_open
        return "FINISHED" if self.product == "UM" and self.state == "TRIGGERED" and is_over else self.state

    @property
    def is_trailing(self) -> bool:
        """Whether it follows the market."""
        return self.type == "TRAILING_STOP_MARKET"

    @property
    def is_market(self) -> bool:
        """Whether it becomes a market order."""
        return self.type.endswith("_MARKET")

    @property
    def waits_for_rise(self) -> bool:
        """Whether a higher price triggers it."""
        return (self.side == "BUY") is not self.type.startswith("TAKE_PROFIT")

    def is_reached(self, price: Decimal) -> bool:
        """Whether this price triggers it; a trailing order follows the price meanwhile."""
        if not self.is_trailing:
            return price >= self.trigger_price if self.waits_for_rise else price <= self.trigger_price
        if self.extreme is None:
            # A sale is activated by a rise, and then triggered by a fall.
            is_active = price <= self.activate_price if self.waits_for_rise else price >= self.activate_price
            if self.activate_price and not is_active:
                return False
            self.extreme = price
        if self.waits_for_rise:
            self.extreme = min(self.extreme, price)
            return price >= self.extreme * (1 + self.callback_rate / 100)
        self.extreme = max(self.extreme, price)
        return price <= self.extreme * (1 - self.callback_rate / 100)


class Triggers:
    """The algo or conditional orders of one account and product.

    Attributes:
        records: all of them ever, by the exchange's id.
    """

    def __init__(self, desk: Futures) -> None:
        self.records: dict[int, ConditionalRecord] = {}
        self._desk = desk
        self._next = _FIRST_ID[desk.product]

    @property
    def waiting(self) -> list[ConditionalRecord]:
        """Those that wait for their price."""
        return [record for record in self.records.values() if record.state == "NEW"]

    def place(self, record: ConditionalRecord, now: float) -> None:
        """Let an order wait.

        Raises:
            Refusal: -4116 for a client id that waits already, -4045 for too many orders, -2021 if it would trigger at
                once.
        """
        waiting = self.waiting
        if any(one.client_id == record.client_id for one in waiting if record.client_id):
            raise Refusal(order_errors.DUPLICATE_CLIENT_ID)
        if len(waiting) >= _MOST_WAITING:
            raise Refusal(order_errors.TOO_MANY_STOPS)
        price = self._desk.market.price_of(record.contract, now)
        if record.activate_price:
            is_past = price <= record.activate_price if record.side == "BUY" else price >= record.activate_price
        else:
            is_past = record.is_reached(price)
        if is_past:
            raise Refusal(order_errors.WOULD_TRIGGER)
        self._next += 1
        record.number = self._next
        record.client_id = record.client_id or f"conditional-{record.number}"
        record.time = record.update_time = int(now * 1000)
        self.records[record.number] = record

    def cancel(self, record: ConditionalRecord, now: float, state: str = "CANCELED") -> None:
        """End an order that waits."""
        record.state, record.update_time = state, int(now * 1000)

    def find(self, number: int | None, client_id: str | None) -> ConditionalRecord | None:
        """Return an order by its id or, without one, the newest with this client id."""
        if number is not None:
            return self.records.get(number)
        return next((one for one in reversed(self.records.values()) if one.client_id == client_id), None)

    def step(self, account: Valued, now: float) -> None:
        """Trigger the orders that the market reaches now, and end those whose time is over."""
        for record in self.waiting:
            if record.good_till and now * 1000 >= record.good_till:
                self.cancel(record, record.good_till / 1000, "EXPIRED")
            elif record.is_reached(self._desk.market.price_of(record.contract, now)):
                self._trigger(account, record, now)

    def _trigger(self, account: Valued, record: ConditionalRecord, now: float) -> None:
        record.trigger_time = record.update_time = int(now * 1000)
        order = self._order(record, now)
        try:
            check_risk(account, self._desk, order, now)
            self._desk.matching.place(order, now)
        except Refusal:
            record.state = "REJECTED" if record.product == "UM" else "EXPIRED"
            return
        record.state, record.order = "TRIGGERED", order

    def _order(self, record: ConditionalRecord, now: float) -> OrderRecord:
        quantity, price = record.quantity, record.price
        if record.close_position:
            quantity = abs(self._desk.position(record.contract, record.position_side).amount)
        if record.price_match != "NONE":
            price = matched_price(self._desk.market, record.contract, record.side, record.price_match, now)
        return OrderRecord(
            product=record.product,
            contract=record.contract,
            client_order_id=record.client_id,
            side=record.side,
            position_side=record.position_side,
            type="MARKET" if record.is_market else "LIMIT",
            original_type=record.type,
            time_in_force=record.time_in_force,
            quantity=quantity,
            price=price,
            reduce_only=record.reduce_only or record.close_position,
            closing=record.closing,
            price_match=record.price_match,
            self_trade_prevention=record.self_trade_prevention,
            good_till=record.good_till,
        )
