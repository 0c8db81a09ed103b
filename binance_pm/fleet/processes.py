"""Programs that are run for a key or for an event, and how they are ended."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from typing import Final

import anyio
import anyio.abc

_REAP_SECONDS: Final = 0.3


async def end_process(process: anyio.abc.Process, *, kill: bool) -> None:
    """Leave no zombie.

    Args:
        process: one that was opened in a session of its own.
        kill: whether to kill it first, with what it has started.
    """
    if kill:
        with suppress(ProcessLookupError, PermissionError):
            if sys.platform == "win32":
                process.kill()
            else:
                os.killpg(process.pid, signal.SIGKILL)
    with anyio.move_on_after(_REAP_SECONDS):
        await process.wait()
    if process.returncode is not None:
        await process.aclose()
