"""Events of USD-M and COIN-M futures on the user data stream.

The exchange documents these events for both products; ``business_unit`` tells them apart.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from operator import attrgetter
from typing import Any, ClassVar

from msgspec import field

from binance_pm.api.cm_conditional_orders import StrategyStatus
from binance_pm.api.orders import (
    OrderStatus,
    OrderType,
    PriceMatch,
    SelfTradePreventionMode,
    Side,
    TimeInForce,
    TriggerType,
    WorkingType,
)
from binance_pm.api.um_algo_orders import AlgoStatus, AlgoType
from binance_pm.enums import OpenEnum, PositionSide
from binance_pm.wire import Milliseconds, Model


def identified_by(*names: str) -> Callable[[Any], tuple[Any, ...]]:
    """Return a function from an event to its identity: its type and these attributes."""
    return attrgetter("event_type", *names)


class StreamEvent(Model, frozen=True, kw_only=True, tag_field="e"):
    """Base of every event of a user data stream."""

    _identify: ClassVar[Callable[[Any], tuple[Any, ...]]] = identified_by("event_time")

    event_time: Milliseconds = field(name="E")
    """When the exchange pushed the event, in milliseconds since the epoch."""

    @property
    def event_type(self) -> str:
        """The exchange's name of the event, such as ``ORDER_TRADE_UPDATE``."""
        return str(self.__struct_config__.tag)

    @property
    def identity(self) -> tuple[Any, ...]:
        """A hashable value that is equal for two deliveries of the same event, and differs between events."""
        return self._identify(self)


class BusinessUnit(OpenEnum):
    """The futures product that an event is about."""

    UM = "UM"
    """USD-M futures."""
    CM = "CM"
    """COIN-M futures."""


class ExecutionType(OpenEnum):
    """What happened to an order."""

    NEW = "NEW"
    """The order was accepted."""
    CANCELED = "CANCELED"
    """The order was cancelled by its owner."""
    REPLACED = "REPLACED"
    """Documented for margin orders only; the exchange does not use it now."""
    REJECTED = "REJECTED"
    """The order was refused; margin orders only."""
    TRADE = "TRADE"
    """A part of the order, or all of it, was filled."""
    CALCULATED = "CALCULATED"
    """The exchange placed the order: a liquidation, or automatic deleveraging."""
    EXPIRED = "EXPIRED"
    """The order ended by its own rules, or the exchange ended it."""
    AMENDMENT = "AMENDMENT"
    """Price or quantity of the order was changed; futures only."""
    TRADE_PREVENTION = "TRADE_PREVENTION"
    """Self-trade prevention ended the order, or reduced it; margin orders only."""


class AccountUpdateReason(OpenEnum):
    """Why balances or positions changed."""

    DEPOSIT = "DEPOSIT"
    WITHDRAW = "WITHDRAW"
    ORDER = "ORDER"
    """An order was filled."""
    FUNDING_FEE = "FUNDING_FEE"
    WITHDRAW_REJECT = "WITHDRAW_REJECT"
    ADJUSTMENT = "ADJUSTMENT"
    INSURANCE_CLEAR = "INSURANCE_CLEAR"
    ADMIN_DEPOSIT = "ADMIN_DEPOSIT"
    ADMIN_WITHDRAW = "ADMIN_WITHDRAW"
    MARGIN_TRANSFER = "MARGIN_TRANSFER"
    MARGIN_TYPE_CHANGE = "MARGIN_TYPE_CHANGE"
    ASSET_TRANSFER = "ASSET_TRANSFER"
    OPTIONS_PREMIUM_FEE = "OPTIONS_PREMIUM_FEE"
    OPTIONS_SETTLE_PROFIT = "OPTIONS_SETTLE_PROFIT"
    AUTO_EXCHANGE = "AUTO_EXCHANGE"
    COIN_SWAP_DEPOSIT = "COIN_SWAP_DEPOSIT"
    COIN_SWAP_WITHDRAW = "COIN_SWAP_WITHDRAW"


class OrderUpdate(Model, frozen=True, kw_only=True):
    """A futures order after an event: quantities in units of the base asset on USD-M, in contracts on COIN-M."""

    symbol: str = field(name="s")
    """Such as ``BTCUSDT`` or ``BTCUSD_PERP``."""
    client_order_id: str = field(name="c")
    """The caller's own id. The exchange's own orders begin with ``autoclose-`` (liquidation), ``adl_autoclose``
    (automatic deleveraging) or ``settlement_autoclose-`` (delivery or delisting)."""
    side: Side = field(name="S")
    """Whether the order buys or sells."""
    type: OrderType = field(name="o")
    """The type of the order now."""
    time_in_force: TimeInForce = field(name="f")
    """How long the order stays open."""
    orig_qty: Decimal = field(name="q")
    """The quantity ordered."""
    price: Decimal = field(name="p")
    """The limit price; 0 for a market order."""
    avg_price: Decimal = field(name="ap")
    """The average price of all fills; 0 without a fill."""
    stop_price: Decimal = field(name="sp")
    """The exchange's documents say to ignore this field."""
    execution_type: ExecutionType = field(name="x")
    """What happened."""
    status: OrderStatus = field(name="X")
    """The state of the order afterwards."""
    order_id: int = field(name="i")
    """The exchange's id of the order, unique for the symbol."""
    modify_id: str | None = field(name="M", default=None)
    """The caller's own number for a change; None if there was no change, or no number."""
    last_filled_qty: Decimal = field(name="l")
    """The quantity of this fill; 0 if the event is not a fill."""
    executed_qty: Decimal = field(name="z")
    """The quantity filled so far."""
    last_filled_price: Decimal = field(name="L")
    """The price of this fill; 0 if the event is not a fill."""
    commission_asset: str | None = field(name="N", default=None)
    """The asset of the commission; may be absent if there was none."""
    commission: Decimal | None = field(name="n", default=None)
    """The commission of this fill; a charge is positive. May be absent if there was none."""
    trade_time: Milliseconds = field(name="T")
    """When the event happened, in milliseconds since the epoch."""
    trade_id: int = field(name="t")
    """The id of this fill, unique for the symbol; 0 if the event is not a fill."""
    bids_notional: Decimal = field(name="b")
    """The notional value of open buy orders."""
    asks_notional: Decimal = field(name="a")
    """The notional value of open sell orders."""
    is_maker: bool = field(name="m")
    """Whether the order was in the order book when it was filled."""
    reduce_only: bool = field(name="R")
    """Whether the order may only reduce a position."""
    position_side: PositionSide = field(name="ps")
    """Which position the order changes: BOTH in one-way mode, LONG or SHORT in hedge mode."""
    realized_pnl: Decimal = field(name="rp")
    """The profit that this fill realised, before commission."""
    strategy_type: str | None = field(name="st", default=None)
    """Such as ``C_TAKE_PROFIT``; only for an order that a conditional order placed."""
    strategy_id: int | None = field(name="si", default=None)
    """The conditional order that placed this order; None if no conditional order did."""
    self_trade_prevention_mode: SelfTradePreventionMode = field(name="V")
    """Which order expires if it would match another order of the same user."""
    good_till_date: Milliseconds = field(name="gtd")
    """When a GTD order is cancelled, in milliseconds since the epoch; 0 for other orders."""
    working_type: WorkingType | None = field(name="wt", default=None)
    """Not documented for Portfolio Margin; part of the same event of plain futures."""
    orig_type: str | None = field(name="ot", default=None)
    """The type that the order was placed with. Not documented for Portfolio Margin, as ``working_type``."""
    close_position: bool | None = field(name="cp", default=None)
    """Whether the order closes the position. Not documented for Portfolio Margin, as ``working_type``."""
    price_protect: bool | None = field(name="pP", default=None)
    """Whether price protection applies to the trigger. Not documented for Portfolio Margin, as ``working_type``."""
    price_match: PriceMatch | None = field(name="pm", default=None)
    """The level of the book that prices the order. Not documented for Portfolio Margin; seen on USD-M futures."""
    expiry_reason: str | None = field(name="er", default=None)
    """Why the order expired, as a number. Not documented for Portfolio Margin; seen on USD-M futures."""


class OrderTradeUpdate(StreamEvent, frozen=True, kw_only=True, tag="ORDER_TRADE_UPDATE"):
    """A futures order was placed, filled, changed or ended.

    Source: https://developers.binance.com/docs/derivatives/portfolio-margin/user-data-streams/Event-Futures-Order-update
    (read 2026-11-29)
    """

    _identify: ClassVar[Callable[[Any], tuple[Any, ...]]] = identified_by(
        "business_unit",
        "order.symbol",
        "order.order_id",
        "order.execution_type",
        "order.status",
        "order.trade_time",
        "order.trade_id",
        "order.executed_qty",
        "order.price",
        "order.orig_qty",
    )

    business_unit: BusinessUnit = field(name="fs")
    """The futures product."""
    transaction_time: Milliseconds = field(name="T")
    """When the event happened, in milliseconds since the epoch."""
    account_alias: str = field(name="i")
    """The alias of the account on COIN-M; empty on USD-M."""
    order: OrderUpdate = field(name="o")
    """The order afterwards."""


class WalletUpdate(Model, frozen=True, kw_only=True):
    """The balance of one asset in the futures wallet, in units of the asset."""

    asset: str = field(name="a")
    """The asset."""
    wallet_balance: Decimal = field(name="wb")
    """The wallet balance, without unrealised profit."""
    cross_wallet_balance: Decimal = field(name="cw")
    """The wallet balance in cross margin, without unrealised profit."""
    balance_change: Decimal = field(name="bc")
    """The change, except realised profit and commission. It is part of the balance: never add it to one."""


class PositionUpdate(Model, frozen=True, kw_only=True):
    """One position after an event, identified by product, symbol and side."""

    symbol: str = field(name="s")
    """Such as ``BTCUSDT`` or ``BTCUSD_PERP``."""
    position_amt: Decimal = field(name="pa")
    """In units of the base asset on USD-M, in contracts on COIN-M; negative for a short position; 0 once closed."""
    entry_price: Decimal = field(name="ep")
    """The average entry price; 0 once closed."""
    accumulated_realized: Decimal = field(name="cr")
    """The profit realised so far, before commission."""
    unrealized_pnl: Decimal = field(name="up")
    """The unrealised profit at the time of the event; the stream does not update it when prices move."""
    position_side: PositionSide = field(name="ps")
    """Which side the position is on: BOTH in one-way mode, LONG or SHORT in hedge mode."""
    break_even_price: Decimal = field(name="bep")
    """The price at which closing the position would yield neither profit nor loss."""


class WalletChanges(Model, frozen=True, kw_only=True):
    """The balances and positions that changed together."""

    reason: AccountUpdateReason = field(name="m")
    """Why they changed."""
    funding_symbol: str | None = field(name="S", default=None)
    """The symbol of a funding fee; None for other reasons, and before August 2026."""
    balances: tuple[WalletUpdate, ...] = field(name="B")
    """The assets that changed; any other asset is unchanged."""
    positions: tuple[PositionUpdate, ...] | None = field(name="P", default=None)
    """The positions that changed; any other is unchanged. Empty or None for the funding of a cross position."""


class AccountUpdate(StreamEvent, frozen=True, kw_only=True, tag="ACCOUNT_UPDATE"):
    """Balances or positions of futures changed.

    The event names only what changed. Placing or cancelling an order changes neither balance nor position, so it pushes
    no such event, although the available balance changes.

    Source:
    https://developers.binance.com/docs/derivatives/portfolio-margin/user-data-streams/Event-Futures-Balance-and-Position-Update
    (read 2026-11-29)
    """

    _identify: ClassVar[Callable[[Any], tuple[Any, ...]]] = identified_by("business_unit", "transaction_time", "update")

    business_unit: BusinessUnit = field(name="fs")
    """The futures product."""
    transaction_time: Milliseconds = field(name="T")
    """When the change happened, in milliseconds since the epoch."""
    account_alias: str = field(name="i")
    """The alias of the account on COIN-M; empty on USD-M."""
    update: WalletChanges = field(name="a")
    """What changed."""


class LeverageUpdate(Model, frozen=True, kw_only=True):
    """The leverage of a symbol after a change."""

    symbol: str = field(name="s")
    """Such as ``BTCUSDT``."""
    leverage: int = field(name="l")
    """The new leverage."""


class AccountConfigUpdate(StreamEvent, frozen=True, kw_only=True, tag="ACCOUNT_CONFIG_UPDATE"):
    """The leverage of a symbol changed.

    Source: https://developers.binance.com/en/docs/products/derivatives-trading-portfolio-margin/user-data-streams
    (read 2026-11-29)
    """

    _identify: ClassVar[Callable[[Any], tuple[Any, ...]]] = identified_by(
        "business_unit", "transaction_time", "config.symbol", "config.leverage"
    )

    business_unit: BusinessUnit = field(name="fs")
    """The futures product."""
    transaction_time: Milliseconds = field(name="T")
    """When the change happened, in milliseconds since the epoch."""
    config: LeverageUpdate = field(name="ac")
    """What changed."""


class StrategyUpdate(Model, frozen=True, kw_only=True):
    """A conditional order after an event; quantities on COIN-M are contracts."""

    symbol: str = field(name="s")
    """Such as ``BTCUSD_PERP``."""
    client_strategy_id: str = field(name="c")
    """The caller's own id."""
    strategy_id: int = field(name="si")
    """The exchange's id of the conditional order."""
    side: Side = field(name="S")
    """Whether the order buys or sells."""
    strategy_type: TriggerType = field(name="st")
    """The type of the conditional order."""
    time_in_force: TimeInForce = field(name="f")
    """How long the triggered order stays open."""
    orig_qty: Decimal = field(name="q")
    """The quantity ordered."""
    price: Decimal = field(name="p")
    """The limit price; 0 for a type that becomes a market order."""
    stop_price: Decimal = field(name="sp")
    """The price that triggers the order; meaningless for a trailing order."""
    strategy_status: StrategyStatus = field(name="os")
    """The state of the conditional order."""
    book_time: Milliseconds = field(name="T")
    """When the order was placed, in milliseconds since the epoch."""
    update_time: Milliseconds = field(name="ut")
    """When the order last changed, in milliseconds since the epoch."""
    reduce_only: bool = field(name="R")
    """Whether the order may only reduce a position."""
    working_type: WorkingType = field(name="wt")
    """The price that triggers the order."""
    position_side: PositionSide = field(name="ps")
    """Which position the order changes: BOTH in one-way mode, LONG or SHORT in hedge mode."""
    close_position: bool = field(name="cp")
    """Whether the order closes the whole position."""
    activation_price: Decimal | None = field(name="AP", default=None)
    """The price at which a trailing order is activated; None for other types."""
    callback_rate: Decimal | None = field(name="cr", default=None)
    """How far the price must reverse to trigger a trailing order, in percent; None for other types."""
    order_id: int = field(name="i")
    """The order that the conditional order placed; meaningless before the trigger."""
    self_trade_prevention_mode: SelfTradePreventionMode = field(name="V")
    """Which order expires if it would match another order of the same user."""
    good_till_date: Milliseconds = field(name="gtd")
    """When a GTD order is cancelled, in milliseconds since the epoch; 0 for other orders."""


class ConditionalOrderTradeUpdate(StreamEvent, frozen=True, kw_only=True, tag="CONDITIONAL_ORDER_TRADE_UPDATE"):
    """A conditional order was placed, triggered or ended.

    Since 2026-04-28, conditional orders of USD-M are algo orders, whose event is `AlgoUpdate`.

    Source:
    https://developers.binance.com/docs/derivatives/portfolio-margin/user-data-streams/Event-Conditional-Order-Trade-Update
    (read 2026-11-29)
    """

    _identify: ClassVar[Callable[[Any], tuple[Any, ...]]] = identified_by(
        "business_unit",
        "strategy.strategy_id",
        "strategy.strategy_status",
        "strategy.update_time",
        "strategy.order_id",
    )

    business_unit: BusinessUnit = field(name="fs")
    """The futures product."""
    transaction_time: Milliseconds = field(name="T")
    """When the event happened, in milliseconds since the epoch."""
    strategy: StrategyUpdate = field(name="so")
    """The conditional order afterwards."""


class AlgoOrderUpdate(Model, frozen=True, kw_only=True):
    """An algo order after an event; quantities in units of the base asset."""

    client_algo_id: str = field(name="caid")
    """The caller's own id."""
    algo_id: int = field(name="aid")
    """The exchange's id of the algo order."""
    algo_type: AlgoType = field(name="at")
    """The kind of the algo order."""
    order_type: TriggerType = field(name="o")
    """The type of the algo order."""
    symbol: str = field(name="s")
    """Such as ``BTCUSDT``."""
    side: Side = field(name="S")
    """Whether the order buys or sells."""
    position_side: PositionSide = field(name="ps")
    """Which position the order changes: BOTH in one-way mode, LONG or SHORT in hedge mode."""
    time_in_force: TimeInForce = field(name="f")
    """How long the triggered order stays open."""
    quantity: Decimal = field(name="q")
    """The quantity ordered."""
    status: AlgoStatus = field(name="X")
    """The state of the algo order."""
    actual_order_id: str = field(name="ai")
    """The id of the order that the algo order placed; empty before the trigger."""
    avg_price: Decimal | None = field(name="ap", default=None)
    """The average price of the fills; meaningless before the trigger."""
    executed_qty: Decimal | None = field(name="aq", default=None)
    """The quantity filled; meaningless before the trigger."""
    actual_order_type: str | None = field(name="act", default=None)
    """The type of the order that the algo order placed; meaningless before the trigger."""
    trigger_price: Decimal = field(name="tp")
    """The price that triggers the order."""
    price: Decimal = field(name="p")
    """The limit price; 0 for a type that becomes a market order."""
    self_trade_prevention_mode: SelfTradePreventionMode = field(name="V")
    """Which order expires if it would match another order of the same user."""
    working_type: WorkingType = field(name="wt")
    """The price that triggers the order."""
    price_match: PriceMatch = field(name="pm")
    """The level of the order book at which the exchange prices the triggered order."""
    close_position: bool = field(name="cp")
    """Whether the order closes the whole position."""
    price_protect: bool = field(name="pP")
    """Whether the order is not triggered while mark price and latest price are far apart."""
    reduce_only: bool = field(name="R")
    """Whether the order may only reduce a position."""
    trigger_time: Milliseconds = field(name="tt")
    """When the order was triggered, in milliseconds since the epoch; 0 before the trigger."""
    good_till_date: Milliseconds = field(name="gtd")
    """When a GTD order is cancelled, in milliseconds since the epoch; 0 for other orders."""
    reject_reason: str | None = field(name="rm", default=None)
    """Why the order was refused; empty if the order was not refused."""
    is_activated: bool | None = field(name="ia", default=None)
    """Whether a trailing order is active; absent before August 2026."""


class AlgoUpdate(StreamEvent, frozen=True, kw_only=True, tag="ALGO_UPDATE"):
    """An algo order of USD-M was placed, triggered or ended.

    The states are NEW, TRIGGERING, TRIGGERED and FINISHED; or CANCELED, EXPIRED or REJECTED.

    Source:
    https://developers.binance.com/docs/derivatives/usds-margined-futures/user-data-streams/Event-Algo-Order-Update
    (read 2026-11-29)
    """

    _identify: ClassVar[Callable[[Any], tuple[Any, ...]]] = identified_by(
        "business_unit", "algo.algo_id", "algo.status", "transaction_time", "algo.executed_qty"
    )

    business_unit: BusinessUnit = field(name="fs")
    """The futures product."""
    transaction_time: Milliseconds = field(name="T")
    """When the event happened, in milliseconds since the epoch."""
    algo: AlgoOrderUpdate = field(name="ao")
    """The algo order afterwards."""


class FuturesAlgoUpdate(AlgoUpdate, frozen=True, kw_only=True, tag="ALGO_UPDATE"):
    """The same event as plain USD-M futures send it, with the algo order under another name."""

    algo: AlgoOrderUpdate = field(name="o")
    """The algo order afterwards."""
