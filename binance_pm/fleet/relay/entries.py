"""The format of a published stream: its entries, the marks between the events, and the decoding of events.

A stream uses three kinds of keys on a Redis or Valkey server; the braces keep them on one node of a cluster:

``binance-pm:{fleet}:events``
    The stream. Each entry has the fields ``shard`` (such as ``1/2``), ``run`` (an id of the process), ``number`` (of
    the entry, counted by the process from 1) and ``event`` (one JSON object, its class as ``type``).
``binance-pm:{fleet}:writers``
    A hash: for each shard the run that appended last, the number of its last entry, and the time of that entry.
``binance-pm:{fleet}:group:tail``
    A hash for each group of readers: the id of the current reader, and the last number that was read of each run.

What is a gap, and what marks it
    * The numbers of a run are consecutive. If numbers are missing, the entries have vanished from the stream: by its
      bounded length, or because the server lost its data. The reader reports them as `Missed`.
    * Each run begins with `Started`, which contains the time since which nothing of its shard was published and the
      last number of the previous run.
    * Events that a run had to drop, and entries that the run knows the server has lost, are reported by a `Gap` before
      the next event of the run.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final, cast

import msgspec

from binance_pm.endpoint import ENDPOINTS
from binance_pm.enums import AccountStatus
from binance_pm.errors import CallInfo, ConfigurationError
from binance_pm.fleet.events import AccountChange, Change, FleetEvent, Reading, StateEvent, TimedResponse
from binance_pm.wire import decoder

STREAM: Final = "fleet"
"""Default name of a stream."""

_LONGEST_NAME: Final = 64


class Started(msgspec.Struct, frozen=True, kw_only=True, tag=True, tag_field="type"):
    """The first entry of a run: a process started to publish the events of a shard."""

    at: float
    """Seconds since the epoch, by the server's clock."""
    shard: str
    """The part of the accounts that the publisher watches, such as ``1/2``."""
    since: float | None
    """Time of the previous entry of the shard, after which none was appended until `at`; None if not known."""
    previous_run: str | None
    """The run that appended the previous entry; None if not known."""
    previous_number: int
    """The number of the previous entry; 0 if not known."""


class Gap(msgspec.Struct, frozen=True, kw_only=True, tag=True, tag_field="type"):
    """A mark before which events of this run are missing: the server was unavailable for too long or lost its data."""

    at: float
    """Seconds since the epoch: the same as `until`."""
    shard: str
    """The part of the accounts that the publisher watches, such as ``1/2``."""
    readings: int
    """Number of readings that were dropped."""
    events: int
    """Number of state events that were dropped, after all waiting readings."""
    vanished: int
    """Number of entries that had been appended and that the server has lost."""
    since: float
    """Earliest possible time of the first missing event."""
    until: float
    """Time of the last missing event."""


class Missed(msgspec.Struct, frozen=True, kw_only=True, tag=True, tag_field="type"):
    """A mark for entries that had vanished from the stream before they were read; the stream does not contain it."""

    at: float
    """Seconds since the epoch, by the server's clock: the time at which the next entry was appended."""
    shard: str
    """The part of the accounts that the publisher watches, such as ``1/2``."""
    entries: int
    """Number of entries of the run that are missing here, a lower bound."""


StreamMark = Started | Gap | Missed
"""Marks for events that are, or may be, missing."""

StreamEvent = FleetEvent | StreamMark


class StreamEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of a published stream."""

    shard: str
    """The part of the accounts that the publisher watches, such as ``1/2``."""
    run: str
    """Id of the run, which is one process, that wrote the entry."""
    number: int | None
    """Number of the entry, counted by the run from 1; None for `Missed`."""
    event: StreamEvent | None
    """The event; None if this version does not know the event that another version wrote."""
    text: str
    """The event as JSON."""


class StreamKeys(msgspec.Struct, frozen=True):
    """The names of a stream's keys."""

    events: str
    writers: str
    group: str


def keys_of(stream: str, group: str, call: CallInfo) -> StreamKeys:
    """Return the keys of a stream and of one group of its readers.

    Raises:
        ConfigurationError: a name is invalid.
    """
    for name in (stream, group):
        if not 1 <= len(name) <= _LONGEST_NAME or not name.isprintable() or set(name) & set("{} "):
            what = f"the name of a stream or group must have 1 to {_LONGEST_NAME} characters, no space and no brace"
            raise ConfigurationError(call, what)
    place = f"binance-pm:{{{stream}}}"
    return StreamKeys(f"{place}:events", f"{place}:writers", f"{place}:group:{group}")


def decode_event(text: bytes | str) -> StreamEvent:
    """Decode an event that `msgspec.json.encode` wrote.

    Raises:
        ValueError: the text is not an event that this version knows.
    """
    event = _DECODE(text.encode(errors="surrogatepass") if isinstance(text, str) else text)
    return event if not isinstance(event, _RawReading) else event.reading()


class _RawResponse(msgspec.Struct, frozen=True):
    response: msgspec.Raw
    at: float


class _RawReading(msgspec.Struct, frozen=True, tag="Reading", tag_field="type"):
    """A `Reading` whose responses are decoded later, by the names of their endpoints."""

    at: float
    label: str
    responses: dict[str, _RawResponse]
    changed: dict[str, tuple[str | None, str | None]]

    def reading(self) -> Reading:
        responses = {name: TimedResponse(_response(name, one.response), one.at) for name, one in self.responses.items()}
        changed = {name: Change(*(_figure(name, value) for value in pair)) for name, pair in self.changed.items()}
        return Reading(at=self.at, label=self.label, responses=responses, changed=changed)


_DECODE: Final[Callable[[bytes], StateEvent | AccountChange | StreamMark | _RawReading]] = decoder(
    cast("Any", StateEvent | AccountChange | StreamMark | _RawReading)
)
_AMOUNT: Final = decoder(Decimal)


def _response(name: str, raw: msgspec.Raw) -> Any:
    if name not in ENDPOINTS:
        raise ValueError("a reading contains a response of an unknown endpoint")
    return ENDPOINTS[name].decode(bytes(raw))


def _figure(name: str, value: str | None) -> Decimal | str | None:
    if value is None:
        return None
    if name == "account_status":
        return AccountStatus(value)
    amount = _AMOUNT(msgspec.json.encode(value))
    # Other versions wrote exponents: keep the spelling, so that encoding returns the same text.
    return Decimal(value) if "E" in value else amount
