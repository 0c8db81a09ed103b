"""What others on the same IP spend, as far as the exchange's count tells.

The count in a header less all that can be ours is surely theirs. It is sampled twice a second: with little of ours on
the way it is exact, with much it is too low, so a call of ours is never taken for theirs.
"""

from __future__ import annotations

import math

_SAMPLE_SECONDS = 0.5
_MEMORY_SECONDS = 10.0
_HALF_LIFE = 60.0
_SHORTEST_TRIP, _LONGEST_TRIP = 0.05, 2.0


class Foreign:
    """Their moving rate, and how much they may add while one call is on its way.

    Args:
        limit: of the pool; before anything is known, they are believed to use a third of it.
    """

    def __init__(self, limit: int) -> None:
        self.rate: float = limit / 200
        """Weight a second, averaged over some ten seconds."""
        self.share: int = 0
        """Weight of the latest minute that was surely theirs."""
        self._peak = limit / 100
        self._trip = _SHORTEST_TRIP
        self._minute = -1
        self._sampled_at = -math.inf
        self._sampled = 0

    @property
    def jump(self) -> float:
        """The most that they have added within one round trip; half of it is forgotten in a minute."""
        return self._peak * self._trip

    def ignore(self) -> None:
        """Believe that there is nobody, where the exchange does not tell its count."""
        self.rate = 0.0

    def hear(self, minute: int, surely: int, *, sent: float, now: float) -> None:
        """Learn what was surely theirs in a minute, from a call that was on its way from `sent` to `now`."""
        fading = 0.5 ** (max(0.0, now - self._sampled_at) / _HALF_LIFE)
        self._trip = min(max(now - sent, self._trip), _LONGEST_TRIP)
        if minute != self._minute:
            # What they spent before the first sample of a minute came at an unknown pace.
            self._minute, self.share = minute, max(0, surely)
            self._sampled_at, self._sampled = now, self.share
            return
        self.share = max(self.share, surely)
        seconds = now - self._sampled_at
        if seconds < _SAMPLE_SECONDS:
            return
        grown = (self.share - self._sampled) / seconds
        self.rate += (grown - self.rate) * (1.0 - math.exp(-seconds / _MEMORY_SECONDS))
        self._peak = max(grown, self._peak * fading)
        self._trip = max(_SHORTEST_TRIP, self._trip * fading)
        self._sampled_at, self._sampled = now, self.share
