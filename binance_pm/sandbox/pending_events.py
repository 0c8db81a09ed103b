"""The events of one account that have not been pushed yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from decimal import Decimal

Fields = dict[str, Any]

_FIRST_EXECUTION = 8_641_000
_FIRST_UPDATE = 1_027_053_479_000


class PendingEvents:
    """The events of one account that have not been pushed yet, oldest first, without their push time.

    No event is recorded while no connection follows the account, because the exchange replays nothing.

    Attributes:
        is_recording: whether events are recorded.
        balances: the last recorded free and locked balances of cross margin, by asset.
    """

    def __init__(self) -> None:
        self.is_recording = False
        self.balances: dict[str, tuple[Decimal, Decimal]] = {}
        self._pending: list[Fields] = []
        self._execution = _FIRST_EXECUTION
        self._update = _FIRST_UPDATE

    def __len__(self) -> int:
        return len(self._pending)

    def add(self, event: Fields, at: int | None = None) -> None:
        """Record an event at the end, or before the event with the index ``at``."""
        if self.is_recording:
            self._pending.insert(len(self._pending) if at is None else at, event)

    def take(self) -> list[Fields]:
        """Remove and return all events."""
        taken, self._pending = self._pending, []
        return taken

    def next_execution(self) -> int:
        """Return the next number of a report about a margin order."""
        self._execution += 1
        return self._execution

    def next_update(self) -> int:
        """Return the next number of a change of the margin balances."""
        self._update += 1
        return self._update
