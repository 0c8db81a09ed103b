"""Which events have been seen, so that each is passed on once."""

from __future__ import annotations

from collections.abc import Hashable
from itertools import islice
from typing import Final

REMEMBERED: Final = 256
"""How many identities are remembered while only one connection is open."""


class SeenEvents:
    """The identities of the latest events, and of all events while two connections overlap.

    Args:
        remembered: how many identities are remembered while only one connection is open.
    """

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered: Final = remembered
        # A dict, because it keeps the order.
        self._identities: Final[dict[Hashable, None]] = {}
        self._is_overlap: bool = False
        self.duplicates: int = 0
        """How many duplicates were dropped."""

    def __len__(self) -> int:
        return len(self._identities)

    def __contains__(self, identity: Hashable) -> bool:
        return identity in self._identities

    def is_new(self, identity: Hashable) -> bool:
        """Record an event; return whether it is passed on."""
        identities = self._identities
        if identity in identities:
            self.duplicates += 1
            return False
        identities[identity] = None
        if len(identities) > self._remembered and not self._is_overlap:
            del identities[next(iter(identities))]
        return True

    def begin_overlap(self) -> None:
        """Forget nothing from now on: the same events may arrive on a second connection, much later."""
        self._is_overlap = True

    def end_overlap(self) -> None:
        """Forget all but the latest events."""
        self._is_overlap = False
        for identity in list(islice(self._identities, max(0, len(self._identities) - self._remembered))):
            del self._identities[identity]
