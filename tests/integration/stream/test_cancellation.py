"""A stream or a live account that is cancelled before any step of any of its tasks ends soon, and leaves nothing."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from contextlib import asynccontextmanager, suppress
from decimal import Decimal
from typing import Any, Literal

import anyio
import pytest
import sniffio
import trio

from binance_pm import Client, Session
from binance_pm.stream import order_events
from binance_pm.stream.items import StreamGap
from binance_pm.stream.live import LiveAccount
from binance_pm.stream.placing import PlacedOrder
from binance_pm.stream.policy import StreamSettings
from binance_pm.stream.resync import read_order_of
from binance_pm.stream.shared import session_streams
from binance_pm.testing import Sandbox, StreamFault, StreamRules, running_sandbox
from tests.support.cancelling import cancelled_before_step
from tests.support.waiting import eventually

PRO = 11
"""An account of Portfolio Margin Pro."""
SETTINGS = StreamSettings(overlap=0.001, first_backoff=0.0, attempts_per_second=1_000, attempts_per_5_minutes=1_000_000)
RESTING: dict[str, Any] = {
    "symbol": "BTCUSDT",
    "side": "BUY",
    "type": "LIMIT",
    "time_in_force": "GTC",
    "quantity": Decimal("0.01"),
    "price": Decimal(50_000),
}
LOOPS: tuple[Literal["asyncio", "trio"], ...] = ("asyncio", "trio")


class Stage:
    """A client on a session, and the collections that must be empty afterwards."""

    def __init__(self, pm: Sandbox, session: Session, client: Client, pro: Client) -> None:
        self.pm = pm
        self.session = session
        self.client = client
        self.pro = pro
        self.live: list[LiveAccount] = []
        self.tasks = living_tasks()

    def remains(self) -> dict[str, object]:
        """Return the number of leftovers of a program by name."""
        session, shared, order = self.session, session_streams(self.session, SETTINGS), read_order_of(self.session)
        left: dict[str, object] = {
            "tasks": living_tasks() - self.tasks,
            "connections": self.pm.exchange.streams.open_connections,
            "recorders": [one for of_key in order_events._recorders.get(session, {}).values() for one in of_key],
            "waits of clients": [*self.client._state.waits, *self.pro._state.waits],
            "waits of the session": [*session._waits],
            "requests": session.in_flight,
            "waiting for weight": session.budget.waiting,
            "reserved weight": sum(state.in_flight for state in session.budget.snapshot()),
            "streams": sum(shared.open_streams.values()),
            "ticking": shared._is_ticking,
            "accounts to read": [*order._tiers],
            "turn of a repeated read": order._pace.locked(),
            "orders": [order for live in self.live for placing in live._placing.values() for order in placing._placed],
        }
        return {name: one for name, one in left.items() if one}


Program = Callable[[Stage], Coroutine[Any, Any, None]]


def living_tasks() -> int:
    """Return the number of tasks of the event loop."""
    if sniffio.current_async_library() == "trio":
        return trio.lowlevel.current_statistics().tasks_living
    return len(asyncio.all_tasks())


def open_sockets() -> int:
    """Return the number of sockets of this process; 0 if the system does not show them."""
    count = 0
    with suppress(FileNotFoundError):
        for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - names alone
            with suppress(FileNotFoundError):
                count += os.readlink(f"/proc/self/fd/{name}").startswith("socket:")  # noqa: PTH115 - no path
    return count


async def next_gap(items: Any) -> StreamGap:
    """Return the next gap."""
    async for item in items:
        if isinstance(item, StreamGap):
            return item
    raise AssertionError("the stream has ended")


async def reconnecting(stage: Stage) -> None:
    """Open a stream, break its connection, and wait for the next one."""
    async with stage.client.stream(SETTINGS) as events:
        stage.pm.exchange.streams.apply(StreamFault(kind="break"))
        await next_gap(events)


async def rotating(stage: Stage) -> None:
    """Open a stream, and replace its connection."""
    async with stage.client.stream(SETTINGS) as events:
        stage.pm.exchange.streams.apply(StreamFault(kind="shutdown"))
        await next_gap(events)


async def streaming_pro(stage: Stage) -> None:
    """Open a stream of Portfolio Margin Pro, and wait for its first event."""
    async with stage.pro.pro.stream(SETTINGS) as events:
        await anext(events)


@asynccontextmanager
async def live_account(stage: Stage) -> AsyncGenerator[LiveAccount]:
    """Open a live account that trades one symbol of USD-M futures, because all symbols would use up the weight."""
    async with stage.client.live_account({"um.orders"}, symbols={"BTCUSDT"}, settings=SETTINGS) as live:
        stage.live.append(live)
        yield live


async def trading(stage: Stage) -> None:
    """Open a live account, look at changes and events, place an order, cancel it and wait for its end."""
    async with live_account(stage) as live:
        events = live.events()
        await live.changed()
        order = await live.um.new_order(**RESTING)
        await anext(events)
        await order.cancel()
        await order.ended()


async def catching_up(live: LiveAccount, gap: StreamGap) -> None:
    """Change an order during a gap, and read the fills of the gap."""
    await live.um.new_order(**RESTING)
    await live.changed()
    async for fill in live.missed_fills(gap):
        assert fill.symbol == "BTCUSDT"


async def ending(live: LiveAccount, _: StreamGap) -> None:
    """Place an order, cancel it, and wait for its end."""
    order = await live.um.new_order(**RESTING)
    await order.cancel()
    await order.ended()


@pytest.fixture(scope="module")
def pm() -> Generator[Sandbox]:
    """A local exchange on a socket."""
    with running_sandbox(streams=StreamRules(pro_update=0.02, messages=None, tick=0.01)) as running:
        yield running


@pytest.fixture(params=LOOPS)
def on_stage(request: pytest.FixtureRequest, pm: Sandbox) -> Callable[[Callable[[Stage], Awaitable[None]]], None]:
    """Run a test on an event loop; afterwards no socket may be left, and no listen key deleted."""

    async def main(test: Callable[[Stage], Awaitable[None]]) -> None:
        before = open_sockets()
        async with (
            pm.session() as session,
            pm.client(0, session=session) as client,
            pm.client(PRO, session=session) as pro,
        ):
            # What a session keeps from its first calls on is no remainder.
            await client.um_account()
            await test(Stage(pm, session, client, pro))
        await eventually(lambda: open_sockets() <= before)
        assert not [one for one in pm.exchange.requests if (one.method, "listenKey") == ("DELETE", one.path[-9:])]

    return lambda test: anyio.run(main, test, backend=request.param)


@pytest.mark.parametrize("program", [reconnecting, rotating, streaming_pro, trading])
def test_ends_within_two_seconds_and_leaves_nothing(on_stage: Callable[..., None], program: Program) -> None:
    """A program cancelled before any step of any task ends within two seconds and leaves nothing."""

    async def test(stage: Stage) -> None:
        seconds: float | None = 0.0
        step = -1
        while seconds is not None:
            step += 1
            seconds = await cancelled_before_step(step, lambda: program(stage))
            assert seconds is None or seconds < 2, step
            await until_nothing_remains(stage, step)
        assert step > 20

    on_stage(test)


@pytest.mark.parametrize("program", [catching_up, ending])
def test_a_live_account_outlives_cancelled_callers(
    on_stage: Callable[..., None], program: Callable[[LiveAccount, StreamGap], Coroutine[Any, Any, None]]
) -> None:
    """A cancelled caller leaves the account current and leaves no waiter for an order."""

    async def test(stage: Stage) -> None:
        async with live_account(stage) as live:
            events, step = live.events(), 0
            stage.pm.exchange.streams.push(stage.client.label, b"not JSON")
            gap = await next_gap(events)
            while await cancelled_before_step(step, lambda: program(live, gap)) is not None:
                step += 1
                await eventually(lambda: live.is_current)
            assert step > 2
            await stage.client.um.cancel_all_orders("BTCUSDT")
        await until_nothing_remains(stage, step)

    on_stage(test)


def test_a_cancelled_placement_is_not_waited_for(on_stage: Callable[..., None]) -> None:
    """A cancelled placement leaves no waiter, whether the order was sent or not."""

    async def test(stage: Stage) -> None:
        async with live_account(stage) as live:
            placed: list[PlacedOrder] = []

            async def place() -> None:
                placed.append(await live.um.new_order(**RESTING))

            step = 0
            while await cancelled_before_step(step, place) is not None:
                step += 1
                assert live.is_current
                # On trio, a program may end although it was cancelled in its last step.
                assert [one for alike in live._placing["um"]._placed.values() for one in alike] == placed, step
                placed.clear()
                live._placing["um"]._placed.clear()
            assert len(placed) == 1
            await stage.client.um.cancel_all_orders("BTCUSDT")

    on_stage(test)


async def until_nothing_remains(stage: Stage, step: int) -> None:
    """Wait until the exchange has noticed the end of a connection too, and fail if anything else is left."""
    until = anyio.current_time() + 2
    while remains := stage.remains():
        assert anyio.current_time() < until, (step, remains)
        await anyio.sleep(0.001)
