"""The event loop in virtual time."""

from __future__ import annotations

import asyncio
import threading
import time
from itertools import count
from time import perf_counter

import anyio
import pytest
from coverage import Coverage

from tests.simulation.virtual import Deadlock, TooSlow, clocks_told_by, run
from tests.support.coverage import unmeasured


def test_an_hour_passes_at_once() -> None:
    """A sleeping task wakes when the clock shows its time, and no real time passes."""

    async def main() -> float:
        began = asyncio.get_running_loop().time()
        await asyncio.sleep(3600)
        return asyncio.get_running_loop().time() - began

    began = perf_counter()

    assert run(main, start=5) == pytest.approx(3600, abs=1e-3)
    assert perf_counter() - began < 5


def test_timers_expire_in_order() -> None:
    """The earliest first, in any order of creation, in asyncio and in anyio."""
    order: list[float] = []

    async def wait(seconds: float) -> None:
        await (anyio.sleep if seconds % 2 else asyncio.sleep)(seconds)
        order.append(seconds)

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for seconds in (3, 1, 2, 0.5, 4):
                group.create_task(wait(seconds))

    run(main)

    assert order == [0.5, 1, 2, 3, 4]


def test_a_deadlock_is_reported() -> None:
    """A task that waits for an impossible event ends the run."""

    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Deadlock):
        run(main)


def test_an_endless_program_is_given_up() -> None:
    """The CPU time is bounded, even if virtual time goes on."""

    async def main() -> None:
        for _ in count():
            await asyncio.sleep(1)

    with pytest.raises(TooSlow):
        run(main, patience=0.01)


def test_very_short_sleeps_let_time_pass() -> None:
    """A sleep below the clock's resolution is one round of the loop."""

    async def main() -> float:
        for _ in range(1000):
            await asyncio.sleep(1e-15)
        return asyncio.get_running_loop().time()

    assert 1e6 + 0.0009 < run(main, start=1e6) < 1e6 + 0.01


def test_threads_take_no_time() -> None:
    """Work for a thread is done before the clock moves again, and its errors are raised."""

    async def main() -> float:
        assert await asyncio.to_thread(int, "3") == 3
        with pytest.raises(ValueError, match="invalid literal"):
            await asyncio.to_thread(int, "x")
        return asyncio.get_running_loop().time()

    assert run(main) < 0.001


def test_programs_that_use_the_time_module_get_virtual_time() -> None:
    """Including functions imported by name, and only while patched."""
    before = time.time, perf_counter

    with clocks_told_by(monotonic=lambda: 7.5, wall=lambda: 1e9, readers=(__name__,)):
        assert (time.time(), time.monotonic_ns(), perf_counter()) == (1e9, 7_500_000_000, 7.5)

    assert (time.time, perf_counter) == before


def test_leaving_does_not_wait_for_a_thread() -> None:
    """All work is done in the thread of the loop, and no thread is started to end it."""
    started: list[threading.Thread] = []

    async def main() -> int:
        await asyncio.to_thread(time.sleep, 0)
        return 1

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading.Thread, "start", started.append)
        assert run(main) == 1
    assert started == []


def test_coverage_pauses_and_resumes() -> None:
    """If coverage is measured."""
    measured = Coverage.current()

    with unmeasured():
        assert Coverage.current() is None
    assert Coverage.current() is measured
