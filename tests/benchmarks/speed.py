"""What a call costs the CPU of the process that makes it, beside other people's clients and the bare protocol.

Run it with ``nox -s bench``; ``-- --quick`` takes a minute. Every figure is user and system time of the client's
process for one call, in rounds that alternate between the clients; a loop of plain Python, timed beside each round,
takes out how fast the machine happens to be. Only ratios within one run mean something.
"""

# The other clients are installed by one nox session alone, so that their types are known to nobody else.
# pyright: basic, reportMissingImports=false

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import platform
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from importlib.metadata import version
from typing import Final, NamedTuple

import uvloop

from tests.benchmarks.answering import Ports, serving
from tests.benchmarks.contestants import AT_ONCE, CONTESTANTS, Call

LOOPS: Final[dict[str, Callable[[], asyncio.AbstractEventLoop]]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}
PACKAGES: Final = (
    "httpx",
    "httptools",
    "uvloop",
    "python-binance",
    "ccxt",
    "binance-sdk-derivatives-trading-portfolio-margin",
)
DIRECT, HTTPX, RAW = "binance_pm, direct", "binance_pm, httpx", "raw protocol"


class Way(NamedTuple):
    """How the calls are made: which answer, and how many under way at once."""

    size: str
    at_once: int

    @property
    def title(self) -> str:
        """In a few words."""
        return f"{self.size}, {'one by one' if self.at_once == 1 else f'{self.at_once} at once'}"


WAYS: Final = (Way("small", 1), Way("small", AT_ONCE), Way("large", 1), Way("large", AT_ONCE))
CALLS: Final = {"small": 400, "large": 50}
"""In one round."""

Costs = dict[tuple[str, str, Way], float]
"""Microseconds, by event loop, client and way."""


class Target(NamedTuple):
    """One figure may be at most so many times another."""

    who: str
    whom: str
    at_most: float
    ways: tuple[Way, ...]
    loops: tuple[str, ...] = ("asyncio", "uvloop")
    whose_way: Way | None = None
    """Of the other figure, where it is not the same."""


SMALL, LARGE = WAYS[:2], WAYS[2:]
TARGETS: Final = (
    Target(DIRECT, "python-binance", 0.6, WAYS[:1], ("asyncio",)),
    Target(DIRECT, "python-binance", 0.45, WAYS[1:2], ("asyncio",)),
    Target(DIRECT, "python-binance", 0.4, SMALL, ("uvloop",)),
    Target(DIRECT, "python-binance", 1.0, LARGE),
    Target(DIRECT, "ccxt", 1.0, SMALL),
    Target(DIRECT, "ccxt", 1.1, LARGE),
    Target(DIRECT, RAW, 2.5, SMALL),
    Target(DIRECT, RAW, 1.15, LARGE),
    Target(HTTPX, "bare httpx", 1.1, WAYS),
    Target(HTTPX, HTTPX, 1.3, WAYS[1:2], whose_way=WAYS[0]),
)


def reference() -> float:
    """CPU seconds of a fixed amount of plain Python."""
    began = cpu()
    counts: dict[int, int] = {}
    for number in range(40_000):
        counts[number & 63] = max(number, counts.get(number & 63, 0)) + 1
    return cpu() - began


def cpu() -> float:
    """Seconds of CPU that this process has used."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def spent(call: Call, calls: int, at_once: int) -> float:
    """CPU seconds of so many calls."""

    async def some() -> None:
        for _ in range(calls // at_once):
            await call()

    began = cpu()
    if at_once == 1:
        await some()
    else:
        await asyncio.gather(*(some() for _ in range(at_once)))
    return cpu() - began


async def race(ports: Ports, rounds: int) -> dict[str, dict[str, float]]:
    """The cost of each client in each way, in microseconds of a machine as fast as this one mostly was."""
    logging.disable(logging.CRITICAL)
    seen: dict[tuple[str, Way], list[float]] = {}
    speeds: list[float] = []
    async with AsyncExitStack() as stack:
        calls = {
            (name, size): await stack.enter_async_context(opened(getattr(ports, size)))
            for name, opened in CONTESTANTS.items()
            for size in CALLS
        }
        for call in calls.values():
            # Connections are made, caches filled.
            await spent(call, AT_ONCE, AT_ONCE)
        gc.collect()
        # What the others have loaded is not looked through at anybody's expense.
        gc.freeze()
        for _ in range(rounds):
            for way in WAYS:
                for name in CONTESTANTS:
                    # Nobody sweeps up what another has left behind.
                    gc.collect()
                    before = reference()
                    took = await spent(calls[name, way.size], CALLS[way.size], way.at_once)
                    speed = (before + reference()) / 2
                    speeds.append(speed)
                    seen.setdefault((name, way), []).append(took / CALLS[way.size] / speed)
    usual = statistics.median(speeds)
    return {name: {way.title: statistics.median(seen[name, way]) * usual * 1e6 for way in WAYS} for name in CONTESTANTS}


def measure(loop: str, ports: Ports, rounds: int) -> dict[str, dict[str, float]]:
    """`race` in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.speed", "--child", loop, *map(str, ports), str(rounds)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def child(loop: str, small: str, large: str, rounds: str) -> None:
    """Measure on one event loop, and print what `measure` reads."""
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        print(json.dumps(runner.run(race(Ports(int(small), int(large)), int(rounds)))))


def print_costs(costs: Costs) -> None:
    """CPU microseconds, on uvloop and on asyncio."""
    print("| CPU us for a call: uvloop / asyncio |", " | ".join(way.title for way in WAYS), "|")
    print("|---|" + "---:|" * len(WAYS))
    for name in CONTESTANTS:
        cells = [" / ".join(f"{costs[loop, name, way]:.0f}" for loop in ("uvloop", "asyncio")) for way in WAYS]
        print(f"| {name} |", " | ".join(cells), "|")


def print_targets(costs: Costs) -> None:
    """Each ratio that is aimed at, the worst of those it joins."""
    print("| ratio | where | at most | is | |")
    print("|---|---|---:|---:|---|")
    for target in TARGETS:
        for way in target.ways:
            for loop in target.loops:
                other = costs[loop, target.whom, target.whose_way or way]
                ratio = costs[loop, target.who, way] / other
                whom = target.whom if target.whose_way is None else target.whose_way.title
                verdict = "met" if ratio <= target.at_most else "**missed**"
                where = f"{way.title}, {loop}"
                print(f"| {target.who} to {whom} | {where} | {target.at_most:g} | {ratio:.2f} | {verdict} |")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a minute, and less exact")
    parser.add_argument("--child", nargs=4, metavar=("LOOP", "SMALL", "LARGE", "ROUNDS"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(*given.child)
        return
    rounds = 2 if given.quick else 11
    with serving() as ports:
        measured = {loop: measure(loop, ports, rounds) for loop in LOOPS}
    costs = {
        (loop, name, way): told[name][way.title]
        for loop, told in measured.items()
        for name in CONTESTANTS
        for way in WAYS
    }
    print(f"Python {platform.python_version()}, {platform.system()} {platform.machine()};", end=" ")
    print(", ".join(f"{name} {version(name)}" for name in PACKAGES) + f"; medians of {rounds} rounds.\n")
    print_costs(costs)
    print()
    print_targets(costs)


if __name__ == "__main__":
    main()
