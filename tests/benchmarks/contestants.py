"""The clients that are compared: each reads ``GET /papi/v2/um/account`` and gives its caller what it always gives.

All sign with HMAC but the bare httpx, which signs nothing. Those that decode into a type of ours decode Decimals; the
others give dicts of text, or their own models of text.
"""

# The others are installed by one nox session alone, so that their types are known to nobody else.
# pyright: basic, reportMissingImports=false

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
import warnings
from collections.abc import AsyncGenerator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

import httpx

from binance_pm import ENDPOINTS, Client, Session
from binance_pm.budget import Budget, Family, LimitType
from binance_pm.session import Engine

KEY, SECRET = "k" * 64, "s" * 64
PATH: Final = "/papi/v2/um/account"
AT_ONCE: Final = 50
_DECODE: Final = ENDPOINTS["um_account"].decode
LIMITS: Final[dict[tuple[Family, LimitType], int]] = {("papi", LimitType.IP): 10**9}

Call = Callable[[], Awaitable[object]]
Opener = Callable[[int], AbstractAsyncContextManager[Call]]


@asynccontextmanager
async def ours(port: int, engine: Engine) -> AsyncGenerator[Call, None]:
    """This package, with budget, signature and typed answer."""
    url = f"http://127.0.0.1:{port}"
    session = Session(budget=Budget(limits=LIMITS), engine=engine)
    async with session, Client(KEY, SECRET, session=session, papi_url=url, sapi_url=url) as client:
        yield client.um_account


@asynccontextmanager
async def direct(port: int) -> AsyncGenerator[Call, None]:
    """This package on its direct engine."""
    async with ours(port, "direct") as call:
        yield call


@asynccontextmanager
async def on_httpx(port: int) -> AsyncGenerator[Call, None]:
    """This package on httpx."""
    async with ours(port, "httpx") as call:
        yield call


class _Raw(asyncio.Protocol):
    """One connection and no more than the answer needs: what Python can do at best."""

    def __init__(self) -> None:
        self._got = bytearray()
        self._ends = 0
        self._answer: asyncio.Future[bytes] | None = None
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Collect the answer."""
        self._got += data
        if not self._ends and (head := self._got.find(b"\r\n\r\n")) >= 0:
            at = self._got.index(b"Content-Length: ") + 16
            self._ends = head + 4 + int(self._got[at : self._got.index(b"\r", at)])
            self._begins = head + 4
        if self._ends and len(self._got) >= self._ends:
            assert self._answer is not None
            self._answer.set_result(bytes(self._got[self._begins : self._ends]))
            self._got.clear()
            self._ends = 0

    def ask(self, request: bytes) -> asyncio.Future[bytes]:
        """Send, and wait for the answer's body."""
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self._answer


@asynccontextmanager
async def raw(port: int) -> AsyncGenerator[Call, None]:
    """A protocol of asyncio, a signature and the typed answer: the limit."""
    loop = asyncio.get_running_loop()
    free = [(await loop.create_connection(_Raw, "127.0.0.1", port))[1] for _ in range(AT_ONCE)]
    keyed = hmac.new(SECRET.encode(), digestmod=hashlib.sha256)
    rest = f" HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nX-MBX-APIKEY: {KEY}\r\n\r\n"

    async def call() -> object:
        query = f"timestamp={int(time.time() * 1000)}"
        signature = keyed.copy()
        signature.update(query.encode())
        connection = free.pop()
        body = await connection.ask(f"GET {PATH}?{query}&signature={signature.hexdigest()}{rest}".encode())
        free.append(connection)
        return _DECODE(body)

    yield call
    for connection in free:
        connection.transport.close()


@asynccontextmanager
async def bare_httpx(port: int) -> AsyncGenerator[Call, None]:
    """A client of httpx and the same decoding; it signs nothing."""
    url = f"http://127.0.0.1:{port}{PATH}"
    async with httpx.AsyncClient(limits=httpx.Limits(max_connections=100, max_keepalive_connections=100)) as client:

        async def call() -> object:
            answer = await client.get(url, headers={"x-mbx-apikey": KEY})
            return _DECODE(answer.content)

        yield call


@asynccontextmanager
async def python_binance(port: int) -> AsyncGenerator[Call, None]:
    """Dicts of text, over aiohttp."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"websockets\.", DeprecationWarning)
        from binance import AsyncClient
    client = AsyncClient(api_key=KEY, api_secret=SECRET)
    client.PAPI_URL = f"http://127.0.0.1:{port}/papi"
    try:
        yield client.papi_get_um_account_v2
    finally:
        await client.close_connection()


@asynccontextmanager
async def ccxt(port: int) -> AsyncGenerator[Call, None]:
    """Dicts of text, over aiohttp; its own limiter is off, as it would wait."""
    import ccxt.async_support as library

    url = f"http://127.0.0.1:{port}/papi"
    options = {
        "apiKey": KEY,
        "secret": SECRET,
        "urls": {"api": {"papi": f"{url}/v1", "papiV2": f"{url}/v2"}},
        "enableRateLimit": False,
        "timeout_on_exit": 0,
    }
    async with library.binance(options) as client:
        yield client.papiv2_get_um_account


@asynccontextmanager
async def official(port: int) -> AsyncGenerator[Call, None]:
    """Models of text, over requests, which blocks: in a thread for each call under way."""
    from binance_common.configuration import ConfigurationRestAPI
    from binance_sdk_derivatives_trading_portfolio_margin import DerivativesTradingPortfolioMargin

    configuration = ConfigurationRestAPI(api_key=KEY, api_secret=SECRET, base_path=f"http://127.0.0.1:{port}")
    rest = DerivativesTradingPortfolioMargin(config_rest_api=configuration).rest_api
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(AT_ONCE) as threads:
        yield lambda: loop.run_in_executor(threads, lambda: rest.get_um_account_detail_v2().data())
    rest._session.close()


CONTESTANTS: Final[dict[str, Opener]] = {
    "raw protocol": raw,
    "binance_pm, direct": direct,
    "binance_pm, httpx": on_httpx,
    "bare httpx": bare_httpx,
    "python-binance": python_binance,
    "ccxt": ccxt,
    "official SDK": official,
}
