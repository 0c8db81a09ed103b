"""What others on this IP use of the budget, and what is left of the limits."""

from __future__ import annotations

import math
from collections.abc import Mapping

from binance_pm.budget import Budget, LimitType, PoolState
from binance_pm.doctor.check import Check

_MUCH = 0.5
"""The part of a limit from which on others are in the way."""


def check_budget(budget: Budget, *, is_heard: bool) -> Check:
    """What others on this IP were seen to use: the exchange's count less all that can be ours.

    Args:
        budget: what was drawn on.
        is_heard: whether anything was answered.
    """
    states = _counted(budget)
    if not states or not is_heard:
        return Check("budget", "", "not checked", "nothing was answered that tells a count")
    if any(state.closed for state in states):
        return Check("budget", "", "not checked", "this IP is refused, see limits")
    used = [
        f"{state.external:,} of {state.limit:,} in this minute by {_name(state)}" for state in states if state.external
    ]
    if not used:
        return Check("budget", "", "ok", f"nobody else on this IP uses {', '.join(_name(state) for state in states)}")
    what = f"others on this IP used {', '.join(used)}"
    if all(state.external < _MUCH * state.limit for state in states):
        return Check("budget", "", "ok", what)
    return Check("budget", "", "warning", what, "Let the programs on this IP share one budget: SharedBudget.")


def check_limits(budget: Budget, hosts: Mapping[str, str], *, weight: int, is_heard: bool) -> Check:
    """Whether the exchange may be asked now, and how much of it a minute.

    Args:
        budget: what was drawn on.
        hosts: by the budget's name for each host, what it is told as.
        weight: what this examination weighed.
        is_heard: whether anything was answered.
    """
    for host, name in hosts.items():
        gate, now = budget.gate(host), budget.monotonic()
        if wait := gate.wait(now):
            why = "banned this IP" if gate.is_banned(now) else "refused this IP for its limit"
            advice = f"Stop every program on this IP for {math.ceil(wait)} s: what is sent before makes a ban longer."
            if gate.is_banned(now):
                advice = f"{advice} {budget.ban_advice(host)}".rstrip()
            return Check("limits", "", "failed", f"{name} {why}: nothing may be sent for {math.ceil(wait)} s", advice)
    states = _counted(budget)
    if not states or not is_heard:
        return Check("limits", "", "not checked", "nothing was answered")
    told = ", ".join(f"{state.limit:,} for {_name(state)}" for state in states)
    return Check("limits", "", "ok", f"a minute: {told}; this examination weighed {weight}")


def _counted(budget: Budget) -> list[PoolState]:
    """The pools of this IP that were drawn on, by name."""
    return sorted((state for state in budget.snapshot() if state.pool.limit_type is LimitType.IP), key=_name)


def _name(state: PoolState) -> str:
    return state.pool.path or f"/{state.pool.family}"
