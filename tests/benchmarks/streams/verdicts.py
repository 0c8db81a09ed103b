"""What a target of the streams demands, what was measured, and whether it is met."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

HEADER: Final = "| target | figure | demanded | measured | |\n|---:|---|---|---|---|\n"


class Verdict(NamedTuple):
    """One figure of a target."""

    target: int
    figure: str
    demanded: str
    measured: str
    is_met: bool


class Options(NamedTuple):
    """How thoroughly to measure."""

    is_quick: bool
    seed: int
    """Of all that is random."""
    say: Callable[[str], None]
    """Prints a line of a table or of the progress."""


def at_most(target: int, figure: str, bound: float, value: float, unit: str = "", *, digits: int = 2) -> Verdict:
    """Return the verdict on a figure that must not exceed a bound."""
    return Verdict(target, figure, f"at most {bound:g}{unit}", f"{value:.{digits}f}{unit}", value <= bound)


def exactly(target: int, figure: str, demanded: int, value: int) -> Verdict:
    """Return the verdict on a count."""
    return Verdict(target, figure, f"{demanded:,}", f"{value:,}", value == demanded)


def rows(verdicts: Iterable[Verdict]) -> str:
    """Return the table of the verdicts."""
    lines = (" | ".join([str(one.target), *one[1:4], "met" if one.is_met else "**missed**"]) for one in verdicts)
    return HEADER + "".join(f"| {line} |\n" for line in lines)
