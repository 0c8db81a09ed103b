"""The state of the pools of a budget, and the events of its calls."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from binance_pm.budget.waiting import Waiting
from binance_pm.errors import CallInfo
from binance_pm.limits import Pool, Priority


class PoolState(msgspec.Struct, frozen=True):
    """One pool at one moment, in weight of the current minute."""

    pool: Pool
    """The pool."""
    limit: int
    """Weight per minute that the exchange allows."""
    used: int
    """The most that the exchange can have counted, calls in flight included."""
    in_flight: int
    """Of `used`: calls without a response that were not given up."""
    cap: int
    """The part of the limit that may be used now."""
    reserve: int
    """The part of `cap` that is kept for orders and rescues."""
    external: int
    """The weight of the latest minute that other programs on the IP surely used."""
    closed: float
    """Seconds until the gate of the origin opens; 0 if the gate is open."""
    waiting: Mapping[Priority, int]
    """How many calls wait for the pool, by priority."""
    waiting_for: Waiting | None = None
    """What most of these calls wait for; None if no call waits."""


class Admitted(msgspec.Struct, frozen=True):
    """A call got its weight."""

    call: CallInfo
    """The call that got its weight."""
    priority: Priority
    """The priority of the call."""
    waited: float
    """Seconds for which the call waited."""


class Refused(msgspec.Struct, frozen=True):
    """The exchange refused a call, and the gate of its origin is closed."""

    origin: str
    """The origin that refused, such as ``https://papi.binance.com``."""
    status: int | None
    """None if another process that shares the budget was refused."""
    banned: bool
    """Whether the refusal is a ban (418)."""
    seconds: float
    """Seconds until the gate opens."""


BudgetEvent = Admitted | Refused


def shown(state: PoolState) -> str:
    """Return the state in a few words."""
    waiting = "".join(
        f", {number} {priority.name.lower()} waiting" for priority, number in state.waiting.items() if number
    )
    closed = f", closed for {state.closed:.0f} s" if state.closed else ""
    return f"{state.pool.name} {state.used}/{state.limit}{waiting}{closed}"
