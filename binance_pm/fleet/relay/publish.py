"""Publishing of events to a stream on a Redis or Valkey server, for other programs.

What is promised
    * Publishing an event never waits, and memory is bounded, whatever the server does.
    * Entries are appended in the order of the events, each once: if a reply was lost, the server's record of the run
      shows which entries of the batch have been appended already. The record and the entries are written in one step.
    * Missing events are marked; see `binance_pm.fleet.relay.entries`.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable
from typing import Final, NamedTuple, Self

import msgspec

from binance_pm.amounts import json_of
from binance_pm.arguments import checked
from binance_pm.errors import CallInfo, ConfigurationError
from binance_pm.fleet.event_queue import EventQueue
from binance_pm.fleet.events import FleetEvent, Reading
from binance_pm.fleet.relay import server
from binance_pm.fleet.relay.entries import STREAM, Gap, Started, keys_of
from binance_pm.redis_client import Script, StoreLost

LENGTH: Final = 10_000
"""Approximate number of entries that a stream keeps by default."""
MEMORY: Final = 16 * 2**20
"""Maximum size in bytes of the events that wait for the server, by default."""

_log = logging.getLogger(__name__)

_CALL: Final = CallInfo("Publisher")
_CLOSE_SECONDS: Final = 0.6
_BATCH_EVENTS: Final = 100
_BATCH_BYTES: Final = 2**20
# Bytes that Python needs for an event in addition to its text.
_OVERHEAD: Final = 200

_RECALL: Final = Script("""
-- KEYS: the record of the writers. ARGV: the shard. Returns the shard's record and the time.
local time = redis.call('TIME')
return {redis.call('HGET', KEYS[1], ARGV[1]), time[1] .. string.format('.%06d', time[2])}
""")

_APPEND: Final = Script("""
-- KEYS: the stream, the record of the writers.
-- ARGV: the shard, the run, the number before the first entry, the least number that the record must have reached, the
-- approximate number of entries to keep, the entries.
-- Returns the last number of the run; if that is less than the least number, nothing was appended.
local sent = tonumber(ARGV[3])
local known = redis.call('HGET', KEYS[2], ARGV[1])
local record = known and cjson.decode(known)
local there = sent
if not record then
    there = 0
elseif record.run == ARGV[2] then
    there = record.number
end
if there < tonumber(ARGV[4]) then
    return there
end
for place = 6, #ARGV do
    local number = sent + place - 5
    if number > there then
        redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[5], '*', 'shard', ARGV[1], 'run', ARGV[2],
                   'number', string.format('%d', number), 'event', ARGV[place])
    end
end
local time = redis.call('TIME')
local last = sent + #ARGV - 5
redis.call('HSET', KEYS[2], ARGV[1], cjson.encode({run = ARGV[2], number = last, at = time[1] + time[2] / 1000000}))
return last
""")


class _Record(msgspec.Struct):
    """The server's record of a shard."""

    run: str
    number: int
    at: float


class Publisher:
    """A context manager that appends events to a stream in Redis or Valkey from its own thread.

    While the server is unavailable, events wait. Beyond `memory`, the oldest readings are dropped, then the oldest
    other events, and a `Gap` marks the loss. Loss and recovery of the connection are logged as warnings, once each.

    Args:
        url: URL of the server, as for `SharedBudget`.
        stream: the name of the stream.
        shard: (i, n) for the i-th of n shards of the accounts; no other process may publish the same shard.
        length: approximate number of entries that the stream keeps.
        memory: maximum size in bytes of the events that wait.

    Raises:
        ConfigurationError: an argument is invalid, or the extra ``redis`` is not installed.
    """

    @checked("Publisher")
    def __init__(
        self,
        url: str,
        *,
        stream: str = STREAM,
        shard: tuple[int, int] = (1, 1),
        length: int = LENGTH,
        memory: int = MEMORY,
    ) -> None:
        if length < 1 or memory < 1:
            raise ConfigurationError(_CALL, "length and memory must be at least 1")
        if not 1 <= shard[0] <= shard[1]:
            raise ConfigurationError(_CALL, f"shard is {shard!r}: give (i, n) for the i-th of n processes")
        keys = keys_of(stream, "-", _CALL)
        self._server: Final = server.StreamServer(url, _CALL)
        self._keys: Final = [keys.events, keys.writers]
        self._shard: Final = "{}/{}".format(*shard)
        self._length: Final = length
        self._run: Final = secrets.token_hex(6)
        self._began: Final = time.monotonic()
        self._lock: Final = threading.Lock()
        self._outbox: Final = Outbox(self._shard, memory)
        self._has_work: Final = threading.Event()
        self._leaving: Final = threading.Event()
        self._thread: Final = threading.Thread(target=self._work, name="binance-pm publisher", daemon=True)
        self._batch: list[bytes] = []
        """The entries that are being sent, unchanged until the server has appended them."""
        self._sent: int = 0
        """The number before the first entry of the batch."""
        self._least: int = 0
        """The number that the server's record must have reached."""
        self._started_at: float | None = None
        self._latest: float = 0.0
        """Time of the latest event that was sent."""

    def __repr__(self) -> str:
        return f"Publisher({self._server.where!r}, {self._keys[0]!r}, {self._shard})"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def waiting(self) -> int:
        """Number of events that the server does not have yet, as far as this process knows."""
        with self._lock:
            return len(self._outbox) + len(self._batch)

    @property
    def is_store_lost(self) -> bool:
        """Whether the server does not respond."""
        return self._server.is_lost

    def start(self) -> None:
        """Start publishing; call this only once."""
        self._thread.start()
        self._has_work.set()

    def receive(self, event: FleetEvent) -> None:
        """Queue an event; never waits and never fails."""
        try:
            text = json_of(event)
        except Exception as error:  # noqa: BLE001 - the other events must be published nevertheless
            _log.warning("A %s cannot be written: %s", type(event).__name__, type(error).__name__)
            with self._lock:
                self._outbox.miss(event.at, is_reading=isinstance(event, Reading))
            return
        with self._lock:
            self._outbox.put(text, event.at, is_reading=isinstance(event, Reading))
        self._has_work.set()

    def close(self) -> None:
        """Append the waiting events and stop, within 0.6 s; log the number of events that were not appended."""
        self._leaving.set()
        self._has_work.set()
        self._thread.join(_CLOSE_SECONDS)
        if self.waiting:
            _log.warning("%s: %d events were not published", self._server.where, self.waiting)

    def _work(self) -> None:
        while True:
            self._has_work.wait()
            self._has_work.clear()
            while self._append():
                pass
            if self._leaving.is_set():
                self._server.close()
                return

    def _append(self) -> bool:
        """Append the next batch, and return whether there may be more to do."""
        try:
            if self._started_at is None:
                self._start()
            if not self._batch:
                with self._lock:
                    self._batch = self._outbox.take()
            if not self._batch:
                return False
            last = self._server.run(
                _APPEND, self._keys, self._shard, self._run, self._sent, self._least, self._length, *self._batch,
                read=int,
            )  # fmt: skip
        except Exception as error:  # noqa: BLE001 - if the thread ended, nothing more would be published
            # Errors of other packages may contain secrets.
            self._server.note_lost(str(error) if isinstance(error, StoreLost) else type(error).__name__)
            return not self._leaving.wait(server.RETRY_SECONDS)
        self._server.note_back()
        if last < self._least:
            self._mark_vanished(last)
        else:
            self._sent = self._least = self._sent + len(self._batch)
            self._latest = max(self._latest, self._outbox.taken_until)
            self._batch = []
        return True

    def _start(self) -> None:
        known, now = self._server.run(_RECALL, self._keys[1:], self._shard, read=_recalled)
        # The server may have been unavailable when this process started.
        self._started_at = at = now - (time.monotonic() - self._began)
        started = Started(
            at=at,
            shard=self._shard,
            since=known and known.at,
            previous_run=known and known.run,
            previous_number=known.number if known else 0,
        )
        self._latest = at
        self._batch = [msgspec.json.encode(started)]

    def _mark_vanished(self, last: int) -> None:
        """Mark entries that the server has lost because it restarted without its data or with old data."""
        assert self._started_at is not None  # noqa: S101 - for the type checker
        gap = Gap(
            at=self._latest,
            shard=self._shard,
            readings=0,
            events=0,
            vanished=self._sent - last,
            since=self._started_at,
            until=self._latest,
        )
        self._batch.insert(0, msgspec.json.encode(gap))
        self._least = last


class _Text(NamedTuple):
    text: bytes
    at: float


class Outbox:
    """A queue of events as JSON, in the order in which they happened, bounded in bytes.

    Args:
        shard: the shard that the events belong to.
        memory: maximum size in bytes of the events.

    Attributes:
        taken_until: time of the last event that was taken.
    """

    def __init__(self, shard: str, memory: int) -> None:
        self._shard: Final = shard
        self._queue: Final = EventQueue[_Text](
            memory, lambda event, is_reading: self.miss(event.at, is_reading=is_reading)
        )
        self._dropped: Final[dict[bool, int]] = {True: 0, False: 0}
        """Number of readings and of other events dropped since events were last taken."""
        self._dropped_at: list[float] = []
        """Times of the first and the last dropped event."""
        self.taken_until: float = 0.0

    def __len__(self) -> int:
        return len(self._queue)

    def put(self, text: bytes, at: float, *, is_reading: bool) -> None:
        """Add an event, and drop what exceeds the memory: the oldest readings, then the oldest other events."""
        self._queue.put(_Text(text, at), is_reading=is_reading, size=len(text) + _OVERHEAD)

    def miss(self, at: float, *, is_reading: bool) -> None:
        """Count an event that is not in the outbox: a `Gap` takes its place."""
        self._dropped[is_reading] += 1
        self._dropped_at = [min([at, *self._dropped_at]), max([at, *self._dropped_at])]

    def take(self) -> list[bytes]:
        """Remove and return some of the oldest events, after a `Gap` for those that were dropped."""
        taken: list[bytes] = []
        if self._dropped_at:
            taken.append(msgspec.json.encode(self._gap()))
        size = 0
        while self._queue and len(taken) < _BATCH_EVENTS and size < _BATCH_BYTES:
            text, self.taken_until = self._queue.pop()
            taken.append(text)
            size += len(text)
        return taken

    def _gap(self) -> Gap:
        since, until = self._dropped_at
        gap = Gap(
            at=until,
            shard=self._shard,
            readings=self._dropped[True],
            events=self._dropped[False],
            vanished=0,
            since=since,
            until=until,
        )
        self._dropped.update({True: 0, False: 0})
        self._dropped_at = []
        return gap


_read_record: Final[Callable[[bytes], _Record]] = msgspec.json.Decoder(_Record).decode


def _recalled(reply: tuple[bytes | None, bytes]) -> tuple[_Record | None, float]:
    """Return the shard's record, None if there is none, and the server's time."""
    known, now = reply
    return None if known is None else _read_record(known), float(now)
