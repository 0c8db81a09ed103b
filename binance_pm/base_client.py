"""What makes a client usable: its account, its session, its opening and closing, and endpoints bound to both."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn, Self, TypeVar

import anyio

from binance_pm.call import BoundEndpoint, advice_of
from binance_pm.endpoint import Endpoint
from binance_pm.errors import CallInfo, SessionClosed
from binance_pm.hosts import counted_url
from binance_pm.limits import pool_of
from binance_pm.session import Session, shared_session
from binance_pm.settings import Identity, Urls

if TYPE_CHECKING:
    from binance_pm.journal import Journal, JournalTarget
else:
    # The type as far as arguments are checked: most programs have no journal, and need not load its lines.
    JournalTarget = Path | str | Callable

T = TypeVar("T")


class BaseClient:
    """A client without its calls: see `binance_pm.Client`.

    Args:
        identity: the account.
        urls: the exchange.
        session: shares connections and budget; by default the session of the event loop.
        journal: the file or function that every write is noted in; None for no journal.
    """

    def __init__(
        self,
        identity: Identity,
        urls: Urls,
        session: Session | None,
        journal: JournalTarget | None,
    ) -> None:
        self._identity: Final = identity
        self._urls: Final = urls
        self.label: Final = identity.label
        """The account's name in errors, events and logs."""
        self._state: Final = _State(session)
        self._journal: Journal | None = None
        if journal is not None:
            from binance_pm.journal import Journal  # noqa: PLC0415 - most programs have no journal

            self._journal = Journal(journal)

    def __repr__(self) -> str:
        state = "closed" if self._state.is_closed else "open" if self._state.session else "not open"
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
        """The account's name in the pools: a digest of the key, or of ``account_id``, which shows no part of them."""
        return self._identity.key_id

    @property
    def stream_url(self) -> str:
        """Scheme, host and port of the user data streams."""
        return self._urls.stream

    def origin(self, endpoint: Endpoint[Any]) -> str:
        """Return the origin under which the budget counts calls of the endpoint."""
        return self._bind(endpoint).origin

    async def open(self) -> Self:
        """Open the client on this event loop; ``async with`` does the same, and closes the client at the end.

        Raises:
            SessionClosed: the client is open or was closed, or its session is open on another event loop.
            ConfigurationError: the client's session cannot be opened with its arguments.
            JournalError: the journal cannot be opened, or is open in another process.
        """
        state = self._state
        if state.session is not None or state.is_closed:
            raise SessionClosed(
                CallInfo("Client", self.label), f"the client {'was closed' if state.is_closed else 'is open'}"
            )
        session = state.given or shared_session()
        session.attach_client()
        if self._journal is not None:
            try:
                self._journal.open(CallInfo("Client", self.label))
            except BaseException:
                await session.detach_client()
                raise
        state.session = session
        return self

    async def aclose(self) -> None:
        """Close the client, and the connections if no other client needs them; closing a closed client does nothing.

        Raises:
            SessionClosed: the client is open on another event loop that has not ended, and stays open.
        """
        state = self._state
        if state.session is not None:
            state.session.check_place(CallInfo("Client", self.label))
        session, state.session, state.is_closed = state.session, None, True
        for scope in state.waits:
            scope.cancel()
        if session is not None:
            try:
                await session.detach_client()
            finally:
                if self._journal is not None:
                    self._journal.close()

    async def until_closed(self, call: CallInfo) -> NoReturn:
        """Wait until the client or its session is closed.

        Args:
            call: names the waiting call in the error.

        Raises:
            SessionClosed: the client or its session was closed.
        """
        state, session = self._state, self._opened(call)
        with anyio.CancelScope() as scope:
            state.waits.append(scope)
            try:
                await session.bounded(call, anyio.sleep_forever())
            except SessionClosed:
                if not state.is_closed:
                    raise SessionClosed(call, "the session was closed") from None
            finally:
                state.waits.remove(scope)
        raise SessionClosed(call, "the client was closed")

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def note_source(self, variable: str, arguments: Iterable[str]) -> None:
        """Make errors name the environment variable that some of the URLs came from.

        Args:
            variable: name of the variable.
            arguments: ``papi_url``, ``sapi_url``, or both.
        """
        self._urls.note_source(variable, arguments)

    def _opened(self, call: CallInfo) -> Session:
        if self._state.session is None:
            raise SessionClosed(call, f"the client {'was closed' if self._state.is_closed else 'is not open'}")
        return self._state.session

    def _bind(self, endpoint: Endpoint[T]) -> BoundEndpoint[T]:
        if bound := self._state.bound.get(endpoint):
            return bound
        url, hint = self._urls.of(endpoint.family)
        origin = counted_url(url)
        label, key_id = (self.label, self._identity.key_id) if endpoint.sends_key else ("", "")
        info = CallInfo(endpoint.name, label, key_id, endpoint.is_write, endpoint.repeat, advice_of(endpoint))
        pools = [
            pool_of(endpoint.family, kind, origin=origin, path=endpoint.path, key_id=self._identity.key_id)
            for kind in endpoint.weights
        ]
        bound = BoundEndpoint(endpoint, info, url, origin, tuple(pools))
        bound.hint = hint
        # Callers may create any number of undeclared endpoints, so these are not kept.
        if endpoint.is_declared:
            self._state.bound[endpoint] = bound
        return bound


class _State:
    """What a client shares with the views that `Client.options` returns."""

    __slots__ = ("bound", "given", "is_closed", "session", "waits")

    def __init__(self, given: Session | None) -> None:
        self.given: Final = given
        self.session: Session | None = None
        self.is_closed: bool = False
        self.waits: Final[list[anyio.CancelScope]] = []
        """Of tasks that end with the client."""
        self.bound: Final[dict[Endpoint[Any], BoundEndpoint[Any]]] = {}
