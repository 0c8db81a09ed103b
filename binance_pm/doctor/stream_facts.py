"""Observations of an account's user data stream and of its host; no printed form shows a listen key."""

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
    """The earliest time that the exchange's clock may have shown at the arrival, in seconds since the epoch."""
    latest: float
    """The latest such time."""
    message: Secret
    """The message, which may contain a listen key."""
    event: StreamEvent | UnknownEvent | None
    """None if the message is not a valid event."""
    error: str = ""
    """Why the message is not a valid event; empty if it is."""

    @property
    def identity(self) -> Hashable:
        """A value that is equal for two deliveries of the same event."""
        return self.message.reveal() if self.event is None else self.event.identity


def received(at: float, bounds: tuple[float, float], message: bytes) -> ReceivedMessage:
    """Decode a message that has arrived.

    Args:
        at: seconds on the clock of the budget.
        bounds: the earliest and the latest time that the exchange's clock may have shown at the arrival.
        message: the message.
    """
    try:
        return ReceivedMessage(at, *bounds, Secret(message), decode_event(message))
    except ValueError as error:
        return ReceivedMessage(at, *bounds, Secret(message), None, str(error))


class ConnectionFacts(msgspec.Struct, kw_only=True):
    """Observations of one connection; times are in seconds on the clock of the budget."""

    opened_at: float = math.inf
    """When the connection opened; infinite if it never did."""
    failure: str = ""
    """Why the connection could not be opened."""
    ended_at: float = math.inf
    """When the connection ended; infinite if it was open until the end of the watch."""
    why_ended: str = ""
    """Why the connection ended."""
    round_trips: list[float] = []
    """Seconds between each ping and its pong."""
    is_unanswered: bool = False
    """Whether a ping was not answered in time."""
    server_pings: list[float] = []
    """When pings from the server were noticed."""
    arrivals: list[ReceivedMessage] = []
    """The messages, oldest first."""
    dropped: int = 0
    """Number of further messages that were not kept."""

    @property
    def is_opened(self) -> bool:
        """Whether the connection was ever open."""
        return self.opened_at < math.inf


class StreamFacts(msgspec.Struct, kw_only=True):
    """Observations of the stream of one account."""

    product: StreamProduct
    seconds: float
    """How long the stream was to be watched."""
    pong_seconds: float
    """How long a pong may take."""
    first: Secret | PortfolioMarginError | None = None
    """What the first POST returned: a listen key or an error; None if there was no time for the request."""
    second: Secret | PortfolioMarginError | None = None
    """What the second POST returned."""
    keepalive: PortfolioMarginError | None = None
    """The error of PUT; None if PUT succeeded or was not sent."""
    last: Secret | PortfolioMarginError | None = None
    """What the POST after the watch returned."""
    older: ConnectionFacts = msgspec.field(default_factory=ConnectionFacts)
    """The connection that was opened first."""
    newer: ConnectionFacts = msgspec.field(default_factory=ConnectionFacts)
    """The connection that was opened second, with the same key."""
    answers: dict[str, Any] = {}
    """The response or error of each read after the watch, by endpoint."""

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
        """The messages of both connections, oldest first; an event that arrived on both is listed once."""
        known = {one.identity for one in self.older.arrivals}
        merged = [*self.older.arrivals, *(one for one in self.newer.arrivals if one.identity not in known)]
        return sorted(merged, key=lambda one: one.at)


class UnknownKeyFacts(msgspec.Struct, frozen=True):
    """Observations of a connection with a made-up listen key."""

    outcome: Literal["silent", "answered", "refused", "closed", "failed"]
    """Open without a message; open with a message; refused in the handshake; closed after the handshake; not made."""
    why: str = ""
    """Why the connection was refused, closed or not made."""
