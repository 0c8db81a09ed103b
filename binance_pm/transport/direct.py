"""The direct engine: asyncio's own connections, parsed by httptools. Nothing else in the package imports httptools.

It speaks HTTP/1.1 without proxies on asyncio and uvloop; what it does not do, the httpx engine does. A request is
written in one piece right after `departing`: before that nothing of it has left, from then on it counts as sent,
whatever becomes of the connection. A connection is used again only where an answer ended as it was announced and
nothing came after it; one that is in any other state is cut off at once.
"""

from __future__ import annotations

import asyncio
import select
import ssl
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Final, NamedTuple, NoReturn, cast
from urllib.parse import urlsplit

from httptools import HttpParserError, HttpResponseParser

from binance_pm.transport import (
    KEEPALIVE_SECONDS,
    MAX_CONNECTIONS,
    REFUSALS,
    REFUSALS_BODY_SECONDS,
    HttpAnswer,
    HttpRequest,
    SendFailed,
    Timeouts,
)
from binance_pm.transport.dial import Way, dial, reason_of
from binance_pm.transport.httpx import default_tls

_LONGEST_HEAD: Final = 2**16
_MOST_HEADERS: Final = 128
_CLOSING_SECONDS: Final = 0.5

_CLOSED: Final = "the transport was closed before the whole answer had come"
_NOT_HTTP: Final = "the answer was not HTTP"
_TOO_LONG: Final = "the head of the answer is longer than accepted"


class DirectTransport:
    """Sends requests over connections of its own. It belongs to the event loop of asyncio that it is made on.

    Args:
        timeouts: how long one request may take.
        max_body: bytes of an answer that are accepted.
        tls: settings for https; None for the defaults of httpx.
        pins: SHA-256 of the certificates that a server may show, in hexadecimal digits of lower case; empty for
            whatever `tls` accepts.
        local_address: the IP address of this machine to connect from; None for the system's choice.
    """

    def __init__(
        self,
        *,
        timeouts: Timeouts,
        max_body: int,
        tls: ssl.SSLContext | None = None,
        pins: frozenset[str] = frozenset(),
        local_address: str | None = None,
    ) -> None:
        self._seconds: Final = timeouts.connect
        self._read: Final = timeouts.read
        self._max_body: Final = max_body
        self._tls: ssl.SSLContext | None = tls
        self._pins: Final = pins
        self._local_address: Final = local_address
        self._places: Final = asyncio.Semaphore(MAX_CONNECTIONS)
        self._hosts: Final[dict[str, _Host]] = {}
        self._connections: Final[set[_Connection]] = set()
        self._limits: Final[set[asyncio.Timeout]] = set()
        self._closed: bool = False

    async def send(self, request: HttpRequest, departing: Callable[[], None]) -> HttpAnswer:
        """See `Transport.send`."""
        host = self._hosts.get(request.url) or self._host(request.url)
        head = request.head(host.header)
        place = self._places.acquire()
        await (self._limited(place, "no connection was free in time") if self._places.locked() else place)
        connection: _Connection | None = None
        try:
            connection = host.idle_connection() or await self._connect(host)
            departing()
            return await connection.ask(head)
        finally:
            if connection is not None:
                connection.keep_or_end()
            self._places.release()

    async def aclose(self) -> None:
        """See `Transport.aclose`."""
        self._closed = True
        for limit in self._limits:
            limit.reschedule(0)
        for connection in list(self._connections):
            connection.end(_CLOSED)
        if lost := [connection.lost for connection in self._connections]:
            await asyncio.wait(lost, timeout=_CLOSING_SECONDS)

    def _host(self, url: str) -> _Host:
        with suppress(ValueError):
            parts = urlsplit(url)
            port = {"http": 80, "https": 443}.get(parts.scheme)
            if port and parts.hostname:
                tls = None
                if parts.scheme == "https":
                    tls = self._tls = self._tls or default_tls()
                    # A server that is offered nothing else speaks it.
                    tls.set_alpn_protocols(["http/1.1"])
                way = Way(parts.hostname, parts.port or port, tls, self._pins, self._local_address)
                return self._hosts.setdefault(url, _Host(way, f"Host: {parts.netloc}", []))
        raise SendFailed("the URL of the request is none", sent=False)

    async def _limited(self, what: Awaitable[object], too_late: str) -> None:
        """Wait at most for the connect timeout, or until the transport is closed."""
        try:
            async with asyncio.timeout(0 if self._closed else self._seconds) as limit:
                self._limits.add(limit)
                try:
                    await what
                finally:
                    self._limits.discard(limit)
        except TimeoutError:
            raise SendFailed("the transport was closed" if self._closed else too_late, sent=False) from None

    async def _connect(self, host: _Host) -> _Connection:
        """A new connection; where there are as many as may be, that which was idle for longest makes way."""
        idle = [connection for known in self._hosts.values() for connection in known.idle]
        if idle and len(self._connections) >= MAX_CONNECTIONS:
            min(idle, key=lambda connection: connection.deadline).end(_CLOSED)
        connection = _Connection(host, self._connections, self._read, self._max_body)
        try:
            await self._limited(dial(host.way, connection, seconds=self._seconds), "the connection took too long")
            if not connection.is_open():
                raise ConnectionError("the server closed it at once")  # noqa: TRY301 - told as any other failure
        except BaseException as error:
            self._connections.discard(connection)
            connection.end(_CLOSED)
            if not isinstance(error, (OSError, ValueError)):
                raise
            raise SendFailed(f"no connection could be made{reason_of(error)}", sent=False) from error
        return connection


class _Host(NamedTuple):
    """One origin, and its connections that no call is on, the last used last."""

    way: Way
    header: str
    idle: list[_Connection]

    def idle_connection(self) -> _Connection | None:
        """The connection used last: the one most likely to be open still."""
        while self.idle:
            connection = self.idle.pop()
            if connection.is_open() and not connection.readable(0):
                return connection
            connection.end(_CLOSED)
        return None


class _Connection(asyncio.Protocol):
    """One connection: it carries one call at a time, and parses its answer."""

    readable: Callable[[int], Sequence[object]]
    """Asked with 0: whether something has arrived, by what the system knows."""
    _transport: asyncio.Transport
    _timer: asyncio.TimerHandle
    _answer: asyncio.Future[HttpAnswer] | None = None
    _status: int = 0
    """That of the answer, once its head is complete."""
    _unproductive: int = 0
    """How many bytes have come that brought neither the end of a head nor any of a body."""

    def __init__(self, host: _Host, made: set[_Connection], read: float, max_body: int) -> None:
        self._loop: Final = asyncio.get_running_loop()
        self._host: Final = host
        self._made: Final = made
        self._read: Final = read
        self._max_body: Final = max_body
        self._parser: Final = HttpResponseParser(self)
        self._fields: list[tuple[bytes, bytes]] = []
        self._headers: dict[str, str] = {}
        self._pieces: list[bytes] = []
        self._size: int = 0
        self.deadline: float = 0.0
        """The event loop's time at which the call under way fails, or the connection was idle for long enough."""
        self.lost: Final[asyncio.Future[None]] = self._loop.create_future()
        made.add(self)

    def is_open(self) -> bool:
        """Whether it can carry a call, by what the event loop knows."""
        return self._loop.time() < self.deadline and not self._transport.is_closing()

    def ask(self, request: bytes) -> asyncio.Future[HttpAnswer]:
        """Write the request; from here on it counts as sent."""
        self.deadline = self._loop.time() + self._read
        self._status = self._unproductive = 0
        self._answer = answer = self._loop.create_future()
        self._transport.write(request)
        return answer

    def keep_or_end(self) -> None:
        """Its call is over. Where that was given up, the answer may still come: it must not meet another call."""
        if self._answer is None and not self._transport.is_closing():
            self._host.idle.append(self)
        else:
            self.end(_CLOSED)

    def end(self, reason: str, cause: Exception | None = None) -> None:
        """Cut it off; the call under way, if any, fails for the reason given, or has its refusal."""
        with suppress(ValueError):
            self._host.idle.remove(self)
        if self.deadline:
            self._timer.cancel()
            self._transport.abort()
        if self._status in REFUSALS:
            self._settle(b"".join(self._pieces))
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():
            failure = SendFailed(reason, sent=True)
            failure.__cause__ = cause
            answer.set_exception(failure)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)
        self.readable = _readiness(transport.get_extra_info("socket").fileno())
        self.deadline = self._loop.time() + KEEPALIVE_SECONDS
        self._timer = self._loop.call_later(self._read, self._look)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self._answer is None:
            self.end(_CLOSED)
            return
        if self._status not in REFUSALS:
            self.deadline = self._loop.time() + self._read
        self._unproductive += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserError as error:
            self.end(_NOT_HTTP, error)
        if self._unproductive > _LONGEST_HEAD:
            self.end(_TOO_LONG)

    def eof_received(self) -> None:
        """See `asyncio.Protocol`."""
        # Under TLS asyncio does not tell whether the server said that this is the end.
        is_whole = not self._host.way.tls and not {"content-length", "transfer-encoding"} & self._headers.keys()
        if self._status and is_whole:
            self._settle(b"".join(self._pieces))
        self.end("the connection closed before the whole answer had come")

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self.end("the connection broke before the whole answer had come", exc)
        self._made.discard(self)
        self.lost.set_result(None)

    def on_message_begin(self) -> None:
        """See `HttpResponseParser`."""
        if self._answer is None:
            raise ValueError("the answer was complete")
        self._fields, self._pieces, self._size = [], [], 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """See `HttpResponseParser`. What follows a body is not part of the head."""
        if not self._status:
            self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        """See `HttpResponseParser`."""
        status = self._parser.get_status_code()
        if 100 <= status < 200 and status != 101:
            return
        self._headers = headers = dict[str, str]()
        size = 0
        for raw, content in self._fields:
            size += len(raw) + len(content)
            name, value = _name_of(raw), content.decode("latin-1").strip(" \t")
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        self._status = status
        if size > _LONGEST_HEAD or len(self._fields) > _MOST_HEADERS:
            self._stop(_TOO_LONG)
        if headers.get("content-encoding", "identity") != "identity":
            self._stop("the answer is compressed, which was not asked for")
        if status < 200 or headers.get("transfer-encoding", "chunked").lower() != "chunked":
            self._stop(_NOT_HTTP)
        self._unproductive = 0
        if status in REFUSALS:
            self.deadline = self._loop.time() + REFUSALS_BODY_SECONDS
            self._timer.cancel()
            self._look()

    def on_body(self, piece: bytes) -> None:
        """See `HttpResponseParser`."""
        self._unproductive = 0
        self._size += len(piece)
        if self._size > self._max_body:
            self._settle(b"".join(self._pieces) if self._status in REFUSALS else None)
            self._stop(_TOO_LONG)
        self._pieces.append(piece)

    def on_message_complete(self) -> None:
        """See `HttpResponseParser`."""
        if self._status:
            self._settle(b"".join(self._pieces))
            if not self._parser.should_keep_alive():
                self.end(_CLOSED)

    def _settle(self, body: bytes | None) -> None:
        """The call has its answer."""
        answer, self._answer = self._answer, None
        self.deadline = self._loop.time() + KEEPALIVE_SECONDS
        if answer is not None and not answer.done():
            answer.set_result(HttpAnswer(self._status, self._headers, body))

    def _stop(self, reason: str) -> NoReturn:
        """End it from within the parser, which an error stops."""
        self.end(reason)
        raise ValueError(reason)

    def _look(self) -> None:
        """End it where its time has come, else look again later: no call sets a timer of its own."""
        now = self._loop.time()
        if now < self.deadline:
            # A call that begins meanwhile may have to end earlier than the idle connection.
            self._timer = self._loop.call_at(min(self.deadline, now + self._read), self._look)
        else:
            self.end("sending took too long" if self._transport.get_write_buffer_size() else "the answer took too long")


# The same few names come with every answer.
@lru_cache(maxsize=256)
def _name_of(raw: bytes) -> str:
    return raw.decode("latin-1").lower()


def _readiness(descriptor: int) -> Callable[[int], Sequence[object]]:
    """Asks the system whether something has arrived, which the event loop hears of only when its turn comes."""
    if not hasattr(select, "poll"):
        return lambda _: ()
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return poll.poll
