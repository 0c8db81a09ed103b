"""A budget never overspends, never leaks, and never delays a call that fits, whatever calls do."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from email.utils import formatdate
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from binance_pm.budget import (
    Admitted,
    Budget,
    BudgetEvent,
    Charge,
    LimitType,
    Pool,
    Priority,
    Refused,
    Reservation,
    pool_of,
)
from binance_pm.budget.ledger import MARGIN, MAX_LATENCY
from binance_pm.errors import BudgetExceeded, CallInfo, GateClosed
from tests.support.budget import HOST, IP, feedback
from tests.support.clocks import ManualClock

# Shrinking a failing example takes long.
pytestmark = pytest.mark.timeout(600)

LIMIT = 200
ORDERS_LIMIT = 60
ACCOUNTS = "ab"
BEGINNING = 30_000_000 * 60.0
LONGEST_CALL = 20.0
"""Seconds after which a call is lost."""

HEADERS = {LimitType.IP: "x-mbx-used-weight-1m", LimitType.ORDERS: "x-mbx-order-count-1m"}


def orders_of(account: str) -> Pool:
    """Return the pool of the account's orders."""
    return pool_of("papi", LimitType.ORDERS, origin=HOST, path="", key_id=account)


class Calling:
    """A call, from its request for weight to its end."""

    def __init__(self, reservation: Reservation, max_wait: float, at: float) -> None:
        self.reservation = reservation
        self.deadline = at + max_wait
        self.admitted_at = math.inf
        self.arrived_in: int | None = None
        self.counts: dict[Pool, int] = {}
        """The exchange's counts when the call arrived."""
        self.ended: asyncio.Event = asyncio.Event()
        self.error: BudgetExceeded | GateClosed | None = None
        self.task: asyncio.Task[None] | None = None

    @property
    def is_admitted(self) -> bool:
        """Whether the call holds weight."""
        return self.admitted_at < math.inf

    def __repr__(self) -> str:
        charges = ", ".join(f"{pool.limit_type}{pool.key_id}: {weight}" for pool, _, weight in self.reservation.charges)
        return f"Calling({self.reservation.priority.name}, {charges})"


class BudgetMachine(RuleBasedStateMachine):
    """A budget, the calls that use it, and an exchange that counts arrivals by its own clock."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = ManualClock(1_000.0)
        self.ahead = BEGINNING
        """How far the exchange's clock is ahead of ours."""
        self.events: list[BudgetEvent] = []
        self.budget = Budget()
        self.waiting: list[Calling] = []
        self.holding: list[Calling] = []
        self.straying: list[tuple[float, Calling]] = []
        """Lost calls that still arrive, and when."""
        self.ours: Counter[tuple[Pool, int]] = Counter()
        self.theirs: Counter[int] = Counter()
        self.closed_until = -math.inf
        self.closed_in = -1
        """The exchange's minute of its last refusal."""
        self.asked: list[Calling] = []
        self.refusals = 0

    @initialize(since=st.floats(0, 60), skew=st.floats(-4.5, 4.5), is_known=st.sampled_from([True, True, False]))
    def begin(self, since: float, skew: float, is_known: bool) -> None:
        """Make the first call at any moment of a minute, with a nearly correct wall clock."""
        self.ahead = BEGINNING + since - self.clock.now
        offset = self.ahead + skew
        self.budget = Budget(
            limits={("papi", LimitType.IP): LIMIT, ("papi", LimitType.ORDERS): ORDERS_LIMIT},
            monotonic=self.clock,
            wall=lambda: self.clock.now + offset,
            sleep=self.clock.sleep,
        )
        self.budget.add_listener(self.events.append)
        if is_known:
            for account in ACCOUNTS:
                self.reserve(account, 1, Priority.ORDER, "IP and ORDERS", 0.0, 1, requeued=False)
                self.send()
                self.answer_all()

    @rule(
        account=st.sampled_from(ACCOUNTS),
        weight=st.sampled_from([1, 5, 15, 30, 60, 90, 150, LIMIT - MARGIN, LIMIT]),
        priority=st.sampled_from(Priority),
        pools=st.sampled_from(["IP", "IP", "IP and ORDERS", "ORDERS"]),
        max_wait=st.sampled_from([0.0, 1.0, 30.0, 300.0, 300.0]),
        number=st.integers(1, 8),
        requeued=st.sampled_from([False, False, False, True]),
    )
    def reserve(
        self,
        account: str,
        weight: int,
        priority: Priority,
        pools: Literal["IP", "IP and ORDERS", "ORDERS"],
        max_wait: float,
        number: int,
        requeued: bool,
    ) -> None:
        """Request weight for one or several calls at once."""
        charges = (Charge(IP, weight),) * ("IP" in pools) + (Charge(orders_of(account), 1),) * ("ORDERS" in pools)
        for _ in range(number):
            reservation = self.budget.reserve(
                charges, call=CallInfo("x", account), priority=priority, max_wait=max_wait, requeued=requeued
            )
            calling = Calling(reservation, max_wait, self.clock.now)
            calling.task = self.loop.create_task(self._call(calling))
            self.waiting.append(calling)
            self.asked.append(calling)
        self._settle()

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def cancel_a_waiting_call(self, data: st.DataObject) -> None:
        """Cancel a waiting call."""
        self._cancel(data.draw(st.sampled_from(self.waiting)))

    @precondition(lambda self: self.holding)
    @rule(data=st.data())
    def cancel_an_admitted_call(self, data: st.DataObject) -> None:
        """Cancel a call with weight, before or after it was sent; it may still be counted."""
        calling = data.draw(st.sampled_from(self.holding))
        self._stray(calling, data)
        self._cancel(calling)

    @precondition(lambda self: self.holding and self.waiting)
    @rule(data=st.data())
    def cancel_at_admission(self, data: st.DataObject) -> None:
        """Weight granted to a task that is being cancelled is returned."""
        calling = data.draw(st.sampled_from(self.holding))
        self._stray(calling, data)
        if (sent := calling.reservation.sent_at) is None:
            self.budget.release(calling.reservation)
        else:
            self.budget.settle_unknown(calling.reservation, sent)
        calling.ended.set()
        for waiter in self.waiting:
            if waiter.reservation.is_admitted and data.draw(st.booleans()):
                assert waiter.task is not None
                waiter.task.cancel()
        self._settle()

    @precondition(lambda self: any(not calling.reservation.is_sent for calling in self.holding))
    @rule()
    def mark_sent(self) -> None:
        """Send every call that has its weight, unless the gate was closed."""
        for calling in [calling for calling in self.holding if not calling.reservation.is_sent]:
            try:
                calling.reservation.mark_sent()
            except GateClosed:
                assert self.clock.now < self.closed_until + 1 or self._minute == self.closed_in
                calling.ended.set()
            else:
                assert self.clock.now >= self.closed_until
                assert self._minute > self.closed_in
        self._settle()

    @precondition(lambda self: self.holding)
    @rule()
    def send(self) -> None:
        """Send and count every call that has its weight."""
        self.mark_sent()
        for calling in self._in_transit():
            self._arrive(calling)

    @precondition(lambda self: self._in_transit())
    @rule(data=st.data(), all_of_them=st.booleans())
    def arrive(self, data: st.DataObject, all_of_them: bool) -> None:
        """Count calls at the exchange, in any order."""
        in_transit = self._in_transit()
        for calling in in_transit if all_of_them else [data.draw(st.sampled_from(in_transit))]:
            self._arrive(calling)

    @precondition(lambda self: self._arrived())
    @rule(
        data=st.data(),
        status=st.sampled_from([200, 200, 200, 200, 400, 503, 429, 418]),
        has_header=st.sampled_from([True, True, True, False]),
        has_date=st.sampled_from([True, True, True, False]),
        retry_after=st.sampled_from([None, None, 0, 20, 200]),
    )
    def answer(
        self,
        data: st.DataObject,
        status: int,
        has_header: bool,
        has_date: bool,
        retry_after: int | None,
    ) -> None:
        """Return responses in any order; some are refusals, for any reason."""
        calling = data.draw(st.sampled_from(self._arrived()))
        headers = {HEADERS[pool.limit_type]: str(count) for pool, count in calling.counts.items() if has_header}
        if retry_after is not None:
            headers["retry-after"] = str(retry_after)
        self._answer(calling, status, headers, has_date=has_date)
        if status in {429, 418}:
            ban = (retry_after or 120.0) * (status == 418)
            self.closed_until = max(self.closed_until, self.clock.now + max(retry_after or 0.0, ban))
            # A ban ends at the stated time, and the exchange's bans are longer than a minute.
            self.closed_in = max(self.closed_in, (calling.arrived_in or 0) * (status == 429))
            self.refusals += 1
        self._settle()

    @precondition(lambda self: self._arrived())
    @rule(
        data=st.data(),
        status=st.sampled_from([429, 418]),
        retry_after=st.sampled_from([None, 0, 20, 200]),
        weight=st.sampled_from([1, 5, 15]),
    )
    def refuse_while_calls_are_about_to_be_sent(
        self, data: st.DataObject, status: int, retry_after: int | None, weight: int
    ) -> None:
        """A call admitted before a refusal may not be sent until the gate opens."""
        self.reserve("a", weight, Priority.ORDER, "IP", 0.0, 2, requeued=False)
        self.answer(data, status, has_header=True, has_date=True, retry_after=retry_after)
        self.mark_sent()

    @precondition(lambda self: self._arrived())
    @rule()
    def answer_all(self) -> None:
        """Answer every counted call, in the order of sending."""
        for calling in self._arrived():
            headers = {HEADERS[pool.limit_type]: str(count) for pool, count in calling.counts.items()}
            self._answer(calling, 200, headers, has_date=True)
        self._settle()

    @rule(seconds=st.sampled_from([0.001, 0.05, 0.3, 1.0, 2.5, 7.0, 15.0]))
    def let_time_pass(self, seconds: float) -> None:
        """Let timers expire and slow calls be lost; some of these arrive after all."""
        self._advance(seconds)

    @rule(turns=st.integers(1, 2))
    def let_the_minute_turn(self, turns: int) -> None:
        """Treat every call in flight as lost first."""
        for calling in list(self.holding):
            calling.ended.set()
        self._settle()
        self._advance(60 * (self._minute + turns) - self._exchange_now + 0.01)

    @rule(weight=st.integers(1, 60))
    def external_call(self, weight: int) -> None:
        """Spend weight of another program on the IP."""
        self.theirs[self._minute] += weight

    @rule(latency=st.floats(0, 0.5))
    def observe_time(self, latency: float) -> None:
        """Receive the exchange's time to the millisecond."""
        now = math.floor(self._exchange_now * 1000) / 1000
        self.budget.observe_time(HOST, now, now + 0.001, asked=self.clock.now - latency)
        self._settle()

    @invariant()
    def bound_holds(self) -> None:
        """What the exchange has counted of ours is within the limit, and at most what the budget counts as used."""
        for state in self.budget.snapshot():
            assert self.ours[state.pool, self._minute] <= state.used
            assert self.ours[state.pool, self._minute] <= state.limit - MARGIN

    @invariant()
    def no_weight_leaks(self) -> None:
        """Weight in flight is the weight of admitted calls that have not ended."""
        held: Counter[Pool] = Counter()
        for calling in self.holding:
            held.update({charge.pool: charge.weight for charge in calling.reservation.charges})
        for state in self.budget.snapshot():
            assert state.in_flight == held[state.pool]
        assert self.budget.waiting == len(self.waiting)

    @invariant()
    def no_call_waits_for_free_weight(self) -> None:
        """Another check admits no call, except those whose timer is about to expire."""
        soon = {
            calling.reservation for calling in self.waiting if calling.reservation.looks_at <= self.clock.now + 0.02
        }
        admitted = {calling.reservation for calling in self.holding}
        self.budget._dispatch()
        self._settle()
        assert {calling.reservation for calling in self.holding} - admitted <= soon

    @invariant()
    def no_call_waits_too_long(self) -> None:
        """A waiting call fails when its time is over."""
        assert all(calling.deadline >= self.clock.now - 0.01 for calling in self.waiting)

    @invariant()
    def listeners_are_called(self) -> None:
        """For every admission and every refusal."""
        kinds = Counter(type(event) for event in self.events)
        admitted = sum(calling.reservation.is_admitted for calling in self.asked)
        assert (kinds[Admitted], kinds[Refused]) == (admitted, self.refusals)

    def teardown(self) -> None:
        """When every call has ended, all waiting calls are served, and nothing is left."""
        try:
            self._end()
        finally:
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self._settle()
            self.loop.close()

    def _end(self) -> None:
        for _ in range(1_000):
            for calling in list(self.holding):
                calling.ended.set()
            self._settle()
            if not self.waiting and not self.holding:
                break
            self._advance(min(max(self.clock.next_at() - self.clock.now, 0.0), 60.0))
        assert (self.budget.waiting, self.waiting, self.holding) == (0, [], [])
        assert not self.budget._scheduler.open
        assert {state.in_flight for state in self.budget.snapshot()} <= {0}

    @property
    def _exchange_now(self) -> float:
        return self.clock.now + self.ahead

    @property
    def _minute(self) -> int:
        return math.floor(self._exchange_now / 60)

    async def _call(self, calling: Calling) -> None:
        try:
            async with calling.reservation:
                self.waiting.remove(calling)
                self.holding.append(calling)
                calling.admitted_at = self.clock.now
                await calling.ended.wait()
        except (BudgetExceeded, GateClosed) as error:
            calling.error = error
        finally:
            for place in (self.waiting, self.holding):
                if calling in place:
                    place.remove(calling)

    def _settle(self) -> None:
        self.loop.run_until_complete(_let_tasks_run())

    def _advance(self, seconds: float) -> None:
        until = self.clock.now + seconds
        for _ in range(2_000):
            straying = min((at for at, _ in self.straying), default=math.inf)
            overdue = min((calling.admitted_at + LONGEST_CALL for calling in self.holding), default=math.inf)
            at = max(self.clock.now, min(self.clock.next_at(), straying, overdue))
            if at > until:
                break
            self.clock.now = at
            self._let_happen(at)
        else:
            pytest.fail("tasks wake without end")
        self.clock.now = until

    def _let_happen(self, now: float) -> None:
        for one in [one for one in self.straying if one[0] <= now]:
            self.straying.remove(one)
            self._arrive(one[1])
        for calling in [calling for calling in self.holding if calling.admitted_at + LONGEST_CALL <= now]:
            calling.ended.set()
        self.clock.wake()
        self._settle()

    def _in_transit(self) -> list[Calling]:
        return [one for one in self.holding if one.reservation.is_sent and one.arrived_in is None]

    def _arrived(self) -> list[Calling]:
        return [one for one in self.holding if one.arrived_in is not None]

    def _arrive(self, calling: Calling) -> None:
        calling.arrived_in = self._minute
        for pool, _, weight in calling.reservation.charges:
            self.ours[pool, self._minute] += weight
            calling.counts[pool] = self.ours[pool, self._minute] + self.theirs[self._minute] * (pool == IP)

    def _answer(self, calling: Calling, status: int, headers: dict[str, str], *, has_date: bool) -> None:
        if has_date:
            headers["date"] = formatdate(int(self._exchange_now), usegmt=True)
        calling.reservation.settle(feedback(status, headers, b"{}"))
        calling.ended.set()

    def _cancel(self, calling: Calling) -> None:
        assert calling.task is not None
        calling.task.cancel()
        self._settle()

    def _stray(self, calling: Calling, data: st.DataObject) -> None:
        if calling.reservation.is_sent and calling.arrived_in is None and data.draw(st.booleans()):
            self.straying.append((self.clock.now + data.draw(st.floats(0, MAX_LATENCY - 0.1)), calling))


async def _let_tasks_run() -> None:
    for _ in range(8):
        await asyncio.sleep(0)


def test_a_poll_is_sent_as_soon_as_there_are_tokens() -> None:
    """A call gets no response, and the rest of the minute for the call behind it shrinks."""
    machine = BudgetMachine()
    machine.begin(since=0.0, skew=0.0, is_known=True)
    machine.let_the_minute_turn(turns=1)
    machine.reserve("a", 90, Priority.POLL, "IP", 300.0, 2, requeued=False)
    machine.mark_sent()
    machine.let_the_minute_turn(turns=1)

    machine.no_call_waits_for_free_weight()
    machine.teardown()


TestBudget: Any = BudgetMachine.TestCase
TestBudget.settings = settings(
    # A busy machine is no failure.
    suppress_health_check=[HealthCheck.too_slow],
    max_examples=100,
    stateful_step_count=30,
)
