"""A file of rows that grows until it is complete, and the position that tells how far it is.

Next to ``trades.csv``, there are ``trades.csv.partial`` with the rows and ``trades.csv.position`` with the position.
Rows are on disk before the position that covers them. The position has the length of the rows that it covers: what was
written after it is cut off before more is written. So a crash at any moment neither loses nor repeats a row.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from binance_pm.files import lock, refuse_existing, replace_bytes
from binance_pm.history.pages import Position

_VERSION: Final = 1


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """How far a file of rows is, as its position file says."""

    position: Position | None
    """Behind the last row that the file has; None before the first row."""
    rows: int
    """How many rows the file has."""
    size: int
    """The bytes of these rows, and of the header."""
    columns: tuple[str, ...]
    """The names of the columns."""
    start_time: int | None
    """The start that was asked for, in milliseconds since the epoch."""
    version: int = _VERSION
    """The version of these fields."""


class GrowingFile:
    """A file of rows that can be continued after a crash.

    Args:
        path: the name of the complete file.
        header: the first bytes of the file.
        columns: the names of the columns.
        start_time: the start that is asked for.
        overwrite: whether a complete file of this name is replaced in the end.

    Raises:
        ValueError: the file was begun with other arguments, or was changed.
        OSError: the name is taken, another process writes the file, or the file cannot be written.
    """

    def __init__(
        self, path: Path, *, header: bytes, columns: tuple[str, ...], start_time: int | None, overwrite: bool
    ) -> None:
        self.path: Final = path
        self.partial: Final = path.with_name(f"{path.name}.partial")
        self._position_path: Final = path.with_name(f"{path.name}.position")
        self._header: Final = header
        if not overwrite:
            refuse_existing(path)
        fresh = Checkpoint(position=None, rows=0, size=0, columns=columns, start_time=start_time)
        self._file: Final[BinaryIO] = self._open()
        try:
            lock(self._file, self.partial)
            self.checkpoint: Checkpoint = self._begun(fresh) or fresh
            """What the file has for certain."""
            if self.checkpoint is fresh:
                self._save(fresh)
        except BaseException:
            self._file.close()
            raise

    def add(self, lines: bytes, rows: int, position: Position | None) -> None:
        """Write rows, and then the position behind them."""
        now = self.checkpoint
        data = lines if now.size else self._header + lines
        # The file may have more: what an earlier attempt wrote before a crash, or before the disk was full.
        self._file.seek(now.size)
        self._file.truncate()
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]
        os.fsync(self._file.fileno())
        self._save(msgspec.structs.replace(now, position=position, rows=now.rows + rows, size=now.size + len(data)))

    def close(self) -> None:
        """Close the file, which can be continued; remove the file if it has nothing."""
        self._file.close()
        if self.checkpoint.position is None:
            self.partial.unlink(missing_ok=True)
            self.remove_position()

    def remove_position(self) -> None:
        """Remove the position, after the complete file has got its name."""
        self._position_path.unlink(missing_ok=True)

    def _open(self) -> BinaryIO:
        if not self.partial.exists():
            # An earlier run was completed, and could not remove its position.
            self.remove_position()
        return open(os.open(self.partial, os.O_CREAT | os.O_RDWR, 0o666), "r+b", buffering=0)  # noqa: PTH123 - a path cannot open a file descriptor

    def _begun(self, fresh: Checkpoint) -> Checkpoint | None:
        """Return how far an earlier run has come; None if there was none."""
        size = self._file.seek(0, os.SEEK_END)
        try:
            begun = msgspec.json.decode(self._position_path.read_bytes(), type=Checkpoint)
        except FileNotFoundError:
            if not size:
                return None
            what = f"{self.partial} exists without {self._position_path.name}, so it cannot be continued: remove it"
            raise ValueError(what) from None
        except msgspec.MsgspecError as error:
            raise ValueError(f"{self._position_path} cannot be read: {error}") from None
        if begun.version != _VERSION or begun.columns != fresh.columns:
            raise ValueError(f"{self.partial} was begun by another version of this package: remove it, or use that one")
        if begun.start_time != fresh.start_time:
            raise ValueError(f"{self.partial} was begun with another start_time: give the same one, or remove the file")
        if size < begun.size:
            raise ValueError(f"{self.partial} is shorter than {self._position_path.name} says: remove both")
        return begun

    def _save(self, checkpoint: Checkpoint) -> None:
        replace_bytes(self._position_path, msgspec.json.encode(checkpoint))
        self.checkpoint = checkpoint
