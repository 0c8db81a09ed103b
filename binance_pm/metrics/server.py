"""An HTTP server for a registry in the event loop of the fleet: while the loop is blocked, scrapes get no response."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Final, NamedTuple

import anyio
import anyio.abc
import anyio.to_thread
from anyio.streams.buffered import BufferedByteReceiveStream
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric

_log = logging.getLogger(__name__)

_LONGEST_HEAD: Final = 16_384
_LONGEST_SECONDS: Final = 10.0
_PAUSE_SECONDS: Final = 1.0
_REQUEST: Final = re.compile(rb"([A-Z]+) (\S+) HTTP/1\.[01]\r\n")
_PLAIN: Final = "text/plain; charset=utf-8"
# The oldest format, which every Prometheus reads.
_METRICS: Final = "text/plain; version=0.0.4; charset=utf-8"


class _Page(NamedTuple):
    status: HTTPStatus
    body: bytes
    content_type: str = _PLAIN


@asynccontextmanager
async def serving(
    registry: CollectorRegistry, is_ready: Callable[[], bool], *, host: str, port: int
) -> AsyncGenerator[None]:
    """Serve a registry while the block lasts; see `Metrics.serve`."""
    try:
        listener = await anyio.create_tcp_listener(local_host=host, local_port=port)
    except OSError as error:
        raise OSError(error.errno, f"cannot listen on {host}:{port}: {error.strerror}") from error
    one_at_a_time = anyio.CapacityLimiter(1)

    async def answer(connection: anyio.abc.SocketStream) -> None:
        async with connection:
            await _answer(connection, registry, is_ready, one_at_a_time)

    failure: Exception | None = None
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(_accept, listener, answer)
        try:
            yield
        except Exception as error:  # noqa: BLE001 - a task group would wrap what the caller's own block raised
            failure = error
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def _accept(
    listener: anyio.abc.Listener[anyio.abc.SocketStream], answer: Callable[[anyio.abc.SocketStream], Awaitable[None]]
) -> None:
    while True:
        try:
            await listener.serve(answer)
        except* OSError as group:
            # A scrape must not end the program, for example by using up the file descriptors.
            _log.warning("No scrape can be accepted: %s", group.exceptions[0])
        await anyio.sleep(_PAUSE_SECONDS)


async def _answer(
    connection: anyio.abc.SocketStream,
    registry: CollectorRegistry,
    is_ready: Callable[[], bool],
    one_at_a_time: anyio.CapacityLimiter,
) -> None:
    """Respond to one request; close the connection of a client that is slow or does not speak HTTP."""
    try:
        with anyio.fail_after(_LONGEST_SECONDS):
            head = await BufferedByteReceiveStream(connection).receive_until(b"\r\n\r\n", _LONGEST_HEAD)
            request = _REQUEST.match(head + b"\r\n")
            page = _refusal(request, is_ready) or await _metrics(registry, one_at_a_time)
            is_wanted = request is None or request[1] != b"HEAD"
            await connection.send(_head(page) + (page.body if is_wanted else b""))
    except (anyio.BrokenResourceError, anyio.IncompleteRead, anyio.DelimiterNotFound, TimeoutError):
        return


def _refusal(request: re.Match[bytes] | None, is_ready: Callable[[], bool]) -> _Page | None:
    if request is None:
        return _Page(HTTPStatus.BAD_REQUEST, b"This is not HTTP.\n")
    if request[1] not in {b"GET", b"HEAD"}:
        return _Page(HTTPStatus.METHOD_NOT_ALLOWED, b"Use GET.\n")
    if request[2].partition(b"?")[0] != b"/metrics":
        return _Page(HTTPStatus.NOT_FOUND, b"The metrics are at /metrics.\n")
    return None if is_ready() else _Page(HTTPStatus.SERVICE_UNAVAILABLE, b"No fleet is watched.\n")


async def _metrics(registry: CollectorRegistry, one_at_a_time: anyio.CapacityLimiter) -> _Page:
    try:
        # In a thread, because formatting takes a while; the state of the fleet is still read in the event loop.
        text = await anyio.to_thread.run_sync(written, registry, limiter=one_at_a_time)
        return _Page(HTTPStatus.OK, text, _METRICS)
    except Exception:  # noqa: BLE001 - only this scrape fails
        _log.exception("The metrics could not be collected.")
        return _Page(HTTPStatus.INTERNAL_SERVER_ERROR, b"The metrics could not be collected.\n")


def _head(page: _Page) -> bytes:
    lines = [
        f"HTTP/1.1 {page.status.value} {page.status.phrase}",
        f"Content-Type: {page.content_type}",
        f"Content-Length: {len(page.body)}",
        "Connection: close",
    ]
    if page.status is HTTPStatus.METHOD_NOT_ALLOWED:
        lines.append("Allow: GET, HEAD")
    return "\r\n".join([*lines, "", ""]).encode()


def written(registry: CollectorRegistry) -> bytes:
    """Return the text of a scrape."""
    return generate_latest(_Collected(registry))


class _Collected:
    """The metrics of a registry without the ``_created`` series, which would double the number of counters."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._families: Final = list(registry.collect())
        for family in self._families:
            family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]

    def collect(self) -> list[Metric]:
        return self._families
