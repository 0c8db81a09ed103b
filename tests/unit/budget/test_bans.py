"""Bans stored on disk."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from binance_pm.budget import process_budget
from binance_pm.budget.bans import default_path, read_bans, write_ban

NOW = 1_800_000_000.0


def test_no_file_is_no_ban(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A missing file means no bans, and no warning is logged."""
    assert (read_bans(tmp_path / "bans.json"), caplog.text) == ({}, "")


def test_bans_are_kept_until_they_end(tmp_path: Path) -> None:
    """An earlier end does not replace a later one, and no ban is longer than three days."""
    path = tmp_path / "new" / "bans.json"
    by_proxy = "https://papi.binance.com by 127.0.0.1:3128"
    for host, end in (("ended", 10), ("lasting", 1000), ("lasting", 50), ("far", 1e9), (by_proxy, 900)):
        write_ban(path, host, NOW + end, now=NOW)
    write_ban(path, "new", NOW + 200, now=NOW + 10)

    ends = {"lasting": 1000, "far": 3 * 86400, by_proxy: 900, "new": 200}
    assert read_bans(path) == {host: NOW + end for host, end in ends.items()}


@pytest.mark.parametrize("path", [Path(), Path("/"), Path("a\0b"), Path("\udcff" * 300), Path(__file__) / "bans.json"])
def test_an_invalid_path_is_logged(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Writing raises no error, so the caller can close its gate."""
    write_ban(path, "host", NOW + 1, now=NOW)

    assert "a restart will not know" in caplog.text


PLACES: dict[str, Callable[[Path], object]] = {
    "pipe": os.mkfifo,
    "endless device": lambda path: path.symlink_to("/dev/zero"),
    "link to nothing": lambda path: path.symlink_to(path.parent / "nothing"),
    "large file": lambda path: (path.touch(), os.truncate(path, 2**40)),
}


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_a_path_without_a_regular_file_means_no_bans(place: Callable[[Path], object], tmp_path: Path) -> None:
    """Reading does not block, and the next ban creates a regular file."""
    path = tmp_path / "bans.json"
    place(path)

    assert read_bans(path) == {}
    write_ban(path, "host", NOW + 100, now=NOW)
    assert read_bans(path) == {"host": NOW + 100}
    assert not (tmp_path / "nothing").exists()


def test_a_directory_at_the_path_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The directory means no bans."""
    assert read_bans(tmp_path) == {}
    assert "a ban from before is not known" in caplog.text


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"host": "soon"}', b"\xff\xfe", b'{"host": null}', b"[" * 100_000]
)
def test_a_damaged_file_is_logged_and_means_no_bans(
    content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The next ban replaces the damaged file."""
    path = tmp_path / "bans.json"
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING, "binance_pm"):
        found = read_bans(path)
    write_ban(path, "host", NOW + 1, now=NOW)

    assert (found, read_bans(path)) == ({}, {"host": NOW + 1})
    assert "cannot be read" in caplog.text


def test_a_directory_without_write_permission_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No partial file is left behind."""

    def refuse(path: Path, *_: object) -> int:
        raise PermissionError(13, "Permission denied", str(path))

    # Root may write anywhere, and tests may run as root.
    monkeypatch.setattr(Path, "replace", refuse)
    write_ban(tmp_path / "bans.json", "host", NOW + 1, now=NOW)

    assert (list(tmp_path.iterdir()), "(Permission denied): a restart will not know" in caplog.text) == ([], True)


def test_threads_writing_at_once_leave_a_complete_file(tmp_path: Path) -> None:
    """No reader ever sees a truncated file, and no ban is lost."""
    path = tmp_path / "bans.json"
    write_ban(path, "first", NOW + 100, now=NOW)

    def write(number: int) -> bool:
        write_ban(path, f"host {number}", NOW + 100, now=NOW)
        return bool(json.loads(path.read_bytes()))

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(write, range(100)))
    assert set(read_bans(path)) == {"first", *(f"host {number}" for number in range(100))}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("platform", "variable", "otherwise"),
    [("linux", "XDG_STATE_HOME", ".local/state"), ("win32", "LOCALAPPDATA", "AppData/Local")],
)
def test_the_default_path_is_in_the_state_directory_of_the_platform(
    platform: str, variable: str, otherwise: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """If the variable is not set, the platform's usual directory is used."""
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setenv(variable, os.fspath(tmp_path / "named"))
    named = default_path()
    monkeypatch.delenv(variable)

    assert named == tmp_path / "named" / "binance-pm" / "bans.json"
    assert default_path() == tmp_path / otherwise / "binance-pm" / "bans.json"


def test_a_stopped_writer_is_not_waited_for(tmp_path: Path) -> None:
    """A stopped process may hold the lock forever, so the wait for the lock is bounded."""
    holder = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(holder, fcntl.LOCK_EX)
    began = time.monotonic()
    try:
        write_ban(tmp_path / "bans.json", "host", NOW + 100, now=NOW, lock_seconds=0.01)
    finally:
        os.close(holder)

    assert read_bans(tmp_path / "bans.json") == {"host": NOW + 100}
    assert time.monotonic() - began < 5


BAD: dict[str, str] = {
    "text": '"soon"',
    "null": "null",
    "truth": "true",
    "not a number": "NaN",
    "infinite": "Infinity",
    "too large": "1e999",
    "digits": "9" * 5000,
    "negative": "-1",
    "list": "[1]",
    "object": "{}",
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_only_the_invalid_entry_is_ignored(bad: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The other bans of the file hold, and the next write keeps them."""
    path = tmp_path / "bans.json"
    path.write_text(f'{{"one": {NOW + 100}, "bad": {bad}, "two": {int(NOW) + 200}}}')

    assert read_bans(path) == {"one": NOW + 100, "two": NOW + 200}
    assert "1 of the bans in" in caplog.text
    write_ban(path, "three", NOW + 300, now=NOW)
    assert read_bans(path) == {"one": NOW + 100, "two": NOW + 200, "three": NOW + 300}


def test_a_device_is_never_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With /dev/null as the path, root would replace the device for every program on the machine."""
    path = tmp_path / "bans.json"
    path.write_text("{}")
    genuine = Path.lstat

    def lstat(self: Path) -> os.stat_result:
        return os.lstat(os.devnull) if self == path else genuine(self)

    monkeypatch.setattr(Path, "lstat", lstat)

    write_ban(path, "host", NOW + 100, now=NOW)

    assert path.read_text() == "{}"
    assert f"The ban of host cannot be written to '{path}' (it is a device)" in caplog.text


@pytest.mark.parametrize("text", ['{"\\ud800": 1800000050, "host": 1800000050}', '\ufeff{"host": 1800000050}'])
def test_reads_files_with_a_byte_order_mark_or_an_invalid_name(tmp_path: Path, text: str) -> None:
    """The bans of the file are read in spite of either."""
    path = tmp_path / "bans.json"
    path.write_text(text, encoding="utf-8")

    write_ban(path, "other", NOW + 100, now=NOW)

    assert read_bans(path) == {"host": NOW + 50, "other": NOW + 100}


def test_a_planted_link_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link at a guessed temporary name is not followed, so the target is not overwritten."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    path = tmp_path / "state" / "bans.json"
    path.parent.mkdir()
    made: list[Any] = []
    genuine = os.open

    def plant(name: Any, flags: int, *rest: Any, **options: Any) -> int:
        if flags & os.O_CREAT:
            made.append((flags, rest))
            if len(made) == 1:
                Path(name).symlink_to(victim)
        return genuine(name, flags, *rest, **options)

    monkeypatch.setattr(os, "open", plant)
    for guess in (f"bans.json.{os.getpid()}", f"bans.json.{os.getpid()}.{threading.get_ident()}"):
        (path.parent / guess).symlink_to(victim)
    write_ban(path, "host", NOW + 100, now=NOW)

    assert victim.read_text() == "precious"
    assert read_bans(path) == {"host": NOW + 100}
    # The first name was taken, so a second one was tried.
    assert len(made) == 2
    assert all(flags & os.O_EXCL for flags, _ in made)


def test_only_the_owner_can_read_the_file(tmp_path: Path) -> None:
    """Other users cannot see which hosts were called."""
    path = tmp_path / "state" / "bans.json"
    write_ban(path, "host", NOW + 100, now=NOW)

    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)


LOOPBACK = [
    "http://127.0.0.1:8080",
    "http://localhost",
    "https://[::1]:1",
    "http://127.9.9.9",
    "127.0.0.1",
    "localhost",
]


@pytest.mark.parametrize("host", LOOPBACK)
def test_bans_of_loopback_hosts_are_not_stored(host: str, tmp_path: Path) -> None:
    """A local exchange starts without bans."""
    path = tmp_path / "bans.json"
    write_ban(path, host, NOW + 100, now=NOW)
    assert not path.exists()

    # Bans that an earlier version has stored are ignored.
    path.write_text(
        json.dumps({host: NOW + 100, f"{host} by 10.0.0.1": NOW + 100, "https://papi.binance.com": NOW + 9})
    )
    assert list(read_bans(path)) == ["https://papi.binance.com"]


@pytest.mark.parametrize("variable", ["", "relative/state"])
def test_a_user_without_a_home_keeps_bans_in_memory(
    variable: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A user in a container may have no home directory; programs run without a file."""

    def unknown() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", unknown)
    monkeypatch.setenv("XDG_STATE_HOME", variable)

    assert default_path() is None
    assert "The home directory is not known" in caplog.text
    assert process_budget("10.9.9.9").waiting == 0
    monkeypatch.setattr(Path, "home", Path)
    assert default_path() is None
