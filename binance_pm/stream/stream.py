"""The stream that a program iterates over."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Final, Self

import anyio
from anyio.abc import TaskGroup, TaskStatus

from binance_pm.arguments import check, checked
from binance_pm.errors import CallInfo, ConfigurationError, SessionClosed
from binance_pm.stream.items import AnyEvent, StreamCounts, StreamDown, StreamGap, StreamItem, StreamUp
from binance_pm.stream.order_events import OrderRecorder, record_orders
from binance_pm.stream.policy import StreamSettings
from binance_pm.stream.queue import StreamQueue
from binance_pm.stream.shared import SessionStreams, StreamProduct, session_streams
from binance_pm.stream.source import StreamClient, call_info, source_of
from binance_pm.stream.supervisor import Supervisor
from binance_pm.stream.timing import Timing

_log = logging.getLogger(__name__)

Observer = Callable[[AnyEvent | StreamUp | StreamDown | StreamGap], None]
"""A function that receives everything at the moment at which it arrives. It must not wait."""


class EventStream:
    """The user data stream of an account: open it with ``async with``, and iterate over it with ``async for``.

    Entering makes the first attempt to connect. If that attempt fails and another one may succeed, the first item is a
    `StreamDown`. Leaving closes the connection; the listen key stays valid, because other programs of the account may
    use it.

    Args:
        client: the account.
        product: the product that the stream belongs to.
        settings: intervals and limits.
        observers: called one after the other with every event, `StreamUp`, `StreamDown` and `StreamGap`, before the
            item is queued; a slow consumer does not delay them.
        queued: whether items are kept for iteration from the start; otherwise from the first ``aiter`` on.
        timing: clock, sleep and random numbers; None for the clock of the session's budget.

    A stream can be entered only once; create another one to open the stream again.

    Raises:
        ConfigurationError: the settings are of another type.
        PortfolioMarginError: on entering, the first attempt failed for a reason that no further attempt will cure. On
            iterating, the session was closed.
    """

    def __init__(
        self,
        client: StreamClient,
        product: StreamProduct,
        settings: StreamSettings | None = None,
        *,
        observers: Iterable[Observer] = (),
        queued: bool = True,
        timing: Timing | None = None,
    ) -> None:
        try:
            check("settings", settings, StreamSettings | None)
        except ValueError as error:
            raise ConfigurationError(call_info(product, client.label), str(error)) from None
        self.label: Final = client.label
        self.product: Final[StreamProduct] = product
        self.settings: Final = settings or StreamSettings()
        self._client: Final = client
        self._observers: Final = list(observers)
        self._is_queued: bool = queued
        self._timing: Timing | None = timing
        self._shared: SessionStreams | None = None
        self._supervisor: Supervisor | None = None
        self._queue: StreamQueue | None = None
        self._tasks: TaskGroup | None = None
        self._recorder: OrderRecorder | None = None

    def __repr__(self) -> str:
        state = "not open" if not self.is_open else "up" if self.is_up else "down"
        return f"EventStream({self.label}, {self.product}, {state})"

    @property
    def is_open(self) -> bool:
        """Whether the stream was entered and not left."""
        return self._tasks is not None

    @property
    def is_up(self) -> bool:
        """Whether the connection is open and its listen key was the active one when this was last checked."""
        return self.is_open and self._opened().is_up

    @property
    def proven_at(self) -> float:
        """The time on the clock of the session's budget before which everything that was pushed was received."""
        return self._opened().proven_at

    @property
    def age(self) -> float:
        """Seconds since the stream was last proven to be up."""
        supervisor = self._opened()
        return self._now() - supervisor.proven_at

    @property
    def counts(self) -> StreamCounts:
        """What the stream has counted since it was opened."""
        return self._opened().counts

    @property
    def duplicates(self) -> int:
        """How many duplicates of events were dropped."""
        return self._opened().seen.duplicates

    @property
    def queued(self) -> int:
        """How many events wait for the consumer."""
        return 0 if self._queue is None else len(self._queue)

    @checked("EventStream.reconnect")
    def reconnect(self, why: str, since: float | None = None) -> None:
        """End the connection and open another one, for example because an event is known to be missing.

        Args:
            why: the reason, for the `StreamDown`.
            since: the time on the clock of the session's budget before which nothing is missing; None to rely on the
                proofs of the stream.
        """
        self._opened().reconnect(why, since)

    async def __aenter__(self) -> Self:
        if self._supervisor is not None:
            state = "is open" if self.is_open else "was closed"
            raise SessionClosed(CallInfo("stream", self.label), f"the stream {state}", advice="Create another stream.")
        session = self._client.session
        timing = self._timing or Timing(clock=session.budget.monotonic)
        self._now: Callable[[], float] = timing.clock
        self._shared = session_streams(session, self.settings)
        source = source_of(self._client, self.product, self._shared, self._now)
        self._queue = StreamQueue(self.settings.queue_size, lambda: source.bounds(self._now()))
        self._supervisor = Supervisor(self.label, source, self._shared, self._emit, self.settings, timing)
        self._shared.open_streams[self.product] += 1
        self._tasks = await anyio.create_task_group().__aenter__()
        try:
            await self._tasks.start(self._run)
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._close()

    def __aiter__(self) -> Self:
        self._is_queued = True
        return self

    async def __anext__(self) -> StreamItem:
        if self._queue is None:
            raise SessionClosed(CallInfo("stream", self.label), "the stream is not open")
        return await self._queue.get()

    async def _close(self) -> None:
        tasks, self._tasks = self._tasks, None
        if tasks is None or self._shared is None or self._queue is None:
            return
        self._shared.open_streams[self.product] -= 1
        self._queue.close()
        tasks.cancel_scope.cancel()
        # Without the exception of the body, which would be wrapped in a group.
        await tasks.__aexit__(None, None, None)

    async def _run(self, *, task_status: TaskStatus[None]) -> None:
        supervisor, queue = self._opened(), self._queue
        has_started = False

        def started() -> None:
            nonlocal has_started
            has_started = True
            task_status.started()

        try:
            with record_orders(self._client.session, self._client.key_id) as self._recorder:
                await supervisor.run(started)
        except Exception as error:
            if not has_started or queue is None:
                raise
            queue.close(error)

    def _emit(self, item: AnyEvent | StreamUp | StreamDown | StreamGap) -> None:
        if self._recorder is not None:
            self._recorder.observe(item, self._now())
        for observe in self._observers:
            try:
                observe(item)
            except Exception:  # noqa: BLE001 - a failing observer must not stop the reader
                _log.exception("[%s] An observer of the user data stream failed.", self.label)
        if not self._is_queued or self._queue is None or isinstance(item, StreamUp):
            return
        if isinstance(item, StreamDown | StreamGap):
            self._queue.put_report(item)
        else:
            self._queue.put(item)

    def _opened(self) -> Supervisor:
        if self._supervisor is None:
            raise SessionClosed(CallInfo("stream", self.label), "the stream is not open")
        return self._supervisor
