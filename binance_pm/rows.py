"""Decodes large responses row by row: a row with the same bytes as an earlier one is not decoded again.

Most of 600 positions are empty or have not changed since the previous response, of this account or of another one. Rows
are frozen, so the same Struct can be shared. Up to 8,192 rows of each type are kept, about 1 kB each.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import inspect

SMALLEST: Final = 4096
"""Size in bytes of the smallest body that is worth decoding row by row."""

_MOST: Final = 8_192
# If most rows of two responses in a row are new, the next 4 responses are decoded as a whole. If most rows of the next
# one are new again, it is 8 responses, then 16, and at most 256.
_MOST_DOUBLINGS: Final = 8
# Decoding so many rows takes a fraction of a millisecond.
_STEP: Final = 100

Decode = Callable[[bytes], Any]


class _Table(NamedTuple):
    """A field that is a list of rows."""

    name: str
    decode: Decode
    known: dict[bytes, Any]


class Rows:
    """A decoder for a type that consists of lists of frozen Structs.

    Args:
        kind: the type; `are_rows` must be true of it.
        decoder: returns the function that decodes bodies of a type.
    """

    def __init__(self, kind: inspect.StructType, decoder: Callable[[Any], Decode]) -> None:
        names = {field.name: field.encode_name for field in kind.fields}
        raw = msgspec.defstruct("Raw", [(name, list[msgspec.Raw]) for name in names], rename=names)
        self._split: Final = msgspec.json.Decoder(raw).decode
        self._returns: Final = kind.cls
        self._tables: Final = [_Table(field.name, decoder(list[_row_of(field).cls]), {}) for field in kind.fields]
        self._vain: int = 0
        """How often in a row most of the rows that were looked up were new."""
        self._resting: int = 0
        """In how many of the next responses no rows are looked up."""

    def steps(self, body: bytes) -> Generator[None, None, Any | None]:
        """Return the decoded body after steps of at most `_STEP` new rows; None if it has to be decoded as a whole."""
        if self._resting:
            self._resting -= 1
            return None
        try:
            raw = self._split(body)
            lists: dict[str, list[Any]] = {}
            total = new = 0
            for table in self._tables:
                keys = list(map(bytes, getattr(raw, table.name)))
                lists[table.name] = rows = list(map(table.known.get, keys))
                unknown = [place for place, row in enumerate(rows) if row is None]
                for start in range(0, len(unknown), _STEP):
                    if start:
                        yield
                    _fill(table, keys, rows, unknown[start : start + _STEP])
                total += len(keys)
                new += len(unknown)
        except (ValueError, msgspec.DecodeError, TypeError, RecursionError):
            # Decoding the whole body names the place of the error.
            return None
        self._vain = min(self._vain + 1, _MOST_DOUBLINGS) if 2 * new > total else 0
        self._resting = 2**self._vain if self._vain > 1 else 0
        return self._returns(**lists)


def are_rows(kind: inspect.Type) -> bool:
    """Return whether a type is a Struct that contains only lists of frozen Structs."""
    return (
        isinstance(kind, inspect.StructType)
        and _is_plain_struct(kind)
        and bool(kind.fields)
        and all(field.required and _is_table(field.type) for field in kind.fields)
    )


def _is_table(kind: inspect.Type) -> bool:
    if not isinstance(kind, inspect.ListType) or kind.min_length is not None or kind.max_length is not None:
        return False
    row = kind.item_type
    return isinstance(row, inspect.StructType) and _is_plain_struct(row) and row.cls.__struct_config__.frozen


def _is_plain_struct(kind: inspect.StructType) -> bool:
    return not kind.array_like and not kind.forbid_unknown_fields and kind.tag is None


def _row_of(field: inspect.Field) -> inspect.StructType:
    assert isinstance(field.type, inspect.ListType)  # noqa: S101 - for the type checker
    assert isinstance(field.type.item_type, inspect.StructType)  # noqa: S101 - for the type checker
    return field.type.item_type


def _fill(table: _Table, keys: list[bytes], rows: list[Any], places: list[int]) -> None:
    """Decode the rows at these places, and keep them."""
    fresh = [keys[place] for place in places]
    decoded = table.decode(b"[%b]" % b",".join(fresh))
    if len(table.known) + len(fresh) > _MOST:
        table.known.clear()
    table.known.update(zip(fresh, decoded, strict=True))
    for place, row in zip(places, decoded, strict=True):
        rows[place] = row
