"""Connects to a host name: resolves its addresses in dedicated threads and tries each in turn until one connects.

Event loops resolve names in the threads of their default executor. All of these threads may be busy, and `asyncio.run`
waits for them on exit, however long the system's resolver hangs. The resolver threads here are daemons: nothing waits
for them. Concurrent lookups of the same name share one thread.

An address that drops packets, such as an IPv6 address if only IPv4 is routed, must not use up the time of the other
addresses. uvloop would try the addresses of a name one after the other, each for minutes.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import math
import os
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from ipaddress import IPv6Address, ip_address
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import anyio

from binance_pm.hosts import is_wildcard
from binance_pm.transport.http import TransportSettings
from binance_pm.transport.reason import CONNECTING, HANDSHAKE, UNROUTED, Progress
from binance_pm.transport.tls import Secured, check_protocol
from binance_pm.wakeup import waker

if TYPE_CHECKING:
    from concurrent.futures import Future

T = TypeVar("T")

Address = tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]
"""An address as `socket.getaddrinfo` returns it."""

LookUp = Callable[..., Sequence[Any]]
"""A function like `socket.getaddrinfo`."""

_Key = tuple[int, str, int, socket.AddressFamily]


class Resolver:
    """Resolves host names; safe to use from many event loops and threads at once."""

    def __init__(self, look_up: LookUp | None = None) -> None:
        self._look_up: Final = look_up
        self._running: Final[dict[_Key, Future[list[Address]]]] = {}

    async def addresses(self, host: str, port: int, family: socket.AddressFamily = socket.AF_UNSPEC) -> list[Address]:
        """Return the addresses of a host, with the families interleaved; an IP address resolves to itself.

        Raises:
            OSError: the name has no address of the family, or cannot be looked up.
            UnicodeError: the text is not a host name.
        """
        if (known := _known(host, port)) is not None:
            if family not in {socket.AF_UNSPEC, known[0]}:
                raise ConnectionError(f"not an {_NAMES[family]} address, and only {_NAMES[family]} may be used")
            return [known]
        # A child process inherits none of its parent's threads.
        key = (os.getpid(), host, port, family)
        looking = self._running.get(key) or self._start(key)
        done = anyio.Event()
        wake = waker(done.set)
        looking.add_done_callback(lambda _: wake())
        await done.wait()
        return _in_turns(looking.result())

    def _start(self, key: _Key) -> Future[list[Address]]:
        from concurrent.futures import Future  # noqa: PLC0415 - not needed for an IP address

        looking = self._running[key] = Future[list[Address]]()
        _, host, port, family = key

        def look() -> None:
            try:
                found = (self._look_up or socket.getaddrinfo)(host, port, family=family, type=socket.SOCK_STREAM)
            except Exception as error:  # noqa: BLE001 - the error is raised in `addresses`
                self._running.pop(key, None)
                looking.set_exception(_files_are_used_up() or error)
            else:
                self._running.pop(key, None)
                looking.set_result(list(found))

        try:
            threading.Thread(target=look, daemon=True, name="binance-pm resolver").start()
        except RuntimeError:
            del self._running[key]
            raise OSError(errno.EAGAIN, "no thread can be started") from None
        return looking


RESOLVER: Final = Resolver()
"""The resolver of this process."""

_NAMES: Final = {socket.AF_INET: "IPv4", socket.AF_INET6: "IPv6"}

_LONGEST_SHARE: Final = 1.0
"""Seconds for one address if another address is left to try."""


class ServerAddress(NamedTuple):
    """How to reach a server, and what identifies it."""

    name: str
    """A host name or an IP address."""
    port: int
    tls: ssl.SSLContext | None
    """None for plain TCP."""
    settings: TransportSettings = TransportSettings()
    resolver: Resolver = RESOLVER


async def reached(
    server: ServerAddress, connect: Callable[[Address, str | None], Awaitable[T]], progress: Progress
) -> T:
    """Return the result of connecting to the first reachable address of the name; each address has a share of the time.

    If all addresses fail, the most informative error is raised. The progress holds the time limit for all addresses
    together, and is updated at each step.
    """
    local = server.settings.local_address
    family = socket.AF_UNSPEC if local is None else socket.AF_INET6 if ":" in local else socket.AF_INET
    addresses = await server.resolver.addresses(server.name, server.port, family)
    bound = None if local is None or is_wildcard(local) else local
    progress.step = CONNECTING
    failure: Exception | None = None
    seconds = math.inf if progress.seconds is None else progress.seconds
    for address in addresses:
        try:
            # The last address gets all the remaining time.
            share = None if address is addresses[-1] else min(_LONGEST_SHARE, seconds / len(addresses))
            with anyio.fail_after(share):
                return await connect(address, bound)
        except Exception as error:  # noqa: BLE001 - a library may define its own errors
            if failure is None or _weight(error, progress) > _weight(failure, progress):
                failure = error
    raise failure or ConnectionError("the name has no address")


async def dial(server: ServerAddress, protocol: asyncio.BaseProtocol, progress: Progress) -> None:
    """Connect the protocol to the server.

    If `dial` fails after the protocol was notified, the protocol must abort the connection.

    Raises:
        OSError: no address could be reached, or the server's certificate was not accepted.
        UnicodeError: the name is not a host name.
    """
    connected = await reached(server, connected_socket, progress)
    if server.tls is not None:
        progress.step = HANDSHAKE
    name = server.name if server.tls else None
    loop = asyncio.get_running_loop()
    try:
        transport, _ = await loop.create_connection(
            lambda: protocol, sock=connected, ssl=server.tls, server_hostname=name
        )
    finally:
        # From here on the event loop closes the socket, also if this call fails. uvloop closes the descriptor; if this
        # happens early, the socket object is not notified (0.23) and would later close a reused descriptor number.
        if not isinstance(loop, asyncio.BaseEventLoop):
            connected.detach()
    check_server(transport.get_extra_info("ssl_object"), server.settings)


def check_server(secured: Secured | None, settings: TransportSettings) -> None:
    """Check the protocol and the certificate of a server before a request is sent to it.

    Raises:
        ConnectionError: the text names the negotiated protocol, or says that the certificate matches no pin.
    """
    check_protocol(secured)
    if settings.pins and _fingerprint(secured) not in settings.pins:
        raise ConnectionError("the server's certificate matches none of the pins")


def _known(host: str, port: int) -> Address | None:
    """Return the address if the host is already an IP address, else None."""
    with suppress(ValueError):
        address = ip_address(host)
        if not isinstance(address, IPv6Address):
            return (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (str(address), port))
        # Only the system knows the number of a network interface.
        if address.scope_id is None:
            return (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (str(address), port, 0, 0))
    return None


def _files_are_used_up() -> OSError | None:
    """Return the error if no file can be opened: a resolver in that state reports that the name does not exist."""
    try:
        socket.socket().close()
    except OSError as error:
        return error
    return None


def _in_turns(found: Sequence[Address]) -> list[Address]:
    """Interleave the address families, starting with the one that the system prefers."""
    favourite = [address for address in found if address[0] == found[0][0]]
    other = [address for address in found if address[0] != found[0][0]]
    return [address for pair in zip_longest(favourite, other) for address in pair if address]


def _weight(error: Exception, progress: Progress) -> int:
    """Rank a failure by what it says about the host: 0 if the address is not routed here, 1 for a timeout, else 2."""
    if progress.cause(error) in UNROUTED:
        return 0
    return 1 if isinstance(error, TimeoutError) else 2


def _fingerprint(tls: Secured | None) -> str:
    certificate = tls.getpeercert(binary_form=True) if tls else None
    return hashlib.sha256(certificate).hexdigest() if certificate else ""


async def connected_socket(address: Address, local_address: str | None) -> socket.socket:
    """Return a connected TCP socket; on asyncio."""
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
