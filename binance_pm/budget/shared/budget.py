"""A budget that several processes share through a store."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Final, Protocol

import anyio

from binance_pm.budget.budget import Budget, Decision, head_of
from binance_pm.budget.events import Refused
from binance_pm.budget.gate import LONGEST_BAN, Gate
from binance_pm.budget.ledger import Ledger, Wait
from binance_pm.budget.reservation import PoolCharge, Reservation
from binance_pm.budget.shared.coordinator import WAY, Coordinator, ReplyResult
from binance_pm.budget.shared.leased_pool import MOST_CALLS, OVERDUE_SECONDS, LeasedPool
from binance_pm.budget.shared.messages import Message, OriginReply, OriginReport, Reply
from binance_pm.errors import BudgetExceeded, CallInfo, LimitHit
from binance_pm.limits import Charge, Family, LimitType, Pool, Priority
from binance_pm.transport.http import HttpResponse

_log = logging.getLogger(__name__)

# However little time a call has, the store is asked.
_LEAST_WAIT: Final = OVERDUE_SECONDS + 0.1
_TICK: Final = 0.02
# A gate that is closed for so much longer is told.
_NEWS: Final = 1.5


class Worker(Protocol):
    """Carries the messages of one budget to its store, one at a time, when they are due."""

    def wake(self) -> None:
        """Look again when the next message is due; it is called from any thread and must be quick."""
        ...

    def restart(self) -> None:
        """Begin anew in the child of a fork, with a connection of its own."""
        ...

    def close(self, leave_message: Message | None = None) -> None:
        """End when the store was told that the process leaves; a later `wake` begins anew.

        Args:
            leave_message: the last message, where the budget is no more.
        """
        ...


class SharedBudget(Budget):
    """What one egress IP may spend, shared by every process that draws on the same store.

    `Budget.shared` makes one. It is used as any other budget.

    Args:
        hire: what carries the messages of the budget.
        limits: the limit of a kind in a family, where it differs from `LIMITS`.
        minute: seconds of the exchange's minute; only a test exchange has another than 60.
        processes: how many share it, while the store was never reached.
        bans: a file in which bans outlive the program besides; the store keeps them anyway.
        egress: names the way out in that file.
        monotonic: this machine's clock that never steps, in seconds.
        wall: this machine's wall clock, used until the exchange was heard.
        sleep: waits for seconds of the monotonic clock.
    """

    def __init__(
        self,
        start_worker: Callable[[SharedBudget], Worker],
        *,
        limits: Mapping[tuple[Family, LimitType], int] | None = None,
        minute: float = 60.0,
        processes: int = 4,
        bans: Path | None = None,
        egress: str = "",
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        super().__init__(
            limits=limits, minute=minute, bans=bans, egress=egress, monotonic=monotonic, wall=wall, sleep=sleep
        )
        self._expected: Final = processes
        self._leased_pools: Final[dict[Pool, LeasedPool]] = {}
        self._worker: Final = start_worker(self)
        self._coordinator: Coordinator = self._new_coordinator()

    def __del__(self) -> None:
        # Whoever carries the messages knows the budget by a weak reference: nobody else can build the last one.
        if hasattr(self, "_coordinator"):
            self._worker.close(self.leave_message())

    def __repr__(self) -> str:
        pools = super().__repr__().removeprefix("Budget(").removesuffix(")")
        store = "the store lost, one of" if self.is_store_lost else "shared by"
        return f"SharedBudget({pools}, {store} {self.processes})"

    @property
    def processes(self) -> int:
        """How many processes share the budget, this one included, as the store told last."""
        with self._lock:
            return self._coordinator.processes

    @property
    def is_store_lost(self) -> bool:
        """Whether the store does not answer, and this process uses its part of the limits alone."""
        with self._lock:
            return self._coordinator.is_fallback

    def gate(self, origin: str) -> Gate:
        """See `Budget.gate`; a ban that the file knows is told to the other processes."""
        with self._lock:
            is_new = origin not in self._gates
            gate = super().gate(origin)
            if is_new and gate.wait(self.monotonic()):
                self._coordinator.close_gate(origin)
            return gate

    def close(self) -> None:
        """Return what this process does not need, and end the thread that talks to the store; it waits for that.

        The budget can still be used: it begins anew.
        """
        self._worker.close()

    def reserve(
        self,
        charges: tuple[Charge, ...],
        *,
        call: CallInfo,
        max_wait: float,
        priority: Priority = Priority.POLL,
        returning: bool = False,
    ) -> Reservation:
        """See `Budget.reserve`; however short `max_wait` is, the store is given half a second to answer."""
        return super().reserve(
            charges, call=call, max_wait=max(max_wait, _LEAST_WAIT), priority=priority, returning=returning
        )

    def mark_sent(self, reservation: Reservation) -> float:
        """See `Budget.depart`; a process that was asleep for seconds has lost what it was granted."""
        now = super().mark_sent(reservation)
        with self._lock:
            if not all(self._leased_pool(pool).is_trusted(now) for pool in reservation.pools):
                raise BudgetExceeded(reservation.call, "sending began too long after its turn had come", wait=0.0)
        return now

    def restart(self) -> None:
        """Begin anew in the child of a fork: what its parent holds is the parent's to settle."""
        self._lock = threading.RLock()
        for kept in (self._queue, self._open, self._charge_sets, self._ledgers, self._leased_pools):
            kept.clear()
        self._worker.restart()
        self._coordinator = self._new_coordinator()

    def due(self) -> float:
        """Monotonic time at which the next message to the store is due; infinite while one is carried."""
        with self._lock:
            return self._coordinator.due()

    def message(self) -> Message:
        """The next message to the store: `hear_reply` or `hear_nothing` has to follow."""
        with self._lock:
            return self._coordinator.message(self._report, self._wanted())

    def leave_message(self) -> Message:
        """The last message of a process that ends."""
        with self._lock:
            return self._coordinator.message(self._report, {}, leaving=True)

    def reply_received(self, reply: Reply) -> None:
        """Learn what the store says."""
        with self._lock:
            if heard := self._coordinator.reply_received(reply, self._bounds):
                self._apply_reply(heard)
            self._queue.resume_all()
            self._dispatch()

    def no_reply_received(self, why: str) -> None:
        """Learn that no reply came, and why: the text must not contain a password."""
        with self._lock:
            self._coordinator.no_reply_received(why, self._bounds)
            self._queue.resume_all()
            self._dispatch()

    def _apply_reply(self, heard: ReplyResult) -> None:
        now = self.monotonic()
        for host, told in heard.origins:
            clock = self.clock(host)
            if told.is_heard:
                clock.take_over(told.earliest, told.latest, asked=now - heard.took, answered=now)
            gate = self.gate(host)
            if told.closed:
                self._apply_closed_gate(host, told, now)
            if gate.wait(now) > told.closed + _NEWS:
                # It has lost its memory, or the refusal is from before it was reached.
                self._coordinator.close_gate(host)
        for pool, rise in heard.rises:
            self._anomalies.compare_weight(
                PoolCharge(pool, self._leased_pools[pool], rise.weight), rise.endpoint, rise.risen
            )

    def _apply_closed_gate(self, origin: str, told: OriginReply, now: float) -> None:
        """Learn that somebody was refused; what this process was refused itself is no news."""
        gate, seconds = self.gate(origin), min(told.closed, LONGEST_BAN)
        is_news = seconds > gate.wait(now) + _NEWS
        gate.close(now + seconds, banned=told.banned)
        if is_news:
            _log.warning("%s refused another process: nothing is sent to it for %.1f s", origin, seconds)
            self._listeners.emit(Refused(origin, None, told.banned, seconds))

    def _new_coordinator(self) -> Coordinator:
        return Coordinator(
            self._leased_pools,
            minute=self._minute,
            expected=self._expected,
            monotonic=self.monotonic,
            wall=self._wall,
            wake=self._worker.wake,
        )

    def _bounds(self, origin: str) -> tuple[float, float]:
        return self.clock(origin).bounds()

    def _report(self, origin: str, *, has_closed: bool) -> OriginReport:
        clock, gate, now = self.clock(origin), self.gate(origin), self.monotonic()
        earliest, latest = clock.bounds()
        closed = gate.wait(now) if has_closed else 0.0
        return OriginReport(
            origin, earliest, latest + WAY, clock.is_synchronised, closed, gate.is_banned(now) and closed > 0
        )

    def _wanted(self) -> dict[Pool, list[tuple[Priority, int]]]:
        """What the waiting calls need, the most urgent first."""
        wanted: dict[Pool, list[tuple[Priority, int]]] = {}
        now = self.monotonic()
        # Those whom a pool holds up want its weight, too.
        self._queue.resume_all()
        for *_, first, line in sorted(head for each in self._queue for head in head_of(each)):
            if first.gate.wait(now):
                continue
            total = 0
            behind = (reservation for reservation in line if reservation is not first)
            for reservation in islice(chain([first], behind), MOST_CALLS):
                lacking = self._blocked(reservation, now)
                for pool, _, weight in reservation.charges:
                    # Weight of one pool is of no use before the others have it.
                    if not lacking.keys() - {pool}:
                        wanted.setdefault(pool, []).append((line.priority, weight))
                total += reservation.weight
                if self._leased_pool(line.pool).takes_turns(line.priority, total):
                    break
        return wanted

    def _blocked(self, reservation: Reservation, now: float) -> dict[Pool, Wait]:
        """Those of several pools that the store has said will not have the weight for a while."""
        if len(reservation.charges) == 1:
            return {}
        denied = {
            pool: self._leased_pool(pool).denied(reservation.priority, weight, now)
            for pool, _, weight in reservation.charges
        }
        return {pool: wait for pool, wait in denied.items() if wait.seconds}

    def _wait(self, reservation: Reservation) -> Decision:
        now = self.monotonic()
        if (told := self._blocked(reservation, now)) and not self.gate(reservation.origin).wait(now):
            held = {pool: wait.seconds for pool, wait in told.items() if wait.holds_up}
            for_all = reservation.pools[0] in told
            longest = max(wait.seconds for wait in told.values())
            return Decision(longest, tuple(held), for_all, next(reversed(told)), min(held.values(), default=math.inf))
        return super()._wait(reservation)

    def _dispatch(self) -> None:
        self._coordinator.give_up(self._bounds)
        super()._dispatch()

    def _advance_timer(self, reservation: Reservation, at: float) -> bool:
        now = self.monotonic()
        if at == math.inf:
            # Where the store does not answer, somebody has to notice.
            at = now + OVERDUE_SECONDS + _TICK
        elif at > reservation.deadline:
            # Whoever waits in vain learns it with the reply.
            at = now
        return super()._advance_timer(reservation, at)

    def _close_gate(self, origin: str, answer: HttpResponse, limit: LimitHit, now: float) -> None:
        super()._close_gate(origin, answer, limit, now)
        self._coordinator.close_gate(origin)

    def _count(
        self,
        draw: PoolCharge,
        endpoint: str,
        answer: HttpResponse,
        arrived: tuple[float, float],
        departed: float,
        now: float,
    ) -> None:
        self._leased_pool(draw.pool).endpoint = endpoint
        super()._count(draw, endpoint, answer, arrived, departed, now)

    def _is_idle(self, pool: Pool, ledger: Ledger | LeasedPool, now: float) -> bool:
        return super()._is_idle(pool, ledger, now) and self._coordinator.is_done_with(pool)

    def _forget(self, pool: Pool) -> None:
        super()._forget(pool)
        self._leased_pools.pop(pool, None)

    def _remember(self, pool: Pool, ledger: Ledger | LeasedPool) -> None:
        super()._remember(pool, ledger)
        if isinstance(ledger, LeasedPool):
            self._leased_pools[pool] = ledger

    def _open_ledger(self, pool: Pool) -> LeasedPool:
        return self._leased_pool(pool)

    def _leased_pool(self, pool: Pool) -> LeasedPool:
        share = self._leased_pools.get(pool) or self._forgotten.get(pool)
        if not isinstance(share, LeasedPool):
            share = self._leased_pools[pool] = self._coordinator.pool(
                pool, self._limits[pool.family, pool.limit_type], self._bounds(pool.origin)
            )
        return share
