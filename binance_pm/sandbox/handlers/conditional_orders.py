"""Algo orders of USD-M and conditional orders of COIN-M."""

from __future__ import annotations

from typing import TYPE_CHECKING

from binance_pm.sandbox import facts, order_checks, order_errors
from binance_pm.sandbox.conditional_records import ConditionalRecord
from binance_pm.sandbox.handlers.futures_orders import closes_leg, side_of
from binance_pm.sandbox.handlers.registry import DAY, Context, Fields, handles
from binance_pm.sandbox.history import is_conditional_kept, page
from binance_pm.sandbox.messages import Refusal
from binance_pm.sandbox.records import ZERO

if TYPE_CHECKING:
    from decimal import Decimal

    from binance_pm.sandbox.contracts import Contract, Product

_WEEK = 7 * DAY
# The names of parameters that differ between the two products.
_NAMES = {
    "UM": {"type": "type", "trigger": "triggerPrice", "activate": "activatePrice", "client": "clientAlgoId"},
    "CM": {
        "type": "strategyType",
        "trigger": "stopPrice",
        "activate": "activationPrice",
        "client": "newClientStrategyId",
    },
}
_MOST_CALLBACK = {"UM": 20, "CM": 5}


@handles("um.new_algo_order")
def new_algo_order(context: Context) -> Fields:
    """Let an order of USD-M wait for its price."""
    record = _placed(context, "UM")
    trailing = {
        "activatePrice": record.contract.price_text(record.activate_price) if record.is_trailing else "",
        "callbackRate": str(record.callback_rate) if record.is_trailing else "",
    }
    queried = ("actualOrderId", "actualPrice", "tpTriggerPrice", "tpPrice", "slTriggerPrice", "slPrice", "tpOrderType")
    return {name: value for name, value in _algo(record).items() if name not in queried} | trailing


@handles("cm.new_conditional_order")
def new_conditional_order(context: Context) -> Fields:
    """Let an order of COIN-M wait for its price."""
    record = _placed(context, "CM")
    return _strategy(record) | {"pair": record.contract.pair} | _protection(record)


def _placed(context: Context, product: Product) -> ConditionalRecord:
    sent, names, contract = context.parameters, _NAMES[product], context.contract(product)
    _check_combination(context, product)
    order_checks.check_mode(sent, is_hedged=context.state.is_hedged)
    side, position_side = side_of(context), sent.get("positionSide", "BOTH")
    record = ConditionalRecord(
        product=product,
        contract=contract,
        client_id=sent.get(names["client"], ""),
        side=side,
        position_side=position_side,
        type=sent[names["type"]],
        time_in_force=sent.get("timeInForce", "GTC"),
        quantity=context.decimal("quantity") or ZERO,
        price=context.decimal("price") or ZERO,
        trigger_price=context.decimal(names["trigger"]) or ZERO,
        activate_price=context.decimal(names["activate"]) or ZERO,
        callback_rate=context.decimal("callbackRate") or ZERO,
        working_type=sent.get("workingType", "CONTRACT_PRICE"),
        price_match=sent.get("priceMatch", "NONE"),
        close_position=context.flag("closePosition"),
        price_protect=context.flag("priceProtect"),
        reduce_only=context.flag("reduceOnly"),
        closing=context.flag("reduceOnly") or context.flag("closePosition") or closes_leg(side, position_side),
        self_trade_prevention=sent.get("selfTradePreventionMode", "NONE"),
        good_till=(context.number("goodTillDate") or 0) // 1000 * 1000,
        hidden_until=context.hidden_until,
    )
    _check_amounts(contract, record)
    context.state.triggers[product].place(record, context.now)
    return record


def _check_combination(context: Context, product: Product) -> None:
    """Check which parameters come together."""
    sent, names = context.parameters, _NAMES[product]
    kind = sent[names["type"]]
    if context.flag("closePosition"):
        _check_close_position(context, kind)
    else:
        order_checks.require(sent, "quantity")
    if kind == "TRAILING_STOP_MARKET":
        order_checks.require(sent, "callbackRate")
        if not 0 < (context.decimal("callbackRate") or ZERO) <= _MOST_CALLBACK[product]:
            raise Refusal(facts.INVALID_PARAMETER, name="callbackRate")
    else:
        order_checks.require(sent, names["trigger"])
        order_checks.forbid(sent, "callbackRate", names["activate"])
    if kind in {"STOP", "TAKE_PROFIT"}:
        order_checks.check_price_parameters(sent)
        order_checks.check_good_till(sent, context.now)
    else:
        order_checks.forbid(sent, "priceMatch")


def _check_close_position(context: Context, kind: str) -> None:
    """Check an order that closes a whole position."""
    sent = context.parameters
    if kind not in {"STOP_MARKET", "TAKE_PROFIT_MARKET"}:
        raise Refusal(order_errors.NOT_REQUIRED, name="closePosition")
    if "quantity" in sent:
        raise Refusal(order_errors.QUANTITY_WITH_CLOSE)
    if "reduceOnly" in sent:
        raise Refusal(order_errors.REDUCE_ONLY_WITH_CLOSE)
    if (sent["side"], sent.get("positionSide")) in {("BUY", "LONG"), ("SELL", "SHORT")}:
        raise Refusal(order_errors.REDUCE_ONLY_CONFLICT)


def _check_amounts(contract: Contract, record: ConditionalRecord) -> None:
    if not record.close_position:
        order_checks.check_quantity(contract, record.quantity)
    sent: list[Decimal] = [one for one in (record.price, record.trigger_price, record.activate_price) if one]
    for price in sent:
        order_checks.check_tick(contract, price)
    if not (record.is_trailing or record.trigger_price):
        raise Refusal(order_errors.PRICE_TOO_SMALL)


@handles("um.cancel_algo_order")
def cancel_algo_order(context: Context) -> Fields:
    """Cancel an order that waits."""
    record = _found(context, "UM")
    if record is None or record.state != "NEW":
        raise Refusal(order_errors.CANCEL_REJECTED)
    context.state.triggers["UM"].cancel(record, context.now)
    return {"complete": True}


@handles("cm.cancel_conditional_order")
def cancel_conditional_order(context: Context) -> Fields:
    """Cancel an order that waits."""
    record = _found(context, "CM")
    if record is None or record.state != "NEW":
        raise Refusal(order_errors.CANCEL_REJECTED)
    context.state.triggers["CM"].cancel(record, context.now)
    return _strategy(record) | _protection(record)


@handles("um.cancel_all_algo_orders")
def cancel_all_algo_orders(context: Context) -> Fields:
    """Cancel all orders of a symbol that wait."""
    _cancel_all(context, "UM")
    return {"code": 200, "msg": "The operation of cancel all open order is done."}


@handles("cm.cancel_all_conditional_orders")
def cancel_all_conditional_orders(context: Context) -> Fields:
    """Cancel all orders of a symbol that wait."""
    _cancel_all(context, "CM")
    return {"code": "200", "msg": "The operation of cancel all conditional open order is done."}


def _cancel_all(context: Context, product: Product) -> None:
    triggers, symbol = context.state.triggers[product], context.contract(product).symbol
    for record in triggers.waiting:
        if record.contract.symbol == symbol:
            triggers.cancel(record, context.now)


@handles("um.algo_order")
def algo_order(context: Context) -> Fields:
    """An algo order in any state, as long as it is kept."""
    record = _found(context, "UM")
    if record is None or not _is_visible(context, record):
        raise Refusal(order_errors.NO_SUCH_ORDER)
    return _algo(record)


@handles("um.open_algo_orders")
def open_algo_orders(context: Context) -> list[Fields]:
    """The algo orders that wait."""
    return [_algo(record) for record in _waiting(context, "UM") if context.number("algoId") in (None, record.number)]


@handles("um.all_algo_orders")
def all_algo_orders(context: Context) -> list[Fields]:
    """Algo orders in any state: from an id on, or of a window."""
    return [_algo(record) for record in _all(context, "UM", "algoId")]


@handles("cm.open_conditional_order")
def open_conditional_order(context: Context) -> Fields:
    """A conditional order that waits."""
    record = _found(context, "CM")
    if record is None or record.state != "NEW" or record.hidden_until > context.now:
        raise Refusal(order_errors.NO_SUCH_ORDER)
    return _strategy(record)


@handles("cm.open_conditional_orders")
def open_conditional_orders(context: Context) -> list[Fields]:
    """The conditional orders that wait."""
    return [_strategy(record) for record in _waiting(context, "CM")]


@handles("cm.conditional_order_history")
def conditional_order_history(context: Context) -> Fields:
    """A conditional order that does not wait any more."""
    record = _found(context, "CM")
    if record is None or record.state == "NEW" or not _is_visible(context, record):
        raise Refusal(order_errors.NO_SUCH_ORDER)
    return _ended(record) | _protection(record) | {"priceMatch": record.price_match}


@handles("cm.all_conditional_orders")
def all_conditional_orders(context: Context) -> list[Fields]:
    """Conditional orders in any state: from an id on, or of a window."""
    return [_ended(record) for record in _all(context, "CM", "strategyId")]


def _waiting(context: Context, product: Product) -> list[ConditionalRecord]:
    symbol = context.symbol(product)
    records = context.state.triggers[product].waiting
    return [one for one in records if symbol in (None, one.contract.symbol) and one.hidden_until <= context.now]


def _all(context: Context, product: Product, name: str) -> list[ConditionalRecord]:
    symbol, first = context.symbol(product), context.number(name)
    start, end = (0, context.time) if first is not None else context.window(_WEEK)
    rows = [
        record
        for record in context.state.triggers[product].records.values()
        if symbol in (None, record.contract.symbol) and record.number >= (first or 0)
        if start <= record.time <= end and _is_visible(context, record)
    ]
    is_forward = context.is_forward(first)
    return page(rows, context.limit(500, 1000), is_forward=is_forward)


def _found(context: Context, product: Product) -> ConditionalRecord | None:
    """Return the order whose id was sent.

    Raises:
        Refusal: -1102, neither id was sent.
    """
    name = "algoId" if product == "UM" else "strategyId"
    number, client_id = context.number(name), context.text(_NAMES[product]["client"])
    if number is None and client_id is None:
        raise Refusal(facts.MANDATORY_MISSING, name=name)
    record = context.state.triggers[product].find(number, client_id)
    wanted = context.symbol(product)
    return record if record and wanted in (None, record.contract.symbol) else None


def _is_visible(context: Context, record: ConditionalRecord) -> bool:
    return is_conditional_kept(record, context.time) and record.hidden_until <= context.now


def _algo(record: ConditionalRecord) -> Fields:
    contract, order = record.contract, record.order
    none = contract.price_text(ZERO)
    return {
        "algoId": record.number,
        "clientAlgoId": record.client_id,
        "algoType": "CONDITIONAL",
        "orderType": record.type,
        "symbol": contract.symbol,
        "side": record.side,
        "positionSide": record.position_side,
        "timeInForce": record.time_in_force,
        "quantity": contract.quantity_text(record.quantity),
        "algoStatus": record.status,
        "actualOrderId": str(order.order_id) if order else "",
        "actualPrice": f"{order.average_price if order else ZERO:.5f}",
        "triggerPrice": contract.price_text(record.trigger_price),
        "price": contract.price_text(record.price),
        "icebergQuantity": None,
        "tpTriggerPrice": none,
        "tpPrice": none,
        "slTriggerPrice": none,
        "slPrice": none,
        "tpOrderType": "",
        "selfTradePreventionMode": record.self_trade_prevention,
        "workingType": record.working_type,
        "priceMatch": record.price_match,
        "closePosition": record.close_position,
        "priceProtect": record.price_protect,
        "reduceOnly": record.reduce_only,
        "createTime": record.time,
        "updateTime": record.update_time,
        "triggerTime": record.trigger_time,
        "goodTillDate": record.good_till,
    }


def _strategy(record: ConditionalRecord) -> Fields:
    contract = record.contract
    # Left out for a stop, as in real answers of 2024-02.
    trailing = {"activatePrice": contract.price_text(record.activate_price), "priceRate": str(record.callback_rate)}
    return {
        "newClientStrategyId": record.client_id,
        "strategyId": record.number,
        "strategyStatus": record.status,
        "strategyType": record.type,
        "origQty": contract.quantity_text(record.quantity),
        "price": contract.price_text(record.price) if record.price else "0",
        "reduceOnly": record.reduce_only,
        "side": record.side,
        "positionSide": record.position_side,
        "stopPrice": contract.price_text(record.trigger_price) if record.trigger_price else "0",
        "symbol": contract.symbol,
        "bookTime": record.time,
        "updateTime": record.update_time,
        "timeInForce": record.time_in_force,
    } | (trailing if record.is_trailing else {})


def _protection(record: ConditionalRecord) -> Fields:
    return {"workingType": record.working_type, "priceProtect": record.price_protect}


def _ended(record: ConditionalRecord) -> Fields:
    """Return a conditional order with the order that it became."""
    order = record.order
    if order is None:
        return _strategy(record) | {"orderId": 0, "type": "MARKET" if record.is_market else "LIMIT"}
    became: Fields = {"orderId": order.order_id, "status": order.status, "type": order.type}
    return _strategy(record) | became | {"triggerTime": record.trigger_time}
