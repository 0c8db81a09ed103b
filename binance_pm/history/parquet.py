"""Rows as a Parquet file. No other module imports pyarrow, which is the extra `parquet`.

Amounts are decimals with 38 digits, 18 of them behind the point. An amount that does not fit exactly is an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from binance_pm.amounts import json_of
from binance_pm.history.rows import Column, ColumnKind

_DIGITS: Final = 38
_PLACES: Final = 18


class ParquetFile:
    """A Parquet file that is being written, one row group at a time.

    Args:
        path: the file, which is overwritten.
        columns: the columns of the rows.

    Raises:
        ImportError: the extra is not installed.
        OSError: the file cannot be written.
    """

    def __init__(self, path: Path, columns: Sequence[Column]) -> None:
        # Without type information, and half a second to load.
        self._arrow: Final[Any] = import_module("pyarrow")
        parquet: Any = import_module("pyarrow.parquet")
        self._path: Final = path
        self._columns: Final = columns
        types = self._types()
        self._schema: Final = self._arrow.schema([(column.name, types[column.kind]) for column in columns])
        self._writer: Final = parquet.ParquetWriter(str(path), self._schema, compression="zstd")

    def write(self, rows: Sequence[Any]) -> None:
        """Append rows as one row group.

        Raises:
            ValueError: a value does not fit; the text names the column.
        """
        self._writer.write_table(
            self._arrow.Table.from_arrays([self._array(column, rows) for column in self._columns], schema=self._schema)
        )

    def close(self) -> None:
        """Write the end of the file, without which the file cannot be read."""
        self._writer.close()

    def discard(self) -> None:
        """Remove a file that is not complete."""
        self._writer.close()
        self._path.unlink(missing_ok=True)

    def _array(self, column: Column, rows: Sequence[Any]) -> Any:
        values = [getattr(row, column.attribute) for row in rows]
        if column.kind == "text":
            values = [value if value is None else str(value) for value in values]
        elif column.kind == "json":
            values = [value if value is None else json_of(value).decode() for value in values]
        kind = self._schema.field(column.name).type
        try:
            return self._arrow.array(values, kind)
        except (self._arrow.ArrowInvalid, OverflowError):
            raise ValueError(f"a value of the column {column.name} does not fit into {kind}") from None

    def _types(self) -> dict[ColumnKind, Any]:
        arrow = self._arrow
        return {
            "amount": arrow.decimal128(_DIGITS, _PLACES),
            "integer": arrow.int64(),
            "boolean": arrow.bool_(),
            "text": arrow.string(),
            "json": arrow.string(),
        }
