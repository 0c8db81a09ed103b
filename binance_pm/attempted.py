"""What is told of each attempt of a call."""

from __future__ import annotations

import msgspec

from binance_pm.budget import Lane, Reservation
from binance_pm.errors import Call, PortfolioMarginError
from binance_pm.transport import HttpAnswer, SendFailed


class Attempted(msgspec.Struct, frozen=True):
    """One attempt of a call has ended; one that its caller cancelled is not told."""

    call: Call
    lane: Lane
    waited: float
    """Seconds until it had its weight, or until it gave up waiting."""
    seconds: float | None
    """From its first byte until the answer had come or was given up; None where nothing was sent."""
    status: int | None
    """The answer's HTTP status; None where none came."""
    error: type[PortfolioMarginError] | None
    """What it ended in; None where it was answered as promised."""


def attempted(
    reservation: Reservation, answer: HttpAnswer | SendFailed | None, outcome: object, ended: float
) -> Attempted:
    """How an attempt ended: in an answer or an error, and when by the monotonic clock."""
    admitted, departed = reservation.admitted_at, reservation.departed_at
    return Attempted(
        call=reservation.call,
        lane=reservation.lane,
        waited=(ended if admitted is None else admitted) - reservation.asked_at,
        seconds=None if departed is None else ended - departed,
        status=answer.status if isinstance(answer, HttpAnswer) else None,
        error=type(outcome) if isinstance(outcome, PortfolioMarginError) else None,
    )
