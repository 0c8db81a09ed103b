"""The proof that the exchange serves two connections of one listen key, found while a rotation receives on both."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import anyio

from binance_pm.stream.connection import StreamConnection
from binance_pm.stream.items import AnyEvent, StreamGap


class Overlap:
    """Two connections of one stream.

    An event that has arrived on both connections is no proof by itself: the exchange may have pushed the event to one
    connection, and a duplicate of the event to the other one before both were open, or after one was lost. An event
    therefore counts only if it arrives after the old connection has answered a ping that was sent when both were open,
    and if both connections then answer another ping.

    Args:
        old: the connection that is replaced.
        new: the connection that replaces it.
        on_proof: called when it is proven that both are served.
    """

    def __init__(self, old: StreamConnection, new: StreamConnection, on_proof: Callable[[], None]) -> None:
        self._old: Final = old
        self._new: Final = new
        self._on_proof: Final = on_proof
        self._has_begun: bool = False
        self._arrived_on_both: Final = anyio.Event()

    def check(self, item: AnyEvent | StreamGap) -> None:
        """Check whether an event that has just been held has arrived on both connections."""
        old, new = self._old.held, self._new.held
        if self._has_begun and old is not None and new is not None and not isinstance(item, StreamGap):
            identity = item.identity
            if identity in old.identities and identity in new.identities:
                self._arrived_on_both.set()

    async def receive(self, sleep: Callable[[float], Awaitable[None]], seconds: float) -> None:
        """Receive on both connections; both have answered a ping that was sent after the new one was open."""
        if self._old.held is not None:
            # These may have been pushed before the new connection was open.
            self._old.held.identities.clear()
        self._has_begun = True
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._prove)
            await sleep(seconds)
            if not self._arrived_on_both.is_set():
                tasks.cancel_scope.cancel()

    async def settle(self) -> None:
        """Wait for the end of each connection that is about to end; the end of one may cause that of the other."""
        for connection in (self._new, self._old, self._new):
            if connection.why:
                await connection.ended.wait()

    async def _prove(self) -> None:
        await self._arrived_on_both.wait()
        if await self._new.ping() and await self._old.ping():
            self._on_proof()
