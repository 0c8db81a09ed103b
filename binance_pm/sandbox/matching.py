"""The matching of one account's orders of one product against the market, and against each other.

Orders of different accounts do not meet: each account trades with the market alone. A resting order is filled at its
own price when the market crosses it, as far as the crossing levels of the book reach; orders are served by price, then
by their place in the queue. An incoming order takes the levels of the book at their prices.

Pure: time is an argument, in seconds of the exchange's clock.
"""

from __future__ import annotations

import string
from collections import defaultdict
from decimal import Decimal
from hashlib import sha512
from typing import TYPE_CHECKING, NamedTuple, Protocol

from binance_pm.sandbox import order_errors
from binance_pm.sandbox.market import Level
from binance_pm.sandbox.messages import Refusal
from binance_pm.sandbox.records import ZERO, AmendmentRecord, OrderRecord

if TYPE_CHECKING:
    from collections.abc import Iterable

    from binance_pm.sandbox.contracts import Product
    from binance_pm.sandbox.facts import Error
    from binance_pm.sandbox.market import Market, Side

_YEAR = 365 * 24 * 3600 * 1000
_FIRST_ORDER = {"UM": 4_611_875_134_427_000_000, "CM": 22_542_000_000, "MARGIN": 24_684_000_000}
_ID_LETTERS = string.ascii_letters + string.digits
# A resting order this far from the market, as a fraction, cannot have been reached.
_NEAR = 0.002


class Settlement(Protocol):
    """What fills and ends of orders mean for positions and balances."""

    def fill(self, order: OrderRecord, level: Level, now: float, *, is_maker: bool) -> None:
        """Execute a part of the order: the price and quantity of ``level``."""
        ...

    def room(self, order: OrderRecord) -> Decimal:
        """Return the quantity by which the order may still be executed."""
        ...

    def end(self, order: OrderRecord, now: float) -> None:
        """Release what the order holds, after its last event."""
        ...

    def report(self, order: OrderRecord, kind: str, now: float) -> None:
        """Record what happened to the order: NEW, TRADE, AMENDMENT, CANCELED or EXPIRED."""
        ...


class Refusals(NamedTuple):
    """The errors with which a product refuses; None if the order is recorded and expires instead."""

    duplicate_id: Error
    would_take: Error
    cannot_fill: Error | None


class _Offer(NamedTuple):
    """A level of the market or an own resting order, as a counterparty."""

    level: Level
    order: OrderRecord | None


class Matching:
    """The orders of one account and product.

    Attributes:
        orders: all orders ever, by order id.
        open: the open orders, by order id.
    """

    def __init__(
        self, holder: str, product: Product, market: Market, settlement: Settlement, refusals: Refusals
    ) -> None:
        self.orders: dict[int, OrderRecord] = {}
        self.open: dict[int, OrderRecord] = {}
        self._market = market
        self._settlement = settlement
        self._refusals = refusals
        digest = sha512(f"{holder}:{product}".encode()).digest()
        self._next_id = _FIRST_ORDER[product] + int.from_bytes(digest[:3]) * 1_000_000
        self._next_amendment = 5_000
        self._queued = 0

    def new_id(self) -> int:
        """Return the next order id."""
        self._next_id += 1
        return self._next_id

    def place(self, order: OrderRecord, now: float) -> None:
        """Accept an order: fill what the market offers, then let the rest rest or expire.

        Raises:
            Refusal: the client order id belongs to an open order; a post-only order would take; a fill-or-kill order
                cannot be filled. No order exists then.
        """
        self._check(order, now)
        self.add(order, now)
        if order.is_working:
            self._take(order, now)
            self._rest(order, now)

    def add(self, order: OrderRecord, now: float) -> None:
        """Record an open order at the end of the queue, without any fill."""
        order.order_id = order.order_id or self.new_id()
        order.client_order_id = order.client_order_id or _client_id(order.order_id)
        order.original_type = order.original_type or order.type
        order.time = order.update_time = int(now * 1000)
        self._queue(order)
        self.orders[order.order_id] = self.open[order.order_id] = order
        self._settlement.report(order, "NEW", now)

    def adopt(self, order: OrderRecord, price: Decimal, now: float) -> None:
        """Record an order that was filled completely at one price."""
        self.add(order, now)
        self._fill(order, Level(price, order.remaining), now, is_maker=False)

    def activate(self, order: OrderRecord, now: float) -> None:
        """Put a stop order that was triggered into the market."""
        order.is_working = True
        order.update_time = int(now * 1000)
        self._queue(order)
        self._settlement.report(order, "NEW", now)
        self._take(order, now)
        self._rest(order, now)

    def cancel(self, order: OrderRecord, now: float, status: str = "CANCELED") -> None:
        """End an open order."""
        order.status = status
        order.update_time = int(now * 1000)
        del self.open[order.order_id]
        self._settlement.end(order, now)
        self._settlement.report(order, "CANCELED" if status == "CANCELED" else "EXPIRED", now)

    def amend(
        self, order: OrderRecord, price: Decimal, quantity: Decimal, now: float, *, modify_id: int | None, match: str
    ) -> None:
        """Change price and total quantity of an open order, which goes to the end of the queue.

        If nothing would be left to fill, or a post-only order would take, the order is cancelled instead.
        """
        change = AmendmentRecord(
            amendment_id=self._next_amendment,
            time=int(now * 1000),
            price_before=order.price,
            price=price,
            quantity_before=order.quantity,
            quantity=quantity,
            count=len(order.amendments) + 1,
            modify_id=modify_id,
            price_match=match,
        )
        if quantity <= order.executed or (order.is_post_only and self._crosses(order, price, now)):
            self.cancel(order, now)
            return
        self._next_amendment += 1
        order.amendments = [*order.amendments, change]
        order.price, order.quantity, order.price_match = price, quantity, match
        order.update_time = change.time
        self._queue(order)
        self._settlement.report(order, "AMENDMENT", now)
        self._take(order, now)
        self._rest(order, now)

    def step(self, now: float) -> None:
        """Fill the resting orders that the market crosses now, and end those whose time is over."""
        for order in tuple(self.open.values()):
            if order.is_open:
                self._expire(order, now)
        groups: defaultdict[tuple[str, Side], list[OrderRecord]] = defaultdict(list)
        for order in self.open.values():
            if order.is_working and self._is_near(order, now):
                groups[order.symbol, order.side].append(order)
        for (_, side), orders in groups.items():
            sign = -1 if side == "BUY" else 1
            self._serve(sorted(orders, key=lambda one: (sign * one.price, one.priority)), now)

    def find(self, symbol: str, order_id: int | None, client_order_id: str | None) -> OrderRecord | None:
        """Return an order by its id or, without one, the newest with this client order id."""
        if order_id is not None:
            order = self.orders.get(order_id)
            return order if order and order.symbol == symbol else None
        named = (one for one in reversed(self.orders.values()) if one.client_order_id == client_order_id)
        return next((one for one in named if one.symbol == symbol), None)

    def check_id(self, order: OrderRecord) -> None:
        """Check that the client order id is new among the open orders.

        Raises:
            Refusal: it is not.
        """
        if any(one.client_order_id == order.client_order_id for one in self.open.values() if order.client_order_id):
            raise Refusal(self._refusals.duplicate_id)

    def would_take(self, order: OrderRecord, now: float) -> bool:
        """Whether the price of a limit order crosses the market now."""
        return self._crosses(order, order.price, now)

    def _check(self, order: OrderRecord, now: float) -> None:
        self.check_id(order)
        if order.is_post_only and self.would_take(order, now):
            raise Refusal(self._refusals.would_take)
        if order.time_in_force == "FOK" and self._refusals.cannot_fill and not self._fills(order, now):
            raise Refusal(self._refusals.cannot_fill)

    def _crosses(self, order: OrderRecord, price: Decimal, now: float) -> bool:
        best = self._market.best(order.contract, _other(order.side), now)
        return price >= best if order.is_buy else price <= best

    def _fills(self, order: OrderRecord, now: float) -> bool:
        levels = self._market.levels(order.contract, _other(order.side), now)
        offered = sum((level.quantity for level in levels if order.accepts(level.price)), ZERO)
        return offered >= order.quantity

    def _take(self, order: OrderRecord, now: float) -> None:
        """Fill an order from the book, level by level; stop at its price, or at an order of the same account."""
        if order.time_in_force == "FOK" and not self._fills(order, now):
            return
        for offer in self._offers(order, now):
            if not (order.is_open and order.accepts(offer.level.price)):
                return
            if offer.order is None:
                self._fill(order, offer.level, now, is_maker=False)
            elif offer.order.is_open:
                self._meet(order, offer.order, now)

    def _offers(self, order: OrderRecord, now: float) -> Iterable[_Offer]:
        """Return the counterparties of an order, best price first and the market before own orders."""
        side = _other(order.side)
        offers = [_Offer(level, None) for level in self._market.levels(order.contract, side, now)]
        offers += [
            _Offer(_level(one), one)
            for one in self.open.values()
            if one.symbol == order.symbol and one.side == side and one.is_working and one.price
        ]
        return sorted(offers, key=lambda offer: offer.level.price, reverse=side == "BUY")

    def _meet(self, taker: OrderRecord, maker: OrderRecord, now: float) -> None:
        """Apply self-trade prevention, or let two orders of the account fill each other."""
        # The other times in force leave nothing to prevent, or have no mode.
        mode = taker.self_trade_prevention if taker.time_in_force in {"GTC", "IOC", "GTD"} else "NONE"
        if mode != "NONE":
            maker.counter_id, taker.counter_id = taker.order_id, maker.order_id
        if mode in {"EXPIRE_MAKER", "EXPIRE_BOTH"}:
            self.cancel(maker, now, "EXPIRED_IN_MATCH")
        if mode in {"EXPIRE_TAKER", "EXPIRE_BOTH"}:
            self.cancel(taker, now, "EXPIRED_IN_MATCH")
        if mode == "NONE":
            level = _level(maker)
            quantity = min(level.quantity, taker.remaining, *map(self._settlement.room, (taker, maker)))
            if quantity > 0:
                self._fill(maker, level._replace(quantity=quantity), now, is_maker=True)
                self._fill(taker, level._replace(quantity=quantity), now, is_maker=False)

    def _fill(self, order: OrderRecord, level: Level, now: float, *, is_maker: bool) -> Decimal:
        """Fill an order as far as the level and its room reach, and return the quantity."""
        quantity = min(order.remaining, level.quantity, self._settlement.room(order))
        if quantity <= 0:
            return ZERO
        order.executed += quantity
        order.paid += quantity * level.price
        order.value += order.contract.notional(quantity, level.price)
        order.update_time = int(now * 1000)
        order.status = "PARTIALLY_FILLED" if order.remaining else "FILLED"
        self._settlement.fill(order, level._replace(quantity=quantity), now, is_maker=is_maker)
        if not order.remaining:
            del self.open[order.order_id]
            self._settlement.end(order, now)
        self._settlement.report(order, "TRADE", now)
        for other in tuple(self.open.values()):
            if other.closing and other.symbol == order.symbol and self._settlement.room(other) <= 0:
                self.cancel(other, now, "EXPIRED")
        return quantity

    def _rest(self, order: OrderRecord, now: float) -> None:
        """Expire what an incoming order must not leave in the book."""
        if order.is_open and (order.type == "MARKET" or not order.price or order.time_in_force in {"IOC", "FOK"}):
            self.cancel(order, now, "EXPIRED")

    def _serve(self, orders: list[OrderRecord], now: float) -> None:
        """Fill resting orders of one symbol and side from the levels that cross them."""
        left = list(self._market.levels(orders[0].contract, _other(orders[0].side), now))
        for order in orders:
            while order.is_open and left and order.accepts(left[0].price):
                filled = self._fill(order, left[0]._replace(price=order.price), now, is_maker=True)
                if not filled:
                    break
                rest = left[0].quantity - filled
                left[:1] = [left[0]._replace(quantity=rest)] if rest > 0 else []

    def _is_near(self, order: OrderRecord, now: float) -> bool:
        contract = order.contract
        if contract.quote != "USDT" and contract.size is None:
            return True
        price, own = self._market.estimate(f"{contract.base}USDT", now), float(order.price)
        return own >= price * (1 - _NEAR) if order.is_buy else own <= price * (1 + _NEAR)

    def _expire(self, order: OrderRecord, now: float) -> None:
        until = order.good_till or order.time + _YEAR
        if now * 1000 >= until:
            self.cancel(order, until / 1000, "EXPIRED" if order.good_till else "CANCELED")

    def _queue(self, order: OrderRecord) -> None:
        self._queued += 1
        order.priority = self._queued


FUTURES_REFUSALS = Refusals(order_errors.DUPLICATE_CLIENT_ID, order_errors.WOULD_TAKE, order_errors.CANNOT_FILL)


def _other(side: Side) -> Side:
    return "SELL" if side == "BUY" else "BUY"


def _level(order: OrderRecord) -> Level:
    return Level(order.price, order.remaining)


def _client_id(order_id: int) -> str:
    """Return the client order id that the exchange gives an order that has none."""
    digest = sha512(str(order_id).encode()).digest()
    return "".join(_ID_LETTERS[byte % len(_ID_LETTERS)] for byte in digest[:22])
