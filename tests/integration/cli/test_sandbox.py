"""``binance-pm sandbox``, as a process beside those that use it."""

from __future__ import annotations

import json
import socket
import stat
import textwrap
import tomllib
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import at_terminal, run_process

pytestmark = pytest.mark.usefixtures("interruptible")

NAMES = ("BINANCE_PM_BASE_URL", "BINANCE_PM_API_KEY", "BINANCE_PM_API_SECRET")
LAST = r"BINANCE_PM_API_SECRET=\w{64}\s"


def test_serves_until_interrupted() -> None:
    """Another process can use the lines to paste."""
    with at_terminal("sandbox") as screen:
        screen.wait_for(LAST)
        ended = run_process("call", "um_account", **{name: screen.find(rf"export {name}=(\S+)") for name in NAMES})
        screen.signal()

    assert (ended.code, ended.err) == (0, "")
    assert (screen.code, "Traceback" in screen.text) == (130, False)


@pytest.mark.parametrize("options", [(), ("--keys",), ("--accounts-file", "accounts.toml")], ids=["", "keys", "file"])
def test_the_lines_to_paste_fit_a_small_screen(
    options: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They come last, below private keys and the keys of other accounts, which only ``--keys`` shows."""
    monkeypatch.chdir(tmp_path)
    with at_terminal("sandbox", "--accounts", "2", *options, COLUMNS="80", LINES="24") as screen:
        screen.wait_for(LAST)
        screen.signal()

    rows = [row for line in screen.text.splitlines() for row in textwrap.wrap(line, 80) or [""]][-23:]
    seen = "\n".join(rows)
    assert "http://127.0.0.1:" in seen
    assert [name for name in NAMES if f"export {name}=" not in seen] == []
    shown = (screen.text.count("-----BEGIN PRIVATE KEY-----"), "# account-02: HMAC" in screen.text)
    assert shown == ((2, True) if options == ("--keys",) else (0, False))


def test_json() -> None:
    """The output is one object with all keys."""
    with at_terminal("sandbox", "--json", "--accounts", "1") as screen:
        output = json.loads(screen.find(r"(\{.*\})\r?\n"))
        screen.signal()

    assert [key["kind"] for key in output["accounts"][0]["keys"]] == ["HMAC", "ED25519", "RSA"]


@pytest.fixture
def accounts_file(tmp_path: Path) -> Generator[Path]:
    """Return the accounts file of a running local exchange with three accounts."""
    path = tmp_path / "my desk.toml"
    with at_terminal("sandbox", "--accounts", "3", "--accounts-file", str(path)) as screen:
        screen.wait_for(rf"binance-pm watch --accounts '{path}'")
        yield path
        screen.signal()


def test_watch_and_doctor_accept_the_accounts_file(accounts_file: Path) -> None:
    """The file names the local exchange and the keys, whatever the environment says."""
    with at_terminal("watch", "--accounts", str(accounts_file), "--plain") as screen:
        for number in (1, 2, 3):
            screen.wait_for(rf"Reading +account-0{number}: uni_mmr")
        screen.signal()
    ended = run_process("doctor", "--accounts", str(accounts_file), BINANCE_PM_BASE_URL="http://127.0.0.1:1")

    assert (screen.code, ended.code) == (130, 0)
    assert all(f"account-0{number}" in ended.out for number in (1, 2, 3))


def test_an_accounts_file_is_private_and_may_be_overwritten(accounts_file: Path) -> None:
    """Only the owner can read the file and its keys; the next local exchange writes its own address."""
    folder = accounts_file.with_name("my desk.toml.keys")
    keys = sorted(folder.iterdir())
    before = accounts_file.read_text()
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (accounts_file, *keys)}
    with at_terminal("sandbox", "--accounts", "1", "--accounts-file", str(accounts_file)) as screen:
        base_url = screen.find(r"export BINANCE_PM_BASE_URL=(\S+)")
        screen.signal()

    assert ([path.name for path in keys][:2], len(keys)) == (["account-01.api_key", "account-01.api_secret"], 6)
    assert (modes, stat.S_IMODE(folder.stat().st_mode)) == ({0o600}, 0o700)
    assert not any(path.read_text() in before for path in keys)
    assert base_url not in before
    assert tomllib.loads(accounts_file.read_text())["base_url"] == base_url


@pytest.mark.parametrize("taken", ["accounts.toml", "accounts.toml.keys"])
@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_other_files_are_not_overwritten(taken: str, kind: str, run: Any, tmp_path: Path) -> None:
    """A user's accounts file, its folder of keys, and a symbolic link stay as they are."""
    place = tmp_path / taken
    if kind == "file":
        place.write_text("[[accounts]]\n")
    elif kind == "folder":
        place.mkdir()
    else:
        place.symlink_to(tmp_path / "elsewhere")

    ended = run("sandbox", "--accounts-file", str(tmp_path / "accounts.toml"))

    assert (ended.code, ended.out, str(place) in ended.err) == (1, "", True)
    assert list(tmp_path.iterdir()) == [place]
    assert kind != "file" or place.read_text() == "[[accounts]]\n"


def test_failures_are_one_line(run: Any, tmp_path: Path) -> None:
    """A missing folder and a port in use are named."""
    path = tmp_path / "missing" / "accounts.toml"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        failures = {
            str(path): run("sandbox", "--accounts-file", str(path)),
            f"127.0.0.1:{port}": run("sandbox", "--port", str(port)),
        }

    assert {(ended.code, ended.out, ended.err.count("\n")) for ended in failures.values()} == {(1, "", 1)}
    assert all(place in ended.err for place, ended in failures.items())
