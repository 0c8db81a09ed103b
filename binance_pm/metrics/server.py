"""An HTTP server for a registry, in threads of its own."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from threading import Thread
from typing import Any, Final

import anyio
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric

_log = logging.getLogger(__name__)

_LONGEST_SECONDS: Final = 10.0
_PAUSE_SECONDS: Final = 0.5
_POLL_SECONDS: Final = 0.1
_TEXT: Final = "text/plain; charset=utf-8"
# The oldest format, which every Prometheus reads.
_METRICS: Final = "text/plain; version=0.0.4; charset=utf-8"


@asynccontextmanager
async def serving(
    registry: CollectorRegistry, is_ready: Callable[[], bool], *, host: str, port: int
) -> AsyncGenerator[None]:
    """Serve a registry while the block lasts; see `Metrics.serve`."""
    try:
        family, _, _, _, address = (await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM))[0]
        server = _Server(family, address, registry, is_ready)
    except OSError as error:
        raise OSError(error.errno, f"cannot listen on {host}:{port}: {error.strerror}") from error
    Thread(target=server.serve_forever, args=(_POLL_SECONDS,), name="binance-pm metrics", daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


class _Server(ThreadingMixIn, TCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def __init__(
        self, family: int, address: tuple[Any, ...], registry: CollectorRegistry, is_ready: Callable[[], bool]
    ) -> None:
        self.address_family = family
        self.registry: Final = registry
        self.is_ready: Final = is_ready
        super().__init__(address, _Handler)

    def get_request(self) -> tuple[Any, Any]:
        try:
            return super().get_request()
        except OSError as error:
            # For example, the program has used up its file descriptors.
            _log.warning("No scrape can be accepted: %s", error)
            time.sleep(_PAUSE_SECONDS)
            raise

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore a client that is slow or has left."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride] - only this server has such handlers
    timeout = _LONGEST_SECONDS
    error_content_type = _TEXT
    error_message_format = "%(message)s.\n"

    def do_GET(self) -> None:
        if self.path.partition("?")[0] != "/metrics":
            return self._respond(HTTPStatus.NOT_FOUND, b"The metrics are at /metrics.\n")
        if not self.server.is_ready():
            return self._respond(HTTPStatus.SERVICE_UNAVAILABLE, b"No fleet is watched.\n")
        try:
            return self._respond(HTTPStatus.OK, written(self.server.registry), _METRICS)
        except Exception:  # noqa: BLE001 - only this scrape fails
            _log.exception("The metrics could not be collected.")
            return self._respond(HTTPStatus.INTERNAL_SERVER_ERROR, b"The metrics could not be collected.\n")

    do_HEAD = do_GET  # noqa: N815 - the name that the base class calls

    def _respond(self, status: HTTPStatus, body: bytes, content_type: str = _TEXT) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as in the base class
        """Log nothing about single requests."""


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
