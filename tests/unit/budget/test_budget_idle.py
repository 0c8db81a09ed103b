"""What a budget keeps of idle pools: nothing, once their usage has expired."""

from __future__ import annotations

import gc
import tracemalloc
from email.utils import formatdate

import anyio
import pytest

from binance_pm.budget import Budget, Charge, LimitType, Pool, Priority
from binance_pm.budget.shared import SharedBudget
from binance_pm.errors import CallInfo
from tests.support.budget import HOST, MINUTE, feedback
from tests.support.clocks import ManualClock
from tests.support.memory_store import MemoryStore
from tests.unit.budget.test_shared import Process

CALL = CallInfo("x", "a")
LONG = 15 * 60.0


@pytest.fixture
def clock(manual_clock: ManualClock) -> ManualClock:
    """A clock at the start of a minute."""
    manual_clock.now = MINUTE + 1
    return manual_clock


@pytest.fixture
def budget(clock: ManualClock) -> Budget:
    """A budget on that clock."""
    return Budget(monotonic=clock, wall=clock, sleep=clock.sleep)


def pool_of_path(number: int) -> Pool:
    """Return the pool of a path: each path of Portfolio Margin Pro has its own."""
    return Pool(HOST, "sapi", LimitType.IP, path=f"/sapi/v1/x/{number}")


async def spend(budget: Budget, pool: Pool, clock: ManualClock, *, weight: int = 1, used: int = 1) -> None:
    """Make one call that is answered at once."""
    async with budget.reserve((Charge(pool, weight),), call=CALL, max_wait=0) as reservation:
        reservation.mark_sent()
        headers = {"date": formatdate(int(clock.now), usegmt=True), "x-sapi-used-ip-weight-1m": str(used)}
        reservation.settle(feedback(200, headers, b"{}"))


async def crowd(budget: Budget, clock: ManualClock, *, first: int = 10_000, paths: int = 600) -> None:
    """Call so many other paths that the budget looks for pools to forget."""
    for number in range(first, first + paths):
        await spend(budget, pool_of_path(number), clock)


def pools_of(budget: Budget) -> set[Pool]:
    """Return the pools that the budget knows."""
    return {state.pool for state in budget.snapshot()}


async def test_thousands_of_paths_take_no_more_memory_than_hundreds(budget: Budget, clock: ManualClock) -> None:
    """With calls one after the other for hours, the memory stays as after the first hundreds."""
    taken: list[int] = []
    tracemalloc.start()
    try:
        for number in range(3_000):
            await spend(budget, pool_of_path(number), clock)
            clock.now += 2
            if number in {1_000, 2_999}:
                gc.collect()
                taken.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()

    assert len(budget.snapshot()) < 1_000
    # 2.5 kB are kept for every known path, and 500 come and go: 2000 that stay would be 5 MB.
    assert taken[1] - taken[0] < 2_000_000


async def test_pools_with_current_usage_are_kept(budget: Budget, clock: ManualClock) -> None:
    """However many paths are called in a minute, each is known until the minute ends."""
    for number in range(1_200):
        await spend(budget, pool_of_path(number), clock, weight=10, used=10)

    states = {state.pool: state.used for state in budget.snapshot()}
    assert states == {pool_of_path(number): 10 for number in range(1_200)}


@pytest.mark.parametrize(("seconds", "is_known"), [(0.0, True), (100.0, True), (200.0, True), (LONG, False)])
async def test_a_pool_is_kept_for_minutes(
    budget: Budget, clock: ManualClock, seconds: float, *, is_known: bool
) -> None:
    """A lost call may be counted in a minute that has not begun."""
    pool = pool_of_path(1)
    await spend(budget, pool, clock)

    clock.now += seconds
    await crowd(budget, clock)

    assert (pool in pools_of(budget)) is is_known


async def test_a_pool_with_waiting_calls_is_kept(budget: Budget, clock: ManualClock) -> None:
    """Calls wait for as long as a gate is closed."""
    pool = Pool("https://papi.example", "papi", LimitType.IP)
    other = Pool("https://other.example", "papi", LimitType.IP)
    budget.gate(pool.origin).close(clock.now + 2 * LONG, banned=False)

    async def wait() -> None:
        async with budget.reserve((Charge(pool, 1),), call=CALL, max_wait=3 * LONG):
            pass

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await clock.advance(LONG)
        for weight in range(1, 600):
            budget.reserve((Charge(other, weight),), call=CALL, max_wait=0)
        assert {state.pool: state.waiting[Priority.POLL] for state in budget.snapshot()}[pool] == 1
        tasks.cancel_scope.cancel()


async def test_a_reservation_keeps_its_pool(budget: Budget, clock: ManualClock) -> None:
    """A reservation made before the pool was forgotten is acquired later: the pool still has one ledger."""
    pool = pool_of_path(1)
    early = budget.reserve((Charge(pool, 5),), call=CALL, max_wait=LONG)
    late = budget.reserve((Charge(pool, 6),), call=CALL, max_wait=LONG)
    clock.now += LONG / 2
    await crowd(budget, clock)
    assert pool not in pools_of(budget)

    assert early.try_acquire()
    await crowd(budget, clock, first=20_000)
    assert {state.in_flight for state in budget.snapshot() if state.pool == pool} == {5}
    # The pool has no count yet: a second call waits for the response of the first.
    assert not late.try_acquire()
    assert not budget.reserve((Charge(pool, 1),), call=CALL, max_wait=LONG).try_acquire()


async def test_a_refusal_is_kept_for_longer(budget: Budget, clock: ManualClock) -> None:
    """The penalty after a refusal shrinks over minutes."""
    pool = pool_of_path(1)
    async with budget.reserve((Charge(pool, 1),), call=CALL, max_wait=0) as reservation:
        reservation.mark_sent()
        reservation.settle(feedback(429, {"retry-after": "1"}, b""))
    clock.now += 300
    await crowd(budget, clock)
    assert pool in pools_of(budget)

    clock.now += LONG
    await crowd(budget, clock, first=20_000)
    assert pool not in pools_of(budget)


async def test_many_weights_of_one_pool_share_the_pool(budget: Budget) -> None:
    """Shared objects that were forgotten are made again, and draw on the same pool."""
    pool = Pool(HOST, "papi", LimitType.IP)
    for weight in range(1, 2_000):
        budget.reserve((Charge(pool, weight),), call=CALL, max_wait=0)
    async with budget.reserve((Charge(pool, 1),), call=CALL, max_wait=0):
        assert [state.in_flight for state in budget.snapshot()] == [1]


async def test_a_shared_budget_forgets_too(clock: ManualClock) -> None:
    """A process does not report a pool without usage in the store."""
    process = Process(MemoryStore(), clock)
    shared: SharedBudget = process.budget
    pool = pool_of_path(1)

    async def call(pool: Pool) -> None:
        async with anyio.create_task_group() as tasks:

            async def one() -> None:
                async with shared.reserve((Charge(pool, 1),), call=CALL, max_wait=60) as reservation:
                    reservation.mark_sent()
                    headers = {"date": formatdate(int(clock.now), usegmt=True), "x-sapi-used-ip-weight-1m": "1"}
                    reservation.settle(feedback(200, headers, b"{}"))

            tasks.start_soon(one)
            await clock.advance(0.0)
            await process.exchange()
            await clock.advance(0.1)
            await process.exchange()

    await call(pool)
    assert pool in pools_of(shared)
    for _ in range(20):
        await clock.advance(LONG / 20)
        await process.exchange()
    for number in range(600):
        shared.reserve((Charge(pool_of_path(10_000 + number), 1),), call=CALL, max_wait=60)

    assert pool not in pools_of(shared)
    await call(pool)
    assert pool in pools_of(shared)
