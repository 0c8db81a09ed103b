"""Reads the parts of a live account: in tiers after a gap, again soon afterwards, and again from time to time.

What is guaranteed: a part counts as read only if its request was sent after the last gap had ended. A part counts as
confirmed if it was then read again at least ten seconds later, because responses may be stale. If a repeated read shows
a change whose event does not arrive within 15 s, the stream has lost the event, and is taken down.

Tiers: the positions of all accounts of a session are read before the orders of any, because reading the orders of 200
accounts takes minutes of the whole limit. Repeated reads come after them, and use at most a tenth of the limit, so that
their interval grows with the number of accounts.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from typing import TYPE_CHECKING, Final, Protocol, Self
from weakref import WeakKeyDictionary

import anyio

from binance_pm.endpoint import ENDPOINTS, Endpoint
from binance_pm.errors import PortfolioMarginError, SessionClosed
from binance_pm.limits import LIMITS, LimitType, Priority
from binance_pm.stream.change_signal import ChangeSignal
from binance_pm.stream.listen_key import PERMANENT
from binance_pm.stream.live_state import LiveState
from binance_pm.stream.merge import AHEAD_MS, LAG, ReadTimes
from binance_pm.stream.part_reader import PartReader, ReadClient
from binance_pm.stream.parts import PARTS, Part, weight_of
from binance_pm.stream.policy import Backoff

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from binance_pm.session import Session

_log = logging.getLogger(__name__)

_SECOND_READ: Final = 10.0
"""Seconds from the first read after a gap to the second."""
_SPREAD: Final = 0.1
"""The largest part of an interval that is added to it at random, so that accounts are not read at the same time."""
_SHARE: Final = 0.1
"""The part of the limit that repeated reads may use."""
_REPEATED: Final = 5
"""The tier of repeated reads: after every first read."""
_MOST_PATIENCE: Final = 600.0
"""Seconds for which a repeated read waits for first reads, such as those of an account that reconnects often."""
_EXPECTED: Final = 60.0
"""Seconds for which other accounts wait for the positions of an account whose stream is down."""
_LONGEST_BACKOFF: Final = 30.0
_RARE: Final = 60.0
"""Seconds between passes that are not frequent; pauses between frequent ones grow, to save weight."""
_RISK_EVERY: Final = 5.0
"""Seconds between two reads of the risk figures while the account is not in a normal state."""
_RISK_SHARE: Final = 0.2
"""The part of the limit that these reads may use: with more than five such accounts, the interval grows."""
_LONGEST_WAIT: Final = 600.0
"""Seconds for which a read may wait for weight: reading 200 accounts takes the whole limit for minutes."""


class LiveClient(ReadClient, Protocol):
    """The client of a live account."""

    @property
    def label(self) -> str:
        """The account's name in errors and logs."""
        ...

    @property
    def session(self) -> Session:
        """The session that the client is open on."""
        ...

    def origin(self, endpoint: Endpoint[object]) -> str:
        """Return the origin of an endpoint."""
        ...

    def options(self, *, priority: Priority | None = None, max_wait: float | None = None) -> Self:
        """Return a view with other settings."""
        ...


class ReadOrder:
    """The order in which the live accounts of a session are read.

    Args:
        clock: monotonic seconds.
        sleep: waits for seconds.
    """

    def __init__(self, clock: Callable[[], float], sleep: Callable[[float], Awaitable[None]]) -> None:
        self._clock: Final = clock
        self._sleep: Final = sleep
        self._tiers: Final[dict[object, tuple[int, float]]] = {}
        """The lowest tier that each account lacks, and until when the other accounts wait for it."""
        self._changed: Final = ChangeSignal()
        self._pace: Final = anyio.Lock()
        self._next_read: float = -math.inf
        """When the next repeated read may begin."""
        self._next_risk: float = -math.inf
        """When the next account that is not in a normal state may read its risk figures."""

    def lacks(self, account: object, tier: int, *, seconds: float = math.inf) -> None:
        """Record the lowest tier that an account lacks.

        Args:
            account: the account.
            tier: the tier.
            seconds: how long the other accounts wait for it.
        """
        lowest = self._lowest()
        self._tiers[account] = (tier, self._clock() + seconds)
        self._wake_after(lowest)

    def lacks_nothing(self, account: object) -> None:
        """Record that no other account has to wait for this one."""
        lowest = self._lowest()
        self._tiers.pop(account, None)
        self._wake_after(lowest)

    def may_read(self, tier: int) -> bool:
        """Return whether no account lacks a lower tier."""
        return tier <= self._lowest()

    async def changed(self) -> None:
        """Wait until a higher tier may be read, at most for a second."""
        with anyio.move_on_after(1.0):
            await self._changed.wait()

    @contextlib.asynccontextmanager
    async def repeated(self) -> AsyncGenerator[Callable[[int], None]]:
        """Wait for the turn of a repeated read; yield a function to be called with the weight of the read."""
        async with self._pace:
            if (seconds := self._next_read - self._clock()) > 0:
                await self._sleep(seconds)
            patient_until = self._clock() + _MOST_PATIENCE
            while not self.may_read(_REPEATED) and self._clock() < patient_until:
                await self.changed()
            yield self._spend

    def pause_of_risk(self) -> float:
        """Return the seconds until an account that is not in a normal state may read its risk figures again."""
        now = self._clock()
        self._next_risk = max(now + _RISK_EVERY, self._next_risk + _seconds_of(weight_of("risk"), _RISK_SHARE))
        return self._next_risk - now

    def _spend(self, weight: int) -> None:
        self._next_read = self._clock() + _seconds_of(weight, _SHARE)

    def _lowest(self) -> float:
        """Return the lowest tier that an account lacks; infinite if no account lacks one."""
        now = self._clock()
        return min((tier for tier, until in self._tiers.values() if until > now), default=math.inf)

    def _wake_after(self, lowest: float) -> None:
        """Wake the accounts that wait for others if a higher tier may be read than before."""
        if self._lowest() > lowest:
            self._changed.notify()


def _seconds_of(weight: int, share: float) -> float:
    """Return the seconds in which a part of the limit amounts to a weight."""
    return weight * 60 / (share * LIMITS["papi", LimitType.IP].limit)


_orders: Final[WeakKeyDictionary[Session, ReadOrder]] = WeakKeyDictionary()


def read_order_of(session: Session) -> ReadOrder:
    """Return the order in which the live accounts of a session are read."""
    order = _orders.get(session)
    if order is None:
        order = _orders[session] = ReadOrder(session.budget.monotonic, session.budget.sleep)
    return order


class _PartTimes:
    """When a part was read."""

    __slots__ = ("due_at", "first_at", "is_confirmed", "is_read", "previous_at", "read_at")

    def __init__(self) -> None:
        self.is_read: bool = False
        """Whether the part was read after the last gap."""
        self.is_confirmed: bool = False
        """Whether the part was read again at least `LAG` seconds later."""
        self.first_at: float = -math.inf
        """Monotonic time at which the first read after the last gap was requested."""
        self.due_at: float = math.inf
        """Monotonic time of the next repeated read."""
        self.read_at: float = -math.inf
        """Monotonic time at which the last read was requested."""
        self.previous_at: float = -math.inf
        """The same for the read before the last one, which did not show that an event was missing."""


class Resync:
    """Keeps the state of one account current.

    Args:
        client: makes the calls.
        state: what is read into.
        parts: what is read.
        symbols: the symbols whose orders are read; None for all.
        verify_every: seconds between two repeated reads of a part.
        jitter: a random number from 0 to 1.
        on_lost: called if the stream has lost an event, with the monotonic time before which no event is missing.
        on_read: called after each attempt to read.
    """

    def __init__(
        self,
        client: LiveClient,
        state: LiveState,
        parts: Collection[Part],
        *,
        symbols: Collection[str] | None,
        verify_every: float,
        jitter: Callable[[], float],
        on_lost: Callable[[float], None],
        on_read: Callable[[], None],
    ) -> None:
        budget = client.session.budget
        self._label: Final = client.label
        self._polls: Final = client.options(priority=Priority.POLL, max_wait=_LONGEST_WAIT)
        self._background: Final = client.options(priority=Priority.BACKGROUND, max_wait=_LONGEST_WAIT)
        self._state: Final = state
        self._symbols: Final = symbols
        self._verify_every: Final = verify_every
        self._jitter: Final = jitter
        self._on_lost: Final = on_lost
        self._on_read: Final = on_read
        self._clock: Final = budget.monotonic
        self._sleep: Final = budget.sleep
        self._server_clock: Final = budget.clock(client.origin(ENDPOINTS["um_account"]))
        self._order: Final = read_order_of(client.session)
        self._reader: Final = PartReader(state, symbols, self._clock, self.times)
        self._parts: Final[dict[Part, _PartTimes]] = {part: _PartTimes() for part in parts}
        self._is_up: bool = False
        self._gap_at: float = -math.inf
        """Monotonic time at which the last gap had ended."""
        self._up_since: int = 0
        """A time on the exchange's clock, in milliseconds, at which the last gap had ended."""
        self._changed: Final = ChangeSignal()
        self._pass: Final = Backoff(1.0, _LONGEST_BACKOFF)
        """Counts passes, reads of everything, that were begun shortly after the pass before."""
        self._pass_at: float = -math.inf
        """Monotonic time at which the last pass began."""
        self._pass_due: float = -math.inf
        """Monotonic time at which the next pass may begin."""
        self._risk_is_urgent: bool = False
        self._risk_at: float = -math.inf
        self._tasks: TaskGroup | None = None
        self.error: PortfolioMarginError | None = None
        """Why the last read failed; None if it succeeded."""
        self._was_current: bool = False

    @property
    def now(self) -> float:
        """Monotonic seconds."""
        return self._clock()

    @property
    def risk_age(self) -> float:
        """Seconds since the risk figures were requested; infinite before."""
        return self._clock() - self._risk_at

    @property
    def is_current(self) -> bool:
        """Whether the stream is up and every part was read after the last gap."""
        return self._is_up and all(part.is_read for part in self._parts.values())

    @property
    def is_confirmed(self) -> bool:
        """Whether the account is current and every part was read a second time."""
        return self._is_up and all(part.is_read and part.is_confirmed for part in self._parts.values())

    @property
    def _is_refused(self) -> bool:
        """Whether the account cannot be opened; entering the account raises the error."""
        return not self._was_current and isinstance(self.error, PERMANENT)

    def raise_if_fatal(self) -> None:
        """Raise the error of the last read if another attempt would not help."""
        if isinstance(self.error, PERMANENT):
            raise self.error

    def raise_if_over(self) -> None:
        """Raise the error that has ended the reads, if they have ended."""
        if isinstance(self.error, SessionClosed):
            raise self.error

    def end(self, error: SessionClosed) -> None:
        """End the reads."""
        self.error = error
        if self._tasks is not None:
            self._tasks.cancel_scope.cancel()
        self._on_read()

    def down(self) -> None:
        """Record that the stream is down."""
        self._is_up = False
        self._state.forget_suspicions()
        # The others wait for the positions of an account that is likely to come back soon.
        self._order.lacks(self, min(PARTS[part].tier for part in self._parts), seconds=_EXPECTED)
        self._changed.notify()

    def up(self) -> None:
        """Record that the stream is up, and that events may be missing up to now."""
        self._is_up = True
        self._gap_at = self._clock()
        self._up_since = math.ceil(self._server_clock.bounds()[1] * 1000)
        self._state.forget_suspicions()
        for part in self._parts.values():
            part.is_read = part.is_confirmed = False
            part.due_at = math.inf
            part.previous_at = part.read_at = self._gap_at
        self._changed.notify()

    def check_time(self, event: object) -> None:
        """Refuse an event from the future: nothing that follows could ever replace it.

        Raises:
            ValueError: the time of the event is far ahead of the exchange's clock.
        """
        times = [getattr(event, name, 0) for name in ("event_time", "transaction_time", "last_update_time")]
        if max(times) > self._server_clock.bounds()[1] * 1000 + AHEAD_MS:
            raise ValueError("the time of the event is ahead of the exchange's clock")

    def risk_changed(self) -> None:
        """Record that the exchange told of a change of the risk state."""
        if "risk" in self._parts:
            self._risk_is_urgent = True
            self._changed.notify()

    async def run(self) -> None:
        """Read whatever is due, until cancelled or until the session is closed."""
        try:
            async with anyio.create_task_group() as self._tasks:
                for task in (self._read_missing, self._repeat, self._watch_events, self._watch_risk):
                    self._tasks.start_soon(task)
        finally:
            self._order.lacks_nothing(self)

    async def _read_missing(self) -> None:
        """Read the parts that were not read since the last gap, tier by tier."""
        failures = 0
        while True:
            missing: list[Part] = [part for part, times in self._parts.items() if not times.is_read]
            if not self._is_up or not missing:
                if self._is_up:
                    self._order.lacks_nothing(self)
                await self._changed.wait()
                continue
            if self._pass_at < self._gap_at and not self._begin_pass():
                # An account that waits does not keep the others waiting.
                self._order.lacks_nothing(self)
                await self._pause(self._pass_due - self._clock())
                continue
            tier = min(PARTS[part].tier for part in missing)
            if not failures:
                self._order.lacks(self, tier)
            if not self._order.may_read(tier):
                await self._order.changed()
                continue
            if await self._read_together([part for part in missing if PARTS[part].tier == tier]):
                failures = 0
                continue
            # An account that cannot be read does not keep the others waiting.
            self._order.lacks_nothing(self)
            failures += 1
            await self._pause(min(_LONGEST_BACKOFF, 2.0 ** min(failures, 10)) * (0.5 + 0.5 * self._jitter()))

    def _begin_pass(self) -> bool:
        """Begin a pass, unless passes were too frequent; return whether the pass begins."""
        now = self._clock()
        if now < self._pass_due:
            return False
        self._pass.failures = self._pass.failures + 1 if now - self._pass_at < _RARE else 0
        self._pass_at, self._pass_due = now, now + self._pass.pause(self._jitter())
        return True

    async def _read_together(self, parts: Collection[Part]) -> bool:
        """Read parts of one tier; return whether all of them could be read."""
        results: list[bool] = []

        async def one(part: Part) -> None:
            results.append(await self._read(self._polls, part, is_repeated=False))

        async with anyio.create_task_group() as tasks:
            for part in parts:
                tasks.start_soon(one, part)
        return all(results)

    async def _read(self, client: LiveClient, part: Part, *, is_repeated: bool) -> bool:
        """Read a part; return whether it could be read."""
        read = self.times(is_repeated)
        try:
            await self._reader.read(client, part, read)
        except PortfolioMarginError as error:
            self.error = error
            if isinstance(error, SessionClosed):
                self.end(error)
            else:
                if not self._is_refused:
                    _log.warning("The live account could not read %s: %s", part, error)
                self._on_read()
            return False
        if not self._is_refused:
            self.error = None
        times = self._parts[part]
        # A gap that ended after the request was sent may hide a change from it.
        if self._is_up and read.sent_at >= self._gap_at and (times.is_read or not is_repeated):
            if not times.is_read:
                times.is_read, times.first_at = True, read.sent_at
            times.is_confirmed |= read.sent_at >= times.first_at + LAG
            times.previous_at, times.read_at = times.read_at, read.sent_at
            pause = self._verify_every if is_repeated else _SECOND_READ
            times.due_at = self._clock() + pause * (1 + _SPREAD * self._jitter())
        self._was_current |= self.is_current
        if part == "risk":
            self._risk_at = read.sent_at
        self._changed.notify()
        self._on_read()
        return True

    async def _repeat(self) -> None:
        """Read each part again, one after the other."""
        while True:
            part = min(self._parts, key=lambda part: self._parts[part].due_at)
            seconds = self._parts[part].due_at - self._clock() if self._is_up else math.inf
            if seconds > 0:
                await self._pause(seconds)
                continue
            async with self._order.repeated() as spend:
                # The wait may be long: a gap may have made the read needless.
                if not self._is_up or self._parts[part].due_at > self._clock():
                    continue
                spend(weight_of(part, self._symbols))
            gap_at, self._parts[part].due_at = self._gap_at, math.inf
            if not await self._read(self._background, part, is_repeated=True) and gap_at == self._gap_at:
                self._parts[part].due_at = self._clock() + _LONGEST_BACKOFF

    async def _watch_events(self) -> None:
        """Report events that the stream has lost."""
        while True:
            deadline = self._state.next_deadline()
            seconds = math.inf if deadline is None else deadline - self._clock()
            if seconds > 0:
                await self._pause(seconds)
                continue
            self._state.forget_suspicions()
            self._on_lost(max(self._gap_at, min(part.previous_at for part in self._parts.values()) - LAG))

    async def _watch_risk(self) -> None:
        """Read the risk figures at once after a change of the risk state, and until it is normal."""
        while True:
            while not self._risk_is_urgent:
                await self._changed.wait()
            if await self._read(self._polls, "risk", is_repeated=self._parts["risk"].is_read):
                risk = self._state.risk
                self._risk_is_urgent = risk is not None and risk.account_status != "NORMAL"
            if self._risk_is_urgent:
                await self._sleep(self._order.pause_of_risk())

    def times(self, is_repeated: bool) -> ReadTimes:  # noqa: FBT001 - a callback
        """Return the times of a request that is sent now."""
        now = self._clock()
        return ReadTimes(now, math.floor(self._server_clock.bounds(now)[0] * 1000), self._up_since, is_repeated)

    async def _pause(self, seconds: float) -> None:
        """Wait until something changes, at most for some seconds."""
        if seconds == math.inf:
            await self._changed.wait()
            return

        async def sleep(scope: anyio.CancelScope) -> None:
            await self._sleep(seconds)
            scope.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(sleep, tasks.cancel_scope)
            await self._changed.wait()
            tasks.cancel_scope.cancel()
