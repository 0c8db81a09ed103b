"""Bounded queues of events in the order in which they happened: for other programs, and for the task that watches."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from math import inf
from typing import Final, Generic, NamedTuple, TypeVar

import anyio
import msgspec

from binance_pm.amounts import write_plainly
from binance_pm.fleet.events import AccountChange, BalanceChanged, Change, FleetEvent, PositionChanged, Reading

T = TypeVar("T")

_LEAST_CAPACITY: Final = 1_000


class _Queued(NamedTuple, Generic[T]):
    item: T
    size: int
    is_reading: bool


class EventQueue(Generic[T]):
    """A queue that drops the oldest readings, then the oldest other events, when its size exceeds the limit.

    Args:
        limit: the largest total size.
        on_drop: called with every dropped item and whether the item is a reading.
    """

    def __init__(self, limit: float = inf, on_drop: Callable[[T, bool], None] | None = None) -> None:
        self._limit: Final = limit
        self._on_drop: Final = on_drop
        self._size: int = 0
        self._count: int = 0
        self._queued: Final[OrderedDict[int, _Queued[T]]] = OrderedDict()
        self._readings: Final[OrderedDict[int, None]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._queued)

    def __iter__(self) -> Iterator[tuple[int, T]]:
        """Iterate over keys and items, the oldest first."""
        return ((key, queued.item) for key, queued in self._queued.items())

    def put(self, item: T, *, is_reading: bool, size: int = 1) -> int:
        """Add an item, drop items while the size exceeds the limit, and return the key of the new item."""
        self._count += 1
        self._queued[self._count] = _Queued(item, size, is_reading)
        self._size += size
        if is_reading:
            self._readings[self._count] = None
        while self._size > self._limit:
            oldest = next(iter(self._readings or self._queued))
            was_reading = self._queued[oldest].is_reading
            dropped = self.pop(oldest)
            if self._on_drop is not None:
                self._on_drop(dropped, was_reading)
        return self._count

    def replace(self, key: int, item: T) -> None:
        """Replace the item with a key, at the same place in the queue."""
        self._queued[key] = self._queued[key]._replace(item=item)

    def get(self, key: int) -> T:
        """Return the item with a key and leave it in the queue."""
        return self._queued[key].item

    def clear(self) -> None:
        """Remove every item."""
        self._queued.clear()
        self._readings.clear()
        self._size = 0

    def pop(self, key: int | None = None) -> T:
        """Remove and return the item with a key, by default the oldest item."""
        key = next(iter(self._queued)) if key is None else key
        queued = self._queued.pop(key)
        self._readings.pop(key, None)
        self._size -= queued.size
        return queued.item


class EventBuffer:
    """A buffer of events in the order in which they happened; each event is returned once.

    Every state event is kept. For each position and balance, only the newest change is kept. At most one reading waits
    for each account: a newer reading is merged into the waiting reading, so no outdated figure is returned and no
    change is lost. While `is_behind` is true, the fleet starts no reading: only calls in flight and one `Stale` for
    each account can add to the buffer.

    Args:
        accounts: number of accounts.
    """

    def __init__(self, accounts: int) -> None:
        self._capacity: Final = max(_LEAST_CAPACITY, 10 * accounts)
        self._queue: Final = EventQueue[FleetEvent]()
        self._readings: Final[dict[str, int]] = {}
        """Key in the queue of the reading of each account, by label."""
        self._changes: Final[dict[tuple[str, ...], int]] = {}
        """Key in the queue of the newest change of each position and balance."""
        self._changed: anyio.Event = anyio.Event()
        self._closed: bool = False

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def is_behind(self) -> bool:
        """Whether so many events wait that no reading should be started."""
        return len(self._queue) >= self._capacity + len(self._readings) + len(self._changes)

    def put(self, event: FleetEvent) -> None:
        """Add an event without waiting."""
        # Amounts inside responses are in plain notation already.
        write_plainly(event.changed if isinstance(event, Reading) else event)
        if isinstance(event, PositionChanged | BalanceChanged):
            self._put_change(event)
        elif not isinstance(event, Reading):
            self._queue.put(event, is_reading=False)
        elif (key := self._readings.get(event.label)) is None:
            self._readings[event.label] = self._queue.put(event, is_reading=True)
        else:
            before = self._queue.get(key)
            assert isinstance(before, Reading)  # noqa: S101 - for the type checker
            self._queue.replace(key, _merged(before, event))
        self._changed.set()

    async def get(self) -> FleetEvent | None:
        """Return the next event, or None once the buffer is closed, even if events still wait."""
        while not self._closed and not self._queue:
            # The event is replaced only when set, because other tasks may be waiting for it.
            if self._changed.is_set():
                self._changed = anyio.Event()
            await self._changed.wait()
        if self._closed:
            return None
        event = self._queue.pop()
        if isinstance(event, Reading):
            del self._readings[event.label]
        elif isinstance(event, PositionChanged | BalanceChanged):
            del self._changes[_subject(event)]
        return event

    def _put_change(self, event: AccountChange) -> None:
        """Add a change, and replace a waiting change of the same position or balance."""
        subject = _subject(event)
        if (key := self._changes.get(subject)) is None:
            self._changes[subject] = self._queue.put(event, is_reading=False)
        else:
            self._queue.replace(key, event)

    def close(self) -> None:
        """Close the buffer: `get` then returns None."""
        self._closed = True
        self._changed.set()


def _subject(event: AccountChange) -> tuple[str, ...]:
    """Return the identity of the position or balance."""
    if isinstance(event, PositionChanged):
        return event.label, event.market, event.symbol, event.position_side
    return event.label, event.market, event.asset


def _merged(before: Reading, after: Reading) -> Reading:
    """Return a reading with the newer of each response and every change since the reading before both."""
    changed = dict(before.changed)
    for name, change in after.changed.items():
        since = changed.pop(name, change)
        if since.before != change.after:
            changed[name] = Change(since.before, change.after)
    return msgspec.structs.replace(after, responses={**before.responses, **after.responses}, changed=changed)
