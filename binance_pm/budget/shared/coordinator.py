"""One process of a shared budget: its messages to the store, their replies, and the fallback without a store.

Messages are numbered. One without a reply may have arrived or not: the same events are reported again under its number,
and the store counts them once. Each message states what the process holds, so that the next message corrects whatever a
lost reply granted or a restarted store has forgotten.

The store counts as lost if
    * two messages in a row got no reply, or one that took longer than 50 ms to fail;
    * a reply is more than 0.4 s overdue, or a due message was not sent for as long;
    * three replies in a row were slow: they took longer than 50 ms, or up to twice that if they concern many pools.

Each pool then uses its fallback at once, and the store is tried every second. When the store replies in time and has
received all reports, in several messages if need be, the process returns to it.

A coordinator has no I/O: a worker carries its messages, one at a time.
"""

from __future__ import annotations

import logging
import math
import secrets
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple
from weakref import WeakValueDictionary

from binance_pm.budget.charges import Bounds
from binance_pm.budget.shared.leased_pool import LEASE, OVERDUE_SECONDS, CountRise, LeasedPool
from binance_pm.budget.shared.messages import OriginReply, OriginReport, PoolReport, StoreMessage, StoreReply
from binance_pm.clock import ServerClock
from binance_pm.limits import LimitType, Pool, Priority

_log = logging.getLogger(__name__)

LATENCY: Final = 0.01
"""Seconds of a message in transit: the exchange's clock has moved on by then.

If a message takes longer, the store sees the minute turn too late by the rest. That overspends nothing: what is in
flight is charged to every minute to come, and the new minute is empty.
"""
# A reply that takes longer is slow; after so many in a row, the store counts as lost.
_SLOW_SECONDS: Final = 0.05
_SLOW_TIMES: Final = 3
# The most pools in one message, so that it does not keep the store from other processes.
_MOST_POOLS: Final = 100
_RETRY_SECONDS: Final = 1.0
# What is due so soon is reported together with the rest.
_SOON_SECONDS: Final = 0.005


ReportOrigin = Callable[[str, bool], OriginReport]
"""Returns the report of an origin, and whether its gate has closed since the last message."""


class ReplyResult(NamedTuple):
    """What a reply says beyond what the leased pools have accepted."""

    origins: list[tuple[str, OriginReply]]
    rises: list[tuple[Pool, CountRise]]
    took: float
    """Seconds from the message to the reply."""


class _SentMessage(NamedTuple):
    """A message that awaits its reply."""

    origins: list[str]
    pools: list[Pool]
    closed: set[str]
    asked: float
    returns: bool
    """Whether the process was in fallback, and reports what the store does not know."""


class Coordinator:
    """The side of one process.

    Args:
        bounds: returns the bounds of the clock of an origin.
        minute: seconds of the exchange's minute.
        expected: how many processes share the budget, until the store reports their number.
        monotonic: this machine's clock that never steps, in seconds.
        wall: this machine's wall clock.
        wake: called when a message is due.
    """

    def __init__(
        self,
        *,
        bounds: Callable[[str], Bounds],
        minute: float,
        expected: int,
        monotonic: Callable[[], float],
        wall: Callable[[], float],
        wake: Callable[[], None],
    ) -> None:
        self.pools: Final[WeakValueDictionary[Pool, LeasedPool]] = WeakValueDictionary()
        """The leased pools that anything of the budget still needs."""
        self._bounds: Final = bounds
        self.is_fallback: bool = False
        """Whether the process continues without the store."""
        self._minute: Final = minute
        self._expected: Final = expected
        self._monotonic: Final = monotonic
        self._wake_worker: Final = wake
        self._name: Final = secrets.token_hex(8)
        self._number = 0
        # The store's clock may be far from any other. If it steps, the latest reply is right.
        self._clock: Final = ServerClock(monotonic=monotonic, wall=wall, near=math.inf)
        self._sent: _SentMessage | None = None
        self._is_repeat = False
        """Whether the last message had no reply."""
        self._repeated: list[Pool] = []
        """The pools in that message."""
        self._unreported: set[Pool] = set()
        """Pools to report before the process returns to the store; what happens meanwhile is not included."""
        self._closed: set[str] = set()
        """Origins whose gates have closed since the last message."""
        self._slow_replies = 0
        self._retry_at = -math.inf
        self._woken_at = math.inf
        """When the worker was first woken since the last message."""
        self._idle_since = -math.inf
        """When the last message got its reply, or was given up."""

    @property
    def processes(self) -> int:
        """How many processes draw on the pool that most draw on, this one included, as far as is known."""
        return max((leased.processes for leased in self.pools.values()), default=self._expected)

    def pool(self, pool: Pool, limit: int, bounds: Bounds) -> LeasedPool:
        """Return a new leased pool."""
        leased = LeasedPool(
            limit,
            minute=self._minute,
            expected=self.processes,
            stays_counted=pool.limit_type is LimitType.IP,
            store_clock=self._store_offset,
            wake=self._wake,
        )
        if self.is_fallback:
            leased.enter_fallback(bounds)
        self.pools[pool] = leased
        return leased

    def is_done_with(self, pool: Pool) -> bool:
        """Return whether no message in transit or to be repeated concerns the pool."""
        sent = self._sent.pools if self._sent else ()
        return pool not in self._unreported and pool not in self._repeated and pool not in sent

    def close_gate(self, origin: str) -> None:
        """Report at once that a refusal has closed the gate of an origin."""
        self._closed.add(origin)
        self._wake()

    def due(self) -> float:
        """Return the monotonic time at which the next message is due; infinite while one awaits its reply."""
        now = self._monotonic()
        if self._sent:
            return math.inf
        if self.is_fallback or self._is_repeat:
            return self._retry_at
        if self._closed:
            return now
        return min((leased.due(now) for leased in self.pools.values()), default=math.inf)

    def message(
        self,
        report: ReportOrigin,
        wanted: Mapping[Pool, Iterable[tuple[Priority, int]]],
        *,
        leaving: bool = False,
    ) -> StoreMessage:
        """Return the next message; `reply_received` or `no_reply_received` has to follow.

        Args:
            report: returns the report of an origin.
            wanted: priority and weight of the calls that wait for a pool, the most urgent first.
            leaving: whether the process ends, and returns the weight that it does not need.
        """
        now = self._monotonic()
        if not self._is_repeat:
            self._number += 1
        pools = self._leaving(now) if leaving else self._next(now)
        origins = list({pool.origin: None for pool in pools} | dict.fromkeys(self._closed))
        origin_reports = tuple(report(origin, origin in self._closed) for origin in origins)
        reports: list[PoolReport] = []
        for pool in pools:
            index = origins.index(pool.origin)
            bounds = origin_reports[index].earliest, origin_reports[index].latest
            reports.append(
                self.pools[pool].report(
                    "|".join(pool),
                    index,
                    wanted.get(pool, ()),
                    now,
                    bounds=bounds,
                    again=self._is_repeat,
                    leaving=leaving,
                )
            )
        self._sent = _SentMessage(origins, pools, self._closed, now, self.is_fallback and not self._is_repeat)
        self._closed, self._woken_at = set(), math.inf
        return StoreMessage(
            self._name, self._number, self._minute, 0.0 if leaving else LEASE, origin_reports, tuple(reports)
        )

    def reply_received(self, reply: StoreReply) -> ReplyResult | None:
        """Learn what the store has replied; return None if the reply does not fit the message."""
        now, sent = self._monotonic(), self._sent
        if sent is None or not self._is_answered(sent, reply):
            self.no_reply_received("its reply is that of another version")
            return None
        self._sent, self._is_repeat, self._repeated, self._idle_since = None, False, [], now
        self._clock.observe(reply.now, reply.now, asked=sent.asked, answered=now, exact=True)
        origins = dict(zip(sent.origins, reply.origins, strict=True))
        rises: list[tuple[Pool, CountRise]] = []
        for pool, pool_reply in zip(sent.pools, reply.pools, strict=True):
            origin, leased = origins[pool.origin], self.pools[pool]
            given = leased.limit
            found = leased.reply_received(pool_reply, (origin.earliest, origin.latest), asked=sent.asked, now=now)
            if leased.limit < given:
                _log.warning(
                    "Another process of the shared budget was given a limit of %d for %s, this one %d: the smaller "
                    "holds for all. Give all of them the same `limits`.",
                    leased.limit,
                    pool.name,
                    given,
                )
            rises += [(pool, rise) for rise in found]
        is_slow = now - sent.asked > _SLOW_SECONDS * (1 + len(sent.pools) / _MOST_POOLS)
        self._slow_replies = self._slow_replies + 1 if is_slow else 0
        if self.is_fallback:
            self._retry_at = now + _RETRY_SECONDS if is_slow else now
            if sent.returns:
                self._unreported.difference_update(sent.pools)
                if not self._unreported and not is_slow:
                    self._leave_fallback()
        elif self._slow_replies >= _SLOW_TIMES:
            self._enter_fallback("it is slow")
        return ReplyResult(list(origins.items()), rises, now - sent.asked)

    def no_reply_received(self, why: str) -> None:
        """Learn that no reply came."""
        now, sent = self._monotonic(), self._sent
        self._idle_since = now
        if sent is not None:
            self._closed |= sent.closed
            self._sent, self._repeated = None, sent.pools
        was_repeat, self._is_repeat = self._is_repeat, True
        # A connection that was closed while it was idle is no reason to give up: the next one may work.
        if self.is_fallback or was_repeat or (sent is not None and now - sent.asked > _SLOW_SECONDS):
            self._retry_at = now + _RETRY_SECONDS
            self._enter_fallback(why)
        else:
            self._retry_at = now

    def give_up(self) -> None:
        """Enter the fallback if a reply or the sending of a message is overdue."""
        now = self._monotonic()
        if self.is_fallback:
            if now >= self._retry_at + OVERDUE_SECONDS:
                # The worker may be gone: waiting calls wake it again.
                self._wake_worker()
        elif self._sent and now >= self._sent.asked + OVERDUE_SECONDS:
            self._enter_fallback("it does not answer")
        elif not self._sent and now >= self._idle_since + OVERDUE_SECONDS and self._is_stuck(now):
            self._enter_fallback("no message was sent")

    def _is_stuck(self, now: float) -> bool:
        """Return whether a due message is not sent."""
        if self._is_repeat:
            return True
        if now >= self._woken_at + OVERDUE_SECONDS:
            # Most wake-ups were for less urgent messages.
            self._woken_at = min((leased.demand_since for leased in self.pools.values()), default=math.inf)
        return now >= self._woken_at + OVERDUE_SECONDS

    def _is_answered(self, sent: _SentMessage, reply: StoreReply) -> bool:
        if (len(reply.origins), len(reply.pools)) != (len(sent.origins), len(sent.pools)):
            return False
        return all(self.pools[pool].is_answered(it) for pool, it in zip(sent.pools, reply.pools, strict=True))

    def _wake(self) -> None:
        self._woken_at = min(self._woken_at, self._monotonic())
        self._wake_worker()

    def _next(self, now: float) -> list[Pool]:
        """Return the pools to report: first those of a message without reply, then those not reported for longest."""
        if not self.is_fallback:
            more = [pool for pool, leased in self.pools.items() if self._is_due(leased, now)]
        elif self._is_repeat:
            more = []
        else:
            self._unreported = self._unreported or self._all_unreported(now)
            more = [pool for pool in self.pools if pool in self._unreported]
        pools = list(dict.fromkeys(self._repeated + more))
        if len(pools) > _MOST_POOLS:
            first = set(self._repeated)
            pools.sort(key=lambda pool: (pool not in first, self.pools[pool].reported_at))
        return pools[:_MOST_POOLS]

    def _all_unreported(self, now: float) -> set[Pool]:
        # At least one of each origin: the reply has the state of its gate, and shows that the store works.
        first = {pool.origin: pool for pool in reversed(list(self.pools))}
        unreported = {pool for pool, leased in self.pools.items() if leased.is_unsettled or self._is_due(leased, now)}
        return unreported.union(first.values())

    def _leaving(self, now: float) -> list[Pool]:
        """Return the pools in which the store knows the process, or for which there is anything to report."""
        return [
            pool
            for pool, leased in self.pools.items()
            if leased.is_unsettled or leased.has_events or now < leased.reported_at + LEASE
        ]

    def _is_due(self, leased: LeasedPool, now: float) -> bool:
        return leased.has_events or leased.due(now) <= now + _SOON_SECONDS

    def _enter_fallback(self, why: str) -> None:
        if self.is_fallback:
            return
        self.is_fallback = True
        self._unreported = set()
        self._retry_at = max(self._retry_at, self._monotonic())
        _log.warning(
            "The store of the shared budget is lost (%s): "
            "this process continues with its part of the limits, one of %d.",
            why,
            self.processes,
        )
        for pool, leased in self.pools.items():
            leased.enter_fallback(self._bounds(pool.origin))

    def _leave_fallback(self) -> None:
        self.is_fallback = False
        _log.warning("The store of the shared budget is back: %d processes draw on it.", self.processes)
        for leased in self.pools.values():
            leased.leave_fallback()

    def _store_offset(self) -> tuple[float, float]:
        """Return the least and the most by which the store's clock is ahead of the monotonic one."""
        now = self._monotonic()
        low, high = self._clock.bounds()
        return low - now, high - now
