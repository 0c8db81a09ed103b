"""The pools of one egress IP and the queue in front of them."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import anyio
import pytest

from binance_pm.budget import Budget, Charge, LimitType, Pool, Priority, Reservation, pool_of, process_budget
from binance_pm.errors import BudgetExceeded, CallInfo, ConfigurationError, GateClosed
from binance_pm.limits import Feedback
from tests.support.budget import PAPI, feedback
from tests.support.clocks import FakeClock, ManualClock, settled

CALL = CallInfo("account", "desk")
ORDERS = pool_of("papi", LimitType.ORDERS, origin=PAPI.origin, path="", key_id="a")


def reserve(budget: Budget, weight: int, *pools: Pool, max_wait: float = 0.0) -> Reservation:
    """Return the reservation of an order, in the pool of the IP or in the given pools."""
    charges = tuple(Charge(pool, weight) for pool in pools or (PAPI,))
    return budget.reserve(charges, call=CALL, priority=Priority.ORDER, max_wait=max_wait)


def answer(used: int | None = None, *, status: int = 200, body: bytes = b"{}", **headers: str) -> Feedback:
    """Return a response of the exchange without its clock."""
    sent = {name.replace("_", "-"): text for name, text in headers.items()}
    if used is not None:
        sent["x-mbx-used-weight-1m"] = str(used)
    return feedback(status, sent, body)


async def spend(
    budget: Budget, weight: int, used: int | None = None, *pools: Pool, max_wait: float = 60.0, **response: Any
) -> None:
    """Make one whole call, which is lost if there is neither a count nor anything else of a response."""
    async with reserve(budget, weight, *pools, max_wait=max_wait) as reservation:
        reservation.mark_sent()
        if used is not None or response:
            reservation.settle(answer(used, **response))


def budget_of(clock: FakeClock | ManualClock) -> Budget:
    """Return a budget with a limit of 110 a minute, of which 100 can be spent, that knows the exchange's clock."""
    budget = Budget(limits={("papi", LimitType.IP): 110}, monotonic=clock, wall=clock, sleep=clock.sleep)
    budget.observe_time(PAPI.origin, clock.now, clock.now, asked=clock.now)
    return budget


@pytest.fixture
def budget(clock: FakeClock) -> Budget:
    """A budget on a clock that moves when a task sleeps."""
    return budget_of(clock)


@pytest.fixture
def patient_budget(manual_clock: ManualClock) -> Budget:
    """A budget on a manual clock: a waiting call is woken by a response."""
    return budget_of(manual_clock)


def used(budget: Budget) -> list[tuple[int, int]]:
    """Used weight and weight in flight of each pool."""
    return [(state.used, state.in_flight) for state in budget.snapshot()]


async def test_waits_until_the_minute_has_surely_turned(budget: Budget, clock: FakeClock) -> None:
    """A call waits no longer than that; if it may not wait so long, it fails at once with the wait."""
    clock.now = 30_000_000 * 60.0 + 30
    await spend(budget, 1, 100)

    with pytest.raises(BudgetExceeded) as caught:
        await spend(budget, 5, max_wait=5)
    assert (caught.value.wait, clock.slept) == (pytest.approx(30, abs=1.1), [])

    await spend(budget, 20, 20)
    assert sum(clock.slept) == pytest.approx(30, abs=1.1)


async def test_a_call_heavier_than_a_minute_is_refused_at_once(budget: Budget, clock: FakeClock) -> None:
    """The call would never fit."""
    with pytest.raises(BudgetExceeded) as caught:
        await spend(budget, 101)

    assert (caught.value.wait, clock.slept, budget.waiting) == (math.inf, [], 0)


@pytest.mark.parametrize(("steps", "left"), [("", 0), ("mark_sent", 60), ("mark_sent mark_unsent", 0)])
async def test_a_call_without_a_response_counts_only_if_it_was_sent(budget: Budget, steps: str, left: int) -> None:
    """The exchange may count a lost call, and the transport may find out that no byte was sent after all."""
    async with reserve(budget, 60) as reservation:
        for step in steps.split():
            getattr(reservation, step)()
        assert used(budget) == [(60, 60)]

    assert used(budget) == [(left, 0)]


async def test_a_new_call_does_not_overtake_waiting_calls(patient_budget: Budget) -> None:
    """A call queues behind another that waits for one of its pools, although it would fit."""
    await spend(patient_budget, 1, 1)
    async with (
        anyio.create_task_group() as tasks,
        reserve(patient_budget, 60),
    ):
        tasks.start_soon(spend, patient_budget, 60, 60)
        await settled()
        tasks.start_soon(spend, patient_budget, 1, 61, PAPI, ORDERS)
        await settled()
        assert patient_budget.waiting == 2

    assert patient_budget.waiting == 0


async def test_a_call_cancelled_at_its_admission_returns_the_weight(patient_budget: Budget) -> None:
    """Weight granted to a task that is being cancelled is not lost."""
    async with reserve(patient_budget, 60):
        waiting = asyncio.ensure_future(spend(patient_budget, 60))
        await settled()
    assert used(patient_budget) == [(60, 60)]
    waiting.cancel()
    await asyncio.wait([waiting])

    assert (waiting.cancelled(), used(patient_budget)) == (True, [(0, 0)])


async def test_max_wait_holds_if_the_calls_in_front_are_not_answered(budget: Budget, clock: FakeClock) -> None:
    """A call fails after max_wait, whatever happens to other calls."""
    async with reserve(budget, 60):
        with pytest.raises(BudgetExceeded):
            await spend(budget, 60, max_wait=7)

    assert clock.slept == [7.0]


async def test_only_the_pools_that_lack_weight_block_other_calls(patient_budget: Budget) -> None:
    """An order that waits for its account's pool does not block the pool of the IP."""
    budget = patient_budget
    await spend(budget, 1, 1)
    async with (
        anyio.create_task_group() as tasks,
        reserve(budget, 1190, ORDERS),
    ):
        tasks.start_soon(spend, budget, 5, 6, PAPI, ORDERS)
        await settled()
        await spend(budget, 5, 6, max_wait=0)
        assert budget.waiting == 1

    assert budget.waiting == 0


async def test_a_reservation_that_is_never_settled_expires(budget: Budget, clock: FakeClock) -> None:
    """Weight held by an event loop that ended during a call is freed after two minutes."""
    forgotten = await reserve(budget, 60).__aenter__()
    forgotten.mark_sent()
    clock.now += 180

    await spend(budget, 60, 60, max_wait=0)
    await forgotten.__aexit__()

    assert used(budget) == [(60, 0)]


async def test_nothing_is_sent_after_its_reservation_expired(budget: Budget, clock: FakeClock) -> None:
    """A call whose weight was counted as lost may not be sent in addition."""
    async with reserve(budget, 60) as late:
        clock.now += 180
        await spend(budget, 60, 60, max_wait=0)
        with pytest.raises(BudgetExceeded):
            late.mark_sent()

    assert not late.is_sent


class TestGate:
    """What a refusal of the exchange closes."""

    async def test_closes_for_calls_about_to_be_sent(self, budget: Budget) -> None:
        """Weight that was acquired before the refusal may not be used after it."""
        await spend(budget, 1, 1)
        async with reserve(budget, 1) as late:
            await spend(budget, 1, 2, status=429)
            with pytest.raises(GateClosed):
                late.mark_sent()

        assert (late.is_sent, used(budget)) == (False, [(2, 0)])

    @pytest.mark.parametrize(
        ("response", "seconds", "is_ban"),
        [
            ({"status": 429, "retry_after": "100"}, 100.0, False),
            ({"status": 429, "date": "Fri, 01 Jan 2038 00:00:00 GMT"}, 50.0, False),
            ({"status": 418, "retry_after": "300"}, 300.0, True),
            ({"status": 403, "body": b"<html>"}, 60.0, False),
            ({"status": 403, "body": b'{"code":-1002,"msg":"x"}'}, 0.0, False),
        ],
    )
    async def test_calls_wait_until_it_opens_or_fail_at_once(
        self,
        budget: Budget,
        clock: FakeClock,
        response: dict[str, Any],
        seconds: float,
        is_ban: bool,
    ) -> None:
        """A call fails with the end of the refusal if it may not wait so long; only a refusal closes the gate."""
        await spend(budget, 1, 1)
        await spend(budget, 1, 2, **response)

        if seconds:
            with pytest.raises(GateClosed) as caught:
                await spend(budget, 1, max_wait=seconds - 2)
            assert (caught.value.banned, clock.slept) == (is_ban, [])
            assert caught.value.until == pytest.approx(clock.now + seconds, abs=1.1)
        await spend(budget, 1, 1, max_wait=1000)

        assert sum(clock.slept) == pytest.approx(seconds, abs=0.1)

    async def test_is_logged_once(self, budget: Budget, caplog: pytest.LogCaptureFixture) -> None:
        """One log line for all calls that were in flight."""
        await spend(budget, 1, 1)
        with caplog.at_level(logging.WARNING, "binance_pm"):
            async with AsyncExitStack() as stack:
                entered = [await stack.enter_async_context(reserve(budget, 1)) for _ in range(5)]
                for reservation in entered:
                    reservation.mark_sent()
                for reservation in entered:
                    reservation.settle(answer(1, status=429, retry_after="200"))

        assert caplog.text.count("answered HTTP 429: nothing is sent to it for 200.0 s") == 1

    async def test_another_host_is_open(self, budget: Budget) -> None:
        """A gate belongs to one host."""
        await spend(budget, 1, 1, status=418)
        other = pool_of("sapi", LimitType.IP, origin="https://other", path="/sapi/v1/x", key_id="")

        await spend(budget, 5, None, other, max_wait=0)


async def test_threads_with_their_own_event_loop_share_the_budget() -> None:
    """A call that waits in one event loop is woken by a response in another thread."""
    budget = Budget(limits={("papi", LimitType.IP): 110})
    entered = threading.Event()

    async def wait_for_weight() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(spend, budget, 60, 60)
            await settled()
            entered.set()

    async with reserve(budget, 60):
        thread = threading.Thread(target=anyio.run, args=(wait_for_weight,))
        thread.start()
        await anyio.to_thread.run_sync(entered.wait)
    await anyio.to_thread.run_sync(thread.join)

    assert budget.waiting == 0


async def test_a_stopped_event_loop_does_not_block_other_calls(manual_clock: ManualClock) -> None:
    """If the event loop of the first call has stopped, the next call goes seconds later."""
    budget = budget_of(manual_clock)
    await spend(budget, 90, 90)
    served: list[int] = []

    async def serve() -> None:
        await spend(budget, 20, 40, max_wait=600)
        served.append(20)

    loop = asyncio.new_event_loop()
    first = loop.create_task(spend(budget, 20, 20, max_wait=600))
    thread = threading.Thread(target=loop.run_until_complete, args=(settled(),))
    thread.start()
    await anyio.to_thread.run_sync(thread.join)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve)
        await settled()
        assert budget.waiting == 2
        for _ in range(14):
            await manual_clock.advance(5)
        tasks.cancel_scope.cancel()
    assert served == [20]

    first.cancel()
    await anyio.to_thread.run_sync(loop.run_until_complete, settled())
    assert first.cancelled()
    loop.close()


def test_an_event_loop_that_ended_with_waiting_calls_does_no_harm() -> None:
    """Waking a task of a closed loop raises no error for the caller that settles, and loses no weight."""
    budget = Budget(limits={("papi", LimitType.IP): 110})

    async def hold() -> Callable[[], None]:
        first = await reserve(budget, 60).__aenter__()
        return lambda: budget.release(first)

    def abandon() -> Callable[[], None]:
        loop = asyncio.new_event_loop()
        release = loop.run_until_complete(hold())
        waiting = loop.create_task(spend(budget, 60))
        loop.run_until_complete(settled())
        loop.close()
        abandoned.append(waiting)
        return release

    abandoned: list[Awaitable[None]] = []
    releases: list[Callable[[], None]] = []
    thread = threading.Thread(target=lambda: releases.append(abandon()))
    thread.start()
    thread.join()
    releases[0]()

    assert (used(budget), budget.waiting) == ([(0, 0)], 0)


def test_a_process_has_one_budget_for_each_egress_ip() -> None:
    """Every caller gets the same budget; a proxy is another IP."""
    assert process_budget() is process_budget()
    assert process_budget("proxy:3128") is not process_budget()


async def test_repr_shows_the_pools(budget: Budget) -> None:
    """How much of each pool is used, and how many calls wait."""
    await spend(budget, 20, 20)

    assert repr(budget) == "Budget(IP /papi 20/110, 0 waiting)"
    assert repr(Budget()) == "Budget(unused, 0 waiting)"


@pytest.mark.parametrize(
    "arguments",
    [
        {"minute": 0.0},
        {"minute": math.nan},
        {"instances": 0},
        {"limits": {("papi", LimitType.IP): 10}},
        {"limits": {("papi", LimitType.IP): 40}, "instances": 4},
        {"limits": {("api", LimitType.UID): 100}},
    ],
)
def test_invalid_arguments_are_refused(arguments: dict[str, Any]) -> None:
    """The error comes at once, not with the first call that finds no room."""
    with pytest.raises(ConfigurationError):
        Budget(**arguments)


@pytest.mark.parametrize(("accounts", "every"), [(0, 1.0), (1, 0.0), (1, math.inf)])
def test_a_plan_needs_accounts_and_an_interval(budget: Budget, accounts: int, every: float) -> None:
    """Zero accounts or an invalid interval are refused."""
    with pytest.raises(ConfigurationError):
        budget.plan(accounts, every, [])
