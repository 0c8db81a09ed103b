"""The state of reading a list: the page to request next, the rows that have come, and the place behind the last one."""

from __future__ import annotations

from typing import Any, Final

from binance_pm.history.steps import Found, Key, PageRequest, PageRows, Place, Walk


class Cursor:
    """A walk, one row after the other.

    Args:
        walk: yields pages to request and rows.
        begin: where the walk begins.
    """

    def __init__(self, walk: Walk, begin: Place) -> None:
        self._walk: Final = walk
        self._before: Place = begin
        """Before the first of the found rows."""
        self._found: Found = Found([], begin)
        self._next: int = 0
        """The index of the row that is taken next."""
        self.request: PageRequest | None = None
        """The page to request; None before the first step, and if the walk goes on without one."""

    @property
    def has_rows(self) -> bool:
        """Whether a row can be taken."""
        return self._next < len(self._found.placed)

    @property
    def first_time(self) -> int | None:
        """The time of the first of the found rows."""
        return self._found.placed[0].time if self._found.placed else None

    @property
    def found_rows(self) -> int:
        """The number of rows that were found last."""
        return len(self._found.placed)

    @property
    def covered(self) -> int:
        """The time before which all rows have been found."""
        return self._found.place.time

    @property
    def place(self) -> Place:
        """Behind the last row that was taken."""
        placed, following = self._found.placed, self._found.place
        if self._next == len(placed):
            return following
        if self._next == 0:
            return self._before
        last = placed[self._next - 1]
        if following.id is not None:
            number = _number(last.key)
            if number < following.id:
                return following._replace(time=last.time, id=number + 1)
            return following._replace(time=last.time, after=last.key)
        return Place(last.time, last.key, until=self._found.until)

    def take(self) -> Any:
        """Return the next row; `has_rows` is true."""
        row = self._found.placed[self._next].row
        self._next += 1
        return row

    def step(self, page: PageRows | None = None) -> bool:
        """Go on until a page has to be requested or rows have been found; return False at the end of the list.

        Args:
            page: the page that was to be requested.

        Raises:
            IncompleteError: rows are missing; the walk has ended.
        """
        self.request = None
        while True:
            try:
                step = self._walk.send(page)
            except StopIteration:
                return False
            page = None
            if isinstance(step, PageRequest):
                self.request = step
                return True
            self._before = self.place
            self._found, self._next = step, 0
            if step.placed:
                return True


def _number(key: Key) -> int:
    number = key[0]
    assert isinstance(number, int), "ids are numbers"  # noqa: S101 - for the type checker
    return number
