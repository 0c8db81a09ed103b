"""Responses without a request: none reaches another account, and those that can be detected are rejected."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from pathlib import Path

import anyio
import pytest

from binance_pm.transport.direct import DirectTransport
from binance_pm.transport.http import HttpRequest, HttpResponse, Transport
from binance_pm.transport.sockets import unacknowledged, unread
from tests.support.certificates import Authority
from tests.support.engines import CHUNKED, Engine, failure_of, httpx_engine, request, send, send_at_once
from tests.support.raw_server import Behaviour, answering, echoing, http, read_request, serve_raw

LATE_SECONDS = 0.005


def answering_twice(*, after: float) -> Behaviour:
    """Answer every request with its own target, and again a moment later."""

    def behave(connection: socket.socket) -> None:
        with suppress(OSError):
            while head := read_request(connection):
                connection.sendall(http(head.split(b" ")[1]))
                threading.Event().wait(after)
                connection.sendall(http(head.split(b" ")[1]))

    return behave


def request_of(url: str, account: object, number: int = 0) -> HttpRequest:
    """Return a request of an account, whose target names the account."""
    return request(url, f"/{account}/{number}", account=str(account))


async def bodies_of(transport: Transport, *requests: HttpRequest) -> list[bytes]:
    """Send requests one after the other, each of which gets the response of its own account, or none."""
    bodies: list[bytes] = []
    for each in requests:
        (outcome,) = await send_at_once(transport, each)
        if isinstance(outcome, HttpResponse) and outcome.body is not None:
            assert outcome.body.startswith(b"/%s/" % each.account.encode())
            bodies.append(outcome.body)
    return bodies


class TestAccounts:
    """No faulty server makes one account see another's response."""

    @pytest.mark.parametrize("after", [0.0, LATE_SECONDS])
    async def test_late_responses_stay_in_their_account(self, after: float, engine: Engine) -> None:
        """Although every connection is shifted by one response, as often as the server likes."""
        with serve_raw(answering_twice(after=after)) as server:
            async with engine() as transport:
                await bodies_of(
                    transport, *[request_of(server.url, account, number) for number in range(20) for account in "ab"]
                )

    async def test_late_responses_to_concurrent_calls_stay_in_their_account(self, engine: Engine) -> None:
        """Even if connections are returned and taken while other calls are in flight."""
        seen: list[bytes] = []

        with serve_raw(answering_twice(after=LATE_SECONDS)) as server:
            async with engine() as transport:

                async def poll(account: str) -> None:
                    seen.extend(await bodies_of(transport, *[request_of(server.url, account, at) for at in range(10)]))

                async with anyio.create_task_group() as tasks:
                    for account in "aabbccddeeff":
                        tasks.start_soon(poll, account)

        assert seen

    async def test_two_hundred_accounts_take_turns(self, engine: Engine) -> None:
        """Each account keeps its own connection: reading all of them again opens none."""
        with serve_raw(echoing) as server:
            async with engine() as transport:
                await send(transport, *[request_of(server.url, account) for _ in range(2) for account in range(200)])
                assert len(server.connections) == 200

    async def test_more_accounts_than_connections(self, engine: Engine) -> None:
        """The connection idle for longest is replaced, and every request is answered."""
        with serve_raw(echoing) as server:
            async with engine(max_connections=4) as transport:
                with anyio.fail_after(10):
                    outcomes = await send_at_once(transport, *[request_of(server.url, one) for one in range(30)])
                    assert [isinstance(one, HttpResponse) and one.body for one in outcomes] == [
                        b"/%d/0" % account for account in range(30)
                    ]
                    assert len(server.connections) == 30
                    await send(transport, *[request_of(server.url, account) for account in (0, 1, 2, 3)])
                    made = len(server.connections)
                    await send(transport, *[request_of(server.url, account) for account in (3, 2, 1, 0)])
                    # The four used last were kept.
                    assert len(server.connections) == made

    async def test_past_accounts_are_forgotten(self, engine: Engine) -> None:
        """Clients come and go on an open session: what is kept of them is bounded."""
        with serve_raw(echoing) as server:
            async with engine(max_connections=2) as transport:
                await send(transport, *[request_of(server.url, account) for account in range(40)])
                if isinstance(transport, DirectTransport):
                    assert len(vars(transport)["_hosts"]) <= 4
                assert len([one for one in server.connections if one.fileno() >= 0]) <= 4


class TestDoubt:
    """A response that may belong to an earlier request is rejected."""

    @pytest.mark.parametrize("surplus", [http(b"another's"), b"HTTP/1.1 2", b"{}"])
    @pytest.mark.parametrize("status", [b"200 OK", b"429 Too Many Requests"])
    @pytest.mark.parametrize("whole", [http(b"mine"), CHUNKED + b"4\r\nmine\r\n0\r\n\r\n"], ids=["length", "chunks"])
    async def test_more_than_one_response_on_a_used_connection(
        self, whole: bytes, status: bytes, surplus: bytes, engine: Engine
    ) -> None:
        """Which response belongs to the request is not known; the error says sent, with unknown outcome."""

        def behave(connection: socket.socket) -> None:
            answering(http(b"first"))(connection)
            answering(whole.replace(b"200 OK", status) + surplus)(connection)
            connection.recv(100)

        with serve_raw(behave) as server:
            async with engine() as transport:
                await send(transport, request(server.url))
                failure = await failure_of(transport, request(server.url, method="POST"))
                (again,) = await send(transport, request(server.url))

        assert (failure.sent, again.body, len(server.connections)) == (True, b"first", 2)
        assert failure.reason.startswith("more than one response arrived")

    async def test_a_response_that_only_one_of_two_parsers_understands(self) -> None:
        """h11 accepts more digits in the size of a chunk than the check for surplus."""

        def behave(connection: socket.socket) -> None:
            answering(http(b"first"))(connection)
            answering(CHUNKED + b"0" * 17 + b"4\r\nmine\r\n0\r\n\r\n")(connection)
            connection.recv(100)

        with serve_raw(behave) as server:
            async with httpx_engine() as transport:
                await send(transport, request(server.url))
                failure = await failure_of(transport, request(server.url))

        assert failure.reason.startswith("more than one response arrived")

    @pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
    async def test_unread_surplus_is_detected(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, engine: Engine, *, secure: bool
    ) -> None:
        """The system is asked for data that was not read yet; under TLS this may be the closing message."""
        waiting = 0

        def asked(_: int) -> int:
            return waiting

        for module in ("direct", "desync"):
            monkeypatch.setattr(f"binance_pm.transport.{module}.unread", asked)
        authority = Authority(tmp_path)
        with serve_raw(echoing, tls=authority.server(authority.issue()) if secure else None) as server:
            async with engine(tls=authority.client()) as transport:
                await send(transport, *[request(server.url)] * 2)
                if secure:
                    waiting = 24
                    await send(transport, request(server.url))
                waiting = 40 if secure else 1
                failure = await failure_of(transport, request(server.url))
                assert len(server.connections) == 1

        assert failure.reason.startswith("more than one response arrived")

    @pytest.mark.parametrize("status", ["200 OK", "429 Too Many Requests", "408 Request Timeout"])
    async def test_a_response_before_the_request_arrived(
        self, status: str, monkeypatch: pytest.MonkeyPatch, engine: Engine
    ) -> None:
        """If the other side has not acknowledged the request, the response belongs to another one."""
        unconfirmed = 0

        def asked(_: int) -> int:
            return unconfirmed

        for module in ("direct", "desync"):
            monkeypatch.setattr(f"binance_pm.transport.{module}.unacknowledged", asked)

        def behave(connection: socket.socket) -> None:
            while read_request(connection):
                connection.sendall(http(b"{}", status=status))

        with serve_raw(behave) as server:
            async with engine() as transport:
                await send(transport, request(server.url))
                unconfirmed = 10**6
                failure = await failure_of(transport, request(server.url))
                unconfirmed = 10
                await send(transport, request(server.url))

        assert (failure.sent, len(server.connections)) == (True, 2)
        assert "before the request can have been received" in failure.reason

    async def test_discarded_connections_are_not_used(self, engine: Engine) -> None:
        """Only connections of the account are affected."""
        with serve_raw(echoing) as server:
            async with engine() as transport:
                await send(transport, *[request_of(server.url, account) for account in "ab"])
                for account in ("a", "never seen"):
                    transport.discard_idle_connections(request_of(server.url, account))
                await send(transport, *[request_of(server.url, account) for account in "ab"])

        assert len(server.connections) == 3


class TestSystem:
    """What the operating system is asked."""

    @pytest.mark.usefixtures("socket_enabled")
    def test_reports_unread_and_unacknowledged_bytes(self) -> None:
        """On both ends of one connection."""
        with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as one:
            # Data beyond a small window is not acknowledged.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            one.connect(listener.getsockname())
            other, _ = listener.accept()
            with other:
                assert (unread(other.fileno()), unacknowledged(one.fileno())) == (0, 0)
                one.setblocking(False)  # noqa: FBT003 - the standard library's signature
                with suppress(BlockingIOError):
                    while True:
                        one.send(b"x" * 65536)
                assert unread(other.fileno()) > 0
                assert unacknowledged(one.fileno()) > 0

    def test_an_invalid_descriptor_reports_nothing(self) -> None:
        """The connection may be closed already."""
        assert [ask(number) for ask in (unread, unacknowledged) for number in (-1, 10**6)] == [0] * 4
