"""Margin lines: when uniMMR counts as below one, and when as above it again."""

from __future__ import annotations

from decimal import Decimal
from typing import Final, Literal, NamedTuple

ThresholdName = Literal["warn", "alarm"]

LIQUIDATION: Final = Decimal("1.05")
"""uniMMR at or below which liquidation begins: a line of every account."""
HYSTERESIS: Final = Decimal("0.02")
"""The part of a line by which uniMMR must rise above it to count as back."""

# An account without debts has a uniMMR of a hundred million; in plain notation a million digits fill any screen.
_MOST_PLACES: Final = 12


class Threshold(NamedTuple):
    """One line of an account."""

    name: ThresholdName
    at: Decimal
    """uniMMR."""


def is_below(line: Decimal, uni_mmr: Decimal, *, was_below: bool, hysteresis: Decimal = HYSTERESIS) -> bool:
    """Whether the account counts as below the line now.

    It falls below at the line itself, and is back only above the line and the hysteresis, so that one that trembles
    around the line is told once.

    Args:
        line: uniMMR.
        uni_mmr: of the account.
        was_below: whether it counted as below before.
        hysteresis: a part of the line.
    """
    return uni_mmr <= (line * (1 + hysteresis) if was_below else line)


def thresholds_of(warn: Decimal | None, alarm: Decimal | None) -> tuple[Threshold, ...]:
    """The lines that are set, in the order in which a falling account meets them.

    Raises:
        ValueError: one is not above 0 or absurdly large or small, or alarm is not below warn.
    """
    named: tuple[tuple[ThresholdName, Decimal | None], ...] = ("warn", warn), ("alarm", alarm)
    lines = tuple(Threshold(name, at) for name, at in named if at is not None)
    for name, at in lines:
        if not (at.is_finite() and at > 0 and abs(at.adjusted()) < _MOST_PLACES):
            raise ValueError(f"{name} is {at}: a line is a uniMMR above 0, such as 1.5")
    if warn is not None and alarm is not None and alarm >= warn:
        raise ValueError(f"alarm ({alarm}) is not below warn ({warn})")
    return lines


def threshold_value(value: object, name: str) -> Decimal | None:
    """A line as it may be given: a text, a whole number or a Decimal; None for no line.

    Raises:
        ValueError: it is something else, or no number.
    """
    if value is None or isinstance(value, Decimal):
        return value
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f'{name} is {type(value).__name__}: give a text such as "1.5", or a Decimal')
    try:
        return Decimal(value)
    except ArithmeticError:
        raise ValueError(f"{name} is a text that is no number") from None
