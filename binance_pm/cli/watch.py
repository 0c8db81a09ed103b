"""``binance-pm watch``: watch the accounts of a file until Ctrl-C."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Generator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import anyio
import msgspec

from binance_pm.amounts import json_of
from binance_pm.cli.console import printable
from binance_pm.cli.dashboard.history import History, logged
from binance_pm.cli.describe import clock_time, describe_event
from binance_pm.cli.hook import Hook
from binance_pm.errors import CallInfo, ConfigurationError
from binance_pm.extras import installation
from binance_pm.fleet import Fleet, FleetEvent, Publisher
from binance_pm.fleet.events import label_of
from binance_pm.session import Session
from binance_pm.signing import Secret

if TYPE_CHECKING:
    from binance_pm.metrics import Metrics


_log = logging.getLogger(__name__)


class Receiver(Protocol):
    """A consumer of every event of a watch."""

    def receive(self, event: FleetEvent) -> None:
        """Process an event without waiting or failing."""
        ...


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """The options of the command."""

    accounts: Path
    keep_going: bool = False
    shard: tuple[int, int] | None = None
    warn: Decimal | None = None
    alarm: Decimal | None = None
    floor: float
    ceiling: float
    plain: bool = False
    json: bool = False
    metrics: tuple[str, int] | None = None
    """Host and port of the metrics."""
    budget: SharedStore | None = None
    publish: Publishing | None = None
    hook: Hook | None = None


class SharedStore(msgspec.Struct, frozen=True):
    """The server that holds the shared budget of the IP."""

    url: Secret
    name: str


class Publishing(msgspec.Struct, frozen=True):
    """The stream that events are appended to."""

    url: Secret
    stream: str
    length: int


class Printer:
    """A receiver that prints one line for each event: text, or a JSON object."""

    def __init__(self, *, json: bool) -> None:
        self._json = json

    def receive(self, event: FleetEvent) -> None:
        """Print the event immediately."""
        print(printable(json_of(event).decode()) if self._json else describe_event(event), flush=True)


def run(request: Request) -> int:
    """Watch until Ctrl-C.

    Raises:
        ConfigurationError: the accounts file or one of its keys cannot be used, or an extra is missing.
        OSError: the metrics cannot be served at the requested address.
    """
    return anyio.run(_run, request)


def fills_screen(*, plain: bool, json: bool) -> bool:
    """Return whether to show the dashboard: on a terminal that can move its cursor, unless lines are requested."""
    is_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    return is_terminal and os.environ.get("TERM", "") not in {"", "dumb"} and not plain and not json


async def show(
    fleet: Fleet,
    events: AsyncIterable[FleetEvent],
    receivers: Iterable[Receiver],
    history: History,
) -> int:
    """Pass events to all receivers, and show the dashboard until the user leaves it.

    Raises:
        ConfigurationError: a library that the dashboard needs is not installed.
    """
    try:
        # Imported lazily: the dashboard takes a while to load, and only this command needs it.
        from binance_pm.cli.dashboard import app  # noqa: PLC0415
    except ImportError as missing:
        name = (missing.name or "an extra").partition(".")[0]
        raise ConfigurationError(
            CallInfo("the dashboard"), f"{name} is missing. Ask for --plain, or install it: {installation('cli')}"
        ) from missing
    code = 0
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(dispatch, events, [history, *receivers])
        code = await app.show(fleet, history)
        tasks.cancel_scope.cancel()
    return code


async def dispatch(events: AsyncIterable[FleetEvent], receivers: Iterable[Receiver]) -> None:
    """Pass every event to every receiver."""
    receivers = list(receivers)
    async for event in events:
        for receiver in receivers:
            try:
                receiver.receive(event)
            except OSError:
                # The reader has closed the pipe, as `head` does.
                raise
            except Exception as error:  # noqa: BLE001 - only one event of one account is affected
                kind = type(event).__name__
                _log.warning("A %s of %s cannot be reported: %s", kind, label_of(event), type(error).__name__)


async def _run(request: Request) -> int:
    async with _closing() as closers, AsyncExitStack() as stack:
        receivers: list[Receiver] = []
        metrics = None if request.metrics is None else _new_metrics()
        if metrics is not None and request.metrics is not None:
            host, port = request.metrics
            await stack.enter_async_context(metrics.serve(host=host, port=port))
            receivers.append(metrics)
        session: Session | None = None
        if request.budget is not None:
            # Imported lazily: only shared budgets need it.
            from binance_pm.budget.shared import SharedBudget  # noqa: PLC0415

            budget = SharedBudget(request.budget.url.reveal().decode(), name=request.budget.name)
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
        if metrics is not None:
            metrics.watch(fleet)
        if publisher is not None:
            publisher.start()
            closers.append(publisher.close)
            receivers.append(publisher)
        if request.hook is not None:
            receivers.append(await stack.enter_async_context(request.hook.running()))
        events = fleet.watch(warn=request.warn, alarm=request.alarm)
        if fills_screen(plain=request.plain, json=request.json):
            return await show(fleet, events, receivers, History())
        with stamped_logs(fleet.now):
            await dispatch(events, [Printer(json=request.json), *receivers])
    return 0


@contextmanager
def stamped_logs(clock: Callable[[], float]) -> Generator[None]:
    """While the block lasts, write warnings and errors to stderr, stamped by the clock of the events.

    A program with its own logging handlers keeps them.
    """
    root = logging.getLogger()
    if root.handlers:
        yield
        return
    handler = _Stamped(clock)
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)


class _Stamped(logging.Handler):
    """A log handler that writes records in the format of `Printer`."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(logging.WARNING)
        self._clock = clock

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record; called from any thread."""
        print(f"{clock_time(self._clock())} {logged(record)}", file=sys.stderr, flush=True)


def _new_metrics() -> Metrics:
    try:
        from binance_pm.metrics import Metrics  # noqa: PLC0415 - needs a separate extra
    except ImportError as missing:
        advice = f"Install it: {installation('metrics')}"
        raise ConfigurationError(CallInfo("--metrics"), "it needs the extra `metrics`", advice=advice) from missing
    return Metrics()


def _publisher(request: Request) -> Publisher | None:
    to = request.publish
    if to is None:
        return None
    return Publisher(to.url.reveal().decode(), stream=to.stream, shard=request.shard or (1, 1), length=to.length)


@asynccontextmanager
async def _closing() -> AsyncGenerator[list[Callable[[], None]], None]:
    """Yield a list of functions that are called concurrently at the end: each may wait for a server."""
    closers: list[Callable[[], None]] = []
    try:
        yield closers
    finally:
        with anyio.CancelScope(shield=True):
            async with anyio.create_task_group() as tasks:
                for close in closers:
                    tasks.start_soon(anyio.to_thread.run_sync, close)
