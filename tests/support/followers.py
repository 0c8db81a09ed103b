"""Connections of user data streams without a socket."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from binance_pm.sandbox import StreamFault
    from binance_pm.sandbox.stream_faults import StreamProduct


class FakeFollower:
    """A connection that keeps what the exchange sends, oldest first."""

    def __init__(self, *keys: str, product: StreamProduct = "pm") -> None:
        self.keys = set(keys)
        self.product: StreamProduct = product
        self.opened = 0.0
        self.messages: list[bytes] = []
        self.faults: list[StreamFault] = []
        self.closed: tuple[int, str] | None = None
        self.checks = 0

    def deliver(self, key: str, event_type: str, message: bytes) -> None:
        """Keep a message of a key that the connection follows."""
        assert key in self.keys
        assert json.loads(message)["e"] == event_type
        self.messages.append(message)

    def apply(self, fault: StreamFault) -> None:
        """Keep a fault."""
        self.faults.append(fault)

    def close(self, code: int, reason: str) -> None:
        """Keep the code and reason."""
        self.closed = code, reason

    def check(self, now: float) -> None:
        """Count the checks of the clock."""
        assert now >= self.opened
        self.checks += 1

    def take(self) -> list[dict[str, Any]]:
        """Return the events received since the last call."""
        taken, self.messages = [json.loads(message) for message in self.messages], []
        return taken
