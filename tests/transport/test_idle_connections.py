"""Connections that are kept open between two requests."""

from __future__ import annotations

import asyncio
from itertools import count

import anyio

from binance_pm.transport.idle_connections import IdleConnections
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


def kept(*, most: int = 10) -> IdleConnections[Made]:
    """Connections that are closed when they were idle for 30 seconds."""
    return IdleConnections(Made, most=most, seconds=30.0)


async def test_the_last_used_goes_first() -> None:
    """Few stay busy, and the rest may grow old."""
    connections = kept()
    first, second = await connections.get(HERE), await connections.get(HERE)
    await connections.put(HERE, second)
    await connections.put(HERE, first)

    assert await connections.get(HERE) is first
    assert await connections.get(HERE) is second
    assert await connections.get(HERE) not in {first, second}


async def test_origins_do_not_mix() -> None:
    """A connection leads to one place."""
    connections = kept()
    here = await connections.get(HERE)
    await connections.put(HERE, here)

    assert await connections.get(THERE) is not here
    assert await connections.get(HERE) is here


async def test_the_one_idle_for_longest_makes_way() -> None:
    """Where there are as many as may be."""
    connections = kept(most=2)
    first, second = await connections.get(HERE), await connections.get(HERE)
    await connections.put(HERE, first)
    await connections.put(HERE, second)

    await connections.get(THERE)

    assert (first.is_closed, second.is_closed) == (True, False)


def test_what_nobody_needs_is_closed() -> None:
    """When another one is given back later."""

    async def main() -> tuple[bool, bool]:
        connections = kept()
        old, busy = await connections.get(HERE), await connections.get(HERE)
        await connections.put(HERE, old)
        await asyncio.sleep(31)
        await connections.put(HERE, busy)
        return old.is_closed, busy.is_closed

    assert virtual.run(main) == (True, False)


async def test_closing_closes_those_in_use_too() -> None:
    """Whoever waits on one is told by it."""
    connections = kept()
    used, idle = await connections.get(HERE), await connections.get(HERE)
    await connections.put(HERE, idle)

    await connections.aclose()

    assert used.is_closed
    assert idle.is_closed


async def test_ending_one_is_not_cut_short() -> None:
    """Although the call that used it is cancelled."""
    connections = kept()
    used = await connections.get(HERE)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await connections.end(used)

    assert used.is_closed
