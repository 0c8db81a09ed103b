"""The store of a shared budget in memory: the specification of ``store.lua``."""

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
    OfflineUsage,
    OriginReply,
    OriginReport,
    PoolReply,
    PoolReport,
    Returned,
    StoreMessage,
    StoreReply,
)
from binance_pm.budget.shared.redis import PLACE_SECONDS, STEP_SECONDS, TURN, UNUSED_SECONDS
from binance_pm.clock import DRIFT, MOST_UNSURE
from binance_pm.limits import Priority


class StoredOrigin(msgspec.Struct):
    """One origin."""

    low: float
    """The exchange's clock less the store's, at the earliest, by the latest report."""
    high: float
    updated_at: float
    is_synchronised: bool
    opens: float = 0.0
    banned: bool = False


class Holder(msgspec.Struct):
    """A process with leased weight."""

    weight: int
    until: float
    """The end of the lease."""
    number: int
    """Of the last message."""


class WaitingDemand(msgspec.Struct):
    """A demand that keeps its place."""

    priority: Priority
    weight: int
    since: float
    until: float


class StoredPool(msgspec.Struct):
    """One pool."""

    ledger: Ledger
    holders: dict[str, Holder] = {}
    waiting: dict[str, WaitingDemand] = {}


class MemoryStore:
    """The ledgers of one egress IP."""

    def __init__(self) -> None:
        self.origins: Final[dict[str, StoredOrigin]] = {}
        self.pools: Final[dict[str, StoredPool]] = {}
        self._swept = -math.inf

    def exchange(self, message: StoreMessage, now: float) -> StoreReply:
        """Process a message atomically."""
        before = len(self.origins) + len(self.pools)
        origins = tuple(self._update_origin(report, now) for report in message.origins)
        pools = tuple(self._update_pool(message, report, origins[report.origin], now) for report in message.pools)
        if len(self.origins) + len(self.pools) > before:
            self._sweep(now)
        return StoreReply(now, origins, pools)

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
            origin = self.origins[report.origin] = StoredOrigin(0.0, 0.0, now, is_synchronised=False)
        if report.is_synchronised or not origin.is_synchronised:
            origin.low, origin.high, origin.updated_at = report.earliest - now, report.latest - now, now
            origin.is_synchronised = report.is_synchronised
        if report.closed:
            origin.banned = report.banned or (origin.banned and origin.opens > now)
            origin.opens = max(origin.opens, now + report.closed)
        drift = min(DRIFT * abs(now - origin.updated_at), MOST_UNSURE)
        origin.opens = min(origin.opens, now + LONGEST_BAN)
        closed = max(0.0, origin.opens - now)
        return OriginReply(
            now + origin.low - drift,
            now + origin.high + drift,
            origin.is_synchronised,
            closed,
            origin.banned and closed > 0,
        )

    def _update_pool(self, message: StoreMessage, report: PoolReport, origin: OriginReply, now: float) -> PoolReply:
        pool = self.pools.get(report.pool)
        if pool is None:
            pool = self.pools[report.pool] = StoredPool(Ledger(report.limit, minute=message.minute))
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


def _expire_leases(pool: StoredPool, message: StoreMessage, bounds: Bounds, now: float) -> None:
    """Settle as unknown what processes hold whose leases have ended: all of that may have been sent."""
    for peer, holder in list(pool.holders.items()):
        if not now <= holder.until <= now + STEP_SECONDS and peer != message.peer:
            del pool.holders[peer]
            pool.waiting.pop(peer, None)
            if holder.weight:
                renewed_at = min(now, holder.until - message.lease)
                minutes = pool.ledger.minutes((bounds[0] - (now - renewed_at), bounds[1] + MAX_LATENCY))
                pool.ledger.settle_unknown(holder.weight, minutes, known=now + MAX_LATENCY)


def _settle(pool: StoredPool, message: StoreMessage, report: PoolReport, now: float) -> tuple[int | None, ...]:
    """Learn how calls ended; skip events that were reported before."""
    holder = pool.holders.get(message.peer)
    if holder is None:
        holder = pool.holders[message.peer] = Holder(0, 0.0, -1)
    events = report.events if message.number > holder.number else ()
    before = report.held + sum(event.weight for event in events if isinstance(event, (Answered, Lost, Returned)))
    # What the process says about its weight counts: a reply, or the store's memory, may have been lost.
    pool.ledger.in_flight += before - holder.weight
    risen = [rise for event in events for rise in _apply(pool.ledger, event)]
    pool.holders[message.peer] = Holder(report.held, now + message.lease, max(message.number, holder.number))
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
    pool: StoredPool, peer: str, demands: tuple[Demand, ...], now: float, bounds: Bounds
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
            pool.waiting[peer] = WaitingDemand(demand.priority, demand.weight, since, until)
        if first.holds_up:
            # No demand behind it may use the pool.
            granted += [0] * (len(demands) - len(granted))
            break
    return tuple(granted), first


def _wait(pool: StoredPool, demand: Demand, since: float, now: float, bounds: Bounds) -> Wait:
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
