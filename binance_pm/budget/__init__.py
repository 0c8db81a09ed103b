"""The budget: what one egress IP may spend, so that the exchange never refuses or bans it.

`pools` says what the exchange counts, `ledger` bounds one counter and paces what draws on it, `foreign` watches what
others use, `queue` says who is next in which of the `lanes`, `gate` keeps a refused host closed, `bans` outlive the
program, `plan` says what fits, `doubts` are logged where the count is not as believed, `state` is what can be seen, and
`waiting` what a call waits for. A `reservation` is one call's weight; `budget` joins them.

Several processes share one by way of a `store`: `messages` says what they tell each other, `share` and `peer` are the
side of a process, `redis` is a store, `courier` carries the messages, `shared` joins them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from binance_pm.budget.bans import default_path
from binance_pm.budget.budget import Budget
from binance_pm.budget.lanes import Lane
from binance_pm.budget.plan import Plan, PoolPlan
from binance_pm.budget.pools import RULES, Charge, Family, Kind, Pool, Rule, pool_of
from binance_pm.budget.reservation import Reservation
from binance_pm.budget.state import Admitted, BudgetEvent, PoolState, Refused
from binance_pm.budget.waiting import Waiting, WaitReason

if TYPE_CHECKING:
    from binance_pm.budget.shared import SharedBudget

__all__ = [
    "RULES",
    "Admitted",
    "Budget",
    "BudgetEvent",
    "Charge",
    "Family",
    "Kind",
    "Lane",
    "Plan",
    "Pool",
    "PoolPlan",
    "PoolState",
    "Refused",
    "Reservation",
    "Rule",
    "SharedBudget",
    "WaitReason",
    "Waiting",
    "pool_of",
    "process_budget",
]

_of_egress: Final[dict[str, Budget]] = {}


def __getattr__(name: str) -> object:
    # Whoever does not share a budget does not pay for it.
    if name == "SharedBudget":
        from binance_pm.budget.shared import SharedBudget  # noqa: PLC0415

        return SharedBudget
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


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
