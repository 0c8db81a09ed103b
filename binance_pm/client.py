"""The client of one account: every endpoint, and the one `call()` that all of them go through."""

from __future__ import annotations

import hashlib
import logging
import os
import random
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn, Self, TypeVar, cast

from binance_pm.api import FundsApi, ListenKeyApi
from binance_pm.api.account import AccountApi
from binance_pm.api.connectivity import ConnectivityApi, ServerTime
from binance_pm.arguments import checked
from binance_pm.attempt_event import attempt_event
from binance_pm.budget import LimitType, Priority, Reservation, pool_of
from binance_pm.call import BoundEndpoint, PreparedCall, observe_time, outcome_of, signature_of
from binance_pm.classify import classify
from binance_pm.declaration import LazyNamespace
from binance_pm.endpoint import Endpoint, Security, undeclared_endpoint
from binance_pm.environment import BASE_URL, environment_keys, environment_urls
from binance_pm.errors import (
    CallInfo,
    ConfigurationError,
    GateClosed,
    InvalidResponse,
    PortfolioMarginError,
    Repeat,
    SessionClosed,
)
from binance_pm.hosts import PAPI_URL, SAPI_URL, check_url, counted_url
from binance_pm.retry import next_attempt
from binance_pm.session import Session, shared_session
from binance_pm.signing import Credential, Secret, Signer, check_key, signer
from binance_pm.transport.http import Headers, HttpRequest, HttpResponse, Method, SendFailed
from binance_pm.version import VERSION
from binance_pm.wire import Value, encode_query

if TYPE_CHECKING:
    from binance_pm.api.margin import Margin
    from binance_pm.api.pro import Pro
    from binance_pm.api.um import Um

_log = logging.getLogger(__name__)

T = TypeVar("T")

_ADDED: Final = {"timestamp", "signature"}
_LONGEST_RECV_WINDOW: Final = 60_000
# What the transports accept, minus path, timestamp, signature and headers.
_LONGEST_QUERY: Final = 60_000
_USER_AGENT: Final = f"binance-pm/{VERSION}"


class Client(ConnectivityApi, AccountApi, FundsApi, ListenKeyApi):
    """One account of the exchange: open it with ``async with``, or with `open` and `aclose`.

    Args:
        api_key: the key as the exchange shows it; None for endpoints that need no key.
        api_secret: the HMAC secret; or an Ed25519 or RSA private key, as PEM text or as the `pathlib.Path` of its
            file; or a function that signs.
        passphrase: decrypts an encrypted private key.
        label: names the account in errors and logs; by default a digest of the key.
        session: shares connections and budget; by default the session of the event loop.
        recv_window: milliseconds for which the exchange accepts a request, 5000 if None, at most 60000.
        max_wait: seconds that a call may wait for weight or a closed gate before it gives up.
        attempts: maximum number of attempts of a call that may be repeated: a read, or a write whose effect is the
            same the second time. Any other write is repeated only if it was refused for its timestamp.
        papi_url: URL of Portfolio Margin (``/papi``).
        sapi_url: URL of Portfolio Margin Pro (``/sapi``).
        allow_custom_host: accept URLs of hosts other than the exchange's. Those hosts receive the key.
        jitter: a random number from 0 to 1, for the delay of a retry.

    Raises:
        ConfigurationError: an argument cannot be used; the text says why, without showing a secret.
    """

    um: ClassVar[LazyNamespace[Um]] = LazyNamespace("binance_pm.api.um", "Um")
    """USD-M futures."""
    margin: ClassVar[LazyNamespace[Margin]] = LazyNamespace("binance_pm.api.margin", "Margin")
    """Cross margin."""
    pro: ClassVar[LazyNamespace[Pro]] = LazyNamespace("binance_pm.api.pro", "Pro")
    """Portfolio Margin Pro."""

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
            self._sign: Final = _checked_signer(api_secret, passphrase)
            if api_key is not None:
                check_key(api_key.encode(errors="surrogatepass"), "the API key")
            urls = {"papi": papi_url, "sapi": sapi_url}
            self._urls: Final = {
                name: _checked_url(f"{name}_url", url, allow_custom_host=allow_custom_host)
                for name, url in urls.items()
            }
            _check_recv_window(recv_window)
            _check_patience(max_wait, attempts)
        except ValueError as error:
            raise ConfigurationError(CallInfo("Client", label), str(error)) from None
        # To the exchange, two labels of one key are one account.
        self._key_id: Final = _fingerprint(api_key)
        self.label: Final = label or self._key_id
        self._api_key: Final = Secret(api_key or "")
        # Longer than the digest that is shown, so that no other key can be crafted to share these connections.
        self._connections: Final = hashlib.sha256(self._api_key.reveal()).hexdigest()
        self._recv_window: Final = recv_window
        self._max_wait: Final = max_wait
        self._attempts: Final = attempts
        self._jitter: Final = jitter
        self._given: Final = session
        self._session: Session | None = None
        self._closed: bool = False
        self._bound: Final[dict[Endpoint[Any], BoundEndpoint[Any]]] = {}
        self._hints: dict[str, str] = {}
        """By family, what an error adds about the source of the URL."""

    @classmethod
    @checked("Client.from_env")
    def from_env(cls, environment: Mapping[str, str] | None = None, **options: Any) -> Self:
        """Create a client with the keys of the environment.

        ``BINANCE_PM_API_KEY``, and ``BINANCE_PM_API_SECRET`` (HMAC) or ``BINANCE_PM_PRIVATE_KEY_FILE`` (PEM; with
        ``BINANCE_PM_PRIVATE_KEY_PASSPHRASE`` if it is encrypted). ``BINANCE_PM_BASE_URL`` replaces both hosts by one,
        such as the local exchange.

        Args:
            environment: read instead of `os.environ`.
            **options: as for `Client`; they take precedence over the environment. With ``api_key=None,
                api_secret=None`` no key is read, and only endpoints that need no key can be called.

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
        """Make errors name the environment variable that some of the URLs came from.

        Args:
            variable: name of the variable.
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
        """The session that the client is open on.

        Raises:
            SessionClosed: the client is not open.
        """
        return self._opened(CallInfo("Client", self.label))

    @property
    def key_id(self) -> str:
        """The account's name in the pools: a digest of the key, which shows no part of the key."""
        return self._key_id

    def origin(self, endpoint: Endpoint[Any]) -> str:
        """Return the origin under which the budget counts calls of the endpoint."""
        return self._bind(endpoint).origin

    async def open(self) -> Self:
        """Open the client on this event loop; ``async with`` does the same, and closes the client at the end.

        Raises:
            SessionClosed: the client is open or was closed, or its session is open on another event loop.
            ConfigurationError: the client's session cannot be opened with its arguments.
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
        """Close the client, and the connections if no other client needs them; closing a closed client does nothing.

        Raises:
            SessionClosed: the client is open on another event loop that has not ended, and stays open.
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
            method: GET is a read unless `repeat` says otherwise; any other method counts as a write.
            path: such as ``/papi/v1/balance``.
            weight: weight of one call, as the exchange documents it: a number counted by IP, or a mapping from limit
                types to numbers.
            returns: the type to decode the response into, such as a Struct, or ``dict[str, Any]``.
            params: parameters as the exchange names them; recvWindow, timestamp and signature are added.
            security: the security type of the endpoint, as the exchange documents it.
            priority: priority in the queue for weight; by default POLL for GET, and ORDER for all other methods.
            repeat: whether the request may be sent again if its response is lost. By default only a GET may.
                ``"same_effect"`` for a write that may be repeated, such as a cancel or a listen key. ``"never"`` for a
                GET that uses up a quota, such as a download id: such a GET counts as a write.

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

    async def call(self, endpoint: Endpoint[T], parameters: Mapping[str, Value | None], *, check: bool = True) -> T:
        """Call an endpoint: reserve weight, sign, send, settle, decode; repeat the call if that is safe.

        Args:
            endpoint: the endpoint.
            parameters: as the exchange names them, in the order in which they are sent.
            check: whether the arguments are checked by the rules that the endpoint declares.

        Raises:
            PortfolioMarginError: the call failed; the subclass says how.
        """
        call = self._prepare(endpoint, parameters, check=check)
        while True:
            outcome = await self._attempt(call)
            if not isinstance(outcome, PortfolioMarginError):
                call.session.earn_retries(call.bound.origin)
                return outcome
            await self._retry_or_raise(outcome, call)

    def _prepare(
        self, endpoint: Endpoint[T], parameters: Mapping[str, Value | None], *, check: bool
    ) -> PreparedCall[T]:
        """Do all that can fail before weight is spent."""
        bound = self._bound.get(endpoint) or self._bind(endpoint)
        session = self._session or self._opened(bound.info)
        headers = bound.headers or self._headers(bound)
        is_plain = not parameters and self._recv_window is None and endpoint.check is None
        query = "" if is_plain else self._query(bound, parameters, check=check)
        weights = endpoint.weights_of(parameters)
        return PreparedCall(bound, session, headers, query, bound.charges.get(weights) or bound.charge(weights))

    async def _attempt(self, call: PreparedCall[T]) -> T | PortfolioMarginError:
        """Send the call once, as soon as it has weight and a slot. Return what the response says.

        `GateClosed` is returned if the gate closed after the call's turn had come, and raised if the wait is too long.
        """
        session, info = call.session, call.bound.info
        response: HttpResponse | SendFailed | None = None
        refusal: PortfolioMarginError | None = None
        transport = session.transport(info)
        reservation = session.budget.reserve(
            call.charges,
            call=info,
            priority=call.bound.endpoint.priority,
            max_wait=self._max_wait,
            returning=call.is_returning,
        )
        try:
            async with session.slot(reservation):
                request = await self._request(call, reservation)
                try:
                    response = await transport.send(request, reservation.mark_sent)
                    refusal, feedback = classify(info, response)
                    reservation.settle(feedback)
                except SendFailed as failure:
                    response = failure
                    if not failure.sent:
                        reservation.mark_unsent()
                except GateClosed as error:
                    return error
        except PortfolioMarginError as error:
            if session.listeners:
                session.listeners.emit(attempt_event(reservation, response, error, session.budget.monotonic()))
            raise
        ended = session.budget.monotonic()
        outcome = outcome_of(call, response, refusal)
        if session.listeners:
            session.listeners.emit(attempt_event(reservation, response, outcome, ended))
        if type(outcome) is ServerTime:
            observe_time(outcome, reservation, session)
        if isinstance(outcome, InvalidResponse):
            # The response may belong to another call, and so may later data on its connection.
            transport.distrust(request)
        return outcome

    async def _retry_or_raise(self, error: PortfolioMarginError, call: PreparedCall[Any]) -> None:
        """Return when the call may be attempted again, or raise the error that ended it."""
        session, origin = call.session, call.bound.origin
        now = session.budget.monotonic()
        retry = next_attempt(
            error,
            attempt=call.attempt + 1,
            # A closed session makes no further attempt.
            attempts=0 if session.is_closed else self._attempts,
            may_synchronise=call.bound.is_signed and not call.synchronised,
            gate_opens_in=session.budget.gate(origin).wait(now),
            max_wait=self._max_wait,
            elapsed=now - call.started,
            jitter=self._jitter(),
        )
        if retry is None or (retry.delay and not session.spend_retry(origin)):
            raise error
        if retry.after_synchronising:
            call.synchronised = True
            await self._synchronise(call)
            return
        call.attempt += retry.counts
        call.is_returning = retry.at_head
        if retry.delay:
            _log.info("%s It is tried again in %.2f s.", error, retry.delay)
            await session.bounded(call.bound.info, session.budget.sleep(retry.delay))

    async def _synchronise(self, call: PreparedCall[Any]) -> None:
        """Request the server time from the origin of a call. If that fails, rely on the `Date` of the refusal."""
        ask = self.server_time if call.bound.endpoint.family == "papi" else self.pro_server_time
        budget, origin = call.session.budget, call.bound.origin
        asked = budget.monotonic()
        why = f"{origin} told a time that is not plausible."
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

    def _query(self, bound: BoundEndpoint[Any], parameters: Mapping[str, Value | None], *, check: bool) -> str:
        """Return the query of a call, as far as it does not depend on the moment of sending."""
        if self._recv_window is not None and bound.is_signed and parameters.get("recvWindow") is None:
            parameters = {**parameters, "recvWindow": self._recv_window}
        try:
            endpoint = bound.endpoint
            if check and endpoint.check is not None:
                endpoint.check(endpoint.arguments(parameters))
            _check_recv_window(parameters.get("recvWindow"))
            return _checked_length(encode_query(parameters))
        except ValueError as error:
            raise ConfigurationError(bound.info, str(error)) from None

    def _headers(self, bound: BoundEndpoint[Any]) -> Headers:
        """Return the headers of every call of an endpoint; fail if a key that the endpoint needs is missing."""
        if bound.is_signed and self._sign is None:
            raise ConfigurationError(bound.info, "no API secret was given", advice=_NO_KEY)
        key = {"x-mbx-apikey": self._key(bound.info)} if bound.endpoint.sends_key else {}
        bound.headers = headers = Headers({"user-agent": _USER_AGENT, "accept-encoding": "identity"} | key)
        return headers

    async def _request(self, call: PreparedCall[Any], reservation: Reservation) -> HttpRequest:
        """Return the request as it will be sent: the signed bytes are the bytes sent."""
        endpoint, query = call.bound.endpoint, call.query
        if self._sign is not None and call.bound.is_signed:
            query += f"{'&' if query else ''}timestamp={reservation.clock.milliseconds()}"
            query += f"&signature={await signature_of(self._sign, query, call.bound.info, call.session)}"
        target = f"{endpoint.path}?{query}" if query else endpoint.path
        return HttpRequest(endpoint.method, call.bound.url, target, call.headers, self._connections)

    def _key(self, call: CallInfo) -> str:
        key = self._api_key.reveal().decode()
        if not key:
            raise ConfigurationError(call, "no API key was given", advice=_NO_KEY)
        return key

    def _opened(self, call: CallInfo) -> Session:
        if self._session is None:
            raise SessionClosed(call, f"the client {'was closed' if self._closed else 'is not open'}")
        return self._session

    def _bind(self, endpoint: Endpoint[T]) -> BoundEndpoint[T]:
        if bound := self._bound.get(endpoint):
            return bound
        family = "papi" if endpoint.family == "papi" else "sapi"
        url = self._urls[family]
        origin = counted_url(url)
        label, key_id = (self.label, self._key_id) if endpoint.sends_key else ("", "")
        info = CallInfo(endpoint.name, label, key_id, endpoint.is_write, endpoint.repeat)
        pools = [
            pool_of(endpoint.family, kind, origin=origin, path=endpoint.path, key_id=self._key_id)
            for kind in endpoint.weights
        ]
        bound = BoundEndpoint(endpoint, info, url, origin, tuple(pools))
        bound.hint = self._hints.get(family, "")
        # Callers may create any number of undeclared endpoints, so these are not kept.
        if endpoint.is_declared:
            self._bound[endpoint] = bound
        return bound


_NO_KEY: Final = (
    "Give key and secret to Client, or set BINANCE_PM_API_KEY and BINANCE_PM_API_SECRET for Client.from_env()."
)


def _checked_signer(api_secret: Credential | None, passphrase: str | bytes | None) -> Signer | None:
    if api_secret is not None:
        return signer(api_secret, passphrase=passphrase)
    if passphrase:
        raise ValueError("a passphrase was given without a private key")
    return None


def _checked_url(name: str, url: str, *, allow_custom_host: bool) -> str:
    try:
        return check_url(url, allow_custom_host=allow_custom_host)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _check_patience(max_wait: float, attempts: int) -> None:
    if not (max_wait >= 0 and attempts >= 1):
        raise ValueError(f"max_wait is {max_wait!r} and attempts {attempts!r}: give at least 0 seconds and 1 attempt")


def _check_names(parameters: object) -> None:
    if not isinstance(parameters, Mapping):
        raise ValueError(f"params is {type(parameters).__name__}: give a mapping of names to values")
    names = set(cast("Mapping[object, object]", parameters))
    if odd := [name for name in names if not isinstance(name, str)]:
        raise ValueError(f"the name of a parameter is {type(odd[0]).__name__}: give str")
    if added := _ADDED & names:
        raise ValueError(f"{' and '.join(sorted(added))} cannot be given: the client adds them to every request")


def _checked_length(query: str) -> str:
    if len(query) > _LONGEST_QUERY:
        raise ValueError(f"the parameters are {len(query):,} characters as a query: {_LONGEST_QUERY:,} fit")
    return query


def _check_recv_window(value: object) -> None:
    if value is not None and not (type(value) is int and 0 < value <= _LONGEST_RECV_WINDOW):
        raise ValueError(f"recv_window is {value!r}: the exchange allows 1 to {_LONGEST_RECV_WINDOW} ms")


def _fingerprint(api_key: str | None) -> str:
    """Return a digest that distinguishes accounts in errors and logs without showing any part of the key."""
    return hashlib.sha256(api_key.encode()).hexdigest()[:8] if api_key else "no key"
