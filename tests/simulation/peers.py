"""The limiters that people use today, each through its own package and set up for 6000 weight a minute.

A refusal is handled as people do: the caller sleeps for `Retry-After` and goes on. None of these has priorities, so
orders queue with polls. If a package lets every waiting call poll for itself, a lock in front keeps the order.
"""

# The packages are installed by one nox session only, so their types are unknown elsewhere.
# pyright: basic, reportMissingImports=false

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from aiolimiter import AsyncLimiter
from ccxt.async_support.base.throttler import Throttler
from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import MovingWindowRateLimiter
from pyrate_limiter import Duration, InMemoryBucket, Rate, SingleBucketFactory
from pyrate_limiter import Limiter as PyrateLimiterOfPackage

from binance_pm.budget import LimitType, Pool
from binance_pm.transport.http import HttpResponse
from tests.simulation.calls import Ask, Send
from tests.simulation.limiters import Limiter, Machine, Rival
from tests.simulation.server import MINUTE

LIMIT: Final = 6000
_HEADER: Final = "x-mbx-used-weight-1m"


class Peer:
    """What all of these limiters have in common."""

    async def call(self, ask: Ask, send: Send) -> HttpResponse | None:
        """Acquire, send, and sleep after a refusal."""
        await self.acquire(ask.weight)
        answer = await send()
        if answer is not None:
            self.learn(answer)
            if answer.status in {418, 429}:
                await asyncio.sleep(answer.retry_after or 1.0)
        return answer

    def held(self, pool: Pool) -> int | None:
        """Return None: these limiters state no bound."""
        del pool

    async def acquire(self, weight: int) -> None:
        """Wait until the weight may be sent."""
        raise NotImplementedError

    def learn(self, answer: HttpResponse) -> None:
        """Ignore the response, as most of these limiters do."""


class TokenBucket(Peer):
    """A plain token bucket: its size is the limit, and it is refilled with the limit per minute."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._tokens = float(limit)
        self._filled = time.monotonic()
        self._turn = asyncio.Lock()

    async def acquire(self, weight: int) -> None:
        """Take the tokens once they are available."""
        async with self._turn:
            while (missing := weight - self._fill()) > 0:  # noqa: ASYNC110 - only time ends the wait
                await asyncio.sleep(missing * MINUTE / self._limit)
            self._tokens -= weight

    def _fill(self) -> float:
        now = time.monotonic()
        self._tokens = min(self._limit, self._tokens + (now - self._filled) * self._limit / MINUTE)
        self._filled = now
        return self._tokens


class LocalWindow(Peer):
    """Counts its own calls by the minute of the local clock."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._minute = -1
        self._used = 0
        self._turn = asyncio.Lock()

    async def acquire(self, weight: int) -> None:
        """Wait for the next minute if this one is used up."""
        async with self._turn:
            while self._used_now() + weight > self._limit:  # noqa: ASYNC110 - as above
                await asyncio.sleep(MINUTE - time.time() % MINUTE)
            self._used += weight

    def _used_now(self) -> int:
        minute = int(time.time() // MINUTE)
        if minute != self._minute:
            self._minute, self._used = minute, 0
        return self._used


class HeaderOverwrite(LocalWindow):
    """The same, but each response's header replaces the count."""

    def learn(self, answer: HttpResponse) -> None:
        """Use the exchange's count."""
        told = answer.used(_HEADER)
        if told is not None:
            self._used = told


class AioLimiter(Peer):
    """aiolimiter's leaky bucket."""

    def __init__(self, limit: int) -> None:
        self._limiter = AsyncLimiter(limit, MINUTE)

    async def acquire(self, weight: int) -> None:
        """Acquire as its documentation does."""
        await self._limiter.acquire(weight)


class Pyrate(Peer):
    """pyrate-limiter's sliding log, its default."""

    def __init__(self, limit: int) -> None:
        # Its own thread would drop old entries by the real clock.
        self._bucket = InMemoryBucket([Rate(limit, Duration.MINUTE)])
        self._limiter = PyrateLimiterOfPackage(SingleBucketFactory(self._bucket, schedule_leak=False))
        self._leaked = time.monotonic()

    async def acquire(self, weight: int) -> None:
        """Acquire as its documentation does."""
        await self._limiter.try_acquire_async("papi", weight)
        if time.monotonic() > self._leaked + 10:
            self._leaked = time.monotonic()
            self._bucket.leak(int(self._leaked * 1000))


class Limits(Peer):
    """The moving window of limits, the strictest of its strategies."""

    def __init__(self, limit: int) -> None:
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._item = RateLimitItemPerMinute(limit)
        self._turn = asyncio.Lock()

    async def acquire(self, weight: int) -> None:
        """Try again when the oldest entry has expired: the package cannot wait by itself."""
        async with self._turn:
            while not await self._limiter.hit(self._item, "papi", cost=weight):
                stats = await self._limiter.get_window_stats(self._item, "papi")
                await asyncio.sleep(max(stats.reset_time - time.time(), 0.01))


class Ccxt(Peer):
    """ccxt's throttler as its class for Binance configures it; one for all accounts, though ccxt has one for each."""

    # ccxt enters a fifth of the weight as the cost of a PAPI endpoint.
    COST: Final = 0.2

    def __init__(self, limit: int) -> None:
        setup = {"delay": 0.001, "capacity": 1, "cost": 1, "algorithm": "leakyBucket", "windowSize": 60_000.0}
        milliseconds = MINUTE * 1000 / (limit * self.COST)
        self._throttler = Throttler({**setup, "rateLimit": milliseconds, "refillRate": 1 / milliseconds})

    async def acquire(self, weight: int) -> None:
        """Acquire as every call of ccxt does."""
        await self._throttler(weight * self.COST)


def _rival(name: str, peer: Callable[[int], Limiter], *readers: str) -> Rival:
    def make(machine: Machine, processes: int) -> list[Limiter]:
        limit = machine.limits.get(("papi", LimitType.IP), LIMIT)
        return [peer(limit // machine.instances) for _ in range(processes)]

    return Rival(name, make, readers)


PEERS: Final = (
    _rival("token bucket", TokenBucket),
    _rival("local window", LocalWindow),
    _rival("header overwrite", HeaderOverwrite),
    _rival("aiolimiter", AioLimiter),
    _rival("pyrate-limiter", Pyrate, "pyrate_limiter"),
    _rival("limits", Limits, "limits"),
    _rival("ccxt", Ccxt, "ccxt.async_support.base.throttler"),
)
"""All limiters."""
