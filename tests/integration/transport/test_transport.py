"""Both engines on real sockets: every failure says what was sent, and no call gets another's response."""

from __future__ import annotations

import asyncio
import itertools
import select
import socket
import threading
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from binance_pm.transport.connect import Resolver
from binance_pm.transport.http import (
    REFUSALS_BODY_SECONDS,
    Headers,
    HttpRequest,
    HttpResponse,
    Method,
    NotConnected,
    SendFailed,
    Timeouts,
    Transport,
)
from tests.support.cancelling import cancelled_at
from tests.support.certificates import Authority
from tests.support.engines import CHUNKED, SHORT, Departure, Engine, request
from tests.support.raw_server import Behaviour, answering, http, read_request, reset, serve_raw, silent

# The engines leave different checks of the address to the system.


async def test_returns_the_response(departure: Departure, engine: Engine) -> None:
    """Status, headers in any case, and the body; the departure was reported once."""
    with serve_raw(answering(http(b"{}", headers="X-MBX-Used-Weight-1M: 7\r\n"))) as server:
        async with engine() as transport:
            answer = await transport.send(request(server.url), departure)

    assert (answer.status, answer.used("x-mbx-used-weight-1m"), answer.body, departure.count) == (200, 7, b"{}", 1)


async def test_sends_exactly_the_target_and_nothing_else(departure: Departure, engine: Engine) -> None:
    """The signed text is sent: no re-encoding, no cookies, no content codings requested."""
    heads: list[bytes] = []

    def behave(connection: socket.socket) -> None:
        heads.append(read_request(connection))
        connection.sendall(http(b"{}", headers="Set-Cookie: a=b\r\n") + b"")
        heads.append(read_request(connection))
        connection.sendall(http(b"{}"))

    target = "/papi/v1/x?a=%20%2B~%E2%82%AC&b=%27%28%29&signature=%2B%2F%3D"
    with serve_raw(behave) as server:
        async with engine() as transport:
            for _ in range(2):
                await transport.send(request(server.url, target), departure)

    assert heads[0] == heads[1]
    assert heads[0].split(b"\r\n")[0] == f"GET {target} HTTP/1.1".encode()
    assert {line.split(b":")[0].lower() for line in heads[0].split(b"\r\n")[1:] if line} == {b"host", b"user-agent"}


async def test_a_response_that_is_too_long_has_no_body(departure: Departure, engine: Engine) -> None:
    """Its headers still count; the rest is not awaited, and reaches no other request."""
    endless = b"HTTP/1.1 200 OK\r\nContent-Length: 20000000\r\nX-MBX-USED-WEIGHT-1M: 7\r\n\r\n" + b"x" * 2000
    with serve_raw(answering(endless)) as server:
        async with engine() as transport:
            answers = [await transport.send(request(server.url), departure) for _ in range(2)]

    assert [(answer.body, answer.used("x-mbx-used-weight-1m")) for answer in answers] == [(None, 7)] * 2
    assert len(server.connections) == 2


@pytest.mark.parametrize(("length", "is_accepted"), [(200_000, True), (200_001, False)])
async def test_a_body_may_have_the_maximum_length(
    length: int, departure: Departure, engine: Engine, *, is_accepted: bool
) -> None:
    """In many pieces; one byte more is refused."""
    body = b"x" * length
    with serve_raw(answering(http(body))) as server:
        async with engine(timeouts=Timeouts(), max_body=200_000) as transport:
            answer = await transport.send(request(server.url), departure)

    assert answer.body == (body if is_accepted else None)


async def test_the_start_of_an_oversized_refusal_is_kept(departure: Departure, engine: Engine) -> None:
    """The start says until when nothing may be sent."""
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in (b"banned until 1780000000000.", b"x" * 2000))
    with serve_raw(answering(CHUNKED.replace(b"200 OK", b"418 No") + chunks)) as server:
        async with engine() as transport:
            answer = await transport.send(request(server.url), departure)

    assert (answer.status, answer.banned_until) == (418, 1_780_000_000.0)


def stalling(connection: socket.socket) -> None:
    """Send part of a response, then stall."""
    read_request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n123")
    silent(connection)


@pytest.mark.parametrize(
    "behaviour",
    [
        answering(),
        answering(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n123"),
        answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"),
        answering(b"SSH-2.0-OpenSSH\r\n\r\n"),
        answering(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"),
        silent,
        stalling,
    ],
)
async def test_a_request_without_a_complete_response(
    behaviour: Behaviour, departure: Departure, engine: Engine
) -> None:
    """Any failure after the request was written is reported as sent."""
    with serve_raw(behaviour) as server:
        async with engine(timeouts=SHORT) as transport:
            with pytest.raises(SendFailed) as caught:
                await transport.send(request(server.url), departure)

    assert (caught.value.sent, departure.count) == (True, 1)


async def test_nothing_is_resent_on_a_connection_that_broke(departure: Departure, engine: Engine) -> None:
    """The second connection fails after the request was written: an error, not another attempt."""
    requests: list[int] = []

    def behave(connection: socket.socket) -> None:
        read_request(connection)
        requests.append(1)
        connection.sendall(http(b"{}"))
        read_request(connection)
        requests.append(2)

    with serve_raw(behave) as server:
        async with engine() as transport:
            await transport.send(request(server.url), departure)
            with pytest.raises(SendFailed) as caught:
                await transport.send(request(server.url), departure)

    assert (caught.value.sent, requests, len(server.connections)) == (True, [1, 2], 1)


async def test_a_refused_connection_is_reported_as_not_sent(departure: Departure, engine: Engine) -> None:
    """No byte of the request was sent."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    async with engine() as transport:
        with pytest.raises(NotConnected) as caught:
            await transport.send(request(f"http://127.0.0.1:{port}"), departure)

    assert (caught.value.sent, departure.count) == (False, 0)


async def test_failed_tls_is_reported_as_not_sent(departure: Departure, engine: Engine) -> None:
    """A server without TLS receives a handshake message, not the request."""
    with serve_raw(answering(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as server:
        async with engine(timeouts=SHORT) as transport:
            with pytest.raises(SendFailed) as caught:
                await transport.send(request(server.url.replace("http", "https")), departure)

    assert (caught.value.sent, departure.count) == (False, 0)


async def test_an_error_while_departing_stops_the_request(departure: Departure, engine: Engine) -> None:
    """The callback may forbid the departure: no byte of the request arrives."""
    arrived: list[bytes] = []

    def behave(connection: socket.socket) -> None:
        arrived.append(connection.recv(100))

    def forbid() -> None:
        departure()
        raise PermissionError("the gate is closed")

    with serve_raw(behave) as server:
        async with engine() as transport:
            with pytest.raises(PermissionError, match="the gate is closed"):
                await transport.send(request(server.url), forbid)

    assert (b"".join(arrived), departure.count) == (b"", 1)


async def test_a_request_too_long_for_a_url_is_reported_as_not_sent(departure: Departure, engine: Engine) -> None:
    """Servers refuse such a request, and event loops may not write it at once."""
    async with engine() as transport:
        with pytest.raises(SendFailed) as caught:
            await transport.send(request("http://127.0.0.1:1", "/" + "x" * 70_000), departure)

    assert (caught.value.sent, departure.count) == (False, 0)


@pytest.mark.parametrize("status", [403, 418, 429])
@pytest.mark.parametrize("then", [answering(), silent], ids=["cut", "stalled"])
async def test_a_refusal_is_returned_without_its_complete_body(
    status: int, then: Behaviour, monkeypatch: pytest.MonkeyPatch, departure: Departure, engine: Engine
) -> None:
    """Its status closes the gate and must not be lost with the rest of the response."""
    wait_for_refusals(monkeypatch, 0.1)

    def behave(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 %d No\r\nRetry-After: 7\r\nContent-Length: 100\r\n\r\n{" % status)
        if then is silent:
            silent(connection)

    with serve_raw(behave) as server:
        async with engine() as transport:
            answer = await transport.send(request(server.url), departure)

    assert (answer.status, answer.retry_after, answer.body) == (status, 7.0, b"{")


async def test_received_bytes_are_not_quoted(departure: Departure, engine: Engine) -> None:
    """A broken response may echo the key; the error chain does not."""
    with serve_raw(answering(b"HTTP/1.1 200 OK\r\nx-mbx-apikey canary\r\n\r\n")) as server:
        async with engine() as transport:
            with pytest.raises(SendFailed) as caught:
                await transport.send(request(server.url), departure)

    assert "canary" not in "".join(traceback.format_exception(caught.value))


async def test_a_cancelled_request_leaves_no_connection(departure: Departure, engine: Engine) -> None:
    """A cancelled request closes its connection: the response must not reach another request."""
    arrived, ended = threading.Event(), threading.Event()

    def behave(connection: socket.socket) -> None:
        read_request(connection)
        arrived.set()
        with suppress(ConnectionError):
            connection.recv(1)
        ended.set()

    with serve_raw(behave) as server:
        async with engine(timeouts=Timeouts()) as transport, anyio.create_task_group() as tasks:
            tasks.start_soon(transport.send, request(server.url), departure)
            await anyio.to_thread.run_sync(arrived.wait)
            tasks.cancel_scope.cancel()

        assert ended.wait(5)


async def test_closing_ends_idle_connections(departure: Departure, engine: Engine) -> None:
    """No connection of a closed transport stays open."""
    ended: list[bytes] = []

    def behave(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(http(b"{}"))
        ended.append(connection.recv(1))

    with serve_raw(behave) as server:
        async with engine() as transport:
            await transport.send(request(server.url), departure)

    assert ended == [b""]


@pytest.mark.parametrize(
    ("first", "body"),
    [
        (http(b"mine"), b"mine"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""),
        (CHUNKED + b"4\r\nmine\r\n0\r\n\r\n", b"mine"),
        (CHUNKED + b"0\r\n\r\n", b""),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n" + http(b"mine"), b"mine"),
    ],
)
@pytest.mark.parametrize("surplus", [http(b"another's"), b"HTTP/1.1 2", b"{}"])
async def test_surplus_closes_the_connection(
    first: bytes, body: bytes, surplus: bytes, departure: Departure, engine: Engine
) -> None:
    """The response is complete; the next request uses another connection."""

    def behave(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(first + surplus)
        connection.recv(100)

    with serve_raw(behave) as server:
        async with engine() as transport:
            answers = [await transport.send(request(server.url), departure) for _ in range(2)]

    assert ([answer.body for answer in answers], len(server.connections)) == ([body, body], 2)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_byte_reaches_the_target_of_a_redirect(status: int, departure: Departure, engine: Engine) -> None:
    """A redirect is returned like any other response."""
    with serve_raw(silent) as target:
        location = f"Location: {target.url}/papi/v1/ping\r\n"
        with serve_raw(answering(http(b"", status=f"{status} Moved", headers=location))) as server:
            async with engine() as transport:
                answer = await transport.send(request(server.url), departure)
        arrived = len(target.connections)

    assert (answer.status, arrived) == (status, 0)


async def test_the_environment_is_ignored(
    monkeypatch: pytest.MonkeyPatch, departure: Departure, engine: Engine
) -> None:
    """A proxy in the environment gets no connection unless the environment is trusted."""
    with serve_raw(silent) as proxy, serve_raw(answering(http(b"{}"))) as server:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("ALL_PROXY", proxy.url)
        async with engine() as transport:
            await transport.send(request(server.url), departure)
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
        (b"HTTP/1.1 200 OK\r\nDate: x\r\n\r\n{}", (200, "x", b"{}")),
        (b"HTTP/1.1 204 No Content\r\nDate: x\r\n\r\n", (204, "x", b"")),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n", (304, None, b"")),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nDate: y\r\n\r\n" + http(b"{}"), (200, None, b"{}")),
    ],
    ids=["length", "empty", "twice", "chunked", "HTTP/1.0", "until closed", "204", "304", "1xx first"],
)
@pytest.mark.parametrize("step", [1, 7, 1000], ids=["each byte", "pieces", "at once"])
async def test_a_response_in_any_pieces(
    answer: bytes, expected: tuple[int, str | None, bytes], step: int, departure: Departure, engine: Engine
) -> None:
    """However slowly the pieces arrive, the response is the same."""
    pieces = [answer[at : at + step] for at in range(0, len(answer), step)]
    with serve_raw(answering(*pieces)) as server:
        async with engine() as transport:
            came = await transport.send(request(server.url), departure)

    assert (came.status, came.headers.get("date"), came.body) == expected


def resetting(*pieces: bytes) -> Behaviour:
    """Read one request, send the pieces, and reset the connection."""

    def behave(connection: socket.socket) -> None:
        answering(*pieces)(connection)
        reset(connection)

    return behave


def half_closing(connection: socket.socket) -> None:
    """Close the direction of the response and keep that of the request."""
    read_request(connection)
    connection.shutdown(socket.SHUT_WR)
    silent(connection)


@pytest.mark.parametrize(
    "behaviour",
    [
        resetting(),
        resetting(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n123"),
        half_closing,
        answering(b"HTTP/1.1 200 OK\r\nContent-Le"),
        answering(b"HTTP/1.1 103 Early Hints\r\n\r\n"),
        answering(b"HTTP/1.1 200 OK\r\nContent-Length: ten\r\n\r\n"),
        answering(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"),
        answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}}"),
        answering(CHUNKED + b"-2\r\n{}\r\n0\r\n\r\n"),
        answering(CHUNKED + b"x\r\n{}\r\n0\r\n\r\n"),
        answering(CHUNKED + b"2\r\n{}}\r\n0\r\n\r\n"),
        answering(b"HTTP/1.1 20 OK\r\n\r\n"),
        answering(b"HTTP/1.1 OK\r\n\r\n"),
        answering(b"HTTP/1.1 200 OK\r\nA: b\x00\r\n\r\n"),
        answering(b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n"),
        answering(b"\x16\x03\x01\x02\x00\x01\x00" * 20),
        answering(b"\x00" * 200_000),
        answering(b"HTTP/1.1 200 OK\r\n" + b"X: yyyyyyyyyyyyy\r\n" * 40_000),
    ],
    ids=["reset", "reset midway", "half closed", "cut head", "1xx alone", "length ten", "negative length",
         "two lengths", "negative chunk", "no chunk", "long chunk", "short status", "no status", "nul", "no colon",
         "TLS", "noughts", "endless head"],
)  # fmt: skip
async def test_an_incomplete_response(behaviour: Behaviour, departure: Departure, engine: Engine) -> None:
    """The request was sent, and the received bytes are unusable."""
    with serve_raw(behaviour) as server:
        async with engine() as transport:
            with pytest.raises(SendFailed) as caught:
                await transport.send(request(server.url), departure)

    assert (caught.value.sent, departure.count, len(server.connections)) == (True, 1, 1)


async def test_a_server_that_resets_at_once_is_reported_consistently(departure: Departure, engine: Engine) -> None:
    """A failure counts as sent if and only if `departing` was called."""
    with serve_raw(reset) as server:
        async with engine() as transport:
            for _ in range(20):
                before = departure.count
                with pytest.raises(SendFailed) as caught:
                    await transport.send(request(server.url), departure)
                assert departure.count - before == caught.value.sent


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
async def test_a_write_declares_its_empty_body(method: Method, departure: Departure, engine: Engine) -> None:
    """Servers wait for the body of a POST without a length."""
    heads: list[bytes] = []

    def behave(connection: socket.socket) -> None:
        heads.append(read_request(connection))
        connection.sendall(http(b"{}"))

    with serve_raw(behave) as server:
        async with engine() as transport:
            await transport.send(request(server.url, method=method), departure)

    assert heads[0].startswith(method.encode())
    assert (b"\r\ncontent-length: 0\r\n" in heads[0].lower()) == (method in {"POST", "PUT"})


class TestIdle:
    """Between two requests."""

    @pytest.mark.parametrize("end", [socket.socket.close, reset], ids=["closed", "reset"])
    async def test_a_connection_that_the_server_closed_is_not_used(
        self, end: Behaviour, departure: Departure, engine: Engine
    ) -> None:
        """Even if the caller's code has blocked the event loop, so that the close was not noticed."""
        closed = threading.Event()

        def behave(connection: socket.socket) -> None:
            read_request(connection)
            connection.sendall(http(b"{}"))
            may_close.wait(5)
            end(connection)
            closed.set()

        may_close = threading.Event()
        with serve_raw(behave) as server:
            async with engine() as transport:
                await transport.send(request(server.url), departure)
                may_close.set()
                assert closed.wait(5)
                answer = await transport.send(request(server.url), departure)

        assert (answer.body, departure.count, len(server.connections)) == (b"{}", 2, 2)

    async def test_an_unrequested_response_is_not_used(self, departure: Departure, engine: Engine) -> None:
        """Bytes between two requests are not the response to the second."""
        came = threading.Event()

        def behave(connection: socket.socket) -> None:
            read_request(connection)
            connection.sendall(http(b"mine"))
            may_send.wait(5)
            connection.sendall(http(b"another's"))
            came.set()
            read_request(connection)

        may_send = threading.Event()
        with serve_raw(behave) as server:
            async with engine() as transport:
                await transport.send(request(server.url), departure)
                may_send.set()
                assert came.wait(5)
                answer = await transport.send(request(server.url), departure)

        assert (answer.body, len(server.connections)) == (b"mine", 2)

    @pytest.mark.parametrize("answer", [b"HTTP/1.0 200 OK\r\n", b"HTTP/1.1 200 OK\r\nConnection: close\r\n"])
    async def test_a_connection_announced_as_closing_is_not_used(
        self, answer: bytes, departure: Departure, engine: Engine
    ) -> None:
        """The response announces the close."""

        def behave(connection: socket.socket) -> None:
            read_request(connection)
            connection.sendall(answer + b"Content-Length: 2\r\n\r\n{}")
            connection.recv(1)

        with serve_raw(behave) as server:
            async with engine() as transport:
                for _ in range(2):
                    await transport.send(request(server.url), departure)

        assert len(server.connections) == 2


def echoing(connection: socket.socket) -> None:
    """Answer every request with its own target."""
    while head := read_request(connection):
        connection.sendall(http(head.split(b" ")[1]))


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

    async def test_the_connection_used_last_is_used_first(self, engine: Engine) -> None:
        """Single requests keep one connection busy, and the others may expire."""
        served: list[int] = []
        with serve_raw(counting(served)) as server:
            async with engine(timeouts=Timeouts()) as transport:
                await self.send_all(transport, server.url, 2)
                for _ in range(5):
                    await self.send_all(transport, server.url, 1)

        assert sorted(served) == [1, 6]

    async def test_the_connection_idle_for_longest_is_replaced(
        self, monkeypatch: pytest.MonkeyPatch, engine: Engine
    ) -> None:
        """If the maximum is open and a connection to another server is needed."""
        narrow(monkeypatch, 2)
        served: list[int] = []
        with serve_raw(counting(served)) as one, serve_raw(echoing) as other:
            async with engine(timeouts=Timeouts()) as transport:
                await self.send_all(transport, one.url, 2)
                await self.send_all(transport, one.url, 1)
                await self.send_all(transport, other.url, 1)
                with anyio.fail_after(5):
                    while not served:
                        await anyio.lowlevel.checkpoint()
                assert served == [1]

    async def send_all(self, transport: Transport, url: str, count: int) -> list[bytes | None]:
        """Send all at once, each with its own target, and return the responses."""
        bodies: list[bytes | None] = [None] * count

        async def send(number: int) -> None:
            bodies[number] = (await transport.send(request(url, f"/{number}"), Departure())).body

        async with anyio.create_task_group() as tasks:
            for number in range(count):
                tasks.start_soon(send, number)
        return bodies

    async def test_each_request_gets_its_own_response(self, engine: Engine) -> None:
        """Fifty at once, three times, over at most fifty connections."""
        with serve_raw(echoing) as server:
            async with engine(timeouts=Timeouts()) as transport:
                for _ in range(3):
                    bodies = await self.send_all(transport, server.url, 50)
                    assert bodies == [b"/%d" % number for number in range(50)]

        assert len(server.connections) <= 50

    async def test_connections_are_bounded(self, monkeypatch: pytest.MonkeyPatch, engine: Engine) -> None:
        """Further requests wait for a connection; idle connections to another server are replaced."""
        narrow(monkeypatch, 3)
        with serve_raw(echoing) as one, serve_raw(echoing) as other:
            async with engine(timeouts=Timeouts()) as transport:
                for server in (one, other, one):
                    bodies = await self.send_all(transport, server.url, 20)
                    assert bodies == [b"/%d" % number for number in range(20)]

        assert len(other.connections) <= 3
        assert len(one.connections) <= 6

    async def test_a_full_pool_is_reported_as_not_sent(
        self, monkeypatch: pytest.MonkeyPatch, departure: Departure, engine: Engine
    ) -> None:
        """A request without a free connection in time was not sent."""
        narrow(monkeypatch, 1)
        failures: list[SendFailed] = []
        with serve_raw(silent) as server:
            async with engine(timeouts=Timeouts(connect=0.3, read=0.9)) as transport:

                async def send() -> None:
                    try:
                        await transport.send(request(server.url), departure)
                    except SendFailed as failure:
                        failures.append(failure)

                async with anyio.create_task_group() as tasks:
                    for _ in range(2):
                        tasks.start_soon(send)

        assert [(str(failure), failure.sent) for failure in failures] == [
            ("no connection was free in time", False),
            ("timed out waiting for the response", True),
        ]

    async def test_a_cancelled_waiting_request_blocks_no_other(
        self, monkeypatch: pytest.MonkeyPatch, departure: Departure, engine: Engine
    ) -> None:
        """A free connection goes to the next waiting request."""
        narrow(monkeypatch, 1)
        with serve_raw(echoing) as server:
            async with engine(timeouts=Timeouts()) as transport:
                async with anyio.create_task_group() as tasks:
                    for _ in range(10):
                        tasks.start_soon(transport.send, request(server.url), departure)
                    await anyio.lowlevel.checkpoint()
                    tasks.cancel_scope.cancel()
                answer = await transport.send(request(server.url), departure)

        assert answer.body == b"/papi/v1/ping"


def dribbling(connection: socket.socket) -> None:
    """Answer the first request at once, the second byte by byte until the connection is closed."""
    read_request(connection)
    connection.sendall(http(b"{}"))
    read_request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n")
    drip(connection)


def drip(connection: socket.socket) -> None:
    """Send byte after byte until the connection is closed."""
    with suppress(OSError):
        while not select.select([connection], [], [], 0.02)[0]:
            connection.sendall(b"x")


@pytest.mark.parametrize("status", [403, 418, 429])
async def test_a_refusal_does_not_wait_for_its_body(
    status: int, monkeypatch: pytest.MonkeyPatch, departure: Departure, engine: Engine
) -> None:
    """However long the body, and however long another response might take."""
    wait_for_refusals(monkeypatch, 0.1)

    def behave(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 %d No\r\nContent-Length: 9999\r\n\r\n" % status)
        drip(connection)

    with serve_raw(behave) as server:
        async with engine(timeouts=Timeouts(), max_body=10_000) as transport:
            with anyio.fail_after(5):
                answer = await transport.send(request(server.url), departure)

    assert (answer.status, (answer.body or b"").strip(b"x")) == (status, b"")
    assert answer.body


class TestTotal:
    """The total timeout bounds a request in every phase."""

    async def test_a_response_that_arrives_byte_by_byte(self, departure: Departure, engine: Engine) -> None:
        """Each byte is in time, the whole response is not."""
        with serve_raw(dribbling) as server:
            async with engine(timeouts=Timeouts(read=5, total=0.3), max_body=10_000) as transport:
                await transport.send(request(server.url), departure)
                with pytest.raises(SendFailed, match=r"no complete response within 0\.3 s") as caught:
                    await transport.send(request(server.url), departure)

        assert (caught.value.sent, departure.count, len(server.connections)) == (True, 2, 1)

    @pytest.mark.parametrize("status", [403, 418, 429])
    async def test_the_body_of_a_refusal(
        self, status: int, monkeypatch: pytest.MonkeyPatch, departure: Departure, engine: Engine
    ) -> None:
        """The received part of the refusal is kept."""
        wait_for_refusals(monkeypatch, 60)

        def behave(connection: socket.socket) -> None:
            read_request(connection)
            connection.sendall(b"HTTP/1.1 %d No\r\nContent-Length: 9\r\n\r\n1" % status)
            silent(connection)

        with serve_raw(behave) as server:
            async with engine(timeouts=Timeouts(total=0.3)) as transport:
                with anyio.fail_after(5):
                    answer = await transport.send(request(server.url), departure)

        assert (answer.status, answer.body) == (status, b"1")

    async def test_while_connecting(self, departure: Departure, engine: Engine) -> None:
        """Nothing was sent."""
        with serve_raw(silent) as server:
            async with engine(timeouts=Timeouts(connect=5, total=0.2)) as transport:
                with pytest.raises(SendFailed, match=r"it could not be sent within 0\.2 s") as caught:
                    await transport.send(request(server.url.replace("http", "https")), departure)

        assert (caught.value.sent, departure.count) == (False, 0)

    async def test_connecting_counts_towards_the_total(self, departure: Departure, engine: Engine) -> None:
        """A slow name lookup leaves less time for the response."""

        def look_up_slowly(*_: Any, **__: Any) -> list[Any]:
            threading.Event().wait(0.8)
            return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port))]

        with serve_raw(silent) as server:
            port = int(server.url.rpartition(":")[2])
            resolver = Resolver(look_up_slowly)
            async with engine(timeouts=Timeouts(connect=5, read=5, total=1), resolver=resolver) as transport:
                began = anyio.current_time()
                with pytest.raises(SendFailed, match="no complete response within 1 s") as caught:
                    await transport.send(request(server.url.replace("127.0.0.1", "localhost")), departure)
                seconds = anyio.current_time() - began

        assert (caught.value.sent, departure.count) == (True, 1)
        assert 0.99 <= seconds < 1.6

    async def test_while_waiting_for_a_connection(
        self, monkeypatch: pytest.MonkeyPatch, departure: Departure, engine: Engine
    ) -> None:
        """Nothing was sent."""
        narrow(monkeypatch, 0)
        with serve_raw(silent) as server:
            async with engine(timeouts=Timeouts(connect=5, total=0.2)) as transport:
                with pytest.raises(SendFailed, match=r"it could not be sent within 0\.2 s") as caught:
                    await transport.send(request(server.url), departure)

        assert (caught.value.sent, departure.count) == (False, 0)


class TestClosing:
    """Closing takes less than a second."""

    @pytest.mark.parametrize(
        ("behaviour", "scheme", "sent"),
        [(silent, "http", True), (silent, "https", False)],
        ids=["waiting for the answer", "waiting for TLS"],
    )
    async def test_waiting_calls_fail(
        self, behaviour: Behaviour, scheme: str, departure: Departure, engine: Engine, *, sent: bool
    ) -> None:
        """Each error says whether the request was sent."""
        failures: list[SendFailed] = []
        with serve_raw(behaviour) as server:
            async with engine(timeouts=Timeouts()) as transport:

                async def send() -> None:
                    with pytest.raises(SendFailed, match="the transport was closed") as caught:
                        await transport.send(request(server.url.replace("http", scheme)), departure)
                    failures.append(caught.value)

                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(send)
                    while not server.connections or departure.count < sent:
                        await anyio.lowlevel.checkpoint()
                    with anyio.fail_after(1):
                        await transport.aclose()

        assert [failure.sent for failure in failures] == [sent]

    async def test_calls_waiting_for_a_connection_fail(
        self, monkeypatch: pytest.MonkeyPatch, departure: Departure, engine: Engine
    ) -> None:
        """Their requests were not sent."""
        narrow(monkeypatch, 1)
        told: list[bool] = []
        with serve_raw(silent) as server:
            async with engine(timeouts=Timeouts()) as transport:

                async def send() -> None:
                    with pytest.raises(SendFailed, match="the transport was closed") as caught:
                        await transport.send(request(server.url), departure)
                    told.append(caught.value.sent)

                async with anyio.create_task_group() as tasks:
                    for _ in range(3):
                        tasks.start_soon(send)
                    while not departure.count:
                        await anyio.lowlevel.checkpoint()
                    with anyio.fail_after(1):
                        await transport.aclose()

        assert sorted(told) == [False, False, True]

    @pytest.mark.parametrize("status", [403, 418, 429])
    async def test_a_refusal_without_its_body_is_returned(
        self, status: int, departure: Departure, engine: Engine
    ) -> None:
        """The budget outlives the session and needs to know of a ban."""
        answers: list[HttpResponse] = []

        def behave(connection: socket.socket) -> None:
            read_request(connection)
            connection.sendall(b"HTTP/1.1 %d No\r\nContent-Length: 9\r\n\r\n" % status)
            silent(connection)

        with serve_raw(behave) as server:
            async with engine(timeouts=Timeouts()) as transport:

                async def send() -> None:
                    answers.append(await transport.send(request(server.url), departure))

                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(send)
                    while not departure.count:
                        await anyio.lowlevel.checkpoint()
                    await anyio.sleep(REFUSALS_BODY_SECONDS / 4)
                    with anyio.fail_after(REFUSALS_BODY_SECONDS / 2):
                        await transport.aclose()

        assert [answer.status for answer in answers] == [status]

    async def test_nothing_is_sent_afterwards(self, departure: Departure, engine: Engine) -> None:
        """A closed transport does not reopen."""
        with serve_raw(answering(http(b"{}"))) as server:
            async with engine() as transport:
                await transport.aclose()
                with pytest.raises(SendFailed, match="the transport was closed") as caught:
                    await transport.send(request(server.url), departure)
            arrived = len(server.connections)

        assert (caught.value.sent, departure.count, arrived) == (False, 0, 0)


def wait_for_refusals(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Set how long to wait for the bodies of refusals."""
    for module in ("direct", "httpx"):
        monkeypatch.setattr(f"binance_pm.transport.{module}.REFUSALS_BODY_SECONDS", seconds)


def narrow(monkeypatch: pytest.MonkeyPatch, connections: int) -> None:
    """Set the maximum number of connections."""
    for module in ("direct", "httpx"):
        monkeypatch.setattr(f"binance_pm.transport.{module}.MAX_CONNECTIONS", connections)


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
async def test_no_await_point_leaks(*, secure: bool, tmp_path: Path, engine: Engine) -> None:
    """Cancelled at its first, second, ... suspension: no socket stays open, and the next request is answered."""
    authority = Authority(tmp_path)
    points = 0
    with serve_raw(echoing, tls=authority.server(authority.issue()) if secure else None) as server:
        reached = True
        while reached:
            async with engine(timeouts=Timeouts(), tls=authority.client()) as transport:
                reached = await cancelled_at(points, transport.send(request(server.url, "/first"), Departure()))
                answer = await transport.send(request(server.url, "/second"), Departure())
            assert answer.body == b"/second", points
            points += 1
        with anyio.fail_after(5):
            while any(connection.fileno() >= 0 for connection in server.connections):
                await anyio.lowlevel.checkpoint()

    assert points >= 3


async def test_connects_from_the_given_address(departure: Departure, engine: Engine) -> None:
    """The server sees the address."""
    seen: list[str] = []

    def behave(connection: socket.socket) -> None:
        seen.append(connection.getpeername()[0])
        answering(http(b"{}"))(connection)

    with serve_raw(behave) as server:
        async with engine(local_address="127.0.0.2") as transport:
            await transport.send(request(server.url), departure)

    assert seen == ["127.0.0.2"]


async def test_an_address_of_another_machine_is_reported_as_not_sent(departure: Departure, engine: Engine) -> None:
    """The system refuses to connect from that address."""
    with serve_raw(answering(http(b"{}"))) as server:
        async with engine(local_address="192.0.2.1") as transport:
            with pytest.raises(NotConnected) as caught:
                await transport.send(request(server.url), departure)

    assert (caught.value.sent, departure.count) == (False, 0)


@pytest.mark.parametrize(
    ("target", "headers"),
    [
        ("/a b", {}),
        ("/a\r\nX: y", {}),
        ("/a\n", {}),
        ("/é", {}),
        ("/\x00", {}),
        ("/", {"x": "a\r\nb: c"}),
        ("/", {"x": "é"}),
    ],
)
async def test_a_request_with_control_characters_is_not_sent(
    target: str, headers: dict[str, str], departure: Departure, engine: Engine
) -> None:
    """No part of a request may end a line of the headers."""
    async with engine() as transport:
        with pytest.raises(SendFailed, match="contains a character that is not allowed") as caught:
            await transport.send(HttpRequest("GET", "http://127.0.0.1:1", target, Headers(headers)), departure)

    assert (caught.value.sent, departure.count) == (False, 0)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://127.0.0.1",
        "ftp://127.0.0.1:80",
        "127.0.0.1",
        "http://",
        "http://:80",
        "http://x:99999",
        "http://[::1",
    ],
)
async def test_an_invalid_url_is_reported_as_not_sent(url: str, departure: Departure, engine: Engine) -> None:
    """The URL names no host."""
    async with engine() as transport:
        with pytest.raises(SendFailed) as caught:
            await transport.send(request(url), departure)

    assert (caught.value.sent, departure.count) == (False, 0)


@pytest.mark.parametrize("name", ["nowhere.invalid", "a" * 64, "-.-", ".x"])
async def test_a_name_without_an_address_is_reported_as_not_sent(
    name: str, departure: Departure, engine: Engine
) -> None:
    """The name cannot be resolved, or is invalid."""
    async with engine(timeouts=Timeouts()) as transport:
        with pytest.raises(SendFailed) as caught:
            await transport.send(request(f"http://{name}"), departure)

    assert (caught.value.sent, departure.count) == (False, 0)


async def test_a_slow_response_that_continues_is_waited_for(departure: Departure, engine: Engine) -> None:
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
            came = await transport.send(request(server.url), departure)

    assert came.body == b"{}"


async def test_the_read_timeout_holds_after_a_long_idle_time(departure: Departure, engine: Engine) -> None:
    """The check of an idle connection runs often enough for the next call."""
    served = itertools.count()

    def behave(connection: socket.socket) -> None:
        while read_request(connection):
            if next(served) == 0:
                connection.sendall(http(b"{}"))

    with serve_raw(behave) as server:
        async with engine(timeouts=SHORT) as transport:
            await transport.send(request(server.url), departure)
            await anyio.sleep(2 * SHORT.read)
            with anyio.fail_after(5), pytest.raises(SendFailed, match="timed out waiting for the response"):
                await transport.send(request(server.url), departure)


async def test_a_response_received_while_the_event_loop_was_blocked_is_not_late(
    departure: Departure, engine: Engine
) -> None:
    """The caller's code blocked the event loop beyond the read timeout; the response had arrived."""
    sent, pause = threading.Event(), threading.Event()

    def behave(connection: socket.socket) -> None:
        read_request(connection)
        pause.wait(2 * SHORT.read)
        connection.sendall(http(b"{}"))
        sent.set()

    def stand_still() -> None:
        departure()
        asyncio.get_running_loop().call_soon(asyncio.get_running_loop().call_soon, sent.wait, 5)

    with serve_raw(behave) as server:
        async with engine(timeouts=SHORT) as transport:
            answer = await transport.send(request(server.url), stand_still)

    assert answer.body == b"{}"
