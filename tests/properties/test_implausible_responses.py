"""Whatever a response says, the call ends in a value or a documented error, soon, and sending goes on.

Implausible values stand in every field of every declared endpoint's sample, and in every header that the package
reads, on both engines, over HTTP on loopback. An endpoint or a header that is added later is covered by being there.
"""

from __future__ import annotations

import functools
import gc
import importlib
import json
import re
import socket
import time
import tracemalloc
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager
from email.utils import formatdate
from operator import attrgetter
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import msgspec
import pytest

import binance_pm
from binance_pm import ENDPOINTS, Client, PortfolioMarginError, Session
from binance_pm.budget import LIMITS, Budget
from binance_pm.transport.http import Method, Timeouts
from tests.support.clocks import ShiftedClock
from tests.support.implausible import fields_of, with_value
from tests.support.raw_server import read_request, serve_raw
from tests.support.sample import sample_of

EngineName = Literal["direct", "httpx"]

METHODS: Final[tuple[Method, ...]] = ("POST", "GET")
MINUTE = 60.0
MOST_CPU_SECONDS = 0.1
MOST_MEMORY = 32 * 2**20
ANSWER = b'{"balance":"1.0"}'

TEXTS = [
    "", "0", "-1", "-0", "+5", " 7 ", "1.5", "1e3", "1_000", "0x10", "٣", "NaN", "inf", "5999", "6000", "6001",
    "1200", "12000", "180000", str(2**31), str(2**53), str(2**63), str(2**64), "9" * 26, "9" * 5000, "5, 5", "5, 6000",
    "0, 99999999999", "null", "true", "%00", "x" * 60_000, "gzip", "gzip, gzip", "chunked", "br, chunked", "close",
    "identity",
]  # fmt: skip
"""Header texts; every header gets all of them."""


FIELD_VALUES = [
    '""', '"0e-8"', '"1e64"', '"1e999999999"', f'"{"9" * 5000}"', "1.5", "-1", str(2**63 - 1), str(10**400), "1e300",
    "null", "true", "[]", "{}", f'"{"x" * 100_000}"',
]  # fmt: skip
"""Some of the values that tests/properties/test_implausible_fields.py decodes."""


def deep(depth: int) -> bytes:
    """Return nested lists."""
    return b"[" * depth + b"]" * depth


BODIES = [
    b"", b" ", b"null", b"0", b'""', b"[]", b"{}", b"{", b"\xff\xfe", b"\x00" * 1000, b"<html>" * 1000, b"[" * 100_000,
    deep(500), deep(997), deep(5000), b'{"a":' * 900 + b"1" + b"}" * 900, b"9" * 100_000, b'{"code":-1003,"msg":null}',
    b'{"code":' + b"9" * 5000 + b"}", b'{"msg":"x","code":"-1"}', b'"' + b"x" * 1_000_000 + b'"',
]  # fmt: skip


def dates(now: float) -> list[str]:
    """Return texts of a `Date`: wrong by seconds to thousands of years, and invalid ones."""
    offsets = [-86400.0 * 365, -3600.0, -61.0, -6.0, 6.0, 61.0, 3600.0, 7200.0, 86400.0 * 365]
    near = [formatdate(now + offset, usegmt=True) for offset in offsets]
    far = ["Thu, 01 Jan 1970 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT", "Mon, 01 Jan 0001 00:00:00 GMT"]
    doubled = [f"{near[1]}, {near[6]}", near[4].replace("GMT", "+1400"), near[4].replace("GMT", "")]
    none = ["Thu, 32 Foo 2026 25:61:61 GMT", "2026-11-29T00:00:00Z", "now"]
    return near + far + doubled + none


class Exchange:
    """A server whose next response is written by the test in bytes; the others are plausible."""

    def __init__(self) -> None:
        self.clock = ShiftedClock()
        self.response: bytes | None = None
        self.url = ""

    def plausible(
        self, body: bytes = ANSWER, *, status: str = "200 OK", odd: tuple[tuple[str, str], ...] = ()
    ) -> bytes:
        """Return a response as the exchange sends it, except for the given headers."""
        fields = {rule.header: "40" for rule in LIMITS.values()} | {"date": formatdate(self.clock.wall(), usegmt=True)}
        fields |= {"content-length": str(len(body))} | dict(odd)
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode("latin-1", "replace") + body

    def serve(self, connection: socket.socket) -> None:
        """Answer each request on a connection."""
        while read_request(connection):
            response, self.response = self.response, None
            connection.sendall(response or self.plausible())


@pytest.fixture(scope="module")
def exchange() -> Generator[Exchange, None, None]:
    """A server whose responses are written by the test."""
    running = Exchange()
    # Loaded with the first response, whatever it is.
    for module in ("budget.bans", "decoding"):
        importlib.import_module(f"binance_pm.{module}")
    # A garbage collection of everything that pytest holds takes longer than the call it meets.
    gc.freeze()
    with serve_raw(running.serve) as server:
        running.url = server.url
        yield running
    gc.unfreeze()


@pytest.fixture(params=["direct", "httpx"])
def engine(request: pytest.FixtureRequest) -> EngineName:
    """Each of the engines."""
    return request.param


class Pair(NamedTuple):
    """Two clients on one budget, on a clock that can be set forward."""

    hasty: Client
    """Times out soon on a response that never ends."""
    patient: Client
    exchange: Exchange

    async def hear(self, response: bytes) -> object:
        """Return the result of a poll with that response."""
        self.exchange.response = response
        return await outcome_of(lambda: balance(self.hasty))

    async def check_that_sending_goes_on(self) -> None:
        """Check that an order and a poll are sent at once a minute later."""
        self.exchange.clock.ahead += MINUTE
        self.exchange.response = None
        for method in METHODS:
            assert await balance(self.patient, method) == json.loads(ANSWER)


@asynccontextmanager
async def pair_of(exchange: Exchange, engine: EngineName) -> AsyncGenerator[Pair, None]:
    """Return clients with their own budget."""
    exchange.clock, exchange.response = ShiftedClock(), None
    budget = Budget(monotonic=exchange.clock.monotonic, wall=exchange.clock.wall)
    options: dict[str, Any] = {"papi_url": exchange.url, "sapi_url": exchange.url, "attempts": 1, "max_wait": 1.0}
    async with (
        Session(engine=engine, budget=budget, timeouts=Timeouts(read=0.15)) as hasty,
        Session(engine=engine, budget=budget) as patient,
        Client("key", "secret", session=hasty, **options) as first,
        Client("key", "secret", session=patient, **options) as second,
    ):
        yield Pair(first, second, exchange)


async def balance(client: Client, method: Method = "GET") -> object:
    """Send a poll or an order."""
    return await client.request(method, "/papi/v1/balance", weight=1, returns=dict[str, Any])


async def outcome_of(call: Callable[[], Awaitable[object]]) -> object:
    """Return the result or error of a call, which has to be documented, quick and small."""
    # A garbage collection by chance is not the call's.
    gc.disable()
    tracemalloc.start()
    began = time.thread_time()
    try:
        outcome = await call()
    except PortfolioMarginError as error:
        outcome = error
    finally:
        gc.enable()
    seconds = time.thread_time() - began
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seconds < MOST_CPU_SECONDS
    assert peak < MOST_MEMORY
    return outcome


def read_headers() -> list[str]:
    """Return every header that the package reads, by its source, and those used by the engines' libraries."""
    found = {rule.header for rule in LIMITS.values()} | {"content-length", "connection", "location", "upgrade"}
    package = Path(binance_pm.__file__).parent
    for path in package.rglob("*.py"):
        if "sandbox" not in path.relative_to(package).parts:
            found |= set(re.findall(r'headers(?:\.get\(|\[)"([a-z0-9-]+)"', path.read_text(encoding="utf-8")))
    return sorted(found)


@pytest.mark.parametrize("status", ["200 OK", "503 Service Unavailable"])
@pytest.mark.parametrize("name", read_headers())
async def test_no_header_stops_sending_for_more_than_a_minute(
    name: str, status: str, engine: EngineName, exchange: Exchange
) -> None:
    """Each implausible text in turn, between plausible responses."""
    async with pair_of(exchange, engine) as pair:
        for text in TEXTS + dates(time.time()):
            await pair.hear(exchange.plausible(status=status, odd=((name, text),)))
            await pair.check_that_sending_goes_on()


@pytest.mark.parametrize("used", ["40", "5995", "9" * 15])
async def test_no_date_with_a_count_stops_sending(used: str, engine: EngineName, exchange: Exchange) -> None:
    """In the first response, and after a plausible one."""
    for date in dates(time.time()):
        odd = (("date", date), ("x-mbx-used-weight-1m", used), ("x-mbx-order-count-1m", used))
        async with pair_of(exchange, engine) as pair:
            await pair.hear(exchange.plausible(odd=odd))
            await pair.check_that_sending_goes_on()
            await pair.hear(exchange.plausible(odd=odd))
            await pair.check_that_sending_goes_on()


ONE_OF_EACH = sorted({str(endpoint.returns): name for name, endpoint in ENDPOINTS.items()}.values())
"""One endpoint for each type of response: those of the same type decode alike."""


@pytest.mark.parametrize("engine", ["direct"])
@pytest.mark.parametrize("name", ONE_OF_EACH)
async def test_every_field_gives_a_documented_result(name: str, engine: EngineName, exchange: Exchange) -> None:
    """Each field holds implausible values in turn; accepted values are written in plain notation."""
    sample = sample_of(name)
    async with pair_of(exchange, engine) as pair:
        call: Callable[[], Awaitable[object]] = functools.partial(attrgetter(name)(pair.patient), **sample["call"])
        # The decoder is made with the first response, which is not what is measured here.
        exchange.response = exchange.plausible(json.dumps(sample["answer"]).encode())
        await call()
        for path in fields_of(sample["answer"]):
            for raw in FIELD_VALUES:
                body = with_value(sample["answer"], path, raw)
                # No call waits for weight used by earlier ones.
                exchange.clock.ahead += 2.0
                exchange.response = exchange.plausible(body)
                outcome = await outcome_of(call)
                if not isinstance(outcome, PortfolioMarginError):
                    written = msgspec.json.encode(outcome)
                    assert len(written) < 2 * len(body) + 1000
                    assert not re.search(rb'"-?[0-9.]+E[-+]?[0-9]+"', written)
        await pair.check_that_sending_goes_on()


@pytest.mark.parametrize("status", ["200 OK", "302 Found", "400 Bad Request", "500 Oops", "503 Service Unavailable"])
async def test_every_body_gives_a_documented_result(status: str, engine: EngineName, exchange: Exchange) -> None:
    """With every kind of status, for a read and a write."""
    async with pair_of(exchange, engine) as pair:
        for body in BODIES:
            for method in METHODS:
                exchange.response = exchange.plausible(body, status=status)
                await outcome_of(lambda method=method: balance(pair.patient, method))
            # A full limit requires a minute of waiting.
            exchange.clock.ahead += MINUTE if b"-1003" in body else 0.0
            await pair.check_that_sending_goes_on()
