"""Events of the whole account on the user data stream, and the decoder of all events.

The events of futures are in `binance_pm.api.futures_events`, those of cross margin in `binance_pm.api.margin_events`.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, ClassVar, Final, TypeAlias, cast

import msgspec
from msgspec import field

from binance_pm.api.futures_events import (
    AccountConfigUpdate,
    AccountUpdate,
    AlgoUpdate,
    ConditionalOrderTradeUpdate,
    FuturesAlgoUpdate,
    OrderTradeUpdate,
    StreamEvent,
    identified_by,
)
from binance_pm.api.margin_events import (
    BalanceUpdate,
    ExecutionReport,
    LiabilityChange,
    ListStatus,
    OpenOrderLoss,
    OutboundAccountPosition,
)
from binance_pm.enums import AccountStatus
from binance_pm.wire import Model, decoder


class RiskLevelChange(StreamEvent, frozen=True, kw_only=True, tag="riskLevelChange"):
    """The risk state of the account changed; amounts in USD.

    A return to NORMAL is not documented as pushed: read the account until it is NORMAL.

    Source: https://developers.binance.com/docs/derivatives/portfolio-margin/user-data-streams/Event-riskLevelChange
    (read 2026-11-29)
    """

    _identify: ClassVar[Callable[[Any], tuple[Any, ...]]] = identified_by("event_time", "level", "uni_mmr")

    uni_mmr: Decimal = field(name="u")
    """Equity over maintenance margin."""
    level: AccountStatus = field(name="s")
    """The new risk state: MARGIN_CALL, REDUCE_ONLY or FORCE_LIQUIDATION."""
    account_equity: Decimal = field(name="eq")
    """Equity after collateral haircut."""
    actual_equity: Decimal = field(name="ae")
    """Equity without collateral haircut."""
    maint_margin: Decimal = field(name="m")
    """Maintenance margin."""


class ProRiskLevelChange(RiskLevelChange, frozen=True, kw_only=True, tag="RISK_LEVEL_CHANGE"):
    """The same event by the name in the heading of its page.

    Source: https://developers.binance.com/en/docs/products/derivatives-trading-portfolio-margin-pro/user-data-streams
    (read 2026-11-29)
    """


class PmProAccountUpdate(StreamEvent, frozen=True, kw_only=True, tag="PM_PRO_ACCOUNT_UPDATE"):
    """The risk figures of a Portfolio Margin Pro account, every 5 seconds; amounts in USD.

    Source:
    https://developers.binance.com/docs/derivatives/portfolio-margin-pro/portfolio-margin-pro-user-data-stream/Event-pmProAccountUpdate
    (read 2026-11-29)
    """

    uni_mmr: Decimal = field(name="u")
    """Equity over maintenance margin."""
    account_equity: Decimal = field(name="eq")
    """Equity after collateral haircut."""
    actual_equity: Decimal = field(name="ae")
    """Equity without collateral haircut."""
    initial_margin: Decimal = field(name="im")
    """Initial margin."""
    maint_margin: Decimal = field(name="mm")
    """Maintenance margin."""
    available_balance: Decimal = field(name="avb")
    """The amount available for new positions."""
    virtual_max_withdraw: Decimal = field(name="vmw")
    """The largest amount that can be transferred out."""


class ListenKeyExpired(StreamEvent, frozen=True, kw_only=True, tag="listenKeyExpired"):
    """The listen key expired: the connection stays open, but no more events are pushed.

    The exchange often sends the event twice. The printed form of the event does not show the key, which gives access to
    the stream.

    Source:
    https://developers.binance.com/docs/derivatives/portfolio-margin/user-data-streams/Event-User-Data-Stream-Expired
    (read 2026-11-29)
    """

    _identify: ClassVar[Callable[[Any], tuple[Any, ...]]] = identified_by("listen_key")

    listen_key: str | None = field(name="listenKey", default=None)
    """The key that expired; None if the event does not name it."""

    def __repr__(self) -> str:
        return f"ListenKeyExpired(event_time={self.event_time}, listen_key=...)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("event_time", self.event_time)]


class ServerShutdown(StreamEvent, frozen=True, kw_only=True, tag="serverShutdown"):
    """The server will be shut down: open another connection.

    Documented for spot only; the official SDKs act on the event on every stream.

    Source: https://developers.binance.com/docs/binance-spot-api-docs/websocket-api/connection-events
    (read 2026-11-29)
    """


class UnknownEvent(Model, frozen=True, kw_only=True):
    """A JSON object that is not an event known to this version.

    The printed form does not show the message, which may contain a listen key.
    """

    event_type: str
    """The exchange's name of the event; empty if the message has none."""
    raw: bytes
    """The message as received, without a wrapper."""

    @property
    def identity(self) -> tuple[Any, ...]:
        """A value that is equal for two deliveries of the same message."""
        return self.event_type, self.raw

    def __repr__(self) -> str:
        return f"UnknownEvent(event_type={self.event_type!r}, raw=<{len(self.raw)} bytes>)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("event_type", self.event_type)]


Event: TypeAlias = (
    OrderTradeUpdate
    | AccountUpdate
    | AccountConfigUpdate
    | ConditionalOrderTradeUpdate
    | AlgoUpdate
    | ExecutionReport
    | ListStatus
    | OutboundAccountPosition
    | BalanceUpdate
    | LiabilityChange
    | OpenOrderLoss
    | RiskLevelChange
    | ProRiskLevelChange
    | PmProAccountUpdate
    | ListenKeyExpired
    | ServerShutdown
)
"""Every event that has a Struct."""

EVENT_TYPES: Final[dict[str, type[StreamEvent]]] = {
    str(kind.__struct_config__.tag): kind for kind in cast("tuple[type[StreamEvent], ...]", Event.__args__)
}
"""The Struct of each event, by the exchange's name."""

_decode_known: Callable[[bytes], Event] = decoder(cast("type[Event]", Event))
_decode_futures_algo: Callable[[bytes], FuturesAlgoUpdate] = decoder(FuturesAlgoUpdate)


_ABSENT: Final = msgspec.Raw(b"")


class _Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """The fields that distinguish the forms of a message; all are optional."""

    e: str = ""
    o: msgspec.Raw = _ABSENT
    ao: msgspec.Raw = _ABSENT
    data: msgspec.Raw = _ABSENT
    event: msgspec.Raw = _ABSENT


def decode_event(message: bytes) -> Event | UnknownEvent:
    """Decode a message of a user data stream, with or without a wrapper that names the stream.

    Raises:
        ValueError: the message is not a JSON object, or an event of a known type does not match its Struct; the text
            gives the reason and the path, but no long value.
    """
    try:
        return _decode_known(message)
    except ValueError:
        # Only other messages are examined: events of a known type in the usual form are by far the most frequent.
        return _decode_unusual(unwrapped(message))


def unwrapped(message: bytes) -> bytes:
    """Return the event inside a wrapper, or the message itself if there is none."""
    envelope = _envelope(message)
    inner = b"" if envelope is None or envelope.e else bytes(envelope.data or envelope.event)
    return inner if inner.startswith(b"{") else message


def _decode_unusual(message: bytes) -> Event | UnknownEvent:
    envelope = _envelope(message)
    # An invalid message is decoded again for the error, which names the problem.
    if envelope is None:
        return _decode_known(message)
    if envelope.e == "ALGO_UPDATE" and envelope.o and not envelope.ao:
        return _decode_futures_algo(message)
    return _decode_known(message) if envelope.e in EVENT_TYPES else UnknownEvent(event_type=envelope.e, raw=message)


def _envelope(message: bytes) -> _Envelope | None:
    try:
        return msgspec.json.decode(message, type=_Envelope)
    except (msgspec.DecodeError, RecursionError):
        return None
