"""A signal that can be given again and again."""

from __future__ import annotations

import anyio


class ChangeSignal:
    """Wakes the tasks that wait for a change."""

    __slots__ = ("_next",)

    def __init__(self) -> None:
        self._next: anyio.Event = anyio.Event()

    def notify(self) -> None:
        """Wake every waiting task."""
        self._next.set()
        self._next = anyio.Event()

    async def wait(self) -> None:
        """Wait for the next call of `notify`."""
        await self._next.wait()
