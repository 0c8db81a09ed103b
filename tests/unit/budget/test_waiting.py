"""What calls wait for: the reason shown is the current one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from email.utils import formatdate

import pytest
import pytest_asyncio

from binance_pm.budget import Budget, Charge, Pool, Priority, Waiting
from binance_pm.errors import BudgetExceeded, CallInfo, GateClosed
from binance_pm.limits import Feedback
from tests.support.budget import IP, LIMIT, MINUTE, SAPI, budget_by, feedback
from tests.support.clocks import ManualClock, settled


class Line:
    """Polls of one weight each, answered when the test says so."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.budget: Budget = budget_by(clock)
        self.used = 0
        """What the exchange has counted in this minute, as its headers say."""
        self._answers: dict[str, asyncio.Future[Feedback]] = {}
        self.tasks: list[asyncio.Task[None]] = []

    async def start(self, name: str, weight: int = 10, *, priority: Priority = Priority.POLL, pool: Pool = IP) -> None:
        """Start a call."""
        answer = self._answers[name] = asyncio.get_running_loop().create_future()

        async def one() -> None:
            charges = (Charge(pool, weight),)
            with suppress(BudgetExceeded, GateClosed):
                async with self.budget.reserve(
                    charges, call=CallInfo(name, "desk"), priority=priority, max_wait=600
                ) as held:
                    held.mark_sent()
                    held.settle(await answer)

        self.tasks.append(asyncio.create_task(one()))
        await settled()

    async def answer(self, name: str, *, status: int = 200) -> None:
        """Answer a call that was sent."""
        headers = {"date": formatdate(self.clock.now, usegmt=True), "x-mbx-used-weight-1m": str(self.used)}
        self._answers[name].set_result(feedback(status, headers, b"{}"))
        await settled()

    async def spend(self, weight: int, *, others: int = 0) -> None:
        """Send and answer an order, with external usage."""
        self.used += weight + others
        await self.start("spent", weight, priority=Priority.ORDER)
        await self.answer("spent")

    def waits(self, name: str) -> Waiting:
        """What a call waits for."""
        return self.budget.pending()[CallInfo(name, "desk")]


@pytest_asyncio.fixture
async def line(manual_clock: ManualClock) -> AsyncGenerator[Line]:
    """A quarter of a minute has passed."""
    manual_clock.now = MINUTE + 15.2
    made = Line(manual_clock)
    yield made
    for task in made.tasks:
        task.cancel()
    await asyncio.gather(*made.tasks, return_exceptions=True)


async def test_a_sent_call_waits_for_its_response(line: Line, manual_clock: ManualClock) -> None:
    """Not for weight; an answered call waits for nothing."""
    await line.start("a")
    await manual_clock.advance(3.2)

    waiting = line.waits("a")
    assert (waiting.reason, waiting.seconds) == ("response", pytest.approx(3.2))
    await line.answer("a")
    assert line.budget.pending() == {}


async def test_a_call_with_weight_waits_for_a_connection(line: Line, manual_clock: ManualClock) -> None:
    """The call was not sent yet."""
    async with line.budget.reserve((Charge(IP, 10),), call=CallInfo("a", "desk"), max_wait=1):
        await manual_clock.advance(2)

        waiting = line.waits("a")
        assert (waiting.reason, waiting.origin, waiting.seconds) == ("connection", IP.origin, 2.0)


async def test_a_full_minute_shows_external_and_own_usage(line: Line) -> None:
    """Both are shown until the minute ends."""
    await line.spend(60)
    await line.spend(40, others=800)

    await line.start("a", 100)

    waiting = line.waits("a")
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


async def test_calls_in_flight_hold_the_weight(line: Line) -> None:
    """Their responses free weight before the next minute."""
    await line.spend(10)
    await line.start("heavy", 900, priority=Priority.ORDER)

    await line.start("a", 100, priority=Priority.ORDER)

    assert (line.waits("a").reason, line.waits("a").seconds) == ("responses", None)


async def test_calls_wait_for_the_response_to_the_first(line: Line) -> None:
    """External usage is not known before."""
    await line.start("first")
    await line.start("second")

    assert (line.waits("first").reason, line.waits("second").reason) == ("response", "probe")


async def test_polls_are_spread_over_the_minute(line: Line) -> None:
    """Polls beyond the pace wait although the minute has room."""
    await line.spend(10)
    name = ""
    for number in range(9):
        name = f"poll-{number}"
        await line.start(name, 100)
        if line.waits(name).reason != "response":
            break
        line.used += 100
        await line.answer(name)

    assert line.waits(name).reason == "pace"


async def test_a_closed_gate_is_shown_with_its_host(line: Line, manual_clock: ManualClock) -> None:
    """The remaining time is shown, too."""
    line.budget.gate(IP.origin).close(manual_clock.now + 41, banned=False)
    await line.start("a")

    await manual_clock.advance(40)
    assert line.waits("a") == Waiting(reason="gate", origin=IP.origin, seconds=1.0)


async def test_the_snapshot_shows_what_the_calls_of_a_pool_wait_for(line: Line, manual_clock: ManualClock) -> None:
    """Each pool shows the reason of its own calls."""
    await line.spend(10)
    await line.start("other", pool=SAPI)
    await line.start("behind", pool=SAPI)
    line.budget.gate(IP.origin).close(manual_clock.now + 5, banned=False)
    await line.start("a")

    told = {state.pool: state.waiting_for for state in line.budget.snapshot()}

    assert (told[IP], told[SAPI]) == (line.waits("a"), line.waits("behind"))
    assert line.waits("a").reason == "gate"
