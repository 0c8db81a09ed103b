"""Target 7: the streams of 200 live accounts break at once, and an account goes on placing orders.

The exchange has a process of its own. In a quick run, its minute takes six seconds, and figures are scaled to a real
minute; the time of an order is never scaled.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from decimal import Decimal
from multiprocessing import Pipe, get_context
from multiprocessing.connection import Connection
from typing import Any, Final

from binance_pm import Budget, Client, PortfolioMarginError, Session
from binance_pm.attempt_event import AttemptEvent
from binance_pm.stream.live import LiveAccount
from binance_pm.stream.policy import StreamSettings
from binance_pm.testing import StreamFault, StreamRules
from tests.benchmarks.streams.followed import plain_accounts
from tests.benchmarks.streams.verdicts import Options, Verdict, at_most, exactly

ACCOUNTS: Final = 200
BOUNDS: Final = {"up": 30.0, "USD-M positions current": 30.0, "everything current": 480.0}
"""Seconds."""
MOST_ORDER_SECONDS: Final = 0.2
_ORDER: Final[dict[str, Any]] = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "time_in_force": "GTC"}


def exchange(pipe: Connection, minute: float) -> None:
    """Run the local exchange; break all streams when something arrives in the pipe, and end with the next thing."""
    with plain_accounts(ACCOUNTS, minute=minute, streams=StreamRules(messages=None)) as pm:
        pipe.send((pm.base_url, [(one.api_key, one.api_secret) for one in pm.accounts]))
        pipe.recv()
        pm.exchange.streams.apply(StreamFault(kind="break"))
        pipe.recv()


class Drop:
    """One mass drop.

    Args:
        minute: the length of the exchange's minute in seconds.
        break_streams: breaks all streams.
    """

    def __init__(self, minute: float, break_streams: Callable[[], None]) -> None:
        self.seconds: Final[dict[str, list[float]]] = {name: [] for name in BOUNDS}
        """When each account reached what is demanded, scaled to a real minute."""
        self.orders: Final[list[float]] = []
        """Real seconds from call to response."""
        self.waits: Final[list[float]] = []
        """Those of them until the order had its weight."""
        self.failures: int = 0
        self.refused: int = 0
        self._minute: Final = minute
        self._scale: Final = 60.0 / minute
        self._break_streams: Final = break_streams

    async def run(self, url: str, keys: list[tuple[str, str]]) -> None:
        """Open the live accounts, break their streams, and wait until everything is current again."""
        settings = StreamSettings(attempts_per_second=round(10 * self._scale), attempts_per_5_minutes=10_000)
        async with AsyncExitStack() as stack:
            session = await stack.enter_async_context(Session(budget=Budget(minute=self._minute)))
            session.add_listener(self._count)
            clients = [
                await stack.enter_async_context(Client(*key, session=session, papi_url=url, sapi_url=url))
                for key in keys
            ]
            lives = [client.live_account(settings=settings) for client in clients]
            # Entered together, and left together.
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
            self._break_streams()
            placing = asyncio.create_task(self._place(clients[0]))
            await self._watch(lives)
            placing.cancel()
            leaving.set()
            await held

    def _count(self, event: AttemptEvent) -> None:
        self.refused += event.status == 429
        if event.call.endpoint == "um.new_order":
            self.waits.append(event.waited)

    async def _watch(self, lives: list[LiveAccount]) -> None:
        begun = time.monotonic()
        while any(live.is_current for live in lives):  # noqa: ASYNC110 - no single event covers many accounts
            await asyncio.sleep(0.01)
        waiting = {name: set(lives) for name in BOUNDS}
        while any(waiting.values()):
            await asyncio.sleep(0.05)
            for name, lacking in waiting.items():
                done = {live for live in lacking if has_reached(name, live)}
                lacking.difference_update(done)
                self.seconds[name] += [(time.monotonic() - begun) * self._scale] * len(done)

    async def _place(self, client: Client) -> None:
        """Place an order a second of a real minute, and cancel it."""
        while True:
            begun = time.monotonic()
            try:
                order = await client.um.new_order(**_ORDER, quantity=Decimal("0.01"), price=Decimal(50_000))
                self.orders.append(time.monotonic() - begun)
                await client.um.cancel_order("BTCUSDT", order_id=order.order_id)
            except PortfolioMarginError:
                self.failures += 1
            await asyncio.sleep(1 / self._scale)


def has_reached(name: str, live: LiveAccount) -> bool:
    """Return whether an account has reached what is demanded."""
    resync = live._resync
    assert resync is not None
    if name == "everything current":
        return live.is_current
    return resync._is_up and (name == "up" or resync._parts["um.positions"].is_read)


def run(options: Options) -> list[Verdict]:
    """Print the table; return the verdicts."""
    minute = 6.0 if options.is_quick else 60.0
    ours, theirs = Pipe()
    process = get_context("spawn").Process(target=exchange, args=(theirs, minute))
    process.start()
    try:
        one = Drop(minute, lambda: ours.send("break"))
        asyncio.run(one.run(*ours.recv()))
        ours.send("end")
    finally:
        process.join(10)
        process.kill()
    options.say(f"{ACCOUNTS} accounts; the exchange's minute takes {minute:g} s.\n")
    options.say("| | median | last |")
    options.say("|---|---:|---:|")
    for name, times in one.seconds.items():
        options.say(f"| {name} | {statistics.median(times):.1f} s | {max(times):.1f} s |")
    p99, waited = (statistics.quantiles(times, n=100)[98] for times in (one.orders, one.waits))
    orders = f"{len(one.orders)} orders"
    options.say(f"| {orders} | {statistics.median(one.orders):.3f} s | {max(one.orders):.3f} s |")
    options.say(f"| their wait for weight | {statistics.median(one.waits):.3f} s | {max(one.waits):.3f} s |")
    what = f"{ACCOUNTS} accounts dropped at once"
    verdicts = [
        at_most(7, f"{what}: last {name}", BOUNDS[name], max(t), " s", digits=1) for name, t in one.seconds.items()
    ]
    return [
        *verdicts,
        at_most(7, f"{what}: p99 of {orders}", MOST_ORDER_SECONDS, p99, " s", digits=3),
        at_most(7, f"{what}: p99 of their wait for weight", MOST_ORDER_SECONDS, waited, " s", digits=3),
        exactly(7, f"{what}: refused with 429", 0, one.refused),
        exactly(7, f"{what}: orders that failed", 0, one.failures),
    ]
