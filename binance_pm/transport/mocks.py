"""What a user's tests may set: mocks of httpx, which requests must not bypass, and the fixture ``pm_offline``."""

from __future__ import annotations

import inspect
import sys
from types import FunctionType
from typing import Any, Final
from urllib.parse import urlsplit

from binance_pm.hosts import is_loopback
from binance_pm.transport.http import SendFailed

IS_OFFLINE: bool = False
"""Whether requests to other machines are blocked: set by the pytest fixture ``pm_offline``."""

_NAMES: Final = (
    "AsyncHTTPTransport.handle_async_request",
    "AsyncClient.send",
    "AsyncClient._transport_for_url",
    "AsyncClient._send_single_request",
    "AsyncConnectionPool.handle_async_request",
)
_last_seen: Final[list[Any]] = [(), ()]


def replaced() -> tuple[str, ...]:
    """Return the functions of httpx and httpcore that have been replaced, such as those that respx replaces.

    Tracing libraries replace functions, too. A replacement of `httpx.AsyncClient.send` that declares what it wraps is
    not counted; any other replacement may be a mock.
    """
    # Runs for every call. A module that was not imported was not replaced; httpx imports httpcore when it is used.
    httpx, core = sys.modules.get("httpx"), sys.modules.get("httpcore")
    if httpx is None:
        return ()
    client = httpx.AsyncClient
    now = (
        httpx.AsyncHTTPTransport.handle_async_request,
        client.send,
        getattr(client, "_transport_for_url", None),
        getattr(client, "_send_single_request", None),
        core and core.AsyncConnectionPool.handle_async_request,
    )
    if now != _last_seen[0]:
        foreign = [name for name, function in zip(_NAMES, now, strict=True) if _is_foreign(name, function)]
        _last_seen[:] = now, tuple(foreign)
    return _last_seen[1]


def _is_foreign(name: str, function: Any) -> bool:
    if name == "AsyncClient.send" and callable(function):
        function = inspect.unwrap(function)
    if function is None:
        return False
    module = function.__globals__.get("__name__", "") if isinstance(function, FunctionType) else ""
    return module.partition(".")[0] not in {"httpx", "httpcore"}


def check_is_local(origin: str) -> None:
    """Refuse an origin on another machine.

    Raises:
        SendFailed: the origin is on another machine; nothing was sent.
    """
    if not is_loopback(origin):
        host = urlsplit(origin).hostname
        raise SendFailed(f"{host} is not this machine, and the fixture pm_offline lets nothing leave it", sent=False)
