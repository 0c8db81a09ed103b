"""Orders that wait for a price: algo orders of USD-M and conditional orders of COIN-M.

A triggered order becomes an ordinary order of the same client id. Mark price and contract price are the same here, so
``workingType`` and ``priceProtect`` make no difference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from binance_pm.sandbox import order_errors
from binance_pm.sandbox.conditional_event_fields import trigger_update
from binance_pm.sandbox.messages import Refusal
from binance_pm.sandbox.order_checks import check_risk, matched_price
from binance_pm.sandbox.records import OrderRecord

if TYPE_CHECKING:
    from binance_pm.sandbox.conditional_records import ConditionalRecord
    from binance_pm.sandbox.futures import Futures
    from binance_pm.sandbox.valuation import Valued

_MOST_WAITING = 200
_FIRST_ID = {"UM": 2_146_000, "CM": 123_000}


class Triggers:
    """The algo or conditional orders of one account and product.

    Attributes:
        records: all of them ever, by the exchange's id.
    """

    def __init__(self, desk: Futures) -> None:
        self.records: dict[int, ConditionalRecord] = {}
        self._desk = desk
        self._next = _FIRST_ID[desk.product]
        self._events = desk.wallet.events
        self._triggered: list[ConditionalRecord] = []

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
        self._record(record, "NEW", now)

    def cancel(self, record: ConditionalRecord, now: float, state: str = "CANCELED") -> None:
        """End an order that waits."""
        record.state, record.update_time = state, int(now * 1000)
        self._record(record, state, now)

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
        self.record_finished(now)

    def record_finished(self, now: float) -> None:
        """Record the events of algo orders that are finished because their orders have ended."""
        for record in [one for one in self._triggered if one.status == "FINISHED"]:
            self._triggered.remove(record)
            self._record(record, "FINISHED", now)

    def _record(self, record: ConditionalRecord, status: str, now: float, place: int | None = None) -> None:
        if self._events.is_recording:
            self._events.add(trigger_update(record, status, int(now * 1000)), place)

    def _trigger(self, account: Valued, record: ConditionalRecord, now: float) -> None:
        record.trigger_time = record.update_time = int(now * 1000)
        if record.product == "UM":
            self._record(record, "TRIGGERING", now)
        # The event of the trigger precedes those of the order, but contains the id of the order.
        place = len(self._events)
        order = self._order(record, now)
        try:
            check_risk(account, self._desk, order, now)
            self._desk.matching.place(order, now)
        except Refusal:
            record.state = "REJECTED" if record.product == "UM" else "EXPIRED"
            self._record(record, record.state, now)
            return
        record.state, record.order = "TRIGGERED", order
        if record.product == "UM":
            self._triggered.append(record)
        self._record(record, "TRIGGERED", now, place)

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
            strategy_id=record.number if record.product == "CM" else 0,
        )
