"""``binance-pm watch``: the accounts of a file, watched until Ctrl-C."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import AsyncIterable, Callable, Iterable
from contextlib import nullcontext
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import anyio
import msgspec

from binance_pm.cli.dashboard.chronicle import Chronicle
from binance_pm.cli.sentence import sentence
from binance_pm.errors import Call, ConfigurationError
from binance_pm.fleet import Fleet, FleetEvent

if TYPE_CHECKING:
    from binance_pm.metrics import Metrics

_CALL: Final = Call("binance-pm watch")


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
    plain: bool = False
    json: bool = False
    metrics: tuple[str, int] | None = None
    """Where they are served: host and port."""


class Printer:
    """Prints one line an event: words, or a JSON object."""

    def __init__(self, *, json: bool) -> None:
        self._json = json

    def receive(self, event: FleetEvent) -> None:
        """Print it at once."""
        print(msgspec.json.encode(event).decode() if self._json else sentence(event), flush=True)


def run(request: Request) -> int:
    """Watch until Ctrl-C.

    Raises:
        ConfigurationError: the file or a key in it cannot be used, or an extra is missing.
        OSError: the metrics cannot be served where they should be.
    """
    return anyio.run(_run, request)


def fills_screen(*, plain: bool, json: bool) -> bool:
    """Whether the dashboard is shown: at a terminal that can move its cursor, unless lines are asked for."""
    is_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    return is_terminal and os.environ.get("TERM", "") not in {"", "dumb"} and not plain and not json


async def show(
    fleet: Fleet,
    events: AsyncIterable[FleetEvent],
    receivers: Iterable[Receiver],
    chronicle: Chronicle,
    *,
    wall: Callable[[], float] = time.time,
) -> int:
    """Tell all receivers, and show the dashboard until the person leaves it.

    Raises:
        ConfigurationError: what draws it is not installed.
    """
    try:
        # It takes a while to load, and is needed here alone.
        from binance_pm.cli.dashboard import app  # noqa: PLC0415
    except ImportError as missing:
        name = (missing.name or "an extra").partition(".")[0]
        raise ConfigurationError(
            Call("the dashboard"), f"{name} is missing: pip install 'binance-pm[cli]', or ask for --plain"
        ) from missing
    code = 0
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(tell, events, [chronicle, *receivers])
        code = await app.show(fleet, chronicle, wall=wall)
        tasks.cancel_scope.cancel()
    return code


async def tell(events: AsyncIterable[FleetEvent], receivers: Iterable[Receiver]) -> None:
    """Tell every event to all."""
    receivers = list(receivers)
    async for event in events:
        for receiver in receivers:
            receiver.receive(event)


async def _run(request: Request) -> int:
    fleet = Fleet.from_toml(
        request.accounts,
        keep_going=request.keep_going,
        shard=request.shard,
        floor=request.floor,
        ceiling=request.ceiling,
    )
    receivers: list[Receiver] = []
    metrics = None
    if request.metrics is not None:
        metrics, (host, port) = _new_metrics(), request.metrics
        receivers.append(metrics)
        serving = metrics.serve(host=host, port=port)
    else:
        serving = nullcontext()
    async with serving, fleet:
        if metrics is not None:
            metrics.watch(fleet)
        events = fleet.watch(warn=request.warn, alarm=request.alarm)
        if fills_screen(plain=request.plain, json=request.json):
            return await show(fleet, events, receivers, Chronicle())
        await tell(events, [Printer(json=request.json), *receivers])
    return 0


def _new_metrics() -> Metrics:
    try:
        from binance_pm.metrics import Metrics  # noqa: PLC0415 - an extra of its own
    except ImportError as missing:
        what = "--metrics needs the extra `metrics`"
        raise ConfigurationError(_CALL, what, advice="pip install 'binance-pm[metrics]'") from missing
    return Metrics()
