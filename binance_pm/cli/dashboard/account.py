"""The page of one account, with everything that was read of the account."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final, cast

import msgspec
from rich.cells import cell_len

from binance_pm.amounts import text_of
from binance_pm.cli.dashboard.line import Line, Span, line, wrapped
from binance_pm.cli.dashboard.rows import AccountRow
from binance_pm.cli.dashboard.table import LOUD, OLD, age_text, spark
from binance_pm.cli.output import clock_time, printable
from binance_pm.fleet import TimedResponse

_GAP: Final = 3
# The columns that a narrow screen omits last.
_FIRST: Final = ("symbol", "position_side", "position_amt", "notional", "unrealized_profit")


def account(row: AccountRow, width: int, *, trend: Sequence[float], events: Sequence[str]) -> list[Line]:
    """Return the account as lines of a width; amounts have all digits that the exchange sent."""
    snapshot = row.snapshot
    lines: list[Line] = [_title(row), _plan(row)]
    if snapshot.error:
        retry = "" if snapshot.retry_at is None else f" (retry at {clock_time(snapshot.retry_at)})"
        lines += [line(text, "red") for text in wrapped(f"last error: {snapshot.error}{retry}", width, indent=2)]
    if snapshot.reason and snapshot.reason != snapshot.error:
        lines += [line(text, "red") for text in wrapped(f"stale: {snapshot.reason}", width, indent=2)]
    if snapshot.profits:
        amounts = ", ".join(f"{text_of(value, '+,f')} {asset}" for asset, value in snapshot.profits.items())
        old = OLD if row.is_stale("um_account") else ""
        lines += [line(text, old) for text in wrapped(f"unrealized profit {amounts}", width, indent=2)]
    if not snapshot.responses:
        lines.append(line("This account was never read.", LOUD))
    if trend:
        course = Span(spark(trend, len(trend)), "dim" if row.is_headline_stale else "cyan")
        lines.append((Span("uniMMR "), course, Span(f" {trend[0]:.2f} to {trend[-1]:.2f}")))
    pages: list[Line] = []
    for name, timed in sorted(snapshot.responses.items()):
        figures, lists = _taken_apart(timed)
        style = OLD if row.is_stale(name) else ""
        if figures:
            title = (Span(name, "bold"), Span(f"  at {clock_time(timed.at)}"), _age(row, name))
            pages += [line(), title, *_figures(figures, width, style)]
        for title, items in lists:
            shown = [line(), *_items(title, items, width, style)]
            # Positions come first: they are the main reason to open the page of an account.
            if title == "positions":
                lines += shown
            else:
                pages += shown
    lines += pages
    lines += [line(), line("latest events", "bold")]
    lines += [line(text) for event in reversed(events) for text in wrapped(event, width, indent=10)]
    return lines


def _title(row: AccountRow) -> Line:
    snapshot = row.snapshot
    below = f", at or below {' and '.join(snapshot.crossed)}" if snapshot.crossed else ""
    never = " NEVER READ " if row.condition == "unread" else " PART UNREAD "
    state = Span(never if snapshot.age is None else f" STALE: read {age_text(snapshot.age)} ago ", LOUD)
    fresh = Span(f"read {age_text(snapshot.age or 0.0)} ago")
    return (
        Span(snapshot.label, "bold"),
        Span(f"  {snapshot.product}  {snapshot.status or 'UNREAD'}{below}  "),
        state if row.condition in {"unread", "partial", "stale"} else fresh,
    )


def _age(row: AccountRow, name: str) -> Span:
    """Return the age of an endpoint's data if the data is older than promised, else an empty span."""
    age = row.snapshot.ages.get(name)
    return Span(f"  STALE {age_text(age)}", LOUD) if age is not None and row.is_stale(name) else Span("")


def _plan(row: AccountRow) -> Line:
    snapshot = row.snapshot
    if not snapshot.interval:
        return line("The account is not read.")
    stream = "" if snapshot.stream == "off" else f", stream {snapshot.stream}"
    if snapshot.saved:
        stream += f", saving {snapshot.saved:,.0f} of weight per minute"
    return line(f"read every {age_text(snapshot.interval)}, stale after {age_text(snapshot.max_age)}{stream}")


def _taken_apart(timed: TimedResponse) -> tuple[list[tuple[str, str]], list[tuple[str, list[msgspec.Struct]]]]:
    """Return the figures of a response, each with its name, and the lists of the response."""
    figures: list[tuple[str, str]] = []
    lists: list[tuple[str, list[msgspec.Struct]]] = []
    for field in msgspec.structs.fields(timed.response):
        value: object = getattr(timed.response, field.name)
        if isinstance(value, list):
            lists.append((_words(field.name), cast("list[msgspec.Struct]", value)))
        else:
            figures.append((_words(field.name), _text(field.name, value)))
    return figures, lists


def _figures(figures: Sequence[tuple[str, str]], width: int, style: str) -> list[Line]:
    if not figures:
        return []
    names, values = (max(cell_len(one[place]) for one in figures) for place in (0, 1))
    columns = max(1, (width + _GAP - 2) // (names + 1 + values + _GAP))
    return [
        (
            Span("  "),
            *(
                span
                for name, value in figures[place : place + columns]
                for span in (Span(f"{name:<{names}} ", "dim"), Span(f"{value:>{values}}", style), Span(" " * _GAP))
            ),
        )
        for place in range(0, len(figures), columns)
    ]


def _items(name: str, items: Sequence[msgspec.Struct], width: int, style: str) -> list[Line]:
    """Return Structs as a table, without Structs whose amounts are all 0 and without columns that do not fit."""
    held = [
        item for item in items if any(isinstance(value, Decimal) and value for value in msgspec.structs.astuple(item))
    ]
    if not held:
        return [line(f"{name}: none", "bold")]
    fields = sorted((field.name for field in msgspec.structs.fields(held[0])), key=_place)
    cells = [[_words(field), *(_text(field, getattr(item, field)) for item in held)] for field in fields]
    columns: list[list[str]] = []
    left = width - 2
    for field, texts in zip(fields, cells, strict=True):
        size = max(map(cell_len, texts))
        if size > left:
            break
        left -= size + 2
        is_amount = isinstance(getattr(held[0], field), Decimal)
        columns.append([" " * (size - cell_len(text)) + text if is_amount else text.ljust(size) for text in texts])
    if not columns:
        return [line(name, "bold")]
    head, *rows = ["  " + "  ".join(row) for row in zip(*columns, strict=True)]
    return [line(name, "bold"), line(head, "dim"), *(line(row, style) for row in rows)]


def _place(field: str) -> int:
    return _FIRST.index(field) if field in _FIRST else len(_FIRST)


def _words(field: str) -> str:
    return field.replace("_", " ").replace("uni mmr", "uniMMR")


def _text(field: str, value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, Decimal):
        return text_of(value, ",f")
    if isinstance(value, int) and field.endswith("_time"):
        return clock_time(value / 1000) if value else "-"
    return printable(str(value))
