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

CALLS: Final = 2
"""Number of requests to each host: the second one uses a connection that is open already."""


async def check_clock(
    client: Client, host: str, *, is_papi: bool, wall: Callable[[], float] = time.time, slow: float = 1.0
) -> tuple[Check, PortfolioMarginError | None]:
    """Check this machine's clock against a host's, and return the check and the error if there was one.

    A round-trip time above ``slow`` seconds is a problem. The key of the client is not sent.
    """
    server_time = client.server_time if is_papi else client.pro_server_time
    try:
        await server_time()
        sent, began = wall(), time.monotonic()
        response = await server_time()
    except PortfolioMarginError as error:
        return Check("clock", host, "failed", f"{host}: {error.reason}", error.advice), error
    trip = time.monotonic() - began
    ahead = sent + trip / 2 - response.server_time / 1000
    offset = f"{duration_text(abs(ahead))} {'ahead' if ahead >= 0 else 'behind'}"
    what = f"{host}: this machine's clock is {offset}, round trip {duration_text(trip)}"
    if ahead >= _AHEAD + trip / 2 or -ahead > _BEHIND + trip / 2:
        what += "; this SDK uses the exchange's clock, other programs are refused with -1021"
        return Check("clock", host, "failed", what, "Synchronise this machine's clock with NTP."), None
    if trip > slow:
        return Check("clock", host, "warning", what, "Find what delays the network, or move closer to Binance."), None
    return Check("clock", host, "ok", what), None


def duration_text(seconds: float) -> str:
    """Return a duration as text, in milliseconds if it is below one second."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
