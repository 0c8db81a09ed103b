"""How the rest of a long list is requested, and how long the exchange keeps its rows, as a fact of an endpoint."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, get_args, get_type_hints

import msgspec

SPAN = ("start_time", "end_time")
"""The parameters of a range of time, both ends included."""


class ById(msgspec.Struct, frozen=True, kw_only=True):
    """Pages that begin at an id: the next page begins behind the last row."""

    parameter: str
    """The parameter with the first id of the page."""
    most: int
    """The most rows of a page."""
    key: str = "id"
    """The field of a row that holds its id."""
    time: str = "time"
    """The field of a row that holds its time."""
    window: timedelta = timedelta(days=7)
    """The widest range of time of one request."""
    kept: timedelta | None = None
    """How long the exchange keeps a row; None if this is not documented."""
    unfilled: timedelta | None = None
    """How long the exchange keeps an order that was cancelled or expired without a fill, if that is shorter."""
    within: str = "symbol"
    """The parameter within which ids are in order. Calls without it are paged by time."""

    limit = "limit"

    @property
    def parameters(self) -> tuple[str, ...]:
        """The parameters that select a page."""
        return (self.parameter, self.within, *SPAN, "limit")

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields of a row that paging reads."""
        return (self.key, self.time)

    @property
    def by_time(self) -> ByTime:
        """How calls without the parameter `within` are paged."""
        return ByTime(
            key=(self.within, self.key), time=self.time, most=self.most, window=self.window, kept=self.kept,
            unfilled=self.unfilled,
        )  # fmt: skip


class ByTime(msgspec.Struct, frozen=True, kw_only=True):
    """Pages that are ranges of time, both ends included, in ``start_time`` and ``end_time``."""

    key: tuple[str, ...]
    """The fields that tell a row from all others."""
    most: int
    """The most rows of a page."""
    time: str | None = "time"
    """The field of a row that holds the time by which a range selects rows; None if that time is not known."""
    window: timedelta | None = None
    """The widest range of one request; None if there is no limit."""
    limit: str = "limit"
    """The parameter with the most rows of a page."""
    kept: timedelta | None = None
    """How long the exchange keeps a row; None if this is not documented."""
    unfilled: timedelta | None = None
    """How long the exchange keeps an order that was cancelled or expired without a fill, if that is shorter."""
    split: str | None = None
    """The parameter by whose values one millisecond with more rows than a page is split, a field of a row, too."""

    @property
    def parameters(self) -> tuple[str, ...]:
        """The parameters that select a page."""
        return (*SPAN, self.limit, *([self.split] if self.split else []))

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields of a row that paging reads."""
        return (*self.key, *([self.time] if self.time else []), *([self.split] if self.split else []))


class ByPage(msgspec.Struct, frozen=True, kw_only=True):
    """Numbered pages, in ``current`` and ``size``, of a response with ``rows`` and ``total``."""

    key: tuple[str, ...]
    """The fields that tell a row from all others."""
    time: str
    """The field of a row that holds its time."""
    most: int = 100
    """The most rows of a page."""
    window: timedelta | None = None
    """The widest range of one request; None if there is no limit."""
    kept: timedelta | None = None
    """How long the exchange keeps a row; None if this is not documented."""
    archive: timedelta | None = None
    """The age from which on a row is only found with ``archived``; None if the endpoint has no archive."""

    limit = "size"
    unfilled: timedelta | None = None

    @property
    def parameters(self) -> tuple[str, ...]:
        """The parameters that select a page."""
        return (*SPAN, "current", "size", *(["archived"] if self.archive else []))

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields of a row that paging reads."""
        return (*self.key, self.time)


Page = ById | ByTime | ByPage


def check_page(page: Page, parameters: Mapping[str, object], returns: Any) -> None:
    """Refuse pages that an endpoint cannot have.

    Args:
        page: how the endpoint is paged.
        parameters: its parameters, by name as declared.
        returns: the type of its response.

    Raises:
        ValueError: a parameter or a field of a row is missing.
    """
    if missing := [name for name in page.parameters if name not in parameters]:
        raise ValueError(f"a page cannot be selected without the parameter {', '.join(missing)}")
    rows = get_type_hints(returns)["rows"] if isinstance(page, ByPage) else returns
    [row] = get_args(rows)
    if missing := sorted(set(page.fields) - set(row.__struct_fields__)):
        raise ValueError(f"{row.__name__} has no field {', '.join(missing)}")
