"""python-binance, blocking and asynchronous, reads the sandbox."""

# python-binance is installed by the nox session alone, so that its types are known to nobody else.
# pyright: basic, reportMissingImports=false

from __future__ import annotations

import asyncio
import warnings
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from binance_pm.sandbox.facts import OFFENCES_BEFORE_BAN

if TYPE_CHECKING:
    from binance_pm.sandbox.keys import Key
    from tests.interop.conftest import Served

with warnings.catch_warnings():
    # It still asks websockets for the names of an interface that is on its way out.
    warnings.filterwarnings("ignore", r"websockets\.", DeprecationWarning)
    from binance import AsyncClient, Client
    from binance.exceptions import BinanceAPIException

READS = {
    "/papi/v1/account": lambda client: client.papi_get_account(),
    "/papi/v2/um/account": lambda client: client.papi_get_um_account_v2(),
    # It has a method for the second version of this path only, and lets its callers ask for another.
    "/sapi/v1/portfolio/account": lambda client: client.margin_v2_get_portfolio_account(version=1),
    "/sapi/v2/portfolio/account": lambda client: client.margin_v2_get_portfolio_account(),
}
"""How each account is read."""

PUBLIC = {
    "/papi/v1/ping": lambda client: client.papi_ping(),
    "/api/v3/ping": lambda client: client.ping(),
    "/api/v3/time": lambda client: client.get_server_time(),
}
"""What it reads without a key."""

LIMITED = ["/papi/v1/account", "/sapi/v1/portfolio/account", "/sapi/v2/portfolio/account"]


def credentials(api_key: str, secret: str) -> dict[str, str]:
    """Its arguments for a key; a secret that is a PEM is its private key."""
    return {"api_key": api_key, "private_key" if "PRIVATE KEY" in secret else "api_secret": secret}


def point(client: Any, url: str) -> None:
    """Point a client at the sandbox: it takes no URL."""
    client.API_URL = f"{url}/api"
    client.MARGIN_API_URL = f"{url}/sapi"
    client.PAPI_URL = f"{url}/papi"


@contextmanager
def opened(served: Served, api_key: str, secret: str) -> Generator[Client]:
    """The blocking client, pointed at the sandbox."""
    # The blocking one wants an event loop as well, and would make one that nobody closes.
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        client = Client(**credentials(api_key, secret), ping=False)
        point(client, served.url)
        yield client
        client.close_connection()
    finally:
        asyncio.set_event_loop(None)
        loop.close()


@asynccontextmanager
async def opened_async(served: Served, api_key: str, secret: str) -> AsyncGenerator[AsyncClient]:
    """The asynchronous client, pointed at the sandbox."""
    client = AsyncClient(**credentials(api_key, secret))
    try:
        point(client, served.url)
        yield client
    finally:
        await client.close_connection()


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


@pytest.mark.parametrize("path", PUBLIC)
def test_reads_public(path: str, served: Served) -> None:
    """What needs no signature it reads as well."""
    with opened(served, served.account.api_key, served.account.api_secret) as client:
        answer = PUBLIC[path](client)

    assert answer == served.answer(path)


@pytest.mark.parametrize("path", PUBLIC)
async def test_reads_public_async(path: str, served: Served) -> None:
    """What needs no signature the asynchronous client reads as well."""
    async with opened_async(served, served.account.api_key, served.account.api_secret) as client:
        answer = await PUBLIC[path](client)

    assert answer == served.answer(path)


@pytest.mark.parametrize("path", READS)
def test_wrong_secret(path: str, served: Served, key: Key, wrong_secret: str) -> None:
    """With the secret of another account, of each kind, it is refused with -1022."""
    with opened(served, key.api_key, wrong_secret) as client, pytest.raises(BinanceAPIException) as refused:
        READS[path](client)

    assert (refused.value.code, refused.value.status_code) == (-1022, 400)
    assert (served.last.path, served.last.account, served.last.status) == (path, served.account.label, 400)


@pytest.mark.parametrize("path", READS)
async def test_wrong_secret_async(path: str, served: Served, key: Key, wrong_secret: str) -> None:
    """With the secret of another account, of each kind, the asynchronous client is refused with -1022."""
    async with opened_async(served, key.api_key, wrong_secret) as client:
        with pytest.raises(BinanceAPIException) as refused:
            await READS[path](client)

    assert (refused.value.code, refused.value.status_code) == (-1022, 400)
    assert (served.last.path, served.last.account, served.last.status) == (path, served.account.label, 400)


@pytest.mark.parametrize("path", READS)
def test_unknown_key(path: str, served: Served, unknown_key: str) -> None:
    """With a key that nobody has it is refused with -2015."""
    with (
        opened(served, unknown_key, served.account.api_secret) as client,
        pytest.raises(BinanceAPIException) as refused,
    ):
        READS[path](client)

    assert (refused.value.code, refused.value.status_code) == (-2015, 401)
    assert (served.last.path, served.last.account, served.last.status) == (path, None, 401)


@pytest.mark.parametrize("path", LIMITED)
def test_rate_limited(path: str, narrow: Served) -> None:
    """Beyond the limit it gets 429 with the seconds to wait."""
    with opened(narrow, narrow.account.api_key, narrow.account.api_secret) as client:
        READS[path](client)
        with pytest.raises(BinanceAPIException) as refused:
            READS[path](client)

    assert (refused.value.code, refused.value.status_code) == (-1003, 429)
    assert 30 < int(refused.value.response.headers["Retry-After"]) <= 60


@pytest.mark.parametrize("path", LIMITED)
def test_banned(path: str, narrow: Served) -> None:
    """Where it goes on after refusals it gets 418 with the seconds to wait."""
    with opened(narrow, narrow.account.api_key, narrow.account.api_secret) as client:
        READS[path](client)
        for _ in range(OFFENCES_BEFORE_BAN):
            with pytest.raises(BinanceAPIException) as refused:
                READS[path](client)

    statuses = [request.status for request in narrow.exchange.requests]
    assert statuses == [200, *[429] * (OFFENCES_BEFORE_BAN - 1), 418]
    assert (refused.value.code, refused.value.status_code) == (-1003, 418)
    assert 60 < int(refused.value.response.headers["Retry-After"]) <= 121
