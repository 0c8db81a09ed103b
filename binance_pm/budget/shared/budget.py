"""A budget that several processes share through a store."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Final

import anyio

from binance_pm.arguments import checked
from binance_pm.budget.budget import Budget
from binance_pm.budget.charges import Bounds, PoolCharge
from binance_pm.budget.events import Refused
from binance_pm.budget.gate import LONGEST_BAN
from binance_pm.budget.origins import NEWS_SECONDS
from binance_pm.budget.scheduler import denied_pools, head_of
from binance_pm.budget.shared.coordinator import LATENCY, Coordinator, ReplyResult
from binance_pm.budget.shared.demands import MAX_CALLS
from binance_pm.budget.shared.leased_pool import OVERDUE_SECONDS, LeasedPool
from binance_pm.budget.shared.messages import OriginReply, OriginReport, StoreMessage, StoreReply
from binance_pm.budget.shared.redis import RedisStore
from binance_pm.budget.shared.worker import Store, StoreWorker, Worker
from binance_pm.errors import CallInfo, ConfigurationError
from binance_pm.limits import Family, LimitType, Pool, Priority

_log = logging.getLogger(__name__)

_TICK: Final = 0.02


class SharedBudget(Budget):
    """What one egress IP may spend, shared by every process that uses the same store and name.

    Nothing is sent to the store before the first call. The extra ``redis`` is needed.

    Args:
        url: the Redis or Valkey server, such as ``redis://localhost:6379/0``.
        name: the name of the egress IP in the store: one for each IP.
        limits: limits that differ from `LIMITS`, by family and limit type.
        minute: seconds of the exchange's minute; only a test exchange has another than 60.
        processes: how many processes share the budget, for one that has not reached the store yet.
        bans: a file in which bans outlive the program; the store keeps them in any case.
        connect: opens a connection to another store than the server at the URL.
        worker: carries the messages to the store in place of a thread.
        monotonic: this machine's clock that never steps, in seconds.
        wall: this machine's wall clock, used until the exchange has reported its time.
        sleep: waits for seconds of the monotonic clock.

    Raises:
        ConfigurationError: an argument cannot be used, or the extra is not installed.
    """

    # The store has time to reply, however little time a call has.
    _min_wait = OVERDUE_SECONDS + 0.1

    @checked("SharedBudget")
    def __init__(
        self,
        url: str,
        *,
        name: str = "default",
        limits: Mapping[tuple[Family, LimitType], int] | None = None,
        minute: float = 60.0,
        processes: int = 4,
        bans: Path | None = None,
        connect: Callable[[], Store] | None = None,
        worker: Worker | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        if processes < 1 or not name:
            raise ConfigurationError(CallInfo("SharedBudget"), "processes is at least 1, and the name is not empty")
        self._worker: Final = worker or StoreWorker(self, connect=connect or partial(RedisStore, url, name))
        super().__init__(
            limits=limits, minute=minute, bans=bans, egress=name, monotonic=monotonic, wall=wall, sleep=sleep
        )
        self._new_coordinator: Final = partial(
            Coordinator,
            bounds=self._origins.bounds,
            minute=minute,
            expected=processes,
            monotonic=monotonic,
            wall=wall,
            wake=self._worker.wake,
        )
        self._coordinator: Coordinator = self._new_coordinator()

    def __del__(self) -> None:
        # The worker has only a weak reference to the budget, so the last message is built here.
        if hasattr(self, "_coordinator"):
            self._worker.close(self.leave_message())

    def __repr__(self) -> str:
        pools = super().__repr__().removeprefix("Budget(").removesuffix(")")
        store = "the store lost, one of" if self.is_store_lost else "shared by"
        return f"SharedBudget({pools}, {store} {self.processes})"

    @property
    def processes(self) -> int:
        """How many processes share the budget, this one included, by the latest reply of the store."""
        with self._lock:
            return self._coordinator.processes

    @property
    def is_store_lost(self) -> bool:
        """Whether the store does not answer, so that this process uses only its own part of the limits."""
        with self._lock:
            return self._coordinator.is_fallback

    def close(self) -> None:
        """Return the weight that this process does not need, and end the thread that talks to the store.

        The budget can still be used: the thread starts again with the next call.
        """
        self._worker.close()

    def due(self) -> float:
        """Return the monotonic time at which the next message to the store is due; infinite while one is carried."""
        with self._lock:
            return self._coordinator.due()

    def message(self) -> StoreMessage:
        """Return the next message to the store; `reply_received` or `no_reply_received` has to follow."""
        with self._lock:
            return self._coordinator.message(self._report, self._wanted())

    def leave_message(self) -> StoreMessage:
        """Return the last message of a process that ends."""
        with self._lock:
            return self._coordinator.message(self._report, {}, leaving=True)

    def reply_received(self, reply: StoreReply) -> None:
        """Learn what the store has replied."""
        with self._lock:
            if result := self._coordinator.reply_received(reply):
                self._apply_reply(result)
            self._scheduler.queue.resume_all()
            self._dispatch()

    def no_reply_received(self, why: str) -> None:
        """Learn that no reply came, and why: the text must not contain a password."""
        with self._lock:
            self._coordinator.no_reply_received(why)
            self._scheduler.queue.resume_all()
            self._dispatch()

    def _apply_reply(self, result: ReplyResult) -> None:
        now = self.monotonic()
        for origin, reply in result.origins:
            if reply.is_synchronised:
                self.clock(origin).take_over(reply.earliest, reply.latest, asked=now - result.took, answered=now)
            gate = self.gate(origin)
            if reply.closed:
                self._apply_closed_gate(origin, reply, now)
            if gate.wait(now) > reply.closed + NEWS_SECONDS:
                # The store has lost its memory, or the refusal is from before it was reached.
                self._coordinator.close_gate(origin)
        for pool, rise in result.rises:
            charge = PoolCharge(pool, self._coordinator.pools[pool], rise.weight)
            self._anomalies.compare_weight(charge, rise.endpoint, rise.risen)

    def _apply_closed_gate(self, origin: str, reply: OriginReply, now: float) -> None:
        """Close a gate as the store reports it; this process knows its own refusals already."""
        gate, seconds = self.gate(origin), min(reply.closed, LONGEST_BAN)
        is_news = seconds > gate.wait(now) + NEWS_SECONDS
        gate.close(now + seconds, banned=reply.banned)
        if is_news:
            _log.warning("%s refused another process: nothing is sent to it for %.1f s", origin, seconds)
            self._listeners.emit(Refused(origin, None, reply.banned, seconds))

    def _report(self, origin: str, has_closed: bool) -> OriginReport:  # noqa: FBT001 - a callback
        clock, gate, now = self.clock(origin), self.gate(origin), self.monotonic()
        earliest, latest = clock.bounds()
        closed = gate.wait(now) if has_closed else 0.0
        return OriginReport(
            origin, earliest, latest + LATENCY, clock.is_synchronised, closed, gate.is_banned(now) and closed > 0
        )

    def _wanted(self) -> dict[Pool, list[tuple[Priority, int]]]:
        """Return the weights that the waiting calls need, the most urgent first."""
        wanted: dict[Pool, list[tuple[Priority, int]]] = {}
        now = self.monotonic()
        # Calls that another pool holds up want its weight, too.
        self._scheduler.queue.resume_all()
        for *_, first, line in sorted(head for each in self._scheduler.queue for head in head_of(each)):
            if first.gate.wait(now):
                continue
            total = 0
            behind = (reservation for reservation in line if reservation is not first)
            for reservation in islice(chain([first], behind), MAX_CALLS):
                denied = denied_pools(reservation, now).keys()
                for pool, _, weight in reservation.charges:
                    # Weight of one pool is of no use before the others have it.
                    if not denied - {pool}:
                        wanted.setdefault(pool, []).append((line.priority, weight))
                total += reservation.weight
                if self._coordinator.pools[line.pool].takes_turns(line.priority, total):
                    break
        return wanted

    def _restart_ledgers(self) -> None:
        """Start again without the weight of the parent, which the parent settles itself."""
        self._worker.restart()
        self._coordinator = self._new_coordinator()
        self._scheduler.open.clear()
        self._table.clear()

    def _open_ledger(self, pool: Pool, bounds: Bounds) -> LeasedPool:
        return self._coordinator.pool(pool, self._limits[pool.family, pool.limit_type], bounds)

    def _is_done_with(self, pool: Pool) -> bool:
        return self._coordinator.is_done_with(pool)

    def _refresh(self) -> None:
        self._coordinator.give_up()

    def _look_at(self, at: float, deadline: float, now: float) -> float:
        if at == math.inf:
            # A waiting call has to notice if the store does not reply.
            return now + OVERDUE_SECONDS + _TICK
        # A call that waits in vain looks at once, and fails.
        return now if at > deadline else at

    def _report_closed_gate(self, origin: str) -> None:
        self._coordinator.close_gate(origin)
