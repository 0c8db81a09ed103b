"""The responses of the simulated endpoints, with the exchange's own names and order.

A new endpoint needs one function: path, parameters, security and weights are in ``facts.json``, with the page that
describes the response.
"""

from __future__ import annotations

from binance_pm.sandbox.handlers import accounts, futures, futures_orders, income
from binance_pm.sandbox.handlers.registry import HANDLERS, Context, Fields

__all__ = ["HANDLERS", "Context", "Fields", "accounts", "futures", "futures_orders", "income"]
