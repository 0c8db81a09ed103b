"""A served exchange that can say again what it answered last: another client must have read exactly that."""

from __future__ import annotations

import time
from collections.abc import Generator

import pytest

from binance_pm.sandbox import Account, Exchange, serve
from binance_pm.sandbox.keys import Key
from binance_pm.sandbox.messages import Arrival
from binance_pm.sandbox.rules import find_endpoint


class LastTold:
    """The clock of this machine; it remembers what it told last, which is the moment of the exchange's last answer."""

    def __init__(self) -> None:
        self.told = 0.0

    def __call__(self) -> float:
        """Seconds since the epoch."""
        self.told = time.time()
        return self.told


class Served:
    """An exchange of two accounts on a loopback socket.

    Attributes:
        exchange: what is served.
        url: where it answers.
    """

    def __init__(self, exchange: Exchange, url: str, clock: LastTold) -> None:
        self.exchange = exchange
        self.url = url
        self._clock = clock

    @property
    def account(self) -> Account:
        """The account that is read."""
        return self.exchange.accounts[0]

    @property
    def last(self) -> Arrival:
        """The last request."""
        return self.exchange.requests[-1]

    def answer(self, path: str) -> object:
        """Return the response to the last request, a GET of this path that broke no rule."""
        assert (self.last.method, self.last.path, self.last.status) == ("GET", path, 200)
        assert self.last.account in {None, self.account.label}
        name = find_endpoint("GET", path).name
        return self.exchange.respond(name, dict(self.last.params), self.account, self._clock.told)


def _minute_that_begins_now() -> float:
    """A length of the minute, a hair over 60 seconds, by which one has just begun: no test sees it turn."""
    now = time.time()
    return now / (now // 60)


@pytest.fixture
def served() -> Generator[Served]:
    """An exchange with the real limits."""
    clock = LastTold()
    exchange = Exchange(accounts=2, clock=clock)
    with serve(exchange) as url:
        yield Served(exchange, url, clock)


@pytest.fixture
def narrow() -> Generator[Served]:
    """An exchange whose limits of a minute leave room for one reading of the account in each family."""
    clock = LastTold()
    exchange = Exchange(
        accounts=2, clock=clock, minute=_minute_that_begins_now(), limits={"papi": 20, "sapi-ip": 5, "sapi-uid": 5}
    )
    with serve(exchange) as url:
        yield Served(exchange, url, clock)


@pytest.fixture(params=["hmac", "ed25519", "rsa"])
def kind(request: pytest.FixtureRequest) -> str:
    """A kind of API key."""
    return request.param


@pytest.fixture
def key(kind: str, served: Served) -> Key:
    """The key of that kind of the account."""
    return getattr(served.account, kind)


@pytest.fixture
def wrong_secret(kind: str, served: Served) -> str:
    """A secret of that kind which is another account's."""
    return getattr(served.exchange.accounts[1], kind).secret


@pytest.fixture
def unknown_key() -> str:
    """An API key of the right form that nobody has."""
    return "k" * 64
