"""One call of an endpoint for one account: what is known before it is sent, its signature, and how it ended."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast
from urllib.parse import quote

from binance_pm.api.connectivity import ServerTime
from binance_pm.budget import Charge, Pool, Priority, Reservation
from binance_pm.classify import unreadable
from binance_pm.client_ids import ClientIds
from binance_pm.endpoint import Endpoint
from binance_pm.errors import (
    CallInfo,
    ConfigurationError,
    ConnectError,
    InvalidResponse,
    NoResponse,
    NotSent,
    PortfolioMarginError,
    SentWrite,
    SessionClosed,
)
from binance_pm.session import CLOSED, Session
from binance_pm.settings import Identity, check_recv_window
from binance_pm.signing import clear_locals
from binance_pm.transport.http import Headers, HttpRequest, HttpResponse, NotConnected, SendFailed
from binance_pm.version import VERSION
from binance_pm.wire import LazyDecoder, Value, encode_query

if TYPE_CHECKING:
    from binance_pm.journal import WriteRecord

_log = logging.getLogger(__name__)

USER_AGENT: Final = f"binance-pm/{VERSION}"
_WINDOW: Final = 5_000
"""Milliseconds for which the exchange accepts a request that has no ``recvWindow``."""
# What the transports accept, minus path, timestamp, signature and headers.
_LONGEST_QUERY: Final = 60_000
LARGE_BODY: Final = 2**15
"""Bytes of a body that takes so long to decode that other tasks should run in the meantime."""
_ADDED: Final = {"timestamp", "signature"}
_NO_KEY: Final = (
    "Give key and secret to Client, or set BINANCE_PM_API_KEY and BINANCE_PM_API_SECRET for Client.from_env()."
)

T = TypeVar("T")

# Milliseconds since the epoch, of the years 2020 to 2099.
_PLAUSIBLE_TIMES: Final = range(1_577_836_800_000, 4_102_444_800_000)


class BoundEndpoint(Generic[T]):
    """An endpoint bound to one account: what all of its calls have in common."""

    __slots__ = ("_charges", "_weights", "endpoint", "headers", "hint", "info", "is_signed", "origin", "pools", "url")

    def __init__(self, endpoint: Endpoint[T], info: CallInfo, url: str, origin: str, pools: tuple[Pool, ...]) -> None:
        self.endpoint: Final = endpoint
        self.is_signed: Final = endpoint.is_signed
        self.info: Final = info
        self.url: Final = url
        """The origin that the requests are sent to."""
        self.origin: Final = origin
        """The origin that identifies the pools: the exchange's numbered hosts share one."""
        self.pools: Final = pools
        self._weights: tuple[int, ...] = ()
        self._charges: tuple[Charge, ...] = ()
        """The charges of the last call, whose weights are those of every call of most endpoints."""
        self.headers: Headers | None = None
        """None until the first call has found the keys that the endpoint needs."""
        self.hint: str = ""
        """What an error adds about how the URL was chosen."""

    def charges(self, weights: tuple[int, ...]) -> tuple[Charge, ...]:
        """Return what a call costs in each of the pools."""
        if weights != self._weights:
            self._weights, self._charges = weights, _charges(self.pools, weights)
        return self._charges


# One object for all accounts whose calls the exchange counts together.
@lru_cache(maxsize=256)
def _charges(pools: tuple[Pool, ...], weights: tuple[int, ...]) -> tuple[Charge, ...]:
    return tuple(map(Charge, pools, weights))


class PreparedCall(Generic[T]):
    """One call with everything that can fail before weight is spent, and how often it was tried."""

    __slots__ = (
        "attempt",
        "bound",
        "charges",
        "headers",
        "is_requeued",
        "may_be_done",
        "parameters",
        "priority",
        "query",
        "record",
        "recv_window",
        "reservation",
        "session",
        "started",
        "synchronised",
        "timestamp",
    )

    def __init__(
        self,
        bound: BoundEndpoint[T],
        session: Session,
        headers: Headers,
        query: str,
        charges: tuple[Charge, ...],
        priority: Priority,
        parameters: Mapping[str, Value | None],
        recv_window: int | None,
    ) -> None:
        self.bound: Final = bound
        self.session: Final = session
        self.headers: Final = headers
        self.query: Final = query
        """The query without timestamp and signature, which each attempt adds."""
        self.charges: Final = charges
        self.priority: Final = priority
        self.parameters: Final = parameters
        self.recv_window: Final = recv_window
        """Milliseconds for which the exchange accepts the request, unless a parameter says otherwise."""
        self.started: Final = session.budget.monotonic()
        self.attempt: int = 0
        """How many attempts have failed."""
        self.is_requeued: bool = False
        """Whether the next attempt waits at the head of the queue."""
        self.synchronised: bool = False
        """Whether the clock was synchronised for this call."""
        self.may_be_done: bool = False
        """Whether an earlier attempt may have been executed."""
        self.timestamp: int | None = None
        """The timestamp of the latest attempt, in milliseconds since the epoch."""
        self.reservation: Reservation | None = None
        """The weight of the latest attempt."""
        self.record: WriteRecord | None = None
        """The call in the journal; None for a read, and without a journal."""

    def reserve(self, max_wait: float) -> Reservation:
        """Return a reservation of the weight of an attempt, which waits for so many seconds at most."""
        self.reservation = self.session.budget.reserve(
            self.charges,
            call=self.bound.info,
            priority=self.priority,
            max_wait=max_wait,
            requeued=self.is_requeued,
        )
        return self.reservation

    def sent_write(self) -> SentWrite:
        """Return what is needed to find out whether the call was executed."""
        endpoint, info, parameters = self.bound.endpoint, self.bound.info, self.parameters
        name = endpoint.client_id or ""
        client_id = parameters.get(endpoint.wire_names[name]) if name else None
        window = next((one for one in (parameters.get("recvWindow"), self.recv_window) if type(one) is int), _WINDOW)
        expires_at = None if self.timestamp is None else self.timestamp + window
        client_id = None if client_id is None else str(client_id)
        journal_id = "" if self.record is None else self.record.id
        return SentWrite(parameters, client_id, name, info.key_id, self.timestamp, expires_at, journal_id)

    async def note_start(self, record: WriteRecord) -> None:
        """Write the attempt to the journal, before anything is sent.

        Raises:
            JournalError: the journal cannot be written.
            ConnectError, SessionClosed: writing took too long, or the session was closed.
        """
        # A disk may hang.
        started = record.start(self.sent_write())
        await self.session.bounded(self.bound.info, started, seconds=self.session.timeouts.total)

    def note_end(self, result: object) -> None:
        """Write the response, or the error that the call raises, to the journal."""
        if self.record is not None:
            self.record.end(result)

    def note_cancelled(self) -> None:
        """Log a write that was sent and whose response is no longer awaited, so that no order is forgotten.

        The level is DEBUG if the write may be sent twice and nothing has to be found out: a stream that is closed while
        it asks for its listen key is no reason to warn.
        """
        is_sent = self.may_be_done or (self.reservation is not None and self.reservation.is_sent)
        if not (self.bound.info.write and is_sent):
            self.note_end(NotSent(self.bound.info, "cancelled before it was sent"))
            return
        error = NoResponse(self.bound.info, "cancelled before a response arrived")
        self.note_end(error)
        error.describe_write(self.sent_write())
        endpoint = self.bound.endpoint
        is_harmless = endpoint.repeat == "same_effect" and endpoint.resolve is None
        _log.log(logging.DEBUG if is_harmless else logging.WARNING, "%s", error)


def with_client_id(
    endpoint: Endpoint[Any], parameters: Mapping[str, Value | None], client_ids: ClientIds
) -> Mapping[str, Value | None]:
    """Return the parameters with a client id: a placement without one could not be found after a lost response."""
    name = endpoint.wire_names[endpoint.client_id or ""]
    if parameters.get(name) is not None:
        return parameters
    return {**parameters, name: client_ids.number() if _takes_number(endpoint) else client_ids.new()}


# Comparing the types takes longer than everything else that creates an id. There are few such endpoints.
@lru_cache(maxsize=256)
def _takes_number(endpoint: Endpoint[Any]) -> bool:
    return endpoint.parameters[endpoint.client_id or ""].annotation == (int | None)


def check_names(parameters: object) -> None:
    """Refuse names of parameters that the client adds itself, or that are no names.

    Raises:
        ValueError: with the reason.
    """
    if not isinstance(parameters, Mapping):
        raise ValueError(f"params is {type(parameters).__name__}: give a mapping of names to values")
    names = set(cast("Mapping[object, object]", parameters))
    if odd := [name for name in names if not isinstance(name, str)]:
        raise ValueError(f"the name of a parameter is {type(odd[0]).__name__}: give str")
    if added := _ADDED & names:
        raise ValueError(f"{' and '.join(sorted(added))} cannot be given: the client adds them to every request")


def query_of(
    bound: BoundEndpoint[Any], parameters: Mapping[str, Value | None], *, recv_window: int | None, check: bool
) -> str:
    """Return the query of a call, as far as it does not depend on the moment of sending.

    Raises:
        ConfigurationError: the parameters cannot be sent.
    """
    if recv_window is not None and bound.is_signed and parameters.get("recvWindow") is None:
        parameters = {**parameters, "recvWindow": recv_window}
    try:
        endpoint = bound.endpoint
        if check and endpoint.check is not None:
            endpoint.check(endpoint.arguments(parameters))
        check_recv_window(parameters.get("recvWindow"))
        return _checked_length(encode_query(parameters))
    except ValueError as error:
        raise ConfigurationError(bound.info, str(error)) from None


def headers_of(bound: BoundEndpoint[Any], identity: Identity) -> Headers:
    """Return the headers of every call of an endpoint.

    Raises:
        ConfigurationError: a key that the endpoint needs is missing.
    """
    if bound.is_signed and identity.sign is None:
        raise ConfigurationError(bound.info, "no API secret was given", advice=_NO_KEY)
    headers = {"user-agent": USER_AGENT, "accept-encoding": "identity"}
    if bound.endpoint.sends_key:
        headers["x-mbx-apikey"] = identity.key.reveal().decode()
        if not headers["x-mbx-apikey"]:
            raise ConfigurationError(bound.info, "no API key was given", advice=_NO_KEY)
    bound.headers = Headers(headers)
    return bound.headers


def request_of(
    call: PreparedCall[Any], identity: Identity, reservation: Reservation
) -> HttpRequest | Awaitable[HttpRequest]:
    """Return the request as it will be sent: the signed bytes are the bytes sent.

    The request has to be awaited if its signature has to be, or if the journal notes the call before it is sent.

    Raises:
        ConfigurationError: the caller's signer failed.
    """
    query, signature = call.query, ""
    if identity.sign is not None and call.bound.is_signed:
        call.timestamp = reservation.clock.milliseconds()
        query += f"{'&' if query else ''}timestamp={call.timestamp}"
        try:
            signature = identity.sign(query.encode())
            if isinstance(signature, str):
                query += _signature_parameter(signature)
        except PortfolioMarginError:
            raise
        except Exception as error:
            # A caller's signer may raise or return anything, and local variables are secret, also in this frame.
            signature = ""
            raise _signer_failed(call.bound.info, error) from error
    if isinstance(signature, str) and call.record is None:
        return _request(call, identity, query)
    return _request_later(call, identity, query, signature)


async def _request_later(
    call: PreparedCall[Any], identity: Identity, query: str, signature: str | Awaitable[str]
) -> HttpRequest:
    """Return the request after the wait for the signature and the journal.

    Raises:
        ConfigurationError: the caller's signer failed.
        JournalError: the journal cannot be written.
        ConnectError, SessionClosed: signing or writing took too long, or the session was closed.
    """
    session, info = call.session, call.bound.info
    if not isinstance(signature, str):
        try:
            signature = await session.bounded(info, signature, seconds=session.timeouts.total)
            query += _signature_parameter(signature)
        except PortfolioMarginError:
            raise
        except Exception as error:
            signature = ""
            raise _signer_failed(info, error) from error
    if call.record is not None:
        await call.note_start(call.record)
    return _request(call, identity, query)


def _request(call: PreparedCall[Any], identity: Identity, query: str) -> HttpRequest:
    endpoint = call.bound.endpoint
    target = f"{endpoint.path}?{query}" if query else endpoint.path
    return HttpRequest(endpoint.method, call.bound.url, target, call.headers, identity.connections)


def _signature_parameter(signature: str) -> str:
    # An HMAC signature is hexadecimal and needs no quoting.
    return f"&signature={signature if signature.isascii() and signature.isalnum() else quote(signature, safe='')}"


def _signer_failed(info: CallInfo, error: Exception) -> ConfigurationError:
    clear_locals(error)
    return ConfigurationError(info, f"the signer failed with {type(error).__name__}")


async def synchronise(call: PreparedCall[Any], ask: Callable[[], Awaitable[object]]) -> None:
    """Request the server time from the origin of a call. If that fails, rely on the `Date` of the refusal."""
    budget, origin = call.session.budget, call.bound.origin
    asked = budget.monotonic()
    why = f"{origin} returned an implausible time."
    try:
        # A time that is far from everything known has to be confirmed by a second response.
        for _ in range(2):
            await ask()
            if budget.clock(origin).exact_at >= asked:
                return
    except PortfolioMarginError as error:
        why = str(error)
    _log.warning("%s The clock is synchronised by the Date of the last response alone.", why)
    budget.clock(origin).trust_date()


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
    assert response.body is not None, "a response that is too long is no success"  # noqa: S101 - for the type checker
    try:
        return call.bound.endpoint.decode(response.body)
    except ValueError as error:
        return _invalid(info, response, error)


async def outcome_in_steps(
    call: PreparedCall[T], response: HttpResponse | SendFailed, refusal: PortfolioMarginError | None
) -> T | PortfolioMarginError:
    """Return the same as `outcome_of`, and let other tasks run between the steps of decoding."""
    decode = call.bound.endpoint.decode
    if isinstance(response, SendFailed) or refusal is not None or not isinstance(decode, LazyDecoder):
        return outcome_of(call, response, refusal)
    from anyio.lowlevel import checkpoint  # noqa: PLC0415 - importing this package must not load anyio

    assert response.body is not None, "a large body is one"  # noqa: S101 - for the type checker
    steps = cast("LazyDecoder[T]", decode).steps(response.body)
    try:
        while True:
            next(steps)
            await checkpoint()
    except StopIteration as end:
        return cast("T", end.value)
    except ValueError as error:
        return _invalid(call.bound.info, response, error)


def _invalid(info: CallInfo, response: HttpResponse, error: ValueError) -> InvalidResponse:
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


def observe_time(outcome: object, reservation: Reservation, session: Session) -> None:
    """Narrow the clock of the origin if its time endpoint has responded."""
    asked = reservation.sent_at
    if type(outcome) is ServerTime and asked is not None and outcome.server_time in _PLAUSIBLE_TIMES:
        seconds = outcome.server_time / 1000
        session.budget.observe_time(reservation.origin, seconds, seconds + 0.001, asked=asked)


def _checked_length(query: str) -> str:
    if len(query) > _LONGEST_QUERY:
        raise ValueError(f"the parameters are {len(query):,} characters as a query: {_LONGEST_QUERY:,} fit")
    return query


def advice_of(endpoint: Endpoint[Any]) -> str:
    """Return what an error advises if the outcome of a write is unknown."""
    if endpoint.resolve is None:
        return ""
    from binance_pm.resolution import advice_on  # noqa: PLC0415 - loaded with the first endpoint that declares it

    return advice_on(endpoint.resolve)
