"""Wakes a task of any event loop from any thread."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import sniffio

Wake = Callable[[], bool]
"""Returns False if the event loop has ended, so that there is nothing to wake."""


def waker(wake: Callable[[], None]) -> Wake:
    """Return a function that calls `wake` on this task's event loop, from any event loop and any thread."""
    running, schedule = _loop()
    here = running()

    def wake_from_anywhere() -> bool:
        try:
            if _is_inside(here, running):
                wake()
            else:
                schedule(wake)
        except RuntimeError:
            return False
        return True

    return wake_from_anywhere


def _loop() -> tuple[Callable[[], object], Callable[[Callable[[], None]], object]]:
    """Return a function that identifies the running event loop, and one that schedules a function on this loop."""
    # The library that runs this task is already loaded; importing both here would slow down every program.
    if sniffio.current_async_library() == "trio":
        lowlevel: Any = sys.modules["trio"].lowlevel
        return lowlevel.current_trio_token, lowlevel.current_trio_token().run_sync_soon
    asyncio: Any = sys.modules["asyncio"]
    return asyncio.get_running_loop, asyncio.get_running_loop().call_soon_threadsafe


def _is_inside(loop: object, running: Callable[[], object]) -> bool:
    try:
        return running() is loop
    except RuntimeError:
        return False
