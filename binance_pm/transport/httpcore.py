"""The connections of the httpx engine, which are httpcore's. A network backend is its public hook for connecting."""

from __future__ import annotations

import math
import ssl
from collections.abc import AsyncIterable, Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import anyio
import httpcore

from binance_pm.transport.connect import Address, Resolver, ServerAddress, reached
from binance_pm.transport.http import HttpRequest, TransportSettings, headers_of, parse_origin
from binance_pm.transport.reason import Progress, Unreached
from binance_pm.transport.tls import check_protocol

if TYPE_CHECKING:
    from binance_pm.transport.proxy import Proxies, Proxy


_Purpose = tuple[str, str]
"""Origin and account."""


class UnreadResponse(NamedTuple):
    """A response from httpx or httpcore whose body has not been read."""

    status: int
    headers: dict[str, str]
    pieces: AsyncIterable[bytes]
    aclose: Callable[[], Awaitable[None]]


class HttpcoreConnection:
    """One httpcore connection, through the proxy of its origin. The first request opens the connection."""

    def __init__(self, proxy_of: Proxies, network: Network, keepalive: float) -> None:
        self._proxy_of: Final = proxy_of
        self._network: Final = network
        self._keepalive: Final = keepalive
        self._pool: httpcore.AsyncConnectionPool | None = None

    async def handle(self, request: HttpRequest, extensions: dict[str, Any]) -> UnreadResponse:
        """Send a request over this connection."""
        if self._pool is None:
            self._pool = _pool(self._proxy_of(request.origin), self._network, self._keepalive)
        response = await self._pool.handle_async_request(_outgoing(request, extensions))
        return UnreadResponse(response.status, headers_of(response.headers), response.aiter_stream(), response.aclose)

    async def aclose(self) -> None:
        """Close the connection."""
        if self._pool is not None:
            await self._pool.aclose()


class IdleConnections:
    """Gives each request a connection of its own; the connection that was used last is reused first."""

    def __init__(self, make: Callable[[], HttpcoreConnection], settings: TransportSettings) -> None:
        self._make: Final = make
        self._settings: Final = settings
        self._idle: Final[list[tuple[_Purpose | None, float, HttpcoreConnection]]] = []
        """Purpose, start of the idle time, and connection; the most recently used last."""
        self._made: Final[set[HttpcoreConnection]] = set()

    async def get(self, purpose: _Purpose) -> HttpcoreConnection:
        """Return the most recently used connection for the origin and account, or a new one."""
        for place in range(len(self._idle) - 1, -1, -1):
            if self._idle[place][0] == purpose:
                return self._idle.pop(place)[2]
        if self._idle and len(self._made) >= self._settings.max_connections:
            await self.end(self._idle.pop(0)[2])
        made = self._make()
        self._made.add(made)
        return made

    async def put(self, purpose: _Purpose, connection: HttpcoreConnection) -> None:
        """Keep the connection for the next request with the same purpose, and close connections that have expired."""
        now = anyio.current_time()
        self._idle.append((purpose, now, connection))
        # While one connection is closed, another request may take the last idle one.
        while self._idle and self._idle[0][1] < now - self._settings.keepalive_seconds:
            await self.end(self._idle.pop(0)[2])

    def discard(self, purpose: _Purpose) -> None:
        """Treat the idle connections of the purpose as expired; returning the next connection closes them."""
        kept = [entry for entry in self._idle if entry[0] != purpose]
        expired = [(None, -math.inf, connection) for known, _, connection in self._idle if known == purpose]
        self._idle[:] = [*expired, *kept]

    def forget(self) -> None:
        """Drop all connections without closing them."""
        self._idle.clear()
        self._made.clear()

    async def end(self, connection: HttpcoreConnection) -> None:
        """Close a connection that is not fit for reuse."""
        self._made.discard(connection)
        with anyio.CancelScope(shield=True):
            await connection.aclose()

    async def aclose(self) -> None:
        """Close all connections, including those in use."""
        self._idle.clear()
        while self._made:
            await self.end(next(iter(self._made)))


def _outgoing(request: HttpRequest, extensions: dict[str, Any]) -> httpcore.Request:
    origin = parse_origin(request.origin)
    url = httpcore.URL(scheme=origin.scheme, host=origin.host, port=origin.port, target=request.raw_target())
    headers: dict[bytes | str, bytes | str] = {"Host": origin.netloc, **request.headers.fields()}
    if request.method in {"POST", "PUT"}:
        headers["Content-Length"] = "0"
    return httpcore.Request(request.method, url, headers=headers, extensions=extensions)


def _pool(proxy: Proxy | None, network: Network, keepalive: float) -> httpcore.AsyncConnectionPool:
    # httpcore sets the protocols that a context offers, so it is given an unused context instead of the caller's.
    unused = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    options: dict[str, Any] = {
        "ssl_context": unused,
        "max_connections": 1,
        "keepalive_expiry": keepalive,
        "network_backend": network,
    }
    if proxy is None:
        return httpcore.AsyncConnectionPool(**options)
    if proxy.scheme.startswith("socks"):
        return httpcore.AsyncSOCKSProxy(proxy.url, proxy_auth=proxy.auth, **options)
    secure = unused if proxy.scheme == "https" else None
    return httpcore.AsyncHTTPProxy(proxy.url, proxy_auth=proxy.auth, proxy_ssl_context=secure, **options)


class Network(httpcore.AsyncNetworkBackend):
    """A network backend that resolves names in dedicated threads and tries their addresses in turn."""

    def __init__(self, tls: ssl.SSLContext | None, settings: TransportSettings, resolver: Resolver) -> None:
        # If anyio is not installed, httpcore has a stand-in here, so the type is unknown.
        self._inside: Final[Any] = httpcore.AnyIOBackend()
        self._tls: Final = tls
        self._settings: Final = settings
        self._resolver: Final = resolver

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        local_address: str | None = None,
        socket_options: Any = None,
    ) -> Any:
        """See `httpcore.AsyncNetworkBackend`."""
        del local_address
        server = ServerAddress(host, port, None, self._settings, self._resolver)
        progress = Progress(timeout)

        async def connect(address: Address, local: str | None) -> Any:
            return await self._inside.connect_tcp(address[4][0], port, None, local, socket_options)

        try:
            with anyio.fail_after(timeout):
                return _with_settings(await reached(server, connect, progress), self._tls)
        except TimeoutError:
            raise Unreached(progress.late) from None


def _with_settings(stream: Any, tls: ssl.SSLContext | None) -> Any:
    """Make an httpcore stream use these TLS settings, also for TLS to a host inside TLS to a proxy."""
    start_tls = stream.start_tls

    async def start(
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
    ) -> Any:
        # httpcore has set the protocols that this context offers.
        del ssl_context
        secured = await start_tls(tls, server_hostname, timeout)
        check_protocol(secured.get_extra_info("ssl_object"))
        return _with_settings(secured, tls)

    stream.start_tls = start
    return stream
