"""Walks through numbered pages, window by window, oldest window first.

A window is read as a whole before any of its rows is handed out. New rows push older ones to the next page, so repeated
rows are dropped by their keys, and the window is read again until it has as many rows as the exchange counts. A window
near the age at which rows move to the archive is read from both.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Final

import msgspec

from binance_pm.history.steps import (
    Found,
    IncompleteError,
    Key,
    PageRequest,
    Place,
    PlacedRow,
    Steps,
    Walk,
    after,
    entries_of,
    place_of,
    reader,
    requested,
)
from binance_pm.paging import ByPage

MOST_ROWS: Final = 5_000
"""The rows of a window that are held at most: a window with more is divided."""
_READINGS: Final = 4
"""How often a window is read until its count is right."""
_UNSURE: Final = 8 * 86_400_000
"""Milliseconds around the age of the archive for which both are read: six months have 181 to 184 days."""


class PagedRange(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a list that is walked by page."""

    page: ByPage
    """How the endpoint is paged."""
    limit: int
    """The rows of a page."""
    end: int
    """The latest time of a row, in milliseconds since the epoch."""
    width: int
    """Milliseconds of the widest window."""
    now: int
    """The exchange's time, from which the age of the archive counts."""


Archives = tuple[bool | None, ...]
"""The values of ``archived`` for which a window is read; None if there is no archive."""


def by_page(wanted: PagedRange, begin: Place) -> Walk:
    """Walk by windows of pages, from a place on."""
    for first, last, archives in _windows(wanted, begin.time):
        pieces = [(first, last)]
        while pieces:
            lo, hi = pieces.pop()
            found = yield from _window(wanted, lo, hi, archives)
            if isinstance(found, int):
                pieces += reversed(_divided(lo, hi, found))
            else:
                entries = sorted(found.values(), key=place_of)
                yield Found(after(entries, begin.time, begin.after), Place(hi + 1))


def _windows(wanted: PagedRange, lo: int) -> Iterator[tuple[int, int, Archives]]:
    """Return the windows, each with the archives that may have its rows."""
    archive = wanted.page.archive
    border = 0 if archive is None else wanted.now - archive // timedelta(milliseconds=1)
    while lo <= wanted.end:
        hi = min(lo + wanted.width - 1, wanted.end)
        archives: Archives = (None,)
        if archive is not None:
            # A row may move to the archive in the meantime, so the archive comes second.
            archives = (False,)
            for change, earlier in ((border + _UNSURE, (False, True)), (border - _UNSURE, (True,))):
                if lo < change:
                    hi, archives = min(hi, change - 1), earlier
        yield lo, hi, archives
        lo = hi + 1


def _divided(lo: int, hi: int, rows: int) -> list[tuple[int, int]]:
    """Return parts of a window that has too many rows."""
    parts = min(1 + rows * 5 // (4 * MOST_ROWS), hi - lo + 1)
    bounds = [lo + (hi - lo + 1) * number // parts for number in range(parts + 1)]
    return [(first, following - 1) for first, following in itertools.pairwise(bounds)]


def _window(wanted: PagedRange, lo: int, hi: int, archives: Archives) -> Steps[dict[Key, PlacedRow] | int]:
    """Return all rows of a window, or their number if there are too many."""
    found: dict[Key, PlacedRow] = {}
    for archived in archives:
        part = yield from _pages(wanted, lo, hi, archived=archived)
        if isinstance(part, int):
            return part
        found |= part
    return found


def _pages(wanted: PagedRange, lo: int, hi: int, *, archived: bool | None) -> Steps[dict[Key, PlacedRow] | int]:
    read = reader(wanted.page.key, wanted.page.time)
    found: dict[Key, PlacedRow] = {}
    total = 0
    for _ in range(_READINGS):
        for current in itertools.count(1):
            page = yield from requested(_page(wanted, lo, hi, current, archived=archived))
            assert page.total is not None, "the response has a total"  # noqa: S101 - for the type checker
            total = page.total
            if total > MOST_ROWS and hi > lo:
                return total
            found |= {entry.key: entry for entry in entries_of(page.rows, read)}
            if current * wanted.limit >= total or not page.rows:
                break
        if len(found) >= total:
            _check_times(found.values(), lo, hi, wanted.page.time)
            return found
    raise IncompleteError(
        f"{len(found)} different rows have come of the {total} that the exchange counts from {lo} to {hi}",
        "Try again later, or with a narrower range.",
    )


def _page(wanted: PagedRange, lo: int, hi: int, current: int, *, archived: bool | None) -> PageRequest:
    parameters: dict[str, int | bool | str] = {"start_time": lo, "end_time": hi}
    parameters |= {"current": current, wanted.page.limit: wanted.limit}
    if archived is not None:
        parameters["archived"] = archived
    return PageRequest(parameters, reads="total")


def _check_times(entries: Iterable[PlacedRow], lo: int, hi: int, name: str) -> None:
    for entry in entries:
        if not lo <= entry.time <= hi:
            raise IncompleteError(
                f"a row has the {name} {entry.time}, outside of the requested {lo} to {hi}",
                "These rows cannot be read by time.",
            )
