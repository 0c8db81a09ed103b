"""What a user meets of downloads: the kinds of files, their progress, and the files on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypedDict

import msgspec

DownloadKind = Literal["trades", "orders", "income"]
"""What a file contains."""


class DownloadOptions(TypedDict, total=False):
    """The options of `Um.download_trades`, `Um.download_orders` and `Um.download_income`."""

    download_id: str
    """An id that was requested before: no new one is requested, and no times are given."""
    overwrite: bool
    """Whether an existing file is replaced; by default it is an error, before an id is requested."""
    max_bytes: int
    """The largest accepted file, by default 4 GiB."""
    give_up_after: float
    """Seconds after which a file that is not ready is an error, by default 3600."""
    on_progress: Callable[[DownloadProgress], object]
    """Called with a `DownloadProgress` after each step."""


class DownloadProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a download is."""

    state: Literal["requesting", "preparing", "receiving", "done"]
    """``requesting``: an id is about to be requested, which uses up one of the downloads of the month. ``preparing``:
    the exchange makes the file. ``receiving``: the file is being received. ``done``: the file has its name."""
    part: int
    """The number of the file, from 1."""
    parts: int
    """How many files the range is split into."""
    per_month: int
    """How many downloads of this kind an account has in a month, those on the website included."""
    download_id: str | None = None
    """The id, which is worth keeping: with it a download that failed can be continued. None before it is known."""
    received: int = 0
    """Bytes of the file that were received."""
    size: int | None = None
    """Bytes of the whole file, if its server says so."""

    @property
    def fraction(self) -> float | None:
        """The received part of the file, from 0 to 1; None if the size is not known."""
        if self.state == "done":
            return 1.0
        return self.received / self.size if self.size else None


class DownloadedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A complete file, exactly as the exchange made it."""

    path: Path
    """Where the file is."""
    download_id: str
    """The id that the file was requested with."""
    size: int
    """Its bytes."""
    start_time: int | None
    """The first millisecond of its range; None for an id that was requested before."""
    end_time: int | None
    """The last millisecond of its range; None for an id that was requested before."""
