"""The fleet in virtual time: when accounts are read, which events follow, and that no failure stops the fleet."""

from __future__ import annotations

import asyncio
import math
import re
from collections import Counter
from decimal import Decimal
from itertools import pairwise
from random import Random

import anyio
import httpx
import pytest

from binance_pm import AccountStatus, SessionClosed
from binance_pm.fleet import (
    AccountFailed,
    BudgetTight,
    Change,
    Fleet,
    FleetEvent,
    Fresh,
    HostBlocked,
    HostUnblocked,
    Reading,
    Stale,
    StatusChanged,
    ThresholdCrossed,
)
from tests.simulation import virtual
from tests.support.coverage import unmeasured
from tests.support.echo import (
    START,
    Act,
    Echo,
    Trouble,
    banned,
    collect,
    dead,
    events_of,
    fine,
    hanging,
    refused,
    watched,
)

# Hundreds of accounts for minutes of virtual time take long on a busy machine.
pytestmark = pytest.mark.timeout(300)
PATIENCE = 280


def after(seconds: float) -> Act:
    """Return an action that only waits."""

    async def act(_: Echo, __: Fleet) -> None:
        await asyncio.sleep(seconds)

    return act


def test_the_first_reading_reports_everything_and_the_next_what_changed() -> None:
    """A reading contains the responses of all endpoints; of um_account only the open positions."""

    async def act(echo: Echo, fleet: Fleet) -> None:
        await asyncio.sleep(10)
        echo.uni_mmr[7] = "4.9"
        await asyncio.sleep(10)
        snapshot = fleet.snapshot()[7]
        assert (snapshot.label, snapshot.product, snapshot.reason) == ("account-7", "pm", "")
        assert (snapshot.uni_mmr, snapshot.status, snapshot.error) == (Decimal("4.9"), AccountStatus.NORMAL, "")
        assert (snapshot.is_stale, snapshot.interval, snapshot.max_age) == (False, 15.0, 20.0)
        assert snapshot.age is not None
        assert snapshot.age <= 15.0

    events = watched(act, accounts=8)
    first, second, *_ = [event for event in events_of(Reading, events) if event.label == "account-7"]

    assert first.changed == {
        "uni_mmr": Change(None, Decimal(5)),
        "account_equity": Change(None, Decimal(7)),
        "account_maint_margin": Change(None, Decimal(1)),
        "account_status": Change(None, AccountStatus.NORMAL),
        "unrealized_profit": Change(None, Decimal(7)),
    }
    assert set(first.responses) == {"account", "um_account"}
    assert len(first.responses["um_account"].response.positions) == 1
    assert START <= first.at < START + 15
    assert second.changed == {"uni_mmr": Change(Decimal(5), Decimal("4.9"))}


def test_a_threshold_and_a_status_are_reported_when_they_change() -> None:
    """The first reading changes no status but may be below a threshold, and recovery has its hysteresis."""

    async def act(echo: Echo, fleet: Fleet) -> None:
        for uni_mmr, status in (("1.4", "NORMAL"), ("1.1", "REDUCE_ONLY"), ("1.21", "REDUCE_ONLY"), ("2", "NEW_ONE")):
            echo.uni_mmr[0], echo.status[0] = uni_mmr, status
            await asyncio.sleep(16)
            assert fleet.snapshot()[0].crossed == {"1.4": ("warn",), "2": ()}.get(uni_mmr, ("warn", "alarm"))

    events = watched(act, prepare=lambda echo: echo.uni_mmr.update({0: "1.45"}))

    assert [(event.before, event.after) for event in events_of(StatusChanged, events)] == [
        ("NORMAL", "REDUCE_ONLY"),
        ("REDUCE_ONLY", "NEW_ONE"),
    ]
    assert [(event.name, event.below, event.uni_mmr) for event in events_of(ThresholdCrossed, events)] == [
        ("warn", True, Decimal("1.4")),
        ("alarm", True, Decimal("1.1")),
        ("warn", False, Decimal(2)),
        ("alarm", False, Decimal(2)),
    ]


@pytest.mark.parametrize("trouble", [dead, hanging])
@pytest.mark.parametrize("accounts", [5, 100])
def test_with_a_dead_network_every_account_is_stale_within_its_maximum_age(trouble: Trouble, accounts: int) -> None:
    """Each account is reported once by the promised age, and as fresh when the network is back."""
    max_ages: dict[str, float] = {}
    cut: list[float] = []

    async def act(echo: Echo, fleet: Fleet) -> None:
        await asyncio.sleep(100)
        max_ages.update({snapshot.label: snapshot.max_age for snapshot in fleet.snapshot()})
        assert not any(snapshot.is_stale for snapshot in fleet.snapshot())
        cut.append(echo.wall())
        echo.trouble = trouble
        await asyncio.sleep(100)
        assert all(snapshot.is_stale for snapshot in fleet.snapshot())
        echo.trouble = fine
        await asyncio.sleep(150)
        assert not any(snapshot.is_stale for snapshot in fleet.snapshot())

    with unmeasured():
        events = watched(act, accounts=accounts)

    stale = {event.label: event for event in reversed(events_of(Stale, events))}
    assert len(stale) == accounts
    assert len(events_of(Stale, events)) == len(events_of(Fresh, events))
    # The exchange may have counted hanging calls: the budget is careful afterwards, and some accounts wait again.
    assert trouble is hanging or len(events_of(Stale, events)) == accounts
    for label, event in stale.items():
        # The clock for the times of events is known to a second.
        assert 0 <= event.at - cut[0] <= max_ages[label] * 1.05 + 1.0
        assert event.age == pytest.approx(event.max_age, abs=0.01)
        assert re.match(rf"(account|um_account|account, um_account) \[{label}\]: ", event.reason)
    if trouble is hanging:
        # There are slots for eighty calls: the other accounts wait for one.
        texts = {"response": r"\]: sent \d+\.\d s ago, no response yet", "slot": r"\]: waiting for a free connection"}
        assert {event.waiting.reason for event in stale.values()} == set(texts if accounts == 100 else ["response"])
        assert all(re.search(texts[event.waiting.reason], event.reason) for event in stale.values())
    else:
        assert {event.waiting for event in stale.values()} == {None}


def test_an_account_that_never_gets_a_response_is_stale() -> None:
    """Its age is not known."""
    events = watched(after(30), accounts=3, prepare=lambda echo: setattr(echo, "trouble", hanging))

    assert [(event.label, event.age) for event in events_of(Stale, events)] == [
        (f"account-{n}", None) for n in range(3)
    ]


def test_a_failure_is_reported_once_and_stops_no_other_account() -> None:
    """An account whose key is refused is rarely read; the other accounts are read as before."""

    async def trouble(account: int) -> httpx.Response | None:
        return refused(401, -2015, f"Invalid API-key of {account}") if account == 1 else None

    requests: Counter[int] = Counter()

    async def act(echo: Echo, fleet: Fleet) -> None:
        echo.trouble = trouble
        await asyncio.sleep(600)
        requests.update(account for _, account, path in echo.arrived if path == "/papi/v1/account")
        snapshot = fleet.snapshot()[1]
        assert "Invalid API-key of 1" in snapshot.error
        assert snapshot.is_stale
        # The reading at 420 s was delayed by 480 s.
        assert snapshot.retry_at == pytest.approx(START + 900, abs=10)

    events = watched(act, accounts=3)
    (failed,) = events_of(AccountFailed, events)

    assert (failed.label, failed.error_type) == ("account-1", "AuthenticationError")
    assert failed.error.startswith(("account [account-1]: ", "um_account [account-1]: "))
    assert failed.retry_at == pytest.approx(failed.at + 60, abs=1)
    # At 0, 60, 180 and 420 s.
    assert requests[1] == 4
    assert min(requests[0], requests[2]) >= 40
    assert {event.label for event in events_of(Stale, events)} == {"account-1"}


def test_each_new_failure_is_reported_until_a_good_response() -> None:
    """A repeated failure is not reported, and the same failure after a good response is reported again."""
    codes = iter([-1000, -1000, -1001, -1000, 0, -1000])
    delayed: list[bool] = []

    async def trouble(_: int) -> httpx.Response | None:
        code = next(codes, 0)
        return refused(503, code, "no") if code else None

    async def act(echo: Echo, fleet: Fleet) -> None:
        echo.trouble = trouble
        await asyncio.sleep(200)
        delayed.append(fleet.snapshot()[0].retry_at is not None)
        assert fleet.snapshot()[0].error == ""

    failed = events_of(AccountFailed, watched(act, fleet_of=lambda echo: echo.fleet(1, read=("account",), attempts=1)))

    assert [event.error_type for event in failed] == ["OutcomeUnknown", "NotDone", "OutcomeUnknown", "OutcomeUnknown"]
    assert all(event.retry_at is not None and event.retry_at > event.at for event in failed)
    assert delayed == [False]


def test_a_request_that_is_rejected_once_is_repeated_at_the_usual_interval() -> None:
    """Only a second rejection delays the next reading, as a refused key does."""
    delayed: list[bool] = []

    async def act(echo: Echo, fleet: Fleet) -> None:
        rejections = 0

        async def trouble(_: int) -> httpx.Response | None:
            nonlocal rejections
            rejections -= 1
            return refused(400, -1102, "odd") if rejections >= 0 else None

        echo.trouble = trouble
        for times in (1, 2):
            rejections = times
            await asyncio.sleep(40)
            delayed.append(fleet.snapshot()[0].retry_at is not None)

    watched(act, read=("account",))

    assert delayed == [False, True]


def test_a_closed_gate_is_reported_until_it_opens() -> None:
    """Nothing is sent meanwhile, and afterwards all accounts are read again."""
    closed: list[float] = []

    async def act(echo: Echo, fleet: Fleet) -> None:
        await asyncio.sleep(20)

        async def trouble(account: int) -> httpx.Response | None:
            echo.trouble = fine
            closed.append(echo.clock())
            return await banned(account)

        echo.trouble = trouble
        await asyncio.sleep(200)
        assert [at for at, _, _ in echo.arrived if closed[0] + 1 < at < closed[0] + 119] == []
        assert not any(snapshot.is_stale for snapshot in fleet.snapshot())

    events = watched(act, accounts=10)
    (blocked,), (unblocked,) = events_of(HostBlocked, events), events_of(HostUnblocked, events)

    assert (blocked.origin, blocked.banned) == ("https://papi.binance.com", True)
    assert blocked.until - blocked.at == pytest.approx(120, abs=3)
    assert unblocked.at == pytest.approx(blocked.until, abs=2)
    for event in events_of(Stale, events):
        assert event.reason == f"the gate of papi.binance.com is closed for {math.ceil(event.waiting.seconds)} s"
        assert event.waiting.seconds == pytest.approx(blocked.until - event.at, abs=0.1)


def test_a_tight_budget_is_reported() -> None:
    """Two hundred accounts need more than the limit; ten do not."""
    tight = events_of(BudgetTight, watched(after(10), accounts=200))

    assert events_of(BudgetTight, watched(after(10), accounts=10)) == []
    assert [(event.pool, event.is_tight) for event in tight] == [("IP /papi", True)]
    assert tight[0].wanted == pytest.approx(200 * 25 * 4)
    assert tight[0].available == pytest.approx(0.9 * 5_510)
    assert tight[0].interval == pytest.approx(200 * 25 / (0.9 * 5_510) * 60)


def test_external_usage_of_the_whole_limit_is_reported() -> None:
    """Intervals are stretched up to a maximum: unread accounts then become stale, and the budget is tight."""
    stale: list[int] = []

    async def act(echo: Echo, fleet: Fleet) -> None:
        await asyncio.sleep(60)
        calm = {snapshot.label: snapshot.max_age for snapshot in fleet.snapshot()}
        for _ in range(90):
            await echo.use(400, seconds=1)
            snapshots = fleet.snapshot()
            assert all(snapshot.max_age <= 4 * calm[snapshot.label] for snapshot in snapshots)
            assert all(snapshot.is_stale for snapshot in snapshots if (snapshot.age or 0) > snapshot.max_age)
            stale.append(sum(snapshot.is_stale for snapshot in snapshots))

    events = watched(act, accounts=12)

    assert max(stale) == 12
    assert {event.waiting.reason for event in events_of(Stale, events)} <= {"minute", "reserve", "pace"}
    named = [event.reason for event in events_of(Stale, events) if event.waiting.external]
    assert named
    assert all(
        re.search(r"waiting for weight: other programs used [\d,]+ of 6,000 of /papi", reason) for reason in named
    )
    assert [event.is_tight for event in events_of(BudgetTight, events)] == [True]


def test_a_slow_consumer_misses_no_state_and_no_change() -> None:
    """The consumer gets all state events in order, and of readings the newest with all changes since."""

    async def main() -> tuple[list[FleetEvent], int]:
        echo = Echo(asyncio.get_running_loop().time)
        events: list[FleetEvent] = []

        async def move() -> None:
            for step in range(10_000):
                for account in range(20):
                    echo.status[account] = ("NORMAL", "MARGIN_CALL", "REDUCE_ONLY")[step % 3]
                    echo.uni_mmr[account] = str(5 + step)
                await asyncio.sleep(7)

        async with echo.fleet(20) as fleet, asyncio.TaskGroup() as tasks:
            moving = tasks.create_task(move())
            watch = fleet.watch()
            await asyncio.sleep(1_500)
            behind = len(echo.arrived)
            await asyncio.sleep(1_500)
            # So many events wait that readings were paused, which is reported, too.
            assert len(echo.arrived) == behind
            assert {snapshot.reason for snapshot in fleet.snapshot()} == {"the events are not consumed"}
            with anyio.move_on_after(30):
                await collect(watch, events)
            moving.cancel()
        return events, behind

    with unmeasured():
        events, behind = virtual.run(main, patience=PATIENCE)

    for number in range(20):
        own = [event for event in events if getattr(event, "label", "") == f"account-{number}"]
        assert all(one.after == other.before for one, other in pairwise(events_of(StatusChanged, own)))
        known: dict[str, object] = {}
        for reading in events_of(Reading, own):
            assert {name: change.before for name, change in reading.changed.items()} == {
                name: known.get(name) for name in reading.changed
            }
            assert all(change.before != change.after for change in reading.changed.values())
            known |= {name: change.after for name, change in reading.changed.items()}
        assert len(events_of(Stale, own)) == 1
    # One reading waited for each account, and others were made while events were taken.
    assert len(events_of(Reading, events)) <= 20 * 4 < behind / 10
    assert len(events_of(StatusChanged, events)) >= 900


@pytest.mark.parametrize("seed", range(40))
def test_cancelling_at_any_moment_ends_everything_within_a_second(seed: int) -> None:
    """While the fleet opens, reads, waits or closes: no task and no call is left."""
    random = Random(seed)

    async def trouble(_: int) -> httpx.Response | None:
        await asyncio.sleep(random.choice((0, 0, 0.3, 5, 1e6)))
        return refused(503, -1000, "no") if random.random() < 0.3 else None

    async def main() -> None:
        loop = asyncio.get_running_loop()
        echo = Echo(loop.time)
        echo.trouble = trouble
        fleet = echo.fleet(40)
        before = asyncio.all_tasks()

        async def program() -> None:
            async with fleet:
                async for _ in fleet.watch(warn="1.5"):
                    await asyncio.sleep(random.choice((0, 0, 0.1)))

        task = asyncio.create_task(program())
        if seed % 4:
            await asyncio.sleep(random.uniform(0, 100))
        else:
            for _ in range(random.randrange(60)):
                await asyncio.sleep(0)
        began = loop.time()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert loop.time() - began < 1.0
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == before
        seen = len(echo.arrived)
        await asyncio.sleep(100)
        assert len(echo.arrived) == seen
        with pytest.raises(SessionClosed):
            fleet.snapshot()

    virtual.run(main, patience=PATIENCE)


def test_an_exception_of_the_caller_is_not_wrapped() -> None:
    """An exception of the caller's block closes the fleet and is raised as it is."""

    async def program() -> None:
        async with Echo(asyncio.get_running_loop().time).fleet(3) as fleet:
            async for _ in fleet.watch():
                raise KeyError

    async def main() -> None:
        with pytest.raises(KeyError):
            await program()

    virtual.run(main, patience=PATIENCE)


def test_a_later_watch_ends_the_previous_one() -> None:
    """The consumer of the first watch gets no more events, and its loop ends."""

    async def main() -> None:
        async with Echo(asyncio.get_running_loop().time).fleet(3) as fleet:
            assert (repr(fleet), fleet.snapshot()) == ("Fleet(open, 3 accounts)", [])
            first = fleet.watch()
            await anext(first)
            second = fleet.watch()
            assert [event async for event in first] == []
            assert isinstance(await anext(second), Reading)

    virtual.run(main, patience=PATIENCE)


def test_two_consumers_may_share_one_watch() -> None:
    """Each event goes to one of them, and closing the fleet ends both."""

    async def main() -> int:
        echo = Echo(asyncio.get_running_loop().time)
        taken: list[FleetEvent] = []
        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks, echo.fleet(3) as fleet:
            events = fleet.watch()
            for _ in range(2):
                tasks.create_task(collect(events, taken))
            await asyncio.sleep(20)
        return len(taken)

    assert virtual.run(main, patience=PATIENCE) == 6
