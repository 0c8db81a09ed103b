"""A supervised stream without a client, and a recorder of its items."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import cache
from typing import Any, TypeVar

import anyio

from binance_pm.api.futures_events import OrderTradeUpdate
from binance_pm.stream.items import AnyEvent, StreamDown, StreamGap, StreamUp
from binance_pm.stream.policy import StreamSettings
from binance_pm.stream.shared import SessionStreams
from binance_pm.stream.source import StreamSource
from binance_pm.stream.supervisor import Supervisor
from binance_pm.stream.timing import Timing
from tests.support.paths import TESTS
from tests.support.waiting import eventually

Item = AnyEvent | StreamUp | StreamDown | StreamGap

T = TypeVar("T")


@cache
def _sample(name: str) -> str:
    return (TESTS / "samples" / "streams" / f"{name}.json").read_text(encoding="utf-8")


def sample(name: str) -> dict[str, Any]:
    """Return a sample of an event."""
    return json.loads(_sample(name))["message"]


def order_event(number: int) -> dict[str, Any]:
    """Return an event about an order with an id."""
    message = sample("ORDER_TRADE_UPDATE")
    return message | {"o": message["o"] | {"i": number}}


class Recorder:
    """Everything that a stream has yielded."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.supervisor: Supervisor
        self._arrival = anyio.Event()

    def __call__(self, item: Item) -> None:
        """Record an item."""
        self.items.append(item)
        self._arrival.set()

    @property
    def last_order(self) -> int:
        """The id of the order of the last event about one; 0 if there was none."""
        return next((item.order.order_id for item in reversed(self.items) if isinstance(item, OrderTradeUpdate)), 0)

    def all_of(self, kind: type[T]) -> list[T]:
        """Return the items of a type."""
        return [item for item in self.items if isinstance(item, kind)]

    async def until(self, is_reached: Callable[[], bool]) -> None:
        """Wait until a condition holds after an item."""
        while not is_reached():
            self._arrival = anyio.Event()
            await self._arrival.wait()

    async def until_true(self, is_reached: Callable[[], bool]) -> None:
        """Wait until a condition holds, with or without an item."""
        await eventually(is_reached)

    async def next_of(self, kind: type[T], count: int = 1) -> T:
        """Wait until a number of items of a type have arrived, and return the last of them."""
        await self.until(lambda: len(self.all_of(kind)) >= count)
        return self.all_of(kind)[count - 1]


@asynccontextmanager
async def supervised(
    source: StreamSource, settings: StreamSettings, shared: SessionStreams | None = None
) -> AsyncGenerator[Recorder, None]:
    """Run a stream."""
    recorder = Recorder()
    shared = shared or SessionStreams(settings)
    recorder.supervisor = supervisor = Supervisor("test", source, shared, recorder, settings, Timing())
    started = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(supervisor.run, started.set)
        await started.wait()
        yield recorder
        tasks.cancel_scope.cancel()
