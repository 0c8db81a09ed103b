"""Waking a task of any event loop from any thread."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from functools import partial

import sniffio

Wake = Callable[[], None]


def waker(wake: Wake) -> Wake:
    """The given function of this task's event loop, made safe to call from another thread."""
    here = threading.get_ident()
    schedule = _scheduler()

    def wake_from_anywhere() -> None:
        if threading.get_ident() == here:
            wake()
        else:
            schedule(wake)

    return wake_from_anywhere


def _scheduler() -> Callable[[Wake], object]:
    # Whichever library runs this task is loaded: importing both here would slow every program down.
    if sniffio.current_async_library() == "trio":
        token = sys.modules["trio"].lowlevel.current_trio_token()
        return partial(_ignore_closed, token.run_sync_soon)
    loop = sys.modules["asyncio"].get_running_loop()
    return partial(_ignore_closed, loop.call_soon_threadsafe)


def _ignore_closed(schedule: Callable[[Wake], object], wake: Wake) -> None:
    """A loop that was closed with calls still waiting has nobody left to wake."""
    try:
        schedule(wake)
    except RuntimeError:
        return
