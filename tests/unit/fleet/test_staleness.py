"""What a fleet reports of an account without new responses: which value is old, and what its readings wait for."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import msgspec
import pytest

from binance_pm import Client, LimitType
from binance_pm.fleet import AccountFailed, AccountSnapshot, BudgetTight, Fleet, FleetEvent, Fresh, Member, Stale
from tests.simulation import virtual
from tests.support.echo import Echo, refused

# An hour of virtual time takes long on a busy machine.
pytestmark = pytest.mark.timeout(300)
PATIENCE = 280
UM = "/papi/v2/um/account"

Act = Callable[[Echo, Fleet], Awaitable[None]]


def watched(accounts: int, act: Act, *, limit: int = 6_000) -> list[FleetEvent]:
    """Return the events while an action runs."""

    async def main() -> list[FleetEvent]:
        echo = Echo(asyncio.get_running_loop().time)
        echo.limits = {("papi", LimitType.IP): limit}
        events: list[FleetEvent] = []

        async def take(fleet: Fleet) -> None:
            async for event in fleet.watch():
                events.append(event)  # noqa: PERF401 - what was taken before it is cancelled counts

        async with echo.fleet(accounts) as fleet, asyncio.TaskGroup() as tasks:
            taking = tasks.create_task(take(fleet))
            await act(echo, fleet)
            taking.cancel()
        return events

    return virtual.run(main, patience=PATIENCE)


def events_of(kind: type[Any], events: list[FleetEvent]) -> list[Any]:
    """Return the events of one kind."""
    return [event for event in events if isinstance(event, kind)]


def hang_at(echo: Echo, path: str) -> None:
    """Leave requests of a path without a response from now on."""

    async def trouble(_: int) -> httpx.Response | None:
        if echo.arrived[-1][2] == path:
            await asyncio.sleep(1e6)
        return None

    echo.trouble = trouble


@pytest.mark.parametrize(
    ("path", "late", "fresh"), [(UM, "um_account", "account"), ("/papi/v1/account", "account", "um_account")]
)
def test_each_reading_has_its_own_age(path: str, late: str, fresh: str) -> None:
    """If one endpoint hangs, values of the other stay fresh, and the event names the old one."""
    snapshots: list[AccountSnapshot] = []

    async def act(echo: Echo, fleet: Fleet) -> None:
        await asyncio.sleep(20)
        hang_at(echo, path)
        await asyncio.sleep(45)
        snapshots.extend(fleet.snapshot())

    events = watched(1, act)

    (stale,) = events_of(Stale, events)
    assert stale.stale_endpoints == (late,)
    assert stale.ages[late] == stale.age == pytest.approx(20.0, abs=0.1)
    assert stale.ages[fresh] < stale.bound
    assert f"{late} [account-0]: sent " in stale.reason
    (snapshot,) = snapshots
    assert (snapshot.is_stale, snapshot.stale_endpoints) == (True, (late,))
    assert (snapshot.ages[fresh] or 0) < snapshot.bound < (snapshot.ages[late] or 0)
    assert snapshot.waiting is not None
    assert snapshot.waiting.reason == "response"
    written = msgspec.json.decode(msgspec.json.encode(stale))
    assert written["ages"].keys() == {"account", "um_account"}
    assert written["stale_endpoints"] == [late]


def test_stale_readings_are_added_and_all_become_fresh_again() -> None:
    """First the positions, then everything, then nothing."""
    old: list[tuple[str, ...]] = []

    async def act(echo: Echo, fleet: Fleet) -> None:
        await asyncio.sleep(20)
        hang_at(echo, UM)
        await asyncio.sleep(30)
        old.append(fleet.snapshot()[0].stale_endpoints)

        async def dead(_: int) -> httpx.Response | None:
            raise httpx.ConnectError("no network")

        echo.trouble = dead
        await asyncio.sleep(40)
        old.append(fleet.snapshot()[0].stale_endpoints)
        echo.trouble = Echo(echo.clock).trouble
        await asyncio.sleep(60)
        old.append(fleet.snapshot()[0].stale_endpoints)

    events = watched(1, act)

    assert old == [("um_account",), ("account", "um_account"), ()]
    assert [type(event) for event in events if isinstance(event, Stale | Fresh)] == [Stale, Fresh]
    (fresh,) = events_of(Fresh, events)
    assert set(fresh.ages) == {"account", "um_account"}


def test_the_reason_follows_what_the_calls_wait_for() -> None:
    """External usage takes the limit, then the exchange refuses, then the network hangs: each reason is given."""
    seen: dict[str, set[str]] = {}
    texts: dict[str, str] = {}

    async def act(echo: Echo, fleet: Fleet) -> None:
        def look(phase: str) -> None:
            for snapshot in fleet.snapshot():
                if snapshot.is_stale:
                    seen.setdefault(phase, set()).add(snapshot.waiting.reason if snapshot.waiting else snapshot.reason)
                    texts[phase] = snapshot.reason

        await asyncio.sleep(60 - echo.wall() % 60 + 60)
        for _ in range(58):
            echo.used[math.floor(echo.wall() / 60)] += 400
            await asyncio.sleep(1)
        look("full")
        await asyncio.sleep(120)
        assert not any(snapshot.is_stale for snapshot in fleet.snapshot())

        async def refuse(_: int) -> httpx.Response | None:
            answer = refused(418, -1003, "Way too many requests")
            answer.headers["Retry-After"] = "120"
            return answer

        echo.trouble = refuse
        await asyncio.sleep(60)
        look("gate")
        echo.trouble = Echo(echo.clock).trouble
        await asyncio.sleep(120)
        hang_at(echo, UM)
        await asyncio.sleep(45)
        look("hung")

    watched(6, act)

    assert seen["full"] <= {"minute", "reserve", "pace"}
    assert "waiting for weight: others used " in texts["full"]
    assert seen["gate"] == {"gate"}
    assert texts["gate"].startswith("the gate of papi.binance.com is closed for ")
    assert "response" in seen["hung"]


def test_no_waiting_reading_is_reported_as_sent() -> None:
    """A reason that mentions sending belongs to a call that the exchange has received."""

    async def act(echo: Echo, fleet: Fleet) -> None:
        for second in range(240):
            if 60 <= second < 120:
                echo.used[math.floor(echo.wall() / 60)] += 500
            await asyncio.sleep(1)
            for snapshot in fleet.snapshot():
                if snapshot.waiting is not None and snapshot.waiting.reason == "response":
                    account = int(snapshot.label.removeprefix("account-"))
                    since = echo.clock() - (snapshot.waiting.seconds or 0.0)
                    assert any(at >= since - 0.01 for at, whose, _ in echo.arrived if whose == account)
        hang_at(echo, UM)
        await asyncio.sleep(60)

    events = watched(12, act)

    assert events_of(Stale, events)
    assert not any("asked for and not answered" in event.reason for event in events_of(Stale, events))


def test_a_failure_is_the_reason_while_it_lasts() -> None:
    """Of the failed reading, not of the other."""

    async def act(echo: Echo, _: Fleet) -> None:
        await asyncio.sleep(20)

        async def trouble(_: int) -> httpx.Response | None:
            return refused(503, -1000, "It failed.") if echo.arrived[-1][2] == UM else None

        echo.trouble = trouble
        await asyncio.sleep(60)

    events = watched(1, act)

    (stale,) = events_of(Stale, events)
    (failed,) = events_of(AccountFailed, events)
    assert (stale.stale_endpoints, stale.waiting, stale.reason) == (("um_account",), None, failed.error)


def test_a_tight_budget_is_reported_once_and_once_when_it_is_over() -> None:
    """During an hour with two times of ten minutes with heavy external usage in bursts."""

    async def act(echo: Echo, _: Fleet) -> None:
        for second in range(3600):
            busy = 600 <= second < 1200 or 2400 <= second < 3000
            if busy and second % 40 < 20:
                echo.used[math.floor(echo.wall() / 60)] += 19
            await asyncio.sleep(1)

    events = watched(4, act, limit=600)

    tight = events_of(BudgetTight, events)
    assert [event.is_tight for event in tight] == [True, False, True, False]
    assert [round((event.at - tight[0].at) / 60) for event in tight[1:]] == pytest.approx([11, 30, 41], abs=1)


def test_a_full_pool_does_not_delay_readings_of_other_pools() -> None:
    """External usage fills /papi, which delays positions: uniMMR, counted elsewhere, stays fresh."""
    late: list[tuple[str, ...]] = []

    async def main() -> None:
        echo = Echo(asyncio.get_running_loop().time)
        session = echo.session()
        members = [
            Member(Client(f"key{n}", "secret", label=f"{n}", session=session), "span", ("span_account", "um_account"))
            for n in range(20)
        ]

        async def take(fleet: Fleet) -> None:
            async for _ in fleet.watch():
                pass

        async with Fleet(members, floor=0.5, ceiling=2.0, slack=3.0) as fleet, asyncio.TaskGroup() as tasks:
            taking = tasks.create_task(take(fleet))
            await asyncio.sleep(60 - echo.wall() % 60 + 1)
            for _ in range(50):
                echo.used[math.floor(echo.wall() / 60)] += 400
                await asyncio.sleep(1)
            late.extend(snapshot.stale_endpoints for snapshot in fleet.snapshot())
            taking.cancel()

    virtual.run(main, patience=PATIENCE)

    assert late == [("um_account",)] * 20
