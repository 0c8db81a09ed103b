"""For the sections about what the exchange, a gateway or the network answers."""

# Imports that this module does not use are for the sections of messages.txt.
# pyright: reportUnusedImport=false
from __future__ import annotations

import gzip
import socket
import ssl
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypedDict

import certifi
import httpx
import msgspec

from binance_pm import Budget, Client, ConnectError, NoResponse, Session
from binance_pm.errors import CallInfo, SentWrite
from binance_pm.resolution import ByOrder, advice_on
from binance_pm.sandbox import Fault, create_app
from binance_pm.testing import sandbox
from binance_pm.transport.http import Timeouts
from tests.messages.arguments import HTTP
from tests.messages.stage import KEY, SECRET, Stage, errors_of
from tests.support.certificates import make_certificate
from tests.support.clocks import FakeClock
from tests.support.raw_server import Behaviour, answering, http, read_request, refusing_port, reset, serve_raw, silent

DATE = "Fri, 15 Jan 2027 08:00:10 GMT"
CALLS: Mapping[str, dict[str, Any]] = {
    "read": {"method": "GET"},
    "write": {"method": "POST"},
    "repeatable write": {"method": "DELETE", "repeat": "same_effect"},
    "quota": {"method": "GET", "repeat": "never"},
}
ENGINES = "httpx", "direct"
SHORT, SLOW = Timeouts(connect=2.0, read=0.1, total=4.0), Timeouts(connect=2.0, read=2.0, total=0.2)
TIME = "/papi/v1/time"
SECURITY: list[Any] = ["MARKET_DATA", "USER_DATA", "USER_DATA"]
TRANSPORT_ERRORS = [
    httpx.InvalidURL("x"),
    httpx.UnsupportedProtocol("x"),
    httpx.PoolTimeout("x"),
    httpx.ConnectTimeout("x"),
    httpx.ConnectError("x"),
    httpx.ReadTimeout("x"),
    httpx.WriteTimeout("x"),
    httpx.ReadError("x"),
    httpx.WriteError("x"),
    httpx.RemoteProtocolError("x"),
    httpx.DecodingError("x"),
    RuntimeError("x"),
]
Respond = Callable[[httpx.Request], httpx.Response]


class Figures(msgspec.Struct):
    """A response with one field of each kind."""

    amount: Decimal = Decimal(0)
    whole: int = 0
    real: float = 0.0
    text: str = ""
    flag: bool = False
    nothing: None = None
    kind: Literal["A"] = "A"
    inner: list[Decimal] = []
    either: int | list[str] = 0
    anything: Any = None


class Needed(TypedDict):
    """A response with a field that may not be missing."""

    amount: Decimal


def client_of(transport: Any, clock: FakeClock, **options: Any) -> Client:
    """Return a client whose budget is on the clock."""
    budget = Budget(monotonic=clock, wall=clock, sleep=clock.sleep)
    given: dict[str, Any] = {"label": "desk", "attempts": 1, "jitter": lambda: 0.0} | options
    return Client(KEY, SECRET, session=Session(http=transport, budget=budget), **given)


async def call(respond: Respond, what: str = "read", *, returns: Any = dict[str, Any], **options: Any) -> object:
    """Call an endpoint whose response is given."""
    async with client_of(httpx.MockTransport(respond), FakeClock(), **options) as desk:
        return await desk.request(path="/papi/v1/x", weight=1, returns=returns, **CALLS[what])


async def response(
    status: int, body: bytes | str, what: str = "read", *, returns: Any = dict[str, Any], **headers: str
) -> object:
    """Call an endpoint whose response, of the exchange or of a gateway, is made of these parts."""
    told = {"date": DATE} | {name.replace("_", "-"): value for name, value in headers.items()}
    return await call(lambda _: httpx.Response(status, headers=told, content=body), what, returns=returns)


async def code(number: int, text: str, status: int = 400, what: str = "read", **headers: str) -> object:
    """Call an endpoint that responds with an error of the exchange."""
    return await response(status, msgspec.json.encode({"code": number, "msg": text}), what, **headers)


async def decoded(*bodies: str) -> list[Exception]:
    """Decode successes that are not what was promised."""
    return await errors_of(*(partial(response, 200, body, returns=Figures) for body in bodies))


async def unsynchronised(time: httpx.Response) -> object:
    """Call with a timestamp that is always refused, and a time endpoint without a usable answer."""
    refusal = httpx.Response(400, json={"code": -1021, "msg": "Timestamp."})
    return await call(lambda asked: time if asked.url.path == TIME else refusal)


async def resolving() -> object:
    """Resolve an error that is not about a write."""
    async with Client(session=Session(budget=Budget())) as client:
        return await client.resolve(NoResponse(CallInfo("ping"), "timed out"))


async def resolving_of_another() -> object:
    """Resolve an error of another account."""
    error = NoResponse(CallInfo("um.new_order", "desk", write=True), "timed out")
    error.describe_write(SentWrite({}, key_id="another"))
    async with Client(session=Session(budget=Budget())) as client:
        return await client.resolve(error)


def repeated() -> object:
    """Raise the error of a second attempt, whose first attempt may have been executed."""
    error = ConnectError(CallInfo("um.cancel_order", "desk", write=True, repeat="same_effect"), "connection refused")
    error.describe_write(SentWrite({}), may_be_done=True)
    raise error


def placement() -> NoResponse:
    """Return the error of an order whose response was lost."""
    call = CallInfo("um.new_order", "desk", write=True, find_out=advice_on(ByOrder(queries=())))
    error = NoResponse(call, "timed out")
    error.describe_write(SentWrite({}, "desk-1", "new_client_order_id", "", 1_800_000_010_000, 1_800_000_015_000))
    return error


async def failing(error: Exception) -> object:
    """Call over a custom transport that fails."""

    def respond(_: httpx.Request) -> httpx.Response:
        raise error

    return await call(respond, "write")


async def on_session(*keys: Any, **options: Any) -> object:
    """Call an endpoint over a session with these options."""
    given: dict[str, Any] = {"http": HTTP, "budget": Budget()} | options
    async with Client(*keys, session=Session(**given), attempts=1) as desk:
        return await desk.request("GET", "/papi/v1/x", weight=1, returns=dict[str, Any], security=SECURITY[len(keys)])


async def long_request() -> object:
    """Send a request that is longer than a URL may be."""
    async with client_of(HTTP, FakeClock()) as desk:
        try:
            return await desk.request("GET", "/papi/v1/" + "x" * 70_000, weight=1, returns=dict[str, Any])
        except ConnectError as error:
            return str(error).replace("x" * 70_000, "x...")


async def dropped() -> object:
    """Call the local exchange in memory, which closes the connection."""
    async with sandbox(in_memory=True, accounts=1) as pm:
        pm.inject(Fault(drop=True))
        transport = httpx.ASGITransport(create_app(pm.exchange))
        async with httpx.AsyncClient(transport=transport, base_url=pm.base_url) as client:
            return await client.get("/papi/v1/ping")


async def ping(url: str, engine: Any = "direct", timeouts: Timeouts = SHORT, **options: Any) -> object:
    """Call an address over an engine."""
    given: dict[str, Any] = {"engine": engine, "timeouts": timeouts, "budget": Budget()} | options
    async with (
        Session(**given) as session,
        Client(session=session, attempts=1, papi_url=url, allow_custom_host=True) as client,
    ):
        return await client.ping()


async def pings(url: str, timeouts: Timeouts = SHORT) -> list[Exception]:
    """Call an address over each engine, httpx first."""
    return await errors_of(*(partial(ping, url, engine, timeouts) for engine in ENGINES))


async def served(behaviour: Behaviour, timeouts: Timeouts = SHORT, *, scheme: str = "http") -> list[Exception]:
    """Call a server over each engine."""
    with serve_raw(behaviour) as server:
        return await pings(server.url.replace("http:", f"{scheme}:"), timeouts)


async def answered(answer: bytes) -> list[Exception]:
    """Call a server that sends the bytes and closes the connection."""
    return await served(answering(answer))


async def refused(proxy: str | None = None) -> object:
    """Call an address, or through a proxy, where nothing listens."""
    with refusing_port() as port:
        url = f"http://127.0.0.1:{port}"
        return await (pings(url) if proxy is None else ping(proxy, "httpx", proxy=url))


async def through_proxy(answer: bytes) -> object:
    """Call through a proxy that does not open a tunnel."""
    with serve_raw(answering(answer)) as server:
        return await ping("https://papi.binance.com", "httpx", proxy=server.url)


async def pinned(stage: Stage) -> object:
    """Call a server that shows another certificate than the one that is pinned."""
    file = make_certificate(stage.folder)
    with serve_raw(silent, tls=tls_server(file)) as server:
        tls = ssl.create_default_context(cafile=str(file))
        return await ping(server.url, tls=tls, pins=["aa" * 32])


async def unresolved(stage: Stage, *errors: Exception) -> list[Exception]:
    """Call a host whose name lookup fails with each error in turn."""
    raised: list[Exception] = []
    for error in errors:
        stage.fails(socket, "getaddrinfo", error)
        raised += await errors_of(partial(ping, "https://papi.example"))
    return raised


def tls_server(certificate: Path) -> ssl.SSLContext:
    """Return the settings of a server that shows the certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def in_the_clear(connection: socket.socket) -> None:
    """Greet without TLS."""
    connection.sendall(b"220 ready\r\n")
    silent(connection)


def cut(connection: socket.socket) -> None:
    """Read a request and break the connection."""
    read_request(connection)
    reset(connection)


def flooding(connection: socket.socket) -> None:
    """Read a request and send a head without an end."""
    read_request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\n" + b"X: " + b"x" * 200_000)
