"""Connecting to a name that may have many addresses, with TLS, on any event loop of asyncio.

An address that swallows packets, as those of IPv6 do where only IPv4 is routed, must not use up the time of those that
would answer; uvloop tries them one after the other, each for minutes.
"""

from __future__ import annotations

import asyncio
import hashlib
import select
import socket
import ssl
from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

_Address = tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]


class Way(NamedTuple):
    """How a server is reached, and told from others."""

    name: str
    """A host name or an IP address."""
    port: int
    tls: ssl.SSLContext | None
    """None for plain TCP."""
    pins: frozenset[str] = frozenset()
    """SHA-256 of the certificates that the server may show, in hexadecimal; empty for whatever `tls` accepts."""
    local_address: str | None = None
    """The IP address of this machine to connect from; None for the system's choice."""


async def dial(way: Way, protocol: asyncio.BaseProtocol, *, seconds: float) -> None:
    """Connect the protocol.

    Args:
        way: where to.
        protocol: what is told of the connection once it stands. Where it is told and this fails all the same, cutting
            off the connection is left to it.
        seconds: for all addresses together: each gets its share.

    Raises:
        OSError: the last address could not be reached, or its certificate is not what it has to be.
    """
    connected = await _reached(way, seconds)
    name = way.name if way.tls else None
    loop = asyncio.get_running_loop()
    try:
        transport, _ = await loop.create_connection(lambda: protocol, sock=connected, ssl=way.tls, server_hostname=name)
    finally:
        # From here on it is the event loop's to close, also where this fails. uvloop closes the descriptor, and where
        # that happens early it does not tell the socket (0.23), which would close whatever has the number by then.
        if not isinstance(loop, asyncio.BaseEventLoop):
            connected.detach()
    if way.pins and _fingerprint(transport.get_extra_info("ssl_object")) not in way.pins:
        raise ConnectionError("the server's certificate is not one of those that are pinned")


def reason_of(error: Exception) -> str:
    """What is known about a failure to connect, as the end of a sentence, without quoting the server."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f": {error.verify_message}"
    # The texts of its subclasses are the system's, and those of other errors may be the server's.
    return f": {error}" if type(error) is ConnectionError else ""


def readiness(descriptor: int) -> Callable[[int], Sequence[object]]:
    """Asks the system whether something has arrived, which the event loop hears of only when its turn comes."""
    if not hasattr(select, "poll"):
        return lambda _: ()
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return poll.poll


def _fingerprint(tls: ssl.SSLObject | None) -> str:
    certificate = tls.getpeercert(binary_form=True) if tls else None
    return hashlib.sha256(certificate).hexdigest() if certificate else ""


async def _reached(way: Way, seconds: float) -> socket.socket:
    family = socket.AF_UNSPEC if way.local_address is None else _family_of(way.local_address)
    loop = asyncio.get_running_loop()
    addresses = _in_turns(await loop.getaddrinfo(way.name, way.port, family=family, type=socket.SOCK_STREAM))
    failure = OSError("the name has no address")
    for address in addresses:
        try:
            async with asyncio.timeout(seconds / len(addresses)):
                return await _connected(address, way.local_address)
        except OSError as error:
            failure = error
    raise failure


def _family_of(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _in_turns(found: Sequence[_Address]) -> list[_Address]:
    """The families in turns, the system's favourite first."""
    favourite = [address for address in found if address[0] == found[0][0]]
    other = [address for address in found if address[0] != found[0][0]]
    return [address for pair in zip_longest(favourite, other) for address in pair if address]


async def _connected(address: _Address, local_address: str | None) -> socket.socket:
    family, kind, protocol, _, place = address
    connecting = socket.socket(family, kind, protocol)
    try:
        connecting.setblocking(False)  # noqa: FBT003 - the standard library's signature
        if local_address is not None:
            connecting.bind((local_address, 0))
        await asyncio.get_running_loop().sock_connect(connecting, place)
    except BaseException:
        connecting.close()
        raise
    return connecting
