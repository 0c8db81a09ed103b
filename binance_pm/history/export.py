"""Writes the rows of a long list into a file, and continues after a crash without losing or repeating a row."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterable
from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import anyio
import msgspec

from binance_pm.errors import CallInfo, ConfigurationError, HistoryIncomplete
from binance_pm.extras import installation
from binance_pm.files import publish, refuse_existing
from binance_pm.history.checkpoints import GrowingFile
from binance_pm.history.pages import PageProgress, Pages
from binance_pm.history.parquet import ParquetFile
from binance_pm.history.query import Query
from binance_pm.history.rows import Column, columns_of, csv_header, csv_writer, json_line
from binance_pm.threads import in_thread

Row = TypeVar("Row")

FileFormat = Literal["csv", "jsonl", "parquet"]
"""The formats, which are also the suffixes of the files."""

_FORMATS: Final[dict[str, FileFormat]] = {".csv": "csv", ".jsonl": "jsonl", ".parquet": "parquet"}
_MOST_ROWS: Final = 5_000
"""After how many rows the position is stored."""
_MOST_SECONDS: Final = 1.0
"""After how many seconds the position is stored at the end of a page."""
_ROW_GROUP: Final = 20_000
"""Rows of a row group of a Parquet file."""


class ExportProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far an export is."""

    rows: int
    """The rows that were received, those of earlier runs included."""
    calls: int
    """The calls of this run."""
    fraction: float | None
    """The part of the time that this run has to read, from 0 to 1; None if the start is not known."""


class ExportedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A complete file of rows."""

    path: Path
    """Where the file is."""
    rows: int
    """How many rows it has."""
    size: int
    """Its bytes."""
    missing_before: int | None
    """Rows before this time, in milliseconds, were asked for and are no longer kept by the exchange; None if none."""


async def export(
    pages: Pages[Row],
    path: str | PathLike[str],
    *,
    overwrite: bool = False,
    on_progress: Callable[[ExportProgress], object] | None = None,
) -> ExportedFile:
    """Write all rows of a list into a file, whose suffix selects the format: ``.csv``, ``.jsonl`` or ``.parquet``.

    Until the file is complete, its rows are in ``<path>.partial``, and ``<path>.position`` tells how far they are. If
    the export is cancelled, fails or crashes, the same call continues: no row is lost or repeated. The columns have the
    exchange's names. Amounts are exact: text in plain notation, or decimals with 18 places in Parquet.

    Args:
        pages: the list, from `paginate`.
        path: the file.
        overwrite: whether a complete file of this name is replaced, when the new one is complete.
        on_progress: called after every response.

    Raises:
        ConfigurationError: the suffix, the name or what an earlier run left does not fit; or an extra is missing.
        HistoryIncomplete: the exchange cannot show all rows, or an amount does not fit into a Parquet column.
        PortfolioMarginError: a call failed. What was written can be continued.
        OSError: the file cannot be written. What was written can be continued.
    """
    target, query = Path(path), pages.query
    info = _info(query)
    columns = columns_of(query.row_type)
    try:
        form = _format_of(target)
        file = GrowingFile(
            target,
            header=csv_header(columns) if form == "csv" else b"",
            columns=tuple(column.name for column in columns),
            start_time=query.start,
            overwrite=overwrite,
        )
    except ValueError as error:
        raise ConfigurationError(info, str(error)) from None
    except FileExistsError as error:
        raise ConfigurationError(info, f"{error.filename}: {error.strerror}") from None
    try:
        position = file.checkpoint.position
        if position is not None and query.end is not None and position.time > query.end + 1:
            reason = f"{file.partial} has rows after end_time: give the same end or a later one, or remove the file"
            raise ConfigurationError(info, reason)
        pages = pages.options(position=position)
        write = csv_writer(columns) if form == "csv" else json_line
        missing_before = await _Export(pages, file, write, on_progress).run()
        return await _finished(file, form, columns, pages, missing_before, overwrite=overwrite)
    finally:
        file.close()


def _info(query: Query) -> CallInfo:
    return CallInfo(f"export({query.endpoint.name})", query.client.label)


def _format_of(path: Path) -> FileFormat:
    form = _FORMATS.get(path.suffix.lower())
    if form is None:
        raise ValueError(f"{path.name} has none of the suffixes {', '.join(_FORMATS)}")
    if form == "parquet" and find_spec("pyarrow") is None:
        raise ValueError(f"Parquet needs the extra `parquet`: {installation('parquet')}")
    return form


class _Export:
    """The transfer of rows into a growing file."""

    def __init__(
        self,
        pages: Pages[Any],
        file: GrowingFile,
        write: Callable[[Any], bytes],
        on_progress: Callable[[ExportProgress], object] | None,
    ) -> None:
        self._file: Final = file
        self._write: Final = write
        self._on_progress: Final = on_progress
        self._pages: Final = pages.options(on_progress=self._report)
        self._before: Final = file.checkpoint.rows
        self._lines: list[bytes] = []
        self._is_new_page: bool = False
        self._has_received: bool = False

    async def run(self) -> int | None:
        """Write all rows, and return the time before which rows are missing."""
        stored_at = anyio.current_time()
        try:
            async for row in self._pages:
                self._lines.append(self._write(row))
                is_due = self._is_new_page and anyio.current_time() - stored_at >= _MOST_SECONDS
                if is_due or len(self._lines) >= _MOST_ROWS:
                    await in_thread(self._store)
                    stored_at = anyio.current_time()
                self._is_new_page = False
        except BaseException:
            # Also if cancelled: the file keeps every row that was received.
            if self._has_received:
                self._store()
            raise
        self._store()
        return self._pages.missing_before

    def _store(self) -> None:
        lines, position = self._lines, self._pages.position
        if lines or position != self._file.checkpoint.position or not self._file.checkpoint.size:
            self._file.add(b"".join(lines), len(lines), position)
            self._lines = []

    def _report(self, progress: PageProgress) -> None:
        self._is_new_page = self._has_received = True
        if self._on_progress is not None:
            rows = self._before + progress.rows
            self._on_progress(ExportProgress(rows=rows, calls=progress.calls, fraction=progress.fraction))


async def _finished(
    file: GrowingFile,
    form: FileFormat,
    columns: tuple[Column, ...],
    pages: Pages[Any],
    missing_before: int | None,
    *,
    overwrite: bool,
) -> ExportedFile:
    """Give the complete file its name."""
    complete = file.partial
    if form == "parquet":
        complete = file.path.with_name(f".{file.path.name}.converted")
        await _convert(file, complete, columns, pages)
    size = complete.stat().st_size
    if not overwrite:
        refuse_existing(file.path)
    # Not a second name for the same file: a crash would leave both, and continuing would change the complete file.
    publish(complete, file.path, overwrite=True)
    if complete != file.partial:
        file.partial.unlink()
    file.remove_position()
    return ExportedFile(path=file.path, rows=file.checkpoint.rows, size=size, missing_before=missing_before)


async def _convert(file: GrowingFile, target: Path, columns: tuple[Column, ...], pages: Pages[Any]) -> None:
    """Convert JSON Lines into Parquet, one row group at a time, which a cancellation may interrupt."""
    converted = await in_thread(ParquetFile, target, columns)
    is_complete = False
    try:
        with file.partial.open("rb") as lines:
            groups = _groups(lines, pages.query.row_type)
            while rows := await in_thread(next, groups, None):
                await in_thread(converted.write, rows)
        await in_thread(converted.close)
        is_complete = True
    except ValueError as error:
        advice = f"All rows are in {file.partial}, which is JSON Lines. Export to a .jsonl or .csv file instead."
        raise HistoryIncomplete(_info(pages.query), str(error), advice=advice) from None
    finally:
        if not is_complete:
            converted.discard()


def _groups(lines: Iterable[bytes], row_type: type[msgspec.Struct]) -> Generator[list[msgspec.Struct]]:
    decode = msgspec.json.Decoder(row_type).decode
    remaining = iter(lines)
    while group := [decode(line) for line in itertools.islice(remaining, _ROW_GROUP)]:
        yield group
