"""Waking a task of any event loop from any thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import anyio
import anyio.to_thread
import pytest

from binance_pm.wakeup import Wake, waker

BACKENDS = ("asyncio", "trio")


async def woken_by(call: Callable[[Wake], object]) -> bool:
    """Whether a sleeping task is woken, if `call` gets the waking function."""
    with anyio.move_on_after(5), anyio.CancelScope() as scope:
        call(waker(scope.cancel))
        await anyio.sleep_forever()
    return scope.cancel_called


@pytest.mark.parametrize("backend", BACKENDS)
def test_wakes_a_task_of_the_same_loop(backend: str) -> None:
    """The task is woken at once, without scheduling."""

    def at_once(wake: Wake) -> None:
        wake()

    assert anyio.run(woken_by, at_once, backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_wakes_a_task_from_another_thread(backend: str) -> None:
    """The thread has no loop of its own."""

    def from_thread(wake: Wake) -> None:
        threading.Thread(target=wake).start()

    assert anyio.run(woken_by, from_thread, backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("other", BACKENDS)
def test_wakes_a_task_from_another_loop(backend: str, other: str) -> None:
    """Whichever libraries run the two loops."""

    def from_loop(wake: Wake) -> None:
        async def run() -> bool:
            return wake()

        threading.Thread(target=lambda: anyio.run(run, backend=other)).start()

    assert anyio.run(woken_by, from_loop, backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_reports_an_ended_loop(backend: str) -> None:
    """There is no task to wake."""

    async def make() -> Wake:
        return waker(lambda: None)

    assert anyio.run(make, backend=backend)() is False


async def test_reports_an_ended_loop_from_another_loop() -> None:
    """Such as after the end of a thread with its own loop."""

    async def make() -> Wake:
        return waker(lambda: None)

    wake = await anyio.to_thread.run_sync(asyncio.run, make())

    assert wake() is False
