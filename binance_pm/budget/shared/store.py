"""Where the processes behind one egress IP keep their shared budget."""

from __future__ import annotations

from typing import Final, Protocol

from binance_pm.budget.shared.messages import Message, Reply

PLACE_SECONDS: Final = 1.0
"""A process in front is expected to ask again when it was told to; then for so long."""
TURN: Final = 0.02
"""Seconds after which a process asks again that came before its turn."""
STEP_SECONDS: Final = 60.0
"""The end of a lease that is farther ahead was set before the store's clock stepped back."""
UNUSED_SECONDS: Final = 600.0
"""A pool or host that nobody used for so long is forgotten when a new one comes; a gate that is closed is not."""
IDLE_SECONDS: Final = 3600.0
"""A budget that nobody uses for so long vanishes, but not before its gates have opened."""


class Store(Protocol):
    """One step after another, for one thread: each blocks."""

    def exchange(self, message: Message) -> Reply:
        """Tell what happened and hear what may be done.

        Raises:
            StoreLost: no reply came. The message can be sent again with its number.
        """
        ...

    def close(self) -> None:
        """Close what is open; `exchange` would open it anew."""
        ...
