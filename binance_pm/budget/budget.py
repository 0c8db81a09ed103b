"""The pools of one egress IP, and the queue in front of them."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Mapping
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Final, Self
from weakref import WeakSet

import anyio
import msgspec

from binance_pm.budget.gate import Gate
from binance_pm.budget.ledger import Ledger
from binance_pm.budget.pools import RULES, Charge, Family, Kind, Pool
from binance_pm.budget.wake import Wake, waker
from binance_pm.clock import ServerClock
from binance_pm.errors import BudgetExceeded, Call, GateClosed, IpBanned, closes_gate, error_of
from binance_pm.transport import HttpAnswer

_log = logging.getLogger(__name__)

# A request that got no answer can still be on its way for this long.
_LONGEST_WAY: Final = 10.0
# A reservation older than this was left behind by an event loop that ended in the middle of a call.
_LONGEST_CALL: Final = 120.0
# Bans last two minutes to three days (general-info, read 2026-11-21); the firewall (403) publishes nothing.
_SHORTEST_BAN: Final = 120.0
_LONGEST_BAN: Final = 3 * 86400.0
_FIREWALL_WAIT: Final = 60.0
# Timers are not moved for less: the exchange's clock is not known better.
_TOLERANCE: Final = 0.01
# A gate that closes for so much longer is told in the log.
_NEWS: Final = 1.5


class PoolState(msgspec.Struct, frozen=True):
    """One pool at one moment, in weight of the current minute."""

    pool: Pool
    limit: int
    used: int
    """The most that the exchange can have counted, calls on their way included."""
    in_flight: int
    """Of it: calls that were neither answered nor given up."""


class Budget:
    """What one egress IP may spend, shared by every client behind it.

    It may be used from several event loops and threads at once.

    Args:
        limits: the limit of a kind in a family, where it differs from `RULES`.
        minute: seconds of the exchange's minute; only a test exchange has another than 60.
        monotonic: this machine's clock that never steps, in seconds.
        wall: this machine's wall clock, used until the exchange was heard.
        sleep: waits for seconds of the monotonic clock.
    """

    def __init__(
        self,
        *,
        limits: Mapping[tuple[Family, Kind], int] | None = None,
        minute: float = 60.0,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._limits: Final = {key: rule.limit for key, rule in RULES.items()} | dict(limits or {})
        self._minute: Final = minute
        self.monotonic: Final = monotonic
        self._wall: Final = wall
        self.sleep: Final = sleep
        self._lock: threading.RLock = threading.RLock()
        self._clocks: Final[dict[str, ServerClock]] = {}
        self._gates: Final[dict[str, Gate]] = {}
        self._ledgers: Final[dict[Pool, Ledger]] = {}
        self._queues: Final[dict[tuple[Pool, ...], OrderedDict[int, Reservation]]] = {}
        self._open: Final[dict[Reservation, float]] = {}
        """Who holds weight, in the order of admission, and since when."""
        _budgets.add(self)

    def __repr__(self) -> str:
        pools = ", ".join(f"{s.pool.kind} {s.pool.path or s.pool.family} {s.used}/{s.limit}" for s in self.snapshot())
        return f"Budget({pools or 'unused'}, {self.waiting} waiting)"

    @property
    def waiting(self) -> int:
        """How many calls wait for weight or for a gate."""
        with self._lock:
            return sum(map(len, self._queues.values()))

    def clock(self, host: str) -> ServerClock:
        """The clock of one host of the exchange."""
        with self._lock:
            return self._clocks.setdefault(host, ServerClock(monotonic=self.monotonic, wall=self._wall))

    def snapshot(self) -> list[PoolState]:
        """Every pool that was drawn on."""
        with self._lock:
            return [self._state(pool, ledger) for pool, ledger in self._ledgers.items()]

    def reserve(self, charges: tuple[Charge, ...], *, call: Call, max_wait: float) -> Reservation:
        """Weight for one call in all the pools it is counted in: enter it to wait for it and take it.

        Args:
            charges: what the call costs, in pools of one host.
            call: names the call in an error.
            max_wait: seconds to wait at most.

        Raises:
            BudgetExceeded: on entering, as soon as it is known that the wait would be longer.
            GateClosed: on entering, where the host's gate stays closed for longer.
        """
        return Reservation(self, charges, call, self.monotonic() + max_wait)

    async def admit(self, reservation: Reservation) -> None:
        """Wait until the reservation's weight is taken."""
        with self._lock:
            if not self._queues and self._wait(reservation) == 0:
                self._take(reservation)
                return
            self._queues.setdefault(reservation.pools, OrderedDict())[reservation.ticket] = reservation
            self._dispatch()
            if reservation.admitted:
                return
        try:
            await self._stand(reservation)
        except BaseException:
            with self._lock:
                self._leave(reservation)
            raise

    def depart(self, reservation: Reservation) -> float:
        """The moment in which a call's first byte leaves.

        Raises:
            GateClosed: the host refused somebody since the weight was taken. Nothing may be sent.
            BudgetExceeded: the weight was given up in the meantime.
        """
        now = self.monotonic()
        with self._lock:
            if self.gate(reservation.host).wait(now):
                raise self._closed(reservation)
            if reservation not in self._open:
                raise BudgetExceeded(reservation.call, "sending began too long after its turn had come", wait=0.0)
        return now

    def cancel(self, reservation: Reservation) -> None:
        """Settle a call that never left: its weight is free again."""
        with self._lock:
            if self._open.pop(reservation, None) is None:
                return
            for pool, weight in reservation.charges:
                self._ledger(pool).cancel(weight)
            self._dispatch()

    def lose(self, reservation: Reservation, departed: float) -> None:
        """Settle a call that left and got no answer: it may be counted, now or in a moment."""
        with self._lock:
            self._lose(reservation, departed, self.monotonic())
            self._dispatch()

    def answer(self, reservation: Reservation, departed: float, answer: HttpAnswer) -> None:
        """Settle a call that was answered: learn the count, the time, and whether the gate closes."""
        now = self.monotonic()
        with self._lock:
            clock = self.clock(reservation.host)
            if (date := answer.date) is not None:
                clock.hear(date, date + 1, asked=departed, answered=now)
            error = error_of(reservation.call, answer)
            if closes_gate(error):
                self._close_gate(reservation.host, answer, now, banned=isinstance(error, IpBanned))
            if self._open.pop(reservation, None) is None:
                return
            earliest, latest = clock.bounds()
            for pool, weight in reservation.charges:
                ledger = self._ledger(pool)
                minutes = ledger.minutes((earliest - (now - departed), latest))
                used = answer.used(RULES[pool.family, pool.kind].header)
                ledger.answer(weight, used, minutes, sent=departed, now=now, is_probe=answer.status < 500)
            self._dispatch()

    def hear(self, host: str, earliest: float, latest: float, *, asked: float) -> None:
        """Learn that the host's clock showed something in [earliest, latest] since the monotonic time `asked`."""
        now = self.monotonic()
        with self._lock:
            self.clock(host).hear(earliest, latest, asked=asked, answered=now)
            self._dispatch()

    def gate(self, host: str) -> Gate:
        """The gate of one host of the exchange."""
        with self._lock:
            return self._gates.setdefault(host, Gate())

    def restart(self) -> None:
        """Begin anew in a process without the tasks that wait and send, such as the child of a fork."""
        self._lock = threading.RLock()
        self._queues.clear()
        for reservation, taken in list(self._open.items()):
            self._lose(reservation, reservation.departed_at or taken, self.monotonic())

    async def _stand(self, reservation: Reservation) -> None:
        """Stand in the queue; whoever is at its head holds the timer."""
        while True:
            with anyio.CancelScope() as scope:
                with self._lock:
                    reservation.wake, reservation.looks_at = _is_awake, reservation.deadline
                    self._dispatch()
                    if reservation.admitted:
                        return
                    patience = self._patience(reservation)
                    reservation.wake = waker(scope.cancel)
                await self.sleep(patience)

    def _patience(self, reservation: Reservation) -> float:
        """Seconds until there is reason to look again, or the error that waiting would end in."""
        now = self.monotonic()
        left = reservation.deadline - now
        wait = self._wait(reservation)
        never = not all(self._ledger(pool).fits_ever(weight) for pool, weight in reservation.charges)
        if never or left <= 0 or left < wait < math.inf:
            raise self._refusal(reservation, wait, never=never)
        return min(left, reservation.looks_at - now)

    def _refusal(self, reservation: Reservation, wait: float, *, never: bool) -> BudgetExceeded | GateClosed:
        left = reservation.deadline - self.monotonic()
        if never:
            what = "it weighs more than the exchange allows in a minute"
        elif self.gate(reservation.host).wait(self.monotonic()) > max(left, 0.0):
            return self._closed(reservation)
        elif left < wait < math.inf:
            what = f"its weight is free in {wait:.1f} s at the earliest, later than max_wait allows"
        else:
            what = "the calls before it were not served in the time that max_wait allows"
        return BudgetExceeded(reservation.call, what, wait=math.inf if never else wait)

    def _closed(self, reservation: Reservation) -> GateClosed:
        now = self.monotonic()
        gate = self.gate(reservation.host)
        until = self.clock(reservation.host).milliseconds() / 1000 + gate.wait(now)
        banned = gate.is_banned(now)
        what = f"the gate of {reservation.host} is closed for {gate.wait(now):.1f} s more" + " by a ban" * banned
        return GateClosed(reservation.call, what, until=until, banned=banned)

    def _wait(self, reservation: Reservation) -> float:
        return max(wait for _, wait in self._waits(reservation))

    def _waits(self, reservation: Reservation) -> Iterator[tuple[Pool, float]]:
        """For each pool of a call, the seconds until it has room; a closed gate is a wait in all of them."""
        closed = self.gate(reservation.host).wait(self.monotonic())
        bounds = self.clock(reservation.host).bounds()
        for pool, weight in reservation.charges:
            yield pool, max(closed, self._ledger(pool).wait(weight, bounds))

    def _dispatch(self) -> None:
        """Admit whoever fits, in the order of arrival; nobody overtakes in a pool that an earlier one waits for."""
        self._give_up_forgotten()
        heads = [(next(iter(queue)), pools) for pools, queue in self._queues.items()]
        heapify(heads)
        awaited: set[Pool] = set()
        while heads:
            ticket, pools = heappop(heads)
            reservation = self._queues[pools][ticket]
            if not awaited.isdisjoint(pools):
                continue
            lacking = {pool: wait for pool, wait in self._waits(reservation) if wait > 0}
            if lacking:
                awaited.update(lacking)
                self._advance_timer(reservation, self.monotonic() + max(lacking.values()))
                continue
            self._drop(reservation)
            if reservation.wake():
                self._take(reservation)
            if pools in self._queues:
                heappush(heads, (next(iter(self._queues[pools])), pools))

    def _advance_timer(self, reservation: Reservation, at: float) -> None:
        """Wake the first in a queue whose timer would go off later than it now has reason to."""
        if at < reservation.looks_at - _TOLERANCE:
            reservation.looks_at = at
            if not reservation.wake():
                self._drop(reservation)

    def _take(self, reservation: Reservation) -> None:
        bounds = self.clock(reservation.host).bounds()
        for pool, weight in reservation.charges:
            self._ledger(pool).reserve(weight, bounds)
        self._open[reservation] = self.monotonic()
        reservation.admitted = True

    def _drop(self, reservation: Reservation) -> None:
        queue = self._queues.get(reservation.pools)
        if queue is not None and queue.pop(reservation.ticket, None) is not None and not queue:
            del self._queues[reservation.pools]

    def _leave(self, reservation: Reservation) -> None:
        if reservation.admitted:
            self.cancel(reservation)
        else:
            self._drop(reservation)
            self._dispatch()

    def _lose(self, reservation: Reservation, departed: float, gave_up: float) -> None:
        if self._open.pop(reservation, None) is None:
            return
        now = self.monotonic()
        earliest, latest = self.clock(reservation.host).bounds()
        for pool, weight in reservation.charges:
            ledger = self._ledger(pool)
            minutes = ledger.minutes((earliest - (now - departed), latest - (now - gave_up) + _LONGEST_WAY))
            ledger.lose(weight, minutes, known=gave_up + _LONGEST_WAY)

    def _give_up_forgotten(self) -> None:
        """Count as lost what an event loop that ended has left behind; it would hold its weight for good."""
        now = self.monotonic()
        while self._open and (taken := next(iter(self._open.values()))) < now - _LONGEST_CALL:
            reservation = next(iter(self._open))
            self._lose(reservation, reservation.departed_at or taken, taken + _LONGEST_CALL)

    def _close_gate(self, host: str, answer: HttpAnswer, now: float, *, banned: bool) -> None:
        earliest, latest = self.clock(host).bounds()
        # The bounds are as wide as an absurd `Date` has made them.
        turn = min(self._minute * (math.floor(latest / self._minute) + 1) - earliest, 2 * self._minute)
        told = answer.retry_after or 0.0
        if banned:
            ends = answer.banned_until
            wait = max(told, ends - earliest if ends else 0.0) or _SHORTEST_BAN
        elif answer.status == 403:
            wait = max(told, _FIREWALL_WAIT)
        else:
            wait = max(told, turn)
        wait = min(wait, _LONGEST_BAN)
        gate = self.gate(host)
        # Every call that was on its way brings the same news.
        if wait > gate.wait(now) + _NEWS:
            _log.warning("%s answered HTTP %d: nothing is sent to it for %.1f s", host, answer.status, wait)
        gate.close(now + wait, banned=banned)

    def _ledger(self, pool: Pool) -> Ledger:
        ledger = self._ledgers.get(pool)
        if ledger is None:
            ledger = Ledger(self._limits[pool.family, pool.kind], minute=self._minute)
            self._ledgers[pool] = ledger
        return ledger

    def _state(self, pool: Pool, ledger: Ledger) -> PoolState:
        return PoolState(pool, ledger.limit, ledger.most_used(self.clock(pool.host).bounds()), ledger.in_flight)


class Reservation:
    """Weight taken for one call; it ends in exactly one of answered, lost, or cancelled before sending.

    Enter it to take the weight. Leaving it settles what was not: as lost where the request departed, as cancelled
    where it did not.
    """

    def __init__(self, budget: Budget, charges: tuple[Charge, ...], call: Call, deadline: float) -> None:
        self.charges: Final = charges
        self.pools: Final = tuple(pool for pool, _ in charges)
        self.call: Final = call
        self.deadline: Final = deadline
        self.ticket: Final = next(_tickets)
        """The place in the order of arrival."""
        self.looks_at: float = deadline
        """Monotonic time at which it looks again whether it fits."""
        self.admitted: bool = False
        self.departed_at: float | None = None
        """Monotonic time before its first byte left."""
        self.wake: Wake = _is_awake
        self._budget: Final = budget

    @property
    def host(self) -> str:
        """The host whose pools are drawn on."""
        return self.pools[0].host

    @property
    def departed(self) -> bool:
        """Whether the request may have left this machine."""
        return self.departed_at is not None

    async def __aenter__(self) -> Self:
        await self._budget.admit(self)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.departed_at is None:
            self._budget.cancel(self)
        else:
            self._budget.lose(self, self.departed_at)

    def depart(self) -> None:
        """Say that the first byte is about to leave.

        Raises:
            GateClosed: the gate has closed since the weight was taken. Nothing may be sent.
        """
        self.departed_at = self._budget.depart(self)

    def stay(self) -> None:
        """Take `depart` back: the transport knows that no byte left."""
        self.departed_at = None

    def answer(self, answer: HttpAnswer) -> None:
        """Settle with the exchange's answer, whatever its status."""
        assert self.departed_at is not None, "an answer to a request that never departed"  # noqa: S101
        self._budget.answer(self, self.departed_at, answer)


_tickets: Final = count()


def _is_awake() -> bool:
    """What wakes a reservation whose task has not gone to sleep yet."""
    return True


_budgets: Final[WeakSet[Budget]] = WeakSet()


def _after_fork() -> None:
    """A child process has none of its parent's tasks: what they hold is lost to it, who waited is gone."""
    for budget in _budgets:
        budget.restart()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
