"""Work in another thread, and tasks that are cancelled meanwhile."""

from __future__ import annotations

import asyncio
import threading

import pytest

from binance_pm.threads import in_thread


async def test_returns_what_the_function_returns() -> None:
    """The function runs in another thread."""
    number, thread = await in_thread(lambda: (5, threading.current_thread()))

    assert number == 5
    assert thread is not threading.main_thread()


async def test_errors_of_the_function_are_raised() -> None:
    """They are raised unchanged."""
    with pytest.raises(ZeroDivisionError):
        await in_thread(lambda: 1 // 0)


async def test_a_cancelled_call_ends_after_its_thread() -> None:
    """Nothing that follows the call runs at the same time as the function."""
    loop, done = asyncio.get_running_loop(), list[str]()

    def work() -> None:
        loop.call_soon_threadsafe(task.cancel)
        # A call that did not wait would end in this time.
        threading.Event().wait(0.2)
        done.append("work")

    async def run() -> None:
        try:
            await in_thread(work)
        finally:
            done.append("call")

    task = asyncio.ensure_future(run())
    with pytest.raises(asyncio.CancelledError):
        await task

    assert done == ["work", "call"]
