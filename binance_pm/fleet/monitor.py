"""Many accounts on one budget: read as often as each needs, and every change told.

What is promised
    * An account is read within its planned interval. The plan uses at most nine tenths of what polls may use, so the
      reserve for orders and rescues is never planned away; see `pace`.
    * The picture of an account that is older than its planned interval and the slack is told as `Stale`, whatever the
      reason: a dead network, a call that hangs, a closed gate, a budget that others use up.
    * One account's failure stops no other, and is told once until it changes.
    * No state event is dropped; see `Backlog`.

How it works
    One task looks once a second, and whenever a reading is due. It plans, looks at gates and ages, and starts readings,
    each as a task of its own: it never waits for one. What is due at once is started at the rate of the plan, the
    most urgent first.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from heapq import heapify, heappop, heappush
from typing import Any, Final, Self

import anyio
import anyio.abc

from binance_pm.budget import Budget, Priority
from binance_pm.endpoint import ENDPOINTS, Endpoint
from binance_pm.errors import CallInfo, ConfigurationError, PortfolioMarginError, SessionClosed
from binance_pm.fleet import schedule
from binance_pm.fleet.account_monitor import AccountMonitor
from binance_pm.fleet.accounts import Problem
from binance_pm.fleet.event_buffer import EventBuffer
from binance_pm.fleet.events import (
    AccountFailed,
    AccountSnapshot,
    BudgetTight,
    FleetEvent,
    HostBlocked,
    HostUnblocked,
    StateEvent,
)
from binance_pm.fleet.forecast import price_of
from binance_pm.fleet.unseen import Moment
from binance_pm.transport.affinity import ONE_EACH, Affinity

_log = logging.getLogger(__name__)

_LOOK_SECONDS: Final = 1.0
_SHORTEST_SLEEP: Final = 0.001
# What is due at once is started a little faster than planned, so that lateness is made up for.
_RATE: Final = 0.95
_BURST_SECONDS: Final = 5.0
# So many polls wait for weight only where the budget has less room than it seemed, such as after calls that were lost.
_JAM: Final = 10
_JAM_SECONDS: Final = 0.25
# The budget is tight if more is wanted than it has by this factor, and no longer if less than the second was wanted
# for a whole minute: what others use rises and falls within one.
_TIGHT: Final = 1.05
_ROOMY: Final = 0.95
_ROOMY_SECONDS: Final = 60.0
# A gate that stays closed for so much longer than was told is told again.
_GATE_NEWS: Final = 1.5


class Monitor:
    """One watch over all accounts: the scheduler, and the events on their way, which it yields until it is stopped."""

    def __init__(
        self,
        budget: Budget,
        accounts: list[AccountMonitor],
        problems: list[Problem],
        *,
        origins: Sequence[str],
        floor: float,
        ceiling: float,
        slack: float,
    ) -> None:
        self._budget: Final = budget
        self._accounts: Final = accounts
        self._problems: Final = problems
        self._floor: Final = floor
        self._ceiling: Final = ceiling
        self._slack: Final = slack
        self._backlog: Final = EventBuffer(len(accounts))
        self._heap: list[tuple[float, int, int]] = []
        """When it is due, its place in `accounts`, and the ticket that says whether this still holds."""
        self._places: Final = {id(account): place for place, account in enumerate(accounts)}
        self._plan_at: float = budget.monotonic()
        self._stretches: dict[str, float] = {}
        self._costs: dict[str, tuple[str, float]] = {}
        """What one reading of an endpoint takes of which pool: see `schedule.stretches`."""
        self._rooms: dict[str, float] = {}
        """Weight a minute with which polls are planned, by pool."""
        self._available: dict[str, float] = {}
        """Weight a minute that they may use."""
        self._booked: Final[dict[str, float]] = {}
        """Until when the readings that were started have used what the plan gives of a pool, monotonic seconds."""
        self._jammed: Final[set[str]] = set()
        """Pools that too many calls wait for."""
        self._origins: Final = origins
        self._shut: Final[dict[str, float]] = {}
        """Until when each gate that was told as shut is, monotonic seconds."""
        self._tight: Final[dict[str, float]] = {}
        """The pools that were told as tight, and since when each has had room: monotonic seconds, infinite for not."""
        self._scope: Final = anyio.CancelScope()
        self._sleep: anyio.CancelScope | None = None
        self._tasks: anyio.abc.TaskGroup | None = None
        self._affinity: Final = Affinity()

    async def run(self) -> None:
        """Look, and sleep until there is reason to look again."""
        with self._scope:
            async with anyio.create_task_group() as self._tasks:
                self._tell_problems()
                while True:
                    wake = self._look(self._budget.monotonic())
                    with anyio.CancelScope() as self._sleep:
                        await self._budget.sleep(max(wake - self._budget.monotonic(), _SHORTEST_SLEEP))

    def stop(self) -> None:
        """End everything."""
        self._backlog.close()
        self._scope.cancel()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> FleetEvent:
        if mismatch := self._affinity.mismatch():
            raise SessionClosed(CallInfo("Fleet.watch"), f"the watch was {mismatch}", advice=ONE_EACH)
        event = await self._backlog.get()
        if event is None:
            raise StopAsyncIteration
        return event

    def snapshots(self) -> list[AccountSnapshot]:
        """See `Fleet.snapshot`."""
        now, at = self._budget.monotonic(), self._wall()
        moment = self._moment()
        return [self._snapshot(account, moment, at, now) for account in self._accounts] + [
            _unopened(problem) for problem in self._problems
        ]

    def _snapshot(self, account: AccountMonitor, moment: Moment, at: float, now: float) -> AccountSnapshot:
        try:
            text, waiting = moment.why(account, account.late()) if account.is_stale else ("", None)
            return account.snapshot(at=at, now=now, slack=self._slack, why=text, waiting=waiting)
        except Exception as error:  # noqa: BLE001 - the others are to be seen all the same
            return _unseen(account.label, account.product, f"an unexpected {type(error).__name__}")

    def _moment(self) -> Moment:
        return Moment(self._budget, is_behind=self._backlog.is_behind)

    def _look(self, now: float) -> float:
        """Do what there is to do, and say when to look again."""
        if now >= self._plan_at:
            self._plan(now)
            self._plan_at = now + _LOOK_SECONDS
        self._look_at_gates(now)
        blind_at = self._look_at_ages(now)
        start_at = self._start_due(now)
        return min(self._plan_at, blind_at, start_at)

    def _plan(self, now: float) -> None:
        """Say anew how often every account is read, by what is known of it and by what the budget has."""
        self._price()
        self._find_jams()
        demands: list[tuple[float, Mapping[str, float]]] = []
        for account in self._accounts:
            self._aim(account)
            demands.append((account.wish, self._cost(account.active(now))))
        self._stretches = schedule.stretches(schedule.loads(demands))
        plans = [(schedule.stretched(interval, costs, self._stretches), costs) for interval, costs in demands]
        overdue = [account.unseen(now) - account.interval for account in self._accounts]
        turns: list[schedule.Turn] = []
        for account, (interval, costs), hurry in zip(
            self._accounts, plans, schedule.hurries(plans, overdue), strict=True
        ):
            account.replan(interval / hurry, now)
            if account.left_out and self._has_way(account, now):
                account.left_out, account.due = False, now
            turns.append(schedule.Turn(account.due, account.interval, costs))
        self._line_up(turns)
        self._tell_tightness(demands, now)

    def _has_way(self, account: AccountMonitor, now: float) -> bool:
        """Whether no gate and no pool keeps any of an account's readings from being started."""
        return all(
            self._costs[name][0] not in self._jammed
            and not self._budget.gate(account.client.origin(ENDPOINTS[name])).wait(now)
            for name in account.active(now)
        )

    def _aim(self, account: AccountMonitor) -> None:
        try:
            account.aim(floor=self._floor, ceiling=self._ceiling)
        except Exception:  # noqa: BLE001 - the others are to be read all the same
            # What cannot be judged may be in danger.
            account.wish = self._floor

    def _line_up(self, turns: list[schedule.Turn]) -> None:
        self._heap.clear()
        for place, start in enumerate(schedule.levelled(turns, rate=_RATE)):
            account = self._accounts[place]
            account.ticket += 1
            self._heap.append((start, place, account.ticket))
        heapify(self._heap)

    def _price(self) -> None:
        for name in {name for account in self._accounts for name in account.read}:
            price = price_of(self._budget, name)
            self._costs[name] = price.pool, price.cost
            self._rooms[price.pool], self._available[price.pool] = price.room, price.available

    def _cost(self, names: Iterable[str]) -> dict[str, float]:
        costs: dict[str, float] = {}
        for name in names:
            pool, cost = self._costs[name]
            costs[pool] = costs.get(pool, 0.0) + cost
        return costs

    def _tell_tightness(self, demands: list[tuple[float, Mapping[str, float]]], now: float) -> None:
        for pool in self._stretches:
            wanted = self._rooms[pool] * sum(costs.get(pool, 0.0) / interval for interval, costs in demands)
            available = self._available[pool] * schedule.PLANNED
            is_tight = self._is_tight(pool, wanted / max(1.0, available), now)
            if is_tight == (pool in self._tight):
                continue
            if is_tight:
                self._tight[pool] = math.inf
            else:
                del self._tight[pool]
            concerned = [a.interval for a, (_, costs) in zip(self._accounts, demands, strict=True) if pool in costs]
            self._backlog.put(
                BudgetTight(
                    at=self._wall(),
                    pool=pool,
                    wanted=wanted,
                    available=available,
                    interval=max(concerned),
                    is_tight=is_tight,
                )
            )

    def _is_tight(self, pool: str, ratio: float, now: float) -> bool:
        """Whether the pool counts as tight, with so many times what may be planned wanted of it."""
        if pool not in self._tight:
            return ratio > _TIGHT
        self._tight[pool] = min(self._tight[pool], now) if ratio <= _ROOMY else math.inf
        return now < self._tight[pool] + _ROOMY_SECONDS

    def _look_at_gates(self, now: float) -> None:
        for host in self._origins:
            gate = self._budget.gate(host)
            wait, known = gate.wait(now), self._shut.get(host)
            if wait and (known is None or now + wait > known + _GATE_NEWS):
                at = self._wall()
                self._backlog.put(HostBlocked(at=at, origin=host, until=at + wait, banned=gate.is_banned(now)))
                self._shut[host] = now + wait
            elif not wait and self._shut.pop(host, None) is not None:
                self._backlog.put(HostUnblocked(at=self._wall(), origin=host))

    def _look_at_ages(self, now: float) -> float:
        """Tell who is too old, and when somebody could be next."""
        soonest = float("inf")
        moment = self._moment()
        for account in self._accounts:
            if account.is_stale:
                account.grow_old(now, self._slack)
                continue
            left = account.promised + self._slack - account.unseen(now)
            if left > 0:
                soonest = min(soonest, now + left)
            else:
                account.grow_old(now, self._slack)
                text, waiting = moment.why(account, account.late())
                self._backlog.put(account.stale(text, waiting, at=self._wall(), now=now, slack=self._slack))
        return soonest

    def _start_due(self, now: float) -> float:
        """Start what is due, the most urgent first, and say when something can be started next."""
        if self._backlog.is_behind:
            return self._plan_at
        ready: list[tuple[float, float, int]] = []
        while self._heap and self._heap[0][0] <= now:
            _, place, ticket = heappop(self._heap)
            account = self._accounts[place]
            if ticket == account.ticket:
                ready.append((account.interval, account.due, place))
        soonest = float("inf")
        self._find_jams()
        for _, _, place in sorted(ready):
            account = self._accounts[place]
            if (later := self._start(account, now)) > now:
                self._push(account, later)
                soonest = min(soonest, later)
        return min(soonest, self._heap[0][0]) if self._heap else soonest

    def _find_jams(self) -> None:
        """Where calls already wait for weight, more would only wait behind them, however urgent they are."""
        self._jammed.clear()
        if self._budget.waiting < _JAM:
            return
        for state in self._budget.snapshot():
            if state.waiting[Priority.POLL] >= _JAM:
                self._jammed.add(state.pool.name)

    def _start(self, account: AccountMonitor, now: float) -> float:
        """Start the readings of an account that can be; otherwise say when to try again."""
        names = [name for name in account.active(now) if name not in account.out]
        waits = {name: self._budget.gate(account.client.origin(ENDPOINTS[name])).wait(now) for name in names}
        open_now = [name for name in names if not waits[name]]
        if not open_now:
            pending = [one.until for one in account.backoffs.values() if one.until > now]
            return max(now + _SHORTEST_SLEEP, min([*(now + wait for wait in waits.values()), *pending, now + 1.0]))
        # One pool without room is no reason not to read what another one counts.
        open_now = [name for name in open_now if self._costs[name][0] not in self._jammed]
        if not open_now:
            return now + _JAM_SECONDS
        account.left_out = len(open_now) < len(names)
        costs = self._cost(open_now)
        booked = max(self._booked.get(pool, now) for pool in costs)
        if booked > now + _BURST_SECONDS:
            return booked - _BURST_SECONDS
        for pool, cost in costs.items():
            self._booked[pool] = max(self._booked.get(pool, now), now) + cost / _RATE
        account.due = now + account.interval
        self._push(account, account.due)
        group, together = self._tasks, _Round(len(open_now))
        assert group is not None  # noqa: S101
        for name in open_now:
            account.out.add(name)
            group.start_soon(self._read, account, ENDPOINTS[name], together)
        return now

    def _push(self, account: AccountMonitor, at: float) -> None:
        account.ticket += 1
        heappush(self._heap, (at, self._places[id(account)], account.ticket))

    async def _read(self, account: AccountMonitor, endpoint: Endpoint[Any], together: _Round) -> None:
        name = endpoint.name
        failure: Exception | None = None
        answer: Any = None
        try:
            answer = await account.client.call(endpoint, {})
        except PortfolioMarginError as error:
            failure = error
        except Exception as error:  # noqa: BLE001
            # Whatever it is, the other accounts must be watched on.
            _log.exception("%s [%s] failed unexpectedly", name, account.label)
            failure = error
        account.out.discard(name)
        now, at = self._budget.monotonic(), self._wall()
        if failure is None:
            try:
                self._tell(account.learn(name, answer, at=at, now=now, slack=self._slack))
                self._bring_forward(account, now)
                together.came.append(name)
            except Exception as error:  # noqa: BLE001
                failure = self._unusable(account, name, error)
        if failure is not None:
            self._tell(account.fail(name, failure, at=at, now=now))
        together.left -= 1
        if not together.left and together.came:
            try:
                self._backlog.put(account.reading(together.came, at=at))
            except Exception as error:  # noqa: BLE001
                self._tell(account.fail(name, self._unusable(account, name, error), at=at, now=now))

    def _unusable(self, account: AccountMonitor, name: str, error: Exception) -> Exception:
        """What was read of one account is no reason to end the watch of the others."""
        _log.error("%s [%s]: what was read cannot be used", name, account.label, exc_info=error)
        return error

    def _bring_forward(self, account: AccountMonitor, now: float) -> None:
        """Bring the next reading forward where the account is in more danger than was known."""
        self._aim(account)
        interval = schedule.stretched(account.wish, self._cost(account.active(now)), self._stretches)
        if interval >= account.interval:
            return
        account.replan(interval, now)
        self._push(account, account.due)
        if self._sleep is not None:
            self._sleep.cancel()

    def _tell(self, events: Iterable[StateEvent]) -> None:
        for event in events:
            self._backlog.put(event)

    def _tell_problems(self) -> None:
        for problem in self._problems:
            self._backlog.put(
                AccountFailed(
                    label=problem.label,
                    at=self._wall(),
                    endpoint="",
                    error=f"line {problem.line}: {problem.text}",
                    error_type=ConfigurationError.__name__,
                    retry_at=None,
                )
            )

    def _wall(self) -> float:
        """Seconds since the epoch by the exchange's clock."""
        return exchange_time(self._budget, self._origins)


def exchange_time(budget: Budget, origins: Sequence[str]) -> float:
    """Seconds since the epoch by the exchange's clock: that of the first host that was heard, for all events."""
    clocks = [budget.clock(host) for host in origins]
    return next((clock for clock in clocks if clock.is_synchronised), clocks[0]).milliseconds() / 1000


class _Round:
    """Readings of one account that were started together."""

    __slots__ = ("came", "left")

    def __init__(self, left: int) -> None:
        self.left = left
        self.came: list[str] = []


def _unopened(problem: Problem) -> AccountSnapshot:
    return _unseen(problem.label, "", f"line {problem.line}: {problem.text}")


def _unseen(label: str, product: str, error: str) -> AccountSnapshot:
    return AccountSnapshot(
        label=label,
        product=product,
        answers={},
        lines={},
        below=(),
        age=None,
        interval=0.0,
        bound=0.0,
        is_stale=True,
        error=error,
        retry_at=None,
    )
