"""What the system knows about a socket, and how to drop a socket that is shared with another process."""

from __future__ import annotations

import os
import select
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

if sys.platform != "win32":
    import fcntl
    import termios


# Both functions run for every response, so their common code is inlined.


def unread(descriptor: int) -> int:
    """Return how many bytes have arrived and were not read; 0 if the system cannot tell."""
    if sys.platform == "win32":
        return 0
    try:
        return int.from_bytes(fcntl.ioctl(descriptor, termios.FIONREAD, b"\0\0\0\0"), sys.byteorder)
    except (OSError, ValueError):
        return 0


def unacknowledged(descriptor: int) -> int:
    """Return how many written bytes the peer has not acknowledged; 0 if the system cannot tell."""
    if sys.platform != "linux":
        return 0
    try:
        return int.from_bytes(fcntl.ioctl(descriptor, termios.TIOCOUTQ, b"\0\0\0\0"), sys.byteorder)
    except (OSError, ValueError):
        return 0


def readiness(descriptor: int) -> Callable[[int], Sequence[object]]:
    """Return a function that asks the system for arrived data that the event loop has not processed yet."""
    if not hasattr(select, "poll"):
        return lambda _: ()
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return poll.poll


class Descriptors:
    """The sockets that a transport has opened, to be dropped in a process that must not use them.

    A number stands for the last socket opened under it, so there are never more entries than descriptors of a process.
    """

    __slots__ = ("_inodes",)

    def __init__(self) -> None:
        self._inodes: Final[dict[int, int]] = {}

    def add(self, descriptor: int) -> None:
        """Record a socket that was opened in this process."""
        with suppress(OSError):
            self._inodes[descriptor] = os.fstat(descriptor).st_ino

    def drop(self) -> None:
        """Replace each socket that is still open in this process with a dead socket, without notifying the peer.

        A forked child has copies of the parent's descriptors, and even of the parent's selector: closing the connection
        would shut it down for the parent, and unregistering the socket would hide its events from the parent's event
        loop. Libraries may still use or close the descriptor number: they reach the dead socket.
        """
        with suppress(OSError):
            dead, other = socket.socketpair()
            other.close()
            with dead:
                for descriptor, inode in self._inodes.items():
                    with suppress(OSError):
                        if os.fstat(descriptor).st_ino == inode:
                            os.dup2(dead.fileno(), descriptor, inheritable=False)
        self._inodes.clear()
