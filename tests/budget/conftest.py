"""Shared by the tests of the budget: a budget on the fake clock, and responses of the exchange."""

from __future__ import annotations

from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from binance_pm.budget import Budget, Charge, Family, LimitType, Pool, pool_of
from binance_pm.classify import classify
from binance_pm.errors import CallInfo
from binance_pm.limits import Feedback
from binance_pm.transport.http import HttpResponse

if TYPE_CHECKING:
    from tests.conftest import FakeClock, ManualClock

HOST = "https://papi.example"
LIMIT = 1000
MINUTE = 30_000_000 * 60.0
"""Start of a minute."""
PAPI = pool_of("papi", LimitType.IP, origin=HOST, path="/papi/v1/account", key_id="a")
IP = pool_of("papi", LimitType.IP, origin=HOST, path="", key_id="")
SAPI = pool_of("sapi", LimitType.IP, origin=HOST, path="/sapi/v1/x", key_id="")


def feedback(status: int, headers: dict[str, str], body: bytes = b"") -> Feedback:
    """What a response reports to the budget."""
    return classify(CallInfo("x"), HttpResponse(status, headers, body)).feedback


def budget_by(clock: ManualClock | FakeClock, *, bans: Path | None = None, egress: str = "") -> Budget:
    """A budget with a limit of 1000 a minute on the clock."""
    limits: dict[tuple[Family, LimitType], int] = {("papi", LimitType.IP): LIMIT}
    return Budget(limits=limits, monotonic=clock, wall=clock, sleep=clock.sleep, bans=bans, egress=egress)


@pytest.fixture
def budget(clock: FakeClock) -> Budget:
    """A budget with a limit of 110 a minute, of which 100 can be spent."""
    return Budget(limits={("papi", LimitType.IP): 110}, monotonic=clock, wall=clock, sleep=clock.sleep)


@pytest.fixture
def patient_budget(manual_clock: ManualClock) -> Budget:
    """The same budget on a manual clock: a waiting call is woken by a response."""
    return Budget(
        limits={("papi", LimitType.IP): 110}, monotonic=manual_clock, wall=manual_clock, sleep=manual_clock.sleep
    )


@pytest.fixture
def pool() -> Pool:
    """The pool of the Portfolio Margin host."""
    return PAPI


@pytest.fixture
def charge() -> Callable[[int], tuple[Charge, ...]]:
    """The weight of a call as charges."""
    return lambda weight: (Charge(PAPI, weight),)


@pytest.fixture
def answer(clock: FakeClock) -> Callable[..., Feedback]:
    """What a response of an exchange on the fake clock reports to the budget."""

    def make(used: int | None = None, *, status: int = 200, body: bytes = b"{}", **headers: str) -> Feedback:
        told = {name.replace("_", "-"): text for name, text in headers.items()}
        told.setdefault("date", formatdate(int(clock.now), usegmt=True))
        if used is not None:
            told["x-mbx-used-weight-1m"] = str(used)
        return feedback(status, told, body)

    return make
