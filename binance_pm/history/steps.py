"""What a walk through a list asks for, and what it finds: facts only, without requests and clocks."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from typing import Any, Final, Literal, NamedTuple, TypeAlias, TypeVar

T = TypeVar("T")

Key: TypeAlias = tuple[int | str, ...]
"""What tells a row from all others."""


class PageRequest(NamedTuple):
    """One page to request: parameters by name as declared."""

    parameters: Mapping[str, int | bool | str]
    reads: Literal["rows", "total"] = "rows"
    """Whether the response is a list of rows, or has ``rows`` and ``total``."""


class PlacedRow(NamedTuple):
    """A row and its place in the order in which rows are handed out: by time, then by key."""

    time: int
    key: Key
    row: Any


class Found(NamedTuple):
    """Rows that are complete up to a point, in order; a walk goes on from there."""

    placed: list[PlacedRow]
    place: Place
    """Where a walk goes on behind all of the rows."""
    until: int | None = None
    """The end of the window of the rows, if they have no time of their own."""


class Place(NamedTuple):
    """Where a walk goes on.

    Every row before `time` was handed out, and at `time` (until `until`, if rows have no time of their own) every row
    whose key is not above `after`. If rows are walked by id, every row with an id below `id` was handed out, and
    so was every row with an id from `id` to `after` whose time is not after `until`.
    """

    time: int
    after: Key = ()
    id: int | None = None
    until: int | None = None


class PageRows(NamedTuple):
    """One page of a response."""

    rows: list[Any]
    total: int | None = None


Steps: TypeAlias = Generator[PageRequest | Found, PageRows | None, T]
"""A generator that yields pages to request, is sent `PageRows` for each, and yields rows to hand out."""
Walk: TypeAlias = Steps[None]
"""The steps through a whole list."""


def requested(request: PageRequest) -> Steps[PageRows]:
    """Request a page, and return it."""
    rows = yield request
    assert rows is not None, "rows are sent for a request"  # noqa: S101 - for the type checker
    return rows


class IncompleteError(Exception):
    """Rows that exist cannot be shown by the exchange, or a page contradicts what was asked.

    Args:
        text: what is wrong, without a full stop.
        advice: what to do about it.
    """

    def __init__(self, text: str, advice: str) -> None:
        super().__init__(text)
        self.advice: Final = advice


def reader(key: tuple[str, ...], time: str | None, *, lo: int = 0) -> Callable[[Any], PlacedRow]:
    """Return a function that returns the place of a row.

    Args:
        key: the fields that tell a row from all others.
        time: the field of its time; None if rows have no time of their own.
        lo: the time of such rows.

    The function raises IncompleteError if a row lacks its time.
    """

    def read(row: Any) -> PlacedRow:
        at = lo if time is None else getattr(row, time)
        if at is None:
            raise IncompleteError(f"a row has no {time}", "These rows cannot be read in order.")
        return PlacedRow(at, tuple(_part(getattr(row, name)) for name in key), row)

    return read


def entries_of(rows: Iterable[Any], read: Callable[[Any], PlacedRow]) -> list[PlacedRow]:
    """Return the places of the rows of a page, in order, each key once.

    Raises:
        IncompleteError: two different rows have the same key.
    """
    found: dict[Key, PlacedRow] = {}
    for entry in map(read, rows):
        if found.setdefault(entry.key, entry).row != entry.row:
            raise IncompleteError(f"two rows of a page have the key {entry.key}", "These rows cannot be told apart.")
    return sorted(found.values(), key=place_of)


def merged(*parts: Iterable[PlacedRow]) -> list[PlacedRow]:
    """Return the entries of several pages, in order, each key once."""
    found = {entry.key: entry for part in parts for entry in part}
    return sorted(found.values(), key=place_of)


def place_of(entry: PlacedRow) -> tuple[int, Key]:
    """Return what entries are ordered by."""
    return entry[0], entry[1]


def after(entries: Iterable[PlacedRow], time: int, key: Key) -> list[PlacedRow]:
    """Return the entries that come after a place."""
    if not key:
        return [entry for entry in entries if entry.time >= time]
    return [entry for entry in entries if (entry.time, entry.key) > (time, key)]


def _part(value: object) -> int | str:
    if type(value) is int:
        return value
    return "" if value is None else str(value)
