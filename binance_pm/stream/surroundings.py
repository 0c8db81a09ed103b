"""What a stream needs from outside, and what it counts."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple

import anyio

from binance_pm.signing import Secret
from binance_pm.stream.shared import StreamProduct
from binance_pm.stream.socket import Socket


class Surroundings(NamedTuple):
    """Time and chance, which tests replace."""

    clock: Callable[[], float] = time.monotonic
    """The time in seconds."""
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    jitter: Callable[[], float] = random.random
    """A random number from 0 to 1."""


class StreamSource(NamedTuple):
    """What a stream needs of the exchange."""

    product: StreamProduct
    place: str
    """Host and port of the stream."""
    weight_per_minute: int
    """The limit of the pool in which listen keys count."""
    post_key: Callable[[], Awaitable[Secret]]
    """Returns the active listen key of the account, valid for another hour."""
    connect: Callable[[Secret], AbstractAsyncContextManager[Socket]]
    """Opens a connection with the listen key."""
    bounds: Callable[[float], tuple[float, float]]
    """Returns the earliest and the latest time that the exchange's clock showed at a moment of this machine's clock."""
    until_closed: Callable[[], Awaitable[None]] = anyio.sleep_forever
    """Waits until the client or its session is closed, and raises `SessionClosed` then."""


class StreamCounts:
    """What a stream has counted since it was opened."""

    __slots__ = ("gaps", "lost", "reconnects", "rotations")

    def __init__(self) -> None:
        self.gaps: int = 0
        """Reported gaps."""
        self.lost: int = 0
        """Events that are known to be lost."""
        self.reconnects: int = 0
        """Connections that were opened after the stream had been down."""
        self.rotations: int = 0
        """Connections that were replaced by new ones as planned."""
