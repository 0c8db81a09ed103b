"""Whether a call that failed is made again, and when.

Only reads are repeated, and writes whose effect is the same the second time, and only after failures that say nothing
about the request. An outage must not multiply traffic: every retry is paid from an allowance that only successes
refill.
"""

from __future__ import annotations

from typing import Final

from binance_pm.errors import ConnectError, NoResponse, NotDone, OutcomeUnknown, PortfolioMarginError

_REPEATABLE: Final = (ConnectError, NoResponse, NotDone, OutcomeUnknown)
_FIRST_DELAY: Final = 0.2
_LONGEST: Final = 30.0


def retry_delay(
    error: PortfolioMarginError, *, attempt: int, attempts: int, elapsed: float, jitter: float
) -> float | None:
    """Seconds until the call may be repeated, or None where it may not.

    Args:
        error: what the attempt ended in.
        attempt: its number, from 1.
        attempts: how many there may be.
        elapsed: seconds since the first began.
        jitter: a random number from 0 to 1, so that clients that failed together do not return together.
    """
    may_repeat = not error.write or error.repeat == "same_effect"
    if not may_repeat or attempt >= attempts or not isinstance(error, _REPEATABLE):
        return None
    delay = _FIRST_DELAY * 2 ** (attempt - 1) * (0.5 + jitter / 2)
    return delay if elapsed + delay < _LONGEST else None


class RetryBudget:
    """How many retries one host has left: ten at first, one more for every ten calls that it answers."""

    # In tenths: ten times 0.1 is less than 1.
    _most: Final = 100
    _retry: Final = 10

    def __init__(self) -> None:
        self._left: int = self._most

    def earn(self) -> None:
        """A call was answered."""
        self._left = min(self._most, self._left + 1)

    def spend(self) -> bool:
        """Take one retry; False where none is left."""
        if self._left < self._retry:
            return False
        self._left -= self._retry
        return True
