"""Places orders through a live account: the response or the first event of an order says that it exists.

What is guaranteed: `PlacedOrder` is returned as soon as the response or an event shows the order, whichever comes
first, and follows the order until it has ended. If the outcome is unknown, events and queries decide it, as described
in `binance_pm.resolve`: an order counts as not placed only if the queries sent after its request had expired have not
found it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol, Unpack, cast

import anyio

from binance_pm.api.cm import Cm
from binance_pm.api.margin import Margin
from binance_pm.api.orders import OrderStatus
from binance_pm.api.um import Um
from binance_pm.endpoint import ENDPOINTS, Endpoint
from binance_pm.errors import PortfolioMarginError
from binance_pm.stream.live_state import LiveState
from binance_pm.stream.live_structs import LiveOrder, Market, order_of_row
from binance_pm.stream.merge import ReadTimes
from binance_pm.wire import Value

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from binance_pm.api.cm_orders import NewCmOrder
    from binance_pm.api.margin_orders import NewMarginOrder
    from binance_pm.api.um_orders import NewUmOrder
    from binance_pm.resolution import WriteOutcome


class PlacingClient(Protocol):
    """The client of the account."""

    async def call(
        self,
        endpoint: Endpoint[Any],
        parameters: Mapping[str, Value | None],
        /,
        *,
        check: bool = True,
        resolve: bool | None = None,
    ) -> Any:
        """Call an endpoint."""
        ...

    async def resolve(self, error: PortfolioMarginError) -> WriteOutcome:
        """Find out whether a write was executed."""
        ...

    def with_client_id(
        self, endpoint: Endpoint[Any], parameters: Mapping[str, Value | None], /
    ) -> Mapping[str, Value | None]:
        """Return the parameters with a client id."""
        ...


class PlacedOrder:
    """An order that was placed through a live account, which keeps its state up to date while it is open.

    Args:
        placing: the market of the live account that the order was placed in.
        symbol: such as ``BTCUSDT``.
        client_order_id: the caller's own id, or the one that the client created.
    """

    def __init__(self, placing: Placing, symbol: str, client_order_id: str) -> None:
        self._placing: Final = placing
        self.symbol: Final = symbol
        self.client_order_id: Final = client_order_id
        """The caller's own id, or the one that the client created."""
        self.others: frozenset[int] = frozenset()
        """The ids of earlier orders with the same client order id."""
        self._order: LiveOrder | None = None
        self._shown: Final = anyio.Event()
        self._ended: Final = anyio.Event()
        self._error: BaseException | None = None

    def __repr__(self) -> str:
        return f"PlacedOrder({self.symbol}, {self.client_order_id}, {self.status})"

    @property
    def order(self) -> LiveOrder:
        """The order as it is known now."""
        assert self._order is not None, "handed out when the order is known"  # noqa: S101 - for the type checker
        return self._order

    @property
    def status(self) -> OrderStatus:
        """The state of the order as it is known now."""
        return self.order.status

    async def ended(self) -> LiveOrder:
        """Wait until the order is filled, cancelled, expired or rejected; return its last state.

        After a gap of the stream, a read shows what happened to the order.

        Raises:
            SessionClosed: the live account was closed before.
        """
        await self._ended.wait()
        if self._error is not None:
            raise self._error
        return self.order

    async def cancel(self) -> LiveOrder:
        """Cancel the order, and return it as it is known afterwards.

        Raises:
            RequestRejected: code -2011, the order is not open any more: `ended` tells how it ended.
            PortfolioMarginError: as for ``cancel_order`` of the client.
        """
        await self._placing.cancel(self)
        return self.order

    def show(self, order: LiveOrder) -> None:
        """Record what an event or a response shows; another order with the same client order id is ignored."""
        if self._order is not None and self._order.order_id != order.order_id:
            return
        if self._order is None or (self._order.is_open and order.version >= self._order.version):
            self._order = order
        self._shown.set()
        if not self._order.is_open:
            self._ended.set()

    def fail(self, error: BaseException) -> None:
        """Record that the order was not placed, or that the live account was closed."""
        self._error = error
        self._shown.set()
        self._ended.set()

    async def placed(self) -> None:
        """Wait until the response or an event shows the order.

        Raises:
            PortfolioMarginError: the order was not placed, or it is not known whether it was.
        """
        await self._shown.wait()
        if self._order is None and self._error is not None:
            raise self._error


class Placing:
    """Places orders in one market of a live account.

    Args:
        client: makes the calls.
        market: ``um``, ``cm`` or ``margin``.
        state: the state of the account.
        tasks: the tasks of the live account.
        times: returns the times of a request that is sent now.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        client: PlacingClient,
        market: Market,
        state: LiveState,
        tasks: TaskGroup,
        times: Callable[[], ReadTimes],
        clock: Callable[[], float],
    ) -> None:
        self._client: Final = client
        self._market: Final[Market] = market
        self._state: Final = state
        self._tasks: Final = tasks
        self._times: Final = times
        self._clock: Final = clock
        self._placed: Final[dict[tuple[str, str], list[PlacedOrder]]] = {}
        """The orders that have not ended, by symbol and client order id; a repeated id may be refused later."""

    async def call(
        self,
        endpoint: Endpoint[Any],
        parameters: Mapping[str, Value | None],
        /,
        *,
        check: bool = True,
        resolve: bool | None = None,  # noqa: ARG002 - a live account always finds out
    ) -> Any:
        """Place an order: what the namespaces of the client call."""
        if self._market == "margin":
            # The default response does not show the state of the order.
            parameters = {"newOrderRespType": "RESULT", **{k: v for k, v in parameters.items() if v is not None}}
        parameters = self._client.with_client_id(endpoint, parameters)
        client_order_id = str(parameters[endpoint.wire_names[endpoint.client_id or ""]])
        placed = PlacedOrder(self, str(parameters["symbol"]), client_order_id)
        placed.others = frozenset(
            order.order_id for order in self._state.open_orders if order.client_order_id == client_order_id
        )
        self._placed.setdefault((placed.symbol, client_order_id), []).append(placed)
        scope = anyio.CancelScope()
        self._tasks.start_soon(self._send, scope, endpoint, parameters, placed, check)
        try:
            await placed.placed()
        except BaseException:
            scope.cancel()
            self._forget(placed)
            raise
        return placed

    async def cancel(self, placed: PlacedOrder) -> None:
        """Cancel an order."""
        endpoint = ENDPOINTS[f"{self._market}.cancel_order"]
        times = self._times()
        row = await self._client.call(endpoint, {"symbol": placed.symbol, "origClientOrderId": placed.client_order_id})
        at = max(times.sent_time, placed.order.update_time)
        self._respond(order_of_row(self._market, row, otherwise_at=at), times)

    def observe(self, order: LiveOrder) -> None:
        """Record a change of an order of the account."""
        for placed in tuple(self._placed.get((order.symbol, order.client_order_id), ())):
            if order.order_id not in placed.others:
                placed.show(order)
                if not placed.order.is_open:
                    self._forget(placed)

    def close(self, error: BaseException) -> None:
        """End the waits for orders that have not ended."""
        for placed in [one for alike in self._placed.values() for one in alike]:
            placed.fail(error)
        self._placed.clear()

    async def _send(
        self,
        scope: anyio.CancelScope,
        endpoint: Endpoint[Any],
        parameters: Mapping[str, Value | None],
        placed: PlacedOrder,
        check: bool,  # noqa: FBT001 - start_soon passes no keywords
    ) -> None:
        times = self._times()
        with scope:
            try:
                row = await self._client.call(endpoint, parameters, check=check, resolve=False)
            except PortfolioMarginError as error:
                row = await self._found_out(error, placed)
            if row is not None:
                self._respond(row if isinstance(row, LiveOrder) else order_of_row(self._market, row), times)

    async def _found_out(self, error: PortfolioMarginError, placed: PlacedOrder) -> Any:
        """Return the order of a placement that failed; None if it was not placed, or if that is not known."""
        if error.outcome == "unknown":
            try:
                outcome = error.resolved = await self._client.resolve(error)
            except PortfolioMarginError as failure:
                error.add_note(str(failure))
            else:
                if outcome.state == "done":
                    return outcome.result
        self._forget(placed)
        placed.fail(error)
        return None

    def _respond(self, order: LiveOrder | None, times: ReadTimes) -> None:
        if order is not None:
            # The state reports the order only if the response is news.
            self._state.read_order(order, times, self._clock())
            self.observe(order)

    def _forget(self, placed: PlacedOrder) -> None:
        key = (placed.symbol, placed.client_order_id)
        others = [one for one in self._placed.get(key, ()) if one is not placed]
        if others:
            self._placed[key] = others
        else:
            self._placed.pop(key, None)


class LiveUm:
    """USD-M futures of a live account, as ``live.um``."""

    def __init__(self, placing: Placing) -> None:
        self._placing: Final = placing

    async def new_order(self, **order: Unpack[NewUmOrder]) -> PlacedOrder:
        """Place an order with the keywords of ``client.um.new_order``.

        Raises:
            PortfolioMarginError: as for ``client.um.new_order``. If the outcome was unknown, ``error.resolved`` has
                what events and queries have shown.
        """
        return cast("Any", await Um(self._placing).new_order(**order))


class LiveCm:
    """COIN-M futures of a live account, as ``live.cm``."""

    def __init__(self, placing: Placing) -> None:
        self._placing: Final = placing

    async def new_order(self, **order: Unpack[NewCmOrder]) -> PlacedOrder:
        """Place an order with the keywords of ``client.cm.new_order``.

        Raises:
            PortfolioMarginError: as for `LiveUm.new_order`.
        """
        return cast("Any", await Cm(self._placing).new_order(**order))


class LiveMargin:
    """Cross margin of a live account, as ``live.margin``."""

    def __init__(self, placing: Placing) -> None:
        self._placing: Final = placing

    async def new_order(self, **order: Unpack[NewMarginOrder]) -> PlacedOrder:
        """Place an order with the keywords of ``client.margin.new_order``.

        Raises:
            PortfolioMarginError: as for `LiveUm.new_order`.
        """
        return cast("Any", await Margin(self._placing).new_order(**order))
