"""The upper bound of one pool."""

from __future__ import annotations

import math
from collections import Counter
from typing import Literal, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
def test_a_gateway_response_gives_no_count(is_probe: bool, wait: float) -> None:  # noqa: FBT001
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


def test_calls_in_flight_are_counted() -> None:
    """Weight in flight cannot be spent twice."""
    ledger = probed()
    ledger.acquire(60, Priority.ORDER, 30.0)

    assert (seconds(ledger, 40, INSIDE), seconds(ledger, 41, INSIDE)) == (0.0, math.inf)


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


def test_an_older_header_does_not_lower_the_count() -> None:
    """Responses may arrive out of order: the highest count of a minute holds."""
    ledger = probed()
    for weight in (5, 5):
        ledger.acquire(weight, Priority.ORDER, 30.0)
    ledger.settle(5, 80, range(1), sent=0.0, now=2.0)
    ledger.settle(5, 70, range(1), sent=0.0, now=3.0)

    assert ledger.used(0) == 80


def test_waits_until_a_full_minute_has_surely_ended() -> None:
    """The wait ends when the minute has turned by the slowest possible clock of the exchange."""
    ledger = probed()
    ledger.acquire(100, Priority.ORDER, 30.0)
    ledger.settle(100, 100, range(1), sent=0.0, now=1.0)

    assert seconds(ledger, 1, AT_THE_TURN) == pytest.approx(0.5)


def test_a_new_minute_is_empty() -> None:
    """Weight counted in one minute does not count in the next."""
    ledger = probed()
    ledger.acquire(100, Priority.ORDER, 30.0)
    ledger.settle(100, 100, range(1), sent=0.0, now=1.0)

    assert seconds(ledger, 100, (60.0, 61.0)) == 0.0


def test_a_call_at_the_turn_is_counted_in_both_minutes() -> None:
    """If the minute of arrival is not known, both minutes count the call."""
    ledger = probed()
    ledger.acquire(60, Priority.ORDER, 30.0)
    ledger.settle(60, 60, range(2), sent=59.0, now=61.0)

    assert (ledger.used(0), ledger.used(1)) == (60, 60)


def test_a_header_of_a_later_call_includes_earlier_calls() -> None:
    """A count taken after a call was answered contains that call, which is not counted twice."""
    ledger = probed()
    ledger.acquire(60, Priority.ORDER, 30.0)
    ledger.settle(60, 60, range(2), sent=59.0, now=61.0)
    ledger.acquire(5, Priority.ORDER, 30.0)
    ledger.settle(5, 65, range(1, 2), sent=62.0, now=63.0)

    assert ledger.used(1) == 65


def test_a_header_of_an_earlier_call_includes_no_later_call() -> None:
    """A count that may be older than a call's arrival does not contain that call."""
    ledger = probed()
    for weight in (60, 5):
        ledger.acquire(weight, Priority.ORDER, 30.0)
    ledger.settle_unknown(60, range(2), known=70.0)
    ledger.settle(5, 5, range(1, 2), sent=62.0, now=63.0)

    assert ledger.used(1) == 65


def test_a_response_without_header_keeps_our_count() -> None:
    """If the exchange sent no count, ours holds."""
    ledger = probed()
    ledger.acquire(60, Priority.ORDER, 30.0)
    ledger.settle(60, None, range(1), sent=1.0, now=2.0)

    assert ledger.used(0) == 60


def test_a_cancelled_call_costs_nothing() -> None:
    """A call that was not sent costs no weight."""
    ledger = probed()
    ledger.acquire(60, Priority.ORDER, 30.0)
    ledger.release(60, Priority.ORDER)

    assert (ledger.used(0), ledger.in_flight) == (0, 0)


def test_old_minutes_are_forgotten() -> None:
    """Memory does not grow over hours, whether calls are answered or lost."""
    ledger = probed()
    for minute in range(1000):
        for _ in range(3):
            ledger.acquire(1, Priority.ORDER, 30.0)
        ledger.settle(1, 1, range(minute, minute + 1), sent=0.0, now=0.0)
        ledger.settle(1, None, range(minute, minute + 2), sent=0.0, now=0.0)
        ledger.settle_unknown(1, range(minute, minute + 2), known=0.0)

    assert len(vars(ledger)["_header"]) + len(vars(ledger)["_own"]) + len(ledger._pending.batches) <= 12


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


class History(NamedTuple):
    """One call of a random history; times in seconds."""

    start: float
    there: float
    back: float
    weight: int
    end: Literal["answered", "without a count", "lost", "cancelled"]
    blur: tuple[float, float]
    """How far the exchange's clock may be behind and ahead, as known when the call starts and ends."""


def histories() -> st.SearchStrategy[list[History]]:
    """Random calls over three minutes, in the order of their starts."""
    blur = st.tuples(st.floats(0, 0.9), st.floats(0, 0.9))
    ends = st.sampled_from(["answered", "answered", "answered", "without a count", "lost", "cancelled"])
    call = st.builds(History, st.floats(0, 180), st.floats(0, 8), st.floats(0, 8), st.integers(1, 40), ends, blur)
    return st.lists(call, min_size=1, max_size=60).map(sorted)


class Exchange:
    """Counts on arrival, returns the count of that moment, and asserts the bound."""

    def __init__(self, external: int) -> None:
        self.ledger = Ledger(110)
        self._foreign = external
        self._own: Counter[int] = Counter()
        self._told: dict[History, int] = {}
        self._heard: dict[int, float] = {}
        """When the ledger first received the count of a minute."""

    def arrive(self, call: History) -> None:
        """Count the call."""
        minute = math.floor((call.start + call.there) / 60)
        self._own[minute] += call.weight
        count = self._told[call] = self._foreign + self._own[minute]
        assert self._own[minute] <= 110 - MARGIN
        if call.start > self._heard.get(minute, math.inf):
            assert count <= 110 - MARGIN

    def end(self, call: History, now: float) -> None:
        """Report to the ledger how the call ended."""
        low, high = call.blur
        minutes = self.ledger.minutes((call.start - low, now + high))
        if call.end == "lost":
            late = self.ledger.minutes((call.start - low, now + high + 10))
            self.ledger.settle_unknown(call.weight, late, known=now + 10)
            return
        used = self._told[call] if call.end == "answered" else None
        self.ledger.settle(call.weight, used, minutes, sent=call.start, now=now)
        if used is not None and len(minutes) == 1:
            self._heard.setdefault(minutes.start, now)


@settings(deadline=None, max_examples=300)
@given(histories(), st.integers(0, 60))
def test_no_minute_is_ever_overspent(history: list[History], external: int) -> None:
    """Whatever the delays and losses, no admitted call makes a minute's count pass the limit.

    What others used is known from the first count of a minute that we hear; what is ours is known always.
    """
    exchange = Exchange(external)
    events: list[tuple[float, int, str, History]] = []
    for number, call in enumerate(history):
        arrival = call.start + call.there
        events += [(call.start, number, "start", call), (arrival, number, "arrive", call)]
        events += [(arrival + (9 if call.end == "lost" else call.back), number, "end", call)]
    admitted: set[int] = set()
    for now, number, what, call in sorted(events, key=lambda event: event[0]):
        bounds = (now - call.blur[0], now + call.blur[1])
        if what == "start" and seconds(exchange.ledger, call.weight, bounds) == 0:
            admitted.add(number)
            exchange.ledger.acquire(call.weight, Priority.ORDER, now)
        elif number not in admitted:
            continue
        elif call.end == "cancelled":
            admitted.remove(number)
            exchange.ledger.release(call.weight, Priority.ORDER)
        elif what == "arrive":
            exchange.arrive(call)
        elif what == "end":
            exchange.end(call, now)
    assert exchange.ledger.in_flight == 0
