"""Rows as lines of text: columns, and the formats CSV and JSON Lines."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from decimal import Decimal
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, NamedTuple, Union, get_args, get_origin

import msgspec

from binance_pm.amounts import json_of, text_of

ColumnKind = Literal["amount", "integer", "boolean", "text", "json"]
"""What the values of a column are; ``json`` for lists and objects."""


class Column(NamedTuple):
    """One field of a row."""

    name: str
    """The name as the exchange spells it, such as ``orderId``."""
    attribute: str
    """The name in the Struct, such as ``order_id``."""
    kind: ColumnKind


def columns_of(row_type: type[msgspec.Struct]) -> tuple[Column, ...]:
    """Return the columns of rows of a type."""
    return tuple(
        Column(field.encode_name, field.name, _kind_of(field.type)) for field in msgspec.structs.fields(row_type)
    )


def csv_header(columns: tuple[Column, ...]) -> bytes:
    """Return the first line of a CSV file."""
    return _csv_line([column.name for column in columns])


def csv_writer(columns: tuple[Column, ...]) -> Callable[[Any], bytes]:
    """Return a function that returns the CSV line of a row."""
    attributes: Final = [column.attribute for column in columns]

    def write(row: Any) -> bytes:
        return _csv_line([_csv_text(getattr(row, name)) for name in attributes])

    return write


def json_line(row: Any) -> bytes:
    """Return the line of a row in JSON Lines, with amounts as text."""
    return json_of(row) + b"\n"


def _csv_line(values: list[str]) -> bytes:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(values)
    return line.getvalue().encode()


def _csv_text(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case Decimal():
            return text_of(value)
        case str() | int():
            return str(value)
        case _:
            return json_of(value).decode()


_KINDS: Final[dict[type, ColumnKind]] = {Decimal: "amount", bool: "boolean", int: "integer", str: "text"}


def _kind_of(annotation: Any) -> ColumnKind:
    parts = get_args(annotation) if get_origin(annotation) in {Union, UnionType} else (annotation,)
    kinds: set[ColumnKind] = {_kind_of_one(part) for part in parts if part is not NoneType}
    return kinds.pop() if len(kinds) == 1 else "json"


def _kind_of_one(annotation: Any) -> ColumnKind:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _kind_of(get_args(annotation)[0])
    if origin is Literal:
        return "text"
    if not isinstance(annotation, type):
        return "json"
    for base, kind in _KINDS.items():
        if issubclass(annotation, base):
            return kind
    return "json"
