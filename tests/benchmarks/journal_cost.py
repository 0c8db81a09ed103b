"""What a journal costs: the time until a line is on the disk, and for how long that holds up the event loop.

``python -m tests.benchmarks.journal_cost [FOLDER]`` prints the figures for the disk of a folder.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from binance_pm import CallInfo, WriteEnded, WriteStarted
from binance_pm.errors import SentWrite
from binance_pm.journal import Journal
from binance_pm.journal_file import open_journal

ROUNDS: Final = 2_000
ORIGIN: Final = "https://papi.binance.com"
CALL: Final = CallInfo("um.new_order", "desk", write=True)
WRITE: Final = SentWrite(
    {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "quantity": "0.010", "price": "30000", "timeInForce": "GTC"},
    "1m8n7warkmsc1erg6gr38w",
    "new_client_order_id",
    "b8de855f",
    1_800_000_010_000,
    1_800_000_015_000,
)


async def microseconds(work: Callable[[], Awaitable[object]]) -> list[float]:
    """Return how long each round took."""
    taken: list[float] = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        await work()
        taken.append((time.perf_counter() - began) * 1e6)
    return sorted(taken)


def shown(taken: list[float]) -> str:
    """Return median, 99th percentile and maximum."""
    late = taken[len(taken) * 99 // 100]
    return f"median {statistics.median(taken):6.0f} us, 99 % {late:6.0f} us, longest {taken[-1]:7.0f} us"


async def measure(folder: Path) -> None:
    """Print the figures."""
    file = open_journal(folder / "journal.jsonl", CALL)
    journal = Journal(file.path)
    journal.open(CALL)
    lines: list[WriteStarted | WriteEnded] = []
    record = Journal(lines.append).record(CALL, ORIGIN)
    await record.start(WRITE)
    descriptor = os.open(file.path, os.O_RDONLY)

    async def append() -> None:
        journal.append(lines[0], CALL)

    async def flush_here() -> None:
        journal.append(lines[0], CALL)
        os.fdatasync(descriptor)

    async def start() -> None:
        await journal.record(CALL, ORIGIN).start(WRITE)

    for name, work in (
        ("not flushed", append),
        ("flushed by the event loop", flush_here),
        ("flushed in a thread", start),
    ):
        print(f"{name:<26} {shown(await microseconds(work))}")


def main() -> None:
    """Measure in the folder that the command line names."""
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as folder:
        asyncio.run(measure(Path(folder)))


if __name__ == "__main__":
    main()
