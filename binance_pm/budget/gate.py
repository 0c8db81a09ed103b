"""The gate of one host: closed by a refusal of the exchange until a known time."""

from __future__ import annotations

import math


class Gate:
    """Nothing is sent to the host before `until`. It never opens earlier than it was once said to."""

    def __init__(self) -> None:
        self.until: float = -math.inf
        """Monotonic time at which the gate opens."""
        self.banned: bool = False
        """Whether it was closed by a ban."""

    def close(self, until: float, *, banned: bool) -> None:
        """Keep the gate closed until the given monotonic time at least."""
        self.until = max(self.until, until)
        self.banned = banned or self.banned

    def wait(self, now: float) -> float:
        """Seconds until the gate opens; 0 where it is open."""
        if now >= self.until:
            self.banned = False
            return 0.0
        return self.until - now
