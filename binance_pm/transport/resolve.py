"""The addresses of a host name, looked up in threads of our own.

Event loops look names up in the threads of their default executor. All of these may be busy, and `asyncio.run` waits
for them at its end, however long the resolver of the system hangs. A thread of ours is a daemon: nothing waits for it.
Lookups of the same name at the same time share one thread, so that there are no more threads than names.
"""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from ipaddress import IPv6Address, ip_address
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Final

import anyio

from binance_pm.wakeup import waker

if TYPE_CHECKING:
    from concurrent.futures import Future

Address = tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]
"""As `socket.getaddrinfo` returns it."""

LookUp = Callable[..., Sequence[Any]]
"""As `socket.getaddrinfo`."""

_Key = tuple[int, str, int, socket.AddressFamily]


class Resolver:
    """Looks names up; safe to use from many event loops and threads at once.

    Args:
        look_up: asks the system; None for `socket.getaddrinfo`.
    """

    def __init__(self, look_up: LookUp | None = None) -> None:
        self._look_up: Final = look_up
        self._under_way: Final[dict[_Key, Future[list[Address]]]] = {}

    async def addresses(self, host: str, port: int, family: socket.AddressFamily = socket.AF_UNSPEC) -> list[Address]:
        """The addresses of a host, its families in turns; an IP address is its own.

        Raises:
            OSError: the name has no address of the family, or cannot be looked up.
            UnicodeError: it is not a host name.
        """
        if (known := _known(host, port)) is not None:
            if family not in {socket.AF_UNSPEC, known[0]}:
                raise ConnectionError(f"it is not an {_NAMES[family]} address, and no other may be used")
            return [known]
        # A child process has none of its parent's threads.
        key = (os.getpid(), host, port, family)
        looking = self._under_way.get(key) or self._start(key)
        done = anyio.Event()
        wake = waker(done.set)
        looking.add_done_callback(lambda _: wake())
        await done.wait()
        return _in_turns(looking.result())

    def _start(self, key: _Key) -> Future[list[Address]]:
        from concurrent.futures import Future  # noqa: PLC0415 - an address needs none

        looking = self._under_way[key] = Future[list[Address]]()
        _, host, port, family = key

        def look() -> None:
            try:
                found = (self._look_up or socket.getaddrinfo)(host, port, family=family, type=socket.SOCK_STREAM)
            except Exception as error:  # noqa: BLE001 - it is raised where the name is needed
                self._under_way.pop(key, None)
                looking.set_exception(_files_are_used_up() or error)
            else:
                self._under_way.pop(key, None)
                looking.set_result(list(found))

        try:
            threading.Thread(target=look, daemon=True, name="binance-pm resolver").start()
        except RuntimeError:
            del self._under_way[key]
            raise OSError(errno.EAGAIN, "no thread can be started") from None
        return looking


RESOLVER: Final = Resolver()
"""Of the process."""

_NAMES: Final = {socket.AF_INET: "IPv4", socket.AF_INET6: "IPv6"}


def family_of(address: str) -> socket.AddressFamily:
    """The family of an IP address."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _known(host: str, port: int) -> Address | None:
    """The address that the host already is."""
    with suppress(ValueError):
        address = ip_address(host)
        if not isinstance(address, IPv6Address):
            return (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (str(address), port))
        # The number of a network interface is the system's to know.
        if address.scope_id is None:
            return (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (str(address), port, 0, 0))
    return None


def _files_are_used_up() -> OSError | None:
    """A resolver that can open no file says that there is no such name."""
    try:
        socket.socket().close()
    except OSError as error:
        return error
    return None


def _in_turns(found: Sequence[Address]) -> list[Address]:
    """The families in turns, the system's favourite first."""
    favourite = [address for address in found if address[0] == found[0][0]]
    other = [address for address in found if address[0] != found[0][0]]
    return [address for pair in zip_longest(favourite, other) for address in pair if address]
