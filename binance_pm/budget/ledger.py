"""An upper bound of what one pool of the exchange has counted, minute by minute.

What the exchange does
    It adds a call's weight to a counter when the call arrives, and starts the counter at nothing in every minute of
    its own clock. An answer's header tells the count, other programs on the IP included.

What is guaranteed
    While the exchange's clock lies inside the interval given and weights are not underestimated, no admitted call
    makes the count of a minute pass the limit less `MARGIN`, whatever the delays on the way. A call that was sent
    and not proven inside a header is counted in every minute in which it can have arrived.

What nobody knows
    How much others on the IP send between two headers. The margin absorbs a little of it, the gate ends the rest.

A ledger has no clock and no I/O: every method is told the time. `now` is monotonic, minutes are numbers of the
exchange's clock.
"""

from __future__ import annotations

import math
from typing import NamedTuple

MARGIN = 10
"""Weight of the limit that is never spent."""


class _Pending(NamedTuple):
    """A call that may be in any of some minutes and is not proven inside a header."""

    known: float
    """Monotonic time from which it surely was counted, if it ever was."""
    weight: int
    minutes: range


class Ledger:
    """The bound of one pool.

    Args:
        limit: what the exchange allows in one minute.
        minute: seconds of one minute; only a test exchange has another length than 60.
    """

    def __init__(self, limit: int, *, minute: float = 60.0) -> None:
        self.limit = limit
        self.in_flight: int = 0
        """Weight reserved or sent and not settled: it may be counted in any minute still to come."""
        self._minute = minute
        self._probed = False
        self._header: dict[int, int] = {}
        self._own: dict[int, int] = {}
        self._pending: list[_Pending] = []

    def minutes(self, bounds: tuple[float, float]) -> range:
        """The minutes in which the exchange's clock can be."""
        earliest, latest = bounds
        return range(self._minute_of(earliest), self._minute_of(latest) + 1)

    def used(self, minute: int) -> int:
        """The most that the exchange can have counted, or still count, in that minute."""
        proven = max(self._header.get(minute, 0), self._own.get(minute, 0))
        return proven + self.in_flight + sum(p.weight for p in self._pending if minute in p.minutes)

    def most_used(self, bounds: tuple[float, float]) -> int:
        """`used` of the fullest minute in which the exchange's clock can be."""
        return max((self.used(minute) for minute in self._remembered(bounds)), default=self.in_flight)

    def wait(self, weight: int, bounds: tuple[float, float]) -> float:
        """Seconds until the weight may fit; 0 where it fits now, infinite where only an answer can make room."""
        room = self.limit - MARGIN - weight
        if room < 0 or self.in_flight > room:
            return math.inf
        # Others, or this program before a restart, may have used most of the minute: one call asks, the rest wait.
        if not self._probed and self.in_flight:
            return math.inf
        full = [minute for minute in self._remembered(bounds) if self.used(minute) > room]
        return self._minute * (max(full) + 1) - bounds[0] if full else 0.0

    def fits_ever(self, weight: int) -> bool:
        """Whether the weight fits into an empty minute."""
        return weight <= self.limit - MARGIN

    def reserve(self, weight: int) -> None:
        """Take weight for a call."""
        self.in_flight += weight

    def cancel(self, weight: int) -> None:
        """Give back the weight of a call that never left."""
        self.in_flight -= weight

    def answer(self, weight: int, used: int | None, minutes: range, *, sent: float, now: float) -> None:
        """Settle a call that was answered.

        Args:
            weight: what was reserved for it.
            used: the count that the answer's header tells.
            minutes: the minutes in which it can have been counted.
            sent: monotonic time before its first byte left.
            now: monotonic time after its answer arrived.
        """
        self.in_flight -= weight
        self._probed = True
        self._forget(minutes.start)
        if used is None or len(minutes) > 1:
            self._suspect(weight, minutes, known=now)
            return
        minute = minutes.start
        self._own[minute] = self._own.get(minute, 0) + weight
        self._header[minute] = max(self._header.get(minute, 0), used)
        self._pending = [left for p in self._pending for left in (_without(p, minute) if p.known < sent else (p,))]

    def lose(self, weight: int, minutes: range, *, known: float) -> None:
        """Settle a call that left and got no answer.

        Args:
            weight: what was reserved for it.
            minutes: the minutes in which it can be counted.
            known: monotonic time after which it can no longer arrive.
        """
        self.in_flight -= weight
        self._suspect(weight, minutes, known=known)

    def _suspect(self, weight: int, minutes: range, *, known: float) -> None:
        self._pending.append(_Pending(known, weight, minutes))

    def _remembered(self, bounds: tuple[float, float]) -> set[int]:
        """The possible minutes of which anything is known: the bounds may span years, these do not."""
        possible = self.minutes(bounds)
        edges = {minute for p in self._pending for minute in (p.minutes.start, p.minutes.stop - 1)}
        return {minute for minute in edges | set(self._header) | set(self._own) if minute in possible}

    def _forget(self, before: int) -> None:
        # An answer that took long tells of an old minute: keep the one before it as well.
        for counts in (self._header, self._own):
            for minute in [minute for minute in counts if minute < before - 1]:
                del counts[minute]
        self._pending = [p for p in self._pending if p.minutes.stop >= before]

    def _minute_of(self, time: float) -> int:
        return math.floor(time / self._minute)


def _without(pending: _Pending, minute: int) -> list[_Pending]:
    """What is left of a suspicion when one of its minutes is proven."""
    if minute not in pending.minutes:
        return [pending]
    sides = range(pending.minutes.start, minute), range(minute + 1, pending.minutes.stop)
    return [pending._replace(minutes=side) for side in sides if side]
