"""A served exchange that can say again what it answered last: another client must have read exactly that."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Generator
from contextlib import contextmanager

import pytest

from binance_pm import Client
from binance_pm.sandbox import Exchange, SimulatedAccount, serve
from binance_pm.sandbox.keys import Key
from binance_pm.sandbox.messages import Arrival
from binance_pm.sandbox.rules import find_endpoint
from tests.interop.steps import SCRIPTS
from tests.interop.trading import Trade, Trader, Trial


class LastTold:
    """The clock of this machine; it remembers what it told last, which is the moment of the exchange's last answer."""

    def __init__(self) -> None:
        self.told = 0.0

    def __call__(self) -> float:
        """Seconds since the epoch."""
        self.told = time.time()
        return self.told


class Served:
    """An exchange on a loopback socket.

    Attributes:
        exchange: what is served.
        url: where it answers.
        client: the name of the client that uses it.
        ours: how many of the requests came from our client.
    """

    def __init__(self, exchange: Exchange, url: str, clock: LastTold) -> None:
        self.exchange = exchange
        self.url = url
        self.client = ""
        self.ours = 0
        self._clock = clock

    @property
    def account(self) -> SimulatedAccount:
        """The account that is read."""
        return self.exchange.accounts[0]

    @property
    def last(self) -> Arrival:
        """The last request."""
        return self.exchange.requests[-1]

    @property
    def last_moment(self) -> float:
        """When the exchange answered last, in seconds since the epoch."""
        return self._clock.told

    def answer(self, path: str, moment: float | None = None) -> object:
        """Return the response to the last request, a GET of this path that broke no rule.

        Args:
            path: the path of the request.
            moment: the response of this moment, in seconds since the epoch; None for the moment of the request.
        """
        assert (self.last.method, self.last.path, self.last.status) == ("GET", path, 200)
        assert self.last.account in {None, self.account.label}
        name = find_endpoint("GET", path).name
        now = self._clock.told if moment is None else moment
        return self.exchange.respond(name, dict(self.last.params), self.account, now)


def _minute_that_begins_now() -> float:
    """A length of the minute, a hair over 60 seconds, by which one has just begun: no test sees it turn."""
    now = time.time()
    return now / (now // 60)


REQUESTS: Counter[str] = Counter()
"""How many requests each of the other clients sent in this run."""
STEPS: Counter[str] = Counter()
"""How many of these requests were steps of `tests.interop.steps`, which are compared field by field."""
ENDPOINTS_USED: defaultdict[str, set[str]] = defaultdict(set)
"""The endpoints that these steps called."""


@contextmanager
def _serving(clock: LastTold, exchange: Exchange) -> Generator[Served]:
    with serve(exchange) as url:
        served = Served(exchange, url, clock)
        yield served
    if served.client:
        REQUESTS[served.client] += len(exchange.requests) - served.ours


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what each client did."""
    if not REQUESTS:
        return
    terminalreporter.section("requests to the local exchange by client")
    terminalreporter.line(f"{'client':<28} {'requests':>8} {'steps':>6} {'endpoints':>9}")
    for client, requests in sorted(REQUESTS.items()):
        terminalreporter.line(f"{client:<28} {requests:>8} {STEPS[client]:>6} {len(ENDPOINTS_USED[client]):>9}")


@pytest.fixture
def served() -> Generator[Served]:
    """An exchange with the real limits."""
    clock = LastTold()
    with _serving(clock, Exchange(accounts=2, clock=clock)) as served:
        yield served


@pytest.fixture
def narrow() -> Generator[Served]:
    """An exchange whose limits of a minute leave room for one reading of the account in each family."""
    clock = LastTold()
    exchange = Exchange(
        accounts=2, clock=clock, minute=_minute_that_begins_now(), limits={"papi": 20, "sapi-ip": 5, "sapi-uid": 5}
    )
    with _serving(clock, exchange) as served:
        yield served


@pytest.fixture
def trading() -> Generator[Served]:
    """An exchange with an account whose margin suffices for all orders."""
    clock = LastTold()
    with _serving(clock, Exchange(accounts=[SimulatedAccount("desk", uni_mmr="50")], clock=clock)) as served:
        yield served


@pytest.fixture(params=SCRIPTS)
def trade(request: pytest.FixtureRequest, trading: Served) -> Trade:
    """Let a client do the steps of one product, and count them."""

    async def run(trader: Trader) -> None:
        account = trading.account
        async with Client(
            account.api_key, account.api_secret, papi_url=trading.url, sapi_url=trading.url, label=account.label
        ) as ours:
            trial = Trial(trading, ours, trader)
            await trial.run(request.param)
        STEPS[trading.client] += trial.steps.total()
        ENDPOINTS_USED[trading.client] |= trial.steps.keys()

    return run


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
