"""Exports: exact rows in every format, and a file that continues where it was left."""

from __future__ import annotations

import asyncio
import csv
import json
import resource
import signal
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from binance_pm import ConfigurationError, HistoryIncomplete, RequestRejected
from binance_pm.history import ExportedFile, ExportProgress, export
from binance_pm.history.checkpoints import GrowingFile
from tests.support.coverage import unmeasured
from tests.support.many_trades import (
    DAMAGES,
    FIRST,
    ROWS,
    SPACING,
    ManyTrades,
    begin_export,
    damage_export,
    failing_at,
    names,
    row_of,
    save,
    trades_of,
)

CALLS = 6
"""The calls of an export that is not interrupted: the first three have no row that is kept."""
FORMATS = ["csv", "jsonl", "parquet"]


def rows_in(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a file, with amounts as they are in the file."""
    match path.suffix:
        case ".csv":
            with path.open(encoding="utf-8", newline="") as text:
                return list(csv.DictReader(text))
        case ".jsonl":
            return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        case _:
            parquet: Any = import_module("pyarrow.parquet")
            return parquet.read_table(path).to_pylist()


def test_csv_has_the_exchanges_names_and_exact_amounts(tmp_path: Path) -> None:
    """Amounts as the exchange sends them, without exponents; flags in lower case; nothing for a missing value."""
    path = tmp_path / "trades.csv"
    file = save(path)

    rows = rows_in(path)
    sent = row_of(7)
    expected = {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in sent.items()}
    assert rows[6] == expected | {"marginAsset": ""}
    assert [int(row["id"]) for row in rows] == list(range(1, ROWS + 1))
    assert file == ExportedFile(path=path, rows=ROWS, size=path.stat().st_size, missing_before=None)
    assert names(path) == ["trades.csv"]


def test_json_lines_have_the_fields_of_the_exchange(tmp_path: Path) -> None:
    """One object per line, amounts as text."""
    path = tmp_path / "trades.jsonl"
    save(path)

    rows = rows_in(path)
    assert rows[6] == row_of(7) | {"marginAsset": None}
    assert len(rows) == ROWS


def test_parquet_has_exact_decimals(tmp_path: Path) -> None:
    """Amounts are decimals, times and ids are integers, and nothing else is left in the folder."""
    path = tmp_path / "trades.parquet"
    save(path)

    rows = rows_in(path)
    sent = row_of(9)
    assert rows[8]["quoteQty"] == Decimal("0.00000009")
    assert {name: value for name, value in rows[8].items() if name not in {"quoteQty", "marginAsset"}} == {
        name: Decimal(str(value)) if name in {"price", "qty", "realizedPnl", "commission"} else value
        for name, value in sent.items()
        if name != "quoteQty"
    }
    assert [row["id"] for row in rows] == list(range(1, ROWS + 1))
    assert names(path) == ["trades.parquet"]


@pytest.mark.parametrize("form", FORMATS)
def test_a_list_without_rows_has_columns(tmp_path: Path, form: str) -> None:
    """The file exists, and its columns are those of the type of the rows."""
    path = tmp_path / f"trades.{form}"
    file = save(path, ManyTrades(0))

    assert (file.rows, rows_in(path), names(path)) == (0, [], [path.name])
    if form == "csv":
        assert path.read_text(encoding="utf-8").startswith("symbol,id,orderId")


def test_an_amount_that_parquet_cannot_hold_is_an_error(tmp_path: Path) -> None:
    """The amount is not rounded; the rows are kept, and the file has no name."""
    path = tmp_path / "trades.parquet"
    exchange = ManyTrades(3, row=lambda number: row_of(number) | {"price": "0.1234567890123456789"})

    with pytest.raises(HistoryIncomplete, match="price"):
        save(path, exchange)
    assert names(path) == ["trades.parquet.partial", "trades.parquet.position"]


def test_the_progress_counts_rows(tmp_path: Path) -> None:
    """Rows never decrease, and the last report has all of them."""
    reports: list[ExportProgress] = []
    save(tmp_path / "trades.csv", on_progress=reports.append)

    assert [one.rows for one in reports] == sorted(one.rows for one in reports)
    assert (reports[-1].rows, reports[-1].fraction, reports[-1].calls) == (ROWS, 1.0, len(reports))


@pytest.mark.parametrize("form", FORMATS)
def test_memory_does_not_grow_with_the_number_of_rows(tmp_path: Path, form: str) -> None:
    """Rows are written and forgotten: tests/benchmarks/export_rows.py prints the figures of a million rows."""
    blocks: list[int] = []

    def measure(_: ExportProgress) -> None:
        blocks.append(sys.getallocatedblocks())

    with unmeasured():
        save(tmp_path / f"trades.{form}", ManyTrades(60_000), on_progress=measure)

    # A page and the lines that wait for the disk vary: 15,000 rows are more than both, and less than all rows.
    assert max(blocks) - max(blocks[:12]) < 15_000


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("call", [1, 3, 5])
def test_a_failed_export_continues(
    tmp_path: Path, complete_export: Callable[[str], bytes], form: str, call: int
) -> None:
    """A request fails: what was received is kept, and the same call makes the same file with fewer requests."""
    path = tmp_path / f"trades.{form}"
    with pytest.raises(RequestRejected):
        save(path, ManyTrades(ROWS, hook=failing_at(call)))
    left = names(path)
    again = ManyTrades(ROWS)
    file = save(path, again)

    assert left == ([] if call == 1 else [f"trades.{form}.partial", f"trades.{form}.position"])
    assert (path.read_bytes(), file.rows, names(path)) == (complete_export(form), ROWS, [path.name])
    assert again.calls <= CALLS + 3 - call


def test_a_cancelled_export_keeps_every_row_that_was_received(
    tmp_path: Path, complete_export: Callable[[str], bytes]
) -> None:
    """Cancelled in the middle of a request: the rows before are kept."""
    path = tmp_path / "trades.csv"

    async def interrupted() -> bool:
        with anyio.CancelScope() as scope:
            async with ManyTrades(ROWS, hook=lambda number: scope.cancel() if number == 5 else None).client() as client:
                await export(trades_of(client), path)
        return scope.cancelled_caught

    is_cancelled = asyncio.run(interrupted())
    stored = msgspec.json.decode(path.with_name("trades.csv.position").read_bytes())
    save(path)

    assert is_cancelled
    assert stored["rows"] >= 1_000
    assert path.read_bytes() == complete_export("csv")


def test_a_task_that_is_cancelled_while_it_stores_continues(
    tmp_path: Path, complete_export: Callable[[str], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Ctrl-C does: the cancellation is raised, not an error of the file, and no row is lost or repeated."""
    path, store, runs = tmp_path / "trades.jsonl", GrowingFile.add, list[bool]()

    async def interrupted() -> None:
        loop = asyncio.get_running_loop()

        def add(*arguments: Any) -> None:
            if threading.current_thread() is not threading.main_thread():
                loop.call_soon_threadsafe(task.cancel)
                # If the task did not wait for the thread, it would store the rows in this time, too.
                threading.Event().wait(0.2)
            store(*arguments)
            runs.append(threading.current_thread() is threading.main_thread())

        monkeypatch.setattr(GrowingFile, "add", add)
        async with ManyTrades(ROWS).client() as client:
            task = asyncio.ensure_future(export(trades_of(client), path))
            with pytest.raises(asyncio.CancelledError):
                await task

    monkeypatch.setattr(import_module("binance_pm.history.export"), "_MOST_ROWS", 1_000)
    asyncio.run(interrupted())
    monkeypatch.undo()
    save(path)

    assert runs == [False]
    assert path.read_bytes() == complete_export("jsonl")


@contextmanager
def largest_file(size: int) -> Generator[None]:
    """Let no file of this process grow beyond a size, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("form", FORMATS)
def test_a_full_disk_loses_nothing(tmp_path: Path, complete_export: Callable[[str], bytes], form: str) -> None:
    """The error is the system's own; with room on the disk, the same call continues."""
    path = tmp_path / f"trades.{form}"
    with largest_file(40_000), pytest.raises(OSError, match="File too large"):
        save(path, ManyTrades(ROWS))
    save(path)

    assert (path.read_bytes(), names(path)) == (complete_export(form), [path.name])


def test_an_existing_file_is_kept_unless_it_may_be_replaced(
    tmp_path: Path, complete_export: Callable[[str], bytes]
) -> None:
    """An error comes before the first request."""
    path = tmp_path / "trades.csv"
    path.write_text("mine", encoding="utf-8")
    exchange = ManyTrades(ROWS)
    with pytest.raises(ConfigurationError, match="exists"):
        save(path, exchange)
    kept = (path.read_text(encoding="utf-8"), exchange.calls)
    save(path, overwrite=True)

    assert kept == ("mine", 0)
    assert path.read_bytes() == complete_export("csv")


def test_a_file_that_another_process_writes_is_refused(tmp_path: Path) -> None:
    """The second export of the same file fails before it requests anything."""
    path = tmp_path / "trades.csv"
    second = ManyTrades(ROWS)

    async def run() -> None:
        async with ManyTrades(ROWS).client() as client, second.client() as other:
            refused: list[Exception] = []

            async def again() -> None:
                with pytest.raises(OSError, match="another process") as caught:
                    await export(trades_of(other), path)
                refused.append(caught.value)

            async with anyio.create_task_group() as tasks:
                await export(trades_of(client), path, on_progress=lambda _: refused or tasks.start_soon(again))
            assert refused

    asyncio.run(run())
    assert (second.calls, names(path)) == (0, ["trades.csv"])


def test_an_earlier_end_is_refused(tmp_path: Path) -> None:
    """An end before the last row of the file is refused; a later end continues the export."""
    path = tmp_path / "trades.csv"
    begin_export(path)
    with pytest.raises(ConfigurationError):
        save(path, end_time=FIRST + 5)
    file = save(path, end_time=FIRST + (ROWS - 2) * SPACING)

    assert (file.rows, names(path)) == (ROWS - 1, [path.name])


@pytest.mark.parametrize("name", DAMAGES)
def test_what_does_not_belong_together_is_not_continued(tmp_path: Path, name: str) -> None:
    """The error names the file; nothing is requested, and nothing is removed."""
    path = tmp_path / "trades.csv"
    begin_export(path)
    damage_export(path, name)
    before = names(path)
    exchange = ManyTrades(ROWS)
    with pytest.raises(ConfigurationError):
        save(path, exchange)

    assert (exchange.calls, names(path)) == (0, before)


def test_the_suffix_selects_the_format(tmp_path: Path) -> None:
    """An unknown suffix is an error."""
    with pytest.raises(ConfigurationError, match="csv"):
        save(tmp_path / "trades.txt")
    assert list(tmp_path.iterdir()) == []


def test_parquet_needs_an_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the command that installs it."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigurationError, match="parquet"):
        save(tmp_path / "trades.parquet")
