"""Reading of a published stream by a group that continues after the last acknowledged entry.

What is promised
    * Every entry is returned at least once: an entry is acknowledged when the next entries are requested. After a
      crash, entries that were not acknowledged are returned again first.
    * An entry that the stream contains twice is returned once, and entries that have vanished from the stream are
      reported as `Missed`: the group stores the last number that it has read of each run, in the same step as it
      acknowledges.
    * A group has one reader: a new reader takes over the group, and the previous reader raises an error.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import AsyncGenerator, Mapping
from typing import Final

import anyio
import msgspec

from binance_pm.arguments import checked
from binance_pm.errors import CallInfo, ConfigurationError, ConnectError
from binance_pm.fleet.relay import server
from binance_pm.fleet.relay.entries import STREAM, Missed, Started, StreamEntry, StreamEvent, decode_event, keys_of
from binance_pm.redis_client import Script, StoreLost

_log = logging.getLogger(__name__)

_CALL: Final = CallInfo("read_stream")
_WAIT_SECONDS: Final = 0.8
_COUNT: Final = 100
# Far more than the number of processes that publish at the same time.
_MOST_RUNS: Final = 1_000

_OPEN: Final = Script("""
-- KEYS: the stream, the record of its writers, the group's record. ARGV: the group, the id at which a new group starts,
-- the reader, whether the reader takes over. Returns the last number of each run that the group has read.
local reader = redis.call('HGET', KEYS[3], 'reader')
if ARGV[4] == '0' and reader and reader ~= ARGV[3] then
    return {'displaced', ''}
end
local read = redis.call('HGET', KEYS[3], 'read')
-- If the stream's group has vanished, all entries of the stream are new.
local made = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], read and '0' or ARGV[2], 'MKSTREAM')
if made.err and not made.err:find('BUSYGROUP', 1, true) then
    return made
end
if not read then
    local numbers = {}
    if not made.err and ARGV[2] == '$' then
        local records = redis.call('HGETALL', KEYS[2])
        for place = 2, #records, 2 do
            local record = cjson.decode(records[place])
            numbers[record.run] = record.number
        end
    end
    read = next(numbers) and cjson.encode(numbers) or '{}'
end
redis.call('HSET', KEYS[3], 'reader', ARGV[3], 'read', read)
return {'open', read}
""")

_TAKE: Final = Script("""
-- KEYS: the stream, the group's record. ARGV: the group, the reader, the number of entries, the id at which to start.
-- Returns entries or, if there are none, the last id of the stream.
local reader = redis.call('HGET', KEYS[2], 'reader')
if reader ~= ARGV[2] then
    return reader and 'displaced' or 'gone'
end
local found = redis.pcall('XREADGROUP', 'GROUP', ARGV[1], 'reader', 'COUNT', ARGV[3], 'STREAMS', KEYS[1], ARGV[4])
if found and found.err then
    return found.err:find('NOGROUP', 1, true) and 'gone' or found
end
if found and #found[1][2] > 0 then
    return found[1][2]
end
local info = redis.call('XINFO', 'STREAM', KEYS[1])
for place = 1, #info, 2 do
    if info[place] == 'last-generated-id' then
        return info[place + 1]
    end
end
""")

_ACKNOWLEDGE: Final = Script("""
-- KEYS: the stream, the group's record. ARGV: the group, the reader, the last number of each run, the entries.
local reader = redis.call('HGET', KEYS[2], 'reader')
if reader ~= ARGV[2] then
    return reader and 'displaced' or 'gone'
end
redis.call('XACK', KEYS[1], ARGV[1], unpack(ARGV, 4))
redis.call('HSET', KEYS[2], 'read', ARGV[3])
return 'done'
""")


async def read_stream(
    url: str, *, group: str, stream: str = STREAM, from_start: bool = False
) -> AsyncGenerator[StreamEntry, None]:
    """Iterate over the entries that the group has not read, then over every new entry, until the generator is closed.

    Every entry is returned at least once: up to 100 entries are fetched at a time, and acknowledged after all of them
    have been taken. While the server is unavailable, the generator waits; loss and recovery of the connection are
    logged as warnings, once each.

    Args:
        url: URL of the server, as for `SharedBudget`.
        group: name of the reader group; a group has one reader at a time.
        stream: the name of the stream.
        from_start: whether a new group begins with the oldest entry in the stream instead of the next new one.

    Raises:
        ConfigurationError: an argument is invalid, the extra ``redis`` is not installed, or another reader took over
            the group.
        ConnectError: the server did not respond at the start.
    """
    reader = StreamReader(url, group=group, stream=stream, from_start=from_start)
    try:
        await anyio.to_thread.run_sync(reader.open, abandon_on_cancel=True)
        while True:
            for entry in await anyio.to_thread.run_sync(reader.read, abandon_on_cancel=True):
                yield entry
    finally:
        reader.close()


class StreamReader:
    """The blocking counterpart of `read_stream`, for one thread: each call blocks for a few seconds at most.

    Args:
        url: as for `read_stream`, like the other arguments.
        group: name of the reader group.
        stream: the name of the stream.
        from_start: whether a new group begins with the oldest entry in the stream.

    Raises:
        ConfigurationError: an argument is invalid, or the extra ``redis`` is not installed.
    """

    @checked("read_stream")
    def __init__(self, url: str, *, group: str, stream: str = STREAM, from_start: bool = False) -> None:
        self._keys: Final = keys_of(stream, group, _CALL)
        self._server: Final = server.StreamServer(url, _CALL)
        self._group: Final = group
        self._start: Final = "0" if from_start else "$"
        self._name: Final = secrets.token_hex(6)
        self._read: dict[str, int] | None = None
        """The last number that was returned of each run; None before the group was opened."""
        self._due: list[bytes] = []
        """Entries to acknowledge."""
        self._from: str = "0"
        """The id from which entries are read: first entries that were not acknowledged, then new ones."""
        self._is_open: bool = False
        self._is_closed: bool = False

    def __repr__(self) -> str:
        return f"StreamReader({self._server.where!r}, {self._keys.group!r})"

    def open(self) -> None:
        """Take over the group.

        Raises:
            ConnectError: the server does not respond.
        """
        try:
            self._open(takes_over=True)
        except StoreLost as error:
            why = str(error).rstrip(".")
        else:
            return
        raise ConnectError(_CALL, why)

    def read(self) -> list[StreamEntry]:
        """Acknowledge the entries returned before, and return the next ones; an empty list if none arrive in time.

        Raises:
            ConfigurationError: another reader took over the group.
        """
        try:
            if not self._is_open:
                self._open(takes_over=False)
            self._acknowledge()
            found = self._take()
        except StoreLost as error:
            self._is_open = False
            # A step that `close` interrupted is not a lost server.
            if not self._is_closed:
                self._server.note_lost(str(error))
                time.sleep(server.RETRY_SECONDS)
            return []
        self._server.note_back()
        return [entry for one in found for entry in self._entries(*one)]

    def close(self) -> None:
        """Close the connection; entries that were not acknowledged are returned to the next reader of the group."""
        self._is_closed = True
        self._server.close()

    def _open(self, *, takes_over: bool) -> None:
        keys = [self._keys.events, self._keys.writers, self._keys.group]
        words = (self._group, self._start if self._read is None else "0", self._name, int(takes_over))
        state, read = self._server.run(_OPEN, keys, *words, read=_opened)
        self._check(state)
        if self._read is None:
            self._read = read
        self._is_open, self._from = True, "0"

    def _acknowledge(self) -> None:
        if self._due:
            numbers = msgspec.json.encode(self._read)
            words = (self._group, self._name, numbers, *self._due)
            self._check(self._server.run(_ACKNOWLEDGE, [self._keys.events, self._keys.group], *words))
            self._due = []

    def _take(self) -> list[tuple[bytes, list[bytes] | None]]:
        keys, words = [self._keys.events, self._keys.group], (self._group, self._name, _COUNT)
        found: list[tuple[bytes, list[bytes] | None]] | bytes = b""
        for place in ("0", ">") if self._from == "0" else (">",):
            self._from = place
            found = self._server.run(_TAKE, keys, *words, self._from)
            if isinstance(found, list):
                return found
            self._check(found)
        # XREAD waits for new entries and, unlike XREADGROUP, does not change the group.
        milliseconds = int(_WAIT_SECONDS * 1000)
        self._server.command("XREAD", "COUNT", 1, "BLOCK", milliseconds, "STREAMS", self._keys.events, found)
        return []

    def _check(self, state: bytes) -> None:
        if state == b"displaced":
            raise ConfigurationError(
                _CALL,
                f"another reader of the group {self._group!r} took over",
                advice="Give each reader a group of its own.",
            )
        if state == b"gone":
            raise StoreLost(f"{self._server.where}: the group {self._group!r} has vanished")

    def _entries(self, place: bytes, words: list[bytes] | None) -> list[StreamEntry]:
        """Decode an entry of the stream, with a `Missed` for each gap before it; empty if it was returned before."""
        self._due.append(place)
        if words is None:
            # The entry was trimmed before it was acknowledged: the next number shows the gap.
            return []
        fields = {name: value.decode(errors="replace") for name, value in zip(words[::2], words[1::2], strict=True)}
        try:
            shard, run, number, text = fields[b"shard"], fields[b"run"], int(fields[b"number"]), fields[b"event"]
        except (KeyError, ValueError):
            _log.warning("The entry %s of %s was not written by a publisher", place.decode(), self._keys.events)
            return []
        try:
            event = decode_event(text)
        except ValueError:
            event = None
        at = int(place.partition(b"-")[0]) / 1000
        missed = self._missed(run, number, event)
        if missed is None:
            return []
        entry = StreamEntry(shard=shard, run=run, number=number, event=event, text=text)
        return [*(_missing(shard, run, entries, at) for run, entries in missed.items()), entry]

    def _missed(self, run: str, number: int, event: StreamEvent | None) -> Mapping[str, int] | None:
        """Return the number of missing entries before this entry, by run; None if this entry was returned before."""
        read = self._read
        assert read is not None  # noqa: S101 - for the type checker
        missed: dict[str, int] = {}
        if isinstance(event, Started) and event.previous_run is not None:
            missed[event.previous_run] = event.previous_number - read.get(event.previous_run, 0)
        last = read.pop(run, 0)
        # The run that was read last is the last key, so the loop below removes the runs not read for longest.
        read[run] = max(last, number)
        if number <= last:
            return None
        missed[run] = number - last - 1
        while len(read) > _MOST_RUNS:
            del read[next(iter(read))]
        return {run: entries for run, entries in missed.items() if entries > 0}


def _opened(reply: tuple[bytes, bytes]) -> tuple[bytes, dict[str, int]]:
    """Return the result of opening a group, and the last number that the group has read of each run."""
    state, read = reply
    return state, msgspec.json.decode(read or b"{}", type=dict[str, int])


def _missing(shard: str, run: str, entries: int, at: float) -> StreamEntry:
    event = Missed(at=at, shard=shard, entries=entries)
    return StreamEntry(shard=shard, run=run, number=None, event=event, text=msgspec.json.encode(event).decode())
