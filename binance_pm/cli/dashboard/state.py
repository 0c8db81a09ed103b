"""Everything that is known of a fleet at one moment."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from binance_pm.budget import PoolState
from binance_pm.fleet import AccountSnapshot, Fleet


class ClosedGate(msgspec.Struct, frozen=True):
    """A host that must not be asked now."""

    origin: str
    seconds: float
    """Until it may be asked again."""
    banned: bool


class FleetState(msgspec.Struct, frozen=True, kw_only=True):
    """What a screen shows."""

    at: float
    """Seconds since the epoch."""
    accounts: list[AccountSnapshot]
    pools: list[PoolState] = []
    gates: list[ClosedGate] = []


def observe(fleet: Fleet, *, at: float) -> FleetState:
    """What is known of an open fleet now.

    Args:
        fleet: it is watched.
        at: the time, seconds since the epoch.
    """
    budget = fleet.budget
    pools, now = budget.snapshot(), budget.monotonic()
    gates = {host: budget.gate(host) for host in sorted({*fleet.origins, *(state.pool.origin for state in pools)})}
    return FleetState(
        at=at,
        accounts=fleet.snapshot(),
        pools=pools,
        gates=[ClosedGate(host, gate.wait(now), gate.is_banned(now)) for host, gate in gates.items() if gate.wait(now)],
    )


def aged(pictures: Iterable[AccountSnapshot], seconds: float) -> list[AccountSnapshot]:
    """The same pictures, seconds later, if nothing was read since."""
    return [_aged(picture, seconds) for picture in pictures]


def _aged(picture: AccountSnapshot, seconds: float) -> AccountSnapshot:
    age = None if picture.age is None else picture.age + seconds
    ages = {name: None if since is None else since + seconds for name, since in picture.ages.items()}
    return msgspec.structs.replace(
        picture, age=age, ages=ages, is_stale=picture.is_stale or (age or 0.0) > picture.bound
    )
