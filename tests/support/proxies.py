"""Strict proxies on a loopback socket, which refuse every other request."""

from __future__ import annotations

import base64
import re
import select
import socket
import ssl
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from tests.support.raw_server import Behaviour, read_request

_CONNECT = re.compile(rb"CONNECT ([a-z0-9.-]+|\[[0-9a-f:]+\]):([0-9]+) HTTP/1\.1\r\n")
_FIELD = re.compile(rb"([A-Za-z-]+): ?([^\r\n]*)\r\n")


class Seen:
    """What reached a proxy outside its tunnels, and the requested places."""

    def __init__(self) -> None:
        self.heads: list[bytes] = []
        self.places: list[str] = []


def connect_proxy(seen: Seen, places: Mapping[str, str], *, user: str | None = None) -> Behaviour:
    """An HTTP proxy that opens tunnels with CONNECT, and answers everything else with 400.

    Args:
        seen: records the requests.
        places: maps a requested host and port to an address and port.
        user: the required user and password.
    """

    def behave(connection: socket.socket) -> None:
        head = read_request(connection)
        seen.heads.append(head)
        asked = _CONNECT.match(head)
        fields = {name.lower(): value for name, value in _FIELD.findall(head[asked.end() if asked else 0 :])}
        place = f"{asked[1].decode()}:{asked[2].decode()}" if asked else ""
        if fields.get(b"host", b"").decode() != place or not head.endswith(b"\r\n\r\n"):
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            return
        wanted = None if user is None else b"Basic " + base64.b64encode(user.encode())
        if fields.get(b"proxy-authorization") != wanted:
            connection.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            return
        seen.places.append(place)
        if place not in places:
            connection.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
            return
        with _connected(places[place]) as inside:
            connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            pump(connection, inside)

    return behave


def socks_proxy(seen: Seen, places: Mapping[str, str], *, user: str | None = None) -> Behaviour:
    """A SOCKS5 proxy (RFC 1928, RFC 1929); the arguments are those of `connect_proxy`."""

    def behave(connection: socket.socket) -> None:
        method = b"\x00" if user is None else b"\x02"
        greeting = _exactly(connection, 2)
        methods = _exactly(connection, greeting[1])
        seen.heads.append(greeting + methods)
        if greeting[0] != 5 or method not in methods:
            connection.sendall(b"\x05\xff")
            return
        connection.sendall(b"\x05" + method)
        if user is not None:
            version, size = _exactly(connection, 2)
            name = _exactly(connection, size)
            password = _exactly(connection, _exactly(connection, 1)[0])
            is_known = version == 1 and b"%b:%b" % (name, password) == user.encode()
            connection.sendall(b"\x01" + (b"\x00" if is_known else b"\x01"))
            if not is_known:
                return
        request = _exactly(connection, 4)
        host = _exactly(connection, _exactly(connection, 1)[0]) if request[3] == 3 else _exactly(connection, 4)
        port = _exactly(connection, 2)
        seen.heads.append(request + host + port)
        name = host.decode() if request[3] == 3 else socket.inet_ntoa(host)
        place = f"{name}:{int.from_bytes(port)}"
        seen.places.append(place)
        nowhere = b"\x00\x01" + bytes(6)
        if place not in places:
            connection.sendall(b"\x05\x05" + nowhere)
            return
        with _connected(places[place]) as inside:
            connection.sendall(b"\x05\x00" + nowhere)
            pump(connection, inside)

    return behave


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (piece := connection.recv(size - len(data))):
        data += piece
    if len(data) < size:
        raise ConnectionError("the client closed")
    return data


def _connected(place: str) -> socket.socket:
    host, _, port = place.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=5)


def encrypting(url: str, certificate: Path) -> Behaviour:
    """Speak TLS, and pass everything on to a server without TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def behave(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as outside, _connected(urlsplit(url).netloc) as inside:
            pump(outside, inside)

    return behave


def pump(one: socket.socket, other: socket.socket) -> None:
    """Pass on all data until one of the two closes."""
    while ready := select.select([one, other], [], [], 20)[0]:
        for source in ready:
            if not (piece := source.recv(65536)):
                return
            (other if source is one else one).sendall(piece)
