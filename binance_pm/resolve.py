"""Finds out whether a write with an unknown outcome was executed.

What the exchange does: a request is executed only within ``recvWindow`` of its timestamp, so that after that moment
nothing of it can take effect. Queries lag behind the matching engine, usually by milliseconds and sometimes by seconds,
so a query that does not find an order right after its placement proves nothing.

What is guaranteed: ``done`` is read from a response or an event, and ``not_done`` from a response if anything was sent.
``not_found`` is returned only if every query responded and found nothing, 10 s after the exchange would have refused
the request; 4 s are enough if a user data stream of the account has been up all the time and has not shown the order.
Errors of queries never count as an answer.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar, cast

import anyio

from binance_pm.endpoint import ENDPOINTS, Endpoint
from binance_pm.errors import (
    AuthenticationError,
    CallInfo,
    ConfigurationError,
    PortfolioMarginError,
    RequestRejected,
    SentWrite,
    SessionClosed,
)
from binance_pm.resolution import (
    ByAmendment,
    ByClientId,
    ByOpenOrders,
    ByOrder,
    ByReading,
    ByValue,
    Resolution,
    WriteOutcome,
    advice_on,
)
from binance_pm.wire import Value, camel

if TYPE_CHECKING:
    from binance_pm.session import Session

_log = logging.getLogger(__name__)

T = TypeVar("T")

_LAG: Final = 10.0
"""Seconds after the expiry of a request for which queries may still miss its effect."""
_STREAM_LAG: Final = 4.0
"""The same if a user data stream has been up since before the request was sent, and has not shown the order."""
_QUERIES_AFTER_EVENT: Final = 4
"""How often an order that an event has shown is queried before the event itself is the result."""
_PAUSE_AFTER_EVENT: Final = 0.5
_PAUSES: Final = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
_LONGEST_PAUSE: Final = 8.0
_NOT_FOUND: Final = {-2013, -2026}
"""Codes of a query: there is no such order, or the order is archived."""
_NOT_OPEN: Final = -2011
"""Code of a cancel: no such order is open."""
AHEAD_MS: Final = 1_000
"""By how much a timestamp may be ahead of the exchange's clock."""
_NOT_YET: Final = "no query showed it so far, and the exchange may still execute it"
_OPEN: Final = {"NEW", "PARTIALLY_FILLED", "EXECUTING"}
# Any other state, also one that the exchange adds, decides nothing.
_ENDED: Final = {"FILLED", "EXPIRED", "EXPIRED_IN_MATCH", "REJECTED", "REJECT", "TRIGGERED", "FINISHED"}
_MOST_TRADES: Final = 1000
_MOST_ORDERS: Final = 20
"""How many orders of recent fills are queried: each has the priority of an order."""


def may_be_resolved(endpoint: Endpoint[Any], error: PortfolioMarginError) -> bool:
    """Return whether a query may show that the call succeeded although it raised the error."""
    if endpoint.resolve is None or isinstance(endpoint.resolve, ByReading):
        return False
    return error.outcome == "unknown" or _was_not_open(endpoint, error)


class OrderEvents(Protocol):
    """What the open user data streams of an account tell of one placement or cancel since the write was sent."""

    @property
    def order(self) -> Any:
        """The order as an event shows it; None if no event has shown it, or its end in the case of a cancel."""
        ...

    async def wait(self) -> None:
        """Wait for the first event that shows the order, or its end in the case of a cancel."""
        ...

    def is_watched_since(self, time: float) -> bool:
        """Return whether a stream has been up without a gap since a monotonic time."""
        ...


class OrderClient(Protocol):
    """The client of an account whose calls have the priority of orders."""

    label: Final[str]

    @property
    def key_id(self) -> str:
        """The name of the account in the budget."""
        ...

    @property
    def session(self) -> Session:
        """The session that the client is open on."""
        ...

    def origin(self, endpoint: Endpoint[Any]) -> str:
        """Return the origin of an endpoint."""
        ...

    async def call(self, endpoint: Endpoint[T], parameters: Mapping[str, Value | None]) -> T:
        """Call an endpoint."""
        ...


async def resolve_or_raise(
    resolve: Callable[[PortfolioMarginError], Awaitable[WriteOutcome]],
    endpoint: Endpoint[T],
    error: PortfolioMarginError,
) -> T:
    """Return the order that an unknown outcome turned out to be, or raise the error with what was found.

    If this is cancelled, the error is logged, so that no order is forgotten.
    """
    if not may_be_resolved(endpoint, error):
        raise error
    try:
        outcome = error.resolved = await resolve(error)
    except PortfolioMarginError as failure:
        raise error from failure
    except BaseException:
        _log.warning("%s", error)
        raise
    if outcome.state != "done" or not isinstance(outcome.result, endpoint.returns):
        raise error
    return outcome.result


async def find_out(
    client: OrderClient, error: PortfolioMarginError, *, give_up_after: float, events: OrderEvents | None = None
) -> WriteOutcome:
    """Return what became of the write that an error is about; see `Client.resolve`."""
    request = error.request
    if request is None and error.outcome == "not_done":
        return WriteOutcome(state="not_done", reason=error.reason)
    if request is None:
        raise ConfigurationError(
            CallInfo("Client.resolve", client.label), "the error is not about a write, or no client raised it"
        )
    if request.key_id != client.key_id:
        raise ConfigurationError(
            CallInfo("Client.resolve", client.label), f"the error is about the account {error.label}: ask its client"
        )
    endpoint = ENDPOINTS.get(error.endpoint)
    decided = _without_queries(endpoint, error, request)
    if decided is not None or endpoint is None or endpoint.resolve is None:
        return decided or WriteOutcome(state="still_unknown", reason=error.advice, client_id=request.client_id)
    search = _Search(client, endpoint, request, give_up_after=give_up_after)
    if isinstance(endpoint.resolve, ByClientId | ByOrder):
        search.events = events
    return await search.find(endpoint.resolve)


def _without_queries(
    endpoint: Endpoint[Any] | None, error: PortfolioMarginError, request: SentWrite
) -> WriteOutcome | None:
    """Return the outcome if the error itself shows it, or if no query could show it."""
    if error.outcome == "not_done" and not (endpoint and _was_not_open(endpoint, error)):
        return WriteOutcome(state="not_done", reason=error.reason, client_id=request.client_id)
    if endpoint is not None and isinstance(endpoint.resolve, ByReading):
        return WriteOutcome(state="still_unknown", reason=advice_on(endpoint.resolve))
    return None


def _was_not_open(endpoint: Endpoint[Any], error: PortfolioMarginError) -> bool:
    """Return whether a cancel was refused because the order is not open: it may be filled, or cancelled before."""
    return isinstance(endpoint.resolve, ByOrder) and isinstance(error, RequestRejected) and error.code == _NOT_OPEN


class _Search:
    """The search for the effect of one write."""

    def __init__(
        self, client: OrderClient, endpoint: Endpoint[Any], request: SentWrite, *, give_up_after: float
    ) -> None:
        self._client: Final = client
        self._session: Final = client.session
        self._info: Final = CallInfo(endpoint.name, client.label)
        self._clock: Final = self._session.budget.clock(client.origin(endpoint))
        self._request: Final = request
        self._started: Final = self._session.budget.monotonic()
        self._give_up_at: Final = self._started + give_up_after
        self._is_cancel: Final = isinstance(endpoint.resolve, ByOrder)
        self._looked_in: Final[dict[str, None]] = {}
        self._seen: Any = None
        """What a query showed that does not decide."""
        self.events: OrderEvents | None = None
        """What the streams of the account tell of the order; None without an open stream."""
        self._after_event: int = 0
        """How many queries have not shown what an event has shown."""

    async def find(self, by: Resolution) -> WriteOutcome:
        """Search as the endpoint declares."""
        match by:
            case ByClientId():
                return await self._run(lambda: self._by_client_id(by), lambda: self._in_lists(by))
            case ByAmendment():
                return await self._run(lambda: self._by_amendment(by), self._unchanged)
            case ByOrder():
                return await self._run(lambda: self._by_order(by), self._still_open)
            case ByOpenOrders():
                return await self._run(lambda: self._by_open_orders(by), self._unchanged)
            case ByValue():
                return await self._run(lambda: self._by_value(by), self._unchanged)
            case ByReading():
                return self._outcome("still_unknown", advice_on(by))

    async def _run(
        self,
        look: Callable[[], Awaitable[WriteOutcome | None]],
        conclude: Callable[[], Awaitable[WriteOutcome]],
    ) -> WriteOutcome:
        """Look again and again; conclude when every query has responded after the exchange's last moment.

        Args:
            look: makes the queries once; returns None if they do not decide.
            conclude: returns the outcome if the write has not shown itself by then.
        """
        pauses = itertools.chain(_PAUSES, itertools.repeat(_LONGEST_PAUSE))
        while True:
            await self._pause(next(pauses))
            is_last = self._remaining() <= 0
            failure: PortfolioMarginError | None = None
            try:
                outcome = await look()
                if outcome is None and is_last:
                    outcome = await conclude()
                if outcome is not None:
                    return outcome
            except (SessionClosed, ConfigurationError):
                raise
            except PortfolioMarginError as error:
                failure = error
            is_hopeless = isinstance(failure, AuthenticationError | RequestRejected)
            if is_hopeless or self._session.budget.monotonic() >= self._give_up_at:
                return self._by_event() or self._outcome(
                    "still_unknown", f"the last query failed: {failure}" if failure else _NOT_YET
                )

    async def _by_client_id(self, by: ByClientId) -> WriteOutcome | None:
        """Query a placement by its client id."""
        for name in by.queries:
            found = await self._ask(name, {by.parameter: self._request.client_id})
            if found is not None and self._is_ours(found, by):
                return self._outcome("done", f"{name} returned the order", found)
        return self._instead_of_queries()

    def _instead_of_queries(self) -> WriteOutcome | None:
        """Return the outcome by an event if some queries made after it did not show it: they may lag behind."""
        if (by_event := self._by_event()) is None:
            return None
        self._after_event += 1
        return by_event if self._after_event >= _QUERIES_AFTER_EVENT or self._remaining() <= 0 else None

    def _by_event(self) -> WriteOutcome | None:
        """Return the outcome if an event decides it."""
        order = None if self.events is None else self.events.order
        if order is None:
            return None
        if not self._is_cancel:
            return self._outcome("done", "the user data stream delivered an event of the order", order)
        state = "done" if order.status == "CANCELED" else "not_done"
        return self._outcome(state, f"the user data stream delivered an event: the order is {order.status}", order)

    async def _in_lists(self, by: ByClientId) -> WriteOutcome:
        """Search the open orders, and the orders of recent trades, for the client id."""
        for name in by.lists:
            for row in cast("list[Any]", await self._ask(name, {}) or ()):
                if self._is_ours(row, by):
                    return self._outcome("done", f"{name} lists the order", row)
        return await self._in_trades(by) or self._outcome(
            "not_found", "no query showed it until 10 s after the exchange would have refused the request"
        )

    async def _in_trades(self, by: ByClientId) -> WriteOutcome | None:
        """Search the orders of recent fills for the client id; return None if none of them has it."""
        if by.trades is None:
            return None
        since = (self._request.timestamp or 0) - AHEAD_MS
        trades = cast("list[Any]", await self._ask(by.trades, {"start_time": since, "limit": _MOST_TRADES}) or ())
        side = self._request.parameters.get("side")
        orders = list(dict.fromkeys(trade.order_id for trade in trades if _side_of(trade) == side))
        for order_id in orders[:_MOST_ORDERS]:
            order = await self._ask(by.queries[0], {"order_id": order_id})
            if order is not None and self._is_ours(order, by):
                return self._outcome("done", f"{by.trades} lists a fill of the order", order)
        if len(trades) >= _MOST_TRADES or len(orders) > _MOST_ORDERS:
            return self._outcome("still_unknown", f"{by.trades} lists more fills than were searched")
        return None

    async def _by_amendment(self, by: ByAmendment) -> WriteOutcome | None:
        """Query the amendments of an order for the id of the change, and the order for its price and quantity."""
        rows = cast("list[Any]", await self._ask(by.amendments, self._ids()) or ())
        order = self._seen = await self._ask(by.query, self._ids())
        if any(str(row.amendment.modify_id) == self._request.client_id for row in rows):
            return self._outcome("done", f"{by.amendments} lists the change", order)
        if order is None:
            return None
        asked = self._request.parameters
        # With a price match, the price that was asked for is not known.
        if _equal(order.orig_qty, asked.get("quantity")) and _equal(order.price, asked.get("price")):
            return self._outcome("done", f"{by.query} shows the new price and quantity", order)
        if order.status not in _OPEN:
            return self._outcome("not_done", f"the order is {order.status}", order)
        return None

    async def _by_order(self, by: ByOrder) -> WriteOutcome | None:
        """Query the order that a cancel was for."""
        self._seen = None
        for name in by.queries:
            order = await self._ask(name, self._ids(dict(by.parameters)))
            if order is None:
                continue
            status = _status_of(order)
            if status in _OPEN:
                self._seen = order
            elif status == "ALL_DONE":
                return await self._by_legs(by, order)
            elif status == "CANCELED" or status in _ENDED:
                state = "done" if status == "CANCELED" else "not_done"
                return self._outcome(state, f"the order is {status}", order)
            break
        return self._instead_of_queries()

    async def _by_legs(self, by: ByOrder, order_list: Any) -> WriteOutcome | None:
        """Query the orders of an order list that is no longer open."""
        for leg in order_list.orders:
            order = await self._ask(by.legs, {"symbol": leg.symbol, "order_id": leg.order_id}) if by.legs else None
            if order is None:
                return None
            if order.status in _ENDED:
                return self._outcome("not_done", f"order {leg.order_id} of the list is {order.status}", order_list)
        return self._outcome("done", "all orders of the list are CANCELED", order_list)

    async def _by_open_orders(self, by: ByOpenOrders) -> WriteOutcome | None:
        """Query the open orders of the symbol that are older than the cancel."""
        sent_at = self._request.timestamp or 0
        rows = cast("list[Any]", await self._ask(by.query, {}) or ())
        self._seen = [row for row in rows if (_created(row) or 0) <= sent_at + AHEAD_MS]
        # The list may miss orders of the last moments.
        is_late = self._clock.bounds()[0] >= sent_at / 1000 + 1
        if self._seen or not is_late:
            return None
        return self._outcome("done", f"{by.query} lists no order from before the cancel", self._seen)

    async def _by_value(self, by: ByValue) -> WriteOutcome | None:
        """Query the value of a setting."""
        self._seen = None
        response = await self._ask(by.query, {})
        symbol = self._request.parameters.get("symbol")
        rows = cast("list[Any]", response if isinstance(response, list) else [response])
        asked = None if by.parameter is None else self._request.parameters.get(camel(by.parameter))
        for row in rows:
            if row is None or (symbol is not None and getattr(row, "symbol", symbol) != symbol):
                continue
            self._seen = row
            value = getattr(row, by.field)
            if value is None if by.parameter is None else _equal(value, asked):
                return self._outcome("done", f"{by.query} shows the new value", row)
        return None

    async def _unchanged(self) -> WriteOutcome:
        """Conclude that a change had no effect."""
        if self._seen is None:
            return self._outcome("not_found", "the query shows nothing of what was to be changed")
        return self._outcome("not_done", "nothing had changed when it could no longer be executed", self._seen)

    async def _still_open(self) -> WriteOutcome:
        """Conclude that an order was not cancelled, or cannot be found."""
        if self._seen is None:
            return self._outcome("not_found", "no query shows the order in a known state")
        return self._outcome("not_done", "the order is still open: cancel it again", self._seen)

    async def _ask(self, name: str, arguments: Mapping[str, Any]) -> Any:
        """Call a query with these arguments and the symbol of the write; return None if it knows no such order."""
        endpoint = ENDPOINTS[name]
        symbol = self._request.parameters.get("symbol")
        given = {"symbol": symbol} | {one: value for one, value in arguments.items() if value is not None}
        parameters = {endpoint.wire_names[one]: value for one, value in given.items() if one in endpoint.wire_names}
        try:
            found = await self._client.call(endpoint.for_parameters(parameters), parameters)
        except RequestRejected as error:
            if error.code not in _NOT_FOUND:
                raise
            found = None
        self._looked_in[name] = None
        return found

    def _ids(self, renamed: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Return the arguments of the write that identify its order, by the names of the query."""
        names = ("order_id", "orig_client_order_id", "algo_id", "client_algo_id", "strategy_id")
        others = ("new_client_strategy_id", "order_list_id", "list_client_order_id")
        given = {name: self._request.parameters.get(camel(name)) for name in (*names, *others)}
        return {(renamed or {}).get(name, name): value for name, value in given.items()}

    def _is_ours(self, found: Any, by: ByClientId) -> bool:
        """Return whether an order is the one that was placed, and not an earlier order with the same client id."""
        if getattr(found, by.field) != self._request.client_id:
            return False
        created = _created(found)
        return created is None or created >= (self._request.timestamp or 0) - AHEAD_MS

    def _remaining(self) -> float:
        """Return the seconds until the write must have shown itself."""
        timestamp = self._request.timestamp or 0
        low, high = self._clock.bounds()
        sent_at = self._session.budget.monotonic() - (high - timestamp / 1000)
        is_watched = self.events is not None and self.events.is_watched_since(sent_at)
        return (self._request.expires_at or timestamp) / 1000 + (_STREAM_LAG if is_watched else _LAG) - low

    async def _pause(self, seconds: float) -> None:
        """Wait, but not beyond the last moment, not longer than the caller allows, and not after the first event."""
        if (remaining := self._remaining()) > 0:
            seconds = min(seconds, max(remaining, _PAUSES[1]))
        seconds = min(seconds, self._give_up_at - self._session.budget.monotonic())
        if seconds <= 0:
            return
        sleep = self._session.budget.sleep
        if self.events is None:
            pause = sleep(seconds)
        elif self._by_event() is None:
            pause = first_of(lambda: sleep(seconds), self.events.wait)
        else:
            pause = sleep(min(seconds, _PAUSE_AFTER_EVENT))
        await self._session.bounded(self._info, pause)

    def _outcome(self, state: Any, reason: str, result: Any = None) -> WriteOutcome:
        return WriteOutcome(
            state=state,
            reason=reason,
            result=result,
            client_id=self._request.client_id,
            looked_in=tuple(self._looked_in),
            seconds=self._session.budget.monotonic() - self._started,
        )


async def first_of(*waits: Callable[[], Awaitable[None]]) -> None:
    """Wait for the first of several."""

    async def one(wait: Callable[[], Awaitable[None]], scope: anyio.CancelScope) -> None:
        await wait()
        scope.cancel()

    async with anyio.create_task_group() as tasks:
        for wait in waits:
            tasks.start_soon(one, wait, tasks.cancel_scope)


def _created(order: Any) -> int | None:
    """Return when an order was placed; None if the response does not say."""
    times = (getattr(order, name, None) for name in ("time", "create_time", "book_time", "transaction_time"))
    return next((time for time in times if time), None)


def _side_of(trade: Any) -> str:
    """Return the side of a fill; fills of cross margin have a flag instead."""
    return str(trade.side) if hasattr(trade, "side") else "BUY" if trade.is_buyer else "SELL"


def _status_of(order: Any) -> str:
    # The status of a conditional order is that of the order that it has become, if it has triggered.
    names = ("strategy_status", "algo_status", "list_order_status", "status")
    return str(next(getattr(order, name) for name in names if hasattr(order, name)))


def _equal(value: object, asked: object) -> bool:
    """Return whether a received value is the one that was sent, whatever the spelling of its number."""
    if asked is None:
        return False
    try:
        return Decimal(str(value)) == Decimal(str(asked))
    except InvalidOperation:
        return str(value).lower() == str(asked).lower()
