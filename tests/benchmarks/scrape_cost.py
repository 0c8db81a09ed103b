"""What one scrape costs on this machine: CPU in the event loop, where calls wait for it, and all of it.

Run it with ``nox -s bench``. The accounts are watched in virtual time; of Portfolio Margin, with two endpoints and two
lines each.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from binance_pm.metrics import Metrics
from binance_pm.metrics.server import written
from tests.simulation.virtual import run
from tests.support.echo import Echo

ACCOUNTS = 200, 1_000
ROUNDS = 7
# Everybody was read by then.
SECONDS = 400


class Cost(NamedTuple):
    """Of one scrape."""

    in_the_loop: float
    """Milliseconds."""
    whole: float
    """Milliseconds."""
    lines: int
    size: int
    """Bytes."""


async def measure(accounts: int) -> Cost:
    """Watch, and scrape."""
    echo = Echo(asyncio.get_running_loop().time)
    metrics = Metrics()
    async with echo.fleet(accounts) as fleet:
        metrics.watch(fleet)

        async def take() -> None:
            async for event in fleet.watch(warn="1.5", alarm="1.2"):
                metrics.receive(event)

        taking = asyncio.create_task(take())
        await asyncio.sleep(SECONDS)
        source = metrics._source
        assert source is not None
        page = written(metrics.registry)
        cost = Cost(fastest(source.ask), fastest(partial(written, metrics.registry)), page.count(b"\n"), len(page))
        taking.cancel()
    return cost


def fastest(work: Callable[[], object]) -> float:
    """Milliseconds of CPU, of the fastest of some rounds: whatever disturbs them only adds."""
    rounds: list[float] = []
    for _ in range(ROUNDS):
        began = time.process_time()
        work()
        rounds.append((time.process_time() - began) * 1e3)
    return min(rounds)


def main() -> None:
    """Print the table."""
    print(f"{'a scrape of':<20}{'in the loop':>13}{'in all':>10}{'lines':>9}{'size':>10}")
    for accounts in ACCOUNTS:
        cost = run(partial(measure, accounts))
        print(
            f"{f'{accounts:,} accounts':<20}{cost.in_the_loop:>10.1f} ms{cost.whole:>7.0f} ms"
            f"{cost.lines:>9,}{cost.size / 1e3:>7.0f} kB"
        )


if __name__ == "__main__":
    main()
