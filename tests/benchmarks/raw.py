"""The limit: a protocol of asyncio that parses nothing but the length, a signature, and Structs of msgspec."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import msgspec


class Row(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """Base of the rows."""


class Asset(Row, frozen=True, gc=False):
    """One asset."""

    asset: str
    cross_wallet_balance: Decimal
    cross_un_pnl: Decimal
    maint_margin: Decimal
    initial_margin: Decimal
    position_initial_margin: Decimal
    open_order_initial_margin: Decimal
    update_time: int


class Position(Row, frozen=True, gc=False):
    """One position."""

    symbol: str
    initial_margin: Decimal
    maint_margin: Decimal
    unrealized_profit: Decimal
    position_side: str
    position_amt: Decimal
    update_time: int
    notional: Decimal


class Account(Row, frozen=True, gc=False):
    """The response."""

    assets: list[Asset]
    positions: list[Position]


class Connection(asyncio.BufferedProtocol):
    """One connection, and no more than the response needs."""

    transport: Any = None

    def __init__(self) -> None:
        self._buffer = bytearray(2**18)
        self._view = memoryview(self._buffer)
        self._filled = self._begins = self._ends = 0
        self._response: asyncio.Future[bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self.transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        """See `asyncio.BufferedProtocol`."""
        del sizehint
        return self._view[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """See `asyncio.BufferedProtocol`."""
        self._filled += nbytes
        if not self._ends and (head := self._buffer.find(b"\r\n\r\n", 0, self._filled)) >= 0:
            at = self._buffer.index(b"Content-Length: ") + 16
            self._begins = head + 4
            self._ends = self._begins + int(self._buffer[at : self._buffer.index(b"\r", at)])
        if self._ends and self._filled >= self._ends:
            assert self._response is not None
            self._response.set_result(bytes(self._view[self._begins : self._ends]))
            self._filled = self._ends = 0

    def ask(self, request: bytes) -> asyncio.Future[bytes]:
        """Send a request, and return the body of its response."""
        self._response = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self._response


def signing(secret: str) -> Callable[[], str]:
    """Return a function that gives a signed query."""
    keyed = hmac.new(secret.encode(), digestmod=hashlib.sha256)

    def sign() -> str:
        query = f"timestamp={int(time.time() * 1000)}"
        signature = keyed.copy()
        signature.update(query.encode())
        return f"{query}&signature={signature.hexdigest()}"

    return sign


@asynccontextmanager
async def opened(
    port: int, path: str, key: str, secret: str, connections: int
) -> AsyncGenerator[Callable[[], Awaitable[Account]], None]:
    """Open the connections, and give the call."""
    loop = asyncio.get_running_loop()
    free = [(await loop.create_connection(Connection, "127.0.0.1", port))[1] for _ in range(connections)]
    rest = f" HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nX-MBX-APIKEY: {key}\r\n\r\n"
    sign, decode = signing(secret), msgspec.json.Decoder(Account).decode

    async def call() -> Account:
        connection = free.pop()
        body = await connection.ask(f"GET {path}?{sign()}{rest}".encode())
        free.append(connection)
        return decode(body)

    yield call
    for connection in free:
        connection.transport.close()
