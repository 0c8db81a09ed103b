"""The memory of a fleet is bounded and does not grow; counted, not timed."""

from __future__ import annotations

import asyncio
import gc
import sys
import tracemalloc
from collections.abc import AsyncIterator

import pytest

from binance_pm import LimitType
from binance_pm.budget import Family
from binance_pm.fleet import FleetEvent, Reading
from tests.simulation import virtual
from tests.support.coverage import unmeasured
from tests.support.echo import Echo

ACCOUNTS = 1_000
FEW_ACCOUNTS = 100
# What is kept for some minutes, such as used weight, has its size after thirty readings of each account.
WARM_UP = 3_000
READINGS = 4_000
MOST = 20_000
# Large enough for the maximum interval: the accounts are measured, not the minutes.
LIMITS: dict[tuple[Family, LimitType], int] = {("papi", LimitType.IP): 1_000_000}

pytestmark = pytest.mark.timeout(300)


async def take(watch: AsyncIterator[FleetEvent], readings: int, echo: Echo) -> None:
    """Take events until there were so many readings; the exchange forgets its requests."""
    while readings:
        readings -= isinstance(await anext(watch), Reading)
        echo.arrived.clear()


def test_a_thousand_accounts_take_little_memory() -> None:
    """At most 20 kB each: client, budget, last responses, and thirty positions of which one is open."""

    async def measure() -> int:
        echo = Echo(asyncio.get_running_loop().time)
        echo.limits, echo.positions = LIMITS, 30
        gc.collect()
        tracemalloc.start()
        try:
            async with echo.fleet(ACCOUNTS) as fleet:
                # Every account has been read once before any is read twice.
                await take(fleet.watch(warn="1.5", alarm="1.2"), ACCOUNTS, echo)
                assert all(snapshot.age is not None for snapshot in fleet.snapshot())
                gc.collect()
                return tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()

    with unmeasured():
        whole = virtual.run(measure, patience=280)
    print("bytes of an account:", whole / ACCOUNTS)

    assert whole / ACCOUNTS <= MOST


def test_thousands_of_readings_later_memory_is_the_same() -> None:
    """Memory is kept per account, not per reading: the number of blocks does not grow."""

    async def measure() -> tuple[int, int]:
        echo = Echo(asyncio.get_running_loop().time)
        echo.limits = LIMITS
        async with echo.fleet(FEW_ACCOUNTS, read=("account",)) as fleet:
            watch = fleet.watch(warn="1.5", alarm="1.2")
            await take(watch, WARM_UP, echo)
            gc.collect()
            before = sys.getallocatedblocks()
            await take(watch, READINGS, echo)
            gc.collect()
            return before, sys.getallocatedblocks()

    with unmeasured():
        before, after = virtual.run(measure, patience=280)
    print("blocks:", before, "and", READINGS, "readings later:", after)

    # One reading in ten that left anything behind would show.
    assert after - before <= READINGS / 10
