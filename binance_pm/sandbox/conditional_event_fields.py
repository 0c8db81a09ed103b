"""Events of algo orders, conditional orders and order lists as fields."""

from __future__ import annotations

from typing import TYPE_CHECKING

from binance_pm.sandbox.pending_events import Fields
from binance_pm.sandbox.records import ZERO

if TYPE_CHECKING:
    from binance_pm.sandbox.conditional_records import ConditionalRecord
    from binance_pm.sandbox.records import ListRecord


def trigger_update(record: ConditionalRecord, status: str, time: int) -> Fields:
    """Return the event of an algo order of USD-M or a conditional order of COIN-M."""
    event, name, fields = (
        ("ALGO_UPDATE", "ao", _algo(record, status))
        if record.product == "UM"
        else ("CONDITIONAL_ORDER_TRADE_UPDATE", "so", _strategy(record, status))
    )
    return {"e": event, "fs": record.product, "T": time, name: fields}


def _algo(record: ConditionalRecord, status: str) -> Fields:
    contract, order = record.contract, record.order
    # The order of the algo order has no fill yet at the trigger.
    filled = order if status != "TRIGGERED" else None
    return {
        "caid": record.client_id,
        "aid": record.number,
        "at": "CONDITIONAL",
        "o": record.type,
        "s": contract.symbol,
        "S": record.side,
        "ps": record.position_side,
        "f": record.time_in_force,
        "q": contract.quantity_text(record.quantity),
        "X": status,
        "ai": str(order.order_id) if order else "",
        "ap": f"{filled.average_price if filled else ZERO:.5f}",
        "aq": contract.quantity_text(filled.executed if filled else ZERO),
        "act": order.type if order else "0",
        "tp": contract.price_text(record.trigger_price),
        "p": contract.price_text(record.price),
        "V": record.self_trade_prevention,
        "wt": record.working_type,
        "pm": record.price_match,
        "cp": record.close_position,
        "pP": record.price_protect,
        "R": record.reduce_only,
        "tt": record.trigger_time,
        "gtd": record.good_till,
        "rm": "Order would be rejected." if status == "REJECTED" else "",
        "ia": record.extreme is not None,
    }


def _strategy(record: ConditionalRecord, status: str) -> Fields:
    contract = record.contract
    fields: Fields = {
        "s": contract.symbol,
        "c": record.client_id,
        "si": record.number,
        "S": record.side,
        "st": record.type,
        "f": record.time_in_force,
        "q": contract.quantity_text(record.quantity),
        "p": contract.price_text(record.price) if record.price else "0",
        "sp": contract.price_text(record.trigger_price) if record.trigger_price else "0",
        "os": status,
        "T": record.time,
        "ut": record.update_time,
        "R": record.reduce_only,
        "wt": record.working_type,
        "ps": record.position_side,
        "cp": record.close_position,
        "i": record.order.order_id if record.order else 0,
        "V": record.self_trade_prevention,
        "gtd": record.good_till,
    }
    trailing = {"AP": contract.price_text(record.activate_price), "cr": str(record.callback_rate)}
    return fields | (trailing if record.is_trailing else {})


def list_status(row: ListRecord, time: int) -> Fields:
    """Return the event of an order list."""
    return {
        "e": "listStatus",
        "s": row.symbol,
        "g": row.list_id,
        "c": "OCO",
        "l": "EXEC_STARTED" if row.is_open else "ALL_DONE",
        "L": "EXECUTING" if row.is_open else "ALL_DONE",
        "r": "NONE",
        "C": row.client_id,
        "T": time,
        "O": [{"s": leg.symbol, "i": leg.order_id, "c": leg.client_order_id} for leg in row.legs],
    }
