"""How long the exchange keeps what it shows, and which rows of a long list it shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable

    from binance_pm.sandbox.conditional_records import ConditionalRecord
    from binance_pm.sandbox.records import OrderRecord

T = TypeVar("T")

_DAY = 24 * 3600 * 1000
UNFILLED_DAYS = 3
"""Days after its creation for which a cancelled or expired order without a fill is kept."""
CONDITIONAL_DAYS = 7
"""The same for conditional orders of COIN-M."""
KEPT_DAYS = 90
"""Days for which other orders are kept after their creation."""
TRADE_DAYS = 92
"""Days for which trades of futures, and the income of USD-M, are kept: three months."""


def is_kept(order: OrderRecord, now: int) -> bool:
    """Whether queries still find an order at this time, in milliseconds."""
    if order.is_open:
        return True
    age = now - order.time
    unfilled = not order.executed and order.status in {"CANCELED", "EXPIRED", "EXPIRED_IN_MATCH"}
    return age <= (UNFILLED_DAYS if unfilled else KEPT_DAYS) * _DAY


def is_conditional_kept(record: ConditionalRecord, now: int) -> bool:
    """Whether queries still find an algo or conditional order at this time, in milliseconds."""
    if record.state == "NEW" or (record.order is not None and record.order.is_open):
        return True
    unfilled = record.order is None or not record.order.executed
    days = CONDITIONAL_DAYS if record.product == "CM" else UNFILLED_DAYS
    return now - record.time <= (days if unfilled else KEPT_DAYS) * _DAY


class DatedRow(Protocol):
    """A row of a history."""

    @property
    def time(self) -> int:
        """Milliseconds since the epoch."""
        ...

    @property
    def appears(self) -> int:
        """When queries begin to show the row."""
        ...


R = TypeVar("R", bound=DatedRow)


def shown(rows: Iterable[R], now: int, *, days: int | None = None) -> list[R]:
    """Return the rows that have appeared, and that are not too old.

    Args:
        rows: the rows.
        now: milliseconds since the epoch.
        days: how long rows are kept; None if they always are.
    """
    first = 0 if days is None else now - days * _DAY
    return [row for row in rows if row.appears <= now and row.time >= first]


def page(rows: list[T], limit: int, *, is_forward: bool) -> list[T]:
    """Return the first rows of a list, or the last ones of a list without a start."""
    return rows[:limit] if is_forward else rows[-limit:]
