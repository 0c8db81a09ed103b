"""The targets of the benchmarks as a table: what was measured, and whether it is met."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

HEADER: Final = "| figure | at | at most | is | |\n|---|---|---:|---:|---|\n"


class Ratio(NamedTuple):
    """One figure and its target."""

    what: str
    where: str
    at_most: float
    value: float
    unit: str = "times"


def print_ratios(ratios: Iterable[Ratio]) -> None:
    """Print each figure as met or missed."""
    print(HEADER, end="")
    for one in ratios:
        verdict = "met" if one.value <= one.at_most else "**missed**"
        print(f"| {one.what} | {one.where} | {one.at_most:g} {one.unit} | {one.value:.2f} | {verdict} |")
