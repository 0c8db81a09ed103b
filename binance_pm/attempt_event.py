"""What is told of each attempt of a call."""

from __future__ import annotations

import msgspec

from binance_pm.budget import Priority, Reservation
from binance_pm.errors import CallInfo, PortfolioMarginError
from binance_pm.transport.http import HttpResponse, SendFailed


class AttemptEvent(msgspec.Struct, frozen=True):
    """One attempt of a call has ended; one that its caller cancelled is not told."""

    call: CallInfo
    """The call that the attempt belongs to."""
    priority: Priority
    """The priority of the call."""
    waited: float
    """Seconds until it had its weight, or until it gave up waiting."""
    seconds: float | None
    """From its first byte until the answer had come or was given up; None where nothing was sent."""
    status: int | None
    """The answer's HTTP status; None where none came."""
    error: type[PortfolioMarginError] | None
    """What it ended in; None where it was answered as promised."""


def attempt_event(
    reservation: Reservation, answer: HttpResponse | SendFailed | None, outcome: object, ended: float
) -> AttemptEvent:
    """How an attempt ended: in an answer or an error, and when by the monotonic clock."""
    admitted, departed = reservation.admitted_at, reservation.sent_at
    return AttemptEvent(
        call=reservation.call,
        priority=reservation.priority,
        waited=(ended if admitted is None else admitted) - reservation.asked_at,
        seconds=None if departed is None else ended - departed,
        status=answer.status if isinstance(answer, HttpResponse) else None,
        error=type(outcome) if isinstance(outcome, PortfolioMarginError) else None,
    )
