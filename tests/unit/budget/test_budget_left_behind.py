"""Calls that are never settled: expired, abandoned with their event loop, or left by a fork."""

from __future__ import annotations

import asyncio
import os
import sys
from subprocess import run

import pytest

from binance_pm.budget import (
    Budget,
    Charge,
    LimitType,
    Reservation,
)
from binance_pm.errors import CallInfo
from tests.support.budget import HOST, IP, LIMIT, MINUTE, budget_by, feedback
from tests.support.clocks import FakeClock, settled


class TestExpired:
    """Weight that is never settled."""

    async def test_a_sent_call_is_counted_as_long_as_it_may_arrive(self, clock: FakeClock) -> None:
        """Two minutes after it expired, the call cannot be in the current minute."""
        budget = budget_by(clock)
        clock.now = MINUTE + 55
        forgotten = await budget.reserve((Charge(IP, 60),), call=CallInfo("x", ""), max_wait=0).__aenter__()
        forgotten.mark_sent()
        states: list[tuple[int, int]] = []
        for passed in (119, 121, 240):
            clock.now = MINUTE + 55 + passed
            budget.observe_time(HOST, clock.now, clock.now, asked=clock.now)
            state = budget.snapshot()[0]
            states.append((state.used, state.in_flight))

        assert states == [(60, 60), (60, 0), (0, 0)]

    async def test_a_late_response_is_still_evaluated(self, clock: FakeClock) -> None:
        """A late response settles nothing twice, and a refusal closes the gate."""
        budget = budget_by(clock)
        late = await budget.reserve((Charge(IP, 60),), call=CallInfo("x", ""), max_wait=0).__aenter__()
        late.mark_sent()
        clock.now += 130
        budget.observe_time(HOST, clock.now, clock.now, asked=clock.now)
        late.settle(feedback(429, {"retry-after": "90"}, b""))
        await late.__aexit__()

        assert budget.snapshot()[0].in_flight == 0
        assert budget.gate(HOST).wait(clock.now) == 90.0

    def test_a_timer_of_an_ended_event_loop_is_given_up(self) -> None:
        """The call behind its task is next, and holds the timer."""
        budget = Budget(limits={("papi", LimitType.IP): LIMIT})
        abandoned: list[asyncio.Task[None]] = []

        async def wait() -> None:
            async with budget.reserve((Charge(IP, 600),), call=CallInfo("x", ""), max_wait=600):
                pass

        async def hold() -> Reservation:
            holder = await budget.reserve((Charge(IP, 600),), call=CallInfo("x", ""), max_wait=0).__aenter__()
            abandoned.append(asyncio.create_task(wait()))
            await settled()
            return holder

        loop = asyncio.new_event_loop()
        holder = loop.run_until_complete(hold())
        loop.close()
        before = budget.waiting
        holder.mark_sent()
        holder.settle(feedback(200, {"x-mbx-used-weight-1m": "600"}, b"{}"))

        assert (before, budget.waiting) == (1, 0)


_FORKING = """
import asyncio, os, sys, threading
from binance_pm.budget import Budget, Charge, LimitType, Priority, pool_of
from binance_pm.errors import CallInfo

POOL = pool_of("papi", LimitType.IP, origin="h", path="", key_id="")
budget = Budget(limits={("papi", LimitType.IP): 110})

def used():
    return [(state.used, state.in_flight) for state in budget.snapshot()]

def reserve(weight, max_wait):
    return budget.reserve((Charge(POOL, weight),), call=CallInfo("x", ""), priority=Priority.ORDER, max_wait=max_wait)

async def call(weight, max_wait):
    async with reserve(weight, max_wait):
        return used()

def child():
    print("child", budget.waiting, used(), asyncio.run(call(30, 0)), flush=True)
    os._exit(0)

async def parent():
    async with reserve(60, 0):
        waiting = asyncio.create_task(call(60, 600))
        while not budget.waiting:
            await asyncio.sleep(0)
        budget._lock.acquire()
        forked = os.fork()
        if not forked:
            # Another thread than the one that holds the lock in the parent.
            thread = threading.Thread(target=child)
            thread.start()
            thread.join()
        budget._lock.release()
        status = os.waitpid(forked, 0)[1]
        print("parent", budget.waiting, used(), flush=True)
        waiting.cancel()
    return status

sys.exit(asyncio.run(parent()))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only POSIX forks")
def test_a_child_forked_during_calls_goes_on() -> None:
    """Neither a held lock nor waiting calls stop the child; weight held by the parent is counted."""
    ended = run([sys.executable, "-c", _FORKING], capture_output=True, text=True, timeout=50, check=False)

    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines() == ["child 0 [(60, 0)] [(90, 30)]", "parent 1 [(60, 60)]"]
