"""What it costs to have this package: its import, the first response of a process, and memory."""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import resource
import subprocess
import sys
import tracemalloc
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

from binance_pm import Client, Session
from binance_pm.budget import Budget
from tests.benchmarks.answering import serving
from tests.benchmarks.contestants import SECRET, UNLIMITED, direct
from tests.benchmarks.verdicts import Ratio, print_ratios

IMPORTS: Final = {
    "httpx, msgspec, anyio": "import anyio, httpx, msgspec",
    "binance_pm": "import binance_pm",
    "binance_pm, the whole API": "import binance_pm; len(binance_pm.ENDPOINTS)",
    "python-binance": "import binance",
    "ccxt": "import ccxt.async_support",
    "official SDK": "import binance_sdk_derivatives_trading_portfolio_margin",
}
PACKAGES, OURS, RAW = "httpx, msgspec, anyio", "binance_pm", "raw protocol"
FIRST: Final = {OURS: "direct", RAW: "raw"}
"""The contestants whose first response is measured."""
IMPORT_TARGET, FIRST_TARGET = 0.7, 1.6
CLIENTS: Final = 1_000
CLIENT_TARGET: Final = 4_096
CALLS: Final = 20_000
GROWTH_TARGET: Final = 0.1
HELD: Final = 200
HELD_TARGET: Final = 45.0
"""MiB that so many held responses take."""

_TIMED: Final = """
import time, warnings
warnings.simplefilter("ignore")
began = time.process_time()
{what}
print(time.process_time() - began, open("/proc/self/statm").read().split()[1])
"""


_FIRST: Final = """
import asyncio, resource
from tests.benchmarks.contestants import {opener}

async def first():
    async with {opener}({port}) as call:
        await call()

asyncio.run(first())
usage = resource.getrusage(resource.RUSAGE_SELF)
print(usage.ru_utime + usage.ru_stime, open("/proc/self/statm").read().split()[1])
"""


def resident() -> float:
    """The memory of this process in MiB; on Linux alone."""
    return mebibytes(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])


def mebibytes(pages: str) -> float:
    """From the kernel's unit."""
    return int(pages) * resource.getpagesize() / 2**20


def run(code: str) -> tuple[float, float]:
    """Return the CPU milliseconds that code in a fresh process prints, and the memory in MiB."""
    # Without compiled files, every import would compile.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment)
    seconds, pages = done.stdout.split()
    return float(seconds) * 1000, mebibytes(pages)


def starts(port: int, rounds: int) -> tuple[dict[str, tuple[float, float]], dict[str, float]]:
    """Return CPU and memory of each import, and the CPU until each first response: the fastest, as delays only add."""
    codes = {f"import {name}": _TIMED.format(what=what) for name, what in IMPORTS.items()}
    codes |= {f"first {name}": _FIRST.format(opener=opener, port=port) for name, opener in FIRST.items()}
    # In turns; the first round compiles.
    seen = [{name: run(code) for name, code in codes.items()} for _ in range(rounds + 1)][1:]
    best = {name: min(each[name] for each in seen) for name in codes}
    return {name: best[f"import {name}"] for name in IMPORTS}, {name: best[f"first {name}"][0] for name in FIRST}


async def make_calls(port: int, number: int) -> None:
    """One after the other, on the direct engine."""
    async with direct(port) as call:
        for _ in range(number):
            await call()


@asynccontextmanager
async def clients(port: int) -> AsyncGenerator[None, None]:
    """Many clients of one session, each of which has made a call."""
    url = f"http://127.0.0.1:{port}"
    async with Session(budget=Budget(limits=UNLIMITED)) as session, AsyncExitStack() as stack:
        for number in range(CLIENTS):
            client = Client(f"{number:064}", SECRET, session=session, papi_url=url)
            await (await stack.enter_async_context(client)).um_account()
        yield


async def memory(port: int) -> list[float]:
    """MiB before anything, after so many calls, after as many again, and with many clients."""
    seen = [resident()]
    for _ in range(2):
        await make_calls(port, CALLS)
        seen.append(resident())
    async with clients(port):
        return [*seen, resident()]


async def growth(port: int) -> float:
    """MiB that stay allocated after many calls."""
    async with direct(port) as call:
        for _ in range(500):
            await call()
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(CALLS):
            await call()
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
    return grown / 2**20


async def each_client(port: int) -> float:
    """Bytes for each of many clients."""
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    async with clients(port):
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return grown / CLIENTS


async def held(port: int) -> float:
    """MiB that many responses take together, of one account each."""
    async with direct(port) as call:
        await call()
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        kept = [await call() for _ in range(HELD)]
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        assert len(kept) == HELD
    return grown / 2**20


def main() -> None:
    """Print what it is, and whether the targets are met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer imports")
    with serving() as ports:
        small = ports["small"]
        imports, first = starts(small, rounds=2 if parser.parse_args().quick else 7)
        amounts = asyncio.run(memory(small))
        base = imports[PACKAGES][0]
        figures = [Ratio(f"import {name}", f"to {PACKAGES}", IMPORT_TARGET, cost / base, "times")
                   for name, (cost, _) in imports.items() if name.startswith(OURS)]  # fmt: skip
        figures += [
            Ratio("first response of a process", f"to the {RAW}", FIRST_TARGET, first[OURS] / first[RAW]),
            Ratio(
                "memory that calls leave behind", f"{CALLS:,} calls", GROWTH_TARGET, asyncio.run(growth(small)), "MiB"
            ),
            Ratio(
                "memory of a client", f"{CLIENTS:,} clients", CLIENT_TARGET, asyncio.run(each_client(small)), "bytes"
            ),
            Ratio("memory", f"{HELD} realistic responses", HELD_TARGET, asyncio.run(held(ports["realistic"])), "MiB"),
        ]
    print("| import | CPU ms | MiB |")
    print("|---|---:|---:|")
    for name, (milliseconds, size) in imports.items():
        print(f"| {name} | {milliseconds:.0f} | {size:.0f} |")
    print("\n| memory of the process | MiB |")
    print("|---|---:|")
    moments = ("at the start", f"after {CALLS:,} calls", f"after {CALLS:,} more", f"with {CLIENTS:,} clients")
    for moment, amount in zip(moments, amounts, strict=True):
        print(f"| {moment} | {amount:.1f} |")
    print(f"\nFirst response of a new process: {', '.join(f'{name} {cost:.0f} ms' for name, cost in first.items())}.\n")
    print_ratios(figures)


if __name__ == "__main__":
    main()
