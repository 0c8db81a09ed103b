"""Calls of a budget that a test holds, answers and cancels."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress

import anyio

from binance_pm.budget import Budget, Charge, Pool, Priority
from binance_pm.errors import BudgetExceeded, CallInfo, GateClosed
from binance_pm.limits import Feedback
from tests.support.budget import IP, feedback
from tests.support.clocks import ManualClock, settled


class Desk:
    """Calls that hold their weight until the test ends them, and an exchange that counts them."""

    def __init__(self, budget: Budget, clock: ManualClock) -> None:
        self.budget = budget
        self.clock = clock
        self.served: list[str] = []
        self.failed: list[str] = []
        self.counts: Counter[int] = Counter()
        """The exchange's count of each minute."""
        self.tasks: list[asyncio.Task[None]] = []
        self._release: dict[str, anyio.Event] = {}
        self.scopes: dict[str, anyio.CancelScope] = {}

    async def call(
        self,
        name: str,
        weight: int,
        *,
        priority: Priority = Priority.ORDER,
        account: str = "desk",
        max_wait: float = 600.0,
        holds: bool = False,
        is_sent: bool = False,
        requeued: bool = False,
        pools: tuple[Pool, ...] = (IP,),
    ) -> None:
        """Start a call, which is sent with its response, or as soon as it has weight; `served` lists its name then."""
        release = self._release[name] = anyio.Event()
        if not holds:
            release.set()

        async def one() -> None:
            charges = tuple(Charge(pool, weight) for pool in pools)
            reservation = self.budget.reserve(
                charges, call=CallInfo(name, account), priority=priority, max_wait=max_wait, requeued=requeued
            )
            with suppress(BudgetExceeded, GateClosed), anyio.CancelScope() as self.scopes[name]:
                async with reservation:
                    self.served.append(name)
                    if is_sent:
                        reservation.mark_sent()
                    await release.wait()
                    if not is_sent:
                        reservation.mark_sent()
                    reservation.settle(self.answer(weight))
                return
            self.failed.append(name)

        self.tasks.append(asyncio.create_task(one()))
        await settled()

    async def end(self, name: str) -> None:
        """End a call that holds its weight with a response."""
        self._release[name].set()
        await settled()

    def answer(self, weight: int) -> Feedback:
        """Count the call at the exchange and return the response."""
        minute = int(self.clock.now // 60)
        self.counts[minute] += weight
        return feedback(200, {"x-mbx-used-weight-1m": str(self.counts[minute])}, b"{}")

    async def close(self) -> None:
        """Cancel all waiting calls."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
