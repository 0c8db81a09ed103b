"""How often each account is read: pure functions of what is known of it.

Every account has a wish between a floor and a ceiling: the ceiling while it is calm, the floor when it is at its last
line. In between the wish shrinks geometrically with its urgency, from 0 to 1:

* how near it is to its lines: from a quarter above a line on, and wholly at it. The first line counts for most, so that
  an account that has crossed it is already read many times as often as a calm one;
* how fast it falls: it counts as where it would be in half a minute.

Where all wishes together ask for more than the plan may use of a pool, all intervals of accounts that draw on it are
stretched by the same factor: who is in danger stays as many times ahead of the calm ones. The budget wins over the
ceiling.

An account that is unseen for longer than was planned is read up to twice as often, as far as a small part of each pool
allows: where all are, because the network is gone, nobody is, and the others never wait for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from binance_pm.fleet.thresholds import LIQUIDATION

PLANNED: Final = 0.9
"""The part of what polls may use that is planned; the rest is for retries and for calls beside the fleet's."""
FLOOR: Final = 1.0
"""Seconds between two readings of an account in danger, where nothing else is said."""
CEILING: Final = 15.0
"""Seconds between two readings of a calm one, where nothing else is said."""
LONGEST: Final = 900.0
"""Seconds: no interval is longer, even where nothing is left of a pool."""

_LAST_LINE: Final = float(LIQUIDATION)
_NEAR: Final = 0.25
_FIRST_LINE: Final = 0.8
_LOOKAHEAD_SECONDS: Final = 30.0
_FALL_HALF_LIFE: Final = 30.0
_MOST_HURRY: Final = 2.0
_UNSEEN_SECONDS: Final = 60.0
_HURRY_PART: Final = 0.05


def wish(uni_mmr: float | None, lines: Sequence[float], *, fall: float, floor: float, ceiling: float) -> float:
    """Seconds after which an account should be read again, if the budget allows it.

    Args:
        uni_mmr: at its last reading, None where it was never read.
        lines: its lines, as uniMMR; the one of liquidation is added.
        fall: the part of uniMMR that it loses in a second, see `fall_rate`.
        floor: the shortest interval.
        ceiling: the longest.
    """
    danger = 0.0 if uni_mmr is None else _danger(uni_mmr * max(0.0, 1 - fall * _LOOKAHEAD_SECONDS), lines)
    return ceiling * (floor / ceiling) ** danger


def fall_rate(fall: float, before: float, after: float, seconds: float) -> float:
    """The part of uniMMR that an account loses in a second: a faster fall counts at once, and is forgotten slowly.

    Args:
        fall: the rate before this reading.
        before: uniMMR at the reading before.
        after: uniMMR now.
        seconds: between the two.
    """
    if seconds <= 0 or before <= 0:
        return fall
    return max((before - after) / before / seconds, fall * 0.5 ** (seconds / _FALL_HALF_LIFE))


def loads(demands: Iterable[tuple[float, Mapping[str, float]]]) -> dict[str, float]:
    """The part of each pool's room for polls that all accounts together would take.

    Args:
        demands: for each account the interval that it wishes, and what one reading takes of each pool: the seconds for
            which the pool's whole room for polls would have to be spent on it; infinite where there is no room.
    """
    taken: dict[str, float] = {}
    for interval, costs in demands:
        for pool, cost in costs.items():
            taken[pool] = taken.get(pool, 0.0) + cost / interval
    return taken


def stretches(taken: Mapping[str, float]) -> dict[str, float]:
    """By how much the intervals of who draws on a pool must be stretched so that its plan fits: at least 1.

    Args:
        taken: see `loads`.
    """
    return {pool: max(1.0, load / PLANNED) for pool, load in taken.items()}


def stretched(interval: float, pools: Iterable[str], by: Mapping[str, float]) -> float:
    """The planned interval: the wish, stretched as the tightest of its pools needs, in seconds."""
    return min(interval * max((by.get(pool, 1.0) for pool in pools), default=1.0), max(LONGEST, interval))


def hurries(plans: Sequence[tuple[float, Mapping[str, float]]], overdue: Sequence[float]) -> list[float]:
    """How many times as often as planned each account is read, because it has been unseen: from 1 to 2.

    Args:
        plans: for each account its planned interval, and its costs as for `loads`.
        overdue: seconds for which each has been unseen beyond its planned interval.
    """
    wanted = [1 + (_MOST_HURRY - 1) * min(1.0, max(0.0, late) / _UNSEEN_SECONDS) for late in overdue]
    extra = loads(
        (interval / (times - 1), costs) for (interval, costs), times in zip(plans, wanted, strict=True) if times > 1
    )
    fits = {pool: min(1.0, _HURRY_PART / load) for pool, load in extra.items()}
    return [
        1 + (times - 1) * min((fits.get(pool, 1.0) for pool in costs), default=1.0)
        for (_, costs), times in zip(plans, wanted, strict=True)
    ]


class Turn(NamedTuple):
    """When an account is due, and what its reading takes."""

    due: float
    interval: float
    costs: Mapping[str, float]
    """See `loads`."""


def levelled(turns: Sequence[Turn], *, rate: float) -> list[float]:
    """The latest moments to start so that everybody is read when due, with no more at once than the rate allows.

    Accounts that are due together are started one after the other before that, which parts them for good. Those whose
    interval is less than half of the longest come again and again meanwhile: room is left for them.

    Args:
        turns: of all accounts.
        rate: the part of a pool's room for polls that may be used at any time.
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


def _danger(uni_mmr: float, lines: Sequence[float]) -> float:
    """From 0, far above every line, to 1, at or below the last."""
    ordered = sorted({*lines, _LAST_LINE}, reverse=True)
    if len(ordered) == 1:
        return _nearness(uni_mmr, ordered[0])
    rest = ordered[1:]
    share = (1 - _FIRST_LINE) / len(rest)
    return _FIRST_LINE * _nearness(uni_mmr, ordered[0]) + math.fsum(share * _nearness(uni_mmr, line) for line in rest)


def _nearness(uni_mmr: float, line: float) -> float:
    return min(1.0, max(0.0, 1 - (uni_mmr / line - 1) / _NEAR))
