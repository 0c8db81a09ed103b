"""What it costs to have this package: the time of its import, memory at rest, after many calls and for many clients."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import tracemalloc
from contextlib import AsyncExitStack
from typing import Final

from binance_pm import Client, Session
from binance_pm.budget import Budget
from tests.benchmarks.answering import SMALL, body_of
from tests.benchmarks.call_cost import Instant
from tests.benchmarks.contestants import LIMITS

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
import resource, sys, time, warnings
warnings.simplefilter("ignore")
began = time.process_time()
{what}
print(time.process_time() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def imported(what: str) -> tuple[float, float]:
    """CPU milliseconds of an import in a fresh process, and its memory in MiB afterwards."""
    command = [sys.executable, "-c", _TIMED.format(what=what)]
    seconds, memory = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return float(seconds) * 1000, float(memory)


def imports(rounds: int = 7) -> dict[str, tuple[float, float]]:
    """`imported` for everything, in turns: the fastest, as whatever disturbs only adds."""
    seen = [{name: imported(what) for name, what in IMPORTS.items()} for _ in range(rounds)]
    return {name: min(each[name] for each in seen) for name in IMPORTS}


async def growth() -> float:
    """Bytes for each of many calls that stay allocated after them."""
    session = Session(budget=Budget(limits=LIMITS))
    async with session, Client("k" * 64, "s" * 64, session=session) as client:
        vars(session)["_transport"] = Instant(body_of(SMALL))
        for _ in range(500):
            await client.um_account()
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(CALLS):
            await client.um_account()
            # Timers that were cancelled are cleared away by the event loop.
            await asyncio.sleep(0)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
    return grown / CALLS


async def each_client() -> float:
    """Bytes for each of many clients of one session, each of which has made a call."""
    async with Session(budget=Budget(limits=LIMITS)) as session:
        vars(session)["_transport"] = Instant(body_of(SMALL))
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        async with AsyncExitStack() as stack:
            for number in range(CLIENTS):
                key = f"{number:064}"
                client = await stack.enter_async_context(Client(key, "s" * 64, session=session))
                await client.um_account()
            gc.collect()
            grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
    return grown / CLIENTS


def main() -> None:
    """Print what it is, and whether the targets are met."""
    seen = imports()
    print("| import | CPU ms | MiB |")
    print("|---|---:|---:|")
    for name, (milliseconds, memory) in seen.items():
        print(f"| {name} | {milliseconds:.0f} | {memory:.0f} |")
    ratio = seen["binance_pm"][0] / seen["httpx, msgspec, anyio"][0]
    print()
    for title, value, target, unit in (
        ("binance_pm to its three packages", ratio, IMPORT_TARGET, "times"),
        ("memory that a call leaves behind", asyncio.run(growth()), 1.0, "bytes"),
        ("memory of one client of 1000", asyncio.run(each_client()), CLIENT_TARGET, "bytes"),
    ):
        verdict = "met" if value <= target else "**missed**"
        print(f"{title}: {value:.2f} {unit}, at most {target:g}: {verdict}")


if __name__ == "__main__":
    main()
