"""The direct engine alone: stricter checks, bounds, and closing."""

from __future__ import annotations

import asyncio
import errno
import gc
import select
import socket
import threading
import tracemalloc
from typing import Any

import anyio
import pytest

from binance_pm.transport.connect import Resolver, ServerAddress, dial
from binance_pm.transport.http import SendFailed, Timeouts
from binance_pm.transport.reason import Progress
from tests.support.engines import CHUNKED, SHORT, Departure, direct_engine, request
from tests.support.raw_server import Behaviour, answering, http, read_request, refusing_port, serve_raw, silent

OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
        OK + b"Content-Length: 2, 2\r\n\r\n{}",
        OK + b"Content-Length: +2\r\n\r\n{}",
        OK + b"Content-Length: 99999999999999999999\r\n\r\n{}",
        OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        OK + b"A: b\r\n folded\r\nContent-Length: 2\r\n\r\n{}",
        OK + b" A: b\r\nContent-Length: 2\r\n\r\n{}",
        OK + b"A : b\r\nContent-Length: 2\r\n\r\n{}",
        OK + b"A: b\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\nContent-Length: 2\n\n{}",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n" + http(b"{}"),
        b"HTTP/1.1 099 Low\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 000 None\r\nContent-Length: 2\r\n\r\n{}",
        CHUNKED + b"2;" + b"x" * 400_000 + b"\r\n{}\r\n0\r\n\r\n",
        CHUNKED + b"2\r\n{}\r\n0\r\nTrailer: " + b"x" * 400_000 + b"\r\n\r\n",
    ],
    ids=["two lengths", "listed lengths", "signed length", "huge length", "length and chunks", "chunks and length",
         "folded", "indented", "space before colon", "bare line end", "bare line ends", "101",
         "099", "000", "endless extension", "endless trailer"],
)  # fmt: skip
async def test_ambiguous_responses_are_refused(answer: bytes, departure: Departure) -> None:
    """If programs on the path may disagree about the end of a response, it is refused."""
    with serve_raw(answering(answer)) as server:
        async with direct_engine(timeouts=Timeouts()) as transport:
            with pytest.raises(SendFailed) as caught:
                await transport.send(request(server.url), departure)

    assert (caught.value.sent, departure.count) == (True, 1)


@pytest.mark.parametrize(
    "head",
    [
        OK + b"X: " + b"x" * 70_000 + b"\r\n",
        OK + b"".join(b"X-%d: y\r\n" % number for number in range(200)),
        b"HTTP/1.1 103 Early Hints\r\n\r\n" * 20_000 + OK,
    ],
    ids=["long", "many", "1xx"],
)
async def test_heads_are_bounded(head: bytes, departure: Departure) -> None:
    """Long or numerous headers are refused."""
    with serve_raw(answering(head + b"Content-Length: 2\r\n\r\n{}")) as server:
        async with direct_engine() as transport:
            with pytest.raises(SendFailed, match="the response headers are too long") as caught:
                await transport.send(request(server.url), departure)

    assert caught.value.sent


async def test_headers_are_latin_1_in_lower_case(departure: Departure) -> None:
    """Each byte is a character; a repeated name has both values."""
    answer = OK + b"X-Caf\x43: \xe9\r\nx-cafc: b \r\nContent-Length: 2\r\n\r\n{}"
    with serve_raw(answering(answer)) as server:
        async with direct_engine() as transport:
            came = await transport.send(request(server.url), departure)

    assert dict(came.headers) == {"x-cafc": "é, b", "content-length": "2"}


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        (answering(), "the connection was closed before the response was complete"),
        (answering(b"SSH-2.0-OpenSSH\r\n\r\n"), "the response was not HTTP"),
    ],
)
async def test_the_error_says_what_happened(behaviour: Behaviour, words: str, departure: Departure) -> None:
    """Closing the connection and another protocol have different texts."""
    with serve_raw(behaviour) as server:
        async with direct_engine() as transport:
            with pytest.raises(SendFailed) as caught:
                await transport.send(request(server.url), departure)

    assert str(caught.value) == words


async def test_an_idle_connection_ends_by_itself(monkeypatch: pytest.MonkeyPatch, departure: Departure) -> None:
    """Without another call."""
    monkeypatch.setattr("binance_pm.transport.direct.KEEPALIVE_SECONDS", 0.05)
    ended = threading.Event()

    def behave(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(http(b"{}"))
        connection.recv(1)
        ended.set()

    with serve_raw(behave) as server:
        async with direct_engine() as transport:
            await transport.send(request(server.url), departure)
            assert await anyio.to_thread.run_sync(ended.wait, 5)


async def test_an_expired_idle_connection_is_not_used(departure: Departure) -> None:
    """Even if the event loop had no time to close the connection."""
    with serve_raw(echoing) as server:
        async with direct_engine() as transport:
            await transport.send(request(server.url), departure)
            (connection,) = vars(transport)["_connections"]
            connection.deadline = asyncio.get_running_loop().time()
            await transport.send(request(server.url), departure)

    assert len(server.connections) == 2


def echoing(connection: socket.socket) -> None:
    """Answer every request."""
    while read_request(connection):
        connection.sendall(http(b"{}"))


@pytest.mark.parametrize(
    ("url", "port"), [("http://x", 80), ("https://x", 443), ("http://x:8080", 8080), ("https://x:8443", 8443)]
)
async def test_the_port_is_that_of_the_url(
    url: str, port: int, monkeypatch: pytest.MonkeyPatch, departure: Departure
) -> None:
    """Or the default port, if the URL has none."""
    dialled: list[int] = []

    async def refuse(way: ServerAddress, protocol: asyncio.Protocol, progress: Progress) -> None:
        del protocol, progress
        dialled.append(way.port)
        raise ConnectionRefusedError

    monkeypatch.setattr("binance_pm.transport.direct.dial", refuse)
    async with direct_engine() as transport:
        with pytest.raises(SendFailed):
            await transport.send(request(url), departure)

    assert dialled == [port]


async def test_a_connection_closed_at_once_is_reported_as_not_sent(
    monkeypatch: pytest.MonkeyPatch, departure: Departure
) -> None:
    """The server may have too many connections."""

    async def dial_in_vain(way: ServerAddress, protocol: asyncio.Protocol, progress: Progress) -> None:
        await dial(way, protocol, progress)
        protocol.eof_received()

    monkeypatch.setattr("binance_pm.transport.direct.dial", dial_in_vain)
    with serve_raw(silent) as server:
        async with direct_engine() as transport:
            with pytest.raises(SendFailed, match=": the server closed it at once") as caught:
                await transport.send(request(server.url), departure)

    assert (caught.value.sent, departure.count) == (False, 0)


async def test_without_poll_the_event_loop_notices_closed_connections(
    monkeypatch: pytest.MonkeyPatch, departure: Departure
) -> None:
    """Windows has no poll: a closed connection is noticed when the event loop reads it."""
    monkeypatch.delattr(select, "poll")
    with serve_raw(answering(http(b"{}"))) as server:
        async with direct_engine() as transport:
            await transport.send(request(server.url), departure)
            while vars(transport)["_connections"]:
                await anyio.lowlevel.checkpoint()
            await transport.send(request(server.url), departure)

    assert (departure.count, len(server.connections)) == (2, 2)


async def test_a_late_request_is_not_sent(monkeypatch: pytest.MonkeyPatch, departure: Departure) -> None:
    """The caller's code blocked the event loop for longer than the total timeout."""

    async def dial_and_stand_still(way: ServerAddress, protocol: asyncio.Protocol, progress: Progress) -> None:
        await dial(way, protocol, progress)
        threading.Event().wait(2 * SHORT.read)

    monkeypatch.setattr("binance_pm.transport.direct.dial", dial_and_stand_still)
    with serve_raw(echoing) as server:
        async with direct_engine(timeouts=Timeouts(total=SHORT.read)) as transport:
            with pytest.raises(SendFailed, match="it could not be sent within") as caught:
                await transport.send(request(server.url), departure)

    assert (caught.value.sent, departure.count) == (False, 0)


async def test_closing_at_the_moment_of_a_timeout(departure: Departure) -> None:
    """Closing goes on and ends all other calls."""
    failures: list[SendFailed] = []
    with serve_raw(silent) as server:
        async with direct_engine(timeouts=Timeouts()) as transport:

            async def send(scheme: str) -> None:
                with pytest.raises(SendFailed) as caught:
                    await transport.send(request(server.url.replace("http", scheme)), departure)
                failures.append(caught.value)

            async with anyio.create_task_group() as tasks:
                for scheme in ("http", "https"):
                    tasks.start_soon(send, scheme)
                while departure.count < 1 or len(server.connections) < 2:
                    await anyio.lowlevel.checkpoint()
                (limit,) = vars(transport)["_limits"]
                limit.reschedule(0)
                await asyncio.sleep(0)
                assert limit.expired()
                await transport.aclose()

    assert sorted(failure.sent for failure in failures) == [False, True]


async def test_a_refused_departure_keeps_the_connection(departure: Departure) -> None:
    """Nothing was written, so the next request can use the connection."""

    def forbid() -> None:
        raise PermissionError("the gate is closed")

    with serve_raw(echoing) as server:
        async with direct_engine() as transport:
            with pytest.raises(PermissionError):
                await transport.send(request(server.url), forbid)
            await transport.send(request(server.url), departure)

    assert len(server.connections) == 1


async def test_a_failed_connection_is_forgotten(departure: Departure) -> None:
    """A host that is down for hours fills no memory, and does not delay closing."""
    with refusing_port() as port:
        async with direct_engine() as transport:
            with pytest.raises(SendFailed):
                await transport.send(request(f"http://127.0.0.1:{port}"), departure)

            assert not vars(transport)["_connections"]


async def test_closing_waits_until_all_connections_are_closed(departure: Departure) -> None:
    """The event loop may end right after."""
    with serve_raw(echoing) as server:
        async with direct_engine() as transport:
            await transport.send(request(server.url), departure)

        assert not vars(transport)["_connections"]


async def test_memory_does_not_grow(departure: Departure) -> None:
    """Five thousand calls leave nothing behind."""
    with serve_raw(echoing) as server:
        async with direct_engine() as transport:

            async def send(count: int) -> int:
                for _ in range(count):
                    await transport.send(request(server.url), departure)
                gc.collect()
                return tracemalloc.get_traced_memory()[0]

            tracemalloc.start()
            try:
                before = await send(100)
                after = await send(5000)
            finally:
                tracemalloc.stop()

    assert after - before < 20_000


class Leaving(asyncio.Protocol):
    """A protocol that closes at once."""

    def __init__(self) -> None:
        self.lost = asyncio.Event()

    def connection_lost(self, exc: Exception | None) -> None:
        """Record that the connection is lost."""
        del exc
        self.lost.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Close the connection."""
        transport.close()


class TestDial:
    """Names with several addresses."""

    async def connect(self, *addresses: tuple[str, int], seconds: float = 1.0) -> None:
        """Connect to a name with these addresses."""
        infos = [
            (family, socket.SOCK_STREAM, 0, "", place)
            for place in addresses
            for family in [socket.AF_INET6 if ":" in place[0] else socket.AF_INET]
        ]
        resolver = Resolver(lambda *_, **__: infos)
        leaving = Leaving()
        await dial(ServerAddress("many.example", 80, None, resolver=resolver), leaving, Progress(seconds))
        await leaving.lost.wait()

    async def test_the_next_address_is_tried(self) -> None:
        """If one address refuses, another may accept."""
        with serve_raw(silent) as server:
            port = int(server.url.rpartition(":")[2])
            await self.connect(("127.0.0.1", 1), ("127.0.0.1", port))

    async def test_an_unreachable_family_does_not_block_the_other(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The families take turns, and an address that does not respond gets only its share of the time."""
        held: list[float] = []

        async def swallow(self: asyncio.AbstractEventLoop, sock: socket.socket, address: Any) -> None:
            if sock.family == socket.AF_INET6:
                held.append(self.time())
                await anyio.sleep_forever()
            await really(self, sock, address)

        loop = type(asyncio.get_running_loop())
        really = loop.sock_connect
        monkeypatch.setattr(loop, "sock_connect", swallow)
        with serve_raw(silent) as server, anyio.fail_after(0.9):
            port = int(server.url.rpartition(":")[2])
            await self.connect(*((f"::{number}", 1) for number in range(2, 5)), ("127.0.0.1", port))
            monkeypatch.setattr("binance_pm.transport.connect._LONGEST_SHARE", 0.01)
            await self.connect(("::2", 1), ("127.0.0.1", port), seconds=1000.0)

        assert len(held) == 2

    @pytest.mark.parametrize("addresses", [("127.0.0.1", "192.0.2.1"), ("192.0.2.1", "127.0.0.1")])
    async def test_the_most_specific_failure_is_reported(
        self, addresses: tuple[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An unreachable network says nothing about the host."""
        loop = type(asyncio.get_running_loop())
        really = loop.sock_connect

        async def connect(self: asyncio.AbstractEventLoop, sock: socket.socket, address: Any) -> None:
            if address[0] == "192.0.2.1":
                raise OSError(errno.ENETUNREACH, "Network is unreachable")
            await really(self, sock, address)

        monkeypatch.setattr(loop, "sock_connect", connect)
        with pytest.raises(ConnectionRefusedError):
            await self.connect(*((address, 1) for address in addresses))
