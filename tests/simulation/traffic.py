"""The senders: our own programs, and other programs on the same IP."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from itertools import pairwise
from random import Random
from typing import Any, Protocol

import msgspec

from binance_pm.budget import Charge
from tests.simulation.calls import PAPI, Ask
from tests.simulation.server import FOREIGN, MINUTE, Server

Asking = Callable[[Ask], Awaitable[bool]]
"""Repeats one call until it is answered; False if given up."""

Activity = Coroutine[Any, Any, None]


class Demand(Protocol):
    """The demand of a program, as data."""

    def activities(self, ask: Asking, random: Random) -> Iterator[Activity]:
        """Return the activities of a program, each to be run as a task."""
        ...


class Polling(msgspec.Struct, frozen=True, kw_only=True):
    """Accounts that are polled again as soon as they were answered: more than any limit allows."""

    accounts: int
    outstanding: int = 1
    """How many polls each account has in flight or waiting."""
    weights: tuple[int, ...] = (5,)
    """The weight of a poll is drawn from these."""
    hog: int = 0
    """How many polls the first account has in flight or waiting instead, if set."""
    path: str = ""
    """A SAPI endpoint to poll instead."""

    def activities(self, ask: Asking, random: Random) -> Iterator[Activity]:
        """Return one activity for each poll."""
        for number in range(self.accounts):
            outstanding = self.hog if self.hog and number == 0 else self.outstanding
            for _ in range(outstanding):
                yield self._poll(f"account {number}", ask, random)

    async def _poll(self, account: str, ask: Asking, random: Random) -> None:
        while True:
            weight = self.weights[0] if len(self.weights) == 1 else random.choice(self.weights)
            if not await ask(Ask("polls", account, weight, self.path)):
                await asyncio.sleep(1)


class Bursts(msgspec.Struct, frozen=True, kw_only=True):
    """A steady part of the limit, with bursts of many polls."""

    size: int = 300
    gap: tuple[float, float] = (15.0, 45.0)
    """Seconds between bursts, at least and at most."""
    base: float = 0.2
    """The steady share of the limit."""
    weight: int = 5
    accounts: int = 50

    def activities(self, ask: Asking, random: Random) -> Iterator[Activity]:
        """Return the steady polls and the bursts."""
        yield self._bursts(ask, random)
        yield self._base(ask, random)

    async def _bursts(self, ask: Asking, random: Random) -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                await asyncio.sleep(random.uniform(*self.gap))
                for number in range(self.size):
                    group.create_task(_asked(ask, self._ask(number)))

    async def _base(self, ask: Asking, random: Random) -> None:
        rate = self.base * 6000 / MINUTE / self.weight
        async with asyncio.TaskGroup() as group:
            while True:
                await asyncio.sleep(random.expovariate(rate))
                group.create_task(_asked(ask, self._ask(random.randrange(self.accounts))))

    def _ask(self, number: int) -> Ask:
        return Ask("polls", f"account {number % self.accounts}", self.weight)


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """Orders of some accounts at random times, sent without waiting for earlier ones."""

    per_second: float = 2.0
    accounts: int = 10

    def activities(self, ask: Asking, random: Random) -> Iterator[Activity]:
        """Return one activity for all orders."""
        yield self._trade(ask, random)

    async def _trade(self, ask: Asking, random: Random) -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                await asyncio.sleep(random.expovariate(self.per_second))
                group.create_task(_asked(ask, Ask("orders", f"account {random.randrange(self.accounts)}", 1)))


class Rescue(msgspec.Struct, frozen=True, kw_only=True):
    """A very heavy call that is urgent."""

    weight: int = 3000
    every: tuple[float, float] = (80.0, 100.0)
    """Seconds between the calls, at least and at most."""

    def activities(self, ask: Asking, random: Random) -> Iterator[Activity]:
        """Return one activity: one call after the other."""
        yield self._rescue(ask, random)

    async def _rescue(self, ask: Asking, random: Random) -> None:
        while True:
            await asyncio.sleep(random.uniform(*self.every))
            await ask(Ask("rescue", "account 0", self.weight))


class ExternalTraffic(msgspec.Struct, frozen=True, kw_only=True):
    """Another program on the same IP, which stops until the next minute after a refusal."""

    steady: float = 0.0
    """Share of the limit that is used all the time."""
    burst: int = 0
    """Weight sent within a second, again and again."""
    every: float = 15.0
    """Seconds from one burst to the next."""
    weight: int = 5

    def activities(self, server: Server, random: Random) -> Iterator[Activity]:
        """Run the traffic."""
        if self.steady:
            yield self._run(server, self._steady_gaps(random))
        if self.burst:
            yield self._run(server, self._burst_gaps(random))

    async def _run(self, server: Server, gaps: Iterator[float]) -> None:
        silent_until = 0.0
        for gap in gaps:
            await asyncio.sleep(gap)
            now = server.clock()
            if now < silent_until:
                continue
            answer = server.arrive((Charge(PAPI, self.weight),), FOREIGN)
            if answer.status != 200:
                silent_until = max(now - now % MINUTE + MINUTE, now + (answer.retry_after or 0.0))

    def _steady_gaps(self, random: Random) -> Iterator[float]:
        mean = self.weight / (self.steady * 6000 / MINUTE)
        while True:
            yield mean * random.uniform(0.5, 1.5)

    def _burst_gaps(self, random: Random) -> Iterator[float]:
        calls = self.burst // self.weight
        while True:
            moments = [0.0, *sorted(random.random() for _ in range(calls))]
            yield from (later - earlier for earlier, later in pairwise(moments))
            yield self.every - moments[-1]


async def _asked(ask: Asking, what: Ask) -> None:
    await ask(what)
