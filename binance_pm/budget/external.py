"""What others on the same IP spend, as far as the exchange's count tells.

The count in a header less all that can be ours is surely theirs. It is sampled twice a second, while little of ours is
on the way: then it is nearly exact, and never too high, so that a call of ours is not taken for theirs.
"""

from __future__ import annotations

import math

_SAMPLE_SECONDS = 0.5
_MEMORY_SECONDS = 10.0
_HALF_LIFE = 60.0
_SHORTEST_ROUND_TRIP, _LONGEST_ROUND_TRIP = 0.05, 2.0
# The part of the limit that may be on its way while a sample is taken.
_LITTLE = 0.02
# Two seconds of samples are enough to know their rate.
_ENOUGH = 1.0 - math.exp(-2.0 / _MEMORY_SECONDS)
# However much they once added, that much more is left to be used.
_MOST_BURST = 0.25
# The part of the limit that others are believed to use all the time, if they have used as much before our first call.
_MOST_AT_FIRST = 0.3


class ExternalUsage:
    """Their moving rate, and how much they may add while one call is on its way.

    Args:
        limit: of the pool.
        minute: seconds of the exchange's minute.
    """

    def __init__(self, limit: int, minute: float) -> None:
        self.share: int = 0
        """Weight of the latest minute that was surely theirs."""
        self.rate: float = 0.0
        """Weight a second, averaged over some ten seconds."""
        self.burst: float = 0.0
        """The most that they have added within one round trip; half of it is forgotten in a minute."""
        self.is_known: bool = False
        """Whether they were watched for long enough."""
        self._limit = limit
        self._minute_seconds = minute
        self._at_first = 0.0
        self._sum = 0.0
        self._watched = 0.0
        self._peak = 0.0
        self._round_trip = _SHORTEST_ROUND_TRIP
        self._minute: int = -1
        self._skipped_minute = -1
        self._sampled_at = -math.inf
        self._sampled = 0

    def ignore(self) -> None:
        """Learn that the exchange does not tell its count: nothing will ever be known."""
        self.is_known = True
        self._update()

    def lower_limit(self, limit: int) -> None:
        """Learn that the pool's limit is smaller."""
        self._limit = limit
        self._update()

    def skip_minute(self, minute: int) -> None:
        """Leave the rest of a minute out, because not all that is ours in it is known."""
        self._skipped_minute = minute

    def observe(self, minute: int, surely: int, unproven: int, *, sent: float, now: float) -> None:
        """Learn what was surely theirs in a minute.

        Args:
            minute: which one.
            surely: the count less all that can be ours.
            unproven: weight of ours of which it is not known whether the count contains it.
            sent: monotonic time when the call left whose answer told the count.
            now: monotonic time.
        """
        if now - sent > self._round_trip:
            self._round_trip = min(now - sent, _LONGEST_ROUND_TRIP)
            self._update()
        if unproven > _LITTLE * self._limit or minute == self._skipped_minute:
            return
        if self._minute < 0:
            # Somebody has used the minute before our first call; this program itself, perhaps, before a restart.
            self._at_first = min(max(0, surely), _MOST_AT_FIRST * self._limit) / self._minute_seconds
            self._peak = 2 * self._at_first
            self._update()
        if minute != self._minute:
            # What they spent before the first sample of a minute came at an unknown schedule.
            if self._minute >= 0:
                self._decay(now - self._sampled_at)
            self._minute, self.share = minute, max(0, surely)
            self._sampled_at, self._sampled = now, self.share
            return
        self.share = max(self.share, surely)
        if now - self._sampled_at >= _SAMPLE_SECONDS:
            self._sample(now)

    def _sample(self, now: float) -> None:
        seconds = now - self._sampled_at
        # More than a minute's whole limit is no traffic that anybody has.
        grown = min((self.share - self._sampled) / seconds, self._limit / seconds)
        new = 1.0 - math.exp(-seconds / _MEMORY_SECONDS)
        self._sum += (grown - self._sum) * new
        self._watched += (1.0 - self._watched) * new
        self.is_known = self.is_known or self._watched >= _ENOUGH
        self._decay(seconds)
        self._peak = max(grown, self._peak)
        self._update()
        self._sampled_at, self._sampled = now, self.share

    def _decay(self, seconds: float) -> None:
        fading = 0.5 ** (max(0.0, seconds) / _HALF_LIFE)
        self._peak *= fading
        self._round_trip = max(_SHORTEST_ROUND_TRIP, self._round_trip * fading)
        self._update()

    def _update(self) -> None:
        seen = self._sum / self._watched if self._watched else 0.0
        self.rate = seen if self.is_known else max(seen, self._at_first)
        self.burst = min(self._peak * self._round_trip, _MOST_BURST * self._limit)
