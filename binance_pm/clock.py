"""The exchange's clock, as an interval learned from its answers.

What the exchange does: every answer carries `Date`, its clock in whole seconds; a time endpoint tells milliseconds.

What is guaranteed: while every answer's stamp was made between the moment its request left and the moment it arrived,
and the two clocks drift by less than 200 millionths, the exchange's clock lies inside `ServerClock.bounds()`. It is
kept on the monotonic clock, so steps of this machine's wall clock do not exist for it. The bounds are never wider than
three minutes, whatever answers say.

What is believed: not every `Date` is the exchange's. Caches repeat old ones, proxies write their own.

* The first `Date` is believed if it is within two minutes of the wall clock. Otherwise a second response has to agree.
* A later `Date` that is off by up to five seconds shows how far the clocks of the exchange's edges lie apart: from then
  on the bounds are wider by as much on both sides, which is halved every ten minutes.
* One that is off by more is ignored, until three of them in a row, over two seconds, agree with one another and with
  the monotonic clock: then the monotonic clock stood still, as it does while a machine is suspended.
* The time endpoint outweighs every `Date`. If its time is more than two minutes from everything else that is known,
  the wall clock included, it has to say so twice. A `Date` that contradicts it by more than a second is ignored; only
  if the two have agreed before, and then disagree for ten minutes, it is believed again.

What nobody knows: how far the clocks of the exchange's edges lie apart.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

DRIFT: Final = 200e-6
"""By how much two clocks may drift apart, in seconds a second."""
NEAR: Final = 120.0
"""Seconds from what is known within which an answer is believed at once."""
MOST_UNSURE: Final = 60.0
"""Seconds by which drift and contradictions widen the bounds on either side, at most."""
_SLACK = 0.005
# Before the first answer the wall clock is all there is. It was right enough if the exchange accepts a signed
# request: at most 1 s ahead, at most recv_window (5 s) behind.
_UNHEARD = 5.0
# A timestamp may be less than 1 s ahead of the exchange's clock (general-info, read 2026-11-21): stay well inside.
_AHEAD = 0.5
# An answer that took longer says too little, and so does an interval that holds two contradicting answers.
_LONGEST_TRIP = 30.0
_WIDEST = 45.0
# By so much the clocks of the exchange's edges may differ: from one another, and from the time endpoint.
_WIDEST_SPREAD, _WIDEST_FROM_EXACT = 5.0, 1.0
_SPREAD_HALF_LIFE = 600.0
# How many answers have to agree, and over how many seconds: a `Date` that stands still is no clock.
_FIRST_WITNESSES, _WITNESSES, _WITNESSED_SECONDS = 2, 3, 2.0
_AGAINST_EXACT, _AGAINST_EXACT_SECONDS = 20, 600.0
_FRESH_SECONDS = 60.0
# The calendar ends with the year 9999.
_END_OF_TIME = 253_402_300_800.0


class _Interval(NamedTuple):
    """The exchange's clock less the monotonic one, and the monotonic time at which that was learned."""

    low: float
    high: float
    at: float


class _UnconfirmedTime(NamedTuple):
    """What answers say that contradict what is known."""

    told: _Interval
    since: float
    """Monotonic time of the first of them."""
    times: int


class ServerClock:
    """The clock of one host of the exchange; seconds since the epoch.

    Args:
        monotonic: this machine's clock that never steps, in seconds.
        wall: this machine's wall clock, used until the exchange was heard.
        near: seconds from what is known within which an answer is believed at once.
    """

    def __init__(
        self,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        near: float = NEAR,
    ) -> None:
        self._monotonic = monotonic
        self._wall = wall
        self._near = near
        self.is_synchronised: bool = False
        """Whether an answer that is believed has told the exchange's time yet."""
        self.exact_at: float = -math.inf
        """Monotonic time of the latest answer of the time endpoint that was believed."""
        self._known: _Interval | None = None
        self._is_exact = False
        """Whether what is known is the time endpoint's."""
        self._has_agreed = False
        """Whether a `Date` has agreed with it since."""
        self._rumour: _UnconfirmedTime | None = None
        self._claim: _Interval | None = None
        """What the time endpoint has said that is far from everything known."""
        self._spread = 0.0
        """How far the exchange's clocks lay apart when it was last seen."""
        self._spread_at = 0.0

    def bounds(self, now: float | None = None) -> tuple[float, float]:
        """The earliest and the latest that the exchange's clock can show now.

        Args:
            now: what the monotonic clock shows, if it has been read.
        """
        known = self._known
        if known is None:
            wall = self._wall()
            return wall - _UNHEARD, wall + _UNHEARD
        now = self._monotonic() if now is None else now
        unsure = DRIFT * abs(now - known.at)
        if self._spread:
            unsure += self._spread_now(now)
        unsure = min(unsure, MOST_UNSURE)
        return now + known.low - unsure, now + known.high + unsure

    def milliseconds(self) -> int:
        """The timestamp for a request signed now: the middle of the bounds, and surely not too far ahead."""
        known = self._known
        if known is None:
            return int(self._wall() * 1000)
        low, high = self.bounds()
        if self._is_exact:
            # What edges of the exchange say beside the time endpoint does not make its time less sure.
            now = self._monotonic()
            drift = min(DRIFT * abs(now - known.at), MOST_UNSURE)
            low, high = now + known.low - drift, now + known.high + drift
        return int((low + min((high - low) / 2, _AHEAD)) * 1000)

    def observe(self, earliest: float, latest: float, *, asked: float, answered: float, exact: bool = False) -> bool:
        """Learn that the exchange's clock showed something in [earliest, latest] between two local moments.

        Args:
            earliest: seconds since the epoch.
            latest: seconds since the epoch; one second after a `Date`, a millisecond after a server time.
            asked: monotonic time before the first byte left.
            answered: monotonic time after the answer arrived.
            exact: whether it is the time endpoint that says so.

        Returns:
            Whether it is believed.
        """
        if not (0 <= earliest <= latest < _END_OF_TIME and answered - asked <= _LONGEST_TRIP):
            return False
        told = _Interval(earliest - answered - _SLACK, latest - asked + _SLACK, answered)
        return self._observe_exact(told) if exact else self._observe_date(told, asked)

    def take_over(self, earliest: float, latest: float, *, asked: float, answered: float) -> None:
        """Learn what another process that shares the budget has learned, if nothing was heard yet."""
        if not self.is_synchronised and 0 <= earliest <= latest < _END_OF_TIME:
            middle = (earliest + latest) / 2
            earliest, latest = max(earliest, middle - _WIDEST / 2), min(latest, middle + _WIDEST / 2)
            self._learn(_Interval(earliest - answered - _SLACK, latest - asked + _SLACK, answered))

    def trust_date(self) -> None:
        """Believe the latest `Date`: the exchange has refused a timestamp, and does not tell its time otherwise."""
        rumour = self._rumour
        if rumour is None or self._monotonic() - rumour.told.at > _FRESH_SECONDS:
            return
        if not self._is_exact or self._has_agreed:
            self._replace(rumour.told, exact=False)

    def _observe_date(self, told: _Interval, asked: float) -> bool:
        known = self._known
        if known is None:
            if _apart(told, self._by_wall(told.at)) <= self._near:
                return self._replace(told, exact=False)
            return self._witness(told, asked, _FIRST_WITNESSES, 0.0)
        apart = _apart(told, known)
        if apart <= 0:
            self._rumour, self._has_agreed = None, True
            self._known = _common(told, known)
            return True
        if apart <= (_WIDEST_FROM_EXACT if self._is_exact else _WIDEST_SPREAD):
            both = _Interval(min(told.low, known.low) - _SLACK, max(told.high, known.high) + _SLACK, told.at)
            if self._is_exact or both.high - both.low <= _WIDEST:
                self._spread, self._spread_at = max(apart + _SLACK, self._spread_now(told.at)), told.at
                return self._is_exact or self._learn(both)
        if self._is_exact:
            times = _AGAINST_EXACT if self._has_agreed else math.inf
            return self._witness(told, asked, times, _AGAINST_EXACT_SECONDS)
        return self._witness(told, asked, _WITNESSES, _WITNESSED_SECONDS)

    def _observe_exact(self, told: _Interval) -> bool:
        known = self._known
        if known is not None and _apart(told, known) <= 0:
            told = _common(told, known)
        else:
            heard = (known, self._rumour and self._rumour.told, self._by_wall(told.at))
            is_near = any(it is not None and _apart(told, it) <= self._near for it in heard)
            if not is_near and (self._claim is None or _apart(told, self._claim) > 0):
                self._claim = told
                return False
        self.exact_at = told.at
        return self._replace(told, exact=True)

    def _witness(self, told: _Interval, asked: float, times: float, seconds: float) -> bool:
        """Believe what contradicts everything known, once enough answers have said so for long enough."""
        rumour = self._rumour
        if rumour is None or _apart(told, rumour.told) > 0:
            rumour = _UnconfirmedTime(told, told.at, 1)
        else:
            rumour = _UnconfirmedTime(_common(told, rumour.told), rumour.since, rumour.times + 1)
        self._rumour = rumour
        return rumour.times >= times and asked - rumour.since >= seconds and self._replace(rumour.told, exact=False)

    def _replace(self, told: _Interval, *, exact: bool) -> bool:
        self._is_exact, self._has_agreed = exact, False
        self._rumour = self._claim = None
        self._spread = 0.0
        return self._learn(told)

    def _learn(self, told: _Interval) -> bool:
        self._known, self.is_synchronised = told, True
        return True

    def _by_wall(self, at: float) -> _Interval:
        offset = self._wall() - self._monotonic()
        return _Interval(offset, offset, at)

    def _spread_now(self, now: float) -> float:
        spread = self._spread * 0.5 ** (max(0.0, now - self._spread_at) / _SPREAD_HALF_LIFE)
        return spread if spread > _SLACK else 0.0


def _apart(one: _Interval, other: _Interval) -> float:
    """By how much two intervals miss each other, however their clocks drifted meanwhile; 0 or less where they meet."""
    return max(one.low - other.high, other.low - one.high) - DRIFT * abs(one.at - other.at)


def _common(new: _Interval, old: _Interval) -> _Interval:
    """What two intervals that meet have in common. Answers that crossed on their way are heard in any order."""
    drift = DRIFT * abs(new.at - old.at)
    return _Interval(max(new.low, old.low - drift), min(new.high, old.high + drift), new.at)
