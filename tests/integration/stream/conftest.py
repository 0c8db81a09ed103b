"""Streams on every event loop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import Any, Protocol

import anyio
import pytest

from binance_pm.stream.policy import StreamSettings
from tests.support.stream_server import StreamServer, stream_server

FAST = StreamSettings(
    confirm_every=0.6,
    ping_every=0.25,
    ping_timeout=0.25,
    overlap=0.05,
    first_backoff=0.05,
    longest_backoff=0.2,
    update_timeout=0.5,
)
"""About forty times faster than in use."""


def slow(**changes: Any) -> StreamSettings:
    """Return settings with intervals longer than a test, except for the given changes."""
    quiet: dict[str, Any] = {"confirm_every": 60.0, "ping_every": 60.0, "ping_timeout": 5.0, "overlap": 0.05}
    quiet |= {"first_backoff": 0.05, "longest_backoff": 0.2}
    return StreamSettings(**(quiet | changes))


class Run(Protocol):
    """Runs a test on an event loop."""

    def __call__(self, test: Callable[..., Awaitable[Any]], /, *args: Any) -> Any:
        """Run the test within 20 seconds and return its result."""
        ...


@pytest.fixture(params=["asyncio", "uvloop", "trio"])
def run(request: pytest.FixtureRequest) -> Run:
    """Run a test on an event loop."""
    is_trio = request.param == "trio"
    options: dict[str, Any] = {} if is_trio else {"use_uvloop": request.param == "uvloop"}

    def run_here(test: Callable[..., Awaitable[Any]], /, *args: Any) -> Any:
        async def main() -> Any:
            with anyio.fail_after(20):
                return await test(*args)

        return anyio.run(main, backend="trio" if is_trio else "asyncio", backend_options=options)

    return run_here


@pytest.fixture
def server() -> Generator[StreamServer, None, None]:
    """A server of streams."""
    with stream_server() as started:
        yield started
