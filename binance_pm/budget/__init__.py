"""The budget: what one egress IP may spend, so that the exchange never refuses or bans it.

`pools` says what the exchange counts, `ledger` bounds one counter, `gate` keeps a refused host closed, `budget` joins
them and queues the calls.
"""

from __future__ import annotations

import threading
from typing import Final

from binance_pm.budget.budget import Budget, PoolState, Reservation
from binance_pm.budget.pools import RULES, Charge, Family, Kind, Pool, Rule, pool_of

__all__ = [
    "RULES",
    "Budget",
    "Charge",
    "Family",
    "Kind",
    "Pool",
    "PoolState",
    "Reservation",
    "Rule",
    "pool_of",
    "process_budget",
]

_lock: Final = threading.Lock()
_budgets: Final[dict[str, Budget]] = {}


def process_budget(egress: str = "") -> Budget:
    """The budget that every session of this process with the same way out shares.

    It outlives sessions and event loops: a ban is not forgotten by opening a new client.

    Args:
        egress: the proxy through which requests leave, empty where there is none.
    """
    with _lock:
        return _budgets.setdefault(egress, Budget())
