"""The httpx engine, which runs everywhere. No other module of the package imports httpx.

Without a caller's own httpx client, requests go to httpcore, the layer below httpx: no cookie jar, redirect,
authentication flow or log line with the URL is involved. Each httpcore pool holds one connection: httpcore searches its
whole pool at each step of each request, which would slow down fifty concurrent calls.

A caller's own `httpx.AsyncClient` or `httpx.AsyncBaseTransport` is used unchanged, with its redirects and
authentication disabled for our requests. While a mock replaces httpx, each request goes through a new httpx transport,
so that the mock sees the request.

What this engine adds to httpcore, and the guarantee that needs it:

* Trace events report when the first byte of a request leaves, so that every failure says whether the request was sent.
* One connection per call and account, closed unless the call ended well, so that no response reaches another call.
* Streams that close on extra bytes (`transport/desync.py`), including those of a caller's client.
* Sockets of the parent process are dropped in a forked child, which must not write to them.
* Log filters that remove signatures and proxy passwords from the log records of httpx and httpcore.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import anyio
import httpcore
import httpx

from binance_pm.signing import clear_locals
from binance_pm.transport import mocks
from binance_pm.transport.connect import RESOLVER, Resolver
from binance_pm.transport.desync import close_on_extra_bytes, descriptor_of
from binance_pm.transport.http import (
    COMPRESSED,
    REFUSALS,
    HttpRequest,
    HttpResponse,
    NotConnected,
    SendFailed,
    TransportSettings,
    headers_of,
    is_compressed,
)
from binance_pm.transport.httpcore import HttpcoreConnection, IdleConnections, Network, UnreadResponse
from binance_pm.transport.reason import CONNECTING, HANDSHAKE, Progress, not_connected, proxy_refusal
from binance_pm.transport.redaction import hidden_in_logs, redact_logs
from binance_pm.transport.sockets import Descriptors
from binance_pm.transport.tls import source_of_settings, tls_settings

if TYPE_CHECKING:
    import ssl

    from binance_pm.transport.proxy import Proxies, Proxy

HttpxLike = httpx.AsyncClient | httpx.AsyncBaseTransport
"""What a caller may pass: a client, or a transport such as `httpx.ASGITransport`."""

# Raised only before the first byte of a request.
_PROXY_FAILED: Final = (httpx.ProxyError, httpcore.ProxyError)
_NOT_CONNECTED: Final = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpcore.ConnectError,
    httpcore.ConnectTimeout,
    *_PROXY_FAILED,
)
_NEVER_SENT: Final = (httpx.InvalidURL, httpx.PoolTimeout, httpx.UnsupportedProtocol, httpcore.UnsupportedProtocol)
_NOT_HTTP: Final = (httpx.RemoteProtocolError, httpcore.RemoteProtocolError)


_Handle = Callable[[HttpRequest, dict[str, Any]], Awaitable[UnreadResponse]]
"""Sends a request with the given httpcore extensions."""


class HttpxTransport:
    """A transport that sends requests through httpx.

    Args:
        http: the caller's own client or transport, which the caller closes; None to create one.
        settings: the proxy, the certificates and the local address are ignored if `http` is given.
        resolver: resolves host names.

    Raises:
        ValueError: the environment, or a proxy or file that it names, cannot be used; the text says which.
    """

    def __init__(self, http: HttpxLike | None, settings: TransportSettings, resolver: Resolver = RESOLVER) -> None:
        self._own: Final = None if http is None else _through(http)
        self._settings: Final = settings
        self._proxy_of: Final = _proxies(settings)
        self._tls: Final = _tls(settings) if http is None else None
        network = Network(self._tls, settings, resolver)
        self._connections: Final = IdleConnections(
            lambda: HttpcoreConnection(self._proxy_of, network, settings.keepalive_seconds), settings
        )
        self._descriptors: Final = Descriptors()
        self._places: Final = anyio.Semaphore(settings.max_connections, fast_acquire=True)
        self._scopes: Final[set[anyio.CancelScope]] = set()
        self._closed: bool = False
        timeouts = settings.timeouts
        self._timeout: Final = {
            "connect": timeouts.connect,
            "pool": timeouts.connect,
            "read": timeouts.read,
            "write": timeouts.read,
        }
        # httpx's own transport reports when it writes; a caller's client, or a transport derived from httpx's, may not.
        self._traced: Final = http is None or type(http) is httpx.AsyncHTTPTransport
        redact_logs()

    async def send(self, request: HttpRequest, departing: Callable[[], None]) -> HttpResponse:
        """See `Transport.send`."""
        proxy = None if self._own is not None else self._proxy_of(request.origin)
        descriptors = None if self._own is not None else self._descriptors
        trace = _Trace(departing, request.origin, proxy, self._settings, descriptors)
        total = self._settings.timeouts.total
        with anyio.CancelScope(deadline=anyio.current_time() + total) as scope:
            self._scopes.add(scope)
            try:
                if self._closed:
                    raise SendFailed("the transport was closed", sent=False)
                if self._own is not None:
                    return await self._send(request, trace, scope, self._own)
                return await self._send_on_own(request, trace, scope)
            finally:
                self._scopes.discard(scope)
        if self._closed:
            raise SendFailed("the transport was closed before the response was complete", sent=trace.departed)
        failure = SendFailed.overdue(total, sent=trace.departed)
        if proxy is not None and not trace.departed:
            failure.reason += f" through the proxy {proxy.place}"
        raise failure

    async def _send_on_own(self, request: HttpRequest, trace: _Trace, scope: anyio.CancelScope) -> HttpResponse:
        """Send the request over a connection of this transport."""
        if trace.proxy is not None and not request.origin.startswith("https:"):
            shown = f"plain http would show key and signature to the proxy {trace.proxy.place}"
            raise not_connected(_place_of(request.origin), shown)
        await self._find_place()
        try:
            if mocks.replaced():
                return await self._send_to_mock(request, trace, scope)
            purpose = request.origin, request.account
            connection = await self._connections.get(purpose)
            is_kept = False
            try:
                response = await self._send(request, trace, scope, connection.handle)
                is_kept = True
                return response
            finally:
                await (self._connections.put(purpose, connection) if is_kept else self._connections.end(connection))
        finally:
            self._places.release()

    async def _send_to_mock(self, request: HttpRequest, trace: _Trace, scope: anyio.CancelScope) -> HttpResponse:
        """Send the request through the functions that the mock replaces."""
        transport = httpx.AsyncHTTPTransport(verify=self._tls or True, trust_env=False)
        is_by_client = any(name.startswith("AsyncClient") for name in mocks.replaced())
        try:
            http = httpx.AsyncClient(transport=transport) if is_by_client else transport
            return await self._send(request, trace, scope, _through(http))
        finally:
            await transport.aclose()

    @asynccontextmanager
    async def stream(self, request: HttpRequest) -> AsyncGenerator[UnreadResponse]:
        """Send a request for a file, and provide the response while its body arrives.

        The total timeout does not apply. No log record shows the target of the request.

        Raises:
            SendFailed: no response, or, when the pieces are read, no complete body.
        """
        proxy = None if self._own is not None else self._proxy_of(request.origin)
        if proxy is not None and not request.origin.startswith("https:"):
            raise not_connected(_place_of(request.origin), f"plain http would show the link to the proxy {proxy.place}")
        trace = _Trace(_ignore, request.origin, proxy, self._settings, None if self._own else self._descriptors)
        with hidden_in_logs(request.target()):
            async with self._handle_of_file(request) as handle:
                response = await _opened(handle, request, {"timeout": self._timeout, "trace": trace}, trace)
                try:
                    yield response._replace(pieces=_pieces(response, trace))
                finally:
                    with anyio.CancelScope(shield=True), suppress(Exception):
                        await response.aclose()

    @asynccontextmanager
    async def _handle_of_file(self, request: HttpRequest) -> AsyncGenerator[_Handle]:
        """Provide what sends one request: the caller's client, a mock, or a connection of its own."""
        if self._own is not None:
            yield self._own
        elif mocks.replaced():
            async with httpx.AsyncClient(verify=self._tls or True, trust_env=False) as http:
                yield _through(http)
        else:
            connection = await self._connections.get((request.origin, ""))
            try:
                yield connection.handle
            finally:
                await self._connections.end(connection)

    async def _find_place(self) -> None:
        if self._places.value:
            self._places.acquire_nowait()
            return
        with anyio.move_on_after(self._timeout["pool"]):
            await self._places.acquire()
            return
        raise SendFailed("no connection was free in time", sent=False)

    async def _send(
        self, request: HttpRequest, trace: _Trace, scope: anyio.CancelScope, handle: _Handle
    ) -> HttpResponse:
        try:
            # The origin and the target are sent unchanged, or the request is refused.
            request.raw_target()
            if not self._traced:
                trace.depart()
            response = await handle(request, {"timeout": self._timeout, "trace": trace})
            trace.depart()
            return HttpResponse(response.status, response.headers, await self._read(response, scope))
        except SendFailed as failure:
            # Raised inside httpcore, whose frames hold the serialized request.
            clear_locals(failure)
            raise
        except Exception as error:  # noqa: BLE001 - a caller's transport may fail in any way
            if trace.refusal is not None:
                raise trace.refusal from None
            failure = _failure(error, trace)
            if failure.sent:
                trace.depart()
        finally:
            await trace.hang_up()
        raise failure

    async def aclose(self) -> None:
        """See `Transport.aclose`."""
        self._closed = True
        for scope in self._scopes:
            scope.cancel()
        await self._connections.aclose()

    def discard_idle_connections(self, request: HttpRequest) -> None:
        """See `Transport`; the connections of a caller's client or transport are left alone."""
        self._connections.discard((request.origin, request.account))

    def abandon(self) -> None:
        """See `Transport.abandon`."""
        self._closed = True
        self._descriptors.drop()
        self._connections.forget()

    async def _read(self, response: UnreadResponse, scope: anyio.CancelScope) -> bytes | None:
        """Return the body, or None if the body is longer than `max_body`: the rest of the body is not awaited."""
        pieces: list[bytes] = []
        try:
            if is_compressed(response.headers):
                if response.status not in REFUSALS:
                    raise SendFailed(COMPRESSED, sent=True)
            elif response.status in REFUSALS:
                until = min(anyio.current_time() + self._settings.refusal_seconds, scope.deadline)
                # If the request's time is over or the transport is closed, the body is abandoned, not the response.
                scope.deadline = until + self._settings.refusal_seconds
                self._scopes.discard(scope)
                with suppress(Exception), anyio.CancelScope(deadline=until) as for_body:
                    self._scopes.add(for_body)
                    try:
                        await self._collect(response, pieces)
                    finally:
                        self._scopes.discard(for_body)
            elif not await self._collect(response, pieces):
                return None
        finally:
            await response.aclose()
        return b"".join(pieces)

    async def _collect(self, response: UnreadResponse, pieces: list[bytes]) -> bool:
        """Append the pieces of the body; return False if the body is longer than `max_body`."""
        size = 0
        async for piece in response.pieces:
            size += len(piece)
            if size > self._settings.max_body:
                return False
            pieces.append(piece)
        return True


class _Trace:
    """The progress of a request by httpcore's events: the step of connecting, and when the first byte leaves."""

    def __init__(
        self,
        departing: Callable[[], None],
        origin: str,
        proxy: Proxy | None,
        settings: TransportSettings,
        descriptors: Descriptors | None,
    ) -> None:
        self._departing: Final = departing
        self._origin: Final = origin
        self._timeouts: Final = settings.timeouts
        self._descriptors: Final = descriptors
        self._stream: Any = None
        self._at: str = _place_of(origin) if proxy is None else f"the proxy {proxy.place}"
        self._progress: Progress = Progress(settings.timeouts.connect, CONNECTING)
        self.proxy: Final = proxy
        self.connects: bool = False
        self.departed: bool = False
        self.refusal: Exception | None = None

    def depart(self) -> None:
        if self.departed or self.refusal is not None:
            return
        try:
            self._departing()
        except Exception as error:
            self.refusal = error
            raise
        self.departed = True

    async def hang_up(self) -> None:
        """Close the stream of a request that was not sent: httpcore 1.0 forgets some of these streams."""
        if self._stream is not None and not self.departed:
            with anyio.CancelScope(shield=True):
                await self._stream.aclose()

    async def __call__(self, event: str, info: Mapping[str, Any]) -> None:
        if mocks.IS_OFFLINE:
            mocks.check_is_local(self._origin)
        self.connects = True
        part, _, step = event.partition(".")
        if step == "connect_tcp.complete":
            self._stream = info["return_value"]
            close_on_extra_bytes(self._stream, tls=False)
            if self._descriptors is not None:
                self._descriptors.add(descriptor_of(self._stream))
        elif step == "setup_socks5_connection.started":
            self._progress = Progress(self._timeouts.connect, _TUNNEL)
        elif step == "start_tls.started":
            self._progress = Progress(self._timeouts.connect, HANDSHAKE)
            # A handshake before the tunnel is open is a handshake with the proxy.
            if part != "connection":
                self._at = info["server_hostname"]
        elif step == "start_tls.complete":
            self._stream = info["return_value"]
            close_on_extra_bytes(self._stream, tls=True)
        elif step == "send_request_headers.started":
            # The tunnel is requested from the proxy with a separate request.
            if info["request"].method != b"CONNECT":
                self.depart()
            else:
                self._progress = Progress(self._timeouts.read, _TUNNEL)

    def failure(self, error: Exception) -> NotConnected:
        """Return why no connection was made."""
        if isinstance(error, _PROXY_FAILED):
            at = self._at if self.proxy is not None else f"{self._at}, by a proxy"
            return not_connected(at, proxy_refusal(str(error)))
        if isinstance(error, httpx.TimeoutException | httpcore.TimeoutException):
            return not_connected(self._at, self._progress.late)
        if self._progress.step == _TUNNEL:
            return not_connected(self._at, "closed the connection, or sent no valid proxy response")
        return not_connected(self._at, self._progress.cause(error))


_TUNNEL: Final = "no tunnel opened"


def _ignore() -> None:
    """Do nothing when a request for a file leaves: it has no weight, and may be sent again."""


async def _opened(handle: _Handle, request: HttpRequest, extensions: dict[str, Any], trace: _Trace) -> UnreadResponse:
    """Return the response to a request for a file, its body unread."""
    try:
        return await handle(request, extensions)
    except SendFailed as failure:
        clear_locals(failure)
        raise
    except Exception as error:  # noqa: BLE001 - a caller's transport may fail in any way
        failure = _failure(error, trace)
    finally:
        await trace.hang_up()
    raise failure


async def _pieces(response: UnreadResponse, trace: _Trace) -> AsyncGenerator[bytes]:
    """Return the pieces of a body; a failure says nothing of the link."""
    try:
        async for piece in response.pieces:
            yield piece
        return
    except Exception as error:  # noqa: BLE001 - a caller's transport may fail in any way
        failure = _failure(error, trace)
    raise failure


def _place_of(origin: str) -> str:
    return origin.partition("://")[2]


def _proxies(settings: TransportSettings) -> Proxies:
    if settings.trust_env and settings.proxy is None:
        from binance_pm.transport.proxy import environment_proxies  # noqa: PLC0415 - few programs need the module

        return environment_proxies()
    return lambda _origin: settings.proxy


def _tls(settings: TransportSettings) -> ssl.SSLContext:
    """Return the caller's TLS settings, or the default ones."""
    if settings.tls is not None:
        return settings.tls
    try:
        return tls_settings(trust_env=settings.trust_env)
    except OSError as error:
        cause = f"cannot be read ({Progress(None).cause(error)})"
        raise ValueError(f"{source_of_settings(trust_env=settings.trust_env)} {cause}") from error


@lru_cache(maxsize=16)
def _url_of(origin: str) -> httpx.URL:
    return httpx.URL(origin)


def _through(http: HttpxLike) -> _Handle:
    """Return a function that sends through an httpx client or transport."""

    async def handle(request: HttpRequest, extensions: dict[str, Any]) -> UnreadResponse:
        url = _url_of(request.origin).copy_with(raw_path=request.raw_target())
        outgoing = httpx.Request(request.method, url, headers=request.headers.fields(), extensions=extensions)
        if isinstance(http, httpx.AsyncBaseTransport):
            response = await http.handle_async_request(outgoing)
        else:
            response = await http.send(outgoing, stream=True, auth=None, follow_redirects=False)
        return UnreadResponse(
            response.status_code, headers_of(response.headers.raw), response.aiter_bytes(), response.aclose
        )

    return handle


def _failure(error: Exception, trace: _Trace) -> SendFailed:
    # The frames of httpx and httpcore hold the serialized request: the traceback keeps only its lines.
    clear_locals(error)
    if isinstance(error, httpx.RequestError):
        # The request holds the key and the signature, and an error outlives the call.
        error.request = httpx.Request("GET", "https://withheld.invalid")
    if (trace.connects and not trace.departed) or isinstance(error, _NOT_CONNECTED):
        failure = trace.failure(error)
    else:
        words = _WORDS.get(type(error).__name__, type(error).__name__)
        if isinstance(error, _NOT_HTTP) and "Transfer-Encoding" in str(error):
            # h11 supports only the chunked encoding, and says so.
            words = COMPRESSED
        failure = SendFailed(words, sent=not isinstance(error, _NEVER_SENT))
    # The text of a protocol error quotes the server or the proxy, which may have quoted our key.
    if not isinstance(error, (*_NOT_HTTP, *_PROXY_FAILED)):
        failure.__cause__ = error
    return failure


# By class name: httpx and httpcore use the same names.
_WORDS: Final[dict[str, str]] = {
    "InvalidURL": "the URL of the request is not valid",
    "UnsupportedProtocol": "the URL of the request is not valid",
    "PoolTimeout": "no connection was free in time",
    "ReadTimeout": "timed out waiting for the response",
    "WriteTimeout": "timed out while sending",
    "ReadError": "the connection broke before the response was complete",
    "WriteError": "the connection broke while sending",
    "RemoteProtocolError": "the connection was closed, or the response was not HTTP",
    "DecodingError": "the response could not be decompressed",
}


def asgi_transport(app: Any) -> httpx.AsyncBaseTransport:
    """Return a transport to an ASGI application in this process instead of the network."""
    return httpx.ASGITransport(app, client=("127.0.0.1", 0))
