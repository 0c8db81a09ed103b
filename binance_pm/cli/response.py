"""A response as JSON, or as a table for people."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, Final, cast

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from binance_pm.amounts import text_of
from binance_pm.cli.output import printable

_WIDEST: Final = 100_000


def as_json(response: object) -> str:
    """Return JSON in the exchange's format: amounts as text in plain notation, even in undeclared fields."""
    plain = msgspec.to_builtins(response, builtin_types=(Decimal,))
    text = json.dumps(plain, indent=2, ensure_ascii=False, default=text_of)
    return "\n".join(map(printable, text.split("\n")))


def as_table(response: object, console: Console) -> Table | None:
    """Return a table of one Struct or of a list of Structs, or None for any other response.

    A list has one row for each Struct if the table fits the console; otherwise, and for one Struct, each field has a
    row.
    """
    structs = cast("list[object]", response if isinstance(response, list) else [response])
    if not structs or not all(isinstance(struct, msgspec.Struct) for struct in structs):
        return None
    records: list[dict[str, Any]] = [msgspec.to_builtins(struct, builtin_types=(Decimal,)) for struct in structs]
    if isinstance(response, list):
        table = _rows(records)
        unlimited = console.options.update(max_width=_WIDEST)
        if console.measure(table, options=unlimited).maximum <= console.width:
            return table
    return _fields(records)


def _rows(records: list[dict[str, Any]]) -> Table:
    table = _table()
    names = list(dict.fromkeys(name for record in records for name in record))
    for name in names:
        is_number = all(isinstance(record.get(name), Decimal | int | None) for record in records)
        table.add_column(name, justify="right" if is_number else "left", no_wrap=True)
    for record in records:
        table.add_row(*(_cell(record.get(name)) for name in names))
    return table


def _fields(records: list[dict[str, Any]]) -> Table:
    table = _table()
    table.add_column("field", no_wrap=True)
    table.add_column("value", overflow="fold")
    for place, record in enumerate(records):
        if place:
            table.add_row()
        for name, value in record.items():
            table.add_row(name, _cell(value))
    return table


def _table() -> Table:
    return Table(box=None, pad_edge=False, header_style="bold")


def _cell(value: object) -> Text:
    match value:
        case None:
            text = "-"
        case str():
            text = value
        case Decimal():
            text = text_of(value)
        case _:
            text = json.dumps(value, ensure_ascii=False, default=text_of)
    return Text(printable(text))
