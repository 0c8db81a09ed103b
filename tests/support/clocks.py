"""Clocks for tests: none of them waits for real time to pass."""

from __future__ import annotations

import math
import time

import anyio
import anyio.lowlevel

START = 1_800_000_010.0
"""Ten seconds into a minute of the exchange."""


async def settled() -> None:
    """Let every task that can run do so."""
    for _ in range(20):
        await anyio.lowlevel.checkpoint()


class FakeClock:
    """A clock that moves when a test sets it, or when something sleeps."""

    def __init__(self, now: float = START) -> None:
        self.now = now
        self.slept: list[float] = []

    def __call__(self) -> float:
        """Return the time in seconds."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Let the time pass at once."""
        self.slept.append(seconds)
        self.now += seconds
        await anyio.lowlevel.checkpoint()


class ManualClock:
    """A clock that moves only when a test says so; sleeping tasks wait for it."""

    def __init__(self, now: float = START) -> None:
        self.now = now
        self._sleepers: dict[anyio.Event, float] = {}

    def __call__(self) -> float:
        """Return the time in seconds."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock has been moved far enough."""
        woken = anyio.Event()
        self._sleepers[woken] = self.now + seconds
        try:
            await woken.wait()
        finally:
            del self._sleepers[woken]

    def next_at(self) -> float:
        """Return when the next sleeping task wakes, infinite if none sleeps."""
        return min(self._sleepers.values(), default=math.inf)

    def wake(self) -> None:
        """Wake the tasks whose time has come."""
        for woken, at in self._sleepers.items():
            if at <= self.now:
                woken.set()

    async def advance(self, seconds: float) -> None:
        """Move the clock, and let every task run that waited for it."""
        self.now += seconds
        self.wake()
        await settled()


class ShiftedClock:
    """Clocks that go on by themselves from 20 s after the turn of a minute, and that a test can set forward."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self._began = time.monotonic()
        self._epoch = time.time() // 60 * 60 + 20

    def monotonic(self) -> float:
        """Return seconds that never step back."""
        return time.monotonic() + self.ahead

    def wall(self) -> float:
        """Return seconds since the epoch."""
        return self._epoch + time.monotonic() - self._began + self.ahead
