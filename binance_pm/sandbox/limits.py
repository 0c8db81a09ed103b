"""Weight by the exchange's clock minute, refusals, and bans of increasing length.

What the exchange does: it counts by fixed minutes of its own clock (documented for spot), sends the weight used with
every response, refuses requests above the limit with 429, and bans an address that keeps sending (418), for 2 minutes
to 3 days.

What is not published, and is decided here on the strict side: a refused request counts too; the tenth refusal of an
address within one minute, by any pools, leads to a ban; each further ban of an address is twice as long. During a ban,
nothing from that address is counted, and the ban does not become longer.

Pure: time is an argument, in seconds of the exchange's clock. Not thread-safe: the owner locks.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from binance_pm.sandbox.facts import FIRST_BAN_MINUTES, LONGEST_BAN_MINUTES, OFFENCES_BEFORE_BAN, POOLS

if TYPE_CHECKING:
    from collections.abc import Mapping

K = TypeVar("K")
V = TypeVar("V")


class Counter(NamedTuple):
    """One counter of a pool: for an address or an account, and for a path if the pool counts by path."""

    pool: str
    holder: str
    path: str = ""


class _ExternalUsage(NamedTuple):
    """External usage of a pool between two times."""

    pool: str
    rate: float
    """Weight per second."""
    begin: float
    end: float = math.inf

    def weight(self, begin: float, end: float) -> float:
        return self.rate * max(0.0, min(end, self.end) - max(begin, self.begin))


class Limits:
    """The counters of one exchange.

    Attributes:
        minute: the length of the exchange's minute in seconds; tests use shorter ones.
        limits: weight per minute, by the name of the pool.
    """

    def __init__(self, *, minute: float = 60.0, limits: Mapping[str, int] | None = None) -> None:
        self.minute = minute
        self.limits: dict[str, int] = {name: pool.limit for name, pool in POOLS.items()}
        self.limits |= _known(limits or {})
        self._used: dict[Counter, tuple[int, int]] = {}
        self._offences: dict[str, tuple[int, int]] = {}
        self._bans: dict[str, tuple[float, int]] = {}
        self._thefts: list[_ExternalUsage] = []

    def used(self, counter: Counter, now: float) -> int:
        """Return the weight used in the minute of ``now``, including external usage."""
        begin = self._window(now) * self.minute
        stolen = sum(theft.weight(begin, now) for theft in self._thefts if theft.pool == counter.pool)
        return self._count(self._used, counter, now) + int(stolen)

    def snapshot(self, now: float) -> dict[Counter, int]:
        """Return the weight used in the minute of ``now``, for every counter that was ever charged."""
        return {counter: self.used(counter, now) for counter in self._used}

    def charge(self, weights: Mapping[Counter, int], *, ip: str, now: float) -> Counter | None:
        """Count a request in all of its pools, and return the first counter that exceeds its limit."""
        for counter, weight in weights.items():
            self._add(self._used, counter, weight, now)
        over = (counter for counter in weights if self.used(counter, now) > self.limits[counter.pool])
        first = next(over, None)
        if first is not None:
            self._offend(ip, now)
        return first

    def banned_until(self, ip: str, now: float) -> float | None:
        """Return when the ban of this address ends; None if there is no ban."""
        until, _ = self._bans.get(ip, (0.0, 0))
        return until if now < until else None

    def window_end(self, now: float) -> float:
        """Return when the minute of ``now`` ends."""
        return (self._window(now) + 1) * self.minute

    def set_external_usage(self, shares: Mapping[str, float], now: float) -> None:
        """Add external usage from now on: a fraction of the limit of each pool, spread evenly over the minute."""
        for pool, share in _known(shares).items():
            self._thefts.append(_ExternalUsage(pool, share * self.limits[pool] / self.minute, now))

    def clear_external_usage(self, now: float) -> None:
        """End the external usage; the weight used so far stays counted."""
        begin = self._window(now) * self.minute
        recent = (theft for theft in self._thefts if theft.end > begin)
        self._thefts = [theft._replace(end=min(theft.end, now)) for theft in recent]

    def _window(self, now: float) -> int:
        return math.floor(now / self.minute)

    def _offend(self, ip: str, now: float) -> None:
        self._add(self._offences, ip, 1, now)
        if self._count(self._offences, ip, now) < OFFENCES_BEFORE_BAN:
            return
        _, bans = self._bans.get(ip, (0.0, 0))
        minutes = min(FIRST_BAN_MINUTES * 2**bans, LONGEST_BAN_MINUTES)
        self._bans[ip] = (now + minutes * self.minute, bans + 1)

    def _count(self, counts: dict[K, tuple[int, int]], key: K, now: float) -> int:
        window, count = counts.get(key, (0, 0))
        return count if window == self._window(now) else 0

    def _add(self, counts: dict[K, tuple[int, int]], key: K, amount: int, now: float) -> None:
        counts[key] = (self._window(now), self._count(counts, key, now) + amount)


def _known(by_pool: Mapping[str, V]) -> Mapping[str, V]:
    if unknown := by_pool.keys() - POOLS.keys():
        raise ValueError(f"no such pool: {', '.join(sorted(unknown))}; there are {', '.join(POOLS)}")
    return by_pool
