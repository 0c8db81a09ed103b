"""What was observed of the user data streams of an account and of their host; no textual form shows a listen key."""

from __future__ import annotations

import math
from typing import Any, Literal

import msgspec

from binance_pm.errors import PortfolioMarginError
from binance_pm.signing import Secret
from binance_pm.stream.shared import Product


class ReceivedMessage(msgspec.Struct, frozen=True):
    """A message that has arrived."""

    at: float
    """Seconds on the clock of the budget."""
    earliest: float
    """The earliest time that the exchange's clock may have shown then, in seconds since the epoch."""
    latest: float
    """The latest such time."""
    message: Secret
    """The message, which may contain a listen key."""


class ConnectionFacts(msgspec.Struct, kw_only=True):
    """What was observed of one connection; times in seconds on the clock of the budget."""

    opened_at: float = math.inf
    """When the connection was open; infinite if it was never open."""
    failure: str = ""
    """Why the connection could not be opened."""
    ended_at: float = math.inf
    """When the connection ended; infinite if it was open until the end of the watch."""
    why_ended: str = ""
    """Why it ended."""
    round_trips: list[float] = []
    """Seconds between each ping and its pong."""
    is_unanswered: bool = False
    """Whether a ping was not answered in time."""
    server_pings: list[float] = []
    """When pings of the server were noticed."""
    arrivals: list[ReceivedMessage] = []
    """The messages, oldest first."""
    dropped: int = 0
    """How many further messages were not kept."""

    @property
    def is_opened(self) -> bool:
        """Whether the connection was ever open."""
        return self.opened_at < math.inf


class StreamFacts(msgspec.Struct, kw_only=True):
    """What was observed of the stream of one account."""

    product: Product
    seconds: float
    """How long the stream was watched, as wished."""
    pong_seconds: float
    """How long a pong may take."""
    first: Secret | PortfolioMarginError | None = None
    """What POST returned at first: a listen key or an error; None if there was no time for the request."""
    second: Secret | PortfolioMarginError | None = None
    """What the next POST returned."""
    keepalive: PortfolioMarginError | None = None
    """The error of PUT."""
    last: Secret | PortfolioMarginError | None = None
    """What POST returned after the watch."""
    older: ConnectionFacts = msgspec.field(default_factory=ConnectionFacts)
    """The connection that was opened first."""
    newer: ConnectionFacts = msgspec.field(default_factory=ConnectionFacts)
    """The connection that was opened second, with the same key."""
    answers: dict[str, Any] = {}
    """The responses of reads after the watch by endpoint, or the error of each."""

    @property
    def key(self) -> Secret | None:
        """The listen key that the connections use; None if no POST has returned one."""
        return next((key for key in (self.second, self.first) if isinstance(key, Secret)), None)

    @property
    def connections(self) -> tuple[ConnectionFacts, ConnectionFacts]:
        """Both connections."""
        return self.older, self.newer


class UnknownKeyFacts(msgspec.Struct, frozen=True):
    """What happened to a connection with a listen key that was made up."""

    outcome: Literal["silent", "answered", "refused", "closed", "failed"]
    """Open and silent; open, and a message arrived; refused in the handshake; closed after it; or not connected."""
    why: str = ""
    """Why the connection was refused, closed or not made."""
