"""Reads the parts of one account into its state."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from binance_pm.endpoint import ENDPOINTS, Endpoint
from binance_pm.errors import RequestRejected
from binance_pm.stream.live_state import LiveState
from binance_pm.stream.live_structs import LiveConditionalOrder, LiveOrder, Market, conditional_of_row, order_of_row
from binance_pm.stream.merge import FIRST_LAG, ReadTimes
from binance_pm.stream.parts import Part, reads_by_symbol
from binance_pm.wire import Value

if TYPE_CHECKING:
    from binance_pm.session import Session

T = TypeVar("T")

_MARKETS: Final[Mapping[Part, Market]] = {"um.orders": "um", "cm.orders": "cm", "margin.orders": "margin"}
_MOST_READS: Final = 3
"""How often a part is read at most, while its rows differ from events that arrived just before the gap ended."""
_NOT_FOUND: Final = {-2013, -2026}
"""Codes of a query: there is no such order, or the order is archived."""
_CERTAIN_MS: Final = 60_000
"""An order that no query finds has ended if its last change is older than this; queries may lag behind newer ones."""


class ReadClient(Protocol):
    """The client of an account."""

    @property
    def session(self) -> Session:
        """The session that the client is open on."""
        ...

    async def call(self, endpoint: Endpoint[T], parameters: Mapping[str, Value | None], /) -> T:
        """Call an endpoint."""
        ...


class PartReader:
    """Reads the parts of one account into its state.

    Args:
        state: what the responses are merged into.
        symbols: the symbols whose orders are read; None for all.
        clock: monotonic seconds.
        times: returns the times of a request that is sent now; the argument says whether the read is a repeated one.
    """

    def __init__(
        self,
        state: LiveState,
        symbols: Collection[str] | None,
        clock: Callable[[], float],
        times: Callable[[bool], ReadTimes],
    ) -> None:
        self._state: Final = state
        self._symbols: Final = symbols
        self._clock: Final = clock
        self._times: Final = times

    async def read(self, client: ReadClient, part: Part, read: ReadTimes) -> None:
        """Read a part and merge the responses; read again what could not be decided.

        Args:
            client: makes the calls.
            part: what is read.
            read: the times of the first request.

        Raises:
            PortfolioMarginError: a call failed.
        """
        for _ in range(_MOST_READS - 1):
            if await self._read_once(client, part, read):
                return
            await client.session.budget.sleep(FIRST_LAG)
            read = self._times(read.is_repeated)
        await self._read_once(client, part, read)

    async def _read_once(self, client: ReadClient, part: Part, read: ReadTimes) -> bool:
        """Read a part; return whether everything was decided."""
        match part:
            case "um.positions" | "cm.positions":
                return await self._read_positions(client, "um" if part == "um.positions" else "cm", read)
            case "margin.balances":
                rows = await _call(client, "balance")
                return self._state.read_margin(rows, read, self._clock())
            case "um.orders" | "cm.orders" | "margin.orders":
                await self._read_orders(client, _MARKETS[part], read)
            case "risk":
                self._state.read_risk(await _call(client, "account"))
        return True

    async def _read_positions(self, client: ReadClient, market: Market, read: ReadTimes) -> bool:
        account = await _call(client, f"{market}_account")
        risks = await _call(client, f"{market}.position_risk")
        return self._state.read_positions(market, account, risks, read, self._clock())

    async def _read_orders(self, client: ReadClient, market: Market, read: ReadTimes) -> None:
        rows = [row async for row in self._lists(client, f"{market}.open_orders")]
        for order in self._state.read_orders(market, rows, read, self._clock()):
            await self._query_order(client, order, is_repeated=read.is_repeated)
        if market == "margin":
            return
        name = "um.open_algo_orders" if market == "um" else "cm.open_conditional_orders"
        times = self._times(read.is_repeated)
        rows = [row async for row in self._lists(client, name)]
        for order in self._state.read_conditional(market, rows, times, self._clock()):
            await self._query_conditional(client, order, is_repeated=read.is_repeated)

    async def _lists(self, client: ReadClient, name: str) -> AsyncIterator[Any]:
        """Yield the open orders, by symbol if that weighs less."""
        by_symbol = self._symbols is not None and reads_by_symbol(self._symbols) and not name.startswith("margin")
        for symbol in self._symbols or () if by_symbol else (None,):
            for row in await _call(client, name, {"symbol": symbol}):
                yield row

    async def _query_order(self, client: ReadClient, order: LiveOrder, *, is_repeated: bool) -> None:
        times = self._times(is_repeated)
        row = await _query(client, f"{order.market}.order", {"symbol": order.symbol, "order_id": order.order_id})
        if row is None:
            self._end_if_old(order, times)
        elif (found := order_of_row(order.market, row)) is not None:
            self._state.read_order(found, times, self._clock())

    async def _query_conditional(self, client: ReadClient, order: LiveConditionalOrder, *, is_repeated: bool) -> None:
        times = self._times(is_repeated)
        if order.market == "um":
            row = await _query(client, "um.algo_order", {"algo_id": order.id})
        else:
            ids = {"symbol": order.symbol, "strategy_id": order.id}
            row = await _query(client, "cm.conditional_order_history", ids)
        if row is None:
            self._end_if_old(order, times)
        else:
            self._state.read_conditional_order(conditional_of_row(row), times, self._clock())

    def _end_if_old(self, order: LiveOrder | LiveConditionalOrder, times: ReadTimes) -> None:
        if order.update_time < times.sent_time - _CERTAIN_MS:
            self._state.end_order(order, self._clock())


async def _call(client: ReadClient, name: str, arguments: Mapping[str, Value | None] | None = None) -> Any:
    endpoint = ENDPOINTS[name]
    given = {} if arguments is None else {endpoint.wire_names[one]: value for one, value in arguments.items()}
    return await client.call(endpoint, {one: value for one, value in given.items() if value is not None})


async def _query(client: ReadClient, name: str, arguments: Mapping[str, Value | None]) -> Any:
    """Return an order, or None if the exchange knows no such order."""
    try:
        return await _call(client, name, arguments)
    except RequestRejected as error:
        if error.code not in _NOT_FOUND:
            raise
        return None
