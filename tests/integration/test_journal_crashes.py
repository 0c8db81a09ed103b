"""A program is killed at every write of its day: its journal knows every order, and no order is sent twice."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Generator
from decimal import Decimal
from pathlib import Path
from typing import cast

import msgspec
import pytest

from binance_pm import read_journal
from binance_pm.sandbox import Exchange, Fault, serve
from binance_pm.sandbox.messages import Arrival
from tests.support.trading_day import STEPS, Account, Phase, Step, is_step, trade
from tests.support.waiting import wait_until

# A new process of this server has the package loaded.
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["tests.support.trading_day"])
PLACED = {"day-1", "day-2", "day-3", "day-4", "day-8", "day-9"}
"""The orders of the day, without those that wait for a price."""

_PAST_EXPIRY = 20.0
"""Seconds after which nothing of a request can be executed, and after which queries show everything."""


class Day:
    """An exchange, and the program that trades there.

    Attributes:
        exchange: the exchange, whose clock the test moves.
        journal: the journal of the program.
    """

    def __init__(self, journal: Path) -> None:
        self._ahead = 0.0
        self.exchange = Exchange(accounts=1, clock=lambda: time.time() + self._ahead, liquidation=False)
        self.exchange.set_price("BTCUSDT", Decimal(64_000))
        self.journal = journal
        self._account = self.exchange.accounts[0]
        self._before = {order.client_order_id for order in self.exchange.orders(self._account)}
        self.url = ""

    def start(self, victim: int = -1, phase: Phase = "never") -> multiprocessing.Process:
        """Start the program."""
        account = Account(self.url, self._account.api_key, self._account.api_secret)
        process = _PROCESSES.Process(target=trade, args=(account, self.journal, victim, phase), daemon=True)
        process.start()
        return cast("multiprocessing.Process", process)

    def end(self, process: multiprocessing.Process) -> None:
        """Wait for the program's end by SIGKILL, and until nothing of its requests can be executed any more."""
        process.join(20)
        assert process.exitcode == -signal.SIGKILL
        self._ahead += _PAST_EXPIRY

    def arrivals(self, step: Step) -> list[Arrival]:
        """Return the requests of a write that have arrived."""
        name, value = step.known_by
        return [
            one
            for one in self.exchange.requests
            if (one.method, one.path) == (step.method, step.path) and (name, str(value)) in one.params
        ]

    def check(self) -> None:
        """Let the program finish its day, and compare the journal with the exchange."""
        process = self.start()
        process.join(20)
        assert process.exitcode == 0
        entries = list(read_journal(self.journal))
        noted = {value for entry in entries for value in entry.started.parameters.values()}
        orders = {order.client_order_id for order in self.exchange.orders(self._account)} - self._before

        assert PLACED <= orders <= noted
        assert [entry for entry in entries if entry.outcome == "unknown"] == []
        for step in STEPS:
            assert sum(one.effects for one in self.arrivals(step)) == 1, step
            assert sum(is_step(entry, step) and entry.outcome == "done" for entry in entries) == 1, step


@pytest.fixture
def day(tmp_path: Path) -> Generator[Day, None, None]:
    """An exchange on a socket, and a program that was not started yet."""
    day = Day(tmp_path / "journal.jsonl")
    with serve(day.exchange) as day.url:
        yield day


@pytest.mark.parametrize("phase", ["torn", "written", "flushed", "answered", "torn end"])
def test_killed_at_a_line_of_the_journal(day: Day, phase: Phase) -> None:
    """At every write: in the middle of a line, after it, or before it."""
    for victim, step in enumerate(STEPS):
        before = len(day.arrivals(step))
        day.end(day.start(victim, phase))
        assert (len(day.arrivals(step)) > before) == (phase in {"answered", "torn end"})

    day.check()


@pytest.mark.parametrize("is_late", [False, True], ids=["executed at once", "executed after the end"])
def test_killed_while_a_response_is_awaited(day: Day, is_late: bool) -> None:
    """At every write: the exchange executes it, and nobody hears the response."""
    for step in STEPS:
        slow = Fault(delay=0.1) if is_late else Fault(delay_after=5.0)
        day.exchange.inject(msgspec.structs.replace(slow, method=step.method, path=step.path))
        process = day.start()
        wait_until(lambda step=step: day.arrivals(step))
        if not is_late:
            wait_until(lambda step=step: day.arrivals(step)[0].effects)
        os.kill(process.pid or 0, signal.SIGKILL)
        wait_until(lambda step=step: day.arrivals(step)[0].effects)
        day.end(process)

    day.check()


def test_killed_while_the_request_is_on_its_way(day: Day) -> None:
    """At every write: the request reaches the exchange too late to be executed, and is sent again after the restart."""
    for step in STEPS:
        day.exchange.inject(Fault(method=step.method, path=step.path, delay=0.1))
        process = day.start()
        wait_until(lambda step=step: day.arrivals(step))
        os.kill(process.pid or 0, signal.SIGKILL)
        day.end(process)
        wait_until(lambda step=step: day.arrivals(step)[0].status is not None)
        assert day.arrivals(step)[0].effects == 0

    day.check()
