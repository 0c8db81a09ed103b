"""The facade: one account, every endpoint, and the one `call()` that all of them go through."""

from __future__ import annotations

import hashlib
import logging
import os
import random
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn, Self, TypeVar, cast
from urllib.parse import quote

from binance_pm.api.account import AccountApi
from binance_pm.api.connectivity import ConnectivityApi, ServerTime
from binance_pm.api.pro_account import ProAccountApi
from binance_pm.api.um_account import UmAccountApi
from binance_pm.arguments import checked
from binance_pm.attempt_event import attempt_event
from binance_pm.budget import Charge, LimitType, Pool, Priority, Reservation, pool_of
from binance_pm.classify import classify, unreadable
from binance_pm.declaration import LazyNamespace
from binance_pm.endpoint import Endpoint, Security, undeclared_endpoint
from binance_pm.environment import BASE_URL, environment_keys, environment_urls
from binance_pm.errors import (
    CallInfo,
    ClockSkewError,
    ConfigurationError,
    ConnectError,
    GateClosed,
    InvalidResponse,
    IpBanned,
    NoResponse,
    PortfolioMarginError,
    Repeat,
    SessionClosed,
    closes_gate,
)
from binance_pm.hosts import PAPI_URL, SAPI_URL, check_url, counted_url
from binance_pm.retry import retry_delay
from binance_pm.session import CLOSED, Session, shared_session
from binance_pm.signing import Credential, Secret, Signer, check_key, clear_locals, signer
from binance_pm.transport.http import Headers, HttpRequest, HttpResponse, Method, NotConnected, SendFailed, Transport
from binance_pm.version import VERSION
from binance_pm.wire import Value, encode_query

if TYPE_CHECKING:
    from binance_pm.api.um import Um

_log = logging.getLogger(__name__)

T = TypeVar("T")

_ADDED: Final = {"timestamp", "signature"}
_LONGEST_RECV_WINDOW: Final = 60_000
# What the transports carry, less path, timestamp, signature and headers.
_LONGEST_QUERY: Final = 60_000
_USER_AGENT: Final = f"binance-pm/{VERSION}"
# Milliseconds since the epoch, of the years 2020 to 2099.
_PLAUSIBLE_TIMES: Final = range(1_577_836_800_000, 4_102_444_800_000)


class _PreparedCall:
    """What every call of one endpoint for one account has in common."""

    __slots__ = ("call", "charges", "headers", "hint", "is_signed", "origin", "pools", "url")

    def __init__(self, call: CallInfo, url: str, origin: str, pools: tuple[Pool, ...], *, is_signed: bool) -> None:
        self.call: Final = call
        self.url: Final = url
        """Where it is sent."""
        self.origin: Final = origin
        """Where it is counted: the budget's name for the host."""
        self.pools: Final = pools
        """What counts it."""
        self.charges: Final[dict[tuple[int, ...], tuple[Charge, ...]]] = {}
        """By weights, what a call costs: those of most endpoints are always the same."""
        self.is_signed: Final = is_signed
        self.headers: Headers | None = None
        """None until the first call has found the keys that it needs."""
        self.hint: str = ""
        """What an error says of how the place was chosen."""

    def charge(self, weights: tuple[int, ...]) -> tuple[Charge, ...]:
        """Return what a call costs in each of the pools."""
        self.charges[weights] = charges = tuple(map(Charge, self.pools, weights))
        return charges


class Client(ConnectivityApi, AccountApi, UmAccountApi, ProAccountApi):
    """One account of the exchange: open it with ``async with``, or with `open` and `aclose`.

    Args:
        api_key: the key as the exchange shows it; None for endpoints that need none.
        api_secret: the HMAC secret; or an Ed25519 or RSA private key, as PEM text or as the `pathlib.Path` of its
            file; or a function that signs.
        passphrase: opens an encrypted private key.
        label: names the account in errors and logs; by default a digest of the key.
        session: what to share connections and budget with; by default the event loop's.
        recv_window: milliseconds for which the exchange accepts a request, 5000 if None, at most 60000.
        max_wait: seconds that a call may wait for weight or a closed gate before it gives up.
        attempts: how often a call is tried in all that may be repeated: a read, and a write whose effect is the same
            the second time. Any other write is repeated only if it was refused for its timestamp.
        papi_url: where Portfolio Margin (``/papi``) is.
        sapi_url: where Portfolio Margin Pro (``/sapi``) is.
        allow_custom_host: accept URLs of hosts that are not the exchange's: they are sent the key.
        jitter: a random number from 0 to 1, for the delay of a retry.

    Raises:
        ConfigurationError: an argument cannot be used; the text says why, without showing a secret.
    """

    um: ClassVar[LazyNamespace[Um]] = LazyNamespace("binance_pm.api.um", "Um")
    """USD-M futures."""

    @checked("Client")
    def __init__(
        self,
        api_key: str | None = None,
        api_secret: Credential | None = None,
        *,
        passphrase: str | bytes | None = None,
        label: str = "",
        session: Session | None = None,
        recv_window: int | None = None,
        max_wait: float = 60.0,
        attempts: int = 3,
        papi_url: str = PAPI_URL,
        sapi_url: str = SAPI_URL,
        allow_custom_host: bool = False,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        try:
            if passphrase and api_secret is None:
                raise ValueError("a passphrase was given without a private key")  # noqa: TRY301 - told as the others are
            self._sign: Final[Signer | None] = None if api_secret is None else signer(api_secret, passphrase=passphrase)
            if api_key is not None:
                check_key(api_key.encode(errors="surrogatepass"), "the API key")
            self._urls: Final = {
                name.removesuffix("_url"): _checked_url(name, url, allow_custom_host=allow_custom_host)
                for name, url in (("papi_url", papi_url), ("sapi_url", sapi_url))
            }
            _check_recv_window(recv_window)
            _check_patience(max_wait, attempts)
        except ValueError as error:
            raise ConfigurationError(CallInfo("Client", label), str(error)) from None
        # Two labels of one key are one account to the exchange.
        self._key_id: Final = _fingerprint(api_key)
        self.label: Final = label or self._key_id
        self._api_key: Final = Secret(api_key or "")
        # Longer than the digest that is shown: nobody can find another key that is given this one's connections.
        self._connections: Final = hashlib.sha256(self._api_key.reveal()).hexdigest()
        self._recv_window: Final = recv_window
        self._max_wait: Final = max_wait
        self._attempts: Final = attempts
        self._jitter: Final = jitter
        self._given: Final = session
        self._session: Session | None = None
        self._closed: bool = False
        self._routes: Final[dict[Endpoint[Any], _PreparedCall]] = {}
        self._hints: dict[str, str] = {}
        """By family, what an error says of how its place was chosen."""

    @classmethod
    @checked("Client.from_env")
    def from_env(cls, environment: Mapping[str, str] | None = None, **options: Any) -> Self:
        """A client with the keys of the environment.

        ``BINANCE_PM_API_KEY``, and ``BINANCE_PM_API_SECRET`` (HMAC) or ``BINANCE_PM_PRIVATE_KEY_FILE`` (PEM; with
        ``BINANCE_PM_PRIVATE_KEY_PASSPHRASE`` where it is encrypted). ``BINANCE_PM_BASE_URL`` points both hosts to
        one place, such as the local exchange.

        Args:
            environment: read instead of `os.environ`.
            **options: as for `Client`; they win over the environment. With ``api_key=None, api_secret=None`` it reads
                no key, and calls what needs none.

        Raises:
            ConfigurationError: a variable is missing, or two exclude each other; the text names them.
        """
        env = os.environ if environment is None else environment
        read = environment_keys(env, given=options)
        urls = environment_urls(env)
        client = cls(**(read | urls | options))
        client.note_source(BASE_URL, urls.keys() - options.keys())
        return client

    def note_source(self, variable: str, arguments: Iterable[str]) -> None:
        """Have errors name the variable of the environment that some of the URLs came from.

        Args:
            variable: its name.
            arguments: ``papi_url``, ``sapi_url``, or both.
        """
        for name in arguments:
            self._hints[name.removesuffix("_url")] = f" ({variable} is set)"

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open" if self._session else "not open"
        return f"Client({self.label}, {state})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a client holds a key: it can be neither copied nor pickled")

    @property
    def session(self) -> Session:
        """The session that it is open on.

        Raises:
            SessionClosed: it is not open.
        """
        return self._opened(CallInfo("Client", self.label))

    @property
    def key_id(self) -> str:
        """What pools call the account: a digest of its key, which shows no part of it."""
        return self._key_id

    def origin(self, endpoint: Endpoint[Any]) -> str:
        """Where calls of the endpoint are counted: the budget's name for the host."""
        return self._prepare(endpoint).origin

    async def open(self) -> Self:
        """Open it on this event loop; ``async with`` does the same, and closes it at the end.

        Raises:
            SessionClosed: it is open or was closed, or its session is open on another event loop.
            ConfigurationError: its session cannot be opened as it was made.
        """
        if self._session is not None or self._closed:
            raise SessionClosed(
                CallInfo("Client", self.label), f"the client {'was closed' if self._closed else 'is open'}"
            )
        session = self._given or shared_session()
        session.attach_client()
        self._session = session
        return self

    async def aclose(self) -> None:
        """Close it, and with it the connections, if no other client needs them; closing what is closed does nothing.

        Raises:
            SessionClosed: it is open on another event loop that has not ended: it stays open.
        """
        if self._session is not None:
            self._session.check_place(CallInfo("Client", self.label))
        session, self._session, self._closed = self._session, None, True
        if session is not None:
            await session.detach_client()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def request(
        self,
        method: Method,
        path: str,
        *,
        weight: int | Mapping[LimitType, int],
        returns: type[T],
        params: Mapping[str, Value | None] | None = None,
        security: Security = "USER_DATA",
        priority: Priority | None = None,
        repeat: Repeat | None = None,
    ) -> T:
        """Call an endpoint that is not declared here, with the same budget, signature and errors.

        Args:
            method: GET is a read unless `repeat` says otherwise; anything else counts as a write.
            path: such as ``/papi/v1/balance``.
            weight: what one call costs, as the exchange documents it: a number counted by IP, or a mapping of types of
                limit to numbers.
            returns: the type to decode the answer into, such as a Struct, or ``dict[str, Any]``.
            params: as the exchange names them; recvWindow, timestamp and signature are added.
            security: what the exchange asks for.
            priority: its priority in the queue for weight; by default POLL for GET, and ORDER for the rest.
            repeat: whether it may be sent again if its answer is lost. By default GET is, and nothing else.
                ``"same_effect"`` for a write that may be, such as a cancel or a listen key. ``"never"`` for a GET that
                uses up a quota, such as a download id: it counts as a write then, so that an error says whether it may
                have taken effect.

        Raises:
            ConfigurationError: an argument cannot be used; the text says which and why.
        """
        params = params or {}
        try:
            _check_names(params)
            endpoint = undeclared_endpoint(
                method,
                path,
                weights=weight,
                security=security,
                priority=priority,
                repeat=repeat,
                returns=returns,
            )
        except ValueError as error:
            raise ConfigurationError(CallInfo("request", self.label), str(error)) from None
        return await self.call(endpoint, params)

    async def call(self, endpoint: Endpoint[T], parameters: Mapping[str, Value | None]) -> T:
        """The way of every request: reserve weight, sign, send, settle, decode; and again where that is safe.

        Args:
            endpoint: what is called.
            parameters: as the exchange names them, in the order in which they are sent.

        Raises:
            PortfolioMarginError: one of its kinds, whatever goes wrong.
        """
        route = self._routes.get(endpoint) or self._prepare(endpoint)
        session = self._session or self._opened(route.call)
        headers = route.headers or self._headers(endpoint, route)
        query = self._query(endpoint, route, parameters)
        weights = endpoint.weights_of(parameters)
        charges = route.charges.get(weights) or route.charge(weights)
        trial = _RetryState(session.budget.monotonic())
        while True:
            answer: HttpResponse | SendFailed | None = None
            refusal: PortfolioMarginError | None = None
            transport = session.transport(route.call)
            reservation = session.budget.reserve(
                charges,
                call=route.call,
                priority=endpoint.priority,
                max_wait=self._max_wait,
                returning=trial.is_returning,
            )
            try:
                async with session.slot(reservation):
                    request = await self._request(endpoint, route, query, headers, session, reservation)
                    try:
                        answer = await transport.send(request, reservation.mark_sent)
                        refusal, limit = classify(route.call, answer)
                        reservation.settle(answer, limit)
                    except SendFailed as failure:
                        answer = failure
                        if not failure.sent:
                            reservation.mark_unsent()
                    except GateClosed:
                        # Somebody was refused after this call's turn had come: it goes back to the head of the queue.
                        trial.is_returning = True
                        continue
            except PortfolioMarginError as error:
                if session.has_listeners:
                    session.emit(attempt_event(reservation, answer, error, session.budget.monotonic()))
                raise
            ended = session.budget.monotonic()
            outcome = _outcome(endpoint, route, answer, refusal, session)
            if session.has_listeners:
                session.emit(attempt_event(reservation, answer, outcome, ended))
            if not isinstance(outcome, PortfolioMarginError):
                session.earn_retries(route.origin)
                if type(outcome) is ServerTime:
                    _observe_time(outcome, reservation, session)
                return outcome
            _distrust(outcome, transport, request)
            await self._recover(outcome, trial, endpoint, session)

    async def _recover(
        self, error: PortfolioMarginError, trial: _RetryState, endpoint: Endpoint[Any], session: Session
    ) -> None:
        """Return when the call may be made again, or raise what it ended in."""
        if isinstance(error, ClockSkewError) and error.code == -1021 and endpoint.is_signed and not trial.synchronised:
            # It was refused, so repeating it is safe even for an order.
            trial.synchronised = True
            await self._synchronise(endpoint, session)
            return
        trial.attempt += 1
        trial.is_returning = self._may_return(error, trial, endpoint, session)
        if trial.is_returning:
            return
        delay = retry_delay(
            error,
            attempt=trial.attempt,
            attempts=self._attempts,
            elapsed=session.budget.monotonic() - trial.started,
            jitter=self._jitter(),
        )
        if delay is None or session.is_closed or not session.spend_retry(self._prepare(endpoint).origin):
            raise error
        _log.info("%s It is tried again in %.2f s.", error, delay)
        await session.bounded(self._prepare(endpoint).call, session.budget.sleep(delay))

    def _may_return(
        self, error: PortfolioMarginError, trial: _RetryState, endpoint: Endpoint[Any], session: Session
    ) -> bool:
        """Whether a read that a limit refused waits at the head of the queue until the gate opens.

        A write does not, whatever may be repeated: what was worth doing before a refusal may not be after it.
        """
        if endpoint.is_write or not closes_gate(error) or isinstance(error, IpBanned) or session.is_closed:
            return False
        closed = session.budget.gate(self._prepare(endpoint).origin).wait(session.budget.monotonic())
        return trial.attempt < self._attempts and closed <= self._max_wait

    async def _synchronise(self, endpoint: Endpoint[Any], session: Session) -> None:
        """Ask the endpoint's host for its time. Where that fails, the refusal's `Date` has to do."""
        ask = self.server_time if endpoint.family == "papi" else self.pro_server_time
        host = self._prepare(endpoint).origin
        asked = session.budget.monotonic()
        why = f"The time that {host} tells cannot be."
        try:
            # What is far from everything known has to be told twice.
            for _ in range(2):
                await ask()
                if session.budget.clock(host).exact_at >= asked:
                    return
        except PortfolioMarginError as error:
            why = str(error)
        _log.warning("%s The clock is synchronised by the last answer's Date alone.", why)
        session.budget.clock(host).trust_date()

    def _query(self, endpoint: Endpoint[Any], route: _PreparedCall, parameters: Mapping[str, Value | None]) -> str:
        """Return the query of a call, as far as it does not depend on the moment of sending."""
        if self._recv_window is not None and route.is_signed and parameters.get("recvWindow") is None:
            parameters = {**parameters, "recvWindow": self._recv_window}
        if not parameters and endpoint.check is None:
            return ""
        try:
            if endpoint.check is not None:
                endpoint.check(endpoint.arguments(parameters))
            _check_recv_window(parameters.get("recvWindow"))
            return _checked_length(encode_query(parameters))
        except ValueError as error:
            raise ConfigurationError(route.call, str(error)) from None

    def _headers(self, endpoint: Endpoint[Any], route: _PreparedCall) -> Headers:
        """The headers of every call on the route, where the keys are there that it needs."""
        if route.is_signed and self._sign is None:
            raise ConfigurationError(route.call, "no API secret was given", advice=_NO_KEY)
        key = {"x-mbx-apikey": self._key(route.call)} if endpoint.sends_key else {}
        route.headers = headers = Headers({"user-agent": _USER_AGENT, "accept-encoding": "identity"} | key)
        return headers

    async def _request(
        self,
        endpoint: Endpoint[Any],
        route: _PreparedCall,
        query: str,
        headers: Headers,
        session: Session,
        reservation: Reservation,
    ) -> HttpRequest:
        """The request as it will leave: the bytes signed are the bytes sent."""
        if self._sign is not None and route.is_signed:
            query += f"{'&' if query else ''}timestamp={reservation.clock.milliseconds()}"
            query += f"&signature={await _signature(self._sign, query, route.call, session)}"
        target = f"{endpoint.path}?{query}" if query else endpoint.path
        return HttpRequest(endpoint.method, route.url, target, headers, self._connections)

    def _key(self, call: CallInfo) -> str:
        key = self._api_key.reveal().decode()
        if not key:
            raise ConfigurationError(call, "no API key was given", advice=_NO_KEY)
        return key

    def _opened(self, call: CallInfo) -> Session:
        if self._session is None:
            raise SessionClosed(call, f"the client {'was closed' if self._closed else 'is not open'}")
        return self._session

    def _prepare(self, endpoint: Endpoint[Any]) -> _PreparedCall:
        if route := self._routes.get(endpoint):
            return route
        url = self._urls["papi" if endpoint.family == "papi" else "sapi"]
        host = counted_url(url)
        label, key_id = (self.label, self._key_id) if endpoint.sends_key else ("", "")
        call = CallInfo(endpoint.name, label, key_id, endpoint.is_write, endpoint.repeat)
        pools = [
            pool_of(endpoint.family, kind, origin=host, path=endpoint.path, key_id=self._key_id)
            for kind in endpoint.weights
        ]
        route = _PreparedCall(call, url, host, tuple(pools), is_signed=endpoint.is_signed)
        route.hint = self._hints.get("papi" if endpoint.family == "papi" else "sapi", "")
        # Those made on the spot are as many as the caller likes.
        if endpoint.is_declared:
            self._routes[endpoint] = route
        return route


class _RetryState:
    """How often a call was tried, and since when."""

    __slots__ = ("attempt", "is_returning", "started", "synchronised")

    def __init__(self, started: float) -> None:
        self.started = started
        self.attempt = 0
        self.is_returning = False
        self.synchronised = False


async def _signature(sign: Signer, query: str, call: CallInfo, session: Session) -> str:
    """The signature as it stands in the query."""
    try:
        return await _signed(sign, query, call, session)
    except PortfolioMarginError:
        raise
    except Exception as error:
        # A signer of the caller's own may fail in any way of its own, and its local variables are secret.
        clear_locals(error)
        raise ConfigurationError(call, f"the signer failed with {type(error).__name__}") from error


async def _signed(sign: Signer, query: str, call: CallInfo, session: Session) -> str:
    signature = sign(query.encode())
    if not isinstance(signature, str):
        signature = await session.bounded(call, signature, seconds=session.timeouts.total)
    # The usual one is in hexadecimal, where nothing has to be quoted.
    return signature if signature.isascii() and signature.isalnum() else quote(signature, safe="")


def _distrust(error: PortfolioMarginError, transport: Transport, request: HttpRequest) -> None:
    """An answer that cannot be read may belong to another call, and so may whatever else comes on its connection."""
    if isinstance(error, InvalidResponse):
        transport.distrust(request)


def _outcome(
    endpoint: Endpoint[T],
    route: _PreparedCall,
    answer: HttpResponse | SendFailed,
    refusal: PortfolioMarginError | None,
    session: Session,
) -> T | PortfolioMarginError:
    """The decoded answer, or the error that the attempt ended in."""
    if isinstance(answer, SendFailed):
        return _failed(route, answer, session)
    call = route.call
    _log.debug("%s [%s]: HTTP %d, %d bytes", call.endpoint, call.label, answer.status, len(answer.body or b""))
    if refusal is not None:
        return refusal
    assert answer.body is not None, "an answer that is too long is no success"  # noqa: S101
    try:
        return endpoint.decode(answer.body)
    except ValueError as error:
        bad = unreadable(call, answer, str(error))
        bad.__cause__ = error
        return bad


def _observe_time(told: ServerTime, reservation: Reservation, session: Session) -> None:
    """Set the clock of the host whose time endpoint has answered."""
    asked = reservation.sent_at
    if asked is not None and told.server_time in _PLAUSIBLE_TIMES:
        seconds = told.server_time / 1000
        session.budget.observe_time(reservation.origin, seconds, seconds + 0.001, asked=asked)


def _failed(route: _PreparedCall, failure: SendFailed, session: Session) -> PortfolioMarginError:
    call, reason = route.call, CLOSED if session.is_closed else failure.reason
    if isinstance(failure, NotConnected) and not session.is_closed:
        reason += route.hint
    if failure.sent:
        error = NoResponse(call, reason)
    else:
        error = SessionClosed(call, reason) if session.is_closed else ConnectError(call, reason)
    error.__cause__ = failure
    return error


_NO_KEY: Final = "Give them to Client, or set BINANCE_PM_API_KEY and BINANCE_PM_API_SECRET for Client.from_env()."


def _checked_url(name: str, url: str, *, allow_custom_host: bool) -> str:
    try:
        return check_url(url, allow_custom_host=allow_custom_host)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _check_patience(max_wait: float, attempts: int) -> None:
    if not (max_wait >= 0 and attempts >= 1):
        raise ValueError(f"max_wait is {max_wait!r} and attempts {attempts!r}: at least 0 seconds, and 1")


def _check_names(parameters: object) -> None:
    if not isinstance(parameters, Mapping):
        raise ValueError(f"params is {type(parameters).__name__}: give a mapping of names to values")
    names = set(cast("Mapping[object, object]", parameters))
    if odd := [name for name in names if not isinstance(name, str)]:
        raise ValueError(f"the name of a parameter is {type(odd[0]).__name__}: give str")
    if added := _ADDED & names:
        raise ValueError(f"{' and '.join(sorted(added))} cannot be given: every request gets its own")


def _checked_length(query: str) -> str:
    if len(query) > _LONGEST_QUERY:
        raise ValueError(f"the parameters are {len(query):,} characters as a query: {_LONGEST_QUERY:,} fit")
    return query


def _check_recv_window(value: object) -> None:
    if value is not None and not (type(value) is int and 0 < value <= _LONGEST_RECV_WINDOW):
        raise ValueError(f"recv_window is {value!r}: the exchange allows 1 to {_LONGEST_RECV_WINDOW} ms")


def _fingerprint(api_key: str | None) -> str:
    """Tells accounts apart in errors and logs without showing any part of the key."""
    return hashlib.sha256(api_key.encode()).hexdigest()[:8] if api_key else "no key"
