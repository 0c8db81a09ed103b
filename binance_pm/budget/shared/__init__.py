"""A budget that several processes share through Redis or Valkey."""

from __future__ import annotations

from binance_pm.budget.shared.budget import SharedBudget

__all__ = ["SharedBudget"]
