"""Both engines with short timeouts, and helpers for every test of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from binance_pm.transport.direct import DirectTransport
from binance_pm.transport.http import Headers, HttpRequest, Method, Timeouts, Transport
from binance_pm.transport.httpx import HttpxTransport

SHORT = Timeouts(connect=0.3, read=0.3, total=2.0)
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

Engine = Callable[..., AbstractAsyncContextManager[Transport]]
"""Opens a transport with the given options, and closes it after use."""


class Departure:
    """Counts how often the transport reported that the first byte is about to be sent."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        """Count a request that is about to be sent."""
        self.count += 1


@asynccontextmanager
async def httpx_engine(**options: Any) -> AsyncGenerator[HttpxTransport, None]:
    """The httpx engine."""
    whole: dict[str, Any] = {"timeouts": Timeouts(), "max_body": 1000} | options
    transport = HttpxTransport(**whole)
    try:
        yield transport
    finally:
        await transport.aclose()


@asynccontextmanager
async def direct_engine(**options: Any) -> AsyncGenerator[DirectTransport, None]:
    """The direct engine."""
    whole: dict[str, Any] = {"timeouts": Timeouts(), "max_body": 1000} | options
    transport = DirectTransport(**whole)
    try:
        yield transport
    finally:
        await transport.aclose()


ENGINES: dict[str, Engine] = {"httpx": httpx_engine, "direct": direct_engine}


def request(url: str, target: str = "/papi/v1/ping", *, method: Method = "GET", account: str = "") -> HttpRequest:
    """A request for the given server."""
    return HttpRequest(method, url, target, Headers({"user-agent": "test"}), account)
