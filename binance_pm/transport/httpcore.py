"""One httpcore connection for the httpx engine. A network backend is httpcore's public hook for connecting."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterable, Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import anyio
import httpcore

from binance_pm.transport.connect import Address, Resolver, ServerAddress, reached
from binance_pm.transport.headers import headers_of
from binance_pm.transport.http import KEEPALIVE_SECONDS, HttpRequest, parse_origin
from binance_pm.transport.reason import Progress, Unreached
from binance_pm.transport.tls import check_protocol

if TYPE_CHECKING:
    from binance_pm.transport.proxy import Proxies, Proxy


class Response(NamedTuple):
    """A response from httpx or httpcore whose body has not been read."""

    status: int
    headers: dict[str, str]
    pieces: AsyncIterable[bytes]
    aclose: Callable[[], Awaitable[None]]


class Connection:
    """One httpcore connection, through the proxy of its origin. The first request opens the connection."""

    def __init__(self, proxy_of: Proxies, network: Any) -> None:
        self._proxy_of: Final = proxy_of
        self._network: Final = network
        self._pool: httpcore.AsyncConnectionPool | None = None

    async def handle(self, request: HttpRequest, extensions: dict[str, Any]) -> Response:
        """Send a request over this connection."""
        if self._pool is None:
            self._pool = _pool(self._proxy_of(request.origin), self._network)
        response = await self._pool.handle_async_request(_outgoing(request, extensions))
        return Response(response.status, headers_of(response.headers), response.aiter_stream(), response.aclose)

    async def aclose(self) -> None:
        """Close the connection."""
        if self._pool is not None:
            await self._pool.aclose()


def _outgoing(request: HttpRequest, extensions: dict[str, Any]) -> httpcore.Request:
    origin = parse_origin(request.origin)
    url = httpcore.URL(scheme=origin.scheme, host=origin.host, port=origin.port, target=request.raw_target())
    headers: dict[bytes | str, bytes | str] = {"Host": origin.netloc, **request.headers.fields()}
    if request.method in {"POST", "PUT"}:
        headers["Content-Length"] = "0"
    return httpcore.Request(request.method, url, headers=headers, extensions=extensions)


def _pool(proxy: Proxy | None, network: Any) -> httpcore.AsyncConnectionPool:
    # httpcore sets the protocols that a context offers, so it is given an unused context instead of the caller's.
    unused = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    options: dict[str, Any] = {
        "ssl_context": unused,
        "max_connections": 1,
        "keepalive_expiry": KEEPALIVE_SECONDS,
        "network_backend": network,
    }
    if proxy is None:
        return httpcore.AsyncConnectionPool(**options)
    if proxy.scheme.startswith("socks"):
        return httpcore.AsyncSOCKSProxy(proxy.url, proxy_auth=proxy.auth, **options)
    secure = unused if proxy.scheme == "https" else None
    return httpcore.AsyncHTTPProxy(proxy.url, proxy_auth=proxy.auth, proxy_ssl_context=secure, **options)


class Network(httpcore.AsyncNetworkBackend):
    """A network backend that resolves names in dedicated threads and tries their addresses in turn.

    Args:
        tls: TLS settings for https.
        local_address: as for `ServerAddress`.
        resolver: resolves host names.
    """

    def __init__(self, tls: ssl.SSLContext | None, local_address: str | None, resolver: Resolver) -> None:
        # If anyio is not installed, httpcore has a stand-in here, so the type is unknown.
        self._inside: Final[Any] = httpcore.AnyIOBackend()
        self._tls: Final = tls
        self._local_address: Final = local_address
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
        way = ServerAddress(host, port, None, local_address=self._local_address, resolver=self._resolver)
        progress = Progress(timeout)

        async def connect(address: Address, local: str | None) -> Any:
            return await self._inside.connect_tcp(address[4][0], port, None, local, socket_options)

        try:
            with anyio.fail_after(timeout):
                return _with_settings(await reached(way, connect, progress), self._tls)
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
