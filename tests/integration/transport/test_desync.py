"""Responses without a request: none reaches another account, and those that can be detected are rejected."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from pathlib import Path

import anyio
import pytest

from binance_pm.transport.direct import DirectTransport
from binance_pm.transport.http import HttpResponse, SendFailed, Timeouts, Transport
from binance_pm.transport.sockets import unacknowledged, unread
from tests.integration.transport.test_transport import echoing, narrow
from tests.support.certificates import Authority
from tests.support.engines import CHUNKED, Departure, Engine, request
from tests.support.raw_server import Behaviour, http, read_request, serve_raw

LATE_SECONDS = 0.005


def target_of(head: bytes) -> bytes:
    """Return the target of the request."""
    return head.split(b" ")[1]


def answering_twice(*, after: float) -> Behaviour:
    """Answer every request with its own target, and again a moment later."""

    def behave(connection: socket.socket) -> None:
        with suppress(OSError):
            while head := read_request(connection):
                connection.sendall(http(target_of(head)))
                threading.Event().wait(after)
                connection.sendall(http(target_of(head)))

    return behave


async def outcome(transport: Transport, url: str, account: str, number: int) -> bytes | None:
    """Return the body of the response to one account's request; None if it was rejected."""
    with suppress(SendFailed):
        return (await transport.send(request(url, f"/{account}/{number}", account=account), Departure())).body
    return None


class TestAccounts:
    """No faulty server makes one account see another's response."""

    @pytest.mark.parametrize("after", [0.0, LATE_SECONDS])
    async def test_late_responses_stay_in_their_account(self, after: float, engine: Engine) -> None:
        """Although every connection is shifted by one response, as often as the server likes."""
        with serve_raw(answering_twice(after=after)) as server:
            async with engine(timeouts=Timeouts()) as transport:
                for number in range(20):
                    for account in ("a", "b"):
                        body = await outcome(transport, server.url, account, number)
                        assert body is None or body.startswith(b"/%s/" % account.encode())

    async def test_late_responses_to_concurrent_calls_stay_in_their_account(self, engine: Engine) -> None:
        """Even if connections are returned and taken while other calls are in flight."""
        seen: list[tuple[str, bytes]] = []

        with serve_raw(answering_twice(after=LATE_SECONDS)) as server:
            async with engine(timeouts=Timeouts()) as transport:

                async def poll(account: str) -> None:
                    bodies = [await outcome(transport, server.url, account, number) for number in range(10)]
                    seen.extend((account, body) for body in bodies if body)

                async with anyio.create_task_group() as tasks:
                    for account in ("a", "b", "c", "d", "e", "f"):
                        for _ in range(2):
                            tasks.start_soon(poll, account)

        assert seen
        assert all(body.startswith(b"/%s/" % account.encode()) for account, body in seen)

    async def test_an_account_keeps_its_connection(self, engine: Engine) -> None:
        """Accounts that take turns do not reconnect each time."""
        with serve_raw(echoing) as server:
            async with engine(timeouts=Timeouts()) as transport:
                for number in range(3):
                    for account in ("a", "b", "c"):
                        assert await outcome(transport, server.url, account, number)
            assert len(server.connections) == 3

    async def test_two_hundred_accounts_take_turns(self, engine: Engine) -> None:
        """Each account keeps its own connection: reading all of them again opens none."""
        with serve_raw(echoing) as server:
            async with engine(timeouts=Timeouts()) as transport:
                for number in range(2):
                    for account in range(200):
                        assert await outcome(transport, server.url, str(account), number)
                assert len(server.connections) == 200

    async def test_more_accounts_than_connections(self, monkeypatch: pytest.MonkeyPatch, engine: Engine) -> None:
        """The connection idle for longest is replaced, and every request is answered."""
        narrow(monkeypatch, 4)
        with serve_raw(echoing) as server:
            async with engine(timeouts=Timeouts()) as transport:
                bodies: list[bytes | None] = []

                async def ask(account: str) -> None:
                    bodies.append(await outcome(transport, server.url, account, 0))

                with anyio.fail_after(10):
                    async with anyio.create_task_group() as tasks:
                        for account in range(30):
                            tasks.start_soon(ask, str(account))
                    assert len(server.connections) == 30
                    assert sorted(filter(None, bodies)) == sorted(b"/%d/0" % number for number in range(30))
                    for account in (0, 1, 2, 3):
                        await ask(str(account))
                    made = len(server.connections)
                    for account in (3, 2, 1, 0):
                        await ask(str(account))
                    # The four used last were kept.
                    assert len(server.connections) == made

    async def test_past_accounts_are_forgotten(self, monkeypatch: pytest.MonkeyPatch, engine: Engine) -> None:
        """Clients come and go on an open session: what is kept of them is bounded."""
        narrow(monkeypatch, 2)
        with serve_raw(echoing) as server:
            async with engine(timeouts=Timeouts()) as transport:
                for account in range(40):
                    assert await outcome(transport, server.url, str(account), 0)
                if isinstance(transport, DirectTransport):
                    assert len(vars(transport)["_hosts"]) <= 4
                assert len([one for one in server.connections if one.fileno() >= 0]) <= 4


class TestDoubt:
    """A response that may belong to an earlier request is rejected."""

    @pytest.mark.parametrize("surplus", [http(b"another's"), b"HTTP/1.1 2", b"{}"])
    @pytest.mark.parametrize("status", ["200 OK", "429 Too Many Requests"])
    @pytest.mark.parametrize("chunked", [False, True])
    async def test_more_than_one_response_on_a_used_connection(
        self, status: str, surplus: bytes, departure: Departure, engine: Engine, *, chunked: bool
    ) -> None:
        """Which response belongs to the request is not known; the error says sent, with unknown outcome."""
        answer = CHUNKED + b"4\r\nmine\r\n0\r\n\r\n" if chunked else http(b"mine")
        answer = answer.replace(b"200 OK", status.encode())

        def behave(connection: socket.socket) -> None:
            read_request(connection)
            connection.sendall(http(b"first"))
            read_request(connection)
            connection.sendall(answer + surplus)
            connection.recv(100)

        with serve_raw(behave) as server:
            async with engine() as transport:
                assert (await transport.send(request(server.url), departure)).body == b"first"
                with pytest.raises(SendFailed, match="more than one response arrived") as caught:
                    await transport.send(request(server.url, method="POST"), departure)
                again = await transport.send(request(server.url), departure)

        assert (caught.value.sent, again.body, len(server.connections)) == (True, b"first", 2)

    @pytest.mark.parametrize("surplus", [http(b"another's"), b"HTTP/1.1 2", b"{}"])
    @pytest.mark.parametrize("chunked", [False, True])
    async def test_surplus_after_the_first_response_is_discarded(
        self, surplus: bytes, departure: Departure, engine: Engine, *, chunked: bool
    ) -> None:
        """The response is accepted, and the next request uses another connection."""

        def behave(connection: socket.socket) -> None:
            target = target_of(read_request(connection))
            answer = CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (len(target), target) if chunked else http(target)
            connection.sendall(answer + surplus)
            connection.recv(100)

        with serve_raw(behave) as server:
            async with engine() as transport:
                bodies = [(await transport.send(request(server.url, f"/{number}"), departure)).body for number in "123"]

        assert (bodies, len(server.connections)) == ([b"/1", b"/2", b"/3"], 3)

    async def test_unread_surplus_is_detected(
        self, monkeypatch: pytest.MonkeyPatch, departure: Departure, engine: Engine
    ) -> None:
        """Before a response is accepted, the system is asked for data that the event loop has not read yet."""
        waiting = 0

        def asked(_: int) -> int:
            return waiting

        for module in ("direct", "desync"):
            monkeypatch.setattr(f"binance_pm.transport.{module}.unread", asked)
        with serve_raw(echoing) as server:
            async with engine() as transport:
                await transport.send(request(server.url), departure)
                await transport.send(request(server.url), departure)
                waiting = 20
                with pytest.raises(SendFailed, match="more than one response arrived"):
                    await transport.send(request(server.url), departure)
                assert len(server.connections) == 1

    async def test_the_closing_message_of_tls_is_no_surplus(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, departure: Departure, engine: Engine
    ) -> None:
        """A server may close right after its response."""
        authority = Authority(tmp_path)

        def asked(_: int) -> int:
            return 24

        for module in ("direct", "desync"):
            monkeypatch.setattr(f"binance_pm.transport.{module}.unread", asked)
        with serve_raw(echoing, tls=authority.server(authority.issue())) as server:
            async with engine(tls=authority.client()) as transport:
                for _ in range(2):
                    await transport.send(request(server.url), departure)

    @pytest.mark.parametrize("status", ["200 OK", "429 Too Many Requests", "408 Request Timeout"])
    async def test_a_response_before_the_request_arrived(
        self, status: str, monkeypatch: pytest.MonkeyPatch, departure: Departure, engine: Engine
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
                await transport.send(request(server.url), departure)
                unconfirmed = 10**6
                with pytest.raises(SendFailed, match="before the request can have been received") as caught:
                    await transport.send(request(server.url), departure)
                unconfirmed = 10
                await transport.send(request(server.url), departure)

        assert (caught.value.sent, len(server.connections)) == (True, 2)

    async def test_distrusted_connections_are_not_used(self, departure: Departure, engine: Engine) -> None:
        """Only connections of the account are affected."""
        with serve_raw(echoing) as server:
            async with engine(timeouts=Timeouts()) as transport:
                for account in ("a", "b"):
                    await transport.send(request(server.url, account=account), departure)
                transport.distrust(request(server.url, account="a"))
                transport.distrust(request(server.url, account="never seen"))
                for account in ("b", "a"):
                    answer: HttpResponse = await transport.send(request(server.url, account=account), departure)
                    assert answer.body == b"/papi/v1/ping"

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
