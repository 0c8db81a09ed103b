"""A forecast of how often a fleet would read its accounts with the room that the budget has now."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from binance_pm.budget import Budget, LimitType, PoolPlan
from binance_pm.endpoint import ENDPOINTS
from binance_pm.fleet import schedule
from binance_pm.fleet.account_monitor import PRO_HEADLINE
from binance_pm.fleet.thresholds import LIQUIDATION

# Readings are planned as if at least this fraction of the limit were available, even if external usage leaves less.
# Accounts then miss their planned interval and become stale; with an interval of minutes, they would not for minutes.
_LEAST_ROOM: Final = 0.25
_FEW: Final = 5
_SLACK: Final = 1e-9


class Price(NamedTuple):
    """The pool and the cost of one reading of an endpoint."""

    pool: str
    """See `Pool.name`."""
    cost: float
    """Seconds for which one reading would take the pool's whole room for polls: see `schedule.loads`."""
    room: float
    """Weight per minute with which polls are planned."""
    available: float
    """Weight per minute that polls may use."""


def price_of(budget: Budget, name: str) -> Price:
    """Return the cost of one reading of an endpoint in the pool of the IP, given the current external usage."""
    endpoint = ENDPOINTS[name]
    pool = budget.plan(1, 1.0, [endpoint]).pools[list(endpoint.weights).index(LimitType.IP)]
    room = max(pool.available, _LEAST_ROOM * pool.limit / budget.processes)
    return Price(pool.name, pool.needed / room, room, pool.available)


def cost_of(prices: Iterable[Price]) -> dict[str, float]:
    """Return the cost of several readings by pool."""
    costs: dict[str, float] = {}
    for price in prices:
        costs[price.pool] = costs.get(price.pool, 0.0) + price.cost
    return costs


class Intervals(msgspec.Struct, frozen=True):
    """The reading intervals, in seconds, of all accounts for which the same endpoints are read."""

    read: tuple[str, ...]
    accounts: int
    calm: float
    """Interval of each account while all accounts are calm."""
    near: float | None
    """Interval of the few accounts at their last threshold that are in this group; None if there are none."""
    others: float | None
    """Interval of the calm accounts of this group meanwhile; None if there are none."""
    all_near: float
    """Interval of each account while all accounts are at their last threshold."""
    stream: bool = False
    """Whether the accounts have a user data stream. The endpoint that the stream replaces is not in `read`."""


class Forecast(msgspec.Struct, frozen=True):
    """The expected intervals and pool usage of a fleet."""

    accounts: int
    floor: float
    """Seconds."""
    ceiling: float
    """Seconds."""
    few: int
    """Number of accounts assumed to be at their last threshold in `Intervals.near`: at most five, those with the most
    expensive readings."""
    groups: tuple[Intervals, ...]
    pools: tuple[PoolPlan, ...]
    """What the readings need of each pool while all accounts are calm and read at the ceiling."""
    saved: float = 0.0
    """Weight per minute that user data streams save while all accounts are calm, in all pools together."""

    @property
    def fits(self) -> bool:
        """Whether calm accounts are read at the ceiling."""
        return all(group.calm <= _ceiling(self.ceiling, stream=group.stream) * (1 + _SLACK) for group in self.groups)


def forecast(
    budget: Budget,
    reads: Sequence[tuple[str, ...]],
    *,
    floor: float,
    ceiling: float,
    streams: Sequence[bool] | None = None,
) -> Forecast:
    """Return how often a `Fleet` would read accounts.

    Args:
        budget: the budget that the accounts draw on.
        reads: for each account the endpoints that are read.
        floor: see `Fleet`.
        ceiling: see `Fleet`.
        streams: for each account whether its user data stream is opened; None if none is.
    """
    followed = [False] * len(reads) if streams is None else list(streams)
    kinds = [_Kind.of(read, stream=stream) for read, stream in zip(reads, followed, strict=True)]
    costs = {kind: cost_of(price_of(budget, name) for name in kind.read) for kind in dict.fromkeys(kinds)}
    everyone = range(len(kinds))
    dearest = sorted(everyone, key=lambda place: -max(costs[kinds[place]].values(), default=0.0))[:_FEW]
    calm, near, all_near = (
        _intervals(kinds, costs, endangered, floor=floor, ceiling=ceiling) for endangered in ((), dearest, everyone)
    )
    groups: list[Intervals] = []
    for kind in costs:
        places = [place for place in everyone if kinds[place] == kind]
        few = next((near[place] for place in places if place in dearest), None)
        others = next((near[place] for place in places if place not in dearest), None)
        of_all = all_near[places[0]]
        groups.append(Intervals(kind.read, len(places), calm[places[0]], few, others, of_all, kind.stream))
    return Forecast(
        len(reads),
        floor,
        ceiling,
        len(dearest),
        tuple(groups),
        _pools(budget, groups, ceiling),
        sum(_saved(read, kind, ceiling) for read, kind in zip(reads, kinds, strict=True)),
    )


class _Kind(NamedTuple):
    """Accounts that are read alike."""

    read: tuple[str, ...]
    """The endpoints that are read regularly."""
    stream: bool

    @classmethod
    def of(cls, read: tuple[str, ...], *, stream: bool) -> _Kind:
        """Return the kind of an account."""
        return cls(tuple(name for name in read if not (stream and name == PRO_HEADLINE)), stream)


def _ceiling(ceiling: float, *, stream: bool) -> float:
    """Return the interval of a calm account."""
    return ceiling * (schedule.STREAMED if stream else 1.0)


def _pools(budget: Budget, groups: Iterable[Intervals], ceiling: float) -> tuple[PoolPlan, ...]:
    # A stream doubles the interval of a calm account: two such accounts need as much as one without.
    priced = [
        (math.ceil(group.accounts / (schedule.STREAMED if group.stream else 1)), [ENDPOINTS[one] for one in group.read])
        for group in groups
        if group.read
    ]
    return budget.plan_groups(priced, ceiling).pools if priced else ()


def _saved(read: Iterable[str], kind: _Kind, ceiling: float) -> float:
    """Return the weight per minute that the stream of an account saves, less that of confirming its listen key."""

    def per_minute(names: Iterable[str], interval: float) -> float:
        return sum(ENDPOINTS[name].poll_weights[LimitType.IP] for name in names) * 60 / interval

    if not kind.stream:
        return 0.0
    return max(0.0, per_minute(read, ceiling) - per_minute(kind.read, _ceiling(ceiling, stream=True)) - 1)


def _intervals(
    kinds: Sequence[_Kind],
    costs: Mapping[_Kind, Mapping[str, float]],
    endangered: Container[int],
    *,
    floor: float,
    ceiling: float,
) -> list[float]:
    """Return the planned interval of each account if some are at their last threshold and the others are calm."""
    wishes = [
        schedule.wish(
            float(LIQUIDATION) if place in endangered else None,
            (),
            fall=0.0,
            floor=floor,
            ceiling=_ceiling(ceiling, stream=kind.stream),
        )
        for place, kind in enumerate(kinds)
    ]
    by = schedule.stretches(schedule.loads((wish, costs[kind]) for wish, kind in zip(wishes, kinds, strict=True)))
    return [schedule.stretched(wish, costs[kind], by) for wish, kind in zip(wishes, kinds, strict=True)]
