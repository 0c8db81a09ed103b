"""What a stream yields: events of the exchange, and reports about itself; and what it counts."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from binance_pm.api.stream_events import Event, UnknownEvent


class StreamUp(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The stream is up for the first time. Only observers receive this; later, `StreamGap` says that it is up."""

    at: float
    """Seconds since the epoch, by the exchange's clock."""


class StreamDown(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The stream is down: no event arrives until the next `StreamGap`."""

    since: float
    """Seconds since the epoch, by the exchange's clock: everything that was pushed before this time was received."""
    why: str
    """What happened, such as ``"the connection broke"``."""


class StreamGap(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Events may be missing between the previous event and the next one; the stream is up."""

    since: float
    """Seconds since the epoch, by the exchange's clock: everything that was pushed before this time was received."""
    until: float
    """Seconds since the epoch, by the exchange's clock: everything that is pushed after this time will be received."""
    why: str
    """What happened, such as ``"the connection broke"``."""
    lost: int | None = None
    """How many events are missing; None if this is not known."""


AnyEvent: TypeAlias = Event | UnknownEvent
"""An event of the exchange."""

StreamItem: TypeAlias = AnyEvent | StreamDown | StreamGap
"""What a stream yields."""


class StreamCounts:
    """What a stream has counted since it was opened."""

    __slots__ = ("gaps", "lost", "reconnects", "rotations")

    def __init__(self) -> None:
        self.gaps: int = 0
        """Reported gaps."""
        self.lost: int = 0
        """Events that are known to be lost."""
        self.reconnects: int = 0
        """Connections that were opened after the stream had been down."""
        self.rotations: int = 0
        """Connections that were replaced by new ones as planned."""
