"""Margin thresholds and their hysteresis."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binance_pm.fleet.thresholds import Threshold, is_below, threshold_value, thresholds_of

WARN = Decimal("1.5")


def crossings(course: list[Decimal], line: Decimal = WARN) -> list[bool]:
    """Return whether the account counts as below the threshold at each point of its course."""
    below = False
    told: list[bool] = []
    for uni_mmr in course:
        below = is_below(line, uni_mmr, was_below=below)
        told.append(below)
    return told


def test_is_below_from_the_threshold_and_above_only_beyond_the_hysteresis() -> None:
    """1.5 is below the threshold of 1.5; 1.53 is still below, anything more is above."""
    course = [Decimal(text) for text in ("1.51", "1.5", "1.52", "1.53", "1.531", "1.51", "1.499")]

    assert crossings(course) == [False, True, True, True, False, False, True]


@given(st.lists(st.decimals("1.4701", "1.5299", places=4), min_size=2))
def test_movement_within_the_hysteresis_is_reported_once(course: list[Decimal]) -> None:
    """An account crosses downwards once and never back."""
    changes = [after for before, after in pairwise([False, *crossings(course)]) if before != after]

    assert changes in ([], [True])


@given(st.decimals("0.5", "3", places=4), st.booleans())
def test_hysteresis_delays_only_the_way_up(uni_mmr: Decimal, was_below: bool) -> None:  # noqa: FBT001 - hypothesis
    """Any account at or below the threshold counts as below, and none far enough above."""
    below = is_below(WARN, uni_mmr, was_below=was_below)

    assert below or uni_mmr > WARN
    assert not below or uni_mmr <= WARN * Decimal("1.02")


def test_thresholds_come_in_the_order_of_a_falling_account() -> None:
    """Thresholds that are not set are left out."""
    assert thresholds_of(WARN, Decimal("1.2")) == (Threshold("warn", WARN), Threshold("alarm", Decimal("1.2")))
    assert thresholds_of(None, WARN) == (Threshold("alarm", WARN),)
    assert thresholds_of(None, None) == ()


@pytest.mark.parametrize(
    ("warn", "alarm", "why"),
    [
        ("1.2", "1.5", r"alarm \(1.5\) is not below warn \(1.2\)"),
        ("1.2", "1.2", r"alarm \(1.2\) is not below warn \(1.2\)"),
        ("0", None, "warn is 0: a threshold is a uniMMR above 0"),
        (None, "NaN", "alarm is NaN: a threshold is a uniMMR above 0"),
        ("Infinity", None, "warn is Infinity: a threshold is a uniMMR above 0"),
        ("1e999999", None, r"warn is 1E\+999999: a threshold is a uniMMR above 0, such as 1.5"),
        (None, "1e-999999", "alarm is 1E-999999: a threshold is a uniMMR above 0, such as 1.5"),
    ],
)
def test_impossible_thresholds_are_refused(warn: str | None, alarm: str | None, why: str) -> None:
    """The error says which and why."""
    with pytest.raises(ValueError, match=why):
        thresholds_of(threshold_value(warn, "warn"), threshold_value(alarm, "alarm"))


@pytest.mark.parametrize(("value", "line"), [("1.50", "1.50"), (2, "2"), (Decimal("1.2"), "1.2"), (None, None)])
def test_a_threshold_is_text_or_a_decimal(value: object, line: str | None) -> None:
    """The value is exact."""
    assert threshold_value(value, "warn") == (None if line is None else Decimal(line))


@pytest.mark.parametrize(
    ("value", "why"),
    [(1.5, "warn is float: give a text"), (True, "warn is bool"), ("high", "warn is text but not a number")],
)
def test_a_threshold_that_is_no_amount_is_refused(value: object, why: str) -> None:
    """A float cannot hold a threshold exactly."""
    with pytest.raises(ValueError, match=why):
        threshold_value(value, "warn")
