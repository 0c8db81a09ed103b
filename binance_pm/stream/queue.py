"""The queue between a stream and its consumer: bounded, with an exact count of what did not fit."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import anyio
import anyio.lowlevel
import msgspec
import sniffio

from binance_pm.stream.items import AnyEvent, StreamDown, StreamGap, StreamItem

if TYPE_CHECKING:
    import asyncio

TOO_SLOW: Final = "consumer too slow"

_ITEMS_BETWEEN_CHECKPOINTS: Final = 100
_MOST_REPORTS: Final = 1_000
"""How many reports may wait for a consumer; after that, reports without an event between them become one gap."""


class StreamQueue:
    """Events in the order in which they arrived; the consumer waits for them, the stream never waits.

    If the queue is full, one `StreamGap` takes the place of the events that do not fit. Events are accepted again when
    the consumer has emptied half of the queue. `StreamDown` and `StreamGap` always fit; if a thousand of them wait,
    those without an event between them become one gap.

    Args:
        capacity: the largest number of events.
        bounds: returns the earliest and the latest time that the exchange's clock can show now, in seconds since the
            epoch.
    """

    def __init__(self, capacity: int, bounds: Callable[[], tuple[float, float]]) -> None:
        self._capacity: Final = capacity
        self._bounds: Final = bounds
        self._items: Final[deque[StreamItem | _Overflow]] = deque()
        self._events: int = 0
        self._reports: int = 0
        self._overflow: _Overflow | None = None
        """The last item, while arriving events do not fit."""
        self._new_event: Callable[[], anyio.Event | asyncio.Event] | None = None
        self._arrival: anyio.Event | asyncio.Event | None = None
        self._since_checkpoint: int = 0
        self._is_closed: bool = False
        self._error: BaseException | None = None

    def __len__(self) -> int:
        """Return the number of events that wait for the consumer."""
        return self._events

    def put(self, event: AnyEvent) -> bool:
        """Add an event; return False if it does not fit."""
        overflow = self._overflow
        if overflow is not None and self._events <= self._capacity // 2:
            self._overflow = overflow = None
        elif overflow is None and self._events >= self._capacity:
            self._overflow = overflow = _Overflow(*self._bounds())
            self._append(overflow)
        if overflow is not None:
            overflow.count(1, self._bounds()[1])
            return False
        self._events += 1
        self._append(event)
        return True

    def put_report(self, report: StreamDown | StreamGap) -> None:
        """Add what the stream reports about itself; adjacent gaps for the same reason become one."""
        if isinstance(report, StreamGap) and report.lost is not None:
            if self._overflow is not None:
                self._overflow.count(report.lost, report.until)
                return
            last = self._items[-1] if self._items else None
            if isinstance(last, StreamGap) and last.why == report.why and last.lost is not None:
                self._items[-1] = msgspec.structs.replace(last, until=report.until, lost=last.lost + report.lost)
                return
        self._overflow = None
        if self._reports >= _MOST_REPORTS and isinstance(report, StreamGap):
            report = self._joined(report)
        self._reports += 1
        self._append(report)

    def _joined(self, gap: StreamGap) -> StreamGap:
        """Remove the reports after the last event; return one gap that covers them and the given one."""
        since = gap.since
        while self._items and isinstance(last := self._items[-1], StreamDown | StreamGap | _Overflow):
            self._items.pop()
            self._reports -= not isinstance(last, _Overflow)
            since = min(since, last.since)
        return msgspec.structs.replace(gap, since=since, lost=None)

    async def get(self) -> StreamItem:
        """Wait for the next item and remove it.

        Raises:
            StopAsyncIteration: the queue was closed, and its items have been taken.
        """
        self._since_checkpoint += 1
        if self._items and self._since_checkpoint >= _ITEMS_BETWEEN_CHECKPOINTS:
            # A consumer that is slower than the stream must still be cancellable, and let the stream read.
            self._since_checkpoint = 0
            await anyio.lowlevel.checkpoint()
        while not self._items:
            if self._is_closed:
                raise self._error or StopAsyncIteration
            self._since_checkpoint = 0
            if self._arrival is None:
                self._new_event = self._new_event or _event_class()
                self._arrival = self._new_event()
            await self._arrival.wait()
        item = self._items.popleft()
        if isinstance(item, _Overflow):
            if item is self._overflow:
                self._overflow = None
            return item.gap()
        if isinstance(item, StreamDown | StreamGap):
            self._reports -= 1
        else:
            self._events -= 1
        return item

    def close(self, error: BaseException | None = None) -> None:
        """End the iteration after the waiting items, with the error if one is given."""
        self._is_closed, self._error = True, error
        self._wake()

    def _append(self, item: StreamItem | _Overflow) -> None:
        self._items.append(item)
        if self._arrival is not None:
            self._wake()

    def _wake(self) -> None:
        arrival, self._arrival = self._arrival, None
        if arrival is not None:
            arrival.set()


def _event_class() -> Callable[[], anyio.Event | asyncio.Event]:
    """Return the class of events of the running event loop; `anyio.Event` would look for the event loop each time."""
    if sniffio.current_async_library() != "asyncio":
        return anyio.Event
    import asyncio  # noqa: PLC0415 - already loaded: it runs this task

    return asyncio.Event


class _Overflow:
    """Events that did not fit."""

    __slots__ = ("_lost", "_until", "since")

    def __init__(self, since: float, until: float) -> None:
        self.since: Final = since
        self._until: float = until
        self._lost: int = 0

    def count(self, lost: int, until: float) -> None:
        """Count events that do not fit."""
        self._lost += lost
        self._until = max(self._until, until)

    def gap(self) -> StreamGap:
        """Return what the consumer receives in place of the events."""
        return StreamGap(since=self.since, until=self._until, why=TOO_SLOW, lost=self._lost)
