"""What a connection proves by the pongs and messages that it receives."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import NoReturn

import anyio
import pytest

from binance_pm.signing import Secret
from binance_pm.stream.connection import StreamConnection
from binance_pm.stream.listen_key import ActiveKey
from binance_pm.stream.policy import StreamSettings
from binance_pm.stream.shared import SessionStreams
from tests.support.clocks import FakeClock

PING_SECONDS = 0.25


class FakeSocket:
    """A connection on which a message arrives before a pong, but waits in a queue.

    Args:
        clock: the time, which each ping advances.
        turns: after how many turns of the event loop the message is received.
    """

    server_pings = 0

    def __init__(self, clock: FakeClock, turns: int) -> None:
        self._clock = clock
        self._turns = turns
        self._queued = anyio.Event()

    async def receive(self) -> bytes:
        """Wait for ever: the connection reads by `read`."""
        await anyio.sleep_forever()
        raise AssertionError

    async def read(self, handle: Callable[[bytes], object]) -> NoReturn:
        """Hand out the message some turns after it was queued."""
        await self._queued.wait()
        for _ in range(self._turns):
            await anyio.lowlevel.checkpoint()
        handle(b"{}")
        await anyio.sleep_forever()
        raise AssertionError

    async def ping(self) -> None:
        """Answer while the message is in the queue."""
        self._clock.now += PING_SECONDS
        self._queued.set()

    async def aclose(self) -> None:
        """Do nothing."""

    def abort(self) -> None:
        """Do nothing."""


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
async def test_a_pong_proves_nothing_of_messages_that_wait_for_the_reader(turns: int) -> None:
    """A message that came before the pong may have been pushed before the ping: it is received before the proof."""
    clock = FakeClock()
    before: list[float] = []

    def receive(connection: StreamConnection, message: bytes) -> None:
        assert message == b"{}"
        before.append(connection.proof_before)

    @asynccontextmanager
    async def socket() -> AsyncGenerator[FakeSocket, None]:
        yield FakeSocket(clock, turns)

    key = ActiveKey(Secret("key"), clock())
    settings = StreamSettings()
    connection = StreamConnection(key, settings, SessionStreams(settings), clock, receive, lambda _: None)
    sent = clock() + 1.0
    async with anyio.create_task_group() as tasks:
        await tasks.start(connection.run, socket())
        clock.now = sent
        assert await connection.ping()
        tasks.cancel_scope.cancel()

    assert before
    assert before[0] < sent <= connection.socket_proof
