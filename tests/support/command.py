"""The command as a user starts it: in this process, in its own process, or at a terminal."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from binance_pm import cli
from binance_pm.testing import Sandbox

COMMAND = [sys.executable, "-m", "binance_pm"]
NO_KEYS = {name: value for name, value in os.environ.items() if not name.startswith("BINANCE_PM_")}


class Outcome(NamedTuple):
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str


def environment_of(pm: Sandbox) -> dict[str, str]:
    """Return the variables for the first account of a local exchange."""
    account = pm.accounts[0]
    return {
        "BINANCE_PM_BASE_URL": pm.base_url,
        "BINANCE_PM_API_KEY": account.api_key,
        "BINANCE_PM_API_SECRET": account.api_secret,
    }


def accounts_file(folder: Path, labels: Iterable[str]) -> Path:
    """Write an accounts file whose keys are the variables KEY_0, SECRET_0, KEY_1 and so on."""
    path = folder / "accounts.toml"
    tables = (
        f'[[accounts]]\nlabel = "{label}"\nproduct = "span"\n'
        f'api_key = {{ env = "KEY_{place}" }}\napi_secret = {{ env = "SECRET_{place}" }}\n'
        for place, label in enumerate(labels)
    )
    path.write_text("".join(tables), encoding="utf-8")
    return path


def accounts_environment(pm: Sandbox) -> dict[str, str]:
    """Return the variables for an accounts file of a local exchange."""
    keys = {f"KEY_{place}": account.api_key for place, account in enumerate(pm.accounts)}
    secrets = {f"SECRET_{place}": account.api_secret for place, account in enumerate(pm.accounts)}
    return keys | secrets | {"BINANCE_PM_BASE_URL": pm.base_url}


def run_process(*arguments: str, command: Sequence[str] = COMMAND, **environment: str) -> Outcome:
    """Run the command in its own process to its end."""
    whole = NO_KEYS | environment
    done = subprocess.run([*command, *arguments], env=whole, capture_output=True, text=True, timeout=40, check=False)
    return Outcome(done.returncode, done.stdout, done.stderr)


def run_without(module: str, *arguments: str) -> Outcome:
    """Run the command in its own process, in which a module is not installed."""
    code = f"import sys; sys.modules[{module!r}] = None; from binance_pm.cli import main; main()"
    return run_process(*arguments, command=[sys.executable, "-c", code])


class Screen:
    """A command at a terminal of 80 columns."""

    def __init__(self, process: subprocess.Popen[bytes], terminal: int, modes: list[Any]) -> None:
        self.text = ""
        self.code: int | None = None
        self.is_restored = False
        """Whether the terminal has its previous modes, such as echo."""
        self._process = process
        self._terminal = terminal
        self._modes = modes

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Read until the pattern appears."""
        deadline = time.monotonic() + 20
        while not (found := re.search(pattern, self.text)):
            assert time.monotonic() < deadline, f"{pattern!r} did not appear in {self.text!r}"
            assert self._read(), f"{pattern!r} did not appear before the end of {self.text!r}"
        return found

    def find(self, pattern: str) -> str:
        """Return the first group of the pattern when it appears."""
        return self.wait_for(pattern)[1]

    def signal(self, number: signal.Signals = signal.SIGINT) -> None:
        """Send a signal, by default that of Ctrl-C, and wait for the end."""
        self._process.send_signal(number)
        self.end()

    def type(self, keys: str) -> None:
        """Press keys that end the command, and wait for the end."""
        os.write(self._terminal, keys.encode())
        self.end()

    def end(self) -> None:
        """Read the rest and note the exit code."""
        while self._read():
            pass
        self.code = self._process.wait(timeout=20)
        self.is_restored = termios.tcgetattr(self._terminal) == self._modes

    def _read(self) -> bool:
        ready, _, _ = select.select([self._terminal], [], [], 20)
        if not ready:
            return False
        try:
            piece = os.read(self._terminal, 65536)
        except OSError:
            return False
        self.text += piece.decode()
        return bool(piece)


@contextmanager
def at_terminal(*arguments: str, command: Sequence[str] = COMMAND, **environment: str) -> Generator[Screen, None, None]:
    """Run the command at a terminal."""
    ours, theirs = pty.openpty()
    modes: list[Any] = termios.tcgetattr(theirs)
    whole = NO_KEYS | {"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "40"} | environment
    try:
        process = subprocess.Popen([*command, *arguments], stdin=theirs, stdout=theirs, stderr=theirs, env=whole)
        os.close(theirs)
        with process:
            screen = Screen(process, ours, modes)
            try:
                yield screen
            finally:
                process.kill()
    finally:
        os.close(ours)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Return a function that runs the command in this process, without a terminal."""

    def run(*arguments: str, **environment: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["binance-pm", *arguments])
        for name in [name for name in os.environ if name.startswith("BINANCE_PM_")]:
            monkeypatch.delenv(name)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        code = ended.value.code
        out, err = capsys.readouterr()
        return Outcome(code if isinstance(code, int) else 1, out, err + (code if isinstance(code, str) else ""))

    return run
