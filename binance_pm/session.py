"""The resources shared by the clients of one egress IP: connections, budget and retry budgets."""

from __future__ import annotations

import math
import os
import ssl
from collections.abc import Awaitable, Callable, Iterable
from functools import cache
from typing import TYPE_CHECKING, Final, Self, TypeVar
from weakref import WeakSet

import anyio

from binance_pm.arguments import checked
from binance_pm.attempt_event import AttemptEvent
from binance_pm.budget import Budget, Priority, Reservation, process_budget
from binance_pm.egress import Engine, EngineChoice, checked_egress
from binance_pm.errors import CallInfo, ConnectError, SessionClosed
from binance_pm.listeners import Listeners
from binance_pm.retry import RetryBudget
from binance_pm.transport.affinity import CLOSE_THERE, ONE_EACH, Affinity, deadline_reader
from binance_pm.transport.http import MAX_BODY, Timeouts, Transport
from binance_pm.transport.mocks import replaced

if TYPE_CHECKING:
    from anyio.lowlevel import RunVar

    from binance_pm.transport.httpx import HttpxLike, HttpxTransport

T = TypeVar("T")

CLOSED: Final = "the session was closed before a response arrived"

_CALL: Final = CallInfo("Session")
# For requests in flight that are not orders; fewer than there are connections, so that an order finds one free.
_SLOTS: Final = 100
_CLOSING_SECONDS: Final = 0.8


class Session:
    """Connections, budget and server clock of one egress IP, for any number of clients.

    Clients without an explicit session share one per event loop, and the budget of the process. Open a session
    explicitly to choose a proxy, timeouts, or your own httpx client::

        async with Session(timeouts=Timeouts(total=5)) as session, Client(key, secret, session=session) as client:
            ...

    An explicit session is yours: its clients never close it. A session that you have not opened yourself stays open
    as long as a client is open on it. A session belongs to the event loop and the process in which it was opened.

    Args:
        http: an `httpx.AsyncClient` or `httpx.AsyncBaseTransport` to send through, which you close yourself.
        engine: the HTTP engine: ``"direct"`` is the faster one, and runs on asyncio and uvloop; ``"httpx"`` runs
            everywhere; ``"auto"`` is the direct engine on these event loops, if none of `http`, `proxy` and
            `trust_env` is given and httpx is not mocked, else the httpx engine. None for the environment variable
            ``BINANCE_PM_ENGINE``, or ``"auto"`` if the variable is not set.
        proxy: URL of an HTTP or SOCKS proxy, for https only. A proxy means another egress IP, with a budget of its
            own.
        local_address: the IP address of this machine to connect from. Another address means another egress IP, with a
            budget of its own; ``0.0.0.0`` means IPv4 only and ``::`` IPv6 only, both with the usual budget.
        trust_env: whether proxies and certificates may come from the environment.
        tls: TLS settings for https.
        pins: SHA-256 fingerprints of certificates in hexadecimal, with or without colons. A server that presents
            another certificate is sent nothing. Pins need the direct engine.
        timeouts: the time limits of one request; `math.inf` for no limit.
        max_body: the largest accepted response body, in bytes.
        budget: the budget of the egress IP; None for the one that the process shares.

    Raises:
        ConfigurationError: an argument cannot be used, or two contradict each other.
    """

    is_shared: bool = False
    """Whether the session has no owner: it closes with the last client."""
    in_flight: int = 0
    """How many requests have a slot, or need none."""

    @checked("Session")
    def __init__(
        self,
        *,
        http: HttpxLike | None = None,
        engine: EngineChoice | None = None,
        proxy: str | None = None,
        local_address: str | None = None,
        trust_env: bool = False,
        tls: ssl.SSLContext | None = None,
        pins: Iterable[str] = (),
        timeouts: Timeouts | None = None,
        max_body: int = MAX_BODY,
        budget: Budget | None = None,
    ) -> None:
        self.egress: Final = checked_egress(
            http,
            engine,
            proxy=proxy,
            local_address=local_address,
            trust_env=trust_env,
            tls=tls,
            pins=pins,
            timeouts=timeouts,
            max_body=max_body,
        )
        """How requests leave this machine."""
        self.budget: Final = budget or process_budget(self.egress.name())
        self.timeouts: Final = self.egress.settings.timeouts
        self.listeners: Final = Listeners[AttemptEvent]("session")
        self._engine: Engine | None = None
        self._transport: Transport | None = None
        self._mocked: Transport | None = None
        """The httpx engine for requests while httpx is mocked, on a session that was opened on the direct engine."""
        self._may_change: bool = False
        """Whether the engine was chosen automatically, so that another one may be used while httpx is mocked."""
        self._affinity: Affinity | None = None
        """The event loop and process of the open session; None if the session is not open."""
        self._holders: int = 0
        """How often the owner has opened the session."""
        self._clients: int = 0
        self._closed: str = ""
        """What happened to a closed session."""
        self._slots: Final = anyio.Semaphore(_SLOTS, fast_acquire=True)
        self._effective_deadline: Callable[[], float] = anyio.current_effective_deadline
        self._waits: Final[set[anyio.CancelScope]] = set()
        self._retry_budgets: Final[dict[str, RetryBudget]] = {}

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open" if self._transport else "not open"
        return f"Session({state}, {self.in_flight} calls, {self.budget!r})"

    @property
    def is_closed(self) -> bool:
        """Whether the session was closed; a closed session cannot be opened again."""
        return bool(self._closed)

    @property
    def engine(self) -> Engine | None:
        """The engine that sends the requests; None before the session was opened."""
        return self._engine

    async def open(self) -> Self:
        """Open the session here; ``async with`` does the same, and closes the session at the end.

        Raises:
            SessionClosed: the session was closed, or is open on another event loop.
            ConfigurationError: the engine or the proxy cannot be used.
        """
        self._open_here()
        self._holders += 1
        return self

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(self, *_: object) -> None:
        self.check_place(_CALL)
        self._holders -= 1
        if self._holders <= 0:
            await self.aclose()

    async def aclose(self) -> None:
        """Close the session for every client, within a second: calls in flight end in `SessionClosed` or `NoResponse`.

        Closing a closed session does nothing.

        Raises:
            SessionClosed: the session is open on another event loop that has not ended, and stays open.
        """
        self.check_place(_CALL)
        self._closed = self._closed or "closed"
        await self._disconnect()

    def check_place(self, call: CallInfo) -> None:
        """Check that the session can be closed from here.

        Raises:
            SessionClosed: the session is open on another event loop that has not ended.
        """
        affinity = self._affinity
        if affinity is not None and (mismatch := affinity.mismatch()) and not affinity.is_over():
            raise SessionClosed(call, f"the session was {mismatch}", advice=CLOSE_THERE)

    def attach_client(self) -> None:
        """Register a client that opens: the session stays open as long as it has clients.

        Raises:
            SessionClosed: as for `open`.
        """
        self._open_here()
        self._clients += 1

    async def detach_client(self) -> None:
        """Unregister a client that closes, and that has called `check_place`."""
        self._clients -= 1
        if self._clients or self._holders or self._closed:
            return
        self._closed = "closed" if self.is_shared else ""
        await self._disconnect()

    def abandon(self, why: str) -> None:
        """Close the session in a process other than the one that opened it, without notifying the exchange."""
        self._closed = why
        self._drop()

    def _not_open(self, call: CallInfo) -> SessionClosed:
        advice = ONE_EACH if self._closed not in {"", "closed"} else None
        return SessionClosed(
            call, f"the session {f'was {self._closed}' if self._closed else 'is not open'}", advice=advice
        )

    def _open_here(self) -> None:
        if self._closed:
            raise self._not_open(_CALL)
        if self._affinity is None:
            self._engine, self._may_change = self.egress.choose_engine()
            self._transport = self.egress.open(self._engine)
            self._affinity = Affinity()
            self._effective_deadline = deadline_reader()
            _open_sessions.add(self)
        elif mismatch := self._affinity.mismatch():
            raise SessionClosed(_CALL, f"the session was {mismatch}", advice=ONE_EACH)

    async def _disconnect(self) -> None:
        if self._affinity is None:
            return
        if self._affinity.mismatch():
            self._drop()
            return
        for scope in self._waits:
            scope.cancel()
        transports = self._take_transports()
        # The cancellation that led to closing must not cut the closing short.
        with anyio.move_on_after(_CLOSING_SECONDS, shield=True):
            for transport in transports:
                await transport.aclose()

    def _drop(self) -> None:
        self._waits.clear()
        for transport in self._take_transports():
            transport.abandon()

    def _take_transports(self) -> list[Transport]:
        transports = [transport for transport in (self._transport, self._mocked) if transport is not None]
        self._affinity = self._transport = self._mocked = None
        return transports

    def add_listener(self, listener: Callable[[AttemptEvent], None]) -> None:
        """Call a function with every `AttemptEvent`, for example to measure durations.

        The function is called in the middle of a call and must be quick. If the function raises, the error is logged.
        """
        self.listeners.append(listener)

    @property
    def free_slots(self) -> int:
        """How many more polls may be in flight now."""
        return self._slots.value

    def transport(self, call: CallInfo) -> Transport:
        """Return the transport that sends the requests.

        Raises:
            SessionClosed: the session is not open, or was opened elsewhere.
            ConfigurationError: httpx is mocked, and only the direct engine could carry the request.
        """
        if self._transport is None or self._affinity is None or self._closed:
            raise self._not_open(call)
        if mismatch := self._affinity.mismatch():
            raise SessionClosed(call, f"the session was {mismatch}", advice=ONE_EACH)
        if not (self._may_change and replaced()):
            return self._transport
        if self._mocked is None:
            self._mocked = self.egress.open_for_mocks(call)
        return self._mocked

    def open_for_files(self, call: CallInfo) -> HttpxTransport:
        """Return a transport for files that are not on the exchange's hosts; the caller closes the transport.

        Raises:
            SessionClosed: as for `transport`.
            ConfigurationError: the proxy or the certificates of the environment cannot be used.
        """
        self.transport(call)
        # Pins, if there are any, are not those of file servers.
        return self.egress.open_httpx()

    def earn_retries(self, origin: str) -> None:
        """Count a successful call to the origin."""
        if (retry_budget := self._retry_budgets.get(origin)) is not None:
            retry_budget.earn()

    def spend_retry(self, origin: str) -> bool:
        """Take one of the retries that the origin has left; return False if none is left."""
        retry_budget = self._retry_budgets.get(origin)
        if retry_budget is None:
            retry_budget = self._retry_budgets[origin] = RetryBudget()
        return retry_budget.spend()

    def take_slot(self, reservation: Reservation) -> bool:
        """Acquire the weight and a slot of an attempt, unless that needs waiting; return whether both were acquired.

        There are fewer slots than connections, and an order needs none, so that an order finds a free connection.
        """
        # A cancelled call must not take anything: waiting ends it.
        if self._effective_deadline() == -math.inf:
            return False
        if reservation.priority is Priority.ORDER:
            if not reservation.try_acquire():
                return False
        elif self._slots.value and reservation.try_acquire():
            self._slots.acquire_nowait()
        else:
            return False
        self.in_flight += 1
        return True

    async def wait_for_slot(self, reservation: Reservation) -> None:
        """Acquire the weight and a slot of an attempt as soon as both are free.

        Raises:
            BudgetExceeded, GateClosed: the wait for the weight is too long.
            SessionClosed: the session was closed.
        """
        from anyio.lowlevel import checkpoint_if_cancelled  # noqa: PLC0415 - importing this package must not load anyio

        await checkpoint_if_cancelled()
        await self.bounded(reservation.call, self._wait(reservation))
        self.in_flight += 1

    def free_slot(self, reservation: Reservation) -> None:
        """Give the slot of an attempt back, and settle its weight if no response has done so."""
        self.in_flight -= 1
        if reservation.priority is not Priority.ORDER:
            self._slots.release()
        if not reservation.is_settled:
            reservation.release()

    async def _wait(self, reservation: Reservation) -> None:
        await reservation.acquire()
        if reservation.priority is Priority.ORDER:
            return
        try:
            await self._slots.acquire()
        except BaseException:
            reservation.release()
            raise

    async def bounded(self, call: CallInfo, what: Awaitable[T], *, seconds: float = math.inf) -> T:
        """Await something before a request leaves.

        Args:
            call: names the call in an error.
            what: the awaitable, which ends early if the session closes.
            seconds: the time limit.

        Raises:
            SessionClosed: the session was closed.
            ConnectError: the time limit was exceeded.
        """
        with anyio.CancelScope(deadline=anyio.current_time() + seconds) as scope:
            self._waits.add(scope)
            try:
                return await what
            finally:
                self._waits.discard(scope)
        if self._closed or anyio.current_time() < scope.deadline:
            raise SessionClosed(call, CLOSED)
        raise ConnectError(call, f"it could not be sent within {seconds:g} s")


def __getattr__(name: str) -> object:
    # The types of arguments are looked up by name when they are checked.
    if name == "HttpxLike":
        from binance_pm.transport.httpx import HttpxLike  # noqa: PLC0415 - loading httpx takes long

        return HttpxLike
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@cache
def _shared() -> RunVar[Session | None]:
    from anyio.lowlevel import RunVar  # noqa: PLC0415 - loaded with the first event loop

    return RunVar("binance_pm.session", None)


def shared_session() -> Session:
    """Return the session that clients of this event loop share; a new one if the last was closed."""
    session = _shared().get()
    if session is None or session.is_closed:
        session = Session()
        session.is_shared = True
        _shared().set(session)
    return session


_open_sessions: Final[WeakSet[Session]] = WeakSet()


def _after_fork() -> None:
    """Abandon the parent's connections in a child process: their responses belong to the parent."""
    for session in list(_open_sessions):
        session.abandon("opened in another process")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
