"""What tests share: a clock that only moves when told, and both event loops of asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping

import anyio.lowlevel
import pytest
import pytest_asyncio
import uvloop

from binance_pm import Client
from binance_pm.testing import Sandbox, sandbox


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Every asynchronous test runs on asyncio's own event loop and on uvloop."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


class FakeClock:
    """A clock that only moves when told, or when somebody sleeps."""

    def __init__(self) -> None:
        self.now: float = 1_000_000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        """The time in seconds."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Let the time pass at once."""
        self.slept.append(seconds)
        self.now += seconds
        await anyio.lowlevel.checkpoint()


@pytest.fixture
def clock() -> FakeClock:
    """A fake clock."""
    return FakeClock()


@pytest_asyncio.fixture
async def pm() -> AsyncGenerator[Sandbox, None]:
    """A local exchange in memory."""
    async with sandbox(in_memory=True, accounts=2) as running:
        yield running


@pytest_asyncio.fixture
async def client(pm: Sandbox) -> AsyncGenerator[Client, None]:
    """A client of the local exchange in memory."""
    async with pm.client() as opened:
        yield opened
