"""Events on their way to whoever watches: bounded, without ever dropping a state event."""

from __future__ import annotations

from collections import deque
from typing import Final

import anyio
import msgspec

from binance_pm.amounts import write_plainly
from binance_pm.fleet.events import Change, FleetEvent, Reading, StateEvent

_LEAST: Final = 1_000


class EventBuffer:
    """Events in the order in which they came; each is taken once.

    State events are all kept. Of each account at most one reading waits, in the place of the first: a newer one is
    merged into it, so that nobody reads an old figure and no change is lost. While `is_behind`, the fleet starts no
    reading: what can pile up then is what is on its way and one `Stale` of each account.

    Args:
        accounts: how many there are.
    """

    def __init__(self, accounts: int) -> None:
        self._most: Final = max(_LEAST, 10 * accounts)
        self._events: Final[deque[StateEvent | str]] = deque()
        """In place of a reading, its label."""
        self._readings: Final[dict[str, Reading]] = {}
        self._news: anyio.Event = anyio.Event()
        self._closed: bool = False

    def __len__(self) -> int:
        return len(self._events)

    @property
    def is_behind(self) -> bool:
        """Whether so much waits that nothing should be added that can be put off."""
        return len(self._events) >= self._most + len(self._readings)

    def put(self, event: FleetEvent) -> None:
        """Add an event; it never waits."""
        # Amounts inside answers are plain from the beginning.
        write_plainly(event.changed if isinstance(event, Reading) else event)
        if isinstance(event, Reading):
            before = self._readings.get(event.label)
            self._readings[event.label] = event if before is None else _merged(before, event)
            if before is None:
                self._events.append(event.label)
        else:
            self._events.append(event)
        self._news.set()

    async def get(self) -> FleetEvent | None:
        """The next event; None once it is closed, whatever still waits."""
        while not self._closed and not self._events:
            # Whoever else waits must be woken, too.
            if self._news.is_set():
                self._news = anyio.Event()
            await self._news.wait()
        if self._closed:
            return None
        event = self._events.popleft()
        return self._readings.pop(event) if isinstance(event, str) else event

    def close(self) -> None:
        """Nothing is taken any more."""
        self._closed = True
        self._news.set()


def _merged(before: Reading, after: Reading) -> Reading:
    """The newest of each answer, and what has changed since the reading before both."""
    changed = dict(before.changed)
    for name, change in after.changed.items():
        since = changed.pop(name, change)
        if since.before != change.after:
            changed[name] = Change(since.before, change.after)
    return msgspec.structs.replace(after, answers={**before.answers, **after.answers}, changed=changed)
