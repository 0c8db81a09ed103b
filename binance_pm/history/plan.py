"""What reading a history will take, before it begins."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec

from binance_pm.limits import Family, LimitType
from binance_pm.paging import ById, ByPage

if TYPE_CHECKING:
    from binance_pm.history.query import Query
    from binance_pm.history.steps import Place


class HistoryPlan(msgspec.Struct, frozen=True, kw_only=True):
    """How many calls reading a history takes, which weight, how long, and what the exchange no longer keeps."""

    endpoint: str
    """The endpoint, such as ``um.trades``."""
    start: int | None
    """The time that is read from, in milliseconds since the epoch; None for the oldest row that is kept."""
    end: int
    """The time that is read to, in milliseconds since the epoch."""
    calls_at_least: int
    """The calls that are made even if there are few rows."""
    calls_at_most: int | None
    """The calls for the expected number of rows; None if no number was given."""
    weight: int
    """The weight of one call, in the pool that limits the pace."""
    weight_at_least: int
    """The weight of `calls_at_least`."""
    weight_at_most: int | None
    """The weight of `calls_at_most`."""
    calls_per_minute: float
    """The calls that the budget has weight for now, besides orders and other programs."""
    kept_since: int | None
    """The oldest time whose rows the exchange keeps, in milliseconds; None if this is not documented."""
    unfilled_kept_since: int | None
    """The same for orders that were cancelled or expired without a fill, if they are kept for a shorter time."""
    missing_before: int | None
    """Rows before this time are asked for, and no longer kept; None if no such time is asked for."""

    @property
    def seconds_at_least(self) -> float:
        """How long `calls_at_least` take at the budget's pace."""
        return self.calls_at_least * 60 / self.calls_per_minute

    @property
    def seconds_at_most(self) -> float | None:
        """How long `calls_at_most` take at the budget's pace."""
        return None if self.calls_at_most is None else self.calls_at_most * 60 / self.calls_per_minute


class _Polled(msgspec.Struct, frozen=True):
    """An endpoint with the weight of one request, as the budget plans it."""

    path: str
    family: Family
    poll_weights: Mapping[LimitType, int]


def plan_of(query: Query, begin: Place, now: int, rows: int | None) -> HistoryPlan:
    """Return the plan of a walk.

    Args:
        query: the list.
        begin: where the walk begins.
        now: the exchange's time in milliseconds since the epoch.
        rows: how many rows are expected; None if this is not known.
    """
    windows = _windows(query, begin, query.end_at(now))
    most = None
    if rows is not None:
        # A page that shows a row again, and one that tells which rows a full page has.
        most = windows + math.ceil(rows / max(1, query.limit - 1)) + (2 if rows >= query.limit else 0)
    weights = dict(zip(query.endpoint.weights, query.weights(), strict=True))
    endpoint = query.endpoint
    pools = query.client.session.budget.plan(1, 60.0, [_Polled(endpoint.path, endpoint.family, weights)]).pools
    slowest = max(pools, key=lambda pool: pool.needed / pool.available if pool.available else math.inf)
    weight = round(slowest.needed)
    return HistoryPlan(
        endpoint=endpoint.name,
        start=None if query.start is None and not begin.time else begin.time,
        end=query.end_at(now),
        calls_at_least=windows,
        calls_at_most=most,
        weight=weight,
        weight_at_least=windows * weight,
        weight_at_most=None if most is None else most * weight,
        calls_per_minute=slowest.available / weight,
        kept_since=query.kept_since(now),
        unfilled_kept_since=query.unfilled_since(now),
        missing_before=missing_before(query, begin, now),
    )


def missing_before(query: Query, begin: Place, now: int) -> int | None:
    """Return the time before which rows are asked for and no longer kept; None if there is none."""
    kept = query.kept_since(now)
    return kept if kept is not None and begin.time < kept else None


def _windows(query: Query, begin: Place, end: int) -> int:
    """Return the number of requests that are made even if there are no rows."""
    page = query.page
    if isinstance(page, ById):
        # One request if the first id is known. Otherwise, the first window may have it.
        return 1 if begin.id is not None else 2
    if begin.time > end:
        return 0
    if page.window is None:
        return 1
    windows = math.ceil((end - begin.time + 1) / (page.window // timedelta(milliseconds=1)))
    return windows + (2 if isinstance(page, ByPage) and page.archive is not None else 0)
