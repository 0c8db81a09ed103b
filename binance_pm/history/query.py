"""What is read page by page: the method of a client, its arguments, and the walk that its endpoint declares."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

import msgspec

from binance_pm.argument_types import type_check
from binance_pm.client import Client
from binance_pm.declaration import MethodCall, method_call
from binance_pm.errors import CallInfo, ConfigurationError
from binance_pm.history.by_id import IdRange, by_id
from binance_pm.history.by_page import PagedRange, by_page
from binance_pm.history.by_time import TimeRange, by_time
from binance_pm.history.steps import PageRequest, PageRows, Place, Walk
from binance_pm.limits import Priority
from binance_pm.paging import ById, ByPage, ByTime
from binance_pm.wire import milliseconds

LATE_SECONDS: Final = 30.0
"""How long after its time a row may appear: a walk ends so long before now."""
_FIRST_ID: Final = 1
_MILLISECOND: Final = timedelta(milliseconds=1)
_UNUSED: Final = {"start_time", "end_time", "limit", "size", "check", "recv_window"}
"""Arguments that do not change which rows a list has."""


class Query:
    """A list that is read page by page.

    Args:
        made: the call of the method, with the caller's arguments.

    Raises:
        ValueError: the arguments contradict paging.
    """

    def __init__(self, made: MethodCall, client: Client) -> None:
        page = declared = made.endpoint.page
        assert page is not None, "only what has pages is a query"  # noqa: S101 - for the type checker
        self.client: Final = client
        self.endpoint: Final = made.endpoint
        self._made: Final = made
        given = {name: value for name, value in made.arguments.items() if value is not None}
        if (check := type_check(made.endpoint.parameters)) is not None:
            check(given)
        if isinstance(page, ById) and page.within not in given:
            page = page.by_time
        self.page: Final[ById | ByTime | ByPage] = page
        self.first_id: Final[int | None] = given.pop(page.parameter, None) if isinstance(page, ById) else None
        self.start: Final = _time_of("start_time", given)
        self.end: Final = _time_of("end_time", given)
        self.limit: Final[int] = given.pop(page.limit, page.most)
        self._given: Final[Mapping[str, Any]] = {
            name: value for name, value in given.items() if name not in {"start_time", "end_time"}
        }
        if isinstance(declared, ById) and declared.parameter in given:
            raise ValueError(f"{declared.parameter} needs {declared.within}")
        _check(self, given)

    @property
    def info(self) -> CallInfo:
        """The call, for errors."""
        return CallInfo(self.endpoint.name, self.client.label, self.client.key_id)

    @property
    def row_type(self) -> type[msgspec.Struct]:
        """The Struct of a row."""
        returns = self.endpoint.returns
        rows = get_type_hints(returns)["rows"] if isinstance(self.page, ByPage) else returns
        [row] = get_args(rows)
        return row

    @property
    def digest(self) -> str:
        """What tells this list from those of other endpoints, arguments and accounts."""
        given = {name: str(value) for name, value in self._given.items() if name not in _UNUSED}
        text = msgspec.json.encode([self.endpoint.name, self.client.key_id, sorted(given.items())])
        return hashlib.sha256(text).hexdigest()[:16]

    @property
    def origin(self) -> str:
        """The origin that the requests go to."""
        return self.client.origin(self.endpoint)

    def kept_since(self, now: int) -> int | None:
        """Return the time of the oldest row that the exchange keeps, in milliseconds; None if it is not documented."""
        return None if self.page.kept is None else now - self.page.kept // _MILLISECOND

    def unfilled_since(self, now: int) -> int | None:
        """Return the same time of orders that ended without a fill, if they are kept shorter."""
        return None if self.page.unfilled is None else now - self.page.unfilled // _MILLISECOND

    def end_at(self, now: int) -> int:
        """Return the last time whose rows can no longer appear late, or the end that was asked for."""
        return _settled_at(now) if self.end is None else min(self.end, _settled_at(now))

    def begin(self, now: int) -> Place:
        """Return where a walk begins that has no position."""
        kept = self.kept_since(now)
        start = self.start if self.start is not None else kept
        if not isinstance(self.page, ById):
            assert start is not None, "checked before"  # noqa: S101 - for the type checker
            return Place(start)
        if self.start is None or (kept is not None and self.start <= kept):
            return Place(start or 0, id=self.first_id or _FIRST_ID)
        return Place(self.start)

    def walk(self, begin: Place, now: int) -> Walk:
        """Return a walk from a place on."""
        end = self.end_at(now)
        page = self.page
        if isinstance(page, ById):
            wanted = IdRange(page=page, limit=self.limit, end=end, settled=_settled_at(now), earliest=self.start or 0)
            return by_id(wanted, begin)
        width = max(1, end - begin.time + 1) if page.window is None else page.window // _MILLISECOND
        if isinstance(page, ByPage):
            return by_page(PagedRange(page=page, limit=self.limit, end=end, width=width, now=now), begin)
        split = self._split(page.split)
        return by_time(TimeRange(page=page, limit=self.limit, end=end, width=width, split=split), begin)

    def method(self, priority: Priority) -> Callable[..., Any]:
        """Return the method with a priority."""
        return self._made.method_of(self.client.options(priority=priority))

    def arguments(self, request: PageRequest) -> dict[str, Any]:
        """Return the arguments of one request."""
        return {**self._given, **request.parameters}

    def weights(self) -> tuple[int, ...]:
        """Return the weight of one request, in the order of the endpoint's weights."""
        return self.endpoint.weights_of({self.endpoint.wire_names.get(name, name): 1 for name in self._given})

    def _split(self, name: str | None) -> tuple[str, ...]:
        if name is None or name in self._given:
            return ()
        values: list[str] = []
        for part in get_args(self.endpoint.parameters[name].annotation):
            values += get_args(part) if get_origin(part) is Literal else []
        return tuple(values)


def rows_of(request: PageRequest, response: Any) -> PageRows:
    """Return the page of a response."""
    return PageRows(response) if request.reads == "rows" else PageRows(list(response.rows), response.total)


def query_of(method: Callable[..., object], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Query:
    """Return the list that a method of a client reads.

    Raises:
        ConfigurationError: the method has no pages, or belongs to no client, or an argument contradicts paging.
    """
    call = CallInfo("paginate")
    made = method_call(method, args, kwargs)
    if made is None or not isinstance(made.client, Client):
        raise ConfigurationError(
            call, "the first argument is not a method of a client's endpoint: give one such as client.um.trades"
        )
    info = CallInfo(f"paginate({made.endpoint.name})", made.client.label)
    if made.endpoint.page is None:
        raise ConfigurationError(info, "its response is not a list of pages: call the method itself")
    try:
        return Query(made, made.client)
    except ValueError as error:
        raise ConfigurationError(info, str(error)) from None


def _settled_at(now: int) -> int:
    """Return the last time whose rows can no longer appear late."""
    return now - int(LATE_SECONDS * 1000)


def _time_of(name: str, given: Mapping[str, Any]) -> int | None:
    value = given.get(name)
    return None if value is None else milliseconds(name, value)


def _check(query: Query, given: Mapping[str, Any]) -> None:
    """Refuse arguments that contradict paging.

    Raises:
        ValueError: the text names the arguments.
    """
    page = query.page
    if "current" in given or "archived" in given or "tx_id" in given:
        raise ValueError("current, archived and tx_id select single pages: leave them out")
    if not 2 <= query.limit <= page.most:
        raise ValueError(f"{page.limit} is {query.limit}: a page has 2 to {page.most} rows")
    if isinstance(page, ById) and query.first_id is not None and query.start is not None:
        raise ValueError(f"{page.parameter} and start_time exclude each other")
    if not isinstance(page, ById) and query.start is None and page.kept is None:
        raise ValueError("start_time is required: how long the exchange keeps these rows is not documented")
    for name, time in (("start_time", query.start), ("end_time", query.end)):
        if time is not None and time < 0:
            raise ValueError(f"{name} is before 1970")
    if query.start is not None and query.end is not None and query.start > query.end:
        raise ValueError("start_time is after end_time")
