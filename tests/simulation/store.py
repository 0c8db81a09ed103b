"""A store of a shared budget behind a network that may lose messages."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from random import Random
from typing import Final

from binance_pm.budget.shared.messages import StoreMessage, StoreReply
from binance_pm.limits import Pool
from binance_pm.redis_client import StoreLost
from tests.support.memory_store import MemoryStore

# The store's clock is independent of the clocks of the processes.
AHEAD: Final = 1e6
# Latency of a message in seconds, and the timeout of a process.
LATENCY: Final = (0.0003, 0.002)
TIMEOUT: Final = 0.25
# Seconds after which every process has returned and reported what it did without the store.
SETTLED: Final = 3.0


class RemoteStore:
    """A store in memory behind a network, with outages.

    Args:
        clock: what time it is.
        reaches: whether a process of that number can reach it now.
        emptied: when the store restarts without its memory, by the same clock.
        random: decides the latency of messages.
    """

    def __init__(
        self, clock: Callable[[], float], reaches: Callable[[int], bool], emptied: float | None, random: Random
    ) -> None:
        self._clock: Final = clock
        self._reaches: Final = reaches
        self._emptied = math.inf if emptied is None else emptied
        self._random: Final = random
        self._store = MemoryStore()
        self._unsettled_until = -math.inf

    async def exchange(self, message: StoreMessage, number: int) -> StoreReply:
        """Carry a message there and the reply back.

        Raises:
            StoreLost: one of them got lost.
        """
        await self._travel(number)
        now = self._clock()
        if now >= self._emptied:
            self._store, self._emptied = MemoryStore(), math.inf
            self._unsettled_until = now + SETTLED
        reply = self._store.exchange(message, now + AHEAD)
        await self._travel(number)
        return reply

    def held(self, pool: Pool) -> int | None:
        """What the store holds; None if a process recently went on without it, or its memory was lost."""
        now = self._clock()
        if now < self._unsettled_until:
            return None
        return most_used(self._store, pool, now + AHEAD)

    async def _travel(self, number: int) -> None:
        await asyncio.sleep(self._random.uniform(*LATENCY))
        if not self._reaches(number):
            self._unsettled_until = self._clock() + SETTLED
            await asyncio.sleep(TIMEOUT)
            raise StoreLost("no reply")


def most_used(store: MemoryStore, pool: Pool, now: float) -> int | None:
    """Return the most that the exchange can have counted; None if the store knows no count."""
    known, origin = store.pools.get("|".join(pool)), store.origins.get(pool.origin)
    if known is None or origin is None or known.ledger._counted_at == -math.inf:
        return None
    return known.ledger.most_used((now + origin.low, now + origin.high))
