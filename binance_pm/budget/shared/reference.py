"""The store of a shared budget in memory: the specification of ``store.lua``.

A test sends the same messages to both, and compares their replies and all that they keep.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec

from binance_pm.budget.charges import Bounds, Wait
from binance_pm.budget.gate import LONGEST_BAN
from binance_pm.budget.ledger import MAX_LATENCY, Ledger
from binance_pm.budget.shared.messages import (
    Answered,
    CallRefused,
    Demand,
    Event,
    Heavier,
    Lost,
    Message,
    OfflineUsage,
    OriginReply,
    OriginReport,
    PoolReply,
    PoolReport,
    Reply,
    Returned,
)
from binance_pm.budget.shared.store import PLACE_SECONDS, STEP_SECONDS, TURN, UNUSED_SECONDS
from binance_pm.clock import DRIFT, MOST_UNSURE
from binance_pm.limits import Priority


class _Origin(msgspec.Struct):
    low: float
    """The exchange's clock less the store's, at the earliest, by the latest report."""
    high: float
    updated_at: float
    is_heard: bool
    opens: float = 0.0
    banned: bool = False


class _Holder(msgspec.Struct):
    weight: int
    until: float
    """The end of the lease."""
    number: int
    """Of the last message."""


class _Waiting(msgspec.Struct):
    priority: Priority
    weight: int
    since: float
    until: float


class _Pool(msgspec.Struct):
    ledger: Ledger
    holders: dict[str, _Holder] = {}
    waiting: dict[str, _Waiting] = {}


class MemoryStore:
    """The ledgers of one egress IP."""

    def __init__(self) -> None:
        self.origins: Final[dict[str, _Origin]] = {}
        self.pools: Final[dict[str, _Pool]] = {}
        self._swept = -math.inf

    def exchange(self, message: Message, now: float) -> Reply:
        """Process a message atomically."""
        before = len(self.origins) + len(self.pools)
        origins = tuple(self._update_origin(report, now) for report in message.origins)
        pools = tuple(self._update_pool(message, report, origins[report.origin], now) for report in message.pools)
        if len(self.origins) + len(self.pools) > before:
            self._sweep(now)
        return Reply(now, origins, pools)

    def _sweep(self, now: float) -> None:
        """Forget what was not used for long; only a new pool or origin can make them too many."""
        if now < self._swept + UNUSED_SECONDS:
            return
        self._swept = now
        for name, origin in list(self.origins.items()):
            if max(origin.updated_at, origin.opens) + UNUSED_SECONDS < now:
                del self.origins[name]
        for name, pool in list(self.pools.items()):
            if max(holder.until for holder in pool.holders.values()) + UNUSED_SECONDS < now:
                del self.pools[name]

    def _update_origin(self, report: OriginReport, now: float) -> OriginReply:
        origin = self.origins.get(report.origin)
        if origin is None:
            origin = self.origins[report.origin] = _Origin(0.0, 0.0, now, is_heard=False)
        if report.is_heard or not origin.is_heard:
            origin.low, origin.high, origin.updated_at = report.earliest - now, report.latest - now, now
            origin.is_heard = report.is_heard
        if report.closed:
            origin.banned = report.banned or (origin.banned and origin.opens > now)
            origin.opens = max(origin.opens, now + report.closed)
        drift = min(DRIFT * abs(now - origin.updated_at), MOST_UNSURE)
        origin.opens = min(origin.opens, now + LONGEST_BAN)
        closed = max(0.0, origin.opens - now)
        return OriginReply(
            now + origin.low - drift, now + origin.high + drift, origin.is_heard, closed, origin.banned and closed > 0
        )

    def _update_pool(self, message: Message, report: PoolReport, origin: OriginReply, now: float) -> PoolReply:
        pool = self.pools.get(report.pool)
        if pool is None:
            pool = self.pools[report.pool] = _Pool(Ledger(report.limit, minute=message.minute))
        pool.ledger.lower_limit(report.limit)
        bounds = pool.ledger.latest_bounds((origin.earliest, origin.latest))
        _expire_leases(pool, message, bounds, now)
        risen = _settle(pool, message, report, now)
        bounds = pool.ledger.latest_bounds(bounds)
        granted, wait = _grant(pool, message.peer, report.demands, now, bounds)
        ledger = pool.ledger
        return PoolReply(
            granted,
            wait.seconds,
            wait.holds_up,
            risen,
            len(pool.holders),
            ledger.most_used(bounds),
            ledger.in_flight,
            ledger.cap(now),
            ledger.external.share,
            ledger.for_polls(now),
            ledger.misplaced,
            ledger.limit,
        )


def _expire_leases(pool: _Pool, message: Message, bounds: Bounds, now: float) -> None:
    """Settle as unknown what processes hold whose leases have ended: all of that may have been sent."""
    for peer, holder in list(pool.holders.items()):
        if not now <= holder.until <= now + STEP_SECONDS and peer != message.peer:
            del pool.holders[peer]
            pool.waiting.pop(peer, None)
            if holder.weight:
                heard = min(now, holder.until - message.lease)
                minutes = pool.ledger.minutes((bounds[0] - (now - heard), bounds[1] + MAX_LATENCY))
                pool.ledger.settle_unknown(holder.weight, minutes, known=now + MAX_LATENCY)


def _settle(pool: _Pool, message: Message, report: PoolReport, now: float) -> tuple[int | None, ...]:
    """Learn how calls ended; skip events that were reported before."""
    holder = pool.holders.get(message.peer)
    if holder is None:
        holder = pool.holders[message.peer] = _Holder(0, 0.0, -1)
    events = report.events if message.number > holder.number else ()
    before = report.held + sum(event.weight for event in events if isinstance(event, (Answered, Lost, Returned)))
    # What the process says about its weight counts: a reply, or the store's memory, may have been lost.
    pool.ledger.in_flight += before - holder.weight
    risen = [rise for event in events for rise in _apply(pool.ledger, event)]
    pool.holders[message.peer] = _Holder(report.held, now + message.lease, max(message.number, holder.number))
    return tuple(risen)


def _apply(ledger: Ledger, event: Event) -> tuple[int | None, ...]:
    match event:
        case Answered(weight, used, first, stop, sent, now, is_probe):
            return (ledger.settle(weight, used, range(first, stop), sent=sent, now=now, is_probe=is_probe),)
        case Lost(weight, first, stop, known):
            ledger.settle_unknown(weight, range(first, stop), known=known)
        case CallRefused(first, stop, now, full):
            ledger.observe_refusal(range(first, stop), now, full=full)
        case Heavier(times):
            ledger.raise_weight_factor(times)
        case Returned(weight, priority):
            ledger.release(weight, priority)
        case OfflineUsage(minute, used, own):
            ledger.catch_up(minute, used, own)
    return ()


def _grant(
    pool: _Pool, peer: str, demands: tuple[Demand, ...], now: float, bounds: Bounds
) -> tuple[tuple[int, ...], Wait]:
    """Grant what fits, by priority and then by order of the processes; keep a place for what does not."""
    before = pool.waiting.pop(peer, None)
    granted: list[int] = []
    first = Wait(0.0)
    for demand in demands:
        times, wait = 0, Wait(0.0)
        since = before.since if before and before.priority == demand.priority else now
        while times < demand.times:
            wait = _wait(pool, demand, since, now, bounds)
            if wait.seconds > 0:
                break
            pool.ledger.acquire(demand.weight, demand.priority, now)
            pool.holders[peer].weight += demand.weight
            times += 1
        granted.append(times)
        if times < demand.times and demand.can_wait and not first.seconds:
            first = wait
            until = now + min(wait.seconds, PLACE_SECONDS) + PLACE_SECONDS
            pool.waiting[peer] = _Waiting(demand.priority, demand.weight, since, until)
        if first.holds_up:
            # No demand behind it may use the pool.
            granted += [0] * (len(demands) - len(granted))
            break
    return tuple(granted), first


def _wait(pool: _Pool, demand: Demand, since: float, now: float, bounds: Bounds) -> Wait:
    """Return how long a demand has to wait for the ledger, and for processes that came before."""
    for waiting in pool.waiting.values():
        if now < waiting.until <= now + 2 * PLACE_SECONDS and (waiting.priority, waiting.since) < (
            demand.priority,
            since,
        ):
            before = pool.ledger.wait(waiting.weight, waiting.priority, now, bounds)
            if before.seconds == 0 or before.holds_up:
                return Wait(max(before.seconds, TURN), holds_up=True)
    return pool.ledger.wait(demand.weight, demand.priority, now, bounds)
