"""The pools of one egress IP, and the queue in front of them."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from heapq import heapify, heappop, heappush
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple
from weakref import WeakSet, WeakValueDictionary

import anyio

from binance_pm.arguments import checked
from binance_pm.budget.anomalies import AnomalyLog
from binance_pm.budget.bans import is_kept_in_memory, read_bans, write_ban
from binance_pm.budget.events import Admitted, BudgetEvent, PoolState, Refused, shown
from binance_pm.budget.gate import LONGEST_BAN, Gate, closing_seconds
from binance_pm.budget.ledger import LONGEST_WAY, MARGIN, Ledger
from binance_pm.budget.plan import Group, Plan, Priced, make_plan
from binance_pm.budget.queue import Line, Queue
from binance_pm.budget.reservation import ChargeSet, PoolCharge, Reservation, is_awake
from binance_pm.budget.waiting import Waiting, waiting_of
from binance_pm.clock import ServerClock
from binance_pm.errors import BudgetExceeded, CallInfo, ConfigurationError, GateClosed, LimitHit
from binance_pm.limits import LIMITS, Charge, Family, LimitType, Pool, Priority
from binance_pm.listeners import Listeners
from binance_pm.transport.http import HttpResponse
from binance_pm.wakeup import waker

if TYPE_CHECKING:
    from binance_pm.budget.shared.budget import SharedBudget
    from binance_pm.budget.shared.leased_pool import LeasedPool

_log = logging.getLogger(__name__)

# A reservation older than this was left behind by an event loop that ended in the middle of a call.
_LONGEST_CALL: Final = 120.0
# Timers are not moved for less: the exchange's clock is not known better.
_TOLERANCE: Final = 0.01
# The shortest sleep: less may not move a clock that counts from the epoch.
_TICK: Final = 0.001
# Whoever is first may stand in the event loop of another thread, which stands still.
_STALL_SECONDS: Final = 5.0
# So many kinds of calls are known at once; those of more are looked up again.
_MOST_CHARGE_SETS: Final = 512
# A gate that closes for so much longer is told.
_NEWS: Final = 1.5


class Budget:
    """What one egress IP may spend, shared by every client behind it.

    It may be used from several event loops and threads at once.

    Args:
        limits: the limit of a kind in a family, where it differs from `LIMITS`.
        minute: seconds of the exchange's minute; only a test exchange has another than 60.
        instances: how many programs with a budget like this one are behind the IP without telling each other.
        bans: a file in which bans outlive the program; None to keep them in memory alone.
        egress: names the way out in that file.
        monotonic: this machine's clock that never steps, in seconds.
        wall: this machine's wall clock, used until the exchange was heard.
        sleep: waits for seconds of the monotonic clock.

    Raises:
        ConfigurationError: an argument cannot be used.
    """

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
        _check(self._limits, minute, instances)
        self._minute: Final = minute
        self._instances: Final = instances
        self._bans: Final = None if bans is None else _place(bans)
        self._egress: Final = egress
        self.monotonic: Final = monotonic
        self._wall: Final = wall
        self.sleep: Final = sleep
        self._lock: threading.RLock = threading.RLock()
        self._clocks: Final[dict[str, ServerClock]] = {}
        self._gates: Final[dict[str, Gate]] = {}
        self._ledgers: Final[dict[Pool, Ledger | LeasedPool]] = {}
        self._charge_sets: Final[dict[tuple[Charge, ...], ChargeSet]] = {}
        self._forgotten: Final[WeakValueDictionary[Pool, Ledger | LeasedPool]] = WeakValueDictionary()
        """Ledgers that were idle, as long as a reservation still has them: a pool never has two."""
        self._has_forgotten: bool = False
        self._queue: Final[Queue[Reservation]] = Queue()
        self._open: Final[dict[Reservation, float]] = {}
        """Who holds weight, in the order of admission, and since when."""
        self._threads: Counter[int] = Counter()
        """How many wait in each thread."""
        self._anomalies: Final = AnomalyLog()
        self._listeners: Final = Listeners[BudgetEvent]("budget")
        _budgets.add(self)

    @classmethod
    @checked("Budget.shared")
    def shared(
        cls,
        url: str,
        *,
        name: str = "default",
        limits: Mapping[tuple[Family, LimitType], int] | None = None,
        minute: float = 60.0,
        processes: int = 4,
        bans: Path | None = None,
    ) -> SharedBudget:
        """A budget that every process with the same store and name shares.

        Nothing is sent before the first call. It needs the extra ``redis``.

        Args:
            url: where the Redis or Valkey server is, such as ``redis://localhost:6379/0``.
            name: what the IP is called there: one for each way out.
            limits: the limit of a kind in a family, where it differs from `LIMITS`.
            minute: seconds of the exchange's minute; only a test exchange has another than 60.
            processes: how many share it, for one that has not reached the store yet.
            bans: a file in which bans outlive the program besides; the store keeps them anyway.

        Raises:
            ConfigurationError: the address cannot be used, or the extra is not installed.
        """
        # Whoever does not share a budget does not pay for it.
        from binance_pm.budget.shared.budget import SharedBudget  # noqa: PLC0415
        from binance_pm.budget.shared.redis import RedisStore  # noqa: PLC0415
        from binance_pm.budget.shared.worker import StoreWorker  # noqa: PLC0415

        if processes < 1 or not name:
            raise ConfigurationError(CallInfo("Budget.shared"), "processes is at least 1, and the name is not empty")
        # A partial would show the URL's password.
        hire = partial(StoreWorker, connect=lambda: RedisStore(url, name))
        return SharedBudget(hire, limits=limits, minute=minute, processes=processes, bans=bans, egress=name)

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
            return len(self._queue)

    def clock(self, origin: str) -> ServerClock:
        """The clock of one host of the exchange."""
        with self._lock:
            clock = self._clocks.get(origin)
            if clock is None:
                clock = self._clocks[origin] = ServerClock(monotonic=self.monotonic, wall=self._wall)
            return clock

    def gate(self, origin: str) -> Gate:
        """The gate of one host of the exchange."""
        with self._lock:
            gate = self._gates.get(origin)
            if gate is None:
                gate = self._gates[origin] = Gate()
                bans = read_bans(self._bans) if self._bans and not is_kept_in_memory(origin) else {}
                if (left := min(bans.get(self._key(origin), 0) - self._wall(), LONGEST_BAN)) > 0:
                    gate.close(self.monotonic() + left, banned=True)
                    advice = self.ban_advice(origin)
                    _log.warning("%s has banned this IP: nothing is sent to it for %.0f s. %s", origin, left, advice)
            return gate

    def ban_advice(self, origin: str) -> str:
        """What to do about a ban by the host that no longer holds; empty where it does not outlive the program."""
        if self._bans is None or is_kept_in_memory(origin):
            return ""
        return f"The ban is kept in {self._bans}: if this machine has another IP by now, delete it and start again."

    def snapshot(self) -> list[PoolState]:
        """Every pool that was drawn on."""
        with self._lock:
            waiting = {pool: dict.fromkeys(Priority, 0) for pool in self._ledgers}
            reasons = {pool: Counter[Waiting]() for pool in self._ledgers}
            for reservation, why in self._waiting():
                for pool in waiting.keys() & reservation.pools:
                    waiting[pool][reservation.priority] += 1
                    reasons[pool][why] += 1
            return [self._state(pool, ledger, waiting[pool], reasons[pool]) for pool, ledger in self._ledgers.items()]

    def pending(self) -> dict[CallInfo, Waiting]:
        """What each call that asked for weight and has no response waits for; one of equal calls stands for all."""
        now = self.monotonic()
        with self._lock:
            calls = {reservation.call: waiting_of(reservation, now) for reservation in self._open}
            return calls | {reservation.call: why for reservation, why in self._waiting()}

    def add_listener(self, listener: Callable[[BudgetEvent], None]) -> None:
        """Have a function called with every `BudgetEvent`, such as one that counts for metrics.

        It is called in the middle of a call, from any thread, and must be quick. What it raises is logged.
        """
        self._listeners.add(listener)

    @checked("Budget.plan")
    def plan(self, accounts: int, every: float, endpoints: Iterable[Priced]) -> Plan:
        """Whether reading the endpoints of so many accounts fits, by what others on the IP use now.

        Args:
            accounts: how many there are.
            every: seconds between two readings of the same account.
            endpoints: what is read of each, such as ``ENDPOINTS["um_account"]``.

        Raises:
            ConfigurationError: there are no accounts, or the interval is none.
        """
        return self.plan_groups([(accounts, endpoints)], every)

    @checked("Budget.plan_groups")
    def plan_groups(self, groups: Iterable[Group], every: float) -> Plan:
        """`plan` for accounts of which different endpoints are read.

        Args:
            groups: how many accounts, and what is read of each, any number of times.
            every: seconds between two readings of the same account.

        Raises:
            ConfigurationError: there are no accounts, or the interval is none.
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
        returning: bool = False,
    ) -> Reservation:
        """Weight for one call in all the pools it is counted in: enter it to wait for it and take it.

        Args:
            charges: what the call costs, in pools of one host.
            call: names the call in an error, and its account.
            max_wait: seconds to wait at most.
            priority: what the call is for.
            returning: whether it was served before and refused for others' traffic: it goes to the head.

        Raises:
            BudgetExceeded: on entering, as soon as it is known that the wait would be longer.
            GateClosed: on entering, where the host's gate stays closed for longer.
        """
        fare = self._charge_sets.get(charges) or self._charge_set(charges)
        return Reservation(self, fare, call, priority, max_wait=max_wait, is_returning=returning)

    def try_acquire(self, reservation: Reservation) -> bool:
        """Take the reservation's weight where nobody waits and it is free."""
        with self._lock:
            if self._queue.lines or self._wait(reservation).seconds:
                return False
            self._admit(reservation)
            return True

    async def acquire(self, reservation: Reservation) -> None:
        """Wait until the reservation's weight is taken."""
        with self._lock:
            self._queue.add(reservation)
            self._dispatch()
            if reservation.is_admitted:
                return
        try:
            with self._counted():
                await self._wait_in_queue(reservation)
        except BaseException:
            with self._lock:
                self._leave_queue(reservation)
            raise

    def mark_sent(self, reservation: Reservation) -> float:
        """The moment in which a call's first byte leaves.

        Raises:
            GateClosed: the host refused somebody since the weight was taken. Nothing may be sent.
            BudgetExceeded: the weight was given up in the meantime.
        """
        now = self.monotonic()
        with self._lock:
            if reservation.gate.until > now:
                raise self._closed(reservation)
            if reservation not in self._open:
                raise BudgetExceeded(reservation.call, "sending began too long after its turn had come", wait=0.0)
        return now

    def release(self, reservation: Reservation) -> None:
        """Settle a call that never left: its weight is free again."""
        with self._lock:
            if self._open.pop(reservation, None) is None:
                return
            reservation.is_settled = True
            for draw in reservation.charges:
                draw.ledger.release(draw.weight, reservation.priority)
            self._queue.resume(reservation.pools)
            self._dispatch()

    def settle_unknown(self, reservation: Reservation, departed: float) -> None:
        """Settle a call that left and got no answer: it may be counted, now or in a moment."""
        with self._lock:
            self._settle_unknown(reservation, departed, self.monotonic())
            self._dispatch()

    def settle(
        self, reservation: Reservation, departed: float, answer: HttpResponse, limit: LimitHit | None = None
    ) -> None:
        """Settle a call that was answered: learn the count, the time, and the limit that the answer says was hit."""
        now = self.monotonic()
        with self._lock:
            if (date := answer.date) is not None:
                reservation.clock.observe(date, date + 1, asked=departed, answered=now)
            earliest, latest = reservation.clock.bounds()
            arrived = earliest - (now - departed), latest
            if self._open.pop(reservation, None) is not None:
                reservation.is_settled = True
                for draw in reservation.charges:
                    self._count(draw, reservation.call.endpoint, answer, arrived, departed, now)
                if self._queue.lines:
                    self._queue.resume(reservation.pools)
            if limit is not None:
                self._observe_limit(reservation, answer, limit, arrived, now)
            self._dispatch()

    def observe_time(self, origin: str, earliest: float, latest: float, *, asked: float) -> bool:
        """Learn that the host's time endpoint told something in [earliest, latest] since the monotonic time `asked`.

        Returns:
            Whether it is believed: not if it is far from everything known, and was told once.
        """
        now = self.monotonic()
        with self._lock:
            is_believed = self.clock(origin).observe(earliest, latest, asked=asked, answered=now, exact=True)
            self._dispatch()
            return is_believed

    def restart(self) -> None:
        """Begin anew in a process without the tasks that wait and send, such as the child of a fork."""
        self._lock = threading.RLock()
        self._queue.clear()
        self._threads.clear()
        for reservation, taken in list(self._open.items()):
            self._settle_unknown(reservation, reservation.sent_at or taken, self.monotonic())

    async def _wait_in_queue(self, reservation: Reservation) -> None:
        """Stand in the queue; whoever is at the head of a line holds the timer."""
        while True:
            with anyio.CancelScope() as scope:
                with self._lock:
                    reservation.wake, reservation.looks_at = is_awake, reservation.deadline
                    self._queue.resume(reservation.pools)
                    self._dispatch()
                    if reservation.is_admitted:
                        return
                    patience = self._seconds_to_next_look(reservation)
                    reservation.wake = waker(scope.cancel)
                await self.sleep(max(patience, _TICK))

    def _seconds_to_next_look(self, reservation: Reservation) -> float:
        """Seconds until there is reason to look again, or the error that waiting would end in."""
        now = self.monotonic()
        left = reservation.deadline - now
        wait = self._wait(reservation).seconds
        never = not all(draw.ledger.fits_ever(draw.weight) for draw in reservation.charges)
        if never or left <= 0 or left < wait < math.inf:
            raise self._refusal(reservation, wait, never=never)
        patience = min(left, reservation.looks_at - now)
        return patience if len(self._threads) <= 1 else min(patience, _STALL_SECONDS)

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

    def _refusal(self, reservation: Reservation, wait: float, *, never: bool) -> BudgetExceeded | GateClosed:
        left = reservation.deadline - self.monotonic()
        if never:
            what = "it weighs more than the exchange allows in a minute"
        elif reservation.gate.wait(self.monotonic()) > max(left, 0.0):
            return self._closed(reservation)
        elif left <= 0 < reservation.max_wait:
            what = f"it waited for {reservation.max_wait:g} s, as long as max_wait allows"
        elif left < wait < math.inf:
            what = f"its weight is free in {wait:.1f} s at the earliest, later than max_wait allows"
        else:
            what = "the calls before it were not served in the time that max_wait allows"
        return BudgetExceeded(reservation.call, what, wait=math.inf if never else wait)

    def _closed(self, reservation: Reservation) -> GateClosed:
        now = self.monotonic()
        gate = reservation.gate
        until = reservation.clock.milliseconds() / 1000 + gate.wait(now)
        banned = gate.is_banned(now)
        what = f"the gate of {reservation.origin} is closed for {gate.wait(now):.1f} s more" + " by a ban" * banned
        if banned and (advice := self.ban_advice(reservation.origin)):
            what += f". {advice.removesuffix('.')}"
        return GateClosed(reservation.call, what, until=until, banned=banned)

    def _wait(self, reservation: Reservation) -> Decision:
        """The longest wait among the pools of a call; a closed gate is a wait in all of them."""
        now = self.monotonic()
        if reservation.gate.until > now:
            return Decision(reservation.gate.wait(now), reservation.pools, for_all=True)
        bounds = reservation.clock.bounds()
        longest = _FITS
        for pool, ledger, weight in reservation.charges:
            seconds, holds_up = ledger.wait(weight, reservation.priority, now, bounds)
            if seconds:
                held = (*longest.held, pool) if holds_up else longest.held
                for_all = longest.for_all or pool is reservation.pools[0]
                soonest = min(seconds, longest.soonest) if holds_up else longest.soonest
                longest = Decision(max(seconds, longest.seconds), held, for_all, pool, soonest)
        return longest

    def _dispatch(self) -> None:
        """Admit whoever fits, priority by priority, in turns of the accounts, in the order of arrival."""
        self._give_up_forgotten()
        if not self._queue.lines:
            return
        lines = list(self._queue)
        heads = [head for line in lines for head in head_of(line)]
        heapify(heads)
        held: set[Pool] = set()
        while heads:
            *_, reservation, line = heappop(heads)
            if line.pool in held:
                continue
            wait = self._wait(reservation) if held.isdisjoint(reservation.pools) else _ELSEWHERE
            if not wait.seconds:
                self._queue.serve(line)
                if reservation.wake():
                    self._admit(reservation)
            else:
                held.update(wait.held)
                if self._advance_timer(reservation, self.monotonic() + min(wait.seconds, wait.soonest)):
                    if wait.for_all:
                        continue
                    line.pass_over(wait.blocked_by)
            for head in head_of(line):
                heappush(heads, head)
        for line in lines:
            line.resume(None)

    def _advance_timer(self, reservation: Reservation, at: float) -> bool:
        """Wake the first in a line whose timer would go off later than it now has reason to; False if it is gone."""
        if at < reservation.looks_at - _TOLERANCE:
            reservation.looks_at = at
            if not reservation.wake():
                self._queue.remove(reservation)
                return False
        return True

    def _admit(self, reservation: Reservation) -> None:
        now = self.monotonic()
        if self._has_forgotten:
            for draw in reservation.charges:
                self._remember(draw.pool, draw.ledger)
        for draw in reservation.charges:
            draw.ledger.acquire(draw.weight, reservation.priority, now)
        self._open[reservation] = now
        reservation.admitted_at = now
        if self._listeners:
            self._listeners.emit(Admitted(reservation.call, reservation.priority, now - reservation.asked_at))

    def _leave_queue(self, reservation: Reservation) -> None:
        if reservation.is_admitted:
            self.release(reservation)
        elif self._queue.remove(reservation):
            self._dispatch()

    def _settle_unknown(self, reservation: Reservation, departed: float, gave_up: float) -> None:
        if self._open.pop(reservation, None) is None:
            return
        reservation.is_settled = True
        now = self.monotonic()
        earliest, latest = reservation.clock.bounds()
        for _, ledger, weight in reservation.charges:
            minutes = ledger.minutes((earliest - (now - departed), latest - (now - gave_up) + LONGEST_WAY))
            ledger.settle_unknown(weight, minutes, known=gave_up + LONGEST_WAY)
        self._queue.resume(reservation.pools)

    def _give_up_forgotten(self) -> None:
        """Count as lost what an event loop that ended has left behind; it would hold its weight for good."""
        if not self._open:
            return
        now = self.monotonic()
        while self._open and (taken := next(iter(self._open.values()))) < now - _LONGEST_CALL:
            reservation = next(iter(self._open))
            self._settle_unknown(reservation, reservation.sent_at or taken, taken + _LONGEST_CALL)

    def _count(
        self,
        draw: PoolCharge,
        endpoint: str,
        answer: HttpResponse,
        arrived: tuple[float, float],
        departed: float,
        now: float,
    ) -> None:
        """Tell a ledger what the answer says, and check what it was believed by."""
        pool, ledger, weight = draw
        used = answer.used(LIMITS[pool.family, pool.limit_type].header)
        counted = ledger.settle(
            weight, used, ledger.minutes(arrived), sent=departed, now=now, is_probe=answer.status < 500
        )
        if counted is not None:
            self._anomalies.compare_weight(draw, endpoint, counted)
        if ledger.misplaced:
            self._anomalies.report_window(pool, ledger.misplaced)

    def _observe_limit(
        self, reservation: Reservation, answer: HttpResponse, limit: LimitHit, arrived: tuple[float, float], now: float
    ) -> None:
        of_host = limit != "orders"
        for pool, ledger, _ in reservation.charges:
            if of_host != (pool.limit_type is LimitType.ORDERS):
                ledger.observe_refusal(ledger.minutes(arrived), now, full=not of_host)
        if of_host:
            self._close_gate(reservation.origin, answer, limit, now)

    def _close_gate(self, origin: str, answer: HttpResponse, limit: LimitHit, now: float) -> None:
        banned, clock = limit == "ban", self.clock(origin)
        wait = closing_seconds(
            answer,
            banned=banned,
            firewall=limit == "firewall",
            bounds=clock.bounds(),
            minute=self._minute,
            wall=self._wall(),
            is_heard=clock.is_synchronised,
        )
        gate = self.gate(origin)
        # Every call that was on its way brings the same news.
        if wait > gate.wait(now) + _NEWS:
            _log.warning("%s answered HTTP %d: nothing is sent to it for %.1f s", origin, answer.status, wait)
        is_news = banned and wait > gate.ban_left(now) + _NEWS
        gate.close(now + wait, banned=banned)
        if is_news and self._bans is not None:
            write_ban(self._bans, self._key(origin), self._wall() + wait, now=self._wall())
        if self._listeners:
            self._listeners.emit(Refused(origin, answer.status, banned, wait))

    def _charge_set(self, charges: tuple[Charge, ...]) -> ChargeSet:
        with self._lock:
            if len(self._charge_sets) >= _MOST_CHARGE_SETS:
                self._forget_idle()
            host = charges[0].pool.origin
            draws = tuple(PoolCharge(pool, self._ledger(pool), weight) for pool, weight in charges)
            fare = ChargeSet(draws, tuple(draw.pool for draw in draws), self.gate(host), self.clock(host))
            self._charge_sets[charges] = fare
            return fare

    def _key(self, origin: str) -> str:
        return f"{origin} by {self._egress}" if self._egress else origin

    def _ledger(self, pool: Pool) -> Ledger | LeasedPool:
        ledger = self._ledgers.get(pool)
        if ledger is None:
            ledger = self._forgotten.get(pool) or self._open_ledger(pool)
            self._remember(pool, ledger)
        return ledger

    def _forget_idle(self) -> None:
        """Drop what was not used for minutes: programs may call any number of paths, and for any account."""
        self._charge_sets.clear()
        now = self.monotonic()
        used = {pool for line in self._queue for reservation in line for pool in reservation.pools}
        used.update(pool for reservation in self._open for pool in reservation.pools)
        idle = [pool for pool, ledger in self._ledgers.items() if pool not in used and self._is_idle(pool, ledger, now)]
        for pool in idle:
            self._forget(pool)

    def _is_idle(self, pool: Pool, ledger: Ledger | LeasedPool, now: float) -> bool:
        # That the exchange has lowered a limit is not forgotten.
        return ledger.limit == self._limits[pool.family, pool.limit_type] and ledger.is_idle(now)

    def _forget(self, pool: Pool) -> None:
        self._forgotten[pool] = self._ledgers.pop(pool)
        self._has_forgotten = True
        self._anomalies.forget(pool)

    def _remember(self, pool: Pool, ledger: Ledger | LeasedPool) -> None:
        self._ledgers[pool] = ledger

    def _open_ledger(self, pool: Pool) -> Ledger | LeasedPool:
        return self._new_ledger(pool.family, pool.limit_type)

    def _new_ledger(self, family: Family, kind: LimitType) -> Ledger:
        # Only what is counted for the IP is used by others behind it.
        instances = self._instances if kind is LimitType.IP else 1
        return Ledger(self._limits[family, kind], minute=self._minute, instances=instances)

    def _for_polls(self, family: Family, kind: LimitType, path: str) -> float:
        """Weight a minute that polls may use, in the fullest of the pools."""
        now = self.monotonic()
        known = [
            ledger
            for pool, ledger in self._ledgers.items()
            if (pool.family, pool.limit_type) == (family, kind) and pool.path in {"", path}
        ]
        return min(ledger.for_polls(now) for ledger in known or [self._new_ledger(family, kind)])

    def _waiting(self) -> Iterator[tuple[Reservation, Waiting]]:
        """Every call in the queue, and what it waits for: the same for all that need the same weight."""
        now = self.monotonic()
        for line in self._queue:
            known: dict[tuple[PoolCharge, ...], Waiting] = {}
            for reservation in line:
                why = known.get(reservation.charges)
                if why is None:
                    why = known[reservation.charges] = waiting_of(reservation, now)
                yield reservation, why

    def _state(
        self, pool: Pool, ledger: Ledger | LeasedPool, waiting: Mapping[Priority, int], reasons: Counter[Waiting]
    ) -> PoolState:
        now = self.monotonic()
        bounds = self.clock(pool.origin).bounds()
        return PoolState(
            pool=pool,
            limit=ledger.limit,
            used=ledger.most_used(bounds),
            in_flight=ledger.in_flight,
            cap=int(ledger.cap(now)),
            reserve=int(ledger.reserve(bounds)),
            external=ledger.external.share,
            closed=self.gate(pool.origin).wait(now),
            waiting=waiting,
            waiting_for=reasons.most_common(1)[0][0] if reasons else None,
        )


class Decision(NamedTuple):
    """The longest wait among the pools of a call."""

    seconds: float
    held: tuple[Pool, ...] = ()
    """Pools that nobody behind may use meanwhile."""
    for_all: bool = False
    """Whether the first pool has no room, so that nobody in the line can go."""
    blocked_by: Pool | None = None
    """Another pool that has none, such as the account's own."""
    soonest: float = math.inf
    """Seconds until one of the held pools may be free for those behind, whatever else the call waits for."""


_FITS: Final = Decision(0.0)
# Somebody who comes first waits for a pool of the call, and looks for both.
_ELSEWHERE: Final = Decision(math.inf)


def _place(bans: Path | str) -> Path:
    try:
        return Path(bans).expanduser()
    except RuntimeError:
        raise ConfigurationError(CallInfo("Budget"), "bans: the home directory in the path is not known") from None


def _check(limits: Mapping[tuple[Family, LimitType], int], minute: float, instances: int) -> None:
    call = CallInfo("Budget")
    if unknown := limits.keys() - LIMITS.keys():
        raise ConfigurationError(call, f"there is no limit {unknown.pop()!r}")
    if not 0 < minute < math.inf:
        raise ConfigurationError(call, "a minute has more than 0 seconds")
    if instances < 1:
        raise ConfigurationError(call, "instances counts this program, too: it is at least 1")
    for (family, kind), limit in limits.items():
        if not limit > MARGIN * instances:
            kept = f"{MARGIN} of it are kept free, the rest is divided"
            what = f"the limit {limit} of {kind} /{family} is too small for {instances} instances: {kept}"
            raise ConfigurationError(call, what)


Head = tuple[Priority, float, int, Reservation, Line[Reservation]]


def head_of(line: Line[Reservation]) -> list[Head]:
    """Who is next in a line, if anybody, to be sorted among those of the other lines."""
    head = line.head()
    return [(line.priority, head[0], head[1].ticket, head[1], line)] if head else []


_budgets: Final[WeakSet[Budget]] = WeakSet()


def _after_fork() -> None:
    """A child process has none of its parent's tasks: what they hold is lost to it, who waited is gone."""
    for budget in _budgets:
        budget.restart()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
