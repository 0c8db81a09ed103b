"""A bounded buffer of events for the task that watches the fleet: state events are never dropped."""

from __future__ import annotations

from typing import Final

import anyio
import msgspec

from binance_pm.amounts import write_plainly
from binance_pm.fleet.event_queue import EventQueue
from binance_pm.fleet.events import Change, FleetEvent, Reading

_LEAST: Final = 1_000


class EventBuffer:
    """A buffer of events in the order in which they happened; each event is returned once.

    Every state event is kept. At most one reading waits for each account, in the place of the first: a newer reading is
    merged into the waiting one, so no outdated figure is returned and no change is lost. While `is_behind` is true, the
    fleet starts no reading:
    only calls in flight and one `Stale` for each account can add to the queue.

    Args:
        accounts: number of accounts.
    """

    def __init__(self, accounts: int) -> None:
        self._capacity: Final = max(_LEAST, 10 * accounts)
        self._queue: Final = EventQueue[FleetEvent]()
        self._readings: Final[dict[str, int]] = {}
        """Key in the queue of the reading of each account, by label."""
        self._changed: anyio.Event = anyio.Event()
        self._closed: bool = False

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def is_behind(self) -> bool:
        """Whether so many events wait that no reading should be started."""
        return len(self._queue) >= self._capacity + len(self._readings)

    def put(self, event: FleetEvent) -> None:
        """Add an event without waiting."""
        # Amounts inside responses are in plain notation already.
        write_plainly(event.changed if isinstance(event, Reading) else event)
        if not isinstance(event, Reading):
            self._queue.put(event, is_reading=False)
        elif (key := self._readings.get(event.label)) is None:
            self._readings[event.label] = self._queue.put(event, is_reading=True)
        else:
            before = self._queue.get(key)
            assert isinstance(before, Reading)  # noqa: S101
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
        return event

    def close(self) -> None:
        """Close the buffer: `get` then returns None."""
        self._closed = True
        self._changed.set()


def _merged(before: Reading, after: Reading) -> Reading:
    """Return a reading with the newer of each response and every change since the reading before both."""
    changed = dict(before.changed)
    for name, change in after.changed.items():
        since = changed.pop(name, change)
        if since.before != change.after:
            changed[name] = Change(since.before, change.after)
    return msgspec.structs.replace(after, responses={**before.responses, **after.responses}, changed=changed)
