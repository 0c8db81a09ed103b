"""A minimal exchange in a process of its own: 23 headers, a live `Date` and a rising count, on keep-alive connections.

``python -m tests.benchmarks.answering`` prints one port for each of the responses, and serves until its standard input
ends. A GET gets the account, any other request the order.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from email.utils import formatdate
from functools import partial
from itertools import count
from typing import Any, Final, Literal, get_args

Size = Literal["small", "realistic", "all change"]
"""1 asset and 1 position; 20 assets and 600 positions, of which 20 or all are open and change with every response."""

SIZES: Final[tuple[Size, ...]] = get_args(Size)
Ports = dict[Size, int]

_OPEN: Final[dict[Size, int]] = {"small": 1, "realistic": 20, "all change": 600}

_POSITION: Final = (
    b'{"symbol":"A%dUSDT","initialMargin":"%d.34567890","maintMargin":"1.%08d","unrealizedProfit":"-%d.12345678",'
    b'"positionSide":"BOTH","positionAmt":"0.125","updateTime":%d,"notional":"%d.50000000"}'
)
_EMPTY: Final = (
    b'{"symbol":"A%dUSDT","initialMargin":"0","maintMargin":"0","unrealizedProfit":"0.00000000",'
    b'"positionSide":"BOTH","positionAmt":"0.000","updateTime":0,"notional":"0"}'
)
_ASSET: Final = (
    b'{"asset":"C%d","crossWalletBalance":"1000.00000000","crossUnPnl":"-0.12345678","maintMargin":"1.23456789",'
    b'"initialMargin":"12.34567890","positionInitialMargin":"12.34567890","openOrderInitialMargin":"0.00000000",'
    b'"updateTime":1780000000000}'
)
_ORDER: Final = (
    b'{"orderId":%d,"clientOrderId":"bench","symbol":"BTCUSDT","side":"BUY","positionSide":"BOTH","type":"LIMIT",'
    b'"timeInForce":"GTC","status":"NEW","price":"60000.10","avgPrice":"0.00000","origQty":"0.125","executedQty":"0",'
    b'"cumQty":"0","cumQuote":"0.00000","reduceOnly":false,"selfTradePreventionMode":"NONE","goodTillDate":0,'
    b'"updateTime":1780000000000,"priceMatch":"NONE"}'
)

# With status line, length, date and count, this makes 23 headers; an order has one more.
_HEADERS: Final = b"""\
Content-Type: application/json
Connection: keep-alive
Server: Tengine
Vary: Accept-Encoding
x-response-time: 4ms
Cache-Control: no-cache, no-store, must-revalidate
Pragma: no-cache
Expires: 0
Strict-Transport-Security: max-age=31536000; includeSubdomains
X-Frame-Options: SAMEORIGIN
X-Xss-Protection: 1; mode=block
X-Content-Type-Options: nosniff
Content-Security-Policy: default-src 'self'
X-Content-Security-Policy: default-src 'self'
X-WebKit-CSP: default-src 'self'
Access-Control-Allow-Origin: *
Access-Control-Allow-Methods: GET, HEAD, OPTIONS
X-Cache: Miss from cloudfront
Via: 1.1 0f1e2d3c4b5a69788796a5b4c3d2e1f0.cloudfront.net (CloudFront)
X-Amz-Cf-Pop: NRT57-P1
""".replace(b"\n", b"\r\n")


def maker(size: Size) -> Callable[[int], bytes]:
    """Return a function that makes responses of ``um_account``: another number, other amounts in open positions."""
    total, assets, is_open = (1, 1, 1) if size == "small" else (600, 20, _OPEN[size])
    start = b'{"assets":[%b],"positions":[' % b",".join(_ASSET % at for at in range(assets))
    end = b"".join(b"," + _EMPTY % at for at in range(is_open, total)) + b"]}"

    def make(number: int) -> bytes:
        values = number % 999, number % 10**8, number % 777, 178 * 10**10 + number, 1000 + number % 9000
        return start + b",".join([_POSITION % (at, *values) for at in range(is_open)]) + end

    return make


def body_of(size: Size) -> bytes:
    """Return one response of ``um_account``."""
    return maker(size)(0)


class Counter:
    """What the exchange has counted in this minute."""

    def __init__(self) -> None:
        self._second = 0
        self._used = self._orders = 0
        self._date = b""

    def headers(self, *, is_order: bool) -> bytes:
        """Return date and count, after one more call."""
        now = int(time.time())
        if now != self._second:
            if now // 60 != self._second // 60:
                self._used = self._orders = 0
            self._second, self._date = now, formatdate(now, usegmt=True).encode()
        self._used += 1 if is_order else 5
        self._orders += is_order
        orders = b"X-MBX-ORDER-COUNT-1M: %d\r\n" % self._orders if is_order else b""
        return b"Date: %b\r\nX-MBX-USED-WEIGHT-1M: %d\r\n%b" % (self._date, self._used, orders)


class Answering(asyncio.Protocol):
    """Responds to every head that ends on its connection."""

    def __init__(self, make: Callable[[int], bytes], numbers: count[int], counter: Counter) -> None:
        self._make = make
        self._numbers = numbers
        self._counter = counter
        self._head = b""
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Respond to as many requests as end here."""
        *heads, self._head = (self._head + data).split(b"\r\n\r\n")
        for head in heads:
            is_order, number = not head.startswith(b"GET "), next(self._numbers)
            body = _ORDER % number if is_order else self._make(number)
            dated = self._counter.headers(is_order=is_order)
            length = b"Content-Length: %d\r\n\r\n" % len(body)
            self._transport.write(b"HTTP/1.1 200 OK\r\n" + dated + _HEADERS + length + body)


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    counter, numbers = Counter(), count(1)
    ports: list[int] = []
    for size in SIZES:
        made = partial(Answering, maker(size), numbers, counter)
        server = await loop.create_server(made, "127.0.0.1", 0, backlog=1500)
        ports.append(server.sockets[0].getsockname()[1])
    print(*ports, flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


@contextmanager
def serving() -> Generator[Ports, None, None]:
    """Run the server in a process of its own until the block ends."""
    command = [sys.executable, "-m", "tests.benchmarks.answering"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield dict(zip(SIZES, map(int, process.stdout.readline().split()), strict=True))
        finally:
            process.stdin.close()


if __name__ == "__main__":
    asyncio.run(_serve())
