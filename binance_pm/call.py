"""One call of an endpoint for one account: what is known before it is sent, its signature, and how it ended."""

from __future__ import annotations

import logging
from typing import Any, Final, Generic, TypeVar
from urllib.parse import quote

from binance_pm.api.connectivity import ServerTime
from binance_pm.budget import Charge, Pool, Reservation
from binance_pm.classify import unreadable
from binance_pm.endpoint import Endpoint
from binance_pm.errors import (
    CallInfo,
    ConfigurationError,
    ConnectError,
    NoResponse,
    PortfolioMarginError,
    SessionClosed,
)
from binance_pm.session import CLOSED, Session
from binance_pm.signing import Signer, clear_locals
from binance_pm.transport.http import Headers, HttpResponse, NotConnected, SendFailed

_log = logging.getLogger(__name__)

T = TypeVar("T")

# Milliseconds since the epoch, of the years 2020 to 2099.
_PLAUSIBLE_TIMES: Final = range(1_577_836_800_000, 4_102_444_800_000)


class BoundEndpoint(Generic[T]):
    """An endpoint bound to one account: what all of its calls have in common."""

    __slots__ = ("charges", "endpoint", "headers", "hint", "info", "is_signed", "origin", "pools", "url")

    def __init__(self, endpoint: Endpoint[T], info: CallInfo, url: str, origin: str, pools: tuple[Pool, ...]) -> None:
        self.endpoint: Final = endpoint
        self.is_signed: Final = endpoint.is_signed
        self.info: Final = info
        self.url: Final = url
        """The origin that the requests are sent to."""
        self.origin: Final = origin
        """The origin that identifies the pools: the exchange's numbered hosts share one."""
        self.pools: Final = pools
        self.charges: Final[dict[tuple[int, ...], tuple[Charge, ...]]] = {}
        """The charges of a call, by its weights, which are always the same for most endpoints."""
        self.headers: Headers | None = None
        """None until the first call has found the keys that the endpoint needs."""
        self.hint: str = ""
        """What an error adds about how the URL was chosen."""

    def charge(self, weights: tuple[int, ...]) -> tuple[Charge, ...]:
        """Return what a call costs in each of the pools."""
        self.charges[weights] = charges = tuple(map(Charge, self.pools, weights))
        return charges


class PreparedCall(Generic[T]):
    """One call with everything that can fail before weight is spent, and how often it was tried."""

    __slots__ = (
        "attempt",
        "bound",
        "charges",
        "headers",
        "is_requeued",
        "query",
        "session",
        "started",
        "synchronised",
    )

    def __init__(
        self, bound: BoundEndpoint[T], session: Session, headers: Headers, query: str, charges: tuple[Charge, ...]
    ) -> None:
        self.bound: Final = bound
        self.session: Final = session
        self.headers: Final = headers
        self.query: Final = query
        """The query without timestamp and signature, which each attempt adds."""
        self.charges: Final = charges
        self.started: Final = session.budget.monotonic()
        self.attempt: int = 0
        """How many attempts have failed."""
        self.is_requeued: bool = False
        """Whether the next attempt waits at the head of the queue."""
        self.synchronised: bool = False
        """Whether the clock was synchronised for this call."""


async def signature_of(sign: Signer, query: str, info: CallInfo, session: Session) -> str:
    """Return the signature of a query, quoted for the query.

    Raises:
        ConfigurationError: the caller's signer failed.
        ConnectError, SessionClosed: signing took too long, or the session was closed.
    """
    try:
        signature = sign(query.encode())
        if not isinstance(signature, str):
            signature = await session.bounded(info, signature, seconds=session.timeouts.total)
        # An HMAC signature is hexadecimal and needs no quoting.
        return signature if signature.isascii() and signature.isalnum() else quote(signature, safe="")
    except PortfolioMarginError:
        raise
    except Exception as error:
        # A caller's signer may raise or return anything, and local variables are secret, also in this frame.
        signature = ""
        clear_locals(error)
        raise ConfigurationError(info, f"the signer failed with {type(error).__name__}") from error


def outcome_of(
    call: PreparedCall[T], response: HttpResponse | SendFailed, refusal: PortfolioMarginError | None
) -> T | PortfolioMarginError:
    """Return the decoded response, or the error that an attempt ended in.

    Args:
        call: the call that was attempted.
        response: the response, or why there is none.
        refusal: the error that the response was classified as.
    """
    if isinstance(response, SendFailed):
        return _failed(call, response)
    info = call.bound.info
    _log.debug("%s [%s]: HTTP %d, %d bytes", info.endpoint, info.label, response.status, len(response.body or b""))
    if refusal is not None:
        return refusal
    assert response.body is not None, "a response that is too long is no success"  # noqa: S101
    try:
        return call.bound.endpoint.decode(response.body)
    except ValueError as error:
        invalid = unreadable(info, response, str(error))
        invalid.__cause__ = error
        return invalid


def _failed(call: PreparedCall[Any], failure: SendFailed) -> PortfolioMarginError:
    info, is_closed = call.bound.info, call.session.is_closed
    reason = CLOSED if is_closed else failure.reason
    if isinstance(failure, NotConnected) and not is_closed:
        reason += call.bound.hint
    if failure.sent:
        error = NoResponse(info, reason)
    else:
        error = SessionClosed(info, reason) if is_closed else ConnectError(info, reason)
    error.__cause__ = failure
    return error


def observe_time(told: ServerTime, reservation: Reservation, session: Session) -> None:
    """Narrow the clock of the origin whose time endpoint has responded."""
    asked = reservation.sent_at
    if asked is not None and told.server_time in _PLAUSIBLE_TIMES:
        seconds = told.server_time / 1000
        session.budget.observe_time(reservation.origin, seconds, seconds + 0.001, asked=asked)
