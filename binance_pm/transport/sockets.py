"""What the system knows of a socket, and how a process lets go of one that it shares with another process."""

from __future__ import annotations

import os
import socket
import sys
from contextlib import suppress
from typing import Final

if sys.platform != "win32":
    import fcntl
    import termios


# Each is asked for every answer: what they have in common is written out.


def unread(descriptor: int) -> int:
    """How many bytes have arrived and were not read; 0 where the system does not tell."""
    if sys.platform == "win32":
        return 0
    try:
        return int.from_bytes(fcntl.ioctl(descriptor, termios.FIONREAD, b"\0\0\0\0"), sys.byteorder)
    except (OSError, ValueError):
        return 0


def unacknowledged(descriptor: int) -> int:
    """How many of the bytes written the other side has not confirmed; 0 where the system does not tell."""
    if sys.platform != "linux":
        return 0
    try:
        return int.from_bytes(fcntl.ioctl(descriptor, termios.TIOCOUTQ, b"\0\0\0\0"), sys.byteorder)
    except (OSError, ValueError):
        return 0


class Descriptors:
    """The sockets that a transport has opened, to be dropped in a process that may not use them.

    A number stands for the socket that was opened last under it, so they are never more than a process may have.
    """

    __slots__ = ("_inodes",)

    def __init__(self) -> None:
        self._inodes: Final[dict[int, int]] = {}

    def add(self, descriptor: int) -> None:
        """Remember a socket that was opened here."""
        with suppress(OSError):
            self._inodes[descriptor] = os.fstat(descriptor).st_ino

    def drop(self) -> None:
        """Put a dead socket in the place of each that is still open here, without a byte or a word to the other side.

        The child of a fork has copies of the parent's descriptors, and even its selector: to close the connection
        would shut it down for the parent, and to unregister it would make the parent's event loop deaf to it. Libraries
        may go on to use or close the number: they reach the dead socket.
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
