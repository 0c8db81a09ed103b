"""What the dashboard costs of the processor: one refresh, at so many accounts that are all read again meanwhile.

Run it with ``nox -s bench``. There are four refreshes a second. What the fleet itself takes to say what it knows is not
in it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from itertools import count
from random import Random

from binance_pm.cli.dashboard.app import Dashboard
from binance_pm.cli.dashboard.rows import aged
from binance_pm.cli.dashboard.screen import screen_of
from binance_pm.cli.dashboard.view import View
from binance_pm.fleet.state import FleetState
from tests.support.snapshots import NOON, account, fleet_state, history_of

REFRESHES = 40
SIZES = [(80, 24), (200, 60)]


def moments(accounts: int) -> Iterator[FleetState]:
    """The same accounts again and again, worth something else each time."""
    chance = Random(7)
    known = [account(f"desk-{place:04}", str(round(chance.uniform(1.1, 9), 4))) for place in range(accounts)]
    for second in count():
        later = chance.random()
        yield FleetState(at=NOON + second, accounts=[aged(one, later) for one in known], pools=fleet_state([]).pools)


def seconds_of_pictures(accounts: int, size: tuple[int, int]) -> float:
    """Processor seconds to make the lines of one screen."""
    source = moments(accounts)
    history = history_of(next(source).accounts)
    known = [next(source) for _ in range(REFRESHES)]
    began = time.process_time()
    for one in known:
        screen_of(one, history, View(), width=size[0], height=size[1], since=NOON)
    return (time.process_time() - began) / REFRESHES


async def seconds_of_refreshes(accounts: int, size: tuple[int, int]) -> float:
    """Processor seconds of one refresh, with what Textual makes of it."""
    source = moments(accounts)
    history = history_of(next(source).accounts)
    known = [next(source) for _ in range(REFRESHES + 2)]
    dashboard = Dashboard(known.pop, history, every=None)
    async with dashboard.run_test(size=size) as pilot:
        await pilot.pause()
        began = time.process_time()
        while len(known) > 1:
            dashboard.draw()
            await asyncio.sleep(0.02)
        return (time.process_time() - began) / REFRESHES


def main() -> None:
    """Print both for 200 and 1000 accounts."""
    for accounts in (200, 1000):
        for size in SIZES:
            lines = 1000 * seconds_of_pictures(accounts, size)
            whole = 1000 * asyncio.run(seconds_of_refreshes(accounts, size))
            screen = f"{size[0]}x{size[1]}"
            print(
                f"dashboard, {accounts:>5} accounts, {screen:>6}   {lines:>5.1f} ms its lines, {whole:>5.1f} ms in all"
            )


if __name__ == "__main__":
    main()
