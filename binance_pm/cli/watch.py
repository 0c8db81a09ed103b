"""``binance-pm watch``: watch the accounts of a file until Ctrl-C."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import anyio
from cyclopts import CycloptsError, Parameter
from cyclopts.validators import Number

from binance_pm.cli.dashboard.history import History
from binance_pm.cli.hook import STATE_KINDS, TIMEOUT_SECONDS, EventKind, Hook
from binance_pm.cli.options import CEILING_HELP, FLOOR_HELP, PUBLISH_VARIABLE, default, flag, shard_of
from binance_pm.cli.output import print_event, stamped_logs
from binance_pm.errors import CallInfo, ConfigurationError
from binance_pm.extras import installation
from binance_pm.fleet import Fleet, FleetEvent, Publisher, schedule
from binance_pm.fleet.events import label_of
from binance_pm.fleet.relay.entries import STREAM
from binance_pm.fleet.relay.publish import LENGTH
from binance_pm.session import Session

if TYPE_CHECKING:
    from binance_pm.metrics import Metrics

Receiver = Callable[[FleetEvent], None]
"""A function that processes an event without waiting."""

_log = logging.getLogger(__name__)

_BUDGET: Final = "default"
_TIMEOUT: Final = Number(gte=0.001, lte=86_400)
_LENGTH: Final = Number(gte=1, lte=1_000_000)


def _check_pairs(_: object, options: WatchOptions) -> None:
    """Refuse options that have no effect without another option."""
    needs = {
        "--budget": {"--budget-name": options.budget_name},
        "--publish": {"--stream": options.stream, "--length": options.length},
        "--on-event": {"--on-event-kind": options.on_event_kind, "--on-event-timeout": options.on_event_timeout},
    }
    given = {"--budget": options.budget, "--publish": options.publish, "--on-event": options.on_event}
    for needed, others in needs.items():
        for name, value in others.items():
            if given[needed] is None and value is not None:
                raise ValueError(f"{name} has no effect without {needed}.")


@Parameter(name="*", validator=_check_pairs)
@dataclass(frozen=True, kw_only=True)
class WatchOptions:
    """The options of the command."""

    accounts: Annotated[Path, Parameter(help="Accounts file: labels, products, and the sources of the keys.")]
    warn: Annotated[Decimal | None, Parameter(help="Upper threshold of uniMMR, for accounts without their own.")] = None
    alarm: Annotated[Decimal | None, Parameter(help="Lower threshold of uniMMR, for accounts without their own.")] = (
        None
    )
    floor: Annotated[float, Parameter(help=FLOOR_HELP)] = schedule.FLOOR
    ceiling: Annotated[float, Parameter(help=CEILING_HELP)] = schedule.CEILING
    shard: Annotated[str | None, Parameter(help="Watch one shard of the file: i/n, such as 2/3.")] = None
    keep_going: Annotated[bool, flag("If some accounts cannot be opened, watch the others.")] = False
    plain: Annotated[bool, flag("Print one line per event (default without a terminal).")] = False
    json: Annotated[bool, flag("Print one JSON object per event.")] = False
    metrics: Annotated[
        str | None, Parameter(help="Serve /metrics at HOST:PORT; with PORT only, for this machine only.")
    ] = None
    budget: Annotated[
        str | None,
        Parameter(
            help="Share the IP's limits through the Redis or Valkey server at this URL.", env_var="BINANCE_PM_BUDGET"
        ),
    ] = field(default=None, repr=False)
    budget_name: Annotated[str | None, default("Name of the shared budget: one for each egress IP.", _BUDGET)] = None
    publish: Annotated[
        str | None,
        Parameter(help="Append events to the Redis or Valkey server at this URL.", env_var=PUBLISH_VARIABLE),
    ] = field(default=None, repr=False)
    stream: Annotated[str | None, default("Name of the stream that --publish appends to.", STREAM)] = None
    length: Annotated[
        int | None, default("Approximate number of events that the stream keeps.", LENGTH), Parameter(validator=_LENGTH)
    ] = None
    on_event: Annotated[
        str | None, Parameter(help="Run this command for each event, with the event as JSON on stdin.")
    ] = None
    on_event_kind: Annotated[
        tuple[EventKind, ...] | None,
        Parameter(
            help="Run the command for these events (default: all but Reading, PositionChanged and BalanceChanged)."
        ),
    ] = None
    on_event_timeout: Annotated[
        float | None,
        default("Kill the command after this number of seconds.", TIMEOUT_SECONDS),
        Parameter(validator=_TIMEOUT),
    ] = None


def run(*, options: WatchOptions) -> int:
    """Watch the accounts of a file on a full screen; accounts in danger come first and are read more often.

    Press ? for a list of keys.
    """
    shard = shard_of(options.shard)
    address = None if options.metrics is None else address_of(options.metrics)
    hook = None
    if options.on_event is not None:
        kinds, timeout = options.on_event_kind or STATE_KINDS, options.on_event_timeout or TIMEOUT_SECONDS
        hook = Hook(options.on_event, kinds=kinds, timeout=timeout)
    return anyio.run(_run, options, shard, address, hook)


def address_of(text: str) -> tuple[str, int]:
    """Return host and port of the metrics; without a host, only this machine can connect."""
    host, _, port = text.rpartition(":")
    is_bracketed = host.startswith("[") and host.endswith("]")
    if not (port.isascii() and port.isdecimal() and 0 < int(port) < 65_536) or (":" in host and not is_bracketed):
        raise CycloptsError(msg=f"--metrics {text!r} is not of the form HOST:PORT, such as 127.0.0.1:9464.")
    return host.strip("[]") or "127.0.0.1", int(port)


def fills_screen(*, plain: bool, json: bool) -> bool:
    """Return whether to show the dashboard: on a terminal that can move its cursor, unless lines are requested."""
    is_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    return is_terminal and os.environ.get("TERM", "") not in {"", "dumb"} and not plain and not json


async def show(fleet: Fleet, events: AsyncIterable[FleetEvent], receivers: Iterable[Receiver], history: History) -> int:
    """Pass events to all receivers, and show the dashboard until the user leaves it.

    Raises:
        ConfigurationError: a library that the dashboard needs is not installed.
    """
    try:
        from binance_pm.cli.dashboard import app  # noqa: PLC0415 - `--plain` does not need the dashboard
    except ImportError as missing:
        name = (missing.name or "an extra").partition(".")[0]
        raise ConfigurationError(
            CallInfo("the dashboard"), f"{name} is not installed. Use --plain, or install it: {installation('cli')}"
        ) from missing
    code = 0
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(dispatch, events, [history.receive, *receivers])
        code = await app.show(fleet, history)
        tasks.cancel_scope.cancel()
    return code


async def dispatch(events: AsyncIterable[FleetEvent], receivers: Iterable[Receiver]) -> None:
    """Pass every event to every receiver; a receiver that fails misses only that event."""
    receivers = list(receivers)
    async for event in events:
        for receive in receivers:
            try:
                receive(event)
            except OSError:
                # The reader has closed the pipe, as `head` does.
                raise
            except Exception as error:  # noqa: BLE001 - only one event of one account is affected
                kind = type(event).__name__
                _log.warning("A %s of %s cannot be reported: %s", kind, label_of(event), type(error).__name__)


async def _run(
    options: WatchOptions, shard: tuple[int, int] | None, address: tuple[str, int] | None, hook: Hook | None
) -> int:
    async with _closing() as closers, AsyncExitStack() as stack:
        receivers: list[Receiver] = []
        metrics = None if address is None else _new_metrics()
        if metrics is not None and address is not None:
            await stack.enter_async_context(metrics.serve(host=address[0], port=address[1]))
            receivers.append(metrics.receive)
        session = _shared_session(options, closers)
        publisher = _publisher(options, shard)
        fleet = Fleet.from_toml(
            options.accounts,
            keep_going=options.keep_going,
            shard=shard,
            session=session,
            floor=options.floor,
            ceiling=options.ceiling,
        )
        await stack.enter_async_context(fleet)
        if metrics is not None:
            metrics.watch(fleet)
        if publisher is not None:
            publisher.start()
            closers.append(publisher.close)
            receivers.append(publisher.receive)
        if hook is not None:
            receivers.append((await stack.enter_async_context(hook.running())).receive)
        events = fleet.watch(warn=options.warn, alarm=options.alarm)
        if fills_screen(plain=options.plain, json=options.json):
            return await show(fleet, events, receivers, History())
        with stamped_logs(fleet.now):
            await dispatch(events, [partial(print_event, as_json=options.json), *receivers])
    return 0


def _new_metrics() -> Metrics:
    try:
        from binance_pm.metrics import Metrics  # noqa: PLC0415 - needs a separate extra
    except ImportError as missing:
        advice = f"Install it: {installation('metrics')}"
        raise ConfigurationError(
            CallInfo("--metrics"), "the extra `metrics` is not installed", advice=advice
        ) from missing
    return Metrics()


def _shared_session(options: WatchOptions, closers: list[Callable[[], None]]) -> Session | None:
    if options.budget is None:
        return None
    from binance_pm.budget.shared import SharedBudget  # noqa: PLC0415 - only shared budgets need it

    budget = SharedBudget(options.budget, name=options.budget_name or _BUDGET)
    closers.append(budget.close)
    return Session(budget=budget)


def _publisher(options: WatchOptions, shard: tuple[int, int] | None) -> Publisher | None:
    if options.publish is None:
        return None
    stream, length = options.stream or STREAM, options.length or LENGTH
    return Publisher(options.publish, stream=stream, shard=shard or (1, 1), length=length)


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
