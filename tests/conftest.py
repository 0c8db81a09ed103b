"""Fixtures of all tests, and the event loops that they run on."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import types
import warnings
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import uvloop
from coverage import Coverage
from coverage.exceptions import CoverageWarning

from binance_pm import Client
from binance_pm.testing import Sandbox, sandbox
from tests.clocks import FakeClock, ManualClock
from tests.clocks import settled as settled  # noqa: PLC0414 - tests take it from here
from tests.valkey import serving

# What depends on how an event loop does its work: connections, and who is woken when.
_ON_BOTH_LOOPS = {"transport", "test_session", "test_cancellation", "test_wakeup", "test_budget", "test_budget_idle"}


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run asynchronous tests on asyncio's own event loop, and those of connections and wake-ups on uvloop as well."""
    loops: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    if _ON_BOTH_LOOPS & {item.path.stem, item.path.parent.name}:
        loops["uvloop"] = uvloop.new_event_loop
    return loops


# Modules whose tests wait in real time, start processes or run long simulations.
_SLOW = {
    "test_budget_machine",
    "test_certificates",
    "test_dashboard",
    "test_demo",
    "test_docs",
    "test_full_use",
    "test_hook",
    "test_implausible_accounts",
    "test_implausible_fields",
    "test_implausible_responses",
    "test_isolation",
    "test_ledger_machine",
    "test_lock",
    "test_memory",
    "test_publish",
    "test_published_processes",
    "test_queue_machine",
    "test_redis",
    "test_scenarios",
    "test_screens",
    "test_script",
    "test_shared_processes",
    "test_store_worker",
    "test_subscribe",
    "test_tail",
    "test_watch_metrics",
    "test_world",
}
_SLOW_IN_FOLDERS = {"cli/test_doctor", "cli/test_sandbox", "fleet/test_sandbox", "sandbox/test_server"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of slow modules: ``-m "not slow"`` leaves them out."""
    for item in items:
        if item.path.stem in _SLOW or f"{item.path.parent.name}/{item.path.stem}" in _SLOW_IN_FOLDERS:
            item.add_marker("slow")


@types.coroutine
def cancelled_at(point: int, coroutine: Coroutine[Any, Any, Any]) -> Generator[Any, Any, bool]:
    """Run a coroutine and cancel this task at its given suspension; whether it came to that."""
    task = asyncio.current_task()
    assert task is not None
    sent: Any = None
    count = 0
    reached = False
    thrown: BaseException | None = None
    while True:
        try:
            awaited = coroutine.throw(thrown) if thrown else coroutine.send(sent)
        except StopIteration:
            return reached
        except asyncio.CancelledError:
            assert reached
            task.uncancel()
            return True
        sent, thrown = None, None
        if count == point:
            reached = True
            task.cancel()
        count += 1
        try:
            sent = yield awaited
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is the coroutine's to handle
            thrown = error


@contextmanager
def refusing_port() -> Generator[int, None, None]:
    """A port of this machine that nobody listens on, and that nobody else can take meanwhile."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@contextmanager
def unmeasured() -> Generator[None, None, None]:
    """Coverage does not look on: what takes long in here takes three times as long with it.

    For simulations that go over and over what other tests have covered.
    """
    coverage = Coverage.current()
    if coverage is None:
        yield
        return
    coverage.stop()
    try:
        yield
    finally:
        with warnings.catch_warnings():
            # That the package is imported already is as it should be: coverage looked on when it was.
            warnings.simplefilter("ignore", CoverageWarning)
            coverage.start()


@pytest.fixture(scope="session", autouse=True)
def state_home(tmp_path_factory: pytest.TempPathFactory) -> Generator[Path, None, None]:
    """The budget of the process keeps its bans in a directory of the tests, not in the developer's own."""
    home = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("XDG_STATE_HOME", "LOCALAPPDATA"):
            patch.setenv(variable, str(home))
        yield home


@pytest.fixture
def interruptible() -> Generator[None, None, None]:
    """Children can be stopped with Ctrl-C even where this process was started in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(params=["httpx", "direct"])
def each_engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What sessions choose by themselves: the engine of the extra `fast`, and the other where it is not installed."""
    if request.param == "httpx":
        monkeypatch.setitem(sys.modules, "httptools", None)
    return request.param


@pytest.fixture
def clock() -> FakeClock:
    """A clock that moves when somebody sleeps."""
    return FakeClock()


@pytest.fixture
def manual_clock() -> ManualClock:
    """A clock that only moves when told."""
    return ManualClock()


@pytest_asyncio.fixture
async def pm() -> AsyncGenerator[Sandbox, None]:
    """A local exchange in memory, whose minute does not turn while a test runs: what was used stays used."""
    async with sandbox(in_memory=True, accounts=2, minute=1e9) as running:
        yield running


@pytest_asyncio.fixture
async def client(pm: Sandbox) -> AsyncGenerator[Client, None]:
    """A client of the local exchange in memory."""
    async with pm.client() as opened:
        yield opened


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Generator[str, None, None]:
    """The URL of an empty server, which all tests share: each takes a name of its own there."""
    path = tmp_path_factory.mktemp("valkey") / "socket"
    with serving("--port", "0", "--unixsocket", str(path)):
        yield f"unix://{path}"
