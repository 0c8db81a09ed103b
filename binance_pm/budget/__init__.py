"""The budget: what one egress IP may spend, so that the exchange never refuses or bans the IP.

`budget` owns lock, clocks, tasks and listeners, and drives the `scheduler`, which decides by the ledgers of the `pools`
which calls of the `queue` may go. A `ledger` bounds one of the exchange's counters (`pending`, `pacing`, `external`).
`origins` have a clock and a `gate`, and `bans` outlive the program. `shared` keeps the same budget in a store.
"""

from __future__ import annotations

from typing import Final

from binance_pm.budget.budget import Budget
from binance_pm.budget.events import Admitted, BudgetEvent, PoolState, Refused
from binance_pm.budget.plan import Plan, PoolPlan
from binance_pm.budget.reservation import Reservation
from binance_pm.budget.waiting import Waiting, WaitReason
from binance_pm.limits import LIMITS, Charge, Family, Limit, LimitType, Pool, Priority, pool_of

__all__ = [
    "LIMITS",
    "Admitted",
    "Budget",
    "BudgetEvent",
    "Charge",
    "Family",
    "Limit",
    "LimitType",
    "Plan",
    "Pool",
    "PoolPlan",
    "PoolState",
    "Priority",
    "Refused",
    "Reservation",
    "WaitReason",
    "Waiting",
    "pool_of",
    "process_budget",
]

_of_egress: Final[dict[str, Budget]] = {}


def process_budget(egress: str = "") -> Budget:
    """Return the budget that all sessions of this process with the same egress IP share.

    The budget outlives sessions and event loops. A ban outlives the program, too: the ban is kept in
    ``binance-pm/bans.json`` in the user's state directory.

    Args:
        egress: the proxy or the local address through which requests are sent; empty for the default.
    """
    from binance_pm.budget.bans import default_path  # noqa: PLC0415 - importing the package has to be cheap

    budget = _of_egress.get(egress)
    # Two threads may create a budget at the same time: both use the first.
    return budget or _of_egress.setdefault(egress, Budget(bans=default_path(), egress=egress))
