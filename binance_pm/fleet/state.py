"""The state of a fleet at one moment."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from binance_pm.budget import Budget, PoolState
from binance_pm.fleet.events import AccountSnapshot


class GateState(msgspec.Struct, frozen=True):
    """The gate of one origin."""

    origin: str
    """Scheme, host and port."""
    seconds: float
    """Seconds until the gate opens; 0 if the gate is open."""
    banned: bool = False
    """Whether a 418 closed the gate."""


class FleetState(msgspec.Struct, frozen=True, kw_only=True):
    """The accounts, pools and gates of a fleet at one moment."""

    at: float
    """Seconds since the epoch, by the exchange's clock."""
    accounts: list[AccountSnapshot]
    """In the order of the members; accounts that could not be opened come last."""
    pools: list[PoolState] = []
    """The pools in use, see `Budget.snapshot`."""
    gates: list[GateState] = []
    """One gate for each origin of the fleet and of its pools."""


def gate_states(budget: Budget, origins: Iterable[str]) -> list[GateState]:
    """Return the state of the gate of each origin, sorted by origin."""
    now = budget.monotonic()
    gates = [(origin, budget.gate(origin)) for origin in sorted(set(origins))]
    return [GateState(origin, gate.wait(now), gate.is_banned(now)) for origin, gate in gates]
