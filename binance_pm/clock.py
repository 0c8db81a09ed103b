"""The exchange's clock, as an interval learned from its answers.

What the exchange does: every answer carries `Date`, its clock in whole seconds; a time endpoint tells milliseconds.

What is guaranteed: while every answer's stamp was made between the moment its request left and the moment it arrived,
and the two clocks drift by less than 200 millionths, the exchange's clock lies inside `ServerClock.bounds()`. It is
kept on the monotonic clock, so steps of this machine's wall clock do not exist for it.

What nobody knows: how far the clocks of the exchange's edges lie apart. An answer that contradicts the earlier ones
shows it: from then on the bounds are wider by as much on both sides, which is halved every ten minutes. Where that
would be more than seconds, the answer is wrong rather than its clock: the interval holds both, and the next answer
narrows it again.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

DRIFT: Final = 200e-6
"""By how much two clocks may drift apart, in seconds a second."""
_SLACK = 0.005
# Before the first answer the wall clock is all there is. It was right enough if the exchange accepts a signed
# request: at most 1 s ahead, at most recv_window (5 s) behind.
_UNHEARD = 5.0
# A timestamp may be less than 1 s ahead of the exchange's clock (general-info, read 2026-11-21): stay well inside.
_AHEAD = 0.5
_WIDEST_SPREAD = 5.0
_SPREAD_HALF_LIFE = 600.0


class ServerClock:
    """The clock of one host of the exchange; seconds since the epoch.

    Args:
        monotonic: this machine's clock that never steps, in seconds.
        wall: this machine's wall clock, used until the exchange was heard.
    """

    def __init__(
        self, *, monotonic: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time
    ) -> None:
        self._monotonic = monotonic
        self._wall = wall
        self.is_heard: bool = False
        """Whether an answer has told the exchange's time yet."""
        self._low = -math.inf
        self._high = math.inf
        self._heard_at = 0.0
        self._spread = 0.0
        """How far the exchange's clocks lay apart when it was last seen."""
        self._spread_at = 0.0

    def bounds(self) -> tuple[float, float]:
        """The earliest and the latest that the exchange's clock can show now."""
        now = self._monotonic()
        if not self.is_heard:
            wall = self._wall()
            return wall - _UNHEARD, wall + _UNHEARD
        unsure = DRIFT * abs(now - self._heard_at)
        if self._spread:
            unsure += self._spread_now(now)
        return now + self._low - unsure, now + self._high + unsure

    def milliseconds(self) -> int:
        """The timestamp for a request signed now: the middle of the bounds, and surely not too far ahead."""
        if not self.is_heard:
            return int(self._wall() * 1000)
        low, high = self.bounds()
        return int((low + min((high - low) / 2, _AHEAD)) * 1000)

    def hear(self, earliest: float, latest: float, *, asked: float, answered: float) -> None:
        """Learn that the exchange's clock showed something in [earliest, latest] between two local moments.

        Args:
            earliest: seconds since the epoch.
            latest: seconds since the epoch; one second after a `Date`, a millisecond after a server time.
            asked: monotonic time before the first byte left.
            answered: monotonic time after the answer arrived.
        """
        low, high = earliest - answered - _SLACK, latest - asked + _SLACK
        if self.is_heard:
            # Answers that crossed on their way are heard in any order.
            drift = DRIFT * abs(answered - self._heard_at)
            known_low, known_high = self._low - drift, self._high + drift
            if low > known_high or known_low > high:
                self._contradict(max(low - known_high, known_low - high), answered)
                low, high = min(low, known_low) - _SLACK, max(high, known_high) + _SLACK
            else:
                low, high = max(low, known_low), min(high, known_high)
        self._low, self._high, self._heard_at, self.is_heard = low, high, answered, True

    def _contradict(self, apart: float, now: float) -> None:
        if apart <= _WIDEST_SPREAD:
            self._spread = max(apart + _SLACK, self._spread_now(now))
            self._spread_at = now

    def _spread_now(self, now: float) -> float:
        spread = self._spread * 0.5 ** (max(0.0, now - self._spread_at) / _SPREAD_HALF_LIFE)
        return spread if spread > _SLACK else 0.0
