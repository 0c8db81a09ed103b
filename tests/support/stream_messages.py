"""Messages of the user data stream, made from the samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.support.streams import sample


def account_update(
    time: int,
    *,
    unit: str = "UM",
    reason: str = "ORDER",
    balances: Mapping[str, str] | None = None,
    positions: Mapping[str, str] | None = None,
    side: str = "BOTH",
) -> dict[str, Any]:
    """Return an `ACCOUNT_UPDATE` with wallet balances by asset and sizes by symbol."""
    wallets = [{"a": asset, "wb": one, "cw": one, "bc": "0"} for asset, one in (balances or {}).items()]
    sizes = [
        {"s": symbol, "pa": size, "ep": "100", "cr": "0", "up": "0", "ps": side, "bep": "100"}
        for symbol, size in (positions or {}).items()
    ]
    body = {"m": reason, "B": wallets, "P": sizes}
    return {"e": "ACCOUNT_UPDATE", "fs": unit, "E": time + 1, "T": time, "i": "", "a": body}


def order_update(
    time: int,
    order_id: int,
    status: str,
    *,
    symbol: str = "BTCUSDT",
    client_order_id: str = "mine",
    executed: str = "0",
) -> dict[str, Any]:
    """Return an `ORDER_TRADE_UPDATE` of USD-M."""
    order = {"s": symbol, "c": client_order_id, "i": order_id, "X": status, "z": executed, "T": time}
    message = sample("ORDER_TRADE_UPDATE")
    return message | {"E": time + 1, "T": time, "o": message["o"] | order}


def execution_report(time: int, order_id: int, status: str, *, client_order_id: str) -> dict[str, Any]:
    """Return an `executionReport`."""
    changes = {"E": time + 1, "T": time, "i": order_id, "X": status, "c": client_order_id}
    return sample("executionReport") | changes
