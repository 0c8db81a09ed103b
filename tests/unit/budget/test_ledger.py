"""The upper bound of one pool."""

from __future__ import annotations

import math

import pytest

from binance_pm.budget import Priority
from binance_pm.budget.ledger import MARGIN, PATIENCE, Ledger

INSIDE = (30.0, 31.0)
"""Bounds of the exchange's clock in the middle of minute 0."""
AT_THE_TURN = (59.5, 60.5)
"""Bounds that allow minute 0 and minute 1."""


def seconds(ledger: Ledger, weight: int, bounds: tuple[float, float], *, priority: Priority = Priority.ORDER) -> float:
    """Return how long a call has to wait if this machine's clock shows the exchange's earliest time."""
    return ledger.wait(weight, priority, bounds[0], bounds).seconds


def probed(limit: int = 110) -> Ledger:
    """Return a ledger that has received the count of an empty minute 0."""
    ledger = Ledger(limit)
    ledger.external.ignore()
    ledger.acquire(0, Priority.ORDER, 30.0)
    ledger.settle(0, 0, range(1), sent=0.0, now=0.0)
    return ledger


def test_the_first_call_fits_without_a_count() -> None:
    """Without a count, one call may go if no other is in flight."""
    assert seconds(Ledger(110), 100, INSIDE) == 0.0


def test_the_second_call_waits_for_the_first_response() -> None:
    """Until the count is known, one call at a time may go; after a while another may."""
    ledger = Ledger(110)
    ledger.acquire(1, Priority.ORDER, 30.0)

    assert (seconds(ledger, 1, INSIDE), seconds(ledger, 1, (30.0 + PATIENCE, 33.0))) == (PATIENCE, 0.0)


@pytest.mark.parametrize(("is_probe", "wait"), [(True, 0.0), (False, PATIENCE)])
def test_a_gateway_response_gives_no_count(is_probe: bool, wait: float) -> None:
    """A response without a count ends the probing only if the exchange itself has sent the response."""
    ledger = Ledger(110)
    for _ in range(2):
        ledger.acquire(1, Priority.ORDER, 30.0)
    ledger.settle(1, None, range(1), sent=0.0, now=0.0, is_probe=is_probe)

    assert seconds(ledger, 1, INSIDE) == wait


def test_a_lost_probe_is_followed_by_another() -> None:
    """A call without a response gives no count: the next call probes, one at a time again."""
    ledger = Ledger(110)
    ledger.acquire(1, Priority.ORDER, 30.0)
    ledger.settle_unknown(1, range(1), known=10.0)

    assert seconds(ledger, 1, INSIDE) == 0.0


def test_the_margin_is_never_spent() -> None:
    """The available weight is the limit less the margin."""
    ledger = probed()

    assert (seconds(ledger, 110 - MARGIN, INSIDE), seconds(ledger, 111 - MARGIN, INSIDE)) == (0.0, math.inf)


@pytest.mark.parametrize(("weight", "fits"), [(100, True), (101, False)])
def test_reports_a_weight_that_never_fits(weight: int, *, fits: bool) -> None:
    """More than an empty minute holds never fits."""
    assert Ledger(110).fits_ever(weight) is fits


def test_the_header_includes_external_usage() -> None:
    """The exchange's count replaces a lower count of our own."""
    ledger = Ledger(110)
    ledger.acquire(5, Priority.ORDER, 30.0)
    ledger.settle(5, 95, range(1), sent=0.0, now=1.0)

    assert seconds(ledger, 6, INSIDE) == pytest.approx(30.0)


def test_waits_until_a_full_minute_has_surely_ended() -> None:
    """The wait ends when the minute has turned by the slowest possible clock of the exchange."""
    ledger = probed()
    ledger.acquire(100, Priority.ORDER, 30.0)
    ledger.settle(100, 100, range(1), sent=0.0, now=1.0)

    assert seconds(ledger, 1, AT_THE_TURN) == pytest.approx(0.5)
    assert seconds(ledger, 100, (60.0, 61.0)) == 0.0


def test_wide_clock_bounds_cost_no_time() -> None:
    """If bounds span years, minutes are not counted one by one, and no call waits for their end."""
    ledger = probed()
    years = (0.0, 2e9)
    ledger.acquire(60, Priority.ORDER, 30.0)
    ledger.settle_unknown(60, ledger.minutes(years), known=1.0)
    ledger.acquire(5, Priority.ORDER, 30.0)
    ledger.settle(5, 65, range(7, 8), sent=2.0, now=3.0)

    assert (ledger.most_used(years), ledger.used(6), ledger.used(7), ledger.used(8)) == (65, 60, 65, 60)
    assert seconds(ledger, 41, years) <= 63.0


def test_a_very_heavy_call_is_not_blocked_by_possible_external_usage() -> None:
    """A call that needs nearly a whole minute goes first in a minute without a count."""
    ledger = Ledger(110)
    ledger.acquire(1, Priority.ORDER, 30.0)
    ledger.settle(1, 31, range(1), sent=30.0, now=30.0)

    assert ledger.cap(60.0) < 100
    assert seconds(ledger, 100, (60.0, 61.0)) == 0.0
