"""USD-M futures: positions, settings and income."""

from __future__ import annotations

from binance_pm.declaration import Namespace


class Um(Namespace, name="um"):
    """USD-M futures, as ``client.um``."""
