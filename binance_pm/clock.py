"""The exchange's clock, as an interval learned from its responses.

What the exchange does: every response carries `Date`, the exchange's clock in whole seconds; a time endpoint returns
milliseconds.

What is guaranteed: if every response was stamped between the moment its request left and the moment the response
arrived, and the two clocks drift by less than 200 parts per million, the exchange's clock lies inside
`ServerClock.bounds()`. The interval is kept on the monotonic clock, so steps of this machine's wall clock have no
effect. The bounds are never wider than three minutes, whatever the responses say.

What is accepted: not every `Date` comes from the exchange. Caches repeat old ones, proxies write their own.

* The first `Date` is accepted if it is within two minutes of the wall clock. Otherwise a second response has to agree.
* A later `Date` that is off by up to five seconds shows how far the clocks of the exchange's edge servers are apart:
  from then on the bounds are wider by that much on both sides, and this margin is halved every ten minutes.
* A `Date` that is off by more is ignored, until three of them in a row, over two seconds, agree with one another and
  with the monotonic clock: then the monotonic clock had stopped, as it does while a machine is suspended.
* The time endpoint outweighs every `Date`. If its time is more than two minutes from everything else that is known,
  including the wall clock, a second response of the time endpoint has to agree. A `Date` that contradicts the time
  endpoint by more than a second is ignored; `Date` is accepted again only if the two have agreed before, and then
  disagree for ten minutes.

What is unknown: how far the clocks of the exchange's edge servers are apart.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

DRIFT: Final = 200e-6
"""Largest drift between two clocks, in seconds per second."""
NEAR: Final = 120.0
"""Distance in seconds from the known time within which a response is accepted at once."""
MOST_UNSURE: Final = 60.0
"""Maximum number of seconds by which drift and contradictions widen the bounds on either side."""
_SLACK = 0.005
# Before the first response only the wall clock is known. The wall clock was accurate enough if the exchange accepts a
# signed request: at most 1 s ahead, at most recv_window (5 s) behind.
_UNHEARD = 5.0
# A timestamp may be less than 1 s ahead of the exchange's clock (general-info, read 2026-11-21): stay well inside.
_AHEAD = 0.5
# A response that took longer says too little, and so does an interval that covers two contradicting responses.
_LONGEST_TRIP = 30.0
_WIDEST = 45.0
# Largest differences between the clocks of the exchange's edge servers, and from the time endpoint.
_WIDEST_SPREAD, _WIDEST_FROM_EXACT = 5.0, 1.0
_SPREAD_HALF_LIFE = 600.0
# How many responses have to agree, and over how many seconds: a `Date` that never advances is not a clock.
_FIRST_WITNESSES, _WITNESSES, _WITNESSED_SECONDS = 2, 3, 2.0
_AGAINST_EXACT, _AGAINST_EXACT_SECONDS = 20, 600.0
_FRESH_SECONDS = 60.0
# The calendar ends with the year 9999.
_END_OF_TIME = 253_402_300_800.0


class _Interval(msgspec.Struct, frozen=True):
    """The exchange's clock minus the monotonic clock, and the monotonic time of this observation."""

    low: float
    high: float
    at: float


class _UnconfirmedTime(msgspec.Struct, frozen=True):
    """Responses that contradict the known time."""

    told: _Interval
    since: float
    """Monotonic time of the first such response."""
    times: int


class ServerClock:
    """The clock of one host of the exchange, in seconds since the epoch.

    Args:
        monotonic: this machine's clock that never steps, in seconds.
        wall: this machine's wall clock, used until the exchange's time is known.
        near: distance in seconds from the known time within which a response is accepted at once.
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
        """Whether the exchange's time is known from an accepted response."""
        self.exact_at: float = -math.inf
        """Monotonic time of the latest accepted response of the time endpoint."""
        self._known: _Interval | None = None
        self._is_exact = False
        """Whether the known time comes from the time endpoint."""
        self._has_agreed = False
        """Whether a `Date` has agreed with the known time since."""
        self._rumour: _UnconfirmedTime | None = None
        self._claim: _Interval | None = None
        """A time of the time endpoint that is far from everything known."""
        self._spread = 0.0
        """How far apart the exchange's clocks were when this was last observed."""
        self._spread_at = 0.0

    def bounds(self, now: float | None = None, *, with_spread: bool = True) -> tuple[float, float]:
        """Return the earliest and the latest time that the exchange's clock can show now.

        Args:
            now: the monotonic time, if it has already been read.
            with_spread: whether the clocks of all edge servers lie within the bounds.
        """
        known = self._known
        if known is None:
            wall = self._wall()
            return wall - _UNHEARD, wall + _UNHEARD
        now = self._monotonic() if now is None else now
        unsure = DRIFT * abs(now - known.at)
        if with_spread and self._spread:
            unsure += self._spread_now(now)
        unsure = min(unsure, MOST_UNSURE)
        return now + known.low - unsure, now + known.high + unsure

    def milliseconds(self) -> int:
        """Return the timestamp for a request signed now: the middle of the bounds, but never too far ahead."""
        if self._known is None:
            return int(self._wall() * 1000)
        # Deviating edge servers do not make the time of the time endpoint less certain.
        low, high = self.bounds(with_spread=not self._is_exact)
        return int((low + min((high - low) / 2, _AHEAD)) * 1000)

    def observe(self, earliest: float, latest: float, *, asked: float, answered: float, exact: bool = False) -> bool:
        """Record that the exchange's clock showed a time in [earliest, latest] between two local moments.

        Args:
            earliest: seconds since the epoch.
            latest: seconds since the epoch; one second after a `Date`, a millisecond after a server time.
            asked: monotonic time before the first byte left.
            answered: monotonic time after the response arrived.
            exact: whether the time comes from the time endpoint.

        Returns:
            Whether the time is accepted.
        """
        if not (0 <= earliest <= latest < _END_OF_TIME and answered - asked <= _LONGEST_TRIP):
            return False
        told = _Interval(earliest - answered - _SLACK, latest - asked + _SLACK, answered)
        return self._observe_exact(told) if exact else self._observe_date(told, asked)

    def take_over(self, earliest: float, latest: float, *, asked: float, answered: float) -> None:
        """Use the time that another process with the same budget has learned, if none was learned here yet."""
        if not self.is_synchronised and 0 <= earliest <= latest < _END_OF_TIME:
            middle = (earliest + latest) / 2
            earliest, latest = max(earliest, middle - _WIDEST / 2), min(latest, middle + _WIDEST / 2)
            self._learn(_Interval(earliest - answered - _SLACK, latest - asked + _SLACK, answered))

    def trust_date(self) -> None:
        """Accept the latest `Date`, after the exchange has refused a timestamp and its time endpoint cannot be used."""
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
        """Accept a time that contradicts everything known, once enough responses have confirmed it for long enough."""
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
    """Return the gap between two intervals, allowing for drift between them; 0 or less if they overlap."""
    return max(one.low - other.high, other.low - one.high) - DRIFT * abs(one.at - other.at)


def _common(new: _Interval, old: _Interval) -> _Interval:
    """Return the intersection of two overlapping intervals. Responses in flight together arrive in any order."""
    drift = DRIFT * abs(new.at - old.at)
    return _Interval(max(new.low, old.low - drift), min(new.high, old.high + drift), new.at)
