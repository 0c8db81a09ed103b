"""What a stream needs of the exchange, and how a client provides it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn, Protocol, Self
from urllib.parse import quote, urlsplit

import anyio

from binance_pm.api.streams import ListenKey
from binance_pm.endpoint import ENDPOINTS, Endpoint
from binance_pm.errors import CallInfo, ConfigurationError
from binance_pm.extras import installation
from binance_pm.hosts import is_loopback
from binance_pm.limits import LIMITS, LimitType, Priority
from binance_pm.session import Session
from binance_pm.signing import Secret
from binance_pm.stream.shared import SessionStreams, StreamProduct
from binance_pm.stream.socket import Socket

if TYPE_CHECKING:
    from binance_pm.stream.websocket import StreamAddress
    from binance_pm.transport.proxy import Proxy

_PATHS: Final[dict[StreamProduct, str]] = {"pm": "/pm/ws/", "pro": "/pm-classic/ws/"}
_PORTS: Final = {"ws": 80, "wss": 443}


class StreamSource(NamedTuple):
    """What a stream needs of the exchange."""

    product: StreamProduct
    place: str
    """Host and port of the stream."""
    weight_per_minute: int
    """The limit of the pool in which listen keys count."""
    post_key: Callable[[], Awaitable[Secret]]
    """Returns the active listen key of the account, valid for another hour."""
    connect: Callable[[Secret], AbstractAsyncContextManager[Socket]]
    """Opens a connection with the listen key."""
    bounds: Callable[[float], tuple[float, float]]
    """Returns the earliest and the latest time that the exchange's clock can show at a time of this machine's clock."""
    until_closed: Callable[[], Awaitable[None]] = anyio.sleep_forever
    """Waits until the client or its session is closed, and raises `SessionClosed` then."""


class StreamClient(Protocol):
    """What a stream needs of a client."""

    @property
    def label(self) -> str:
        """The account's name in events and logs."""
        ...

    @property
    def key_id(self) -> str:
        """The account's name in the pools."""
        ...

    @property
    def session(self) -> Session:
        """The session that the client is open on."""
        ...

    @property
    def stream_url(self) -> str:
        """Scheme, host and port of the streams."""
        ...

    def origin(self, endpoint: Endpoint[Any]) -> str:
        """Return the origin under which the budget counts calls of the endpoint."""
        ...

    def options(self, *, priority: Priority | None = None, attempts: int | None = None) -> Self:
        """Return a view with other settings."""
        ...

    async def call(self, endpoint: Endpoint[Any], parameters: dict[str, Any]) -> Any:
        """Call an endpoint."""
        ...

    async def until_closed(self, call: CallInfo) -> NoReturn:
        """Wait until the client or its session is closed; raise `SessionClosed` then."""
        ...


def source_of(
    client: StreamClient, product: StreamProduct, shared: SessionStreams, clock: Callable[[], float]
) -> StreamSource:
    """Return what a stream of the client needs of the exchange.

    Raises:
        ConfigurationError: the extra is missing, or the session cannot carry a stream.
        SessionClosed: the client is not open.
    """
    info = call_info(product, client.label)
    if find_spec("websockets") is None:
        raise ConfigurationError(
            info, "streams need the extra `stream`", advice=f"Install it: {installation('stream')}"
        )
    session = client.session
    endpoint = ENDPOINTS[listen_key_endpoint(product)]
    view = client.options(priority=Priority.POLL, attempts=1)
    address = _address(info, client.stream_url, session, shared)
    server_clock = session.budget.clock(client.origin(endpoint))

    async def post_key() -> Secret:
        answer: ListenKey = await view.call(endpoint, {})
        return Secret(answer.listen_key)

    def connect(key: Secret) -> AbstractAsyncContextManager[Socket]:
        from binance_pm.stream.websocket import open_socket  # noqa: PLC0415 - an extra

        # A key is a part of the path, whatever its characters are.
        path = Secret(_PATHS[product] + quote(key.reveal().decode(), safe=""))
        return open_socket(address._replace(path=path))

    def bounds(at: float) -> tuple[float, float]:
        now = clock()
        low, high = server_clock.bounds(now)
        return low - (now - at), high - (now - at)

    limit = LIMITS[endpoint.family, LimitType.IP].limit
    until_closed = partial(client.until_closed, info)
    return StreamSource(product, address.netloc, limit, post_key, connect, bounds, until_closed)


def call_info(product: StreamProduct, label: str) -> CallInfo:
    """Return what an error calls the stream of an account."""
    return CallInfo("pro.stream" if product == "pro" else "stream", label)


def listen_key_endpoint(product: StreamProduct) -> str:
    """Return the name of the endpoint that creates or confirms a listen key."""
    return "create_listen_key" if product == "pm" else "pro.create_listen_key"


def _address(info: CallInfo, url: str, session: Session, shared: SessionStreams) -> StreamAddress:
    """Return the address of the streams, without a path."""
    from binance_pm.stream.websocket import StreamAddress  # noqa: PLC0415 - an extra

    egress, parts = session.egress, urlsplit(url)
    is_secure = parts.scheme == "wss"
    if egress.http is not None and not is_loopback(url):
        what = "the session sends through an httpx client or transport that was given, which carries no stream"
        raise ConfigurationError(info, what, advice="Give proxy, tls and local_address to Session instead.")
    try:
        proxy = _proxy(session, parts.netloc) if is_secure else None
        tls = shared.tls(egress.settings) if is_secure else None
    except ValueError as error:
        raise ConfigurationError(info, str(error)) from None
    port = parts.port or _PORTS[parts.scheme]
    return StreamAddress(
        parts.scheme, parts.hostname or "", port, parts.netloc, Secret(""), egress.settings, tls, proxy
    )


def _proxy(session: Session, netloc: str) -> Proxy | None:
    settings = session.egress.settings
    if settings.proxy is not None or not settings.trust_env:
        return settings.proxy
    from binance_pm.transport.proxy import environment_proxies  # noqa: PLC0415 - few programs need it

    return environment_proxies()(f"https://{netloc}")
