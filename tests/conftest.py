"""Fixtures of all tests, and the event loops that they run on."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from pathlib import Path

import hypothesis
import pytest
import pytest_asyncio
import uvloop

from binance_pm import Client
from binance_pm.testing import Sandbox, sandbox
from tests.support.clocks import FakeClock, ManualClock
from tests.support.many_trades import save
from tests.support.paths import TESTS
from tests.support.valkey import serving

# A slow machine is no failure, and a failure says how to repeat it.
hypothesis.settings.register_profile("tests", deadline=None, print_blob=True)
hypothesis.settings.load_profile("tests")

# What depends on how an event loop works: connections, and the order of wake-ups.
_ON_BOTH_LOOPS = {"transport", "test_session", "test_cancellation", "test_wakeup", "test_budget", "test_budget_idle"}


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run asynchronous tests on asyncio's own event loop, and those of connections and wake-ups on uvloop as well."""
    loops: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    if _ON_BOTH_LOOPS & {item.path.stem, item.path.parent.name}:
        loops["uvloop"] = uvloop.new_event_loop
    return loops


# Folders and modules whose tests wait in real time, start processes or run long simulations.
_SLOW = (
    "integration",
    "messages",
    "project",
    "properties",
    "simulation",
    "unit/cli/test_commands",
    "unit/cli/test_live",
    "unit/cli/test_screens",
    "unit/fleet/test_fleet",
    "unit/fleet/test_isolation",
    "unit/fleet/test_memory",
    "unit/test_secrets",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark slow tests: ``-m "not slow"`` leaves them out."""
    for item in items:
        if item.path.relative_to(TESTS).as_posix().startswith(_SLOW):
            item.add_marker("slow")


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
    """The engine of sessions that name none: the direct engine by themselves, httpx by the environment."""
    if request.param == "httpx":
        monkeypatch.setenv("BINANCE_PM_ENGINE", "httpx")
    return request.param


@pytest.fixture
def clock() -> FakeClock:
    """A clock that moves when a task sleeps."""
    return FakeClock()


@pytest.fixture
def manual_clock() -> ManualClock:
    """A clock that only the test moves."""
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
def complete_export(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], bytes]:
    """Return the bytes of an export that was not interrupted."""
    folder = tmp_path_factory.mktemp("complete")
    made: dict[str, bytes] = {}

    def read(form: str) -> bytes:
        if form not in made:
            save(folder / f"trades.{form}")
            made[form] = (folder / f"trades.{form}").read_bytes()
        return made[form]

    return read


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Generator[str, None, None]:
    """The URL of an empty server, which all tests share: each takes a name of its own there."""
    path = tmp_path_factory.mktemp("valkey") / "socket"
    with serving("--port", "0", "--unixsocket", str(path)):
        yield f"unix://{path}"
