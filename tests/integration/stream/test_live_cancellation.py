"""A live account that is cancelled at any await ends soon, and leaves no task, socket or waiter."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Generator
from decimal import Decimal
from typing import Any

import pytest

from binance_pm import Client
from binance_pm.stream import order_watch
from binance_pm.testing import Fault, Sandbox, running_sandbox
from tests.support.cancelling import cancelled_at
from tests.support.waiting import eventually

Way = Callable[[Sandbox, Client], Coroutine[Any, Any, Any]]
RESTING: dict[str, Any] = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "time_in_force": "GTC"}


@pytest.fixture(scope="module")
def pm() -> Generator[Sandbox]:
    """A local exchange on a socket."""
    with running_sandbox(accounts=1) as running:
        yield running


async def entering(_: Sandbox, client: Client) -> None:
    """Connect and read."""
    async with client.live_account({"um"}):
        pass


async def placing(pm: Sandbox, client: Client) -> None:
    """Place an order whose response is lost, and cancel it."""
    async with client.live_account({"um"}) as live:
        pm.inject(Fault(method="POST", path="/papi/v1/um/order", drop=True))
        order = await live.um.new_order(**RESTING, quantity=Decimal("0.01"), price=Decimal(50_000))
        await order.cancel()
        await order.ended()


async def waiting(pm: Sandbox, client: Client) -> None:
    """Wait for changes and events."""
    async with client.live_account({"um.positions"}) as live:
        await live.changed()
        await client.um.set_leverage("BTCUSDT", 10)
        await anext(live.events())
        pm.exchange.streams.push(pm.accounts[0].label, b"not JSON")
        await live.changed()


@pytest.mark.parametrize("way", [entering, placing, waiting])
async def test_leaves_nothing_behind(pm: Sandbox, way: Way) -> None:
    """Every few suspensions until the way is not cancelled any more, or waits at its end."""
    before = len(asyncio.all_tasks())
    for point in range(0, 70, 3):
        pm.clear()
        async with pm.client() as client:
            began = time.monotonic()
            async with asyncio.timeout(20):
                reached = await cancelled_at(point, way(pm, client))
            assert time.monotonic() - began < 10
            watches = order_watch._watches.get(client.session, {}).get(client.key_id, [])
            assert watches == []
            await eventually(lambda: len(asyncio.all_tasks()) == before)
            await eventually(lambda: not pm.exchange.streams.open_connections)
        if not reached:
            return
