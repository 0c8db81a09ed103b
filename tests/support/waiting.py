"""Wait in real time until another thread or process has done something."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_until(holds: Callable[[], object], *, seconds: float = 10.0) -> None:
    """Wait until the condition holds, and fail if it does not hold in time."""
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, "the condition does not hold in time"
        time.sleep(0.005)
