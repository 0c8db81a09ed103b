"""What the exchange, a gateway or the network answers, and what becomes of it."""

from __future__ import annotations

import gzip
import socket
import ssl
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, Literal, NoReturn, TypedDict

import certifi
import httpx
import msgspec

from binance_pm import Budget, Client, ConnectError, NoResponse, Session
from binance_pm.errors import CallInfo, SentWrite
from binance_pm.resolution import ByOrder, WriteOutcome, advice_on
from binance_pm.sandbox import Fault, create_app
from binance_pm.testing import sandbox
from binance_pm.transport.http import Timeouts
from tests.messages.stage import KEY, SECRET, Scenario, Stage
from tests.support.clocks import FakeClock
from tests.support.raw_server import Behaviour, answering, http, read_request, refusing_port, reset, serve_raw, silent
from tests.support.tls_server import make_certificate

DATE = "Fri, 15 Jan 2027 08:00:10 GMT"
CALLS: Mapping[str, dict[str, Any]] = {
    "read": {"method": "GET"},
    "write": {"method": "POST"},
    "repeatable write": {"method": "DELETE", "repeat": "same_effect"},
    "quota": {"method": "GET", "repeat": "never"},
}


def client_of(http: Any, clock: FakeClock, **options: Any) -> Client:
    """A client whose budget is on the clock."""
    budget = Budget(monotonic=clock, wall=clock, sleep=clock.sleep)
    given: dict[str, Any] = {"label": "desk", "attempts": 1, "jitter": lambda: 0.0} | options
    return Client(KEY, SECRET, session=Session(http=http, budget=budget), **given)


async def call(
    respond: Callable[[httpx.Request], httpx.Response],
    what: str = "read",
    *,
    returns: Any = dict[str, Any],
    **options: Any,
) -> object:
    """Call an endpoint whose response is given."""
    async with client_of(httpx.MockTransport(respond), FakeClock(), **options) as desk:
        return await desk.request(path="/papi/v1/x", weight=1, returns=returns, **CALLS[what])


def response(
    status: int, body: bytes | str, what: str = "read", *, returns: Any = dict[str, Any], **headers: str
) -> Scenario:
    """One response of the exchange, or of what stands in front of it."""
    told = {"date": DATE} | {name.replace("_", "-"): value for name, value in headers.items()}
    answer = partial(httpx.Response, status, headers=told, content=body)
    return lambda _: call(lambda _: answer(), what, returns=returns)


def code(number: int, text: str, status: int = 400, what: str = "read", **headers: str) -> Scenario:
    """An error of the exchange's own."""
    return response(status, msgspec.json.encode({"code": number, "msg": text}), what, **headers)


def decoded(returns: Any, body: str) -> Scenario:
    """A success that is not what was promised."""
    return response(200, body, returns=returns)


async def resolving(_: object) -> WriteOutcome:
    """The outcome of something that is no write."""
    async with Client(session=Session(budget=Budget())) as client:
        return await client.resolve(NoResponse(CallInfo("ping"), "timed out"))


def placement(_: object) -> NoReturn:
    """An order whose response was lost."""
    error = NoResponse(
        CallInfo("um.new_order", "desk", write=True, find_out=advice_on(ByOrder(queries=()))), "timed out"
    )
    error.describe_write(SentWrite({}, "desk-1", "new_client_order_id", 1_800_000_010_000, 1_800_000_015_000))
    raise error


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


CODES: dict[str, Scenario] = {
    "resolve.a read": resolving,
    "resolve.a placement": placement,
    "code.-1000": code(-1000, "An unknown error occurred while processing the request."),
    "code.-1001": code(-1001, "Internal error; unable to process your request. Please try again."),
    "code.-1002": code(-1002, "You are not authorized to execute this request.", 401),
    "code.-1003": code(-1003, "Too many requests queued.", 429, retry_after="30"),
    "code.-1003 without a wait": code(-1003, "Too many requests queued."),
    "code.-1003 banned": code(-1003, "Way too many requests; IP banned until 1800000100000.", 418, retry_after="90"),
    "code.-1004": code(-1004, "Server is busy, please wait and try again"),
    "code.-1005": code(-1005, "No such IP has been white listed", 401),
    "code.-1011": code(-1011, "This IP cannot access this route.", 403),
    "code.-1015": code(-1015, "Too many new orders; current limit is 1200 orders per MINUTE.", what="write"),
    "code.-1021": code(-1021, "Timestamp for this request is outside of the recvWindow."),
    "code.-1022": code(-1022, "Signature for this request is not valid."),
    "code.-1102": code(-1102, "Mandatory parameter 'symbol' was not sent."),
    "code.-2008": code(-2008, "Invalid Api-Key ID.", 401),
    "code.-2014": code(-2014, "API-key format invalid.", 401),
    "code.-2015": code(-2015, "Invalid API-key, IP, or permissions for action.", 401),
    "code.-2017": code(-2017, "API Keys are locked on this account."),
    "code.-2019": code(-2019, "Margin is insufficient.", what="write"),
    "code.-4056": code(-4056, "Invalid api-key type."),
    "code.-4057": code(-4057, "Invalid rsa public key."),
    "code.-5028": code(-5028, "Timestamp for this request is outside of the ME recvWindow.", what="write"),
    "code.-9000": code(-9000, "user have no available amount"),
    "code.-21001": code(-21001, "Request ID is not a Portfolio Margin Account."),
    "code.-1008 write": code(-1008, "Request throttled by system-level protection.", 503, "write"),
    **{f"code.-1007 {what}": code(-1007, "Timeout waiting for response.", 408, what) for what in CALLS},
    "status.400": response(400, "bad request"),
    "status.401": response(401, ""),
    "status.403": response(403, "<html><title>ERROR: The request could not be satisfied</title></html>"),
    "status.403 of a place": response(403, "Service is not available in your region."),
    "status.418": response(418, "", retry_after="120"),
    "status.429": response(429, "Too Many Requests"),
    "status.429 write": response(429, "", "write"),
    "status.451": response(451, ""),
    "status.500": response(500, "{"),
    "status.502 write": response(502, "<html>Bad Gateway</html>", "write"),
    "status.503 nothing done": code(0, "Service Unavailable.", 503, "write"),
    "status.503 limited": response(503, "Request limit exceeded", "write"),
    "status.307": response(307, "", location="https://example.com/x"),
    "status.200 refused": code(-2015, "Invalid API-key, IP, or permissions for action.", 200),
}

BODIES: dict[str, Scenario] = {
    "body.too long": lambda _: long_body(),
    "body.no JSON": decoded(Figures, "<html>"),
    "body.no UTF-8": response(200, b'{"text": "\xff"}', returns=Figures),
    "body.too deep": decoded(dict[str, Any], "[" * 5000),
    "body.amount": decoded(Figures, '{"amount": "1.2.3"}'),
    "body.amount too large": decoded(Figures, '{"amount": "1e99"}'),
    "body.integer": decoded(Figures, '{"whole": "x"}'),
    "body.float": decoded(Figures, '{"real": 1e999}'),
    "body.text": decoded(Figures, '{"text": 1}'),
    "body.flag": decoded(Figures, '{"flag": null}'),
    "body.null": decoded(Figures, '{"nothing": 1}'),
    "body.literal": decoded(Figures, '{"kind": "B"}'),
    "body.one value": decoded(Figures, '{"kind": {}}'),
    "body.list": decoded(Figures, '{"inner": 1}'),
    "body.item": decoded(Figures, '{"inner": ["1", "x"]}'),
    "body.either": decoded(Figures, '{"either": {}}'),
    "body.object": decoded(Figures, "[]"),
    "body.long text": decoded(Figures, '{"amount": "a text that is longer than what is shown"}'),
    "body.missing": decoded(Needed, "{}"),
    "body.anything": decoded(Figures, '{"anything": 1e999}'),
}


async def long_body() -> object:
    """A response that is longer than the session accepts."""
    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=b"x" * 20))
    session = Session(http=transport, budget=Budget(), max_body=10)
    async with Client(KEY, SECRET, label="desk", session=session, attempts=1) as desk:
        return await desk.span_account()


async def synchronised(time: int | None) -> object:
    """A timestamp that is refused again and again, while the time endpoint says nothing that can be used."""

    def respond(asked: httpx.Request) -> httpx.Response:
        if asked.url.path.endswith("/time"):
            return httpx.Response(500) if time is None else httpx.Response(200, json={"serverTime": time})
        return httpx.Response(400, json={"code": -1021, "msg": "Timestamp."})

    return await call(respond)


async def tried_again() -> object:
    """A read that fails twice."""
    return await call(lambda _: httpx.Response(500, json={"code": -1000, "msg": "Unknown."}), attempts=2)


async def failing(error: Exception) -> object:
    """A transport of the caller's own that fails."""

    def respond(_: httpx.Request) -> httpx.Response:
        raise error

    return await call(respond, "write")


async def keyless() -> object:
    """A call that needs a key, by a client that has none."""
    async with Client(
        session=Session(http=httpx.MockTransport(lambda _: httpx.Response(200)), budget=Budget())
    ) as desk:
        return await desk.request("GET", "/papi/v1/x", weight=1, returns=dict[str, Any], security="MARKET_DATA")


async def long_request() -> object:
    """A request that is longer than a URL may be."""
    async with client_of(httpx.MockTransport(lambda _: httpx.Response(200)), FakeClock()) as desk:
        try:
            return await desk.request("GET", "/papi/v1/" + "x" * 70_000, weight=1, returns=dict[str, Any])
        except ConnectError as error:
            return str(error).replace("x" * 70_000, "x...")


async def dropped() -> object:
    """The local exchange in memory that closes the connection."""
    async with sandbox(in_memory=True, accounts=1) as pm:
        pm.inject(Fault(drop=True))
        http = httpx.ASGITransport(create_app(pm.exchange))
        async with httpx.AsyncClient(transport=http, base_url=pm.base_url) as client:
            return await client.get("/papi/v1/ping")


def tls_server(certificate: Path) -> ssl.SSLContext:
    """Settings of a server that shows the certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def pinned(stage: Stage) -> object:
    """A server that shows another certificate than the one that is pinned."""
    file = make_certificate(stage.folder)

    async def act() -> object:
        with serve_raw(silent, tls=tls_server(file)) as server:
            tls = ssl.create_default_context(cafile=str(file))
            return await ping(server.url, "direct", tls=tls, pins=["aa" * 32])

    return act()


def untrusted(stage: Stage) -> object:
    """A list of trusted certificates that cannot be read."""
    stage.patch.setattr(certifi, "where", lambda: "/nothing")
    return ping("https://127.0.0.1:1", "direct")


async def signed(sign: Callable[[bytes], str] | None) -> object:
    """A signer of the caller's own that fails, or none."""
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json={}))
    async with Client(KEY, sign, label="desk", session=Session(http=transport, budget=Budget())) as desk:
        return await desk.span_account()


SHORT = Timeouts(connect=2.0, read=0.1, total=4.0)


async def ping(url: str, engine: Literal["httpx", "direct"], timeouts: Timeouts = SHORT, **options: Any) -> object:
    """Call an address over an engine."""
    given: dict[str, Any] = {"engine": engine, "timeouts": timeouts, "budget": Budget()} | options
    async with (
        Session(**given) as session,
        Client(session=session, attempts=1, papi_url=url, allow_custom_host=True) as client,
    ):
        return await client.ping()


def served(behaviour: Behaviour, engine: Literal["httpx", "direct"], timeouts: Timeouts = SHORT) -> Scenario:
    """Call a server that behaves so."""

    async def act() -> object:
        with serve_raw(behaviour) as server:
            return await ping(server.url, engine, timeouts)

    return lambda _: act()


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


HEAD = b"HTTP/1.1 200 OK\r\n"
BEHAVIOURS: Mapping[str, tuple[Behaviour, Timeouts]] = {
    "silent": (silent, SHORT),
    "slow": (silent, Timeouts(connect=2.0, read=2.0, total=0.2)),
    "broken": (cut, SHORT),
    "closed": (answering(b""), SHORT),
    "closed in the middle": (answering(HEAD + b"Content-Length: 9\r\n\r\n{"), SHORT),
    "no HTTP": (answering(b"SSH-2.0-OpenSSH\r\n\r\n"), SHORT),
    "too long a head": (flooding, SHORT),
    "compressed": (answering(http(gzip.compress(b"{}"), headers="Content-Encoding: gzip\r\n")), SHORT),
}


def unresolved(stage: Stage, error: Exception | None, engine: Literal["httpx", "direct"]) -> object:
    """A host whose name leads to an error, or to nothing."""

    def look_up(*_: object, **__: object) -> object:
        if error is None:
            return []
        raise error

    stage.patch.setattr(socket, "getaddrinfo", look_up)
    return ping("https://papi.example", engine)


async def refused(engine: Literal["httpx", "direct"]) -> object:
    """An address where nothing listens."""
    with refusing_port() as port:
        return await ping(f"http://127.0.0.1:{port}", engine)


async def without_tls(engine: Literal["httpx", "direct"]) -> object:
    """An address that does not speak TLS."""
    with serve_raw(in_the_clear) as server:
        return await ping(server.url.replace("http:", "https:"), engine)


async def through_proxy(answer: bytes) -> object:
    """A proxy that does not open a tunnel."""
    with serve_raw(answering(answer)) as server:
        return await ping("https://papi.binance.com", "httpx", proxy=server.url)


async def through_closed_proxy() -> object:
    """A proxy that does not listen."""
    with refusing_port() as port:
        return await ping("https://papi.binance.com", "httpx", proxy=f"http://127.0.0.1:{port}")


def offline(stage: Stage) -> object:
    """A call to the exchange under the fixture ``pm_offline``."""
    stage.patch.setattr("binance_pm.transport.local.IS_ENFORCED", True)
    return ping("https://papi.binance.com", "direct")


ENGINES: tuple[Literal["httpx", "direct"], ...] = ("httpx", "direct")
NETWORK: dict[str, Scenario] = {
    **{
        f"{engine}.{name}": served(behaviour, engine, timeouts)
        for engine in ENGINES
        for name, (behaviour, timeouts) in BEHAVIOURS.items()
    },
    **{f"{engine}.refused": lambda _, engine=engine: refused(engine) for engine in ENGINES},
    **{f"{engine}.no TLS": lambda _, engine=engine: without_tls(engine) for engine in ENGINES},
    **{
        f"{engine}.name": lambda stage, engine=engine: unresolved(stage, socket.gaierror(-2, "x"), engine)
        for engine in ENGINES
    },
    "direct.no host name": lambda stage: unresolved(stage, UnicodeError("x"), "direct"),
    "direct.unreachable": lambda stage: unresolved(stage, OSError(101, "x"), "direct"),
    "direct.files used up": lambda stage: unresolved(stage, OSError(24, "x"), "direct"),
    "direct.other system error": lambda stage: unresolved(stage, OSError(12, "x"), "direct"),
    "direct.other failure": lambda stage: unresolved(stage, ValueError("x"), "direct"),
    "direct.certificate": lambda stage: unresolved(stage, ssl.SSLError(1, "[SSL: BAD_DIGEST] x"), "direct"),
    "direct.address of another family": lambda _: ping("https://[::1]:1", "direct", local_address="0.0.0.0"),  # noqa: S104
    "direct.offline": offline,
    "httpx.proxy refuses": lambda _: through_proxy(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"),
    "httpx.proxy closes": lambda _: through_proxy(b""),
    "httpx.proxy does not listen": lambda _: through_closed_proxy(),
    "httpx.plain through a proxy": lambda _: ping("http://127.0.0.1:1", "httpx", proxy="http://127.0.0.1:2"),
    **{
        f"own transport.{type(error).__name__}": lambda _, error=error: failing(error)
        for error in (
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
        )
    },
    "clock.time cannot be": lambda _: synchronised(1_000_000_000_000),
    "clock.no time": lambda _: synchronised(None),
    "retry": lambda _: tried_again(),
    "client.no secret": lambda _: signed(None),
    "client.no key": lambda _: keyless(),
    "httpx.long request": lambda _: long_request(),
    "direct.no address": lambda stage: unresolved(stage, None, "direct"),
    "direct.pins": pinned,
    "direct.certificates": untrusted,
    "sandbox.closes": lambda _: dropped(),
    "signer": lambda _: signed(lambda _: str(1 / 0)),
}
SCENARIOS = CODES | BODIES | NETWORK
