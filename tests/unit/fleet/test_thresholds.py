"""Margin thresholds and their hysteresis."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binance_pm.fleet.thresholds import Threshold, is_below, threshold_value, thresholds_of

WARN = Decimal("1.5")


def crossings(course: list[Decimal]) -> list[bool]:
    """Return whether the account counts as below the threshold at each point of its course."""
    states = [False]
    for uni_mmr in course:
        states.append(is_below(WARN, uni_mmr, was_below=states[-1]))
    return states[1:]


def test_an_account_falls_below_at_the_threshold_and_recovers_beyond_the_hysteresis() -> None:
    """1.5 is below the threshold of 1.5; 1.53 is still below, and anything more is above."""
    course = [Decimal(text) for text in ("1.51", "1.5", "1.52", "1.53", "1.531", "1.51", "1.499")]

    assert crossings(course) == [False, True, True, True, False, False, True]


@given(st.lists(st.decimals("1.4701", "1.5299", places=4), min_size=2))
def test_movement_within_the_hysteresis_is_reported_once(course: list[Decimal]) -> None:
    """An account crosses downwards once and never back."""
    changes = [after for before, after in pairwise([False, *crossings(course)]) if before != after]

    assert changes in ([], [True])


def test_thresholds_come_in_the_order_of_a_falling_account() -> None:
    """Thresholds that are not set are left out."""
    assert thresholds_of(WARN, Decimal("1.2")) == (Threshold("warn", WARN), Threshold("alarm", Decimal("1.2")))
    assert thresholds_of(None, WARN) == (Threshold("alarm", WARN),)
    assert thresholds_of(None, None) == ()


@pytest.mark.parametrize(
    ("warn", "alarm"),
    [
        ("1.2", "1.5"),
        ("1.2", "1.2"),
        ("0", None),
        (None, "NaN"),
        ("Infinity", None),
        ("1e999999", None),
        (None, "1e-999999"),
        (1.5, None),
        (True, None),
        (None, "high"),
    ],
)
def test_impossible_thresholds_are_refused(warn: object, alarm: object) -> None:
    """Thresholds are exact, positive and in order, and the error names the wrong one."""
    with pytest.raises(ValueError, match="warn" if alarm is None else "alarm"):
        thresholds_of(threshold_value(warn, "warn"), threshold_value(alarm, "alarm"))


@pytest.mark.parametrize("value", ["1.50", 2, Decimal("1.2")])
def test_a_threshold_is_exact(value: str | int | Decimal) -> None:
    """A string, a whole number or a Decimal keeps its value."""
    assert threshold_value(value, "warn") == Decimal(value)
