"""Waking a task of any event loop from any thread."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import sniffio

Wake = Callable[[], bool]
"""False where the event loop has ended: nobody is left to wake."""


def waker(wake: Callable[[], None]) -> Wake:
    """The given function of this task's event loop, made safe to call from another one and from another thread."""
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
    """What tells the running event loop, and what runs a function in this one."""
    # Whichever library runs this task is loaded: importing both here would slow every program down.
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
