"""Walks through a list by ascending id: the next page begins behind the last row.

No time enters once the walk has begun, so rows of the same millisecond cannot be lost or repeated. Only the first id is
found by time: the first window with rows has it. A window that is full may hide older rows, so a shorter one is
requested.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

import msgspec

from binance_pm.history.steps import (
    Found,
    IncompleteError,
    PageRequest,
    Place,
    PlacedRow,
    Steps,
    Walk,
    entries_of,
    reader,
    requested,
)
from binance_pm.paging import ById

_MILLISECOND: Final = timedelta(milliseconds=1)
_SLACK: Final = 60_000
"""Milliseconds by which the times of neighbouring ids may run backwards."""


class IdRange(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a list that is walked by id."""

    page: ById
    """How the endpoint is paged."""
    limit: int
    """The rows of a page."""
    end: int
    """The latest time of a row, in milliseconds since the epoch."""
    settled: int
    """Rows up to this time can no longer appear late; a walk stops at the first later row."""
    earliest: int = 0
    """Rows before this time are left out."""


def by_id(wanted: IdRange, begin: Place) -> Walk:
    """Walk from an id or, if the place has none, from a time."""
    page = wanted.page
    read = reader((page.key,), page.time)
    first = begin.id
    if first is None:
        first = yield from _first_id(wanted, begin.time)
        if first is None:
            return
    reached, beyond, held = begin.time, None, list[PlacedRow]()
    while True:
        rows = yield from requested(PageRequest({page.parameter: first, page.limit: wanted.limit}))
        entries = sorted(entries_of(rows.rows, read), key=_id_of)
        entries = [entry for entry in entries if _id_of(entry) >= first]
        if rows.rows and not entries:
            raise IncompleteError(
                f"a page from {page.parameter} {first} has only smaller ids", "These rows cannot be read by id."
            )
        shown, late = _settled(entries, wanted)
        first = _id_of(late) if late else _id_of(entries[-1]) + 1 if entries else first
        if beyond is None:
            beyond = next((_id_of(entry) for entry in entries if entry.time > wanted.end), None)
        shown = [entry for entry in shown if not _was_handed_out(entry, begin)]
        if beyond is not None:
            held += [entry for entry in shown if _id_of(entry) > beyond]
            shown = [entry for entry in shown if _id_of(entry) < beyond]
        is_too_late = bool(entries) and entries[-1].time > wanted.end + _SLACK
        is_last = late is not None or is_too_late or len(rows.rows) < wanted.limit
        reached = max((entry.time for entry in shown), default=reached)
        is_done = is_last and beyond is None
        following = first if beyond is None else beyond
        yield Found(shown, begin._replace(time=wanted.end + 1 if is_done else reached, id=following))
        if is_last:
            break
    if beyond is not None:
        # A later reading with a later end begins at the first row beyond this end.
        yield Found(held, Place(wanted.end + 1, (first - 1,), beyond, until=wanted.end))


def _was_handed_out(entry: PlacedRow, begin: Place) -> bool:
    """Whether a row was handed out by an earlier reading that had an earlier end."""
    return begin.until is not None and entry.time <= begin.until and entry.key <= begin.after


def _settled(entries: list[PlacedRow], wanted: IdRange) -> tuple[list[PlacedRow], PlacedRow | None]:
    """Return the wanted rows, and the first one that is so new that rows before it may be missing."""
    late = next((entry for entry in entries if entry.time > wanted.settled), None)
    kept = entries if late is None else entries[: entries.index(late)]
    return [entry for entry in kept if wanted.earliest <= entry.time <= wanted.end], late


def _first_id(wanted: IdRange, start: int) -> Steps[int | None]:
    """Return the first id from a time on; None if there are no rows."""
    page = wanted.page
    read = reader((page.key,), page.time)
    width = page.window // _MILLISECOND
    lo = start
    while lo <= wanted.end:
        hi = min(lo + width - 1, wanted.end)
        rows = yield from _window(wanted, lo, hi)
        seen = rows
        is_first = True
        while len(rows) >= wanted.limit:
            if lo == hi:
                raise IncompleteError(
                    f"more rows than a page have the time {lo}, so the first of them is not known",
                    f"Begin at an earlier time that has rows, or give {page.parameter}.",
                )
            # If the exchange shows the oldest rows, a window that ends with the first of them proves it.
            oldest = min(read(row).time for row in rows)
            middle = oldest if is_first and lo <= oldest < hi else (lo + hi) // 2
            is_first = False
            older = yield from _window(wanted, lo, middle)
            if older:
                # The times of neighbouring ids may run backwards, so a later row may have a lower id.
                rows, hi, seen = older, middle, [*seen, *older]
            else:
                lo = middle + 1
        if seen:
            return min(getattr(row, page.key) for row in seen)
        lo = hi + 1
        yield Found([], Place(lo))
    return None


def _window(wanted: IdRange, lo: int, hi: int) -> Steps[list[Any]]:
    rows = yield from requested(PageRequest({"start_time": lo, "end_time": hi, wanted.page.limit: wanted.limit}))
    return rows.rows


def _id_of(entry: PlacedRow) -> int:
    number = entry.key[0]
    assert isinstance(number, int), "ids are numbers"  # noqa: S101 - for the type checker
    return number
