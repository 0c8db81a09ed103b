"""A server on a loopback socket that sends exactly the given bytes."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial

Behaviour = Callable[[socket.socket], None]


class RawServer:
    """Where a `serve_raw` listens, and what arrived there."""

    def __init__(self, listener: socket.socket, scheme: str) -> None:
        self.port: int = listener.getsockname()[1]
        self.place = f"127.0.0.1:{self.port}"
        self.url = f"{scheme}://{self.place}"
        self.connections: list[socket.socket] = []


@contextmanager
def serve_raw(behaviour: Behaviour, *, tls: ssl.SSLContext | None = None) -> Generator[RawServer, None, None]:
    """Run a behaviour on every connection, each in its own thread, until the block ends."""
    closing = threading.Event()
    with ExitStack() as threads, socket.create_server(("127.0.0.1", 0)) as listener:
        server = RawServer(listener, "https" if tls else "http")

        def serve(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                if isinstance(connection, ssl.SSLSocket):
                    connection.do_handshake()
                behaviour(connection)

        def accept() -> None:
            while not closing.is_set():
                connection, _ = listener.accept()
                if closing.is_set():
                    connection.close()
                    return
                if tls is not None:
                    connection = tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
                server.connections.append(connection)
                threads.callback(_start(partial(serve, connection)).join)

        accepting = _start(accept)
        try:
            yield server
        finally:
            closing.set()
            # Accepting is not ended by closing a socket: one last connection ends it.
            socket.create_connection(listener.getsockname(), timeout=1).close()
            accepting.join()
            for connection in server.connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


def _start(target: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=target)
    thread.start()
    return thread


def read_request(connection: socket.socket) -> bytes:
    """Return the head of one request, up to the empty line."""
    head = b""
    while b"\r\n\r\n" not in head and (piece := connection.recv(65536)):
        head += piece
    return head


def answering(*pieces: bytes) -> Behaviour:
    """Read one request, send the pieces, and close."""

    def behave(connection: socket.socket) -> None:
        read_request(connection)
        for piece in pieces:
            connection.sendall(piece)

    return behave


def always(answer: bytes) -> Behaviour:
    """Answer every request with these bytes."""

    def behave(connection: socket.socket) -> None:
        while read_request(connection):
            connection.sendall(answer)

    return behave


def echoing(connection: socket.socket) -> None:
    """Answer every request with its own target."""
    while head := read_request(connection):
        connection.sendall(http(head.split(b" ")[1]))


def reset(connection: socket.socket) -> None:
    """Reset the connection."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def http(body: bytes, *, status: str = "200 OK", headers: str = "") -> bytes:
    """Return a complete response."""
    return f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body


def silent(connection: socket.socket) -> None:
    """Read everything and never answer."""
    while connection.recv(65536):
        pass


@contextmanager
def refusing_port() -> Generator[int, None, None]:
    """Reserve a port of this machine on which nothing listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]
