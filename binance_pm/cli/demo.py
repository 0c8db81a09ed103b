"""``binance-pm demo``: a dozen accounts on a local exchange, read over real HTTP through one budget."""

from __future__ import annotations

import math
import time
from contextlib import AsyncExitStack

import anyio
import msgspec
from rich.console import RenderableType
from rich.live import Live

from binance_pm.budget import Budget
from binance_pm.cli.console import Output
from binance_pm.cli.table import Row, picture
from binance_pm.client import Client
from binance_pm.testing import sandbox

_REFRESH_SECONDS = 0.25


def run(*, once: bool, json: bool, every: float, seed: int) -> int:
    """Show the accounts: one round, or round after round until Ctrl-C."""
    return anyio.run(_run, once, json, every, seed)


async def _run(once: bool, json: bool, every: float, seed: int) -> int:  # noqa: FBT001 - anyio.run takes positions
    async with sandbox(seed=seed) as pm, pm.session() as session, AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(pm.client(place, session=session)) for place in range(len(pm.accounts))
        ]
        rows = [Row(client.label) for client in clients]
        # A terminal that cannot move its cursor gets one table after another.
        if once or json or Output().is_dumb_terminal:
            await _print(clients, rows, pm.budget, once=once, json=json, every=every)
        else:
            await _show(clients, rows, pm.budget, every=every)
    return 0 if all(row.age(time.monotonic()) < math.inf for row in rows) else 1


async def _print(
    clients: list[Client], rows: list[Row], budget: Budget, *, once: bool, json: bool, every: float
) -> None:
    while True:
        await _read_all(clients, rows)
        if json:
            _print_lines(rows, budget)
        else:
            Output().print(picture(rows, budget, now=time.monotonic()))
        if once:
            return
        await anyio.sleep(every)


async def _show(clients: list[Client], rows: list[Row], budget: Budget, *, every: float) -> None:
    await _read_all(clients, rows)

    async def keep_reading() -> None:
        while True:
            await anyio.sleep(every)
            await _read_all(clients, rows)

    def current() -> RenderableType:
        return picture(rows, budget, now=time.monotonic())

    with Live(get_renderable=current, console=Output(), auto_refresh=False) as live:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(keep_reading)
            while True:
                live.refresh()
                await anyio.sleep(_REFRESH_SECONDS)


async def _read_all(clients: list[Client], rows: list[Row]) -> None:
    """One round: everything of every account at once; the budget decides what waits."""
    async with anyio.create_task_group() as tasks:
        for client, row in zip(clients, rows, strict=True):
            tasks.start_soon(_read_span, client, row)
            tasks.start_soon(_read_um, client, row)


async def _read_span(client: Client, row: Row) -> None:
    with row.keeping_errors():
        row.span = await client.span_account()
        row.span_read_at = time.monotonic()


async def _read_um(client: Client, row: Row) -> None:
    with row.keeping_errors():
        row.um = await client.um_account()
        row.um_read_at = time.monotonic()


def _print_lines(rows: list[Row], budget: Budget) -> None:
    now = time.monotonic()
    pools = [
        {"pool": " ".join(filter(None, state.pool)), "used": state.used, "limit": state.limit}
        for state in budget.snapshot()
    ]
    for line in [row.as_json(now) for row in rows] + pools:
        print(msgspec.json.encode(line).decode(), flush=True)
