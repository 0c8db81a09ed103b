"""A list of the exchange in memory, and a reader that asks it for what a walk wants."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from typing import Any, Literal, NamedTuple

from binance_pm.history.cursor import Cursor
from binance_pm.history.steps import PageRequest, PageRows, Place, Walk


class Item(NamedTuple):
    """One row."""

    id: int
    time: int
    type: str = "A"
    text: str = ""


class Listed:
    """Rows in the order of their times, of which a response shows only some.

    Args:
        rows: the rows.
        shows: which rows a full page of a window has.
        total: the number that is given with numbered pages; by default that of the rows.
    """

    def __init__(
        self, rows: Iterable[Item], *, shows: Literal["oldest", "newest"] = "oldest", total: int | None = None
    ) -> None:
        self.rows = list(rows)
        self.shows = shows
        self.total = total
        self.requested: list[Mapping[str, Any]] = []

    def __call__(self, request: PageRequest) -> PageRows:
        """Respond to a request."""
        given: Mapping[str, Any] = request.parameters
        self.requested.append(given)
        if "from_id" in given:
            return PageRows([row for row in self.rows if row.id >= given["from_id"]][: given["limit"]])
        time = attrgetter("time")
        first = bisect_left(self.rows, given["start_time"], key=time)
        rows = self.rows[first : bisect_right(self.rows, given["end_time"], key=time)]
        rows = [row for row in rows if given.get("type") in (None, row.type)]
        if request.reads == "rows":
            return PageRows(rows[: given["limit"]] if self.shows == "oldest" else rows[-given["limit"] :])
        skipped = (given["current"] - 1) * given["size"]
        total = len(rows) if self.total is None else self.total
        return PageRows(rows[::-1][skipped : skipped + given["size"]], total)


def read(walk: Walk, respond: Callable[[PageRequest], PageRows], begin: Place) -> list[Any]:
    """Return all rows of a walk."""
    cursor, rows, page = Cursor(walk, begin), list[Any](), None
    while cursor.step(page):
        while cursor.has_rows:
            rows.append(cursor.take())
        page = None if cursor.request is None else respond(cursor.request)
    return rows
