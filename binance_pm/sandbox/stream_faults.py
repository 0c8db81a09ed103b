"""Faults of user data streams: a fault as data, and the effect of faults on the events of one connection."""

from __future__ import annotations

from typing import Literal, get_args

import msgspec

StreamProduct = Literal["pm", "pro"]
"""The stream of Portfolio Margin, or that of Portfolio Margin Pro."""

Delivery = Literal["all", "newest", "oldest"]
"""Which connections of a listen key receive its events."""

ConnectionFault = Literal[
    "break",
    "close",
    "half_open",
    "silent",
    "slow",
    "duplicate",
    "reorder",
    "garbage",
    "bad_frame",
    "no_pongs",
    "no_pings",
    "shutdown",
    "heal",
]
AccountFault = Literal["delete_key", "expire_key"]


class StreamFault(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One fault of user data streams. ``POST /sandbox/streams/faults`` accepts it as JSON.

    A fault is applied at once to the open connections that it selects:

    * ``break``: the connection is aborted, without a close frame
    * ``close``: the server sends a close frame with ``code`` and ``reason``
    * ``half_open``: the server sends and reads nothing more, but the connection stays open
    * ``silent``: pings are answered, but no event is sent, for ``seconds`` or until the connection ends
    * ``slow``: each event is sent ``seconds`` later
    * ``duplicate``: the next ``times`` events are sent twice
    * ``reorder``: each of the next ``times`` events is sent after the next event of another type, or after ``seconds``
    * ``garbage``: the next ``times`` events are cut in the middle, so that they are not JSON
    * ``bad_frame``: the server sends a frame that violates the websocket protocol
    * ``no_pongs``: events are sent, but pings are not answered
    * ``no_pings``: the server sends no pings
    * ``shutdown``: the server sends the event ``serverShutdown``
    * ``heal``: ends ``silent``, ``slow``, ``no_pongs`` and ``no_pings``

    Two faults are applied to the listen key of each selected account instead:

    * ``delete_key``: the key is deleted, as another program of the account could do; nothing is pushed
    * ``expire_key``: the key expires; ``listenKeyExpired`` is pushed twice, and the connection stays open

    For a listen key that cannot be created or a stale REST response, use `Fault`: ``Fault(method="POST",
    path="/papi/v1/listenKey", status=503, effect=False)``, ``Fault(method="GET", stale=5, times=None)``.

    Raises:
        ValueError: ``times`` is below 1, or ``seconds`` is below 0.
    """

    kind: ConnectionFault | AccountFault
    """The kind of the fault."""
    account: str | None = None
    """Label of the account that the fault applies to; None for all accounts."""
    product: StreamProduct = "pm"
    """The stream that the fault applies to."""
    connections: Delivery = "all"
    """Which of an account's connections the fault applies to."""
    code: int = 1001
    """The code of the close frame."""
    reason: str = ""
    """The reason in the close frame."""
    seconds: float = 0.0
    """Duration or delay; 0 means no end for ``silent``, and 0.2 seconds for ``reorder``."""
    times: int = 1
    """How many events the fault applies to."""

    def __post_init__(self) -> None:
        if self.times < 1:
            raise ValueError("times is less than 1: give a number of events")
        if self.seconds < 0:
            raise ValueError("seconds is below 0: give a duration")

    @property
    def is_of_key(self) -> bool:
        """Whether the fault applies to listen keys, not to connections."""
        return self.kind in get_args(AccountFault)


class EventFilter:
    """The effect of faults on the events of one connection: the messages to send for each event, in order.

    Pure: the connection sends the messages.

    Attributes:
        is_silent: whether no event is sent.
        duplicates: how many of the next events are sent twice.
        reorders: how many of the next events are sent after an event of another type.
        garbage: how many of the next events are cut.
    """

    def __init__(self) -> None:
        self.is_silent: bool = False
        self.duplicates: int = 0
        self.reorders: int = 0
        self.garbage: int = 0
        self._held: tuple[str, bytes] | None = None

    def inject(self, kind: Literal["duplicate", "reorder", "garbage"], times: int) -> None:
        """Apply a fault to the next events."""
        match kind:
            case "duplicate":
                self.duplicates += times
            case "reorder":
                self.reorders += times
            case "garbage":
                self.garbage += times

    def pass_on(self, event_type: str, message: bytes) -> list[bytes]:
        """Return the messages to send for the next event."""
        if self.is_silent:
            return []
        if self.garbage:
            self.garbage -= 1
            message = message[: len(message) // 2]
        messages = [message]
        if self.duplicates:
            self.duplicates -= 1
            messages = [message, message]
        return self._ordered(event_type, messages)

    def release(self) -> list[bytes]:
        """Return the event that is held until an event of another type, if there is one."""
        held, self._held = self._held, None
        return [] if held is None else [held[1]]

    @property
    def is_holding(self) -> bool:
        """Whether an event is held until an event of another type."""
        return self._held is not None

    def _ordered(self, event_type: str, messages: list[bytes]) -> list[bytes]:
        if self._held is not None and self._held[0] != event_type:
            return [*messages, *self.release()]
        # Events of one type stay in order.
        released = self.release()
        if not self.reorders:
            return [*released, *messages]
        self.reorders -= 1
        self._held = event_type, messages[-1]
        return [*released, *messages[:-1]]
