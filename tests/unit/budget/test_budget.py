"""The pools of one egress IP and the queue in front of them."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest

from binance_pm.budget import Budget, Charge, LimitType, Pool, Priority, pool_of, process_budget
from binance_pm.errors import BudgetExceeded, CallInfo, ConfigurationError, GateClosed
from binance_pm.limits import Feedback
from tests.support.clocks import ManualClock, settled

if TYPE_CHECKING:
    from tests.support.clocks import FakeClock

ChargeOf = Callable[[int], tuple[Charge, ...]]
AnswerOf = Callable[..., Feedback]

CALL = CallInfo("account", "desk")


async def spend(
    budget: Budget, charges: tuple[Charge, ...], answer: Callable[[], Feedback | None], *, max_wait: float = 60.0
) -> None:
    """Make one whole call: reserve, mark as sent, then settle, or lose the call if the response is None."""
    async with budget.reserve(charges, call=CALL, priority=Priority.ORDER, max_wait=max_wait) as reservation:
        reservation.mark_sent()
        if (told := answer()) is not None:
            reservation.settle(told)


async def burst(
    budget: Budget, charges: tuple[Charge, ...], answers: list[Callable[[], Feedback]], *, max_wait: float = 60.0
) -> None:
    """Send all calls before the first of them is answered."""
    async with AsyncExitStack() as stack:
        entered = [budget.reserve(charges, call=CALL, priority=Priority.ORDER, max_wait=max_wait) for _ in answers]
        for reservation in entered:
            (await stack.enter_async_context(reservation)).mark_sent()
        for reservation, told in zip(entered, answers, strict=True):
            given = told()
            reservation.settle(given)


def used(budget: Budget) -> list[tuple[int, int]]:
    """Used weight and weight in flight of each pool."""
    return [(state.used, state.in_flight) for state in budget.snapshot()]


async def test_a_call_that_fits_does_not_wait(
    budget: Budget, charge: ChargeOf, answer: AnswerOf, clock: FakeClock
) -> None:
    """No call sleeps while there is weight."""
    await spend(budget, charge(20), lambda: answer(20))

    assert (clock.slept, used(budget)) == ([], [(20, 0)])


async def test_waits_for_the_next_minute(budget: Budget, charge: ChargeOf, answer: AnswerOf, clock: FakeClock) -> None:
    """A call that does not fit waits until the exchange's minute has surely turned, and no longer."""
    clock.now = 30_000_000 * 60.0 + 30
    await spend(budget, charge(90), lambda: answer(90))

    await spend(budget, charge(20), lambda: answer(20))

    assert sum(clock.slept) == pytest.approx(30, abs=1.1)


async def test_a_header_may_show_external_usage(
    budget: Budget, charge: ChargeOf, answer: AnswerOf, clock: FakeClock
) -> None:
    """Weight used by other programs on the IP is not available."""
    clock.now = 30_000_000 * 60.0 + 30
    await spend(budget, charge(1), lambda: answer(100))

    with pytest.raises(BudgetExceeded, match=r"its weight is free in .* s at the earliest"):
        await spend(budget, charge(5), answer, max_wait=5)


async def test_a_call_heavier_than_a_minute_is_refused_at_once(
    budget: Budget, charge: ChargeOf, answer: AnswerOf, clock: FakeClock
) -> None:
    """Such a call would never fit."""
    with pytest.raises(BudgetExceeded, match="more than the exchange allows") as caught:
        await spend(budget, charge(101), answer)

    assert (caught.value.wait, clock.slept, budget.waiting) == (math.inf, [], 0)


async def test_a_call_that_was_not_sent_costs_nothing(budget: Budget, charge: ChargeOf) -> None:
    """If the call is cancelled before sending, its weight is free at once."""
    async with budget.reserve(charge(60), call=CALL, priority=Priority.ORDER, max_wait=0):
        assert used(budget) == [(60, 60)]

    assert used(budget) == [(0, 0)]


async def test_a_call_without_a_response_stays_counted(budget: Budget, charge: ChargeOf) -> None:
    """The exchange may count a lost call in this minute or in the next."""
    async with budget.reserve(charge(60), call=CALL, priority=Priority.ORDER, max_wait=0) as reservation:
        reservation.mark_sent()

    assert used(budget) == [(60, 0)]


async def test_a_call_marked_as_unsent_costs_nothing(budget: Budget, charge: ChargeOf) -> None:
    """The transport may find out that no byte was sent after all."""
    async with budget.reserve(charge(60), call=CALL, priority=Priority.ORDER, max_wait=0) as reservation:
        reservation.mark_sent()
        reservation.mark_unsent()

    assert used(budget) == [(0, 0)]


async def test_all_pools_of_a_call_are_taken_or_none(clock: FakeClock) -> None:
    """If one pool refuses a call, the other pools are not charged."""
    path = "/sapi/v1/portfolio/account"
    pools = [pool_of("sapi", kind, origin="h", path=path, key_id="a") for kind in (LimitType.IP, LimitType.UID)]
    budget = Budget(limits={("sapi", LimitType.UID): 20}, monotonic=clock, wall=clock, sleep=clock.sleep)

    with pytest.raises(BudgetExceeded):
        await spend(budget, tuple(Charge(pool, 11) for pool in pools), lambda: None)

    assert used(budget) == [(0, 0), (0, 0)]


async def test_calls_are_served_in_the_order_of_arrival(
    patient_budget: Budget, charge: ChargeOf, answer: AnswerOf
) -> None:
    """No call overtakes another, not even one that would fit before the one in front."""
    order: list[str] = []

    async def call(name: str, weight: int) -> None:
        async with patient_budget.reserve(
            charge(weight), call=CALL, priority=Priority.ORDER, max_wait=600
        ) as reservation:
            order.append(name)
            reservation.mark_sent()
            reservation.settle(answer(0))

    async with (
        anyio.create_task_group() as tasks,
        patient_budget.reserve(charge(60), call=CALL, priority=Priority.ORDER, max_wait=0),
    ):
        for name, weight in (("heavy", 60), ("light", 1), ("middle", 30)):
            tasks.start_soon(call, name, weight)
            await settled()
        assert (order, patient_budget.waiting) == ([], 3)

    assert order == ["heavy", "light", "middle"]


async def test_a_new_call_does_not_overtake_waiting_calls(
    patient_budget: Budget, charge: ChargeOf, answer: AnswerOf, pool: Pool
) -> None:
    """A call queues behind another that waits for one of its pools, although it would fit."""
    order = Charge(pool_of("papi", LimitType.ORDERS, origin=pool.origin, path="", key_id="a"), 1)
    await spend(patient_budget, charge(1), lambda: answer(1))
    async with (
        anyio.create_task_group() as tasks,
        patient_budget.reserve(charge(60), call=CALL, priority=Priority.ORDER, max_wait=0),
    ):
        tasks.start_soon(spend, patient_budget, charge(60), lambda: answer(60))
        await settled()
        tasks.start_soon(spend, patient_budget, (*charge(1), order), lambda: answer(61))
        await settled()
        assert patient_budget.waiting == 2

    assert patient_budget.waiting == 0


async def test_a_full_pool_does_not_block_another(patient_budget: Budget, charge: ChargeOf, answer: AnswerOf) -> None:
    """Calls to the other pool do not wait."""
    other = Charge(pool_of("sapi", LimitType.IP, origin="h", path="/sapi/v1/x", key_id=""), 5)
    async with (
        anyio.create_task_group() as tasks,
        patient_budget.reserve(charge(60), call=CALL, priority=Priority.ORDER, max_wait=0),
    ):
        tasks.start_soon(spend, patient_budget, charge(60), lambda: answer(60))
        await settled()
        await spend(patient_budget, (other,), lambda: None, max_wait=0)
        assert patient_budget.waiting == 1


async def test_a_cancelled_waiting_call_leaves_no_trace(
    patient_budget: Budget, charge: ChargeOf, answer: AnswerOf
) -> None:
    """The call keeps no place and no weight, and the next call moves up."""
    await spend(patient_budget, charge(1), lambda: answer(1))
    async with patient_budget.reserve(charge(50), call=CALL, priority=Priority.ORDER, max_wait=0):
        first = asyncio.ensure_future(spend(patient_budget, charge(90), lambda: answer(0)))
        await settled()
        second = asyncio.ensure_future(spend(patient_budget, charge(40), lambda: answer(0)))
        await settled()
        assert patient_budget.waiting == 2
        first.cancel()
        await asyncio.wait([first, second], timeout=1)

    assert (first.cancelled(), second.done(), patient_budget.waiting) == (True, True, 0)
    assert used(patient_budget) == [(41, 0)]


async def test_a_call_cancelled_at_its_admission_returns_the_weight(patient_budget: Budget, charge: ChargeOf) -> None:
    """Weight granted to a task that is being cancelled is not lost."""
    async with patient_budget.reserve(charge(60), call=CALL, priority=Priority.ORDER, max_wait=0):
        waiting = asyncio.ensure_future(spend(patient_budget, charge(60), lambda: None))
        await settled()
    assert used(patient_budget) == [(60, 60)]
    waiting.cancel()
    await asyncio.wait([waiting])

    assert (waiting.cancelled(), used(patient_budget)) == (True, [(0, 0)])


async def test_one_call_probes_until_the_count_is_known(
    patient_budget: Budget, charge: ChargeOf, answer: AnswerOf
) -> None:
    """After a start in mid-minute, the first response's count decides what other calls may send."""
    started: list[int] = []

    async def call(number: int) -> None:
        async with patient_budget.reserve(charge(5), call=CALL, priority=Priority.ORDER, max_wait=60) as reservation:
            started.append(number)
            reservation.mark_sent()
            await settled()
            reservation.settle(answer(85))

    async with anyio.create_task_group() as tasks:
        for number in range(3):
            tasks.start_soon(call, number)
        await anyio.lowlevel.checkpoint()
        assert started == [0]

    assert started == [0, 1, 2]


async def test_max_wait_holds_if_the_calls_in_front_are_not_answered(
    clock: FakeClock, charge: ChargeOf, answer: AnswerOf
) -> None:
    """A call fails after max_wait, whatever happens to other calls."""
    budget = Budget(limits={("papi", LimitType.IP): 110}, monotonic=clock, wall=clock, sleep=clock.sleep)
    async with budget.reserve(charge(60), call=CALL, priority=Priority.ORDER, max_wait=0):
        with pytest.raises(BudgetExceeded, match="it waited for 7 s, as long as max_wait allows"):
            await spend(budget, charge(60), answer, max_wait=7)

    assert clock.slept == [7.0]


async def test_only_the_pools_that_lack_weight_block_other_calls(
    patient_budget: Budget, charge: ChargeOf, answer: AnswerOf, pool: Pool
) -> None:
    """An order that waits for its account's pool does not block the pool of the IP."""
    orders = pool_of("papi", LimitType.ORDERS, origin=pool.origin, path="", key_id="a")
    budget = patient_budget
    await spend(budget, charge(1), lambda: answer(1))
    async with (
        anyio.create_task_group() as tasks,
        budget.reserve((Charge(orders, 1190),), call=CALL, priority=Priority.ORDER, max_wait=0),
    ):
        tasks.start_soon(spend, budget, (*charge(5), Charge(orders, 1)), lambda: answer(6))
        await settled()
        await spend(budget, charge(5), lambda: answer(6), max_wait=0)
        assert budget.waiting == 1

    assert budget.waiting == 0


async def test_a_reservation_that_is_never_settled_expires(
    budget: Budget, charge: ChargeOf, answer: AnswerOf, clock: FakeClock
) -> None:
    """Weight held by an event loop that ended during a call is freed after two minutes."""
    forgotten = await budget.reserve(charge(60), call=CALL, priority=Priority.ORDER, max_wait=0).__aenter__()
    forgotten.mark_sent()
    clock.now += 180

    await spend(budget, charge(60), lambda: answer(60), max_wait=0)
    await forgotten.__aexit__()

    assert used(budget) == [(60, 0)]


async def test_nothing_is_sent_after_its_reservation_expired(
    budget: Budget, charge: ChargeOf, answer: AnswerOf, clock: FakeClock
) -> None:
    """A call whose weight was counted as lost may not be sent in addition."""
    async with budget.reserve(charge(60), call=CALL, priority=Priority.ORDER, max_wait=0) as late:
        clock.now += 180
        await spend(budget, charge(60), lambda: answer(60), max_wait=0)
        with pytest.raises(BudgetExceeded, match="too long after its turn"):
            late.mark_sent()

    assert not late.is_sent


class TestGate:
    """What a refusal of the exchange closes."""

    async def test_closes_for_calls_about_to_be_sent(self, budget: Budget, charge: ChargeOf, answer: AnswerOf) -> None:
        """Weight that was acquired before the refusal may not be used after it."""
        await spend(budget, charge(1), lambda: answer(1))
        async with budget.reserve(charge(1), call=CALL, priority=Priority.ORDER, max_wait=0) as late:
            await spend(budget, charge(1), lambda: answer(2, status=429))
            with pytest.raises(GateClosed, match="is closed for"):
                late.mark_sent()

        assert (late.is_sent, used(budget)) == (False, [(2, 0)])

    async def test_an_absurd_date_does_not_close_it_for_days(
        self, budget: Budget, charge: ChargeOf, answer: AnswerOf, clock: FakeClock
    ) -> None:
        """The clock known before the refusal decides when the minute ends."""
        await spend(budget, charge(1), lambda: answer(1))
        await spend(budget, charge(1), lambda: answer(1, status=429, date="Fri, 01 Jan 2038 00:00:00 GMT"))

        assert budget.gate("https://papi.example").wait(clock.now) == pytest.approx(50.0, abs=0.1)

    async def test_429_waits_as_long_as_the_exchange_says(
        self, budget: Budget, charge: ChargeOf, answer: AnswerOf, clock: FakeClock
    ) -> None:
        """Retry-After is obeyed to the end, beyond the minute too."""
        await spend(budget, charge(1), lambda: answer(1, status=429, retry_after="100"))

        await spend(budget, charge(1), lambda: answer(1), max_wait=1000)

        assert sum(clock.slept) == pytest.approx(100)

    async def test_429_without_retry_after_waits_for_the_next_minute(
        self, budget: Budget, charge: ChargeOf, answer: AnswerOf, clock: FakeClock
    ) -> None:
        """The rest of this minute is not used."""
        clock.now = 30_000_000 * 60.0 + 20
        await spend(budget, charge(1), lambda: answer(1, status=429))

        await spend(budget, charge(1), lambda: answer(1))

        assert 40 <= sum(clock.slept) <= 41.1

    @pytest.mark.parametrize(
        ("told", "seconds"),
        [
            ({"retry_after": "300"}, 300.0),
            ({"body": b'{"code":-1003,"msg":"banned until %d."}'}, 600.0),
            ({}, 120.0),
            ({"retry_after": "0"}, 120.0),
        ],
    )
    async def test_418_closes_for_the_whole_ban(
        self,
        budget: Budget,
        charge: ChargeOf,
        answer: AnswerOf,
        clock: FakeClock,
        told: dict[str, str | bytes],
        seconds: float,
    ) -> None:
        """For Retry-After, the time in the message, or two minutes; nothing is sent before."""
        body = told.get("body")
        if isinstance(body, bytes):
            told = {"body": body % int((clock.now + 600) * 1000)}
        await spend(budget, charge(1), lambda: answer(status=418, **told))

        with pytest.raises(GateClosed, match="by a ban") as caught:
            await spend(budget, charge(1), answer, max_wait=seconds - 2)

        assert caught.value.banned
        assert caught.value.until == pytest.approx(clock.now + seconds, abs=1.1)

    async def test_the_firewall_closes_it_too(
        self, budget: Budget, charge: ChargeOf, answer: AnswerOf, clock: FakeClock
    ) -> None:
        """A 403 states no end: nothing is sent for a minute."""
        await spend(budget, charge(1), lambda: answer(status=403, body=b"<html>"))

        await spend(budget, charge(1), lambda: answer(1), max_wait=100)

        assert sum(clock.slept) == pytest.approx(60)

    async def test_a_403_of_the_exchange_closes_nothing(
        self, budget: Budget, charge: ChargeOf, answer: AnswerOf, clock: FakeClock
    ) -> None:
        """In its own JSON, the exchange refuses this request only."""
        await spend(budget, charge(1), lambda: answer(status=403, body=b'{"code":-1002,"msg":"x"}'))

        await spend(budget, charge(1), lambda: answer(1))

        assert clock.slept == []

    async def test_no_ban_is_longer_than_three_days(self, budget: Budget, charge: ChargeOf, answer: AnswerOf) -> None:
        """A message with the year 2286 does not close the gate longer."""
        await spend(budget, charge(1), lambda: answer(status=418, body=b"banned until 9999999999999"))

        with pytest.raises(GateClosed, match=r"closed for 259200.0 s more"):
            await spend(budget, charge(1), answer)

    async def test_fails_at_once_if_it_opens_too_late(
        self, budget: Budget, charge: ChargeOf, answer: AnswerOf, clock: FakeClock
    ) -> None:
        """A call that cannot wait that long does not wait at all."""
        await spend(budget, charge(1), lambda: answer(1, status=429, retry_after="3600"))

        with pytest.raises(GateClosed, match=r"account \[desk\]: the gate of https://papi.example is closed for 3600"):
            await spend(budget, charge(1), answer, max_wait=60)

        assert clock.slept == []

    async def test_closes_for_waiting_calls(
        self, patient_budget: Budget, charge: ChargeOf, answer: AnswerOf, manual_clock: ManualClock
    ) -> None:
        """A refusal holds back calls that were queued before."""
        departures: list[float] = []

        async def call() -> None:
            async with patient_budget.reserve(
                charge(60), call=CALL, priority=Priority.ORDER, max_wait=1000
            ) as reservation:
                departures.append(manual_clock.now)
                reservation.mark_sent()
                reservation.settle(answer(60))

        began = manual_clock.now
        async with anyio.create_task_group() as tasks:
            async with patient_budget.reserve(charge(60), call=CALL, priority=Priority.ORDER, max_wait=0) as first:
                tasks.start_soon(call)
                await settled()
                first.mark_sent()
                first.settle(answer(60, status=429, retry_after="200"))
            for _ in range(21):
                await manual_clock.advance(10)

        assert departures == [began + 200]

    async def test_is_logged_once(
        self, budget: Budget, charge: ChargeOf, answer: AnswerOf, caplog: pytest.LogCaptureFixture
    ) -> None:
        """One log line for all calls that were in flight."""
        await spend(budget, charge(1), lambda: answer(1))
        with caplog.at_level(logging.WARNING, "binance_pm"):
            await burst(budget, charge(1), [lambda: answer(1, status=429, retry_after="200")] * 5)

        assert caplog.text.count("answered HTTP 429: nothing is sent to it for 200.0 s") == 1

    async def test_another_host_is_open(self, budget: Budget, charge: ChargeOf, answer: AnswerOf) -> None:
        """A gate belongs to one host."""
        await spend(budget, charge(1), lambda: answer(1, status=418))
        other = Charge(pool_of("sapi", LimitType.IP, origin="https://other", path="/sapi/v1/x", key_id=""), 5)

        await spend(budget, (other,), lambda: None, max_wait=0)


async def test_a_wrong_wall_clock_does_not_matter(clock: FakeClock, charge: ChargeOf, answer: AnswerOf) -> None:
    """Minutes are the exchange's: a clock that is half a minute wrong overspends none."""
    budget = Budget(
        limits={("papi", LimitType.IP): 110}, monotonic=lambda: clock.now - 1.7e9, wall=lambda: clock.now - 30
    )
    clock.now = 30_000_000 * 60.0 + 45
    await spend(budget, charge(90), lambda: answer(90))

    with pytest.raises(BudgetExceeded):
        await spend(budget, charge(20), answer, max_wait=10)


async def test_threads_with_their_own_event_loop_share_the_budget(charge: ChargeOf, answer: AnswerOf) -> None:
    """A call that waits in one event loop is woken by a response in another thread."""
    budget = Budget(limits={("papi", LimitType.IP): 110})
    entered = threading.Event()

    async def wait_for_weight() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(spend, budget, charge(60), lambda: answer(60))
            await settled()
            entered.set()

    async with budget.reserve(charge(60), call=CALL, priority=Priority.ORDER, max_wait=0):
        thread = threading.Thread(target=anyio.run, args=(wait_for_weight,))
        thread.start()
        await anyio.to_thread.run_sync(entered.wait)
    await anyio.to_thread.run_sync(thread.join)

    assert budget.waiting == 0


async def test_a_stopped_event_loop_does_not_block_other_calls(
    manual_clock: ManualClock, charge: ChargeOf, answer: AnswerOf
) -> None:
    """If the event loop of the first call has stopped, the next call goes seconds later."""
    budget = Budget(
        limits={("papi", LimitType.IP): 110}, monotonic=manual_clock, wall=manual_clock, sleep=manual_clock.sleep
    )
    await spend(budget, charge(90), lambda: answer(90))
    served: list[Feedback] = []

    def serve() -> Feedback:
        served.append(answer(40))
        return served[-1]

    loop = asyncio.new_event_loop()
    first = loop.create_task(spend(budget, charge(20), lambda: answer(20), max_wait=600))
    thread = threading.Thread(target=loop.run_until_complete, args=(settled(),))
    thread.start()
    await anyio.to_thread.run_sync(thread.join)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(spend, budget, charge(20), serve, max_wait=600))
        await settled()
        assert budget.waiting == 2
        for _ in range(14):
            await manual_clock.advance(5)
        tasks.cancel_scope.cancel()
    assert len(served) == 1

    first.cancel()
    await anyio.to_thread.run_sync(loop.run_until_complete, settled())
    assert first.cancelled()
    loop.close()


def test_an_event_loop_that_ended_with_waiting_calls_does_no_harm(charge: ChargeOf) -> None:
    """Waking a task of a closed loop raises no error for the caller that settles, and loses no weight."""
    budget = Budget(limits={("papi", LimitType.IP): 110})

    async def hold() -> Callable[[], None]:
        first = await budget.reserve(charge(60), call=CALL, priority=Priority.ORDER, max_wait=0).__aenter__()
        return lambda: budget.release(first)

    def abandon() -> Callable[[], None]:
        loop = asyncio.new_event_loop()
        release = loop.run_until_complete(hold())
        waiting = loop.create_task(spend(budget, charge(60), lambda: None))
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


async def test_repr_shows_the_pools(budget: Budget, charge: ChargeOf, answer: AnswerOf) -> None:
    """How much of each pool is used, and how many calls wait."""
    await spend(budget, charge(20), lambda: answer(20))

    assert repr(budget) == "Budget(IP /papi 20/110, 0 waiting)"
    assert repr(Budget()) == "Budget(unused, 0 waiting)"


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ({"minute": 0.0}, "a minute has more than 0 seconds"),
        ({"minute": math.nan}, "minute is nan: give a number"),
        ({"instances": 0}, "instances counts this program, too"),
        ({"limits": {("papi", LimitType.IP): 10}}, "the limit 10 of IP /papi is too small"),
        ({"limits": {("papi", LimitType.IP): 40}, "instances": 4}, "the limit 40 of IP /papi is too small"),
        ({"limits": {("api", LimitType.UID): 100}}, "there is no limit"),
    ],
)
def test_invalid_arguments_are_refused(arguments: dict[str, Any], what: str) -> None:
    """At once, and not by the first call that finds no room."""
    with pytest.raises(ConfigurationError, match=what):
        Budget(**arguments)


@pytest.mark.parametrize(("accounts", "every"), [(0, 1.0), (1, 0.0), (1, math.inf)])
def test_a_plan_needs_accounts_and_an_interval(budget: Budget, accounts: int, every: float) -> None:
    """Zero accounts or an invalid interval are refused."""
    with pytest.raises(ConfigurationError, match="a plan needs accounts"):
        budget.plan(accounts, every, [])
