"""Drops the streams of many live accounts at once, and measures when they are up and current again.

``python -m tests.benchmarks.live_drop`` prints the times in seconds of an unscaled minute. The local exchange and the
budget run with a minute of six seconds by default, so that the run takes a tenth of the time.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from decimal import Decimal
from typing import Any, Final

from binance_pm import Client, PortfolioMarginError
from binance_pm.attempt_event import AttemptEvent
from binance_pm.stream.live import LiveAccount
from binance_pm.stream.policy import StreamSettings
from binance_pm.testing import Sandbox, StreamFault, StreamRules, running_sandbox

TARGETS: Final = {"up": 30.0, "USD-M positions current": 30.0, "everything current": 480.0}
"""Seconds."""
MOST_ORDER_SECONDS: Final = 0.2
_ORDER: Final[dict[str, Any]] = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "time_in_force": "GTC"}


class Drop:
    """One mass drop.

    Args:
        accounts: how many.
        minute: the length of the exchange's minute in seconds.
    """

    def __init__(self, accounts: int, minute: float) -> None:
        self._accounts: Final = accounts
        self._scale: Final = 60.0 / minute
        self._minute: Final = minute
        self.seconds: Final[dict[str, list[float]]] = {}
        self.orders: Final[list[float]] = []
        self.refused: int = 0

    def run(self) -> None:
        """Run the local exchange and the live accounts."""
        rules = StreamRules(messages=None)
        with running_sandbox(accounts=self._accounts, minute=self._minute, streams=rules) as pm:
            asyncio.run(self._work(pm))

    def _count(self, event: AttemptEvent) -> None:
        self.refused += event.status == 429

    async def _work(self, pm: Sandbox) -> None:
        settings = StreamSettings()
        if self._scale > 1:
            settings = StreamSettings(attempts_per_second=round(10 * self._scale), attempts_per_5_minutes=10_000)
        async with AsyncExitStack() as stack:
            session = await stack.enter_async_context(pm.session())
            session.add_listener(self._count)
            clients = [await stack.enter_async_context(pm.client(n, session=session)) for n in range(self._accounts)]
            lives = [client.live_account(settings=settings) for client in clients]
            entered, leaving = asyncio.Semaphore(0), asyncio.Event()

            async def hold(live: LiveAccount) -> None:
                async with live:
                    entered.release()
                    await leaving.wait()

            held = asyncio.gather(*(hold(live) for live in lives))
            for _ in lives:
                await entered.acquire()
            # The minute of the drop begins with unused weight.
            await asyncio.sleep(1.2 * self._minute)
            pm.exchange.streams.apply(StreamFault(kind="break"))
            placing = asyncio.create_task(self._place(clients[0]))
            await self._watch(lives)
            placing.cancel()
            leaving.set()
            await held

    async def _watch(self, lives: list[LiveAccount]) -> None:
        begun, holds = time.monotonic(), _conditions()
        waiting = {name: set(range(len(lives))) for name in holds}
        while any(live.is_current for live in lives):  # noqa: ASYNC110 - a change of any of many accounts
            await asyncio.sleep(0.001)
        while any(waiting.values()):
            await asyncio.sleep(0.01)
            for name, numbers in waiting.items():
                done = {number for number in numbers if holds[name](lives[number])}
                numbers.difference_update(done)
                passed = (time.monotonic() - begun) * self._scale
                self.seconds.setdefault(name, []).extend(passed for _ in done)

    async def _place(self, client: Client) -> None:
        while True:
            begun = time.monotonic()
            try:
                order = await client.um.new_order(**_ORDER, quantity=Decimal("0.01"), price=Decimal(50_000))
                self.orders.append(time.monotonic() - begun)
                await client.um.cancel_order("BTCUSDT", order_id=order.order_id)
            except PortfolioMarginError as error:
                print(error)
            await asyncio.sleep(1 / self._scale)


def _conditions() -> dict[str, Callable[[LiveAccount], bool]]:
    def is_up(live: LiveAccount) -> bool:
        return live._resync is not None and live._resync._is_up

    def has_positions(live: LiveAccount) -> bool:
        return is_up(live) and live._resync is not None and live._resync._parts["um.positions"].is_read

    return {"up": is_up, "USD-M positions current": has_positions, "everything current": lambda live: live.is_current}


def main() -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description="Drop the streams of many live accounts at once.")
    parser.add_argument("--accounts", type=int, default=200)
    parser.add_argument("--minute", type=float, default=6.0, help="length of the exchange's minute in seconds")
    options = parser.parse_args()
    logging.getLogger("binance_pm").setLevel(logging.ERROR)
    drop = Drop(options.accounts, options.minute)
    drop.run()
    missed = False
    print(f"{options.accounts} accounts, a minute of {options.minute:g} s, figures in seconds of a real minute")
    for name, target in TARGETS.items():
        times = drop.seconds[name]
        missed |= max(times) > target
        print(f"{name:<26} median {statistics.median(times):6.1f}   last {max(times):6.1f}   at most {target:g}")
    p99 = statistics.quantiles(drop.orders, n=100)[98]
    print(f"{'orders, real seconds':<26} p99 {p99:9.3f}   of {len(drop.orders)}        at most {MOST_ORDER_SECONDS}")
    print(f"{'refused with 429':<26} {drop.refused}")
    return 1 if missed or drop.refused or p99 > MOST_ORDER_SECONDS else 0


if __name__ == "__main__":
    sys.exit(main())
