"""Work in another thread that has ended when the call of it has ended, also if the task is cancelled."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

import anyio

T = TypeVar("T")


async def in_thread(function: Callable[..., T], *args: object) -> T:
    """Call a function in another thread, and return what it returns.

    asyncio cancels a task, such as after Ctrl-C, without regard to the scopes of anyio: `anyio.to_thread.run_sync` then
    leaves the thread running, which would write a file while the task puts the same file in order. This function blocks
    the event loop until the thread has ended, so it is meant for short work on a file.
    """
    running = threading.Lock()
    is_cancelled = False

    def call() -> T:
        with running:
            if is_cancelled:
                raise RuntimeError("the task was cancelled before the thread began")
            return function(*args)

    try:
        return await anyio.to_thread.run_sync(call)
    except BaseException:
        with running:
            is_cancelled = True
        raise
