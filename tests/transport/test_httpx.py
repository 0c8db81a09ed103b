"""The httpx engine on real sockets: what was sent is known for every failure."""

from __future__ import annotations

import base64
import itertools
import socket
import threading
import traceback
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import httpx
import pytest
import respx
from hypothesis import given
from hypothesis import strategies as st

from binance_pm.transport import HttpRequest, SendFailed, Timeouts
from binance_pm.transport.httpx import HttpxTransport
from binance_pm.transport.surplus import Answers
from tests.raw_server import Behaviour, answering, http, read_request, serve_raw, silent

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
ANSWERS = [
    http(b"{}"),
    http(b"x" * 100, headers="Date: Sat, 21 Nov 2026 12:00:00 GMT\r\n"),
    b"HTTP/1.1 204 No Content\r\n\r\n",
    CHUNKED + b"2\r\n{}\r\n0\r\n\r\n",
    CHUNKED + b"0\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\n\r\n" + http(b"{}"),
]
SHORT = Timeouts(connect=0.3, read=0.3, total=2.0)


class Departure:
    """Counts how often the transport said that the first byte is about to leave."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        """It is about to leave."""
        self.count += 1


@asynccontextmanager
async def engine(**options: Any) -> AsyncGenerator[HttpxTransport, None]:
    """An engine with short timeouts, closed after use."""
    whole: dict[str, Any] = {"timeouts": SHORT, "max_body": 1000} | options
    transport = HttpxTransport(**whole)
    try:
        yield transport
    finally:
        await transport.aclose()


def request(url: str, target: str = "/papi/v1/ping") -> HttpRequest:
    """A request for the given server."""
    return HttpRequest("GET", url, target, {"user-agent": "test"})


@pytest.fixture
def departure() -> Departure:
    """Counts departures."""
    return Departure()


async def test_brings_an_answer(departure: Departure) -> None:
    """Status, headers in any case, and the body; the departure was told once."""
    with serve_raw(answering(http(b"{}", headers="X-MBX-Used-Weight-1M: 7\r\n"))) as server:
        async with engine() as transport:
            answer = await transport.send(request(server.url), departure)

    assert (answer.status, answer.used("x-mbx-used-weight-1m"), answer.body, departure.count) == (200, 7, b"{}", 1)


async def test_sends_exactly_the_target_and_nothing_of_its_own(departure: Departure) -> None:
    """What was signed is what leaves: no re-encoding, no cookies, no content codings asked for."""
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


async def test_an_answer_longer_than_accepted_has_no_body(departure: Departure) -> None:
    """Its headers still count; the rest of it is not awaited."""
    endless = b"HTTP/1.1 200 OK\r\nContent-Length: 20000000\r\nX-MBX-USED-WEIGHT-1M: 7\r\n\r\n" + b"x" * 2000
    with serve_raw(answering(endless)) as server:
        async with engine() as transport:
            answer = await transport.send(request(server.url), departure)

    assert (answer.body, answer.used("x-mbx-used-weight-1m")) == (None, 7)


def stalling(connection: socket.socket) -> None:
    """Begin an answer and stop in the middle of it."""
    read_request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n123")
    silent(connection)


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        (answering(), "the connection closed"),
        (answering(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n123"), "before the whole answer had come"),
        (answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"), "before the whole answer"),
        (answering(b"SSH-2.0-OpenSSH\r\n\r\n"), "was not HTTP"),
        (answering(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"), "decompressed"),
        (silent, "the answer took too long"),
        (stalling, "the answer took too long"),
    ],
)
async def test_no_whole_answer_to_what_was_sent(behaviour: Behaviour, words: str, departure: Departure) -> None:
    """Whatever happens after the request has left is told as sent."""
    with serve_raw(behaviour) as server:
        async with engine() as transport:
            with pytest.raises(SendFailed, match=words) as caught:
                await transport.send(request(server.url), departure)

    assert (caught.value.sent, departure.count) == (True, 1)


async def test_nothing_is_resent_on_a_connection_that_died_in_use(departure: Departure) -> None:
    """The second request finds its connection closed after it was written: that is an error, not another try."""
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


async def test_refused_connection_is_told_as_not_sent(departure: Departure) -> None:
    """Nobody listens there: no byte of the request can have left."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    async with engine() as transport:
        with pytest.raises(SendFailed, match="no connection could be made") as caught:
            await transport.send(request(f"http://127.0.0.1:{port}"), departure)

    assert (caught.value.sent, departure.count) == (False, 0)


async def test_failed_tls_is_told_as_not_sent(departure: Departure) -> None:
    """A server that speaks no TLS gets a greeting, not the request."""
    with serve_raw(answering(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as server:
        async with engine() as transport:
            with pytest.raises(SendFailed) as caught:
                await transport.send(request(server.url.replace("http", "https")), departure)

    assert (caught.value.sent, departure.count) == (False, 0)


async def test_a_full_pool_is_told_as_not_sent(departure: Departure) -> None:
    """Whoever got no connection in time sent nothing."""
    narrow = httpx.AsyncClient(limits=httpx.Limits(max_connections=1))
    failures: list[SendFailed] = []
    with serve_raw(silent) as server:
        async with narrow, engine(http=narrow, timeouts=Timeouts(connect=0.3, read=0.9)) as transport:

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
        ("the answer took too long", True),
    ]


class Derived(httpx.AsyncHTTPTransport):
    """A transport of the caller's own that does not tell when it writes."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send without the trace."""
        del request.extensions["trace"]
        return await super().handle_async_request(request)


async def test_what_a_derived_transport_sent_is_told_as_sent(departure: Departure) -> None:
    """Only httpx's own transport is known to tell when it writes."""
    with serve_raw(silent) as server:
        async with Derived() as brought, engine(http=brought) as transport:
            with pytest.raises(SendFailed) as caught:
                await transport.send(request(server.url), departure)

    assert (caught.value.sent, departure.count) == (True, 1)


async def test_an_error_while_departing_stops_the_request(departure: Departure) -> None:
    """Whoever is told of the departure may forbid it: no byte of the request arrives."""
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


async def test_a_request_too_long_for_a_url_is_told_as_not_sent(departure: Departure) -> None:
    """The library refuses to build it."""
    async with engine() as transport:
        with pytest.raises(SendFailed, match="longer than a URL may be") as caught:
            await transport.send(request("http://127.0.0.1:1", "/" + "x" * 70_000), departure)

    assert (caught.value.sent, departure.count) == (False, 0)


@pytest.mark.parametrize("status", [403, 418, 429])
@pytest.mark.parametrize("then", [answering(), silent], ids=["cut", "stalled"])
async def test_a_refusal_is_brought_without_its_whole_body(status: int, then: Behaviour, departure: Departure) -> None:
    """Its status closes the gate: it must not be lost with the rest of the answer."""

    def behave(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 %d No\r\nRetry-After: 7\r\nContent-Length: 100\r\n\r\n{" % status)
        if then is silent:
            silent(connection)

    with serve_raw(behave) as server:
        async with engine() as transport:
            answer = await transport.send(request(server.url), departure)

    assert (answer.status, answer.retry_after, answer.body) == (status, 7.0, b"{")


async def test_what_the_server_said_is_not_quoted(departure: Departure) -> None:
    """A broken answer may echo the key; a failure's chain does not."""
    with serve_raw(answering(b"HTTP/1.1 200 OK\r\nx-mbx-apikey canary\r\n\r\n")) as server:
        async with engine() as transport:
            with pytest.raises(SendFailed) as caught:
                await transport.send(request(server.url), departure)

    assert "canary" not in "".join(traceback.format_exception(caught.value))


class TestSurplus:
    """Nothing that follows an answer is taken for the answer to the next request."""

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
    @pytest.mark.parametrize("brought", [False, True], ids=["made", "brought"])
    async def test_closes_the_connection(
        self, first: bytes, body: bytes, surplus: bytes, departure: Departure, *, brought: bool
    ) -> None:
        """The answer is whole; the next request goes over another connection."""

        def behave(connection: socket.socket) -> None:
            read_request(connection)
            connection.sendall(first + surplus)
            connection.recv(100)

        with serve_raw(behave) as server:
            async with httpx.AsyncClient() as own, engine(http=own if brought else None) as transport:
                answers = [await transport.send(request(server.url), departure) for _ in range(2)]

        assert ([answer.body for answer in answers], len(server.connections)) == ([body, body], 2)

    @given(
        st.lists(st.sampled_from(ANSWERS), min_size=1, max_size=4),
        st.lists(st.integers(1, 60), min_size=1),
    )
    def test_answers_are_followed_however_they_are_cut(self, whole: list[bytes], sizes: list[int]) -> None:
        """Answers that come one after the other, in any pieces that do not join two of them, are no surplus."""
        answers = Answers()
        for answer in whole:
            at = 0
            for size in itertools.cycle(sizes):
                assert not answers.exceeded_by(answer[at : at + size])
                at += size
                if at >= len(answer):
                    break

        assert answers.exceeded_by(whole[0] + ANSWERS[0])

    def test_an_endless_head_is_given_up(self) -> None:
        """What never becomes an answer does not fill the memory."""
        answers = Answers()

        assert [answers.exceeded_by(b"x" * 100_000) for _ in range(2)] == [False, True]

    def test_a_body_that_ends_with_the_connection_has_no_surplus(self) -> None:
        """Such a connection is not used again anyway."""
        answers = Answers()

        assert not answers.exceeded_by(b"HTTP/1.1 200 OK\r\n\r\nwhatever" + ANSWERS[0])


class TestRedirects:
    """Nothing is ever sent on."""

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    @pytest.mark.parametrize("own", [False, True], ids=["made", "brought"])
    async def test_no_byte_reaches_the_target(self, status: int, departure: Departure, *, own: bool) -> None:
        """A redirect is brought as the answer it is, also by a client that follows redirects by itself."""
        with serve_raw(silent) as target:
            location = f"Location: {target.url}/papi/v1/ping\r\n"
            with serve_raw(answering(http(b"", status=f"{status} Moved", headers=location))) as server:
                brought = httpx.AsyncClient(follow_redirects=True)
                async with brought, engine(http=brought if own else None) as transport:
                    answer = await transport.send(request(server.url), departure)
            arrived = len(target.connections)

        assert (answer.status, arrived) == (status, 0)


class TestBrought:
    """A client or transport of the caller's own."""

    async def test_client_stays_open(self, departure: Departure) -> None:
        """It is the caller's to close."""
        async with httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(200))) as brought:
            async with engine(http=brought) as transport:
                await transport.send(request("https://papi.binance.com"), departure)

            assert not brought.is_closed

    async def test_clients_own_credentials_and_cookies_stay_out(self, departure: Departure) -> None:
        """Its authentication flow could resend, and its cookies are not part of what was signed."""
        seen: list[httpx.Headers] = []

        def answer(request: httpx.Request) -> httpx.Response:
            seen.append(request.headers)
            return httpx.Response(401, headers={"www-authenticate": "Digest realm=x, nonce=y"})

        auth = httpx.DigestAuth("user", "password")
        async with (
            httpx.AsyncClient(auth=auth, cookies={"a": "b"}, transport=httpx.MockTransport(answer)) as brought,
            engine(http=brought) as transport,
        ):
            await transport.send(request("https://papi.binance.com"), departure)

        assert len(seen) == 1
        assert not {"authorization", "cookie"} & set(seen[0])

    async def test_transport(self, departure: Departure) -> None:
        """An httpx transport takes the place of the network."""
        transport = httpx.MockTransport(lambda request: httpx.Response(200, text=request.url.path))
        async with engine(http=transport) as ours:
            answer = await ours.send(request("https://papi.binance.com"), departure)

        assert answer.body == b"/papi/v1/ping"

    @pytest.mark.parametrize(
        ("failure", "sent"),
        [
            (httpx.ConnectError("refused"), False),
            (httpx.ConnectTimeout("slow"), False),
            (httpx.ReadTimeout("slow"), True),
            (httpx.ReadError("broken"), True),
            (ConnectionResetError("by the peer"), True),
            (ValueError("a fault of the transport's own"), True),
        ],
    )
    async def test_its_failures_are_told(self, failure: Exception, departure: Departure, *, sent: bool) -> None:
        """What cannot be known is told as sent."""

        def fail(_: httpx.Request) -> httpx.Response:
            raise failure

        async with engine(http=httpx.MockTransport(fail)) as transport:
            with pytest.raises(SendFailed) as caught:
                await transport.send(request("https://papi.binance.com"), departure)

        assert caught.value.sent is sent

    @pytest.mark.parametrize(("effect", "sent"), [(httpx.ReadTimeout, True), (httpx.ConnectError, False)])
    async def test_respx_stands_in_for_the_exchange(
        self, effect: type[httpx.TransportError], departure: Departure, *, sent: bool
    ) -> None:
        """The usual mock of httpx works on the engine made here, and its failures mean what they say."""
        with respx.mock:
            route = respx.get("https://papi.binance.com/papi/v1/ping")
            route.side_effect = [httpx.Response(200, json={}), effect]
            async with engine() as transport:
                answer = await transport.send(request("https://papi.binance.com"), departure)
                with pytest.raises(SendFailed) as caught:
                    await transport.send(request("https://papi.binance.com"), departure)

        assert (answer.status, caught.value.sent) == (200, sent)


class TestProxies:
    """The way out."""

    async def test_the_environment_is_not_asked(self, monkeypatch: pytest.MonkeyPatch, departure: Departure) -> None:
        """A proxy in the environment sees nothing unless it is trusted."""
        with serve_raw(silent) as proxy, serve_raw(answering(http(b"{}"))) as server:
            monkeypatch.setenv("HTTP_PROXY", proxy.url)
            monkeypatch.setenv("ALL_PROXY", proxy.url)
            async with engine() as transport:
                await transport.send(request(server.url), departure)
            arrived = len(proxy.connections)

        assert arrived == 0

    @pytest.mark.parametrize("way", ["environment", "argument"])
    async def test_a_proxy_carries_the_request(
        self, way: str, monkeypatch: pytest.MonkeyPatch, departure: Departure
    ) -> None:
        """Where the environment is trusted, or the proxy is named, it is used."""
        with serve_raw(answering(http(b'"by proxy"'))) as proxy:
            for name in ("no_proxy", "NO_PROXY"):
                monkeypatch.delenv(name, raising=False)
            monkeypatch.setenv("HTTP_PROXY", proxy.url)
            options = {"trust_env": True} if way == "environment" else {"proxy": proxy.url}
            async with engine(**options) as transport:
                answer = await transport.send(request("http://papi.example"), departure)

        assert (answer.body, departure.count) == (b'"by proxy"', 1)

    @pytest.mark.parametrize(
        ("behaviour", "words"),
        [(answering(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"), "the proxy refused"), (silent, "too long")],
    )
    async def test_a_tunnel_that_does_not_open_is_told_as_not_sent(
        self, behaviour: Behaviour, words: str, departure: Departure
    ) -> None:
        """Asking the proxy for a tunnel is not the request."""
        with serve_raw(behaviour) as proxy:
            async with engine(proxy=proxy.url.replace("http://", "http://user:secret@")) as transport:
                with pytest.raises(SendFailed, match=words) as caught:
                    await transport.send(request("https://papi.binance.com"), departure)

        assert (caught.value.sent, departure.count) == (False, 0)

    async def test_credentials_reach_the_proxy(self, departure: Departure) -> None:
        """User and password of the proxy's URL are sent to it, and to it alone."""
        heads: list[bytes] = []

        def refuse(connection: socket.socket) -> None:
            heads.append(read_request(connection))
            connection.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")

        with serve_raw(refuse) as proxy:
            async with engine(proxy=proxy.url.replace("http://", "http://user:secret@")) as transport:
                with pytest.raises(SendFailed):
                    await transport.send(request("https://papi.binance.com"), departure)

        assert base64.b64encode(b"user:secret") in heads[0]


async def test_a_cancelled_request_leaves_no_connection(departure: Departure) -> None:
    """Giving up while waiting for the answer closes the connection: its answer must not meet another request."""
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


async def test_closing_ends_idle_connections(departure: Departure) -> None:
    """Nothing stays open behind a closed transport."""
    ended: list[bytes] = []

    def behave(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(http(b"{}"))
        ended.append(connection.recv(1))

    with serve_raw(behave) as server:
        async with engine() as transport:
            await transport.send(request(server.url), departure)

    assert ended == [b""]
