"""How often accounts would be read, by what the budget has: the plan of a watch before it begins."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from binance_pm.budget import Budget, LimitType, PoolPlan
from binance_pm.endpoint import ENDPOINTS
from binance_pm.fleet import schedule
from binance_pm.fleet.thresholds import LIQUIDATION

# However little others leave of a pool, readings are planned, and missed, as if it were so small a part of the limit:
# who is planned to be read in minutes is not told as unseen for minutes.
_LEAST_ROOM: Final = 0.25
_FEW: Final = 5
_SLACK: Final = 1e-9


class Price(NamedTuple):
    """What one reading of an endpoint takes."""

    pool: str
    """See `Pool.name`."""
    cost: float
    """Seconds for which the pool's whole room for polls would have to be spent on it: see `schedule.loads`."""
    room: float
    """Weight a minute with which polls are planned."""
    available: float
    """Weight a minute that polls may use."""


def price_of(budget: Budget, name: str) -> Price:
    """What one reading of an endpoint takes of the pool of the IP, by what others on it use now."""
    endpoint = ENDPOINTS[name]
    pool = budget.plan(1, 1.0, [endpoint]).pools[list(endpoint.weights).index(LimitType.IP)]
    room = max(pool.available, _LEAST_ROOM * pool.limit / budget.processes)
    return Price(pool.name, pool.needed / room, room, pool.available)


class Intervals(msgspec.Struct, frozen=True):
    """How often the accounts are read of which the same is read, in seconds between two readings."""

    read: tuple[str, ...]
    accounts: int
    calm: float
    """Of each, while all accounts are calm."""
    near: float | None
    """While a few accounts are at their last line: of those that are of this group; None where none is."""
    others: float | None
    """Of the calm ones of this group meanwhile; None where there are none."""
    all_near: float
    """Of each, while all accounts are at their last line."""


class Forecast(msgspec.Struct, frozen=True):
    """What becomes of a watch."""

    accounts: int
    floor: float
    """Seconds."""
    ceiling: float
    """Seconds."""
    few: int
    """How many are taken to be at their last line in `Intervals.near`: five, those whose readings take most."""
    groups: tuple[Intervals, ...]
    pools: tuple[PoolPlan, ...]
    """What the readings need while all are calm and read at the ceiling."""

    @property
    def fits(self) -> bool:
        """Whether calm accounts are read at the ceiling."""
        return all(group.calm <= self.ceiling * (1 + _SLACK) for group in self.groups)


def forecast(budget: Budget, reads: Sequence[tuple[str, ...]], *, floor: float, ceiling: float) -> Forecast:
    """How often a `Fleet` would read accounts.

    Args:
        budget: what they draw on.
        reads: for each account the endpoints that are read.
        floor: see `Fleet`.
        ceiling: see `Fleet`.
    """
    costs = _costs(budget, reads)
    dearest = sorted(range(len(reads)), key=lambda place: -max(costs[reads[place]].values()))[:_FEW]
    calm, near, all_near = (
        _intervals(reads, costs, at_line, floor=floor, ceiling=ceiling)
        for at_line in (set[int](), set(dearest), set(range(len(reads))))
    )
    groups: list[Intervals] = []
    for read in dict.fromkeys(reads):
        places = [place for place, one in enumerate(reads) if one == read]
        groups.append(
            Intervals(
                read,
                len(places),
                calm[places[0]],
                next((near[place] for place in places if place in dearest), None),
                next((near[place] for place in places if place not in dearest), None),
                all_near[places[0]],
            )
        )
    priced = [(group.accounts, [ENDPOINTS[name] for name in group.read]) for group in groups]
    pools = budget.plan_groups(priced, ceiling).pools
    return Forecast(len(reads), floor, ceiling, len(dearest), tuple(groups), pools)


_Costs = Mapping[tuple[str, ...], Mapping[str, float]]


def _costs(budget: Budget, reads: Iterable[tuple[str, ...]]) -> _Costs:
    """What one reading of all the endpoints takes of each pool."""
    costs: dict[tuple[str, ...], dict[str, float]] = {}
    for read in dict.fromkeys(reads):
        of_read = costs[read] = {}
        for price in (price_of(budget, name) for name in read):
            of_read[price.pool] = of_read.get(price.pool, 0.0) + price.cost
    return costs


def _intervals(
    reads: Sequence[tuple[str, ...]], costs: _Costs, at_line: set[int], *, floor: float, ceiling: float
) -> list[float]:
    """The planned interval of each account, with some of them at their last line and the others calm."""
    wishes = [
        schedule.wish(float(LIQUIDATION) if place in at_line else None, (), fall=0.0, floor=floor, ceiling=ceiling)
        for place in range(len(reads))
    ]
    by = schedule.stretches(schedule.loads((wish, costs[read]) for wish, read in zip(wishes, reads, strict=True)))
    return [schedule.stretched(wish, costs[read], by) for wish, read in zip(wishes, reads, strict=True)]
