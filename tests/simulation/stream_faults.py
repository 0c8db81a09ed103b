"""Streams under random faults on real sockets: is every lost event inside a reported gap?

``python -m tests.simulation.stream_faults --faults 10000`` prints one line for each event loop and for each way in
which the exchange may serve two connections of one key:

* pushed: events that the exchange pushed, also while no connection was open;
* lost, reported: events that did not arrive, with a `StreamGap` between their neighbours;
* lost, unreported: events that did not arrive, without a gap;
* outside: reported losses that were pushed before the gap's ``since`` or after its ``until``;
* duplicates and out of order: events that arrived twice, or after a later one.

All intervals are about a hundred times shorter than in use, so that faults, confirmations, pings and rotations overlap.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import random
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import anyio
import msgspec

from binance_pm.api.futures_events import OrderTradeUpdate
from binance_pm.api.margin_events import ExecutionReport
from binance_pm.errors import CallInfo, ConnectError, PortfolioMarginError
from binance_pm.stream.items import AnyEvent, StreamDown, StreamGap, StreamUp
from binance_pm.stream.policy import StreamSettings
from binance_pm.stream.shared import SessionStreams
from binance_pm.stream.supervisor import Supervisor
from binance_pm.stream.surroundings import Surroundings
from tests.support.stream_server import Delivery, StreamServer, stream_server
from tests.support.stream_source import source_of

SETTINGS: Final = StreamSettings(
    confirm_every=0.4,
    ping_every=0.2,
    ping_timeout=0.2,
    rotate_after=0.7,
    rotate_jitter=0.5,
    overlap=0.08,
    first_backoff=0.02,
    longest_backoff=0.1,
    attempts_per_second=1000,
    attempts_per_5_minutes=1_000_000,
)
DELIVERIES: Final[tuple[Delivery, ...]] = ("all", "newest", "oldest")
BACKENDS: Final = ("asyncio", "trio")

_SAMPLES: Final = Path(__file__).parents[1] / "samples" / "streams"
_BETWEEN_EVENTS: Final = 0.01
_BETWEEN_FAULTS: Final = (0.1, 0.5)
_REFUSED_SECONDS: Final = 0.3
_SECONDS_TO_END: Final = 15.0


class FaultCounts(msgspec.Struct, kw_only=True):
    """What happened in a run."""

    pushed: int = 0
    faults: int = 0
    rotations: int = 0
    lost_reported: int = 0
    gaps: int = 0
    lost_unreported: int = 0
    outside: int = 0
    duplicates: int = 0
    out_of_order: int = 0

    def add(self, other: FaultCounts) -> None:
        """Add the counts of another run."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    @property
    def is_right(self) -> bool:
        """Whether the promise was kept."""
        return not (self.lost_unreported or self.outside or self.duplicates or self.out_of_order)


def sample(name: str) -> dict[str, Any]:
    """Return a sample of an event."""
    return json.loads((_SAMPLES / f"{name}.json").read_text(encoding="utf-8"))["message"]


class Script:
    """What one server does: pushes events, and injects faults, from one seed.

    Args:
        server: the server.
        seed: of all that is random.
        faults: how many faults to inject.
    """

    def __init__(self, server: StreamServer, seed: int, faults: int) -> None:
        self.server: Final = server
        self.pushed_at: Final[list[float]] = []
        """When each event was pushed; its index is its order id, minus 1."""
        self.faults: int = 0
        self.is_over: Final = threading.Event()
        self.refused_until: float = 0.0
        self._wanted: Final = faults
        self._random: Final = random.Random(seed)
        self._order: Final = sample("ORDER_TRADE_UPDATE")
        self._report: Final = sample("executionReport")
        self._last: bytes = b""

    def event(self) -> bytes:
        """Return the next event."""
        self.pushed_at.append(time.time())
        number = len(self.pushed_at)
        if self._random.random() < 0.5:
            message: dict[str, Any] = self._order | {"o": self._order["o"] | {"i": number}}
        else:
            message = self._report | {"i": number}
        return json.dumps(message).encode()

    def push(self) -> None:
        """Push the next event."""
        self._last = self.event()
        self.server._push(self._last)

    async def run(self) -> None:
        """Push events and inject the faults; runs in the server's event loop."""
        loop = asyncio.get_running_loop()
        next_fault = loop.time() + 0.3
        while self.faults < self._wanted:
            self.push()
            if loop.time() >= next_fault:
                self.faults += 1
                self._random.choice(FAULTS)(self)
                next_fault = loop.time() + self._random.uniform(*_BETWEEN_FAULTS)
            await asyncio.sleep(self._random.expovariate(1 / _BETWEEN_EVENTS))
        self.is_over.set()

    def refuse(self) -> PortfolioMarginError | None:
        """Return the error of a POST."""
        if time.time() < self.refused_until:
            return ConnectError(CallInfo("create_listen_key"), "refused by the test")
        return None

    def _break(self) -> None:
        for one in self.server.receivers():
            one.transport.abort()

    def _close(self) -> None:
        for one in self.server.receivers():
            if one.protocol.state.name == "OPEN":
                one.protocol.send_close(1001, "")
                one.send_data()

    def _break_one(self) -> None:
        if connections := self.server.connections:
            self._random.choice(connections).transport.abort()

    def _deafen(self) -> None:
        for one in self.server.receivers():
            self.server._deafen(one)

    def _delete(self) -> None:
        self.server.keys += 1

    def _expire(self) -> None:
        event = {"e": "listenKeyExpired", "E": int(time.time() * 1000), "listenKey": self.server.active()}
        for _ in range(2):
            self.server._push(json.dumps(event).encode())
        self.server.keys += 1

    def _garbage(self) -> None:
        self.server._push(self.event()[: self._random.randrange(1, 100)])

    def _bad_frame(self) -> None:
        for one in self.server.receivers():
            one.transport.write(b"\xff\xff\xff\xff")

    def _duplicate(self) -> None:
        for _ in range(self._random.randrange(1, 4)):
            self.server._push(self._last)

    def _shut_down(self) -> None:
        self.server._push(json.dumps({"e": "serverShutdown", "E": int(time.time() * 1000)}).encode())

    def _refuse_posts(self) -> None:
        self.refused_until = time.time() + _REFUSED_SECONDS

    def _burst(self) -> None:
        for _ in range(200):
            self.push()


FAULTS: Final[tuple[Callable[[Script], None], ...]] = (
    Script._break,
    Script._break_one,
    Script._close,
    Script._deafen,
    Script._delete,
    Script._expire,
    Script._garbage,
    Script._bad_frame,
    Script._duplicate,
    Script._shut_down,
    Script._refuse_posts,
    Script._burst,
)

Item = AnyEvent | StreamUp | StreamDown | StreamGap


def number_of(item: Item) -> int | None:
    """Return the number of an event of a script."""
    match item:
        case OrderTradeUpdate():
            return item.order.order_id
        case ExecutionReport():
            return item.order_id
        case _:
            return None


def judge(items: list[Item], pushed_at: list[float]) -> FaultCounts:
    """Compare what a consumer received with what was pushed."""
    counts = FaultCounts(pushed=len(pushed_at))
    last, seen = 0, set[int]()
    gaps: list[StreamGap] = []
    for item in items:
        if isinstance(item, StreamGap):
            counts.gaps += 1
            gaps.append(item)
        number = number_of(item)
        if number is None:
            continue
        if number in seen:
            counts.duplicates += 1
            continue
        seen.add(number)
        if number < last:
            counts.out_of_order += 1
            continue
        _count_lost(counts, range(last + 1, number), gaps, pushed_at)
        last, gaps = number, []
    counts.lost_unreported += len(pushed_at) - last
    return counts


def _count_lost(counts: FaultCounts, lost: range, gaps: list[StreamGap], pushed_at: list[float]) -> None:
    if not gaps:
        counts.lost_unreported += len(lost)
        return
    counts.lost_reported += len(lost)
    for number in lost:
        at = pushed_at[number - 1]
        # Both clocks are read a moment before or after the event.
        counts.outside += not any(gap.since - 0.002 <= at <= gap.until + 0.002 for gap in gaps)


async def consume(script: Script) -> FaultCounts:
    """Run the script and a stream of its account; return what happened."""
    items: list[Item] = []
    supervisor = Supervisor(
        "test",
        source_of(script.server, refuse=script.refuse, connect_seconds=0.5),
        SessionStreams(SETTINGS),
        items.append,
        SETTINGS,
        Surroundings(),
    )
    started = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(supervisor.run, started.set)
        await started.wait()
        script.server.start(script.run)
        await anyio.to_thread.run_sync(script.is_over.wait)
        with anyio.fail_after(_SECONDS_TO_END):
            # The last events must arrive: a loss at the end would not be noticed otherwise.
            while not supervisor.is_up or not items or number_of(items[-1]) != len(script.pushed_at):
                await anyio.sleep(0.1)
                await anyio.to_thread.run_sync(script.server.call, script.push)
                await anyio.sleep(0.05)
        tasks.cancel_scope.cancel()
    counts = judge(items, script.pushed_at)
    counts.faults, counts.rotations = script.faults, supervisor.counts.rotations
    return counts


def run(faults: int, seed: int, delivery: Delivery, backend: str) -> FaultCounts:
    """Run one stream under a number of faults."""
    with stream_server(delivery) as server:
        return anyio.run(consume, Script(server, seed, faults), backend=backend)


def main() -> int:
    """Print the table; return 1 if a promise was broken."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--faults", type=int, default=600)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--batch", type=int, default=50, help="faults of one stream")
    options = parser.parse_args()
    logging.disable()
    lanes: list[tuple[str, Delivery]] = [(backend, delivery) for backend in BACKENDS for delivery in DELIVERIES]
    totals = {lane: FaultCounts() for lane in lanes}
    seed = options.seed
    print(f"first seed {seed}, {options.batch} faults for each seed")
    while sum(total.faults for total in totals.values()) < options.faults:
        for lane in lanes:
            counts = run(options.batch, seed, lane[1], lane[0])
            totals[lane].add(counts)
            if not counts.is_right:
                print(f"seed {seed} on {lane[0]}, {lane[1]}: {counts}")
        seed += 1
    names = FaultCounts.__struct_fields__
    print("| " + " | ".join(["event loop", "served", *(name.replace("_", " ") for name in names)]) + " |")
    for (backend, delivery), total in totals.items():
        figures = (f"{getattr(total, name):,}" for name in names)
        print("| " + " | ".join([backend, delivery, *figures]) + " |")
    return 0 if all(total.is_right for total in totals.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
