"""Walks through a list by windows of time, both ends included, oldest rows first.

A page that is not full is complete. Which rows a full page has is not documented: the oldest of its window, or the
newest. Both are paged correctly and with few requests:

* The next window begins with the last row of a full page, which it shows a second time. If it does, the rows before
  were complete in both cases: a page of the newest rows would have left out the older one.
* If no such row is known, the window up to the first row of the full page is requested. If it has no older rows, the
  full page begins at the beginning; otherwise the exchange shows the newest rows, and everything after the first row of
  the full page is complete.
* More rows than a page in one millisecond are split by another parameter, or the walk ends with an error.
"""

from __future__ import annotations

from typing import Final, Literal

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
    merged,
    reader,
    requested,
)
from binance_pm.paging import ByTime

_MOST_ROWS: Final = 20_000
"""The rows that are held at most, until the older rows of their window are known."""
_GROWTH: Final = 8.0
"""By how much the next window may be longer than the last one."""


class TimeRange(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a list that is walked by time."""

    page: ByTime
    """How the endpoint is paged."""
    limit: int
    """The rows of a page."""
    end: int
    """The latest time of a row, in milliseconds since the epoch."""
    width: int
    """Milliseconds of the widest window."""
    split: tuple[str, ...] = ()
    """The values of the parameter that splits one millisecond; none if the caller chose one."""


class TimeWalk:
    """A walk by time.

    Args:
        wanted: the range.
        begin: where to begin.
    """

    def __init__(self, wanted: TimeRange, begin: Place) -> None:
        self._wanted: Final = wanted
        self._begin: Final = begin
        self._read: Final = reader(wanted.page.key, wanted.page.time)
        self._lo: int = begin.time
        self._shows: Literal["oldest", "newest"] | None = None
        """Which rows a full page has, once a page has shown it."""
        self._anchors: frozenset[Key] = frozenset()
        """Rows at `_lo` that a window from there must have."""
        self._proof_until: int = 0
        """If a row after `_lo` and up to here comes, the last full page had the oldest rows."""
        self._width: int = wanted.width
        """Milliseconds of the next window; shorter than the widest if the exchange shows the newest rows."""
        self._is_full: bool = False
        """Whether the last page was full."""

    def walk(self) -> Walk:
        """Yield pages to request and rows to hand out."""
        hi: int | None = None
        while self._lo <= self._wanted.end:
            hi = min(self._lo + self._width - 1, self._wanted.end) if hi is None else hi
            entries = yield from self._rows(self._lo, hi)
            self._learn(entries)
            if not self._is_full:
                self._adapt(len(entries), hi)
                yield self._found(entries, hi + 1)
                hi = None
            elif entries[0].time == entries[-1].time:
                hi = yield from self._one_moment(entries[0].time)
            elif self._is_prefix(entries):
                yield self._take_prefix(entries, hi)
                hi = None
            else:
                hi = yield from self._look_back(entries, hi)

    def _is_prefix(self, entries: list[PlacedRow]) -> bool:
        """Whether the rows of a full page are complete up to its last millisecond."""
        if self._anchors:
            if self._anchors <= {entry.key for entry in entries}:
                return True
            # The rows may be gone by age; what was learnt is in doubt.
            self._shows = None
            return False
        return self._shows == "oldest"

    def _learn(self, entries: list[PlacedRow]) -> None:
        if any(self._lo < entry.time <= self._proof_until for entry in entries):
            self._shows = "oldest"
        self._proof_until = 0

    def _take_prefix(self, entries: list[PlacedRow], hi: int) -> Found:
        """Hand out the rows before the last millisecond of a full page; go on from there."""
        last = entries[-1].time
        found = self._found([entry for entry in entries if entry.time < last], last)
        self._anchors = frozenset(entry.key for entry in entries if entry.time == last)
        self._proof_until = hi
        return found

    def _look_back(self, entries: list[PlacedRow], hi: int) -> Steps[int | None]:
        """Request what is before the first row of a full page; return the end of the next window, if that is known."""
        if self._shows != "newest":
            first = entries[0].time
            before = yield from self._rows(self._lo, first)
            known = {entry.key for entry in entries}
            if not self._is_full and all(entry.key in known for entry in before):
                yield self._take_prefix(entries, hi)
                return None
            self._shows = "newest"
            if not self._is_full:
                yield self._found(merged(before, entries), hi + 1)
                return None
        return (yield from self._backwards(entries, hi))

    def _backwards(self, entries: list[PlacedRow], hi: int) -> Steps[int | None]:
        """Read a window from its end, as a full page has the newest rows; hand out all of them in order."""
        limit, top = self._wanted.limit, hi
        held: list[PlacedRow] = []
        while True:
            first = entries[0].time
            if first == entries[-1].time:
                # More rows than a page at one time: what is older is requested without it.
                same = yield from self._moment(first)
                held = merged(same, held)
                top = first - 1
                if top < self._lo:
                    entries = []
                    break
            else:
                held = merged([entry for entry in entries if entry.time > first], held)
                top = first
            if len(held) > max(_MOST_ROWS, 4 * limit) and hi > self._lo:
                # At the same density, the next window has half of what can be held.
                self._width = max(1, min((hi - top) // 2, (hi - self._lo) // 2))
                return None
            known = {entry.key for entry in entries if entry.time == top}
            entries = yield from self._rows(self._lo, top)
            if not self._is_full:
                break
            if entries[0].time < top and not known <= {entry.key for entry in entries}:
                # The page has neither all of the newest rows nor what it had before.
                self._shows = None
                return (self._lo + hi) // 2
        self._adapt(len(held) + len(entries), hi)
        yield self._found(merged(entries, held), hi + 1)
        return None

    def _one_moment(self, time: int) -> Steps[int | None]:
        """Go on although a whole page has the same time; return the end of the next window, if that is known."""
        if time > self._lo:
            # What is older is requested first.
            return time - 1
        yield self._found((yield from self._moment(time)), time + 1)
        return None

    def _moment(self, time: int) -> Steps[list[PlacedRow]]:
        """Return all rows of one millisecond, which may be more than a page."""
        whole = yield from self._rows(time, time)
        if not self._is_full:
            return whole
        name = self._wanted.page.split
        found: list[PlacedRow] = []
        for value in self._wanted.split:
            part = yield from self._rows(time, time, {str(name): value})
            if self._is_full:
                break
            found = merged(found, part)
        else:
            if self._wanted.split and {entry.key for entry in whole} <= {entry.key for entry in found}:
                return found
        raise IncompleteError(
            f"more than {self._wanted.limit - 1} rows have the time {time}, and a page has no more",
            "Read these rows with other parameters, such as one symbol or a larger limit, and go on after this time.",
        )

    def _adapt(self, rows: int, hi: int) -> None:
        """Choose the next width by the rows of this window."""
        if self._shows == "newest":
            factor = min(_MOST_ROWS / 2 / max(rows, 1), _GROWTH)
            self._width = max(1, min(int((hi - self._lo + 1) * factor), self._wanted.width))
        else:
            self._width = self._wanted.width

    def _found(self, entries: list[PlacedRow], reached: int) -> Found:
        self._lo, self._anchors = reached, frozenset()
        return Found(after(entries, self._begin.time, self._begin.after), Place(reached))

    def _rows(self, lo: int, hi: int, more: dict[str, str] | None = None) -> Steps[list[PlacedRow]]:
        """Return the rows of a window in order; `_is_full` says whether there may be more."""
        parameters = {"start_time": lo, "end_time": hi, self._wanted.page.limit: self._wanted.limit}
        page = yield from requested(PageRequest(parameters | (more or {})))
        entries = entries_of(page.rows, self._read)
        for entry in entries:
            if not lo <= entry.time <= hi:
                raise IncompleteError(
                    f"a row has the {self._wanted.page.time} {entry.time}, outside of the requested {lo} to {hi}",
                    "These rows cannot be read by time.",
                )
        self._is_full = len(page.rows) >= self._wanted.limit
        return entries


def by_windows(wanted: TimeRange, begin: Place) -> Walk:
    """Walk by windows whose rows say nothing about the time that selects them: a full one is shortened."""
    lo, width, until, last = begin.time, wanted.width, begin.until, begin.after
    while lo <= wanted.end:
        hi = min(lo + width - 1, wanted.end) if until is None else until
        rows = yield from requested(PageRequest({"start_time": lo, "end_time": hi, wanted.page.limit: wanted.limit}))
        if len(rows.rows) < wanted.limit:
            entries = entries_of(rows.rows, reader(wanted.page.key, None, lo=lo))
            yield Found(after(entries, lo, last), Place(hi + 1), until=hi)
            # A window with four fifths of a page is rarely full.
            factor = min(0.8 * wanted.limit / max(len(rows.rows), 1), _GROWTH)
            width = max(1, min(wanted.width, int((hi - lo + 1) * factor)))
            lo, until, last = hi + 1, None, ()
        elif hi > lo:
            width = max(1, (hi - lo + 1) // 4)
            until = None
        else:
            raise IncompleteError(
                f"more than {wanted.limit - 1} rows have the time {lo}, and a page has no more",
                "Read these rows with other parameters, such as a larger limit, and go on after this time.",
            )


def by_time(wanted: TimeRange, begin: Place) -> Walk:
    """Walk by windows, from a place on."""
    return by_windows(wanted, begin) if wanted.page.time is None else TimeWalk(wanted, begin).walk()
