"""Events of cross margin on the user data stream."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, ClassVar

from msgspec import field

from binance_pm.api.futures_events import ExecutionType, StreamEvent, identified_by
from binance_pm.api.margin_ocos import ContingencyType, ListOrderStatus, ListStatusType
from binance_pm.api.margin_orders import MarginOrderType
from binance_pm.api.orders import OrderStatus, SelfTradePreventionMode, Side, TimeInForce
from binance_pm.enums import OpenEnum
from binance_pm.wire import Milliseconds, Model


class LiabilityType(OpenEnum):
    """Why the debt of an asset changed. The page names BORROW alone."""

    BORROW = "BORROW"


class ExecutionReport(StreamEvent, frozen=True, kw_only=True, tag="executionReport"):
    """A margin order was placed, filled or ended; quantities in units of the base asset unless stated otherwise.

    Source: https://developers.binance.com/docs/derivatives/portfolio-margin/user-data-streams/Event-Margin-Order-Update
    (read 2026-11-29)
    """

    _identify: ClassVar[Callable[[Any], tuple[Any, ...]]] = identified_by(
        "symbol", "order_id", "execution_id", "execution_type", "trade_id"
    )

    symbol: str = field(name="s")
    """Such as ``BTCUSDT``."""
    client_order_id: str = field(name="c")
    """The caller's own id of the order; in a report of CANCELED, the id of the request to cancel the order."""
    side: Side = field(name="S")
    """Whether the order buys or sells."""
    type: MarginOrderType = field(name="o")
    """The type of the order."""
    time_in_force: TimeInForce = field(name="f")
    """How long the order stays open."""
    orig_qty: Decimal = field(name="q")
    """The quantity ordered."""
    price: Decimal = field(name="p")
    """The limit price; 0 for a market order."""
    stop_price: Decimal = field(name="P")
    """The price that triggers the order; 0 if the order has no trigger."""
    trailing_delta: int | None = field(name="d", default=None)
    """How far the price must reverse to trigger the order, in hundredths of a percent; only for trailing orders."""
    iceberg_qty: Decimal | None = field(name="F", default=None)
    """The quantity shown in the order book; only for iceberg orders."""
    order_list_id: int = field(name="g")
    """The order list that the order belongs to; -1 if the order belongs to no list."""
    orig_client_order_id: str = field(name="C")
    """The caller's own id of an order that was cancelled; empty in other reports."""
    execution_type: ExecutionType = field(name="x")
    """What happened."""
    status: OrderStatus = field(name="X")
    """The state of the order afterwards."""
    reject_reason: str = field(name="r")
    """Why the order was refused; ``NONE`` if the order was not refused."""
    order_id: int = field(name="i")
    """The exchange's id of the order, unique for the symbol."""
    last_filled_qty: Decimal = field(name="l")
    """The quantity of this fill; 0 if the event is not a fill."""
    executed_qty: Decimal = field(name="z")
    """The quantity filled so far."""
    last_filled_price: Decimal = field(name="L")
    """The price of this fill; 0 if the event is not a fill."""
    commission: Decimal = field(name="n")
    """The commission of this fill."""
    commission_asset: str | None = field(name="N")
    """The asset of the commission; None if there was none."""
    transaction_time: Milliseconds = field(name="T")
    """When the event happened, in milliseconds since the epoch."""
    trade_id: int = field(name="t")
    """The id of this fill, unique for the symbol; -1 if the event is not a fill."""
    prevented_match_id: int | None = field(name="v", default=None)
    """The id of a match that self-trade prevention prevented; only in reports about one, as the fields below."""
    execution_id: int = field(name="I")
    """A number that grows with every report of the order."""
    is_working: bool = field(name="w")
    """Whether the order is in the order book."""
    is_maker: bool = field(name="m")
    """Whether the order was in the order book when it was filled."""
    order_time: Milliseconds = field(name="O")
    """When the order was placed, in milliseconds since the epoch."""
    cum_quote_qty: Decimal = field(name="Z")
    """The value of all fills so far, in units of the quote asset."""
    last_quote_qty: Decimal = field(name="Y")
    """The value of this fill, in units of the quote asset."""
    quote_order_qty: Decimal | None = field(name="Q", default=None)
    """The value that a market order spends or receives, in units of the quote asset; 0 or absent for other orders."""
    trailing_time: Milliseconds | None = field(name="D", default=None)
    """When a trailing order was activated, in milliseconds since the epoch; only for trailing orders."""
    strategy_id: int | None = field(name="j", default=None)
    """The caller's own number of a strategy; only if it was sent."""
    strategy_type: int | None = field(name="J", default=None)
    """The caller's own type of a strategy; only if it was sent."""
    working_time: Milliseconds | None = field(name="W", default=None)
    """When the order entered the order book, in milliseconds since the epoch; absent before."""
    self_trade_prevention_mode: SelfTradePreventionMode = field(name="V")
    """Which order expires if it would match another order of the same user."""
    trade_group_id: int | None = field(name="u", default=None)
    """The group of accounts between which trades are prevented."""
    counter_order_id: int | None = field(name="U", default=None)
    """The order that would have been matched."""
    prevented_qty: Decimal | None = field(name="A", default=None)
    """The quantity prevented so far."""
    last_prevented_qty: Decimal | None = field(name="B", default=None)
    """The quantity prevented by this event."""
    counter_symbol: str | None = field(name="Cs", default=None)
    """The symbol of the order that would have been matched; since 2026-04-09, as the next three."""
    prevented_execution_qty: Decimal | None = field(name="pl", default=None)
    """The quantity of the prevented match."""
    prevented_execution_price: Decimal | None = field(name="pL", default=None)
    """The price of the prevented match."""
    prevented_execution_quote_qty: Decimal | None = field(name="pY", default=None)
    """The value of the prevented match, in units of the quote asset."""
    expiry_reason: str | None = field(name="eR", default=None)
    """Why the order expired, as a number; only for expired orders, since 2026-04-09."""


class ListLeg(Model, frozen=True, kw_only=True):
    """The ids of an order of a list."""

    symbol: str = field(name="s")
    """Such as ``BTCUSDT``."""
    order_id: int = field(name="i")
    """The exchange's id of the order, unique for the symbol."""
    client_order_id: str = field(name="c")
    """The caller's own id of the order, or the id that the exchange generated."""


class ListStatus(StreamEvent, frozen=True, kw_only=True, tag="listStatus"):
    """An order list of cross margin was placed, changed or ended.

    The page of Portfolio Margin does not name the event; the fields are those of spot and plain margin.

    Source: https://developers.binance.com/docs/binance-spot-api-docs/user-data-stream
    (read 2026-11-30)
    """

    _identify: ClassVar[Callable[[Any], tuple[Any, ...]]] = identified_by(
        "symbol", "order_list_id", "list_status_type", "list_order_status", "transaction_time"
    )

    symbol: str = field(name="s")
    """Such as ``BTCUSDT``."""
    order_list_id: int = field(name="g")
    """The exchange's id of the list."""
    contingency_type: ContingencyType = field(name="c")
    """How the orders of the list depend on each other."""
    list_status_type: ListStatusType = field(name="l")
    """What happened to the list."""
    list_order_status: ListOrderStatus = field(name="L")
    """The state of the orders of the list."""
    reject_reason: str = field(name="r")
    """Why the list was refused; ``NONE`` if the list was not refused."""
    list_client_order_id: str = field(name="C")
    """The caller's own id of the list."""
    transaction_time: Milliseconds = field(name="T")
    """When the event happened, in milliseconds since the epoch."""
    orders: tuple[ListLeg, ...] = field(name="O")
    """The orders of the list."""


class MarginBalanceUpdate(Model, frozen=True, kw_only=True):
    """The balance of one asset in cross margin, in units of the asset, without debt."""

    asset: str = field(name="a")
    """The asset."""
    free: Decimal = field(name="f")
    """The amount that is not locked by orders."""
    locked: Decimal = field(name="l")
    """The amount that open orders lock."""


class OutboundAccountPosition(StreamEvent, frozen=True, kw_only=True, tag="outboundAccountPosition"):
    """The new state of margin balances that may have changed.

    Source: https://developers.binance.com/docs/derivatives/portfolio-margin/user-data-streams/Event-Margin-Account-Update
    (read 2026-11-29)
    """

    _identify: ClassVar[Callable[[Any], tuple[Any, ...]]] = identified_by("last_update_time", "update_id")

    last_update_time: Milliseconds = field(name="u")
    """When the account last changed, in milliseconds since the epoch."""
    update_id: int = field(name="U")
    """A number that grows with every change of the account."""
    balances: tuple[MarginBalanceUpdate, ...] = field(name="B")
    """The assets that may have changed; any other asset is unchanged."""


class BalanceUpdate(StreamEvent, frozen=True, kw_only=True, tag="balanceUpdate"):
    """A deposit, withdrawal or transfer changed a margin balance.

    The event is a difference: never add it to a balance. The `OutboundAccountPosition` of the same change has the
    result.

    Source: https://developers.binance.com/en/docs/products/derivatives-trading-portfolio-margin/user-data-streams
    (read 2026-11-29)
    """

    _identify: ClassVar[Callable[[Any], tuple[Any, ...]]] = identified_by("asset", "update_id", "clear_time", "delta")

    asset: str = field(name="a")
    """The asset."""
    delta: Decimal = field(name="d")
    """The change in units of the asset; negative for a loss."""
    update_id: int = field(name="U")
    """A number that grows with every change of the account."""
    clear_time: Milliseconds = field(name="T")
    """When the change happened, in milliseconds since the epoch."""


class LiabilityChange(StreamEvent, frozen=True, kw_only=True, tag="liabilityChange"):
    """The debt of one asset changed; amounts in units of the asset.

    Source: https://developers.binance.com/docs/derivatives/portfolio-margin/user-data-streams/Event-Liability-Update
    (read 2026-11-29)
    """

    _identify: ClassVar[Callable[[Any], tuple[Any, ...]]] = identified_by("asset", "type", "transaction_id")

    asset: str = field(name="a")
    """The asset."""
    type: LiabilityType = field(name="t")
    """Why the debt changed."""
    transaction_id: int = field(name="T")
    """The id of the transaction; not a time."""
    principal: Decimal = field(name="p")
    """The principal of this transaction."""
    interest: Decimal = field(name="i")
    """The interest of this transaction."""
    total_liability: Decimal = field(name="l")
    """The whole debt afterwards."""


class OrderLoss(Model, frozen=True, kw_only=True):
    """The possible loss of open orders in one asset."""

    asset: str = field(name="a")
    """The asset."""
    amount: Decimal = field(name="o")
    """In units of the asset; a loss is negative."""


class OpenOrderLoss(StreamEvent, frozen=True, kw_only=True, tag="openOrderLoss"):
    """The current possible loss of open margin orders.

    Source: https://developers.binance.com/en/docs/products/derivatives-trading-portfolio-margin/user-data-streams
    (read 2026-11-29)
    """

    _identify: ClassVar[Callable[[Any], tuple[Any, ...]]] = identified_by("event_time", "losses")

    losses: tuple[OrderLoss, ...] = field(name="O")
    """The losses by asset."""
