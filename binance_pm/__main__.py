"""``python -m binance_pm`` is the command ``binance-pm``."""

from __future__ import annotations

from binance_pm.cli import main

if __name__ == "__main__":
    main()
