"""How orders, trades and positions look in responses: the fields by product and kind, and their values."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from binance_pm.sandbox.market import amount

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from binance_pm.sandbox.records import AmendmentRecord, IncomeRow, OrderRecord, TradeRecord

Fields = dict[str, Any]

_ORDER = "orderId symbol status clientOrderId price origQty executedQty timeInForce type reduceOnly side positionSide"
_UM_ONLY = "selfTradePreventionMode goodTillDate priceMatch"
PLACED = {"UM": f"{_ORDER} cumQty updateTime {_UM_ONLY}".split(), "CM": f"{_ORDER} cumQty updateTime pair".split()}
"""Fields of the responses to placing and cancelling."""
MODIFIED = {product: [*names, "origType"] for product, names in PLACED.items()}
"""Fields of the responses to a change, without ``modifyId``."""
FORCED: Mapping[str, Sequence[str]] = {
    "UM": f"{_ORDER} avgPrice cumQuote origType time updateTime".split(),
    "CM": f"{_ORDER} avgPrice cumBase origType time updateTime pair".split(),
}
"""Fields of orders that closed a position by force."""
QUERIED: Mapping[str, Sequence[str]] = {"UM": [*FORCED["UM"], *_UM_ONLY.split()], "CM": FORCED["CM"]}
"""Fields of queries."""


def order_fields(order: OrderRecord, names: Iterable[str]) -> Fields:
    """Return the named fields of an order of USD-M or COIN-M."""
    contract = order.contract
    values: Fields = {
        "orderId": order.order_id,
        "symbol": order.symbol,
        "pair": contract.pair,
        "status": order.status,
        "clientOrderId": order.client_order_id,
        "price": contract.price_text(order.price) if order.price else "0",
        "avgPrice": f"{order.average_price:.5f}",
        "origQty": contract.quantity_text(order.quantity),
        "executedQty": contract.quantity_text(order.executed),
        "cumQty": contract.quantity_text(order.executed),
        "cumQuote": amount(order.value),
        "cumBase": amount(order.value),
        "timeInForce": order.time_in_force,
        "type": order.type,
        "origType": order.original_type,
        "reduceOnly": order.reduce_only,
        "side": order.side,
        "positionSide": order.position_side,
        "time": order.time,
        "updateTime": order.update_time,
        "selfTradePreventionMode": order.self_trade_prevention,
        "goodTillDate": order.good_till,
        "priceMatch": order.price_match,
    }
    return {name: values[name] for name in names}


def recorded_fields(order: OrderRecord) -> Fields:
    """Return what the exchange knows of an order of any product, whatever queries find."""
    return {
        "product": order.product,
        "symbol": order.symbol,
        "orderId": order.order_id,
        "clientOrderId": order.client_order_id,
        "side": order.side,
        "type": order.type,
        "price": str(order.price),
        "origQty": str(order.quantity),
        "executedQty": str(order.executed),
        "status": order.status,
        "time": order.time,
        "updateTime": order.update_time,
    }


def acknowledged(fields: Fields) -> Fields:
    """Return the response of type ACK: that of a new order, even if it was filled at once."""
    return fields | {"status": "NEW", "executedQty": "0", "cumQty": "0"}


def trade_fields(trade: TradeRecord, order: OrderRecord) -> Fields:
    """Return a trade of USD-M or COIN-M."""
    contract = order.contract
    fields: Fields = {
        "symbol": trade.symbol,
        "id": trade.trade_id,
        "orderId": trade.order_id,
        "side": trade.side,
        "price": contract.price_text(trade.price),
        "qty": contract.quantity_text(trade.quantity),
        "realizedPnl": amount(trade.profit),
        "commission": amount(trade.commission),
        "commissionAsset": trade.commission_asset,
        "time": trade.time,
        "buyer": trade.side == "BUY",
        "maker": trade.is_maker,
        "positionSide": trade.position_side,
    }
    value = contract.notional(trade.quantity, trade.price)
    if contract.size is None:
        return fields | {"quoteQty": amount(value)}
    return fields | {"pair": contract.pair, "marginAsset": contract.settled_in, "baseQty": amount(value)}


def income_fields(row: IncomeRow) -> Fields:
    """Return a change of a futures wallet."""
    return {
        "symbol": row.symbol,
        "incomeType": row.kind,
        "income": amount(row.amount),
        "asset": row.asset,
        "info": row.kind,
        "time": row.time,
        "tranId": str(row.transaction),
        "tradeId": row.trade,
    }


def amendment_fields(change: AmendmentRecord, order: OrderRecord) -> Fields:
    """Return a change of an order of USD-M or COIN-M."""
    contract = order.contract
    amendment: Fields = {
        "price": {"before": contract.price_text(change.price_before), "after": contract.price_text(change.price)},
        "origQty": {
            "before": contract.quantity_text(change.quantity_before),
            "after": contract.quantity_text(change.quantity),
        },
        "count": change.count,
    }
    if change.modify_id is not None:
        amendment["modifyId"] = change.modify_id
    fields: Fields = {
        "amendmentId": change.amendment_id,
        "symbol": order.symbol,
        "pair": contract.pair,
        "orderId": order.order_id,
        "clientOrderId": order.client_order_id,
        "time": change.time,
        "amendment": amendment,
    }
    return fields if order.product == "CM" else fields | {"priceMatch": change.price_match}


def plain(value: Decimal) -> int | float:
    """Return a number that the exchange sends as a JSON number."""
    return int(value) if value == value.to_integral_value() else float(value)
