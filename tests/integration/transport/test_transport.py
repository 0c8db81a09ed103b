"""Both engines on real sockets: every failure says what was sent, and no call gets another's response."""

from __future__ import annotations

import asyncio
import itertools
import select
import socket
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from binance_pm.transport.connect import Resolver
from binance_pm.transport.http import Headers, HttpRequest, HttpResponse, Method, SendFailed, Timeouts, Transport
from tests.support.cancelling import cancelled_at
from tests.support.certificates import Authority
from tests.support.engines import (
    CHUNKED,
    SHORT,
    Departure,
    Engine,
    failure_of,
    only_failure,
    request,
    send,
    send_at_once,
)
from tests.support.raw_server import Behaviour, answering, echoing, http, read_request, reset, serve_raw, silent
from tests.support.waiting import eventually

OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
async def test_sends_exactly_the_target_and_nothing_else(method: Method, engine: Engine) -> None:
    """No re-encoding, no cookies, no content codings; servers wait for the body of a POST without a length."""
    heads: list[bytes] = []

    def behave(connection: socket.socket) -> None:
        for _ in range(2):
            heads.append(read_request(connection))
            connection.sendall(http(b"{}", headers="Set-Cookie: a=b\r\nX-MBX-Used-Weight-1M: 7\r\n"))

    target = "/papi/v1/x?a=%20%2B~%E2%82%AC&b=%27%28%29&signature=%2B%2F%3D"
    with serve_raw(behave) as server:
        async with engine() as transport:
            answer, _ = await send(transport, *[request(server.url, target, method=method)] * 2)

    assert (answer.status, answer.used("x-mbx-used-weight-1m"), answer.body) == (200, 7, b"{}")
    assert heads[0] == heads[1]
    first, *fields = [line.lower() for line in heads[0].split(b"\r\n") if line]
    assert first == f"{method} {target} HTTP/1.1".lower().encode()
    size = {b"content-length: 0"} if method in {"POST", "PUT"} else set[bytes]()
    assert set(fields) == {b"host: " + server.url[7:].encode(), b"user-agent: test"} | size


async def test_a_response_that_is_too_long_has_no_body(engine: Engine) -> None:
    """Its headers still count; the rest is not awaited, and reaches no other request."""
    endless = OK + b"Content-Length: 20000000\r\nX-MBX-USED-WEIGHT-1M: 7\r\n\r\n" + b"x" * 2000
    with serve_raw(answering(endless)) as server:
        async with engine() as transport:
            answers = await send(transport, *[request(server.url)] * 2)

    assert [(answer.body, answer.used("x-mbx-used-weight-1m")) for answer in answers] == [(None, 7)] * 2
    assert len(server.connections) == 2


@pytest.mark.parametrize(("length", "is_accepted"), [(200_000, True), (200_001, False)])
async def test_a_body_may_have_the_maximum_length(length: int, engine: Engine, *, is_accepted: bool) -> None:
    """In many pieces; one byte more is refused."""
    body = b"x" * length
    with serve_raw(answering(http(body))) as server:
        async with engine(max_body=200_000) as transport:
            (answer,) = await send(transport, request(server.url))

    assert answer.body == (body if is_accepted else None)


def resetting(*pieces: bytes) -> Behaviour:
    """Read one request, send the pieces, and reset the connection."""

    def behave(connection: socket.socket) -> None:
        answering(*pieces)(connection)
        reset(connection)

    return behave


def stalling(*pieces: bytes) -> Behaviour:
    """Read one request, send the pieces, and stall."""

    def behave(connection: socket.socket) -> None:
        answering(*pieces)(connection)
        silent(connection)

    return behave


def dripping(*pieces: bytes) -> Behaviour:
    """Read one request, send the pieces, then byte after byte until the connection is closed."""

    def behave(connection: socket.socket) -> None:
        answering(*pieces)(connection)
        with suppress(OSError):
            while not select.select([connection], [], [], 0.02)[0]:
                connection.sendall(b"x")

    return behave


def half_closing(connection: socket.socket) -> None:
    """Close the direction of the response and keep that of the request."""
    read_request(connection)
    connection.shutdown(socket.SHUT_WR)
    silent(connection)


@pytest.mark.parametrize(
    "behaviour",
    [
        answering(),
        silent,
        half_closing,
        resetting(),
        resetting(OK + b"Content-Length: 10\r\n\r\n123"),
        stalling(OK + b"Content-Length: 10\r\n\r\n123"),
        answering(OK + b"Content-Length: 10\r\n\r\n123"),
        answering(CHUNKED + b"5\r\nab"),
        answering(OK + b"Content-Le"),
        answering(b"HTTP/1.1 103 Early Hints\r\n\r\n"),
        answering(OK + b"Content-Length: ten\r\n\r\n"),
        answering(OK + b"Content-Length: -1\r\n\r\n"),
        answering(OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}}"),
        answering(CHUNKED + b"-2\r\n{}\r\n0\r\n\r\n"),
        answering(CHUNKED + b"x\r\n{}\r\n0\r\n\r\n"),
        answering(CHUNKED + b"2\r\n{}}\r\n0\r\n\r\n"),
        answering(b"HTTP/1.1 20 OK\r\n\r\n"),
        answering(b"HTTP/1.1 OK\r\n\r\n"),
        answering(OK + b"A: b\x00\r\n\r\n"),
        answering(OK + b"x-mbx-apikey canary\r\n\r\n"),
        answering(b"SSH-2.0-OpenSSH\r\n\r\n"),
        answering(b"\x16\x03\x01\x02\x00\x01\x00" * 20),
        answering(b"\x00" * 200_000),
        answering(OK + b"X: yyyyyyyyyyyyy\r\n" * 40_000),
    ],
    ids=["closed", "silent", "half closed", "reset", "reset midway", "stalled", "cut body", "cut chunk", "cut head",
         "1xx alone", "length ten", "negative length", "two lengths", "negative chunk", "no chunk", "long chunk",
         "short status", "no status", "nul", "no colon", "SSH", "TLS", "noughts", "endless head"],
)  # fmt: skip
async def test_an_incomplete_response(behaviour: Behaviour, engine: Engine) -> None:
    """The request was sent, once, and the received bytes are not quoted: they may echo the key."""
    with serve_raw(behaviour) as server:
        # On a busy machine, connecting takes longer than this test wants to wait for a response.
        timeouts = msgspec.structs.replace(SHORT, connect=2.0)
        failure = await only_failure(engine(timeouts=timeouts), request(server.url))

    assert (failure.sent, len(server.connections)) == (True, 1)
    assert "canary" not in "".join(traceback.format_exception(failure))


async def test_nothing_is_resent_on_a_connection_that_broke(engine: Engine) -> None:
    """A failure after the second request was written is an error, and leads to no other attempt."""

    def behave(connection: socket.socket) -> None:
        answering(http(b"{}"))(connection)
        requests.append(read_request(connection))

    requests: list[bytes] = []
    with serve_raw(behave) as server:
        async with engine() as transport:
            await send(transport, request(server.url))
            failure = await failure_of(transport, request(server.url))

    assert (failure.sent, len(requests), len(server.connections)) == (True, 1, 1)


async def test_a_server_that_resets_at_once_is_reported_consistently(engine: Engine) -> None:
    """A failure counts as sent if and only if `departing` was called."""
    with serve_raw(reset) as server:
        async with engine() as transport:
            for _ in range(20):
                await failure_of(transport, request(server.url))


async def test_an_error_while_departing_stops_the_request(engine: Engine) -> None:
    """The callback may forbid the departure: no byte of the request arrives."""
    arrived: list[bytes] = []

    def behave(connection: socket.socket) -> None:
        arrived.append(connection.recv(100))

    def forbid() -> None:
        raise PermissionError

    with serve_raw(behave) as server:
        async with engine() as transport:
            with pytest.raises(PermissionError):
                await transport.send(request(server.url), forbid)

    assert b"".join(arrived) == b""


NOWHERE = "http://127.0.0.1:1"


@pytest.mark.parametrize(
    "unsendable",
    [
        request(NOWHERE, "/" + "x" * 70_000),
        *[request(NOWHERE, target) for target in ("/a b", "/a\r\nX: y", "/a\n", "/é", "/\x00")],
        *[HttpRequest("GET", NOWHERE, "/", Headers({"x": value})) for value in ("a\r\nb: c", "é")],
        *map(
            request, ["", "ftp://127.0.0.1:80", "127.0.0.1", "http://", "http://:80", "http://x:99999", "http://[::1"]
        ),
        *[request(f"http://{name}") for name in ("nowhere.invalid", "a" * 64, "-.-", ".x")],
    ],
    ids=lambda each: repr((each.origin, each.target()[:9])),
)
async def test_an_unsendable_request(unsendable: HttpRequest, engine: Engine) -> None:
    """Too long, with a character that may end a line of the headers, or without a host: nothing is sent."""
    failure = await only_failure(engine(), unsendable)

    assert not failure.sent
    if unsendable.origin == NOWHERE:
        assert "the request " in failure.reason


@pytest.mark.parametrize("status", [403, 418, 429])
@pytest.mark.parametrize(
    ("finish", "options"),
    [
        (answering, {}),
        (stalling, {"refusal_seconds": 0.1}),
        (dripping, {"refusal_seconds": 0.1, "max_body": 10_000}),
        (stalling, {"refusal_seconds": 60, "timeouts": Timeouts(total=0.3)}),
    ],
    ids=["cut", "stalled", "dripping", "out of time"],
)
async def test_a_refusal_is_returned_without_its_complete_body(
    status: int, finish: Callable[..., Behaviour], options: dict[str, Any], engine: Engine
) -> None:
    """Its status closes the gate and must not be lost with the rest of the response."""
    with serve_raw(finish(b"HTTP/1.1 %d No\r\nRetry-After: 7\r\nContent-Length: 9999\r\n\r\n{" % status)) as server:
        async with engine(**options) as transport:
            with anyio.fail_after(5):
                (answer,) = await send(transport, request(server.url))

    assert (answer.status, answer.retry_after, (answer.body or b"").rstrip(b"x")) == (status, 7.0, b"{")


async def test_the_start_of_an_oversized_refusal_is_kept(engine: Engine) -> None:
    """The start says until when nothing may be sent."""
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in (b"banned until 1780000000000.", b"x" * 2000))
    with serve_raw(answering(CHUNKED.replace(b"200 OK", b"418 No") + chunks)) as server:
        async with engine() as transport:
            (answer,) = await send(transport, request(server.url))

    assert (answer.status, answer.banned_until) == (418, 1_780_000_000.0)


@pytest.mark.parametrize(
    ("first", "body"),
    [
        (http(b"mine"), b"mine"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (http(b""), b""),
        (CHUNKED + b"4\r\nmine\r\n0\r\n\r\n", b"mine"),
        (CHUNKED + b"0\r\n\r\n", b""),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n" + http(b"mine"), b"mine"),
    ],
)
@pytest.mark.parametrize("surplus", [http(b"another's"), b"HTTP/1.1 2", b"{}"])
async def test_surplus_closes_the_connection(first: bytes, body: bytes, surplus: bytes, engine: Engine) -> None:
    """The response is complete; the next request uses another connection."""

    def behave(connection: socket.socket) -> None:
        answering(first + surplus)(connection)
        connection.recv(100)

    with serve_raw(behave) as server:
        async with engine() as transport:
            answers = await send(transport, *[request(server.url)] * 2)

    assert ([answer.body for answer in answers], len(server.connections)) == ([body, body], 2)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_byte_reaches_the_target_of_a_redirect(status: int, engine: Engine) -> None:
    """A redirect is returned like any other response."""
    with serve_raw(silent) as target:
        location = f"Location: {target.url}/papi/v1/ping\r\n"
        with serve_raw(answering(http(b"", status=f"{status} Moved", headers=location))) as server:
            async with engine() as transport:
                (answer,) = await send(transport, request(server.url))
        arrived = len(target.connections)

    assert (answer.status, arrived) == (status, 0)


async def test_the_environment_is_ignored(monkeypatch: pytest.MonkeyPatch, engine: Engine) -> None:
    """A proxy in the environment gets no connection unless the environment is trusted."""
    with serve_raw(silent) as proxy, serve_raw(answering(http(b"{}"))) as server:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("ALL_PROXY", proxy.url)
        async with engine() as transport:
            await send(transport, request(server.url))
        arrived = len(proxy.connections)

    assert arrived == 0


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (http(b"{}", headers="Date: x\r\n"), (200, "x", b"{}")),
        (http(b"", status="404 Not Found", headers="date:   x  \r\nEmpty:\r\n"), (404, "x", b"")),
        (http(b"{}", headers="DATE: x\r\nDate: y\r\n"), (200, "x, y", b"{}")),
        (CHUNKED + b"1\r\n{\r\n001;name=value\r\n}\r\n0\r\nDate: trailer\r\n\r\n", (200, None, b"{}")),
        (b"HTTP/1.0 200 OK\r\nDate: x\r\n\r\n{}", (200, "x", b"{}")),
        (OK + b"Date: x\r\n\r\n{}", (200, "x", b"{}")),
        (b"HTTP/1.1 204 No Content\r\nDate: x\r\n\r\n", (204, "x", b"")),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n", (304, None, b"")),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nDate: y\r\n\r\n" + http(b"{}"), (200, None, b"{}")),
    ],
    ids=["length", "empty", "twice", "chunked", "HTTP/1.0", "until closed", "204", "304", "1xx first"],
)
@pytest.mark.parametrize("step", [1, 7, 1000], ids=["each byte", "pieces", "at once"])
async def test_a_response_in_any_pieces(
    answer: bytes, expected: tuple[int, str | None, bytes], step: int, engine: Engine
) -> None:
    """However slowly the pieces arrive, the response is the same."""
    pieces = [answer[at : at + step] for at in range(0, len(answer), step)]
    with serve_raw(answering(*pieces)) as server:
        async with engine() as transport:
            (came,) = await send(transport, request(server.url))

    assert (came.status, came.headers.get("date"), came.body) == expected


def surprising(connection: socket.socket) -> None:
    """Send a response without a request."""
    connection.sendall(http(b"another's"))


class TestIdle:
    """Between two requests."""

    @pytest.mark.parametrize("surprise", [socket.socket.close, reset, surprising], ids=["closed", "reset", "response"])
    async def test_a_connection_on_which_something_happened_is_not_used(
        self, surprise: Behaviour, engine: Engine
    ) -> None:
        """Even if the caller's code has blocked the event loop, so that nothing was noticed."""
        may_happen, happened = threading.Event(), threading.Event()

        def behave(connection: socket.socket) -> None:
            answering(http(b"{}"))(connection)
            may_happen.wait(5)
            surprise(connection)
            happened.set()
            with suppress(OSError):
                read_request(connection)

        with serve_raw(behave) as server:
            async with engine() as transport:
                await send(transport, request(server.url))
                may_happen.set()
                assert happened.wait(5)
                (answer,) = await send(transport, request(server.url))

        assert (answer.body, len(server.connections)) == (b"{}", 2)

    @pytest.mark.parametrize("answer", [b"HTTP/1.0 200 OK\r\n", b"HTTP/1.1 200 OK\r\nConnection: close\r\n"])
    async def test_a_connection_announced_as_closing_is_not_used(self, answer: bytes, engine: Engine) -> None:
        """The response announces the close."""

        def behave(connection: socket.socket) -> None:
            answering(answer + b"Content-Length: 2\r\n\r\n{}")(connection)
            connection.recv(1)

        with serve_raw(behave) as server:
            async with engine() as transport:
                await send(transport, *[request(server.url)] * 2)

        assert len(server.connections) == 2

    async def test_an_expired_connection_is_closed(self, engine: Engine) -> None:
        """When a connection is returned, if not before."""
        with serve_raw(echoing) as server, serve_raw(echoing) as other:
            async with engine(keepalive_seconds=0.05) as transport:
                await send(transport, request(server.url))
                await anyio.sleep(0.1)
                await send(transport, request(other.url))
                await eventually(lambda: server.connections[0].fileno() < 0)
                await send(transport, request(server.url))

        assert len(server.connections) == 2


def counting(served: list[int]) -> Behaviour:
    """Answer every request; when the connection ends, record how many there were."""

    def behave(connection: socket.socket) -> None:
        count = 0
        with suppress(OSError):
            while head := read_request(connection):
                count += 1
                connection.sendall(http(head.split(b" ")[1]))
        served.append(count)

    return behave


class TestMany:
    """Concurrent requests."""

    async def send_all(self, transport: Transport, url: str, count: int) -> None:
        """Send requests at once, each of which gets its own target as the response."""
        requests = [request(url, f"/{number}") for number in range(count)]
        for number, outcome in enumerate(await send_at_once(transport, *requests)):
            assert isinstance(outcome, HttpResponse)
            assert outcome.body == b"/%d" % number

    async def test_the_connection_used_last_is_used_first(self, engine: Engine) -> None:
        """Single requests keep one connection busy, and the others may expire."""
        served: list[int] = []
        with serve_raw(counting(served)) as server:
            async with engine() as transport:
                await self.send_all(transport, server.url, 2)
                for _ in range(5):
                    await self.send_all(transport, server.url, 1)

        assert sorted(served) == [1, 6]

    async def test_the_connection_idle_for_longest_is_replaced(self, engine: Engine) -> None:
        """If the maximum is open and a connection to another server is needed."""
        served: list[int] = []
        with serve_raw(counting(served)) as one, serve_raw(echoing) as other:
            async with engine(max_connections=2) as transport:
                await self.send_all(transport, one.url, 2)
                await self.send_all(transport, one.url, 1)
                await self.send_all(transport, other.url, 1)
                await eventually(lambda: served)
                assert served == [1]

    async def test_each_request_gets_its_own_response(self, engine: Engine) -> None:
        """Fifty at once, three times, over at most fifty connections."""
        with serve_raw(echoing) as server:
            async with engine() as transport:
                for _ in range(3):
                    await self.send_all(transport, server.url, 50)

        assert len(server.connections) <= 50

    async def test_connections_are_bounded(self, engine: Engine) -> None:
        """Further requests wait for a connection; idle connections to another server are replaced."""
        with serve_raw(echoing) as one, serve_raw(echoing) as other:
            async with engine(max_connections=3) as transport:
                for server in (one, other, one):
                    await self.send_all(transport, server.url, 20)

        assert len(other.connections) <= 3
        assert len(one.connections) <= 6

    async def test_a_full_pool_is_reported_as_not_sent(self, engine: Engine) -> None:
        """A request without a free connection in time was not sent."""
        with serve_raw(silent) as server:
            async with engine(max_connections=1, timeouts=Timeouts(connect=0.3, read=0.9)) as transport:
                failures = await send_at_once(transport, *[request(server.url)] * 2)

        assert [isinstance(failure, SendFailed) and (failure.reason, failure.sent) for failure in failures] == [
            ("timed out waiting for the response", True),
            ("no connection was free in time", False),
        ]

    async def test_a_cancelled_waiting_request_blocks_no_other(self, engine: Engine) -> None:
        """A free connection goes to the next waiting request."""
        with serve_raw(echoing) as server:
            async with engine(max_connections=1) as transport:
                async with anyio.create_task_group() as tasks:
                    for _ in range(10):
                        tasks.start_soon(transport.send, request(server.url), Departure())
                    await anyio.lowlevel.checkpoint()
                    tasks.cancel_scope.cancel()
                await self.send_all(transport, server.url, 1)


class TestTotal:
    """The total timeout bounds a request in every phase."""

    async def test_a_response_that_arrives_byte_by_byte(self, engine: Engine) -> None:
        """Each byte is in time, the whole response is not."""

        def behave(connection: socket.socket) -> None:
            answering(http(b"{}"))(connection)
            dripping(OK + b"Content-Length: 9999\r\n\r\n")(connection)

        with serve_raw(behave) as server:
            async with engine(timeouts=Timeouts(read=5, total=0.3), max_body=10_000) as transport:
                await send(transport, request(server.url))
                failure = await failure_of(transport, request(server.url))

        assert (failure.reason, len(server.connections)) == ("no complete response within 0.3 s", 1)

    @pytest.mark.parametrize(("scheme", "connections"), [("https", 1), ("http", 0)], ids=["connecting", "waiting"])
    async def test_a_request_that_cannot_be_sent(self, scheme: str, connections: int, engine: Engine) -> None:
        """While the connection is made, or while the request waits for one: nothing was sent."""
        options = {"max_connections": connections, "timeouts": Timeouts(connect=5, total=0.2)}
        with serve_raw(silent) as server:
            failure = await only_failure(engine(**options), request(server.url.replace("http", scheme)))

        assert (failure.reason, failure.sent) == ("it could not be sent within 0.2 s", False)

    async def test_connecting_counts_towards_the_total(self, engine: Engine) -> None:
        """A slow name lookup leaves less time for the response."""

        def look_up_slowly(*_: Any, **__: Any) -> list[Any]:
            threading.Event().wait(0.8)
            return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", server.port))]

        options = {"timeouts": Timeouts(connect=5, read=5, total=1), "resolver": Resolver(look_up_slowly)}
        with serve_raw(silent) as server:
            began = anyio.current_time()
            failure = await only_failure(engine(**options), request(f"http://localhost:{server.port}"))
            seconds = anyio.current_time() - began

        assert (failure.reason, failure.sent) == ("no complete response within 1 s", True)
        assert 0.99 <= seconds < 1.6


class TestClosing:
    """Closing takes less than a second."""

    @pytest.mark.parametrize(
        ("scheme", "count", "sent"),
        [("http", 1, [True]), ("https", 1, [False]), ("http", 3, [False, False, True])],
        ids=["waiting for the response", "waiting for TLS", "waiting for a connection"],
    )
    async def test_waiting_calls_fail(self, scheme: str, count: int, sent: list[bool], engine: Engine) -> None:
        """Each error says whether the request was sent."""
        failures: list[SendFailed] = []
        departure = Departure()
        with serve_raw(silent) as server:
            async with engine(max_connections=1) as transport:

                async def call() -> None:
                    with pytest.raises(SendFailed) as caught:
                        await transport.send(request(server.url.replace("http", scheme)), departure)
                    failures.append(caught.value)

                async with anyio.create_task_group() as tasks:
                    for _ in range(count):
                        tasks.start_soon(call)
                    await eventually(lambda: server.connections and departure.count == sum(sent))
                    with anyio.fail_after(1):
                        await transport.aclose()

        assert sorted(failure.sent for failure in failures) == sent
        assert all(failure.reason.startswith("the transport was closed") for failure in failures)

    @pytest.mark.parametrize("status", [403, 418, 429])
    async def test_a_refusal_without_its_body_is_returned(self, status: int, engine: Engine) -> None:
        """The budget outlives the session and needs to know of a ban."""
        answers: list[HttpResponse] = []
        departure = Departure()

        with serve_raw(stalling(b"HTTP/1.1 %d No\r\nContent-Length: 9\r\n\r\n" % status)) as server:
            async with engine(refusal_seconds=60) as transport:

                async def call() -> None:
                    answers.append(await transport.send(request(server.url), departure))

                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(call)
                    await eventually(lambda: departure.count)
                    await anyio.sleep(0.25)
                    with anyio.fail_after(5):
                        await transport.aclose()

        assert [answer.status for answer in answers] == [status]

    async def test_nothing_is_sent_afterwards(self, engine: Engine) -> None:
        """A closed transport does not reopen."""
        with serve_raw(answering(http(b"{}"))) as server:
            async with engine() as transport:
                await transport.aclose()
                failure = await failure_of(transport, request(server.url))
            arrived = len(server.connections)

        assert (failure.reason, failure.sent, arrived) == ("the transport was closed", False, 0)


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
async def test_no_await_point_leaks(*, secure: bool, tmp_path: Path, engine: Engine) -> None:
    """Cancelled at its first, second, ... suspension: no socket stays open, and the next request is answered."""
    authority = Authority(tmp_path)
    points = 0
    with serve_raw(echoing, tls=authority.server(authority.issue()) if secure else None) as server:
        reached = True
        while reached:
            async with engine(tls=authority.client()) as transport:
                reached = await cancelled_at(points, transport.send(request(server.url, "/first"), Departure()))
                (answer,) = await send(transport, request(server.url, "/second"))
            assert answer.body == b"/second", points
            points += 1
        await eventually(lambda: all(connection.fileno() < 0 for connection in server.connections))

    assert points >= 3


async def test_connects_from_the_given_address(engine: Engine) -> None:
    """The server sees the address; nothing is sent from an address of another machine."""
    seen: list[str] = []

    def behave(connection: socket.socket) -> None:
        seen.append(connection.getpeername()[0])
        answering(http(b"{}"))(connection)

    with serve_raw(behave) as server:
        async with engine(local_address="127.0.0.2") as transport:
            await send(transport, request(server.url))
        failure = await only_failure(engine(local_address="192.0.2.1"), request(server.url))

    assert (seen, failure.sent) == (["127.0.0.2"], False)


async def test_a_slow_response_that_continues_is_waited_for(engine: Engine) -> None:
    """The read timeout counts between two pieces."""
    answer = http(b"{}", headers="Date: x\r\n")

    def behave(connection: socket.socket) -> None:
        read_request(connection)
        for at in range(0, len(answer), 10):
            connection.sendall(answer[at : at + 10])
            pause.wait(0.1)

    pause = threading.Event()
    with serve_raw(behave) as server:
        async with engine(timeouts=Timeouts(connect=5, read=0.35)) as transport:
            (came,) = await send(transport, request(server.url))

    assert came.body == b"{}"


async def test_the_read_timeout_holds_after_a_long_idle_time(engine: Engine) -> None:
    """The check of an idle connection runs often enough for the next call."""
    served = itertools.count()

    def behave(connection: socket.socket) -> None:
        while read_request(connection):
            if next(served) == 0:
                connection.sendall(http(b"{}"))

    with serve_raw(behave) as server:
        async with engine(timeouts=SHORT) as transport:
            await send(transport, request(server.url))
            await anyio.sleep(2 * SHORT.read)
            with anyio.fail_after(5):
                failure = await failure_of(transport, request(server.url))

    assert failure.reason == "timed out waiting for the response"


async def test_a_response_received_while_the_event_loop_was_blocked_is_not_late(engine: Engine) -> None:
    """The caller's code blocked the event loop beyond the read timeout; the response had arrived."""
    sent, pause = threading.Event(), threading.Event()

    def behave(connection: socket.socket) -> None:
        read_request(connection)
        pause.wait(2 * SHORT.read)
        connection.sendall(http(b"{}"))
        sent.set()

    def stand_still() -> None:
        asyncio.get_running_loop().call_soon(asyncio.get_running_loop().call_soon, sent.wait, 5)

    with serve_raw(behave) as server:
        async with engine(timeouts=SHORT) as transport:
            answer = await transport.send(request(server.url), stand_still)

    assert answer.body == b"{}"
