"""The events of one account that have not been pushed yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from decimal import Decimal

Fields = dict[str, Any]

_FIRST_EXECUTION = 8_641_000
_FIRST_UPDATE = 1_027_053_479_000


class EventLog:
    """The events of one account in the order in which they happened, without the time at which they are pushed.

    Nothing is recorded while no connection follows the account: the exchange replays nothing.

    Attributes:
        is_watched: whether events are recorded.
        balances: free and locked balances of cross margin as last pushed, by asset.
    """

    def __init__(self) -> None:
        self.is_watched = False
        self.balances: dict[str, tuple[Decimal, Decimal]] = {}
        self._pending: list[Fields] = []
        self._execution = _FIRST_EXECUTION
        self._update = _FIRST_UPDATE

    def __len__(self) -> int:
        return len(self._pending)

    def add(self, event: Fields, at: int | None = None) -> None:
        """Record an event at the end, or at a place that `len` returned before."""
        if self.is_watched:
            self._pending.insert(len(self._pending) if at is None else at, event)

    def take(self) -> list[Fields]:
        """Return the events recorded so far, and forget them."""
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
