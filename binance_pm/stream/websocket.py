"""Websocket connections on asyncio and trio. Only this module imports the library `websockets`.

The address of a stream ends in a listen key, which gives access to the stream. The library logs the address and puts it
into its errors: its logger is disabled, and its errors are replaced by errors of this package, which do not refer to
them.
"""

from __future__ import annotations

import logging
import socket as sockets
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import cache, partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn
from urllib.parse import quote

import anyio
import sniffio
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidMessage,
    InvalidProxyStatus,
    InvalidStatus,
    ProxyError,
)
from websockets.frames import Opcode
from websockets.protocol import State

from binance_pm.stream.socket import HandshakeCutOff, HandshakeRefused, Socket, SocketClosed
from binance_pm.stream.tunnel import RawStream, open_tunnel
from binance_pm.transport.connect import RESOLVER, Address, ServerAddress, check_server, connected_socket, reached
from binance_pm.transport.http import TransportSettings
from binance_pm.transport.reason import HANDSHAKE, Progress, not_connected
from binance_pm.transport.tls import Secured
from binance_pm.version import VERSION

if TYPE_CHECKING:
    import trio

    from binance_pm.signing import Secret
    from binance_pm.transport.proxy import Proxy

CLOSE_SECONDS: Final = 1.0
"""How long the closing handshake may take."""

_DATA: Final = (Opcode.TEXT, Opcode.BINARY, Opcode.CONT)
_LONGEST_MESSAGE: Final = 2**20
_PIECE: Final = 4096
_BROKE: Final = "the connection broke"
_UPGRADE: Final = "websocket handshake not finished"
_PROTOCOL_ERRORS: Final = {1002, 1003, 1007}
"""Close codes that this side sends if the other side violates the protocol."""
_TOO_LONG: Final = 1009
"""The close code that this side sends after a message that is too long."""

# A logger of the library would write the address of the stream at level DEBUG.
_SILENT: Final = logging.Logger("websockets of binance_pm")  # noqa: LOG001 - it must have no parent
_SILENT.disabled = True


class StreamAddress(NamedTuple):
    """The address of a stream, and how to connect to it."""

    scheme: str
    """``wss`` or ``ws``."""
    host: str
    """A host name or an IP address."""
    port: int
    netloc: str
    """Host and port as messages show them."""
    path: Secret
    """The path, which contains the listen key."""
    settings: TransportSettings
    tls: ssl.SSLContext | None
    """None for ``ws``."""
    proxy: Proxy | None = None

    @property
    def is_tunnelled_by_library(self) -> bool:
        """Whether the library connects to the proxy."""
        return self.proxy is not None and self.proxy.scheme == "https"

    def first_server(self) -> ServerAddress:
        """Return the server to connect to: the proxy, if there is one."""
        host, port = (self.host, self.port) if self.proxy is None else (self.proxy.host, self.proxy.port)
        return ServerAddress(host, port, self.tls, self.settings, RESOLVER)

    def uri(self) -> str:
        """Return the whole address, which contains the listen key."""
        return f"{self.scheme}://{self.netloc}{self.path.reveal().decode()}"


class WebSocket:
    """An open websocket connection; see `Socket`.

    Args:
        connection: the connection of the library.
        abort: closes the connection at once, without a closing handshake.
        ping: sends a ping and waits for its pong; returns False if the connection was closed before.
    """

    __slots__ = ("_abort", "_connection", "_ping")

    def __init__(self, connection: Any, *, abort: Callable[[], object], ping: Callable[[], Awaitable[bool]]) -> None:
        self._connection: Final = connection
        self._abort: Final = abort
        self._ping: Final = ping

    @property
    def server_pings(self) -> int:
        """See `Socket.server_pings`."""
        return self._connection.server_pings

    async def receive(self) -> bytes:
        """See `Socket.receive`."""
        try:
            message = await self._connection.recv(decode=False)
        except ConnectionClosed as error:
            why, was_agreed = _why_closed(error), error.rcvd is not None
        else:
            self._connection.waiting -= 1
            return message
        raise SocketClosed(why, was_agreed=was_agreed)

    async def read(self, handle: Callable[[bytes], object]) -> NoReturn:
        """See `Socket.read`."""
        self._connection.handle = handle
        try:
            while True:
                handle(await self.receive())
        finally:
            self._connection.handle = None

    async def ping(self) -> None:
        """See `Socket.ping`."""
        why = _BROKE
        try:
            if await self._ping():
                return
        except ConnectionClosed as error:
            why = _why_closed(error)
        raise SocketClosed(why)

    async def aclose(self) -> None:
        """See `Socket.aclose`."""
        # The library names this method differently for each event loop.
        await (getattr(self._connection, "aclose", None) or self._connection.close)()

    def abort(self) -> None:
        """See `Socket.abort`."""
        self._abort()


@asynccontextmanager
async def open_socket(address: StreamAddress) -> AsyncGenerator[Socket, None]:
    """Connect to a stream; at the end, close the connection.

    Raises:
        NotConnected, HandshakeRefused, HandshakeCutOff: no connection could be made; the text gives the reason, and
            neither the listen key nor a text of the server.
    """
    progress = Progress(address.settings.timeouts.connect)
    failure, is_refused = "", False
    async with _nursery() as nursery:
        socket: Socket | None = None
        try:
            socket = await _connected(address, nursery, progress)
        except Exception as error:  # noqa: BLE001 - libraries define their own errors
            failure, is_refused = _why_not_connected(error, progress), isinstance(error, InvalidStatus)
        if socket is not None:
            try:
                yield socket
            finally:
                with anyio.move_on_after(CLOSE_SECONDS + 0.3, shield=True):
                    await socket.aclose()
                socket.abort()
    if failure:
        # Not in the handler above: the error must not refer to one that contains the address.
        failed = not_connected(address.netloc, failure)
        if is_refused:
            raise HandshakeRefused(failed.reason)
        raise HandshakeCutOff(failed.reason) if progress.step == _UPGRADE else failed


def _nursery() -> AbstractAsyncContextManager[Any]:
    """Return a context for the tasks that the library starts on trio."""
    if sniffio.current_async_library() == "trio":
        import trio  # noqa: PLC0415 - already loaded: it runs this task

        return trio.open_nursery()
    return nullcontext()


async def _connected(address: StreamAddress, nursery: trio.Nursery | None, progress: Progress) -> Socket:
    options: dict[str, Any] = {
        "compression": None,
        # The proxy of the environment is never used.
        "proxy": None,
        "open_timeout": None,
        # The stream sends pings of its own, because it needs to know when an answered ping was sent.
        "ping_interval": None,
        "close_timeout": CLOSE_SECONDS,
        "max_size": _LONGEST_MESSAGE,
        # The reader never waits for a consumer: with a limit, a slow consumer would lose the connection.
        "max_queue": None,
        "user_agent_header": f"binance-pm/{VERSION}",
        "logger": _SILENT,
    }
    if address.tls is not None:
        options |= {"ssl": address.tls, "server_hostname": address.host}
    if address.is_tunnelled_by_library:
        # Only the library speaks TLS with a proxy.
        options |= {"proxy": _proxy_url(address.proxy), "proxy_ssl": address.tls}
    if nursery is None:
        return await _connected_on_asyncio(address, options, progress)
    return await _connected_on_trio(address, options, progress, nursery)


async def _connected_on_asyncio(address: StreamAddress, options: dict[str, Any], progress: Progress) -> Socket:
    import asyncio  # noqa: PLC0415 - already loaded: it runs this task

    loop = asyncio.get_running_loop()
    raw: sockets.socket | None = None
    try:
        with anyio.fail_after(progress.seconds):
            if not address.is_tunnelled_by_library:
                options["sock"] = raw = await reached(address.first_server(), connected_socket, progress)
                if address.proxy is not None:
                    stream = RawStream(partial(loop.sock_sendall, raw), partial(loop.sock_recv, raw, _PIECE))
                    await open_tunnel(address.proxy, stream, address.host, address.port)
    except BaseException:
        if raw is not None:
            raw.close()
        raise
    progress.step = HANDSHAKE if address.tls else _UPGRADE
    connector = _on_asyncio().prepare(address.uri(), options, address.settings, progress)
    try:
        with anyio.fail_after(progress.seconds):
            connection = await connector.connect()
    finally:
        # As in `binance_pm.transport.connect.dial`: uvloop closes the descriptor, and does not tell the socket object.
        if raw is not None and not isinstance(loop, asyncio.BaseEventLoop):
            raw.detach()

    async def ping() -> bool:
        await (await connection.ping())
        return True

    return WebSocket(connection, abort=connection.transport.abort, ping=ping)


async def _connected_on_trio(
    address: StreamAddress, options: dict[str, Any], progress: Progress, nursery: trio.Nursery
) -> Socket:
    import trio  # noqa: PLC0415 - already loaded: it runs this task

    async def connect(place: Address, local_address: str | None) -> trio.SocketStream:
        family, kind, protocol, _, end = place
        connecting = trio.socket.socket(family, kind, protocol)
        try:
            if local_address is not None:
                await connecting.bind((local_address, 0))
            await connecting.connect(end)
        except BaseException:
            connecting.close()
            raise
        return trio.SocketStream(connecting)

    if not address.is_tunnelled_by_library:
        with anyio.fail_after(progress.seconds):
            options["stream"] = stream = await reached(address.first_server(), connect, progress)
            if address.proxy is not None:
                try:
                    raw = RawStream(stream.send_all, partial(stream.receive_some, _PIECE))
                    await open_tunnel(address.proxy, raw, address.host, address.port)
                except BaseException:
                    stream.socket.close()
                    raise
    progress.step = HANDSHAKE if address.tls else _UPGRADE
    connector = _on_trio().prepare(address.uri(), options, address.settings, progress)
    with anyio.fail_after(progress.seconds):
        connection = await connector.connect(nursery)
    # The TLS stream wraps that of the TCP connection.
    inner: Any = getattr(connection.stream, "transport_stream", connection.stream)
    inner = getattr(inner, "transport_stream", inner)

    async def ping() -> bool:
        pong = await connection.ping(ack_on_close=True)
        await pong.wait()
        return connection.state is State.OPEN

    return WebSocket(connection, abort=inner.socket.close, ping=ping)


@cache
def _on_asyncio() -> _ClientClasses:
    from websockets.asyncio.client import ClientConnection, connect  # noqa: PLC0415 - not on trio

    return _checked_classes(
        connect, ClientConnection, lambda connection: connection.transport.get_extra_info("ssl_object")
    )


@cache
def _on_trio() -> _ClientClasses:
    import trio  # noqa: PLC0415 - already loaded: it runs this task
    from websockets.trio.client import ClientConnection, connect  # noqa: PLC0415 - not on asyncio

    class LastingConnection(ClientConnection):
        """A connection whose reader is not cancelled: without the reader, the closing handshake would time out."""

        async def recv_events(self) -> None:
            with trio.CancelScope(shield=True):
                await super().recv_events()

    def secured(connection: Any) -> Secured | None:
        return connection.stream if hasattr(connection.stream, "selected_alpn_protocol") else None

    return _checked_classes(connect, LastingConnection, secured)


class _ClientClasses(NamedTuple):
    """What the library provides for one event loop."""

    connector: type[Any]
    connection: type[Any]

    def prepare(self, uri: str, options: dict[str, Any], settings: TransportSettings, progress: Progress) -> Any:
        """Return the library's connector for the address."""
        made = partial(self.connection, settings=settings, progress=progress)
        return self.connector(uri, create_connection=made, **options)


def _checked_classes(connect: type[Any], connection_class: type[Any], secured: Callable[[Any], Any]) -> _ClientClasses:
    class CheckedConnection(connection_class):
        """A connection that checks the server before the request is sent."""

        def __init__(self, *args: Any, settings: TransportSettings, progress: Progress, **options: Any) -> None:
            connection_class.__init__(self, *args, **options)
            self._settings = settings
            self._progress = progress
            self.server_pings: int = 0
            self.handle: Callable[[bytes], object] | None = None
            """Called with a message as soon as it has arrived."""
            self.waiting: int = 0
            """How many messages wait in the library's queue."""

        def process_event(self, event: Any) -> None:
            opcode = getattr(event, "opcode", None)
            if opcode in _DATA and event.fin:
                # Waking a task for each message would take as long as decoding it. A message in fragments, and what
                # follows while that message waits, go through the library's queue.
                if self.handle is not None and not self.waiting and opcode is not Opcode.CONT:
                    self.handle(bytes(event.data))
                    return
                self.waiting += 1
            elif opcode is Opcode.PING:
                # The library answers pings without telling its user.
                self.server_pings += 1
            connection_class.process_event(self, event)

        async def handshake(self, *args: Any, **options: Any) -> None:
            check_server(secured(self), self._settings)
            self._progress.step = _UPGRADE
            await connection_class.handshake(self, *args, **options)

    class DirectConnect(connect):
        """Connects without following redirects: the listen key is sent to no other server."""

        def process_redirect(self, exc: Exception) -> Exception:
            return exc

    return _ClientClasses(DirectConnect, CheckedConnection)


def _proxy_url(proxy: Proxy | None) -> str:
    assert proxy is not None, "the library tunnels"  # noqa: S101 - for the type checker
    if proxy.auth is None:
        return proxy.url
    user, password = (quote(part, safe="") for part in proxy.auth)
    return f"{proxy.scheme}://{user}:{password}@{proxy.place}"


def _why_closed(error: ConnectionClosed) -> str:
    if error.rcvd is not None:
        return f"the exchange closed the connection (code {int(error.rcvd.code)})"
    if error.sent is not None and error.sent.code == _TOO_LONG:
        return f"the exchange sent a message of more than {_LONGEST_MESSAGE} bytes"
    if error.sent is not None and error.sent.code in _PROTOCOL_ERRORS:
        return "the exchange sent a frame that violates the websocket protocol"
    return _BROKE


def _why_not_connected(error: Exception, progress: Progress) -> str:
    match error:
        case InvalidStatus():
            return f"answered {_status(error.response.status_code)} to the websocket handshake"
        case InvalidProxyStatus():
            return f"the proxy answered {_status(error.response.status_code)} to CONNECT"
        case ProxyError():
            return "the proxy refused the connection"
        case InvalidMessage():
            return "the connection was closed during the websocket handshake"
        case InvalidHandshake():
            return f"the websocket handshake failed ({type(error).__name__})"
        case _:
            return progress.cause(error)


def _status(code: int) -> str:
    try:
        return f"{code} {HTTPStatus(code).phrase}"
    except ValueError:
        return str(code)
