"""Whether a polling plan fits the limits, and the shortest interval that does."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import msgspec

from binance_pm.limits import LIMITS, Family, LimitType, Pool


class Priced(Protocol):
    """An endpoint, as a plan needs it."""

    @property
    def path(self) -> str:
        """The path."""
        ...

    @property
    def family(self) -> Family:
        """The first part of the path."""
        ...

    @property
    def poll_weights(self) -> Mapping[LimitType, int]:
        """The weight of a call without parameters, by limit type."""
        ...


class PoolPlan(msgspec.Struct, frozen=True):
    """The weight that a plan needs of one pool."""

    name: str
    """See `Pool.name`."""
    needed: float
    """Weight a minute."""
    available: float
    """Weight a minute that polls may use."""
    limit: int
    """Weight a minute that the exchange allows."""


class Plan(msgspec.Struct, frozen=True):
    """Whether a number of accounts can be polled at an interval."""

    accounts: int
    """How many accounts are polled."""
    every: float
    """Seconds between two polls of the same account."""
    shortest: float
    """The shortest interval that fits, in seconds; infinite if none does."""
    pools: tuple[PoolPlan, ...]
    """The weight that the plan needs of each pool."""

    @property
    def fits(self) -> bool:
        """Whether every pool has the weight."""
        return self.every >= self.shortest


Group = tuple[int, Iterable[Priced]]
"""A number of accounts, and the endpoints that are polled of each."""


def make_plan(
    groups: Iterable[Group],
    every: float,
    available: Callable[[Family, LimitType, str], float],
    *,
    minute: float,
    limits: Mapping[tuple[Family, LimitType], int],
) -> Plan:
    """Return the plan of polling all the endpoints of each account once an interval.

    Args:
        groups: how many accounts each group has, and the endpoints that are polled of each.
        every: seconds between two polls of the same account.
        available: returns the weight a minute that polls may use in a pool, by family, limit type and path.
        minute: seconds of the exchange's minute.
        limits: weight a minute that the exchange allows.
    """
    accounts = 0
    rounds: dict[tuple[Family, LimitType, str], int] = {}
    for count, endpoints in groups:
        accounts += count
        for pool, weight in _weights(endpoints).items():
            # In a pool that each account has for itself, the account that needs most decides.
            known = rounds.get(pool, 0)
            rounds[pool] = known + count * weight if pool[1] is LimitType.IP else max(known, weight)
    pools: list[PoolPlan] = []
    shortest = 0.0
    for (family, kind, path), weight in rounds.items():
        most = available(family, kind, path)
        name = Pool("", family, kind, path=path).name
        pools.append(PoolPlan(name, weight * minute / every, most, limits[family, kind]))
        # Not computed from `every`: by rounding, the shortest interval would not fit itself.
        shortest = max(shortest, weight * minute / most if most else math.inf)
    return Plan(accounts, every, shortest, tuple(pools))


def _weights(endpoints: Iterable[Priced]) -> dict[tuple[Family, LimitType, str], int]:
    """Return the weight of one poll of one account in each pool."""
    weights: dict[tuple[Family, LimitType, str], int] = {}
    for endpoint in endpoints:
        for kind, weight in endpoint.poll_weights.items():
            pool = endpoint.family, kind, endpoint.path if LIMITS[endpoint.family, kind].each_path else ""
            weights[pool] = weights.get(pool, 0) + weight
    return weights
