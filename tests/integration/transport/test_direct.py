"""The direct engine alone: stricter checks, bounds, and closing."""

from __future__ import annotations

import asyncio
import errno
import gc
import select
import socket
import threading
import tracemalloc
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from binance_pm.transport.connect import Resolver, ServerAddress, dial
from binance_pm.transport.http import SendFailed, Timeouts, TransportSettings
from binance_pm.transport.reason import Progress
from tests.support.engines import CHUNKED, SHORT, Departure, direct_engine, failure_of, only_failure, request, send
from tests.support.raw_server import answering, echoing, http, refusing_port, serve_raw, silent
from tests.support.waiting import eventually

OK = b"HTTP/1.1 200 OK\r\n"
NOT_HTTP = "the response was not HTTP"
TOO_LONG = "the response headers are too long"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (OK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", NOT_HTTP),
        (OK + b"Content-Length: 2, 2\r\n\r\n{}", NOT_HTTP),
        (OK + b"Content-Length: +2\r\n\r\n{}", NOT_HTTP),
        (OK + b"Content-Length: 99999999999999999999\r\n\r\n{}", NOT_HTTP),
        (OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", NOT_HTTP),
        (OK + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\n{}\r\n0\r\n\r\n", NOT_HTTP),
        (OK + b"A: b\r\n folded\r\nContent-Length: 2\r\n\r\n{}", NOT_HTTP),
        (OK + b"A: b\r\n\tfolded\r\nContent-Length: 2\r\n\r\n{}", NOT_HTTP),
        (OK + b" A: b\r\nContent-Length: 2\r\n\r\n{}", NOT_HTTP),
        (OK + b"A: b\rRetry-After: 9\r\nContent-Length: 2\r\n\r\n{}", NOT_HTTP),
        (OK + b"A\rRetry-After: 9\r\nContent-Length: 2\r\n\r\n{}", NOT_HTTP),
        (OK + b"A: b\0c\r\nContent-Length: 2\r\n\r\n{}", NOT_HTTP),
        (OK + b": b\r\nContent-Length: 2\r\n\r\n{}", NOT_HTTP),
        (OK + b"A b: c\r\nContent-Length: 2\r\n\r\n{}", NOT_HTTP),
        (OK + b"A\r\nContent-Length: 2\r\n\r\n{}", NOT_HTTP),
        (OK + b"Content-Length: 2\r\n\n{}", NOT_HTTP),
        (OK + b"Content-Length: 2\n\r\n{}", NOT_HTTP),
        (OK + b"A : b\r\nContent-Length: 2\r\n\r\n{}", NOT_HTTP),
        (OK + b"A: b\nContent-Length: 2\r\n\r\n{}", NOT_HTTP),
        (b"HTTP/1.1 200 OK\nContent-Length: 2\n\n{}", NOT_HTTP),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n" + http(b"{}"), NOT_HTTP),
        (b"HTTP/1.1 099 Low\r\nContent-Length: 2\r\n\r\n{}", NOT_HTTP),
        (b"HTTP/1.1 000 None\r\nContent-Length: 2\r\n\r\n{}", NOT_HTTP),
        (b"SSH-2.0-OpenSSH\r\n\r\n", NOT_HTTP),
        (CHUNKED + b"2;" + b"x" * 400_000 + b"\r\n{}\r\n0\r\n\r\n", TOO_LONG),
        (CHUNKED + b"2\r\n{}\r\n0\r\nTrailer: " + b"x" * 400_000 + b"\r\n\r\n", TOO_LONG),
        (OK + b"X: " + b"x" * 70_000 + b"\r\nContent-Length: 2\r\n\r\n{}", TOO_LONG),
        (OK + b"".join(b"X-%d: y\r\n" % number for number in range(200)) + b"Content-Length: 2\r\n\r\n{}", TOO_LONG),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n" * 20_000 + http(b"{}"), TOO_LONG),
        (b"", "the connection was closed before the response was complete"),
    ],
    ids=["two lengths", "listed lengths", "signed length", "huge length", "length and chunks", "chunks and length",
         "folded", "folded by a tab", "indented", "bare return", "bare return in a name", "null", "no name",
         "space in a name", "no colon", "bare last line end", "bare line end before the last", "space before colon",
         "bare line end", "bare line ends", "101", "099", "000", "SSH",
         "endless extension", "endless trailer", "long field", "many fields", "many 1xx", "closed"],
)  # fmt: skip
async def test_ambiguous_and_unbounded_responses_are_refused(answer: bytes, reason: str) -> None:
    """If programs on the path may disagree about the end of a response, or if its head is long, it is refused."""
    with serve_raw(answering(answer)) as server:
        failure = await only_failure(direct_engine(), request(server.url))

    assert (failure.sent, failure.reason) == (True, reason)


async def test_headers_are_latin_1_in_lower_case() -> None:
    """Each byte is a character; a repeated name has both values."""
    answer = OK + b"X-Caf\x43: \xe9\r\nx-cafc: b \r\nContent-Length: 2\r\n\r\n{}"
    with serve_raw(answering(answer)) as server:
        async with direct_engine() as transport:
            (came,) = await send(transport, request(server.url))

    assert dict(came.headers) == {"x-cafc": "é, b", "content-length": "2"}


async def test_an_idle_connection_ends_by_itself() -> None:
    """Without another call."""
    with serve_raw(echoing) as server:
        async with direct_engine(keepalive_seconds=0.05) as transport:
            await send(transport, request(server.url))
            await eventually(lambda: server.connections[0].fileno() < 0)


async def test_an_expired_idle_connection_is_not_used() -> None:
    """Even if the event loop had no time to close the connection."""
    with serve_raw(echoing) as server:
        async with direct_engine(keepalive_seconds=0.05) as transport:
            await send(transport, request(server.url))
            threading.Event().wait(0.1)
            await send(transport, request(server.url))

    assert len(server.connections) == 2


@pytest.mark.parametrize(
    ("url", "port"), [("http://x", 80), ("https://x", 443), ("http://x:8080", 8080), ("https://x:8443", 8443)]
)
async def test_the_port_is_that_of_the_url(url: str, port: int) -> None:
    """Or the default port, if the URL has none."""
    asked: list[int] = []

    def look_up(_: str, port: int, **__: Any) -> list[Any]:
        asked.append(port)
        return []

    await only_failure(direct_engine(resolver=Resolver(look_up)), request(url))

    assert asked == [port]


def end_at_once(protocol: asyncio.Protocol) -> None:
    """Close the connection: the server may have too many."""
    protocol.eof_received()


def stand_still(_: asyncio.Protocol) -> None:
    """Block the event loop for longer than the total timeout, as the caller's code may."""
    threading.Event().wait(2 * SHORT.read)


@pytest.mark.parametrize(
    ("afterwards", "words"),
    [(end_at_once, ": the server closed it at once"), (stand_still, "it could not be sent within 0.3 s")],
)
async def test_a_connection_that_cannot_be_used_once_it_is_made(
    afterwards: Callable[[asyncio.Protocol], object], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is sent."""

    async def dial_in_vain(address: ServerAddress, protocol: asyncio.Protocol, progress: Progress) -> None:
        await dial(address, protocol, progress)
        afterwards(protocol)

    monkeypatch.setattr("binance_pm.transport.direct.dial", dial_in_vain)
    with serve_raw(silent) as server:
        opening = direct_engine(timeouts=Timeouts(total=SHORT.read))
        failure = await only_failure(opening, request(server.url))

    assert (failure.sent, words in failure.reason) == (False, True)


async def test_without_poll_the_event_loop_notices_closed_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows has no poll: a closed connection is noticed when the event loop reads it."""
    monkeypatch.delattr(select, "poll")
    with serve_raw(answering(http(b"{}"))) as server:
        async with direct_engine() as transport:
            await send(transport, request(server.url))
            await eventually(lambda: not vars(transport)["_connections"])
            await send(transport, request(server.url))

    assert len(server.connections) == 2


async def test_closing_at_the_moment_of_a_timeout() -> None:
    """Closing goes on and ends all other calls."""
    failures: list[SendFailed] = []
    with serve_raw(silent) as server:
        async with direct_engine() as transport:

            async def call(scheme: str) -> None:
                failures.append(await failure_of(transport, request(server.url.replace("http", scheme))))

            async with anyio.create_task_group() as tasks:
                for scheme in ("http", "https"):
                    tasks.start_soon(call, scheme)
                await eventually(lambda: len(server.connections) == 2 and len(vars(transport)["_limits"]) == 1)
                (limit,) = vars(transport)["_limits"]
                limit.reschedule(0)
                await asyncio.sleep(0)
                assert limit.expired()
                await transport.aclose()

    assert sorted(failure.sent for failure in failures) == [False, True]


async def test_a_refused_departure_keeps_the_connection() -> None:
    """Nothing was written, so the next request can use the connection."""

    def forbid() -> None:
        raise PermissionError

    with serve_raw(echoing) as server:
        async with direct_engine() as transport:
            with pytest.raises(PermissionError):
                await transport.send(request(server.url), forbid)
            await send(transport, request(server.url))

    assert len(server.connections) == 1


async def test_a_failed_connection_is_forgotten() -> None:
    """A host that is down for hours fills no memory, and does not delay closing."""
    with refusing_port() as port:
        async with direct_engine() as transport:
            await failure_of(transport, request(f"http://127.0.0.1:{port}"))

            assert not vars(transport)["_connections"]


async def test_closing_waits_until_all_connections_are_closed() -> None:
    """The event loop may end right after."""
    with serve_raw(echoing) as server:
        async with direct_engine() as transport:
            await send(transport, request(server.url))

        assert not vars(transport)["_connections"]


async def test_memory_does_not_grow() -> None:
    """Five thousand calls leave nothing behind."""
    with serve_raw(echoing) as server:
        async with direct_engine() as transport:

            async def call(count: int) -> int:
                for _ in range(count):
                    await transport.send(request(server.url), Departure())
                gc.collect()
                return tracemalloc.get_traced_memory()[0]

            tracemalloc.start()
            try:
                before = await call(100)
                after = await call(5000)
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


async def dial_many(*addresses: tuple[str, int], seconds: float = 1.0) -> None:
    """Connect to a name with these addresses."""
    infos = [
        (socket.AF_INET6 if ":" in place[0] else socket.AF_INET, socket.SOCK_STREAM, 0, "", place)
        for place in addresses
    ]
    leaving = Leaving()
    address = ServerAddress("many.example", 80, None, TransportSettings(), Resolver(lambda *_, **__: infos))
    await dial(address, leaving, Progress(seconds))
    await leaving.lost.wait()


Connect = Callable[[asyncio.AbstractEventLoop, socket.socket, Any], Any]


def patch_connect(monkeypatch: pytest.MonkeyPatch, before: Connect) -> None:
    """Let a coroutine function run before a socket connects."""
    loop = type(asyncio.get_running_loop())
    really = loop.sock_connect

    async def connect(self: asyncio.AbstractEventLoop, sock: socket.socket, address: Any) -> None:
        await before(self, sock, address)
        await really(self, sock, address)

    monkeypatch.setattr(loop, "sock_connect", connect)


class TestDial:
    """Names with several addresses."""

    async def test_the_next_address_is_tried(self) -> None:
        """If one address refuses, another may accept."""
        with serve_raw(silent) as server:
            await dial_many(("127.0.0.1", 1), ("127.0.0.1", server.port))

    async def test_an_unreachable_family_does_not_block_the_other(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The families take turns, and an address that does not respond gets only its share of the time."""
        held: list[float] = []

        async def swallow(loop: asyncio.AbstractEventLoop, sock: socket.socket, _: Any) -> None:
            if sock.family == socket.AF_INET6:
                held.append(loop.time())
                await anyio.sleep_forever()

        patch_connect(monkeypatch, swallow)
        with serve_raw(silent) as server, anyio.fail_after(0.9):
            await dial_many(*((f"::{number}", 1) for number in range(2, 5)), ("127.0.0.1", server.port))
            monkeypatch.setattr("binance_pm.transport.connect._LONGEST_SHARE", 0.01)
            await dial_many(("::2", 1), ("127.0.0.1", server.port), seconds=1000.0)

        assert len(held) == 2

    @pytest.mark.parametrize("addresses", [("127.0.0.1", "192.0.2.1"), ("192.0.2.1", "127.0.0.1")])
    async def test_the_most_specific_failure_is_reported(
        self, addresses: tuple[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An unreachable network says nothing about the host."""

        async def refuse(_: asyncio.AbstractEventLoop, __: socket.socket, address: Any) -> None:
            if address[0] == "192.0.2.1":
                raise OSError(errno.ENETUNREACH, "Network is unreachable")

        patch_connect(monkeypatch, refuse)
        with pytest.raises(ConnectionRefusedError):
            await dial_many(*((address, 1) for address in addresses))
