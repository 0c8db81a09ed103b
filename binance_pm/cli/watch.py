"""``binance-pm watch``: the accounts of a file, watched until Ctrl-C."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Protocol

import anyio
import msgspec

from binance_pm.cli.sentence import sentence
from binance_pm.fleet import Fleet, FleetEvent


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
        ConfigurationError: the file or a key in it cannot be used.
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
    async with fleet:
        await _tell(fleet, [Printer(json=request.json)], request)
    return 0


async def _tell(fleet: Fleet, receivers: Iterable[Receiver], request: Request) -> None:
    async for event in fleet.watch(warn=request.warn, alarm=request.alarm):
        for receiver in receivers:
            receiver.receive(event)
