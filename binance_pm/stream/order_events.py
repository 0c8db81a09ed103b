"""Orders that the open streams of an account show: a second source for the outcome of a placement or a cancel."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

import anyio

from binance_pm.api.futures_events import OrderTradeUpdate
from binance_pm.api.margin_events import ExecutionReport
from binance_pm.resolve import AHEAD_MS
from binance_pm.stream.items import StreamDown, StreamGap, StreamUp
from binance_pm.stream.live_structs import LiveOrder, client_order_id_of, order_of_event

if TYPE_CHECKING:
    from binance_pm.errors import PortfolioMarginError
    from binance_pm.session import Session

_REMEMBERED: Final = 1_000
"""How many orders are remembered, for a caller that learns late that its response is lost."""


class OrderWaiter:
    """Waits for an event of one order.

    Args:
        client_order_id: the caller's own id of the order; None if the order is known by its order id.
        order_id: the exchange's id of the order; None if the order is known by its client order id.
        market: the market of the order; None for any.
        symbol: the symbol of the order; None for any.
        since: milliseconds since the epoch; events of earlier changes do not count, because ids are used again.
        has_ended: whether only an event that shows the end of the order counts.
    """

    def __init__(
        self,
        client_order_id: str | None = None,
        *,
        order_id: int | None = None,
        market: str | None = None,
        symbol: str | None = None,
        since: int = 0,
        has_ended: bool = False,
    ) -> None:
        self._ids: Final = (client_order_id, order_id)
        self._place: Final = (market, symbol)
        self._since: Final = since
        self._has_ended: Final = has_ended
        self._recorders: tuple[OrderRecorder, ...] = ()
        self.order: LiveOrder | None = None
        """The order as the newest event shows it; None if no event has shown it."""
        self.arrived: Final = anyio.Event()
        """Set when an event has shown the order."""

    def attach(self, recorders: Iterable[OrderRecorder]) -> None:
        """Set the recorders of the open streams of the account."""
        self._recorders = tuple(recorders)

    def show(self, client_order_id: str, event: OrderTradeUpdate | ExecutionReport) -> None:
        """Record what an event shows, if it is about the order."""
        order_id = event.order.order_id if isinstance(event, OrderTradeUpdate) else event.order_id
        if client_order_id != self._ids[0] and order_id != self._ids[1]:
            return
        order = order_of_event(event)
        # The exchange's own orders are not shown.
        if order is None or order.update_time < self._since or (self._has_ended and order.is_open):
            return
        if all(one in {None, other} for one, other in zip(self._place, (order.market, order.symbol), strict=True)):
            self.order = order
            self.arrived.set()

    async def wait(self) -> None:
        """Wait for the first event of the order."""
        await self.arrived.wait()

    def is_watched_since(self, time: float) -> bool:
        """Return whether a stream has been up without a gap since a monotonic time."""
        return any(recorder.up_since <= time for recorder in self._recorders)


class OrderRecorder:
    """Records the orders that one open stream shows."""

    def __init__(self) -> None:
        self.up_since: float = math.inf
        """Monotonic time since when the stream has been up without a gap; infinite if the stream is down."""
        self._waiters: Final[list[OrderWaiter]] = []
        self._recent: Final[OrderedDict[str, OrderTradeUpdate | ExecutionReport]] = OrderedDict()

    def observe(self, item: object, now: float) -> None:
        """Record what a stream yields."""
        match item:
            case OrderTradeUpdate():
                self._show(item.order.client_order_id, item)
            case ExecutionReport():
                self._show(client_order_id_of(item), item)
            case StreamDown():
                self.up_since = math.inf
            case StreamUp() | StreamGap():
                self.up_since = now
            case _:
                return

    def add_waiter(self, waiter: OrderWaiter) -> None:
        """Show a waiter the events that are remembered, and those that arrive from now on."""
        self._waiters.append(waiter)
        for client_order_id, event in self._recent.items():
            waiter.show(client_order_id, event)

    def remove_waiter(self, waiter: OrderWaiter) -> None:
        """Show a waiter no further events."""
        self._waiters.remove(waiter)

    def _show(self, client_order_id: str, event: OrderTradeUpdate | ExecutionReport) -> None:
        recent = self._recent
        recent[client_order_id] = event
        recent.move_to_end(client_order_id)
        if len(recent) > _REMEMBERED:
            recent.popitem(last=False)
        for waiter in self._waiters:
            waiter.show(client_order_id, event)


def waiter_of(error: PortfolioMarginError) -> OrderWaiter | None:
    """Return a waiter for the order of a placement or a cancel that failed; None for any other write."""
    request = error.request
    if request is None:
        return None
    market, _, method = error.endpoint.partition(".")
    parameters = request.parameters
    is_cancel = method == "cancel_order"
    order_id = parameters.get("orderId") if is_cancel else None
    client_order_id = parameters.get("origClientOrderId") if is_cancel else request.client_id
    if order_id is None and client_order_id is None:
        return None
    return OrderWaiter(
        client_order_id,
        order_id=None if order_id is None else int(order_id),
        market=market,
        symbol=parameters.get("symbol"),
        since=(request.timestamp or 0) - AHEAD_MS,
        has_ended=is_cancel,
    )


_recorders: Final[WeakKeyDictionary[Session, dict[str, list[OrderRecorder]]]] = WeakKeyDictionary()


@contextmanager
def record_orders(session: Session, key_id: str) -> Generator[OrderRecorder]:
    """Yield the recorder of a stream of the account, which counts as open until the context is left."""
    recorder = OrderRecorder()
    recorders = _recorders.setdefault(session, {}).setdefault(key_id, [])
    recorders.append(recorder)
    try:
        yield recorder
    finally:
        recorders.remove(recorder)


@contextmanager
def attach_waiter(session: Session, key_id: str, waiter: OrderWaiter | None) -> Generator[OrderWaiter | None]:
    """Attach a waiter to the open streams of an account until the context is left; yield None if no stream is open.

    Events that arrived shortly before count as well.
    """
    recorders = tuple(_recorders.get(session, {}).get(key_id, ()))
    if waiter is None or not recorders:
        yield None
        return
    waiter.attach(recorders)
    for recorder in recorders:
        recorder.add_waiter(waiter)
    try:
        yield waiter
    finally:
        for recorder in recorders:
            recorder.remove_waiter(waiter)
