"""The clients that are compared: each reads ``GET /papi/v2/um/account`` and gives its caller what it always gives.

All sign with HMAC except the bare httpx, which signs and decodes nothing. The raw protocol and aiohttp decode into
Structs with Decimals of their own, by msgspec alone; the other clients of other authors give text.
"""

# Only one nox session installs the other clients, so their types are unknown elsewhere.
# pyright: basic, reportMissingImports=false

from __future__ import annotations

import asyncio
import warnings
from collections.abc import AsyncGenerator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from binance_pm import Client

KEY, SECRET = "k" * 64, "s" * 64
PATH: Final = "/papi/v2/um/account"
AT_ONCE: Final = 50
UNLIMITED: Final[dict[Any, int]] = {("papi", "IP"): 10**9, ("papi", "ORDERS"): 10**9}

Call = Callable[[], Awaitable[object]]
Opener = Callable[[int], AbstractAsyncContextManager[Call]]


@asynccontextmanager
async def ours(port: int, engine: Any) -> AsyncGenerator[Client, None]:
    """This package, with budget, signature and typed response."""
    from binance_pm import Client, Session
    from binance_pm.budget import Budget

    url = f"http://127.0.0.1:{port}"
    session = Session(budget=Budget(limits=UNLIMITED), engine=engine)
    async with session, Client(KEY, SECRET, session=session, papi_url=url, sapi_url=url) as client:
        yield client


@asynccontextmanager
async def direct(port: int) -> AsyncGenerator[Call, None]:
    """This package on its direct engine."""
    async with ours(port, "direct") as client:
        yield client.um_account


@asynccontextmanager
async def on_httpx(port: int) -> AsyncGenerator[Call, None]:
    """This package on httpx."""
    async with ours(port, "httpx") as client:
        yield client.um_account


@asynccontextmanager
async def order(port: int) -> AsyncGenerator[Call, None]:
    """An order of this package on its direct engine."""
    async with ours(port, "direct") as client:
        place = client.um.new_order
        yield lambda: place(
            symbol="BTCUSDT", side="BUY", type="LIMIT", quantity="0.125", price="60000.10", time_in_force="GTC"
        )


@asynccontextmanager
async def raw(port: int) -> AsyncGenerator[Call, None]:
    """A protocol of asyncio, a signature and msgspec: the limit."""
    from tests.benchmarks.raw import opened

    async with opened(port, PATH, KEY, SECRET, AT_ONCE) as call:
        yield call


@asynccontextmanager
async def over_aiohttp(port: int) -> AsyncGenerator[Call, None]:
    """aiohttp, a signature and msgspec."""
    import aiohttp
    import msgspec

    from tests.benchmarks.raw import Account, signing

    url, sign = f"http://127.0.0.1:{port}{PATH}", signing(SECRET)
    decode = msgspec.json.Decoder(Account).decode
    async with aiohttp.ClientSession(headers={"X-MBX-APIKEY": KEY}) as session:

        async def call() -> object:
            async with session.get(f"{url}?{sign()}") as response:
                return decode(await response.read())

        yield call


@asynccontextmanager
async def bare_httpx(port: int) -> AsyncGenerator[Call, None]:
    """A client of httpx that neither signs nor decodes."""
    import httpx

    url = f"http://127.0.0.1:{port}{PATH}"
    async with httpx.AsyncClient() as client:
        yield lambda: client.get(url)


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
    "binance_pm, an order": order,
    "binance_pm, httpx": on_httpx,
    "bare httpx": bare_httpx,
    "aiohttp and msgspec": over_aiohttp,
    "python-binance": python_binance,
    "ccxt": ccxt,
    "official SDK": official,
}
