"""The reading interval of each account, as pure functions of the account's figures.

Every account has a wished interval between a floor and a ceiling: the ceiling while the account is calm, the floor when
uniMMR is at the last threshold. In between, the interval shrinks geometrically with the danger, which goes from 0 to 1
and depends on:

* the distance of uniMMR from the thresholds: danger begins a quarter above a threshold and is complete at it. The
  first threshold counts most, so an account that has crossed it is read many times as often as a calm one;
* the rate of fall: the account is judged by the uniMMR that it would have in half a minute.

If all accounts together need more of a pool than the plan may use, the intervals of all accounts that draw on the pool
are stretched by the same factor, so accounts in danger keep their lead over calm ones. The budget takes precedence over
the ceiling.

An account that has been unread for longer than planned is read up to twice as often, within a small part of each pool.
If every account is unread because the network is down, the accounts are read hardly more often, and none has to wait
for another.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from binance_pm.fleet.thresholds import LIQUIDATION

PLANNED: Final = 0.9
"""Fraction of what polls may use that is planned; the rest is for retries and for calls outside the fleet."""
FLOOR: Final = 1.0
"""Seconds between two readings of an account in danger, by default."""
CEILING: Final = 15.0
"""Seconds between two readings of a calm account, by default."""
STREAMED: Final = 2.0
"""Factor that lengthens the interval of a calm Portfolio Margin account while its user data stream is up and reports no
change."""
LONGEST: Final = 900.0
"""Seconds: no interval is longer, even if a pool has no room."""

_LAST_THRESHOLD: Final = float(LIQUIDATION)
_NEAR: Final = 0.25
_FIRST_SHARE: Final = 0.8
_LOOKAHEAD_SECONDS: Final = 30.0
_FALL_HALF_LIFE: Final = 30.0
_MOST_HURRY: Final = 2.0
_UNREAD_SECONDS: Final = 60.0
_HURRY_PART: Final = 0.05


def wish(uni_mmr: float | None, thresholds: Sequence[float], *, fall: float, floor: float, ceiling: float) -> float:
    """Return the seconds after which an account should be read again, if the budget allows it.

    Args:
        uni_mmr: at the last reading, None if the account was never read.
        thresholds: uniMMR of the thresholds; the one of liquidation is added.
        fall: fraction of uniMMR lost per second, see `fall_rate`.
        floor: the shortest interval.
        ceiling: the longest interval.
    """
    danger = 0.0 if uni_mmr is None else _danger(uni_mmr * max(0.0, 1 - fall * _LOOKAHEAD_SECONDS), thresholds)
    return ceiling * (floor / ceiling) ** danger


def fall_rate(fall: float, before: float, after: float, seconds: float) -> float:
    """Return the fraction of uniMMR that an account loses per second: it rises at once and decays slowly.

    Args:
        fall: the rate before this reading.
        before: uniMMR at the previous reading.
        after: uniMMR now.
        seconds: time between the two readings.
    """
    if seconds <= 0 or before <= 0:
        return fall
    return max((before - after) / before / seconds, fall * 0.5 ** (seconds / _FALL_HALF_LIFE))


def loads(demands: Iterable[tuple[float, Mapping[str, float]]]) -> dict[str, float]:
    """Return the fraction of each pool's room for polls that all accounts together would use.

    Args:
        demands: for each account the wished interval, and the cost of one reading by pool: the seconds for which the
            reading would take the whole room for polls; infinite if there is no room.
    """
    taken: dict[str, float] = {}
    for interval, costs in demands:
        for pool, cost in costs.items():
            taken[pool] = taken.get(pool, 0.0) + cost / interval
    return taken


def stretches(taken: Mapping[str, float]) -> dict[str, float]:
    """Return the factor, at least 1, by which intervals must be stretched so that the plan of each pool fits.

    Args:
        taken: see `loads`.
    """
    return {pool: max(1.0, load / PLANNED) for pool, load in taken.items()}


def stretched(interval: float, pools: Iterable[str], by: Mapping[str, float]) -> float:
    """Return the planned interval in seconds: the wished interval, stretched as much as the tightest pool needs."""
    return min(interval * max((by.get(pool, 1.0) for pool in pools), default=1.0), max(LONGEST, interval))


def hurries(plans: Sequence[tuple[float, Mapping[str, float]]], overdue: Sequence[float]) -> list[float]:
    """Return how many times as often as planned each account is read because it was unread: from 1 to 2.

    Args:
        plans: for each account its planned interval, and its costs as for `loads`.
        overdue: seconds for which each account has been unread beyond its planned interval.
    """
    wanted = [1 + (_MOST_HURRY - 1) * min(1.0, max(0.0, late) / _UNREAD_SECONDS) for late in overdue]
    extra = loads(
        (interval / (times - 1), costs) for (interval, costs), times in zip(plans, wanted, strict=True) if times > 1
    )
    fits = {pool: min(1.0, _HURRY_PART / load) for pool, load in extra.items()}
    return [
        1 + (times - 1) * min((fits.get(pool, 1.0) for pool in costs), default=1.0)
        for (_, costs), times in zip(plans, wanted, strict=True)
    ]


class Turn(NamedTuple):
    """The due time of an account, and the cost of a reading."""

    due: float
    interval: float
    costs: Mapping[str, float]
    """See `loads`."""


def levelled(turns: Sequence[Turn], *, rate: float) -> list[float]:
    """Return the latest start of each reading so that every account is read when due and the rate is never exceeded.

    Accounts that are due together are started one after the other, some of them early, which keeps them apart later.
    Room is left for accounts whose interval is less than half of the longest, because they are read several times
    meanwhile.

    Args:
        turns: the turns of all accounts.
        rate: fraction of a pool's room for polls that may be used at any time.
    """
    longest: dict[str, float] = {}
    for turn in turns:
        for pool in turn.costs:
            longest[pool] = max(longest.get(pool, 0.0), turn.interval)
    is_calm = [all(2 * turn.interval >= longest[pool] for pool in turn.costs) for turn in turns]
    background = loads((turn.interval, turn.costs) for turn, calm in zip(turns, is_calm, strict=True) if not calm)
    starts = [turn.due for turn in turns]
    edges: dict[str, float] = {}
    for place in sorted(range(len(turns)), key=lambda place: -turns[place].due):
        if not is_calm[place]:
            continue
        for pool, cost in turns[place].costs.items():
            room = max(rate - background.get(pool, 0.0), rate / 10)
            starts[place] = min(starts[place], edges.get(pool, math.inf) - cost / room)
        edges.update(dict.fromkeys(turns[place].costs, starts[place]))
    return starts


def _danger(uni_mmr: float, thresholds: Sequence[float]) -> float:
    """Return 0 far above every threshold, up to 1 at or below the last one."""
    ordered = sorted({*thresholds, _LAST_THRESHOLD}, reverse=True)
    if len(ordered) == 1:
        return _nearness(uni_mmr, ordered[0])
    rest = ordered[1:]
    share = (1 - _FIRST_SHARE) / len(rest)
    return _FIRST_SHARE * _nearness(uni_mmr, ordered[0]) + math.fsum(share * _nearness(uni_mmr, one) for one in rest)


def _nearness(uni_mmr: float, threshold: float) -> float:
    return min(1.0, max(0.0, 1 - (uni_mmr / threshold - 1) / _NEAR))
