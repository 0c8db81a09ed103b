"""Decides whether a failed call is attempted again, and when.

Reads are repeated, and so are writes whose effect is the same the second time, but only after failures that do not
concern the request itself. An outage must not multiply traffic: every retry is paid from a budget that only successful
calls refill.
"""

from __future__ import annotations

from typing import Final

import msgspec

from binance_pm.errors import (
    ClockSkewError,
    ConnectError,
    GateClosed,
    IpBanned,
    NoResponse,
    NotDone,
    OutcomeUnknown,
    PortfolioMarginError,
    closes_gate,
)

_REPEATABLE: Final = (ConnectError, NoResponse, NotDone, OutcomeUnknown)
_FIRST_DELAY: Final = 0.2
_LONGEST: Final = 30.0


class NextAttempt(msgspec.Struct, frozen=True):
    """How a failed call is attempted again."""

    delay: float = 0.0
    """Seconds to wait before the attempt; any delay costs one retry of the origin's budget."""
    at_head: bool = False
    """Whether the attempt waits at the head of the queue until the gate opens."""
    after_synchronising: bool = False
    """Whether the server clock is synchronised first."""
    counts: bool = True
    """Whether the failed attempt counts as one."""


def next_attempt(
    error: PortfolioMarginError,
    *,
    attempt: int,
    attempts: int,
    may_synchronise: bool,
    gate_opens_in: float,
    max_wait: float,
    elapsed: float,
    jitter: float,
) -> NextAttempt | None:
    """Decide how a call is attempted again; return None if its error is to be raised.

    Args:
        error: the error that ended the attempt.
        attempt: number of the attempt, from 1.
        attempts: maximum number of attempts.
        may_synchronise: whether the call is signed and its clock was not synchronised yet.
        gate_opens_in: seconds until the gate of the origin opens.
        max_wait: seconds that the call may wait for the gate.
        elapsed: seconds since the first attempt began.
        jitter: a random number from 0 to 1, so that clients that failed together do not return together.
    """
    if isinstance(error, ClockSkewError) and error.code == -1021 and may_synchronise:
        # The request was refused, so repeating it is safe even for an order.
        return NextAttempt(after_synchronising=True)
    if isinstance(error, GateClosed):
        # The gate was closed for another call after this call's turn had come: nothing was sent.
        return NextAttempt(at_head=True, counts=False)
    if attempt >= attempts:
        return None
    if closes_gate(error) and not isinstance(error, IpBanned):
        # A write does not wait for the gate: an action that was useful before a refusal may not be useful after it.
        return NextAttempt(at_head=True) if not error.write and gate_opens_in <= max_wait else None
    if not isinstance(error, _REPEATABLE) or (error.write and error.repeat != "same_effect"):
        return None
    delay = _FIRST_DELAY * 2 ** (attempt - 1) * (0.5 + jitter / 2)
    return NextAttempt(delay) if elapsed + delay < _LONGEST else None


class RetryBudget:
    """How many retries one origin has left: ten at first, one more for every ten successful calls."""

    # In tenths: ten times 0.1 is less than 1.
    _most: Final = 100
    _retry: Final = 10

    def __init__(self) -> None:
        self._left: int = self._most

    def earn(self) -> None:
        """Count a successful call."""
        self._left = min(self._most, self._left + 1)

    def spend(self) -> bool:
        """Take one retry; return False if none is left."""
        if self._left < self._retry:
            return False
        self._left -= self._retry
        return True
