"""Where the processes behind one egress IP keep their shared budget."""

from __future__ import annotations

from typing import Final, Protocol

from binance_pm.budget.shared.messages import Message, Reply

PLACE_SECONDS: Final = 1.0
"""Seconds for which a demand keeps its place after the time at which it should be repeated."""
TURN: Final = 0.02
"""Seconds after which a process that came before its turn asks again."""
STEP_SECONDS: Final = 60.0
"""A lease that ends more seconds ahead was made before the store's clock stepped back."""
UNUSED_SECONDS: Final = 600.0
"""Seconds after which an unused pool or origin is forgotten when a new one comes; a closed gate is not."""
IDLE_SECONDS: Final = 3600.0
"""Seconds after which an unused budget expires, but not before its gates have opened."""


class Store(Protocol):
    """A store of shared budgets, used by one thread; each step blocks."""

    def exchange(self, message: Message) -> Reply:
        """Send a message and return the reply.

        Raises:
            StoreLost: no reply came. The message can be sent again under its number.
        """
        ...

    def close(self) -> None:
        """Close the connection; `exchange` would open it again."""
        ...
