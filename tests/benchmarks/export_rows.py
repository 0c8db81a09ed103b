"""Rows per second and memory of exports: ``python -m tests.benchmarks.export_rows [rows]``."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from binance_pm.history import ExportProgress
from tests.support.many_trades import ManyTrades, save

ROWS = 1_000_000


def resident() -> float:
    """Return the memory of this process in MiB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 2**20


def measure(form: str, rows: int) -> str:
    """Export, and return one line of figures."""
    readings: dict[int, float] = {}

    def note(progress: ExportProgress) -> None:
        readings[progress.rows] = resident()

    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        file = save(Path(folder, f"trades.{form}"), ManyTrades(rows), on_progress=note)
        seconds = time.perf_counter() - began
    early = next(memory for count, memory in sorted(readings.items()) if count >= rows // 10)
    figures = f"{file.rows:,} rows, {file.size / 2**20:.0f} MiB in {seconds:.0f} s"
    memory = f"at a tenth {early:.0f}, at most {max(readings.values()):.0f}, at the end {resident():.0f} MiB"
    return f"{form}: {figures}; memory {memory}"


def main() -> None:
    """Measure every format."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    for form in ("csv", "jsonl", "parquet"):
        print(measure(form, rows), flush=True)


if __name__ == "__main__":
    main()
