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


def at_once(wake: Wake) -> None:
    """Wake from the task's own event loop."""
    wake()


def from_thread(wake: Wake) -> None:
    """Wake from a thread without an event loop."""
    threading.Thread(target=wake).start()


def from_loop(backend: str) -> Callable[[Wake], None]:
    """Wake from another event loop in another thread."""

    def call(wake: Wake) -> None:
        async def run() -> bool:
            return wake()

        threading.Thread(target=lambda: anyio.run(run, backend=backend)).start()

    return call


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("call", [at_once, from_thread, *map(from_loop, BACKENDS)])
def test_wakes_a_sleeping_task(backend: str, call: Callable[[Wake], object]) -> None:
    """From the task's own event loop, from a thread, and from another event loop of either library."""

    async def is_woken() -> bool:
        with anyio.move_on_after(5), anyio.CancelScope() as scope:
            call(waker(scope.cancel))
            await anyio.sleep_forever()
        return scope.cancel_called

    assert anyio.run(is_woken, backend=backend)


async def make() -> Wake:
    """Return a function that wakes nothing."""
    return waker(lambda: None)


@pytest.mark.parametrize("backend", BACKENDS)
def test_reports_an_ended_loop(backend: str) -> None:
    """There is no task to wake."""
    assert anyio.run(make, backend=backend)() is False


async def test_reports_an_ended_loop_from_another_loop() -> None:
    """Such as after the end of a thread with its own loop."""
    wake = await anyio.to_thread.run_sync(asyncio.run, make())

    assert wake() is False
