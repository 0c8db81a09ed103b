"""Lines of a journal."""

from __future__ import annotations

from typing import Any

import msgspec

from binance_pm import WriteEnded, WriteStarted


def started(name: str, **changed: Any) -> bytes:
    """Return the line before a write with this id."""
    facts: dict[str, Any] = {"label": "desk", "key_id": "1", "origin": "https://papi.binance.com"}
    facts |= {"endpoint": "um.new_order", "parameters": {"symbol": "BTCUSDT"}, "time": 1} | changed
    return msgspec.json.encode(WriteStarted(id=name, **facts)) + b"\n"


def ended(name: str, **changed: Any) -> bytes:
    """Return the line after a write with this id."""
    facts: dict[str, Any] = {"outcome": "done", "time": 2} | changed
    return msgspec.json.encode(WriteEnded(id=name, **facts)) + b"\n"
