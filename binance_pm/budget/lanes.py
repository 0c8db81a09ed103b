"""Which calls go first."""

from __future__ import annotations

from enum import IntEnum


class Lane(IntEnum):
    """What a call is for: a lower one is served first."""

    ORDERS = 0
    """Orders and rescues: never paced, and some weight is kept for them."""
    POLLS = 1
    """Readings that are repeated: paced where all of them together would outrun the limit."""
    HISTORY = 2
    """What has time: it is served when no poll waits."""
