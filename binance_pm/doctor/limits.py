"""Checks of the external usage of this IP's budget, and of the limits."""

from __future__ import annotations

import math
from collections.abc import Mapping

from binance_pm.budget import Budget, LimitType, PoolState
from binance_pm.doctor.check import Check
from binance_pm.fleet.state import gate_states

_MUCH = 0.5
"""Fraction of a limit at and above which external usage is a problem."""


def check_budget(budget: Budget, *, is_heard: bool) -> Check:
    """Check the external usage that was seen: the exchange's count minus all weight that this process may have used.

    Args:
        budget: the budget of the examination.
        is_heard: whether any response came from the exchange.
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
    """Check whether requests may be sent now, and report the limits per minute.

    Args:
        budget: the budget of the examination.
        hosts: the name in the report of each host, by origin.
        weight: the weight of this examination.
        is_heard: whether any response came from the exchange.
    """
    for gate in gate_states(budget, hosts):
        if gate.seconds:
            why, wait = "banned this IP" if gate.banned else "refused this IP for its limit", math.ceil(gate.seconds)
            advice = f"Stop every program on this IP for {wait} s: what is sent before makes a ban longer."
            if gate.banned:
                advice = f"{advice} {budget.ban_advice(gate.origin)}".rstrip()
            what = f"{hosts[gate.origin]} {why}: nothing may be sent for {wait} s"
            return Check("limits", "", "failed", what, advice)
    states = _counted(budget)
    if not states or not is_heard:
        return Check("limits", "", "not checked", "nothing was answered")
    told = ", ".join(f"{state.limit:,} for {_name(state)}" for state in states)
    return Check("limits", "", "ok", f"a minute: {told}; this examination weighed {weight}")


def _counted(budget: Budget) -> list[PoolState]:
    """Return the pools of this IP that were drawn on, sorted by name."""
    return sorted((state for state in budget.snapshot() if state.pool.limit_type is LimitType.IP), key=_name)


def _name(state: PoolState) -> str:
    return state.pool.path or f"/{state.pool.family}"
