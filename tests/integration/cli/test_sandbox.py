"""``binance-pm sandbox``, as a process of its own beside those that use it."""

from __future__ import annotations

import json
import socket
import stat
import subprocess
import textwrap
import tomllib
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import COMMAND, NO_KEYS, Screen, at_terminal

pytestmark = pytest.mark.usefixtures("interruptible")

NAMES = ("BINANCE_PM_BASE_URL", "BINANCE_PM_API_KEY", "BINANCE_PM_API_SECRET")
LAST = r"BINANCE_PM_API_SECRET=\w{64}\s"


def pasted(screen: Screen) -> dict[str, str]:
    """The variables of the lines to paste."""
    return {name: screen.find(rf"export {name}=(\S+)") for name in NAMES}


def called(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Another command, run to its end."""
    whole = NO_KEYS | environment
    return subprocess.run([*COMMAND, *arguments], env=whole, capture_output=True, text=True, timeout=40, check=False)


def mode_of(path: Path) -> int:
    """Who may do what."""
    return stat.S_IMODE(path.stat().st_mode)


def test_serves_until_interrupted() -> None:
    """Another process can use what it prints."""
    with at_terminal("sandbox") as screen:
        screen.wait_for(LAST)
        done = called("call", "um_account", **pasted(screen))
        screen.interrupt()

    assert (done.returncode, done.stderr) == (0, "")
    assert (screen.code, "Traceback" in screen.text) == (130, False)


@pytest.mark.parametrize("options", [(), ("--keys",), ("--accounts-file", "accounts.toml")], ids=["", "keys", "file"])
def test_what_is_pasted_is_on_a_small_screen(
    options: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At 80x24 the address and the lines to paste are the last that is seen, however long the keys are above."""
    monkeypatch.chdir(tmp_path)
    with at_terminal("sandbox", *options, COLUMNS="80", LINES="24") as screen:
        screen.wait_for(LAST)
        screen.interrupt()

    rows = [row for line in screen.text.splitlines() for row in textwrap.wrap(line, 80) or [""]][-23:]
    seen = "\n".join(rows)
    assert "The local exchange answers at http://127.0.0.1:" in seen
    assert [name for name in NAMES if f"export {name}=" not in seen] == []


def test_private_keys_are_shown_if_they_are_asked_for() -> None:
    """With --keys alone, and so are the keys of the other accounts."""
    with at_terminal("sandbox", "--accounts", "2") as plain:
        plain.wait_for(LAST)
        plain.interrupt()
    with at_terminal("sandbox", "--accounts", "2", "--keys") as whole:
        whole.wait_for(LAST)
        whole.interrupt()

    assert [screen.text.count("-----BEGIN PRIVATE KEY-----") for screen in (plain, whole)] == [0, 2]
    assert ["# account-02: HMAC" in screen.text for screen in (plain, whole)] == [False, True]


def test_json() -> None:
    """One object for other programs."""
    with at_terminal("sandbox", "--json", "--accounts", "1") as screen:
        said = json.loads(screen.find(r"(\{.*\})\r?\n"))
        screen.interrupt()

    assert [key["kind"] for key in said["accounts"][0]["keys"]] == ["HMAC", "ED25519", "RSA"]


@pytest.fixture
def accounts_file(tmp_path: Path) -> Generator[Path]:
    """Three accounts of a local exchange that runs."""
    path = tmp_path / "my desk.toml"
    with at_terminal("sandbox", "--accounts", "3", "--accounts-file", str(path)) as screen:
        screen.wait_for(rf"binance-pm watch --accounts '{path}'")
        yield path
        screen.interrupt()
    assert (screen.code, "Traceback" in screen.text) == (130, False)


def test_watch_takes_the_accounts_file_as_it_is(accounts_file: Path) -> None:
    """Without any variable: it says where the local exchange is, and where the keys are."""
    with at_terminal("watch", "--accounts", str(accounts_file), "--plain") as screen:
        for number in (1, 2, 3):
            screen.wait_for(rf"Reading +account-0{number}: uni_mmr")
        screen.interrupt()

    assert screen.code == 130


def test_doctor_takes_the_accounts_file_as_it_is(accounts_file: Path) -> None:
    """Even if the environment points elsewhere."""
    done = called("doctor", "--accounts", str(accounts_file), BINANCE_PM_BASE_URL="http://127.0.0.1:1")

    assert done.returncode == 0, done.stdout + done.stderr
    assert all(f"account-0{number}" in done.stdout for number in (1, 2, 3))


def test_the_keys_of_an_accounts_file_are_private(accounts_file: Path) -> None:
    """No key stands in the file, and only its owner reads it and those that it names."""
    folder = accounts_file.with_name("my desk.toml.keys")
    kept = sorted(folder.iterdir())

    assert [path.name for path in kept][:2] == ["account-01.api_key", "account-01.api_secret"]
    assert len(kept) == 6
    assert {mode_of(path) for path in (accounts_file, *kept)} == {0o600}
    assert mode_of(folder) == 0o700
    assert [path.name for path in kept if path.read_text() in accounts_file.read_text()] == []


def test_an_accounts_file_is_written_again(accounts_file: Path) -> None:
    """For the next local exchange, which has another address."""
    before = accounts_file.read_text()
    with at_terminal("sandbox", "--accounts", "1", "--accounts-file", str(accounts_file)) as screen:
        base_url = screen.find(r"export BINANCE_PM_BASE_URL=(\S+)")
        screen.interrupt()

    assert base_url not in before
    assert tomllib.loads(accounts_file.read_text())["base_url"] == base_url


@pytest.mark.parametrize("taken", ["accounts.toml", "accounts.toml.keys"])
@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_nothing_of_another_is_written_over(taken: str, kind: str, run: Any, tmp_path: Path) -> None:
    """Accounts that the user has named stay, and so do their keys; a link is not followed."""
    place = tmp_path / taken
    if kind == "file":
        place.write_text("[[accounts]]\n")
    elif kind == "folder":
        place.mkdir()
    else:
        place.symlink_to(tmp_path / "elsewhere")

    ended = run("sandbox", "--accounts-file", str(tmp_path / "accounts.toml"))

    assert (ended.code, ended.out) == (1, "")
    assert f"{place} exists, and no local exchange has written it" in ended.err
    assert list(tmp_path.iterdir()) == [place]
    assert kind != "file" or place.read_text() == "[[accounts]]\n"


def test_an_accounts_file_that_cannot_be_written(run: Any, tmp_path: Path) -> None:
    """One line names it and says why."""
    path = tmp_path / "missing" / "accounts.toml"

    ended = run("sandbox", "--accounts-file", str(path))

    assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)
    assert f"cannot write {path}: No such file or directory" in ended.err


def test_port_taken(run: Any) -> None:
    """One line says so."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ended = run("sandbox", "--port", str(listener.getsockname()[1]))

    assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)
    assert "cannot listen on 127.0.0.1" in ended.err
