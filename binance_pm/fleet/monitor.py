"""Many accounts on one budget: each is read as often as it needs, and every change becomes an event.

What is promised
    * An account is read within its planned interval. The plan uses at most nine tenths of what polls may use, so the
      reserve for orders and rescues stays free; see `schedule`.
    * An account whose data is older than its planned interval plus the slack becomes `Stale`, whatever the cause: a
      dead network, a call that hangs, a closed gate, or external usage that exhausts the budget.
    * A failure of one account does not stop the others, and is reported once until it changes.
    * No state event is dropped; see `EventBuffer`.

How it works
    One task runs once a second and whenever a reading is due. It plans, checks gates and ages, and starts each reading
    as a task of its own, so it never waits for a response. Readings that are due at the same time are started at the
    rate of the plan, the most urgent first.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Self

import anyio
import anyio.abc

from binance_pm.api.futures_events import AccountUpdate
from binance_pm.api.stream_events import PmProAccountUpdate
from binance_pm.budget import Budget, Priority
from binance_pm.endpoint import ENDPOINTS, Endpoint
from binance_pm.errors import CallInfo, ConfigurationError, PortfolioMarginError, SessionClosed
from binance_pm.fleet import schedule
from binance_pm.fleet.account_monitor import PRO_HEADLINE, AccountMonitor
from binance_pm.fleet.account_stream import changes_of, follow, is_danger, state_of, updated
from binance_pm.fleet.accounts import Problem
from binance_pm.fleet.event_queue import EventBuffer
from binance_pm.fleet.events import (
    AccountFailed,
    AccountSnapshot,
    BudgetTight,
    FleetEvent,
    HostBlocked,
    HostUnblocked,
    StateEvent,
)
from binance_pm.fleet.forecast import Price, cost_of, price_of
from binance_pm.fleet.staleness import Diagnosis
from binance_pm.transport.affinity import ONE_EACH, Affinity

_log = logging.getLogger(__name__)

_PLAN_SECONDS: Final = 1.0
_SHORTEST_SLEEP: Final = 0.001
# Fraction of a pool's room for polls at which readings are started: a little faster than planned, to catch up.
_RATE: Final = 0.95
_BURST_SECONDS: Final = 5.0
# This many polls wait for weight only if the budget has less room than planned, for example after calls were lost.
_CONGESTED: Final = 10
_CONGESTED_SECONDS: Final = 0.25
# The budget becomes tight above the first ratio of demand to supply, and stops being tight after a whole minute below
# the second: external usage rises and falls within a minute.
_TIGHT: Final = 1.05
_RELAXED: Final = 0.95
_RELAXED_SECONDS: Final = 60.0
# A gate that stays closed for longer than reported by more than this number of seconds is reported again.
_GATE_CHANGE: Final = 1.5

_Demand = tuple[float, Mapping[str, float]]
"""The wished interval of an account, and the cost of one reading by pool."""


class Monitor:
    """The scheduler of all accounts, and an iterator over their events until it is stopped."""

    def __init__(
        self,
        budget: Budget,
        accounts: list[AccountMonitor],
        problems: list[Problem],
        *,
        origins: Sequence[str],
        floor: float,
        ceiling: float,
    ) -> None:
        self._budget: Final = budget
        self._accounts: Final = accounts
        self._problems: Final = problems
        self._origins: Final = origins
        self._floor: Final = floor
        self._ceiling: Final = ceiling
        self._events: Final = EventBuffer(len(accounts))
        self._plan_at: float = budget.monotonic()
        self._prices: dict[str, Price] = {}
        """By endpoint."""
        self._stretches: dict[str, float] = {}
        self._booked: Final[dict[str, float]] = {}
        """Until when the readings already started use the planned share of each pool, monotonic seconds."""
        self._congested: set[str] = set()
        """Pools with so many waiting calls that any further call would only be queued behind them."""
        self._closed_gates: Final[dict[str, float]] = {}
        """Until when each gate reported as closed stays closed, by origin, monotonic seconds."""
        self._tight: Final[dict[str, float]] = {}
        """Pools reported as tight, and since when each has been relaxed: monotonic seconds, infinite if not."""
        self._scope: Final = anyio.CancelScope()
        self._sleep: anyio.CancelScope | None = None
        self._tasks: anyio.abc.TaskGroup | None = None
        self._affinity: Final = Affinity()

    async def run(self) -> None:
        """Run the scheduler until it is stopped."""
        with self._scope:
            async with anyio.create_task_group() as self._tasks:
                self._report_problems()
                for account in self._accounts:
                    if account.stream != "off":
                        self._tasks.start_soon(follow, account, self._on_item, self._budget.sleep)
                while True:
                    wake = self._step(self._budget.monotonic())
                    with anyio.CancelScope() as self._sleep:
                        await self._budget.sleep(max(wake - self._budget.monotonic(), _SHORTEST_SLEEP))

    def stop(self) -> None:
        """Stop reading, and end the iteration."""
        self._events.close()
        self._scope.cancel()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> FleetEvent:
        if mismatch := self._affinity.mismatch():
            raise SessionClosed(CallInfo("Fleet.watch"), f"the iterator was {mismatch}", advice=ONE_EACH)
        event = await self._events.get()
        if event is None:
            raise StopAsyncIteration
        return event

    def snapshots(self) -> list[AccountSnapshot]:
        """Return the snapshots of all accounts, as `Fleet.snapshot` does."""
        now, at, diagnosis = self._budget.monotonic(), self._wall(), self._diagnosis()
        unopened = [AccountSnapshot(label=label, error=f"line {line}: {text}") for label, line, text in self._problems]
        return [self._snapshot(account, diagnosis, at, now) for account in self._accounts] + unopened

    def _snapshot(self, account: AccountMonitor, diagnosis: Diagnosis, at: float, now: float) -> AccountSnapshot:
        try:
            text, waiting = diagnosis.reason(account, now) if account.is_stale else ("", None)
            return account.snapshot(text, waiting, at=at, now=now)
        except Exception as error:  # noqa: BLE001 - the other accounts must be shown nevertheless
            text = f"an unexpected {type(error).__name__}"
            return AccountSnapshot(label=account.label, product=account.product, error=text)

    def _diagnosis(self) -> Diagnosis:
        return Diagnosis(self._budget, is_behind=self._events.is_behind)

    def _step(self, now: float) -> float:
        """Do everything that is due, and return when to run again."""
        if now >= self._plan_at:
            self._plan(now)
            self._plan_at = now + _PLAN_SECONDS
        self._check_gates(now)
        stale_at = self._check_ages(now)
        start_at = self._start_due(now)
        return min(self._plan_at, stale_at, start_at)

    def _plan(self, now: float) -> None:
        """Plan the interval of every account from its danger and from the room in the budget."""
        self._prices = {
            name: price_of(self._budget, name) for name in {name for account in self._accounts for name in account.read}
        }
        self._find_congestion()
        demands: list[_Demand] = []
        for account in self._accounts:
            self._update_wish(account)
            demands.append((account.wished_interval, self._cost(account.active(now))))
        self._stretches = schedule.stretches(schedule.loads(demands))
        plans = [(schedule.stretched(interval, costs, self._stretches), costs) for interval, costs in demands]
        overdue = [account.unread_seconds(now) - account.interval for account in self._accounts]
        turns: list[schedule.Turn] = []
        for account, (interval, costs), hurry in zip(
            self._accounts, plans, schedule.hurries(plans, overdue), strict=True
        ):
            account.replan(interval / hurry, now)
            if account.skipped and self._can_start(account, now):
                account.skipped, account.due = False, now
            turns.append(schedule.Turn(account.due, account.interval, costs))
        for account, start in zip(self._accounts, schedule.levelled(turns, rate=_RATE), strict=True):
            account.start_at = start
        self._report_tightness(demands, now)

    def _can_start(self, account: AccountMonitor, now: float) -> bool:
        """Return whether the gates are open and the pools have room for all readings of an account."""
        return all(
            self._prices[name].pool not in self._congested and not self._gate_wait(account, name, now)
            for name in account.active(now)
        )

    def _gate_wait(self, account: AccountMonitor, name: str, now: float) -> float:
        return self._budget.gate(account.client.origin(ENDPOINTS[name])).wait(now)

    def _update_wish(self, account: AccountMonitor) -> None:
        try:
            account.update_wish(floor=self._floor, ceiling=self._ceiling)
        except Exception:  # noqa: BLE001 - the other accounts must be read nevertheless
            # An account that cannot be judged may be in danger.
            account.wished_interval = account.wished_without_stream = self._floor

    def _cost(self, names: Iterable[str]) -> dict[str, float]:
        return cost_of(self._prices[name] for name in names)

    def _report_tightness(self, demands: list[_Demand], now: float) -> None:
        prices = {price.pool: price for price in self._prices.values()}
        for pool in self._stretches:
            wanted = prices[pool].room * sum(costs.get(pool, 0.0) / interval for interval, costs in demands)
            available = prices[pool].available * schedule.PLANNED
            is_tight = self._is_tight(pool, wanted / max(1.0, available), now)
            if is_tight == (pool in self._tight):
                continue
            if is_tight:
                self._tight[pool] = math.inf
            else:
                del self._tight[pool]
            longest = max(a.interval for a, (_, costs) in zip(self._accounts, demands, strict=True) if pool in costs)
            self._events.put(
                BudgetTight(
                    at=self._wall(), pool=pool, wanted=wanted, available=available, interval=longest, is_tight=is_tight
                )
            )

    def _is_tight(self, pool: str, ratio: float, now: float) -> bool:
        """Return whether the pool counts as tight, given the ratio of wanted weight to weight that may be planned."""
        if pool not in self._tight:
            return ratio > _TIGHT
        self._tight[pool] = min(self._tight[pool], now) if ratio <= _RELAXED else math.inf
        return now < self._tight[pool] + _RELAXED_SECONDS

    def _check_gates(self, now: float) -> None:
        for origin in self._origins:
            gate = self._budget.gate(origin)
            wait, known = gate.wait(now), self._closed_gates.get(origin)
            if wait and (known is None or now + wait > known + _GATE_CHANGE):
                at = self._wall()
                self._events.put(HostBlocked(at=at, origin=origin, until=at + wait, banned=gate.is_banned(now)))
                self._closed_gates[origin] = now + wait
            elif not wait and self._closed_gates.pop(origin, None) is not None:
                self._events.put(HostUnblocked(at=self._wall(), origin=origin))

    def _check_ages(self, now: float) -> float:
        """Report accounts that have become stale, and return when the next one could."""
        soonest, diagnosis = math.inf, self._diagnosis()
        for account in self._accounts:
            if account.is_stale:
                continue
            left = account.max_age - account.unread_seconds(now)
            if left > 0:
                soonest = min(soonest, now + left)
            else:
                text, waiting = diagnosis.reason(account, now)
                self._events.put(account.stale(text, waiting, at=self._wall(), now=now))
        return soonest

    def _start_due(self, now: float) -> float:
        """Start the readings that are due, the most urgent first, and return when the next can be started."""
        if self._events.is_behind:
            return self._plan_at
        self._find_congestion()
        due = [account for account in self._accounts if account.start_at <= now]
        for account in sorted(due, key=lambda account: (account.interval, account.due)):
            account.start_at = self._start(account, now)
        return min((account.start_at for account in self._accounts), default=math.inf)

    def _find_congestion(self) -> None:
        # Usually no call waits, and the snapshot of all pools is not needed.
        states = self._budget.snapshot() if self._budget.waiting >= _CONGESTED else []
        self._congested = {state.pool.name for state in states if state.waiting[Priority.POLL] >= _CONGESTED}

    def _start(self, account: AccountMonitor, now: float) -> float:
        """Start the readings of an account that can be started, and return when to start the next."""
        names = [name for name in account.active(now) if name not in account.in_flight]
        waits = {name: self._gate_wait(account, name, now) for name in names}
        open_now = [name for name in names if not waits[name]]
        if not open_now:
            delayed = [failure.retry_at for failure in account.failures.values() if failure.retry_at > now]
            return max(now + _SHORTEST_SLEEP, min([*(now + wait for wait in waits.values()), *delayed, now + 1.0]))
        # A pool without room does not delay the readings that another pool counts.
        open_now = [name for name in open_now if self._prices[name].pool not in self._congested]
        if not open_now:
            return now + _CONGESTED_SECONDS
        account.skipped = len(open_now) < len(names)
        costs = self._cost(open_now)
        booked = max(self._booked.get(pool, now) for pool in costs)
        if booked > now + _BURST_SECONDS:
            return booked - _BURST_SECONDS
        for pool, cost in costs.items():
            self._booked[pool] = max(self._booked.get(pool, now), now) + cost / _RATE
        account.due = now + account.interval
        assert self._tasks is not None  # noqa: S101 - for the type checker
        together = _Round(pending=set(open_now), succeeded=[])
        account.in_flight.update(open_now)
        for name in open_now:
            self._tasks.start_soon(self._read, account, ENDPOINTS[name], together)
        return account.due

    async def _read(self, account: AccountMonitor, endpoint: Endpoint[Any], together: _Round) -> None:
        name = endpoint.name
        failure: Exception | None = None
        response: Any = None
        try:
            response = await account.client.call(endpoint, {})
        except PortfolioMarginError as error:
            failure = error
        except Exception as error:  # noqa: BLE001 - the other accounts must be monitored nevertheless
            _log.exception("%s [%s] failed unexpectedly", name, account.label)
            failure = error
        account.in_flight.discard(name)
        now, at = self._budget.monotonic(), self._wall()
        if failure is None:
            try:
                self._report(account.record_response(name, response, at=at, now=now))
                self._bring_forward(account, now)
                together.succeeded.append(name)
            except Exception as error:  # noqa: BLE001 - as above
                failure = self._unusable(account, name, error)
        if failure is not None:
            self._report(account.record_failure(name, failure, at=at, now=now))
        together.pending.discard(name)
        if not together.pending and together.succeeded:
            try:
                self._events.put(account.reading(together.succeeded, at=at))
            except Exception as error:  # noqa: BLE001 - as above
                self._report(account.record_failure(name, self._unusable(account, name, error), at=at, now=now))

    def _on_item(self, account: AccountMonitor, item: object) -> None:
        """Handle an item of the stream of an account; the reader of the stream calls this method."""
        now, at = self._budget.monotonic(), self._wall()
        is_up = state_of(item)
        if is_up is not None:
            account.stream = "up" if is_up else "down"
            # Changes during a gap are not known.
            self._read_soon(account, now)
        elif isinstance(item, AccountUpdate):
            account.has_changed = True
            for change in changes_of(account.label, item, at):
                self._events.put(change)
            self._bring_forward(account, now)
        elif isinstance(item, PmProAccountUpdate):
            self._update(account, item, at=at, now=now)
        elif is_danger(item):
            account.updated_at = -math.inf
            self._read_soon(account, now)

    def _update(self, account: AccountMonitor, update: PmProAccountUpdate, *, at: float, now: float) -> None:
        """Use the figures of a Portfolio Margin Pro account that its stream has pushed."""
        if PRO_HEADLINE not in account.read or (response := updated(account, update)) is None:
            return
        try:
            self._report(account.record_response(PRO_HEADLINE, response, at=at, now=now))
            account.updated_at = now
            self._events.put(account.reading([PRO_HEADLINE], at=at))
        except Exception as error:  # noqa: BLE001 - the other accounts must be monitored nevertheless
            self._report(
                account.record_failure(PRO_HEADLINE, self._unusable(account, PRO_HEADLINE, error), at=at, now=now)
            )

    def _read_soon(self, account: AccountMonitor, now: float) -> None:
        account.due = account.start_at = min(account.start_at, now)
        if self._sleep is not None:
            self._sleep.cancel()

    def _unusable(self, account: AccountMonitor, name: str, error: Exception) -> Exception:
        """Log an unusable response: it must not end the monitoring of the other accounts."""
        _log.error("%s [%s]: the response cannot be used", name, account.label, exc_info=error)
        return error

    def _bring_forward(self, account: AccountMonitor, now: float) -> None:
        """Bring the next reading forward if the account is in more danger than planned for."""
        self._update_wish(account)
        interval = schedule.stretched(account.wished_interval, self._cost(account.active(now)), self._stretches)
        if interval >= account.interval:
            return
        account.replan(interval, now)
        account.start_at = account.due
        if self._sleep is not None:
            self._sleep.cancel()

    def _report(self, events: Iterable[StateEvent]) -> None:
        for event in events:
            self._events.put(event)

    def _report_problems(self) -> None:
        for label, line, text in self._problems:
            self._events.put(
                AccountFailed(
                    label=label,
                    at=self._wall(),
                    endpoint="",
                    error=f"line {line}: {text}",
                    error_type=ConfigurationError.__name__,
                    retry_at=None,
                )
            )

    def _wall(self) -> float:
        """Return seconds since the epoch by the exchange's clock."""
        return exchange_time(self._budget, self._origins)


def exchange_time(budget: Budget, origins: Sequence[str]) -> float:
    """Return seconds since the epoch by the clock of the first origin that has responded."""
    clocks = [budget.clock(origin) for origin in origins]
    return next((clock for clock in clocks if clock.is_synchronised), clocks[0]).milliseconds() / 1000


class _Round(NamedTuple):
    """The readings of one account that were started together."""

    pending: set[str]
    succeeded: list[str]
