"""Check of this machine's clock against the exchange's, and of the round-trip time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from binance_pm.client import Client
from binance_pm.doctor.check import Check
from binance_pm.errors import PortfolioMarginError

# Seconds by which the exchange accepts a timestamp ahead of or behind its clock (general-info, read 2026-11-21).
_AHEAD: Final = 1.0
_BEHIND: Final = 5.0
_SLOW: Final = 1.0

CALLS: Final = 2
"""Number of requests to each host: the second one uses a connection that is open already."""


async def check_clock(
    client: Client, host: str, *, is_papi: bool, wall: Callable[[], float] = time.time
) -> tuple[Check, PortfolioMarginError | None]:
    """Check this machine's clock against a host's, and return the check and the error if there was one.

    Args:
        client: any client; its key is not sent.
        host: the host's name in the check.
        is_papi: whether the host serves ``/papi``.
        wall: this machine's clock, seconds since the epoch.
    """
    ask = client.server_time if is_papi else client.pro_server_time
    try:
        await ask()
        asked, began = wall(), time.monotonic()
        answer = await ask()
    except PortfolioMarginError as error:
        return Check("clock", host, "failed", f"{host}: {error.reason}", error.advice), error
    trip = time.monotonic() - began
    ahead = asked + trip / 2 - answer.server_time / 1000
    way = "ahead" if ahead >= 0 else "behind"
    what = f"{host}: this machine is {_told(abs(ahead))} {way}, round trip {_told(trip)}"
    if ahead >= _AHEAD + trip / 2 or -ahead > _BEHIND + trip / 2:
        what = f"{what}; this SDK goes by the exchange's clock, other programs are refused with -1021"
        return Check("clock", host, "failed", what, "Have this machine's clock set by NTP."), None
    if trip > _SLOW:
        return Check("clock", host, "warning", what, "Look for what slows the network down, or move nearer."), None
    return Check("clock", host, "ok", what), None


def _told(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
