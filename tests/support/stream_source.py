"""Streams against the server of `tests.support.stream_server`, without REST."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Final

from binance_pm.errors import PortfolioMarginError
from binance_pm.signing import Secret
from binance_pm.stream.shared import StreamProduct
from binance_pm.stream.socket import Socket
from binance_pm.stream.source import StreamSource
from binance_pm.stream.websocket import StreamAddress, open_socket
from binance_pm.transport.http import Timeouts, TransportSettings
from tests.support.stream_server import StreamServer

_EPOCH: Final = max(time.time() - time.monotonic() for _ in range(10))
"""The time at which the monotonic clock was 0; the largest, because the thread may have paused between two readings."""


def source_of(
    server: StreamServer,
    *,
    product: StreamProduct = "pm",
    refuse: Callable[[], PortfolioMarginError | None] = lambda: None,
    connect_seconds: float = 5.0,
) -> StreamSource:
    """Return the source of a stream of the server's account.

    Args:
        server: the server.
        product: the product.
        refuse: returns the error of a POST; None if it succeeds.
        connect_seconds: the timeout of a connection.
    """
    netloc = f"127.0.0.1:{server.port}"
    settings = TransportSettings(timeouts=Timeouts(connect=connect_seconds))

    async def post_key() -> Secret:
        if error := refuse():
            raise error
        return Secret(server.key())

    def connect(key: Secret) -> AbstractAsyncContextManager[Socket]:
        path = Secret("/pm/ws/" + key.reveal().decode())
        return open_socket(StreamAddress("ws", "127.0.0.1", server.port, netloc, path, settings, None))

    def bounds(at: float) -> tuple[float, float]:
        return _EPOCH + at, _EPOCH + at

    return StreamSource(product, netloc, 6000, post_key, connect, bounds)
