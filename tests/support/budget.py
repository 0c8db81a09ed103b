"""A budget on a fake clock, and the facts of responses, for the tests of the budget."""

from __future__ import annotations

from pathlib import Path

from binance_pm.budget import Budget, Family, LimitType, pool_of
from binance_pm.classify import classify
from binance_pm.errors import CallInfo
from binance_pm.limits import Feedback
from binance_pm.transport.http import HttpResponse
from tests.support.clocks import FakeClock, ManualClock

HOST = "https://papi.example"
LIMIT = 1000
MINUTE = 30_000_000 * 60.0
"""Start of a minute."""
PAPI = pool_of("papi", LimitType.IP, origin=HOST, path="/papi/v1/account", key_id="a")
IP = pool_of("papi", LimitType.IP, origin=HOST, path="", key_id="")
SAPI = pool_of("sapi", LimitType.IP, origin=HOST, path="/sapi/v1/x", key_id="")


def feedback(status: int, headers: dict[str, str], body: bytes = b"") -> Feedback:
    """Return what a response reports to the budget."""
    return classify(CallInfo("x"), HttpResponse(status, headers, body)).feedback


def budget_by(clock: ManualClock | FakeClock, *, bans: Path | None = None, egress: str = "") -> Budget:
    """Return a budget with a limit of 1000 a minute on the clock."""
    limits: dict[tuple[Family, LimitType], int] = {("papi", LimitType.IP): LIMIT}
    return Budget(limits=limits, monotonic=clock, wall=clock, sleep=clock.sleep, bans=bans, egress=egress)
