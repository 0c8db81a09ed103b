"""The event loop and the process that connections belong to: elsewhere they can be neither used nor closed."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any, Final

import sniffio

ONE_EACH: Final = "Open one on each event loop and in each process: they cannot share connections."
CLOSE_THERE: Final = "Close it on its own event loop; it stays open."


class Affinity:
    """Remembers the event loop and the process that it is made in."""

    __slots__ = ("_current", "_loop", "_process")

    def __init__(self) -> None:
        self._current: Final = _loop_finder()
        self._loop: Final = self._current()
        self._process: Final = os.getpid()

    def mismatch(self) -> str | None:
        """What is wrong with this place, as the end of "it was ..."; None in the place where it was made."""
        if os.getpid() != self._process:
            return "opened in another process"
        try:
            is_same = self._current() is self._loop
        except RuntimeError:
            is_same = False
        return None if is_same else "opened on another event loop"

    def is_over(self) -> bool:
        """Whether its event loop has ended, or is that of another process: nobody can close anything on it."""
        if os.getpid() != self._process:
            return True
        if hasattr(self._loop, "is_closed"):
            return self._loop.is_closed()
        try:
            # Trio's token refuses once its run has ended.
            self._loop.run_sync_soon(int)
        except RuntimeError:
            return True
        return False


def _loop_finder() -> Callable[[], Any]:
    # Either was imported by what runs it, and is not loaded for others.
    if sniffio.current_async_library() == "asyncio":
        return sys.modules["asyncio"].get_running_loop
    return sys.modules["trio"].lowlevel.current_trio_token
