"""The rules of each kind of paging, without requests and clocks; tests/simulation/paging.py has random histories."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Literal

import pytest

from binance_pm.history.by_id import IdRange, by_id
from binance_pm.history.by_page import MOST_ROWS, PagedRange, by_page
from binance_pm.history.by_time import TimeRange, by_time
from binance_pm.history.steps import IncompleteError, PageRequest, PageRows, Place, Walk
from binance_pm.paging import ById, ByPage, ByTime
from tests.support.listed import Item, Listed, read

Shows = Literal["oldest", "newest"]
BEGIN = Place(0)
DAY = 86_400_000
each_side = pytest.mark.parametrize("shows", ["oldest", "newest"])


def timed(
    begin: Place = BEGIN, *, end: int = 999, limit: int = 10, width: int = 1_000, split: tuple[str, ...] = ()
) -> Walk:
    """Return a walk by time."""
    page = ByTime(key=("id",), most=limit, split="type")
    return by_time(TimeRange(page=page, limit=limit, end=end, width=width, split=split), begin)


def untimed(begin: Place = BEGIN, *, end: int = 999, width: int = 1_000) -> Walk:
    """Return a walk by windows whose rows have no time of their own."""
    page = ByTime(key=("id",), time=None, most=10)
    return by_time(TimeRange(page=page, limit=10, end=end, width=width), begin)


def by_ids(begin: Place = BEGIN, *, end: int = DAY, settled: int = DAY, limit: int = 10, earliest: int = 0) -> Walk:
    """Return a walk by id."""
    page = ById(parameter="from_id", most=limit, window=timedelta(seconds=1))
    return by_id(IdRange(page=page, limit=limit, end=end, settled=settled, earliest=earliest), begin)


def paged(begin: Place = BEGIN, *, now: int = DAY, end: int = 999, archive: timedelta | None = None) -> Walk:
    """Return a walk by numbered pages."""
    page = ByPage(key=("id",), time="time", archive=archive)
    return by_page(PagedRange(page=page, limit=100, end=end, width=400 * DAY, now=now), begin)


class TestByTime:
    """Windows of time, both ends included."""

    @each_side
    def test_rows_of_one_millisecond_are_split(self, shows: Shows) -> None:
        """By the values of a parameter, if a page cannot have all of them."""
        rows = [Item(number, 500, "AB"[number % 2]) for number in range(18)]
        rows += [Item(number, 501 + number) for number in range(20, 40)]
        listed = Listed([Item(90, 3), *rows, Item(91, 999)], shows=shows)

        assert sorted(read(timed(split=("A", "B")), listed, BEGIN)) == sorted(listed.rows)

    @each_side
    @pytest.mark.parametrize("split", [(), ("A",), ("A", "B", "C")])
    def test_too_many_rows_of_one_millisecond_end_the_walk(self, shows: Shows, split: tuple[str, ...]) -> None:
        """If the endpoint has no such parameter, if its values are not all known, or if a part is still too large."""
        rows = [Item(number, 500, "A" if number < 12 - len(split) * 4 else "B") for number in range(24)]

        with pytest.raises(IncompleteError, match="500"):
            read(timed(split=split), Listed(rows, shows=shows), BEGIN)

    def test_an_empty_window_is_not_the_end(self) -> None:
        """Every window up to the end is requested, none wider than allowed."""
        listed = Listed([Item(1, 5), Item(2, 995)])

        assert read(timed(width=200), listed, BEGIN) == listed.rows
        assert [(one["start_time"], one["end_time"]) for one in listed.requested] == [
            (0, 199), (200, 399), (400, 599), (600, 799), (800, 999)
        ]  # fmt: skip

    def test_the_oldest_rows_need_one_call_for_each_page(self) -> None:
        """And one to find out that they are the oldest."""
        listed = Listed(Item(number, number) for number in range(900))

        assert read(timed(limit=100), listed, BEGIN) == listed.rows
        assert len(listed.requested) == 1 + 10

    def test_the_newest_rows_need_one_call_for_each_page(self) -> None:
        """The window is read from its end, and each page shows a row of the one before."""
        listed = Listed((Item(number, number) for number in range(900)), shows="newest")

        assert read(timed(limit=100), listed, BEGIN) == listed.rows
        assert len(listed.requested) == 11

    def test_a_window_with_too_many_of_the_newest_rows_is_shortened(self) -> None:
        """So many rows are not held."""
        listed = Listed((Item(number, number) for number in range(100_000)), shows="newest")

        assert read(timed(limit=1_000, end=99_999, width=100_000), listed, BEGIN) == listed.rows
        assert len(listed.requested) < 145

    def test_a_row_outside_of_its_window_ends_the_walk(self) -> None:
        """Its time is not the one that selects."""
        with pytest.raises(IncompleteError, match="outside"):
            read(timed(), lambda _: PageRows([Item(1, 5_000)]), BEGIN)

    def test_two_rows_with_one_key_end_the_walk(self) -> None:
        """One of them would be dropped; an equal row is a repetition."""
        assert read(timed(), lambda _: PageRows([Item(1, 5), Item(1, 5)]), BEGIN) == [Item(1, 5)]
        with pytest.raises(IncompleteError, match="key"):
            read(timed(), lambda _: PageRows([Item(1, 5), Item(1, 5, text="other")]), BEGIN)

    @each_side
    def test_what_was_learnt_may_turn_out_wrong(self, shows: Shows) -> None:
        """An exchange that changes what a full page has costs calls, and no rows."""
        listed = Listed((Item(number, number) for number in range(600)), shows=shows)
        other: dict[Shows, Shows] = {"oldest": "newest", "newest": "oldest"}

        def respond(request: PageRequest) -> PageRows:
            if len(listed.requested) == 5:
                listed.shows = other[shows]
            return listed(request)

        assert read(timed(limit=50), respond, BEGIN) == listed.rows

    def test_reading_goes_on_behind_a_row(self) -> None:
        """At the same time, by key."""
        listed = Listed(Item(number, 7) for number in range(5))

        assert read(timed(Place(7, (2,))), listed, Place(7, (2,))) == listed.rows[3:]


class TestUntimed:
    """Windows of rows that have no time of their own."""

    @each_side
    def test_a_full_window_is_shortened(self, shows: Shows) -> None:
        """Whatever its rows are."""
        listed = Listed((Item(number, number * 9 % 1_000) for number in range(100)), shows=shows)

        assert sorted(read(untimed(), listed, BEGIN)) == listed.rows

    def test_a_full_millisecond_ends_the_walk(self) -> None:
        """There is nothing to split it by."""
        with pytest.raises(IncompleteError, match="500"):
            read(untimed(), Listed(Item(number, 500) for number in range(10)), BEGIN)


class TestById:
    """Pages that begin at an id."""

    def test_the_next_page_begins_behind_the_last_row(self) -> None:
        """Equal times have no effect."""
        listed = Listed(Item(number, 5) for number in range(1, 31))

        assert read(by_ids(Place(0, id=1)), listed, BEGIN) == listed.rows
        assert [one["from_id"] for one in listed.requested] == [1, 11, 21, 31]

    @each_side
    @pytest.mark.parametrize("start", [0, 2_500, 2_999, 3_050, 4_000, 9_000])
    def test_the_first_row_of_a_time_is_found(self, shows: Shows, start: int) -> None:
        """Behind empty windows, and in full ones."""
        rows = [Item(number, number) for number in (*range(10, 20), *range(3_000, 3_100))]
        listed = Listed(rows, shows=shows)

        found = read(by_ids(Place(start), earliest=start, end=12_000), listed, Place(start))

        assert found == [row for row in rows if row.time >= start]

    def test_too_many_rows_of_the_first_millisecond_end_the_walk(self) -> None:
        """The page may not have the first of them."""
        with pytest.raises(IncompleteError, match="5"):
            read(by_ids(Place(5)), Listed(Item(number, 5) for number in range(10)), Place(5))

    def test_a_row_that_is_too_new_ends_the_walk(self) -> None:
        """Rows with a lower id may still appear."""
        rows = [Item(1, 5), Item(2, 99), Item(3, 6)]

        assert read(by_ids(Place(0, id=1), settled=50), Listed(rows), BEGIN) == rows[:1]

    def test_rows_beyond_the_end_are_left_out(self) -> None:
        """Times of neighbouring ids may run backwards; a much later row ends the walk."""
        listed = Listed([Item(1, 5), Item(2, 60), Item(3, 40), *(Item(number, 90_000) for number in range(4, 40))])

        assert read(by_ids(Place(0, id=1), end=50), listed, BEGIN) == [Item(1, 5), Item(3, 40)]
        assert len(listed.requested) == 1

    def test_a_row_without_a_time_ends_the_walk(self) -> None:
        """Whether the row is wanted is not known; a response may lack a time that other responses have."""
        rows = [Item(1, 5)._asdict() | {"time": None}]

        with pytest.raises(IncompleteError, match="time"):
            read(by_ids(Place(0, id=1)), lambda _: PageRows([SimpleNamespace(**row) for row in rows]), BEGIN)

    def test_a_page_that_ignores_the_id_ends_the_walk(self) -> None:
        """The walk would never end."""
        with pytest.raises(IncompleteError, match="smaller"):
            read(by_ids(Place(0, id=50)), lambda _: PageRows([Item(1, 5)]), BEGIN)


class TestByPage:
    """Numbered pages with a total."""

    def test_a_window_is_read_page_by_page(self) -> None:
        """Its rows come in the order of their times."""
        listed = Listed(Item(number, number) for number in range(250))

        assert read(paged(), listed, BEGIN) == listed.rows
        assert [one["current"] for one in listed.requested] == [1, 2, 3]

    def test_rows_that_are_pushed_to_the_next_page_come_once(self) -> None:
        """A late row pushes them, and the window is read again for it."""
        listed = Listed(Item(number, number * 2) for number in range(250))

        def respond(request: PageRequest) -> PageRows:
            if len(listed.requested) == 1:
                listed.rows.insert(249, Item(900, 497))
            return listed(request)

        assert read(paged(), respond, BEGIN) == listed.rows

    def test_a_count_that_stays_wrong_ends_the_walk(self) -> None:
        """Rows are missing."""
        with pytest.raises(IncompleteError, match="250"):
            read(paged(), Listed((Item(number, number) for number in range(240)), total=250), BEGIN)

    def test_a_window_with_too_many_rows_is_divided(self) -> None:
        """The rows of a window are held until all have come."""
        listed = Listed(Item(number, 800 + number // 100) for number in range(2 * MOST_ROWS))

        assert read(paged(), listed, BEGIN) == listed.rows
        assert len(listed.requested) < 2 * MOST_ROWS / 100 * 1.1

    def test_a_millisecond_is_read_however_many_rows_it_has(self) -> None:
        """It cannot be divided."""
        listed = Listed(Item(number, 7) for number in range(MOST_ROWS + 1))

        assert read(paged(), listed, BEGIN) == listed.rows

    def test_a_range_across_the_border_is_read_from_both(self) -> None:
        """Only near the age at which rows move; elsewhere from the one that has them."""
        listed = Listed([Item(1, 5), Item(2, 182 * DAY), Item(3, 360 * DAY)])
        walk = paged(now=364 * DAY, end=364 * DAY, archive=timedelta(days=182))

        assert read(walk, listed, BEGIN) == listed.rows
        assert [one["archived"] for one in listed.requested] == [True, False, True, False]

    def test_a_row_outside_of_its_window_ends_the_walk(self) -> None:
        """Its time is not the one that selects."""
        with pytest.raises(IncompleteError, match="outside"):
            read(paged(), lambda _: PageRows([Item(1, 5_000)], 1), BEGIN)


@pytest.mark.parametrize("walk", [timed, untimed, paged])
def test_nothing_is_requested_behind_the_end(walk: Callable[[Place], Walk]) -> None:
    """A walk that is up to date makes no call."""
    listed = Listed([])

    assert (read(walk(Place(1_000)), listed, Place(1_000)), listed.requested) == ([], [])
