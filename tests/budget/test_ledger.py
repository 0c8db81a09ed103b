"""The upper bound of one pool."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from binance_pm.budget.ledger import MARGIN, Ledger

INSIDE = (30.0, 31.0)
"""Bounds of the exchange's clock in the middle of minute 0."""
AT_THE_TURN = (59.5, 60.5)
"""Bounds that allow minute 0 and minute 1."""


def probed(limit: int = 110) -> Ledger:
    """A ledger that has heard of an empty minute 0."""
    ledger = Ledger(limit)
    ledger.reserve(0)
    ledger.answer(0, 0, range(1), sent=0.0, now=0.0)
    return ledger


def test_first_call_fits_without_knowing_anything() -> None:
    """Nothing is known and nothing is in flight: one call may ask."""
    assert Ledger(110).wait(100, INSIDE) == 0.0


def test_second_call_waits_for_the_first_answer() -> None:
    """Before the exchange told its count, one call at a time asks for it."""
    ledger = Ledger(110)
    ledger.reserve(1)

    assert ledger.wait(1, INSIDE) == math.inf


def test_a_lost_probe_is_followed_by_another() -> None:
    """A call that got no answer told nothing: the next one asks, alone again."""
    ledger = Ledger(110)
    ledger.reserve(1)
    ledger.lose(1, range(1), known=10.0)

    assert ledger.wait(1, INSIDE) == 0.0


def test_calls_in_flight_are_counted() -> None:
    """What is on its way cannot be spent a second time."""
    ledger = probed()
    ledger.reserve(60)

    assert (ledger.wait(40, INSIDE), ledger.wait(41, INSIDE)) == (0.0, math.inf)


def test_margin_is_never_spent() -> None:
    """The limit less the margin is all there is."""
    ledger = probed()

    assert (ledger.wait(110 - MARGIN, INSIDE), ledger.wait(111 - MARGIN, INSIDE)) == (0.0, math.inf)


@pytest.mark.parametrize(("weight", "fits"), [(100, True), (101, False)])
def test_says_what_never_fits(weight: int, *, fits: bool) -> None:
    """More than an empty minute holds never fits."""
    assert Ledger(110).fits_ever(weight) is fits


def test_header_counts_what_others_used() -> None:
    """The exchange's own count stands above ours."""
    ledger = Ledger(110)
    ledger.reserve(5)
    ledger.answer(5, 95, range(1), sent=0.0, now=1.0)

    assert ledger.wait(6, INSIDE) == pytest.approx(30.0)


def test_an_older_header_does_not_lower_the_count() -> None:
    """Answers overtake each other: the highest count of a minute holds."""
    ledger = probed()
    for weight in (5, 5):
        ledger.reserve(weight)
    ledger.answer(5, 80, range(1), sent=0.0, now=2.0)
    ledger.answer(5, 70, range(1), sent=0.0, now=3.0)

    assert ledger.used(0) == 80


def test_a_full_minute_is_waited_for_until_it_has_surely_ended() -> None:
    """The wait ends when the slowest possible clock of the exchange has turned."""
    ledger = probed()
    ledger.reserve(100)
    ledger.answer(100, 100, range(1), sent=0.0, now=1.0)

    assert ledger.wait(1, AT_THE_TURN) == pytest.approx(0.5)


def test_a_new_minute_is_empty() -> None:
    """What was counted in one minute does not burden the next."""
    ledger = probed()
    ledger.reserve(100)
    ledger.answer(100, 100, range(1), sent=0.0, now=1.0)

    assert ledger.wait(100, (60.0, 61.0)) == 0.0


def test_a_call_at_the_turn_is_counted_in_both_minutes() -> None:
    """Where it is not known in which minute a call arrived, neither forgets it."""
    ledger = probed()
    ledger.reserve(60)
    ledger.answer(60, 60, range(2), sent=59.0, now=61.0)

    assert (ledger.used(0), ledger.used(1)) == (60, 60)


def test_a_header_sent_for_later_proves_earlier_calls() -> None:
    """A count taken after a call had been answered contains it: it is not counted twice."""
    ledger = probed()
    ledger.reserve(60)
    ledger.answer(60, 60, range(2), sent=59.0, now=61.0)
    ledger.reserve(5)
    ledger.answer(5, 65, range(1, 2), sent=62.0, now=63.0)

    assert ledger.used(1) == 65


def test_a_header_of_before_proves_nothing() -> None:
    """A count that may have been taken before a call arrived does not contain it."""
    ledger = probed()
    for weight in (60, 5):
        ledger.reserve(weight)
    ledger.lose(60, range(2), known=70.0)
    ledger.answer(5, 5, range(1, 2), sent=62.0, now=63.0)

    assert ledger.used(1) == 65


def test_an_answer_without_header_stays_suspected() -> None:
    """Where the exchange told no count, ours stands."""
    ledger = probed()
    ledger.reserve(60)
    ledger.answer(60, None, range(1), sent=1.0, now=2.0)

    assert ledger.used(0) == 60


def test_a_cancelled_call_leaves_nothing() -> None:
    """What never left costs nothing."""
    ledger = probed()
    ledger.reserve(60)
    ledger.cancel(60)

    assert (ledger.used(0), ledger.in_flight) == (0, 0)


def test_old_minutes_are_forgotten() -> None:
    """Memory does not grow with the hours."""
    ledger = probed()
    for minute in range(1000):
        ledger.reserve(1)
        ledger.answer(1, None if minute % 2 else 1, range(minute, minute + 1), sent=0.0, now=0.0)

    assert len(vars(ledger)["_header"]) + len(vars(ledger)["_own"]) + len(vars(ledger)["_pending"]) <= 6


def test_a_clock_that_may_be_anywhere_costs_nothing() -> None:
    """Where an absurd Date has made the bounds span years, the minutes in between are not counted one by one."""
    ledger = probed()
    years = (0.0, 2e9)
    ledger.reserve(60)
    ledger.lose(60, ledger.minutes(years), known=1.0)
    ledger.reserve(5)
    ledger.answer(5, 65, range(7, 8), sent=2.0, now=3.0)

    assert (ledger.most_used(years), ledger.used(6), ledger.used(7), ledger.used(8)) == (65, 60, 65, 60)
    assert ledger.wait(41, years) > 1e9


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[float, float, float, int, bool]]:
    """Calls as (start, way there, way back, weight, lost), in the order of their starts."""
    starts = sorted(draw(st.lists(st.floats(0, 180), min_size=1, max_size=60)))
    way = st.floats(0, 8)
    weight = st.integers(1, 40)
    return [(start, draw(way), draw(way), draw(weight), draw(st.booleans())) for start in starts]


@settings(deadline=None, max_examples=300)
@given(histories(), st.floats(0, 0.9), st.integers(0, 60))
def test_no_minute_is_ever_overspent(
    history: list[tuple[float, float, float, int, bool]], blur: float, foreign: int
) -> None:
    """Whatever the delays and losses, no admitted call makes a minute's count pass the limit.

    The exchange counts on arrival and tells its count of that moment; its clock is known to within `blur`.
    """
    ledger = Ledger(110)
    counts = dict.fromkeys(range(10), foreign)
    events: list[tuple[float, int, str]] = []
    calls = dict(enumerate(history))
    used: dict[int, int] = {}
    for number, (start, there, back, _, lost) in calls.items():
        events += [(start, number, "start"), (start + there, number, "arrive")]
        events += [(start + there + (9 if lost else back), number, "lost" if lost else "answer")]
    refused: set[int] = set()
    for now, number, what in sorted(events, key=lambda event: event[0]):
        start, _, _, weight, _ = calls[number]
        if what == "start":
            if ledger.wait(weight, (now - blur, now + blur)) > 0:
                refused.add(number)
            else:
                ledger.reserve(weight)
        elif number in refused:
            continue
        elif what == "arrive":
            minute = math.floor(now / 60)
            counts[minute] += weight
            used[number] = counts[minute]
            # What others used before we ever asked cannot be helped; it is in the first count that we hear.
            assert counts[minute] <= 110 - MARGIN + foreign
        elif what == "answer":
            minutes = ledger.minutes((start - blur, now + blur))
            ledger.answer(weight, used[number], minutes, sent=start, now=now)
        else:
            ledger.lose(weight, ledger.minutes((start - blur, now + blur + 10)), known=now + 10)
    assert ledger.in_flight == 0
