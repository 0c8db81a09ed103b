"""``binance-pm watch``: the accounts of a file, watched until Ctrl-C."""

from __future__ import annotations

import signal
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Protocol

import anyio
import msgspec

from binance_pm.budget import Budget
from binance_pm.cli.hook import Hook
from binance_pm.cli.sentence import sentence
from binance_pm.fleet import Fleet, FleetEvent, Publisher
from binance_pm.session import Session
from binance_pm.signing import Secret


class Receiver(Protocol):
    """Whoever is told every event of a watch."""

    def receive(self, event: FleetEvent) -> None:
        """Take an event; it must neither wait nor fail."""
        ...


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What the caller of the command asks for."""

    accounts: Path
    keep_going: bool = False
    shard: tuple[int, int] | None = None
    warn: Decimal | None = None
    alarm: Decimal | None = None
    floor: float
    ceiling: float
    json: bool = False
    budget: SharedStore | None = None
    publish: Publishing | None = None
    hook: Hook | None = None


class SharedStore(msgspec.Struct, frozen=True):
    """Where the budget of the IP is kept, for all its processes."""

    url: Secret
    name: str


class Publishing(msgspec.Struct, frozen=True):
    """To which stream the events are appended."""

    url: Secret
    stream: str
    length: int


class Printer:
    """Prints one line an event: words, or a JSON object."""

    def __init__(self, *, json: bool) -> None:
        self._json = json

    def receive(self, event: FleetEvent) -> None:
        """Print it at once."""
        print(msgspec.json.encode(event).decode() if self._json else sentence(event), flush=True)


def run(request: Request) -> int:
    """Watch until Ctrl-C, or until SIGTERM, which is as orderly.

    Raises:
        ConfigurationError: the file or a key in it cannot be used.
    """
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        return anyio.run(_run, request)
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(*_: object) -> None:
    signal.raise_signal(signal.SIGINT)


async def _run(request: Request) -> int:
    async with _closing() as closers, AsyncExitStack() as stack:
        session: Session | None = None
        if request.budget is not None:
            budget = Budget.shared(request.budget.url.reveal().decode(), name=request.budget.name)
            closers.append(budget.close)
            session = Session(budget=budget)
        publisher = _publisher(request)
        fleet = Fleet.from_toml(
            request.accounts,
            keep_going=request.keep_going,
            shard=request.shard,
            session=session,
            floor=request.floor,
            ceiling=request.ceiling,
        )
        await stack.enter_async_context(fleet)
        receivers: list[Receiver] = [Printer(json=request.json)]
        if publisher is not None:
            publisher.start()
            closers.append(publisher.close)
            receivers.append(publisher)
        if request.hook is not None:
            receivers.append(await stack.enter_async_context(request.hook.running()))
        await _tell(fleet, receivers, request)
    return 0


def _publisher(request: Request) -> Publisher | None:
    to = request.publish
    if to is None:
        return None
    return Publisher(to.url.reveal().decode(), stream=to.stream, shard=request.shard or (1, 1), length=to.length)


@asynccontextmanager
async def _closing() -> AsyncGenerator[list[Callable[[], None]], None]:
    """A list of what is to be called at the end, all at once: each may wait for a server for a while."""
    closers: list[Callable[[], None]] = []
    try:
        yield closers
    finally:
        with anyio.CancelScope(shield=True):
            async with anyio.create_task_group() as tasks:
                for close in closers:
                    tasks.start_soon(anyio.to_thread.run_sync, close)


async def _tell(fleet: Fleet, receivers: Iterable[Receiver], request: Request) -> None:
    async for event in fleet.watch(warn=request.warn, alarm=request.alarm):
        for receiver in receivers:
            receiver.receive(event)
