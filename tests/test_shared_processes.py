"""Real processes share one budget on a real server, before an exchange with a short minute: nobody is refused."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path

import pytest

from binance_pm.testing import Sandbox, running_sandbox
from tests.valkey import serving

MINUTE = 4.0
LIMIT = 1000
PROCESSES = 3

PROGRAM = """
import asyncio, sys
from binance_pm import Budget, Client, Kind, Session

store, url, key, secret, minute, limit = sys.argv[1:]


async def poll(client):
    while True:
        await client.account()


async def main():
    limits = {("papi", Kind.IP): int(limit)}
    budget = Budget.shared(store, limits=limits, minute=float(minute))
    async with Session(budget=budget) as session:
        async with Client(api_key=key, api_secret=secret, papi_url=url, session=session, max_wait=30) as client:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(3):
                    tasks.create_task(poll(client))


asyncio.run(main())
"""


@pytest.fixture
def valkey(tmp_path: Path) -> Generator[str, None, None]:
    """A server of its own, which the processes reach by a socket file."""
    path = tmp_path / "socket"
    with serving("--port", "0", "--unixsocket", str(path)):
        yield f"unix://{path}"


def test_nobody_is_refused(valkey: str) -> None:
    """Though every process asks for all it can get, and one of them is killed and started again."""
    with running_sandbox(minute=MINUTE, limits={"papi": LIMIT}) as exchange, ExitStack() as running:

        def start() -> subprocess.Popen[bytes]:
            account = exchange.accounts[0]
            given = (valkey, exchange.base_url, account.api_key, account.api_secret, str(MINUTE), str(LIMIT))
            process = subprocess.Popen([sys.executable, "-c", PROGRAM, *given])
            running.callback(process.wait)
            running.callback(process.kill)
            return process

        processes = [start() for _ in range(PROCESSES)]
        _run_until(exchange, answers=20)
        processes[0].kill()
        processes[0].wait()
        start()
        _run_until(exchange, answers=150)

        # What is being answered has no status yet.
        assert {arrival.status for arrival in exchange.exchange.requests} <= {200, None}


def _run_until(exchange: Sandbox, *, answers: int) -> None:
    """Wait for so many answers, but not for ever."""
    until = time.monotonic() + 40
    while len(exchange.exchange.requests) < answers and time.monotonic() < until:
        time.sleep(0.05)
    assert len(exchange.exchange.requests) >= answers
