"""The client of one account: every endpoint, and the one `call()` that all of them go through."""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self, TypeVar, Unpack, cast

import msgspec

from binance_pm.api import FundsApi, ListenKeyApi
from binance_pm.api.account import AccountApi
from binance_pm.api.connectivity import ConnectivityApi
from binance_pm.arguments import checked
from binance_pm.attempt_event import attempt_event
from binance_pm.base_client import BaseClient, JournalTarget
from binance_pm.budget import LimitType, Priority
from binance_pm.call import (
    LARGE_BODY,
    PreparedCall,
    check_names,
    headers_of,
    observe_time,
    outcome_in_steps,
    outcome_of,
    query_of,
    request_of,
    synchronise,
    with_client_id,
)
from binance_pm.classify import classify
from binance_pm.client_ids import ClientIds
from binance_pm.declaration import LazyNamespace
from binance_pm.endpoint import Endpoint, Security, undeclared_endpoint
from binance_pm.environment import BASE_URL, environment_keys, environment_stream_url, environment_urls
from binance_pm.errors import (
    CallInfo,
    ConfigurationError,
    GateClosed,
    InvalidResponse,
    PortfolioMarginError,
    Repeat,
)
from binance_pm.hosts import PAPI_URL, SAPI_URL
from binance_pm.retry import next_attempt
from binance_pm.session import Session
from binance_pm.settings import CallSettings, Identity, Urls
from binance_pm.signing import Credential
from binance_pm.transport.http import HttpRequest, HttpResponse, Method, SendFailed
from binance_pm.wire import Time, Value

if TYPE_CHECKING:
    from binance_pm.api.cm import Cm
    from binance_pm.api.margin import Margin
    from binance_pm.api.um import Um
    from binance_pm.downloads import DownloadedFile, DownloadKind, DownloadOptions
    from binance_pm.resolution import WriteOutcome
    from binance_pm.stream.live import LiveAccount
    from binance_pm.stream.parts import PartChoice
    from binance_pm.stream.policy import StreamSettings
    from binance_pm.stream.pro import ProClient
    from binance_pm.stream.stream import EventStream

_log = logging.getLogger(__name__)

T = TypeVar("T")


class Client(BaseClient, ConnectivityApi, AccountApi, FundsApi, ListenKeyApi):
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
        resolve: whether an unknown outcome of an order is resolved before the call raises; see `resolve`.
        client_order_id_prefix: begins the client order ids that the client creates; up to 10 letters, digits, ``-``
            and ``_``. No broker id is added unless it is given here.
        account_id: any text that names the account, if clients with other keys of the same account exist: to the
            budget, clients with the same text are one account.
        journal: the file in which every write is noted before it is sent, and its outcome afterwards; or a function
            that is called with these lines, and that stops a write by raising. See `read_journal`.
        papi_url: URL of Portfolio Margin (``/papi``).
        sapi_url: URL of Portfolio Margin Pro (``/sapi``).
        stream_url: URL of the user data streams; by default the exchange's, or the host of `papi_url` if that is not
            the exchange's.
        allow_custom_host: accept URLs of hosts other than the exchange's. Those hosts receive the key.
        jitter: a random number from 0 to 1, for the delay of a retry.

    Raises:
        ConfigurationError: an argument cannot be used; the text says why, without showing a secret.
    """

    um: ClassVar[LazyNamespace[Um]] = LazyNamespace("binance_pm.api.um", "Um")
    """USD-M futures."""
    margin: ClassVar[LazyNamespace[Margin]] = LazyNamespace("binance_pm.api.margin", "Margin")
    """Cross margin."""
    pro: ClassVar[LazyNamespace[ProClient]] = LazyNamespace("binance_pm.stream.pro", "ProClient")
    """Portfolio Margin Pro."""
    cm: ClassVar[LazyNamespace[Cm]] = LazyNamespace("binance_pm.api.cm", "Cm")
    """COIN-M futures."""

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
        resolve: bool = False,
        client_order_id_prefix: str = "",
        account_id: str | None = None,
        journal: JournalTarget | None = None,
        papi_url: str = PAPI_URL,
        sapi_url: str = SAPI_URL,
        stream_url: str | None = None,
        allow_custom_host: bool = False,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        try:
            identity = Identity(api_key, api_secret, passphrase, label=label, account_id=account_id)
            urls = Urls(
                papi_url=papi_url, sapi_url=sapi_url, stream_url=stream_url, allow_custom_host=allow_custom_host
            )
            self._settings: CallSettings = CallSettings(
                max_wait=max_wait, resolve=resolve, attempts=attempts, recv_window=recv_window, jitter=jitter
            )
            self._client_ids: Final = ClientIds(client_order_id_prefix)
        except ValueError as error:
            raise ConfigurationError(CallInfo("Client", label), str(error)) from None
        super().__init__(identity, urls, session, journal)

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
        client = cls(**(read | urls | environment_stream_url(env) | options))
        client.note_source(BASE_URL, urls.keys() - options.keys())
        return client

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
            check_names(params)
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

    async def call(
        self,
        endpoint: Endpoint[T],
        parameters: Mapping[str, Value | None],
        *,
        check: bool = True,
        resolve: bool | None = None,
    ) -> T:
        """Call an endpoint: reserve weight, sign, send, settle, decode; repeat the call if that is safe.

        Args:
            endpoint: the endpoint.
            parameters: as the exchange names them, in the order in which they are sent.
            check: whether the arguments are checked by the rules that the endpoint declares.
            resolve: whether an unknown outcome of an order is resolved before the call raises; None for the client's
                setting.

        Raises:
            PortfolioMarginError: the call failed; the subclass says how.
        """
        if endpoint.client_id is not None:
            parameters = self.with_client_id(endpoint, parameters)
        call = self._prepare(endpoint, parameters, check=check)
        if self._journal is not None and endpoint.is_write:
            call.record = self._journal.record(call.bound.info, call.bound.origin)
        try:
            while True:
                outcome = await self._attempt(call)
                if not isinstance(outcome, PortfolioMarginError):
                    call.session.earn_retries(call.bound.origin)
                    if call.record is not None:
                        call.record.end(outcome)
                    return outcome
                await self._retry_or_raise(outcome, call)
        except PortfolioMarginError as error:
            if not endpoint.is_write:
                raise
            error.describe_write(call.sent_write(), may_be_done=call.may_be_done)
            call.note_end(error)
            if not (self._settings.resolve if resolve is None else resolve):
                raise
            from binance_pm.resolve import resolve_or_raise  # noqa: PLC0415 - most programs never lose a response

            return await resolve_or_raise(self.resolve, endpoint, error)
        except BaseException:
            call.note_cancelled()
            raise

    def with_client_id(
        self, endpoint: Endpoint[Any], parameters: Mapping[str, Value | None]
    ) -> Mapping[str, Value | None]:
        """Return the parameters of a placement or a change with a new client id, unless they have one."""
        return with_client_id(endpoint, parameters, self._client_ids)

    async def resolve(self, error: PortfolioMarginError, *, give_up_after: float = 120.0) -> WriteOutcome:
        """Find out whether the write that an error is about was executed, with the priority of orders.

        Queries that can show the write are made at once and then with growing pauses, at least until the exchange
        would have refused the request by its timestamp, and 10 s longer. Failed queries count for nothing. An open user
        data stream of the account is a second source: an event of an order proves that it was placed, and one of its
        end that it was cancelled or not. If the stream has been up all the time, 4 s are enough in place of 10 s.

        Args:
            error: raised by a method of this client.
            give_up_after: seconds after which the outcome is ``still_unknown`` if nothing has decided it.

        Raises:
            ConfigurationError: the error is not about a write, or not about a write of this account.
        """
        from binance_pm.resolve import find_out  # noqa: PLC0415 - most programs never lose a response
        from binance_pm.stream.order_events import attach_waiter, waiter_of  # noqa: PLC0415 - as above

        view = self.options(priority=Priority.ORDER, max_wait=min(self._settings.max_wait, give_up_after))
        with attach_waiter(self.session, self.key_id, waiter_of(error)) as events:
            outcome = await find_out(view, error, give_up_after=give_up_after, events=events)
        if self._journal is not None:
            self._journal.resolved(error, outcome)
        return outcome

    def stream(self, settings: StreamSettings | None = None) -> EventStream:
        """Return the user data stream of the account, to be opened with ``async with``.

        ::

            async with client.stream() as events:
                async for event in events:
                    match event:
                        case OrderTradeUpdate(order=order): ...
                        case StreamDown() | StreamGap(): ...

        Between two events, nothing is missing unless a `StreamGap` stands there. The stream needs the extra `stream`.

        Args:
            settings: intervals and limits; the defaults suit the exchange.

        Raises:
            ConfigurationError: the extra is missing, or the session cannot carry a stream.
        """
        from binance_pm.stream.stream import EventStream  # noqa: PLC0415 - needs an extra

        return EventStream(self, "pm", settings)

    def live_account(
        self,
        parts: Collection[PartChoice] | None = None,
        *,
        symbols: Collection[str] | None = None,
        verify_every: float = 300.0,
        settings: StreamSettings | None = None,
    ) -> LiveAccount:
        """Return the positions, balances, orders and risk figures of the account, which its stream keeps current.

        Open it with ``async with``::

            async with client.live_account({"um"}) as live:
                print(live.positions, live.balances, live.open_orders, live.is_current)

        Entering connects and reads every part. The stream needs the extra `stream`.

        Args:
            parts: what is kept; None for everything. ``um``, ``cm`` and ``margin`` are everything of a market together
                with ``risk``; single parts such as ``um.positions`` weigh less.
            symbols: the symbols whose orders are kept; None for all. Fewer than 40 symbols weigh less.
            verify_every: seconds between two repeated reads of a part; longer if many accounts share the session,
                because these reads use at most a tenth of the limit.
            settings: of the stream.

        Raises:
            ConfigurationError: an argument cannot be used, or the extra is missing.
        """
        from binance_pm.stream.live import LiveAccount  # noqa: PLC0415 - needs an extra
        from binance_pm.stream.stream import EventStream  # noqa: PLC0415 - as above

        return LiveAccount(
            self,
            lambda observe: EventStream(self, "pm", settings, observers=[observe], queued=False),
            parts=parts,
            symbols=symbols,
            verify_every=verify_every,
            jitter=self._settings.jitter,
        )

    async def download(
        self,
        kind: DownloadKind,
        start_time: Time | None,
        end_time: Time | None,
        to: str | os.PathLike[str],
        **options: Unpack[DownloadOptions],
    ) -> tuple[DownloadedFile, ...]:
        """Have files prepared and save them: `Um.download_trades` and its siblings call this, and say what it does."""
        from binance_pm.downloading import download  # noqa: PLC0415 - few programs download files

        return await download(self, kind, start_time, end_time, to, **options)

    @checked("Client.options")
    def options(
        self,
        *,
        max_wait: float | None = None,
        priority: Priority | None = None,
        attempts: int | None = None,
        recv_window: int | None = None,
        resolve: bool | None = None,
    ) -> Self:
        """Return a view of this client whose calls have other settings, such as ``client.options(max_wait=1)``.

        The view shares session, connections and budget with the client: it is open while the client is open, and
        closing one closes both.

        Raises:
            ConfigurationError: a value is out of range.
        """
        given: dict[str, Any] = {
            "max_wait": max_wait,
            "priority": priority,
            "attempts": attempts,
            "recv_window": recv_window,
            "resolve": resolve,
        }
        view = object.__new__(type(self))
        view.__dict__.update(self.__dict__)
        try:
            view._settings = msgspec.structs.replace(
                self._settings, **{name: one for name, one in given.items() if one is not None}
            )
        except ValueError as error:
            raise ConfigurationError(CallInfo("Client.options", self.label), str(error)) from None
        return view

    def _prepare(
        self, endpoint: Endpoint[T], parameters: Mapping[str, Value | None], *, check: bool
    ) -> PreparedCall[T]:
        """Do all that can fail before weight is spent."""
        bound = self._state.bound.get(endpoint) or self._bind(endpoint)
        session = self._state.session or self._opened(bound.info)
        headers = bound.headers or headers_of(bound, self._identity)
        recv_window = self._settings.recv_window
        is_plain = not parameters and recv_window is None and endpoint.check is None
        query = "" if is_plain else query_of(bound, parameters, recv_window=recv_window, check=check)
        weights = endpoint.weights_of(parameters)
        charges = bound.charges(weights)
        priority = endpoint.priority if self._settings.priority is None else self._settings.priority
        return PreparedCall(bound, session, headers, query, charges, priority, parameters, recv_window)

    async def _attempt(self, call: PreparedCall[T]) -> T | PortfolioMarginError:
        """Send the call once, as soon as it has weight and a slot. Return what the response says.

        `GateClosed` is returned if the gate closed after the call's turn had come, and raised if the wait is too long.
        """
        session, info = call.session, call.bound.info
        response: HttpResponse | SendFailed | None = None
        refusal: PortfolioMarginError | None = None
        transport = session.transport(info)
        reservation = call.reserve(self._settings.max_wait)
        try:
            if not session.take_slot(reservation):
                await session.wait_for_slot(reservation)
            try:
                made = request_of(call, self._identity, reservation)
                request = made if isinstance(made, HttpRequest) else await made
                try:
                    response = await transport.send(request, reservation.mark_sent)
                    refusal, feedback = classify(info, response, call.bound.endpoint.counts)
                    reservation.settle(feedback)
                except SendFailed as failure:
                    response = failure
                    if not failure.sent:
                        reservation.mark_unsent()
                except GateClosed as error:
                    refusal = error
            finally:
                session.free_slot(reservation)
        except PortfolioMarginError as error:
            if session.listeners:
                session.listeners.emit(attempt_event(reservation, response, error, session.budget.monotonic()))
            raise
        if response is None:
            return cast("GateClosed", refusal)
        ended = session.budget.monotonic()
        is_large = isinstance(response, HttpResponse) and len(response.body or b"") >= LARGE_BODY
        outcome = await outcome_in_steps(call, response, refusal) if is_large else outcome_of(call, response, refusal)
        if session.listeners:
            session.listeners.emit(attempt_event(reservation, response, outcome, ended))
        observe_time(outcome, reservation, session)
        if isinstance(outcome, InvalidResponse):
            # The response may belong to another call, and so may later data on its connection.
            transport.discard_idle_connections(request)
        return outcome

    async def _retry_or_raise(self, error: PortfolioMarginError, call: PreparedCall[Any]) -> None:
        """Return when the call may be attempted again, or raise the error that ended it."""
        session, origin = call.session, call.bound.origin
        now = session.budget.monotonic()
        retry = next_attempt(
            error,
            attempt=call.attempt + 1,
            # A closed session makes no further attempt.
            attempts=0 if session.is_closed else self._settings.attempts,
            may_synchronise=call.bound.is_signed and not call.synchronised,
            gate_opens_in=session.budget.gate(origin).wait(now),
            max_wait=self._settings.max_wait,
            elapsed=now - call.started,
            jitter=self._settings.jitter(),
        )
        if retry is None or (retry.delay and not session.spend_retry(origin)):
            raise error
        call.may_be_done |= error.outcome == "unknown"
        if retry.after_synchronising:
            call.synchronised = True
            await synchronise(call, self.server_time if call.bound.endpoint.family == "papi" else self.pro_server_time)
            return
        call.attempt += retry.counts
        call.is_requeued = retry.at_head
        if retry.delay:
            _log.info("%s It is tried again in %.2f s.", error, retry.delay)
            await session.bounded(call.bound.info, session.budget.sleep(retry.delay))
