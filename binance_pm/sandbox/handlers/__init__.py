"""The responses of all endpoints, with the exchange's own names and order.

A new endpoint needs one function: path, parameters, security and weights are in ``facts.json``, with the page that
describes the response.
"""

from __future__ import annotations

from binance_pm.sandbox.handlers import (
    accounts,
    conditional_orders,
    downloads,
    futures,
    futures_orders,
    income,
    loans,
    margin_orders,
    settings,
    transfers,
)
from binance_pm.sandbox.handlers.registry import HANDLERS, Context, Fields

_TOPICS = (
    accounts,
    conditional_orders,
    downloads,
    futures,
    futures_orders,
    income,
    loans,
    margin_orders,
    settings,
    transfers,
)

__all__ = ["HANDLERS", "Context", "Fields"]
