"""Random histories: every row once and in order, with few calls and little memory."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Literal

import pytest

from binance_pm.history.by_id import IdRange, by_id
from binance_pm.history.by_page import PagedRange, by_page
from binance_pm.history.by_time import TimeRange, by_time
from binance_pm.history.cursor import Cursor
from binance_pm.history.steps import PageRequest, PageRows, Place, Walk
from binance_pm.paging import ById, ByPage, ByTime
from tests.simulation.paging import KINDS, Figures, Kind, run
from tests.simulation.paging_client import LISTINGS, Listing, read
from tests.support.coverage import unmeasured
from tests.support.listed import Item

ROWS = 300_000
BEGIN = Place(0)


@pytest.mark.parametrize("kind", KINDS)
def test_every_row_comes_once(kind: Kind) -> None:
    """Also after interruptions; the number of calls is close to the optimum."""
    figures = Figures()
    with unmeasured():
        for seed in range(1, 13):
            run(seed, kind, figures)

    assert figures.wrong == []
    assert figures.interrupted
    assert figures.excess < 0.15


@pytest.mark.parametrize("listing", LISTINGS, ids=[listing.name for listing in LISTINGS])
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_every_row_comes_once_through_a_client(listing: Listing, seed: int) -> None:
    """Under refusals, lost responses, rows that come late and rows that are added."""
    with unmeasured():
        reading = await read(seed, listing)

    assert reading.times == reading.expected


def timed(shows: Literal["oldest", "newest"]) -> Callable[[], tuple[Walk, Callable[[PageRequest], PageRows]]]:
    """Return a walk by time through many rows, and the function that responds to its requests."""

    def made() -> tuple[Walk, Callable[[PageRequest], PageRows]]:
        def respond(request: PageRequest) -> PageRows:
            lo, hi = (int(request.parameters[name]) for name in ("start_time", "end_time"))
            numbers = range(lo, min(hi + 1, ROWS))
            numbers = numbers[:1_000] if shows == "oldest" else numbers[-1_000:]
            return PageRows([Item(number, number) for number in numbers])

        page = ByTime(key=("id",), most=1_000)
        return by_time(TimeRange(page=page, limit=1_000, end=ROWS, width=ROWS), BEGIN), respond

    return made


def by_ids() -> tuple[Walk, Callable[[PageRequest], PageRows]]:
    """Return a walk by id through many rows, and the function that responds to its requests."""

    def respond(request: PageRequest) -> PageRows:
        first = int(request.parameters["from_id"])
        return PageRows([Item(number, number) for number in range(first, min(first + 1_000, ROWS))])

    page = ById(parameter="from_id", most=1_000)
    return by_id(IdRange(page=page, limit=1_000, end=ROWS, settled=ROWS), Place(0, id=0)), respond


def paged() -> tuple[Walk, Callable[[PageRequest], PageRows]]:
    """Return a walk by page through many rows, and the function that responds to its requests."""

    def respond(request: PageRequest) -> PageRows:
        lo, hi, current = (int(request.parameters[name]) for name in ("start_time", "end_time", "current"))
        numbers = range(lo, min(hi + 1, ROWS))[::-1]
        first = (current - 1) * 100
        return PageRows([Item(number, number) for number in numbers[first : first + 100]], len(numbers))

    page = ByPage(key=("id",), time="time", window=timedelta(days=1))
    return by_page(PagedRange(page=page, limit=100, end=ROWS, width=ROWS, now=ROWS), BEGIN), respond


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "make", [timed("oldest"), timed("newest"), by_ids, paged], ids=["oldest", "newest", "id", "page"]
)
def test_memory_does_not_grow_with_the_number_of_rows(
    make: Callable[[], tuple[Walk, Callable[[PageRequest], PageRows]]],
) -> None:
    """Rows that were handed out are forgotten, and so are their keys: one block for each row would show."""
    walk, respond = make()
    cursor, page, count = Cursor(walk, BEGIN), None, 0
    before, peak = sys.getallocatedblocks(), 0
    with unmeasured():
        while cursor.step(page):
            while cursor.has_rows:
                row = cursor.take()
                assert row.id == count
                count += 1
            page = None if cursor.request is None else respond(cursor.request)
            peak = max(peak, sys.getallocatedblocks())

    assert count == ROWS
    print("blocks:", peak - before)
    # At most 20,000 rows are held, each with its key and its place.
    assert peak - before < ROWS / 2
