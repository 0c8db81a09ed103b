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
PATIENCE = 2.0
"""Seconds after which another call may ask for the count, where the first was not answered."""


class _Pending(NamedTuple):
    """Calls that may be in any of some minutes and are not proven inside a header."""

    known: float
    """Monotonic time from which all of them surely were counted, if they ever were."""
    weight: int


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
        self._asked = -math.inf
        self._pending: dict[range, _Pending] = {}

    def minutes(self, bounds: tuple[float, float]) -> range:
        """The minutes in which the exchange's clock can be."""
        earliest, latest = bounds
        return range(self._minute_of(earliest), self._minute_of(latest) + 1)

    def used(self, minute: int) -> int:
        """The most that the exchange can have counted, or still count, in that minute."""
        proven = max(self._header.get(minute, 0), self._own.get(minute, 0))
        return proven + self.in_flight + sum(p.weight for minutes, p in self._pending.items() if minute in minutes)

    def most_used(self, bounds: tuple[float, float]) -> int:
        """`used` of the fullest minute in which the exchange's clock can be."""
        return max((self.used(minute) for minute in self._remembered(bounds)), default=self.in_flight)

    def wait(self, weight: int, bounds: tuple[float, float]) -> float:
        """Seconds until the weight may fit; 0 where it fits now, infinite where only an answer can make room."""
        room = self.limit - MARGIN - weight
        if room < 0 or self.in_flight > room:
            return math.inf
        # Others, or this program before a restart, may have used most of the minute: one call asks, the rest wait.
        if not self._probed and self.in_flight and (left := self._asked + PATIENCE - bounds[0]) > 0:
            return left
        full = [minute for minute in self._remembered(bounds) if self.used(minute) > room]
        return self._minute * (max(full) + 1) - bounds[0] if full else 0.0

    def fits_ever(self, weight: int) -> bool:
        """Whether the weight fits into an empty minute."""
        return weight <= self.limit - MARGIN

    def reserve(self, weight: int, bounds: tuple[float, float]) -> None:
        """Take weight for a call."""
        self.in_flight += weight
        self._asked = bounds[0]

    def cancel(self, weight: int) -> None:
        """Give back the weight of a call that never left."""
        self.in_flight -= weight

    def answer(
        self, weight: int, used: int | None, minutes: range, *, sent: float, now: float, is_probe: bool = True
    ) -> None:
        """Settle a call that was answered.

        Args:
            weight: what was reserved for it.
            used: the count that the answer's header tells.
            minutes: the minutes in which it can have been counted.
            sent: monotonic time before its first byte left.
            now: monotonic time after its answer arrived.
            is_probe: whether an answer without a header shows that the exchange sends none; a gateway's does not.
        """
        self.in_flight -= weight
        self._probed = self._probed or used is not None or is_probe
        self._forget(minutes.start)
        if used is None:
            self._suspect(weight, minutes, known=now)
            return
        # Where the minute turned on the way, the count is the earliest minute's, or that minute is over: attributing
        # it there is right or harmless. The call itself is then suspected in the later ones.
        minute = minutes.start
        self._header[minute] = max(self._header.get(minute, 0), used)
        if len(minutes) > 1:
            self._suspect(weight, minutes[1:], known=now)
            return
        self._own[minute] = self._own.get(minute, 0) + weight
        self._prove(minute, sent)

    def lose(self, weight: int, minutes: range, *, known: float) -> None:
        """Settle a call that left and got no answer.

        Args:
            weight: what was reserved for it.
            minutes: the minutes in which it can be counted.
            known: monotonic time after which it can no longer arrive.
        """
        self.in_flight -= weight
        self._forget(minutes.start)
        self._suspect(weight, minutes, known=known)

    def _suspect(self, weight: int, minutes: range, *, known: float) -> None:
        """Remember calls by the minutes they may be in; together they are proven when the last of them is."""
        before = self._pending.get(minutes, _Pending(known, 0))
        self._pending[minutes] = _Pending(max(known, before.known), before.weight + weight)

    def _prove(self, minute: int, sent: float) -> None:
        """A count of the minute, asked for at `sent`, contains what was known before."""
        proven = [(minutes, p) for minutes, p in self._pending.items() if minute in minutes and p.known < sent]
        for minutes, p in proven:
            del self._pending[minutes]
            for side in (range(minutes.start, minute), range(minute + 1, minutes.stop)):
                if side:
                    self._suspect(p.weight, side, known=p.known)

    def _remembered(self, bounds: tuple[float, float]) -> set[int]:
        """The possible minutes of which anything is known: the bounds may span years, these do not."""
        possible = self.minutes(bounds)
        edges = {minute for minutes in self._pending for minute in (minutes.start, minutes.stop - 1)}
        return {minute for minute in edges | set(self._header) | set(self._own) if minute in possible}

    def _forget(self, before: int) -> None:
        # An answer that took long tells of an old minute: keep the one before it as well.
        for counts in (self._header, self._own):
            for minute in [minute for minute in counts if minute < before - 1]:
                del counts[minute]
        for minutes in [minutes for minutes in self._pending if minutes.stop < before]:
            del self._pending[minutes]

    def _minute_of(self, time: float) -> int:
        return math.floor(time / self._minute)
