"""What the open streams of an account tell of its orders: a second source for the outcome of a placement."""

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
from binance_pm.stream.entities import LiveOrder, client_order_id_of, order_of_event
from binance_pm.stream.items import StreamDown, StreamGap, StreamUp

if TYPE_CHECKING:
    from binance_pm.session import Session

_REMEMBERED: Final = 1_000
"""Orders that are remembered, for a caller that learns late that its response is lost."""


class ExpectedOrder:
    """An order that an event may show.

    Args:
        client_order_id: the caller's own id of the order.
        watches: the open streams of the account.
    """

    def __init__(self, client_order_id: str, watches: Iterable[OrderWatch]) -> None:
        self.client_order_id: Final = client_order_id
        self._watches: Final = tuple(watches)
        self.order: LiveOrder | None = None
        """The order as the newest event shows it; None if no event has shown it."""
        self.arrived: Final = anyio.Event()
        """Set when an event has shown the order."""

    def show(self, order: LiveOrder | None) -> None:
        """Record what an event shows; None for the exchange's own order."""
        if order is not None:
            self.order = order
            self.arrived.set()

    async def wait(self) -> None:
        """Wait for the first event of the order."""
        await self.arrived.wait()

    def is_watched_since(self, time: float) -> bool:
        """Return whether a stream has been up without a gap since a monotonic time."""
        return any(watch.up_since <= time for watch in self._watches)


class OrderWatch:
    """The orders that one open stream has shown."""

    def __init__(self) -> None:
        self.up_since: float = math.inf
        """Monotonic time since when the stream has been up without a gap; infinite if the stream is down."""
        self._expected: Final[dict[str, list[ExpectedOrder]]] = {}
        self._recent: Final[OrderedDict[str, OrderTradeUpdate | ExecutionReport]] = OrderedDict()

    def observe(self, item: object, now: float) -> None:
        """Take note of what a stream yields."""
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

    def expect(self, expected: ExpectedOrder) -> None:
        """Show an order to a caller, from the last event on."""
        self._expected.setdefault(expected.client_order_id, []).append(expected)
        if (event := self._recent.get(expected.client_order_id)) is not None:
            expected.show(order_of_event(event))

    def forget(self, expected: ExpectedOrder) -> None:
        """Show an order to a caller no longer."""
        others = self._expected[expected.client_order_id]
        others.remove(expected)
        if not others:
            del self._expected[expected.client_order_id]

    def _show(self, client_order_id: str, event: OrderTradeUpdate | ExecutionReport) -> None:
        recent = self._recent
        recent[client_order_id] = event
        recent.move_to_end(client_order_id)
        if len(recent) > _REMEMBERED:
            recent.popitem(last=False)
        for expected in self._expected.get(client_order_id, ()):
            expected.show(order_of_event(event))


_watches: Final[WeakKeyDictionary[Session, dict[str, list[OrderWatch]]]] = WeakKeyDictionary()


@contextmanager
def order_watch(session: Session, key_id: str) -> Generator[OrderWatch]:
    """Return a watch that counts as an open stream of the account until it is left."""
    watch = OrderWatch()
    watches = _watches.setdefault(session, {}).setdefault(key_id, [])
    watches.append(watch)
    try:
        yield watch
    finally:
        watches.remove(watch)


@contextmanager
def expect_order(session: Session, key_id: str, client_order_id: str | None) -> Generator[ExpectedOrder | None]:
    """Expect an event of an order until this is left; None without an open stream of the account.

    Events of the last moments count as well.
    """
    watches = tuple(_watches.get(session, {}).get(key_id, ()))
    if client_order_id is None or not watches:
        yield None
        return
    expected = ExpectedOrder(client_order_id, watches)
    for watch in watches:
        watch.expect(expected)
    try:
        yield expected
    finally:
        for watch in watches:
            watch.forget(expected)
