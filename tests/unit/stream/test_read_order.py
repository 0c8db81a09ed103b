"""In which order the live accounts of a session are read."""

from __future__ import annotations

import anyio
import pytest

from binance_pm.stream.resync import ReadOrder
from tests.support.clocks import FakeClock


async def test_a_repeated_read_waits_for_first_reads_of_other_accounts() -> None:
    """First reads need all of the limit after a mass drop."""
    clock = FakeClock(100.0)
    order = ReadOrder(clock, clock.sleep)
    order.lacks("another account", 4)
    has_turn = anyio.Event()

    async def repeat() -> None:
        async with order.repeated() as spend:
            spend(600)
            has_turn.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(repeat)
        await anyio.wait_all_tasks_blocked()
        assert not has_turn.is_set()
        order.lacks_nothing("another account")
    assert has_turn.is_set()
    async with order.repeated():
        assert clock.slept == [60.0]


@pytest.mark.parametrize(("accounts", "seconds"), [(1, 5.0), (5, 5.0), (10, 10.0), (200, 200.0)])
def test_reads_of_accounts_in_danger_use_a_fifth_of_the_limit(accounts: int, seconds: float) -> None:
    """The interval grows with their number."""
    clock = FakeClock(0.0)
    order = ReadOrder(clock, clock.sleep)
    due = [0.0] * accounts
    for _ in range(10 * accounts):
        first = min(range(accounts), key=due.__getitem__)
        clock.now = due[first]
        due[first] += order.pause_of_risk()

    assert max(due) / 10 == pytest.approx(seconds, rel=0.2)
