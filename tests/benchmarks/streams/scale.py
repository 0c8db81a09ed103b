"""Target 6: memory and CPU of many streams in one process, and memory after many rotations. Linux only."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from binance_pm.sandbox import StreamRules
from binance_pm.testing import Sandbox
from tests.benchmarks.streams.followed import (
    OURS,
    Followed,
    Usage,
    followed,
    order_events,
    plain_accounts,
    push,
    wait_until,
)
from tests.benchmarks.streams.verdicts import Options, Verdict, at_most, exactly
from tests.support.certificates import Authority
from tests.support.stream_server import stream_server

STREAMS: Final = 200
FEW: Final = 10
"""The memory of so many streams is subtracted."""
ROTATING: Final = 50
"""How many streams rotate: with 200, a run would take ten minutes."""
RATE: Final = 1000
_FAST_CONNECTS: Final = {"attempts_per_second": 1000, "attempts_per_5_minutes": 1_000_000}
_ROTATING: Final = {**_FAST_CONNECTS, "rotate_after": 0.9, "rotate_jitter": 0.4, "overlap": 0.05}


@contextmanager
def held(streams: int, loop: str, settings: dict[str, Any] = _FAST_CONNECTS) -> Generator[tuple[Sandbox, Followed]]:
    """Run a local exchange and a process with streams of its accounts."""
    with (
        plain_accounts(streams, streams=StreamRules(messages=None)) as pm,
        followed(OURS, pm, pm.accounts, "cost", loop, settings=settings) as client,
    ):
        yield pm, client


class Measured(NamedTuple):
    """The figures of many streams."""

    each: float
    """kB."""
    idle: float
    """Share of a core, in percent."""
    busy: float
    """The same with events."""


def measure(loop: str, seconds: float) -> Measured:
    """Measure many streams: memory, idle, and with events."""
    with held(FEW, loop) as (_, client):
        few = client.ask().memory
    with held(STREAMS + FEW, loop) as (pm, client):
        time.sleep(3)
        each = (client.ask().memory - few) / STREAMS
        begun, start = time.monotonic(), client.ask()
        time.sleep(2 * seconds)
        idle = (client.ask().cpu - start.cpu) / (time.monotonic() - begun)
        start = client.ask()
        count = push(pm, [account.label for account in pm.accounts], order_events(), RATE, seconds)
        wait_until(lambda: client.ask().events - start.events >= count, 60)
        busy = (client.ask().cpu - start.cpu) / seconds
        return Measured(each, idle * 100, busy * 100)


def memory_with_tls(loop: str) -> float:
    """Return the kB of a stream under TLS; listen keys come from the local exchange, streams from another server."""
    memory: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        authority = Authority(Path(folder))
        for streams in (FEW, STREAMS + FEW):
            with (
                stream_server(tls=authority.server(authority.issue())) as server,
                plain_accounts(streams) as pm,
                followed(
                    OURS, pm, pm.accounts, "cost", loop, settings=_FAST_CONNECTS, authority=str(authority.file),
                    stream_url=f"wss://127.0.0.1:{server.port}",
                ) as client,
            ):  # fmt: skip
                wait_until(lambda: len(server.connections) >= streams)  # noqa: B023 - called at once
                time.sleep(3)
                memory.append(client.ask().memory)
    return (memory[1] - memory[0]) / STREAMS


def rotate(streams: int, rotations: int) -> tuple[Usage, Usage]:
    """Rotate streams; return what was used after a quarter of the rotations and after all."""
    with held(streams, "asyncio", _ROTATING) as (_, client):
        wait_until(lambda: client.ask().rotations >= rotations // 4, 900)
        early = client.ask()
        wait_until(lambda: client.ask().rotations >= rotations, 900)
        return early, client.ask()


def run(options: Options) -> list[Verdict]:
    """Print the table; return the verdicts."""
    seconds = 5.0 if options.is_quick else 15.0
    figures = {loop: measure(loop, seconds) for loop in ("asyncio", "uvloop")}
    options.say(f"{STREAMS} streams in one process, with the default intervals. CPU as a share of a core.\n")
    options.say(f"| | memory of a stream | under TLS | idle | {RATE:,} events/s |")
    options.say("|---|---:|---:|---:|---:|")
    tls = {loop: memory_with_tls(loop) for loop in figures}
    for loop, one in figures.items():
        options.say(f"| {loop} | {one.each:.0f} kB | {tls[loop]:.0f} kB | {one.idle:.1f} % | {one.busy:.1f} % |")
    streams, rotations = (20, 40) if options.is_quick else (ROTATING, 200)
    early, late = rotate(streams, rotations)
    growth = (late.memory - early.memory) / 1000
    options.say(
        f"\n{streams} streams that rotate: {early.memory / 1000:.1f} MB after {early.rotations} rotations of each, "
        f"{late.memory / 1000:.1f} MB after {late.rotations}."
    )
    plain = figures["asyncio"]
    return [
        at_most(6, "memory of a stream, asyncio", 80.0, plain.each, " kB", digits=0),
        at_most(6, "memory of a stream, uvloop, TLS", 120.0, tls["uvloop"], " kB", digits=0),
        at_most(6, f"{STREAMS} streams idle, asyncio", 1.0, plain.idle, " % of a core"),
        at_most(6, f"{STREAMS} streams, {RATE:,} events/s, asyncio", 10.0, plain.busy, " % of a core", digits=1),
        at_most(6, f"growth of {streams} streams over {rotations * 3 // 4} rotations of each", 1.0, growth, " MB"),
        exactly(6, "connections lost in rotations", 0, late.reconnects),
    ]
