"""Orders of USD-M futures."""

from __future__ import annotations

from decimal import Decimal

from binance_pm.api.orders import (
    OrderStatus,
    OrderType,
    PriceMatch,
    SelfTradePreventionMode,
    Side,
    TimeInForce,
)
from binance_pm.declaration import Namespace, get
from binance_pm.endpoint import Weights
from binance_pm.enums import PositionSide
from binance_pm.wire import Milliseconds, Model


class UmOrder(Model, frozen=True):
    """One order on a USD-M symbol; quantities in units of the base asset."""

    symbol: str
    """Such as ``BTCUSDT``."""
    order_id: int
    """The exchange's id of the order, unique for the symbol."""
    client_order_id: str
    """The caller's own id, unique among open orders only; the exchange generates one if none was given."""
    side: Side
    """Whether the order buys or sells."""
    position_side: PositionSide
    """Which position the order changes: BOTH in one-way mode, LONG or SHORT in hedge mode."""
    type: OrderType
    """The type of the order now."""
    orig_type: OrderType
    """The type with which the order was placed; LIMIT for a liquidation."""
    time_in_force: TimeInForce
    """How long the order stays open."""
    reduce_only: bool
    """Whether the order may only reduce a position."""
    price: Decimal
    """The limit price; 0 for a market order."""
    avg_price: Decimal
    """The average price of the filled quantity; 0 if nothing was filled."""
    orig_qty: Decimal
    """The quantity ordered."""
    executed_qty: Decimal
    """The quantity filled so far."""
    cum_quote: Decimal
    """The value filled so far, in the quote asset."""
    status: OrderStatus
    """The state of the order."""
    self_trade_prevention_mode: SelfTradePreventionMode
    """What happens if the order matches another order of the same user."""
    good_till_date: Milliseconds
    """When a GTD order is cancelled; 0 for any other order."""
    time: Milliseconds
    """When the order was placed, in milliseconds since the epoch."""
    update_time: Milliseconds
    """When the order last changed, in milliseconds since the epoch."""
    price_match: PriceMatch | None = None
    """None if it is missing, as in some real responses of 2024."""


class UmOrders(Namespace, name="um"):
    """Orders of USD-M futures."""

    @get("/papi/v1/um/openOrders", weights=Weights(1, without={"symbol": 40}))
    async def open_orders(self, symbol: str | None = None, *, recv_window: int | None = None) -> list[UmOrder]:
        """Open USD-M orders of one symbol, or of every symbol at forty times the weight.

        Conditional orders that have not triggered are not included. Orders of the last few milliseconds may be
        missing.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/trade/Query-All-Current-UM-Open-Orders
        (read 2026-11-29)
        """
        ...
