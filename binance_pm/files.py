"""Opening files that a user names, and writing files that are complete or do not exist."""

from __future__ import annotations

import errno
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final


def open_at_once(path: str, flags: int) -> int:
    """Open a file without waiting, as an ``opener`` of `open`: opening a pipe would wait for a writer."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))


def refuse_existing(path: Path) -> None:
    """Refuse a path that a new file cannot have.

    Raises:
        OSError: something has this name, or the folder does not exist.
    """
    if os.path.lexists(path):
        raise FileExistsError(errno.EEXIST, "exists already", str(path))
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "its folder does not exist", str(path))


class PartialFile:
    """A file under a temporary name in the folder of its final name, which it gets when it is complete.

    Args:
        path: the final name.
        overwrite: whether an existing file is replaced.

    Raises:
        OSError: the file cannot be created. The other methods raise this error, too.
    """

    def __init__(self, path: Path, *, overwrite: bool) -> None:
        self._path: Final = path
        self._overwrite: Final = overwrite
        self.temporary: Final = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
        self._file: Final = self.temporary.open("xb")

    def write(self, data: bytes) -> None:
        """Append bytes."""
        self._file.write(data)

    def finish(self) -> None:
        """Give the file its name, after its bytes have reached the disk."""
        with self._file:
            self._file.flush()
            os.fsync(self._file.fileno())
        publish(self.temporary, self._path, overwrite=self._overwrite)

    def discard(self) -> None:
        """Remove the file unless it was finished."""
        # Closing writes what is left, and may fail for the reason that ended the writing.
        with suppress(OSError):
            self._file.close()
        self.temporary.unlink(missing_ok=True)


def publish(source: Path, target: Path, *, overwrite: bool) -> None:
    """Give a complete file its final name, in the same folder.

    Raises:
        OSError: the file cannot be renamed, or the name is taken and may not be overwritten.
    """
    if overwrite:
        source.replace(target)
    else:
        _rename_to_new(source, target)
    sync_folder(target.parent)


def replace_bytes(path: Path, data: bytes) -> None:
    """Write a small file so that a crash leaves either the old bytes or the new ones.

    Raises:
        OSError: the file cannot be written.
    """
    new = path.with_name(f".{path.name}.new")
    with new.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    sync_folder(path.parent)


def lock(file: BinaryIO, path: Path) -> None:
    """Lock a file against other processes until it is closed, on systems that can.

    Raises:
        OSError: another process has locked the file.
    """
    try:
        import fcntl  # noqa: PLC0415 - Windows has no such module
    except ImportError:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise OSError(error.errno, f"another process is writing {path}") from None


def sync_folder(folder: Path) -> None:
    """Let a new name in a folder survive a power failure, on systems that can."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _rename_to_new(source: Path, target: Path) -> None:
    """Rename a file unless the new name exists, also if another program creates it at this moment."""
    try:
        target.hardlink_to(source)
    except FileExistsError:
        raise
    except OSError:
        # The file system has no links.
        refuse_existing(target)
        source.rename(target)
    else:
        source.unlink()
