"""The event that reports one attempt of a call."""

from __future__ import annotations

import msgspec

from binance_pm.budget import Priority, Reservation
from binance_pm.errors import CallInfo, PortfolioMarginError
from binance_pm.transport.http import HttpResponse, SendFailed


class AttemptEvent(msgspec.Struct, frozen=True):
    """The end of one attempt of a call. Attempts that the caller cancelled are not reported."""

    call: CallInfo
    """The call that the attempt belongs to."""
    priority: Priority
    """The priority of the call."""
    waited: float
    """Seconds until the attempt had its weight, or until it gave up waiting."""
    seconds: float | None
    """Seconds from the request's first byte until the response arrived or was given up; None if nothing was sent."""
    status: int | None
    """HTTP status of the response; None if no response arrived."""
    error: type[PortfolioMarginError] | None
    """The error that ended the attempt; None if the response was as expected."""


def attempt_event(
    reservation: Reservation, answer: HttpResponse | SendFailed | None, outcome: object, ended: float
) -> AttemptEvent:
    """Return the event for an attempt that ended in a response or an error, at a monotonic time."""
    admitted, departed = reservation.admitted_at, reservation.sent_at
    return AttemptEvent(
        call=reservation.call,
        priority=reservation.priority,
        waited=(ended if admitted is None else admitted) - reservation.asked_at,
        seconds=None if departed is None else ended - departed,
        status=answer.status if isinstance(answer, HttpResponse) else None,
        error=type(outcome) if isinstance(outcome, PortfolioMarginError) else None,
    )
