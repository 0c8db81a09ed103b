"""A budget that several processes share: what they report to the store, and what they do without it."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from binance_pm.budget import BudgetEvent, Charge, LimitType, Pool, Priority, Refused, Reservation, pool_of
from binance_pm.budget.bans import write_ban
from binance_pm.budget.ledger import Ledger
from binance_pm.budget.shared import SharedBudget
from binance_pm.budget.shared.leased_pool import LeasedPool
from binance_pm.budget.shared.messages import (
    Answered,
    Demand,
    Event,
    OfflineUsage,
    PoolReply,
    Returned,
    StoreMessage,
    StoreReply,
)
from binance_pm.endpoint import ENDPOINTS
from binance_pm.errors import BudgetExceeded, CallInfo, ConfigurationError, GateClosed
from binance_pm.limits import Feedback
from tests.simulation.store import most_used
from tests.support.budget import HOST, PAPI, feedback
from tests.support.clocks import ManualClock, settled
from tests.support.memory_store import MemoryStore

CALL = CallInfo("account", "desk")
# The store's clock is independent of ours.
AHEAD = 5e5
MINUTE_BEGINS = 30_000_000 * 60.0


class Process:
    """A process of a shared budget, whose messages are exchanged when a test says so."""

    def __init__(
        self,
        store: MemoryStore,
        clock: ManualClock,
        *,
        limit: int = 110,
        orders: int = 1200,
        bans: Path | None = None,
    ) -> None:
        self.store = store
        self.messages: Final[list[StoreMessage]] = []
        self._clock: Final = clock
        self.budget: Final = SharedBudget(
            "redis://unused",
            worker=self,
            limits={("papi", LimitType.IP): limit, ("papi", LimitType.ORDERS): orders},
            processes=2,
            bans=bans,
            monotonic=clock,
            wall=clock,
            sleep=clock.sleep,
        )

    def wake(self) -> None:
        """Do nothing: messages are exchanged by the test."""

    def restart(self) -> None:
        """Do nothing: no test forks."""

    def close(self, leave_message: StoreMessage | None = None) -> None:
        """Do nothing: no connection is open."""
        del leave_message

    @property
    def is_due(self) -> bool:
        """Whether a message to the store is due."""
        return self.budget.due() <= self._clock.now

    def send(self) -> StoreReply:
        """Send the next message to the store, without receiving the reply."""
        self.messages.append(self.budget.message())
        return self.store.exchange(self.messages[-1], self._clock.now + AHEAD)

    async def exchange(self) -> None:
        """Exchange messages and replies as long as any are due."""
        for _ in range(10):
            if not self.is_due:
                return
            self.budget.reply_received(self.send())
            await settled()

    def lose(self) -> None:
        """Treat the store as lost at once."""
        for _ in range(2):
            self.budget.message()
            self.budget.no_reply_received("gone")

    def events(self) -> list[Event]:
        """What the last message reported of the pool of the IP."""
        return [event for pool in self.messages[-1].pools if "|IP|" in pool.pool for event in pool.events]

    def demands(self) -> list[Demand]:
        """What the last message demanded of the pool of the IP."""
        return [demand for pool in self.messages[-1].pools if "|IP|" in pool.pool for demand in pool.demands]

    @property
    def used(self) -> int:
        """What the process shows as used."""
        return next(state.used for state in self.budget.snapshot() if state.pool == PAPI)


@pytest.fixture
def store() -> MemoryStore:
    """An empty store."""
    return MemoryStore()


@pytest.fixture
def one(store: MemoryStore, manual_clock: ManualClock) -> Process:
    """A process, ten seconds into a minute."""
    manual_clock.now = MINUTE_BEGINS + 10
    return Process(store, manual_clock)


@pytest.fixture
def other(store: MemoryStore, manual_clock: ManualClock) -> Process:
    """A second process."""
    return Process(store, manual_clock)


async def call(
    process: Process,
    weight: int,
    used: int | None = None,
    *,
    response: Feedback | None = None,
    max_wait: float = 60.0,
    priority: Priority = Priority.ORDER,
    charges: tuple[Charge, ...] = (),
) -> None:
    """Make one whole call, which is lost if the response is None."""
    wanted = charges or (Charge(PAPI, weight),)
    async with process.budget.reserve(wanted, call=CALL, priority=priority, max_wait=max_wait) as reservation:
        reservation.mark_sent()
        if response or used is not None:
            reservation.settle(response or answer(used))


def answer(used: int | None = None, *, status: int = 200, **headers: str) -> Feedback:
    """Return a response of the exchange without its clock."""
    sent = {name.replace("_", "-"): text for name, text in headers.items()}
    if used is not None:
        sent["x-mbx-used-weight-1m"] = str(used)
    return feedback(status, sent, b"{}")


def know_the_time(*processes: Process) -> None:
    """Set the clock of the exchange to ours in all the processes."""
    for process in processes:
        now = process.budget.monotonic()
        process.budget.observe_time(HOST, now, now, asked=now)


async def started(process: Process, weight: int, used: int | None = None, **options: Any) -> asyncio.Future[None]:
    """Start a call, which waits if it has to."""
    task = asyncio.ensure_future(call(process, weight, used, **options))
    await settled()
    return task


async def cancelled(task: asyncio.Future[None]) -> None:
    """Cancel a call, and let the call end."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def admitted(process: Process, weight: int) -> Reservation:
    """Return a reservation whose weight the store has granted."""
    reservation = process.budget.reserve((Charge(PAPI, weight),), call=CALL, priority=Priority.ORDER, max_wait=60)
    entering = asyncio.ensure_future(reservation.acquire())
    await settled()
    await process.exchange()
    await entering
    return reservation


async def granted_and_unused(process: Process, weight: int, priority: Priority = Priority.ORDER) -> None:
    """Cancel a call after the store has granted its weight and before the reply arrives."""
    task = await started(process, weight, None, priority=priority)
    reply = process.send()
    await cancelled(task)
    process.budget.reply_received(reply)


async def done(process: Process, weight: int, used: int | None = None, **options: Any) -> None:
    """Make a call and report it to the store."""
    task = await started(process, weight, used, **options)
    await process.exchange()
    await task
    process._clock.now += 0.02
    await process.exchange()


async def test_a_call_waits_until_the_store_grants_its_weight(one: Process) -> None:
    """The store gets a moment, whatever max_wait is, and receives the outcome."""
    know_the_time(one)
    task = await started(one, 20, 20, max_wait=0)
    assert (task.done(), one.is_due) == (False, True)

    await one.exchange()
    assert (task.done(), one.demands()) == (True, [Demand(Priority.ORDER, 20, 1)])
    one._clock.now += 0.02
    await one.exchange()

    assert [type(event) for event in one.events()] == [Answered]
    assert (most_used(one.store, PAPI, one._clock.now + AHEAD), one.used) == (20, 20)


async def test_waiting_calls_are_demanded_together(store: MemoryStore, manual_clock: ManualClock) -> None:
    """One message for many calls."""
    one = Process(store, manual_clock, limit=6000)
    know_the_time(one)
    await done(one, 1, 1)
    await manual_clock.advance(2)
    tasks = [await started(one, 5, 5) for _ in range(3)]
    reply = one.send()

    assert one.demands() == [Demand(Priority.ORDER, 5, 3)]
    one.budget.reply_received(reply)
    await settled()
    assert all(task.done() for task in tasks)


async def test_two_processes_use_the_limit_and_no_more(one: Process, other: Process) -> None:
    """Weight used by one is not free for the other, which fails at once with the time when it will be."""
    know_the_time(one, other)
    await done(one, 60, 60)

    task = await started(other, 60, 120, max_wait=5)
    await other.exchange()

    with pytest.raises(BudgetExceeded) as caught:
        await task
    assert caught.value.wait == pytest.approx(50, abs=1)
    assert (other.used, other.budget.processes) == (60, 2)


@pytest.mark.parametrize("is_first", [True, False])
async def test_the_smaller_of_two_limits_holds_for_all(
    one: Process,
    store: MemoryStore,
    manual_clock: ManualClock,
    caplog: pytest.LogCaptureFixture,
    is_first: bool,
) -> None:
    """In either order of start: the process with the larger limit logs this once, and refuses too heavy calls."""
    smaller = Process(store, manual_clock, limit=60)
    know_the_time(one, smaller)
    for process in (smaller, one) if is_first else (one, smaller, one):
        await done(process, 1, 1)

    with pytest.raises(BudgetExceeded):
        await call(one, 60, 61)
    with caplog.at_level(logging.WARNING):
        await done(one, 1, 2)

    assert [state.limit for state in one.budget.snapshot() if state.pool == PAPI] == [60]
    assert caplog.text.count("was given a limit of 60 for IP /papi, this one 110") == 1


async def test_the_smaller_limit_holds_without_the_store(
    one: Process, store: MemoryStore, manual_clock: ManualClock
) -> None:
    """A limit received while the store was back also bounds what a process does alone."""
    smaller = Process(store, manual_clock, limit=60)
    know_the_time(one, smaller)
    await done(smaller, 1, 1)
    one.lose()
    await call(one, 1, 2)
    assert [state.limit for state in one.budget.snapshot() if state.pool == PAPI] == [110]

    await manual_clock.advance(2)
    await one.exchange()
    one.lose()

    assert [state.limit for state in one.budget.snapshot() if state.pool == PAPI] == [60]


async def test_a_smaller_limit_holds_at_once_while_a_process_is_alone() -> None:
    """Even before the process has reported everything and uses the store again."""
    share = LeasedPool(
        110, minute=60.0, expected=1, stays_counted=True, store_clock=lambda: (0.0, 0.0), wake=lambda: None
    )
    bounds = MINUTE_BEGINS, MINUTE_BEGINS
    share.enter_fallback(bounds)
    reply = PoolReply((), 0.0, False, (), 1, 0, 0, 50.0, 0, 40.0, 0, 60)  # noqa: FBT003 - as the store tells it

    share.reply_received(reply, bounds, asked=0.0, now=0.0)

    assert share.cap(0.0) == Ledger(60).cap(0.0) < Ledger(110).cap(0.0)


async def test_a_plan_uses_an_equal_part_for_each_process(one: Process, other: Process) -> None:
    """As many parts as the store knows processes."""
    endpoint = ENDPOINTS["um_account"]
    know_the_time(one, other)
    await done(one, 1, 1)
    alone = one.budget.plan(1, 60.0, [endpoint]).pools[0].available
    await done(other, 1, 2)
    one._clock.now += 2
    await done(one, 1, 3)

    assert (one.budget.processes, other.budget.processes) == (2, 2)
    assert one.budget.plan(1, 60.0, [endpoint]).pools[0].available == pytest.approx(alone / 2, rel=0.1)


async def test_unused_weight_is_returned(one: Process) -> None:
    """A call cancelled at its admission leaves weight unused for less than a second."""
    await granted_and_unused(one, 60)
    assert one.used == 60

    for _ in range(2):
        one._clock.now += 0.35
        await one.exchange()

    assert (one.events(), one.used) == ([Returned(60, Priority.ORDER)], 0)


@pytest.mark.parametrize("priority", [Priority.ORDER, Priority.POLL])
async def test_unused_weight_serves_the_next_order(one: Process, priority: Priority) -> None:
    """No new message to the store is needed, even if the weight was granted for a poll."""
    await granted_and_unused(one, 60, priority)
    (await admitted(one, 60)).release()

    await call(one, 60, 60, max_wait=0)

    assert len(one.messages) == 1


async def test_times_are_reported_on_the_safe_side(one: Process) -> None:
    """By the store's clock: the earliest time of sending, and the latest of the response."""
    task = await started(one, 20, 20)
    reply = one.send()
    one._clock.now += 0.03
    one.budget.reply_received(reply)
    await task
    left = one._clock.now
    one._clock.now += 0.02
    one.send()

    event = one.events()[0]
    assert isinstance(event, Answered)
    assert event.sent <= left + AHEAD - 0.03 <= left + AHEAD <= event.now
    assert event.now - event.sent < 0.06


async def test_without_a_reply_the_message_is_repeated(one: Process) -> None:
    """Its number is the same, so the store counts it once; weight granted by the lost reply is freed."""
    know_the_time(one)
    await done(one, 20, 20)
    task = await started(one, 30, 50)
    await one.exchange()
    await task
    waiting = await started(one, 10, 60)
    one._clock.now += 0.02
    one.send()
    first, events = one.messages[-1], one.events()
    one.budget.no_reply_received("no reply")
    await cancelled(waiting)
    await one.exchange()

    assert (one.messages[-1].number, one.events()) == (first.number, events)
    assert (one.budget.is_store_lost, one.used) == (False, 50)


async def test_continues_at_once_without_the_store(
    one: Process, other: Process, caplog: pytest.LogCaptureFixture
) -> None:
    """Each of two processes uses half of what was left; the loss is logged once."""
    know_the_time(one, other)
    await done(other, 10, 10)
    await done(one, 10, 20)
    with caplog.at_level(logging.WARNING, "binance_pm"):
        one.lose()
        one.lose()

    await call(one, 30, 50, max_wait=0)
    with pytest.raises(BudgetExceeded):
        await call(one, 15, 65, max_wait=0)

    assert one.budget.is_store_lost
    assert repr(one.budget) == "SharedBudget(IP /papi 50/110, 0 waiting, the store lost, one of 2)"
    assert caplog.text.count("is lost (gone): this process continues with its part of the limits, one of 2") == 1


async def test_usage_without_the_store_is_reported_later(one: Process, caplog: pytest.LogCaptureFixture) -> None:
    """One sum per minute, however many calls there were; afterwards the store is asked again."""
    know_the_time(one)
    await done(one, 10, 10)
    one.lose()
    for used in (15, 20, 25):
        await call(one, 5, used, max_wait=0)
    one._clock.now += 1
    with caplog.at_level(logging.WARNING, "binance_pm"):
        await one.exchange()

    minute = int(MINUTE_BEGINS // 60)
    assert OfflineUsage(minute, 25, 15) in [event for it in one.messages for pool in it.pools for event in pool.events]
    assert (one.budget.is_store_lost, one.used) == (False, 25)
    assert caplog.text.count("is back") == 1
    assert repr(one.budget) == "SharedBudget(IP /papi 25/110, 0 waiting, shared by 1)"


def order_pools(number: int) -> list[Pool]:
    """Return the order pools of so many accounts."""
    return [pool_of("papi", LimitType.ORDERS, origin=HOST, path="", key_id=f"{account}") for account in range(number)]


async def test_many_pools_are_reported_in_several_messages(store: MemoryStore, manual_clock: ManualClock) -> None:
    """The store is back once it has all pools, although each message takes a while."""
    manual_clock.now = MINUTE_BEGINS + 10
    one = Process(store, manual_clock, limit=6000)
    know_the_time(one)
    await done(one, 1, 1)
    one.lose()
    for pool in order_pools(250):
        await call(one, 1, 1, max_wait=0, charges=(Charge(pool, 1),))
    one.budget.reply_received(one.send())
    one.send()
    one.budget.no_reply_received("gone")
    manual_clock.now += 1
    sizes: list[int] = []
    while one.budget.is_store_lost and len(sizes) < 10:
        reply = one.send()
        sizes.append(len(reply.pools))
        manual_clock.now += 0.06
        one.budget.reply_received(reply)
    # The first message repeats the one that was lost.
    assert sizes == [100, 100, 100, 51]

    manual_clock.now += 0.02
    await one.exchange()
    ledgers = [store.pools["|".join(pool)].ledger for pool in order_pools(250)]
    assert [sum(ledger._own.values()) for ledger in ledgers] == [1] * 250


async def test_the_last_message_names_pools_in_use(one: Process, manual_clock: ManualClock) -> None:
    """Pools that the process has not used for long are left out."""
    know_the_time(one)
    old, new = order_pools(2)
    await done(one, 1, 1, charges=(Charge(old, 1),))
    await manual_clock.advance(10)
    await done(one, 1, 1, charges=(Charge(new, 1),))

    assert [pool.pool for pool in one.budget.leave_message().pools] == ["|".join(new)]


async def test_an_overdue_reply_is_not_waited_for(one: Process, manual_clock: ManualClock) -> None:
    """Even if the worker is stuck; weight granted by a late reply is returned."""
    task = await started(one, 20, 20)
    reply = one.send()
    await manual_clock.advance(0.45)
    assert (task.done(), one.budget.is_store_lost) == (True, True)

    one.budget.reply_received(reply)
    await manual_clock.advance(1)
    await one.exchange()

    assert (one.budget.is_store_lost, one.used) == (False, 20)


@pytest.mark.parametrize("is_repeat", [True, False])
async def test_a_message_that_is_never_sent_is_not_waited_for(
    one: Process,
    manual_clock: ManualClock,
    is_repeat: bool,
) -> None:
    """The worker may have ended, before the message or after a lost reply."""
    task = await started(one, 20, 20)
    if is_repeat:
        one.send()
        one.budget.no_reply_received("no reply")
    await manual_clock.advance(0.35)
    before = task.done()
    await manual_clock.advance(0.1)

    assert (before, task.done(), one.budget.is_store_lost) == (False, True, True)


async def test_a_slow_store_counts_as_lost(one: Process, manual_clock: ManualClock) -> None:
    """After three slow replies in a row; a prompt reply ends the loss."""
    for _ in range(3):
        assert not one.budget.is_store_lost
        await manual_clock.advance(1)
        reply = one.send()
        await manual_clock.advance(0.1)
        one.budget.reply_received(reply)
    assert one.budget.is_store_lost

    await call(one, 20, 20, max_wait=0)
    await manual_clock.advance(1)
    await one.exchange()

    assert not one.budget.is_store_lost


async def test_a_reply_of_another_version_counts_as_a_loss(one: Process) -> None:
    """An unexpected reply is not interpreted."""
    task = await started(one, 20, 20)
    reply = one.send()
    one.budget.reply_received(
        msgspec.structs.replace(reply, pools=(msgspec.structs.replace(reply.pools[0], granted=()),))
    )
    one.budget.message()
    one.budget.reply_received(StoreReply(0.0, (), ()))
    await settled()

    assert (one.budget.is_store_lost, task.done()) == (True, True)


async def test_a_store_that_lost_its_memory_receives_what_is_held(one: Process, manual_clock: ManualClock) -> None:
    """Weight in flight is counted at once, and the rest with the next response."""
    know_the_time(one)
    await done(one, 30, 30)
    reservation = await admitted(one, 20)
    one.store = MemoryStore()
    await manual_clock.advance(1)
    await one.exchange()
    assert one.used == 20

    reservation.mark_sent()
    reservation.settle(answer(50))
    await manual_clock.advance(0.02)
    await one.exchange()

    assert one.used == 50


async def test_a_call_too_heavy_for_a_part_waits_for_the_store(one: Process, other: Process) -> None:
    """Other calls do not wait behind it."""
    know_the_time(one, other)
    await done(other, 1, 1)
    await done(one, 1, 2)
    one.lose()
    heavy = await started(one, 70, 82)

    order = Charge(PAPI, 10), Charge(pool_of("papi", LimitType.ORDERS, origin=HOST, path="", key_id="a"), 1)
    await call(one, 10, 12, max_wait=0, charges=order)

    assert not heavy.done()
    await cancelled(heavy)


@pytest.mark.parametrize(
    ("status", "body"), [(418, b""), (200, b'{"msg":"IP banned until 1800000300000.","code":-1003}')]
)
async def test_a_refusal_closes_the_gate_of_all_processes(
    one: Process, other: Process, caplog: pytest.LogCaptureFixture, status: int, body: bytes
) -> None:
    """A new process asks before its first call, and logs the refusal once."""
    events: list[BudgetEvent] = []
    other.budget.add_listener(events.append)
    know_the_time(one, other)
    await done(one, 1, 1)
    await started(one, 1, response=feedback(status, {"retry-after": "300"}, body))
    one._clock.now += 0.5
    await one.exchange()

    task = await started(other, 1, 1)
    with caplog.at_level(logging.WARNING, "binance_pm"):
        await other.exchange()
    other.budget.reply_received(other.send())

    with pytest.raises(GateClosed):
        await task
    assert other.budget.gate(HOST).wait(other._clock.now) == pytest.approx(300, abs=1)
    assert caplog.text.count(f"{HOST} refused another process: nothing is sent to it for 300.0 s") == 1
    (event,) = events
    assert isinstance(event, Refused)
    assert (event.origin, event.status, event.banned, round(event.seconds)) == (HOST, None, True, 300)


async def test_a_closed_gate_is_reported_until_the_store_has_it(one: Process) -> None:
    """A lost message is repeated."""
    know_the_time(one)
    await done(one, 1, 1)
    task = await started(one, 1, response=answer(status=429, retry_after="30"))
    one.budget.reply_received(one.send())
    await task
    assert one.is_due
    one.budget.message()
    one.budget.no_reply_received("no reply")
    await one.exchange()

    assert [host.closed for it in one.messages for host in it.origins if host.closed] == [pytest.approx(50, abs=1)]


async def test_a_store_that_lost_a_ban_receives_it_again(one: Process, manual_clock: ManualClock) -> None:
    """A process that starts afterwards sends nothing."""
    know_the_time(one)
    await done(one, 1, 1)
    await done(one, 1, response=answer(status=418, retry_after="3000"))
    one.store = MemoryStore()
    await manual_clock.advance(1)
    await one.exchange()

    other = Process(one.store, manual_clock)
    task = await started(other, 1, 1)
    await other.exchange()

    with pytest.raises(GateClosed):
        await task
    assert sum(host.closed > 0 for message in one.messages for host in message.origins) == 2


async def test_a_ban_from_the_file_is_reported(
    store: MemoryStore, other: Process, manual_clock: ManualClock, tmp_path: Path
) -> None:
    """A process reads the ban from its file and reports the ban to the others."""
    manual_clock.now = MINUTE_BEGINS + 10
    bans = tmp_path / "bans.json"
    write_ban(bans, f"{HOST} by default", manual_clock.now + 300, now=manual_clock.now)
    one = Process(store, manual_clock, bans=bans)
    with pytest.raises(GateClosed):
        await call(one, 1, 1)
    await one.exchange()

    task = await started(other, 1, 1)
    await other.exchange()

    with pytest.raises(GateClosed):
        await task


async def test_a_new_process_receives_the_exchanges_clock(one: Process, other: Process) -> None:
    """Its own wall clock may be wrong."""
    know_the_time(one)
    await done(one, 1, 1)

    await done(other, 1, 2)

    earliest, latest = other.budget.clock(HOST).bounds()
    assert earliest <= other._clock.now <= latest
    assert latest - earliest < 0.5


async def test_weight_is_demanded_only_after_the_other_pools_have_room(
    store: MemoryStore, manual_clock: ManualClock
) -> None:
    """An order without room in its account's pool leaves the weight of the IP to other calls."""
    manual_clock.now = MINUTE_BEGINS + 10
    one = Process(store, manual_clock, orders=12)
    know_the_time(one)
    orders = pool_of("papi", LimitType.ORDERS, origin=HOST, path="", key_id="a")
    charges = (Charge(PAPI, 1), Charge(orders, 1))
    for number in (1, 2):
        await done(one, 1, number, charges=charges)
    waiting = await started(one, 1, 3, charges=charges)
    await one.exchange()
    await manual_clock.advance(0.4)
    await one.exchange()
    await manual_clock.advance(1)
    await one.exchange()

    assert (waiting.done(), one.budget.waiting, one.used) == (False, 1, 2)
    await cancelled(waiting)


async def test_the_store_reports_the_rise_of_the_count(one: Process, caplog: pytest.LogCaptureFixture) -> None:
    """All processes together notice a wrong declared weight."""
    know_the_time(one)
    with caplog.at_level(logging.WARNING, "binance_pm"):
        for used in (3, 6):
            await done(one, 5, used)

    assert "account weighs 3 in IP /papi, not 5." in caplog.text


async def test_steady_use_is_granted_in_advance(store: MemoryStore, manual_clock: ManualClock) -> None:
    """A process that calls all the time seldom waits for the store."""
    manual_clock.now = MINUTE_BEGINS + 10
    one = Process(store, manual_clock, limit=6000)
    know_the_time(one)
    for number in range(40):
        await done(one, 1, number + 1, priority=Priority.POLL)
        await manual_clock.advance(0.05)
        await one.exchange()

    assert (await started(one, 1, 41, priority=Priority.POLL)).done()


async def test_weight_that_may_have_expired_is_not_used(one: Process, manual_clock: ManualClock) -> None:
    """A process suspended for longer than its lease asks again."""
    await granted_and_unused(one, 20)
    await manual_clock.advance(60)

    late = await started(one, 20, 20)
    assert not late.done()
    await one.exchange()

    assert late.done()


async def test_a_suspended_process_does_not_send(one: Process, manual_clock: ManualClock) -> None:
    """The store has granted the weight of its admitted calls to other processes."""
    know_the_time(one)
    await done(one, 1, 1)
    reservation = await admitted(one, 20)
    manual_clock.now += 30

    with pytest.raises(BudgetExceeded):
        reservation.mark_sent()
    reservation.release()
    assert one.budget.snapshot()[0].waiting[Priority.ORDER] == 0


@pytest.mark.parametrize("options", [{"processes": 0}, {"name": ""}])
def test_an_invalid_argument_is_refused(options: dict[str, int | str]) -> None:
    """Before anything is sent."""
    with pytest.raises(ConfigurationError):
        SharedBudget("redis://localhost", **options)  # type: ignore[arg-type] - wrong on purpose


async def test_a_store_whose_clock_steps_back_forgets_ended_processes(
    store: MemoryStore, manual_clock: ManualClock
) -> None:
    """Weight of an ended process is not held for as long as the step."""
    manual_clock.now = MINUTE_BEGINS + 10
    dies, lives = Process(store, manual_clock), Process(store, manual_clock)
    know_the_time(dies, lives)
    holding = await started(dies, 98, None, max_wait=600)
    store.exchange(dies.budget.message(), manual_clock.now + AHEAD + 600)

    task = await started(lives, 5, 6, max_wait=300)
    for _ in range(12):
        await lives.exchange()
        await manual_clock.advance(10)

    assert task.done()
    await cancelled(holding)
