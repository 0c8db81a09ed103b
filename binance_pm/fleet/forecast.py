"""A forecast of how often a fleet would read its accounts with the room that the budget has now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Final, NamedTuple

import msgspec

from binance_pm.budget import Budget, LimitType, PoolPlan
from binance_pm.endpoint import ENDPOINTS
from binance_pm.fleet import schedule
from binance_pm.fleet.account_monitor import PRO_HEADLINE
from binance_pm.fleet.thresholds import LIQUIDATION
from binance_pm.limits import LIMITS
from binance_pm.stream.policy import StreamSettings, confirm_interval
from binance_pm.stream.shared import StreamProduct
from binance_pm.stream.source import listen_key_endpoint

# Readings are planned as if at least this fraction of the limit were available, even if external usage leaves less.
# Accounts then miss their planned interval and become stale; with an interval of minutes, they would not for minutes.
_LEAST_ROOM: Final = 0.25
_FEW: Final = 5
_SLACK: Final = 1e-9
_OF_IP: Final = "IP "
"""Prefix of the names of the pools of the IP."""


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
    wished: float
    """Interval of each account while all accounts are calm and the budget has room."""
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
    """What the readings and the confirmations of listen keys need in each pool while all accounts are calm and read at
    the ceiling."""
    unstreamed: tuple[PoolPlan, ...]
    """What the readings would need in each pool without user data streams."""

    @property
    def saved(self) -> float:
        """Weight per minute that user data streams save in all pools of the IP while all accounts are calm."""
        return sum(saved for name, saved in self.saved_by_pool.items() if name.startswith(_OF_IP))

    @property
    def saved_by_pool(self) -> dict[str, float]:
        """Weight per minute that user data streams save in each pool; negative if the pool counts only listen keys."""
        without = {pool.name: pool.needed for pool in self.unstreamed}
        return {pool.name: without.get(pool.name, 0.0) - pool.needed for pool in self.pools}

    @property
    def fits(self) -> bool:
        """Whether calm accounts are read at the ceiling."""
        return all(group.calm <= group.wished * (1 + _SLACK) for group in self.groups)


def forecast(
    budget: Budget,
    reads: Sequence[tuple[str, ...]],
    *,
    floor: float,
    ceiling: float,
    streams: Sequence[StreamProduct | None] | None = None,
) -> Forecast:
    """Return how often a `Fleet` would read accounts.

    Args:
        budget: the budget that the accounts draw on.
        reads: for each account the endpoints that are read.
        floor: see `Fleet`.
        ceiling: see `Fleet`.
        streams: for each account the product of its user data stream, or None if the account has no stream; None if
            no account has a stream.
    """
    followed: list[StreamProduct | None] = [None] * len(reads) if streams is None else list(streams)
    kinds = [_Kind.of(read, stream) for read, stream in zip(reads, followed, strict=True)]
    unstreamed = _pools(budget, Counter(reads), ceiling)
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
        wished, stream = kind.ceiling(ceiling), kind.stream is not None
        groups.append(Intervals(kind.read, len(places), wished, calm[places[0]], few, others, of_all, stream))
    return Forecast(
        len(reads),
        floor,
        ceiling,
        len(dearest),
        tuple(groups),
        _merged(
            _pools(budget, Counter(kind.read for kind in kinds if kind.stream != "pm"), ceiling),
            _pools(budget, Counter(kind.read for kind in kinds if kind.stream == "pm"), ceiling * schedule.STREAMED),
            _confirmations(budget, followed),
            # Streams may replace all readings in a pool.
            [msgspec.structs.replace(pool, needed=0.0) for pool in unstreamed],
        ),
        unstreamed,
    )


class _Kind(NamedTuple):
    """A group of accounts with the same endpoints and the same product of the stream."""

    read: tuple[str, ...]
    """The endpoints that are read regularly."""
    stream: StreamProduct | None

    @classmethod
    def of(cls, read: tuple[str, ...], stream: StreamProduct | None) -> _Kind:
        """Return the kind of an account."""
        return cls(tuple(name for name in read if not (stream and name == PRO_HEADLINE)), stream)

    def ceiling(self, ceiling: float) -> float:
        """Return the interval of a calm account."""
        return ceiling * (schedule.STREAMED if self.stream == "pm" else 1.0)


def _pools(budget: Budget, reads: Mapping[tuple[str, ...], int], every: float) -> tuple[PoolPlan, ...]:
    """Return what the readings of accounts need; ``reads`` is the number of accounts by the endpoints to read."""
    groups = [(number, [ENDPOINTS[name] for name in read]) for read, number in reads.items() if read]
    return budget.plan_groups(groups, every).pools if groups else ()


def _confirmations(budget: Budget, streams: Iterable[StreamProduct | None]) -> Iterator[PoolPlan]:
    """Yield what the confirmations of the listen keys need."""
    settings = StreamSettings()
    followed: list[StreamProduct] = [one for one in streams if one is not None]
    for product, number in Counter(followed).items():
        endpoint = ENDPOINTS[listen_key_endpoint(product)]
        limit = LIMITS[endpoint.family, LimitType.IP].limit
        every = confirm_interval(settings.confirm_every, number * budget.processes, limit)
        yield from budget.plan_groups([(number, [endpoint])], every).pools


def _merged(*plans: Iterable[PoolPlan]) -> tuple[PoolPlan, ...]:
    """Return what several plans need together in each pool; for pools of single accounts, the highest need."""
    merged: dict[str, PoolPlan] = {}
    for pool in chain.from_iterable(plans):
        known = merged.get(pool.name, msgspec.structs.replace(pool, needed=0.0))
        needed = known.needed + pool.needed if pool.name.startswith(_OF_IP) else max(known.needed, pool.needed)
        merged[pool.name] = msgspec.structs.replace(known, needed=needed)
    return tuple(merged.values())


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
            ceiling=kind.ceiling(ceiling),
        )
        for place, kind in enumerate(kinds)
    ]
    by = schedule.stretches(schedule.loads((wish, costs[kind]) for wish, kind in zip(wishes, kinds, strict=True)))
    return [schedule.stretched(wish, costs[kind], by) for wish, kind in zip(wishes, kinds, strict=True)]
