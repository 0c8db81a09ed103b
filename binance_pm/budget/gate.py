"""The gate of one origin: closed by a refusal of the exchange until a known time."""

from __future__ import annotations

import math
from typing import Final

from binance_pm.limits import Feedback

LONGEST_BAN: Final = 3 * 86400.0
"""Seconds; bans last two minutes to three days (general-info, read 2026-11-21)."""
_DEFAULT_BAN: Final = 120.0
# The earliest time of the exchange's clock may be behind it by so much: a ban of three days then seems longer.
_BEHIND: Final = 180.0
# The firewall documents no duration. Only a 429 or 418 may ask for more than a minute.
_FIREWALL_WAIT: Final = 60.0


class Gate:
    """The gate of one origin, to which nothing is sent before `until`. `until` never moves backwards."""

    def __init__(self) -> None:
        self.until: float = -math.inf
        """Monotonic time at which the gate opens."""
        self._ban_ends: float = -math.inf

    def close(self, until: float, *, banned: bool) -> None:
        """Keep the gate closed until the given monotonic time at least."""
        self.until = max(self.until, until)
        if banned:
            self._ban_ends = max(self._ban_ends, until)

    def wait(self, now: float) -> float:
        """Return the seconds until the gate opens; 0 if the gate is open."""
        return max(0.0, self.until - now)

    def ban_left(self, now: float) -> float:
        """Return the seconds until the last ban ends; 0 if there is none."""
        return max(0.0, self._ban_ends - now)

    def is_banned(self, now: float) -> bool:
        """Return whether a ban keeps the gate closed."""
        return now < self._ban_ends


def closing_seconds(
    feedback: Feedback,
    *,
    bounds: tuple[float, float],
    minute: float,
    wall: float = math.inf,
    is_synchronised: bool = True,
) -> float:
    """Return for how many seconds a refusal closes the gate.

    Args:
        feedback: the facts of the refusal.
        bounds: the earliest and the latest time that the exchange's clock can show now.
        minute: seconds of the exchange's minute.
        wall: what this machine's clock shows, seconds since the epoch.
        is_synchronised: whether the bounds are the exchange's; if not, the refusal's own `Date` counts as well.
    """
    earliest, latest = bounds
    clocks = [earliest, wall] if is_synchronised or feedback.date is None else [earliest, wall, feedback.date]
    asked = max(feedback.retry_in or 0.0, _seconds_until(feedback.retry_at, clocks))
    # The bounds are as wide as an absurd history has made them.
    turn = min(minute * (math.floor(latest / minute) + 1) - earliest, 2 * minute)
    if feedback.limit == "ban":
        wait = max(asked, _seconds_until(feedback.banned_until, clocks)) or _DEFAULT_BAN
    else:
        wait = _FIREWALL_WAIT if feedback.limit == "firewall" else max(asked, turn)
    return min(wait, LONGEST_BAN)


def _seconds_until(moment: float | None, clocks: list[float]) -> float:
    """Return the seconds to a time by the slowest clock that is not days off; 0 if the time has passed by all."""
    if moment is None:
        return 0.0
    left = [moment - clock for clock in clocks]
    return max(0.0, max((seconds for seconds in left if seconds <= LONGEST_BAN + _BEHIND), default=LONGEST_BAN))
