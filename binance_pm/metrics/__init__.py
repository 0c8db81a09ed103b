"""What a fleet knows and what its calls meet, for Prometheus; the docs name every metric: "Metrics and alerts".

It needs the extra ``metrics``.
"""

from __future__ import annotations

from binance_pm.extras import installation

try:
    from binance_pm.metrics.metrics import Metrics
except ImportError as _missing:
    raise ImportError(f"metrics need the extra `metrics`: {installation('metrics')}", name=_missing.name) from _missing

__all__ = ["Metrics"]
