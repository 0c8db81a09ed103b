"""The pools of one egress IP, and the queue in front of them."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final
from weakref import WeakSet

import anyio

from binance_pm.arguments import checked
from binance_pm.budget.anomalies import AnomalyLog
from binance_pm.budget.charges import Bounds, ChargeSet, PoolCharge, PoolLedger
from binance_pm.budget.events import Admitted, BudgetEvent, PoolState, Refused, shown
from binance_pm.budget.gate import Gate
from binance_pm.budget.ledger import Ledger
from binance_pm.budget.origins import Origins
from binance_pm.budget.plan import Group, Plan, Priced, make_plan
from binance_pm.budget.pools import PoolTable, check_limits
from binance_pm.budget.reservation import Reservation, gate_closed, is_awake, refusal
from binance_pm.budget.scheduler import Scheduler, waiting_of
from binance_pm.budget.waiting import Waiting
from binance_pm.clock import ServerClock
from binance_pm.errors import BudgetExceeded, CallInfo, ConfigurationError
from binance_pm.limits import LIMITS, Charge, Family, Feedback, LimitType, Pool, Priority
from binance_pm.listeners import Listeners
from binance_pm.wakeup import waker

_log = logging.getLogger(__name__)

# The shortest sleep: less may not move a clock that counts from the epoch.
_TICK: Final = 0.001
# The first call of a line may wait in the event loop of another thread, and that loop may be blocked.
_STALL_SECONDS: Final = 5.0


class Budget:
    """What one egress IP may spend, shared by every client behind it, in any event loop and thread.

    Args:
        limits: limits that differ from `LIMITS`, by family and limit type.
        minute: seconds of the exchange's minute; only a test exchange has another length than 60.
        instances: how many programs behind the IP have such a budget without sharing one.
        bans: a file in which bans outlive the program; None to keep bans in memory.
        egress: the name of the egress IP in that file.
        monotonic: this machine's clock that never steps, in seconds.
        wall: this machine's wall clock, used until the exchange has reported its time.
        sleep: waits for seconds of the monotonic clock.

    Raises:
        ConfigurationError: an argument cannot be used.
    """

    _min_wait: float = 0.0
    """Seconds for which a call may wait at least, even if its `max_wait` is shorter."""

    @checked("Budget")
    def __init__(
        self,
        *,
        limits: Mapping[tuple[Family, LimitType], int] | None = None,
        minute: float = 60.0,
        instances: int = 1,
        bans: Path | str | None = None,
        egress: str = "",
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._limits: Final = {key: rule.limit for key, rule in LIMITS.items()} | dict(limits or {})
        check_limits(self._limits, minute, instances)
        self._minute: Final = minute
        self._instances: Final = instances
        self.monotonic: Final = monotonic
        self.sleep: Final = sleep
        self._lock: threading.RLock = threading.RLock()
        self._origins: Final = Origins(bans, egress, monotonic=monotonic, wall=wall)
        self._table: Final = PoolTable(self._limits)
        self._scheduler: Final = Scheduler()
        self._threads: Counter[int] = Counter()
        """How many calls wait in each thread."""
        self._anomalies: Final = AnomalyLog()
        self._listeners: Final = Listeners[BudgetEvent]("budget")
        _budgets.add(self)

    def __repr__(self) -> str:
        pools = ", ".join(map(shown, self.snapshot()))
        return f"Budget({pools or 'unused'}, {self.waiting} waiting)"

    @property
    def processes(self) -> int:
        """How many programs use the limits of the IP, this one included."""
        return self._instances

    @property
    def waiting(self) -> int:
        """How many calls wait for weight or for a gate."""
        with self._lock:
            return len(self._scheduler.queue)

    def clock(self, origin: str) -> ServerClock:
        """Return the clock of an origin of the exchange."""
        with self._lock:
            return self._origins.clock(origin)

    def gate(self, origin: str) -> Gate:
        """Return the gate of an origin of the exchange."""
        with self._lock:
            is_new = not self._origins.has_gate(origin)
            gate = self._origins.gate(origin)
            if is_new and gate.until > self.monotonic():
                self._report_closed_gate(origin)
            return gate

    def ban_advice(self, origin: str) -> str:
        """Return what to do about a ban that no longer applies; empty if bans do not outlive the program."""
        return self._origins.ban_advice(origin)

    def snapshot(self) -> list[PoolState]:
        """Return the state of every pool that was drawn on."""
        now = self.monotonic()
        with self._lock:
            ledgers = self._table.ledgers
            waiting = {pool: dict.fromkeys(Priority, 0) for pool in ledgers}
            reasons = {pool: Counter[Waiting]() for pool in ledgers}
            for reservation, why in self._scheduler.waiting(now):
                for pool in waiting.keys() & reservation.pools:
                    waiting[pool][reservation.priority] += 1
                    reasons[pool][why] += 1
            return [self._state(pool, ledger, waiting[pool], reasons[pool], now) for pool, ledger in ledgers.items()]

    def pending(self) -> dict[CallInfo, Waiting]:
        """Return what each call without a response waits for; one of equal calls stands for all."""
        now = self.monotonic()
        with self._lock:
            calls = {reservation.call: waiting_of(reservation, now) for reservation in self._scheduler.open}
            return calls | {reservation.call: why for reservation, why in self._scheduler.waiting(now)}

    def add_listener(self, listener: Callable[[BudgetEvent], None]) -> None:
        """Call a function with every `BudgetEvent`, such as one that counts for metrics.

        The function is called in the middle of a call, from any thread, and must be quick. Its exceptions are logged.
        """
        self._listeners.append(listener)

    @checked("Budget.plan")
    def plan(self, accounts: int, every: float, endpoints: Iterable[Priced]) -> Plan:
        """Return whether polling the endpoints of a number of accounts fits, given what other programs use now.

        Args:
            accounts: how many accounts are polled.
            every: seconds between two polls of the same account.
            endpoints: what is polled of each account, such as ``ENDPOINTS["um_account"]``.

        Raises:
            ConfigurationError: there are no accounts, or the interval is not above 0.
        """
        return self.plan_groups([(accounts, endpoints)], every)

    @checked("Budget.plan_groups")
    def plan_groups(self, groups: Iterable[Group], every: float) -> Plan:
        """Return the same as `plan` for groups of accounts with different endpoints.

        Args:
            groups: how many accounts each group has, and the endpoints that are polled of each.
            every: seconds between two polls of the same account.

        Raises:
            ConfigurationError: there are no accounts, or the interval is not above 0.
        """
        groups = list(groups)
        if not (groups and all(accounts > 0 for accounts, _ in groups) and 0 < every < math.inf):
            raise ConfigurationError(CallInfo("Budget.plan"), "a plan needs accounts, and every is above 0 seconds")
        with self._lock:
            return make_plan(groups, every, self._for_polls, minute=self._minute, limits=self._limits)

    def reserve(
        self,
        charges: tuple[Charge, ...],
        *,
        call: CallInfo,
        max_wait: float,
        priority: Priority = Priority.POLL,
        requeued: bool = False,
    ) -> Reservation:
        """Return a reservation of weight in every pool that counts a call; entering it waits for the weight.

        Args:
            charges: the weight of the call, in pools of one origin.
            call: the call and its account, for errors and fair queueing.
            max_wait: seconds to wait at most.
            priority: the priority of the call.
            requeued: whether the call was admitted before and was refused because of other programs: it goes to the
                head of the queue.

        Raises:
            BudgetExceeded: on entering, as soon as the wait is known to be longer.
            GateClosed: on entering, if the gate of the origin stays closed for longer.
        """
        charge_set = self._table.charge_sets.get(charges) or self._charge_set(charges)
        return Reservation(
            self,
            charge_set,
            call,
            priority,
            asked_at=self.monotonic(),
            max_wait=max(max_wait, self._min_wait),
            is_requeued=requeued,
        )

    def try_acquire(self, reservation: Reservation) -> bool:
        """Acquire the weight of a reservation if no call waits and the weight is free; return whether it was."""
        now = self.monotonic()
        with self._lock:
            if self._scheduler.queue.lines or self._scheduler.decide(reservation, now).seconds:
                return False
            self._scheduler.admit(reservation, now)
            if self._table.has_forgotten or self._listeners:
                self._note_admitted(reservation, now)
            return True

    async def acquire(self, reservation: Reservation) -> None:
        """Wait until the weight of a reservation is acquired."""
        with self._lock:
            self._scheduler.queue.add(reservation)
            self._dispatch()
            if reservation.is_admitted:
                return
        try:
            with self._counted():
                await self._wait_in_queue(reservation)
        except BaseException:
            with self._lock:
                if reservation.is_admitted:
                    self.release(reservation)
                elif self._scheduler.queue.remove(reservation):
                    self._dispatch()
            raise

    def mark_sent(self, reservation: Reservation) -> float:
        """Return the time at which the first byte of a call leaves.

        Raises:
            GateClosed: the origin has refused a call since the weight was acquired. Nothing may be sent.
            BudgetExceeded: the weight was given up in the meantime: this process may have been suspended.
        """
        now = self.monotonic()
        with self._lock:
            if reservation.gate.until > now:
                raise gate_closed(reservation, now, advice=self.ban_advice(reservation.origin))
            is_held = reservation in self._scheduler.open
            for _, ledger, _ in reservation.charges:
                is_held = is_held and now < ledger.trusted_until
            if not is_held:
                raise BudgetExceeded(reservation.call, "the reservation expired before the request was sent", wait=0.0)
        return now

    def release(self, reservation: Reservation) -> None:
        """Free the weight of a call that was never sent."""
        with self._lock:
            if self._scheduler.release(reservation):
                self._dispatch()

    def settle_unknown(self, reservation: Reservation, sent: float) -> None:
        """Settle a call that was sent and got no response: the exchange may count it, now or in a moment."""
        now = self.monotonic()
        with self._lock:
            self._scheduler.settle_unknown(reservation, sent, now, now)
            self._dispatch()

    def settle(self, reservation: Reservation, sent: float, feedback: Feedback) -> None:
        """Settle a call that got a response: learn the count, the time, and the limit that was hit."""
        now = self.monotonic()
        with self._lock:
            if feedback.date is not None:
                reservation.clock.observe(feedback.date, feedback.date + 1, asked=sent, answered=now)
            earliest, latest = reservation.clock.bounds(now)
            arrived = earliest - (now - sent), latest
            if self._scheduler.open.pop(reservation, None) is not None:
                reservation.is_settled = True
                for charge in reservation.charges:
                    self._settle_charge(charge, reservation.call.endpoint, feedback, arrived, sent, now)
                if self._scheduler.queue.lines:
                    self._scheduler.queue.resume(reservation.pools)
            if feedback.limit is not None:
                self._observe_limit(reservation, feedback, arrived, now)
            self._dispatch()

    def observe_time(self, origin: str, earliest: float, latest: float, *, asked: float) -> bool:
        """Learn that the time endpoint of an origin has reported a time in [earliest, latest].

        Args:
            origin: the origin of the endpoint.
            earliest: seconds since the epoch.
            latest: seconds since the epoch.
            asked: monotonic time before the request was sent.

        Returns:
            Whether the time is believed: a time far from all that is known has to be reported twice.
        """
        now = self.monotonic()
        with self._lock:
            is_believed = self.clock(origin).observe(earliest, latest, asked=asked, answered=now, exact=True)
            self._dispatch()
            return is_believed

    def restart(self) -> None:
        """Start again in the child of a fork, which has none of the tasks that wait and send."""
        self._lock = threading.RLock()
        self._scheduler.queue.clear()
        self._threads.clear()
        self._restart_ledgers()

    def _restart_ledgers(self) -> None:
        """Count what the parent of a forked process has sent, too."""
        self._scheduler.settle_all(self.monotonic())

    def _open_ledger(self, pool: Pool, bounds: Bounds) -> PoolLedger:
        """Return a ledger of a pool that has none."""
        del bounds
        return self._new_ledger(pool.family, pool.limit_type)

    def _new_ledger(self, family: Family, limit_type: LimitType) -> Ledger:
        """Return an empty ledger; only what is counted for the IP is divided among instances."""
        instances = self._instances if limit_type is LimitType.IP else 1
        return Ledger(self._limits[family, limit_type], minute=self._minute, instances=instances)

    def _is_done_with(self, pool: Pool) -> bool:
        """Return whether the ledger of an idle pool may be forgotten."""
        del pool
        return True

    def _refresh(self) -> None:
        """Prepare the ledgers for a decision."""

    def _look_at(self, at: float, deadline: float, now: float) -> float:
        """Return when to look again at a call that may fit at a monotonic time, and gives up at another."""
        del deadline, now
        return at

    def _report_closed_gate(self, origin: str) -> None:
        """Report to other processes that the gate of an origin has closed."""

    async def _wait_in_queue(self, reservation: Reservation) -> None:
        """Wait in the queue; the first call of a line holds the timer."""
        while True:
            with anyio.CancelScope() as scope:
                with self._lock:
                    reservation.wake, reservation.looks_at = is_awake, reservation.deadline
                    self._scheduler.queue.resume(reservation.pools)
                    self._dispatch()
                    if reservation.is_admitted:
                        return
                    seconds = self._seconds_to_next_look(reservation)
                    reservation.wake = waker(scope.cancel)
                await self.sleep(max(seconds, _TICK))

    def _seconds_to_next_look(self, reservation: Reservation) -> float:
        """Return the seconds until there is reason to look again, or raise the error that waiting would end in."""
        now = self.monotonic()
        left = reservation.deadline - now
        wait = self._scheduler.decide(reservation, now).seconds
        never = not all(ledger.fits_ever(weight) for _, ledger, weight in reservation.charges)
        if never or left <= 0 or left < wait < math.inf:
            raise refusal(reservation, wait, now, never=never, advice=self.ban_advice(reservation.origin))
        seconds = min(left, reservation.looks_at - now)
        return seconds if len(self._threads) <= 1 else min(seconds, _STALL_SECONDS)

    @contextmanager
    def _counted(self) -> Generator[None, None, None]:
        """Count this task among those that wait in its thread."""
        one = Counter([threading.get_ident()])
        with self._lock:
            self._threads += one
        try:
            yield
        finally:
            with self._lock:
                # Only counts above 0 stay.
                self._threads -= one

    def _dispatch(self) -> None:
        """Admit every call that fits, and wake those that have to look again."""
        now = self.monotonic()
        self._refresh()
        if self._scheduler.open:
            self._scheduler.expire(now)
        while self._scheduler.queue.lines:
            admitted, earlier = self._scheduler.schedule(now, self._look_at)
            gone = [reservation for reservation in earlier if not reservation.wake()]
            for reservation in admitted:
                if reservation.wake():
                    self._note_admitted(reservation, now)
                else:
                    gone.append(reservation)
            # The event loops of these calls have ended: other calls may have their weight and their place.
            for reservation in gone:
                if not self._scheduler.release(reservation):
                    self._scheduler.queue.remove(reservation)
            if not gone:
                return

    def _note_admitted(self, reservation: Reservation, now: float) -> None:
        if self._table.has_forgotten:
            self._table.remember(reservation.charges)
        if self._listeners:
            self._listeners.emit(Admitted(reservation.call, reservation.priority, now - reservation.asked_at))

    def _settle_charge(
        self, charge: PoolCharge, endpoint: str, feedback: Feedback, arrived: Bounds, sent: float, now: float
    ) -> None:
        """Settle one charge, and compare the exchange's count with what was assumed."""
        pool, ledger, weight = charge
        rise = ledger.settle(
            weight,
            feedback.used.get(LIMITS[pool.family, pool.limit_type].header),
            ledger.minutes(arrived),
            sent=sent,
            now=now,
            is_probe=feedback.status < 500,
            endpoint=endpoint,
        )
        if rise is not None:
            self._anomalies.compare_weight(charge, endpoint, rise)
        if ledger.misplaced:
            self._anomalies.report_window(pool, ledger.misplaced)

    def _observe_limit(self, reservation: Reservation, feedback: Feedback, arrived: Bounds, now: float) -> None:
        is_of_origin = feedback.limit != "orders"
        for pool, ledger, _ in reservation.charges:
            if is_of_origin != (pool.limit_type is LimitType.ORDERS):
                ledger.observe_refusal(ledger.minutes(arrived), now, full=not is_of_origin)
        if not is_of_origin:
            return
        origin = reservation.origin
        seconds = self._origins.close_gate(origin, feedback, now, minute=self._minute)
        self._report_closed_gate(origin)
        if self._listeners:
            self._listeners.emit(Refused(origin, feedback.status, feedback.limit == "ban", seconds))

    def _charge_set(self, charges: tuple[Charge, ...]) -> ChargeSet:
        with self._lock:
            if self._table.is_full:
                used = self._scheduler.pools()
                for pool in self._table.forget_idle(self._is_done_with, used, self.monotonic()):
                    self._anomalies.forget(pool)
            origin = charges[0].pool.origin
            found = self._table.charges(charges, partial(self._open_ledger, bounds=self._origins.bounds(origin)))
            charge_set = ChargeSet(found, tuple(it.pool for it in found), self.gate(origin), self.clock(origin))
            self._table.charge_sets[charges] = charge_set
            return charge_set

    def _for_polls(self, family: Family, kind: LimitType, path: str) -> float:
        """Return the weight a minute that polls may use, in the fullest of the pools."""
        now = self.monotonic()
        known = [
            ledger
            for pool, ledger in self._table.ledgers.items()
            if (pool.family, pool.limit_type) == (family, kind) and pool.path in {"", path}
        ]
        return min(ledger.for_polls(now) for ledger in known or [self._new_ledger(family, kind)])

    def _state(
        self, pool: Pool, ledger: PoolLedger, waiting: Mapping[Priority, int], reasons: Counter[Waiting], now: float
    ) -> PoolState:
        bounds = self._origins.bounds(pool.origin)
        return PoolState(
            pool=pool,
            limit=ledger.limit,
            used=ledger.most_used(bounds),
            in_flight=ledger.in_flight,
            cap=int(ledger.cap(now)),
            reserve=int(ledger.reserve(bounds)),
            external=ledger.external_share,
            closed=self.gate(pool.origin).wait(now),
            waiting=waiting,
            waiting_for=reasons.most_common(1)[0][0] if reasons else None,
        )


_budgets: Final[WeakSet[Budget]] = WeakSet()


def _after_fork() -> None:
    """Restart the budgets in a child process, which has none of its parent's tasks."""
    for budget in _budgets:
        budget.restart()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
