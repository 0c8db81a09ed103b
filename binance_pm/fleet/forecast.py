"""A forecast of how often a fleet would read its accounts with the room that the budget has now."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from binance_pm.budget import Budget, LimitType, PoolPlan
from binance_pm.endpoint import ENDPOINTS
from binance_pm.fleet import schedule
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

    @property
    def fits(self) -> bool:
        """Whether calm accounts are read at the ceiling."""
        return all(group.calm <= self.ceiling * (1 + _SLACK) for group in self.groups)


def forecast(budget: Budget, reads: Sequence[tuple[str, ...]], *, floor: float, ceiling: float) -> Forecast:
    """Return how often a `Fleet` would read accounts.

    Args:
        budget: the budget that the accounts draw on.
        reads: for each account the endpoints that are read.
        floor: see `Fleet`.
        ceiling: see `Fleet`.
    """
    costs = {read: cost_of(price_of(budget, name) for name in read) for read in dict.fromkeys(reads)}
    everyone = range(len(reads))
    dearest = sorted(everyone, key=lambda place: -max(costs[reads[place]].values()))[:_FEW]
    calm, near, all_near = (
        _intervals(reads, costs, endangered, floor=floor, ceiling=ceiling) for endangered in ((), dearest, everyone)
    )
    groups: list[Intervals] = []
    for read in costs:
        places = [place for place in everyone if reads[place] == read]
        few = next((near[place] for place in places if place in dearest), None)
        others = next((near[place] for place in places if place not in dearest), None)
        groups.append(Intervals(read, len(places), calm[places[0]], few, others, all_near[places[0]]))
    priced = [(group.accounts, [ENDPOINTS[name] for name in group.read]) for group in groups]
    pools = budget.plan_groups(priced, ceiling).pools
    return Forecast(len(reads), floor, ceiling, len(dearest), tuple(groups), pools)


def _intervals(
    reads: Sequence[tuple[str, ...]],
    costs: Mapping[tuple[str, ...], Mapping[str, float]],
    endangered: Container[int],
    *,
    floor: float,
    ceiling: float,
) -> list[float]:
    """Return the planned interval of each account if some are at their last threshold and the others are calm."""
    wishes = [
        schedule.wish(float(LIQUIDATION) if place in endangered else None, (), fall=0.0, floor=floor, ceiling=ceiling)
        for place in range(len(reads))
    ]
    by = schedule.stretches(schedule.loads((wish, costs[read]) for wish, read in zip(wishes, reads, strict=True)))
    return [schedule.stretched(wish, costs[read], by) for wish, read in zip(wishes, reads, strict=True)]
