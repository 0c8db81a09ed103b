"""What a fleet knows and what its calls meet, for Prometheus; the docs name every metric: "Metrics and alerts".

It needs the extra ``metrics``.
"""

from __future__ import annotations

try:
    from binance_pm.metrics.metrics import Metrics
except ImportError as _missing:
    raise ImportError(
        "metrics need the extra `metrics`: pip install 'binance-pm[metrics]'", name=_missing.name
    ) from _missing

__all__ = ["Metrics"]
