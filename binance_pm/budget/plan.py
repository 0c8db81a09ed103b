"""Whether a polling plan fits into the limits, and which interval would."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Protocol

import msgspec

from binance_pm.budget.pools import RULES, Family, Kind


class Priced(Protocol):
    """What a plan needs to know of an endpoint."""

    @property
    def path(self) -> str:
        """Its path."""
        ...

    @property
    def family(self) -> Family:
        """The first part of the path."""
        ...

    @property
    def weight(self) -> int:
        """What a call costs."""
        ...

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The counters that it is charged to."""
        ...


class PoolPlan(msgspec.Struct, frozen=True):
    """What a plan asks of one pool."""

    name: str
    """Kind, and path or family, as the table of endpoints shows them."""
    needed: float
    """Weight a minute."""
    available: float
    """Weight a minute that polls may use."""


class Plan(msgspec.Struct, frozen=True):
    """What becomes of polling a number of accounts at an interval."""

    accounts: int
    every: float
    """Seconds between two readings of the same account."""
    shortest: float
    """The shortest interval that fits, in seconds; infinite where none does."""
    pools: tuple[PoolPlan, ...]

    @property
    def fits(self) -> bool:
        """Whether every pool has the weight."""
        return self.every >= self.shortest


def make_plan(
    accounts: int,
    every: float,
    endpoints: Iterable[Priced],
    available: Callable[[Family, Kind, str], float],
    *,
    minute: float,
) -> Plan:
    """The plan of reading all the endpoints of each account once an interval.

    Args:
        accounts: how many there are.
        every: seconds between two readings of the same account.
        endpoints: what is read of each account.
        available: tells the weight a minute that polls may use in a pool of a family, a kind and a path.
        minute: seconds of the exchange's minute.
    """
    rounds: dict[tuple[Family, Kind, str], int] = {}
    for endpoint in endpoints:
        for kind in endpoint.kinds:
            path = endpoint.path if RULES[endpoint.family, kind].each_path else ""
            counted = accounts if kind is Kind.IP else 1
            key = endpoint.family, kind, path
            rounds[key] = rounds.get(key, 0) + counted * endpoint.weight
    pools: list[PoolPlan] = []
    shortest = 0.0
    for (family, kind, path), weight in rounds.items():
        most = available(family, kind, path)
        pools.append(PoolPlan(f"{kind} {path or '/' + family}", weight * minute / every, most))
        # Not by way of `every`: its rounding would make the shortest interval miss itself.
        shortest = max(shortest, weight * minute / most if most else math.inf)
    return Plan(accounts, every, shortest, tuple(pools))
