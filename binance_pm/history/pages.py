"""Rows of a long list, one after the other: the requests behind them, and the position to go on from."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, Generic, Self, TypeVar

import anyio
import msgspec

from binance_pm.arguments import check
from binance_pm.errors import CallInfo, ConfigurationError, HistoryIncomplete
from binance_pm.history.cursor import Cursor
from binance_pm.history.plan import HistoryPlan, missing_before, plan_of
from binance_pm.history.query import Query, rows_of
from binance_pm.history.rows import columns_of
from binance_pm.history.steps import IncompleteError, PageRequest, PageRows, Place
from binance_pm.limits import Priority
from binance_pm.paging import ById

_log = logging.getLogger(__name__)

Row = TypeVar("Row")

_VERSION: Final = 1


class Position(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where reading a list goes on. It can be stored, such as by `msgspec.json.encode`, and passed back later."""

    query: str
    """A digest of the endpoint, its arguments and the account."""
    time: int
    """Every row before this time was handed out, in milliseconds since the epoch."""
    after: tuple[int | str, ...] = ()
    """The last row that was handed out at `time`; the others of this time follow in the order of this key."""
    id: int | None = None
    """The first id that was not handed out, if the list is read by id. If `until` is given, rows with ids up to `after`
    and times up to `until` were handed out as well."""
    until: int | None = None
    """If rows have no time of their own, the end of the window that is being read; if the list is read by id, the
    requested end."""
    version: int = _VERSION
    """The version of these fields."""


class PageProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far reading a list has come."""

    rows: int
    """The rows that were received so far, without those before the position that was passed back."""
    calls: int
    """The calls that were made so far."""
    fraction: float | None
    """The part of the time from start to end that is read, from 0 to 1; None if the start is not known."""


class _Options(msgspec.Struct, frozen=True, kw_only=True):
    position: Position | None = None
    on_progress: Callable[[PageProgress], object] | None = None
    priority: Priority = Priority.BACKGROUND


class Pages(Generic[Row]):
    """The rows of a long list, for ``async for``: every row once, oldest first.

    A page is requested when the rows before it are used up. If a request fails or is cancelled, no row is lost:
    iterating again goes on behind the last row, and so does another `Pages` with the same arguments and `position`.

    Raises:
        PortfolioMarginError: a request failed, as a call of the method does.
        HistoryIncomplete: the exchange cannot show all rows.
    """

    def __init__(self, query: Query, options: _Options | None = None) -> None:
        self._query: Final = query
        self._options: Final = options or _Options()
        position = self._options.position
        self._begin: Place | None = None if position is None else _place_of(position)
        """Where the next walk begins."""
        self._cursor: Cursor | None = None
        self._fetching: Final = anyio.Lock()
        self._start: int | None = None
        self._end: int = 0
        self._rows: int = 0
        self._calls: int = 0
        self._missing_before: int | None = None

    @property
    def query(self) -> Query:
        """The list that is read."""
        return self._query

    @property
    def position(self) -> Position | None:
        """Where reading goes on behind the last row that was handed out; None before the first page."""
        place = self._reached()
        if place is None:
            return None
        return Position(query=self._query.digest, time=place.time, after=place.after, id=place.id, until=place.until)

    @property
    def missing_before(self) -> int | None:
        """Rows before this time, in milliseconds, are asked for and no longer kept; None if there are none.

        Known after the first page; `plan` returns it before.
        """
        return self._missing_before

    def options(
        self,
        *,
        position: Position | None = None,
        on_progress: Callable[[PageProgress], object] | None = None,
        priority: Priority | None = None,
    ) -> Pages[Row]:
        """Return the same list, to be read with other settings.

        Args:
            position: where to begin: the `position` of an earlier reading with the same arguments.
            on_progress: called after every response, with the progress so far.
            priority: the priority of the calls; by default BACKGROUND.

        Raises:
            ConfigurationError: the position belongs to another list, or was stored by another version.
        """
        try:
            check("position", position, Position | None)
            check("priority", priority, Priority | None)
            check("on_progress", on_progress, Callable[..., object] | None)
            if position is not None:
                _check_position(position, self._query)
        except ValueError as error:
            raise ConfigurationError(CallInfo("Pages.options", self._query.client.label), str(error)) from None
        given = {"position": position, "on_progress": on_progress, "priority": priority}
        chosen = {name: value for name, value in given.items() if value is not None}
        return Pages(self._query, msgspec.structs.replace(self._options, **chosen))

    async def plan(self, *, rows: int | None = None) -> HistoryPlan:
        """Return how many calls reading takes, which weight, how long, and what the exchange no longer keeps.

        Args:
            rows: how many rows are expected; without this number, there is no upper bound.

        Raises:
            ConfigurationError: the number of rows is not an integer, or below 0.
            PortfolioMarginError: the exchange's time was not known, and could not be read.
        """
        try:
            check("rows", rows, int | None)
            if rows is not None and rows < 0:
                raise ValueError(f"rows is {rows}: give 0 or more")  # noqa: TRY301 - handled like a wrong type
        except ValueError as error:
            raise ConfigurationError(CallInfo("Pages.plan", self._query.client.label), str(error)) from None
        now = await self._now()
        return plan_of(self._query, self._reached() or self._query.begin(now), now, rows)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Row:
        while (cursor := self._cursor) is None or not cursor.has_rows:
            if not await self._fetch():
                raise StopAsyncIteration
        return cursor.take()

    def _reached(self) -> Place | None:
        return self._begin if self._cursor is None else self._cursor.place

    async def _fetch(self) -> bool:
        """Request pages until there are rows; return False at the end of the list."""
        async with self._fetching:
            cursor = self._cursor or await self._open()
            # Another task may have fetched rows in the meantime.
            while not cursor.has_rows:
                page = None if cursor.request is None else await self._request(cursor.request)
                goes_on = self._step(cursor, page)
                if page is not None and self._options.on_progress is not None:
                    self._options.on_progress(self._progress(cursor))
                if not goes_on:
                    return False
            return True

    async def _open(self) -> Cursor:
        now = await self._now()
        query = self._query
        begin = self._begin or query.begin(now)
        if begin.time > now:
            raise ConfigurationError(query.info, f"reading would begin at {begin.time}, which is in the future")
        self._begin, self._start, self._end = begin, begin.time or None, query.end_at(now)
        self._missing_before = missing_before(query, begin, now)
        if self._missing_before is not None:
            since = datetime.fromtimestamp(self._missing_before / 1000, UTC)
            _log.warning("%s [%s]: rows before %s are no longer kept.", query.endpoint.name, query.client.label, since)
        self._cursor = cursor = Cursor(query.walk(begin, now), begin)
        return cursor

    async def _request(self, request: PageRequest) -> PageRows:
        method = self._query.method(self._options.priority)
        response = await method(**self._query.arguments(request))
        self._calls += 1
        return rows_of(request, response)

    def _step(self, cursor: Cursor, page: PageRows | None) -> bool:
        """Let the walk go on; return False at its end."""
        try:
            goes_on = cursor.step(page)
        except BaseException as error:
            # The next iteration begins a new walk at the position, and does not take this for the end.
            self._begin, self._cursor = cursor.place, None
            if isinstance(error, IncompleteError):
                raise HistoryIncomplete(self._query.info, str(error), advice=error.advice) from None
            raise
        if cursor.has_rows:
            self._rows += cursor.found_rows
            self._start = self._start or cursor.first_time
        return goes_on

    def _progress(self, cursor: Cursor) -> PageProgress:
        start, fraction = self._start, None
        if start is not None and self._end >= start:
            fraction = min(1.0, max(0.0, (cursor.covered - start) / (self._end - start + 1)))
        return PageProgress(rows=self._rows, calls=self._calls, fraction=fraction)

    async def _now(self) -> int:
        """Return the exchange's time in milliseconds: the earliest that it can be."""
        query = self._query
        clock = query.client.session.budget.clock(query.origin)
        if not clock.is_synchronised:
            client = query.client.options(priority=self._options.priority)
            await (client.server_time() if query.endpoint.family == "papi" else client.pro_server_time())
        return int(clock.bounds()[0] * 1000)


def _place_of(position: Position) -> Place:
    return Place(position.time, position.after, position.id, position.until)


def _check_position(position: Position, query: Query) -> None:
    """Refuse a position that is not of this list.

    Raises:
        ValueError: with the reason.
    """
    if position.version != _VERSION:
        raise ValueError(f"the position has version {position.version}: this version of the package reads {_VERSION}")
    is_by_id = isinstance(query.page, ById)
    key = (query.page.key,) if isinstance(query.page, ById) else query.page.key
    if (
        position.query != query.digest
        or (position.id is not None and not is_by_id)
        or len(position.after) not in {0, len(key)}
    ):
        raise ValueError("the position is of another endpoint, other arguments or another account")
    try:
        msgspec.convert(msgspec.to_builtins(position), Position)
    except msgspec.ValidationError as error:
        raise ValueError(f"the position was altered: {error}") from None
    kinds = {column.attribute: column.kind for column in columns_of(query.row_type)}
    types = [int if kinds[name] == "integer" else str for name in key]
    is_in_range = position.time >= 0 and (position.id is None or position.id >= 0)
    if not is_in_range or (position.after and [type(part) for part in position.after] != types):
        raise ValueError("the position was altered: its time, id or key cannot be that of a row")
