"""Wait in real time until another thread or process has done something."""

from __future__ import annotations

import time
from collections.abc import Callable

import anyio
import anyio.lowlevel


def wait_until(holds: Callable[[], object], *, seconds: float = 30.0) -> None:
    """Wait until the condition holds, and fail if it does not hold in time."""
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, "the condition does not hold in time"
        time.sleep(0.005)


async def eventually(holds: Callable[[], object], *, seconds: float = 30.0) -> None:
    """Let other tasks run until the condition holds, and fail if it does not hold in time."""
    with anyio.fail_after(seconds):
        while not holds():
            await anyio.lowlevel.checkpoint()
