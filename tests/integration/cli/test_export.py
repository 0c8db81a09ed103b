"""``binance-pm export``: a plan, a file, and Ctrl-C in the middle."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from binance_pm.testing import Fault, Sandbox
from tests.support.command import COMMAND, NO_KEYS, at_terminal, environment_of
from tests.support.waiting import wait_until

TRADES = "/papi/v1/um/userTrades"
COUNT = 4_500


@pytest.fixture
def pm(pm_sandbox: Sandbox) -> Sandbox:
    """A local exchange whose first account has traded for five days."""
    now = int(time.time() * 1000)
    times = [now - 5 * 86_400_000 + 90_000 * number for number in range(COUNT)]
    pm_sandbox.exchange.add_history(pm_sandbox.accounts[0], "um.trades", times)
    return pm_sandbox


def calls(pm: Sandbox) -> int:
    """How many pages of trades were requested."""
    return sum(request.path == TRADES for request in pm.exchange.requests)


def arguments(path: Path, *others: str) -> Sequence[str]:
    """Return the arguments for all trades of the symbol."""
    return ("export", "trades", "--symbol", "BTCUSDT", "--out", str(path), *others)


def ids_in(path: Path) -> list[int]:
    """Return the ids in a file of JSON lines."""
    return [json.loads(line)["id"] for line in path.read_text(encoding="utf-8").splitlines()]


def test_writes_a_file_and_prints_the_plan_first(run: Any, pm: Sandbox, tmp_path: Path) -> None:
    """The plan goes to stderr and the result to stdout."""
    path = tmp_path / "trades.jsonl"
    ended = run(*arguments(path), **environment_of(pm))

    ids = ids_in(path)
    assert (ended.code, len(ids)) == (0, COUNT)
    assert ids == sorted(set(ids))
    assert ended.out == f"{COUNT:,} rows in {path} ({path.stat().st_size:,} bytes)\n"
    assert ended.err.startswith("um.trades: from ")


def test_only_the_plan(run: Any, pm: Sandbox, tmp_path: Path) -> None:
    """Nothing is requested but the time, and no file is created."""
    path = tmp_path / "trades.csv"
    ended = run(*arguments(path, "--plan", "--rows", "4500", "--since", "2026-01-01"), **environment_of(pm))

    assert (ended.code, calls(pm), list(tmp_path.iterdir())) == (0, 0, [])
    assert ended.out.startswith("um.trades: from ")
    assert "will be missing" in ended.out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_an_interrupted_export_continues(
    pm: Sandbox, tmp_path: Path, interruptible: None, number: signal.Signals
) -> None:
    """The exit code is that of the signal, stderr says how to continue, and no row is lost or repeated."""
    del interruptible
    path = tmp_path / "trades.jsonl"
    pm.inject(Fault(path=TRADES, times=3), Fault(path=TRADES, delay=60))
    environment = NO_KEYS | environment_of(pm)
    with subprocess.Popen(
        [*COMMAND, *arguments(path)], env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            wait_until(lambda: calls(pm) == 4, seconds=20)
            process.send_signal(number)
            out, err = process.communicate(timeout=20)
        finally:
            process.kill()
    kept = len(ids_in(path.with_name("trades.jsonl.partial")))
    pm.clear()
    again = subprocess.run([*COMMAND, *arguments(path)], env=environment, capture_output=True, timeout=40, check=False)

    ids = ids_in(path)
    assert (process.returncode, out, kept) == (128 + number, "", 3_000)
    assert "the same command continues" in err
    assert "Traceback" not in err
    assert (again.returncode, len(ids), ids == sorted(set(ids))) == (0, COUNT, True)
    assert calls(pm) <= 4 + 3
    assert [entry.name for entry in tmp_path.iterdir()] == ["trades.jsonl"]


def test_a_terminal_shows_a_bar(pm: Sandbox, tmp_path: Path) -> None:
    """The bar has the part that is done and the number of rows, and is gone in the end."""
    pm.inject(Fault(path=TRADES, times=2), Fault(path=TRADES, delay=1))
    with at_terminal(*arguments(tmp_path / "trades.csv"), **environment_of(pm)) as screen:
        screen.wait_for(r"\d+%.*2,000 rows")
        screen.end()

    assert screen.code == 0
    assert screen.is_restored
    assert f"{COUNT:,} rows in " in screen.text.replace("\r\n", "")


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("orders --symbol BTCUSDT", "um.all_orders"),
        ("income --since 2026-10-01", "um.income"),
        ("income --product cm --since 2026-10-01", "cm.income"),
        ("trades --product margin --symbol BTCUSDT --since 2026-11-25T12:00", "margin.trades"),
        ("loans --asset USDT --since 2026-10-01 --until 2026-10-02", "margin.loan_history"),
    ],
)
def test_every_list_has_a_plan(run: Any, tmp_path: Path, words: str, name: str) -> None:
    """The product selects the endpoint."""
    ended = run("export", *words.split(), "--out", str(tmp_path / "rows.csv"), "--sandbox", "--plan")

    assert (ended.code, ended.out.partition(":")[0]) == (0, name)
