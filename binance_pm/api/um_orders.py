"""Orders of USD-M futures."""

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
    good_till_date,
    reduce_only,
    shapes,
    time_range,
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
    PriceMatch,
    SelfTradePreventionMode,
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
from binance_pm.wire import Milliseconds, Model, Time

UmTimeInForce: TypeAlias = Literal["GTC", "IOC", "FOK", "GTX", "GTD"]
"""How long a new USD-M order stays open; see `TimeInForce`."""

UmSelfTradePrevention: TypeAlias = Literal["EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH"]
"""Which of two matching orders of the same user expires."""


class NewUmOrder(FuturesOrderPlacement, total=False):
    """The parameters of a new USD-M order."""

    time_in_force: UmTimeInForce
    """How long a LIMIT order stays open. GTX is post only: the exchange refuses an order that would take."""
    self_trade_prevention_mode: UmSelfTradePrevention
    """Which order expires if the order would match another order of the same user, with IOC, GTC or GTD."""
    good_till_date: Time
    """When a GTD order is cancelled: at least ten minutes ahead, cut to whole seconds."""


class UmOrder(FuturesOrder, frozen=True):
    """One order on a USD-M symbol. `FuturesOrder` has the fields that all responses about it share."""

    self_trade_prevention_mode: SelfTradePreventionMode
    """What happens if the order matches another order of the same user."""
    good_till_date: Milliseconds
    """When a GTD order is cancelled; 0 for any other order."""
    orig_type: OrderType | None = None
    """The type with which the order was placed. None in the response to a placement or a cancel."""
    avg_price: Decimal | None = None
    """The average price of the fills. None in the response to a placement, change or cancel, since 2026-07."""
    cum_quote: Decimal | None = None
    """The value filled so far, in the quote asset. None in the same responses as `avg_price`."""
    cum_qty: Decimal | None = None
    """Equal to `executed_qty`. None in the response to a query."""
    time: Milliseconds | None = None
    """When the order was placed. None in the response to a placement, change or cancel."""
    price_match: PriceMatch | None = None
    """NONE if the order has a price of its own. None if it is missing, as in some real responses of 2024."""
    modify_id: int | None = None
    """The caller's own number for a change. None in other responses, and if the change was sent without one."""


class UmForceOrder(FuturesOrder, frozen=True):
    """An order that the exchange placed to reduce a USD-M position; see `FuturesOrder` for the other fields."""

    orig_type: OrderType
    """The type with which the order was placed."""
    avg_price: Decimal
    """The average price of the filled quantity."""
    cum_quote: Decimal
    """The value filled so far, in the quote asset."""
    time: Milliseconds
    """When the order was placed, in milliseconds since the epoch."""


class UmOrderAmendment(Model, frozen=True):
    """One change of a USD-M order."""

    amendment_id: int
    """The exchange's id of the change."""
    symbol: str
    """Such as ``BTCUSDT``."""
    pair: str
    """The symbol without the delivery date."""
    order_id: int
    """The exchange's id of the order."""
    client_order_id: str
    """The client id of the order."""
    time: Milliseconds
    """When the order was changed, in milliseconds since the epoch."""
    amendment: Amendment
    """What changed."""
    price_match: PriceMatch
    """NONE if the change gave a price."""


class UmTrade(Model, frozen=True):
    """One fill of a USD-M order."""

    symbol: str
    """Such as ``BTCUSDT``."""
    id: int
    """The exchange's id of the trade, unique for the symbol."""
    order_id: int
    """The order that was filled."""
    side: Side
    """Whether the order bought or sold."""
    position_side: PositionSide
    """Which position the trade changed: BOTH in one-way mode, LONG or SHORT in hedge mode."""
    price: Decimal
    """The price of the trade."""
    qty: Decimal
    """In units of the base asset."""
    quote_qty: Decimal
    """Price times quantity, in the quote asset."""
    realized_pnl: Decimal
    """The profit of the part of a position that the trade closed, without commission."""
    commission: Decimal
    """Positive if it was paid; a page of 2025 had the opposite sign."""
    commission_asset: str
    """The asset in which commission was paid."""
    time: Milliseconds
    """Milliseconds since the epoch."""
    buyer: bool
    """Whether the account bought."""
    maker: bool
    """Whether the order added liquidity."""
    margin_asset: str | None = None
    """None since 2024-07-17."""


_LONGEST_WINDOW = timedelta(days=7) - timedelta(milliseconds=1)
_WHICH_ORDER = at_least_one("order_id", "orig_client_order_id")
_NEW_ORDER = all_of(
    shapes(
        "type",
        {
            "LIMIT": Shape(("quantity", "price|price_match", "time_in_force"), ("good_till_date",)),
            "MARKET": Shape(("quantity",)),
        },
    ),
    good_till_date,
    reduce_only,
    client_id("new_client_order_id"),
)


class UmOrders(Namespace, name="um"):
    """Orders of USD-M futures."""

    @post(
        "/papi/v1/um/order",
        weights={LimitType.IP: 1, LimitType.ORDERS: 1},
        client_id="new_client_order_id",
        resolve=ByClientId(queries=("um.order",), lists=("um.open_orders",), trades="um.trades"),
        check=_NEW_ORDER,
    )
    async def new_order(self, **order: Unpack[NewUmOrder]) -> UmOrder:
        """Place a USD-M order.

        By default, the response only says that the order was accepted: its status is NEW even if the order was filled
        at once. With ``new_order_resp_type="RESULT"``, the response to a MARKET, IOC, FOK or GTX order is final. An
        order that the exchange refuses because of its time in force (-5021, -5022) has no record.

        Raises:
            RequestRejected: code -2019, margin is insufficient; code -4164, the notional is too small; code -4061, the
                position side does not fit the position mode; code -5022, a GTX order would have taken.
            OutcomeUnknown, NoResponse: the order may exist; its client id is that of the error.

        Source: https://developers.binance.com/en/docs/catalog/advanced-trading-derivatives-trading-portfolio-margin/api/rest-api/trade#new-um-order
        (read 2026-11-29)
        """
        ...

    @put(
        "/papi/v1/um/order",
        weights={LimitType.IP: 1, LimitType.ORDERS: 1},
        client_id="modify_id",
        resolve=ByAmendment(query="um.order", amendments="um.order_amendments"),
        check=all_of(_WHICH_ORDER, exactly_one("price", "price_match")),
    )
    async def modify_order(self, **change: Unpack[OrderChange]) -> UmOrder:
        """Change price and quantity of an open LIMIT order, which keeps its ids and loses its place in the queue.

        If a filter refuses the change, the order stays as it is. The order is cancelled if the new quantity is not
        above the filled quantity, or if a GTX order would take at the new price. An order can be changed 10000 times.

        Raises:
            RequestRejected: code -2013, the order is not open; code -5027, nothing would change.
            OutcomeUnknown, NoResponse: the change may have been made: ``modify_id`` finds it in the amendments.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/trade/Modify-UM-Order
        (read 2026-11-29)
        """
        ...

    @delete(
        "/papi/v1/um/order",
        weights=1,
        repeat="same_effect",
        resolve=ByOrder(queries=("um.order",)),
        check=_WHICH_ORDER,
    )
    async def cancel_order(self, symbol: str, **order: Unpack[OrderCancel]) -> UmOrder:
        """Cancel one open USD-M order. Fills that cross the cancel are in ``executed_qty``.

        Raises:
            RequestRejected: code -2011, the order is not open: it was filled, cancelled or expired, never existed, or
                has not arrived yet. `order()` tells which.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/trade/Cancel-UM-Order
        (read 2026-11-29)
        """
        ...

    @delete(
        "/papi/v1/um/allOpenOrders",
        weights=1,
        repeat="same_effect",
        resolve=ByOpenOrders("um.open_orders"),
    )
    async def cancel_all_orders(self, symbol: str, **options: Unpack[CallOptions]) -> Success:
        """Cancel all open orders of a USD-M symbol, except algo orders that wait for a price.

        The response does not list them: read the open orders afterwards.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/trade/Cancel-All-UM-Open-Orders
        (read 2026-11-29)
        """
        ...

    @get("/papi/v1/um/order", weights=1, check=_WHICH_ORDER)
    async def order(self, symbol: str, **order: Unpack[OrderQuery]) -> UmOrder:
        """One USD-M order in any state.

        Orders that were cancelled or expired without a fill are gone after three days. A query may lag behind the
        matching engine for seconds. If several orders had the client id, which of them is returned is not documented.

        Raises:
            RequestRejected: code -2013, there is no such order, not yet, or no longer; or another symbol has it.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/trade/Query-UM-Order
        (read 2026-11-29)
        """
        ...

    @get("/papi/v1/um/openOrder", weights=1, check=_WHICH_ORDER)
    async def open_order(self, symbol: str, **order: Unpack[OrderQuery]) -> UmOrder:
        """One open USD-M order.

        Raises:
            RequestRejected: code -2013, no such order is open.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/trade/Query-Current-UM-Open-Order
        (read 2026-11-29)
        """
        ...

    @get("/papi/v1/um/openOrders", weights=Weights(1, without={"symbol": 40}))
    async def open_orders(self, symbol: str | None = None, *, recv_window: int | None = None) -> list[UmOrder]:
        """Open USD-M orders of one symbol, or of every symbol at forty times the weight.

        Algo orders that wait for a price are not included. Orders of the last few milliseconds may be missing.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/trade/Query-All-Current-UM-Open-Orders
        (read 2026-11-29)
        """
        ...

    @get(
        "/papi/v1/um/allOrders",
        weights=5,
        page=ById(
            parameter="order_id",
            key="order_id",
            most=1000,
            kept=timedelta(days=90),
            unfilled=timedelta(days=3),
        ),
        check=time_range(_LONGEST_WINDOW),
    )
    async def all_orders(self, symbol: str, *, order_id: int | None = None, **window: Unpack[Window]) -> list[UmOrder]:
        """Orders of a USD-M symbol in any state, by ascending id.

        With ``order_id``, the response begins with this order; without it, the response has the most recent orders. A
        range of time is shorter than seven days, and the last seven days by default. ``limit`` is 500 by default and at
        most 1000. Orders that were cancelled or expired without a fill are gone after three days.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/trade/Query-All-UM-Orders
        (read 2026-11-29)
        """
        ...

    @get(
        "/papi/v1/um/orderAmendment",
        weights=1,
        security="TRADE",
        page=ByTime(key=("amendment_id",), most=1000),
        check=all_of(_WHICH_ORDER, time_range()),
    )
    async def order_amendments(
        self,
        symbol: str,
        *,
        order_id: int | None = None,
        orig_client_order_id: str | None = None,
        **window: Unpack[Window],
    ) -> list[UmOrderAmendment]:
        """Changes of one USD-M order, newest first. ``limit`` is 500 by default and at most 1000.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/trade/Query-UM-Modify-Order-History
        (read 2026-11-29)
        """
        ...

    @get(
        "/papi/v1/um/userTrades",
        weights=5,
        page=ById(parameter="from_id", most=1000, window=timedelta(days=7), kept=timedelta(days=92)),
        check=all_of(excludes("from_id", "start_time", "end_time"), time_range(timedelta(days=7))),
    )
    async def trades(self, symbol: str, *, from_id: int | None = None, **window: Unpack[Window]) -> list[UmTrade]:
        """Fills of the account on a USD-M symbol, by ascending id.

        With ``from_id``, the response begins with this trade. A range of time is at most seven days, and the last seven
        days by default. ``limit`` is 500 by default and at most 1000. The futures host keeps trades for three months.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/trade/UM-Account-Trade-List
        (read 2026-11-29)
        """
        ...

    @get(
        "/papi/v1/um/forceOrders",
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
    ) -> list[UmForceOrder]:
        """Orders that liquidation or automatic deleveraging placed, of one USD-M symbol or of every symbol.

        The client id begins with ``autoclose-`` for a liquidation, and with ``adl_autoclose`` for deleveraging. Without
        times, the response covers the seven days before ``end_time``; the exchange keeps 90 days. ``limit`` is 50 by
        default and at most 100.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/trade/Query-Users-UM-Force-Orders
        (read 2026-11-29)
        """
        ...
