"""What a person sees of many accounts: worst first, the age of the reading beside the value, the budget below."""

from __future__ import annotations

import math
from collections.abc import Generator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from binance_pm.api.pro_account import SpanAccount
from binance_pm.api.um_account import UmAccount, UmPosition
from binance_pm.budget import Budget, PoolState
from binance_pm.enums import AccountStatus
from binance_pm.errors import PortfolioMarginError

# Older than this, a value is no longer what the account is worth.
_STALE_SECONDS = 10.0
_BAR = 20

_STYLES = {
    AccountStatus.NORMAL: "green",
    AccountStatus.MARGIN_CALL: "yellow",
    AccountStatus.SUPPLY_MARGIN: "yellow",
}


class Row:
    """One account: its last good readings, and the error since then."""

    def __init__(self, account: str) -> None:
        self.account = account
        self.span: SpanAccount | None = None
        self.span_read_at: float = -math.inf
        """Monotonic seconds."""
        self.um: UmAccount | None = None
        self.um_read_at: float = -math.inf
        """Monotonic seconds."""
        self.error: str = ""

    @property
    def danger(self) -> Decimal:
        """Sorts the worst first; an account that was never read is the worst."""
        return self.span.uni_mmr if self.span else Decimal(0)

    @property
    def open_positions(self) -> list[UmPosition]:
        """Those with an amount."""
        return [position for position in self.um.positions if position.position_amt] if self.um else []

    @property
    def unrealized_profit(self) -> Decimal:
        """Of all open positions, USD."""
        return sum((position.unrealized_profit for position in self.open_positions), Decimal(0))

    def age(self, now: float) -> float:
        """Seconds since the older of the two readings; infinite where one is missing."""
        return now - min(self.span_read_at, self.um_read_at)

    @contextmanager
    def keeping_errors(self) -> Generator[None, None, None]:
        """Remember a failed reading and go on: the last good one stays, and ages."""
        try:
            yield
        except PortfolioMarginError as error:
            self.error = str(error)
        else:
            self.error = ""

    def as_json(self, now: float) -> dict[str, Any]:
        """What the table shows, the age in seconds, and the error if there is one."""
        said: dict[str, Any] = {"account": self.account}
        if self.span and self.um:
            said |= {
                "status": self.span.account_status,
                "uni_mmr": self.span.uni_mmr,
                "account_equity": self.span.account_equity,
                "account_maint_margin": self.span.account_maint_margin,
                "open_positions": len(self.open_positions),
                "unrealized_profit": self.unrealized_profit,
                "age": round(self.age(now), 3),
            }
        return said | ({"error": self.error} if self.error else {})


def picture(rows: list[Row], budget: Budget, *, now: float) -> RenderableType:
    """The accounts as a table, and the pools below it."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("account", "status"):
        table.add_column(name, no_wrap=True)
    for name in ("uniMMR", "equity", "maint.", "pos.", "uPnL", "age"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in sorted(rows, key=lambda row: row.danger):
        table.add_row(*_cells(row, now))
    errors = [Text(f"{row.account}: {row.error}", style="red") for row in rows if row.error]
    return Group(table, *errors, Text(), *[_bar(state) for state in budget.snapshot()])


def _cells(row: Row, now: float) -> list[Text]:
    if row.span is None or row.um is None:
        return [Text(row.account), Text("never read", style="bold red")]
    age = row.age(now)
    stale = age > _STALE_SECONDS or bool(row.error)
    return [
        Text(row.account),
        Text(row.span.account_status, style=_STYLES.get(row.span.account_status, "bold red")),
        Text(f"{row.span.uni_mmr:.2f}"),
        Text(f"{row.span.account_equity:,.0f}"),
        Text(f"{row.span.account_maint_margin:,.0f}"),
        Text(str(len(row.open_positions))),
        Text(f"{row.unrealized_profit:+,.0f}"),
        Text(f"{age:.1f}s" + "!" * stale, style="bold red" if stale else ""),
    ]


def _bar(state: PoolState) -> Text:
    part = min(1.0, state.used / state.limit)
    name = state.pool.path or f"/{state.pool.family}"
    bar = ("#" * round(part * _BAR)).ljust(_BAR, ".")
    return Text(f"{state.pool.kind:<6} {name:<27} [{bar}] {state.used:>6} of {state.limit}")
