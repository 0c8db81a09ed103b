"""What was observed of the user data streams of an account and of their host; no textual form shows a listen key."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Any, Literal

import msgspec

from binance_pm.api.futures_events import StreamEvent
from binance_pm.api.stream_events import UnknownEvent, decode_event
from binance_pm.errors import PortfolioMarginError
from binance_pm.signing import Secret
from binance_pm.stream.shared import StreamProduct


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
    event: StreamEvent | UnknownEvent | None
    """None if the message is not a valid event."""
    error: str = ""
    """Why it is not."""

    @property
    def identity(self) -> Hashable:
        """What two deliveries of the same event have in common."""
        return self.message.reveal() if self.event is None else self.event.identity


def received(at: float, bounds: tuple[float, float], message: bytes) -> ReceivedMessage:
    """Return a message that has arrived, decoded.

    Args:
        at: seconds on the clock of the budget.
        bounds: the earliest and the latest time that the exchange's clock may have shown then.
        message: the message.
    """
    try:
        return ReceivedMessage(at, *bounds, Secret(message), decode_event(message))
    except ValueError as error:
        return ReceivedMessage(at, *bounds, Secret(message), None, str(error))


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

    product: StreamProduct
    seconds: float
    """How long the stream was to be watched."""
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

    @property
    def arrivals(self) -> list[ReceivedMessage]:
        """The messages of both connections, oldest first; an event that has arrived on both is listed once."""
        known = {one.identity for one in self.older.arrivals}
        merged = [*self.older.arrivals, *(one for one in self.newer.arrivals if one.identity not in known)]
        return sorted(merged, key=lambda one: one.at)


class UnknownKeyFacts(msgspec.Struct, frozen=True):
    """What happened to a connection with a listen key that was made up."""

    outcome: Literal["silent", "answered", "refused", "closed", "failed"]
    """Open and silent; open, and a message arrived; refused in the handshake; closed after it; or not connected."""
    why: str = ""
    """Why the connection was refused, closed or not made."""
