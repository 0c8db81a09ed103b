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
from typing import Any, Final

import anyio
import httpx

from binance_pm.signing import clear_locals
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
from binance_pm.transport.keep_alive import KeepAlive
from binance_pm.transport.surplus import watch_surplus

HttpxLike = httpx.AsyncClient | httpx.AsyncBaseTransport
"""What a caller may bring along: a client, or a transport such as `httpx.ASGITransport`."""

# Raised only before the first byte of a request.
_NEVER_SENT: Final = (
    httpx.InvalidURL,
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)

_Handle = Callable[[httpx.Request], Awaitable[httpx.Response]]


class HttpxTransport:
    """Sends requests through httpx.

    Args:
        http: the caller's own client or transport, which stays the caller's to close; None to make one.
        timeouts: how long one request may take.
        max_body: bytes of an answer that are accepted.
        proxy: URL of an HTTP or SOCKS proxy.
        trust_env: whether the environment may name proxies and certificates.
        tls: settings for https; None for the defaults of httpx.
        local_address: the IP address of this machine to connect from; neither a proxy nor the environment's goes
            with it.
    """

    __slots__ = (
        "_brought",
        "_closed",
        "_connections",
        "_max_body",
        "_places",
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
        proxy: str | None = None,
        trust_env: bool = False,
        tls: ssl.SSLContext | None = None,
        local_address: str | None = None,
    ) -> None:
        self._brought: Final = None if http is None else _sender(http)
        make = _maker(proxy, tls, local_address, trust_env=trust_env)
        if http is None:
            # A proxy that is no URL is refused here, not by the first call; nothing is opened before it.
            make()
        self._connections: Final = KeepAlive(make, most=MAX_CONNECTIONS, seconds=KEEPALIVE_SECONDS)
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

    async def send(self, request: HttpRequest, departing: Callable[[], None]) -> HttpAnswer:
        """See `Transport.send`."""
        trace = _Trace(departing)
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
        raise SendFailed.overdue(self._timeouts.total, sent=trace.departed)

    async def _send_on_own(self, request: HttpRequest, trace: _Trace, scope: anyio.CancelScope) -> HttpAnswer:
        """Send it over a connection of ours."""
        await self._find_place()
        connection = await self._connections.take(request.origin)
        is_kept = False
        try:
            answer = await self._send(request, trace, scope, _sender(connection))
            is_kept = True
            return answer
        finally:
            try:
                await (
                    self._connections.give(request.origin, connection) if is_kept else self._connections.end(connection)
                )
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

    async def _send(self, request: HttpRequest, trace: _Trace, scope: anyio.CancelScope, handle: _Handle) -> HttpAnswer:
        try:
            response = await self._answered(request, trace, handle)
            trace.depart()
            return HttpAnswer(response.status_code, response.headers, await self._read(response, scope))
        except SendFailed:
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

    def _outgoing(self, request: HttpRequest, trace: _Trace) -> httpx.Request:
        extensions: dict[str, Any] = {"timeout": self._timeout, "trace": trace}
        url, target = _url_of(request.origin), request.raw_target()
        if self._brought is None:
            # Parsing the query again would cost as much as signing it did.
            extensions["target"] = target
        else:
            url = url.copy_with(raw_path=target)
        return httpx.Request(request.method, url, headers=request.headers.fields(), extensions=extensions)

    async def _read(self, response: httpx.Response, scope: anyio.CancelScope) -> bytes | None:
        """The body, or None where it is longer than `max_body`: the rest of it is not awaited."""
        pieces: list[bytes] = []
        try:
            if response.status_code in REFUSALS:
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
        # What is not compressed needs no decoder; what was brought along may have read the body before.
        is_plain = self._brought is None and "content-encoding" not in response.headers
        async for piece in response.aiter_raw() if is_plain else response.aiter_bytes():
            size += len(piece)
            if size > self._max_body:
                return False
            pieces.append(piece)
        return True


class _Trace:
    """Follows httpcore's events: whether it connects for us, and when the first byte of our request leaves."""

    __slots__ = ("_departing", "_handshake", "_stream", "connects", "departed", "refusal")

    def __init__(self, departing: Callable[[], None]) -> None:
        self._departing = departing
        self._stream: Any = None
        self._handshake: Any = None
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
        """Close what a handshake that did not end has left open: httpcore 1.0 forgets it when it is cancelled."""
        if self._handshake is not None:
            with anyio.CancelScope(shield=True):
                await self._handshake.aclose()

    async def __call__(self, event: str, info: Mapping[str, Any]) -> None:
        self.connects = True
        _, _, step = event.partition(".")
        if step == "connect_tcp.complete":
            self._stream = info["return_value"]
            watch_surplus(self._stream)
        elif step == "start_tls.started":
            self._handshake = self._stream
        elif step == "start_tls.complete":
            self._handshake = None
            watch_surplus(info["return_value"])
        # A proxy is asked for a tunnel by a request of its own.
        elif step == "send_request_headers.started" and info["request"].method != b"CONNECT":
            self.depart()


def _maker(
    proxy: str | None, tls: ssl.SSLContext | None, local_address: str | None, *, trust_env: bool
) -> Callable[[], HttpxLike]:
    """What opens one connection after another; the settings for https are read once."""
    limits = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=KEEPALIVE_SECONDS)

    @cache
    def verify() -> ssl.SSLContext:
        return tls_settings(trust_env=trust_env) if tls is None else tls

    def make() -> HttpxLike:
        try:
            if trust_env and proxy is None:
                # Only a client reads the environment's proxies.
                return httpx.AsyncClient(limits=limits, verify=verify(), trust_env=True)
            return httpx.AsyncHTTPTransport(
                limits=limits, verify=verify(), trust_env=trust_env, proxy=proxy, local_address=local_address
            )
        except httpx.InvalidURL as error:
            raise ValueError("the proxy is not a URL") from error

    return make


@lru_cache(maxsize=16)
def _url_of(origin: str) -> httpx.URL:
    return httpx.URL(origin)


def _sender(http: HttpxLike) -> _Handle:
    if not isinstance(http, httpx.AsyncClient):
        return http.handle_async_request

    async def send(request: httpx.Request) -> httpx.Response:
        return await http.send(request, stream=True, auth=None, follow_redirects=False)

    return send


def _failure(error: Exception, trace: _Trace) -> SendFailed:
    connecting = trace.connects and not trace.departed
    sent = not (connecting or isinstance(error, _NEVER_SENT))
    # The frames of httpx and httpcore hold the request as it is written: the traceback keeps its lines alone.
    clear_locals(error)
    failure = SendFailed(_WORDS.get(type(error), type(error).__name__), sent=sent)
    if isinstance(error, httpx.RequestError):
        # The request holds the key and the signature, and an error outlives the call.
        error.request = httpx.Request("GET", "https://withheld.invalid")
    # A text about the protocol quotes what the server said, which may be our key.
    if not isinstance(error, httpx.RemoteProtocolError):
        failure.__cause__ = error
    return failure


_WORDS: Final[dict[type[Exception], str]] = {
    httpx.InvalidURL: "the URL of the request is none",
    httpx.UnsupportedProtocol: "the URL of the request is none",
    httpx.ConnectError: "no connection could be made",
    httpx.ConnectTimeout: "the connection took too long",
    httpx.PoolTimeout: "no connection was free in time",
    httpx.ProxyError: "the proxy refused",
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


def tls_settings(*, trust_env: bool = False) -> ssl.SSLContext:
    """The settings for https where the caller gives none: they trust whom httpx trusts.

    Args:
        trust_env: whether the environment may name certificates.
    """
    return httpx.create_ssl_context(trust_env=trust_env)


def asgi_transport(app: Any) -> httpx.AsyncBaseTransport:
    """Leads to an ASGI application in this process in place of the network."""
    return httpx.ASGITransport(app, client=("127.0.0.1", 0))
