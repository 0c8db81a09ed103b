"""Connections that are kept open between two requests, the last used first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar

import anyio


class Connection(Protocol):
    """What carries one request at a time."""

    async def aclose(self) -> None:
        """Close it."""
        ...


C = TypeVar("C", bound=Connection)


class KeepAlive(Generic[C]):
    """Gives each request a connection of its own.

    Args:
        make: opens a connection; the first request on it connects.
        most: how many there are at most, idle ones included, as long as no more are in use.
        seconds: after which an idle one is closed, when another one is given back.
    """

    def __init__(self, make: Callable[[], C], *, most: int, seconds: float) -> None:
        self._make: Final = make
        self._most: Final = most
        self._seconds: Final = seconds
        self._idle: Final[list[tuple[str, float, C]]] = []
        """Origin, since when, and the connection: the last used last."""
        self._made: Final[set[C]] = set()

    async def take(self, origin: str) -> C:
        """The connection to the origin that was used last, or a new one."""
        for place in range(len(self._idle) - 1, -1, -1):
            if self._idle[place][0] == origin:
                return self._idle.pop(place)[2]
        if self._idle and len(self._made) >= self._most:
            await self.end(self._idle.pop(0)[2])
        made = self._make()
        self._made.add(made)
        return made

    async def give(self, origin: str, connection: C) -> None:
        """Keep it for the next request."""
        now = anyio.current_time()
        self._idle.append((origin, now, connection))
        while self._idle[0][1] < now - self._seconds:
            await self.end(self._idle.pop(0)[2])

    async def end(self, connection: C) -> None:
        """Close it: it is in no state to be used again."""
        self._made.discard(connection)
        with anyio.CancelScope(shield=True):
            await connection.aclose()

    async def aclose(self) -> None:
        """Close all, those in use too."""
        self._idle.clear()
        while self._made:
            await self.end(next(iter(self._made)))
