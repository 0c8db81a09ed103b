"""Observation of an account's user data stream on two connections for a limited time, without changing the account.

POST and PUT of the listen key extend its validity, as every program with a stream does. The key is never deleted.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, Final

import anyio
from anyio.abc import TaskStatus

from binance_pm.client import Client
from binance_pm.doctor.stream_facts import ConnectionFacts, StreamFacts, UnknownKeyFacts, received
from binance_pm.endpoint import ENDPOINTS
from binance_pm.errors import PortfolioMarginError
from binance_pm.limits import Priority
from binance_pm.signing import Secret
from binance_pm.stream.policy import StreamSettings
from binance_pm.stream.shared import StreamProduct, session_streams
from binance_pm.stream.socket import HandshakeRefused, Socket, SocketClosed
from binance_pm.stream.source import source_of
from binance_pm.transport.http import NotConnected

WATCH_SECONDS: Final = 20.0
"""Seconds for which the stream of an account is watched by default."""
CONNECTIONS: Final = 2
"""Number of connections to the stream of each account."""

_PINGS: Final = 5
_TICK_SECONDS: Final = 0.25
_SILENT_SECONDS: Final = 3.0
_KEPT: Final = 2_000
_READ: Final = ("balance", "um_account")

Tally = Callable[[str, object], None]
"""A function that is called with the name of an endpoint and its response or error."""


class StreamWatch:
    """A watch of the stream of one account.

    Args:
        client: the client of the account, which must be open.
        product: the product of the stream.
        seconds: how long the stream is watched.
        pong_seconds: how long a pong may take.
        tally: called with each response.

    Raises:
        ConfigurationError: the extra is missing, or the session cannot open a stream.
    """

    def __init__(
        self, client: Client, product: StreamProduct, *, seconds: float, pong_seconds: float, tally: Tally
    ) -> None:
        session = client.session
        self.facts: Final = StreamFacts(product=product, seconds=seconds, pong_seconds=pong_seconds)
        self._client: Final = client.options(priority=Priority.POLL)
        self._tally: Final = tally
        self._prefix: Final = "" if product == "pm" else "pro."
        self._clock: Final = session.budget.monotonic
        self._shared: Final = session_streams(session, StreamSettings())
        self._source: Final = source_of(client, product, self._shared, self._clock)

    async def run(self) -> None:
        """Collect the facts."""
        facts = self.facts
        facts.first = await self._post()
        if not isinstance(facts.first, Secret):
            return
        facts.second = await self._post()
        keepalive = await self._ask(f"{self._prefix}keepalive_listen_key")
        facts.keepalive = keepalive if isinstance(keepalive, PortfolioMarginError) else None
        await self._watch(facts.key or facts.first)
        facts.last = await self._post()
        if facts.product == "pm":
            facts.answers = {name: await self._ask(name) for name in _READ}

    async def try_unknown_key(self) -> UnknownKeyFacts:
        """Connect with a made-up listen key, and return what happens."""
        await self._shared.turn(self._clock, anyio.sleep)
        try:
            async with self._source.connect(Secret(secrets.token_hex(32))) as socket:
                with anyio.move_on_after(min(self.facts.seconds, _SILENT_SECONDS)):
                    await socket.receive()
                    return UnknownKeyFacts("answered")
                return UnknownKeyFacts("silent")
        except HandshakeRefused as error:
            return UnknownKeyFacts("refused", error.reason)
        except NotConnected as error:
            return UnknownKeyFacts("failed", error.reason)
        except SocketClosed as error:
            return UnknownKeyFacts("closed", error.why)

    async def _watch(self, key: Secret) -> None:
        pinged = [anyio.Event() for _ in range(CONNECTIONS)]
        async with anyio.create_task_group() as tasks:
            for facts, done in zip(self.facts.connections, pinged, strict=True):
                await self._shared.turn(self._clock, anyio.sleep)
                await tasks.start(partial(self._follow, self._source.connect(key), facts, done))
            if any(facts.is_opened for facts in self.facts.connections):
                await anyio.sleep(self.facts.seconds)
            for done in pinged:
                await done.wait()
            tasks.cancel_scope.cancel()

    async def _follow(
        self,
        connecting: AbstractAsyncContextManager[Socket],
        facts: ConnectionFacts,
        pinged: anyio.Event,
        *,
        task_status: TaskStatus[None],
    ) -> None:
        """Read from a connection until the connection or the watch ends; set ``pinged`` after the last ping."""
        try:
            async with connecting as socket:
                facts.opened_at = self._clock()
                task_status.started()
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._ping, socket, facts, pinged)
                    tasks.start_soon(self._count_server_pings, socket, facts)
                    await self._read(socket, facts)
                    tasks.cancel_scope.cancel()
        except NotConnected as error:
            facts.failure = error.reason
            task_status.started()
        finally:
            pinged.set()

    async def _read(self, socket: Socket, facts: ConnectionFacts) -> None:
        try:
            while True:
                message = await socket.receive()
                if len(facts.arrivals) == _KEPT:
                    facts.dropped += 1
                    continue
                at = self._clock()
                facts.arrivals.append(received(at, self._source.bounds(at), message))
        except SocketClosed as error:
            facts.ended_at, facts.why_ended = self._clock(), error.why

    async def _ping(self, socket: Socket, facts: ConnectionFacts, pinged: anyio.Event) -> None:
        try:
            for _ in range(_PINGS):
                sent = self._clock()
                with anyio.move_on_after(self.facts.pong_seconds) as limit:
                    await socket.ping()
                if limit.cancelled_caught:
                    facts.is_unanswered = True
                    break
                facts.round_trips.append(self._clock() - sent)
                await anyio.sleep(self.facts.seconds / _PINGS)
        except SocketClosed:
            # `_read` records why the connection ended.
            pass
        finally:
            pinged.set()

    async def _count_server_pings(self, socket: Socket, facts: ConnectionFacts) -> None:
        while True:
            new = socket.server_pings - len(facts.server_pings)
            facts.server_pings += [self._clock()] * new
            await anyio.sleep(_TICK_SECONDS)

    async def _post(self) -> Secret | PortfolioMarginError:
        response = await self._ask(f"{self._prefix}create_listen_key")
        return response if isinstance(response, PortfolioMarginError) else Secret(response.listen_key)

    async def _ask(self, name: str) -> Any:
        """Return the response of an endpoint, or the error of the call."""
        try:
            response: Any = await self._client.call(ENDPOINTS[name], {})
        except PortfolioMarginError as error:
            response = error
        self._tally(name, response)
        return response
