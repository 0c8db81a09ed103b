"""The thread that carries the messages of a shared budget: it blocks nobody, and it ends."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import anyio
import anyio.lowlevel
import pytest

from binance_pm.budget import Charge, LimitType, Priority
from binance_pm.budget.shared import SharedBudget
from binance_pm.budget.shared.messages import Message, Reply
from binance_pm.budget.shared.reference import MemoryStore
from binance_pm.budget.shared.store import Store
from binance_pm.errors import CallInfo
from binance_pm.redis_client import StoreLost
from tests.budget.conftest import PAPI, feedback

CALL = CallInfo("account", "desk")


class Kept(MemoryStore):
    """A store in memory for several threads."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()
        self.lasts: dict[str, Message] = {}
        self.error: BaseException | None = None

    def connect(self) -> Store:
        """A connection of one process."""
        return Line(self)


class Line:
    """One process's connection to it."""

    def __init__(self, kept: Kept) -> None:
        self._kept = kept

    def exchange(self, message: Message) -> Reply:
        """One step."""
        if self._kept.error:
            raise self._kept.error
        with self._kept.lock:
            self._kept.lasts[message.peer] = message
            return self._kept.exchange(message, time.monotonic())

    def close(self) -> None:
        """Nothing is open."""


def process(kept: Kept) -> SharedBudget:
    """A process of the budget."""
    return SharedBudget("redis://unused", connect=kept.connect, limits={("papi", LimitType.IP): 6000}, minute=1e6)


def eventually(holds: Callable[[], bool]) -> bool:
    """Whether it comes to hold within ten seconds."""
    until = time.monotonic() + 10
    while not holds() and time.monotonic() < until:
        time.sleep(0.005)
    return holds()


def threads() -> int:
    """How many couriers there are."""
    return sum(thread.name == "binance-pm shared budget" for thread in threading.enumerate())


async def spend(budget: SharedBudget, times: int) -> None:
    """So many polls of the weight 5, one after the other."""
    for _ in range(times):
        async with budget.reserve((Charge(PAPI, 5),), call=CALL, priority=Priority.ORDER, max_wait=20) as reservation:
            reservation.mark_sent()
            await anyio.lowlevel.checkpoint()
            reservation.settle(feedback(200, {}, b"{}"))


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_processes_share_what_a_store_grants(backend: str) -> None:
    """Calls of several tasks are woken by the thread, on either event loop, and all of them are counted."""
    kept = Kept()
    budgets = [process(kept) for _ in range(2)]

    async def main(budget: SharedBudget) -> None:
        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                for _ in range(5):
                    tasks.start_soon(spend, budget, 10)

    runs = [threading.Thread(target=anyio.run, args=(main, budget), kwargs={"backend": backend}) for budget in budgets]
    for run in runs:
        run.start()
    for run in runs:
        run.join(30)
    for budget in budgets:
        budget.close()

    (pool,) = kept.pools.values()
    assert sum(pending.weight for pending in pool.ledger._pending.batches.values()) == 2 * 5 * 10 * 5
    assert pool.ledger.in_flight == 0


def test_calls_go_on_without_the_store() -> None:
    """Nobody waits for it, and the thread tries it again."""
    kept = Kept()
    kept.error = StoreLost("gone")
    budget = process(kept)

    anyio.run(spend, budget, 3)
    assert budget.is_store_lost
    kept.error = None

    assert eventually(lambda: not budget.is_store_lost)
    budget.close()


def test_an_error_does_not_end_the_thread(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever it is, calls go on, the log tells of it, and the store is tried again."""
    kept = Kept()
    kept.error = ValueError("a fault")
    budget = process(kept)

    anyio.run(spend, budget, 3)
    assert (budget.is_store_lost, "ValueError: a fault" in caplog.text) == (True, True)
    kept.error = None

    assert eventually(lambda: not budget.is_store_lost)
    budget.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_has_ended_has_an_heir() -> None:
    """A later call starts it, and it knows that the last message may be lost."""
    kept = Kept()
    kept.error = SystemExit()
    budget = process(kept)
    before = threads()
    anyio.run(spend, budget, 1)
    assert (threads(), budget.is_store_lost) == (before, True)
    kept.error = None

    def is_back() -> bool:
        anyio.run(spend, budget, 1)
        return not budget.is_store_lost

    assert eventually(is_back)
    budget.close()


def test_closing_while_others_call_disturbs_nobody() -> None:
    """Each life of the thread ends before the next one speaks, and no call hears of it."""
    budget = process(Kept())
    before = threads()

    def call_often() -> None:
        for _ in range(20):
            anyio.run(spend, budget, 1)

    def close_often() -> None:
        for _ in range(60):
            budget.close()

    with ThreadPoolExecutor(4) as pool:
        for ended in [pool.submit(work) for work in (call_often, close_often, call_often, close_often)]:
            ended.result(timeout=30)

    budget.close()
    assert eventually(lambda: threads() == before)


def test_nothing_runs_before_the_first_call_nor_after_the_last() -> None:
    """The thread starts with the first call, and closing ends it; it starts again with the next one."""
    budget = process(Kept())
    before = threads()
    for _ in range(2):
        anyio.run(spend, budget, 1)
        assert threads() == before + 1
        budget.close()
        assert eventually(lambda: threads() == before)
    budget.close()


def test_a_budget_that_nobody_uses_any_more_returns_what_it_has() -> None:
    """The thread does not keep it alive."""
    kept = Kept()
    budget = process(kept)
    before = threads()
    anyio.run(spend, budget, 1)
    del budget
    gc.collect()

    assert eventually(lambda: threads() == before)
    assert [message.lease for message in kept.lasts.values()] == [0.0]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only POSIX forks")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_is_a_process_of_its_own() -> None:
    """It has another name, holds nothing of its parent's, and a thread and a connection of its own."""
    kept = Kept()
    budget = process(kept)
    anyio.run(spend, budget, 1)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            kept.lock = threading.Lock()
            before = set(kept.lasts)
            anyio.run(spend, budget, 1)
            os.write(writing, repr((len(set(kept.lasts) - before), len(budget.snapshot()), threads())).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)

    assert os.read(reading, 100) == b"(1, 1, 1)"
    budget.close()
