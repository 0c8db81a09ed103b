"""Orders of cross margin: placing, cancelling and finding them, and their trades."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from binance_pm.sandbox import facts, order_checks, order_errors
from binance_pm.sandbox.handlers.futures_orders import side_of
from binance_pm.sandbox.handlers.registry import DAY, Context, Fields, handles
from binance_pm.sandbox.history import page, shown
from binance_pm.sandbox.margin import STOPS
from binance_pm.sandbox.market import amount
from binance_pm.sandbox.messages import Refusal
from binance_pm.sandbox.records import ZERO, ListRecord, OrderRecord

if TYPE_CHECKING:
    from binance_pm.sandbox.contracts import Contract
    from binance_pm.sandbox.market import Side
    from binance_pm.sandbox.records import TradeRecord

_FARTHEST = Decimal("0.15")
# Required parameters by type; those of the other types must not be sent.
_REQUIRED = {
    "LIMIT": {"quantity", "price", "timeInForce"},
    "MARKET": set[str](),
    "STOP_LOSS": {"quantity", "stopPrice"},
    "TAKE_PROFIT": {"quantity", "stopPrice"},
    "STOP_LOSS_LIMIT": {"quantity", "price", "stopPrice", "timeInForce"},
    "TAKE_PROFIT_LIMIT": {"quantity", "price", "stopPrice", "timeInForce"},
    "LIMIT_MAKER": {"quantity", "price"},
}


@handles("margin.new_order")
def new_margin_order(context: Context) -> Fields:
    """Place an order, and return as much as the response type says."""
    order = _made(context)
    context.state.margin.place(context.state, order, context.now)
    kind = context.text("newOrderRespType") or ("FULL" if order.type in {"LIMIT", "MARKET"} else "ACK")
    fields: Fields = {
        "symbol": order.symbol,
        "orderId": order.order_id,
        "clientOrderId": order.client_order_id,
        "transactTime": order.time,
    }
    if kind != "ACK":
        fields |= _state(order) | {"side": order.side, "selfTradePreventionMode": order.self_trade_prevention}
    if kind == "FULL":
        fields["fills"] = [_fill(trade) for trade in order.trades]
    return fields | _borrowed(order.borrowed, order)


def _made(context: Context) -> OrderRecord:
    """Return the order that the parameters describe, after all checks that need no balance."""
    sent, contract, side = context.parameters, context.contract("MARGIN"), side_of(context)
    kind = sent["type"]
    order_checks.require(sent, *sorted(_REQUIRED[kind]))
    allowed = _REQUIRED[kind] | {"quantity"}
    order_checks.forbid(sent, *sorted({"price", "stopPrice", "timeInForce"} - allowed))
    quantity = _quantity(context, contract, side, kind)
    order = OrderRecord(
        product="MARGIN",
        contract=contract,
        client_order_id=sent.get("newClientOrderId", ""),
        side=side,
        type=kind,
        time_in_force=sent.get("timeInForce", "GTC"),
        quantity=quantity,
        price=context.decimal("price") or ZERO,
        stop_price=context.decimal("stopPrice") or ZERO,
        iceberg=context.decimal("icebergQty") or ZERO,
        side_effect=sent.get("sideEffectType", "NO_SIDE_EFFECT"),
        repays_at_cancel=sent.get("autoRepayAtCancel") != "false",
        self_trade_prevention=sent.get("selfTradePreventionMode", "NONE"),
        hidden_until=context.hidden_until,
    )
    _check_filters(context, order)
    return order


def _quantity(context: Context, contract: Contract, side: Side, kind: str) -> Decimal:
    """Return the quantity; a market order may be given by its value in the quote asset instead."""
    if kind != "MARKET":
        order_checks.forbid(context.parameters, "quoteOrderQty")
    if ("quantity" in context.parameters) == ("quoteOrderQty" in context.parameters):
        raise Refusal(facts.MANDATORY_MISSING, name="quantity")
    quote = context.decimal("quoteOrderQty")
    if quote is None:
        return context.decimal("quantity") or ZERO
    return context.state.margin.quantity_for(contract, side, quote, context.now)


def _check_filters(context: Context, order: OrderRecord) -> None:
    """Check price and quantity against the filters of the pair, and the price against the index price."""
    contract = order.contract
    index = context.market.price_of(contract, context.now)
    for price in (order.price, order.stop_price):
        if price % contract.tick:
            raise Refusal(order_errors.FILTER_FAILURE, name="PRICE_FILTER")
    if order.quantity <= 0 or order.quantity % contract.step or order.quantity > contract.largest:
        raise Refusal(order_errors.FILTER_FAILURE, name="LOT_SIZE")
    if order.price and abs(order.price / index - 1) > _FARTHEST:
        raise Refusal(order_errors.PRICE_TOO_FAR)
    if order.quantity * (order.price or index) < contract.least_notional:
        raise Refusal(order_errors.FILTER_FAILURE, name="NOTIONAL")


@handles("margin.cancel_order")
def cancel_margin_order(context: Context) -> Fields:
    """Cancel an open order, and the list that it belongs to."""
    order = _found(context)
    if order is None or not order.is_open:
        raise Refusal(order_errors.CANCEL_REJECTED)
    context.state.margin.cancel(order, context.now, context.text("newClientOrderId") or "")
    return _cancelled(context, order)


@handles("margin.cancel_all_orders")
def cancel_all_margin_orders(context: Context) -> list[Fields]:
    """Cancel all orders and lists of a pair."""
    symbol, margin = context.contract("MARGIN").symbol, context.state.margin
    orders = [order for order in margin.matching.open.values() if order.symbol == symbol]
    if not orders:
        raise Refusal(order_errors.CANCEL_REJECTED)
    lists = [margin.lists[number] for number in dict.fromkeys(order.list_id for order in orders if order.list_id > 0)]
    for order in orders:
        if order.is_open:
            margin.cancel(order, context.now)
    single = [_cancelled(context, one) | {"orderListId": -1} for one in orders if one.list_id < 0]
    return single + [_list(row) | {"orderReports": _reports(context, row)} for row in lists]


@handles("margin.order")
def query_margin_order(context: Context) -> Fields:
    """An order in any state."""
    order = _found(context)
    if order is None or order.hidden_until > context.now:
        raise Refusal(order_errors.NO_SUCH_ORDER)
    return _queried(context, order)


@handles("margin.open_orders")
def open_margin_orders(context: Context) -> list[Fields]:
    """The open orders of a pair."""
    symbol = context.symbol("MARGIN")
    orders = context.state.margin.matching.open.values()
    return [
        _queried(context, order)
        for order in orders
        if symbol in (None, order.symbol) and order.hidden_until <= context.now
    ]


@handles("margin.all_orders")
def all_margin_orders(context: Context) -> list[Fields]:
    """Orders of a pair in any state: from an id on, or of a window."""
    symbol, first = context.contract("MARGIN").symbol, context.number("orderId")
    start, end = _window(context, first)
    rows = [
        order
        for order in context.state.margin.matching.orders.values()
        if order.symbol == symbol and order.order_id >= (first or 0) and start <= order.time <= end
        if order.hidden_until <= context.now
    ]
    is_forward = context.is_forward(first)
    return [_queried(context, order) for order in page(rows, context.limit(500, 500), is_forward=is_forward)]


@handles("margin.trades")
def margin_trades(context: Context) -> list[Fields]:
    """Trades of a pair: of an order, from an id on, or of a window."""
    symbol, first, order_id = context.contract("MARGIN").symbol, context.number("fromId"), context.number("orderId")
    start, end = _window(context, first if order_id is None else 0)
    rows = [
        trade
        for trade in shown(context.state.margin.trades, context.time)
        if trade.symbol == symbol and order_id in (None, trade.order_id)
        if trade.trade_id >= (first or 0) and start <= trade.time <= end
    ]
    is_forward = context.is_forward(first)
    return [_trade(trade) for trade in page(rows, context.limit(500, 1000), is_forward=is_forward)]


def _window(context: Context, first: int | None) -> tuple[int, int]:
    is_timed = {"startTime", "endTime"} & context.parameters.keys()
    if not is_timed or first is not None:
        return 0, context.time
    return context.window(DAY, too_long=order_errors.LOOKUP_TOO_LONG)


@handles("margin.force_orders")
def margin_force_orders(_: Context) -> Fields:
    """None: the local exchange closes positions of futures only."""
    return {"rows": [], "total": 0}


@handles("margin.new_oco")
def new_margin_oco(context: Context) -> Fields:
    """Place a limit order and a stop order of which at most one is executed."""
    legs = _legs(context)
    row = context.state.margin.place_list(context.state, legs, context.text("listClientOrderId") or "", context.now)
    stop, limit = legs
    return (
        _list(row)
        | _borrowed(row.borrowed, stop)
        | {"orderReports": [_report(leg) | {"transactTime": leg.time} for leg in (stop, limit)]}
    )


def _legs(context: Context) -> tuple[OrderRecord, OrderRecord]:
    """Return the stop order and the limit order, after all checks that need no balance."""
    sent, contract, side = context.parameters, context.contract("MARGIN"), side_of(context)
    if ("stopLimitPrice" in sent) != ("stopLimitTimeInForce" in sent):
        raise Refusal(order_errors.BAD_COMBINATION)
    price, stop_price = context.decimal("price") or ZERO, context.decimal("stopPrice") or ZERO
    last = context.market.price_of(contract, context.now)
    if not (price > last > stop_price if side == "SELL" else price < last < stop_price):
        raise Refusal(order_errors.WRONG_OCO_PRICES)
    names = [sent.get(name) for name in ("limitClientOrderId", "stopClientOrderId", "listClientOrderId")]
    given = [name for name in names if name]
    if len(set(given)) < len(given):
        raise Refusal(order_errors.DUPLICATE_ORDER)
    stop = _leg(context, contract, "stop")
    stop.type = "STOP_LOSS_LIMIT" if "stopLimitPrice" in sent else "STOP_LOSS"
    stop.price, stop.stop_price = context.decimal("stopLimitPrice") or ZERO, stop_price
    stop.time_in_force = sent.get("stopLimitTimeInForce", "GTC")
    limit = _leg(context, contract, "limit")
    limit.type, limit.price = "LIMIT_MAKER", price
    for leg in (stop, limit):
        _check_filters(context, leg)
    return stop, limit


def _leg(context: Context, contract: Contract, name: str) -> OrderRecord:
    """Return what the two orders of a list share."""
    return OrderRecord(
        product="MARGIN",
        contract=contract,
        client_order_id=context.text(f"{name}ClientOrderId") or "",
        side=side_of(context),
        quantity=context.decimal("quantity") or ZERO,
        iceberg=context.decimal(f"{name}IcebergQty") or ZERO,
        side_effect=context.text("sideEffectType") or "NO_SIDE_EFFECT",
        hidden_until=context.hidden_until,
    )


@handles("margin.cancel_oco")
def cancel_margin_oco(context: Context) -> Fields:
    """Cancel both orders of a list."""
    row = _found_list(context, "listClientOrderId")
    if row is None or not row.is_open or row.symbol != context.contract("MARGIN").symbol:
        raise Refusal(order_errors.CANCEL_REJECTED)
    context.state.margin.cancel(row.legs[0], context.now)
    return _list(row) | {"orderReports": _reports(context, row)}


@handles("margin.oco")
def query_margin_oco(context: Context) -> Fields:
    """An order list in any state."""
    row = _found_list(context, "origClientOrderId")
    if row is None or row.legs[0].hidden_until > context.now:
        raise Refusal(order_errors.NO_SUCH_ORDER)
    return _list(row)


@handles("margin.open_ocos")
def open_margin_ocos(context: Context) -> list[Fields]:
    """The order lists that are open."""
    return [_list(row) for row in context.state.margin.lists.values() if row.is_open]


@handles("margin.all_ocos")
def all_margin_ocos(context: Context) -> list[Fields]:
    """Order lists in any state, newest first: from an id on, or of a window."""
    first = context.number("fromId")
    if first is not None and {"startTime", "endTime"} & context.parameters.keys():
        raise Refusal(order_errors.BAD_COMBINATION)
    start, end = _window(context, first)
    rows = [
        row for row in context.state.margin.lists.values() if row.list_id >= (first or 0) and start <= row.time <= end
    ]
    rows = page(rows, context.limit(500, 500), is_forward=context.is_forward(first))
    return [_list(row) for row in reversed(rows)]


def _found(context: Context) -> OrderRecord | None:
    order_id, client_id = context.number("orderId"), context.text("origClientOrderId")
    if order_id is None and client_id is None:
        raise Refusal(facts.MANDATORY_MISSING, name="orderId")
    return context.state.margin.matching.find(context.contract("MARGIN").symbol, order_id, client_id)


def _found_list(context: Context, name: str) -> ListRecord | None:
    list_id, client_id = context.number("orderListId"), context.text(name)
    if list_id is None and client_id is None:
        raise Refusal(facts.MANDATORY_MISSING, name="orderListId")
    rows = context.state.margin.lists
    if list_id is not None:
        return rows.get(list_id)
    return next((row for row in reversed(rows.values()) if row.client_id == client_id), None)


def _state(order: OrderRecord) -> Fields:
    return {
        "price": amount(order.price),
        "origQty": amount(order.quantity),
        "executedQty": amount(order.executed),
        "cummulativeQuoteQty": amount(order.paid),
        "status": order.status,
        "timeInForce": order.time_in_force,
        "type": order.type,
        "side": order.side,
    }


def _borrowed(borrowed: Decimal, order: OrderRecord) -> Fields:
    asset = order.contract.quote if order.is_buy else order.contract.base
    return {"marginBuyBorrowAmount": amount(borrowed), "marginBuyBorrowAsset": asset} if borrowed else {}


def _fill(trade: TradeRecord) -> Fields:
    return {
        "price": amount(trade.price),
        "qty": amount(trade.quantity),
        "commission": amount(trade.commission),
        "commissionAsset": trade.commission_asset,
    }


def _trade(trade: TradeRecord) -> Fields:
    return {
        **_fill(trade),
        "id": trade.trade_id,
        "isBestMatch": True,
        "isBuyer": trade.side == "BUY",
        "isMaker": trade.is_maker,
        "orderId": trade.order_id,
        "symbol": trade.symbol,
        "time": trade.time,
        "quoteQty": amount(trade.price * trade.quantity),
    }


def _queried(context: Context, order: OrderRecord) -> Fields:
    return {
        **_state(order),
        "symbol": order.symbol,
        "orderId": order.order_id,
        "clientOrderId": order.client_order_id,
        "icebergQty": amount(order.iceberg),
        "isWorking": order.is_working,
        "stopPrice": amount(order.stop_price),
        "time": order.time,
        "updateTime": order.update_time,
        "accountId": context.state.margin.account_id,
        "selfTradePreventionMode": order.self_trade_prevention,
        "preventedMatchId": None,
        "preventedQuantity": None,
    }


def _cancelled(context: Context, order: OrderRecord) -> Fields:
    return {
        "symbol": order.symbol,
        "orderId": order.order_id,
        "origClientOrderId": order.client_order_id,
        "clientOrderId": context.text("newClientOrderId") or f"cancel-{order.order_id}",
        **_state(order),
    }


def _list(row: ListRecord) -> Fields:
    return {
        "orderListId": row.list_id,
        "contingencyType": "OCO",
        "listStatusType": "EXEC_STARTED" if row.is_open else "ALL_DONE",
        "listOrderStatus": "EXECUTING" if row.is_open else "ALL_DONE",
        "listClientOrderId": row.client_id,
        "transactionTime": row.time,
        "symbol": row.symbol,
        "orders": [
            {"symbol": leg.symbol, "orderId": leg.order_id, "clientOrderId": leg.client_order_id} for leg in row.legs
        ],
    }


def _report(leg: OrderRecord) -> Fields:
    fields: Fields = {
        "symbol": leg.symbol,
        "orderId": leg.order_id,
        "orderListId": leg.list_id,
        "clientOrderId": leg.client_order_id,
        **_state(leg),
    }
    return fields | ({"stopPrice": amount(leg.stop_price)} if leg.type in STOPS else {})


def _reports(context: Context, row: ListRecord) -> list[Fields]:
    return [_report(leg) | _cancelled(context, leg) for leg in row.legs]
