"""The journal: what a client is about to send, written before the first byte leaves, and how that ended.

What is guaranteed: every write that left this machine has a line that was on the disk before. A write without a line of
its outcome may have been executed; its line says how to find out. No line contains a key, a secret or a signature.

The file is one JSON object per line, each a `WriteStarted` or a `WriteEnded`, after a first line that names the format.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, TypeAlias, cast

import msgspec

from binance_pm.amounts import text_of
from binance_pm.endpoint import ENDPOINTS
from binance_pm.errors import CallInfo, JournalError, NoResponse, PortfolioMarginError, SentWrite
from binance_pm.files import open_at_once
from binance_pm.journal_file import HEADER, JournalFile, checked_path, flaw_of_header, open_journal
from binance_pm.resolution import WriteOutcome, advice_on
from binance_pm.wire import camel, milliseconds

_log = logging.getLogger(__name__)

JournalOutcome: TypeAlias = Literal["done", "refused", "not_sent", "not_done", "not_found", "unknown"]
"""``done``: the exchange has executed the write. ``refused``: the exchange has said that it was not executed.
``not_sent``: nothing left this machine, in the last attempt if there were several. ``not_done`` and ``not_found``: see
`WriteOutcome`. ``unknown``: the write may have been executed."""

Parameter: TypeAlias = str | int | bool


class WriteStarted(msgspec.Struct, frozen=True, kw_only=True, tag_field="line", tag="started", omit_defaults=True):
    """The line before an attempt of a write; the next attempt of the same call has a line with the same id."""

    id: str
    """The id of the call in the journal."""
    time: int
    """When the line was written, in milliseconds since the epoch by this machine's clock."""
    label: str
    """The name of the account."""
    key_id: str
    """The digest of the account's API key."""
    origin: str
    """The exchange, such as ``https://papi.binance.com``."""
    endpoint: str
    """The method called, such as ``um.new_order``."""
    parameters: dict[str, Parameter]
    """The parameters by the exchange's names, without timestamp and signature."""
    client_id: str | None = None
    """The caller's own id of the order or change, or the one that the client created."""
    timestamp: int | None = None
    """The signed timestamp, in milliseconds since the epoch; None if nothing was signed."""
    expires_at: int | None = None
    """When the exchange stops accepting the request, by its own clock: timestamp plus recv_window."""
    attempt: int = 1
    """The number of the attempt."""


class WriteEnded(msgspec.Struct, frozen=True, kw_only=True, tag_field="line", tag="ended", omit_defaults=True):
    """The line after a write, or after its outcome was found out."""

    id: str
    """The id of the call in the journal."""
    time: int
    """When the line was written, in milliseconds since the epoch by this machine's clock."""
    outcome: JournalOutcome
    """What is known of the write."""
    reason: str = ""
    """What happened, unless the exchange has executed the write."""
    code: int | None = None
    """The exchange's error code."""
    ids: dict[str, int | str] = {}
    """The exchange's ids in the response, such as ``order_id``."""
    is_resolved: bool = False
    """Whether `Client.resolve` found this out."""


JournalLine: TypeAlias = WriteStarted | WriteEnded

JournalTarget: TypeAlias = Path | str | Callable[[JournalLine], object]
"""The path of a journal, or a function that is called with its lines."""


class JournalEntry(msgspec.Struct, frozen=True):
    """One write, and what the journal last says of it."""

    started: WriteStarted
    """The write, in its last attempt."""
    ended: WriteEnded | None = None
    """How the write ended; None if the process ended before."""

    @property
    def outcome(self) -> JournalOutcome:
        """What is known of the write: ``unknown`` also if the journal does not say how it ended."""
        return "unknown" if self.ended is None else self.ended.outcome

    @property
    def error(self) -> NoResponse | None:
        """The error of a write with an unknown outcome, for `Client.resolve`; None if the outcome is known."""
        if self.outcome != "unknown":
            return None
        started, endpoint = self.started, ENDPOINTS.get(self.started.endpoint)
        repeat, find_out = (None, "") if endpoint is None else (endpoint.repeat, advice_on(endpoint.resolve))
        call = CallInfo(started.endpoint, started.label, started.key_id, write=True, repeat=repeat, find_out=find_out)
        error = NoResponse(call, "the journal has no outcome of the call" if self.ended is None else self.ended.reason)
        id_name = "" if endpoint is None else endpoint.client_id or ""
        error.describe_write(
            SentWrite(
                started.parameters,
                started.client_id,
                id_name,
                started.key_id,
                started.timestamp,
                started.expires_at,
                started.id,
            )
        )
        return error


class Journal:
    """Where the clients of one account write down what they send.

    Args:
        target: the path of the file, or a function that is called with every line.
        clock: this machine's clock, in seconds since the epoch.
    """

    def __init__(self, target: JournalTarget, *, clock: Callable[[], float] = time.time) -> None:
        self._path: Final = Path(target) if isinstance(target, Path | str) else None
        self._emit: Final = None if isinstance(target, Path | str) else target
        self._clock: Final = clock
        self._file: JournalFile | None = None
        self._is_closing: bool = False
        self._in_flight: int = 0
        """How many calls have a line, and none about their end yet."""

    def open(self, call: CallInfo) -> None:
        """Open the file, if there is one.

        Raises:
            JournalError: the file cannot be opened, is no journal, or is open in another process.
        """
        if self._path is not None:
            self._file = open_journal(self._path, call)

    def close(self) -> None:
        """Close the file, if there is one, as soon as no call is in flight."""
        self._is_closing = True
        if self._file is not None and not self._in_flight:
            file, self._file = self._file, None
            file.close()

    def begin_call(self) -> None:
        """Keep the file open until the call has ended."""
        self._in_flight += 1

    def end_call(self, line: WriteEnded, call: CallInfo) -> None:
        """Write the last line of a call."""
        self.end(line, call)
        self._in_flight -= 1
        if self._is_closing:
            self.close()

    def record(self, info: CallInfo, origin: str) -> WriteRecord:
        """Return the lines of one call, of which none is written yet."""
        return WriteRecord(self, info, origin)

    def resolved(self, error: PortfolioMarginError, outcome: WriteOutcome) -> None:
        """Write down what was found out about a write with an unknown outcome."""
        if error.request is None or not error.request.journal_id or error.outcome != "unknown":
            return
        ended = WriteEnded(
            id=error.request.journal_id,
            time=self.now(),
            outcome="unknown" if outcome.state == "still_unknown" else outcome.state,
            reason=outcome.reason,
            ids=_ids_of(outcome.result),
            is_resolved=True,
        )
        self.end(ended, CallInfo(error.endpoint, error.label))

    def now(self) -> int:
        """Return the time of a line, in milliseconds."""
        return int(self._clock() * 1000)

    def append(self, line: JournalLine, call: CallInfo) -> None:
        """Write a line.

        Raises:
            JournalError: the line cannot be written.
        """
        if self._emit is not None:
            try:
                self._emit(line)
            except Exception as error:
                raise JournalError(call, f"the journal raised {type(error).__name__}") from error
        elif self._file is None:
            raise JournalError(call, "the journal is closed", advice="Use the client inside `async with`.")
        else:
            self._file.append(_encoded(line, call), call)

    async def sync(self, call: CallInfo) -> None:
        """Wait until the lines are on the disk.

        Raises:
            JournalError: the disk has failed.
        """
        if self._file is not None:
            await self._file.sync(call)

    def end(self, line: WriteEnded, call: CallInfo) -> None:
        """Write a line about the outcome. If that fails, log it: the caller still gets the outcome itself."""
        try:
            self.append(line, call)
        except JournalError as error:
            _log.warning("The outcome of %s, %s, is missing in the journal: %s", line.id, line.outcome, error.reason)


class WriteRecord:
    """The lines of one call."""

    __slots__ = ("_attempts", "_info", "_journal", "_origin", "id")

    def __init__(self, journal: Journal, info: CallInfo, origin: str) -> None:
        self.id: Final = os.urandom(8).hex()
        self._journal: Final = journal
        self._info: Final = info
        self._origin: Final = origin
        self._attempts: int = 0

    async def start(self, request: SentWrite) -> None:
        """Write down an attempt, and wait until that is on the disk.

        Raises:
            JournalError: the attempt cannot be written down, so nothing may be sent.
        """
        started = WriteStarted(
            id=self.id,
            time=self._journal.now(),
            label=self._info.label,
            key_id=self._info.key_id,
            origin=self._origin,
            endpoint=self._info.endpoint,
            parameters={name: _sent(name, value) for name, value in request.parameters.items() if value is not None},
            client_id=request.client_id,
            timestamp=request.timestamp,
            expires_at=request.expires_at,
            attempt=self._attempts + 1,
        )
        self._journal.append(started, self._info)
        self._attempts += 1
        if self._attempts == 1:
            self._journal.begin_call()
        await self._journal.sync(self._info)

    def end(self, result: object) -> None:
        """Write down how the call ended, if an attempt of it was.

        Args:
            result: the response, or the error that the call raises.
        """
        if not self._attempts:
            return
        now, journal, info = self._journal.now(), self._journal, self._info
        if not isinstance(result, PortfolioMarginError):
            journal.end_call(WriteEnded(id=self.id, time=now, outcome="done", ids=_ids_of(result)), info)
            return
        outcome = "unknown" if result.outcome == "unknown" else "refused" if result.sent else "not_sent"
        code = getattr(result, "code", None)
        journal.end_call(WriteEnded(id=self.id, time=now, outcome=outcome, reason=result.reason, code=code), info)


class JournalReader(Iterator[JournalEntry]):
    """The writes of a journal, for ``for``: each one as soon as its outcome is read, those without an outcome last.

    Attributes:
        torn: how many bytes of an unfinished line the file ends with, once everything was read. If the line announced a
            write, the write was not sent.
    """

    def __init__(self, path: Path | str) -> None:
        self.torn: int = 0
        self._path: Final = checked_path(Path(path), _READING)
        self._entries: Final = self._read()

    def __next__(self) -> JournalEntry:
        return next(self._entries)

    def _read(self) -> Generator[JournalEntry, None, None]:
        started: dict[str, JournalEntry] = {}
        for line in self._lines():
            match line:
                case WriteStarted():
                    started[line.id] = JournalEntry(line)
                case WriteEnded(outcome="unknown"):
                    # A line without its beginning is from another file, in which the write was resolved.
                    if line.id in started:
                        started[line.id] = JournalEntry(started[line.id].started, line)
                case WriteEnded():
                    if (entry := started.pop(line.id, None)) is not None:
                        yield JournalEntry(entry.started, line)
        yield from started.values()

    def _lines(self) -> Iterator[JournalLine]:
        try:
            with open(self._path, "rb", opener=open_at_once) as file:
                yield from self._decoded(file)
        except OSError as error:
            reason = f"{self._path} cannot be read: {error.strerror}"
            raise JournalError(_READING, reason, advice=_NO_JOURNAL) from None

    def _decoded(self, file: BinaryIO) -> Iterator[JournalLine]:
        number = 0
        while text := file.readline(_LONGEST):
            number += 1
            if number == 1 and not HEADER.startswith(text):
                raise JournalError(_READING, f"{self._path} {flaw_of_header(text)}", advice=_NO_JOURNAL)
            if not text.endswith(b"\n") and len(text) < _LONGEST:
                self.torn = len(text)
                return
            # Several journals may have been joined into one file.
            if text == HEADER:
                continue
            try:
                line = _DECODER.decode(text)
            except ValueError as error:
                reason = f"line {number} of {self._path} is damaged"
                raise JournalError(_READING, reason, advice=_DAMAGED) from error
            yield line


def read_journal(path: Path | str) -> JournalReader:
    """Return the writes of a journal, each with what is last known of it, for ``for``.

    The file is read while the loop runs, and only writes without a known outcome are kept in memory. A client may have
    the journal open meanwhile. An unfinished last line is left out; see `JournalReader.torn`.

    Args:
        path: the file; ``~`` is the home directory.

    Raises:
        JournalError: the file cannot be read, is not a journal, or is damaged; raised by the loop.
    """
    return JournalReader(path)


_READING: Final = CallInfo("read_journal")
_NO_JOURNAL: Final = "Give the path that was given to Client."
_DAMAGED: Final = (
    "Nothing below the line was read. Look at the line, because it may be about an order; remove it from a copy of the "
    "file, and read the copy."
)
_LONGEST: Final = 2**20
"""In bytes; the longest request that can be sent is a tenth of this size."""
_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(WriteStarted | WriteEnded)

_NAMES_OF_SECRETS: Final = "key|secret|signature|token|passphrase|password"
_LARGEST: Final = 2**63
# The names by which the exchange's ids are known in a response, except the listen key, which is a secret.
_IDS: Final = (
    *("order_id", "client_order_id", "order_list_id", "list_client_order_id", "algo_id", "client_algo_id"),
    *("strategy_id", "new_client_strategy_id", "tran_id", "download_id"),
)


def _encoded(line: JournalLine, call: CallInfo) -> bytes:
    try:
        return _ENCODER.encode(line) + b"\n"
    except ValueError as error:
        # Such as a label with half of a surrogate pair.
        raise JournalError(call, f"its line in the journal cannot be written: {error}") from None


def _sent(name: str, value: Any) -> Parameter:
    """Return the value of a parameter as it is written down; an endpoint that is not declared may take a secret."""
    if re.search(_NAMES_OF_SECRETS, name, re.IGNORECASE):
        return "..."
    match value:
        case bool():
            return value
        case int() if _is_small(value):
            return int(value)
        case Decimal():
            return text_of(value)
        case datetime():
            return milliseconds(name, value)
        case _:
            return str(value)


def _ids_of(response: Any) -> dict[str, int | str]:
    """Return the exchange's ids in a response."""
    if isinstance(response, Mapping):
        found = {name: cast("Mapping[str, Any]", response).get(camel(name)) for name in _IDS}
    else:
        found = {name: getattr(response, name, None) for name in _IDS}
    return {name: value if _is_small(value) else str(value) for name, value in found.items() if value is not None}


def _is_small(value: object) -> bool:
    return isinstance(value, int) and abs(value) < _LARGEST
