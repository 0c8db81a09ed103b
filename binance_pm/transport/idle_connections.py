"""Connections that are kept open between two requests; the most recently used is reused first."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from typing import Final, Generic, Protocol, TypeVar

import anyio


class Connection(Protocol):
    """A connection that carries one request at a time."""

    async def aclose(self) -> None:
        """Close the connection."""
        ...


C = TypeVar("C", bound=Connection)


class IdleConnections(Generic[C]):
    """A pool that gives each request a connection of its own.

    Args:
        make: creates a connection, which its first request opens.
        most: the maximum number of connections, including idle ones, unless more are in use.
        seconds: idle time after which a connection is closed, when another connection is returned.
    """

    def __init__(self, make: Callable[[], C], *, most: int, seconds: float) -> None:
        self._make: Final = make
        self._most: Final = most
        self._seconds: Final = seconds
        self._idle: Final[list[tuple[Hashable, float, C]]] = []
        """Purpose, start of the idle time, and connection; the most recently used last."""
        self._made: Final[set[C]] = set()

    async def get(self, purpose: Hashable) -> C:
        """Return the most recently used connection for the purpose, such as an origin and an account, or a new one."""
        for place in range(len(self._idle) - 1, -1, -1):
            if self._idle[place][0] == purpose:
                return self._idle.pop(place)[2]
        if self._idle and len(self._made) >= self._most:
            await self.end(self._idle.pop(0)[2])
        made = self._make()
        self._made.add(made)
        return made

    async def put(self, purpose: Hashable, connection: C) -> None:
        """Keep the connection for the next request with the same purpose."""
        now = anyio.current_time()
        self._idle.append((purpose, now, connection))
        # While one connection is closed, another request may take the last idle one.
        while self._idle and self._idle[0][1] < now - self._seconds:
            await self.end(self._idle.pop(0)[2])

    def distrust(self, purpose: Hashable) -> None:
        """Treat the idle connections of the purpose as expired; returning the next connection closes them."""
        kept = [entry for entry in self._idle if entry[0] != purpose]
        ended = [(None, -math.inf, connection) for known, _, connection in self._idle if known == purpose]
        self._idle[:] = [*ended, *kept]

    def forget(self) -> None:
        """Drop all connections without closing them."""
        self._idle.clear()
        self._made.clear()

    async def end(self, connection: C) -> None:
        """Close a connection that is not fit for reuse."""
        self._made.discard(connection)
        with anyio.CancelScope(shield=True):
            await connection.aclose()

    async def aclose(self) -> None:
        """Close all connections, including those in use."""
        self._idle.clear()
        while self._made:
            await self.end(next(iter(self._made)))
