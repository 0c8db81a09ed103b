"""The httpx engine alone: the caller's clients and transports, and what httpcore does not do."""

from __future__ import annotations

import itertools
import socket

import httpx
import pytest
import respx
from hypothesis import given
from hypothesis import strategies as st

from binance_pm.transport.desync import ResponseLengths
from binance_pm.transport.http import Headers, HttpRequest, SendFailed, Timeouts
from tests.support.engines import CHUNKED, SHORT, failure_of, only_failure, request, send, send_at_once
from tests.support.engines import httpx_engine as engine
from tests.support.raw_server import answering, http, serve_raw, silent

PAPI = "https://papi.binance.com"
ANSWERS = [
    http(b"{}"),
    http(b"x" * 100, headers="Date: Sat, 21 Nov 2026 12:00:00 GMT\r\n"),
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n",
    CHUNKED + b"2\r\n{}\r\n0\r\n\r\n",
    CHUNKED + b"1;name=value\r\n{\r\nf\r\n" + b"}" * 15 + b"\r\n0\r\nTrailer: x\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\n\r\n" + http(b"{}"),
]


class TestDerived:
    """A transport of the caller that does not report when it writes."""

    class Derived(httpx.AsyncHTTPTransport):
        """Only httpx's own transport is known to report when it writes."""

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            """Send without the trace."""
            del request.extensions["trace"]
            return await super().handle_async_request(request)

    async def test_reports_failures_as_sent(self) -> None:
        """The request may have been written."""
        with serve_raw(silent) as server:
            async with self.Derived() as brought:
                failure = await only_failure(engine(timeouts=SHORT, http=brought), request(server.url))

        assert failure.sent

    async def test_sends_no_forbidden_request(self) -> None:
        """The transport is not called at all."""

        def forbid() -> None:
            raise PermissionError

        with serve_raw(silent) as server:
            async with self.Derived() as brought, engine(http=brought) as transport:
                with pytest.raises(PermissionError):
                    await transport.send(request(server.url), forbid)
            arrived = len(server.connections)

        assert arrived == 0


class TestResponseLengths:
    """Where the responses on a connection end."""

    @given(
        st.lists(st.sampled_from(ANSWERS), min_size=1, max_size=4),
        st.lists(st.integers(1, 60), min_size=1),
    )
    def test_responses_in_any_pieces_are_followed(self, whole: list[bytes], sizes: list[int]) -> None:
        """Consecutive responses are no surplus, unless one piece contains parts of two."""
        lengths = ResponseLengths()
        for answer in whole:
            at = 0
            for size in itertools.cycle(sizes):
                assert not lengths.exceeded_by(answer[at : at + size])
                at += size
                if at >= len(answer):
                    break

        assert lengths.count == len(whole)
        assert lengths.exceeded_by(whole[0] + ANSWERS[0][:1])

    @pytest.mark.parametrize("start", [b"", CHUNKED, CHUNKED + b"0\r\n"], ids=["head", "chunk", "trailer"])
    def test_endless_lines_are_given_up(self, start: bytes) -> None:
        """Memory stays bounded if a line never ends."""
        lengths = ResponseLengths()
        lengths.exceeded_by(start)

        assert [lengths.exceeded_by(b"x" * 100_000) for _ in range(2)] == [False, True]

    def test_a_body_that_ends_with_the_connection_has_no_surplus(self) -> None:
        """Such a connection is not reused anyway."""
        lengths = ResponseLengths()

        assert not lengths.exceeded_by(b"HTTP/1.1 200 OK\r\n\r\nwhatever" + ANSWERS[0])


class TestBrought:
    """A client or transport of the caller."""

    async def test_a_full_pool_is_reported_as_not_sent(self) -> None:
        """A request without a free connection in time was not sent."""
        with serve_raw(silent) as server:
            async with (
                httpx.AsyncClient(limits=httpx.Limits(max_connections=1)) as narrow,
                engine(http=narrow, timeouts=Timeouts(connect=0.3, read=0.9)) as transport,
            ):
                failures = await send_at_once(transport, *[request(server.url)] * 2)

        assert [isinstance(failure, SendFailed) and (failure.reason, failure.sent) for failure in failures] == [
            ("timed out waiting for the response", True),
            ("no connection was free in time", False),
        ]

    async def test_a_failure_does_not_keep_the_request(self) -> None:
        """An error outlives the call, and the request contains the key and the signature."""
        secret = HttpRequest("GET", "http://127.0.0.1:1", "/?signature=canary", Headers({"x-mbx-apikey": "canary"}))
        async with httpx.AsyncClient() as own, engine(http=own) as transport:
            with pytest.raises(SendFailed) as caught:
                await transport.send(secret, lambda: None)

        cause = caught.value.__cause__
        assert isinstance(cause, httpx.RequestError)
        assert "canary" not in f"{cause.request.url} {cause.request.headers.raw}"

    @pytest.mark.parametrize("surplus", [http(b"another's"), b"HTTP/1.1 2", b"{}"])
    async def test_surplus_closes_the_connection(self, surplus: bytes) -> None:
        """The response is complete; the next request uses another connection."""

        def behave(connection: socket.socket) -> None:
            answering(http(b"mine") + surplus)(connection)
            connection.recv(100)

        with serve_raw(behave) as server:
            async with httpx.AsyncClient() as own, engine(http=own) as transport:
                answers = await send(transport, *[request(server.url)] * 2)

        assert ([answer.body for answer in answers], len(server.connections)) == ([b"mine"] * 2, 2)

    async def test_stays_open(self) -> None:
        """The caller closes the client."""
        async with httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(200))) as brought:
            async with engine(http=brought) as transport:
                await send(transport, request(PAPI))

            assert not brought.is_closed

    async def test_its_credentials_and_cookies_are_not_used(self) -> None:
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
            await send(transport, request(PAPI))

        assert len(seen) == 1
        assert not {"authorization", "cookie"} & set(seen[0])

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    async def test_its_redirects_are_not_followed(self, status: int) -> None:
        """No byte reaches the target, even if the client follows redirects by default."""
        with serve_raw(silent) as target:
            location = f"Location: {target.url}/papi/v1/ping\r\n"
            with serve_raw(answering(http(b"", status=f"{status} Moved", headers=location))) as server:
                async with httpx.AsyncClient(follow_redirects=True) as brought, engine(http=brought) as transport:
                    (answer,) = await send(transport, request(server.url))
            arrived = len(target.connections)

        assert (answer.status, arrived) == (status, 0)

    async def test_a_transport_replaces_the_network(self) -> None:
        """Such as an ASGI application."""
        transport = httpx.MockTransport(lambda request: httpx.Response(200, text=request.url.path))
        async with engine(http=transport) as ours:
            (answer,) = await send(ours, request(PAPI))

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
    async def test_its_failures_are_reported(self, failure: Exception, *, sent: bool) -> None:
        """A failure of unknown kind is reported as sent."""

        def fail(_: httpx.Request) -> httpx.Response:
            raise failure

        async with engine(http=httpx.MockTransport(fail)) as transport:
            with pytest.raises(SendFailed) as caught:
                await transport.send(request(PAPI), lambda: None)

        assert caught.value.sent is sent


@pytest.mark.parametrize(("effect", "sent"), [(httpx.ReadTimeout, True), (httpx.ConnectError, False)])
async def test_respx_replaces_the_exchange(effect: type[httpx.TransportError], *, sent: bool) -> None:
    """The usual mock of httpx works with this engine, and its failures keep their meaning."""
    with respx.mock:
        route = respx.get(f"{PAPI}/papi/v1/ping")
        route.side_effect = [httpx.Response(200, json={}), effect]
        async with engine() as transport:
            await send(transport, request(PAPI))
            failure = await failure_of(transport, request(PAPI))

    assert failure.sent is sent
