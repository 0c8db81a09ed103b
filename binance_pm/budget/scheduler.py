"""Which calls may go now, and when to look again: decisions without locks, tasks, clock readings or I/O.

The driver holds the lock, gives the time, and wakes the calls that `Scheduler.schedule` names.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from heapq import heapify, heappop, heappush
from typing import Final, NamedTuple

from binance_pm.budget.charges import PoolCharge, Wait
from binance_pm.budget.ledger import MAX_LATENCY
from binance_pm.budget.queue import Line, Queue
from binance_pm.budget.reservation import Reservation
from binance_pm.budget.waiting import Waiting
from binance_pm.limits import Pool, Priority

# Weight that a call has held for longer was left behind by an event loop that ended.
_LONGEST_CALL: Final = 120.0
# Timers are not moved by less: the exchange's clock is not known more exactly.
_TOLERANCE: Final = 0.01

LookAt = Callable[[float, float, float], float]
"""When to look again at the head of a line, by the time at which it may fit, its deadline, and now."""


class Decision(NamedTuple):
    """The longest wait among the pools of a call."""

    seconds: float
    held: tuple[Pool, ...] = ()
    """Pools that no call behind it may use meanwhile."""
    for_all: bool = False
    """Whether the first pool has no room, so that no call in the line can go."""
    blocked_by: Pool | None = None
    """Another pool that has no room, such as the account's own."""
    soonest: float = math.inf
    """Seconds until one of the held pools may be free for the calls behind, whatever else this call waits for."""


_FITS: Final = Decision(0.0)
# A call in front waits for a pool of this one, and has its timer.
_BEHIND: Final = Decision(math.inf)


class Scheduler:
    """The calls that wait for weight, and those that hold it."""

    def __init__(self) -> None:
        self.queue: Final[Queue[Reservation]] = Queue()
        self.open: Final[dict[Reservation, float]] = {}
        """The calls that hold weight, in the order of admission, and since when."""

    def admit(self, reservation: Reservation, now: float) -> None:
        """Acquire the weight of a call that fits."""
        for _, ledger, weight in reservation.charges:
            ledger.acquire(weight, reservation.priority, now)
        self.open[reservation] = now
        reservation.admitted_at = now

    def schedule(self, now: float, look_at: LookAt) -> tuple[list[Reservation], list[Reservation]]:
        """Admit every call that fits: by priority, then by turns of the accounts, then by arrival.

        Returns:
            The calls that were admitted, and those that have to look again earlier than their timers go off.
        """
        admitted: list[Reservation] = []
        earlier: list[Reservation] = []
        lines = list(self.queue)
        heads = [head for line in lines for head in head_of(line)]
        heapify(heads)
        held: set[Pool] = set()
        while heads:
            *_, reservation, line = heappop(heads)
            if line.pool in held:
                continue
            wait = self.decide(reservation, now) if held.isdisjoint(reservation.pools) else _BEHIND
            if not wait.seconds:
                self.queue.serve(line)
                self.admit(reservation, now)
                admitted.append(reservation)
            else:
                held.update(wait.held)
                at = look_at(now + min(wait.seconds, wait.soonest), reservation.deadline, now)
                if at < reservation.looks_at - _TOLERANCE:
                    reservation.looks_at = at
                    earlier.append(reservation)
                if wait.for_all:
                    continue
                line.pass_over(wait.blocked_by)
            for head in head_of(line):
                heappush(heads, head)
        for line in lines:
            line.resume(None)
        return admitted, earlier

    def decide(self, reservation: Reservation, now: float) -> Decision:
        """Return the longest wait among the pools of a call; a closed gate is a wait in all of them."""
        if reservation.gate.until > now:
            return Decision(reservation.gate.wait(now), reservation.pools, for_all=True)
        if len(reservation.charges) > 1 and (denied := denied_pools(reservation, now)):
            holding = {pool: wait.seconds for pool, wait in denied.items() if wait.holds_up}
            longest = max(wait.seconds for wait in denied.values())
            for_all = reservation.pools[0] in denied
            soonest = min(holding.values(), default=math.inf)
            return Decision(longest, tuple(holding), for_all, next(reversed(denied)), soonest)
        bounds = reservation.clock.bounds(now)
        longest = _FITS
        for pool, ledger, weight in reservation.charges:
            seconds, holds_up = ledger.wait(weight, reservation.priority, now, bounds)
            if seconds:
                held = (*longest.held, pool) if holds_up else longest.held
                for_all = longest.for_all or pool is reservation.pools[0]
                soonest = min(seconds, longest.soonest) if holds_up else longest.soonest
                longest = Decision(max(seconds, longest.seconds), held, for_all, pool, soonest)
        return longest

    def release(self, reservation: Reservation) -> bool:
        """Free the weight of a call that was never sent; return whether the call held any."""
        if self.open.pop(reservation, None) is None:
            return False
        reservation.is_settled = True
        for _, ledger, weight in reservation.charges:
            ledger.release(weight, reservation.priority)
        self.queue.resume(reservation.pools)
        return True

    def settle_unknown(self, reservation: Reservation, sent: float, gave_up: float, now: float) -> None:
        """Settle a call that was sent and got no response: the exchange may count it, now or in a moment."""
        if self.open.pop(reservation, None) is None:
            return
        reservation.is_settled = True
        earliest, latest = reservation.clock.bounds(now)
        for _, ledger, weight in reservation.charges:
            minutes = ledger.minutes((earliest - (now - sent), latest - (now - gave_up) + MAX_LATENCY))
            ledger.settle_unknown(weight, minutes, known=gave_up + MAX_LATENCY)
        self.queue.resume(reservation.pools)

    def expire(self, now: float) -> None:
        """Settle as unknown the calls that an ended event loop has left behind."""
        while self.open and (since := next(iter(self.open.values()))) < now - _LONGEST_CALL:
            reservation = next(iter(self.open))
            self.settle_unknown(reservation, reservation.sent_at or since, since + _LONGEST_CALL, now)

    def settle_all(self, now: float) -> None:
        """Settle every call that holds weight as unknown."""
        for reservation, since in list(self.open.items()):
            self.settle_unknown(reservation, reservation.sent_at or since, now, now)

    def pools(self) -> set[Pool]:
        """Return the pools that any call waits for or holds weight of."""
        used = {pool for line in self.queue for reservation in line for pool in reservation.pools}
        used.update(pool for reservation in self.open for pool in reservation.pools)
        return used

    def waiting(self, now: float) -> Iterator[tuple[Reservation, Waiting]]:
        """Iterate over the calls in the queue and what they wait for, which is computed once for equal charges."""
        for line in self.queue:
            known: dict[tuple[PoolCharge, ...], Waiting] = {}
            for reservation in line:
                why = known.get(reservation.charges)
                if why is None:
                    why = known[reservation.charges] = waiting_of(reservation, now)
                yield reservation, why


def denied_pools(reservation: Reservation, now: float) -> dict[Pool, Wait]:
    """Return those of several pools that have no room for a call by the latest reply of the store."""
    if len(reservation.charges) == 1:
        return {}
    waits = (
        (pool, ledger.known_wait(weight, reservation.priority, now)) for pool, ledger, weight in reservation.charges
    )
    return {pool: wait for pool, wait in waits if wait.seconds}


Head = tuple[Priority, float, int, Reservation, Line[Reservation]]


def head_of(line: Line[Reservation]) -> list[Head]:
    """Return the next call of a line, if there is one, to be sorted among those of the other lines."""
    head = line.head()
    return [(line.priority, head[0], head[1].ticket, head[1], line)] if head else []


def waiting_of(reservation: Reservation, now: float) -> Waiting:
    """Return what a call waits for, whether it is in the queue or has its weight."""
    origin = reservation.origin
    if reservation.sent_at is not None:
        return Waiting(reason="response", origin=origin, seconds=now - reservation.sent_at)
    if reservation.admitted_at is not None:
        return Waiting(reason="connection", origin=origin, seconds=now - reservation.admitted_at)
    if closed := reservation.gate.wait(now):
        return Waiting(reason="gate", origin=origin, seconds=closed)
    bounds = reservation.clock.bounds(now)
    worst = Waiting(reason="turn", origin=origin)
    longest = 0.0
    for pool, ledger, weight in reservation.charges:
        seconds = ledger.wait(weight, reservation.priority, now, bounds).seconds
        if seconds > longest:
            longest = seconds
            worst = Waiting(
                reason=ledger.why(weight, reservation.priority, now, bounds),
                origin=origin,
                pool=pool.name,
                seconds=seconds if math.isfinite(seconds) else None,
                used=ledger.most_used(bounds),
                limit=ledger.limit,
                external=ledger.external_share,
            )
    return worst
