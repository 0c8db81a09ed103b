"""Both engines, and what every test of them needs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
import pytest

from binance_pm.transport.connect import RESOLVER, Resolver
from binance_pm.transport.direct import DirectTransport
from binance_pm.transport.http import (
    Headers,
    HttpRequest,
    HttpResponse,
    Method,
    SendFailed,
    Timeouts,
    Transport,
    TransportSettings,
)
from binance_pm.transport.httpx import HttpxLike, HttpxTransport

SHORT = Timeouts(connect=0.3, read=0.3, total=2.0)
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

OpenTransport = AbstractAsyncContextManager[Transport]
Engine = Callable[..., OpenTransport]
"""Opens a transport with the given options, and closes it after use."""


class Departure:
    """Counts how often the transport reported that the first byte is about to be sent."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        """Count a request that is about to be sent."""
        self.count += 1


@asynccontextmanager
async def httpx_engine(
    *, http: HttpxLike | None = None, resolver: Resolver = RESOLVER, **options: Any
) -> AsyncGenerator[HttpxTransport, None]:
    """The httpx engine."""
    transport = HttpxTransport(http, _settings(options), resolver)
    try:
        yield transport
    finally:
        await transport.aclose()


@asynccontextmanager
async def direct_engine(*, resolver: Resolver = RESOLVER, **options: Any) -> AsyncGenerator[DirectTransport, None]:
    """The direct engine."""
    transport = DirectTransport(_settings(options), resolver)
    try:
        yield transport
    finally:
        await transport.aclose()


def _settings(options: dict[str, Any]) -> TransportSettings:
    whole: dict[str, Any] = {"max_body": 1000} | options
    return TransportSettings(**whole)


ENGINES: dict[str, Engine] = {"httpx": httpx_engine, "direct": direct_engine}


def request(url: str, target: str = "/papi/v1/ping", *, method: Method = "GET", account: str = "") -> HttpRequest:
    """A request for the given server."""
    return HttpRequest(method, url, target, Headers({"user-agent": "test"}), account)


async def send(transport: Transport, *requests: HttpRequest) -> list[HttpResponse]:
    """Send requests one after the other, each of which departs once."""
    departure = Departure()
    responses = [await transport.send(each, departure) for each in requests]
    assert departure.count == len(requests)
    return responses


async def send_at_once(transport: Transport, *requests: HttpRequest) -> list[HttpResponse | SendFailed]:
    """Send requests at once, and return the response or failure of each."""
    outcomes: dict[int, HttpResponse | SendFailed] = {}

    async def send_one(number: int, each: HttpRequest) -> None:
        try:
            outcomes[number] = await transport.send(each, Departure())
        except SendFailed as failure:
            outcomes[number] = failure

    async with anyio.create_task_group() as tasks:
        for number, each in enumerate(requests):
            tasks.start_soon(send_one, number, each)
    return [outcomes[number] for number in range(len(requests))]


async def failure_of(transport: Transport, failing: HttpRequest) -> SendFailed:
    """Return the failure of a request, which counts as sent if and only if the request departed."""
    departure = Departure()
    with pytest.raises(SendFailed) as caught:
        await transport.send(failing, departure)
    assert departure.count == caught.value.sent
    return caught.value


async def only_failure(opening: OpenTransport, failing: HttpRequest) -> SendFailed:
    """Return the failure of the only request of a transport."""
    async with opening as transport:
        return await failure_of(transport, failing)
