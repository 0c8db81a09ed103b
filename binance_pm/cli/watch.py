"""``binance-pm watch``: the accounts of a file, watched until Ctrl-C."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import anyio
import msgspec

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


async def _run(request: Request) -> int:
    fleet = Fleet.from_toml(
        request.accounts,
        keep_going=request.keep_going,
        shard=request.shard,
        floor=request.floor,
        ceiling=request.ceiling,
    )
    receivers: list[Receiver] = [Printer(json=request.json)]
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
        await _tell(fleet, receivers, request)
    return 0


def _new_metrics() -> Metrics:
    try:
        from binance_pm.metrics import Metrics  # noqa: PLC0415 - an extra of its own
    except ImportError as missing:
        what = "--metrics needs the extra `metrics`"
        raise ConfigurationError(_CALL, what, advice="pip install 'binance-pm[metrics]'") from missing
    return Metrics()


async def _tell(fleet: Fleet, receivers: Iterable[Receiver], request: Request) -> None:
    async for event in fleet.watch(warn=request.warn, alarm=request.alarm):
        for receiver in receivers:
            receiver.receive(event)
