"""The clock, the sleep and the random numbers of a stream."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import anyio


class Timing(NamedTuple):
    """The clock, the sleep and the random numbers of a stream, which tests replace."""

    clock: Callable[[], float] = time.monotonic
    """Returns the time in seconds."""
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    """Waits for a number of seconds."""
    jitter: Callable[[], float] = random.random
    """Returns a random number from 0 to 1."""
