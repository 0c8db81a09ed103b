"""Builds one simulated world, runs it, and returns the result."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from itertools import count
from random import Random
from typing import Final

from binance_pm.budget import Charge
from tests.simulation.calls import Ask, charges_of
from tests.simulation.limiters import Limiter, Machine, Rival, SharedLimiter
from tests.simulation.measure import Record, Result
from tests.simulation.network import Wire
from tests.simulation.scenarios import Scenario
from tests.simulation.server import MINUTE, Server
from tests.simulation.store import RemoteStore
from tests.simulation.traffic import Activity
from tests.simulation.virtual import clocks_told_by, run

# Virtual seconds on the monotonic clock, and the true time then: 20 s into a minute.
START: Final = 1_000.0
EPOCH: Final = 30_000_000 * MINUTE + 20.0


def simulate(scenario: Scenario, rival: Rival, *, seed: int, minutes: float, patience: float | None = None) -> Result:
    """Run the scenario.

    Args:
        scenario: what happens.
        rival: the limiter to be compared.
        seed: the same seed gives the same world.
        minutes: virtual time, the incomplete minute at the start included.
        patience: seconds of CPU time after which to give up.

    Raises:
        TooSlow: the allowed CPU time is spent.
        Deadlock: the programs wait for each other forever.
    """
    return run(lambda: World(scenario, rival, seed).live(minutes), start=START, patience=patience)


class World:
    """The exchange, the network, and all senders.

    Args:
        scenario: what happens.
        rival: the limiter to be compared.
        seed: the same seed gives the same world.
    """

    def __init__(self, scenario: Scenario, rival: Rival, seed: int) -> None:
        self._scenario: Final = scenario
        self._rival: Final = rival
        self._seed: Final = seed
        self._now: Final = asyncio.get_running_loop().time
        skew = self._random("skew")
        self._offset: Final = skew.uniform(-1, 1)
        self._drift: Final = skew.uniform(-50e-6, 50e-6)
        emptied = scenario.store_emptied
        store = RemoteStore(
            self._now, self._reaches_store, None if emptied is None else START + emptied, self._random("store")
        )
        self._machine: Final = Machine(self._now, self._wall, store, scenario.variants.limits, scenario.instances)
        self._server: Final = Server(scenario.variants, self._server_time, self._random("server"))
        self._wire: Final = Wire(scenario.network, self._server, self._random("network"), self._check_bound)
        self._record: Final = Record(since=self._server_time())
        self._limiters: dict[str, Limiter] = {}

    async def live(self, minutes: float) -> Result:
        """Run for so many minutes."""
        readers = self._rival.readers
        told = clocks_told_by(monotonic=self._now, wall=self._wall, readers=readers) if readers is not None else None
        with told or nullcontext():
            foreign = self._scenario.external.activities(self._server, self._random("external"))
            tasks = [asyncio.create_task(activity) for activity in (*foreign, self._processes())]
            async with _living(tasks, minutes * MINUTE):
                return self._record.result(self._server, self._server_time())

    async def _processes(self) -> None:
        """The programs on the machine, killed and restarted as the scenario says."""
        for life in count():
            limiters = self._rival.make(self._machine, self._scenario.processes)
            tasks = [
                asyncio.create_task(self._process(limiter, life, number)) for number, limiter in enumerate(limiters)
            ]
            async with _living(tasks, self._scenario.restart_every):
                self._limiters = {}

    async def _process(self, limiter: Limiter, life: int, number: int) -> None:
        """One process; the first may be killed alone."""
        owner = f"life {life}, {'all' if self._scenario.shared else number}"
        purpose = f"demand {life} {number}"
        for at in (*(self._scenario.first_killed if number == 0 else ()), math.inf):
            self._limiters[owner] = limiter
            tasks = [
                asyncio.create_task(activity)
                for activity in self._program(limiter, owner, number, self._random(purpose))
            ]
            try:
                async with _living(tasks, START + at - self._now() if at < math.inf else None):
                    pass
            finally:
                if isinstance(limiter, SharedLimiter):
                    limiter.close()
            limiter = self._rival.make(self._machine, 1)[0]
            purpose += " again"

    def _program(self, limiter: Limiter, owner: str, number: int, random: Random) -> Iterator[Activity]:
        first, rest = self._scenario.demand, self._scenario.demand_of_others
        for demand in first if number == 0 or rest is None else rest:
            yield from demand.activities(partial(self._ask, limiter, owner), random)

    async def _ask(self, limiter: Limiter, owner: str, ask: Ask) -> bool:
        """Repeat one call until it is answered with success."""
        began = self._server_time()
        me = object()
        self._record.open[me] = ask.priority, began
        try:
            while (answer := await limiter.call(ask, partial(self._wire.carry, charges_of(ask), owner))) is not None:
                if answer.status == 200:
                    self._record.answered(ask, began=began, now=self._server_time())
                    return True
            self._record.unanswered += 1
            return False
        finally:
            del self._record.open[me]

    def _check_bound(self, charges: tuple[Charge, ...], owner: str) -> None:
        """Check that the exchange has counted at most what the limiter of the program holds."""
        limiter = self._limiters.get(owner)
        for pool, _ in charges if limiter else ():
            held, owned = limiter.held(pool) if limiter else None, self._server.owned(pool, owner)
            if held is not None and owned > held:
                at = self._server_time() - EPOCH
                self._record.broken_bounds.append(f"{at:.3f} s after the start: {owned} counted, {held} held, {owner}")

    def _wall(self) -> float:
        """The machine's wall clock."""
        passed = self._now() - START
        steps = sum(step for at, step in self._scenario.wall_steps if at <= passed)
        return EPOCH + passed + self._scenario.wall_error + steps

    def _reaches_store(self, number: int) -> bool:
        """Whether a process can reach the store through which limiters share their state."""
        passed = self._now() - START
        begins, ends = self._scenario.store_gone
        if passed >= begins and (passed - begins) % self._scenario.store_gone_every < ends - begins:
            return False
        begins, ends = self._scenario.store_gone_for_first
        return number > 0 or not begins <= passed < ends

    def _server_time(self) -> float:
        return EPOCH + (self._now() - START) * (1 + self._drift) + self._offset

    def _random(self, purpose: str) -> Random:
        """Return a random stream for one purpose: drawing from it does not change other streams."""
        return Random(f"{self._seed} {self._scenario.name} {purpose}")


@asynccontextmanager
async def _living(tasks: list[asyncio.Task[None]], seconds: float | None) -> AsyncGenerator[None]:
    """Enter after so many seconds, or with the error of a failed task; leaving ends all tasks."""
    try:
        done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
