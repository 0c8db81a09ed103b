"""Bans on disk."""

from __future__ import annotations

import json
import logging
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from binance_pm.budget.bans import default_path, read_bans, write_ban

NOW = 1_800_000_000.0


def test_a_ban_is_read_back(tmp_path: Path) -> None:
    """The directory is made for it."""
    path = tmp_path / "new" / "bans.json"
    write_ban(path, "host", NOW + 100, now=NOW)

    assert read_bans(path) == {"host": NOW + 100}


def test_no_file_is_no_ban(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Most programs were never banned: nothing is said about it."""
    assert (read_bans(tmp_path / "bans.json"), caplog.text) == ({}, "")


def test_a_ban_is_never_made_shorter(tmp_path: Path) -> None:
    """A second program may have been told an earlier end."""
    path = tmp_path / "bans.json"
    for until in (NOW + 100, NOW + 50):
        write_ban(path, "host", until, now=NOW)

    assert read_bans(path) == {"host": NOW + 100}


def test_bans_of_others_are_kept_until_they_end(tmp_path: Path) -> None:
    """The file does not grow with the hosts that were ever banned."""
    path = tmp_path / "bans.json"
    write_ban(path, "ended", NOW + 10, now=NOW)
    write_ban(path, "lasting", NOW + 1000, now=NOW)
    write_ban(path, "new", NOW + 200, now=NOW + 10)

    assert read_bans(path) == {"lasting": NOW + 1000, "new": NOW + 200}


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"host": "soon"}', b"\xff\xfe", b'{"host": null}', b"[" * 100_000]
)
def test_a_damaged_file_is_no_ban_and_is_told(content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A program starts in spite of it, and its next ban mends it."""
    path = tmp_path / "bans.json"
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING, "binance_pm"):
        found = read_bans(path)
    write_ban(path, "host", NOW + 1, now=NOW)

    assert (found, read_bans(path)) == ({}, {"host": NOW + 1})
    assert "cannot be read" in caplog.text


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A directory in its place, for instance."""
    path = tmp_path / "bans.json"
    path.mkdir()

    assert read_bans(path) == {}
    assert "(IsADirectoryError): a ban from before is not known" in caplog.text or sys.platform == "win32"


def test_where_nothing_can_be_written_it_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The ban is kept in memory all the same."""
    (tmp_path / "file").write_text("in the way of the directory")

    write_ban(tmp_path / "file" / "bans.json", "host", NOW + 1, now=NOW)

    assert "The ban of host cannot be written" in caplog.text


@pytest.mark.parametrize("path", [Path(), Path("/"), Path("a\0b"), Path("\udcff" * 300)])
def test_where_no_file_can_be_it_is_told(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever the path is: the caller has to close its gate."""
    write_ban(path, "host", NOW + 1, now=NOW)

    assert "a restart will not know" in caplog.text


def test_a_directory_that_may_not_be_written_to_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is left behind half written."""

    def refuse(path: Path, *_: object) -> int:
        raise PermissionError(13, "Permission denied", str(path))

    # Root may write anywhere, and tests may run as root.
    monkeypatch.setattr(Path, "write_bytes", refuse)
    write_ban(tmp_path / "bans.json", "host", NOW + 1, now=NOW)

    assert (list(tmp_path.iterdir()), "(Permission denied): a restart will not know" in caplog.text) == ([], True)


def test_programs_that_write_at_once_leave_a_whole_file(tmp_path: Path) -> None:
    """Whoever is last wins: no reader ever sees a file that is cut."""
    path = tmp_path / "bans.json"
    write_ban(path, "first", NOW + 100, now=NOW)

    def write(number: int) -> bool:
        write_ban(path, f"host {number}", NOW + 100, now=NOW)
        return bool(json.loads(path.read_bytes()))

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(write, range(100)))
    assert "first" in read_bans(path)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("platform", "variable", "otherwise"),
    [("linux", "XDG_STATE_HOME", ".local/state"), ("win32", "LOCALAPPDATA", "AppData/Local")],
)
def test_programs_of_a_user_meet_in_the_platforms_directory(
    platform: str, variable: str, otherwise: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where the environment names none, it is where the platform's programs keep such things."""
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setenv(variable, os.fspath(tmp_path / "named"))
    named = default_path()
    monkeypatch.delenv(variable)

    assert named == tmp_path / "named" / "binance-pm" / "bans.json"
    assert default_path() == tmp_path / otherwise / "binance-pm" / "bans.json"
