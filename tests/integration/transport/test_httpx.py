"""The httpx engine alone: the caller's clients and transports, proxies, and what httpcore does not do."""

from __future__ import annotations

import itertools
import socket

import anyio
import httpx
import pytest
import respx
from hypothesis import given
from hypothesis import strategies as st

from binance_pm.transport.desync import ResponseLengths
from binance_pm.transport.http import Headers, HttpRequest, SendFailed, Timeouts
from tests.support.engines import CHUNKED, SHORT, Departure, request
from tests.support.engines import httpx_engine as engine
from tests.support.raw_server import answering, http, read_request, serve_raw, silent

ANSWERS = [
    http(b"{}"),
    http(b"x" * 100, headers="Date: Sat, 21 Nov 2026 12:00:00 GMT\r\n"),
    b"HTTP/1.1 204 No Content\r\n\r\n",
    CHUNKED + b"2\r\n{}\r\n0\r\n\r\n",
    CHUNKED + b"0\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\n\r\n" + http(b"{}"),
]


async def test_a_full_pool_is_reported_as_not_sent(departure: Departure) -> None:
    """A request without a free connection in time was not sent."""
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
        ("timed out waiting for the response", True),
    ]


class Derived(httpx.AsyncHTTPTransport):
    """A transport of the caller that does not report when it writes."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send without the trace."""
        del request.extensions["trace"]
        return await super().handle_async_request(request)


async def test_a_derived_transport_reports_failures_as_sent(departure: Departure) -> None:
    """Only httpx's own transport is known to report when it writes."""
    with serve_raw(silent) as server:
        async with Derived() as brought, engine(timeouts=SHORT, http=brought) as transport:
            with pytest.raises(SendFailed) as caught:
                await transport.send(request(server.url), departure)

    assert (caught.value.sent, departure.count) == (True, 1)


async def test_a_derived_transport_sends_no_forbidden_request() -> None:
    """Its time of writing is not known, so the transport is not called at all."""

    def forbid() -> None:
        raise PermissionError("the gate is closed")

    with serve_raw(silent) as server:
        async with Derived() as brought, engine(http=brought) as transport:
            with pytest.raises(PermissionError, match="the gate is closed"):
                await transport.send(request(server.url), forbid)
        arrived = len(server.connections)

    assert arrived == 0


async def test_a_failure_does_not_keep_the_request(departure: Departure) -> None:
    """An error outlives the call, and the request contains the key and the signature."""
    secret = HttpRequest("GET", "http://127.0.0.1:1", "/?signature=canary", Headers({"x-mbx-apikey": "canary"}))
    async with httpx.AsyncClient() as own, engine(http=own) as transport:
        with pytest.raises(SendFailed) as caught:
            await transport.send(secret, departure)

    cause = caught.value.__cause__
    assert isinstance(cause, httpx.RequestError)
    assert "canary" not in f"{cause.request.url} {cause.request.headers.raw}"


class TestSurplus:
    """Bytes after a response are never taken for the next response."""

    @pytest.mark.parametrize("surplus", [http(b"another's"), b"HTTP/1.1 2", b"{}"])
    async def test_closes_the_connection_of_the_callers_client(self, surplus: bytes, departure: Departure) -> None:
        """The response is complete; the next request uses another connection."""

        def behave(connection: socket.socket) -> None:
            read_request(connection)
            connection.sendall(http(b"mine") + surplus)
            connection.recv(100)

        with serve_raw(behave) as server:
            async with httpx.AsyncClient() as own, engine(http=own) as transport:
                answers = [await transport.send(request(server.url), departure) for _ in range(2)]

        assert ([answer.body for answer in answers], len(server.connections)) == ([b"mine"] * 2, 2)

    @given(
        st.lists(st.sampled_from(ANSWERS), min_size=1, max_size=4),
        st.lists(st.integers(1, 60), min_size=1),
    )
    def test_responses_in_any_pieces_are_followed(self, whole: list[bytes], sizes: list[int]) -> None:
        """Consecutive responses are no surplus, unless one piece contains parts of two."""
        answers = ResponseLengths()
        for answer in whole:
            at = 0
            for size in itertools.cycle(sizes):
                assert not answers.exceeded_by(answer[at : at + size])
                at += size
                if at >= len(answer):
                    break

        assert answers.exceeded_by(whole[0] + ANSWERS[0])

    def test_endless_headers_are_given_up(self) -> None:
        """Memory stays bounded if a response never begins."""
        answers = ResponseLengths()

        assert [answers.exceeded_by(b"x" * 100_000) for _ in range(2)] == [False, True]

    def test_a_body_that_ends_with_the_connection_has_no_surplus(self) -> None:
        """Such a connection is not reused anyway."""
        answers = ResponseLengths()

        assert not answers.exceeded_by(b"HTTP/1.1 200 OK\r\n\r\nwhatever" + ANSWERS[0])


class TestBrought:
    """A client or transport of the caller."""

    async def test_client_stays_open(self, departure: Departure) -> None:
        """The caller closes the client."""
        async with httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(200))) as brought:
            async with engine(http=brought) as transport:
                await transport.send(request("https://papi.binance.com"), departure)

            assert not brought.is_closed

    async def test_the_clients_credentials_and_cookies_are_not_used(self, departure: Departure) -> None:
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

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    async def test_the_clients_redirects_are_not_followed(self, status: int, departure: Departure) -> None:
        """No byte reaches the target, even if the client follows redirects by default."""
        with serve_raw(silent) as target:
            location = f"Location: {target.url}/papi/v1/ping\r\n"
            with serve_raw(answering(http(b"", status=f"{status} Moved", headers=location))) as server:
                async with httpx.AsyncClient(follow_redirects=True) as brought, engine(http=brought) as transport:
                    answer = await transport.send(request(server.url), departure)
            arrived = len(target.connections)

        assert (answer.status, arrived) == (status, 0)

    async def test_transport(self, departure: Departure) -> None:
        """An httpx transport replaces the network."""
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
    async def test_its_failures_are_reported(self, failure: Exception, departure: Departure, *, sent: bool) -> None:
        """A failure of unknown kind is reported as sent."""

        def fail(_: httpx.Request) -> httpx.Response:
            raise failure

        async with engine(http=httpx.MockTransport(fail)) as transport:
            with pytest.raises(SendFailed) as caught:
                await transport.send(request("https://papi.binance.com"), departure)

        assert caught.value.sent is sent

    @pytest.mark.parametrize(("effect", "sent"), [(httpx.ReadTimeout, True), (httpx.ConnectError, False)])
    async def test_respx_replaces_the_exchange(
        self, effect: type[httpx.TransportError], departure: Departure, *, sent: bool
    ) -> None:
        """The usual mock of httpx works with this engine, and its failures keep their meaning."""
        with respx.mock:
            route = respx.get("https://papi.binance.com/papi/v1/ping")
            route.side_effect = [httpx.Response(200, json={}), effect]
            async with engine() as transport:
                answer = await transport.send(request("https://papi.binance.com"), departure)
                with pytest.raises(SendFailed) as caught:
                    await transport.send(request("https://papi.binance.com"), departure)

        assert (answer.status, caught.value.sent) == (200, sent)
