"""Ending of child processes that are run for a key or for an event."""

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
    """Wait for a process to end, so that no zombie remains.

    Args:
        process: a process that was opened in its own session.
        kill: whether to kill the process first, with the processes that it started.
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
