"""Streams under random faults on real sockets: is every lost event inside a reported gap?

`tests.benchmarks.streams.faults` prints the figures of many runs. The exchange is that of
`tests.support.stream_server`, and not the sandbox: its faults happen in the thread that pushes the events, so that the
time of each push is known and a fault can hit between any two events. It can break one of two connections, cut a
message anywhere, and refuse a POST.

All intervals are about a hundred times shorter than in use, so that faults, confirmations, pings and rotations overlap.
"""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from collections.abc import Callable
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
from binance_pm.stream.timing import Timing
from tests.support.stream_server import Delivery, StreamServer, stream_server
from tests.support.stream_source import source_of
from tests.support.streams import sample

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

_BETWEEN_EVENTS: Final = 0.01
_BETWEEN_FAULTS: Final = (0.1, 0.5)
_REFUSED_SECONDS: Final = 0.3
_SECONDS_TO_END: Final = 15.0


class FaultCounts(msgspec.Struct, kw_only=True):
    """What happened in a run."""

    pushed: int = 0
    """Events that the exchange pushed, also while no connection was open."""
    faults: int = 0
    rotations: int = 0
    lost_reported: int = 0
    """Events that did not arrive, with a `StreamGap` between their neighbours."""
    gaps: int = 0
    lost_unreported: int = 0
    """Events that did not arrive, without a gap."""
    outside: int = 0
    """Reported losses that were pushed before the gap's ``since`` or after its ``until``."""
    duplicates: int = 0
    out_of_order: int = 0
    """Events that arrived after a later one."""
    wrongly_proven: int = 0
    """Whether the stream believed that two connections are served although only one was."""

    def add(self, other: FaultCounts) -> None:
        """Add the counts of another run."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    @property
    def is_right(self) -> bool:
        """Whether the promise was kept."""
        return not (self.lost_unreported or self.outside or self.duplicates or self.out_of_order or self.wrongly_proven)


class Script:
    """What one server does: pushes events, and injects faults, from one seed.

    Args:
        server: the server.
        seed: of all that is random.
        faults: how many faults to inject.
    """

    def __init__(self, server: StreamServer, seed: int, faults: int) -> None:
        self.server: Final = server
        self.pushed_at: Final[list[tuple[float, float]]] = []
        """The times before and after each push; the index is the order id, minus 1."""
        self.faults: int = 0
        self.is_over: Final = threading.Event()
        self.refused_until: float = 0.0
        self.wanted: Final = faults
        self._random: Final = random.Random(seed)
        self._order: Final = sample("ORDER_TRADE_UPDATE")
        self._report: Final = sample("executionReport")
        self._last: bytes = b""

    def push(self, length: int | None = None) -> None:
        """Push the next event, or its first bytes alone."""
        before, number = time.time(), len(self.pushed_at) + 1
        if self._random.random() < 0.5:
            message: dict[str, Any] = self._order | {"o": self._order["o"] | {"i": number}}
        else:
            message = self._report | {"i": number}
        event = json.dumps(message).encode()
        self.server._push(event[:length])
        self.pushed_at.append((before, time.time()))
        if length is None:
            self._last = event

    async def run(self) -> None:
        """Push events and inject the faults; runs in the server's event loop."""
        loop = asyncio.get_running_loop()
        next_fault = loop.time() + 0.3
        try:
            while self.faults < self.wanted:
                self.push()
                if loop.time() >= next_fault:
                    self.faults += 1
                    self._random.choice(FAULTS)(self)
                    next_fault = loop.time() + self._random.uniform(*_BETWEEN_FAULTS)
                await asyncio.sleep(self._random.expovariate(1 / _BETWEEN_EVENTS))
        finally:
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
        self.push(self._random.randrange(1, 100))

    def _bad_frame(self) -> None:
        for one in self.server.receivers():
            if not one.transport.is_closing() and one.protocol.state.name == "OPEN":
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


def judge(items: list[Item], pushed_at: list[tuple[float, float]]) -> FaultCounts:
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


def _count_lost(counts: FaultCounts, lost: range, gaps: list[StreamGap], pushed_at: list[tuple[float, float]]) -> None:
    if not gaps:
        counts.lost_unreported += len(lost)
        return
    counts.lost_reported += len(lost)
    for number in lost:
        before, after = pushed_at[number - 1]
        # The gap's times are of a clock that was read a moment apart.
        counts.outside += not any(gap.since - 0.002 <= after and before <= gap.until + 0.002 for gap in gaps)


async def consume(script: Script) -> FaultCounts:
    """Run the script and a stream of its account; return what happened."""
    items: list[Item] = []
    shared = SessionStreams(SETTINGS)
    supervisor = Supervisor(
        "test",
        source_of(script.server, refuse=script.refuse, connect_seconds=0.5),
        shared,
        items.append,
        SETTINGS,
        Timing(),
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
    if script.faults < script.wanted:
        raise RuntimeError(f"the exchange failed after {script.faults} faults")
    counts = judge(items, script.pushed_at)
    counts.faults, counts.rotations = script.faults, supervisor.counts.rotations
    counts.wrongly_proven = int(script.server.delivery != "all" and bool(shared.serves_both))
    return counts


def run(faults: int, seed: int, delivery: Delivery, backend: str) -> FaultCounts:
    """Run one stream under a number of faults."""
    with stream_server(delivery) as server:
        return anyio.run(consume, Script(server, seed, faults), backend=backend)
