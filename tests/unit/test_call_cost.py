"""A guard against slow growth: the work of one call is counted, not timed, so a busy machine has no effect."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from types import FrameType

import anyio

import binance_pm
from binance_pm import Client, Session
from binance_pm.budget import Budget, Family, LimitType
from tests.benchmarks.answering import body_of
from tests.benchmarks.call_cost import Instant

PACKAGE = str(Path(binance_pm.__file__).parent)
MOST_FUNCTIONS = 76
"""Functions of the package that one call without waiting may enter; a higher number needs a reason."""


def middle_of_minute() -> float:
    """Return the time of both sides: near the turn of a minute there are two minutes to check."""
    return 1_800_000_030.0


class Calls:
    """Counts entered functions of the package; a coroutine counts each time it resumes."""

    def __init__(self) -> None:
        self.entered: Counter[str] = Counter()

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        """The callback of `sys.setprofile`."""
        del argument
        if event == "call" and frame.f_code.co_filename.startswith(PACKAGE):
            self.entered[frame.f_code.co_qualname] += 1


def test_one_call_enters_few_functions() -> None:
    """From the method to the decoded response: reserve, sign, send, settle, decode."""
    limits: dict[tuple[Family, LimitType], int] = {("papi", LimitType.IP): 10**9}
    calls = Calls()

    async def measure() -> None:
        session = Session(budget=Budget(limits=limits, wall=middle_of_minute))
        async with session, Client("k" * 64, "s" * 64, session=session) as client:
            vars(session)["_transport"] = Instant(body_of("small"), middle_of_minute)
            for _ in range(3):
                await client.um_account()
            sys.setprofile(calls)
            try:
                await client.um_account()
            finally:
                sys.setprofile(None)

    anyio.run(measure)

    assert sum(calls.entered.values()) <= MOST_FUNCTIONS, calls.entered.most_common()
