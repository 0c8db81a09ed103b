"""``binance-pm watch``: on a full screen and in lines, with metrics, a shared budget, a stream and a command."""

from __future__ import annotations

import json
import re
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import httpx
import msgspec
import pytest
from cyclopts import CycloptsError

from binance_pm.cli.watch import address_of
from binance_pm.fleet import Started
from binance_pm.testing import Sandbox
from tests.support.command import (
    COMMAND,
    NO_KEYS,
    accounts_environment,
    accounts_file,
    at_terminal,
    run_process,
)
from tests.support.raw_server import refusing_port
from tests.support.relay_streams import beside, seen_in
from tests.support.scrape import Scrape
from tests.support.valkey import free_port
from tests.support.waiting import wait_until

PASSWORD = "canary-4711"

pytestmark = [pytest.mark.usefixtures("interruptible"), pytest.mark.pm_sandbox(accounts=2)]


@pytest.fixture
def words(pm_sandbox: Sandbox, tmp_path: Path) -> list[str]:
    """Return the command for two accounts of a local exchange."""
    path = accounts_file(tmp_path, [account.label for account in pm_sandbox.accounts])
    return ["watch", "--accounts", str(path)]


@contextmanager
def watching(folder: Path, pm: Sandbox, *words: str) -> Generator[subprocess.Popen[bytes]]:
    """Run the command in its own process, with its output in the files ``out`` and ``err``."""
    with (folder / "out").open("ab") as out, (folder / "err").open("ab") as err:
        env = NO_KEYS | accounts_environment(pm)
        process = subprocess.Popen([*COMMAND, *words], stdout=out, stderr=err, env=env)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def end(process: subprocess.Popen[bytes], number: signal.Signals = signal.SIGINT) -> tuple[int, float]:
    """End the command with a signal, and return its exit code and the seconds that it needed."""
    began = time.monotonic()
    process.send_signal(number)
    return process.wait(timeout=20), time.monotonic() - began


def lines(path: Path) -> list[str]:
    """Return the lines of a file; an absent file has none."""
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


class TestOutput:
    """Where events are shown."""

    def test_a_full_screen_until_q(self, words: list[str], pm_sandbox: Sandbox) -> None:
        """The terminal is restored, and no key was shown."""
        with at_terminal(*words, "--warn", "1.5", **accounts_environment(pm_sandbox)) as screen:
            screen.wait_for("2 fresh")
            screen.type("q")

        assert (screen.code, screen.is_restored, "Traceback" in screen.text) == (0, True, False)
        assert not any(account.api_secret in screen.text for account in pm_sandbox.accounts)

    @pytest.mark.parametrize("option", ["--plain", "--json"])
    def test_lines_at_a_terminal(self, words: list[str], option: str, pm_sandbox: Sandbox) -> None:
        """Each line is one event, without control characters."""
        with at_terminal(*words, option, **accounts_environment(pm_sandbox)) as screen:
            screen.wait_for("account-01")
            screen.wait_for("account-02")
            screen.signal()

        assert (screen.code, "\x1b" in screen.text, "Traceback" in screen.text) == (130, False, False)
        shown = [line for line in screen.text.replace("^C", "").splitlines() if line.strip()]
        assert all(line.startswith("{" if option == "--json" else tuple("012")) for line in shown)

    def test_lines_without_a_terminal(self, words: list[str], pm_sandbox: Sandbox, tmp_path: Path) -> None:
        """No option is needed."""
        with watching(tmp_path, pm_sandbox, *words):
            wait_until(lambda: lines(tmp_path / "out"))

        assert re.match(r"\d\d:\d\d:\d\dZ Reading +account-0\d: uni_mmr ", lines(tmp_path / "out")[0])

    @pytest.mark.parametrize("options", [(), ("--plain",), ("--on-event", "/bin/sh")])
    def test_thresholds_in_the_wrong_order_are_one_line(
        self, words: list[str], options: tuple[str, ...], pm_sandbox: Sandbox
    ) -> None:
        """The full screen is not entered."""
        wrong = ("--warn", "1.2", "--alarm", "1.5")
        with at_terminal(*words, *wrong, *options, **accounts_environment(pm_sandbox)) as screen:
            screen.end()

        assert (screen.code, screen.text.count("\n"), "\x1b" in screen.text) == (1, 1, False)
        assert "1.5" in screen.text


class TestMetrics:
    """``--metrics``."""

    @pytest.mark.parametrize("host", ["", ":", "localhost:"])
    def test_metrics_are_served_until_ctrl_c(
        self, words: list[str], pm_sandbox: Sandbox, tmp_path: Path, host: str
    ) -> None:
        """A scrape shows both accounts; afterwards the port is free."""
        port = free_port()

        def scraped() -> Scrape | None:
            try:
                response = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=5)
            except httpx.ConnectError:
                return None
            return Scrape(response.text) if response.status_code == 200 else None

        with watching(tmp_path, pm_sandbox, *words, "--metrics", f"{host}{port}", "--warn", "1.5") as process:
            wait_until(lambda: (now := scraped()) and len(now.all("account_uni_mmr")) == 2)
            now = scraped()
            code, took = end(process)

        assert now is not None
        assert {one.labels["account"] for one in now.all("account_stale")} == {"account-01", "account-02"}
        assert now.get("process_start_time_seconds")
        # The interpreter needs time to exit, too.
        assert (code, lines(tmp_path / "err"), took < 3) == (130, [], True)
        with socket.create_server(("127.0.0.1", port)):
            pass

    def test_a_port_in_use_is_one_line(self, words: list[str], pm_sandbox: Sandbox) -> None:
        """No account is read."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            ended = run_process(*words, "--metrics", str(port), **accounts_environment(pm_sandbox))

        assert (ended.code, ended.err.count("\n"), f"127.0.0.1:{port}" in ended.err) == (1, 1, True)
        assert not pm_sandbox.exchange.requests

    def test_a_missing_key_is_one_line(self, words: list[str], pm_sandbox: Sandbox) -> None:
        """The server of the metrics does not wrap the error in a group."""
        environment = accounts_environment(pm_sandbox)
        del environment["KEY_1"]
        ended = run_process(*words, "--metrics", str(free_port()), **environment)

        assert (ended.code, ended.err.count("\n")) == (1, 1)
        assert "[account-02]" in ended.err
        assert "KEY_1" in ended.err

    @pytest.mark.parametrize(
        ("text", "address"),
        [
            ("9464", ("127.0.0.1", 9464)),
            (":9464", ("127.0.0.1", 9464)),
            ("0.0.0.0:9464", ("0.0.0.0", 9464)),
            ("[::1]:65535", ("::1", 65535)),
            ("monitor.example:1", ("monitor.example", 1)),
        ],
    )
    def test_the_default_host_is_this_machine(self, text: str, address: tuple[str, int]) -> None:
        """Other machines can connect only if the user names an address."""
        assert address_of(text) == address

    @pytest.mark.parametrize(
        "text", ["", ":", "here", "0", "65536", "-1", "1:2:3", "::1:9464", "[::1]", "h:", "h:9x", "٩"]
    )
    def test_an_invalid_address_is_wrong_usage(self, text: str) -> None:
        """The port is a number from 1 to 65535, and IPv6 addresses are in brackets."""
        with pytest.raises(CycloptsError):
            address_of(text)


class TestForwarding:
    """``--publish``, ``--budget`` and ``--on-event``."""

    @pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_printed_events_are_published_and_passed_to_the_command(
        self, valkey: str, words: list[str], pm_sandbox: Sandbox, tmp_path: Path, number: signal.Signals, code: int
    ) -> None:
        """A signal ends everything within two seconds, after the last events were published."""
        told = tmp_path / "told"
        hook = shlex.join(["/bin/sh", "-c", 'cat >> "$1"; echo >> "$1"', "sh", str(told)])
        reading = ("--json", "--floor", "0.1", "--ceiling", "0.1", "--warn", "1000")
        passing = ("--publish", valkey, "--stream", number.name, "--on-event", hook)
        with watching(tmp_path, pm_sandbox, *words, *reading, *passing) as process:
            wait_until(lambda: len(lines(tmp_path / "out")) > 5 and len(lines(told)) == 2)
            ended, took = end(process, number)

        seen = [one.event for one in seen_in(valkey, number.name)]
        assert (ended, took < 2) == (code, True)
        assert isinstance(seen[0], Started)
        assert [msgspec.json.encode(event).decode() for event in seen[1:]] == lines(tmp_path / "out")
        assert {json.loads(line)["type"] for line in lines(told)} == {"ThresholdCrossed"}
        assert lines(tmp_path / "err") == []

    def test_a_server_that_is_down_does_not_stop_the_watch(
        self, words: list[str], pm_sandbox: Sandbox, tmp_path: Path
    ) -> None:
        """One warning says so, without the password, and the accounts are read."""
        with refusing_port() as port:
            url = f"redis://:{PASSWORD}@127.0.0.1:{port}"
            options = ("--floor", "0.1", "--ceiling", "0.1", "--budget", url, "--publish", url)
            with watching(tmp_path, pm_sandbox, *words, *options) as process:
                wait_until(lambda: len(lines(tmp_path / "out")) > 15)
                code, took = end(process)

        errors = "\n".join(lines(tmp_path / "err"))
        assert (code, took < 3) == (130, True)
        assert errors.count("The stream is unavailable") == 1
        assert re.search(rf"127\.0\.0\.1:{port}: \d+ events were not published", errors)
        assert not any(text in errors for text in (PASSWORD, "Traceback"))

    def test_nothing_is_published_if_the_accounts_are_wrong(self, valkey: str, tmp_path: Path) -> None:
        """The stream does not contain the start of a shard that never published."""
        words = ("watch", "--accounts", str(tmp_path / "none.toml"), "--publish", valkey, "--stream", "unwritten")
        ended = run_process(*words)

        assert (ended.code, ended.err.count("\n")) == (1, 1)
        with beside(valkey) as client:
            assert not client.exists("binance-pm:{unwritten}:events")
