"""No response except a 429 or 418 stops sending for more than a minute.

One program calls again and again, in virtual time. Responses contain anything: any `Date`, any count, any status, any
time of the time endpoint. Each call is sent within a minute of being asked for.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from email.utils import formatdate
from random import Random
from typing import Final, Literal, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from binance_pm.budget import LIMITS, Budget, LimitType
from binance_pm.budget.ledger import MAX_LATENCY
from binance_pm.transport.http import HttpResponse
from tests.simulation.calls import HOST, Ask
from tests.simulation.limiters import BudgetLimiter, Machine, SharedLimiter
from tests.simulation.store import RemoteStore
from tests.simulation.virtual import run

MINUTE, SLACK = 60.0, 1.0
START, EPOCH = 1_000.0, 30_000_000 * MINUTE + 20
HEADER = LIMITS["papi", LimitType.IP].header
ORDERS_HEADER = LIMITS["papi", LimitType.ORDERS].header

# None: the correct date.
Dated = float | str | None


class Step(NamedTuple):
    """One call and its response."""

    pause: float = 0.0
    priority: Literal["orders", "polls"] = "polls"
    weight: int = 5
    date: Dated = None
    used: str | None = None
    status: int = 200
    retry_after: str = ""
    body: bytes = b"{}"
    reported_time: float | None = None
    """What the time endpoint returned before the call, less the true time."""
    is_lost: bool = False
    has_store: bool = True


class Program:
    """A program on a machine in virtual time, its budget, and its exchange.

    Args:
        wall_error: by how many seconds the machine's clock is wrong.
        is_shared: whether the budget is shared by processes.
    """

    def __init__(self, *, wall_error: float, is_shared: bool) -> None:
        self.now: Final[Callable[[], float]] = asyncio.get_running_loop().time
        self.has_store = True
        store = RemoteStore(self.now, lambda _: self.has_store, None, Random(1))
        machine = Machine(self.now, lambda: self.truth() + wall_error, store, {}, 1)
        self.limiter: Final = (
            SharedLimiter(machine, 0)
            if is_shared
            else BudgetLimiter(Budget(monotonic=machine.monotonic, wall=machine.wall))
        )
        self.waits: Final[list[float]] = []

    def truth(self) -> float:
        """What the exchange's clock shows."""
        return EPOCH + self.now() - START

    async def step(self, step: Step) -> None:
        """Make one call as soon as allowed."""
        await asyncio.sleep(step.pause)
        self.has_store = step.has_store
        if step.reported_time is not None:
            time = self.truth() + step.reported_time
            self.limiter.budget.observe_time(HOST, time, time + 0.001, asked=self.now())
        began = self.now()

        async def send() -> HttpResponse | None:
            self.waits.append(self.now() - began)
            await asyncio.sleep(0.05)
            return None if step.is_lost else HttpResponse(step.status, self._headers(step), step.body)

        await self.limiter.call(Ask(step.priority, "a", step.weight), send)

    def _headers(self, step: Step) -> dict[str, str]:
        headers: dict[str, str] = {}
        if step.date is None:
            headers["date"] = formatdate(self.truth(), usegmt=True)
        elif isinstance(step.date, str):
            headers["date"] = step.date
        else:
            headers["date"] = formatdate(max(0.0, self.truth() + step.date), usegmt=True)
        if step.used is not None:
            headers |= {HEADER: step.used, ORDERS_HEADER: step.used}
        if step.retry_after:
            headers["retry-after"] = step.retry_after
        return headers


def waits_of(steps: list[Step], *, wall_error: float = 0.0, is_shared: bool = False) -> list[float]:
    """Return how many seconds each call waited, and an order and a poll after all steps."""

    async def main() -> list[float]:
        program = Program(wall_error=wall_error, is_shared=is_shared)
        for step in [*steps, Step(priority="orders", weight=1), Step()]:
            await program.step(step)
        if isinstance(program.limiter, SharedLimiter):
            program.limiter.close()
        return program.waits

    # There would be thousands of warnings.
    logging.disable(logging.CRITICAL)
    try:
        # Iterating over all minutes between two bounds would take longer.
        return run(main, start=START, patience=10.0)
    finally:
        logging.disable(logging.NOTSET)


HOUR = 3600.0
FILLING = 10.0
DATES = ("Thu, 01 Jan 1970 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT", -HOUR, HOUR, -50.0, 50.0, -6.0, 6.0)
FULL = "6000"


@pytest.mark.parametrize("is_shared", [False, True])
@pytest.mark.parametrize("date", DATES)
@pytest.mark.parametrize("times", [1, 2, 5])
def test_a_full_minute_with_a_wrong_date(date: Dated, times: int, *, is_shared: bool) -> None:
    """A cached or proxied response fills a minute: calls are sent in the next minute all the same."""
    full = [Step(date=date, used=FULL, pause=0.7)] * times
    first, *others = waits_of([Step(used="5"), *full], is_shared=is_shared)

    assert first < 0.1
    assert max(others) <= MINUTE + SLACK


@pytest.mark.parametrize("is_shared", [False, True])
@pytest.mark.parametrize("wall_error", [0.0, -HOUR, HOUR, -1e9])
@pytest.mark.parametrize("date", DATES)
def test_a_first_response_with_a_wrong_date(date: Dated, wall_error: float, *, is_shared: bool) -> None:
    """No earlier response exists."""
    waits = waits_of([Step(date=date, used=FULL)], is_shared=is_shared, wall_error=wall_error)

    assert max(waits) <= MINUTE + SLACK


@pytest.mark.parametrize("is_shared", [False, True])
@pytest.mark.parametrize(
    "used", ["9007199254740992", "9" * 19, "9" * 26, "-1", "0", "5, 6000", "6000, 5", "NaN", "1e9", "6000.5"]
)
def test_any_count(used: str, *, is_shared: bool) -> None:
    """Of the IP and of the account's orders, however often the count is returned."""
    waits = waits_of(
        [Step(used="5"), *[Step(used=used), Step(priority="orders", used=used, weight=1)] * 3], is_shared=is_shared
    )

    assert max(waits) <= MINUTE + SLACK


@pytest.mark.parametrize("date", ["Thu, 01 Jan 1970 00:00:00 GMT", -HOUR, HOUR])
def test_a_wrong_date_and_then_the_loss_of_the_store(date: Dated) -> None:
    """The event loop does not stop to iterate over all minutes in between."""
    waits = waits_of(
        [Step(used="5"), *[Step(date=date, used=FULL, pause=0.9)] * 5, *[Step(has_store=False, used="5")] * 3],
        is_shared=True,
    )

    assert max(waits) <= MINUTE + SLACK


@pytest.mark.parametrize("retry_after", ["", "259200", "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_the_firewall(retry_after: str) -> None:
    """A page of the firewall closes the gate for a minute, whatever else the response says."""
    page = Step(status=403, retry_after=retry_after, body=b"<html>Forbidden</html>", date=-HOUR, used=FULL)

    assert 59 < max(waits_of([Step(used="5"), page])) <= MINUTE + SLACK


STEPS = st.builds(
    Step,
    pause=st.sampled_from([0.0, 0.0, 0.3, 1.0, 2.5, 31.0, 70.0]),
    priority=st.sampled_from(["orders", "polls"]),
    weight=st.sampled_from([1, 5, 40, 600]),
    date=st.one_of(
        st.none(), st.sampled_from(DATES), st.floats(-7200, 7200), st.sampled_from(["", "x", "Mon, x", "0", "a, b, c"])
    ),
    used=st.one_of(
        st.none(),
        st.sampled_from(["5", "300", "5990", FULL, "9007199254740992", "-5", "", "5, 6000", "x"]),
        st.integers(0, 7000).map(str),
    ),
    status=st.sampled_from([200, 200, 200, 204, 302, 400, 403, 404, 500, 503]),
    retry_after=st.sampled_from(["", "", "5", "259200", "Fri, 31 Dec 9999 23:59:59 GMT", "-1", "NaN"]),
    body=st.sampled_from([b"{}", b"<html></html>", b"", b'{"code":-1021,"msg":"Timestamp."}']),
    reported_time=st.one_of(st.none(), st.none(), st.sampled_from([0.0, -6.0, 50.0, -HOUR, HOUR, -1.7e9, 1e12, 1e26])),
    is_lost=st.sampled_from([False] * 7 + [True]),
    has_store=st.sampled_from([True] * 4 + [False]),
)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("is_shared", [False, True])
@settings(max_examples=150)
@given(steps=st.lists(STEPS, max_size=25), wall_error=st.sampled_from([0.0, 0.0, 40.0, -HOUR, 1e8, -1.8e9]))
def test_any_history(steps: list[Step], wall_error: float, *, is_shared: bool) -> None:
    """Each call is sent within a minute, counted from the request or from the latest arrival of a lost call."""
    waits = waits_of(steps, wall_error=wall_error, is_shared=is_shared)

    longest = MINUTE + SLACK + MAX_LATENCY * any(step.is_lost for step in steps)
    # Without the store a heavy poll waits for tokens of this process's part, after the gate of a 403 as well.
    longest += FILLING * any(not step.has_store for step in steps)
    assert len(waits) == len(steps) + 2
    assert max(waits) <= longest
