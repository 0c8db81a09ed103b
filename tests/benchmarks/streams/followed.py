"""Accounts of a local exchange, the events that it pushes, and clients in processes of their own that follow them."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from binance_pm.sandbox import Exchange, SimulatedAccount, serve
from binance_pm.testing import Sandbox
from tests.support.paths import ROOT, TESTS
from tests.support.streams import sample

OURS: Final = "binance_pm"
PYTHON_CLIENTS: Final = (OURS, "python-binance", "ccxt pro", "official Python")
NODE_CLIENTS: Final = {"npm binance": "binance", "official JS": "official"}
_NODE: Final = TESTS / "interop" / "node" / "stream.cjs"
_LONGEST_START: Final = 180.0
"""Seconds, on a busy machine."""


def node_clients(say: Callable[[str], None]) -> tuple[str, ...]:
    """Return the clients of npm; none, with a message, if Node.js or their packages are missing."""
    if os.environ.get("NODE_PATH") and shutil.which("node"):
        return tuple(NODE_CLIENTS)
    say("Clients of npm are left out: Node.js or their packages are missing.\n")
    return ()


@contextmanager
def plain_accounts(count: int, *, minute: float = 60.0, **rules: Any) -> Generator[Sandbox]:
    """Run a local exchange whose accounts are all alike, with all permissions and far from liquidation.

    Args:
        count: the number of accounts.
        minute: the length of the exchange's minute in seconds.
        **rules: as for `Exchange`.
    """
    accounts = [SimulatedAccount(f"account-{number:03}", uni_mmr="50") for number in range(count)]
    exchange = Exchange(accounts=accounts, minute=minute, **rules)
    with serve(exchange) as url:
        yield Sandbox(exchange, url, minute=minute)


class Events:
    """Events of one kind, each with another number.

    Args:
        message: the event, with ``NUMBER`` for the number and ``TIME`` for the time in milliseconds.
    """

    def __init__(self, message: dict[str, Any]) -> None:
        text = json.dumps(message | {"E": "TIME", "T": "TIME"}, separators=(",", ":"))
        self._text: Final = text.replace('"TIME"', "TIME").replace('"NUMBER"', "NUMBER")
        self._numbers: Final = itertools.count(1)
        self.last: int = 0
        """The number of the last event."""

    def next(self) -> bytes:
        """Return the next event; no two have the same time."""
        self.last = next(self._numbers)
        now = str(int(time.time() * 1000) + self.last)
        return self._text.replace("NUMBER", str(self.last)).replace("TIME", now).encode()


def order_events() -> Events:
    """Return events about orders: their numbers are the ids of the orders."""
    message = sample("ORDER_TRADE_UPDATE")
    return Events(message | {"o": message["o"] | {"i": "NUMBER", "s": "BTCUSDT"}})


def push(pm: Sandbox, labels: Sequence[str], events: Events, rate: float, seconds: float) -> int:
    """Push events to accounts in turn, at a steady pace; return how many."""
    count, begun = int(rate * seconds), time.perf_counter()
    for number in range(count):
        pause = begun + number / rate - time.perf_counter()
        if pause > 0:
            time.sleep(pause)
        pm.exchange.streams.push(labels[number % len(labels)], events.next())
    return count


@contextmanager
def pushing(pm: Sandbox, labels: Sequence[str], events: Events, rate: float) -> Generator[None]:
    """Push events to accounts in turn, at a steady pace, until the block ends."""
    ends = threading.Event()

    def work() -> None:
        while not ends.is_set():
            push(pm, labels, events, rate, 0.5)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        ends.set()
        thread.join()


class Usage(NamedTuple):
    """What a client has used and received since it was started."""

    events: int
    cpu: float
    """Seconds."""
    memory: float
    """Resident kB now."""
    rotations: int = 0
    """The fewest of a stream; of this package alone."""
    reconnects: int = 0
    """Of all streams; of this package alone."""


class Followed:
    """A client in a process of its own.

    Attributes:
        name: the name of the client.
        accounts: the accounts that it follows.
        reports: in the mode ``times``, the index of the account, the order id of an event or the words that its user is
            told, and the time.
    """

    def __init__(self, name: str, accounts: Sequence[SimulatedAccount], process: subprocess.Popen[str]) -> None:
        self.name: Final = name
        self.accounts: Final = accounts
        self.reports: Final[list[tuple[int, int | str, float]]] = []
        self._process: Final = process
        self._usages: Final[list[Usage]] = []
        self._has_usage: Final = threading.Semaphore(0)

    def ask(self) -> Usage:
        """Return what the client has used; for the mode ``cost``."""
        assert self._process.stdin is not None
        print(file=self._process.stdin, flush=True)
        assert self._has_usage.acquire(timeout=30)
        return self._usages.pop(0)

    def read(self) -> None:
        """Read what the client prints, until it ends."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            match json.loads(line):
                case [int(number), int() | str() as what, float(at)]:
                    self.reports.append((number, what, at))
                case usage:
                    self._usages.append(Usage(*usage))
                    self._has_usage.release()


@contextmanager
def followed(
    name: str, pm: Sandbox, accounts: Sequence[SimulatedAccount], mode: str, loop: str = "asyncio", **options: Any
) -> Generator[Followed]:
    """Start a client and wait until its streams are open; end it with the block.

    Args:
        name: the client.
        pm: the local exchange.
        accounts: the accounts that it follows.
        mode: ``times`` or ``cost``, see `tests.benchmarks.streams.clients`.
        loop: asyncio or uvloop.
        **options: of `tests.benchmarks.streams.clients.ours`.
    """
    command = [sys.executable, "-m", "tests.benchmarks.streams.clients", name, loop]
    if name in NODE_CLIENTS:
        command = ["node", str(_NODE), NODE_CLIENTS[name]]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    open_before = _open(pm)
    with subprocess.Popen(command, text=True, cwd=ROOT, **pipes) as process:
        assert process.stdin is not None
        keys = [[one.api_key, one.api_secret] for one in accounts]
        given = {"url": pm.base_url, "accounts": keys, "mode": mode, "options": options}
        print(json.dumps(given), file=process.stdin, flush=True)
        client = Followed(name, accounts, process)
        reader = threading.Thread(target=client.read)
        reader.start()
        try:
            if "stream_url" not in options:
                wait_until(lambda: _open(pm) >= open_before + len(accounts))
            yield client
        finally:
            process.kill()
            reader.join()


def _open(pm: Sandbox) -> int:
    """Return how many connections with an active listen key are open."""
    return sum(bool(row["isActive"]) for row in pm.exchange.streams.state())


def wait_until(holds: Callable[[], bool], seconds: float = _LONGEST_START) -> None:
    """Wait until a condition holds."""
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends, f"not within {seconds:g} s"
        time.sleep(0.1)
