"""Fixtures of the tests of the budget: a budget on the fake clock, and responses of the exchange."""

from __future__ import annotations

from collections.abc import Callable
from email.utils import formatdate

import pytest

from binance_pm.budget import Budget, Charge, LimitType, Pool
from binance_pm.limits import Feedback
from tests.support.budget import PAPI, feedback
from tests.support.clocks import FakeClock, ManualClock


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
