"""How the rest of a long list is asked for, as a fact of an endpoint."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, get_args, get_type_hints

import msgspec


class ById(msgspec.Struct, frozen=True):
    """Pages that begin at an id: the next page begins behind the last row."""

    parameter: str
    """The parameter with the first id of the page."""
    key: str = "id"
    """The field of a row that holds its id."""

    @property
    def parameters(self) -> tuple[str, ...]:
        """The parameters that select a page."""
        return (self.parameter, "limit")

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields of a row that paging reads."""
        return (self.key,)


class ByTime(msgspec.Struct, frozen=True, kw_only=True):
    """Pages that are ranges of time, both ends included, in ``start_time`` and ``end_time``."""

    key: tuple[str, ...]
    """The fields that tell a row from all others."""
    time: str = "time"
    """The field of a row that holds its time."""
    window: timedelta | None = None
    """The widest range of one request; None if there is no limit."""
    limit: str = "limit"
    """The parameter with the most rows of a page."""

    @property
    def parameters(self) -> tuple[str, ...]:
        """The parameters that select a page."""
        return ("start_time", "end_time", self.limit)

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields of a row that paging reads."""
        return (*self.key, self.time)


class ByPage(msgspec.Struct, frozen=True, kw_only=True):
    """Numbered pages, in ``current`` and ``size``, of a response with ``rows`` and ``total``."""

    key: tuple[str, ...]
    """The fields that tell a row from all others."""
    window: timedelta | None = None
    """The widest range of one request; None if there is no limit."""

    @property
    def parameters(self) -> tuple[str, ...]:
        """The parameters that select a page."""
        return ("current", "size")

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields of a row that paging reads."""
        return self.key


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
