"""The rule by which events and responses are merged, entity by entity.

What the exchange does: events of one type arrive in order, sometimes seconds late. Responses lag behind the matching
engine, sometimes by seconds. An event names only what changed; a list names what exists, so that an entity may be
missing because it has ended, or because the response is old.

What is guaranteed: an entity is right as soon as it has been read by a request that was sent at least `LAG` seconds
after the last change that no event delivered, provided that responses are stale by less than `LAG`.

* The higher version wins: the time of an event, or the update time of a response, then the executed quantity. If
  versions are equal, the event wins; the second read corrects an entity that no event has touched for `LAG` seconds.
* An entity that has ended leaves a tombstone for `TOMBSTONE` seconds, so that an old response cannot bring it back. An
  order that has ended never comes back.
* A row without an update time is merged unless an event has touched the entity in the `LAG` seconds before the request
  or later. In the first read after a gap, one second takes the place of `LAG`, because a change within the gap is
  likelier than a stale response. If an event from before the end of the gap prevents the merge, the row is undecided:
  the gap may hide a change, so that the list must be read again.
* An entity that is missing from a list has ended only if its version is older than the request, and if no event has
  touched the entity within that time. A later row of the same version brings the entity back, because the list may have
  been stale.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from decimal import Decimal
from typing import Any, Final, Generic, NamedTuple, TypeVar

K = TypeVar("K")
V = TypeVar("V")

LAG: Final = 10.0
"""Seconds by which a response may be stale."""
FIRST_LAG: Final = 1.0
"""The same for the first read after a gap."""
TOMBSTONE: Final = 600.0
"""Seconds for which an entity that has ended is remembered."""
AHEAD_MS: Final = 3_600_000
"""Milliseconds by which a time may be ahead of the exchange's clock; later times are ignored."""
_LONG_QUIET: Final = 60.0
"""Seconds without a change after which a response wins whatever its version: update times may have another meaning."""


class Version(NamedTuple):
    """How new the state of an entity is."""

    time: int
    """Milliseconds since the epoch; 0 if a response does not say."""
    quantity: Decimal = Decimal(0)
    """The executed quantity of an order."""


class ReadTimes(NamedTuple):
    """When a response was requested."""

    sent_at: float
    """Monotonic seconds; the request was sent then or later."""
    sent_time: int
    """The same on the exchange's clock, in milliseconds since the epoch."""
    up_since: int
    """Milliseconds on the exchange's clock; the stream came up, or the last gap ended, then or earlier."""
    is_repeated: bool = False
    """Whether the same part was read before since the last gap."""

    @property
    def quiet_since(self) -> float:
        """Monotonic time; a response wins if no event has touched the entity since."""
        return self.sent_at - (LAG if self.is_repeated else FIRST_LAG)


class _Entry(Generic[V]):
    """One entity as it is known.

    Args:
        value: its state.
    """

    __slots__ = ("changed_at", "has_ended", "is_inferred", "touched_at", "value", "version")

    def __init__(self, value: V) -> None:
        self.value: V = value
        self.version: Version = Version(-1)
        self.has_ended: bool = False
        self.is_inferred: bool = False
        """Whether the end was inferred from the absence of the entity."""
        self.touched_at: float = -math.inf
        """Monotonic time of the last event."""
        self.changed_at: float = -math.inf
        """Monotonic time of the last change."""


class Entities(Generic[K, V]):
    """The entities of one kind by key, merged from events and responses.

    Args:
        ends_once: whether an entity that has ended never comes back, as is true of orders. If a list lacks such an
            entity, the owner queries the entity before ending it.
    """

    def __init__(self, *, ends_once: bool = False) -> None:
        self._ends_once: Final = ends_once
        self._entries: Final[dict[K, _Entry[V]]] = {}
        self.changed: Final[dict[K, V]] = {}
        """What changed since the owner last cleared it, also what has ended."""
        self.changes: int = 0
        """How many changes there were."""
        self.undecided: int = 0
        """How often a first read after a gap differed from an event from before the end of the gap, and was ignored."""

    def get(self, key: K) -> V | None:
        """Return an entity, or None if it has ended or is not known."""
        entry = self._entries.get(key)
        return None if entry is None or entry.has_ended else entry.value

    def version(self, key: K) -> Version | None:
        """Return the version of an entity, also of one that has ended; None if it is not known."""
        entry = self._entries.get(key)
        return None if entry is None else entry.version

    def live(self) -> dict[K, V]:
        """Return the entities that have not ended."""
        return {key: entry.value for key, entry in self._entries.items() if not entry.has_ended}

    def merge_event(self, key: K, value: V, version: Version, now: float, *, has_ended: bool = False) -> bool:
        """Merge an entity of an event; return whether it changed.

        Args:
            key: the entity.
            value: its state.
            version: the time of the event.
            now: monotonic seconds.
            has_ended: whether the entity has ended.
        """
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = _Entry(value)
        entry.touched_at = now
        if version < entry.version or self._is_over(entry):
            return False
        return self._set(key, entry, value, version, now, has_ended=has_ended)

    def merge_row(
        self, key: K, value: V, version: Version, read: ReadTimes, now: float, *, has_ended: bool = False
    ) -> bool:
        """Merge an entity of a response; return whether it changed.

        Args:
            key: the entity.
            value: its state.
            version: the update time of the row, 0 if there is none.
            read: when the response was requested.
            now: monotonic seconds.
            has_ended: whether the entity has ended.
        """
        if version.time > read.sent_time + AHEAD_MS:
            # Nothing newer could ever replace it.
            version = Version(0)
        entry = self._entries.get(key)
        if entry is None:
            # A list may have hundreds of symbols without a position.
            if has_ended:
                return False
            entry = self._entries[key] = _Entry(value)
        elif self._is_over(entry):
            return False
        elif not _row_wins(entry, version, read):
            if 0 in {version.time, entry.version.time} and entry.value != value:
                self.undecided += _may_hide(entry, read)
            return False
        return self._set(key, entry, value, max(version, entry.version), now, has_ended=has_ended)

    def missing(self, listed: Collection[K], read: ReadTimes, belongs: Callable[[K], bool]) -> list[K]:
        """Return the entities that are missing from a list and older than its request.

        Orders whose end the gap may hide are among them, because the owner queries orders before ending them.

        Args:
            listed: the keys of the list.
            read: when the list was requested.
            belongs: whether the list would contain an entity.
        """
        found: list[K] = []
        for key, entry in self._entries.items():
            if entry.has_ended or key in listed or not belongs(key):
                continue
            is_older = entry.version.time < read.sent_time and entry.touched_at < read.quiet_since
            if is_older or (self._ends_once and _may_hide(entry, read)):
                found.append(key)
            else:
                self.undecided += _may_hide(entry, read)
        return found

    def end(self, key: K, value: V, now: float) -> None:
        """End an entity that is missing from a list.

        Args:
            key: the entity.
            value: its last state.
            now: monotonic seconds.
        """
        entry = self._entries[key]
        self._set(key, entry, value, entry.version, now, has_ended=True)
        entry.is_inferred = True

    def forget_old(self, now: float) -> None:
        """Forget the entities that ended long ago."""
        old = [key for key, one in self._entries.items() if one.has_ended and one.changed_at < now - TOMBSTONE]
        for key in old:
            del self._entries[key]

    def _is_over(self, entry: _Entry[V]) -> bool:
        """Return whether an entity has ended and cannot come back."""
        return self._ends_once and entry.has_ended and not entry.is_inferred

    def _set(self, key: K, entry: _Entry[V], value: V, version: Version, now: float, *, has_ended: bool) -> bool:
        is_first = entry.version.time < 0
        is_changed = is_first or entry.value != value or entry.has_ended != has_ended
        entry.version, entry.is_inferred = version, False
        if is_changed:
            entry.value, entry.has_ended, entry.changed_at = value, has_ended, now
            self.changed[key] = value
            self.changes += 1
        return is_changed


def _row_wins(entry: _Entry[Any], version: Version, read: ReadTimes) -> bool:
    """Return whether a row replaces what is known."""
    is_quiet = entry.touched_at < read.quiet_since
    if version.time == 0 or entry.version.time == 0:
        return is_quiet
    if version != entry.version:
        return version > entry.version or (read.is_repeated and _is_settled(entry, read))
    return entry.is_inferred or (read.is_repeated and is_quiet)


def _may_hide(entry: _Entry[Any], read: ReadTimes) -> bool:
    """Return whether the gap before a first read may hide a change of an entity from its last event."""
    return not read.is_repeated and entry.version.time <= read.up_since


def _is_settled(entry: _Entry[Any], read: ReadTimes) -> bool:
    """Return whether no change and no event has touched an entity for longer than a response can be stale."""
    return max(entry.touched_at, entry.changed_at) < read.sent_at - _LONG_QUIET
