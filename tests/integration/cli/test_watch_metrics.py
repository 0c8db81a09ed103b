"""``binance-pm watch --metrics``, as its user meets it."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from binance_pm.cli import app, watch
from binance_pm.extras import installation
from binance_pm.testing import Sandbox
from tests.support.command import COMMAND, NO_KEYS
from tests.support.scrape import Scrape
from tests.support.valkey import free_port

ENTRY = """
[[accounts]]
label = "desk-{0}"
product = "span"
api_key = {{ env = "KEY_{0}" }}
api_secret = {{ env = "SECRET_{0}" }}
"""

# So long a subprocess may take to do what it is waited for.
LONGEST = 20.0


@pytest.fixture
def accounts(tmp_path: Path) -> Path:
    """A file with two accounts of the local exchange."""
    path = tmp_path / "accounts.toml"
    path.write_text("".join(ENTRY.format(number) for number in (0, 1)), encoding="utf-8")
    return path


@contextmanager
def watching(pm: Sandbox, accounts: Path, *options: str) -> Generator[subprocess.Popen[str]]:
    """The command, which is ended in any case."""
    keys = {f"KEY_{number}": account.api_key for number, account in enumerate(pm.accounts)}
    secrets = {f"SECRET_{number}": account.api_secret for number, account in enumerate(pm.accounts)}
    process = subprocess.Popen(
        [*COMMAND, "watch", "--json", "--accounts", str(accounts), *options],
        env=NO_KEYS | keys | secrets | {"BINANCE_PM_BASE_URL": pm.base_url},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        try:
            yield process
        finally:
            process.kill()


def scraped(port: int, process: subprocess.Popen[str]) -> Scrape:
    """The first scrape in which both accounts were read."""
    deadline = time.monotonic() + LONGEST
    while time.monotonic() < deadline and process.poll() is None:
        try:
            answer = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=5)
        except httpx.ConnectError:
            time.sleep(0.05)
            continue
        now = Scrape(answer.text) if answer.status_code == 200 else None
        if now is not None and len(now.all("account_uni_mmr")) == 2:
            return now
        time.sleep(0.05)
    raise AssertionError(f"no scrape with both accounts: {process.poll()}")


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("host", ["", ":", "localhost:"])
@pytest.mark.pm_sandbox(accounts=2)
def test_the_metrics_are_served_until_ctrl_c(pm_sandbox: Sandbox, accounts: Path, host: str) -> None:
    """A scrape shows both accounts; then the port is free within a second, and the code is 130."""
    port = free_port()
    with watching(pm_sandbox, accounts, "--metrics", f"{host}{port}", "--warn", "1.5") as command:
        now = scraped(port, command)
        began = time.monotonic()
        command.send_signal(signal.SIGINT)
        _, err = command.communicate(timeout=LONGEST)
        took = time.monotonic() - began

    assert {one.labels["account"] for one in now.all("account_stale")} == {"desk-0", "desk-1"}
    assert now.get("process_start_time_seconds")
    assert (command.returncode, err) == (130, "")
    # The interpreter has to end, too.
    assert took < 3
    with socket.create_server(("127.0.0.1", port)):
        pass


@pytest.mark.pm_sandbox(accounts=2)
def test_a_port_in_use_is_one_line(pm_sandbox: Sandbox, accounts: Path) -> None:
    """Before any account is read."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with watching(pm_sandbox, accounts, "--metrics", str(port)) as command:
            _, err = command.communicate(timeout=LONGEST)

    assert command.returncode == 1
    assert err == f"binance-pm: cannot listen on 127.0.0.1:{port}: Address already in use\n"
    assert not pm_sandbox.exchange.requests


@pytest.mark.pm_sandbox(accounts=1)
def test_a_key_that_is_missing_is_one_line_all_the_same(pm_sandbox: Sandbox, accounts: Path) -> None:
    """What goes wrong while the metrics are served is no group of errors."""
    with watching(pm_sandbox, accounts, "--metrics", str(free_port())) as command:
        _, err = command.communicate(timeout=LONGEST)

    assert command.returncode == 1
    assert err.count("\n") == 1
    assert "[desk-1]" in err
    assert "KEY_1" in err


def test_the_extra_is_named_where_it_is_missing(accounts: Path) -> None:
    """One line says what to install."""
    code = "import sys; sys.modules['prometheus_client'] = None; from binance_pm.cli import main; main()"
    ended = subprocess.run(
        [sys.executable, "-c", code, "watch", "--accounts", str(accounts), "--metrics", "9464"],
        capture_output=True, text=True, timeout=LONGEST, check=False, env=NO_KEYS,
    )  # fmt: skip

    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == (
        "binance-pm: --metrics: it needs the extra `metrics`. Nothing was sent. "
        f"Install it: {installation('metrics')}\n"
    )


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("9464", ("127.0.0.1", 9464)),
        (":9464", ("127.0.0.1", 9464)),
        ("127.0.0.1:9464", ("127.0.0.1", 9464)),
        ("0.0.0.0:9464", ("0.0.0.0", 9464)),  # noqa: S104 - it was said
        ("[::1]:9464", ("::1", 9464)),
        ("monitor.example:1", ("monitor.example", 1)),
    ],
)
def test_where_it_listens(text: str, address: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """On this machine alone, unless another address was said."""
    asked: list[watch.Request] = []

    def remember(request: watch.Request) -> int:
        asked.append(request)
        return 0

    monkeypatch.setattr(watch, "run", remember)

    assert app.run(["watch", "--accounts", "a.toml", "--metrics", text]) == 0
    assert [request.metrics for request in asked] == [address]


@pytest.mark.parametrize("text", ["", ":", "here", "0", "65536", "-1", "1:2:3", "::1:9464", "[::1]", "h:", "h:9x", "٩"])
def test_what_is_no_address(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong usage, in one line."""
    code: Any = app.run(["watch", "--accounts", "a.toml", f"--metrics={text}"])

    assert code == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "HOST:PORT" in err or "--metrics" in err
