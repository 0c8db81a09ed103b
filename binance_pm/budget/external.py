"""What other programs on the same IP use, as far as the exchange's count shows.

The count in a header less all that can be ours is surely external. It is sampled twice a second while little of our
weight is in flight: then it is nearly exact, and never too high, so that our own calls never count as external.
"""

from __future__ import annotations

import math

_SAMPLE_SECONDS = 0.5
_MEMORY_SECONDS = 10.0
_HALF_LIFE = 60.0
_SHORTEST_ROUND_TRIP, _LONGEST_ROUND_TRIP = 0.05, 2.0
# The part of the limit that may be in flight while a sample is taken.
_LITTLE = 0.02
# Two seconds of samples are enough to know their rate.
_ENOUGH = 1.0 - math.exp(-2.0 / _MEMORY_SECONDS)
# The burst is never estimated higher than this part of the limit.
_MOST_BURST = 0.25
# The highest first estimate of external usage, as a part of the limit.
_MOST_AT_FIRST = 0.3


class ExternalUsage:
    """The rate of external usage, and how much external usage may add while one call is in flight."""

    def __init__(self, limit: int, minute: float) -> None:
        self.share: int = 0
        """Weight of the latest minute that was surely external."""
        self.rate: float = 0.0
        """Weight a second, averaged over about ten seconds."""
        self.burst: float = 0.0
        """The most that was added within one round trip; decays by half in a minute."""
        self.is_known: bool = False
        """Whether external usage was observed for long enough."""
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
        """Learn that the exchange sends no count, so that nothing can ever be known."""
        self.is_known = True
        self._update()

    def lower_limit(self, limit: int) -> None:
        """Learn that the limit of the pool is smaller."""
        self._limit = limit
        self._update()

    def skip_minute(self, minute: int) -> None:
        """Ignore the rest of a minute in which not all of our own usage is known."""
        self._skipped_minute = minute

    def observe(self, minute: int, surely: int, unproven: int, *, sent: float, now: float) -> None:
        """Learn what was surely external in a minute.

        Args:
            minute: the number of the minute.
            surely: the count less all that can be ours.
            unproven: our weight that the count may or may not contain.
            sent: monotonic time at which the call was sent whose response has the count.
            now: monotonic time.
        """
        if now - sent > self._round_trip:
            self._round_trip = min(now - sent, _LONGEST_ROUND_TRIP)
            self._update()
        if unproven > _LITTLE * self._limit or minute == self._skipped_minute:
            return
        if self._minute < 0:
            # Other programs, or this one before a restart, have used the minute before our first call.
            self._at_first = min(max(0, surely), _MOST_AT_FIRST * self._limit) / self._minute_seconds
            self._peak = 2 * self._at_first
            self._update()
        if minute != self._minute:
            # It is not known when the usage before the first sample of a minute happened.
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
        # Bounded by the limit of a whole minute.
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
