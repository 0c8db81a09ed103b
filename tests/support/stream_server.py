"""A small exchange of listen keys and user data streams, on a real socket in a thread of its own, with faults."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
import time
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Any, Final, Literal

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Response

Delivery = Literal["all", "newest", "oldest"]


class StreamServer:
    """The server; every method may be called from any thread.

    Args:
        delivery: which of the connections of the active key receive events.
        tls: settings for wss.
    """

    def __init__(self, delivery: Delivery = "all", tls: ssl.SSLContext | None = None) -> None:
        self.delivery: Delivery = delivery
        self.refuse: Callable[[], Response | None] = lambda: None
        """A function that returns the response to a handshake, or None to accept the handshake."""
        self.greet: Callable[[ServerConnection], None] = lambda _: None
        """Called with each new connection."""
        self.close_codes: list[int | None] = []
        """The close codes of clients."""
        self._tls: Final = tls
        self.port: int = 0
        self.keys: int = 1
        self.posts: int = 0
        self.connects: int = 0
        self.connections: list[ServerConnection] = []
        """All open connections, oldest first, including those of dead keys."""
        self.deaf: set[ServerConnection] = set()
        """Connections that neither receive nor answer."""
        self._paths: dict[ServerConnection, str] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._tasks: list[Future[None]] = []

    @property
    def url(self) -> str:
        """The URL without a path."""
        return f"ws://127.0.0.1:{self.port}"

    def key(self) -> str:
        """Return the active listen key, as a POST does."""
        self.posts += 1
        return self.active()

    def active(self) -> str:
        """Return the active listen key."""
        return f"canary{self.keys:04d}"

    def call(self, function: Callable[[], Any]) -> Any:
        """Call a function in the server's thread and return its result."""
        assert self._loop is not None

        async def run() -> Any:
            return function()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(10)

    def start(self, task: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Start a task in the server's thread."""
        assert self._loop is not None
        self._tasks.append(asyncio.run_coroutine_threadsafe(task(), self._loop))

    def push(self, message: dict[str, Any] | bytes) -> float:
        """Push a message to the active key; return when."""
        raw = message if isinstance(message, bytes) else json.dumps(message).encode()
        return self.call(lambda: self._push(raw))

    def _push(self, raw: bytes) -> float:
        for connection in self.receivers():
            self._send(connection, raw)
        return time.time()

    def receivers(self) -> list[ServerConnection]:
        """Return the connections that receive events."""
        live = [one for one in self.connections if self._paths.get(one, "").endswith(f"/{self.active()}")]
        if self.delivery == "newest":
            live = live[-1:]
        elif self.delivery == "oldest":
            live = live[:1]
        return [one for one in live if one not in self.deaf]

    @staticmethod
    def _send(connection: ServerConnection, raw: bytes) -> None:
        # Written at once, without waiting for a consumer that is slow.
        if connection.protocol.state.name == "OPEN":
            connection.protocol.send_text(raw)
            connection.send_data()

    def break_all(self) -> None:
        """Break the connections that receive events, without a closing handshake."""
        self.call(lambda: [one.transport.abort() for one in self.receivers()])

    def close_all(self, code: int = 1001) -> None:
        """Close the connections that receive events, with a code."""

        def close() -> None:
            for one in self.receivers():
                if one.protocol.state.name == "OPEN":
                    one.protocol.send_close(code, "secret reason")
                    one.send_data()

        self.call(close)

    def deafen(self) -> None:
        """Make the connections that receive events half-open: nothing is pushed, read or answered."""

        def deafen() -> None:
            for one in self.receivers():
                self._deafen(one)

        self.call(deafen)

    def _deafen(self, connection: ServerConnection) -> None:
        # Not even pings are answered; that the client has closed the connection is noticed.
        self.deaf.add(connection)
        connection.data_received = _ignore  # pyright: ignore[reportAttributeAccessIssue] - of this object alone

    def send_raw(self, data: bytes) -> None:
        """Write bytes to the connections that receive events, below the protocol."""
        self.call(lambda: [one.transport.write(data) for one in self.receivers()])

    def delete_key(self) -> None:
        """Make another key the active one, as a DELETE by another program and its POST do."""
        self.keys += 1

    def expire_key(self, times: int = 2) -> None:
        """Announce that the key has expired; the connections stay open and silent."""
        event = {"e": "listenKeyExpired", "E": int(time.time() * 1000), "listenKey": self.active()}

        def expire() -> None:
            for _ in range(times):
                self._push(json.dumps(event).encode())
            self.keys += 1

        self.call(expire)

    async def _handle(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        self.connects += 1
        self._paths[connection] = connection.request.path
        self.connections.append(connection)
        self.greet(connection)
        with suppress(ConnectionClosed):
            async for _ in connection:
                pass
        self.deaf.discard(connection)
        self.close_codes.append(connection.close_code)
        del self._paths[connection]
        if connection in self.connections:
            self.connections.remove(connection)

    async def _serve(self, started: threading.Event) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        options: dict[str, Any] = {"compression": None, "ping_interval": None, "close_timeout": 0.2, "ssl": self._tls}

        def process(*_: object) -> Response | None:
            return self.refuse()

        async with serve(self._handle, "127.0.0.1", 0, process_request=process, **options) as server:
            self.port = next(iter(server.sockets)).getsockname()[1]
            started.set()
            await self._stop.wait()
            for one in [*self.connections, *self.deaf]:
                one.transport.abort()

    def stop(self) -> None:
        """Stop the server."""
        self.call(lambda: self._stop and self._stop.set())


def _ignore(_: bytes) -> None:
    pass


@contextmanager
def stream_server(delivery: Delivery = "all", tls: ssl.SSLContext | None = None) -> Generator[StreamServer, None, None]:
    """Run a server."""
    server = StreamServer(delivery, tls)
    started: Final = threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(server._serve(started)), daemon=True)
    thread.start()
    assert started.wait(10)
    try:
        yield server
    finally:
        server.stop()
        thread.join(10)
