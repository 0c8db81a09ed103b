"""What tests of the command share."""

from __future__ import annotations

import os
import sys
from typing import Any

import pytest

from binance_pm import cli
from tests.cli.command import Outcome


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
