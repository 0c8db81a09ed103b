"""The local exchange and the client together, for your own tests.

    async def test_reads_the_account() -> None:
        async with sandbox() as pm, pm.client() as client:
            assert (await client.span_account()).account_status == "NORMAL"

The pytest fixture ``pm_sandbox`` provides the same `Sandbox`. This module needs the extra ``sandbox``.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, Literal

from binance_pm.arguments import checked
from binance_pm.budget import Budget, Family, LimitType
from binance_pm.client import Client
from binance_pm.errors import CallInfo, ConfigurationError
from binance_pm.extras import installation
from binance_pm.session import Session
from binance_pm.transport.httpx import HttpxLike, asgi_transport

try:
    from binance_pm.sandbox import (
        WRITE_FAULTS,
        Exchange,
        Fault,
        SimulatedAccount,
        StreamFault,
        StreamRules,
        create_app,
        serve,
    )
    from binance_pm.sandbox.file_server import LOCAL_HOST
except ImportError as _missing:
    raise ImportError(
        f"the local exchange needs the extra `sandbox`: {installation('sandbox')}", name=_missing.name
    ) from _missing

__all__ = [
    "WRITE_FAULTS",
    "Exchange",
    "Fault",
    "Sandbox",
    "SimulatedAccount",
    "StreamFault",
    "StreamRules",
    "running_sandbox",
    "sandbox",
]

_POOLS: Final[dict[str, tuple[Family, LimitType]]] = {
    "papi": ("papi", LimitType.IP),
    "papi-orders": ("papi", LimitType.ORDERS),
    "api": ("api", LimitType.IP),
    "sapi-ip": ("sapi", LimitType.IP),
    "sapi-uid": ("sapi", LimitType.UID),
}
_IN_MEMORY_URL: Final = "http://127.0.0.1"


class Sandbox:
    """A running local exchange, and clients for its accounts.

    Its clients share one budget, as all programs behind one IP should. They do not share connections.

    Attributes:
        exchange: the local exchange, with its accounts, counters, received requests and faults.
        base_url: the URL of the local exchange.
        budget: the budget that its clients share.
    """

    def __init__(
        self,
        exchange: Exchange,
        base_url: str,
        *,
        minute: float = 60.0,
        limits: Mapping[str, int] | None = None,
        http: HttpxLike | None = None,
    ) -> None:
        self.exchange: Final = exchange
        self.base_url: Final = base_url
        self.budget: Final = Budget(
            minute=minute, limits={_POOLS[name]: n for name, n in (limits or {}).items() if name in _POOLS}
        )
        self._http: Final = http

    def __repr__(self) -> str:
        return f"Sandbox({self.base_url}, {len(self.accounts)} accounts)"

    @property
    def accounts(self) -> list[SimulatedAccount]:
        """The accounts, in the order of their labels."""
        return self.exchange.accounts

    def client(self, account: int = 0, *, key: Literal["hmac", "ed25519", "rsa"] = "hmac", **options: Any) -> Client:
        """Return a client for one of the accounts, for ``async with``.

        Args:
            account: the index of the account in `accounts`.
            key: the type of the key to sign with.
            **options: as for `Client`; they override the options that the sandbox sets.
        """
        holder = self.accounts[account]
        chosen = getattr(holder, key)
        defaults: dict[str, Any] = {
            "label": holder.label,
            "papi_url": self.base_url,
            "sapi_url": self.base_url,
            "api_key": chosen.api_key,
            "api_secret": chosen.secret,
        }
        if "session" not in options:
            defaults["session"] = self.session()
        return Client(**(defaults | options))

    def session(self, **options: Any) -> Session:
        """Return a session that connects to this exchange and uses its budget.

        Args:
            **options: as for `Session`.
        """
        defaults: dict[str, Any] = {"http": self._http, "budget": self.budget}
        return Session(**(defaults | options))

    def inject(self, *faults: Fault) -> None:
        """Add faults to the queue; see `Fault`."""
        self.exchange.inject(*faults)

    def clear(self) -> None:
        """Remove all faults from the queue."""
        self.exchange.clear()


@checked("running_sandbox")
@contextmanager
def running_sandbox(
    *,
    minute: float = 60.0,
    seed: int = 7,
    accounts: int = 12,
    limits: Mapping[str, int] | None = None,
    liquidation: bool = True,
    all_symbols: bool = False,
    streams: StreamRules | None = None,
    download_seconds: float = 30.0,
) -> Generator[Sandbox, None, None]:
    """Run a local exchange on a free loopback port until the block ends.

    The exchange runs in its own thread, so tests with asyncio, with trio or without an event loop can use it.

    Args:
        minute: the length of the exchange's minute in seconds, for limits and bans; the budget of its clients uses it
            too.
        seed: the seed from which accounts, keys and prices are generated.
        accounts: the number of accounts.
        limits: limits per minute instead of the real ones, by pool: ``papi``, ``papi-orders``, ``api``, ``sapi-ip``,
            ``sapi-uid``. The budget of its clients uses the same limits. A client on a session with its own budget can
            exceed them and is refused.
        liquidation: whether positions are closed by force when uniMMR falls to 1.05.
        all_symbols: whether ``um_account`` lists the flat symbols too.
        streams: the intervals and limits of the user data streams instead of the real ones.
        download_seconds: how long the exchange needs to make the file of a download.

    Raises:
        ConfigurationError: an argument cannot be used.
    """
    rules: dict[str, Any] = {"liquidation": liquidation, "all_symbols": all_symbols, "streams": streams}
    exchange = _exchange(minute, seed, accounts, limits, download_seconds=download_seconds, **rules)
    with serve(exchange) as base_url:
        yield Sandbox(exchange, base_url, minute=minute, limits=limits)


@checked("sandbox")
@asynccontextmanager
async def sandbox(
    *,
    in_memory: bool = False,
    minute: float = 60.0,
    seed: int = 7,
    accounts: int = 12,
    limits: Mapping[str, int] | None = None,
    liquidation: bool = True,
    all_symbols: bool = False,
    streams: StreamRules | None = None,
    download_seconds: float = 30.0,
) -> AsyncGenerator[Sandbox, None]:
    """Run a local exchange like `running_sandbox`, for ``async with``.

    Args:
        in_memory: call the exchange directly, without a socket and without a thread; user data streams need both.
        minute: see `running_sandbox`.
        seed: see `running_sandbox`.
        accounts: see `running_sandbox`.
        limits: see `running_sandbox`.
        liquidation: see `running_sandbox`.
        all_symbols: see `running_sandbox`.
        streams: see `running_sandbox`.
        download_seconds: see `running_sandbox`.
    """
    rules: dict[str, Any] = {"liquidation": liquidation, "all_symbols": all_symbols, "streams": streams}
    rules["download_seconds"] = download_seconds
    options: dict[str, Any] = {"minute": minute, "seed": seed, "accounts": accounts, "limits": limits, **rules}
    if not in_memory:
        with running_sandbox(**options) as pm:
            yield pm
        return
    exchange = _exchange(**options)
    exchange.files.place = LOCAL_HOST
    http = asgi_transport(create_app(exchange))
    yield Sandbox(exchange, _IN_MEMORY_URL, minute=minute, limits=limits, http=http)


def _exchange(
    minute: float,
    seed: int,
    accounts: int,
    limits: Mapping[str, int] | None,
    **rules: Any,
) -> Exchange:
    call = CallInfo("sandbox")
    if not 0 < minute < math.inf or accounts < 1:
        raise ConfigurationError(call, f"minute is {minute} and accounts {accounts}: both must be above 0")
    try:
        return Exchange(minute=minute, seed=seed, accounts=accounts, limits=limits, **rules)
    except ValueError as error:
        raise ConfigurationError(call, str(error)) from None
