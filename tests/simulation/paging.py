"""Reads random histories page by page, and compares the rows with the history and the calls with the fewest possible.

``python -m tests.simulation.paging --seeds 1000`` prints the figures for each kind of paging:

* wrong: rows that were lost, repeated, out of order or outside of the range;
* calls, optimum: requests, and those of a reader who knows every row beforehand.

A history has many rows at equal times, full and empty windows, rows that appear late and rows that are added during
reading; the times of neighbouring ids may run backwards. A full page has the oldest or the newest rows of its window,
in any order. Every history is read twice: in one go, and in parts that end at earlier times, with interruptions after
which reading goes on at the last position. For each twenty seeds, a history of the local exchange is read through a
client.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import sys
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from itertools import islice
from typing import Final, Literal, NamedTuple, TypeAlias, cast

import msgspec

from binance_pm.history.by_id import IdRange, by_id
from binance_pm.history.by_page import PagedRange, by_page
from binance_pm.history.by_time import TimeRange, by_time
from binance_pm.history.cursor import Cursor
from binance_pm.history.steps import PageRequest, PageRows, Place, Walk
from binance_pm.paging import ById, ByPage, ByTime
from tests.simulation import paging_client
from tests.simulation.paging_client import LISTINGS

Kind: TypeAlias = Literal["id", "time", "untimed", "page", "archive"]
KINDS: Final[tuple[Kind, ...]] = ("id", "time", "untimed", "page", "archive")

SETTLED: Final = 30_000
"""Milliseconds after which a row has appeared."""
_NOW: Final = 1_790_000_000_000
_DAY: Final = 86_400_000
_LIMITS: Final = (20, 100, 500), (20, 100)
"""The rows of a page, and those of a numbered page."""
_TYPES: Final = ("FUNDING_FEE", "COMMISSION", "TRANSFER")


class Event(msgspec.Struct, frozen=True):
    """One row of a history."""

    id: int
    time: int
    type: str
    appears: int
    """When the exchange begins to show the row."""


class History:
    """A random history, and an exchange that shows it.

    Args:
        seed: of everything random.
        kind: how it is paged.
    """

    def __init__(self, seed: int, kind: Kind) -> None:
        self.random: Final = random.Random(f"{seed} {kind}")
        self.kind: Final = kind
        self.limit: Final = 500 if kind == "untimed" else self.random.choice(_LIMITS[kind in {"page", "archive"}])
        self.days: Final = 1 if kind == "untimed" else self.random.choice((1, 7, 30))
        self.shows_oldest: Final = self.random.random() < 0.5
        self.is_newest_first: Final = self.random.random() < 0.5
        self.begin: Final = _NOW - self.random.randrange(20, 400) * _DAY
        self.now: int = _NOW
        self.calls: int = 0
        self.rows: Final = self._rows()
        self._times: Final = [row.time for row in self.rows]
        self._by_id: Final = sorted(self.rows, key=lambda row: row.id)
        self._ids: Final = [row.id for row in self._by_id]

    @property
    def width(self) -> int:
        """Milliseconds of the widest window."""
        return self.days * _DAY

    def respond(self, request: PageRequest) -> PageRows:
        """Respond to one request, which takes some time."""
        self.calls += 1
        self.now += self.random.randrange(10, 2_000)
        given = request.parameters
        limit = int(given.get("limit") or given["size"])
        assert limit == self.limit
        if "from_id" in given:
            first = bisect_left(self._ids, int(given["from_id"]))
            return PageRows(list(islice(self._visible(self._by_id[first:]), limit)))
        lo, hi = int(given["start_time"]), int(given["end_time"])
        assert 0 <= hi - lo < self.width, "the window is too wide"
        first, last = bisect_left(self._times, lo), bisect_right(self._times, hi)
        if request.reads == "rows":
            rows = self._visible(self.rows[first:last], is_reversed=not self.shows_oldest)
            found = list(islice((row for row in rows if given.get("type") in (None, row.type)), limit))
            return PageRows(found[::-1] if self.is_newest_first is self.shows_oldest else found)
        found = list(self._visible(self.rows[first:last], is_reversed=True))
        if self.kind == "archive":
            border = self.now - 182 * _DAY
            found = [row for row in found if (row.time < border) is bool(given["archived"])]
        current = int(given["current"])
        return PageRows(found[(current - 1) * limit : current * limit], len(found))

    def walk(self, begin: Place, end: int) -> tuple[Walk, int]:
        """Return a walk from a place to a time, and the last time that it covers."""
        settled, window = self.now - SETTLED, timedelta(days=self.days)
        end = min(end, settled)
        if self.kind == "id":
            page = ById(parameter="from_id", most=self.limit, window=window)
            wanted = IdRange(page=page, limit=self.limit, end=end, settled=settled, earliest=self.begin)
            return by_id(wanted, begin), end
        if self.kind in {"page", "archive"}:
            archive = timedelta(days=182) if self.kind == "archive" else None
            paged = ByPage(key=("id",), time="time", window=window, archive=archive)
            return by_page(
                PagedRange(page=paged, limit=self.limit, end=end, width=self.width, now=self.now), begin
            ), end
        time = None if self.kind == "untimed" else "time"
        timed = ByTime(key=("type", "id"), time=time, most=self.limit, window=window, split="type")
        if time is None:
            timed = ByTime(key=("id",), time=None, most=self.limit, window=window)
        return by_time(TimeRange(page=timed, limit=self.limit, end=end, width=self.width, split=_TYPES), begin), end

    def expected(self, end: int) -> list[Event]:
        """Return the rows that a reader must get, in order."""
        rows = [row for row in self.rows if self.begin <= row.time <= end]
        if self.kind == "time":
            rows.sort(key=lambda row: (row.time, row.type, row.id))
        elif self.kind == "id":
            rows.sort(key=lambda row: row.id)
        return rows

    def optimum(self, end: int) -> int:
        """Return the fewest requests that can show the whole range."""
        rows = self.expected(end)
        times = sorted(row.time for row in rows)
        if self.kind == "id":
            empty = ((times[0] if times else end + 1) - self.begin) // self.width
            return empty + (1 + len(rows) // self.limit + 1 if rows else 0)
        windows = sum(1 for _ in self._windows(times, end))
        return max(1, windows)

    def _windows(self, times: list[int], end: int) -> Iterator[None]:
        """Return the fewest requests: the longest windows that are shown completely, or numbered pages."""
        lo = self.begin
        border = self.now - 182 * _DAY
        while lo <= end:
            hi = min(lo + self.width - 1, end)
            first, last = bisect_left(times, lo), bisect_right(times, hi)
            if self.kind in {"page", "archive"}:
                if self.kind == "archive" and lo < border <= hi:
                    yield None
                yield from [None] * max(1, -(-(last - first) // self.limit))
            elif last - first < self.limit:
                yield None
            else:
                hi = times[first + self.limit - 1] - 1
                yield None
                if hi < lo:
                    # One millisecond that is full, and its parts.
                    yield from [None] * len(_TYPES)
                    hi = lo
            lo = hi + 1

    def _visible(self, rows: list[Event], *, is_reversed: bool = False) -> Iterator[Event]:
        return (row for row in (reversed(rows) if is_reversed else rows) if row.appears <= self.now)

    def _rows(self) -> list[Event]:
        most = self.limit if self.kind == "time" and self.random.random() < 0.2 else self.limit - 2
        times: list[int] = []
        for _ in range(self.random.randrange(1, 8)):
            times += self._cluster(most)
        # Rows of the present, and rows that are added during reading.
        times += [_NOW + self.random.randrange(-3 * SETTLED, 20 * SETTLED) for _ in range(self.random.randrange(60))]
        counts = Counter(time for time in times if time <= _NOW + 20 * SETTLED)
        times = sorted(time for time, count in counts.items() for _ in range(min(count, most)))
        number, rows = 1, list[Event]()
        for time in times:
            number += self.random.choice((1, 1, 1, 7, 1_000))
            late = self.random.randrange(SETTLED - 3_000) if self.random.random() < 0.2 else 0
            rows.append(Event(number, time, self.random.choice(_TYPES), time + late))
        if self.kind == "id":
            self._swap_ids(rows)
        return rows

    def _swap_ids(self, rows: list[Event]) -> None:
        """Swap the times of some neighbouring ids, so that times decrease with the id."""
        rate = self.random.choice((0.0, 0.01, 0.5))
        for place in range(len(rows) - 1):
            one, other = rows[place : place + 2]
            if other.time < _NOW - _DAY and other.time - one.time < 1_000 and self.random.random() < rate:
                rows[place] = msgspec.structs.replace(one, id=other.id)
                rows[place + 1] = msgspec.structs.replace(other, id=one.id)

    def _cluster(self, most: int) -> Iterator[int]:
        """Return times that are dense, sparse, or equal to each other."""
        draw = self.random
        start = draw.randrange(self.begin - 3 * _DAY, _NOW - _DAY)
        # A day rarely has more order lists than a page.
        many = (40, 3) if self.kind != "untimed" else (2, 1)
        rows = draw.randrange(1, draw.choice(many) * self.limit)
        length = draw.choice((1_000, 60_000, 3_600_000, _DAY, 30 * _DAY))
        equal = draw.random() < 0.4
        at = start
        while rows > 0:
            same = min(rows, draw.randrange(1, most) if equal and draw.random() < 0.1 else 1)
            yield from [at] * same
            rows -= same
            at = start + draw.randrange(length)


class Figures:
    """What was read of one kind."""

    def __init__(self) -> None:
        self.histories: int = 0
        self.rows: int = 0
        self.calls: int = 0
        self.optimum: int = 0
        self.interrupted: int = 0
        self.wrong: list[str] = []

    @property
    def excess(self) -> float:
        """The calls beyond the optimum, as a fraction of it."""
        return self.calls / max(1, self.optimum) - 1


class Reading(NamedTuple):
    """The rows that were read, and the last time that is covered."""

    rows: list[Event]
    end: int


def read(history: History, *, interrupt: Callable[[], bool], ends: Iterable[int] = ()) -> Reading:
    """Read a history up to each of the ends, and then up to now.

    After an interruption, another walk goes on from the place that was reached.
    """
    rows: list[Event] = []
    place = Place(history.begin)
    remaining = [*ends, sys.maxsize]
    while True:
        walk, end = history.walk(place, remaining[0])
        cursor = Cursor(walk, place)
        page: PageRows | None = None
        while cursor.step(page):
            page = None
            while cursor.has_rows:
                rows.append(cast("Event", cursor.take()))
                if interrupt():
                    break
            else:
                if cursor.request is None:
                    continue
                page = history.respond(cursor.request)
                if not interrupt():
                    continue
            break
        else:
            remaining.pop(0)
            if not remaining:
                return Reading(rows, end)
        place = cursor.place


def run(seed: int, kind: Kind, figures: Figures) -> None:
    """Read one history in one go, and another time with interruptions."""
    history = History(seed, kind)
    whole = read(history, interrupt=lambda: False)
    figures.histories += 1
    figures.rows += len(whole.rows)
    figures.calls += history.calls
    figures.optimum += history.optimum(whole.end)
    if whole.rows != history.expected(whole.end):
        figures.wrong.append(f"{kind}, seed {seed}: {_difference(whole.rows, history.expected(whole.end))}")
    history = History(seed, kind)
    draw = random.Random(seed)
    rate = draw.choice((0.5, 2.0, 10.0)) / (1 + len(history.rows))
    left = 20

    def interrupt() -> bool:
        nonlocal left
        if left and draw.random() < rate:
            left -= 1
            figures.interrupted += 1
            return True
        return False

    # An end just before a row is where rows beyond the end are on the last page.
    ends = sorted(row.time - draw.randrange(2) for row in draw.sample(history.rows, min(3, len(history.rows))))
    resumed = read(history, interrupt=interrupt, ends=[end for end in ends if end >= history.begin])
    expected = history.expected(resumed.end)
    if kind == "id":
        # A row after the end of a part comes with the next part, though its id is lower than that of a row before.
        expected.sort(key=lambda row: (bisect_left(ends, row.time), row.id))
    if resumed.rows != expected:
        found = _difference(resumed.rows, expected)
        figures.wrong.append(f"{kind}, seed {seed}, interrupted: {found}")


def _difference(found: list[Event], expected: list[Event]) -> str:
    ids, wanted = [row.id for row in found], [row.id for row in expected]
    return (
        f"{len(set(wanted) - set(ids))} lost, {len(ids) - len(set(ids))} repeated, "
        f"{len(set(ids) - set(wanted))} not asked for, {'in' if ids == sorted(ids) else 'out of'} order"
    )


def run_all(seeds: range) -> Mapping[Kind, Figures]:
    """Read the histories of the seeds with each kind of paging."""
    figures: dict[Kind, Figures] = {kind: Figures() for kind in KINDS}
    for kind, found in figures.items():
        for seed in seeds:
            run(seed, kind, found)
    return figures


def main() -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description="Read random histories page by page.")
    parser.add_argument("--seeds", type=int, default=1_000, help="histories of each kind")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    options = parser.parse_args()
    logging.disable()
    figures = run_all(range(options.first, options.first + options.seeds))
    titles = ("histories", "rows", "calls", "optimum", "excess", "resumed", "wrong")
    print(f"{'paged by':9}" + "".join(f"{title:>11}" for title in titles))
    for kind, found in figures.items():
        print(
            f"{kind:9}{found.histories:>11,}{found.rows:>11,}{found.calls:>11,}{found.optimum:>11,}"
            f"{found.excess:>11.1%}{found.interrupted:>11,}{len(found.wrong):>11}"
        )
    wrong = [text for found in figures.values() for text in found.wrong]
    readings, failures = 0, 0
    for listing in LISTINGS:
        for seed in range(options.first, options.first + max(1, options.seeds // 20)):
            reading = asyncio.run(paging_client.read(seed, listing))
            readings, failures = readings + 1, failures + reading.failures
            if reading.times != reading.expected:
                wrong.append(f"{listing.name}, seed {seed}: not every row came once")
    print(f"through a client: {readings:,} histories, {failures:,} failed calls and interruptions")
    print(*(wrong or ["nothing is wrong"]), sep="\n")
    return 1 if wrong or any(found.excess > 0.1 for found in figures.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
