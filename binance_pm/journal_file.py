"""The file of a journal: whole lines, written by one process at a time.

What is guaranteed: a line that `JournalFile.append` has accepted survives the end of the process, and a crash of the
machine after `JournalFile.sync`. A line that was not accepted leaves no trace: if only its beginning was written, the
file is cut back. If the process ended in between, the next one that opens the file does so.

The lock belongs to the operating system, so it ends with the process, however the process ends.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, NoReturn

from binance_pm.errors import CallInfo, JournalError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_log = logging.getLogger(__name__)

HEADER: Final = b'{"journal":"binance-pm","version":1}\n'
"""The first line of every journal."""
_ANY_VERSION: Final = HEADER[: HEADER.index(b"1")]
_BLOCK: Final = 2**16
_FLAGS: Final = os.O_RDWR | os.O_APPEND | os.O_CREAT
# A pipe would wait for a reader, and Windows would change line ends.
_MORE_FLAGS: Final = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
# Not every platform has fdatasync, which leaves out the times of the file.
_sync: Final[Callable[[int], None]] = getattr(os, "fdatasync", os.fsync)

_UNCLEAR: Final = "Give the path of a journal, or of a file that does not exist yet."
_REPAIR: Final = "Make the file writable, and free space on its disk; then it is safe to try again."
_DELETED: Final = "Close the client and open a new one: it begins a new journal."
_ELSEWHERE: Final = "Give each process a journal of its own."
_REOPEN: Final = "Open a new client with a journal on another disk; it is then safe to try again."


class JournalFile:
    """A journal that is open in this process, for any number of clients and threads.

    Args:
        path: the file.
        descriptor: the file, opened for reading and appending, and locked.
        write: writes to a descriptor, as `os.write` does.
        sync: waits until the written data is on the disk, as `os.fsync` does.
    """

    def __init__(
        self,
        path: Path,
        descriptor: int,
        *,
        write: Callable[[int, bytes], int] = os.write,
        sync: Callable[[int], None] = _sync,
    ) -> None:
        self.path: Final = path
        self.users: int = 1
        """How many clients have the file open."""
        self._descriptor: int = descriptor
        self._write: Final = write
        self._sync: Final = sync
        self._lock: threading.Lock = threading.Lock()
        self._broken: tuple[str, str] | None = None
        """Why nothing more can be written, and what to do about it."""

    def append(self, line: bytes, call: CallInfo) -> None:
        """Write one line, or nothing.

        Args:
            line: the line, with its end.
            call: names the call in an error.

        Raises:
            JournalError: the line cannot be written.
        """
        with self._lock:
            self._check(call)
            status = os.fstat(self._descriptor)
            if status.st_nlink == 0:
                raise JournalError(call, f"the journal {self.path} was deleted", advice=_DELETED)
            try:
                if self._write(self._descriptor, line) == len(line):
                    return
                reason = "the disk is full"
            except OSError as error:
                reason = str(error.strerror)
            self._cut(status.st_size)
            raise JournalError(call, f"the journal {self.path} cannot be written: {reason}", advice=_REPAIR)

    async def sync(self, call: CallInfo) -> None:
        """Wait until every line is on the disk, in another thread: a disk may take a tenth of a second.

        Args:
            call: names the call in an error.

        Raises:
            JournalError: the disk has failed. What it holds is then not known, so nothing more is written.
        """
        from anyio.lowlevel import checkpoint_if_cancelled  # noqa: PLC0415 - importing this package must not load anyio
        from anyio.to_thread import run_sync  # noqa: PLC0415 - as above

        try:
            await run_sync(self._sync, self._descriptor, abandon_on_cancel=True)
        except (OSError, RuntimeError) as error:
            # RuntimeError: no thread can be started.
            reason = getattr(error, "strerror", None) or str(error)
            self._broken = f"cannot be flushed to the disk: {reason}", _REOPEN
        self._check(call)
        await checkpoint_if_cancelled()

    def close(self) -> None:
        """Close the file for one of its clients; the last one ends the lock."""
        with _opening:
            self.users -= 1
            if not self.users:
                self._forget("is closed", "Use the client inside `async with`.")

    def leave(self) -> None:
        """Give the file up in a child process, without ending the lock of the parent."""
        self._lock = threading.Lock()
        self._forget("was opened in another process", _ELSEWHERE)

    def _forget(self, what: str, advice: str) -> None:
        self._broken = what, advice
        for key in [key for key, file in _open_files.items() if file is self]:
            del _open_files[key]
        descriptor, self._descriptor = self._descriptor, -1
        with suppress(OSError):
            os.close(descriptor)

    def _check(self, call: CallInfo) -> None:
        if self._broken is not None:
            what, advice = self._broken
            raise JournalError(call, f"the journal {self.path} {what}", advice=advice)

    def _cut(self, size: int) -> None:
        """Remove the beginning of a line that could not be written."""
        try:
            os.ftruncate(self._descriptor, size)
        except OSError as error:
            self._broken = f"ends in the middle of a line, which cannot be removed: {error.strerror}", _REOPEN


_open_files: Final[dict[tuple[int, int], JournalFile]] = {}
"""The open journals of this process, by device and number of the file."""
_opening: threading.Lock = threading.Lock()


def open_journal(
    path: Path,
    call: CallInfo,
    *,
    write: Callable[[int, bytes], int] = os.write,
    sync: Callable[[int], None] = _sync,
) -> JournalFile:
    """Open a journal, or return the one that this process has open already; create the file if it does not exist.

    Args:
        path: the file; ``~`` is the home directory.
        call: names the call in an error.
        write: see `JournalFile`.
        sync: see `JournalFile`.

    Raises:
        JournalError: the file cannot be opened, is no journal, or is open in another process.
    """
    path = checked_path(path, call)
    with _opening:
        try:
            descriptor = os.open(path, _FLAGS | _MORE_FLAGS, 0o600)
        except OSError as error:
            _refuse(call, f"the journal {path} cannot be opened: {error.strerror}")
        try:
            status = os.fstat(descriptor)
            if known := _open_files.get((status.st_dev, status.st_ino)):
                os.close(descriptor)
                known.users += 1
                return known
            _prepare(path, descriptor, status, call)
        except BaseException as error:
            os.close(descriptor)
            if isinstance(error, OSError):
                _refuse(call, f"the journal {path} cannot be used: {error.strerror}")
            raise
        file = JournalFile(path, descriptor, write=write, sync=sync)
        _open_files[status.st_dev, status.st_ino] = file
        return file


def _prepare(path: Path, descriptor: int, status: os.stat_result, call: CallInfo) -> None:
    """Lock the file, begin a new one, and remove a line that its last process could not finish."""
    if not stat.S_ISREG(status.st_mode):
        _refuse(call, f"{path} is not a regular file")
    try:
        _lock(descriptor)
    except (BlockingIOError, PermissionError):
        raise JournalError(call, f"the journal {path} is open in another process", advice=_ELSEWHERE) from None
    start = _read(descriptor, 0, len(HEADER))
    if start != HEADER and not (HEADER.startswith(start) and os.fstat(descriptor).st_size == len(start)):
        _refuse(call, f"{path} {flaw_of_header(start)}")
    end = os.fstat(descriptor).st_size
    whole = _end_of_last_line(descriptor, end)
    if whole < end:
        os.ftruncate(descriptor, whole)
        _log.warning(
            "An unfinished line was removed from the end of the journal %s: its process had ended while writing it. If "
            "the line announced a write, the write was not sent.",
            path,
        )
    if not whole:
        if os.write(descriptor, HEADER) < len(HEADER):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        _sync(descriptor)
        _sync_folder(path.parent)


def checked_path(path: Path, call: CallInfo) -> Path:
    """Return a path without ``~``.

    Raises:
        JournalError: there is no such path.
    """
    if "\0" in str(path):
        _refuse(call, "the path of the journal has a null character in it")
    try:
        return path.expanduser()
    except RuntimeError:
        _refuse(call, f"the home directory in the path {path} is not known")


def flaw_of_header(start: bytes) -> str:
    """Return what is wrong with a file that begins with these bytes."""
    return "was written by another version of this package" if start.startswith(_ANY_VERSION) else "is not a journal"


def _refuse(call: CallInfo, reason: str) -> NoReturn:
    raise JournalError(call, reason, advice=_UNCLEAR) from None


def _end_of_last_line(descriptor: int, size: int) -> int:
    """Return the place after the last complete line."""
    end = size
    while end > 0:
        start = max(0, end - _BLOCK)
        found = _read(descriptor, start, end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def _read(descriptor: int, start: int, size: int) -> bytes:
    os.lseek(descriptor, start, os.SEEK_SET)
    return os.read(descriptor, size)


def _sync_folder(folder: Path) -> None:
    """Let the name of a new file survive a crash of the machine; Windows and some file systems do so by themselves."""
    if sys.platform == "win32":
        return
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


if sys.platform == "win32":

    def _lock(descriptor: int) -> None:
        # On Windows, a locked byte cannot be read: lock one that no journal reaches.
        os.lseek(descriptor, 2**31 - 2, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

else:

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _leave_all() -> None:
    """Give up the journals of the parent in a child process: the lock would otherwise outlive the parent."""
    global _opening  # noqa: PLW0603 - another thread of the parent may have held it
    _opening = threading.Lock()
    for file in list(_open_files.values()):
        file.leave()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_all)
