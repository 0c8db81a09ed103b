"""A bounded queue of events in order: the oldest readings are dropped first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from math import inf
from typing import Final, Generic, NamedTuple, TypeVar

T = TypeVar("T")


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
