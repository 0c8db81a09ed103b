"""The addresses of a name in turn, until one of them answers.

An address that swallows packets, as those of IPv6 do where only IPv4 is routed, must not use up the time of those that
would answer.
"""

from __future__ import annotations

import math
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple, TypeVar

import anyio

from binance_pm.hosts import is_wildcard
from binance_pm.transport.reason import CONNECTING, UNROUTED, Progress
from binance_pm.transport.resolve import RESOLVER, Address, Resolver, family_of

T = TypeVar("T")

_LONGEST_SHARE: Final = 1.0
"""Seconds for one address while there is another one."""


class ServerAddress(NamedTuple):
    """How a server is reached, and told from others."""

    name: str
    """A host name or an IP address."""
    port: int
    tls: ssl.SSLContext | None
    """None for plain TCP."""
    pins: frozenset[str] = frozenset()
    """SHA-256 of the certificates that the server may show, in hexadecimal; empty for whatever `tls` accepts."""
    local_address: str | None = None
    """The IP address of this machine to connect from, or ``0.0.0.0`` or ``::`` to choose nothing but its family; None
    for the system's choice."""
    resolver: Resolver = RESOLVER


async def reached(way: ServerAddress, connect: Callable[[Address, str | None], Awaitable[T]], progress: Progress) -> T:
    """What connects to the first address of the name that can be reached; each has its share of the time.

    Args:
        way: where to.
        connect: connects to one address, from the local address given.
        progress: how long all addresses have together; it is told of each step.

    Raises:
        OSError: the name has no address.
        UnicodeError: the name is not a host name.
        Exception: whatever `connect` raised for the address that says most.
    """
    local = way.local_address
    family = socket.AF_UNSPEC if local is None else family_of(local)
    addresses = await way.resolver.addresses(way.name, way.port, family)
    bound = None if local is None or is_wildcard(local) else local
    progress.step = CONNECTING
    failure: Exception | None = None
    seconds = math.inf if progress.seconds is None else progress.seconds
    for address in addresses:
        try:
            # The last one has what is left.
            share = None if address is addresses[-1] else min(_LONGEST_SHARE, seconds / len(addresses))
            with anyio.fail_after(share):
                return await connect(address, bound)
        except Exception as error:  # noqa: BLE001 - a library may have errors of its own
            if failure is None or _weight(error, progress) > _weight(failure, progress):
                failure = error
    raise failure or ConnectionError("the name has no address")


def _weight(error: Exception, progress: Progress) -> int:
    """How much a failure says about the host: least if its family is not routed here, most if it is no silence."""
    if progress.cause(error) in UNROUTED:
        return 0
    return 1 if isinstance(error, TimeoutError) else 2
