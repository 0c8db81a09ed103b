"""What one egress IP shares: connections, budget, retry allowance."""

from __future__ import annotations

import logging
import ssl
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from typing import Final, Self
from urllib.parse import urlsplit

import anyio
import anyio.lowlevel
import msgspec

from binance_pm.budget import Budget, Lane, process_budget
from binance_pm.errors import Call, ConfigurationError, PortfolioMarginError, SessionClosed
from binance_pm.retry import RetryAllowance
from binance_pm.signing import Secret
from binance_pm.transport import MAX_CONNECTIONS, Timeouts, Transport
from binance_pm.transport.httpx import HttpxLike, HttpxTransport

_log = logging.getLogger(__name__)

_CALL: Final = Call("Session")
_FOR_ORDERS: Final = 20
_MAX_BODY: Final = 16 * 2**20
_CLOSING_SECONDS: Final = 0.8


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


class Session:
    """Connections, budget and server clock of one egress IP, for any number of clients.

    Clients that are given no session share one for each event loop, and the budget of the process. Open one
    explicitly to choose a proxy, timeouts, or an httpx client of your own::

        async with Session(timeouts=Timeouts(total=5)) as session, Client(key, secret, session=session) as client:
            ...

    It opens with the first who enters it, be it a client, and closes for good with the last who leaves.

    Args:
        http: an `httpx.AsyncClient` or `httpx.AsyncBaseTransport` to send through; it stays yours to close.
        proxy: URL of an HTTP or SOCKS proxy. Another way out is another IP: it has a budget of its own.
        trust_env: whether the environment may name proxies and certificates.
        tls: settings for https.
        timeouts: how long one request may take.
        max_body: bytes of an answer that are accepted.
        budget: what the IP may spend; None for the one that the process shares.

    Raises:
        ConfigurationError: the arguments contradict each other.
    """

    def __init__(
        self,
        *,
        http: HttpxLike | None = None,
        proxy: str | None = None,
        trust_env: bool = False,
        tls: ssl.SSLContext | None = None,
        timeouts: Timeouts | None = None,
        max_body: int = _MAX_BODY,
        budget: Budget | None = None,
    ) -> None:
        if http is not None and (proxy is not None or trust_env or tls is not None):
            raise ConfigurationError(_CALL, "http was given together with proxy, trust_env or tls: set them on it")
        egress = _egress(proxy)
        self.budget: Final = budget or process_budget(egress)
        self.timeouts: Final = timeouts or Timeouts()
        self._http: Final = http
        self._proxy: Final = Secret(proxy) if proxy is not None else None
        self._trust_env: Final = trust_env
        self._tls: Final = tls
        self._max_body: Final = max_body
        self._transport: Transport | None = None
        self._holders: int = 0
        self._closed: bool = False
        self._places: Final = anyio.Semaphore(MAX_CONNECTIONS - _FOR_ORDERS, fast_acquire=True)
        self._scopes: Final[set[anyio.CancelScope]] = set()
        self._allowances: Final[dict[str, RetryAllowance]] = {}
        self._listeners: Final[list[Callable[[Attempted], None]]] = []

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open" if self._transport else "not open"
        return f"Session({state}, {len(self._scopes)} calls, {self.budget!r})"

    @property
    def is_closed(self) -> bool:
        """Whether it was closed; it cannot be opened again."""
        return self._closed

    async def __aenter__(self) -> Self:
        if self._closed:
            raise SessionClosed(_CALL, "the session was closed")
        if self._transport is None:
            self._transport = self._open()
        self._holders += 1
        return self

    async def __aexit__(self, *_: object) -> None:
        self._holders -= 1
        if self._holders == 0:
            await self.aclose()

    async def aclose(self) -> None:
        """Close for everybody, within a second: calls under way end in `SessionClosed` or `NoAnswer`."""
        if self._closed:
            return
        self._closed = True
        for scope in self._scopes:
            scope.cancel()
        if self._transport is not None:
            # Closing must not be cut short by the cancellation that led to it.
            with anyio.move_on_after(_CLOSING_SECONDS, shield=True):
                await self._transport.aclose()

    def listen(self, listener: Callable[[Attempted], None]) -> None:
        """Have a function called with every `Attempted`, such as one that measures durations.

        It is called in the middle of a call and must be quick. What it raises is logged.
        """
        self._listeners.append(listener)

    @property
    def is_heard(self) -> bool:
        """Whether anybody listens."""
        return bool(self._listeners)

    def tell(self, attempted: Attempted) -> None:
        """Call whoever listens."""
        for listener in self._listeners:
            try:
                listener(attempted)
            except Exception:  # noqa: BLE001 - whatever it is, it is the listener's
                # Whoever called would take it for a failure of the call.
                _log.exception("A listener of the session failed.")

    def transport(self, call: Call) -> Transport:
        """What carries the requests.

        Raises:
            SessionClosed: the session is not open.
        """
        if self._transport is None or self._closed:
            raise SessionClosed(call, "the session was closed" if self._closed else "the session is not open")
        return self._transport

    def allowance(self, host: str) -> RetryAllowance:
        """The retries that one host has left."""
        return self._allowances.setdefault(host, RetryAllowance())

    @asynccontextmanager
    async def connection(self, scope: anyio.CancelScope, lane: Lane) -> AsyncGenerator[None, None]:
        """A place among the requests under way; from then on the total timeout runs.

        There are fewer places than connections, so that an order finds one free. Without any bound httpcore searches
        its whole queue at each step of each request.
        """
        async with nullcontext() if lane is Lane.ORDERS else self._places:
            scope.deadline = anyio.current_time() + self.timeouts.total
            yield

    @contextmanager
    def attempt(self) -> Generator[anyio.CancelScope, None, None]:
        """A scope for one attempt of a call, cancelled when the session closes."""
        with anyio.CancelScope() as scope:
            self._scopes.add(scope)
            try:
                yield scope
            finally:
                self._scopes.discard(scope)

    def _open(self) -> Transport:
        proxy = self._proxy.reveal().decode() if self._proxy else None
        try:
            return HttpxTransport(
                self._http,
                timeouts=self.timeouts,
                max_body=self._max_body,
                proxy=proxy,
                trust_env=self._trust_env,
                tls=self._tls,
            )
        except (ValueError, ImportError) as error:
            # Their texts may quote the proxy's URL, password included.
            raise ConfigurationError(_CALL, f"the proxy cannot be used ({type(error).__name__})") from None


_shared: Final = anyio.lowlevel.RunVar["Session | None"]("binance_pm.session", None)


def shared_session() -> Session:
    """The session that clients of this event loop share; a new one where the last was closed."""
    session = _shared.get()
    if session is None or session.is_closed:
        session = Session()
        _shared.set(session)
    return session


def _egress(proxy: str | None) -> str:
    """Host and port of the proxy: the password is nobody's key."""
    if proxy is None:
        return ""
    try:
        parts = urlsplit(proxy)
        return f"{parts.hostname}:{parts.port}"
    except ValueError:
        raise ConfigurationError(_CALL, "the proxy is not a URL") from None
