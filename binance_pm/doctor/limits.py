"""Checks of the external usage of this IP's budget, and of the limits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from binance_pm.budget import Budget, LimitType, PoolState
from binance_pm.doctor.check import Check
from binance_pm.fleet.state import gate_states

_MUCH: Final = 0.5
"""Fraction of a limit at and above which external usage is a problem."""


def check_budget(budget: Budget, *, is_heard: bool) -> Check:
    """Check the external usage that was seen: the exchange's count minus all weight that this process may have used.

    ``is_heard`` tells whether any response came from the exchange.
    """
    states = _counted(budget)
    if not states or not is_heard:
        return Check("budget", "", "not checked", "no response reported a count")
    if any(state.closed for state in states):
        return Check("budget", "", "not checked", "the exchange refuses this IP, see limits")
    used = [f"{state.external:,} of {state.limit:,} on {_name(state)}" for state in states if state.external]
    if not used:
        return Check("budget", "", "ok", f"no external usage of {', '.join(_name(state) for state in states)}")
    what = f"external usage in this minute: {', '.join(used)}"
    if all(state.external < _MUCH * state.limit for state in states):
        return Check("budget", "", "ok", what)
    return Check("budget", "", "warning", what, "Let the programs on this IP share one budget: SharedBudget.")


def check_limits(budget: Budget, hosts: Mapping[str, str], *, weight: int, is_heard: bool) -> Check:
    """Check whether requests may be sent now, and report the limits per minute and the weight of the examination.

    ``hosts`` maps origins to the names of the hosts in the report.
    """
    for gate in gate_states(budget, hosts):
        if gate.seconds:
            why, wait = "banned this IP" if gate.banned else "refused this IP with 429", math.ceil(gate.seconds)
            advice = f"Stop every program on this IP for {wait} s: requests before then make a ban longer."
            if gate.banned:
                advice = f"{advice} {budget.ban_advice(gate.origin)}".rstrip()
            what = f"{hosts[gate.origin]} {why}: nothing may be sent for {wait} s"
            return Check("limits", "", "failed", what, advice)
    states = _counted(budget)
    if not states or not is_heard:
        return Check("limits", "", "not checked", "no response arrived")
    shown = ", ".join(f"{state.limit:,} on {_name(state)}" for state in states)
    return Check("limits", "", "ok", f"per minute: {shown}; weight of this examination: {weight}")


def _counted(budget: Budget) -> list[PoolState]:
    """Return the pools of this IP that were drawn on, sorted by name."""
    return sorted((state for state in budget.snapshot() if state.pool.limit_type is LimitType.IP), key=_name)


def _name(state: PoolState) -> str:
    return state.pool.path or f"/{state.pool.family}"
