"""What stands between a program and the exchange: one protocol, and our own budget as one implementation."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final, NamedTuple, Protocol

from binance_pm.budget import Budget, Family, LimitType, Pool, Priority
from binance_pm.budget.shared import SharedBudget
from binance_pm.budget.shared.messages import StoreMessage
from binance_pm.classify import classify
from binance_pm.errors import CallInfo, GateClosed, NotSent
from binance_pm.redis_client import StoreLost
from binance_pm.transport.http import HttpResponse
from tests.simulation.calls import Ask, Send, charges_of
from tests.simulation.store import RemoteStore

# No call is given up because it waits: a starved call has to show in the results.
_MAX_WAIT: Final = 86_400.0
_LANES: Final = {
    "rescue": Priority.ORDER,
    "orders": Priority.ORDER,
    "polls": Priority.POLL,
    "history": Priority.BACKGROUND,
}


class Machine(NamedTuple):
    """The environment of a program at its start.

    Attributes:
        monotonic: the machine's clock that never steps.
        wall: its clock that may be wrong.
        store: through which limiters share their state.
        limits: those that differ from the usual ones.
        instances: among how many processes the limits are to be divided.
    """

    monotonic: Callable[[], float]
    wall: Callable[[], float]
    store: RemoteStore
    limits: Mapping[tuple[Family, LimitType], int]
    instances: int


class Limiter(Protocol):
    """Decides when a call is sent."""

    async def call(self, ask: Ask, send: Send) -> HttpResponse | None:
        """Send the call once, as soon as it may be sent.

        Returns:
            The exchange's response, which may be a refusal; None if none came or the call was not sent.
        """
        ...

    def held(self, pool: Pool) -> int | None:
        """The most that the exchange can have counted, as far as the limiter knows; None if it states no bound."""
        ...


class Rival(NamedTuple):
    """A limiter to be compared.

    Attributes:
        name: what the table calls it.
        make: the limiters of so many processes on one machine, in the state after a start.
        readers: modules that use the `time` module, by the prefix of their names; None if no module does.
    """

    name: str
    make: Callable[[Machine, int], list[Limiter]]
    readers: tuple[str, ...] | None = None


class BudgetLimiter:
    """Our budget, used as a session uses it."""

    def __init__(self, budget: Budget) -> None:
        self.budget: Final = budget

    async def call(self, ask: Ask, send: Send) -> HttpResponse | None:
        """Reserve, mark as sent, send, settle; a refused read goes back to the head of the queue."""
        answer = await self._try(ask, send, requeued=False)
        while answer is not None and answer.status == 429 and ask.priority in {"polls", "history"}:
            answer = await self._try(ask, send, requeued=True)
        return answer

    async def _try(self, ask: Ask, send: Send, *, requeued: bool) -> HttpResponse | None:
        call = CallInfo(ask.priority, ask.account, write=ask.priority == "orders")
        try:
            reservation = self.budget.reserve(
                charges_of(ask), call=call, priority=_LANES[ask.priority], max_wait=_MAX_WAIT, requeued=requeued
            )
            async with reservation:
                reservation.mark_sent()
                answer = await send()
                if answer is not None:
                    reservation.settle(classify(call, answer).feedback)
                return answer
        except GateClosed:
            return await self._try(ask, send, requeued=True)
        except NotSent:
            return None

    def held(self, pool: Pool) -> int | None:
        """The used weight of a snapshot; a whole snapshot would also count the waiting calls on every arrival."""
        ledger = self.budget._table.ledgers.get(pool)
        return 0 if ledger is None else ledger.most_used(self.budget._origins.bounds(pool.origin))


def _ours(machine: Machine, processes: int) -> list[Limiter]:
    return [
        BudgetLimiter(
            Budget(limits=machine.limits, monotonic=machine.monotonic, wall=machine.wall, instances=machine.instances)
        )
        for _ in range(processes)
    ]


OURS: Final = Rival("binance_pm", _ours)
"""One budget for each process, without shared state."""


class SharedLimiter(BudgetLimiter):
    """One process of a shared budget, and the task that exchanges its messages with the store."""

    def __init__(self, machine: Machine, number: int) -> None:
        self._machine: Final = machine
        self._number: Final = number
        self._news: Final = asyncio.Event()
        self.shared: Final = SharedBudget(
            "redis://unused", worker=self, limits=machine.limits, monotonic=machine.monotonic, wall=machine.wall
        )
        super().__init__(self.shared)
        self._task: Final = asyncio.get_running_loop().create_task(self._carry())

    def wake(self) -> None:
        """Check again when the next message is due."""
        self._news.set()

    def restart(self) -> None:
        """Do nothing: no process forks here."""

    def close(self, leave_message: StoreMessage | None = None) -> None:
        """Do nothing: a killed process sends no last message."""
        del leave_message
        self._task.cancel()

    def held(self, pool: Pool) -> int | None:
        """What the store holds, while all processes reach it and it knows the minute."""
        return self._machine.store.held(pool)

    async def _carry(self) -> None:
        while True:
            self._news.clear()
            left = self.shared.due() - self._machine.monotonic()
            if left > 0:
                with suppress(TimeoutError):
                    async with asyncio.timeout(left if left < math.inf else None):
                        await self._news.wait()
                continue
            message = self.shared.message()
            try:
                self.shared.reply_received(await self._machine.store.exchange(message, self._number))
            except StoreLost as lost:
                self.shared.no_reply_received(str(lost))


def _shared(machine: Machine, processes: int) -> list[Limiter]:
    return [SharedLimiter(machine, number) for number in range(processes)]


OURS_SHARED: Final = Rival("binance_pm", _shared)
"""One budget shared by several processes."""
