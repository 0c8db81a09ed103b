"""A call that is cancelled at any await leaves nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Literal

import anyio
import pytest

from binance_pm import Client, Session
from binance_pm.budget import Budget
from binance_pm.testing import Fault, Sandbox
from binance_pm.transport.http import Method
from tests.support.cancelling import cancelled_at
from tests.support.clocks import settled
from tests.support.waiting import eventually

Way = Callable[[Sandbox, Client], Coroutine[Any, Any, Any]]


async def first_call(_: Sandbox, client: Client) -> None:
    """A call that has to connect."""
    await client.um_account()


async def later_call(_: Sandbox, client: Client) -> None:
    """A call on an open connection."""
    await client.um_account()
    await client.um_account()


async def repeated_call(pm: Sandbox, client: Client) -> None:
    """A call that is repeated after a failure."""
    pm.inject(Fault(status=500, code=-1000, msg="x"))
    await client.um_account()


async def resynchronised_call(pm: Sandbox, client: Client) -> None:
    """A call that synchronises the clock in between."""
    pm.inject(Fault(status=400, code=-1021, msg="Timestamp."))
    await client.um_account()


async def waiting_call(_: Sandbox, client: Client) -> None:
    """A call that waits in the queue for the response to another."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(client.um_account)
        await settled()
        await client.um_account()


async def soon(seconds: float) -> None:
    """Sleep if the wait is long; a short wait before another attempt takes no time."""
    await (anyio.sleep(seconds) if seconds > 1 else anyio.lowlevel.checkpoint())


@pytest.mark.parametrize("engine", ["httpx", "direct"])
@pytest.mark.parametrize("way", [first_call, later_call, repeated_call, resynchronised_call, waiting_call])
@pytest.mark.pm_sandbox(accounts=1)
async def test_no_await_point_leaks(way: Way, engine: str, pm_sandbox: Sandbox) -> None:
    """Cancelled at its first, second, ... suspension: no reservation, task or connection is left."""
    points = 0
    while True:
        pm_sandbox.clear()
        budget = Budget(sleep=soon)
        before = asyncio.all_tasks()
        session = pm_sandbox.session(budget=budget, engine=engine)
        async with session, pm_sandbox.client(session=session) as client:
            reached = await cancelled_at(points, way(pm_sandbox, client))
            await settled()
            assert [state.in_flight for state in budget.snapshot() if state.in_flight] == [], points
            assert (budget.waiting, session.in_flight, vars(session)["_waits"]) == (0, 0, set()), points
            # The session is still usable: no connection is stuck in its pool.
            await client.um_account()
        assert asyncio.all_tasks() == before, points
        if not reached:
            break
        points += 1

    assert points >= 3
    await eventually(lambda: not pm_sandbox.exchange.open_connections)


@pytest.mark.parametrize("engine", ["httpx", "direct"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_cancelled_before_it_was_called_sends_nothing(
    method: Method, engine: Literal["httpx", "direct"], pm_sandbox: Sandbox
) -> None:
    """Even with an open connection and free weight, a cancelled order must not be sent."""
    session = pm_sandbox.session(engine=engine)
    async with session, pm_sandbox.client(session=session) as client:
        await client.um_account()
        with anyio.CancelScope() as scope:
            scope.cancel()
            await client.request(method, "/papi/v1/um/order", weight=1, returns=object)
        await client.um_account()

    assert scope.cancelled_caught
    assert [request.path for request in pm_sandbox.exchange.requests] == ["/papi/v2/um/account"] * 2


async def test_cancelled_before_sending_costs_nothing(pm: Sandbox) -> None:
    """A call cancelled while it waits for its signature releases its weight at once."""

    async def sign(_: bytes) -> str:
        await anyio.sleep_forever()
        return ""

    async with pm.client(api_secret=sign) as client, anyio.create_task_group() as tasks:
        tasks.start_soon(client.um_account)
        await settled()
        assert pm.budget.snapshot()[0].in_flight == 5
        tasks.cancel_scope.cancel()

    assert pm.budget.snapshot()[0].used == 0


@pytest.mark.pm_sandbox(accounts=1, minute=1e9)
async def test_cancelled_after_sending_stays_counted(pm_sandbox: Sandbox) -> None:
    """The exchange may have counted the call, so its weight is not spent again."""
    pm_sandbox.inject(Fault(delay_after=60))
    async with pm_sandbox.client() as client, anyio.create_task_group() as tasks:
        tasks.start_soon(client.um_account)
        await eventually(lambda: pm_sandbox.exchange.requests)
        tasks.cancel_scope.cancel()

    assert [(state.used, state.in_flight) for state in pm_sandbox.budget.snapshot()] == [(5, 0)]


async def test_the_callers_timeout_raises_its_own_error(pm: Sandbox) -> None:
    """The caller's time limit raises the error that the caller expects."""
    pm.inject(Fault(delay=60))
    async with pm.client() as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await client.um_account()

    assert pm.budget.waiting == 0


async def test_opening_can_be_cancelled(pm: Sandbox) -> None:
    """A client whose opening was cancelled holds no session."""
    session: Session = pm.session()
    async with session:
        with anyio.CancelScope() as scope:
            scope.cancel()
            async with pm.client(session=session):
                await anyio.lowlevel.checkpoint()

        assert vars(session)["_holders"] == 1
