"""ccxt, blocking and asynchronous, reads the sandbox."""

# Only the nox session installs ccxt, so its types are unknown elsewhere.
# pyright: basic, reportMissingImports=false

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import ccxt
import ccxt.async_support
import pytest

from binance_pm import ENDPOINTS
from binance_pm.endpoint import Endpoint
from binance_pm.sandbox.facts import OFFENCES_BEFORE_BAN
from tests.interop.trading import Trader

if TYPE_CHECKING:
    from binance_pm.sandbox.keys import Key
    from tests.interop.conftest import Served
    from tests.interop.trading import Trade

READS = {
    "/papi/v1/account": lambda client: client.papi_get_account(),
    "/papi/v2/um/account": lambda client: client.papiv2_get_um_account(),
    "/sapi/v1/portfolio/account": lambda client: client.sapi_get_portfolio_account(),
    "/sapi/v2/portfolio/account": lambda client: client.sapiv2_get_portfolio_account(),
}
"""How each account is read."""

LIMITED = ["/papi/v1/account", "/sapi/v1/portfolio/account", "/sapi/v2/portfolio/account"]


def options(served: Served, api_key: str, secret: str) -> dict[str, Any]:
    """Its configuration for a key, pointed at the sandbox."""
    paths = {"papi": "papi/v1", "papiV2": "papi/v2", "sapi": "sapi/v1", "sapiV2": "sapi/v2", "public": "api/v3"}
    return {
        "apiKey": api_key,
        "secret": secret,
        "urls": {"api": {name: f"{served.url}/{path}" for name, path in paths.items()}},
        # Its own pauses between requests would keep it away from the limits that it is to meet here.
        "enableRateLimit": False,
        # Its pause after closing is for connections that take their time, as these do not.
        "timeout_on_exit": 0,
    }


@contextmanager
def opened(served: Served, api_key: str, secret: str) -> Generator[ccxt.binance]:
    """The blocking client."""
    served.client = "ccxt"
    client = ccxt.binance(options(served, api_key, secret))
    try:
        yield client
    finally:
        client.close()


@asynccontextmanager
async def opened_async(served: Served, api_key: str, secret: str) -> AsyncGenerator[ccxt.async_support.binance]:
    """The asynchronous client."""
    served.client = "ccxt, asynchronous"
    async with ccxt.async_support.binance(options(served, api_key, secret)) as client:
        yield client


def method(client: Any, endpoint: Endpoint[Any]) -> Any:
    """Return the method for an endpoint, which ccxt names by verb and path; None if there is none."""
    _, family, version, *path = endpoint.path.split("/")
    prefix = family if version == "v1" else family + version
    words = [prefix, endpoint.method, *"-".join(path).split("-")]
    return getattr(client, "_".join(map(str.lower, words)), None)


def trader(client: Any) -> Trader:
    """The client as a function."""
    # It signs every request, and the exchange refuses parameters that an endpoint does not have: -1101.
    offered = {
        name
        for name, endpoint in ENDPOINTS.items()
        if endpoint.security != "MARKET_DATA" and method(client, endpoint) is not None
    }
    return Trader(offered, lambda name, parameters: method(client, ENDPOINTS[name])(dict(parameters)))


async def test_trades(trading: Served, trade: Trade) -> None:
    """It places, amends, queries and cancels orders, and reads the account, as our client does."""
    with opened(trading, trading.account.api_key, trading.account.api_secret) as client:
        await trade(trader(client))


async def test_trades_async(trading: Served, trade: Trade) -> None:
    """The asynchronous client does as well."""
    async with opened_async(trading, trading.account.api_key, trading.account.api_secret) as client:
        await trade(trader(client))


@pytest.mark.parametrize("path", READS)
def test_reads(path: str, served: Served, key: Key) -> None:
    """With a key of each kind it reads what the exchange said."""
    with opened(served, key.api_key, key.secret) as client:
        answer = READS[path](client)

    assert answer == served.answer(path)


@pytest.mark.parametrize("path", READS)
async def test_reads_async(path: str, served: Served, key: Key) -> None:
    """With a key of each kind the asynchronous client reads what the exchange said."""
    async with opened_async(served, key.api_key, key.secret) as client:
        answer = await READS[path](client)

    assert answer == served.answer(path)


def test_pings(served: Served) -> None:
    """Its ping of /papi is answered."""
    with opened(served, served.account.api_key, served.account.api_secret) as client:
        assert client.papi_get_ping() == {}

    assert served.answer("/papi/v1/ping") == {}


def test_reads_time(served: Served) -> None:
    """Its unified method for the exchange's time reads the exchange's clock."""
    with opened(served, served.account.api_key, served.account.api_secret) as client:
        server_time = client.fetch_time({"type": "spot"})

    assert {"serverTime": server_time} == served.answer("/api/v3/time")


@pytest.mark.parametrize("path", READS)
def test_wrong_secret(path: str, served: Served, key: Key, wrong_secret: str) -> None:
    """With the secret of another account, of each kind, it is refused with -1022."""
    with (
        opened(served, key.api_key, wrong_secret) as client,
        pytest.raises(ccxt.AuthenticationError, match='"code":-1022'),
    ):
        READS[path](client)

    assert (served.last.path, served.last.account, served.last.status) == (path, served.account.label, 400)


@pytest.mark.parametrize("path", READS)
async def test_wrong_secret_async(path: str, served: Served, key: Key, wrong_secret: str) -> None:
    """With the secret of another account, of each kind, the asynchronous client is refused with -1022."""
    async with opened_async(served, key.api_key, wrong_secret) as client:
        with pytest.raises(ccxt.AuthenticationError, match='"code":-1022'):
            await READS[path](client)

    assert (served.last.path, served.last.account, served.last.status) == (path, served.account.label, 400)


@pytest.mark.parametrize("path", READS)
def test_unknown_key(path: str, served: Served, unknown_key: str) -> None:
    """With a key that nobody has it is refused with -2015."""
    with (
        opened(served, unknown_key, served.account.api_secret) as client,
        pytest.raises(ccxt.AuthenticationError, match='"code":-2015'),
    ):
        READS[path](client)

    assert (served.last.path, served.last.account, served.last.status) == (path, None, 401)


@pytest.mark.parametrize("path", LIMITED)
def test_rate_limited(path: str, narrow: Served) -> None:
    """Beyond the limit it says that it is refused for its many requests, and has the seconds to wait."""
    with opened(narrow, narrow.account.api_key, narrow.account.api_secret) as client:
        READS[path](client)
        with pytest.raises(ccxt.DDoSProtection, match=r'429 .*"code":-1003'):
            READS[path](client)

        assert 30 < int(client.last_response_headers["Retry-After"]) <= 60


@pytest.mark.parametrize("path", LIMITED)
def test_banned(path: str, narrow: Served) -> None:
    """Where it goes on after refusals it says that it is banned, and has the seconds to wait."""
    with opened(narrow, narrow.account.api_key, narrow.account.api_secret) as client:
        READS[path](client)
        for _ in range(OFFENCES_BEFORE_BAN - 1):
            with pytest.raises(ccxt.DDoSProtection, match=" 429 "):
                READS[path](client)
        with pytest.raises(ccxt.DDoSProtection, match=r'418 .*"code":-1003'):
            READS[path](client)

        assert 60 < int(client.last_response_headers["Retry-After"]) <= 121
