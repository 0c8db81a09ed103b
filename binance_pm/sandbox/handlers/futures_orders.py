"""Orders of USD-M and COIN-M: placing, changing, cancelling and finding them, and their trades."""

from __future__ import annotations

from typing import TYPE_CHECKING

from binance_pm.sandbox import facts, order_checks, order_errors, views
from binance_pm.sandbox.handlers.registry import DAY, Context, Fields, handles_futures
from binance_pm.sandbox.history import TRADE_DAYS, is_kept, page, shown
from binance_pm.sandbox.messages import Refusal
from binance_pm.sandbox.records import ZERO, OrderRecord

if TYPE_CHECKING:
    from decimal import Decimal

    from binance_pm.sandbox.contracts import Contract, Product
    from binance_pm.sandbox.market import Side

_WEEK = 7 * DAY
_DONE: Fields = {"code": 200, "msg": "The operation of cancel all open order is done."}
# The default and the highest number of rows.
_ROWS = {"UM": (500, 1000), "CM": (50, 100)}


@handles_futures("new_order")
def new_order(context: Context, product: Product) -> Fields:
    """Place an order, and return it as the response type says."""
    order = _made(context, product)
    state = context.state
    order_checks.check_risk(state, state.futures(product), order, context.now)
    state.futures(product).matching.place(order, context.now)
    fields = views.order_fields(order, views.PLACED[product])
    return fields if _is_final(context, order) else views.acknowledged(fields)


def _is_final(context: Context, order: OrderRecord) -> bool:
    """Whether the response tells how the order ended, and not only that it was accepted."""
    wanted = context.text("newOrderRespType") == "RESULT"
    return wanted and (order.type == "MARKET" or order.time_in_force != "GTC")


def _made(context: Context, product: Product) -> OrderRecord:
    """Return the order that the parameters describe, after all checks that need no position."""
    sent, contract = context.parameters, context.contract(product)
    is_limit, side = sent["type"] == "LIMIT", side_of(context)
    order_checks.check_combination(sent, is_limit=is_limit, now=context.now)
    order_checks.check_mode(sent, is_hedged=context.state.is_hedged)
    quantity = context.decimal("quantity") or ZERO
    order_checks.check_quantity(contract, quantity)
    price = ZERO
    if is_limit:
        price = limit_price(context, contract, side)
        order_checks.check_price(contract, price, is_buy=side == "BUY", market=context.market, now=context.now)
    position_side = sent.get("positionSide", "BOTH")
    return OrderRecord(
        product=product,
        contract=contract,
        client_order_id=sent.get("newClientOrderId", ""),
        side=side,
        position_side=position_side,
        type=sent["type"],
        time_in_force=sent.get("timeInForce", "GTC"),
        quantity=quantity,
        price=price,
        reduce_only=context.flag("reduceOnly"),
        closing=context.flag("reduceOnly") or closes_leg(side, position_side),
        price_match=sent.get("priceMatch", "NONE"),
        self_trade_prevention=sent.get("selfTradePreventionMode", "NONE"),
        good_till=(context.number("goodTillDate") or 0) // 1000 * 1000,
        hidden_until=context.hidden_until,
    )


def closes_leg(side: str, position_side: str) -> bool:
    """Whether an order reduces a leg of hedge mode."""
    return (side, position_side) in {("SELL", "LONG"), ("BUY", "SHORT")}


def limit_price(context: Context, contract: Contract, side: Side) -> Decimal:
    """Return the price that was sent, or the price of the level of the book that was asked for."""
    match = context.text("priceMatch")
    if match is None:
        return context.decimal("price") or ZERO
    return order_checks.matched_price(context.market, contract, side, match, context.now)


def side_of(context: Context) -> Side:
    """Return the side that was sent."""
    return "BUY" if context.parameters["side"] == "BUY" else "SELL"


@handles_futures("modify_order")
def modify_order(context: Context, product: Product) -> Fields:
    """Change price and quantity of an open order."""
    contract, desk = context.contract(product), context.state.futures(product)
    order = _found(context, product, contract.symbol)
    if order is None or not order.is_open:
        raise Refusal(order_errors.NO_SUCH_ORDER)
    if side_of(context) != order.side:
        raise Refusal(order_errors.INVALID_SIDE)
    price, quantity = limit_price(context, contract, order.side), context.decimal("quantity") or ZERO
    order_checks.check_price_parameters({name: context.parameters[name] for name in _price_names(context)})
    order_checks.check_quantity(contract, quantity)
    order_checks.check_price(contract, price, is_buy=order.is_buy, market=context.market, now=context.now)
    if (price, quantity) == (order.price, order.quantity):
        raise Refusal(order_errors.NOTHING_TO_CHANGE)
    if not order.closing and quantity * price < contract.least_notional:
        raise Refusal(order_errors.NOTIONAL_TOO_SMALL, least=contract.least_notional)
    modify_id, match = context.number("modifyId"), context.text("priceMatch") or "NONE"
    desk.matching.amend(order, price, quantity, context.now, modify_id=modify_id, match=match)
    fields = views.order_fields(order, views.MODIFIED[product])
    return fields if modify_id is None else fields | {"modifyId": modify_id}


def _price_names(context: Context) -> list[str]:
    # The table calls the price mandatory even with a price match, which then counts.
    names = [name for name in ("price", "priceMatch") if name in context.parameters]
    return ["priceMatch"] if "priceMatch" in names else names


@handles_futures("cancel_order")
def cancel_order(context: Context, product: Product) -> Fields:
    """Cancel an open order."""
    order = _found(context, product, context.contract(product).symbol)
    if order is None or not order.is_open:
        raise Refusal(order_errors.CANCEL_REJECTED)
    context.state.futures(product).matching.cancel(order, context.now)
    return views.order_fields(order, views.PLACED[product])


@handles_futures("cancel_all_orders")
def cancel_all_orders(context: Context, product: Product) -> Fields:
    """Cancel all open orders of a symbol."""
    desk = context.state.futures(product)
    for order in desk.open_orders(context.contract(product).symbol):
        if order.is_open:
            desk.matching.cancel(order, context.now)
    return _DONE


@handles_futures("order")
def query_order(context: Context, product: Product) -> Fields:
    """An order in any state, as long as it is kept."""
    order = _found(context, product, context.contract(product).symbol)
    if order is None or not is_kept(order, context.time) or order.hidden_until > context.now:
        raise Refusal(order_errors.NO_SUCH_ORDER)
    return views.order_fields(order, views.QUERIED[product])


@handles_futures("open_order")
def open_order(context: Context, product: Product) -> Fields:
    """An order that is open."""
    order = _found(context, product, context.contract(product).symbol)
    if order is None or not order.is_open or order.hidden_until > context.now:
        raise Refusal(order_errors.NO_SUCH_ORDER)
    return views.order_fields(order, views.QUERIED[product])


@handles_futures("open_orders")
def open_orders(context: Context, product: Product) -> list[Fields]:
    """The open orders of a symbol, of a pair, or all."""
    symbol, pair = context.symbol(product), context.text("pair")
    orders = context.state.futures(product).open_orders(symbol)
    return [
        views.order_fields(order, views.QUERIED[product])
        for order in orders
        if pair in (None, order.contract.pair) and order.hidden_until <= context.now
    ]


@handles_futures("all_orders")
def all_orders(context: Context, product: Product) -> list[Fields]:
    """Orders in any state: from an id on, or of a window."""
    symbol, pair = _symbol_or_pair(context, product)
    first = context.number("orderId")
    start, end = (0, context.time) if first is not None else context.window(_WEEK)
    rows = [
        order
        for order in sorted(context.state.futures(product).matching.orders.values(), key=lambda one: one.order_id)
        if symbol in (None, order.symbol) and pair in (None, order.contract.pair)
        if order.order_id >= (first or 0) and start <= order.time <= end
        if is_kept(order, context.time) and order.hidden_until <= context.now
    ]
    is_forward = context.is_forward(first)
    rows = page(rows, context.limit(*_ROWS[product]), is_forward=is_forward)
    return [views.order_fields(order, views.QUERIED[product]) for order in rows]


@handles_futures("order_amendments")
def order_amendments(context: Context, product: Product) -> list[Fields]:
    """The changes of an order, newest first."""
    order = _found(context, product, context.contract(product).symbol)
    if order is None or not is_kept(order, context.time):
        raise Refusal(order_errors.NO_SUCH_ORDER)
    start, end = context.number("startTime") or 0, context.number("endTime") or context.time
    if start > end:
        raise Refusal(facts.INVALID_TIME_RANGE)
    changes = [change for change in reversed(order.amendments) if start <= change.time <= end]
    return [views.amendment_fields(change, order) for change in changes[: context.limit(*_ROWS[product])]]


@handles_futures("trades")
def trades(context: Context, product: Product) -> list[Fields]:
    """Trades: from an id on, or of a window."""
    symbol, pair = _symbol_or_pair(context, product)
    first = context.number("fromId")
    if first is not None and {"startTime", "endTime", "pair"} & context.parameters.keys():
        raise Refusal(order_errors.BAD_COMBINATION)
    start, end = (0, context.time) if first is not None else context.window(_WEEK if product == "UM" else DAY)
    orders = context.state.futures(product).matching.orders
    rows = [
        trade
        for trade in shown(context.state.futures(product).trades, context.time, days=TRADE_DAYS)
        if symbol in (None, trade.symbol) and pair in (None, orders[trade.order_id].contract.pair)
        if trade.trade_id >= (first or 0) and start <= trade.time <= end
    ]
    is_forward = context.is_forward(first)
    limit = context.limit(500 if product == "UM" else 50, 1000)
    rows = page(rows, limit, is_forward=is_forward)
    return [views.trade_fields(trade, orders[trade.order_id]) for trade in rows]


@handles_futures("force_orders")
def force_orders(context: Context, product: Product) -> list[Fields]:
    """Orders that closed a position by force."""
    symbol = context.symbol(product)
    start, end = context.window(_WEEK)
    liquidation = context.state.liquidation
    rows = [
        order
        for order in (liquidation.orders if liquidation else [])
        if order.product == product and symbol in (None, order.symbol) and start <= order.time <= end
        if context.text("autoCloseType") != "ADL" and is_kept(order, context.time)
    ]
    rows = page(rows, context.limit(50, 100), is_forward=not context.state.shows_newest)
    return [views.order_fields(order, views.FORCED[product]) for order in rows]


def _found(context: Context, product: Product, symbol: str) -> OrderRecord | None:
    """Return the order whose id was sent.

    Raises:
        Refusal: -1102, neither id was sent.
    """
    order_id, client_id = context.number("orderId"), context.text("origClientOrderId")
    if order_id is None and client_id is None:
        raise Refusal(facts.MANDATORY_MISSING, name="orderId")
    return context.state.futures(product).matching.find(symbol, order_id, client_id)


def _symbol_or_pair(context: Context, product: Product) -> tuple[str | None, str | None]:
    symbol, pair = context.symbol(product), context.text("pair")
    if symbol is None and pair is None:
        raise Refusal(facts.MANDATORY_MISSING, name="symbol")
    if symbol is not None and pair is not None:
        raise Refusal(order_errors.BAD_COMBINATION)
    return symbol, pair
