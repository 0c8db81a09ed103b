"""How long the exchange keeps what it shows, and which rows of a long list it shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from binance_pm.sandbox.records import OrderRecord

T = TypeVar("T")

_DAY = 24 * 3600 * 1000
UNFILLED_DAYS = 3
"""Days after its creation for which a cancelled or expired order without a fill is kept."""
KEPT_DAYS = 90
"""Days for which other orders are kept after their creation."""


def is_kept(order: OrderRecord, now: int, unfilled_days: int = UNFILLED_DAYS) -> bool:
    """Whether queries still find an order at this time, in milliseconds."""
    if order.is_open:
        return True
    age = now - order.time
    unfilled = not order.executed and order.status in {"CANCELED", "EXPIRED", "EXPIRED_IN_MATCH"}
    return age <= (unfilled_days if unfilled else KEPT_DAYS) * _DAY


def page(rows: list[T], limit: int, *, is_forward: bool) -> list[T]:
    """Return the first rows of a list, or the last ones of a list without a start."""
    return rows[:limit] if is_forward else rows[-limit:]
