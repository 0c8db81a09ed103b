"""The budget: what one egress IP may spend, so that the exchange never refuses or bans it.

`ledger` bounds one of the exchange's counters and paces what draws on it, `external` watches what other programs on the
IP use, `queue` decides who is next, `gate` keeps a host closed after a refusal, `bans` outlive the program, `plan` says
what fits, `anomalies` are logged if the count is not as believed, `events` is what can be observed, and `waiting` says
what a call waits for. A `reservation` is one call's weight; `budget` joins them.
"""

from __future__ import annotations

from typing import Final

from binance_pm.budget.bans import default_path
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
    """The budget that every session of this process with the same way out shares.

    It outlives sessions and event loops: a ban is not forgotten by opening a new client, nor by starting the program
    again: it is kept in ``binance-pm/bans.json`` in the user's directory for state.

    Args:
        egress: the proxy through which requests leave, or the address of this machine; empty for the usual way.
    """
    budget = _of_egress.get(egress)
    # Two threads may make one at once: that of the first is everybody's.
    return budget or _of_egress.setdefault(egress, Budget(bans=default_path(), egress=egress))
