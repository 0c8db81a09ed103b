"""The errors of calls that get no weight."""

from __future__ import annotations

import math

from binance_pm.budget.reservation import Reservation
from binance_pm.errors import BudgetExceeded, GateClosed


def refusal(
    reservation: Reservation, wait: float, now: float, *, never: bool, advice: str
) -> BudgetExceeded | GateClosed:
    """Return the error of a call that waits in vain.

    Args:
        reservation: of the call.
        wait: seconds until the weight may be free.
        now: monotonic time.
        never: whether the weight never fits.
        advice: what to do about a ban.
    """
    left = reservation.deadline - now
    if never:
        what = "it weighs more than the exchange allows in a minute"
    elif reservation.gate.wait(now) > max(left, 0.0):
        return gate_closed(reservation, now, advice=advice)
    elif left <= 0 < reservation.max_wait:
        what = f"it waited for {reservation.max_wait:g} s, as long as max_wait allows"
    elif left < wait < math.inf:
        what = f"its weight is free in {wait:.1f} s at the earliest, later than max_wait allows"
    else:
        what = "timed out after max_wait behind other queued calls"
    return BudgetExceeded(reservation.call, what, wait=math.inf if never else wait)


def gate_closed(reservation: Reservation, now: float, *, advice: str) -> GateClosed:
    """Return the error of a call that may not be sent because the gate of its origin is closed."""
    gate = reservation.gate
    until = reservation.clock.milliseconds() / 1000 + gate.wait(now)
    banned = gate.is_banned(now)
    what = f"the gate of {reservation.origin} is closed for {gate.wait(now):.1f} s more" + " by a ban" * banned
    if banned and advice:
        what += f". {advice.removesuffix('.')}"
    return GateClosed(reservation.call, what, until=until, banned=banned)
