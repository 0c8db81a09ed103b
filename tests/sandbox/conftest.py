"""A clock that stands still, and a client that signs as the exchange's pages say, without any code of the package."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from urllib.parse import quote_plus, urlencode

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from binance_pm.sandbox import Exchange, SimulatedAccount, create_app
from binance_pm.sandbox.keys import Key
from binance_pm.sandbox.records import OrderRecord
from tests.support.clocks import FakeClock

NOON = 1_800_000_000.0
"""The beginning of a clock minute."""

ACCOUNT = "/papi/v1/account"


def sign(key: Key, payload: str) -> str:
    """The signature of a payload, as its owner would make it."""
    if key.kind == "HMAC":
        return hmac.new(key.secret.encode(), payload.encode(), hashlib.sha256).hexdigest()
    private = load_pem_private_key(key.secret.encode(), None)
    if isinstance(private, Ed25519PrivateKey):
        return base64.b64encode(private.sign(payload.encode())).decode()
    assert isinstance(private, RSAPrivateKey)
    return base64.b64encode(private.sign(payload.encode(), PKCS1v15(), SHA256())).decode()


class Caller:
    """A client of one exchange, in memory; every part of what it sends can be spoiled."""

    def __init__(self, exchange: Exchange, clock: FakeClock) -> None:
        self.exchange = exchange
        self.app = create_app(exchange)
        self.clock = clock

    @property
    def key(self) -> Key:
        """The HMAC key of the first account."""
        return self.exchange.accounts[0].hmac

    def query(self, key: Key | None = None, **params: object) -> str:
        """A signed query with the timestamp of now, unless told otherwise; None leaves a parameter out."""
        sent = {"timestamp": int(self.clock.now * 1000)} | params
        payload = urlencode({name: value for name, value in sent.items() if value is not None})
        return f"{payload}&signature={quote_plus(sign(key or self.key, payload))}".lstrip("&")

    async def send(
        self,
        path: str,
        query: str = "",
        *,
        method: str = "GET",
        content: str = "",
        api_key: str | None = None,
        ip: str = "127.0.0.1",
    ) -> httpx.Response:
        """Send exactly this."""
        transport = httpx.ASGITransport(self.app, client=(ip, 1))
        headers = {} if api_key is None else {"X-MBX-APIKEY": api_key}
        async with httpx.AsyncClient(transport=transport, base_url="http://sandbox", headers=headers) as client:
            return await client.request(method, f"{path}?{query}" if query else path, content=content)

    async def ask(
        self, path: str = ACCOUNT, *, key: Key | None = None, ip: str = "127.0.0.1", **params: object
    ) -> httpx.Response:
        """Send a signed request."""
        key = key or self.key
        return await self.send(path, self.query(key, **params), api_key=key.api_key, ip=ip)


class Desk:
    """A program of one account that calls signed endpoints by verb and path below ``/papi/v1/``."""

    def __init__(self, caller: Caller, account: SimulatedAccount) -> None:
        self.caller = caller
        self.exchange = caller.exchange
        self.clock = caller.clock
        self.account = account

    async def __call__(self, method: str, path: str, **params: object) -> Any:
        """Return the decoded response, whatever its status."""
        key, path = self.account.hmac, path if path.startswith("/") else f"/papi/v1/{path}"
        sent = {name: str(value).lower() if isinstance(value, bool) else value for name, value in params.items()}
        # Listen keys need a key, but no signature.
        query = "" if path.endswith("/listenKey") else self.caller.query(key, **sent)
        response = await self.caller.send(path, query, method=method, api_key=key.api_key)
        return response.json()

    def move(self, symbol: str, price: str | Decimal) -> None:
        """Let the symbol trade at another price."""
        self.exchange.set_price(symbol, Decimal(price))

    def orders(self, client_order_id: str | None = None) -> tuple[OrderRecord, ...]:
        """Return what the exchange knows of the account's orders."""
        return self.exchange.orders(self.account, client_order_id)


@pytest.fixture
def desk(clock: FakeClock) -> Desk:
    """A program of a rich account on an exchange where BTC and ETH trade at fixed prices."""
    account = SimulatedAccount("desk", uni_mmr="50")
    exchange = Exchange(accounts=[account], clock=clock, sleep=clock.sleep, limits={"papi": 1_000_000})
    desk = Desk(Caller(exchange, clock), account)
    desk.move("BTCUSDT", "60000")
    desk.move("ETHUSDT", "3000")
    return desk


@pytest.fixture
def poor(clock: FakeClock) -> Desk:
    """A program of an account that is near its margin call."""
    account = SimulatedAccount("poor", uni_mmr="1.52")
    return Desk(Caller(Exchange(accounts=[account], clock=clock, sleep=clock.sleep), clock), account)


@pytest.fixture
def clock() -> FakeClock:
    """A clock at noon."""
    return FakeClock(NOON)


@pytest.fixture
def exchange(clock: FakeClock) -> Exchange:
    """An exchange of two accounts in fake time."""
    return Exchange(accounts=2, clock=clock, sleep=clock.sleep)


@pytest.fixture
def caller(exchange: Exchange, clock: FakeClock) -> Caller:
    """A client of the exchange."""
    return Caller(exchange, clock)


@pytest.fixture
def calling(clock: FakeClock) -> Callable[[Exchange], Caller]:
    """Makes a client of an exchange of one's own."""

    def make(exchange: Exchange) -> Caller:
        return Caller(exchange, clock)

    return make


@pytest.fixture
def signing() -> Callable[[Key, str], str]:
    """Signs a payload as the owner of a key would."""
    return sign
