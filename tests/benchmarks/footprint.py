"""What it costs to have this package: the time of its import, memory at rest, after many calls and for many clients."""

from __future__ import annotations

import argparse
import asyncio
import gc
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
from tests.benchmarks.contestants import LIMITS, SECRET, direct

IMPORTS: Final = {
    "httpx, msgspec, anyio": "import anyio, httpx, msgspec",
    "binance_pm": "import binance_pm",
    "python-binance": "import binance",
    "ccxt": "import ccxt.async_support",
    "official SDK": "import binance_sdk_derivatives_trading_portfolio_margin",
}
IMPORT_TARGET: Final = 1.25
CLIENTS: Final = 1_000
CLIENT_TARGET: Final = 20_000
CALLS: Final = 5_000

_TIMED: Final = """
import time, warnings
warnings.simplefilter("ignore")
began = time.process_time()
{what}
print(time.process_time() - began, open("/proc/self/statm").read().split()[1])
"""


def resident() -> float:
    """The memory of this process in MiB; on Linux alone."""
    return mebibytes(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])


def mebibytes(pages: str) -> float:
    """From the kernel's unit."""
    return int(pages) * resource.getpagesize() / 2**20


def imported(what: str) -> tuple[float, float]:
    """CPU milliseconds of an import in a fresh process, and its memory in MiB afterwards."""
    command = [sys.executable, "-c", _TIMED.format(what=what)]
    seconds, pages = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return float(seconds) * 1000, mebibytes(pages)


def imports(rounds: int) -> dict[str, tuple[float, float]]:
    """`imported` for everything, in turns: the fastest, as whatever disturbs only adds."""
    seen = [{name: imported(what) for name, what in IMPORTS.items()} for _ in range(rounds)]
    return {name: min(each[name] for each in seen) for name in IMPORTS}


async def make_calls(port: int, number: int) -> None:
    """One after the other, on the direct engine."""
    async with direct(port) as call:
        for _ in range(number):
            await call()


@asynccontextmanager
async def clients(port: int) -> AsyncGenerator[None, None]:
    """Many clients of one session, each of which has made a call."""
    url = f"http://127.0.0.1:{port}"
    async with Session(budget=Budget(limits=LIMITS)) as session, AsyncExitStack() as stack:
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
    """Bytes for each of many calls that stay allocated after them."""
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
    return grown / CALLS


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


def main() -> None:
    """Print what it is, and whether the targets are met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer imports")
    seen = imports(rounds=2 if parser.parse_args().quick else 7)
    print("| import | CPU ms | MiB |")
    print("|---|---:|---:|")
    for name, (milliseconds, held) in seen.items():
        print(f"| {name} | {milliseconds:.0f} | {held:.0f} |")
    ratio = seen["binance_pm"][0] / seen["httpx, msgspec, anyio"][0]
    with serving() as ports:
        amounts = asyncio.run(memory(ports.small))
        figures = (
            ("binance_pm to its three packages", ratio, IMPORT_TARGET, "times"),
            ("memory that a call leaves behind", asyncio.run(growth(ports.small)), 1.0, "bytes"),
            (f"memory of one client of {CLIENTS}", asyncio.run(each_client(ports.small)), CLIENT_TARGET, "bytes"),
        )
    print()
    for title, value, target, unit in figures:
        verdict = "met" if value <= target else "**missed**"
        print(f"{title}: {value:.2f} {unit}, at most {target:g}: {verdict}")
    begun, once, twice, many = (f"{amount:.1f} MiB" for amount in amounts)
    print(f"memory: {begun}; after {CALLS} calls {once}; after as many again {twice}; with {CLIENTS} clients {many}")


if __name__ == "__main__":
    main()
