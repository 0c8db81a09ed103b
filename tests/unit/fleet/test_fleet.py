"""The fleet in virtual time: when accounts are read, which events follow, and that no failure stops the fleet."""

from __future__ import annotations

import asyncio
import math
import re
from collections import Counter
from collections.abc import AsyncIterable, Awaitable, Callable
from decimal import Decimal
from itertools import pairwise
from random import Random
from typing import Any

import anyio
import httpx
import msgspec
import pytest

from binance_pm import AccountStatus, Client, ConfigurationError, Session, SessionClosed
from binance_pm.fleet import (
    AccountFailed,
    BudgetTight,
    Change,
    Fleet,
    FleetEvent,
    Fresh,
    HostBlocked,
    HostUnblocked,
    Member,
    Reading,
    Stale,
    StatusChanged,
    ThresholdCrossed,
)
from tests.simulation import virtual
from tests.support.echo import START, Echo, refused

# Hundreds of accounts for minutes of virtual time take long on a busy machine.
pytestmark = pytest.mark.timeout(300)
PATIENCE = 280

Act = Callable[[Echo, Fleet], Awaitable[None]]


def watched(
    accounts: int, act: Act, *, prepare: Callable[[Echo], None] = lambda _: None, **options: Any
) -> list[FleetEvent]:
    """Return the events while an action runs; the fleet is left afterwards."""

    async def main() -> list[FleetEvent]:
        echo = Echo(asyncio.get_running_loop().time)
        prepare(echo)
        events: list[FleetEvent] = []
        async with echo.fleet(accounts, **options) as fleet, asyncio.TaskGroup() as tasks:
            taking = tasks.create_task(collect(fleet.watch(warn="1.5", alarm="1.2"), events))
            await act(echo, fleet)
            taking.cancel()
        return events

    return virtual.run(main, patience=PATIENCE)


async def collect(source: AsyncIterable[FleetEvent], into: list[FleetEvent]) -> None:
    """Take events until there are no more, or until cancelled."""
    async for event in source:
        into.append(event)  # noqa: PERF401 - what was taken before it is cancelled counts


def events_of(kind: type[Any], events: list[FleetEvent]) -> list[Any]:
    """Return the events of one kind."""
    return [event for event in events if isinstance(event, kind)]


def after(seconds: float) -> Act:
    """Return an action that only waits."""

    async def act(_: Echo, __: Fleet) -> None:
        await asyncio.sleep(seconds)

    return act


def test_the_first_reading_reports_everything_and_the_next_what_changed() -> None:
    """Values of all endpoints; of um_account only the open positions."""

    async def act(echo: Echo, fleet: Fleet) -> None:
        await asyncio.sleep(10)
        echo.uni_mmr[7] = "4.9"
        await asyncio.sleep(10)
        (snapshot,) = [one for one in fleet.snapshot() if one.label == "account-7"]
        assert (snapshot.uni_mmr, snapshot.status, snapshot.error) == (Decimal("4.9"), AccountStatus.NORMAL, "")
        assert (snapshot.is_stale, snapshot.interval, snapshot.bound) == (False, 15.0, 20.0)
        assert snapshot.age is not None
        assert snapshot.age <= 15.0

    first, second, *_ = [event for event in events_of(Reading, watched(8, act)) if event.label == "account-7"]

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
    """The first reading changes no status but may be below a threshold; recovering has its hysteresis."""

    async def act(echo: Echo, _: Fleet) -> None:
        for uni_mmr, status in (("1.4", "NORMAL"), ("1.1", "REDUCE_ONLY"), ("1.21", "REDUCE_ONLY"), ("2", "NEW_ONE")):
            echo.uni_mmr[0], echo.status[0] = uni_mmr, status
            await asyncio.sleep(16)

    events = watched(1, act, prepare=lambda echo: echo.uni_mmr.update({0: "1.45"}))

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


def test_every_event_can_be_written_as_json() -> None:
    """A tag, amounts as text, times as numbers."""

    async def act(echo: Echo, _: Fleet) -> None:
        await asyncio.sleep(1)
        echo.uni_mmr[0] = "1.1"
        echo.trouble = dead
        await asyncio.sleep(60)
        echo.trouble = fine
        await asyncio.sleep(60)

    events = watched(2, act)
    written = [msgspec.json.decode(msgspec.json.encode(event)) for event in events]

    assert {one["type"] for one in written} >= {"Reading", "ThresholdCrossed", "Stale", "Fresh", "AccountFailed"}
    assert all(isinstance(one["at"], float) for one in written)
    line = next(one for one in written if one["type"] == "ThresholdCrossed")
    assert (line["threshold"], line["uni_mmr"], line["below"], line["label"]) == ("1.5", "1.1", True, "account-0")


async def dead(_: int) -> httpx.Response | None:
    """Fail every request."""
    raise httpx.ConnectError("no network")


async def fine(_: int) -> httpx.Response | None:
    """Let every request succeed."""
    return None


async def hanging(_: int) -> httpx.Response | None:
    """Leave every request without a response."""
    await asyncio.sleep(1e6)
    return None


@pytest.mark.parametrize("trouble", [dead, hanging])
@pytest.mark.parametrize("accounts", [5, 100])
def test_with_a_dead_network_every_account_is_stale_within_the_bound(
    trouble: Callable[[int], Awaitable[httpx.Response | None]], accounts: int
) -> None:
    """Refused or hanging: reported once per account by the promised age; fresh when the network is back."""
    bounds: dict[str, float] = {}
    cut: list[float] = []

    async def act(echo: Echo, fleet: Fleet) -> None:
        await asyncio.sleep(100)
        bounds.update({snapshot.label: snapshot.bound for snapshot in fleet.snapshot()})
        assert not any(snapshot.is_stale for snapshot in fleet.snapshot())
        cut.append(echo.wall())
        echo.trouble = trouble
        await asyncio.sleep(100)
        assert all(snapshot.is_stale for snapshot in fleet.snapshot())
        echo.trouble = fine
        await asyncio.sleep(150)
        assert not any(snapshot.is_stale for snapshot in fleet.snapshot())

    events = watched(accounts, act)

    stale = {event.label: event for event in reversed(events_of(Stale, events))}
    assert len(stale) == accounts
    assert len(events_of(Stale, events)) == len(events_of(Fresh, events))
    # The exchange may have counted hanging calls: the budget is careful afterwards, and some accounts wait again.
    assert trouble is hanging or len(events_of(Stale, events)) == accounts
    for label, event in stale.items():
        assert event.at - cut[0] >= 0
        # The clock for the times of events is known to a second.
        assert event.at - cut[0] <= bounds[label] * 1.05 + 1.0
        assert event.age == pytest.approx(event.bound, abs=0.01)
    assert {event.reason.partition(":")[0] for event in stale.values()} <= {
        f"{names} [account-{number}]"
        for number in range(accounts)
        for names in ("account", "um_account", "account, um_account")
    }
    if trouble is hanging:
        # There are slots for eighty calls: the other accounts wait for one.
        texts = {"response": r"\]: sent \d+\.\d s ago, no response yet", "slot": r"\]: waiting for a free connection"}
        assert {event.waiting.reason for event in stale.values()} == set(texts if accounts == 100 else ["response"])
        assert all(re.search(texts[event.waiting.reason], event.reason) for event in stale.values())
    else:
        assert {event.waiting for event in stale.values()} == {None}


def test_an_account_that_is_never_answered_is_stale() -> None:
    """Although no age is known."""
    events = watched(3, after(30), prepare=lambda echo: setattr(echo, "trouble", hanging))

    assert [(event.label, event.age) for event in events_of(Stale, events)] == [
        (f"account-{n}", None) for n in range(3)
    ]


def test_a_failure_is_reported_once_and_stops_no_other_account() -> None:
    """A refused key is rarely tried; the other accounts are read as before."""

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
        assert snapshot.retry_at is not None

    events = watched(3, act)
    (failed,) = events_of(AccountFailed, events)

    assert (failed.label, failed.error_type) == ("account-1", "AuthenticationError")
    assert failed.error.startswith(("account [account-1]: ", "um_account [account-1]: "))
    assert failed.retry_at == pytest.approx(failed.at + 60, abs=1)
    # At 0, 60, 180 and 420 s.
    assert requests[1] == 4
    assert min(requests[0], requests[2]) >= 40
    assert {event.label for event in events_of(Stale, events)} == {"account-1"}


def test_another_failure_is_reported_and_a_good_response_ends_it() -> None:
    """Each change of the error is reported, a repetition is not."""
    said = iter(["a", "a", "b", "a", "", "a"])

    async def trouble(_: int) -> httpx.Response | None:
        codes = {"a": -1000, "b": -1001}
        code = codes.get(next(said, ""))
        return None if code is None else refused(503, code, "no")

    echo_of: list[Echo] = []

    def prepare(echo: Echo) -> None:
        echo.trouble = trouble
        echo_of.append(echo)

    async def main() -> list[FleetEvent]:
        echo = Echo(asyncio.get_running_loop().time)
        prepare(echo)
        client = Client("key0", "secret", label="account-0", session=echo.session(), attempts=1)
        events: list[FleetEvent] = []
        async with Fleet([Member(client, read=("account",))]) as fleet:
            with anyio.move_on_after(200):
                await collect(fleet.watch(), events)
        return events

    failed = events_of(AccountFailed, virtual.run(main, patience=PATIENCE))

    assert [event.error_type for event in failed] == ["OutcomeUnknown", "NotDone", "OutcomeUnknown", "OutcomeUnknown"]
    assert all(event.retry_at is not None and event.retry_at > event.at for event in failed)


def test_a_request_that_is_rejected_once_is_repeated_at_the_usual_interval() -> None:
    """Only a second rejection slows it down like a refused key."""
    put_off: list[bool] = []

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
            put_off.append(fleet.snapshot()[0].retry_at is not None)

    watched(1, act, read=("account",))

    assert put_off == [False, True]


def test_one_failing_endpoint_does_not_slow_the_other() -> None:
    """The snapshot is stale, as a part is missing; the known values are still reported."""

    async def act(echo: Echo, fleet: Fleet) -> None:
        async def trouble(_: int) -> httpx.Response | None:
            broken = echo.arrived[-1][2] == "/papi/v2/um/account"
            return refused(401, -2015, "no permission") if broken else None

        echo.trouble = trouble
        await asyncio.sleep(100)
        echo.status[0] = "MARGIN_CALL"
        await asyncio.sleep(16)
        assert fleet.snapshot()[0].status == "MARGIN_CALL"
        assert fleet.snapshot()[0].is_stale

    events = watched(1, act)

    assert (
        len(events_of(AccountFailed, events))
        == len(events_of(Stale, events))
        == len(events_of(StatusChanged, events))
        == 1
    )
    assert {name for event in events_of(Reading, events) for name in event.responses} == {"account"}


def test_a_hanging_reading_does_not_hide_a_change_of_status() -> None:
    """The endpoints of an account do not wait for each other."""

    async def act(echo: Echo, _: Fleet) -> None:
        await asyncio.sleep(20)

        async def trouble(_: int) -> httpx.Response | None:
            return await hanging(0) if echo.arrived[-1][2] == "/papi/v2/um/account" else None

        echo.trouble = trouble
        await asyncio.sleep(16)
        echo.status[0] = "MARGIN_CALL"
        await asyncio.sleep(16)

    (changed,) = events_of(StatusChanged, watched(1, act))

    assert changed.at <= START + 52 + 1


def test_a_closed_gate_is_reported_until_it_opens() -> None:
    """Nothing is sent meanwhile, and afterwards all accounts are read again."""
    closed: list[float] = []

    async def act(echo: Echo, fleet: Fleet) -> None:
        await asyncio.sleep(20)

        async def trouble(_: int) -> httpx.Response | None:
            echo.trouble = fine
            answer = refused(418, -1003, "Way too many requests; IP banned until 1800000150000")
            answer.headers["Retry-After"] = "120"
            closed.append(echo.clock())
            return answer

        echo.trouble = trouble
        await asyncio.sleep(200)
        late = [at for at, _, _ in echo.arrived if closed[0] + 1 < at < closed[0] + 119]
        assert late == []
        assert not any(snapshot.is_stale for snapshot in fleet.snapshot())

    events = watched(10, act)
    (shut,), (reopened,) = events_of(HostBlocked, events), events_of(HostUnblocked, events)

    assert (shut.origin, shut.banned) == ("https://papi.binance.com", True)
    assert shut.until - shut.at == pytest.approx(120, abs=3)
    assert reopened.at == pytest.approx(shut.until, abs=2)
    for event in events_of(Stale, events):
        assert event.reason == f"the gate of papi.binance.com is closed for {math.ceil(event.waiting.seconds)} s"
        assert event.waiting.seconds == pytest.approx(shut.until - event.at, abs=0.1)


def test_a_tight_budget_is_reported_and_its_end() -> None:
    """Two hundred accounts wish for more than the limit; ten do not."""
    tight = events_of(BudgetTight, watched(200, after(10)))

    assert events_of(BudgetTight, watched(10, after(10))) == []
    assert [(event.pool, event.is_tight) for event in tight] == [("IP /papi", True)]
    assert tight[0].wanted == pytest.approx(200 * 25 * 4)
    assert tight[0].available == pytest.approx(0.9 * 5_510)
    assert tight[0].interval == pytest.approx(200 * 25 / (0.9 * 5_510) * 60)


def test_external_usage_of_the_whole_limit_is_reported() -> None:
    """The plan grows only up to the promised age: unread accounts are stale, and the budget is tight."""
    blind: list[int] = []

    async def act(echo: Echo, fleet: Fleet) -> None:
        await asyncio.sleep(60)
        calm = {snapshot.label: snapshot.bound for snapshot in fleet.snapshot()}
        for _ in range(90):
            echo.used[math.floor(echo.wall() / 60)] += 400
            await asyncio.sleep(1)
            snapshots = fleet.snapshot()
            assert all(snapshot.bound <= 4 * calm[snapshot.label] for snapshot in snapshots)
            assert all(snapshot.is_stale for snapshot in snapshots if (snapshot.age or 0) > snapshot.bound)
            blind.append(sum(snapshot.is_stale for snapshot in snapshots))

    events = watched(12, act)

    assert max(blind) == 12
    assert {event.waiting.reason for event in events_of(Stale, events)} <= {"minute", "reserve", "pace"}
    named = [event.reason for event in events_of(Stale, events) if event.waiting.external]
    assert named
    assert all(re.search(r"waiting for weight: others used [\d,]+ of 6,000 of /papi", why) for why in named)
    assert [event.is_tight for event in events_of(BudgetTight, events)] == [True]


def test_random_faults_never_mix_up_accounts() -> None:
    """A hundred accounts with errors, delays and hangs: every response and every text has its own label."""
    random = Random(5)  # noqa: S311 - the same each time

    async def trouble(account: int) -> httpx.Response | None:
        await asyncio.sleep(random.expovariate(2))
        if (kind := random.randrange(12)) == 4:
            await asyncio.sleep(60)
        answers = {
            0: lambda: refused(503, -1000, f"the exchange failed for {account}."),
            1: lambda: refused(400, -1001, f"not done for {account}."),
            2: lambda: httpx.Response(200, content=b"<html>"),
            3: lambda: refused(401, -2015, f"the key is refused for {account}.") if random.random() < 0.1 else None,
        }
        return answers.get(kind, lambda: None)()

    snapshots: list[Any] = []

    async def act(_: Echo, fleet: Fleet) -> None:
        await asyncio.sleep(300)
        snapshots.extend(fleet.snapshot())

    events = watched(100, act, prepare=lambda echo: setattr(echo, "trouble", trouble))

    assert len(events_of(Reading, events)) > 500
    assert {type(event).__name__ for event in events} >= {"Reading", "AccountFailed", "Stale", "Fresh"}
    for event in (*events_of(Reading, events), *snapshots):
        for snapshot in event.responses.values():
            assert f"account-{worth(snapshot.response)}" == event.label
    for event in (
        *events_of(AccountFailed, events),
        *(event for event in events_of(Stale, events) if ": " in event.reason),
    ):
        text = event.error if isinstance(event, AccountFailed) else event.reason
        assert f"[{event.label}]" in text
        assert set(re.findall(r" for (\d+)\.", text)) <= {event.label.removeprefix("account-")}


def worth(answer: Any) -> Decimal:
    """Return the number of the account in a response."""
    if hasattr(answer, "account_equity"):
        return answer.account_equity
    return sum((position.position_amt for position in answer.positions), Decimal(0))


def test_a_slow_consumer_misses_no_state_and_no_change() -> None:
    """All state events are there, in order; of readings the newest, with all changes since."""

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
            assert all(snapshot.is_stale for snapshot in fleet.snapshot())
            with anyio.move_on_after(30):
                await collect(watch, events)
            moving.cancel()
        return events, behind

    events, behind = virtual.run(main, patience=PATIENCE)

    for number in range(20):
        label = f"account-{number}"
        told = [event for event in events_of(StatusChanged, events) if event.label == label]
        assert all(one.after == other.before for one, other in pairwise(told))
        readings = [event for event in events_of(Reading, events) if event.label == label]
        known: dict[str, object] = {}
        for reading in readings:
            assert {name: change.before for name, change in reading.changed.items()} == {
                name: known.get(name) for name in reading.changed
            }
            known |= {name: change.after for name, change in reading.changed.items()}
        assert len(events_of(Stale, [event for event in events if getattr(event, "label", "") == label])) == 1
    # One reading waited for each account, and others were made while events were taken.
    assert len(events_of(Reading, events)) <= 20 * 4 < behind / 10
    assert len(events_of(StatusChanged, events)) >= 900


@pytest.mark.parametrize("seed", range(40))
def test_cancelling_at_any_moment_ends_everything_within_a_second(seed: int) -> None:
    """While opening, reading, waiting for weight or a response, or leaving; no task and no call is left."""
    random = Random(seed)  # noqa: S311 - the same each time

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
    """Leaving by an exception ends everything, too."""

    async def main() -> None:
        echo = Echo(asyncio.get_running_loop().time)

        async def program() -> None:
            async with echo.fleet(3) as fleet:
                async for _ in fleet.watch():
                    raise KeyError("mine")

        with pytest.raises(KeyError, match="mine"):
            await program()

    virtual.run(main, patience=PATIENCE)


def test_a_later_watch_ends_the_one_before_it() -> None:
    """The consumer of the first watch gets no more events, and its loop ends."""

    async def main() -> None:
        echo = Echo(asyncio.get_running_loop().time)
        async with echo.fleet(3) as fleet:
            first = fleet.watch()
            await anext(first)
            second = fleet.watch()
            assert [event async for event in first] == []
            assert isinstance(await anext(second), Reading)

    virtual.run(main, patience=PATIENCE)


def test_leaving_ends_a_watch_in_another_task() -> None:
    """The watch does not wait forever."""

    async def main() -> int:
        echo = Echo(asyncio.get_running_loop().time)
        taken: list[FleetEvent] = []
        async with asyncio.TaskGroup() as tasks, echo.fleet(3) as fleet:
            tasks.create_task(collect(fleet.watch(), taken))
            await asyncio.sleep(20)
        return len(taken)

    assert virtual.run(main, patience=PATIENCE) == 6


def test_two_consumers_may_share_one_watch() -> None:
    """Each event goes to one of them, and neither waits forever at the end."""

    async def main() -> int:
        echo = Echo(asyncio.get_running_loop().time)
        taken: list[list[FleetEvent]] = [[], []]
        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks, echo.fleet(3) as fleet:
            events = fleet.watch()
            for into in taken:
                tasks.create_task(collect(events, into))
            await asyncio.sleep(20)
        return sum(map(len, taken))

    assert virtual.run(main, patience=PATIENCE) == 6


def test_invalid_members_are_refused() -> None:
    """With the account and the reason, before anything is sent."""
    session = Session()

    def member(label: str, **options: Any) -> Member:
        return Member(Client("k", "s", label=label, session=session), **options)

    for make, why in (
        (lambda: Fleet([member("a"), member("a")]), r"\[a\]: two members have this label"),
        (lambda: Fleet([member("a", read=("um_account",))]), r"\[a\]: read must name exactly one of account"),
        (lambda: Fleet([member("a", warn="1.2", alarm="1.5")]), r"\[a\]: alarm \(1.5\) is not below warn"),
        (lambda: Fleet([member("a")], floor=20.0), "floor <= ceiling"),
    ):
        with pytest.raises(ConfigurationError, match=why):
            make()


async def test_a_fleet_has_one_budget_and_is_used_while_open() -> None:
    """Clients on several budgets would spend one limit several times."""
    echo = Echo(lambda: 0.0)
    several = Fleet([Member(Client("key0", "s", label=label, session=echo.session())) for label in "ab"])
    fleet = echo.fleet(1)

    with pytest.raises(ConfigurationError, match="its clients draw on several budgets: give them one session"):
        await several.__aenter__()
    with pytest.raises(ConfigurationError, match="it has no accounts"):
        await Fleet([]).__aenter__()
    with pytest.raises(SessionClosed, match="the fleet is not open"):
        fleet.watch()
    async with fleet:
        assert repr(fleet) == "Fleet(open, 1 accounts)"
        assert fleet.snapshot() == []
        with pytest.raises(ConfigurationError, match=r"\[account-0\]: warn is text but not a number"):
            fleet.watch(warn="x")
        with pytest.raises(SessionClosed, match="the fleet is open"):
            await fleet.__aenter__()
    with pytest.raises(SessionClosed, match="the fleet was closed"):
        await fleet.__aenter__()
