"""Real processes watch, publish and read, and are killed: no request is refused, and every gap has a mark."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from binance_pm.fleet import Gap, Started, shard
from binance_pm.testing import Sandbox, running_sandbox
from tests.support.relay_streams import Seen, beside, seen_in
from tests.support.valkey import free_port, program
from tests.support.waiting import wait_until

MINUTE: Final = 4.0
LIMIT: Final = 600
WEIGHT: Final = 5
ACCOUNTS: Final = 12
STREAM: Final = "killed"
BUDGET: Final = "killed"

# The command itself, against an exchange with a short minute.
COMMAND = f"""
from functools import partial
from binance_pm import LimitType
from binance_pm.budget import shared
from binance_pm.cli import main
shared.SharedBudget = partial(shared.SharedBudget, minute={MINUTE}, limits={{("sapi", LimitType.IP): {LIMIT}}})
main()
"""

wait_long = partial(wait_until, seconds=60.0)

pytestmark = [pytest.mark.timeout(150), pytest.mark.usefixtures("interruptible")]


class Desk:
    """A sandbox, a server and two shards of a watch.

    Args:
        exchange: the sandbox.
        folder: for files.
        url: of the server.
    """

    def __init__(self, exchange: Sandbox, folder: Path, url: str) -> None:
        self.exchange = exchange
        self.folder = folder
        self.url = url
        self._stack = ExitStack()
        self._accounts = folder / "accounts.toml"
        self._environment = os.environ | {"BINANCE_PM_BASE_URL": exchange.base_url}
        tables: list[str] = []
        for account in exchange.accounts:
            name = account.label.upper().replace("-", "_")
            self._environment |= {f"{name}_KEY": account.hmac.api_key, f"{name}_SECRET": account.hmac.secret}
            key, secret = (f'{{ env = "{name}_{kind}" }}' for kind in ("KEY", "SECRET"))
            fields = {"label": f'"{account.label}"', "product": '"span"', "api_key": key, "api_secret": secret}
            tables.append("\n".join(["[[accounts]]", *(f"{field} = {value}" for field, value in fields.items())]))
        self._accounts.write_text("\n".join(tables), encoding="utf-8")

    def watch(self, number: int) -> subprocess.Popen[bytes]:
        """Start one of two shards, which requests more than the exchange allows."""
        store = f"--budget {self.url} --budget-name {BUDGET} --publish {self.url} --stream {STREAM} --length 1000000"
        pace = "--floor 0.05 --ceiling 0.05 --warn 1.5"
        words = f"--shard {number}/2 {pace} {store}".split()
        return self._start("watch", "--accounts", str(self._accounts), *words)

    def tail(self, *options: str) -> subprocess.Popen[bytes]:
        """Start a reader of the stream."""
        return self._start("tail", self.url, "--stream", STREAM, "--json", "--from-start", *options)

    def _start(self, name: str, *words: str) -> subprocess.Popen[bytes]:
        with (self.folder / name).open("ab") as out, (self.folder / "errors").open("ab") as errors:
            command = [sys.executable, "-c", COMMAND, name, *words]
            process = subprocess.Popen(command, stdout=out, stderr=errors, env=self._environment)
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        return process

    def errors(self) -> str:
        """Return the stderr of the processes."""
        return (self.folder / "errors").read_text(encoding="utf-8")

    def read_since(self, since: float) -> set[str]:
        """Return the accounts that were requested since a time."""
        return {arrival.account or "" for arrival in self.exchange.exchange.requests if arrival.time > since}

    def all_are_read(self) -> None:
        """Wait until every account was read after now."""
        since = time.time()
        labels = {account.label for account in self.exchange.accounts}
        wait_long(lambda: self.read_since(since) >= labels)

    def wait_for_runs(self, count: int) -> None:
        """Wait until so many runs have published more than their start."""
        wait_long(lambda: sum(one.number == 2 for one in self.seen()) >= count)

    def seen(self) -> list[Seen]:
        """Return the entries of the stream."""
        return seen_in(self.url, STREAM)

    def printed(self) -> list[tuple[str, int | None]]:
        """Return the run and number of the entries that the readers have printed."""
        lines = (self.folder / "tail").read_text(encoding="utf-8").splitlines()
        return [(one["run"], one["number"]) for one in map(json.loads, lines)]

    def close(self) -> None:
        """End every process."""
        self._stack.close()


@pytest.fixture
def desk(tmp_path: Path) -> Generator[Callable[[str], Desk], None, None]:
    """Makes the processes of a test for a server."""
    with running_sandbox(minute=MINUTE, limits={"sapi-ip": LIMIT}, accounts=ACCOUNTS) as exchange, ExitStack() as stack:

        def make(url: str) -> Desk:
            made = Desk(exchange, tmp_path, url)
            stack.callback(made.close)
            return made

        yield make


def check_numbers(seen: list[Seen]) -> dict[str, list[Seen]]:
    """Check that no entry of a run is missing, and that each run of a shard states the end of the one before."""
    runs: dict[str, list[Seen]] = defaultdict(list)
    latest: dict[str, Seen] = {}
    for one in seen:
        before = runs[one.run]
        if before:
            assert one.number == before[-1].number + 1
        else:
            assert one.number == 1
            assert isinstance(one.event, Started)
            last = latest.get(one.shard)
            assert (one.event.previous_run, one.event.previous_number) == (
                last and last.run,
                last.number if last else 0,
            )
            assert (one.event.since is None) is (last is None)
        before.append(one)
        latest[one.shard] = one
    return runs


def check_not_refused(desk: Desk) -> None:
    """Check that no request was refused; one in progress has no status yet."""
    assert {arrival.status for arrival in desk.exchange.exchange.requests} <= {200, None}


def fullest(desk: Desk) -> float:
    """Return the share of the limit that was used in the fullest minute."""
    used: dict[float, int] = defaultdict(int)
    for arrival in desk.exchange.exchange.requests:
        used[arrival.time // MINUTE] += WEIGHT
    return max(used.values()) / LIMIT


def test_a_killed_shard_leaves_no_gap_without_a_mark(valkey: str, desk: Callable[[str], Desk]) -> None:
    """No request is refused, the other shard continues, and all accounts are read again."""
    here = desk(valkey)
    first = here.watch(1)
    here.watch(2)
    reader = here.tail()
    here.all_are_read()
    here.wait_for_runs(2)

    first.kill()
    first.wait()
    reader.kill()
    reader.wait()
    killed = time.time()
    others = set(shard((account.label for account in here.exchange.accounts), 2, 2))
    wait_long(lambda: here.read_since(killed) >= others)
    time.sleep(1)
    here.watch(1)
    restarted = time.time()
    reader = here.tail()
    here.wait_for_runs(3)
    here.all_are_read()
    wait_long(lambda: fullest(here) > 0.6)
    check_not_refused(here)
    with beside(valkey) as client:
        assert client.exists(f"binance-pm:{{{BUDGET}}}")

    seen = here.seen()
    check_numbers(seen)
    starts = [one.event for one in seen if isinstance(one.event, Started)]
    assert [start.shard for start in starts].count("1/2") == 2
    mark = starts[-1]
    # The time without publishing is stated, to a moment before the kill and to one after the restart.
    assert mark.since is not None
    assert killed - 2 < mark.since < killed + 0.1
    assert restarted < mark.at < time.time()
    assert not any(isinstance(one.event, Gap) for one in seen)

    wait_long(lambda: keys(seen) <= set(here.printed()))
    assert None not in {number for _, number in here.printed()}
    reader.send_signal(signal.SIGINT)
    assert reader.wait(timeout=20) == 130
    assert "Traceback" not in here.errors()


@contextmanager
def keeping_server(port: int, folder: Path) -> Generator[subprocess.Popen[str], None, None]:
    """A server that stores each command before its reply."""
    options = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder), "--save", ""]
    command = [str(program()), *options, "--appendonly", "yes", "--appendfsync", "always"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert any("ready to accept" in line.lower() for line in process.stdout or ())
            yield process
        finally:
            process.kill()


def test_a_killed_server_with_its_memory_has_every_entry(tmp_path: Path, desk: Callable[[str], Desk]) -> None:
    """Events of the outage were kept for the server."""
    port = free_port()
    here = desk(f"redis://127.0.0.1:{port}")
    with keeping_server(port, tmp_path):
        here.watch(1)
        here.watch(2)
        here.tail()
        here.wait_for_runs(2)
        here.all_are_read()
    here.all_are_read()
    with keeping_server(port, tmp_path):
        back = time.time()
        wait_long(lambda: all(any(newer(one, back) for one in run) for run in check_numbers(here.seen()).values()))
        check_not_refused(here)
        seen = here.seen()
        assert len(check_numbers(seen)) == 2
        assert not any(isinstance(one.event, Gap) for one in seen)
        wait_long(lambda: len(here.printed()) >= len(seen))
        printed = here.printed()

    assert None not in {number for _, number in printed}
    assert len(set(printed)) == len(printed)
    assert here.errors().count("The stream is available again") == 3
    assert "Traceback" not in here.errors()


def newer(one: Seen, than: float) -> bool:
    """Whether an event happened after a time; the exchange's clock is known to a second."""
    return one.event.at > than + 1


def keys(seen: list[Seen]) -> set[tuple[str, int | None]]:
    """Return the run and number of entries."""
    return {(one.run, one.number) for one in seen}
