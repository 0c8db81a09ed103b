"""Saves the files of USD-M histories that the exchange prepares.

What the exchange does: an id is requested, which uses up one of 5 or 10 downloads a month. The exchange makes the file
and then responds with a link to another host. The link is valid for a day at least. The format of the file is not
documented.

What is guaranteed: an id is requested once. Every later error has the id, with which the download can be continued. The
file is fetched without key, signature and cookies, no redirect is followed, and no message, `repr` or log record shows
the link. A file has its name only when it is complete.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn, Protocol, TypeVar

import anyio
import msgspec

from binance_pm.api.um_history import DownloadId, DownloadLink, DownloadStatus
from binance_pm.call import USER_AGENT
from binance_pm.downloads import DownloadedFile, DownloadKind, DownloadProgress
from binance_pm.endpoint import ENDPOINTS, Endpoint
from binance_pm.errors import (
    AuthenticationError,
    CallInfo,
    ClockSkewError,
    ConfigurationError,
    DownloadFailed,
    PortfolioMarginError,
    RequestRejected,
    SessionClosed,
)
from binance_pm.files import PartialFile, refuse_existing
from binance_pm.hosts import is_loopback, split_link
from binance_pm.threads import in_thread
from binance_pm.transport.http import Headers, HttpRequest, SendFailed, is_compressed
from binance_pm.wire import Time, Value, milliseconds

if TYPE_CHECKING:
    from binance_pm.session import Session
    from binance_pm.transport.httpcore import UnreadResponse
    from binance_pm.transport.httpx import HttpxTransport

_log = logging.getLogger(__name__)

T = TypeVar("T")

MAX_BYTES: Final = 4 * 2**30
"""The default limit of a file, in bytes."""

_LONGEST: Final = timedelta(days=366) // timedelta(milliseconds=1)
_FIRST_PAUSE: Final = (1.0, 30.0)
"""The first pause is the average time that the exchange took of late, within these bounds."""
_GROWTH: Final = 1.5
_LONGEST_PAUSE: Final = 60.0
_CHUNK: Final = 2**20
"""How many bytes are collected before they are written."""
# With the next request, these would be the same.
_LASTING: Final = (ConfigurationError, SessionClosed, RequestRejected, AuthenticationError, ClockSkewError)


class _FileKind(NamedTuple):
    """Where files of one kind come from."""

    id_endpoint: str
    link_endpoint: str
    per_month: int


_FILE_KINDS: Final[Mapping[DownloadKind, _FileKind]] = {
    "trades": _FileKind("um.trade_download_id", "um.trade_download_link", 5),
    "orders": _FileKind("um.order_download_id", "um.order_download_link", 10),
    "income": _FileKind("um.income_download_id", "um.income_download_link", 5),
}


class DownloadClient(Protocol):
    """The client of the account whose history is saved."""

    label: Final[str]

    @property
    def session(self) -> Session:
        """The session that the client is open on."""
        ...

    def origin(self, endpoint: Endpoint[Any]) -> str:
        """Return the origin of an endpoint."""
        ...

    async def call(self, endpoint: Endpoint[T], parameters: Mapping[str, Value | None]) -> T:
        """Call an endpoint."""
        ...


async def download(
    client: DownloadClient,
    kind: DownloadKind,
    start_time: Time | None,
    end_time: Time | None,
    to: str | os.PathLike[str],
    *,
    download_id: str | None = None,
    overwrite: bool = False,
    max_bytes: int = MAX_BYTES,
    give_up_after: float = 3600.0,
    on_progress: Callable[[DownloadProgress], object] | None = None,
) -> tuple[DownloadedFile, ...]:
    """Have files prepared and save them; see `Um.download_trades`."""
    info = CallInfo(f"um.download_{kind}", client.label)
    files = _FILE_KINDS[kind]
    try:
        parts = _parts(start_time, end_time, Path(to), files, download_id)
        if not overwrite:
            for part in parts:
                refuse_existing(part.path)
    except ValueError as error:
        raise ConfigurationError(info, str(error)) from None
    except OSError as error:
        raise ConfigurationError(info, f"{error.filename}: {error.strerror}") from None
    limits = _Limits(overwrite, max_bytes, give_up_after)
    return tuple([await _Download(client, info, files, part, limits, on_progress).run() for part in parts])


class _Part(NamedTuple):
    """One file of a range."""

    number: int
    parts: int
    path: Path
    start_time: int | None
    end_time: int | None
    download_id: str | None


def _parts(
    start_time: Time | None, end_time: Time | None, path: Path, files: _FileKind, download_id: str | None
) -> list[_Part]:
    """Return the files that a range needs, each of at most a year and all of about the same length.

    Raises:
        ValueError: with the reason.
    """
    if download_id is not None:
        if start_time is not None or end_time is not None:
            raise ValueError("download_id excludes start_time and end_time: the id has its range")
        return [_Part(1, 1, path, None, None, download_id)]
    if start_time is None or end_time is None:
        raise ValueError("start_time and end_time are required")
    start, end = milliseconds("start_time", start_time), milliseconds("end_time", end_time)
    if start > end:
        raise ValueError("start_time is after end_time")
    # Both ends of a range are included: the next one begins a millisecond later.
    count = math.ceil((end - start + 1) / (_LONGEST + 1))
    if count > files.per_month:
        raise ValueError(
            f"the range needs {count} downloads of at most 366 days, and an account has {files.per_month} a month"
        )
    edges = [start + (end - start + 1) * number // count for number in range(count + 1)]
    paths = [path] if count == 1 else [path.with_stem(f"{path.stem}-{n + 1}") for n in range(count)]
    return [_Part(n + 1, count, paths[n], edges[n], edges[n + 1] - 1, None) for n in range(count)]


class _Limits(NamedTuple):
    """What a download may do."""

    overwrite: bool
    max_bytes: int
    give_up_after: float


class _Download:
    """One file, from its id to its name."""

    def __init__(
        self,
        client: DownloadClient,
        info: CallInfo,
        files: _FileKind,
        part: _Part,
        limits: _Limits,
        on_progress: Callable[[DownloadProgress], object] | None,
    ) -> None:
        self._client: Final = client
        self._session: Final = client.session
        self._info: Final = info
        self._files: Final = files
        self._part: Final = part
        self._limits: Final = limits
        self._on_progress: Final = on_progress
        self._id: str = part.download_id or ""
        self._first_pause: float = 0.0
        self._progress: DownloadProgress = DownloadProgress(
            state="requesting",
            part=part.number,
            parts=part.parts,
            per_month=files.per_month,
            download_id=part.download_id,
        )

    async def run(self) -> DownloadedFile:
        """Save the file."""
        if not self._id:
            await self._request_id()
        try:
            link = await self._link()
            size = await self._session.bounded(self._info, self._save(link))
        except DownloadFailed:
            raise
        except PortfolioMarginError as error:
            self._fail(error.reason, error)
        except BaseException:
            _log.warning("%s: ended early. Continue with download_id=%r.", self._info.endpoint, self._id)
            raise
        self._report(state="done")
        part = self._part
        return DownloadedFile(
            path=part.path, download_id=self._id, size=size, start_time=part.start_time, end_time=part.end_time
        )

    async def _request_id(self) -> None:
        self._report(state="requesting")
        part = self._part
        endpoint: Endpoint[DownloadId] = ENDPOINTS[self._files.id_endpoint]
        made = await self._client.call(endpoint, {"startTime": part.start_time, "endTime": part.end_time})
        self._id = made.download_id
        shortest, longest = _FIRST_PAUSE
        self._first_pause = min(max(made.avg_cost_timestamp_of_last30d / 1000, shortest), longest)
        _log.info("%s: the download id is %s", self._info.endpoint, self._id)

    async def _link(self) -> DownloadLink:
        """Return the link when the file is ready."""
        self._report(state="preparing", download_id=self._id)
        budget = self._session.budget
        give_up_at = budget.monotonic() + self._limits.give_up_after
        endpoint: Endpoint[DownloadLink] = ENDPOINTS[self._files.link_endpoint]
        last = "the file is being made"
        pause = self._first_pause
        while True:
            seconds = min(pause, give_up_at - budget.monotonic())
            if seconds < 0 or (pause and not seconds):
                self._fail(f"not ready within {self._limits.give_up_after:g} s: {last}")
            pause = min(max(pause, 1.0) * _GROWTH, _LONGEST_PAUSE)
            if seconds:
                await self._session.bounded(self._info, budget.sleep(seconds))
            try:
                link = await self._client.call(endpoint, {"downloadId": self._id})
            except _LASTING:
                raise
            except PortfolioMarginError as error:
                last = error.reason
                continue
            if str(link.is_expired).lower() == "true":
                self._fail("the link has expired")
            if link.status == DownloadStatus.COMPLETED and link.url:
                return link
            self._report(state="preparing")

    async def _save(self, link: DownloadLink) -> int:
        """Receive the file and give the file its name; return the number of bytes."""
        exchange = self._client.origin(ENDPOINTS[self._files.link_endpoint])
        try:
            origin, target = split_link(link.url, local=is_loopback(exchange), refused=exchange)
        except ValueError as error:
            self._fail(str(error))
        request = HttpRequest("GET", origin, target, _HEADERS)
        transport: HttpxTransport = self._session.open_for_files(self._info)
        try:
            async with transport.stream(request) as response:
                return await self._write(response, self._checked_size(response))
        except SendFailed as failure:
            self._fail(f"{origin}: {failure.reason}", failure)
        except OSError as error:
            self._fail(f"the file cannot be written ({error.strerror or error})", error)
        finally:
            with anyio.CancelScope(shield=True):
                await transport.aclose()

    def _checked_size(self, response: UnreadResponse) -> int | None:
        """Return how long the file is; None if its last chunk will tell."""
        if 300 <= response.status < 400:
            self._fail(f"HTTP {response.status}: the link leads to a redirect, and none is followed")
        if response.status != 200:
            self._fail(f"HTTP {response.status}: the file server refused the link, which may have expired")
        if is_compressed(response.headers):
            self._fail("the file server compressed the file, although no compression was accepted")
        told = response.headers.get("content-length", "")
        if told.isascii() and told.isdecimal() and len(told) < 20:
            if int(told) > self._limits.max_bytes:
                self._fail(f"the file has {int(told):,} bytes, more than max_bytes, {self._limits.max_bytes:,}")
            return int(told)
        if "chunked" not in response.headers.get("transfer-encoding", "").lower():
            self._fail("the file server does not say how long the file is, so a missing end would go unnoticed")
        return None

    async def _write(self, response: UnreadResponse, size: int | None) -> int:
        file = PartialFile(self._part.path, overwrite=self._limits.overwrite)
        received, waiting = 0, bytearray()
        try:
            self._report(state="receiving", size=size)
            async for piece in response.pieces:
                received += len(piece)
                waiting += piece
                if received > self._limits.max_bytes:
                    self._fail(f"the file has more bytes than max_bytes, {self._limits.max_bytes:,}")
                if len(waiting) >= _CHUNK:
                    await in_thread(file.write, bytes(waiting))
                    waiting.clear()
                    self._report(received=received)
            if size is not None and received != size:
                self._fail(f"{received:,} of {size:,} bytes were received")
            await in_thread(file.write, bytes(waiting))
            self._report(received=received)
            await in_thread(file.finish)
        finally:
            file.discard()
        return received

    def _report(self, **changes: Any) -> None:
        self._progress = msgspec.structs.replace(self._progress, **changes)
        if self._on_progress is not None:
            self._on_progress(self._progress)

    def _fail(self, reason: str, cause: Exception | None = None) -> NoReturn:
        part = self._part
        raise DownloadFailed(
            self._info,
            reason,
            download_id=self._id,
            path=part.path,
            start_time=part.start_time,
            end_time=part.end_time,
        ) from cause


_HEADERS: Final = Headers({"user-agent": USER_AGENT, "accept-encoding": "identity"})
