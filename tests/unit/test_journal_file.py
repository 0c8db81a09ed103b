"""The file of a journal: its lock, its first line, and lines that could not be written."""

from __future__ import annotations

import errno
import os
import signal
import stat
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from binance_pm import CallInfo, JournalError, NotSent, read_journal
from binance_pm.journal_file import HEADER, JournalFile, open_journal
from tests.support.journals import started

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork, pipes and modes of files"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]

CALL = CallInfo("um.new_order", "desk")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of a journal that does not exist yet."""
    return tmp_path / "journal.jsonl"


@pytest.fixture
def file(path: Path) -> Generator[JournalFile, None, None]:
    """An open journal."""
    opened = open_journal(path, CALL)
    yield opened
    if opened.users:
        opened.close()


def ids(path: Path) -> list[str]:
    """Return the ids of all writes in a journal."""
    return [entry.started.id for entry in read_journal(path)]


def fails(number: int) -> Any:
    """Return a function that raises an error of the operating system."""

    def fail(*_: object) -> Any:
        raise OSError(number, os.strerror(number))

    return fail


def in_child(act: Any) -> int:
    """Fork, call a function in the child, and return 0 if it raised `JournalError`."""
    child = os.fork()
    if not child:
        code = 1
        try:
            act()
        except JournalError:
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_new_file_begins_with_its_format_and_is_private(path: Path, file: JournalFile) -> None:
    """Other users do not see what is traded."""
    assert path.read_bytes() == HEADER
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert file.users == 1


def test_lines_are_appended_to_an_existing_journal(path: Path) -> None:
    """A restarted program continues its journal."""
    for name in ("one", "two"):
        file = open_journal(path, CALL)
        file.append(started(name), CALL)
        file.close()

    assert path.read_bytes() == HEADER + started("one") + started("two")


def test_the_same_file_is_opened_once(path: Path, file: JournalFile, tmp_path: Path) -> None:
    """Whatever it is called; the last client closes it."""
    (tmp_path / "other").symlink_to(path)

    assert open_journal(tmp_path / "other", CALL) is file
    file.close()
    file.append(started("one"), CALL)
    file.close()

    with pytest.raises(JournalError):
        file.append(started("two"), CALL)


@pytest.mark.parametrize("content", [b"price,quantity\n1,2\n", b"no line end", b"{}\n", HEADER.replace(b"1", b"2")])
def test_a_file_that_is_no_journal_is_left_alone(path: Path, content: bytes) -> None:
    """Nothing is cut off, and nothing is appended."""
    path.write_bytes(content)

    with pytest.raises(JournalError) as raised:
        open_journal(path, CALL)

    assert isinstance(raised.value, NotSent)
    assert path.read_bytes() == content


@pytest.mark.parametrize("name", [".", "missing/journal", "pipe", "/dev/null", "\0", "x" * 300, "file/journal"])
def test_a_path_that_is_no_file_is_refused(tmp_path: Path, name: str) -> None:
    """A folder, a missing folder, a pipe, a device, or no path."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()

    with pytest.raises(JournalError):
        open_journal(tmp_path / name, CALL)


def test_a_file_without_permission_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may write everything, so the refusal is simulated."""
    monkeypatch.setattr(os, "open", fails(errno.EACCES))

    with pytest.raises(JournalError):
        open_journal(path, CALL)


@pytest.mark.parametrize("line_end", [b"", started("one")])
def test_the_beginning_of_a_line_is_removed(path: Path, line_end: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """Its process ended before the line was written, so nothing was sent for it; a warning says so."""
    path.write_bytes(HEADER + line_end + started("torn")[:-1])

    open_journal(path, CALL).close()

    assert path.read_bytes() == HEADER + line_end
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_a_long_beginning_of_a_line_is_removed(path: Path) -> None:
    """Longer than what is read at once."""
    path.write_bytes(HEADER + started("one") + b"x" * 200_000)

    open_journal(path, CALL).close()

    assert path.read_bytes() == HEADER + started("one")


def test_a_line_that_fits_only_in_part_is_removed(path: Path) -> None:
    """The disk is full; when there is space again, the journal continues."""
    sizes = [10, None]

    def write(descriptor: int, line: bytes) -> int:
        return os.write(descriptor, line[: sizes.pop(0)])

    file = open_journal(path, CALL, write=write)
    with pytest.raises(JournalError):
        file.append(started("one"), CALL)
    assert path.read_bytes() == HEADER
    file.append(started("two"), CALL)
    file.close()

    assert ids(path) == ["two"]


def test_a_line_that_cannot_be_removed_ends_the_journal(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another line would be appended to its beginning."""
    file = open_journal(path, CALL, write=lambda descriptor, line: os.write(descriptor, line[:10]))
    monkeypatch.setattr(os, "ftruncate", fails(errno.EIO))
    for _ in range(2):
        with pytest.raises(JournalError):
            file.append(started("one"), CALL)
    file.close()

    assert path.read_bytes() == HEADER + started("one")[:10]
    assert ids(path) == []


async def test_a_failed_disk_ends_the_journal(path: Path) -> None:
    """What it holds is not known any more."""
    file = open_journal(path, CALL, sync=fails(errno.EIO))
    file.append(started("one"), CALL)
    with pytest.raises(JournalError):
        await file.sync(CALL)
    with pytest.raises(JournalError):
        file.append(started("two"), CALL)
    file.close()


def test_a_disk_without_space_for_the_first_line_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When there is space again, the file is a new journal."""
    write = os.write

    def write_part(descriptor: int, line: bytes) -> int:
        return write(descriptor, line[:9])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write_part)
        with pytest.raises(JournalError):
            open_journal(path, CALL)
    open_journal(path, CALL).close()

    assert path.read_bytes() == HEADER


def test_a_deleted_file_is_noticed(path: Path, file: JournalFile) -> None:
    """Nothing that is written to it could be read after a crash."""
    path.unlink()

    with pytest.raises(JournalError):
        file.append(started("one"), CALL)


def test_a_renamed_file_is_written_on(path: Path, file: JournalFile) -> None:
    """What was begun in it ends in it."""
    renamed = path.rename(path.with_suffix(".old"))
    file.append(started("one"), CALL)

    assert ids(renamed) == ["one"]


def test_another_process_cannot_open_the_file(path: Path, file: JournalFile) -> None:
    """Until the first one has closed it."""
    assert in_child(lambda: open_journal(path, CALL)) == 0
    file.close()

    assert in_child(lambda: open_journal(path, CALL)) == 1


def test_a_child_process_does_not_share_the_file(path: Path, file: JournalFile) -> None:
    """Two processes would mix their lines."""
    assert in_child(lambda: file.append(started("child"), CALL)) == 0
    file.append(started("parent"), CALL)

    assert ids(path) == ["parent"]


def test_a_child_process_closes_nothing_of_its_own(path: Path, file: JournalFile) -> None:
    """The number of the descriptor may belong to another file by then."""

    def act() -> None:
        other = os.open(path, os.O_RDONLY)
        file.close()
        os.fstat(other)
        raise JournalError(CALL, "the other file is open")

    assert in_child(act) == 0


def test_a_child_process_does_not_keep_the_lock(path: Path) -> None:
    """The operating system releases the lock of a process that was killed, whatever children it has."""
    reader, writer = os.pipe()
    parent = os.fork()
    if not parent:
        open_journal(path, CALL)
        grandchild = os.fork()
        if not grandchild:
            signal.pause()
        os.write(writer, f"{grandchild}\n".encode())
        signal.pause()
    os.close(writer)
    with os.fdopen(reader) as told:
        grandchild = int(told.readline())
        os.kill(parent, signal.SIGKILL)
        os.waitpid(parent, 0)
        try:
            open_journal(path, CALL).close()
        finally:
            os.kill(grandchild, signal.SIGKILL)


def test_threads_do_not_mix_their_lines(path: Path) -> None:
    """Each has clients on an event loop of its own."""
    file = open_journal(path, CALL)

    def write(name: int) -> None:
        for number in range(200):
            file.append(started(f"{name}-{number}"), CALL)

    threads = [threading.Thread(target=write, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    file.close()

    assert len(set(ids(path))) == 800
