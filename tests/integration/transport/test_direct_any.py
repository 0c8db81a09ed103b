"""The direct engine's parser on arbitrary input: a response or an error, and never another call's response."""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import Generator, Iterable
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from httptools import HttpParserError, HttpResponseParser
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from binance_pm.transport.connect import ServerAddress
from binance_pm.transport.direct import _Connection, _Host
from binance_pm.transport.http import HttpResponse, SendFailed, Timeouts, TransportSettings, headers_of
from tests.support.engines import CHUNKED
from tests.support.raw_server import http

EARLY = b"HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n"
MAX_BODY = 500
ANSWERS: dict[bytes, tuple[int, bytes, bool]] = {
    http(b"{}"): (200, b"{}", True),
    http(b"x" * 100, headers="Date: Sat, 21 Nov 2026 12:00:00 GMT\r\n"): (200, b"x" * 100, True),
    http(b"", status="404 Not Found"): (404, b"", True),
    http(b"{", status="429 Too Many Requests", headers="Retry-After: 7\r\n"): (429, b"{", True),
    b"HTTP/1.1 204 No Content\r\n\r\n": (204, b"", True),
    CHUNKED + b"2\r\n{}\r\n0\r\n\r\n": (200, b"{}", True),
    CHUNKED + b"1;a=b\r\n{\r\n1\r\n}\r\n0\r\nTrailer: x\r\n\r\n": (200, b"{}", True),
    CHUNKED + b"0\r\n\r\n": (200, b"", True),
    EARLY + EARLY + http(b"{}"): (200, b"{}", True),
    http(b"{}", headers="Connection: close\r\n"): (200, b"{}", False),
    b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}": (200, b"{}", False),
    b"HTTP/1.1 200 OK\r\n\r\nuntil closed": (200, b"until closed", False),
}
PIECES = [
    *ANSWERS,
    b"HTTP/1.1 ", b"HTTP/1.1 200 OK\r\n", b"\r\n", b"\n", b"\r\n\r\n", b"Content-Length: 2\r\n", b"Upgrade: x\r\n",
    b"Content-Length: 600\r\n", b"Transfer-Encoding: chunked\r\n", b"Content-Encoding: gzip\r\n", b" folded\r\n",
    b"Connection: close\r\n", b"Connection: Upgrade\r\n", b"101", b"{}", b"2\r\n{}\r\n", b"0\r\n", b"\x00", b"x" * 600,
]  # fmt: skip
STALE = http(b"-1")
SURPLUS = [b"\r\n", b"{}", EARLY, *(STALE[:length] for length in range(len(STALE) + 1))]


class Wire(asyncio.Transport):
    """A network that records whether it was cut off, and whose socket never has unread data."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__({"socket": connection})
        self.is_cut = False
        self.held_back = 0
        self.owed: list[int] = []
        """The calls that were written here and not answered yet."""

    def is_closing(self) -> bool:
        """Whether the connection was cut off."""
        return self.is_cut

    def abort(self) -> None:
        """Cut the connection off."""
        self.is_cut = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Discard what is sent."""

    def get_write_buffer_size(self) -> int:
        """Return how many bytes were not sent yet."""
        return self.held_back


@pytest.fixture(scope="module")
def silence() -> Generator[socket.socket, None, None]:
    """A socket that never receives anything."""
    one, other = socket.socketpair()
    with one, other:
        yield one


def new_connection(host: _Host, timeouts: Timeouts) -> _Connection:
    """Return a connection with a small read buffer."""
    return _Connection(host, set(), TransportSettings(timeouts=timeouts, max_body=MAX_BODY), memoryview(bytearray(64)))


def connected(silence: socket.socket, host: _Host) -> tuple[_Connection, Wire]:
    """Return an established connection, and its network."""
    connection, wire = new_connection(host, Timeouts(read=10.0)), Wire(silence)
    connection.connection_made(wire)
    return connection, wire


def receive(connection: _Connection, wire: Wire, pieces: Iterable[bytes]) -> None:
    """Let the connection receive the pieces until it is cut off."""
    for piece in pieces:
        left = piece
        while left and not wire.is_cut:
            buffer = connection.get_buffer(-1)
            size = min(len(left), len(buffer))
            buffer[:size] = left[:size]
            connection.buffer_updated(size)
            left = left[size:]


def end_of_stream(connection: _Connection, wire: Wire) -> None:
    """Let the server close the connection."""
    if not wire.is_cut:
        connection.eof_received()
    connection.connection_lost(None)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """Return the data in pieces."""
    at = sorted({place % (len(data) + 1) for place in places})
    return [data[start:end] for start, end in zip([0, *at], [*at, len(data)], strict=True)]


def outcome(answer: asyncio.Future[HttpResponse]) -> HttpResponse | SendFailed:
    """Return the result of a completed call."""
    assert answer.done()
    error = answer.exception()
    assert error is None or (isinstance(error, SendFailed) and error.sent)
    return error or answer.result()


def new_host() -> _Host:
    """Return a server without connections."""
    return _Host(ServerAddress("127.0.0.1", 80, None), "Host: x", [])


@pytest.fixture(scope="module")
def runner() -> Generator[asyncio.Runner, None, None]:
    """An event loop for all examples."""
    with asyncio.Runner() as running:
        yield running


ANY = settings(derandomize=True, max_examples=300, suppress_health_check=[HealthCheck.too_slow])


@ANY
@given(st.sampled_from(list(ANSWERS)), st.lists(st.integers(0, 300), max_size=20))
def test_a_response_in_any_pieces_is_the_same(
    runner: asyncio.Runner, silence: socket.socket, whole: bytes, places: list[int]
) -> None:
    """Status, body, and whether the connection may be reused."""

    async def main() -> tuple[int, bytes | None, bool]:
        host = new_host()
        connection, wire = connected(silence, host)
        answer = connection.send(b"", math.inf)
        receive(connection, wire, cut(whole, places))
        if not answer.done():
            connection.eof_received()
        connection.keep_or_end()
        kept = host.idle == [connection]
        connection.connection_lost(None)
        came = answer.result()
        return came.status, came.body, kept

    assert runner.run(main()) == ANSWERS[whole]


class Fields:
    """Collects the fields of a head as the parser reports them."""

    def __init__(self) -> None:
        self.now: list[tuple[bytes, bytes]] = []
        self.complete: list[list[tuple[bytes, bytes]]] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """See `HttpResponseParser`."""
        self.now.append((name, value))

    def on_headers_complete(self) -> None:
        """See `HttpResponseParser`."""
        self.complete.append(self.now)
        self.now = []


FIELDS = [
    b"Date: x\r\n", b"date:\ty \r\n", b"A:\r\n", b"X-A: Date: z\r\n", b"A: \xe9\xff\r\n", b"B:  c  d\t\r\n", b"\r\n",
    b"\r", b"\n", b" ", b"HTTP/1.1 100 Continue\r\n", b"HTTP/1.1 200 OK\r\n", b"Content-Length: 0\r\n",
]  # fmt: skip


@ANY
@given(
    st.lists(st.sampled_from(FIELDS) | st.binary(max_size=3), max_size=8).map(b"".join),
    st.lists(st.integers(0, 300), max_size=5),
)
@example(b"\r\n\r\nHTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n\r\nHTTP/1.1 200 OK\r\nDate: x\r\ndate: y\r\n", [80, 90])
@example(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nDate: x\r\n", [])
def test_the_fields_are_those_that_the_parser_found(
    runner: asyncio.Runner, silence: socket.socket, head: bytes, places: list[int]
) -> None:
    """Whatever the parser accepts, and in whatever pieces it arrives."""
    data = (b"" if b"HTTP/1.1 200" in head else b"HTTP/1.1 200 OK\r\n") + head + b"Content-Length: 0\r\n\r\n"

    async def main() -> HttpResponse | SendFailed:
        connection, wire = connected(silence, new_host())
        answer = connection.send(b"", math.inf)
        receive(connection, wire, cut(data, places))
        end_of_stream(connection, wire)
        return outcome(answer)

    fields = Fields()
    with suppress(HttpParserError):
        HttpResponseParser(fields).feed_data(data)
    came = runner.run(main())

    if isinstance(came, HttpResponse):
        found = headers_of(fields.complete[-1])
        assert came.headers == found
        assert {name: came.headers.get(name) for name in ("date", "a", "x-a", "b", "none")} == {
            name: found.get(name) for name in ("date", "a", "x-a", "b", "none")
        }


@ANY
@given(
    st.lists(st.sampled_from(PIECES) | st.binary(max_size=20), max_size=12).map(b"".join),
    st.lists(st.integers(0, 3000), max_size=10),
)
@example(b"HTTP/1.1 429 No\r\nContent-Encoding: gzip\r\n\r\n{}", [])
@example(b"HTTP/1.1 429 No\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\nx\r\n", [])
def test_any_input_ends_in_a_response_or_an_error(
    runner: asyncio.Runner, silence: socket.socket, data: bytes, places: list[int]
) -> None:
    """No other exception, no waiting call, and no more memory than allowed."""

    async def main() -> HttpResponse | SendFailed:
        connection, wire = connected(silence, new_host())
        answer = connection.send(b"", math.inf)
        receive(connection, wire, cut(data, places))
        if answer.done():
            connection.keep_or_end()
        end_of_stream(connection, wire)
        return outcome(answer)

    came = runner.run(main())

    if isinstance(came, HttpResponse):
        assert 200 <= came.status <= 999
        assert len(came.body or b"") <= MAX_BODY
    assert isinstance(came, HttpResponse | SendFailed)


def answer_to(number: int, *, chunked: bool) -> bytes:
    """Return a response that belongs to one call only."""
    body = b"%d" % number
    return CHUNKED + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if chunked else http(body)


@pytest.mark.parametrize(
    ("held_back", "words"), [(1, "timed out while sending"), (0, "timed out waiting for the response")]
)
async def test_a_request_that_cannot_be_written(held_back: int, words: str, silence: socket.socket) -> None:
    """A server that reads nothing differs from one without a response; the request may have been sent in both."""
    connection = new_connection(new_host(), Timeouts(read=0.01))
    wire = Wire(silence)
    wire.held_back = held_back
    connection.connection_made(wire)

    with pytest.raises(SendFailed, match=words) as caught:
        await connection.send(b"", math.inf)

    assert (caught.value.sent, wire.is_cut) == (True, True)


class Calls(RuleBasedStateMachine):
    """Calls one after the other to a faulty server: no call gets the response of an earlier one."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.one, self.other = socket.socketpair()
        self.host = new_host()
        self.live: list[tuple[_Connection, Wire]] = []
        self.asked: tuple[int, _Connection, Wire, asyncio.Future[HttpResponse]] | None = None
        self.number = 0

    def run(self, step: Any) -> None:
        """Run a step on the event loop."""

        async def main() -> None:
            step()

        self.runner.run(main())

    @precondition(lambda self: self.asked is None)
    @rule()
    def ask(self) -> None:
        """Send the next call over a connection chosen as the transport chooses."""

        def step() -> None:
            self.number += 1
            connection = self.host.idle_connection()
            wire = next((wire for known, wire in self.live if known is connection), None)
            if connection is None or wire is None:
                connection, wire = connected(self.one, self.host)
                self.live.append((connection, wire))
            assert not wire.is_cut
            wire.owed.append(self.number)
            self.asked = self.number, connection, wire, connection.send(b"", math.inf)

        self.run(step)

    @precondition(lambda self: self.asked is not None)
    @rule(
        shape=st.sampled_from([b"%s", EARLY + b"%s", b"\r\n%s"]),
        chunked=st.booleans(),
        surplus=st.sampled_from(SURPLUS) | st.binary(max_size=3),
        places=st.lists(st.integers(0, 200), max_size=6),
    )
    def answer(self, shape: bytes, surplus: bytes, places: list[int], *, chunked: bool) -> None:
        """Answer the requests on this connection in order, perhaps with surplus bytes."""
        assert self.asked is not None
        _, connection, wire, _ = self.asked
        said = b"".join(shape.replace(b"%s", answer_to(number, chunked=chunked)) for number in wire.owed) + surplus
        wire.owed.clear()
        self.run(partial(receive, connection, wire, cut(said, places)))

    @precondition(lambda self: self.asked is not None)
    @rule(data=st.sampled_from(PIECES), places=st.lists(st.integers(0, 200), max_size=3))
    def say(self, data: bytes, places: list[int]) -> None:
        """Send bytes that are no response to this call."""
        assert self.asked is not None
        _, connection, wire, answer = self.asked
        # Before the response these bytes would be the response, which cannot be told apart.
        if answer.done():
            self.run(partial(receive, connection, wire, cut(data, places)))

    @rule(data=st.sampled_from(SURPLUS).filter(len))
    def say_while_idle(self, data: bytes) -> None:
        """Send bytes on an idle connection."""
        for connection, wire in self.live:
            if connection in self.host.idle:
                self.run(partial(receive, connection, wire, [data]))

    @precondition(lambda self: self.asked is not None)
    @rule()
    def give_up(self) -> None:
        """Cancel the call, whatever has arrived."""
        assert self.asked is not None
        _, connection, _, answer = self.asked
        self.asked = None
        if not answer.cancel():
            outcome(answer)
        self.run(connection.keep_or_end)

    @precondition(lambda self: self.asked is not None and self.asked[3].done())
    @rule()
    def finish(self) -> None:
        """Finish the call."""
        assert self.asked is not None
        number, connection, _, answer = self.asked
        self.asked = None
        came = outcome(answer)
        assert isinstance(came, SendFailed) or came.body == b"%d" % number
        self.run(connection.keep_or_end)

    @rule()
    def close(self) -> None:
        """Close every connection of the server."""
        live, self.live = self.live, []
        for connection, wire in live:
            self.run(partial(end_of_stream, connection, wire))

    @invariant()
    def only_clean_connections_are_kept(self) -> None:
        """A connection that was cut off is not kept after its loss."""
        assert not any(connection.lost.done() for connection in self.host.idle)

    def teardown(self) -> None:
        """End the call and close the connections."""
        if self.asked is not None:
            self.give_up()
        self.close()
        self.runner.close()
        self.one.close()
        self.other.close()


TestCalls = Calls.TestCase
TestCalls.settings = settings(derandomize=True, max_examples=100, stateful_step_count=30)
