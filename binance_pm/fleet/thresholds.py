"""Thresholds of uniMMR: when an account counts as below a threshold and when as above the threshold again."""

from __future__ import annotations

from decimal import Decimal
from typing import Final, Literal, NamedTuple

ThresholdName = Literal["warn", "alarm"]

LIQUIDATION: Final = Decimal("1.05")
"""uniMMR at or below which liquidation begins: a threshold of every account."""
HYSTERESIS: Final = Decimal("0.02")
"""Fraction of a threshold by which uniMMR must rise above the threshold to count as recovered."""

# An account without debts has a uniMMR of 100 million; the limit keeps absurdly long numbers off the screen.
_MOST_PLACES: Final = 12


class Threshold(NamedTuple):
    """One threshold of an account."""

    name: ThresholdName
    at: Decimal
    """uniMMR."""


def is_below(threshold: Decimal, uni_mmr: Decimal, *, was_below: bool, hysteresis: Decimal = HYSTERESIS) -> bool:
    """Return whether the account counts as below the threshold now.

    The account falls below at the threshold itself, and recovers only above the threshold plus the hysteresis, so an
    account that fluctuates around the threshold causes one event.

    Args:
        threshold: uniMMR of the threshold.
        uni_mmr: uniMMR of the account.
        was_below: whether the account counted as below before.
        hysteresis: fraction of the threshold.
    """
    return uni_mmr <= (threshold * (1 + hysteresis) if was_below else threshold)


def thresholds_of(warn: Decimal | None, alarm: Decimal | None) -> tuple[Threshold, ...]:
    """Return the thresholds that are set, in the order in which a falling account crosses them.

    Raises:
        ValueError: a threshold is not above 0 or is absurdly large or small, or alarm is not below warn.
    """
    named: tuple[tuple[ThresholdName, Decimal | None], ...] = ("warn", warn), ("alarm", alarm)
    thresholds = tuple(Threshold(name, at) for name, at in named if at is not None)
    for name, at in thresholds:
        if not (at.is_finite() and at > 0 and abs(at.adjusted()) < _MOST_PLACES):
            raise ValueError(f"{name} is {at}: a threshold is a uniMMR above 0, such as 1.5")
    if warn is not None and alarm is not None and alarm >= warn:
        raise ValueError(f"alarm ({alarm}) is not below warn ({warn})")
    return thresholds


def threshold_value(value: object, name: str) -> Decimal | None:
    """Return a threshold given as text, whole number or Decimal; None stands for no threshold.

    Raises:
        ValueError: the value is something else, or not a number.
    """
    if value is None or isinstance(value, Decimal):
        return value
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f'{name} is {type(value).__name__}: give a string such as "1.5", or a Decimal')
    try:
        return Decimal(value)
    except ArithmeticError:
        raise ValueError(f"{name} is a string but not a number") from None
