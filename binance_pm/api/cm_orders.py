"""Orders of COIN-M futures."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Literal, TypeAlias, Unpack

from binance_pm.api.checks import (
    Shape,
    all_of,
    at_least_one,
    client_id,
    exactly_one,
    excludes,
    reduce_only,
    shapes,
    time_range,
    whole,
)
from binance_pm.api.orders import (
    Amendment,
    CallOptions,
    FuturesOrder,
    FuturesOrderPlacement,
    OrderCancel,
    OrderChange,
    OrderQuery,
    OrderType,
    SentAutoCloseType,
    Side,
    Success,
    Window,
)
from binance_pm.declaration import Namespace, delete, get, post, put
from binance_pm.endpoint import Weights
from binance_pm.enums import PositionSide
from binance_pm.limits import LimitType, Priority
from binance_pm.paging import ById, ByTime
from binance_pm.resolution import ByAmendment, ByClientId, ByOpenOrders, ByOrder
from binance_pm.wire import Milliseconds, Model

CmTimeInForce: TypeAlias = Literal["GTC", "IOC", "FOK", "GTX"]
"""How long a new COIN-M order stays open; see `TimeInForce`."""


class NewCmOrder(FuturesOrderPlacement, total=False):
    """The parameters of a new COIN-M order."""

    time_in_force: CmTimeInForce
    """How long a LIMIT order stays open. GTX is post only: the exchange refuses an order that would take."""


class CmOrder(FuturesOrder, frozen=True):
    """One order on a COIN-M symbol. `FuturesOrder` has the fields that all responses about it share."""

    pair: str
    """The symbol without the delivery date, such as ``BTCUSD``."""
    orig_type: OrderType | None = None
    """The type with which the order was placed. None in the response to a placement or a cancel."""
    avg_price: Decimal | None = None
    """The average price of the fills. None in the response to a placement, change or cancel, since 2026-07."""
    cum_base: Decimal | None = None
    """The value filled so far, in the coin of the symbol. None in the same responses as `avg_price`."""
    cum_qty: Decimal | None = None
    """Equal to `executed_qty`. None in the response to a query."""
    time: Milliseconds | None = None
    """When the order was placed. None in the response to a placement, change or cancel."""
    modify_id: int | None = None
    """The caller's own number for a change. None in other responses, and if the change was sent without one."""


class CmForceOrder(FuturesOrder, frozen=True):
    """An order that the exchange placed to reduce a COIN-M position; see `FuturesOrder` for the other fields."""

    pair: str
    """The symbol without the delivery date, such as ``BTCUSD``."""
    orig_type: OrderType
    """The type with which the order was placed."""
    avg_price: Decimal
    """The average price of the filled quantity."""
    cum_base: Decimal
    """The value filled so far, in the coin of the symbol."""
    time: Milliseconds
    """When the order was placed, in milliseconds since the epoch."""


class CmOrderAmendment(Model, frozen=True):
    """One change of a COIN-M order."""

    amendment_id: int
    """The exchange's id of the change."""
    symbol: str
    """Such as ``BTCUSD_PERP``."""
    pair: str
    """The symbol without the delivery date, such as ``BTCUSD``."""
    order_id: int
    """The exchange's id of the order."""
    client_order_id: str
    """The client id of the order."""
    time: Milliseconds
    """When the order was changed, in milliseconds since the epoch."""
    amendment: Amendment
    """What changed."""


class CmTrade(Model, frozen=True):
    """One fill of a COIN-M order."""

    symbol: str
    """Such as ``BTCUSD_PERP``."""
    pair: str
    """The symbol without the delivery date, such as ``BTCUSD``."""
    id: int
    """The exchange's id of the trade, unique for the symbol."""
    order_id: int
    """The order that was filled."""
    side: Side
    """Whether the order bought or sold."""
    position_side: PositionSide
    """Which position the trade changed: BOTH in one-way mode, LONG or SHORT in hedge mode."""
    price: Decimal
    """The price of the trade, in USD."""
    qty: Decimal
    """In contracts."""
    base_qty: Decimal
    """The value of the contracts at the price, in the coin of the symbol."""
    realized_pnl: Decimal
    """The profit of the part of a position that the trade closed, in the margin asset, without commission."""
    margin_asset: str
    """Such as ``BTC``."""
    commission: Decimal
    """Positive if it was paid."""
    commission_asset: str
    """The asset in which commission was paid."""
    time: Milliseconds
    """Milliseconds since the epoch."""
    buyer: bool
    """Whether the account bought."""
    maker: bool
    """Whether the order added liquidity."""


_WHICH_ORDER = at_least_one("order_id", "orig_client_order_id")
_NEW_ORDER = all_of(
    shapes(
        "type",
        {"LIMIT": Shape(("quantity", "price|price_match", "time_in_force")), "MARKET": Shape(("quantity",))},
    ),
    whole("quantity"),
    reduce_only,
    client_id("new_client_order_id"),
)


class CmOrders(Namespace, name="cm"):
    """Orders of COIN-M futures."""

    @post(
        "/papi/v1/cm/order",
        weights={LimitType.IP: 1, LimitType.ORDERS: 1},
        client_id="new_client_order_id",
        resolve=ByClientId(queries=("cm.order",), lists=("cm.open_orders",), trades="cm.trades"),
        check=_NEW_ORDER,
    )
    async def new_order(self, **order: Unpack[NewCmOrder]) -> CmOrder:
        """Place a COIN-M order. Quantities count contracts.

        By default, the response only says that the order was accepted: its status is NEW even if the order was filled
        at once. With ``new_order_resp_type="RESULT"``, the response to a MARKET, IOC, FOK or GTX order is final. An
        order that the exchange refuses because of its time in force (-5021, -5022) has no record. Self-trade prevention
        is that of USD-M.

        Raises:
            RequestRejected: code -2019, margin is insufficient; code -4061, the position side does not fit the position
                mode; code -5022, a GTX order would have taken.
            OutcomeUnknown, NoResponse: the order may exist; its client id is that of the error.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/trade/New-CM-Order
        (read 2026-11-29)
        """
        ...

    @put(
        "/papi/v1/cm/order",
        weights={LimitType.IP: 1, LimitType.ORDERS: 1},
        client_id="modify_id",
        resolve=ByAmendment(query="cm.order", amendments="cm.order_amendments"),
        check=all_of(_WHICH_ORDER, exactly_one("price", "price_match"), whole("quantity")),
    )
    async def modify_order(self, **change: Unpack[OrderChange]) -> CmOrder:
        """Change price and quantity of an open LIMIT order, which keeps its ids and loses its place in the queue.

        If a filter refuses the change, the order stays as it is. The order is cancelled if the new quantity is not
        above the filled quantity, or if a GTX order would take at the new price. An order can be changed 10000 times.

        Raises:
            RequestRejected: code -2013, the order is not open; code -5027, nothing would change.
            OutcomeUnknown, NoResponse: the change may have been made: ``modify_id`` finds it in the amendments.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/trade/Modify-CM-Order
        (read 2026-11-29)
        """
        ...

    @delete(
        "/papi/v1/cm/order",
        weights=1,
        repeat="same_effect",
        resolve=ByOrder(queries=("cm.order",)),
        check=_WHICH_ORDER,
    )
    async def cancel_order(self, symbol: str, **order: Unpack[OrderCancel]) -> CmOrder:
        """Cancel one open COIN-M order. Fills that cross the cancel are in ``executed_qty``.

        Raises:
            RequestRejected: code -2011, the order is not open: it was filled, cancelled or expired, never existed, or
                has not arrived yet. `order()` tells which.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/trade/Cancel-CM-Order
        (read 2026-11-29)
        """
        ...

    @delete("/papi/v1/cm/allOpenOrders", weights=1, repeat="same_effect", resolve=ByOpenOrders("cm.open_orders"))
    async def cancel_all_orders(self, symbol: str, **options: Unpack[CallOptions]) -> Success:
        """Cancel all open orders of a COIN-M symbol, except conditional orders that wait for a price.

        The response does not list them: read the open orders afterwards.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/trade/Cancel-All-CM-Open-Orders
        (read 2026-11-29)
        """
        ...

    @get("/papi/v1/cm/order", weights=1, check=_WHICH_ORDER)
    async def order(self, symbol: str, **order: Unpack[OrderQuery]) -> CmOrder:
        """One COIN-M order in any state.

        Orders that were cancelled or expired without a fill are gone after three days. A query may lag behind the
        matching engine for seconds. If several orders had the client id, which of them is returned is not documented.

        Raises:
            RequestRejected: code -2013, there is no such order, not yet, or no longer; or another symbol has it.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/trade/Query-CM-Order
        (read 2026-11-29)
        """
        ...

    @get("/papi/v1/cm/openOrder", weights=1, single=True, check=_WHICH_ORDER)
    async def open_order(self, symbol: str, **order: Unpack[OrderQuery]) -> CmOrder:
        """One open COIN-M order.

        Raises:
            RequestRejected: code -2013, no such order is open.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/trade/Query-Current-CM-Open-Order
        (read 2026-11-29)
        """
        ...

    @get("/papi/v1/cm/openOrders", weights=Weights(1, without={"symbol": 40}))
    async def open_orders(
        self, symbol: str | None = None, pair: str | None = None, *, recv_window: int | None = None
    ) -> list[CmOrder]:
        """Open COIN-M orders of one symbol or, at forty times the weight, of a pair or of every symbol.

        Conditional orders that wait for a price are not included. Orders of the last few milliseconds may be missing.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/trade/Query-All-Current-CM-Open-Orders
        (read 2026-11-29)
        """
        ...

    @get(
        "/papi/v1/cm/allOrders",
        weights=Weights(20, without={"symbol": 40}),
        page=ById(
            parameter="order_id",
            key="order_id",
            most=100,
            kept=timedelta(days=90),
            unfilled=timedelta(days=3),
        ),
        check=all_of(exactly_one("symbol", "pair"), time_range()),
    )
    async def all_orders(
        self,
        symbol: str | None = None,
        pair: str | None = None,
        *,
        order_id: int | None = None,
        **window: Unpack[Window],
    ) -> list[CmOrder]:
        """Orders of a COIN-M symbol or, at twice the weight, of a pair, in any state, by ascending id.

        With ``order_id``, the response begins with this order; without it, the response has the most recent orders.
        ``limit`` is 50 by default and at most 100. Orders that were cancelled or expired without a fill are gone after
        three days.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/trade/Query-All-CM-Orders
        (read 2026-11-29)
        """
        ...

    @get(
        "/papi/v1/cm/orderAmendment",
        weights=1,
        security="TRADE",
        page=ByTime(key=("amendment_id",), most=100),
        check=all_of(_WHICH_ORDER, time_range()),
    )
    async def order_amendments(
        self,
        symbol: str,
        *,
        order_id: int | None = None,
        orig_client_order_id: str | None = None,
        **window: Unpack[Window],
    ) -> list[CmOrderAmendment]:
        """Changes of one COIN-M order, newest first. ``limit`` is 50 by default and at most 100.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/trade/Query-CM-Modify-Order-History
        (read 2026-11-29)
        """
        ...

    @get(
        "/papi/v1/cm/userTrades",
        weights=Weights(20, without={"symbol": 40}),
        page=ById(parameter="from_id", most=1000, window=timedelta(days=1), kept=timedelta(days=92)),
        check=all_of(
            exactly_one("symbol", "pair"),
            excludes("from_id", "pair", "start_time", "end_time"),
            time_range(timedelta(days=1)),
        ),
    )
    async def trades(
        self,
        symbol: str | None = None,
        pair: str | None = None,
        *,
        from_id: int | None = None,
        **window: Unpack[Window],
    ) -> list[CmTrade]:
        """Fills of the account on a COIN-M symbol or, at twice the weight, on a pair, by ascending id.

        With ``from_id``, which needs a symbol, the response begins with this trade. A range of time is at most 24
        hours, and the last 24 hours by default. ``limit`` is 50 by default and at most 1000.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/trade/CM-Account-Trade-List
        (read 2026-11-29)
        """
        ...

    @get(
        "/papi/v1/cm/forceOrders",
        weights=Weights(20, without={"symbol": 50}),
        priority=Priority.BACKGROUND,
        page=ByTime(key=("order_id",), most=100, window=timedelta(days=7), kept=timedelta(days=90)),
        check=time_range(),
    )
    async def force_orders(
        self,
        symbol: str | None = None,
        *,
        auto_close_type: SentAutoCloseType | None = None,
        **window: Unpack[Window],
    ) -> list[CmForceOrder]:
        """Orders that liquidation or automatic deleveraging placed, of one COIN-M symbol or of every symbol.

        The client id begins with ``autoclose-`` for a liquidation, and with ``adl_autoclose`` for deleveraging. Without
        times, the response covers the seven days before ``end_time``; the exchange keeps 90 days. ``limit`` is 50 by
        default and at most 100.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/trade/Query-Users-CM-Force-Orders
        (read 2026-11-29)
        """
        ...
