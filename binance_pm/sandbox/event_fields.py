"""Events of the user data stream as fields; the time of the push (``E``) is added later.

Amounts equal those of the queries: balances and prices of positions have eight decimal places; prices and quantities of
orders have the digits of their contract.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from binance_pm.sandbox.market import amount
from binance_pm.sandbox.pending_events import Fields
from binance_pm.sandbox.records import ZERO

if TYPE_CHECKING:
    from collections.abc import Iterable

    from binance_pm.sandbox.contracts import Product
    from binance_pm.sandbox.records import HeldPosition, OrderRecord, TradeRecord

_ALIAS: dict[Product, str] = {"UM": "", "CM": "SfsR"}
_FORCED = "autoclose-"


def order_trade_update(order: OrderRecord, kind: str, time: int, notional: tuple[Decimal, Decimal]) -> Fields:
    """Return the event of a futures order.

    Args:
        order: the order afterwards.
        kind: what happened, such as TRADE.
        time: when it happened, in milliseconds since the epoch.
        notional: the value of the open orders of the symbol that buy, and of those that sell.
    """
    contract = order.contract
    is_forced = order.client_order_id.startswith(_FORCED)
    fields: Fields = {
        "s": order.symbol,
        "c": order.client_order_id,
        "S": order.side,
        "o": "LIQUIDATION" if is_forced else order.type,
        "f": order.time_in_force,
        "q": contract.quantity_text(order.quantity),
        "p": contract.price_text(order.price),
        "ap": f"{order.average_price:.5f}",
        "sp": "0",
        "x": "CALCULATED" if is_forced and kind == "NEW" else kind,
        "X": order.status,
        "i": order.order_id,
        **_fill(order, kind),
        "T": time,
        "b": f"{notional[0]:.5f}",
        "a": f"{notional[1]:.5f}",
        "R": order.reduce_only,
        "ps": order.position_side,
        "V": order.self_trade_prevention,
        "gtd": order.good_till,
    }
    if order.strategy_id:
        fields |= {"st": f"C_{order.original_type}", "si": order.strategy_id}
    if kind == "AMENDMENT" and order.amendments[-1].modify_id is not None:
        fields["M"] = str(order.amendments[-1].modify_id)
    return _of_product("ORDER_TRADE_UPDATE", order.product, time) | {"i": _ALIAS[order.product], "o": fields}


def _fill(order: OrderRecord, kind: str) -> Fields:
    """Return the fields of the last fill; all zero if the event is not a fill."""
    contract = order.contract
    done = contract.quantity_text(order.executed)
    if kind != "TRADE":
        asset = contract.settled_in
        return {"l": "0", "z": done, "L": "0", "N": asset, "n": "0", "t": 0, "m": False, "rp": "0"}
    trade = order.trades[-1]
    return {
        "l": contract.quantity_text(trade.quantity),
        "z": done,
        "L": contract.price_text(trade.price),
        "N": trade.commission_asset,
        "n": amount(trade.commission),
        "t": trade.trade_id,
        "m": trade.is_maker,
        "rp": amount(trade.profit),
    }


def account_update(
    product: Product,
    reason: str,
    time: int,
    balances: Iterable[tuple[str, Decimal, Decimal]],
    positions: Iterable[tuple[HeldPosition, Decimal]] = (),
) -> Fields:
    """Return the event of changed balances and positions.

    Args:
        product: UM or CM.
        reason: why they changed, such as ORDER.
        time: when they changed, in milliseconds since the epoch.
        balances: for each asset its name, its balance, and the change without profit and commission.
        positions: each position with its mark price.
    """
    update: Fields = {
        "m": reason,
        "B": [
            {"a": asset, "wb": amount(balance), "cw": amount(balance), "bc": amount(change) if change else "0"}
            for asset, balance, change in balances
        ],
        "P": [_position(position, price) for position, price in positions],
    }
    return _of_product("ACCOUNT_UPDATE", product, time) | {"i": _ALIAS[product], "a": update}


def _position(position: HeldPosition, price: Decimal) -> Fields:
    contract = position.contract
    return {
        "s": contract.symbol,
        "pa": contract.quantity_text(position.amount),
        "ep": amount(position.entry),
        "cr": amount(position.realized),
        "up": amount(contract.gain(position.amount, position.entry, price)) if position.amount else "0",
        "ps": position.side,
        "bep": amount(position.entry),
    }


def account_config_update(product: Product, symbol: str, leverage: int, time: int) -> Fields:
    """Return the event of a changed leverage."""
    return _of_product("ACCOUNT_CONFIG_UPDATE", product, time) | {"ac": {"s": symbol, "l": leverage}}


def _of_product(event: str, product: Product, time: int) -> Fields:
    return {"e": event, "fs": product, "T": time}


def execution_report(order: OrderRecord, kind: str, time: int, number: int) -> Fields:
    """Return the event of a margin order.

    Args:
        order: the order afterwards.
        kind: what happened, such as TRADE.
        time: when it happened, in milliseconds since the epoch.
        number: the number of the report.
    """
    trade = order.trades[-1] if kind == "TRADE" else None
    is_canceled = kind == "CANCELED"
    fields: Fields = {
        "e": "executionReport",
        "s": order.symbol,
        "c": (order.cancel_id or f"cancel-{order.order_id}") if is_canceled else order.client_order_id,
        "S": order.side,
        "o": order.type,
        "f": order.time_in_force,
        "q": amount(order.quantity),
        "p": amount(order.price),
        "P": amount(order.stop_price),
        "g": order.list_id,
        "C": order.client_order_id if is_canceled else "",
        "x": "TRADE_PREVENTION" if order.status == "EXPIRED_IN_MATCH" else kind,
        "X": order.status,
        "r": "NONE",
        "i": order.order_id,
        **_margin_fill(trade),
        "z": amount(order.executed),
        "T": time,
        "I": number,
        "w": order.is_working and order.is_open,
        "O": order.time,
        "Z": amount(order.paid),
        "Q": amount(ZERO),
        "V": order.self_trade_prevention,
    }
    if order.iceberg:
        fields["F"] = amount(order.iceberg)
    if order.is_working:
        fields["W"] = order.time
    return fields | (_prevention(order, number) if order.status == "EXPIRED_IN_MATCH" else {})


def _margin_fill(trade: TradeRecord | None) -> Fields:
    if trade is None:
        none = amount(ZERO)
        return {"l": none, "L": none, "n": "0", "N": None, "t": -1, "m": False, "Y": none}
    return {
        "l": amount(trade.quantity),
        "L": amount(trade.price),
        "n": amount(trade.commission),
        "N": trade.commission_asset,
        "t": trade.trade_id,
        "m": trade.is_maker,
        "Y": amount(trade.quantity * trade.price),
    }


def _prevention(order: OrderRecord, number: int) -> Fields:
    """Return the fields that only a report about self-trade prevention has."""
    prevented = amount(order.remaining)
    return {
        "v": number,
        "u": 1,
        "U": order.counter_id,
        "A": prevented,
        "B": prevented,
        "Cs": order.symbol,
        "pl": prevented,
        "pL": amount(order.price),
        "pY": amount(order.remaining * order.price),
    }


def outbound_account_position(balances: dict[str, tuple[Decimal, Decimal]], time: int, number: int) -> Fields:
    """Return the event of changed margin balances, given as free and locked amounts by asset."""
    rows = [{"a": asset, "f": amount(free), "l": amount(locked)} for asset, (free, locked) in balances.items()]
    return {"e": "outboundAccountPosition", "u": time, "U": number, "B": rows}


def balance_update(asset: str, change: Decimal, time: int, number: int) -> Fields:
    """Return the event of a transfer to cross margin, or from cross margin if the change is negative."""
    return {"e": "balanceUpdate", "a": asset, "d": amount(change), "U": number, "T": time}


def liability_change(
    asset: str, kind: str, transaction: int, *, principal: Decimal, interest: Decimal, total: Decimal
) -> Fields:
    """Return the event of a loan or a repayment."""
    return {
        "e": "liabilityChange",
        "a": asset,
        "t": kind,
        "T": transaction,
        "p": amount(principal),
        "i": amount(interest),
        "l": amount(total),
    }
