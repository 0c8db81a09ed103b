"""The state of a fleet and the outcome of its calls, for Prometheus; the guide "Metrics and alerts" lists the metrics.

This package needs the extra ``metrics``.
"""

from __future__ import annotations

from binance_pm.extras import installation

try:
    from binance_pm.metrics.metrics import Metrics
except ImportError as _missing:
    raise ImportError(f"metrics need the extra `metrics`: {installation('metrics')}", name=_missing.name) from _missing

__all__ = ["Metrics"]
