"""Serve the exchange on a socket of this machine, from a separate thread."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import socket
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from anyio.from_thread import start_blocking_portal
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from binance_pm.sandbox.app import DROP, create_app, create_file_app
from binance_pm.sandbox.websocket import STREAMS, StreamSocket

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Collection, Generator

    from starlette.types import ASGIApp

    from binance_pm.sandbox.exchange import Exchange
    from binance_pm.sandbox.streams import EventStreams

# uvicorn reports the effects of faults as errors of the application; these messages are not useful.
_SILENT = logging.getLogger("binance_pm.sandbox.connections")
_SILENT.setLevel(logging.CRITICAL + 1)
_SILENT.disabled = True

_BACKLOG = 2048
_KEEP_ALIVE_SECONDS = 75


@contextmanager
def serve(
    exchange: Exchange, *, host: str = "127.0.0.1", port: int = 0, beyond_loopback: bool = False
) -> Generator[str]:
    """Serve an exchange from a background thread until the block ends.

    The server listens when the block begins, and so does a second one on a free port, for the files of downloads. When
    the block ends, all connections are closed at once, even during a request.

    Args:
        exchange: the exchange to serve. The block may control and read it meanwhile.
        host: the address to listen on.
        port: the port to listen on, 0 for any free one.
        beyond_loopback: allow an address that other machines can reach.

    Yields:
        The base URL, such as ``http://127.0.0.1:54321``.

    Raises:
        OSError: the address cannot be used, usually because the port is in use.
        ValueError: other machines could reach the address.
    """
    with (
        _listen(host, port, beyond_loopback=beyond_loopback) as listener,
        _listen(host, 0, beyond_loopback=beyond_loopback) as for_files,
        start_blocking_portal("asyncio") as portal,
        portal.wrap_async_context_manager(
            _serving(create_app(exchange), listener, exchange.connections, exchange.streams)
        ),
        portal.wrap_async_context_manager(_serving(create_file_app(exchange), for_files, [])),
    ):
        exchange.files.place = _place_of(for_files)
        yield f"http://{_place_of(listener)}"


def _place_of(listener: socket.socket) -> str:
    address, port = listener.getsockname()[:2]
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _listen(host: str, port: int, *, beyond_loopback: bool) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    if not (beyond_loopback or ipaddress.ip_address(address[0]).is_loopback):
        raise ValueError(f"other machines could reach {host}: say beyond_loopback=True if they should")
    listener = socket.socket(family, kind, protocol)
    try:
        # On POSIX, allow a port with connections in TIME_WAIT; on Windows, the option would allow a second listener.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, os.name == "posix")
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise OSError(error.errno, f"cannot listen on {host}:{port}: {error.strerror}") from error
    return listener


@asynccontextmanager
async def _serving(
    app: ASGIApp, listener: socket.socket, connections: list[Collection[object]], streams: EventStreams | None = None
) -> AsyncGenerator[None]:
    config = Config(
        app,
        interface="asgi3",
        lifespan="off",
        ws="none" if streams is None else StreamSocket,
        log_config=None,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
    )
    config.load()
    state = ServerState()
    server = await asyncio.get_running_loop().create_server(lambda: _protocol(config, state, streams), sock=listener)
    connections.append(state.connections)
    ticking = asyncio.create_task(_tick(streams))
    try:
        yield
    finally:
        server.close()
        ticking.cancel()
        await _hang_up(state)
        connections.remove(state.connections)
        with suppress(asyncio.CancelledError):
            await ticking


async def _tick(streams: EventStreams | None) -> None:
    """Call `EventStreams.tick` periodically, if there are user data streams."""
    while streams is not None:
        await asyncio.sleep(streams.rules.tick)
        streams.tick()


def _protocol(config: Config, state: ServerState, streams: EventStreams | None) -> H11Protocol:
    """Return the protocol of one connection; without uvicorn.Server, which would log and add its own headers."""
    scope_state: dict[str, Any] = {STREAMS: streams}
    protocol = H11Protocol(config=config, server_state=state, app_state=scope_state)
    protocol.logger = _SILENT
    protocol.access_log = False

    def drop() -> None:
        protocol.transport.abort()

    scope_state[DROP] = drop
    return protocol


async def _hang_up(state: ServerState) -> None:
    for connection in tuple(state.connections):
        connection.transport.abort()
    # In the next iteration of the loop, each protocol notices that it is disconnected and stops writing.
    await asyncio.sleep(0)
    tasks = tuple(state.tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
