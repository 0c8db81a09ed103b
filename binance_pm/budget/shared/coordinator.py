"""One process of a shared budget: what it tells the store and when, what it hears, and what it does without.

Messages are numbered. One without a reply may have arrived or not: the same events are told again under its number,
and the store counts them once. What the process holds is told as it is each time, so that whatever a lost reply
granted, or a store that was restarted has forgotten, is put right by the next message.

The store counts as lost when
    * two messages in a row got no reply, or one that took longer than 50 ms to fail;
    * a reply is awaited for longer than 0.4 s, or nobody has carried for so long what is to be asked;
    * three replies in a row were slow: they took longer than 50 ms, or up to twice that where they tell of many pools.

Then each pool goes on by itself, at once, and the store is tried every second. When it answers in time and was told
what happened meanwhile, be it in several messages, the process returns to it.

A peer has no I/O: somebody carries its messages, one at a time.
"""

from __future__ import annotations

import logging
import math
import secrets
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple, Protocol
from weakref import WeakValueDictionary

from binance_pm.budget.charges import Bounds
from binance_pm.budget.shared.leased_pool import LEASE, OVERDUE_SECONDS, LeasedPool, RiseTold
from binance_pm.budget.shared.messages import Message, OriginReply, OriginReport, PoolReport, Reply
from binance_pm.clock import ServerClock
from binance_pm.limits import LimitType, Pool, Priority

_log = logging.getLogger(__name__)

LATENCY: Final = 0.01
"""Seconds for which a message is on its way: the exchange's clock has moved on by then.

One that takes longer makes the store see a minute turn too late by the rest. Nothing is overspent by that: what is in
flight is charged to every minute still to come, and the new one is empty.
"""
# A store that takes longer is of no use, and is lost after so many times.
_SLOW_SECONDS: Final = 0.05
_SLOW_TIMES: Final = 3
# So many pools are told of at once: one message must not keep the store from those of the others.
_MOST_POOLS: Final = 100
_RETRY_SECONDS: Final = 1.0
# What is due so soon travels with the rest.
_SOON_SECONDS: Final = 0.005


class ReportOrigin(Protocol):
    """What to tell of a host of the exchange."""

    def __call__(self, origin: str, *, has_closed: bool) -> OriginReport:
        """Say whether its gate has closed since the store was told last."""
        ...


class ReplyResult(NamedTuple):
    """What a reply says beyond what the shares keep to themselves."""

    origins: list[tuple[str, OriginReply]]
    rises: list[tuple[Pool, RiseTold]]
    took: float
    """Seconds from the message to the reply."""


class _SentMessage(NamedTuple):
    """A message that somebody carries now."""

    origins: list[str]
    pools: list[Pool]
    closed: set[str]
    asked: float
    returns: bool
    """Whether the process was alone, and tells what the store does not know."""


class Coordinator:
    """The process.

    Args:
        bounds: the bounds of the clock of an origin.
        minute: seconds of the exchange's minute.
        expected: how many processes share the budget, until the store tells.
        monotonic: this machine's clock that never steps, in seconds.
        wall: this machine's wall clock.
        wake: called when there is something to tell or to ask.
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
        """Whether the process does without the store."""
        self._minute: Final = minute
        self._expected: Final = expected
        self._monotonic: Final = monotonic
        self._wake_worker: Final = wake
        self._name: Final = secrets.token_hex(8)
        self._number = 0
        # The store's clock need not be near anybody's; where it steps, the latest reply is right.
        self._clock: Final = ServerClock(monotonic=monotonic, wall=wall, near=math.inf)
        self._sent: _SentMessage | None = None
        self._is_again = False
        """Whether the last message had no reply."""
        self._again: list[Pool] = []
        """The pools that it told of."""
        self._untold: set[Pool] = set()
        """What the store has to know before the process returns to it, without what happens meanwhile."""
        self._closed: set[str] = set()
        """Hosts whose gates have closed since the store was told last."""
        self._slow = 0
        self._retry_at = -math.inf
        self._woken_at = math.inf
        """When somebody was first told to carry a message since the last one."""
        self._idle_since = -math.inf
        """When the last message came to its end."""

    @property
    def processes(self) -> int:
        """How many processes draw on the pool that most draw on, this one included, as far as is known."""
        return max((share.processes for share in self.pools.values()), default=self._expected)

    @property
    def overdue_at(self) -> float:
        """Monotonic time from which a reply is not waited for any more; infinite where none is awaited."""
        return self._sent.asked + OVERDUE_SECONDS if self._sent and not self.is_fallback else math.inf

    def pool(self, pool: Pool, limit: int, bounds: Bounds) -> LeasedPool:
        """A share of a pool on which nobody of this process has drawn yet."""
        share = LeasedPool(
            limit,
            minute=self._minute,
            expected=self.processes,
            lasting=pool.limit_type is LimitType.IP,
            store_clock=self._ahead,
            wake=self._wake,
        )
        if self.is_fallback:
            share.enter_fallback(bounds)
        self.pools[pool] = share
        return share

    def is_done_with(self, pool: Pool) -> bool:
        """Whether no message under way or to be repeated tells of the pool."""
        carried = self._sent.pools if self._sent else ()
        return pool not in self._untold and pool not in self._again and pool not in carried

    def close_gate(self, origin: str) -> None:
        """Have the others told at once that a refusal has closed the gate of a host."""
        self._closed.add(origin)
        self._wake()

    def due(self) -> float:
        """Monotonic time at which the next message is due; infinite while one is carried."""
        now = self._monotonic()
        if self._sent:
            return math.inf
        if self.is_fallback or self._is_again:
            return self._retry_at
        if self._closed:
            return now
        return min((share.due(now) for share in self.pools.values()), default=math.inf)

    def message(
        self,
        report: ReportOrigin,
        wanted: Mapping[Pool, Iterable[tuple[Priority, int]]],
        *,
        leaving: bool = False,
    ) -> Message:
        """What to tell the store now; a reply or a loss has to follow.

        Args:
            report: tells of a host.
            wanted: priority and weight of the calls that wait for a pool, the first one first.
            leaving: whether the process ends: it returns what it does not need.
        """
        now = self._monotonic()
        if not self._is_again:
            self._number += 1
        pools = self._leaving(now) if leaving else self._next(now)
        hosts = list({pool.origin: None for pool in pools} | dict.fromkeys(self._closed))
        told = tuple(report(host, has_closed=host in self._closed) for host in hosts)
        reports: list[PoolReport] = []
        for pool in pools:
            place = hosts.index(pool.origin)
            bounds = told[place].earliest, told[place].latest
            reports.append(
                self.pools[pool].report(
                    "|".join(pool),
                    place,
                    wanted.get(pool, ()),
                    now,
                    bounds=bounds,
                    again=self._is_again,
                    leaving=leaving,
                )
            )
        self._sent = _SentMessage(hosts, pools, self._closed, now, self.is_fallback and not self._is_again)
        self._closed, self._woken_at = set(), math.inf
        return Message(self._name, self._number, self._minute, 0.0 if leaving else LEASE, told, tuple(reports))

    def reply_received(self, reply: Reply) -> ReplyResult | None:
        """Learn what the store says; None where it does not answer what was asked."""
        now, carried = self._monotonic(), self._sent
        if carried is None or not self._is_answered(carried, reply):
            self.no_reply_received("its reply is that of another version")
            return None
        self._sent, self._is_again, self._again, self._idle_since = None, False, [], now
        self._clock.observe(reply.now, reply.now, asked=carried.asked, answered=now, exact=True)
        hosts = dict(zip(carried.origins, reply.origins, strict=True))
        rises: list[tuple[Pool, RiseTold]] = []
        for pool, told in zip(carried.pools, reply.pools, strict=True):
            host, share = hosts[pool.origin], self.pools[pool]
            given = share.limit
            heard = share.reply_received(told, (host.earliest, host.latest), asked=carried.asked, now=now)
            if share.limit < given:
                _log.warning(
                    "Another process of the shared budget was given a limit of %d for %s, this one %d: the smaller "
                    "holds for all. Give all of them the same `limits`.",
                    share.limit,
                    pool.name,
                    given,
                )
            rises += [(pool, rise) for rise in heard]
        is_slow = now - carried.asked > _SLOW_SECONDS * (1 + len(carried.pools) / _MOST_POOLS)
        self._slow = self._slow + 1 if is_slow else 0
        if self.is_fallback:
            self._retry_at = now + _RETRY_SECONDS if is_slow else now
            if carried.returns:
                self._untold.difference_update(carried.pools)
                if not self._untold and not is_slow:
                    self._leave_fallback()
        elif self._slow >= _SLOW_TIMES:
            self._enter_fallback("it is slow")
        return ReplyResult(list(hosts.items()), rises, now - carried.asked)

    def no_reply_received(self, why: str) -> None:
        """Learn that no reply came."""
        now, carried = self._monotonic(), self._sent
        self._idle_since = now
        if carried is not None:
            self._closed |= carried.closed
            self._sent, self._again = None, carried.pools
        is_second, self._is_again = self._is_again, True
        # A connection that was closed while nobody used it is no reason to give up: the next one may do.
        if self.is_fallback or is_second or (carried is not None and now - carried.asked > _SLOW_SECONDS):
            self._retry_at = now + _RETRY_SECONDS
            self._enter_fallback(why)
        else:
            self._retry_at = now

    def give_up(self) -> None:
        """Wait no longer for a reply that is overdue, nor for somebody to carry what is."""
        now = self._monotonic()
        if self.is_fallback:
            if now >= self._retry_at + OVERDUE_SECONDS:
                # Nobody who waits does it: whoever carried the messages may be gone.
                self._wake_worker()
        elif now >= self.overdue_at:
            self._enter_fallback("it does not answer")
        elif not self._sent and now >= self._idle_since + OVERDUE_SECONDS and self._is_stuck(now):
            self._enter_fallback("nobody asks it")

    def _is_stuck(self, now: float) -> bool:
        """Whether nobody carries what has to be asked."""
        if self._is_again:
            return True
        if now >= self._woken_at + OVERDUE_SECONDS:
            # Most were woken for less.
            self._woken_at = min((share.wanting_since for share in self.pools.values()), default=math.inf)
        return now >= self._woken_at + OVERDUE_SECONDS

    def _is_answered(self, carried: _SentMessage, reply: Reply) -> bool:
        if (len(reply.origins), len(reply.pools)) != (len(carried.origins), len(carried.pools)):
            return False
        return all(self.pools[pool].is_answered(told) for pool, told in zip(carried.pools, reply.pools, strict=True))

    def _wake(self) -> None:
        self._woken_at = min(self._woken_at, self._monotonic())
        self._wake_worker()

    def _next(self, now: float) -> list[Pool]:
        """The pools to tell of: those that were told of in vain, then those that were not told of for longest."""
        if not self.is_fallback:
            more = [pool for pool, share in self.pools.items() if self._is_due(share, now)]
        elif self._is_again:
            more = []
        else:
            self._untold = self._untold or self._all_untold(now)
            more = [pool for pool in self.pools if pool in self._untold]
        pools = list(dict.fromkeys(self._again + more))
        if len(pools) > _MOST_POOLS:
            first = set(self._again)
            pools.sort(key=lambda pool: (pool not in first, self.pools[pool].reported_at))
        return pools[:_MOST_POOLS]

    def _all_untold(self, now: float) -> set[Pool]:
        # One of each host at least: its gate is heard with it, and whether the store does its work.
        first = {pool.origin: pool for pool in reversed(list(self.pools))}
        untold = {pool for pool, share in self.pools.items() if share.is_unsettled or self._is_due(share, now)}
        return untold.union(first.values())

    def _leaving(self, now: float) -> list[Pool]:
        """The pools in which the process is known, or has something to tell."""
        return [
            pool
            for pool, share in self.pools.items()
            if share.is_unsettled or share.has_news or now < share.reported_at + LEASE
        ]

    def _is_due(self, share: LeasedPool, now: float) -> bool:
        return share.has_news or share.due(now) <= now + _SOON_SECONDS

    def _enter_fallback(self, why: str) -> None:
        if self.is_fallback:
            return
        self.is_fallback = True
        self._untold = set()
        self._retry_at = max(self._retry_at, self._monotonic())
        _log.warning(
            "The store of the shared budget is lost (%s): this process goes on with its part of the limits, one of %d.",
            why,
            self.processes,
        )
        for pool, share in self.pools.items():
            share.enter_fallback(self._bounds(pool.origin))

    def _leave_fallback(self) -> None:
        self.is_fallback = False
        _log.warning("The store of the shared budget is back: %d processes draw on it.", self.processes)
        for share in self.pools.values():
            share.leave_fallback()

    def _ahead(self) -> tuple[float, float]:
        """By how much the store's clock is ahead of the monotonic one, at the least and at the most."""
        now = self._monotonic()
        low, high = self._clock.bounds()
        return low - now, high - now
