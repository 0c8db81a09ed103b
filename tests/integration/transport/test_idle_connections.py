"""Connections that are kept open between requests."""

from __future__ import annotations

import asyncio
from itertools import count

import anyio

from binance_pm.transport.idle_connections import IdleConnections
from tests.simulation import virtual

HERE, THERE = "https://here", "https://there"


class Made:
    """A connection that records whether it was closed."""

    numbers = count()

    def __init__(self) -> None:
        self.number = next(self.numbers)
        self.is_closed = False

    async def aclose(self) -> None:
        """Close the connection; this takes a moment."""
        await anyio.sleep(0.01)
        self.is_closed = True


def kept(*, most: int = 10) -> IdleConnections[Made]:
    """Connections that are closed after 30 idle seconds."""
    return IdleConnections(Made, most=most, seconds=30.0)


async def test_the_connection_used_last_is_used_first() -> None:
    """Few connections stay busy, and the others may expire."""
    connections = kept()
    first, second = await connections.get(HERE), await connections.get(HERE)
    await connections.put(HERE, second)
    await connections.put(HERE, first)

    assert await connections.get(HERE) is first
    assert await connections.get(HERE) is second
    assert await connections.get(HERE) not in {first, second}


async def test_origins_do_not_share_connections() -> None:
    """A connection belongs to one origin."""
    connections = kept()
    here = await connections.get(HERE)
    await connections.put(HERE, here)

    assert await connections.get(THERE) is not here
    assert await connections.get(HERE) is here


async def test_the_connection_idle_for_longest_is_replaced() -> None:
    """If the maximum number of connections is open."""
    connections = kept(most=2)
    first, second = await connections.get(HERE), await connections.get(HERE)
    await connections.put(HERE, first)
    await connections.put(HERE, second)

    await connections.get(THERE)

    assert (first.is_closed, second.is_closed) == (True, False)


def test_an_expired_connection_is_closed() -> None:
    """At the next return of another connection."""

    async def main() -> tuple[bool, bool]:
        connections = kept()
        old, busy = await connections.get(HERE), await connections.get(HERE)
        await connections.put(HERE, old)
        await asyncio.sleep(31)
        await connections.put(HERE, busy)
        return old.is_closed, busy.is_closed

    assert virtual.run(main) == (True, False)


async def test_closing_includes_connections_in_use() -> None:
    """A call that waits on one gets an error."""
    connections = kept()
    used, idle = await connections.get(HERE), await connections.get(HERE)
    await connections.put(HERE, idle)

    await connections.aclose()

    assert used.is_closed
    assert idle.is_closed


async def test_ending_a_connection_is_not_cut_short() -> None:
    """Even if the call that used the connection is cancelled."""
    connections = kept()
    used = await connections.get(HERE)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await connections.end(used)

    assert used.is_closed
