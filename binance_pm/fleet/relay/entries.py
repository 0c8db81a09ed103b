"""What stands in a published stream: entries, the marks between the events, and the way back to typed events.

A stream is three kinds of keys in a Redis or Valkey server; the braces keep them on one node of a cluster:

``binance-pm:{fleet}:events``
    The stream. Each entry has the fields ``shard`` (such as ``1/2``), ``run`` (which process), ``number`` (of the
    entry, counted by the process from 1) and ``event`` (one JSON object, its class as ``type``).
``binance-pm:{fleet}:writers``
    A hash: for each shard the run that appended last, the number of its last entry, and when that was.
``binance-pm:{fleet}:group:tail``
    A hash for each group of readers: who reads, and the last number of each run that was read.

What is a gap, and what marks it
    * The numbers of a run follow each other. Where one is left out, the entries have vanished from the stream: by its
      bounded length, or with the server's memory. A reader tells that as `Missed`.
    * Each run begins with `Started`, which says since when nothing of its shard was published, and which number the run
      before had reached.
    * What a run had to drop, or what it knows that the server forgot, is told by `Gap` before its next event.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final, cast

import msgspec

from binance_pm.endpoint import ENDPOINTS
from binance_pm.enums import AccountStatus
from binance_pm.errors import CallInfo, ConfigurationError
from binance_pm.fleet.events import Change, FleetEvent, Reading, StateEvent, TimedAnswer
from binance_pm.wire import decoder

STREAM: Final = "fleet"
"""The name of a stream where none is given."""

_LONGEST_NAME: Final = 64


class Started(msgspec.Struct, frozen=True, kw_only=True, tag=True, tag_field="type"):
    """A process began to publish the events of a shard: the first entry of its run."""

    at: float
    """Seconds since the epoch, by the server's clock."""
    shard: str
    """Such as ``1/2``."""
    since: float | None
    """When an entry of the shard was appended last: from then to `at`, nothing was; None where that is not known."""
    previous_run: str | None
    """Who appended it."""
    previous_number: int
    """The number of that entry."""


class Gap(msgspec.Struct, frozen=True, kw_only=True, tag=True, tag_field="type"):
    """Events of this run are missing before this entry: the server was away for too long, or lost its memory."""

    at: float
    """Seconds since the epoch: as `until`."""
    shard: str
    """The part of the accounts that the writer watches, such as ``1/2``."""
    readings: int
    """How many readings were dropped."""
    events: int
    """How many state events were dropped, after all readings that waited."""
    vanished: int
    """How many entries that had been appended the server has forgotten."""
    since: float
    """When the first of what is missing happened, at the earliest."""
    until: float
    """When the last of it happened."""


class Missed(msgspec.Struct, frozen=True, kw_only=True, tag=True, tag_field="type"):
    """Entries had vanished from the stream before this reader came to them; it is not in the stream itself."""

    at: float
    """Seconds since the epoch, by the server's clock: when the next entry was appended."""
    shard: str
    """The part of the accounts that the writer watches, such as ``1/2``."""
    entries: int
    """How many of the run: at least so many are missing here."""


StreamMark = Started | Gap | Missed
"""What says that something is missing, or might be."""

StreamEvent = FleetEvent | StreamMark


class StreamEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of a published stream."""

    shard: str
    """Which part of the accounts its writer watches, such as ``1/2``."""
    run: str
    """Which process wrote it."""
    number: int | None
    """Counted by the run from 1; None for `Missed`."""
    event: StreamEvent | None
    """None where another version has written what this one does not know."""
    text: str
    """The event as JSON."""


class Keys(msgspec.Struct, frozen=True):
    """The names of a stream's keys."""

    events: str
    writers: str
    group: str


def keys_of(stream: str, group: str, call: CallInfo) -> Keys:
    """The keys of a stream and of one group of its readers.

    Raises:
        ConfigurationError: a name cannot be used.
    """
    for name in (stream, group):
        if not 1 <= len(name) <= _LONGEST_NAME or not name.isprintable() or set(name) & set("{} "):
            what = f"the name of a stream or group has 1 to {_LONGEST_NAME} characters without spaces and braces"
            raise ConfigurationError(call, what)
    place = f"binance-pm:{{{stream}}}"
    return Keys(f"{place}:events", f"{place}:writers", f"{place}:group:{group}")


def decode_event(text: bytes | str) -> StreamEvent:
    """The event that `msgspec.json.encode` wrote.

    Raises:
        ValueError: it is none that this version knows.
    """
    event = _DECODE(text.encode(errors="surrogatepass") if isinstance(text, str) else text)
    return event if not isinstance(event, _RawReading) else event.reading()


class _RawAnswer(msgspec.Struct, frozen=True):
    answer: msgspec.Raw
    at: float


class _RawReading(msgspec.Struct, frozen=True, tag="Reading", tag_field="type"):
    """A `Reading` whose answers wait for the types that their names tell."""

    at: float
    label: str
    answers: dict[str, _RawAnswer]
    changed: dict[str, tuple[str | None, str | None]]

    def reading(self) -> Reading:
        answers = {name: TimedAnswer(_answer(name, one.answer), one.at) for name, one in self.answers.items()}
        changed = {name: Change(*(_figure(name, value) for value in pair)) for name, pair in self.changed.items()}
        return Reading(at=self.at, label=self.label, answers=answers, changed=changed)


_DECODE: Final[Callable[[bytes], StateEvent | StreamMark | _RawReading]] = decoder(
    cast("Any", StateEvent | StreamMark | _RawReading)
)
_AMOUNT: Final = decoder(Decimal)


def _answer(name: str, raw: msgspec.Raw) -> Any:
    if name not in ENDPOINTS:
        raise ValueError("a reading has an answer of an endpoint that is not known")
    return ENDPOINTS[name].decode(bytes(raw))


def _figure(name: str, value: str | None) -> Decimal | str | None:
    if value is None:
        return None
    if name == "account_status":
        return AccountStatus(value)
    amount = _AMOUNT(msgspec.json.encode(value))
    # Other versions wrote exponents: what is read is written again as it was.
    return Decimal(value) if "E" in value else amount
