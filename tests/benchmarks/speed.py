"""What a call costs the CPU of the process that makes it, beside other people's clients and the bare protocol.

Run it with ``nox -s bench``; ``-- --quick`` takes a minute. Each client has a process of its own on each event loop. A
figure is user and system time of that process for one call, in rounds in which the clients take turns. Only ratios
within one run mean something: a ratio is the median of the ratios in each round.
"""

# Only one nox session installs the other clients, so their types are unknown elsewhere.
# pyright: basic, reportMissingImports=false

from __future__ import annotations

import argparse
import asyncio
import logging
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from typing import Final, Literal, NamedTuple

from tests.benchmarks.answering import SIZES, Ports, Size, serving
from tests.benchmarks.contestants import AT_ONCE, CONTESTANTS, Call
from tests.benchmarks.verdicts import Ratio, print_ratios

PACKAGES: Final = (
    "httpx",
    "httptools",
    "uvloop",
    "aiohttp",
    "python-binance",
    "ccxt",
    "binance-sdk-derivatives-trading-portfolio-margin",
)
ASYNCIO, UVLOOP = LOOPS = ("asyncio", "uvloop")
DIRECT, ORDER, HTTPX, RAW = "binance_pm, direct", "binance_pm, an order", "binance_pm, httpx", "raw protocol"
PYTHON_BINANCE, CCXT = "python-binance", "ccxt"


class Way(NamedTuple):
    """How the calls are made."""

    size: Size
    at_once: int

    @property
    def title(self) -> str:
        """In a few words."""
        return f"{self.size}, {self.at_once}"


SMALL, REALISTIC, CHANGING = [[Way(size, number) for number in (1, AT_ONCE)] for size in SIZES]
WAYS: Final = [*SMALL, *REALISTIC, *CHANGING]
CALLS: Final[dict[Size, int]] = {"small": 400, "realistic": 50, "all change": 50}
"""In one round."""
CROWD: Final = 1_000


class Target(NamedTuple):
    """One figure may be at most so many times another."""

    who: str
    whom: str
    at_most: float
    ways: Iterable[Way]
    loops: tuple[str, ...] = LOOPS


TARGETS: Final = (
    Target(DIRECT, PYTHON_BINANCE, 0.58, SMALL[:1], (ASYNCIO,)),
    Target(DIRECT, PYTHON_BINANCE, 0.42, SMALL[1:], (ASYNCIO,)),
    Target(DIRECT, PYTHON_BINANCE, 0.53, SMALL[:1], (UVLOOP,)),
    Target(DIRECT, PYTHON_BINANCE, 0.40, SMALL[1:], (UVLOOP,)),
    Target(DIRECT, PYTHON_BINANCE, 0.45, REALISTIC),
    Target(DIRECT, PYTHON_BINANCE, 1.0, CHANGING),
    Target(DIRECT, CCXT, 0.5, SMALL[:1]),
    Target(DIRECT, CCXT, 0.35, SMALL[1:]),
    Target(DIRECT, CCXT, 0.6, REALISTIC),
    Target(DIRECT, CCXT, 1.5, CHANGING),
    Target(DIRECT, RAW, 2.2, SMALL[:1]),
    Target(DIRECT, RAW, 3.0, SMALL[1:]),
    Target(DIRECT, RAW, 0.6, REALISTIC),
    Target(DIRECT, RAW, 1.3, CHANGING),
    Target(HTTPX, "bare httpx", 0.85, SMALL[:1]),
    Target(HTTPX, "bare httpx", 0.45, SMALL[1:]),
    Target(ORDER, DIRECT, 1.15, SMALL),
)
LATENCY_TARGET: Final = 0.1
"""Of the 99th percentile of calls at once, to that of python-binance."""


def cpu() -> float:
    """Seconds of CPU that this process has used."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def spent(call: Call, calls: int, at_once: int) -> float:
    """CPU microseconds of each of so many calls."""

    async def some() -> None:
        for _ in range(calls // at_once):
            await call()

    began = cpu()
    if at_once == 1:
        await some()
    else:
        await asyncio.gather(*(some() for _ in range(at_once)))
    return (cpu() - began) / calls * 1e6


async def latency(call: Call, calls: int) -> float:
    """The 99th percentile of the seconds that so many calls at once take."""

    async def one() -> float:
        await call()
        return time.perf_counter() - began

    began = time.perf_counter()
    return sorted(await asyncio.gather(*(one() for _ in range(calls))))[calls * 99 // 100]


async def compete(name: str, port: int) -> None:
    """Measure one client whenever a line on standard input asks: what, how many calls, and how many at once."""
    logging.disable(logging.CRITICAL)
    async with CONTESTANTS[name](port) as call:
        print(flush=True)
        for line in sys.stdin:
            what, calls, at_once = line.split()
            # Connections are made and caches filled.
            await spent(call, int(at_once), int(at_once))
            figure = await spent(call, int(calls), int(at_once)) if what == "cost" else await latency(call, int(calls))
            print(figure, flush=True)


Measure = Callable[[Literal["cost", "latency"], int, int], float]


@contextmanager
def competing(name: str, loop: str, port: int) -> Generator[Measure, None, None]:
    """Start `compete` in a process of its own, and give the function that asks it."""
    command = [sys.executable, "-m", "tests.benchmarks.speed", "--child", name, loop, str(port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        told, asked = process.stdout, process.stdin
        assert told is not None
        assert asked is not None
        told.readline()

        def measure(what: str, calls: int, at_once: int) -> float:
            asked.write(f"{what} {calls} {at_once}\n")
            asked.flush()
            return float(told.readline())

        try:
            yield measure
        finally:
            asked.close()


def child(name: str, loop: str, port: str) -> None:
    """Run `compete` on an event loop."""
    factory = asyncio.new_event_loop
    if loop == UVLOOP:
        import uvloop  # noqa: PLC0415 - a process on asyncio does not load it

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(compete(name, int(port)))


Costs = dict[tuple[str, str, Way], list[float]]
"""Microseconds in each round, by client, event loop and way."""


def race(ports: Ports, rounds: int, names: Iterable[str]) -> Costs:
    """Return what each client costs in each way on each loop."""
    costs: Costs = {}
    for size in SIZES:
        # A response with many rows is nobody's small one: an order is.
        racing = [name for name in names if name != ORDER or size == "small"]
        with ExitStack() as stack:
            lanes = {
                (name, loop): stack.enter_context(competing(name, loop, ports[size]))
                for name in racing
                for loop in LOOPS
            }
            for _ in range(rounds):
                for way in (way for way in WAYS if way.size == size):
                    for (name, loop), measure in lanes.items():
                        cost = measure("cost", CALLS[size], way.at_once)
                        costs.setdefault((name, loop, way), []).append(cost)
    return costs


def crowd_latency(name: str, port: int) -> float:
    """Return the 99th percentile of the seconds that calls take if many begin at once."""
    with competing(name, ASYNCIO, port) as measure:
        return statistics.median(measure("latency", CROWD, AT_ONCE) for _ in range(5))


def print_costs(costs: Costs) -> None:
    """CPU microseconds, on asyncio and on uvloop."""
    print("| CPU µs per call: asyncio / uvloop |", " | ".join(way.title for way in WAYS), "|")
    print("|---|" + "---:|" * len(WAYS))
    for name in dict.fromkeys(name for name, _, _ in costs):
        cells = [
            " / ".join(f"{statistics.median(costs[name, loop, way]):.0f}" for loop in LOOPS)
            if (name, ASYNCIO, way) in costs
            else ""
            for way in WAYS
        ]
        print(f"| {name} |", " | ".join(cells), "|")


def ratios(costs: Costs) -> Generator[Ratio, None, None]:
    """Each ratio that is aimed at."""
    for target in TARGETS:
        for way in target.ways:
            for loop in target.loops:
                one, other = costs.get((target.who, loop, way)), costs.get((target.whom, loop, way))
                if one and other:
                    median = statistics.median(ours / theirs for ours, theirs in zip(one, other, strict=True))
                    yield Ratio(f"{target.who} to {target.whom}", f"{way.title}, {loop}", target.at_most, median)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a minute, and less exact")
    parser.add_argument("--only", nargs="+", default=list(CONTESTANTS), help="only these clients")
    parser.add_argument("--rounds", type=int, help="how often each figure is measured")
    parser.add_argument("--child", nargs=3, metavar=("NAME", "LOOP", "PORT"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(*given.child)
        return
    rounds = given.rounds or (2 if given.quick else 14)
    with serving() as ports:
        costs = race(ports, rounds, given.only)
        figures = list(ratios(costs))
        if {DIRECT, PYTHON_BINANCE} <= set(given.only):
            one, other = (crowd_latency(name, ports["small"]) for name in (DIRECT, PYTHON_BINANCE))
            what = f"99th percentile of a call, {DIRECT} to {PYTHON_BINANCE}"
            figures.append(Ratio(what, f"small, {CROWD} at once, {ASYNCIO}", LATENCY_TARGET, one / other))
    print(f"Python {platform.python_version()}, {platform.system()} {platform.machine()};", end=" ")
    print(", ".join(f"{name} {version(name)}" for name in PACKAGES) + f"; medians of {rounds} rounds.\n")
    print_costs(costs)
    print()
    print_ratios(figures)


if __name__ == "__main__":
    main()
