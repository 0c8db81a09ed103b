"""Keeps one stream up: its listen key, its connections, their rotation, and what is reported when events are lost.

What is guaranteed: everything that was pushed before `since` was received; `binance_pm.stream.policy` has the proofs.
While two connections overlap, the events of the new one are held until the old one has ended; then those that the old
one did not receive are passed on.

What is unknown: whether the exchange serves two connections of one listen key. `binance_pm.stream.overlap` looks for
the proof. Until it is found,

* the events of the old connection are held as well, because the order of the events of both is not known;
* a rotation reports a `StreamGap`;
* the stream is down if one of two connections breaks, because the exchange may have served only that one.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Final

import anyio
from anyio.abc import TaskGroup

from binance_pm.api.stream_events import ListenKeyExpired, PmProAccountUpdate, ServerShutdown, decode_event
from binance_pm.errors import PortfolioMarginError, SessionClosed
from binance_pm.stream.connection import HeldEvents, StreamConnection
from binance_pm.stream.identity import SeenEvents
from binance_pm.stream.items import AnyEvent, StreamCounts, StreamDown, StreamGap, StreamUp
from binance_pm.stream.listen_key import EXPIRED, PERMANENT, ActiveKey, KeyKeeper
from binance_pm.stream.overlap import Overlap
from binance_pm.stream.policy import Backoff, StreamSettings
from binance_pm.stream.shared import SessionStreams
from binance_pm.stream.socket import HandshakeCutOff
from binance_pm.stream.source import StreamSource
from binance_pm.stream.timing import Timing
from binance_pm.transport.http import NotConnected

_log = logging.getLogger(__name__)

OVERLAP_NOT_PROVEN: Final = "overlap not proven yet"
UNREADABLE: Final = "a message could not be read"


class Supervisor:
    """The task that keeps one stream up.

    Args:
        label: names the account in logs.
        source: what the stream needs of the exchange.
        shared: what all streams of the session share.
        emit: called with everything that the stream yields, in order and without waiting.
        settings: intervals and limits.
        timing: clock, sleep and random numbers.
    """

    def __init__(
        self,
        label: str,
        source: StreamSource,
        shared: SessionStreams,
        emit: Callable[[AnyEvent | StreamUp | StreamDown | StreamGap], None],
        settings: StreamSettings,
        timing: Timing,
    ) -> None:
        self._label: Final = label
        self._server: Final = (source.place, source.product)
        self._source: Final = source
        self._shared: Final = shared
        self._emit: Final = emit
        self._settings: Final = settings
        self._clock, self._sleep, self._jitter = timing
        self._tasks: TaskGroup | None = None
        self._keys: Final = KeyKeeper(label, source, shared, settings, timing, self._lose)
        self._current: StreamConnection | None = None
        """The connection whose events are passed on at once; None while the stream is down."""
        self._next: StreamConnection | None = None
        """The connection that will replace it."""
        self._is_handing_over: bool = False
        """Whether the current connection is being closed because the next one replaces it."""
        self._is_order_unknown: bool = False
        """Whether another connection may have been served and have ended before the current one was served again."""
        self._lost: anyio.Event = anyio.Event()
        self._rotation_due: anyio.Event = anyio.Event()
        self._backoff: Final = Backoff(settings.first_backoff, settings.longest_backoff)
        self.seen: Final = SeenEvents()
        self._since: float = math.inf
        """While the stream is down: everything that was pushed before this time was received."""
        self._reconnected_at: float = -math.inf
        """When the stream last reconnected at once."""
        self._down: StreamDown | None = None
        """What was reported last when the stream went down."""
        self._earliest: float = math.inf
        """The time from which on events are known to be missing; infinite if the proofs are relied on."""
        self._overlap: Overlap | None = None
        """The last overlap of two connections."""
        self._overlap_since: float = -math.inf
        """When the last rotation began, everything that was pushed before this time had been received."""
        self._final_error: PortfolioMarginError | None = None
        """Why the stream ends."""
        self.counts: Final = StreamCounts()

    @property
    def is_up(self) -> bool:
        """Whether the connection is open and its listen key was the active one when this was last checked."""
        return self._current is not None

    @property
    def proven_at(self) -> float:
        """The time on this machine's clock before which everything that was pushed was received."""
        return self._since if self._current is None else self._current.since

    def reconnect(self, why: str, since: float | None = None) -> None:
        """End the connection and open another one, for example because an event is known to be missing.

        Args:
            why: the reason, for the `StreamDown`.
            since: the time on this machine's clock before which nothing is missing; None to rely on the proofs.
        """
        if self._current is not None:
            self._earliest = math.inf if since is None else since
            self._lose(why)

    async def run(self, started: Callable[[], None]) -> None:
        """Keep the stream up until the task is cancelled.

        Args:
            started: called after the first attempt.

        Raises:
            PortfolioMarginError: the first attempt failed for a reason that no further attempt will cure, or the
                session was closed.
        """
        self._since = self._clock()
        async with anyio.create_task_group() as self._tasks:
            self._tasks.start_soon(self._shared.tick, self._clock, self._sleep)
            self._tasks.start_soon(self._end_with_client, self._tasks.cancel_scope)
            error = await self._connect()
            if isinstance(error, PERMANENT):
                self._final_error = self._final_error or error
                self._tasks.cancel_scope.cancel()
            else:
                if error is not None:
                    self._report_down(_words(error))
                started()
                await self._supervise()
        if self._final_error is not None:
            raise self._final_error

    async def _end_with_client(self, tasks: anyio.CancelScope) -> None:
        """End when the client or its session is closed."""
        try:
            await self._source.until_closed()
        except SessionClosed as error:
            if self._current is not None:
                self._lose(error.reason)
                await self._lost.wait()
            self._final_error = error
            tasks.cancel()

    async def _supervise(self) -> None:
        """Reconnect whenever the stream is down."""
        while True:
            while self._current is None:
                await self._sleep(self._backoff.pause(self._jitter()))
                error = await self._connect()
                if error is not None:
                    _log.info("[%s] The user data stream is still down: %s", self._label, _words(error))
            async with anyio.create_task_group() as watch:
                watch.start_soon(self._keys.confirm_regularly)
                watch.start_soon(self._rotate_regularly)
                if self._source.product == "pro":
                    watch.start_soon(self._keys.expect_updates)
                await self._lost.wait()
                watch.cancel_scope.cancel()

    async def _connect(self) -> PortfolioMarginError | NotConnected | str | None:
        """Connect once; return why that failed, or None if the stream is up."""
        self._backoff.failures += 1
        await self._shared.turn(self._clock, self._sleep)
        error = await self._keys.confirm()
        if (key := self._keys.usable(error)) is None:
            return error
        connection = self._new_connection(key)
        try:
            if failure := await self._open(connection):
                return failure
            # The pong proves that the exchange has set the stream up. What arrives on a connection that breaks before
            # its pong is dropped, because it lies within the gap that is reported later.
            if not await connection.ping():
                return connection.why or "the connection was closed at once"
            self._begin(connection)
        finally:
            if connection is not self._current:
                connection.abort("abandoned")
        return None

    def _new_connection(self, key: ActiveKey) -> StreamConnection:
        return StreamConnection(key, self._settings, self._shared, self._clock, self._receive, self._on_end)

    async def _open(self, connection: StreamConnection) -> NotConnected | None:
        assert self._tasks is not None, "run() has begun"  # noqa: S101 - for the type checker
        try:
            return await self._tasks.start(connection.run, self._source.connect(connection.key.secret))
        except NotConnected as error:
            return error

    def _begin(self, connection: StreamConnection) -> None:
        """Report that the stream is up, and pass on what has arrived."""
        self._current = connection
        self._lost = anyio.Event()
        self._renew_rotation()
        self._keys.note_update()
        if self._down is not None:
            self.counts.reconnects += 1
            self._report_gap(self._down.since, self._down.why)
            _log.info("[%s] The user data stream is up again.", self._label)
        else:
            self._emit(StreamUp(at=self._source.bounds(self._clock())[0]))
        self._release(connection)

    def _receive(self, connection: StreamConnection, message: bytes) -> None:
        """Handle one message; the reader of the connection calls this."""
        try:
            event = decode_event(message)
        except ValueError as error:
            _log.warning("[%s] A message of the user data stream could not be read: %s", self._label, error)
            since, until = self._source.bounds(connection.proof_before)[0], self._source.bounds(self._clock())[1]
            item = StreamGap(since=since, until=until, why=UNREADABLE, lost=1)
        else:
            item = event
            self._note(connection, event)
        if connection.held is None:
            self._pass_on(item)
        else:
            connection.held.hold(item)
            if self._overlap is not None:
                self._overlap.check(item)

    def _note(self, connection: StreamConnection, event: AnyEvent) -> None:
        """Draw conclusions from an event about the stream itself."""
        if isinstance(event, ListenKeyExpired):
            if self._keys.expire(connection.key, event.listen_key):
                connection.abort(EXPIRED)
        elif isinstance(event, ServerShutdown):
            connection.is_ending = True
            if connection is self._current:
                self._rotation_due.set()
        elif event.event_type:
            connection.key.proof.event(connection.frame_proof)
            if isinstance(event, PmProAccountUpdate):
                self._keys.note_update()

    def _pass_on(self, item: AnyEvent | StreamGap) -> None:
        if isinstance(item, StreamGap):
            self.counts.gaps += 1
            self.counts.lost += item.lost or 0
            self._emit(item)
        elif self.seen.is_new(item.identity):
            self._emit(item)

    def _release(self, connection: StreamConnection) -> None:
        """Pass on what was held."""
        held, connection.held = connection.held, None
        for item in held or ():
            self._pass_on(item)

    def _lose(self, why: str) -> None:
        """End the connections; the stream is down as soon as everything that has arrived was received."""
        for connection in (self._current, self._next):
            if connection is not None:
                connection.abort(why)

    def _on_end(self, connection: StreamConnection) -> None:
        """Handle the end of a connection, after the last message that had arrived."""
        current, coming = self._current, self._next
        if current is None or connection not in {current, coming}:
            return
        if connection is coming and not current.ended.is_set():
            self._is_order_unknown = not self._overlap_is_proven
        if self._is_handing_over:
            return
        if coming is None or (current.ended.is_set() and coming.ended.is_set()):
            self._go_down(current.why)
            return
        other = current if connection is coming else coming
        if other.why:
            # It is about to end.
            return
        if not self._overlap_is_proven:
            other.abort(connection.why)
        elif connection is current:
            self._promote()

    def _go_down(self, why: str) -> None:
        """Pass on what has arrived, and report that the stream is down."""
        old, new = self._current, self._next
        assert old is not None, "the stream is up"  # noqa: S101 - for the type checker
        since = min(self._earliest, old.since, math.inf if new is None else new.since)
        if self._is_order_unknown:
            # Whether the events of the old connection precede or follow those of the other one is not known: they are
            # dropped, and reported as lost.
            old.held = None
            since = min(since, self._overlap_since)
        self._release(old)
        if new is not None:
            if new.held and not self._is_gapless(old, new):
                self._report_gap(self._source.bounds(since)[0], why)
            self._release(new)
        self.seen.end_overlap()
        self._since, self._earliest = since, math.inf
        # A server that closes each connection at once must not be asked for another one at once each time.
        now = self._clock()
        if now - self._reconnected_at >= self._settings.ping_every:
            self._reconnected_at, self._backoff.failures = now, 0
        self._current = self._next = None
        self._is_handing_over = self._is_order_unknown = False
        self._report_down(why)
        self._lost.set()

    def _report_down(self, why: str) -> None:
        _log.warning("[%s] The user data stream is down: %s", self._label, why)
        self._down = StreamDown(since=self._source.bounds(self._since)[0], why=why)
        self._emit(self._down)

    def _report_gap(self, since: float, why: str) -> None:
        """Report a gap that begins at a time on the exchange's clock, and ends now."""
        self.counts.gaps += 1
        self._emit(StreamGap(since=since, until=self._source.bounds(self._clock())[1], why=why))

    def _renew_rotation(self) -> None:
        """Wait for the next reason to rotate; the connection may have arrived with one."""
        self._rotation_due = anyio.Event()
        if self._current and self._current.is_ending:
            self._rotation_due.set()

    async def _rotate_regularly(self) -> None:
        settings, again_at = self._settings, -math.inf
        backoff = Backoff(settings.first_backoff, settings.longest_backoff)
        while self._current is not None:
            age = settings.rotate_after - settings.rotate_jitter * self._jitter()
            pause = backoff.pause(self._jitter()) if backoff.failures else self._current.opened_at + age - self._clock()
            with anyio.move_on_after(max(0.0, pause)):
                await self._rotation_due.wait()
            if self._rotation_due.is_set():
                # A server that announces its shutdown on each connection must not be asked again and again.
                await self._sleep(max(pause if backoff.failures else 0.0, again_at - self._clock(), 0.0))
            is_done = await self._rotate()
            backoff.failures = 0 if is_done else backoff.failures + 1
            if is_done:
                again_at = self._clock() + settings.longest_backoff
                self._renew_rotation()
                self.counts.rotations += 1

    async def _rotate(self) -> bool:
        """Replace the connection without losing events; return whether that succeeded."""
        await self._shared.turn(self._clock, self._sleep)
        await self._keys.confirm()
        key, old = self._keys.key, self._current
        if key is None or old is None or not await old.ping():
            return False
        new = self._new_connection(key)
        self.seen.begin_overlap()
        try:
            if await self._open_next(old, new):
                await self._receive_on_both(old, new)
            return self._current is new
        finally:
            if new is not self._current and new is not self._next:
                new.abort("abandoned")
                self.seen.end_overlap()

    async def _open_next(self, old: StreamConnection, new: StreamConnection) -> bool:
        """Open the connection that will replace the old one; return whether that succeeded."""
        self._overlap_since = old.since
        if not self._overlap_is_proven:
            # The exchange may serve the new connection alone before it is known to be open.
            old.held, self._is_order_unknown = HeldEvents(), True
        failure = await self._open(new)
        if old.why:
            # The stream goes down, perhaps because the listen key of both is dead.
            await old.ended.wait()
            return False
        if failure is not None:
            _log.info("[%s] The rotation of the user data stream failed: %s", self._label, failure.reason)
            if isinstance(failure, HandshakeCutOff) and self._is_order_unknown:
                self._lose(failure.reason)
                await old.ended.wait()
            else:
                self._is_order_unknown = False
                self._release(old)
            return False
        self._next, self._is_order_unknown = new, False
        if new.ended.is_set():
            self._on_end(new)
        return True

    async def _receive_on_both(self, old: StreamConnection, new: StreamConnection) -> None:
        overlap = self._overlap = Overlap(old, new, self._prove_overlap)
        # The old connection is pinged when the new one is open. The pong proves that everything that was pushed before
        # the ping was received.
        if await new.ping() and await old.ping():
            await overlap.receive(self._sleep, self._settings.overlap)
        await overlap.settle()
        if self._current is old and not (old.why or new.why):
            await self._hand_over(old, new)
        elif self._current is old and new.ended.is_set() and await old.ping():
            # Only the new connection has failed. Both were served, and the old one has received everything: the events
            # held by the new one are duplicates, some of which the reader of the old one may not have read yet.
            self._next = None
            self._release(old)

    async def _hand_over(self, old: StreamConnection, new: StreamConnection) -> None:
        """Close the old connection and pass on the events of the new one."""
        self._is_handing_over = True
        await old.aclose("replaced by a new connection")
        # If the exchange serves only the older connection, it serves the new one from here on.
        if not (old.was_agreed or self._overlap_is_proven):
            new.abort("the old connection could not be closed")
        if await new.ping() and not new.ended.is_set():
            self._promote()
        else:
            await new.ended.wait()
            self._go_down(new.why)

    def _prove_overlap(self) -> None:
        self._shared.serves_both.add(self._server)
        if self._current is not None:
            self._release(self._current)

    @property
    def _overlap_is_proven(self) -> bool:
        """Whether the exchange is known to serve two connections of one listen key."""
        return self._server in self._shared.serves_both

    def _is_gapless(self, old: StreamConnection, new: StreamConnection) -> bool:
        """Return whether everything that was pushed before the new connection was open was received."""
        return self._overlap_is_proven and old.socket_proof >= new.opened_at

    def _promote(self) -> None:
        """Make the next connection the current one; report a gap unless none is possible."""
        old, new = self._current, self._next
        assert old is not None, "a rotation has an old connection"  # noqa: S101 - for the type checker
        assert new is not None, "a rotation has a new connection"  # noqa: S101 - for the type checker
        self._release(old)
        self._current, self._next = new, None
        self._is_handing_over = False
        if not self._is_gapless(old, new):
            why = old.why if self._overlap_is_proven else OVERLAP_NOT_PROVEN
            self._report_gap(self._source.bounds(min(old.since, new.since))[0], why)
        self._release(new)
        self.seen.end_overlap()


def _words(error: PortfolioMarginError | NotConnected | str) -> str:
    return error if isinstance(error, str) else error.reason
