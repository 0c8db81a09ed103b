"""The whole package in real time: fifty accounts on one budget use up the limit, and are never refused."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from contextlib import AsyncExitStack

import pytest

from binance_pm import Client
from binance_pm.testing import Sandbox, running_sandbox
from tests.support.coverage import unmeasured

ACCOUNTS = 50
MINUTE = 3.0
# 150 calls of weight 20 in 3 s: two busy cores can send and answer them.
LIMIT, WEIGHT = 3_000, 20
MEASURED = 3
USE = 0.95


async def saturate(pm: Sandbox, seconds: float, engine: str) -> None:
    """Read every account again and again on one budget."""

    async def keep_reading(client: Client) -> None:
        while True:
            await client.account()

    async with pm.session(engine=engine) as session, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(pm.client(place, session=session)) for place in range(ACCOUNTS)]
        tasks = [asyncio.create_task(keep_reading(client)) for client in clients]
        failed, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for task in failed:
            task.result()


@pytest.mark.parametrize("engine", ["httpx", "direct"])
def test_the_limit_is_used_up_without_a_refusal(engine: str) -> None:
    """At least 95 % over three minutes, without a refusal."""
    # With coverage the calls would take more time than a busy machine has left.
    with unmeasured(), running_sandbox(minute=MINUTE, accounts=ACCOUNTS, limits={"papi": LIMIT}) as pm:
        # After one minute the budget knows that there is no external usage.
        first = math.ceil(pm.exchange.now() / MINUTE) + 1
        asyncio.run(saturate(pm, (first + MEASURED) * MINUTE - pm.exchange.now(), engine))
        arrived = pm.exchange.requests

    assert {request.status for request in arrived} == {200}
    used = Counter(math.floor(request.time / MINUTE) for request in arrived)
    shares = [used[minute] * WEIGHT / LIMIT for minute in range(first, first + MEASURED)]
    print("used of each minute:", shares)
    assert sum(shares) >= USE * MEASURED
    assert max(shares) <= 1
