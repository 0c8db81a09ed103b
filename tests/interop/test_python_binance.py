"""python-binance, blocking and asynchronous, reads the sandbox."""

# Only the nox session installs python-binance, so its types are unknown elsewhere.
# pyright: basic, reportMissingImports=false

from __future__ import annotations

import asyncio
import warnings
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from binance_pm.sandbox.facts import OFFENCES_BEFORE_BAN
from tests.interop.trading import Trader

if TYPE_CHECKING:
    from binance_pm.sandbox.keys import Key
    from tests.interop.conftest import Served
    from tests.interop.trading import Trade

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

METHODS = {
    **{f"{p}.{name}": method.format(p) for p in ("um", "cm") for name, method in {
        "new_order": "papi_create_{}_order",
        "modify_order": "papi_modify_{}_order",
        "cancel_order": "papi_cancel_{}_order",
        "cancel_all_orders": "papi_cancel_{}_all_open_orders",
        "order": "papi_get_{}_order",
        "open_order": "papi_get_{}_open_order",
        "open_orders": "papi_get_{}_open_orders",
        "all_orders": "papi_get_{}_all_orders",
        "order_amendments": "papi_get_{}_order_amendment",
        "trades": "papi_get_{}_user_trades",
        "income": "papi_get_{}_income_history",
        "position_risk": "papi_get_{}_position_risk",
        "commission_rate": "papi_get_{}_comission_rate",
        "adl_quantile": "papi_get_{}_adl_quantile",
        "leverage_brackets": "papi_get_{}_leverage_bracket",
        "set_leverage": "papi_set_{}_leverage",
        "position_mode": "papi_get_{}_position_side_dual",
    }.items()},
    # Its method for conditional orders of COIN-M adds a parameter that the endpoint does not have: -1104.
    "cm.open_conditional_orders": "papi_get_cm_conditional_open_orders",
    "cm.all_conditional_orders": "papi_get_cm_conditional_all_orders",
    "margin.new_order": "papi_create_margin_order",
    "margin.cancel_order": "papi_cancel_margin_order",
    "margin.cancel_all_orders": "papi_cancel_margin_all_open_orders",
    "margin.order": "papi_get_margin_order",
    "margin.open_orders": "papi_get_margin_open_orders",
    "margin.all_orders": "papi_get_margin_all_orders",
    "margin.trades": "papi_get_margin_my_trades",
    "margin.new_oco": "papi_margin_order_oco",
    "margin.cancel_oco": "papi_cancel_margin_order_list",
    "margin.oco": "papi_get_margin_order_list",
    "margin.open_ocos": "papi_get_margin_open_order_list",
    "margin.all_ocos": "papi_get_margin_all_order_list",
    "margin.max_borrowable": "papi_get_margin_max_borrowable",
    "margin.max_withdraw": "papi_get_margin_max_withdraw",
    "margin.borrow": "papi_margin_loan",
    "margin.repay": "papi_repay_loan",
    "margin.loan_history": "papi_get_margin_margin_loan",
    "margin.repay_history": "papi_get_margin_repay_loan",
    "margin.interest_history": "papi_get_margin_interest_history",
    "account": "papi_get_account",
    "balance": "papi_get_balance",
    "um_account": "papi_get_um_account_v2",
    "um.account_v1": "papi_get_um_account",
    "um.account_config": "papi_get_um_account_config",
    "um.symbol_config": "papi_get_um_symbol_config",
    "cm_account": "papi_get_cm_account",
    "span_account": "margin_v2_get_portfolio_account",
    "pro.balance": "margin_v1_get_portfolio_balance",
    "pro.tiered_collateral_rate": "margin_v2_get_portfolio_collateral_rate",
    "pro.set_repay_futures_switch": "margin_v1_post_portfolio_repay_futures_switch",
}  # fmt: skip
"""Its methods by our names of the endpoints."""

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
    served.client = "python-binance"
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
    served.client = "python-binance, asynchronous"
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


def trader(client: Any) -> Trader:
    """The client as a function."""
    return Trader(METHODS, lambda name, parameters: getattr(client, METHODS[name])(**parameters))


async def test_trades(trading: Served, trade: Trade) -> None:
    """It places, amends, queries and cancels orders, and reads the account, as our client does."""
    with opened(trading, trading.account.api_key, trading.account.api_secret) as client:
        await trade(trader(client))


async def test_trades_async(trading: Served, trade: Trade) -> None:
    """The asynchronous client does as well."""
    async with opened_async(trading, trading.account.api_key, trading.account.api_secret) as client:
        await trade(trader(client))


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
