"""The httpx engine, which runs everywhere. Nothing else in the package imports httpx.

An engine made here calls `httpx.AsyncHTTPTransport` directly: there is no cookie jar, no redirect, no authentication
flow and no log line with the URL on the way. Each has one connection: httpcore searches its whole pool at each step of
each request, so that each of fifty calls at once would cost more. A caller's own `httpx.AsyncClient` or
`httpx.AsyncBaseTransport` is used as it is, with its redirects and authentication switched off for our requests.
"""

from __future__ import annotations

import logging
import re
import ssl
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, Final

import anyio
import httpx

from binance_pm.signing import clear_locals
from binance_pm.transport import local
from binance_pm.transport.desync import close_on_extra_bytes, descriptor_of
from binance_pm.transport.headers import COMPRESSED, is_compressed
from binance_pm.transport.http import (
    KEEPALIVE_SECONDS,
    MAX_CONNECTIONS,
    REFUSALS,
    REFUSALS_BODY_SECONDS,
    HttpRequest,
    HttpResponse,
    NotConnected,
    SendFailed,
    Timeouts,
)
from binance_pm.transport.idle_connections import IdleConnections
from binance_pm.transport.mocks import replaced
from binance_pm.transport.network import Network, limit_reading
from binance_pm.transport.reason import CONNECTING, HANDSHAKE, Progress, not_connected, proxy_refusal
from binance_pm.transport.resolve import RESOLVER, Resolver
from binance_pm.transport.sockets import Descriptors
from binance_pm.transport.tls import source_of_settings, tls_settings

if TYPE_CHECKING:
    from binance_pm.transport.proxy import Proxies, Proxy

HttpxLike = httpx.AsyncClient | httpx.AsyncBaseTransport
"""What a caller may bring along: a client, or a transport such as `httpx.ASGITransport`."""

# Raised only before the first byte of a request.
_NOT_CONNECTED: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError)
_NEVER_SENT: Final = (httpx.InvalidURL, httpx.PoolTimeout, httpx.UnsupportedProtocol)

_Handle = Callable[[httpx.Request], Awaitable[httpx.Response]]


class HttpxTransport:
    """Sends requests through httpx.

    Args:
        http: the caller's own client or transport, which stays the caller's to close; None to make one.
        timeouts: how long one request may take.
        max_body: bytes of an answer that are accepted.
        proxy: the proxy that every request goes through.
        trust_env: whether the environment may name proxies and certificates.
        tls: settings for https; None for the defaults of httpx.
        local_address: the IP address of this machine to connect from, or ``0.0.0.0`` or ``::`` to choose nothing but
            its family.
        resolver: looks names up.

    Raises:
        ValueError: the environment, or what it names, cannot be used; the text says what.
    """

    __slots__ = (
        "_brought",
        "_closed",
        "_connections",
        "_descriptors",
        "_max_body",
        "_places",
        "_proxy_of",
        "_scopes",
        "_timeout",
        "_timeouts",
        "_traced",
    )

    def __init__(
        self,
        http: HttpxLike | None = None,
        *,
        timeouts: Timeouts,
        max_body: int,
        proxy: Proxy | None = None,
        trust_env: bool = False,
        tls: ssl.SSLContext | None = None,
        local_address: str | None = None,
        resolver: Resolver = RESOLVER,
    ) -> None:
        self._brought: Final = None if http is None else _sender(http)
        self._proxy_of: Final = _proxies(proxy, trust_env=trust_env)
        make = _maker(self._proxy_of, tls, local_address, resolver, trust_env=trust_env)
        if http is None:
            # What cannot be used is refused here, not by the first call; nothing is opened.
            try:
                make().prepare("https://binance.invalid")
            except OSError as error:
                cause = f"cannot be read ({Progress(None).cause(error)})"
                raise ValueError(f"{source_of_settings(trust_env=trust_env)} {cause}") from error
        self._connections: Final = IdleConnections(make, most=MAX_CONNECTIONS, seconds=KEEPALIVE_SECONDS)
        self._descriptors: Final = Descriptors()
        self._places: Final = anyio.Semaphore(MAX_CONNECTIONS, fast_acquire=True)
        self._max_body: Final = max_body
        self._scopes: Final[set[anyio.CancelScope]] = set()
        self._closed: bool = False
        self._timeouts: Final = timeouts
        self._timeout: Final = {
            "connect": timeouts.connect,
            "pool": timeouts.connect,
            "read": timeouts.read,
            "write": timeouts.read,
        }
        # httpx's own transport tells when it writes; what a caller brings along, or derives from it, may not.
        self._traced: Final = http is None or type(http) is httpx.AsyncHTTPTransport
        for name in _LOGGERS:
            logging.getLogger(name).addFilter(_redact)

    async def send(self, request: HttpRequest, departing: Callable[[], None]) -> HttpResponse:
        """See `Transport.send`."""
        proxy = None if self._brought is not None else self._proxy_of(request.origin)
        trace = _Trace(departing, request.origin, proxy, self._timeouts)
        trace.descriptors = None if self._brought else self._descriptors
        with anyio.CancelScope(deadline=anyio.current_time() + self._timeouts.total) as scope:
            self._scopes.add(scope)
            try:
                if self._closed:
                    raise SendFailed("the transport was closed", sent=False)
                if self._brought is not None:
                    return await self._send(request, trace, scope, self._brought)
                return await self._send_on_own(request, trace, scope)
            finally:
                self._scopes.discard(scope)
        if self._closed:
            raise SendFailed("the transport was closed before the whole answer had come", sent=trace.departed)
        failure = SendFailed.overdue(self._timeouts.total, sent=trace.departed)
        if proxy is not None and not trace.departed:
            failure.reason += f" through the proxy {proxy.place}"
        raise failure

    async def _send_on_own(self, request: HttpRequest, trace: _Trace, scope: anyio.CancelScope) -> HttpResponse:
        """Send it over a connection of ours."""
        if trace.proxy is not None and not request.origin.startswith("https:"):
            shown = f"plain http would show key and signature to the proxy {trace.proxy.place}"
            raise not_connected(_place_of(request.origin), shown)
        await self._find_place()
        purpose = request.origin, request.account
        connection = await self._connections.get(purpose)
        is_kept = False
        try:
            handle = _mockable(connection.prepare(request.origin))
            answer = await self._send(request, trace, scope, handle)
            is_kept = True
            return answer
        finally:
            try:
                await (self._connections.put(purpose, connection) if is_kept else self._connections.end(connection))
            finally:
                self._places.release()

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
            response = await self._answered(request, trace, handle)
            trace.depart()
            return HttpResponse(response.status_code, response.headers, await self._read(response, scope))
        except SendFailed as failure:
            # Raised within httpcore, whose frames hold the request as it is written.
            clear_locals(failure)
            raise
        except Exception as error:  # noqa: BLE001 - a transport brought along may fail in any way
            if trace.refusal is not None:
                raise trace.refusal from None
            failure = _failure(error, trace)
            if failure.sent:
                trace.depart()
        finally:
            await trace.hang_up()
        raise failure

    async def _answered(self, request: HttpRequest, trace: _Trace, handle: _Handle) -> httpx.Response:
        outgoing = self._outgoing(request, trace)
        if not self._traced:
            trace.depart()
        return await handle(outgoing)

    async def aclose(self) -> None:
        """See `Transport.aclose`."""
        self._closed = True
        for scope in self._scopes:
            scope.cancel()
        await self._connections.aclose()

    def distrust(self, request: HttpRequest) -> None:
        """See `Transport.distrust`; the connections of what a caller brought along are the caller's."""
        self._connections.distrust((request.origin, request.account))

    def abandon(self) -> None:
        """See `Transport.abandon`."""
        self._closed = True
        self._descriptors.drop()
        self._connections.forget()

    def _outgoing(self, request: HttpRequest, trace: _Trace) -> httpx.Request:
        extensions: dict[str, Any] = {"timeout": self._timeout, "trace": trace}
        url, target = _url_of(request.origin), request.raw_target()
        if self._brought is None and trace.proxy is None and not replaced():
            # Parsing the query again would cost as much as signing it did. To a proxy httpcore (1.0.9) would say it
            # in place of the host and port that are asked for.
            extensions["target"] = target
        else:
            url = url.copy_with(raw_path=target)
        return httpx.Request(request.method, url, headers=request.headers.fields(), extensions=extensions)

    async def _read(self, response: httpx.Response, scope: anyio.CancelScope) -> bytes | None:
        """The body, or None where it is longer than `max_body`: the rest of it is not awaited."""
        pieces: list[bytes] = []
        try:
            if is_compressed(response.headers):
                if response.status_code not in REFUSALS:
                    raise SendFailed(COMPRESSED, sent=True)
            elif response.status_code in REFUSALS:
                until = min(anyio.current_time() + REFUSALS_BODY_SECONDS, scope.deadline)
                # Where the request's time is over, or all is closed, the body is given up, not the answer.
                scope.deadline = until + REFUSALS_BODY_SECONDS
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

    async def _collect(self, response: httpx.Response, pieces: list[bytes]) -> bool:
        """Append the body's pieces; False where it is longer than `max_body`."""
        size = 0
        # What was brought along, or a mock, may have read the body before.
        is_raw = self._brought is None and not response.is_stream_consumed
        async for piece in response.aiter_raw() if is_raw else response.aiter_bytes():
            size += len(piece)
            if size > self._max_body:
                return False
            pieces.append(piece)
        return True


class _Trace:
    """Follows httpcore's events: which step of connecting it is at, and when the first byte of our request leaves."""

    __slots__ = (
        "_at",
        "_departing",
        "_origin",
        "_progress",
        "_stream",
        "_timeouts",
        "connects",
        "departed",
        "descriptors",
        "proxy",
        "refusal",
    )

    def __init__(self, departing: Callable[[], None], origin: str, proxy: Proxy | None, timeouts: Timeouts) -> None:
        self._departing = departing
        self._origin = origin
        self.descriptors: Descriptors | None = None
        self._timeouts = timeouts
        self._stream: Any = None
        self._at = _place_of(origin) if proxy is None else f"the proxy {proxy.place}"
        self._progress = Progress(timeouts.connect, CONNECTING)
        self.proxy = proxy
        self.connects = False
        self.departed = False
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
        """Close what was opened for a request that did not leave: httpcore 1.0 forgets some of it."""
        if self._stream is not None and not self.departed:
            with anyio.CancelScope(shield=True):
                await self._stream.aclose()

    async def __call__(self, event: str, info: Mapping[str, Any]) -> None:
        if local.IS_ENFORCED:
            local.check_is_local(self._origin)
        self.connects = True
        part, _, step = event.partition(".")
        if step == "connect_tcp.complete":
            self._stream = info["return_value"]
            close_on_extra_bytes(self._stream, tls=False)
            if self.descriptors is not None:
                self.descriptors.add(descriptor_of(self._stream))
        elif step == "setup_socks5_connection.started":
            self._progress = Progress(self._timeouts.connect, _TUNNEL)
            limit_reading(self._stream, self._timeouts.connect)
        elif step == "start_tls.started":
            self._progress = Progress(self._timeouts.connect, HANDSHAKE)
            # A handshake before there is a tunnel is one with the proxy.
            if part != "connection":
                self._at = info["server_hostname"]
        elif step == "start_tls.complete":
            self._stream = info["return_value"]
            close_on_extra_bytes(self._stream, tls=True)
        elif step == "send_request_headers.started":
            # A proxy is asked for a tunnel by a request of its own.
            if info["request"].method != b"CONNECT":
                self.depart()
            else:
                self._progress = Progress(self._timeouts.read, _TUNNEL)

    def failure(self, error: Exception) -> NotConnected:
        """Why no connection stands."""
        if isinstance(error, httpx.ProxyError):
            at = self._at if self.proxy is not None else f"{self._at}, by a proxy"
            return not_connected(at, proxy_refusal(str(error)))
        if isinstance(error, httpx.TimeoutException):
            return not_connected(self._at, self._progress.late)
        if self._progress.step == _TUNNEL:
            return not_connected(self._at, "it closed the connection, or did not answer as a proxy does")
        return not_connected(self._at, self._progress.cause(error))


_TUNNEL: Final = "no tunnel opened"


def _place_of(origin: str) -> str:
    return origin.partition("://")[2]


class _Connection:
    """One connection of httpx, by the proxy of its origin. It is made with the first request."""

    def __init__(self, make: Callable[[str], httpx.AsyncHTTPTransport]) -> None:
        self._make: Final = make
        self._inside: httpx.AsyncHTTPTransport | None = None

    def prepare(self, origin: str) -> httpx.AsyncHTTPTransport:
        """Make it, without connecting."""
        if self._inside is None:
            self._inside = self._make(origin)
        return self._inside

    async def aclose(self) -> None:
        """Close it."""
        if self._inside is not None:
            await self._inside.aclose()


def _proxies(proxy: Proxy | None, *, trust_env: bool) -> Proxies:
    if trust_env and proxy is None:
        from binance_pm.transport.proxy import environment_proxies  # noqa: PLC0415 - few programs need it

        return environment_proxies()
    return lambda _origin: proxy


def _maker(
    proxy_of: Proxies, tls: ssl.SSLContext | None, local_address: str | None, resolver: Resolver, *, trust_env: bool
) -> Callable[[], _Connection]:
    """What opens one connection after another; the settings for https are read once."""
    limits = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=KEEPALIVE_SECONDS)

    @cache
    def verify() -> ssl.SSLContext:
        return tls_settings(trust_env=trust_env) if tls is None else tls

    def make(origin: str) -> httpx.AsyncHTTPTransport:
        proxy = proxy_of(origin)
        by = None
        if proxy is not None:
            secure = verify() if proxy.scheme == "https" else None
            by = httpx.Proxy(proxy.url, auth=proxy.auth, ssl_context=secure)
        made = httpx.AsyncHTTPTransport(limits=limits, verify=verify(), trust_env=False, proxy=by)
        # httpx (0.28) hands no network backend on to httpcore. A mock of the whole class has neither.
        pool: object = vars(made).get("_pool", made)
        inside = vars(pool)
        if "_network_backend" in inside:
            inside["_network_backend"] = Network(inside["_network_backend"], local_address, resolver)
        return made

    return lambda: _Connection(make)


@lru_cache(maxsize=16)
def _url_of(origin: str) -> httpx.URL:
    return httpx.URL(origin)


def _sender(http: HttpxLike) -> _Handle:
    if isinstance(http, httpx.AsyncBaseTransport):
        return http.handle_async_request

    async def send(request: httpx.Request) -> httpx.Response:
        return await http.send(request, stream=True, auth=None, follow_redirects=False)

    return send


def _mockable(transport: httpx.AsyncHTTPTransport) -> _Handle:
    """Send over it, by way of a client where clients are mocked."""
    is_by_client = any(name.startswith("AsyncClient") for name in replaced())
    return _sender(httpx.AsyncClient(transport=transport) if is_by_client else transport)


def _failure(error: Exception, trace: _Trace) -> SendFailed:
    # The frames of httpx and httpcore hold the request as it is written: the traceback keeps its lines alone.
    clear_locals(error)
    if isinstance(error, httpx.RequestError):
        # The request holds the key and the signature, and an error outlives the call.
        error.request = httpx.Request("GET", "https://withheld.invalid")
    if (trace.connects and not trace.departed) or isinstance(error, _NOT_CONNECTED):
        failure = trace.failure(error)
    else:
        words = _WORDS.get(type(error), type(error).__name__)
        if isinstance(error, httpx.RemoteProtocolError) and "Transfer-Encoding" in str(error):
            # h11 knows chunks alone, and says so.
            words = COMPRESSED
        failure = SendFailed(words, sent=not isinstance(error, _NEVER_SENT))
    # A text about the protocol quotes what the server or the proxy said, which may be our key.
    if not isinstance(error, httpx.RemoteProtocolError | httpx.ProxyError):
        failure.__cause__ = error
    return failure


_WORDS: Final[dict[type[Exception], str]] = {
    httpx.InvalidURL: "the URL of the request is none",
    httpx.UnsupportedProtocol: "the URL of the request is none",
    httpx.PoolTimeout: "no connection was free in time",
    httpx.ReadTimeout: "the answer took too long",
    httpx.WriteTimeout: "sending took too long",
    httpx.ReadError: "the connection broke before the whole answer had come",
    httpx.WriteError: "the connection broke while sending",
    httpx.RemoteProtocolError: "the connection closed, or the answer was not HTTP, before the whole answer had come",
    httpx.DecodingError: "the answer could not be decompressed",
}

_LOGGERS: Final = (
    "httpx",
    "httpcore.connection",
    "httpcore.http11",
    "httpcore.http2",
    "httpcore.proxy",
    "httpcore.socks",
)
_SECRETS: Final = re.compile(r"(signature=)[^&\s'\"]+|(auth=)\([^)]*\)")


def _redact(record: logging.LogRecord) -> bool:
    """Keep signatures and proxy passwords out of what httpx and httpcore log; it drops nothing."""
    message = record.getMessage()
    if _SECRETS.search(message):
        record.msg, record.args = _SECRETS.sub(lambda found: f"{found[1] or found[2]}…", message), ()
    return True


def asgi_transport(app: Any) -> httpx.AsyncBaseTransport:
    """Leads to an ASGI application in this process in place of the network."""
    return httpx.ASGITransport(app, client=("127.0.0.1", 0))
