"""COIN-M futures: positions, settings and income."""

from __future__ import annotations

from binance_pm.api.cm_conditional_orders import CmConditionalOrders
from binance_pm.api.cm_orders import CmOrders


class Cm(CmOrders, CmConditionalOrders, name="cm"):
    """COIN-M futures, as ``client.cm``."""
