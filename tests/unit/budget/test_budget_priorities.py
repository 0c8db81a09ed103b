"""The order in which calls are served and woken, and what listeners receive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from binance_pm.budget import (
    Admitted,
    Budget,
    BudgetEvent,
    Charge,
    LimitType,
    Priority,
    Refused,
    Reservation,
    pool_of,
)
from binance_pm.budget.ledger import PATIENCE, Ledger
from binance_pm.budget.scheduler import Decision, Scheduler
from binance_pm.errors import CallInfo
from tests.support.budget import HOST, IP, LIMIT, MINUTE, budget_by, feedback
from tests.support.clocks import FakeClock, ManualClock, settled
from tests.support.coverage import unmeasured
from tests.support.desk import Desk


@pytest_asyncio.fixture
async def desk(manual_clock: ManualClock) -> AsyncGenerator[Desk, None]:
    """Calls at the start of a minute; the exchange's clock and count are known, without external usage."""
    manual_clock.now = MINUTE
    desk = Desk(budget_by(manual_clock), manual_clock)
    for _ in range(6):
        manual_clock.now += 0.5
        desk.budget.observe_time(HOST, manual_clock.now, manual_clock.now, asked=manual_clock.now)
        await desk.call("first", 1)
    ledger = desk.budget._table.ledgers[IP]
    assert isinstance(ledger, Ledger)
    # As after a quiet minute: no poll has to wait for tokens.
    ledger._bucket.tokens = LIMIT
    desk.served.clear()
    yield desk
    await desk.close()


class TestPriorities:
    """Orders first, then polls, then background calls."""

    async def test_an_order_goes_before_all_waiting_calls(self, desk: Desk) -> None:
        """Although the order came last."""
        await desk.call("holder", 900, holds=True)
        for priority in reversed(Priority):
            await desk.call(priority.name, 200, priority=priority)
        await desk.end("holder")
        await desk.clock.advance(60)

        assert desk.served == ["holder", "ORDER", "POLL", "BACKGROUND"]

    async def test_a_requeued_call_goes_first_in_its_priority(self, desk: Desk) -> None:
        """Only orders go before a requeued call."""
        await desk.call("holder", 900, holds=True)
        await desk.call("poll", 200, priority=Priority.POLL)
        await desk.call("requeued", 150, priority=Priority.POLL, requeued=True)
        await desk.call("order", 100)
        await desk.end("holder")
        await desk.clock.advance(60)

        assert desk.served == ["holder", "order", "requeued", "poll"]

    async def test_accounts_take_turns(self, desk: Desk) -> None:
        """Many polls of one account do not delay the other, although each account has its own pool."""
        own = {name: pool_of("papi", LimitType.ORDERS, origin=HOST, path="", key_id=name) for name in "ab"}
        for account, pool in own.items():
            await desk.call(account, 1, account=account, pools=(IP, pool))
        await desk.call("holder", 900, holds=True)
        for account, number in (("a", 6), ("b", 2)):
            for call in range(number):
                name = f"{account}{call}"
                await desk.call(name, 200, priority=Priority.POLL, account=account, pools=(IP, own[account]))
        desk.served.clear()
        await desk.end("holder")
        await desk.clock.advance(60)

        assert sorted(desk.served) == ["a0", "a1", "b0", "b1"]

    async def test_a_heavy_call_is_not_starved_by_light_ones(self, manual_clock: ManualClock) -> None:
        """A call that needs half of the limit is served, however many light ones keep coming."""
        manual_clock.now = MINUTE
        desk = Desk(Budget(monotonic=manual_clock, wall=manual_clock, sleep=manual_clock.sleep), manual_clock)
        await desk.call("first", 3000, priority=Priority.POLL)
        await desk.call("second", 2500, priority=Priority.POLL)
        await desk.call("heavy", 3000, priority=Priority.POLL, account="heavy")
        for second in range(130):
            for number in range(4):
                await desk.call(f"light {second} {number}", 25, priority=Priority.POLL, account="light")
            await manual_clock.advance(1)
        await desk.close()

        assert "heavy" in desk.served
        assert len(desk.served) > 100


class TestWaiting:
    """How long calls wait, and for what."""

    async def test_cancelling_the_call_in_front_lets_the_next_one_go(self, desk: Desk) -> None:
        """At once; the cancelled call leaves nothing behind."""
        await desk.call("holder", 900, holds=True)
        await desk.call("heavy", 500)
        await desk.call("light", 10)
        desk.scopes["heavy"].cancel()
        await settled()

        assert (desk.served, desk.failed, desk.budget.waiting) == (["holder", "light"], ["heavy"], 0)

    async def test_a_call_waiting_for_two_pools_blocks_each_only_as_long_as_needed(self, desk: Desk) -> None:
        """One pool may be free for the calls behind long before the other has room."""
        own = pool_of("papi", LimitType.ORDERS, origin=HOST, path="", key_id="desk")
        await desk.call("holder", 900, holds=True, pools=(IP, own))
        await desk.call("waits for both", 100, pools=(IP, own))
        await desk.call("behind", 1, pools=(own,))
        before = list(desk.served)
        await desk.clock.advance(PATIENCE)

        assert (before, desk.served) == (["holder"], ["holder", "behind"])

    async def test_a_response_releases_calls_that_were_passed_over(self, desk: Desk) -> None:
        """The account's pool is unknown until its first response, and the second call waits only for that."""
        own = pool_of("papi", LimitType.ORDERS, origin=HOST, path="", key_id="desk")
        await desk.call("holder", 1, holds=True, pools=(IP, own))
        await desk.call("waits for the answer", 1, pools=(IP, own))
        await desk.call("of another account", 1, account="other")
        before = desk.served[-2:]
        await desk.end("holder")

        assert (before, desk.served[-1]) == (["holder", "of another account"], "waits for the answer")

    async def test_a_more_precise_clock_shortens_the_wait(self, manual_clock: ManualClock) -> None:
        """A call that waits for the turn goes once the turn is known to have come."""
        manual_clock.now = MINUTE + 30
        desk = Desk(budget_by(manual_clock), manual_clock)
        await desk.call("full", 940)
        await desk.call("next", 500)
        await manual_clock.advance(32)
        before = list(desk.served)
        desk.budget.observe_time(HOST, manual_clock.now, manual_clock.now, asked=manual_clock.now)
        await settled()
        await desk.close()

        assert (before, desk.served) == (["full"], ["full", "next"])

    async def test_only_calls_that_fit_are_woken(self, desk: Desk) -> None:
        """A response with room for one call wakes that call and the next one, which holds the timer."""
        await desk.call("holder", 900, holds=True)
        for number in range(100):
            await desk.call(str(number), 500)
        woken: list[Reservation] = []
        for waiting, _ in desk.budget._scheduler.waiting(desk.clock.now):
            waiting.wake = lambda waiting=waiting, wake=waiting.wake: woken.append(waiting) or wake()
        desk.scopes["holder"].cancel()
        await settled()

        assert (len(desk.served), len(woken)) == (2, 2)

    @pytest.mark.timeout(300)
    def test_ten_thousand_waiting_calls_need_few_checks_each(
        self, manual_clock: ManualClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each call is checked a few times, not once for each of the other calls."""
        looks, served, number = 0, 0, 10_000
        look = Scheduler.decide

        def counted(scheduler: Scheduler, reservation: Reservation, now: float) -> Decision:
            nonlocal looks
            looks += 1
            return look(scheduler, reservation, now)

        monkeypatch.setattr(Scheduler, "decide", counted)
        budget = Budget(limits={("papi", LimitType.IP): 2 * number}, monotonic=manual_clock, wall=manual_clock)

        async def call(account: str) -> None:
            nonlocal served
            async with budget.reserve(
                (Charge(IP, 1),), call=CallInfo("x", account), priority=Priority.ORDER, max_wait=600
            ):
                served += 1

        async def all_of_them() -> None:
            holder = budget.reserve(
                (Charge(IP, 2 * number - 10),), call=CallInfo("x", ""), priority=Priority.ORDER, max_wait=0
            )
            async with holder:
                calls = [asyncio.create_task(call(str(one % 100))) for one in range(number)]
                await settled()
                assert budget.waiting == number
            await asyncio.gather(*calls)

        with unmeasured():
            asyncio.run(all_of_them())

        assert (served, budget.waiting) == (number, 0)
        assert looks <= 8 * number


class TestEvents:
    """What listeners receive."""

    async def test_every_admission_with_its_waiting_time(self, desk: Desk) -> None:
        """Calls that did not wait are included."""
        events: list[BudgetEvent] = []
        desk.budget.add_listener(events.append)
        await desk.call("full", 900)
        await desk.call("waits", 200, priority=Priority.POLL)
        await desk.call("fails", 200, max_wait=1.0)
        await desk.clock.advance(60)

        assert events == [
            Admitted(CallInfo("full", "desk"), Priority.ORDER, 0.0),
            Admitted(CallInfo("waits", "desk"), Priority.POLL, 60.0),
        ]

    async def test_a_failing_listener_disturbs_neither_the_call_nor_other_listeners(
        self, desk: Desk, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Its error is logged, and no weight is kept."""

        def fail(event: BudgetEvent) -> None:
            raise ZeroDivisionError(event)

        events: list[BudgetEvent] = []
        desk.budget.add_listener(fail)
        desk.budget.add_listener(events.append)
        await desk.call("counted", 5)

        assert ([type(event) for event in events], desk.budget.snapshot()[0].in_flight) == ([Admitted], 0)
        assert "A listener of the budget failed" in caplog.text

    async def test_every_refusal(self, clock: FakeClock) -> None:
        """By a limit, a ban and the firewall, with the time for which the gate closes."""
        events: list[BudgetEvent] = []
        budget = budget_by(clock)
        budget.add_listener(events.append)
        async with AsyncExitStack() as stack:
            entered: list[Reservation] = []
            for number in range(3):
                reserved = budget.reserve((Charge(IP, 1),), call=CallInfo("x", ""), max_wait=100 * number)
                entered.append(await stack.enter_async_context(reserved))
                entered[-1].mark_sent()
            for reservation, (status, wait) in zip(entered, ((429, "100"), (418, "200"), (403, "300")), strict=True):
                reservation.settle(feedback(status, {"retry-after": wait}))

        assert events[3:] == [
            Refused(HOST, 429, banned=False, seconds=100.0),
            Refused(HOST, 418, banned=True, seconds=200.0),
            Refused(HOST, 403, banned=False, seconds=60.0),
        ]


class TestSnapshot:
    """The state shown for each pool."""

    async def test_shows_used_reserved_and_waiting(self, desk: Desk) -> None:
        """Weight of the current minute."""
        await desk.call("holder", 894, holds=True)
        await desk.call("order", 200)
        for number in range(2):
            await desk.call(f"poll {number}", 200, priority=Priority.POLL)
        (state,) = desk.budget.snapshot()

        assert (state.pool, state.limit, state.used, state.in_flight, state.cap) == (IP, LIMIT, 900, 894, 990)
        assert (state.reserve, state.external, state.closed) == (94, 0, 0.0)
        assert state.waiting == {Priority.ORDER: 1, Priority.POLL: 2, Priority.BACKGROUND: 0}
        assert repr(desk.budget) == "Budget(IP /papi 900/1000, 1 order waiting, 2 poll waiting, 3 waiting)"

    async def test_shows_a_closed_gate(self, desk: Desk) -> None:
        """With the time until it opens."""
        desk.budget.gate(HOST).close(desk.clock.now + 90, banned=False)

        assert repr(desk.budget) == "Budget(IP /papi 6/1000, closed for 90 s, 0 waiting)"

    async def test_shows_external_usage(self, desk: Desk) -> None:
        """As far as the usage is certainly external."""
        desk.counts[int(MINUTE // 60)] += 40
        await desk.call("hears of it", 1)

        assert desk.budget.snapshot()[0].external == 40
