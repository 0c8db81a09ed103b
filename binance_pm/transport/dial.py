"""Connecting to a name that may have many addresses, with TLS, on any event loop of asyncio.

uvloop would try the addresses of a name one after the other, each for minutes.
"""

from __future__ import annotations

import asyncio
import hashlib
import select
import socket
import ssl
from collections.abc import Callable, Sequence

from binance_pm.transport.reach import ServerAddress, reached
from binance_pm.transport.reason import HANDSHAKE, Progress
from binance_pm.transport.resolve import Address
from binance_pm.transport.tls import check_protocol


async def dial(way: ServerAddress, protocol: asyncio.BaseProtocol, progress: Progress) -> None:
    """Connect the protocol.

    Args:
        way: where to.
        protocol: what is told of the connection once it stands. Where it is told and this fails all the same, cutting
            off the connection is left to it.
        progress: how long all addresses have together; it is told of each step.

    Raises:
        OSError: no address could be reached, or the server's certificate is not what it has to be.
        UnicodeError: the name is not a host name.
    """
    connected = await reached(way, _connected, progress)
    if way.tls is not None:
        progress.step = HANDSHAKE
    name = way.name if way.tls else None
    loop = asyncio.get_running_loop()
    try:
        transport, _ = await loop.create_connection(lambda: protocol, sock=connected, ssl=way.tls, server_hostname=name)
    finally:
        # From here on it is the event loop's to close, also where this fails. uvloop closes the descriptor, and where
        # that happens early it does not tell the socket (0.23), which would close whatever has the number by then.
        if not isinstance(loop, asyncio.BaseEventLoop):
            connected.detach()
    secured: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
    check_protocol(secured)
    if way.pins and _fingerprint(secured) not in way.pins:
        raise ConnectionError("the server's certificate is not one of those that are pinned")


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


async def _connected(address: Address, local_address: str | None) -> socket.socket:
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
