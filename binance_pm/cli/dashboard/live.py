"""The screen of one live account: risk figures, positions, balances and open orders."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Final

from rich.cells import cell_len

from binance_pm.amounts import text_of
from binance_pm.cli.dashboard.line import Line, Span, fitted, line
from binance_pm.cli.dashboard.table import LOUD, OLD
from binance_pm.errors import ConfigurationError
from binance_pm.stream.live import LiveAccount

_GAP: Final = 2
_KEYS: Final = "q leave   up and down scroll"


def live_lines(live: LiveAccount, label: str, *, width: int, height: int, scrolled: int) -> list[Line]:
    """Return the screen as lines; figures that may be outdated are struck out."""
    style = "" if live.is_current else OLD
    body = [*_risk(live), *_positions(live, style), *_balances(live, style), *_orders(live, style)]
    room = max(1, height - 2)
    first = max(0, min(scrolled, len(body) - room))
    shown = body[first : first + room]
    lines = [_title(live, label), *shown, *([line()] * (room - len(shown))), line(_KEYS, "dim")]
    return [fitted(spans, width) for spans in lines[:height]]


def _title(live: LiveAccount, label: str) -> Line:
    if not live.is_current:
        state = Span(" NOT CURRENT ", LOUD)
    elif live.is_confirmed:
        state = Span("confirmed", "green")
    else:
        state = Span("current", "yellow")
    return (Span(label, "bold"), Span("  "), state, Span(f"  stream last proven up {live.age:.0f} s ago", "dim"))


def _risk(live: LiveAccount) -> list[Line]:
    try:
        risk, age = live.risk, live.risk_age
    except ConfigurationError:
        return []
    status = "green" if risk.account_status == "NORMAL" else LOUD
    figures = f"  uniMMR {text_of(risk.uni_mmr)}  equity {text_of(risk.account_equity)} USD"
    return [(Span(str(risk.account_status), status), Span(figures), Span(f"  read {age:.0f} s ago", "dim"))]


def _positions(live: LiveAccount, style: str) -> list[Line]:
    try:
        positions = sorted(live.positions.values(), key=lambda one: (one.market, one.symbol, one.position_side))
    except ConfigurationError:
        return []
    rows = [
        (one.symbol, str(one.position_side), _amount(one.position_amt), _amount(one.entry_price)) for one in positions
    ]
    return _table("positions", ("symbol", "side", "size", "entry price"), rows, style)


def _balances(live: LiveAccount, style: str) -> list[Line]:
    try:
        balances = sorted(live.balances.values(), key=lambda one: one.asset)
    except ConfigurationError:
        return []
    rows = [
        (one.asset, *map(_amount, amounts))
        for one in balances
        if any(
            amounts := (
                one.um_wallet_balance,
                one.cm_wallet_balance,
                one.cross_margin_free,
                one.cross_margin_locked,
                one.cross_margin_liability,
            )
        )
    ]
    return _table("balances", ("asset", "USD-M", "COIN-M", "free", "locked", "debt"), rows, style)


def _orders(live: LiveAccount, style: str) -> list[Line]:
    lines: list[Line] = []
    try:
        rows = [
            (
                one.symbol,
                str(one.side),
                str(one.type),
                _amount(one.price),
                _amount(one.executed_qty),
                _amount(one.orig_qty),
            )
            for one in live.open_orders
        ]
        lines += _table("open orders", ("symbol", "side", "type", "price", "filled", "quantity"), rows, style)
        waiting = [
            (one.symbol, str(one.side), str(one.type), _amount(one.trigger_price), _amount(one.orig_qty))
            for one in live.open_conditional_orders
        ]
    except ConfigurationError:
        return lines
    return lines + _table("conditional orders", ("symbol", "side", "type", "trigger", "quantity"), waiting, style)


def _table(title: str, names: Sequence[str], rows: Iterable[Sequence[str]], style: str) -> list[Line]:
    rows = list(rows)
    widths = [max(cell_len(text) for text in column) for column in zip(names, *rows, strict=True)]

    def laid_out(texts: Sequence[str]) -> str:
        # Texts are aligned left, amounts right.
        cells = [
            text.ljust(width) if _is_name(name) else text.rjust(width)
            for text, width, name in zip(texts, widths, names, strict=True)
        ]
        return (" " * _GAP).join(cells)

    if not rows:
        return [line(), line(f"{title}: none", "bold")]
    return [line(), line(title, "bold"), line(laid_out(names), "dim"), *(line(laid_out(row), style) for row in rows)]


def _is_name(column: str) -> bool:
    return column in {"symbol", "side", "type", "asset"}


def _amount(amount: Decimal | None) -> str:
    return "-" if amount is None else text_of(amount)
