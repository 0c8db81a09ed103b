"""The event loop and process that connections belong to; elsewhere they can be neither used nor closed."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

import anyio
import sniffio

ONE_EACH: Final = "Open one on each event loop and in each process: they cannot share connections."
CLOSE_THERE: Final = "Close it on its own event loop; it stays open."


class Affinity:
    """The event loop and process in which this object was created."""

    __slots__ = ("_current", "_loop", "_process")

    def __init__(self) -> None:
        self._current: Final = _loop_finder()
        self._loop: Final = self._current()
        self._process: Final = os.getpid()

    def mismatch(self) -> str | None:
        """Return the mismatch with this event loop or process, as the end of "it was ..."; None if both match."""
        if os.getpid() != self._process:
            return "opened in another process"
        try:
            is_same = self._current() is self._loop
        except RuntimeError:
            is_same = False
        return None if is_same else "opened on another event loop"

    def is_over(self) -> bool:
        """Return whether the event loop has ended or is that of another process: nothing can be closed on it."""
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


def deadline_reader() -> Callable[[], float]:
    """Return `anyio.current_effective_deadline` without the search for the event loop, which takes longer.

    The function must be called on the event loop that runs now.
    """
    try:
        # Not part of anyio's public interface.
        backend = import_module("anyio._core._eventloop").get_async_backend()
        return backend.current_effective_deadline
    except (ImportError, AttributeError):
        return anyio.current_effective_deadline


def _loop_finder() -> Callable[[], Any]:
    # The running async library has already imported its own module; the other module is not loaded.
    if sniffio.current_async_library() == "asyncio":
        return sys.modules["asyncio"].get_running_loop
    return sys.modules["trio"].lowlevel.current_trio_token
