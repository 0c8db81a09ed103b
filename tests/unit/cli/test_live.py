"""The output and the screen of ``binance-pm live``."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest

from binance_pm.testing import Sandbox, running_sandbox
from tests.support.command import (
    COMMAND,
    NO_KEYS,
    Outcome,
    accounts_environment,
    accounts_file,
    at_terminal,
    environment_of,
    run_process,
)


@pytest.fixture(scope="module")
def pm() -> Generator[Sandbox]:
    """A local exchange on a socket."""
    with running_sandbox(accounts=2) as running:
        yield running


def lines(*arguments: str, count: int, **environment: str) -> list[str]:
    """Return the first lines that the command prints, and end it."""
    with subprocess.Popen(
        [*COMMAND, "live", *arguments], env=NO_KEYS | environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        printed = [process.stdout.readline() for _ in range(count)]
        process.send_signal(signal.SIGINT)
        process.stdout.close()
    return printed


def test_prints_one_line_for_each_part_of_the_account(pm: Sandbox) -> None:
    """Without a terminal, the command prints one line for each part of the account."""
    printed = lines("--part", "um", count=8, **environment_of(pm))

    assert printed[0].split()[1:] == ["account", "current"]
    assert any(line.split()[1:3] == ["position", "BTCUSDT"] for line in printed)


def test_prints_json(pm: Sandbox, tmp_path: Path) -> None:
    """The command prints one JSON object per change for an account of a file, the first with the whole state."""
    file = accounts_file(tmp_path, [account.label for account in pm.accounts])
    label = pm.accounts[1].label

    [first] = lines(label, "--accounts", str(file), "--json", count=1, **accounts_environment(pm))

    changes = json.loads(first)
    assert changes["is_whole"] is True
    assert changes["is_current"] is True
    assert changes["risk"]["accountStatus"] == "NORMAL"


def test_fills_the_screen_until_q(pm: Sandbox) -> None:
    """The command fills the screen until `q`, and then restores the terminal."""
    with at_terminal("live", "desk", "--part", "um", **environment_of(pm)) as screen:
        screen.wait_for("open orders")
        screen.type("q")

    assert screen.code == 0
    assert screen.is_restored


@pytest.mark.parametrize(
    ("arguments", "said"), [(["--part", "spot"], "spot"), (["desk", "--accounts", "FILE"], "no account desk")]
)
def test_refuses_what_it_cannot_show(pm: Sandbox, tmp_path: Path, arguments: list[str], said: str) -> None:
    """The error names the part, account or option that is invalid."""
    file = accounts_file(tmp_path, [account.label for account in pm.accounts])
    given = [str(file) if one == "FILE" else one for one in arguments]

    done: Outcome = run_process("live", *given, **(accounts_environment(pm) | environment_of(pm)))

    assert done.code != 0
    assert said in done.err
