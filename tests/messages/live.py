"""For the sections about the live account and the user data streams of a fleet."""

# Imports that this module does not use are for the sections of messages.txt.
# pyright: reportUnusedImport=false
from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from functools import partial
from types import SimpleNamespace
from typing import Any, NoReturn

import anyio

from binance_pm import Client
from binance_pm.errors import CallInfo, NoResponse
from binance_pm.fleet import Fleet, Member, account_stream
from binance_pm.stream.items import StreamGap
from binance_pm.stream.live import LiveAccount
from binance_pm.stream.live_state import LiveState
from binance_pm.stream.resync import Resync
from binance_pm.testing import sandbox
from tests.messages.command import command
from tests.messages.fleet import ACCOUNT
from tests.messages.stage import KEY, SECRET, Stage
from tests.simulation.live_account import ModelSession

RESTING: dict[str, Any] = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "time_in_force": "GTC"}
_LOST = NoResponse(CallInfo("account", "desk"), "no response within 10 s")


def live(*arguments: Any, **options: Any) -> LiveAccount:
    """A live account that is not open."""
    return Client(KEY, SECRET, label="desk").live_account(*arguments, **options)


async def twice() -> None:
    """Enter a live account twice."""
    async with sandbox() as pm, pm.client(label="desk") as client, client.live_account({"um.positions"}) as entered:
        await entered.__aenter__()


async def left() -> None:
    """Leave a live account while an order is open."""
    async with sandbox() as pm, pm.client(label="desk") as client:
        async with client.live_account({"um.orders"}) as entered:
            order = await entered.um.new_order(**RESTING, quantity="0.01", price="50000")
        await order.ended()


async def unknown_gap() -> None:
    """Ask for the fills of a gap of another stream."""
    gap = StreamGap(since=0.0, until=1.0, why="another stream")
    async with sandbox() as pm, pm.client(label="desk") as client, client.live_account({"um.orders"}) as entered:
        async for _ in entered.missed_fills(gap):
            pass


def unmergeable() -> None:
    """Receive an event that cannot be merged."""
    one: Any = live()
    one._resync = SimpleNamespace(now=0.0, up=lambda: None, check_time=ignore_time)
    one._fills.observe = fail
    one._observe(object())


async def from_the_future() -> None:
    """Receive an event whose time is far ahead of the exchange's clock."""
    async with sandbox() as pm, pm.client(label="desk") as client, client.live_account({"um.positions"}) as entered:
        future: Any = SimpleNamespace(event_time=253_402_300_000_000)
        entered._observe(future)


async def unread() -> None:
    """Fail to read a part."""
    session: Any = ModelSession(asyncio.get_running_loop().time)
    client: Any = SimpleNamespace(label="desk", session=session, call=lose)
    client.origin = client.options = partial(same, client)
    resync = Resync(
        client,
        LiveState(),
        ("risk",),
        symbols=None,
        verify_every=300.0,
        jitter=lambda: 0.5,
        on_lost=lambda _: None,
        on_read=lambda: None,
    )
    await resync._read(client, "risk", is_repeated=False)


class Refused:
    """A stream that cannot be opened."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    async def __aenter__(self) -> NoReturn:
        raise _LOST

    async def __aexit__(self, *_: object) -> None:
        pass


async def unopened(stage: Stage) -> None:
    """Fail to open the stream of an account of a fleet."""
    stage.patch.setattr(account_stream, "EventStream", Refused)
    account: Any = SimpleNamespace(label="desk", product="pm", client=None, stream="down")

    async def end(_: float) -> NoReturn:
        raise asyncio.CancelledError

    with suppress(asyncio.CancelledError):
        await account_stream.follow(account, ignore, end)


async def uninstalled(stage: Stage) -> None:
    """Watch an account with a stream without the extra."""
    stage.patch.setattr("binance_pm.fleet.fleet.streams_are_installed", lambda: False)
    stage.patch.setattr("binance_pm.fleet.fleet.installation", installing)
    async with sandbox() as pm, Fleet([Member(pm.client(), stream=True)]) as fleet:
        fleet.watch()


async def undrawn(stage: Stage) -> None:
    """Show a live account without the library that draws."""
    stage.without("textual")
    stage.patch.delitem(sys.modules, "binance_pm.cli.dashboard.app", raising=False)
    stage.patch.setattr("binance_pm.cli.live.installation", installing)
    from binance_pm.cli.live import _show  # noqa: PLC0415 - after the library is gone

    await _show(live(), "desk")


def ignore_time(_: object) -> None:
    """Do nothing."""


def ignore(_: object, __: object) -> None:
    """Do nothing."""


def installing(extra: str) -> str:
    """Return how an extra of a published package is installed."""
    return f"pip install 'binance-pm[{extra}]'"


def fail(*_: object) -> NoReturn:
    """Raise."""
    raise RuntimeError("a fault of the package")


def same(client: Any, *_: object, **__: object) -> Any:
    """Return the client."""
    return client


async def lose(*_: object, **__: object) -> NoReturn:
    """Raise the error of a lost response."""
    raise _LOST
