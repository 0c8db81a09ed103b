"""Connections that are kept open between two requests, the last used first."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from typing import Final, Generic, Protocol, TypeVar

import anyio


class Connection(Protocol):
    """What carries one request at a time."""

    async def aclose(self) -> None:
        """Close it."""
        ...


C = TypeVar("C", bound=Connection)


class IdleConnections(Generic[C]):
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
        self._idle: Final[list[tuple[Hashable, float, C]]] = []
        """What it is for, since when it is idle, and the connection: the last used last."""
        self._made: Final[set[C]] = set()

    async def get(self, purpose: Hashable) -> C:
        """The connection for the purpose, such as an origin and an account, that was used last, or a new one."""
        for place in range(len(self._idle) - 1, -1, -1):
            if self._idle[place][0] == purpose:
                return self._idle.pop(place)[2]
        if self._idle and len(self._made) >= self._most:
            await self.end(self._idle.pop(0)[2])
        made = self._make()
        self._made.add(made)
        return made

    async def put(self, purpose: Hashable, connection: C) -> None:
        """Keep it for the next request of the same purpose."""
        now = anyio.current_time()
        self._idle.append((purpose, now, connection))
        # While one is closed, another request may take the last.
        while self._idle and self._idle[0][1] < now - self._seconds:
            await self.end(self._idle.pop(0)[2])

    def distrust(self, purpose: Hashable) -> None:
        """Take the idle ones of the purpose for too old to be used; the next that is given back closes them."""
        kept = [entry for entry in self._idle if entry[0] != purpose]
        ended = [(None, -math.inf, connection) for known, _, connection in self._idle if known == purpose]
        self._idle[:] = [*ended, *kept]

    def forget(self) -> None:
        """Drop all without closing them."""
        self._idle.clear()
        self._made.clear()

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
