"""The thread that exchanges messages with the store: it blocks no call, and ends."""

from __future__ import annotations

import gc
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import anyio
import anyio.lowlevel
import pytest

from binance_pm.budget import Charge, LimitType, Priority
from binance_pm.budget.shared import SharedBudget
from binance_pm.budget.shared.messages import StoreMessage, StoreReply
from binance_pm.budget.shared.worker import Store
from binance_pm.errors import CallInfo
from binance_pm.redis_client import StoreLost
from tests.support.budget import PAPI, feedback
from tests.support.memory_store import MemoryStore
from tests.support.waiting import wait_until

CALL = CallInfo("account", "desk")


class ThreadSafeStore(MemoryStore):
    """A store in memory for several threads."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()
        self.lasts: dict[str, StoreMessage] = {}
        self.error: BaseException | None = None

    def connect(self) -> Store:
        """Return a connection of one process."""
        return Connection(self)


class Connection:
    """The connection of one process."""

    def __init__(self, kept: ThreadSafeStore) -> None:
        self._kept = kept

    def exchange(self, message: StoreMessage) -> StoreReply:
        """Exchange one message."""
        if self._kept.error:
            raise self._kept.error
        with self._kept.lock:
            self._kept.lasts[message.peer] = message
            return self._kept.exchange(message, time.monotonic())

    def close(self) -> None:
        """Nothing has to be closed."""


def process(kept: ThreadSafeStore) -> SharedBudget:
    """A process of the budget."""
    return SharedBudget("redis://unused", connect=kept.connect, limits={("papi", LimitType.IP): 6000}, minute=1e6)


def threads() -> int:
    """Return the number of worker threads."""
    return sum(thread.name == "binance-pm shared budget" for thread in threading.enumerate())


async def spend(budget: SharedBudget, times: int) -> None:
    """Send so many polls of weight 5, one after the other."""
    for _ in range(times):
        async with budget.reserve((Charge(PAPI, 5),), call=CALL, priority=Priority.ORDER, max_wait=20) as reservation:
            reservation.mark_sent()
            await anyio.lowlevel.checkpoint()
            reservation.settle(feedback(200, {}, b"{}"))


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_processes_share_the_weight(backend: str) -> None:
    """The thread wakes calls of several tasks, on either event loop, and all calls are counted."""
    kept = ThreadSafeStore()
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
    """Calls do not wait for the lost store, and the thread tries again."""
    kept = ThreadSafeStore()
    kept.error = StoreLost("gone")
    budget = process(kept)

    anyio.run(spend, budget, 3)
    assert budget.is_store_lost
    kept.error = None

    wait_until(lambda: not budget.is_store_lost)
    budget.close()


def test_an_error_does_not_end_the_thread(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever the error, calls go on, the error is logged, and the store is tried again."""
    kept = ThreadSafeStore()
    kept.error = ValueError("a fault")
    budget = process(kept)

    anyio.run(spend, budget, 3)
    assert (budget.is_store_lost, "ValueError: a fault" in caplog.text) == (True, True)
    kept.error = None

    wait_until(lambda: not budget.is_store_lost)
    budget.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_ended_thread_is_replaced() -> None:
    """A later call starts a new thread, which treats the last message as possibly lost."""
    kept = ThreadSafeStore()
    kept.error = SystemExit()
    budget = process(kept)
    before = threads()
    anyio.run(spend, budget, 1)
    assert (threads(), budget.is_store_lost) == (before, True)
    kept.error = None

    def is_back() -> bool:
        anyio.run(spend, budget, 1)
        return not budget.is_store_lost

    wait_until(is_back)
    budget.close()


def test_closing_during_calls_disturbs_no_call() -> None:
    """Each thread ends before the next one sends, and no call fails."""
    budget = process(ThreadSafeStore())
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
    wait_until(lambda: threads() == before)


def test_nothing_runs_before_the_first_call_nor_after_the_last() -> None:
    """The first call starts the thread and closing ends the thread; the next call starts a new one."""
    budget = process(ThreadSafeStore())
    before = threads()
    for _ in range(2):
        anyio.run(spend, budget, 1)
        assert threads() == before + 1
        budget.close()
        wait_until(lambda: threads() == before)
    budget.close()


def test_an_unused_budget_returns_its_weight() -> None:
    """The thread does not keep the budget alive."""
    kept = ThreadSafeStore()
    budget = process(kept)
    before = threads()
    anyio.run(spend, budget, 1)
    del budget
    gc.collect()

    wait_until(lambda: threads() == before)
    assert [message.lease for message in kept.lasts.values()] == [0.0]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only POSIX forks")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_is_a_process_of_its_own() -> None:
    """The child has another name, no weight of its parent's, and a thread and a connection of its own."""
    kept = ThreadSafeStore()
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
