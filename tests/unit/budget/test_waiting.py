"""What calls wait for: the reason shown is the current one."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest
import pytest_asyncio

from binance_pm.budget import Charge, Pool, Priority, Waiting
from binance_pm.errors import CallInfo
from tests.support.budget import HOST, IP, LIMIT, MINUTE, SAPI, budget_by
from tests.support.clocks import ManualClock
from tests.support.desk import Desk


@pytest_asyncio.fixture
async def desk(manual_clock: ManualClock) -> AsyncGenerator[Desk]:
    """A quarter of a minute has passed."""
    now = manual_clock.now = MINUTE + 15.2
    desk = Desk(budget_by(manual_clock), manual_clock)
    desk.budget.observe_time(HOST, now, now, asked=now)
    yield desk
    await desk.close()


async def start(
    desk: Desk, name: str, weight: int = 10, *, priority: Priority = Priority.POLL, pool: Pool = IP
) -> None:
    """Start a call that is answered when the test says so."""
    await desk.call(name, weight, priority=priority, pools=(pool,), holds=True, is_sent=True)


def waits(desk: Desk, name: str) -> Waiting:
    """Return what a call waits for."""
    return desk.budget.pending()[CallInfo(name, "desk")]


async def test_a_sent_call_waits_for_its_response(desk: Desk, manual_clock: ManualClock) -> None:
    """Not for weight; an answered call waits for nothing."""
    await start(desk, "a")
    await manual_clock.advance(3.2)

    waiting = waits(desk, "a")
    assert (waiting.reason, waiting.seconds) == ("response", pytest.approx(3.2))
    await desk.end("a")
    assert desk.budget.pending() == {}


async def test_a_call_with_weight_waits_for_a_connection(desk: Desk, manual_clock: ManualClock) -> None:
    """The call was not sent yet."""
    async with desk.budget.reserve((Charge(IP, 10),), call=CallInfo("a", "desk"), max_wait=1):
        await manual_clock.advance(2)

        waiting = waits(desk, "a")
        assert (waiting.reason, waiting.origin, waiting.seconds) == ("connection", IP.origin, 2.0)


async def test_a_full_minute_shows_external_and_own_usage(desk: Desk) -> None:
    """Both are shown until the minute ends."""
    await desk.call("spent", 60)
    desk.counts[int(MINUTE // 60)] += 800
    await desk.call("spent", 40)

    await start(desk, "a", 100)

    waiting = waits(desk, "a")
    assert waiting.seconds == pytest.approx(44.8, abs=1.0)
    assert waiting == Waiting(
        reason="minute",
        origin=IP.origin,
        pool="IP /papi",
        seconds=waiting.seconds,
        used=900,
        limit=LIMIT,
        external=800,
    )


async def test_calls_in_flight_hold_the_weight(desk: Desk) -> None:
    """Their responses free weight before the next minute."""
    await desk.call("spent", 10)
    await start(desk, "heavy", 900, priority=Priority.ORDER)

    await start(desk, "a", 100, priority=Priority.ORDER)

    assert (waits(desk, "a").reason, waits(desk, "a").seconds) == ("responses", None)


async def test_calls_wait_for_the_response_to_the_first(desk: Desk) -> None:
    """External usage is not known before."""
    await start(desk, "first")
    await start(desk, "second")

    assert (waits(desk, "first").reason, waits(desk, "second").reason) == ("response", "probe")


async def test_polls_are_spread_over_the_minute(desk: Desk) -> None:
    """Polls beyond the pace wait although the minute has room."""
    await desk.call("spent", 10)
    name = ""
    for number in range(9):
        name = f"poll-{number}"
        await start(desk, name, 100)
        if waits(desk, name).reason != "response":
            break
        await desk.end(name)

    assert waits(desk, name).reason == "pace"


async def test_a_closed_gate_is_shown_with_its_host(desk: Desk, manual_clock: ManualClock) -> None:
    """The remaining time is shown, too."""
    desk.budget.gate(IP.origin).close(manual_clock.now + 41, banned=False)
    await start(desk, "a")

    await manual_clock.advance(40)
    assert waits(desk, "a") == Waiting(reason="gate", origin=IP.origin, seconds=1.0)


async def test_the_snapshot_shows_what_the_calls_of_a_pool_wait_for(desk: Desk, manual_clock: ManualClock) -> None:
    """Each pool shows the reason of its own calls."""
    await desk.call("spent", 10)
    await start(desk, "other", pool=SAPI)
    await start(desk, "behind", pool=SAPI)
    desk.budget.gate(IP.origin).close(manual_clock.now + 5, banned=False)
    await start(desk, "a")

    reasons = {state.pool: state.waiting_for for state in desk.budget.snapshot()}

    assert (reasons[IP], reasons[SAPI]) == (waits(desk, "a"), waits(desk, "behind"))
    assert waits(desk, "a").reason == "gate"
