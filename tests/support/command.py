"""The command as its user starts it, in a process of its own or at a terminal."""

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
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from binance_pm import cli
from binance_pm.testing import Sandbox

COMMAND = [sys.executable, "-m", "binance_pm"]
NO_KEYS = {name: value for name, value in os.environ.items() if not name.startswith("BINANCE_PM_")}


class Outcome:
    """How a command ended."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err


def environment_of(pm: Sandbox) -> dict[str, str]:
    """The keys of the first account."""
    account = pm.accounts[0]
    return {
        "BINANCE_PM_BASE_URL": pm.base_url,
        "BINANCE_PM_API_KEY": account.api_key,
        "BINANCE_PM_API_SECRET": account.api_secret,
    }


class Screen:
    """A command at a terminal of 80 columns."""

    def __init__(self, process: subprocess.Popen[bytes], terminal: int, modes: list[Any]) -> None:
        self.text = ""
        self.code: int | None = None
        self.is_restored = False
        """Whether the terminal has its modes of before, such as echo and lines."""
        self._process = process
        self._terminal = terminal
        self._modes = modes

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Read until the pattern was seen."""
        deadline = time.monotonic() + 20
        while not (found := re.search(pattern, self.text)):
            assert time.monotonic() < deadline, f"{pattern!r} did not appear in {self.text!r}"
            assert self._read(), f"{pattern!r} did not appear before the end of {self.text!r}"
        return found

    def find(self, pattern: str) -> str:
        """The first group of the pattern, once it was seen."""
        return self.wait_for(pattern)[1]

    def interrupt(self) -> None:
        """Press Ctrl-C and wait for the end."""
        self.signal(signal.SIGINT)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal and wait for the end."""
        self._process.send_signal(number)
        self.end()

    def type(self, keys: str) -> None:
        """Press keys that make it end, and wait for the end."""
        os.write(self._terminal, keys.encode())
        self.end()

    def end(self) -> None:
        """Read what is left and note the exit code."""
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
    """Runs the command in this process; what it prints is no terminal."""

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
