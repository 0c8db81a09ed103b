"""What a live account consists of, made from events and from responses.

Every Struct is frozen: a change makes a new one. Sizes on COIN-M are contracts. There is no profit and no mark price:
the stream does not update them when prices move.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final, Literal

import msgspec

from binance_pm.api.account import CmPosition, UmPosition
from binance_pm.api.cm import CmPositionRisk
from binance_pm.api.cm_conditional_orders import CmConditionalOrder, StrategyStatus
from binance_pm.api.futures_events import AlgoUpdate, BusinessUnit, OrderTradeUpdate, PositionUpdate, StrategyUpdate
from binance_pm.api.margin_events import ExecutionReport
from binance_pm.api.margin_orders import MarginOrder, MarginOrderType
from binance_pm.api.orders import FuturesOrder, OrderStatus, OrderType, Side, TimeInForce, TriggerType
from binance_pm.api.um import UmPositionRisk
from binance_pm.api.um_algo_orders import AlgoStatus, UmAlgoOrder
from binance_pm.enums import PositionSide
from binance_pm.stream.merge import Version

Market = Literal["um", "cm", "margin"]
"""USD-M futures, COIN-M futures, or cross margin: the namespace of the client."""

PositionKey = tuple[Market, str, PositionSide]
OrderKey = tuple[Market, str, int]
"""Market, symbol, order id."""
ConditionalKey = tuple[Market, int]
"""Market, and the id of the algo order or the strategy."""

ENDED: Final = frozenset({"FILLED", "CANCELED", "REJECTED", "EXPIRED", "EXPIRED_IN_MATCH"})
"""The states of an order that never changes again."""
CONDITIONAL_ENDED: Final = frozenset({"TRIGGERED", "FINISHED", "CANCELED", "EXPIRED", "REJECTED"})
"""The states of a conditional order that no longer waits for its price."""
_FORCED: Final = ("autoclose-", "adl_autoclose", "settlement_autoclose-")
"""Prefixes of the client order ids of the exchange's own orders."""


class _Entity(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Base of what a live account consists of."""


class LivePosition(_Entity, frozen=True, kw_only=True):
    """One position."""

    market: Market
    """``um`` or ``cm``."""
    symbol: str
    """Such as ``BTCUSDT`` or ``BTCUSD_PERP``."""
    position_side: PositionSide
    """BOTH in one-way mode, LONG or SHORT in hedge mode."""
    position_amt: Decimal
    """In units of the base asset on USD-M, in contracts on COIN-M; negative for a short position; 0 once closed."""
    entry_price: Decimal | None
    """The average entry price; None until a response or an event has it."""
    break_even_price: Decimal | None
    """Price without profit or loss, fees included; None as for `entry_price`."""
    update_time: int
    """When the position last changed, in milliseconds since the epoch."""

    @property
    def key(self) -> PositionKey:
        """What identifies the position."""
        return self.market, self.symbol, self.position_side

    @property
    def version(self) -> Version:
        """How new this state is."""
        return Version(self.update_time)


class LiveBalance(_Entity, frozen=True, kw_only=True):
    """What the account holds and owes in one asset, in units of the asset; None for what is not known."""

    asset: str
    """Such as ``USDT``."""
    um_wallet_balance: Decimal | None = None
    """The USD-M wallet in cross margin, without unrealised profit."""
    cm_wallet_balance: Decimal | None = None
    """The COIN-M wallet in cross margin, without unrealised profit."""
    cross_margin_free: Decimal | None = None
    """Available in cross margin."""
    cross_margin_locked: Decimal | None = None
    """Held for open margin orders."""
    cross_margin_liability: Decimal | None = None
    """Principal and interest owed."""


class LiveOrder(_Entity, frozen=True, kw_only=True):
    """One order."""

    market: Market
    """Where the order was placed."""
    symbol: str
    """Such as ``BTCUSDT``."""
    order_id: int
    """The exchange's id of the order, unique for the symbol."""
    client_order_id: str
    """The caller's own id."""
    side: Side
    """Whether the order buys or sells."""
    position_side: PositionSide | None
    """Which position the order changes; None on margin."""
    type: OrderType | MarginOrderType
    """The type of the order now."""
    time_in_force: TimeInForce
    """How long the order stays open."""
    reduce_only: bool
    """Whether the order may only reduce a position."""
    price: Decimal
    """The limit price; 0 for a market order."""
    orig_qty: Decimal
    """The quantity ordered."""
    executed_qty: Decimal
    """The quantity filled so far."""
    status: OrderStatus
    """The state of the order."""
    update_time: int
    """When the order last changed, in milliseconds since the epoch."""

    @property
    def is_open(self) -> bool:
        """Whether the order may still change."""
        return self.status not in ENDED

    @property
    def key(self) -> OrderKey:
        """What identifies the order."""
        return self.market, self.symbol, self.order_id

    @property
    def version(self) -> Version:
        """How new this state is."""
        return Version(self.update_time, self.executed_qty)


class LiveConditionalOrder(_Entity, frozen=True, kw_only=True):
    """One order that waits for a price: an algo order on USD-M, a conditional order on COIN-M."""

    market: Market
    """``um`` or ``cm``."""
    symbol: str
    """Such as ``BTCUSDT``."""
    id: int
    """The exchange's id: ``algo_id`` on USD-M, ``strategy_id`` on COIN-M."""
    client_id: str
    """The caller's own id."""
    side: Side
    """Whether the order buys or sells."""
    position_side: PositionSide
    """Which position the order changes."""
    type: TriggerType
    """What the order waits for, and what it becomes."""
    time_in_force: TimeInForce
    """How long the triggered order stays open."""
    reduce_only: bool
    """Whether the order may only reduce a position."""
    price: Decimal
    """The limit price of the triggered order; 0 if it is a market order."""
    trigger_price: Decimal
    """The price that triggers the order; meaningless for a trailing order on COIN-M."""
    orig_qty: Decimal
    """The quantity ordered; 0 if the order closes the whole position."""
    status: AlgoStatus | StrategyStatus
    """The state of the order."""
    update_time: int
    """When the order last changed, in milliseconds since the epoch."""

    @property
    def is_open(self) -> bool:
        """Whether the order still waits for its price."""
        return self.status not in CONDITIONAL_ENDED

    @property
    def key(self) -> ConditionalKey:
        """What identifies the order."""
        return self.market, self.id

    @property
    def version(self) -> Version:
        """How new this state is."""
        return Version(self.update_time)


def market_of(unit: BusinessUnit) -> Literal["um", "cm"]:
    """Return the market of a futures event."""
    return "cm" if unit is BusinessUnit.CM else "um"


def position_of_event(market: Market, update: PositionUpdate, time: int) -> LivePosition:
    """Return the position of an event."""
    return LivePosition(
        market=market,
        symbol=update.symbol,
        position_side=update.position_side,
        position_amt=update.position_amt,
        entry_price=update.entry_price,
        break_even_price=update.break_even_price,
        update_time=time,
    )


def position_of_row(market: Market, row: UmPositionRisk | CmPositionRisk | UmPosition | CmPosition) -> LivePosition:
    """Return the position of a row; `UmAccount` has no prices."""
    return LivePosition(
        market=market,
        symbol=row.symbol,
        position_side=row.position_side,
        position_amt=row.position_amt,
        entry_price=getattr(row, "entry_price", None),
        break_even_price=getattr(row, "break_even_price", None),
        update_time=row.update_time,
    )


def client_order_id_of(event: ExecutionReport) -> str:
    """Return the client order id of a margin order; the report of a cancel also has the id of the cancel."""
    return event.orig_client_order_id or event.client_order_id


def order_of_event(event: OrderTradeUpdate | ExecutionReport) -> LiveOrder | None:
    """Return the order of an event; None if it is the exchange's own order, such as a liquidation."""
    order = event.order if isinstance(event, OrderTradeUpdate) else event
    client_order_id = client_order_id_of(event) if isinstance(event, ExecutionReport) else order.client_order_id
    if client_order_id.startswith(_FORCED):
        return None
    return LiveOrder(
        market=market_of(event.business_unit) if isinstance(event, OrderTradeUpdate) else "margin",
        symbol=order.symbol,
        order_id=order.order_id,
        client_order_id=client_order_id,
        side=order.side,
        position_side=event.order.position_side if isinstance(event, OrderTradeUpdate) else None,
        type=order.type,
        time_in_force=order.time_in_force,
        reduce_only=isinstance(event, OrderTradeUpdate) and event.order.reduce_only,
        price=order.price,
        orig_qty=order.orig_qty,
        executed_qty=order.executed_qty,
        status=order.status,
        update_time=event.transaction_time,
    )


def order_of_row(
    market: Market, row: FuturesOrder | MarginOrder, *, otherwise_at: int | None = None
) -> LiveOrder | None:
    """Return the order of a row; None if the row does not show its state, or is the exchange's own order.

    Args:
        market: where the order was placed.
        row: as decoded.
        otherwise_at: the update time of a row that has none, such as the response to a cancel on margin.
    """
    # The response to a cancel on margin also has the id of the cancel.
    client_order_id = getattr(row, "orig_client_order_id", None) or row.client_order_id
    if client_order_id.startswith(_FORCED):
        return None
    time = row.update_time if row.update_time is not None else getattr(row, "transact_time", None)
    time = otherwise_at if time is None else time
    known: dict[str, Any] = {
        name: getattr(row, name)
        for name in ("side", "type", "time_in_force", "price", "orig_qty", "executed_qty", "status")
    }
    if time is None or None in known.values():
        return None
    is_futures = isinstance(row, FuturesOrder)
    return LiveOrder(
        market=market,
        symbol=row.symbol,
        order_id=row.order_id,
        client_order_id=client_order_id,
        position_side=row.position_side if is_futures else None,
        reduce_only=is_futures and row.reduce_only,
        update_time=time,
        **known,
    )


def conditional_of_event(event: AlgoUpdate) -> LiveConditionalOrder:
    """Return the algo order of an event."""
    algo = event.algo
    return LiveConditionalOrder(
        market=market_of(event.business_unit),
        symbol=algo.symbol,
        id=algo.algo_id,
        client_id=algo.client_algo_id,
        side=algo.side,
        position_side=algo.position_side,
        type=algo.order_type,
        time_in_force=algo.time_in_force,
        reduce_only=algo.reduce_only,
        price=algo.price,
        trigger_price=algo.trigger_price,
        orig_qty=algo.quantity,
        status=algo.status,
        update_time=event.transaction_time,
    )


def conditional_of_strategy(market: Market, order: StrategyUpdate) -> LiveConditionalOrder:
    """Return the conditional order of an event."""
    return LiveConditionalOrder(
        market=market,
        symbol=order.symbol,
        id=order.strategy_id,
        client_id=order.client_strategy_id,
        side=order.side,
        position_side=order.position_side,
        type=order.strategy_type,
        time_in_force=order.time_in_force,
        reduce_only=order.reduce_only,
        price=order.price,
        trigger_price=order.stop_price,
        orig_qty=order.orig_qty,
        status=order.strategy_status,
        update_time=order.update_time,
    )


def conditional_of_row(row: UmAlgoOrder | CmConditionalOrder) -> LiveConditionalOrder:
    """Return the conditional order of a row."""
    is_algo = isinstance(row, UmAlgoOrder)
    return LiveConditionalOrder(
        market="um" if is_algo else "cm",
        symbol=row.symbol,
        id=row.algo_id if is_algo else row.strategy_id,
        client_id=row.client_algo_id if is_algo else row.new_client_strategy_id,
        side=row.side,
        position_side=row.position_side,
        type=row.order_type if is_algo else row.strategy_type,
        time_in_force=row.time_in_force,
        reduce_only=row.reduce_only,
        price=row.price,
        trigger_price=row.trigger_price if is_algo else row.stop_price,
        orig_qty=row.quantity if is_algo else row.orig_qty,
        status=row.algo_status if is_algo else row.strategy_status,
        update_time=row.update_time,
    )
