"""One connection of a stream: its reader, its pings, and what they prove."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import anyio
from anyio.abc import TaskStatus

from binance_pm.stream.items import AnyEvent, StreamGap
from binance_pm.stream.listen_key import ActiveKey
from binance_pm.stream.policy import SocketProof, StreamSettings
from binance_pm.stream.shared import SessionStreams, have_settled
from binance_pm.stream.socket import Socket, SocketClosed

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager


class HeldEvents(list[AnyEvent | StreamGap]):
    """What has arrived on a connection, and is passed on later."""

    def __init__(self) -> None:
        super().__init__()
        self.identities: Final[set[Hashable]] = set()
        """The identities of the events."""

    def hold(self, item: AnyEvent | StreamGap) -> None:
        """Add an item."""
        self.append(item)
        if not isinstance(item, StreamGap):
            self.identities.add(item.identity)


class StreamConnection:
    """One connection of a stream, read in a task of its own until it ends.

    Args:
        key: the listen key.
        settings: intervals.
        shared: what all streams of the session share.
        clock: the time in seconds.
        receive: called in the reader with every message; it must not wait.
        ended: called after the last message that has arrived was received.
    """

    def __init__(
        self,
        key: ActiveKey,
        settings: StreamSettings,
        shared: SessionStreams,
        clock: Callable[[], float],
        receive: Callable[[StreamConnection, bytes], None],
        ended: Callable[[StreamConnection], None],
    ) -> None:
        self.key: Final = key
        self._settings: Final = settings
        self._shared: Final = shared
        self._clock: Final = clock
        self._receive: Final = receive
        self._notify_ended: Final = ended
        self._socket: Socket | None = None
        self._proof: SocketProof = SocketProof(0.0, 0.0)
        self._received: int = 0
        """How many messages were received."""
        self.opened_at: float = math.inf
        """When the connection was open."""
        self.frame_proof: float = -math.inf
        """The last message was pushed at or after this time."""
        self.proof_before: float = -math.inf
        """Everything that was pushed before this time had been received when the last message arrived."""
        self.held: HeldEvents | None = HeldEvents()
        """What arrived before it may be passed on; None if everything is passed on at once."""
        self.why: str = ""
        """Why the connection ends or has ended."""
        self.is_ending: bool = False
        """Whether the exchange has announced that it will close the connection."""
        self.was_agreed: bool = False
        """Whether the exchange has confirmed the end, and so no longer serves the connection."""
        self.ended: Final = anyio.Event()

    @property
    def socket_proof(self) -> float:
        """Everything that was pushed to the connection before this time was received."""
        return self._proof.at

    @property
    def since(self) -> float:
        """Everything that was pushed before this time was received."""
        return min(self._proof.at, self.key.proof.at)

    async def run(
        self, socket: AbstractAsyncContextManager[Socket], *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Open the connection, and read until it ends.

        Raises:
            NotConnected: the connection could not be opened; then nothing was received, and `ended` is not set.
        """
        began = self._clock()
        async with socket as self._socket:
            self.opened_at = self._clock()
            self._proof = SocketProof(began, self.opened_at)
            task_status.started()
            try:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._ping_regularly)
                    await self._read(self._socket)
                    tasks.cancel_scope.cancel()
            finally:
                self.ended.set()
            self._notify_ended(self)

    async def ping(self) -> bool:
        """Send a ping and return whether its pong arrived; if it did not, the connection has ended.

        If the pong arrived, everything that had arrived before was received, unless the reader is too busy.
        """
        socket = self._socket
        if socket is None:
            return False
        sent = self._clock()
        self._proof.pinged(sent)
        is_answered = False
        with anyio.move_on_after(self._settings.ping_timeout) as timeout, suppress(SocketClosed):
            await socket.ping()
            is_answered = True
        if is_answered:
            now = self._clock()
            # The library passes the pong on while earlier messages may still wait for the reader.
            has_read_all = await have_settled(lambda: self._received)
            self._proof.answered(sent, now, has_read_all=has_read_all)
            return not self.ended.is_set()
        if timeout.cancelled_caught:
            self.abort(f"no answer to a ping within {self._settings.ping_timeout:g} s")
        await self.ended.wait()
        return False

    def abort(self, why: str) -> None:
        """Close the connection at once; what has arrived is still received before the connection has ended."""
        self.why = self.why or why
        if self._socket is not None:
            self._socket.abort()

    async def aclose(self, why: str) -> None:
        """Close the connection with a closing handshake, and wait until everything that has arrived was received."""
        self.why = self.why or why
        if self._socket is not None:
            await self._socket.aclose()
            self._socket.abort()
            await self.ended.wait()

    async def _read(self, socket: Socket) -> None:
        try:
            await socket.read(self._handle)
        except SocketClosed as error:
            self.why = self.why or error.why
            self.was_agreed = error.was_agreed

    def _handle(self, message: bytes) -> None:
        self._received += 1
        self.proof_before = self._proof.at
        self._shared.received += 1
        self.frame_proof = self._proof.frame(self._clock(), self._shared.responsive_at)
        self._receive(self, message)

    async def _ping_regularly(self) -> None:
        while True:
            await anyio.sleep(self._settings.ping_every)
            if not await self.ping():
                return
