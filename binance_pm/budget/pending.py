"""Calls that the exchange may have counted, and that no header proves yet."""

from __future__ import annotations

import math
from typing import Final, NamedTuple


class Batch(NamedTuple):
    """Calls that may be in any of some minutes and are not proven inside a header."""

    known: float
    """Monotonic time from which all of them surely were counted, if they ever were."""
    weight: int
    reported: float = math.inf
    """The highest count in their own responses: a minute's header that is as high contains them."""


class PendingCalls:
    """The weight of pending calls, by the minutes in which they may be counted."""

    def __init__(self) -> None:
        self.batches: Final[dict[tuple[range, int], Batch]] = {}
        self._weights: Final[dict[int, int]] = {}
        """The sums that were computed since the last change, by minute."""

    def weight(self, minute: int) -> int:
        """Return the weight that may be in a minute."""
        weight = self._weights.get(minute)
        if weight is None:
            weight = sum(batch.weight for (minutes, _), batch in self.batches.items() if minute in minutes)
            self._weights[minute] = weight
        return weight

    def add(self, minutes: range, weight: int, known: float, *, batch: int, reported: float = math.inf) -> None:
        """Add calls by the minutes they may be in; those of a batch are proven together, with the last of them."""
        key = minutes, batch
        if before := self.batches.get(key):
            known, weight, reported = max(known, before.known), weight + before.weight, max(reported, before.reported)
        self.batches[key] = Batch(known, weight, reported)
        self._weights.clear()

    def prove(self, minute: int, sent: float, highest: int) -> int:
        """Remove from a minute the calls that its header contains, and return their weight.

        Args:
            minute: the minute of the header.
            sent: monotonic time at which the call with the header was sent: the header contains what was known before.
            highest: the highest count of the minute: a count only grows within a minute, so calls whose responses
                reported no more are contained, too.
        """
        proven = [
            (key, batch)
            for key, batch in self.batches.items()
            if (batch.known < sent or batch.reported <= highest) and minute in key[0]
        ]
        for (minutes, number), batch in proven:
            del self.batches[minutes, number]
            for side in (range(minutes.start, minute), range(minute + 1, minutes.stop)):
                if side:
                    self.add(side, batch.weight, batch.known, batch=number, reported=batch.reported)
        if proven:
            self._weights.clear()
        return sum(batch.weight for _, batch in proven)

    def forget(self, before: int) -> None:
        """Forget calls of minutes that are over."""
        for key in [key for key in self.batches if key[0].stop < before]:
            del self.batches[key]
        self._weights.clear()

    def edges(self) -> set[int]:
        """Return the first and the last minute of each batch."""
        return {minute for minutes, _ in self.batches for minute in (minutes.start, minutes.stop - 1)}
