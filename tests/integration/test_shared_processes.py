"""Real processes share one budget on a real server, before an exchange with a short minute: no request is refused."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import ExitStack
from pathlib import Path

import pytest

from binance_pm.testing import Sandbox, running_sandbox
from tests.support.valkey import serving
from tests.support.waiting import wait_until

MINUTE = 4.0
LIMIT = 1000
PROCESSES = 3
# Weight of a call of the program.
WEIGHT = 20
# Without the store each process takes one of four parts: together they use no more of a minute than this.
ALONE = PROCESSES / 4
LONGEST = 45.0

PROGRAM = """
import asyncio, sys, time
from binance_pm import Client, LimitType, Session, SharedBudget

store, url, key, secret, minute, limit = sys.argv[1:]


async def poll(client):
    while True:
        await client.account()


async def main():
    limits = {("papi", LimitType.IP): int(limit)}
    budget = SharedBudget(store, limits=limits, minute=float(minute))
    async with Session(budget=budget) as session:
        async with Client(api_key=key, api_secret=secret, papi_url=url, session=session, max_wait=30) as client:
            await client.account()
            # A machine that is busy may lose the store, but not for long.
            until = time.monotonic() + 10
            while budget.is_store_lost:
                if time.monotonic() > until:
                    sys.exit("the store is lost")
                await asyncio.sleep(0.1)
            async with asyncio.TaskGroup() as tasks:
                for _ in range(3):
                    tasks.create_task(poll(client))


asyncio.run(main())
"""


@pytest.fixture
def valkey(tmp_path: Path) -> Generator[str, None, None]:
    """A dedicated server, which the processes reach by a socket file."""
    path = tmp_path / "socket"
    with serving("--port", "0", "--unixsocket", str(path)):
        yield f"unix://{path}"


def test_no_request_is_refused(valkey: str) -> None:
    """Although every process requests all it can, and one is killed and restarted."""
    with running_sandbox(minute=MINUTE, limits={"papi": LIMIT}) as exchange, ExitStack() as running:

        def start() -> subprocess.Popen[bytes]:
            account = exchange.accounts[0]
            given = (valkey, exchange.base_url, account.api_key, account.api_secret, str(MINUTE), str(LIMIT))
            process = subprocess.Popen([sys.executable, "-c", PROGRAM, *given])
            running.callback(process.wait)
            running.callback(process.kill)
            return process

        def wait_for(holds: Callable[[], bool]) -> None:
            wait_until(lambda: holds() or any(process.poll() is not None for process in processes), seconds=LONGEST)
            assert [process.poll() for process in processes] == [None] * PROCESSES

        processes = [start() for _ in range(PROCESSES)]
        wait_for(lambda: len(exchange.exchange.requests) >= 20)
        killed = processes.pop(0)
        killed.kill()
        killed.wait()
        processes.append(start())
        since = time.time()
        wait_for(lambda: fullest(exchange, since) > ALONE * LIMIT)

        # A request in progress has no status yet.
        assert {arrival.status for arrival in exchange.exchange.requests} <= {200, None}


def fullest(exchange: Sandbox, since: float) -> int:
    """Return the highest weight used in a minute that began after that time."""
    minutes = Counter(arrival.time // MINUTE for arrival in exchange.exchange.requests)
    return max((WEIGHT * calls for minute, calls in minutes.items() if minute * MINUTE > since), default=0)
