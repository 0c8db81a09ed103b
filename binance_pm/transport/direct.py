"""The direct engine: asyncio connections, parsed by httptools. No other module of the package imports httptools.

The engine speaks HTTP/1.1 without proxies on asyncio and uvloop; the httpx engine covers everything else. A request is
written in one piece right after `departing` is called: before that call no byte has left this machine, and from then on
the request counts as sent, whatever happens to the connection. A connection is reused only if its response ended as
announced and nothing followed; a connection in any other state is aborted at once.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final, NamedTuple, NoReturn, cast

from httptools import HttpParserError, HttpResponseParser

from binance_pm.transport import mocks
from binance_pm.transport.connect import RESOLVER, Resolver, ServerAddress, dial
from binance_pm.transport.desync import AMBIGUOUS, TLS_CLOSE_SIZE, TOO_EARLY
from binance_pm.transport.head import Head
from binance_pm.transport.http import (
    COMPRESSED,
    LONGEST_HEAD,
    REFUSALS,
    HttpRequest,
    HttpResponse,
    SendFailed,
    TransportSettings,
    is_compressed,
    parse_origin,
)
from binance_pm.transport.reason import Progress, not_connected
from binance_pm.transport.sockets import Descriptors, readiness, unacknowledged, unread
from binance_pm.transport.tls import tls_settings

_BUFFER_SIZE: Final = 2**18
_CLOSING_SECONDS: Final = 0.5
_USUAL_HEAD: Final = 4096
"""In bytes; copying the beginning of the body, too, would take time."""
_MOST_LINES: Final = 129
"""Of a head."""
_NO_HEAD: Final = Head(b"")

_CLOSED: Final = "the transport was closed before the response was complete"
_NOT_HTTP: Final = "the response was not HTTP"
_TOO_LONG: Final = "the response headers are too long"


class DirectTransport:
    """A transport with its own connections, bound to the asyncio event loop on which it is created."""

    def __init__(self, settings: TransportSettings, resolver: Resolver = RESOLVER) -> None:
        self._loop: Final = asyncio.get_running_loop()
        self._settings: Final = settings
        self._timeouts: Final = settings.timeouts
        self._tls: ssl.SSLContext | None = settings.tls
        self._resolver: Final = resolver
        self._places: Final = asyncio.Semaphore(settings.max_connections)
        self._hosts: Final[dict[tuple[str, str], _Host]] = {}
        """By origin and account: accounts never share a connection."""
        self._descriptors: Final = Descriptors()
        self._connections: Final[set[_Connection]] = set()
        # Shared by all connections: received data is parsed before the next connection is read.
        self._buffer: Final = memoryview(bytearray(_BUFFER_SIZE))
        self._limits: Final[set[asyncio.Timeout]] = set()
        self._closed: bool = False

    async def send(self, request: HttpRequest, departing: Callable[[], None]) -> HttpResponse:
        """See `Transport.send`."""
        if mocks.IS_OFFLINE:
            mocks.check_is_local(request.origin)
        latest = self._loop.time() + self._timeouts.total
        place = self._places.acquire()
        await (self._limited(place, latest, _no_place) if self._places.locked() else place)
        connection: _Connection | None = None
        try:
            host = self._hosts.get((request.origin, request.account)) or self._host(request.origin, request.account)
            head = request.head(host.netloc)
            connection = host.idle_connection() or await self._connect(host, latest)
            if self._loop.time() >= latest:
                raise SendFailed.overdue(self._timeouts.total, sent=False)
            departing()
            return await connection.send(head.reveal(), latest)
        finally:
            if connection is not None:
                connection.keep_or_end()
            self._places.release()

    async def aclose(self) -> None:
        """See `Transport.aclose`."""
        self._closed = True
        for limit in self._limits:
            if not limit.expired():
                limit.reschedule(0)
        for connection in list(self._connections):
            connection.end(_CLOSED)
        if lost := [connection.lost for connection in self._connections]:
            await asyncio.wait(lost, timeout=_CLOSING_SECONDS)

    def discard_idle_connections(self, request: HttpRequest) -> None:
        """See `Transport.discard_idle_connections`."""
        host = self._hosts.get((request.origin, request.account))
        for connection in list(host.idle) if host else ():
            connection.end(_CLOSED)

    def abandon(self) -> None:
        """See `Transport.abandon`."""
        self._closed = True
        self._descriptors.drop()
        self._hosts.clear()
        self._connections.clear()

    def _host(self, origin: str, account: str) -> _Host:
        self._forget_unused()
        parts = parse_origin(origin)
        tls = None
        if parts.scheme == "https":
            tls = self._tls = self._tls or self._default_tls(parts.netloc)
        address = ServerAddress(parts.host, parts.port, tls, self._settings, self._resolver)
        return self._hosts.setdefault((origin, account), _Host(address, parts.netloc, []))

    @staticmethod
    def _default_tls(netloc: str) -> ssl.SSLContext:
        try:
            return tls_settings()
        except OSError as error:
            cause = Progress(None).cause(error)
            raise not_connected(netloc, f"the trusted certificates cannot be read ({cause})") from error

    def _forget_unused(self) -> None:
        """Forget hosts without connections if there are more hosts than connections: accounts come and go."""
        if len(self._hosts) > self._settings.max_connections:
            used = {id(connection.host) for connection in self._connections}
            for place in [place for place, host in self._hosts.items() if id(host) not in used]:
                del self._hosts[place]

    async def _limited(self, what: Awaitable[object], latest: float, too_late: Callable[[], SendFailed]) -> None:
        """Wait, but at most for the connect timeout, until the request's deadline or until the transport is closed."""
        until = min(self._loop.time() + self._timeouts.connect, latest)
        try:
            async with asyncio.timeout_at(0 if self._closed else until) as limit:
                self._limits.add(limit)
                try:
                    await what
                finally:
                    self._limits.discard(limit)
        except TimeoutError:
            if until == latest and not self._closed:
                raise SendFailed.overdue(self._timeouts.total, sent=False) from None
            raise (SendFailed("the transport was closed", sent=False) if self._closed else too_late()) from None

    async def _connect(self, host: _Host, latest: float) -> _Connection:
        """Open a connection; at the connection limit, first close the connection that has been idle longest."""
        if self._closed:
            raise SendFailed("the transport was closed", sent=False)
        if len(self._connections) >= self._settings.max_connections:
            self._make_room()
        connection = _Connection(host, self._connections, self._settings, self._buffer)
        progress = Progress(self._timeouts.connect)
        try:
            dialled = dial(host.address, connection, progress)
            await self._limited(dialled, latest, lambda: not_connected(host.netloc, progress.late))
            if not connection.is_open():
                raise ConnectionError("the server closed it at once")  # noqa: TRY301 - reported like any other failure
            self._descriptors.add(connection.descriptor)
        except BaseException as error:
            self._connections.discard(connection)
            connection.end(_CLOSED)
            if not isinstance(error, (OSError, ValueError)):
                raise
            raise not_connected(host.netloc, progress.cause(error)) from error
        return connection

    def _make_room(self) -> None:
        idle = [connection for known in self._hosts.values() for connection in known.idle]
        # Connections that are being closed do not count.
        if idle and sum(not connection.is_ended for connection in self._connections) >= self._settings.max_connections:
            min(idle, key=lambda connection: connection.deadline).end(_CLOSED)


def _no_place() -> SendFailed:
    return SendFailed("no connection was free in time", sent=False)


class _Host(NamedTuple):
    """One origin for one account, and its idle connections, the most recently used last."""

    address: ServerAddress
    netloc: str
    idle: list[_Connection]

    def idle_connection(self) -> _Connection | None:
        """Return the most recently used connection, which is the most likely to be still open; None without one."""
        while self.idle:
            connection = self.idle.pop()
            if connection.is_open() and not connection.readable(0):
                return connection
            connection.end(_CLOSED)
        return None


class _Connection(asyncio.BufferedProtocol):
    """A connection that carries one call at a time and parses its response."""

    readable: Callable[[int], Sequence[object]]
    """Called with 0: whether anything has arrived, as far as the system knows."""
    _transport: asyncio.Transport
    _timer: asyncio.TimerHandle
    _response: asyncio.Future[HttpResponse] | None = None
    _status: int = 0
    """Status of the response, once its head is complete."""
    _unproductive: int = 0
    """Number of bytes received without completing a head or adding to a body."""
    _unacknowledged: int = 0
    """Size in bytes of the request in flight, as long as nothing has been received."""
    _is_whole: bool = False
    """Whether the response to the last request is complete."""
    _ends_here: bool = False
    """Whether that response is the last on the connection."""
    is_ended: bool = False
    """Whether the connection was aborted; the event loop may still have to close the socket."""
    _close_size: int = 0
    """How many bytes may be waiting after a response without counting as surplus."""
    _was_used: bool = False
    """Whether the connection has already delivered an earlier response."""
    descriptor: int

    def __init__(self, host: _Host, made: set[_Connection], settings: TransportSettings, buffer: memoryview) -> None:
        self._loop: Final = asyncio.get_running_loop()
        self.host: Final = host
        self._made: Final = made
        self._settings: Final = settings
        self._buffer: Final = buffer
        self._parser: Final = HttpResponseParser(self)
        self._begun: bytes = b""
        """What was received of a head that is not complete."""
        self._received: bytes | memoryview = b""
        """What arrived last, as far as it may belong to a head."""
        self._headers: Head = _NO_HEAD
        self._pieces: list[bytes] = []
        self._size: int = 0
        self.deadline: float = 0.0
        """Event loop time at which the call in flight fails, or at which an idle connection expires."""
        self._latest: float = 0.0
        """Event loop time at which the call in flight fails, whatever has arrived by then."""
        self.lost: Final[asyncio.Future[None]] = self._loop.create_future()
        made.add(self)

    def is_open(self) -> bool:
        """Return whether the connection can carry a call, as far as the event loop knows."""
        return self._loop.time() < self.deadline and not self._transport.is_closing()

    def send(self, request: bytes, latest: float) -> asyncio.Future[HttpResponse]:
        """Write the request and return its response, due at `latest`; from here on the request counts as sent."""
        self._latest = latest
        self.deadline = min(self._loop.time() + self._settings.timeouts.read, self._latest)
        self._status = self._unproductive = 0
        self._is_whole = False
        self._begun = b""
        self._unacknowledged = len(request)
        self._response = response = self._loop.create_future()
        self._transport.write(request)
        if self.deadline < self._timer.when():
            self._check_deadline()
        return response

    def keep_or_end(self) -> None:
        """Finish the call. If the call was abandoned, its response may still arrive and must not reach another call."""
        if self._response is None and not self._transport.is_closing():
            self.host.idle.append(self)
        else:
            self.end(_CLOSED)

    def end(self, reason: str, cause: Exception | None = None) -> None:
        """Abort the connection; a call in flight fails with the given reason, or receives its refusal."""
        self.is_ended = True
        with suppress(ValueError):
            self.host.idle.remove(self)
        if self.deadline:
            self._timer.cancel()
            self._transport.abort()
        if self._status in REFUSALS:
            self._settle(b"".join(self._pieces))
        response, self._response = self._response, None
        if response is not None and not response.done():
            failure = SendFailed(reason, sent=True)
            failure.__cause__ = cause
            response.set_exception(failure)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)
        self.descriptor = transport.get_extra_info("socket").fileno()
        self.readable = readiness(self.descriptor)
        self._close_size = TLS_CLOSE_SIZE if self.host.address.tls else 0
        self.deadline = self._loop.time() + self._settings.keepalive_seconds
        self._timer = self._loop.call_at(self.deadline, self._check_deadline)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        """See `asyncio.BufferedProtocol`."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """See `asyncio.BufferedProtocol`."""
        if self._response is None:
            self.end(_CLOSED)
            return
        if self._status not in REFUSALS:
            self.deadline = min(self._loop.time() + self._settings.timeouts.read, self._latest)
        self._unproductive += nbytes
        if size := self._unacknowledged:
            self._unacknowledged = 0
            if size <= unacknowledged(self.descriptor):
                self.end(TOO_EARLY)
                return
        surplus = False
        self._received = self._buffer[: min(nbytes, LONGEST_HEAD)]
        try:
            self._parser.feed_data(self._buffer[:nbytes])
        except HttpParserError as error:
            surplus = self._is_whole
            if not surplus:
                self.end(_NOT_HTTP, error)
        if not self._status:
            self._begun += self._received
        if self._is_whole:
            self._accept_or_end(surplus=surplus)
        elif self._unproductive > LONGEST_HEAD:
            self.end(_TOO_LONG)

    def eof_received(self) -> None:
        """See `asyncio.Protocol`."""
        # Under TLS, asyncio does not report whether the server announced the end of the stream.
        is_delimited = "content-length" in self._headers or "transfer-encoding" in self._headers
        if self._status and not (self.host.address.tls or is_delimited):
            self._settle(b"".join(self._pieces))
        self.end("the connection was closed before the response was complete")

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self.end("the connection broke before the response was complete", exc)
        self._made.discard(self)
        self.lost.set_result(None)

    def on_message_begin(self) -> None:
        """See `HttpResponseParser`."""
        if self._is_whole:
            raise ValueError("the response was complete")
        self._pieces, self._size = [], 0

    def on_headers_complete(self) -> None:
        """See `HttpResponseParser`."""
        # The parser accepts only heads that end like this, after empty lines that it ignores.
        received = (self._begun + self._received[:_USUAL_HEAD]).lstrip(b"\r\n")
        end = received.find(b"\r\n\r\n")
        status = self._parser.get_status_code()
        is_interim = 100 <= status < 200 and status != 101
        if is_interim or end < 0:
            received = (self._begun + self._received).lstrip(b"\r\n")
            end = received.find(b"\r\n\r\n")
        if is_interim and end >= 0:
            self._begun, self._received = received[end + 4 :], b""
            return
        self._headers = headers = Head(received[:end])
        self._status = status
        if not 0 <= end <= LONGEST_HEAD or headers.lines > _MOST_LINES:
            self._stop(_TOO_LONG)
        if headers.has_codings and (
            is_compressed(headers) or headers.get("transfer-encoding", "chunked").lower() != "chunked"
        ):
            self._stop(COMPRESSED)
        if status < 200:
            self._stop(_NOT_HTTP)
        self._unproductive = 0
        if status in REFUSALS:
            self.deadline = min(self._loop.time() + self._settings.refusal_seconds, self._latest)
            self._check_deadline()

    def on_body(self, piece: bytes) -> None:
        """See `HttpResponseParser`."""
        self._unproductive = 0
        self._size += len(piece)
        if self._size > self._settings.max_body:
            self._settle(b"".join(self._pieces) if self._status in REFUSALS else None)
            self._stop(_TOO_LONG)
        self._pieces.append(piece)

    def on_message_complete(self) -> None:
        """See `HttpResponseParser`."""
        if self._status:
            self._is_whole = True
            self._ends_here = not self._parser.should_keep_alive()

    def _accept_or_end(self, *, surplus: bool) -> None:
        """Settle the call with the complete response, if the response certainly belongs to the call."""
        if self._was_used and (surplus or (not self._ends_here and unread(self.descriptor) > self._close_size)):
            # Not even a refusal is trusted: the request may have been executed.
            self._status = 0
            self.end(AMBIGUOUS)
            return
        self._was_used = True
        self._settle(b"".join(self._pieces))
        if surplus or self._ends_here:
            self.end(_CLOSED)

    def _settle(self, body: bytes | None) -> None:
        """Give the call its response."""
        response, self._response = self._response, None
        # The pieces are kept until the next response: otherwise the system takes back memory that is needed again.
        headers, self._headers, self._received = self._headers, _NO_HEAD, b""
        self.deadline = self._loop.time() + self._settings.keepalive_seconds
        if response is not None and not response.done():
            response.set_result(HttpResponse(self._status, headers, body))

    def _stop(self, reason: str) -> NoReturn:
        """End the connection from within the parser, which an error stops."""
        self.end(reason)
        raise ValueError(reason)

    def _check_deadline(self) -> None:
        """End the connection if its deadline has passed, else check again then: few calls set a new timer."""
        self._timer.cancel()
        if self._loop.time() < self.deadline:
            self._timer = self._loop.call_at(self.deadline, self._check_deadline)
        elif self.deadline == self._latest:
            self.end(SendFailed.overdue(self._settings.timeouts.total, sent=True).reason)
        else:
            self.end(
                "timed out while sending"
                if self._transport.get_write_buffer_size()
                else "timed out waiting for the response"
            )
