"""A minimal exchange in a process of its own: prebuilt answers over keep-alive connections, and a rising count.

``python -m tests.benchmarks.answering`` prints a port for small answers and one for large ones, and serves until its
standard input ends.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from email.utils import formatdate
from typing import Any, Final, NamedTuple

import msgspec

# Under pytest-free benchmarks there is nobody else to import them from.
SMALL, LARGE = 1, 600

POSITION: Final = {
    "symbol": "BTCUSDT",
    "initialMargin": "12.34567890",
    "maintMargin": "1.23456789",
    "unrealizedProfit": "-0.12345678",
    "positionSide": "BOTH",
    "positionAmt": "0.125",
    "updateTime": 1_780_000_000_000,
    "notional": "1234.50000000",
}
ASSET: Final = {
    "asset": "USDT",
    "crossWalletBalance": "1000.00000000",
    "crossUnPnl": "-0.12345678",
    "maintMargin": "1.23456789",
    "initialMargin": "12.34567890",
    "positionInitialMargin": "12.34567890",
    "openOrderInitialMargin": "0.00000000",
    "updateTime": 1_780_000_000_000,
}


class Ports(NamedTuple):
    """Where the answers are."""

    small: int
    large: int


def body_of(positions: int) -> bytes:
    """An answer of ``um_account``: with 1 position and 1 asset, or with many positions and 20 assets."""
    assets = 1 if positions == SMALL else 20
    return msgspec.json.encode({"assets": [ASSET] * assets, "positions": [POSITION] * positions})


class Counter:
    """What the exchange has counted in this minute."""

    def __init__(self) -> None:
        self._second = 0
        self._used = 0
        self._date = b""

    def headers(self) -> bytes:
        """Date and count, after one more call of weight 5."""
        now = int(time.time())
        if now != self._second:
            if now // 60 != self._second // 60:
                self._used = 0
            self._second, self._date = now, formatdate(now, usegmt=True).encode()
        self._used += 5
        return b"Date: %b\r\nX-MBX-USED-WEIGHT-1M: %d\r\n" % (self._date, self._used)


class Answering(asyncio.Protocol):
    """Answers every head that ends on its connection."""

    def __init__(self, body: bytes, counter: Counter) -> None:
        length = b"Content-Length: %d\r\n\r\n" % len(body)
        self._rest = b"Content-Type: application/json\r\nConnection: keep-alive\r\n" + length + body
        self._counter = counter
        self._head = b""
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer as many requests as end here."""
        *heads, self._head = (self._head + data).split(b"\r\n\r\n")
        for _ in heads:
            self._transport.write(b"HTTP/1.1 200 OK\r\n" + self._counter.headers() + self._rest)


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    counter = Counter()
    ports: list[int] = []
    for positions in (SMALL, LARGE):
        body = body_of(positions)
        server = await loop.create_server(lambda body=body: Answering(body, counter), "127.0.0.1", 0, backlog=500)
        ports.append(server.sockets[0].getsockname()[1])
    print(*ports, flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


@contextmanager
def serving() -> Generator[Ports, None, None]:
    """The server in a process of its own, for as long as the block lasts."""
    command = [sys.executable, "-m", "tests.benchmarks.answering"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield Ports(*map(int, process.stdout.readline().split()))
        finally:
            process.stdin.close()


if __name__ == "__main__":
    asyncio.run(_serve())
