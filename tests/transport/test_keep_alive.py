"""Connections that are kept open between two requests."""

from __future__ import annotations

import asyncio
from itertools import count

import anyio

from binance_pm.transport.keep_alive import KeepAlive
from tests.simulation import virtual

HERE, THERE = "https://here", "https://there"


class Made:
    """A connection that knows whether it was closed."""

    numbers = count()

    def __init__(self) -> None:
        self.number = next(self.numbers)
        self.is_closed = False

    async def aclose(self) -> None:
        """Close it; this takes a moment."""
        await anyio.sleep(0.01)
        self.is_closed = True


def kept(*, most: int = 10) -> KeepAlive[Made]:
    """Connections that are closed when they were idle for 30 seconds."""
    return KeepAlive(Made, most=most, seconds=30.0)


async def test_the_last_used_goes_first() -> None:
    """Few stay busy, and the rest may grow old."""
    connections = kept()
    first, second = await connections.take(HERE), await connections.take(HERE)
    await connections.give(HERE, second)
    await connections.give(HERE, first)

    assert await connections.take(HERE) is first
    assert await connections.take(HERE) is second
    assert await connections.take(HERE) not in {first, second}


async def test_origins_do_not_mix() -> None:
    """A connection leads to one place."""
    connections = kept()
    here = await connections.take(HERE)
    await connections.give(HERE, here)

    assert await connections.take(THERE) is not here
    assert await connections.take(HERE) is here


async def test_the_one_idle_for_longest_makes_way() -> None:
    """Where there are as many as may be."""
    connections = kept(most=2)
    first, second = await connections.take(HERE), await connections.take(HERE)
    await connections.give(HERE, first)
    await connections.give(HERE, second)

    await connections.take(THERE)

    assert (first.is_closed, second.is_closed) == (True, False)


def test_what_nobody_needs_is_closed() -> None:
    """When another one is given back later."""

    async def main() -> tuple[bool, bool]:
        connections = kept()
        old, busy = await connections.take(HERE), await connections.take(HERE)
        await connections.give(HERE, old)
        await asyncio.sleep(31)
        await connections.give(HERE, busy)
        return old.is_closed, busy.is_closed

    assert virtual.run(main) == (True, False)


async def test_closing_closes_those_in_use_too() -> None:
    """Whoever waits on one is told by it."""
    connections = kept()
    used, idle = await connections.take(HERE), await connections.take(HERE)
    await connections.give(HERE, idle)

    await connections.aclose()

    assert used.is_closed
    assert idle.is_closed


async def test_ending_one_is_not_cut_short() -> None:
    """Although the call that used it is cancelled."""
    connections = kept()
    used = await connections.take(HERE)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await connections.end(used)

    assert used.is_closed
