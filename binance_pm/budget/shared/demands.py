"""What the waiting calls of one process ask a store for, and what the store has denied."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Final, NamedTuple

from binance_pm.budget.charges import Wait
from binance_pm.budget.shared.messages import Demand, PoolReply
from binance_pm.limits import Priority

MAX_CALLS: Final = 100
"""The most calls that weight is asked for at once."""
# The most weight that is asked for at once, as a part of the limit.
_MAX_PART: Final = 0.05
# Processes take turns with so large a part of the limit.
_TURN_PART: Final = 1 / 400
# Another process may make room earlier than the store said: the next call asks again soon, the others later.
NEXT_SECONDS: Final = 0.05
_LATER_SECONDS: Final = 1.0
# Polls do not ask more often, so that tokens that were saved up meanwhile are granted together.
_SHORTEST_SECONDS: Final = 0.05
# What is used in so many seconds is asked for in advance, up to a part of the limit for all processes together.
_ADVANCE_SECONDS: Final = 0.2
_ADVANCE_PART: Final = 0.01
_RATE_SECONDS: Final = 2.0


class _Wanted(NamedTuple):
    """A demand, and the weight of the calls it is for: some of that weight may be leased already."""

    demand: Demand
    weight: int


class Denied(NamedTuple):
    """The store's answer to calls that it granted nothing."""

    priority: Priority
    weight: int
    until: float
    """Monotonic time before which waiting is in vain."""
    holds_up: bool
    ask_at: float

    def wait(self, now: float) -> Wait:
        """Return what is left of the wait."""
        return Wait(self.until - now, self.holds_up)


class Demands:
    """The demands of one process for the weight of one pool."""

    def __init__(self) -> None:
        self._asking: tuple[_Wanted, ...] = ()
        self._denied: list[Denied] = []
        self._turns: dict[Priority, float] = {}
        """What is left of a turn that has begun, by priority."""
        self._rates: Final = {Priority.ORDER: _Rate(), Priority.POLL: _Rate()}

    @property
    def number(self) -> int:
        """How many demands await a reply."""
        return len(self._asking)

    @property
    def ask_at(self) -> float:
        """Monotonic time at which to ask again for what was denied; infinite if nothing was."""
        return min((it.ask_at for it in self._denied), default=math.inf)

    def use(self, weight: int, priority: Priority, now: float) -> None:
        """Note that a call has used weight."""
        self._rates[leased_as(priority)].add(weight, now)

    def is_asked(self, weight: int, priority: Priority) -> bool:
        """Return whether the weight of such a call was asked for and not replied to."""
        return any(it.demand.priority == priority and it.weight <= weight for it in self._asking)

    def denied(self, weight: int, priority: Priority, now: float) -> Denied | None:
        """Return the store's denial of a call that is not heavier, if that lasts beyond a monotonic time."""
        for it in self._denied:
            if it.priority == priority and it.weight <= weight and now < it.until:
                return it
        return None

    def takes_turns(self, priority: Priority, weight: int, limit: int) -> bool:
        """Return whether so much weight is enough to ask for, because the store has recently granted less."""
        return weight > _TURN_PART * limit and any(it.priority == priority for it in self._denied)

    def clear(self) -> None:
        """Forget what was asked for and denied."""
        self._asking, self._denied = (), []

    def end(self) -> None:
        """Learn that the reply has come."""
        self._asking = ()

    def ask(
        self,
        calls: Iterable[tuple[Priority, int]],
        free: Mapping[Priority, int],
        *,
        limit: int,
        processes: int,
        now: float,
    ) -> tuple[Demand, ...]:
        """Return what the waiting calls need beyond the free leased weight; if nothing, a little in advance.

        The calls are given by priority and weight, the most urgent first.
        """
        self._asking = tuple(self._needed(calls, dict(free), limit) or self._advance(free, limit, processes, now))
        self._denied = [denied for denied in self._denied if any(_is_denied(denied, it) for it in self._asking)]
        return tuple(wanted.demand for wanted in self._asking)

    def accept(self, reply: PoolReply, free: dict[Priority, int], *, limit: int, now: float) -> None:
        """Add to the free weight what was granted, and remember what was denied."""
        self._denied = []
        is_first = True
        for wanted, times in zip(self._asking, reply.granted, strict=True):
            demand = wanted.demand
            free[leased_as(demand.priority)] += times * demand.weight
            if not demand.can_wait:
                continue
            if times == demand.times:
                self._turns.pop(demand.priority, None)
                continue
            left = self._turns.get(demand.priority, _TURN_PART * limit)
            self._turns[demand.priority] = left - times * demand.weight
            # The reply has the wait of the first demand alone; the others ask again soon.
            wait, holds_up = (reply.wait, reply.holds_up) if is_first else (math.inf, False)
            is_first = False
            if demand.priority is not Priority.ORDER:
                wait = max(wait, _SHORTEST_SECONDS)
            again = _LATER_SECONDS if wait < math.inf and not holds_up else NEXT_SECONDS
            if wait <= 2 * again:
                again = wait
            self._denied.append(Denied(demand.priority, wanted.weight, now + wait, holds_up, now + again))

    def _needed(self, calls: Iterable[tuple[Priority, int]], free: dict[Priority, int], limit: int) -> list[_Wanted]:
        needed: list[tuple[Priority, int, int, bool]] = []
        total = 0
        turns = dict(self._turns)
        for priority, weight in calls:
            lacking = weight - _take(free, weight, priority)
            if not lacking:
                continue
            if total + lacking > max(_MAX_PART * limit, weight):
                break
            # Processes take turns: after its turn's weight, a process queues behind the others for the rest.
            left = turns.get(priority, _TURN_PART * limit)
            turns[priority] = left - lacking
            total += lacking
            needed.append((priority, weight, lacking, priority is Priority.ORDER or left > 0))
        return [
            _Wanted(Demand(priority, lacking, len(list(calls)), can_wait), weight)
            for (priority, weight, lacking, can_wait), calls in groupby(needed)
        ]

    def _advance(self, free: Mapping[Priority, int], limit: int, processes: int, now: float) -> Iterator[_Wanted]:
        for priority, rate in self._rates.items():
            most = min(rate.of(now) * _ADVANCE_SECONDS, _ADVANCE_PART * limit / max(1, processes))
            if rate.weight and (times := int((most - free[priority]) // rate.weight)) > 0:
                yield _Wanted(Demand(priority, rate.weight, times, can_wait=False), rate.weight)


class _Rate:
    """Recent weight a second."""

    def __init__(self) -> None:
        self.weight: int = 0
        """Of the latest call."""
        self._value = 0.0
        self._at = -math.inf

    def add(self, weight: int, now: float) -> None:
        self.weight = weight
        self._value, self._at = self.of(now) + weight / _RATE_SECONDS, now

    def of(self, now: float) -> float:
        return self._value * math.exp(-max(0.0, now - self._at) / _RATE_SECONDS) if self._value else 0.0


def leased_as(priority: Priority) -> Priority:
    """Return the priority of the lease that a call uses: polls and background calls have one together."""
    return Priority.ORDER if priority is Priority.ORDER else Priority.POLL


def _take(free: dict[Priority, int], weight: int, priority: Priority) -> int:
    """Take up to the weight from what is free, and return how much that was."""
    taken = 0
    for kind in (Priority.ORDER, Priority.POLL) if priority is Priority.ORDER else (Priority.POLL,):
        part = min(weight - taken, free[kind])
        free[kind] -= part
        taken += part
    return taken


def _is_denied(denied: Denied, wanted: _Wanted) -> bool:
    return denied.priority == wanted.demand.priority and denied.weight <= wanted.weight
