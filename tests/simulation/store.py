"""The store of a shared budget in memory: what the script in Redis or Valkey does, said in Python."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from random import Random
from typing import Final

import msgspec

from binance_pm.budget.gate import LONGEST_BAN
from binance_pm.budget.ledger import LONGEST_WAY, Ledger, Wait
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
from binance_pm.limits import Pool, Priority
from binance_pm.redis_client import StoreLost

# Its clock has nothing to do with that of the processes.
AHEAD: Final = 1e6
# Seconds of a message on its way, and those after which a process stops waiting.
WAY: Final = (0.0003, 0.002)
TIMEOUT: Final = 0.25
# Seconds after which every process is back and has told what it did without the store.
SETTLED: Final = 3.0


class _Host(msgspec.Struct):
    low: float
    """The exchange's clock less the store's, at the earliest, as it was told last."""
    high: float
    told: float
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
        self._hosts: Final[dict[str, _Host]] = {}
        self._pools: Final[dict[str, _Pool]] = {}
        self._swept = -math.inf

    def exchange(self, message: Message, now: float) -> Reply:
        """One step."""
        before = len(self._hosts) + len(self._pools)
        hosts = tuple(self._hear_host(report, now) for report in message.origins)
        pools = tuple(self._hear_pool(message, report, hosts[report.host], now) for report in message.pools)
        if len(self._hosts) + len(self._pools) > before:
            self._sweep(now)
        return Reply(now, hosts, pools)

    def _sweep(self, now: float) -> None:
        """Forget what nobody has used for long; only where something came can too much be there."""
        if now < self._swept + UNUSED_SECONDS:
            return
        self._swept = now
        for name, host in list(self._hosts.items()):
            if max(host.told, host.opens) + UNUSED_SECONDS < now:
                del self._hosts[name]
        for name, pool in list(self._pools.items()):
            if max(holder.until for holder in pool.holders.values()) + UNUSED_SECONDS < now:
                del self._pools[name]

    def _hear_host(self, report: OriginReport, now: float) -> OriginReply:
        host = self._hosts.get(report.origin)
        if host is None:
            host = self._hosts[report.origin] = _Host(0.0, 0.0, now, is_heard=False)
        if report.is_heard or not host.is_heard:
            host.low, host.high, host.told = report.earliest - now, report.latest - now, now
            host.is_heard = report.is_heard
        if report.closed:
            host.banned = report.banned or (host.banned and host.opens > now)
            host.opens = max(host.opens, now + report.closed)
        drift = min(DRIFT * abs(now - host.told), MOST_UNSURE)
        host.opens = min(host.opens, now + LONGEST_BAN)
        closed = max(0.0, host.opens - now)
        return OriginReply(
            now + host.low - drift, now + host.high + drift, host.is_heard, closed, host.banned and closed > 0
        )

    def _hear_pool(self, message: Message, report: PoolReport, host: OriginReply, now: float) -> PoolReply:
        pool = self._pools.get(report.pool)
        if pool is None:
            pool = self._pools[report.pool] = _Pool(Ledger(report.limit, minute=message.minute))
        pool.ledger.lower_limit(report.limit)
        bounds = pool.ledger.latest_bounds((host.earliest, host.latest))
        _bury(pool, message, bounds, now)
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

    def held(self, pool: Pool, now: float) -> int | None:
        """The most that the exchange can have counted; None where no count was heard."""
        known, host = self._pools.get(name_of(pool)), self._hosts.get(pool.origin)
        if known is None or host is None or known.ledger._told == -math.inf:
            return None
        return known.ledger.most_used((now + host.low, now + host.high))


class RemoteStore:
    """A store in memory behind a network, where things happen to it.

    Args:
        clock: what time it is.
        reaches: whether a process of that number can reach it now.
        emptied: when it is started anew without its memory, by the same clock.
        random: decides how long messages are on their way.
    """

    def __init__(
        self, clock: Callable[[], float], reaches: Callable[[int], bool], emptied: float | None, random: Random
    ) -> None:
        self._clock: Final = clock
        self._reaches: Final = reaches
        self._emptied = math.inf if emptied is None else emptied
        self._random: Final = random
        self._store = MemoryStore()
        self._unsettled_until = -math.inf

    async def exchange(self, message: Message, number: int) -> Reply:
        """Carry a message there and the reply back.

        Raises:
            StoreLost: one of them got lost.
        """
        await self._travel(number)
        now = self._clock()
        if now >= self._emptied:
            self._store, self._emptied = MemoryStore(), math.inf
            self._unsettled_until = now + SETTLED
        reply = self._store.exchange(message, now + AHEAD)
        await self._travel(number)
        return reply

    def held(self, pool: Pool) -> int | None:
        """What it holds; None where some process did without it of late, or it has lost its memory."""
        now = self._clock()
        if now < self._unsettled_until:
            return None
        return self._store.held(pool, now + AHEAD)

    async def _travel(self, number: int) -> None:
        await asyncio.sleep(self._random.uniform(*WAY))
        if not self._reaches(number):
            self._unsettled_until = self._clock() + SETTLED
            await asyncio.sleep(TIMEOUT)
            raise StoreLost("no reply")


def name_of(pool: Pool) -> str:
    """What processes call a pool."""
    return "|".join(pool)


def _bury(pool: _Pool, message: Message, bounds: tuple[float, float], now: float) -> None:
    """Take the processes for dead whose leases have ended: what they held may have been sent all the while."""
    for peer, holder in list(pool.holders.items()):
        if not now <= holder.until <= now + STEP_SECONDS and peer != message.peer:
            del pool.holders[peer]
            pool.waiting.pop(peer, None)
            if holder.weight:
                heard = min(now, holder.until - message.lease)
                minutes = pool.ledger.minutes((bounds[0] - (now - heard), bounds[1] + LONGEST_WAY))
                pool.ledger.settle_unknown(holder.weight, minutes, known=now + LONGEST_WAY)


def _settle(pool: _Pool, message: Message, report: PoolReport, now: float) -> tuple[int | None, ...]:
    """Learn how calls ended; an event that was told before is passed over."""
    holder = pool.holders.get(message.peer)
    if holder is None:
        holder = pool.holders[message.peer] = _Holder(0, 0.0, -1)
    events = report.events if message.number > holder.number else ()
    before = report.held + sum(event.weight for event in events if isinstance(event, (Answered, Lost, Returned)))
    # What the process says it holds is so: a reply, or the store's memory, may have been lost.
    pool.ledger.in_flight += before - holder.weight
    risen = [told for event in events for told in _apply(pool.ledger, event)]
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
    pool: _Pool, peer: str, demands: tuple[Demand, ...], now: float, bounds: tuple[float, float]
) -> tuple[tuple[int, ...], Wait]:
    """Grant what fits, in the order of the priorities and then of the processes; keep a place for what does not."""
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
            # Nobody behind it may use the pool.
            granted += [0] * (len(demands) - len(granted))
            break
    return tuple(granted), first


def _wait(pool: _Pool, demand: Demand, since: float, now: float, bounds: tuple[float, float]) -> Wait:
    """How long a demand has to wait for the ledger, and for other processes that came before."""
    for waiting in pool.waiting.values():
        if now < waiting.until <= now + 2 * PLACE_SECONDS and (waiting.priority, waiting.since) < (
            demand.priority,
            since,
        ):
            theirs = pool.ledger.wait(waiting.weight, waiting.priority, now, bounds)
            if theirs.seconds == 0 or theirs.holds_up:
                return Wait(max(theirs.seconds, TURN), holds_up=True)
    return pool.ledger.wait(demand.weight, demand.priority, now, bounds)
