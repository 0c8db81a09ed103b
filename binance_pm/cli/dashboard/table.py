"""The accounts as a table that fits any width: columns are omitted, values are not cut."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from decimal import ROUND_FLOOR, Decimal
from typing import Final, Literal, NamedTuple

from rich.cells import cell_len, set_cell_size

from binance_pm.amounts import is_near
from binance_pm.cli.dashboard.history import TREND
from binance_pm.cli.dashboard.line import Line, Span, fitted, shortened
from binance_pm.cli.dashboard.rows import AccountRow
from binance_pm.cli.output import printable
from binance_pm.fleet import AccountSnapshot
from binance_pm.fleet.summary import DOLLARS

ColumnName = Literal["account", "status", "uniMMR", "trend", "equity", "maint.", "profit", "age", "reason"]

DROPPED: Final[tuple[ColumnName, ...]] = ("reason", "profit", "maint.", "equity", "trend")
"""Columns that a narrow screen omits, in this order."""

LOUD: Final = "bold red reverse"
OLD: Final = "dim strike"
"""Style of figures that may be outdated."""

# With these widths, all columns but the reason fit on 80 columns.
_LEAST: Final[Mapping[ColumnName, int]] = {
    "account": 10,
    "status": 11,
    "uniMMR": 7,
    "trend": 5,
    "equity": 9,
    "maint.": 9,
    "profit": 8,
    "age": 11,
    "reason": 28,
}
_LABEL: Final = 24
_BRIEF_PROFIT: Final = 9
# If there is less room for a reason, the brief reason is more informative than the beginning of the whole reason.
_WHOLE_REASON: Final = 60
_NAMES: Final[tuple[ColumnName, ...]] = ("account", "status")
# If there is no column for the reason, it replaces these figures, which are then less important.
_COVERED: Final[tuple[ColumnName, ...]] = ("equity", "maint.", "profit")
# An account without debts has a uniMMR of 100 million.
_FAR: Final = 10_000
_FARTHEST: Final = 10**12
_SMALL: Final = Decimal("0.001")
_BARS: Final = "▁▂▃▄▅▆▇█"
# A trend is drawn in full height only if its range is larger than this fraction of its highest value.
_FLAT: Final = 0.02
_LEVELS: Final = {"alarm": "bold red", "warn": "yellow", "calm": "green"}
_MARKS: Final = {"alarm": "!!", "warn": "! ", "calm": "  "}


class Table(NamedTuple):
    """A table as lines of text."""

    head: Line
    body: list[Line]
    widths: Mapping[ColumnName, int]
    """Widths of all columns, including omitted ones."""


def table(
    rows: Sequence[AccountRow],
    width: int,
    *,
    trend: Callable[[str], Sequence[float]] | None = None,
    chosen: str | None = None,
    widths: Mapping[ColumnName, int] | None = None,
) -> Table:
    """Return the rows as lines of a width; no column becomes narrower than in ``widths``, so that nothing flickers."""
    cells = [_cells(row, trend(row.snapshot.label) if trend else ()) for row in rows]
    wanted: list[ColumnName] = [name for name in _RIGHT if trend or name != "trend"]
    natural = _natural(cells, widths)
    shown, gap = _chosen_columns(natural, width, wanted)
    if "profit" not in shown and any(row.snapshot.profits for row in rows):
        # The page of the account shows all digits of profits in several assets.
        for row, spans in zip(rows, cells, strict=True):
            spans["profit"] = Span(_brief_profit(row.snapshot), spans["profit"].style)
        natural = _natural(cells, widths)
        shown, gap = _chosen_columns(natural, width, wanted)
    used = dict(natural)
    spare = width - sum(natural[name] for name in shown) - gap * (len(shown) - 1)
    if "trend" in shown:
        used["trend"] += (wider := max(0, min(spare, TREND - natural["trend"])))
        spare -= wider
    if "reason" in shown:
        used["reason"] += max(0, spare)
        if used["reason"] < _WHOLE_REASON:
            for row, spans in zip(rows, cells, strict=True):
                spans["reason"] = Span(row.brief_reason, "red")
    head = [_cell(name, Span(name, "bold"), used[name]) for name in shown]
    body = [
        _line(_row(row, spans, shown, used, gap), gap, width, is_chosen=row.snapshot.label == chosen)
        for row, spans in zip(rows, cells, strict=True)
    ]
    return Table(_line(head, gap, width, is_chosen=False), body, natural)


def _natural(
    cells: Sequence[Mapping[ColumnName, Span]], widths: Mapping[ColumnName, int] | None
) -> dict[ColumnName, int]:
    """Return the width of each column that its values need."""
    natural: dict[ColumnName, int] = {
        name: max([least, widths[name] if widths else 0, *(cell_len(row[name].text) for row in cells)])
        for name, least in _LEAST.items()
    }
    natural |= {name: min(natural[name], _LABEL) for name in _NAMES}
    natural |= {name: _LEAST[name] for name in ("trend", "reason")}
    return natural


def _brief_profit(snapshot: AccountSnapshot) -> str:
    """Return the profit with as many decimals as fit in a narrow column, or the number of assets."""
    if snapshot.unrealized_profit is not None or not snapshot.profits:
        return profit_text(snapshot)
    (asset, value), *others = snapshot.profits.items()
    if others:
        return f"{len(snapshot.profits)} assets"
    texts = [f"{value:+,.{places}f} {asset}" for places in (3, 2, 1)]
    return next((text for text in texts if len(text) <= _BRIEF_PROFIT), "1 asset")


def _row(
    row: AccountRow,
    spans: Mapping[ColumnName, Span],
    shown: Sequence[ColumnName],
    used: Mapping[ColumnName, int],
    gap: int,
) -> list[Line]:
    """Return the cells of an account; the reason replaces figures if the screen has no column for the reason."""
    cells = {name: _cell(name, spans[name], used[name]) for name in shown}
    covered: list[ColumnName] = [name for name in shown if name in _COVERED]
    if row.reason and "reason" not in shown and covered:
        room = sum(used[name] for name in covered) + gap * (len(covered) - 1)
        cells[covered[0]] = _cell("reason", Span(printable(row.brief_reason), "red"), room)
        for name in covered[1:]:
            del cells[name]
    return [*cells.values()]


def age_text(seconds: float) -> str:
    """Return a duration in a few characters."""
    if seconds < 100:
        return f"{seconds:.1f}s"
    if seconds < 1_000:
        return f"{seconds:.0f}s"
    return f"{seconds / 60:.0f}m" if seconds < 60_000 else f"{seconds / 3600:.0f}h"


def margin_text(uni_mmr: Decimal | None) -> str:
    """Return uniMMR with two decimals below 1,000, never rounded up: a value at a threshold is not shown above it."""
    if uni_mmr is None:
        return "-"
    if not is_near(uni_mmr):
        return "?"
    if abs(uni_mmr) >= _FAR:
        return f"{'<-' if uni_mmr < 0 else '>'}{_FAR - 1:,}"
    return format(uni_mmr.quantize(Decimal("0.01" if uni_mmr < 1000 else "1"), ROUND_FLOOR), ",f")


def spark(values: Sequence[float], width: int) -> str:
    """Return the last values as a line of bars."""
    last = values[-width:]
    if not last:
        return ""
    low, high = min(last), max(last)
    span = max(high - low, _FLAT * abs(high), 1e-9)
    middle = (low + high) / 2
    # Flat values are in the middle of a bar's range, so that they do not flicker between two bars.
    return "".join(_BARS[min(7, int((value - middle) / span * 8 + 4.5))] for value in last)


# Whether the values of a column are aligned to the right.
_RIGHT: Final[dict[ColumnName, bool]] = {name: name not in {"account", "status", "reason"} for name in _LEAST}


def _chosen_columns(
    natural: Mapping[ColumnName, int], width: int, wanted: Sequence[ColumnName]
) -> tuple[list[ColumnName], int]:
    """Return the columns that fit, and the number of blanks between two columns."""
    shown = list(wanted)
    for name in DROPPED:
        if sum(natural[one] for one in shown) + len(shown) - 1 > width and name in shown:
            shown.remove(name)
    is_wide = sum(natural[name] for name in shown) + 2 * (len(shown) - 1) <= width
    return shown, 2 if is_wide else 1


def _cells(row: AccountRow, trend: Sequence[float]) -> dict[ColumnName, Span]:
    snapshot = row.snapshot
    value = OLD if row.is_headline_stale else ""
    # Green is only for fresh data: an account whose reading failed may no longer be calm.
    is_well = row.level != "calm" or row.condition == "fresh"
    level = OLD if row.is_headline_stale else _LEVELS[row.level] if is_well else ""
    status = printable(snapshot.status or "UNREAD")
    return {
        "account": Span(snapshot.label, "bold" if row.level == "alarm" or row.condition != "fresh" else ""),
        "status": Span(status, "bold red" if snapshot.status is None else level),
        "uniMMR": Span(margin_text(snapshot.uni_mmr) + _MARKS[row.level], level if row.level != "calm" else value),
        "trend": Span(spark(trend, TREND), "dim" if row.is_headline_stale else "cyan"),
        "equity": Span(_amount(snapshot.account_equity), value),
        "maint.": Span(_amount(snapshot.account_maint_margin), value),
        "profit": Span(profit_text(snapshot), OLD if row.is_stale("um_account") else ""),
        "age": _age(row),
        "reason": Span(row.reason.replace(f" [{snapshot.label}]", "", 1), "red"),
    }


def _age(row: AccountRow) -> Span:
    age = row.snapshot.age
    match row.condition:
        case "unread":
            return Span("NEVER READ", LOUD if row.snapshot.is_stale else "bold red")
        case "partial":
            return Span("PART UNREAD", LOUD)
        case "stale":
            # If uniMMR is fresh, only the positions are stale.
            whole = f"{math.floor(age)}s" if age is not None and age < 1_000 else age_text(age or 0.0)
            return Span(f"STALE {age_text(age or 0.0)}" if row.is_headline_stale else f"STALE um {whole}", LOUD)
        case "failed":
            return Span(f"FAIL {age_text(age or 0.0)}", "bold red")
        case "fresh":
            return Span(age_text(age or 0.0))


def profit_text(snapshot: AccountSnapshot) -> str:
    """Return the unrealized profit in USD, or the profit in each asset if the profits cannot be added."""
    if snapshot.unrealized_profit is not None or not snapshot.profits:
        return _amount(snapshot.unrealized_profit, sign="+")
    return " ".join(f"{_asset_amount(asset, value)} {asset}" for asset, value in snapshot.profits.items())


def _asset_amount(asset: str, value: Decimal) -> str:
    """Return an amount with its sign: whole dollars, or other assets with the significant decimals."""
    if not is_near(value) or asset in DOLLARS or abs(value) >= _FAR:
        return _amount(value, sign="+")
    text = format(value, "+,.4f" if abs(value) >= _SMALL else "+,.8f")
    return text.rstrip("0").rstrip(".")


def _amount(value: Decimal | None, *, sign: str = "") -> str:
    if value is None or not is_near(value):
        return "-" if value is None else "?"
    if abs(value) >= _FARTHEST:
        # Otherwise one account could make a column so wide that other columns have no room.
        return f"{'<-' if value < 0 else '>'}{_FARTHEST - 1:,}"
    return format(value, f"{sign},.0f")


def _cell(name: ColumnName, span: Span, width: int) -> Line:
    text, style = span
    if name == "trend":
        text = text[-width:]
    elif name == "reason" and cell_len(text) > width:
        text = f"{set_cell_size(text, width - 1).rstrip()}…"
    elif name in _NAMES:
        text = shortened(text, width)
    blanks = Span(" " * (width - cell_len(text)))
    seen = Span(text.rstrip(), style)
    rest = Span(" " * (len(text) - len(seen.text)))
    return (blanks, seen, rest) if _RIGHT[name] else (seen, rest, blanks)


def _line(cells: Sequence[Line], gap: int, width: int, *, is_chosen: bool) -> Line:
    spans = [span for cell in cells for span in (*cell, Span(" " * gap))]
    whole = fitted(spans, width)
    return tuple(Span(text, f"{style} reverse".strip()) for text, style in whole) if is_chosen else whole
