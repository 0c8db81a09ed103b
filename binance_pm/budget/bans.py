"""Bans on disk, so that a restarted program does not prolong a ban by calling.

The file is one JSON object: the end of each ban, in seconds since the epoch, by origin and egress. Any other content is
ignored. Reading and writing block for as long as a small file takes; a writer waits for others at most a second.
"""

from __future__ import annotations

import json
import logging
import math
import os
import random
import stat
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, cast

import msgspec

from binance_pm.budget.gate import LONGEST_BAN
from binance_pm.files import open_at_once
from binance_pm.hosts import is_loopback

if sys.platform != "win32":
    import fcntl

_log = logging.getLogger(__name__)

_LARGEST: Final = 2**20
_LOCK_SECONDS: Final = 1.0
_PAUSE_SECONDS: Final = 0.005
_threads: Final = threading.Lock()


def default_path() -> Path | None:
    """Return the file that the programs of a user share: ``bans.json`` in the platform's state directory.

    None if the user has no home directory: bans are then kept only in memory.
    """
    variable, below = (
        ("LOCALAPPDATA", Path("AppData", "Local"))
        if sys.platform == "win32"
        else ("XDG_STATE_HOME", Path(".local/state"))
    )
    named = Path(os.environ.get(variable, ""))
    try:
        home = named if named.is_absolute() else Path.home() / below
    except RuntimeError:
        home = below
    if home.is_absolute():
        return home / "binance-pm" / "bans.json"
    _log.warning(
        "The home directory is not known: a restart will not know of a ban. Set %s to a directory to keep bans in.",
        variable,
    )
    return None


def read_bans(path: Path) -> dict[str, float]:
    """Return the end of each ban, seconds since the epoch; empty if there is no readable file.

    Invalid entries are left out, and so are bans by this machine itself: a local exchange starts without bans.
    """
    try:
        entries = _entries(path)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        why = str(error) if type(error) is ValueError else type(error).__name__
        _log.warning("The bans in %s cannot be read (%s): a ban from before is not known.", ascii(str(path)), why)
        return {}
    bans = {
        name: end
        for name, end in entries.items()
        if isinstance(end, float) and 0 <= end < math.inf and _is_writable(name)
    }
    if bad := len(entries) - len(bans):
        _log.warning("%d of the bans in %s cannot be read: the others are respected.", bad, ascii(str(path)))
    return {name: end for name, end in bans.items() if not is_kept_in_memory(name)}


def is_kept_in_memory(key: str) -> bool:
    """Return whether the ban is by a host of this machine, such as the local exchange, and is not written."""
    return is_loopback(key.partition(" ")[0])


def write_ban(path: Path, key: str, until: float, *, now: float, lock_seconds: float = _LOCK_SECONDS) -> None:
    """Write a ban to the file, beside those that have not ended; times are seconds since the epoch.

    Args:
        path: the file.
        key: the origin, and the egress IP if there are several.
        until: when the ban ends.
        now: what the wall clock shows.
        lock_seconds: how long to wait for other writers.
    """
    if is_kept_in_memory(key):
        return
    try:
        if not path.name:
            raise ValueError("the path names no file")  # noqa: TRY301 - logged like the others
        if _is_device(path):
            # Root could replace /dev/null with a file, for every program on the machine.
            raise ValueError("it is a device")  # noqa: TRY301 - same
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _alone(path.parent, lock_seconds):
            # An entry that is longer than any ban was written by a wrong clock.
            bans = {name: min(end, now + LONGEST_BAN) for name, end in read_bans(path).items() if end > now}
            bans[key] = max(until, bans.get(key, 0.0))
            _replace(path, msgspec.json.encode(bans))
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or (str(error) if type(error) is ValueError else type(error).__name__)
        _log.warning("The ban of %s cannot be written to %s (%s): a restart will not know.", key, ascii(str(path)), why)


def _entries(path: Path) -> Mapping[str, object]:
    with open(path, "rb", opener=open_at_once) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("it is not a regular file")
        if status.st_size > _LARGEST:
            raise ValueError(f"it is larger than {_LARGEST} bytes")
        text = file.read(_LARGEST)
    # What is no number of JSON, such as NaN, or has too many digits, is one bad entry and not a bad file.
    entries: object = json.loads(text.decode("utf-8-sig", errors="replace"), parse_int=float)
    if not isinstance(entries, dict):
        raise ValueError("it is no JSON object")
    return cast("dict[str, object]", entries)


def _is_writable(name: str) -> bool:
    """Return whether the name can be written again: JSON can contain one half of a surrogate pair."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def _is_device(path: Path) -> bool:
    try:
        mode = path.lstat().st_mode
    except OSError:
        return False
    return stat.S_ISCHR(mode) or stat.S_ISBLK(mode)


@contextmanager
def _alone(folder: Path, seconds: float) -> Generator[None, None, None]:
    """Exclude other writers; continue after a second without the lock, as one of them may have been stopped."""
    until = time.monotonic() + seconds
    if sys.platform == "win32":
        is_held = _threads.acquire(timeout=seconds)
        try:
            yield
        finally:
            if is_held:
                _threads.release()
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        while not _is_locked(descriptor) and time.monotonic() < until:
            time.sleep(_PAUSE_SECONDS * random.random())  # noqa: S311 - no secret
        yield
    finally:
        os.close(descriptor)


if sys.platform != "win32":

    def _is_locked(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            # The file system has no locks: other writers cannot be excluded.
            return True
        return True


def _replace(path: Path, text: bytes) -> None:
    """Write a temporary file with an unpredictable name and move it into place: no reader sees half of it."""
    descriptor, fresh = tempfile.mkstemp(prefix=f".{path.name[:32]}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text)
        Path(fresh).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(fresh).unlink()
        raise
