"""The gate of one host: closed by a refusal of the exchange until a known time."""

from __future__ import annotations

import math


class Gate:
    """Nothing is sent to the host before `until`. It never opens earlier than it was once said to."""

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
        """Seconds until the gate opens; 0 where it is open."""
        return max(0.0, self.until - now)

    def is_banned(self, now: float) -> bool:
        """Whether a ban keeps it closed."""
        return now < self._ban_ends
