"""The connection of a stream: TLS, pins, proxies, addresses, refusals, and the contents of errors."""

from __future__ import annotations

import socket
import ssl
import threading
import traceback
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any

import anyio
import pytest
from websockets.datastructures import Headers
from websockets.http11 import Response

from binance_pm.signing import Secret
from binance_pm.stream.socket import HandshakeCutOff, SocketClosed
from binance_pm.stream.websocket import StreamAddress, open_socket
from binance_pm.transport.http import NotConnected, Timeouts, TransportSettings
from binance_pm.transport.proxy import read_proxy
from tests.integration.stream.conftest import Run
from tests.support.certificates import Authority, fingerprint
from tests.support.proxies import Seen, connect_proxy, socks_proxy
from tests.support.raw_server import RawServer, serve_raw
from tests.support.stream_server import StreamServer, stream_server

KEY = "canary0001"
HOST = "stream.example"
SETTINGS = TransportSettings(timeouts=Timeouts(connect=1.0))


def address_of(
    port: int,
    settings: TransportSettings = SETTINGS,
    tls: ssl.SSLContext | None = None,
    host: str = "127.0.0.1",
    proxy: str | None = None,
) -> StreamAddress:
    """Return the address of a stream."""
    scheme = "ws" if tls is None else "wss"
    path = Secret(f"/pm/ws/{KEY}")
    through = None if proxy is None else read_proxy(proxy)
    return StreamAddress(scheme, host, port, f"{host}:{port}", path, settings, tls, through)


async def first_message(address: StreamAddress, server: StreamServer) -> bytes:
    """Connect, make the server push a message, and return the message."""
    async with open_socket(address) as opened:
        await opened.ping()
        server.push({"e": "x"})
        return await opened.receive()


async def refusal(address: StreamAddress) -> NotConnected:
    """Return the error of connecting, which must not refer to the listen key."""
    with pytest.raises(NotConnected) as caught:
        async with open_socket(address):
            raise AssertionError("not reached")
    error: BaseException | None = caught.value
    assert KEY not in "".join(traceback.format_exception(error))
    while error is not None:
        assert KEY not in repr(error) + str(error) + repr(vars(error))
        error = error.__cause__ or error.__context__
    return caught.value


def test_plain_messages_arrive_as_bytes(run: Run, server: StreamServer) -> None:
    """Messages arrive as bytes, pings are answered, and a closed connection has a reason."""

    async def test() -> None:
        async with open_socket(address_of(server.port)) as opened:
            server.push({"e": "x"})
            assert await opened.receive() == b'{"e": "x"}'
            server.close_all(1008)
            with pytest.raises(SocketClosed, match=r"^the exchange closed the connection \(code 1008\)$") as caught:
                await opened.receive()
            assert caught.value.was_agreed
            with pytest.raises(SocketClosed):
                await opened.ping()

    run(test)


def test_messages_that_arrived_can_be_received_after_an_abort(run: Run, server: StreamServer) -> None:
    """Messages that arrived before an abort can still be received, because a pong has acknowledged them."""

    async def test() -> None:
        async with open_socket(address_of(server.port)) as opened:
            for number in range(100):
                server.push({"e": str(number)})
            await opened.ping()
            opened.abort()
            for number in range(100):
                assert await opened.receive() == b'{"e": "%d"}' % number
            with pytest.raises(SocketClosed) as caught:
                await opened.receive()
            assert not caught.value.was_agreed

    run(test)


def frame(head: int, payload: bytes) -> bytes:
    """Return a short frame of a server."""
    return bytes([head, len(payload)]) + payload


def test_messages_in_fragments_keep_their_place(run: Run, server: StreamServer) -> None:
    """A frame after a fragmented message is handled after that message, even if both arrive together."""
    whole, begin, middle, end, ping = 0x81, 0x01, 0x00, 0x80, 0x89
    together = [(whole, b"1"), (begin, b"2"), (ping, b""), (end, b"b"), (whole, b"3"), (whole, b"4")]
    late = [(middle, b"b"), (end, b"c"), (whole, b"6"), (begin, b"7"), (end, b"b"), (whole, b"8")]
    handled: list[bytes] = []

    async def test() -> None:
        async with open_socket(address_of(server.port)) as opened, anyio.create_task_group() as tasks:
            server.push(b"0")
            await opened.ping()
            tasks.start_soon(opened.read, handled.append)
            await opened.ping()
            for frames in (together, [(begin, b"5")], late):
                server.send_raw(b"".join(frame(*one) for one in frames))
                await opened.ping()
                await anyio.wait_all_tasks_blocked()
            assert handled == [b"0", b"1", b"2b", b"3", b"4", b"5bc", b"6", b"7b", b"8"]
            assert opened.server_pings == 1
            tasks.cancel_scope.cancel()

    run(test)


def test_no_message_is_handled_after_reading_was_cancelled(run: Run, server: StreamServer) -> None:
    """A message that arrives during the closing handshake is not handled, but can still be received."""
    handled: list[bytes] = []

    async def test() -> None:
        async with open_socket(address_of(server.port)) as opened:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(opened.read, handled.append)
                await opened.ping()
                server.push(b"1")
                await opened.ping()
                tasks.cancel_scope.cancel()
            server.push(b"2")
            await opened.ping()
            assert handled == [b"1"]
            assert await opened.receive() == b"2"

    run(test)


def test_tls_uses_the_settings_and_pins_of_the_session(run: Run, tmp_path: Path) -> None:
    """No request is sent to a server with an untrusted authority or an unpinned certificate."""
    authority = Authority(tmp_path)
    certificate = authority.issue()
    pinned = TransportSettings(timeouts=SETTINGS.timeouts, pins=frozenset({_plain(fingerprint(certificate))}))
    other = TransportSettings(timeouts=SETTINGS.timeouts, pins=frozenset({"00" * 32}))
    strange = ssl.create_default_context()

    with stream_server(tls=authority.server(certificate)) as server:
        assert run(first_message, address_of(server.port, pinned, authority.client()), server) == b'{"e": "x"}'
        connects = server.connects
        assert "pins" in run(refusal, address_of(server.port, other, authority.client())).reason
        assert "certificate" in run(refusal, address_of(server.port, SETTINGS, strange)).reason
        assert server.connects == connects == 1


def _plain(pin: str) -> str:
    return pin.replace(":", "").lower()


def test_no_redirect_is_followed(run: Run, server: StreamServer) -> None:
    """After a redirect, the listen key is not sent to another host."""
    reached: list[bytes] = []

    def note(connection: socket.socket) -> None:
        reached.append(connection.recv(1000))

    with serve_raw(note) as elsewhere:
        location = f"ws://127.0.0.1:{_port(elsewhere)}/pm/ws/{KEY}"
        server.refuse = lambda: Response(302, "Found", Headers({"Location": location, "Content-Length": "0"}))
        error = run(refusal, address_of(server.port))

    assert error.reason == f"127.0.0.1:{server.port}: answered 302 Found to the websocket handshake"
    assert reached == []


def _port(server: RawServer) -> int:
    return int(server.url.rpartition(":")[2])


@pytest.mark.parametrize("status", [403, 418, 429, 503, 599])
def test_a_refused_handshake_names_the_status(run: Run, server: StreamServer, status: int) -> None:
    """A refused handshake names the status, but not the text of the server."""
    server.refuse = lambda: Response(status, f"secret {KEY}", Headers({"Content-Length": "0"}))

    error = run(refusal, address_of(server.port))
    assert f"answered {status}" in error.reason
    assert not isinstance(error, HandshakeCutOff)


def _silent(connection: socket.socket) -> None:
    connection.recv(2000)
    threading.Event().wait(1.5)


def _closing(connection: socket.socket) -> None:
    connection.recv(2000)


def _no_http(connection: socket.socket) -> None:
    connection.recv(2000)
    connection.sendall(b"SSH-2.0\r\n\r\n")


def _wrong_accept(connection: socket.socket) -> None:
    connection.recv(2000)
    head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    connection.sendall(head + b"Sec-WebSocket-Accept: %s\r\n\r\n" % KEY.encode())


def _endless(connection: socket.socket) -> None:
    connection.recv(2000)
    with suppress(OSError):
        connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\n")
        while True:
            connection.sendall(b"X-Filler: %s\r\n" % (b"x" * 1000))


@pytest.mark.parametrize("behave", [_silent, _closing, _no_http, _wrong_accept, _endless])
def test_a_handshake_that_is_cut_off_may_have_set_up_the_stream(run: Run, behave: Any) -> None:
    """The class of the error says that the stream may have been set up."""
    with serve_raw(behave) as server:
        error = run(refusal, address_of(_port(server)))

    assert isinstance(error, HandshakeCutOff)
    assert "websocket handshake" in error.reason


def test_a_port_without_a_server_is_refused(run: Run) -> None:
    """The error for a port without a server says that nothing was sent."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        error = run(refusal, address_of(taken.getsockname()[1]))

    assert "connection refused" in error.reason
    assert not isinstance(error, HandshakeCutOff)


def test_the_local_address_is_that_of_the_session(run: Run, server: StreamServer) -> None:
    """A stream uses the local address of its session, which determines the egress IP."""
    settings = TransportSettings(timeouts=SETTINGS.timeouts, local_address="127.0.0.2")
    peers: list[Any] = []

    async def test() -> None:
        async with open_socket(address_of(server.port, settings)) as opened:
            await opened.ping()
            peers.append(server.connections[0].remote_address[0])

    run(test)
    assert peers == ["127.0.0.2"]


@pytest.mark.parametrize("kind", ["http", "socks5", "socks5h"])
def test_a_proxy_sees_host_and_port_only(run: Run, tmp_path: Path, kind: str) -> None:
    """The proxy sees host and port only, because the traffic inside the tunnel is encrypted."""
    authority, seen = Authority(tmp_path), Seen()
    place, host = f"{HOST}:443", HOST
    with stream_server(tls=authority.server(authority.issue(host))) as server:
        places = {place: f"127.0.0.1:{server.port}"}
        proxying = connect_proxy if kind == "http" else socks_proxy
        with serve_raw(proxying(seen, places, user="user:p@ss")) as proxy:
            url = f"{kind}://user:p%40ss@127.0.0.1:{_port(proxy)}"
            address = address_of(443, SETTINGS, authority.client(), host, url)
            assert run(first_message, address, server) == b'{"e": "x"}'

    assert seen.places == [place]
    assert KEY.encode() not in b"".join(seen.heads)


@pytest.mark.parametrize(("user", "words"), [("user:other", "407"), (None, "502")])
def test_a_refusal_by_the_proxy_names_the_proxy_and_no_password(
    run: Run, tmp_path: Path, user: str | None, words: str
) -> None:
    """A refusal by the proxy names the proxy and the status, but no password."""
    with serve_raw(connect_proxy(Seen(), {}, user=user)) as proxy:
        credentials = "" if user is None else "user:secret@"
        url = f"http://{credentials}127.0.0.1:{_port(proxy)}"
        error = run(refusal, address_of(443, SETTINGS, Authority(tmp_path).client(), HOST, url))

    assert "the proxy answered" in error.reason
    assert str(HTTPStatus(int(words)).phrase) in error.reason
    assert "secret" not in error.reason
