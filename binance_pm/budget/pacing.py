"""How polls are spread over a minute, and what is kept free after refusals."""

from __future__ import annotations

import math
from typing import Final

PENALTY: Final = 0.01
MAX_PENALTY: Final = 0.5
"""The parts of the limit that are kept free after the first refusal, and after any number."""
MAX_MINUTES: Final = 8
"""So many minutes are remembered at most, even if a wrong clock has reported some that are far away."""


class TokenBucket:
    """Tokens for polls, filled at the rate of what is left of a minute over the time that is left."""

    def __init__(self, capacity: float, tokens: float) -> None:
        self.capacity: float = capacity
        self.tokens: float = tokens
        self.filled_at: float = -math.inf

    def pause(self, until: float) -> None:
        """Stop filling until a monotonic time, such as while the minute is full."""
        self.filled_at = max(self.filled_at, until)

    def drain(self, filled_at: float) -> None:
        """Empty the bucket; it fills from the given monotonic time on."""
        self.tokens, self.filled_at = min(self.tokens, 0.0), filled_at

    def wait(self, weight: int, left: float, rest: float, external: float, now: float) -> float:
        """Fill the bucket, and return the seconds until it has tokens for the weight if nothing is sent meanwhile.

        Args:
            weight: the weight of the call.
            left: the weight that is left of the minute.
            rest: the seconds that are left of the minute.
            external: the weight a second that other programs use.
            now: monotonic time.
        """
        if -math.inf < self.filled_at < now:
            rate = max(left - external * rest, weight) / rest
            self.tokens = min(self.capacity, self.tokens + rate * (now - self.filled_at))
        self.filled_at = now
        missing = weight - self.tokens
        if missing <= 0:
            return 0.0
        # What is left of the minute is spread over ever fewer seconds, so the rate rises. After x seconds it is
        # max(left - external * (rest - x), weight) / (rest - x), and the tokens are there when x times that rate
        # reaches what is missing.
        b = max(left, weight) - external * rest + missing
        by_what_is_left = 2 * missing * rest / (b + math.sqrt(b * b + 4 * external * missing * rest))
        return min(by_what_is_left, missing * rest / (weight + missing))


class Penalty:
    """Weight that is kept free after refusals: doubled by each minute with one, halved by each minute without."""

    def __init__(self) -> None:
        self.weight: float = 0.0
        self.minute: int = -1
        """The latest minute that is taken into account."""

    def add(self, minute: int, limit: int) -> None:
        """Learn of a refusal in a minute."""
        self.minute = not_ahead(self.minute, minute)
        if self.weight:
            self.decay(minute, limit)
        if minute > self.minute:
            self.weight = min(max(PENALTY * limit, 2 * self.weight), MAX_PENALTY * limit)
            self.minute = minute

    def decay(self, minute: int, limit: int) -> None:
        """Halve the weight for every minute that had no refusal."""
        self.minute = not_ahead(self.minute, minute)
        if (clean := minute - self.minute - 1) > 0:
            self.weight /= 2 ** min(clean, 60)
            self.minute += clean
            if self.weight < PENALTY * limit / 2:
                self.weight = 0.0


def not_ahead(minute: int, now: int) -> int:
    """Return a minute that was remembered, or this one if a wrong clock has reported one that is far ahead."""
    return minute if minute <= now + MAX_MINUTES else now
