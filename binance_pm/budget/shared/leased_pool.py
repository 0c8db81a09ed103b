"""One pool of a shared budget, as one of its processes sees it.

While the store replies, a call needs weight that the store has leased to this process. The process asks for what is
missing, returns what no call needs, and reports how calls ended with the next message.

While the store is lost, a ledger of this process bounds the pool: of what was left of the minute at the latest reply,
and of every later minute, each process uses only its own part.

A leased pool has no clock and no I/O, like a ledger.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Final, NamedTuple

from binance_pm.budget.charges import NO_WAIT, Bounds, Wait
from binance_pm.budget.ledger import LEFT_BY_PLANS, MARGIN, RESERVE, Ledger
from binance_pm.budget.shared.demands import NEXT_SECONDS, Demands, leased_as
from binance_pm.budget.shared.messages import (
    Answered,
    CallRefused,
    Demand,
    Event,
    Heavier,
    Lost,
    OfflineUsage,
    PoolReply,
    PoolReport,
    Returned,
)
from binance_pm.budget.waiting import WeightReason
from binance_pm.limits import Priority

OVERDUE_SECONDS: Final = 0.4
"""Seconds after which a reply of the store is overdue."""
LEASE: Final = 5.0
"""Seconds without a message after which the store considers a process dead."""
# Well before that, the process stops using what was leased: it may have been suspended.
_TRUSTED_SECONDS: Final = 0.8 * LEASE
_RENEWAL_SECONDS: Final = 1.0
# For so long after its last call, a process counts as one that draws on the pool.
_ACTIVE_SECONDS: Final = 120.0
# The same as in `Ledger.is_idle`.
_IDLE_MINUTES: Final = 4
# Events wait so long for others, to be sent in one message.
_GATHER_SECONDS: Final = 0.01
# Leased weight that was not needed for so long is returned.
_UNUSED_SECONDS: Final = 0.3
# No reply concerns more minutes at once: the exchange's clock is known better.
_MOST_MINUTES: Final = 5

_ASKING: Final = Wait(math.inf, holds_up=True)


class CountRise(NamedTuple):
    """By how much a call raised the exchange's count while no other was in flight."""

    endpoint: str
    weight: int
    risen: int


class LeasedPool:
    """The part of one pool that the store has leased to this process.

    Args:
        limit: the weight that the exchange allows in one minute.
        minute: seconds of one minute.
        expected: how many processes draw on the pool, until the store reports their number.
        stays_counted: whether the process counts as one of them for a while after its last call.
        store_clock: the least and the most by which the store's clock is ahead of the monotonic one.
        wake: called when there is something to report or to ask at once.
    """

    def __init__(
        self,
        limit: int,
        *,
        minute: float,
        expected: int,
        stays_counted: bool,
        store_clock: Callable[[], tuple[float, float]],
        wake: Callable[[], None],
    ) -> None:
        self.limit: int = limit
        """The smallest limit of any process, as far as is known."""
        self.misplaced: int = 0
        """See `Ledger.misplaced`."""
        self.processes: int = expected
        """How many processes draw on the pool, the most of the last two minutes."""
        self._minute: Final = minute
        self._stays_counted: Final = stays_counted
        self._store_clock: Final = store_clock
        self._wake: Final = wake
        self._fallback: Ledger | None = None
        """Bounds the pool while the store is lost."""
        self._in_flight = 0
        """Weight of calls that were admitted and not settled."""
        self._free = {Priority.ORDER: 0, Priority.POLL: 0}
        """Leased and not used; orders may use what was leased for polls."""
        self._unused = dict(self._free)
        """The least of that since `_unused_since`: no call needed it."""
        self._unused_since = self._trusted_until = self._used_at = -math.inf
        self._events: list[Event] = []
        self._endpoints: list[str] = []
        """The endpoint of each response in `_events`."""
        self._events_since = math.inf
        self._reported: tuple[Event, ...] = ()
        """What was reported last, until a reply shows that it arrived."""
        self._reported_endpoints: list[str] = []
        self._offline: dict[int, OfflineUsage] = {}
        """What happened without the store, by minute."""
        self._minutes: dict[int, OfflineUsage] = {}
        """The highest count of a minute in a header, and the weight in it that this process has used."""
        self._weight_factor = 1.0
        self._demands: Final = Demands()
        self.demand_since: float = math.inf
        """Monotonic time since which weight is to be asked for; infinite if none is."""
        self.reported_at: float = -math.inf
        """Monotonic time of the latest report to the store."""
        self.is_unsettled: bool = False
        """Whether the store may hold weight for this process that the process no longer has."""
        self._counted_at = -math.inf
        """Monotonic time at which the store reported as many processes as `processes`."""
        self._reply: PoolReply | None = None
        self._replied_at = -math.inf
        self._replied_in = range(0)
        """The minutes that the latest reply may concern."""

    @property
    def in_flight(self) -> int:
        """Weight that all processes hold, as far as is known; only that of this one while the store is lost."""
        return (
            self._reply.in_flight if self._reply and not self._fallback else self._in_flight + sum(self._free.values())
        )

    @property
    def external_share(self) -> int:
        """Weight of the latest minute that programs used that do not share the budget."""
        return self._reply.external if self._reply else 0

    @property
    def trusted_until(self) -> float:
        """Monotonic time until which the store surely keeps the leased weight for this process."""
        return math.inf if self._fallback is not None else self._trusted_until

    def minutes(self, bounds: Bounds) -> range:
        """Return the minutes in which the exchange's clock can be."""
        return range(math.floor(bounds[0] / self._minute), math.floor(bounds[1] / self._minute) + 1)

    def most_used(self, bounds: Bounds) -> int:
        """Return the most that the exchange can have counted in this minute, by the latest reply."""
        if self._fallback is not None:
            return self._fallback.most_used(bounds)
        return self._reply.used if self._reply else self._in_flight

    def cap(self, now: float) -> float:
        """Return the part of the limit that all processes together may use in a minute."""
        if self._fallback is not None:
            return self._fallback.cap(now)
        return self._reply.cap if self._reply else self.limit - MARGIN

    def reserve(self, bounds: Bounds) -> float:
        """Return the weight that is kept for orders and rescues now."""
        return RESERVE * self.limit * (1.0 - bounds[1] / self._minute % 1.0)

    def for_polls(self, now: float) -> float:
        """Return the weight a minute that polls of this process may use: an equal part of what all polls may use."""
        if self._fallback is not None:
            return self._fallback.for_polls(now)
        if self._reply is None:
            return max(0.0, self.cap(now) - LEFT_BY_PLANS * self.limit) / self.processes
        # A process that was killed counts no longer than its lease.
        return self._reply.for_polls / max(1, self._reply.processes)

    def fits_ever(self, weight: int) -> bool:
        """Return whether the weight fits into an empty minute; the store may come back."""
        return weight <= self.limit - MARGIN

    def wait(self, weight: int, priority: Priority, now: float, bounds: Bounds) -> Wait:
        """Return how long a call of the weight has to wait; ask for weight that is missing."""
        if self._fallback is not None:
            # A call that is too heavy for this process's part waits for the store, and holds up no other call.
            return (
                self._fallback.wait(weight, priority, now, bounds)
                if self._fallback.fits_ever(weight)
                else Wait(math.inf)
            )
        if self._available(priority) >= weight and now < self._trusted_until:
            return NO_WAIT
        if denied := self._demands.denied(weight, priority, now):
            return denied.wait(now)
        if not self._demands.is_asked(weight, priority):
            self.demand_since = min(self.demand_since, now)
            self._wake()
        return _ASKING

    def known_wait(self, weight: int, priority: Priority, now: float) -> Wait:
        """Return the wait that the store has reported for such a call, if it is long enough to matter."""
        if self._fallback is not None or self._available(priority) >= weight:
            return NO_WAIT
        denied = self._demands.denied(weight, priority, now + NEXT_SECONDS)
        return denied.wait(now) if denied else NO_WAIT

    def why(self, weight: int, priority: Priority, now: float, bounds: Bounds) -> WeightReason:
        """Return the reason for which `wait` has no room for a call."""
        if self._fallback is not None:
            return self._fallback.why(weight, priority, now, bounds) if self._fallback.fits_ever(weight) else "store"
        reply = self._reply
        if reply is None or not self._demands.denied(weight, priority, -math.inf):
            return "store"
        if reply.used + weight <= reply.cap:
            return "reserve" if reply.external else "pace"
        return "responses" if reply.used - reply.in_flight + weight <= reply.cap else "minute"

    def acquire(self, weight: int, priority: Priority, now: float) -> None:
        """Reserve weight for a call that fits."""
        self._in_flight += weight
        self._used_at = now
        self._demands.use(weight, priority, now)
        if self._fallback is not None:
            self._fallback.acquire(weight, priority, now)
            return
        own = leased_as(priority)
        first = min(weight, self._free[own])
        self._free[own] -= first
        self._free[Priority.POLL] -= weight - first
        self._unused = {priority: min(least, self._free[priority]) for priority, least in self._unused.items()}

    def release(self, weight: int, priority: Priority) -> None:
        """Release the weight of a call that was never sent: the next one may use it."""
        self._in_flight -= weight
        if self._fallback is not None:
            self._fallback.release(weight, priority)
        else:
            self._free[leased_as(priority)] += weight
            self._wake()

    def settle(
        self,
        weight: int,
        used: int | None,
        minutes: range,
        *,
        sent: float,
        now: float,
        is_probe: bool = True,
        endpoint: str = "",
    ) -> int | None:
        """Settle a call that got a response; `reply_received` returns later by how much it raised the count."""
        self._in_flight -= weight
        is_sure = minutes.stop - minutes.start == 1
        if is_sure:
            _add(self._minutes, minutes.start, used or 0, weight)
        if self._fallback is not None:
            self._fallback.settle(weight, used, minutes, sent=sent, now=now, is_probe=is_probe)
            if is_sure:
                # There may be any number of responses: they are reported as one sum for each minute.
                _add(self._offline, minutes.start, used or 0, weight)
                return None
        earliest, latest = self._on_store_clock(sent, now)
        self._record(Answered(weight, used, minutes.start, minutes.stop, earliest, latest, is_probe), now)
        self._endpoints.append(endpoint)
        return None

    def settle_unknown(self, weight: int, minutes: range, *, known: float) -> None:
        """Settle a call that was sent and got no response."""
        self._in_flight -= weight
        if self._fallback is not None:
            self._fallback.settle_unknown(weight, minutes, known=known)
        latest = self._on_store_clock(known, known)[1]
        self._record(Lost(weight, minutes.start, minutes.stop, latest), -math.inf)

    def observe_refusal(self, minutes: range, now: float, *, full: bool) -> None:
        """Learn that the exchange refused a call of one of the minutes."""
        if self._fallback is not None:
            self._fallback.observe_refusal(minutes, now, full=full)
        self._record(CallRefused(minutes.start, minutes.stop, self._on_store_clock(now, now)[1], full), -math.inf)

    def raise_weight_factor(self, times: float) -> None:
        """Count calls in flight as that many times their weight."""
        if times > self._weight_factor:
            self._weight_factor = times
            self._record(Heavier(times), -math.inf)
        if self._fallback is not None:
            self._fallback.raise_weight_factor(times)

    @property
    def has_events(self) -> bool:
        """Whether there is anything to report to the store."""
        return bool(self._events or self._offline)

    def is_idle(self, now: float) -> bool:
        """Return whether the store holds nothing for this process, and all that is known of the pool has passed."""
        is_used = self._in_flight or any(self._free.values()) or self._demands.number or self.is_unsettled
        is_telling = self.has_events or self._reported or now < self.reported_at + LEASE
        knows = self._fallback is not None and not self._fallback.is_idle(now)
        return not (is_used or is_telling or knows) and now - self._used_at > _IDLE_MINUTES * self._minute

    def due(self, now: float) -> float:
        """Return the monotonic time at which the next report is due."""
        at = min(self.demand_since, self._events_since + _GATHER_SECONDS, self._demands.ask_at)
        free = self._free[Priority.ORDER] + self._free[Priority.POLL]
        if free:
            at = min(at, self._unused_since + _UNUSED_SECONDS)
        if free or self._in_flight or (self._stays_counted and now < self._used_at + _ACTIVE_SECONDS):
            at = min(at, self.reported_at + _RENEWAL_SECONDS)
        return at

    def takes_turns(self, priority: Priority, weight: int) -> bool:
        """Return whether so much weight is enough to ask for, because the store has recently granted less."""
        return self._demands.takes_turns(priority, weight, self.limit)

    def report(
        self,
        pool: str,
        origin: int,
        wanted: Iterable[tuple[Priority, int]],
        now: float,
        *,
        bounds: Bounds,
        again: bool,
        leaving: bool = False,
    ) -> PoolReport:
        """Return what to report to the store, and what to ask for.

        Args:
            pool: the name of the pool in the store.
            origin: the index of its origin in the message.
            wanted: priority and weight of the waiting calls, the most urgent first.
            now: monotonic time.
            bounds: the bounds of the exchange's clock.
            again: whether the message repeats the events of one without a reply.
            leaving: whether the process ends, and returns the weight that it does not need.
        """
        self._forget_past(self.minutes(bounds))
        self._return_unused(now, everything=leaving)
        if not again:
            sums = self._offline.values()
            self._reported = (*self._events, *sums)
            self._reported_endpoints = self._endpoints
            self._events, self._endpoints, self._offline = [], [], {}
            self._events_since = math.inf
        demands: tuple[Demand, ...] = ()
        if leaving or self._fallback:
            self._demands.clear()
        else:
            demands = self._demands.ask(wanted, self._free, limit=self.limit, processes=self.processes, now=now)
        self.demand_since = math.inf
        self.reported_at = now
        held = self._held()
        # A reply that grants the demands may be lost.
        self.is_unsettled = held > 0 or bool(demands)
        return PoolReport(pool, origin, self.limit, held, self._reported, demands)

    def is_answered(self, reply: PoolReply) -> bool:
        """Return whether a reply fits the latest report."""
        return self._fallback is not None or len(reply.granted) == self._demands.number

    def reply_received(self, reply: PoolReply, bounds: Bounds, *, asked: float, now: float) -> list[CountRise]:
        """Learn the reply to the latest report, whose message was sent after `asked`; return the rises of the count."""
        responses = (it for it in self._reported if isinstance(it, Answered))
        risen = zip(responses, self._reported_endpoints, reply.risen, strict=False)
        rises = [CountRise(about, event.weight, rise) for event, about, rise in risen if rise is not None]
        self._reported, self._reported_endpoints = (), []
        self._reply, self._replied_at, self._replied_in = reply, now, self.minutes(bounds)
        self.misplaced = reply.misplaced
        self.limit = min(self.limit, reply.limit)
        if self._fallback is not None:
            self._fallback.lower_limit(self.limit)
        if reply.processes >= self.processes or now > self._counted_at + _ACTIVE_SECONDS:
            self.processes, self._counted_at = max(1, reply.processes), now
        if self._fallback is None:
            self._trusted_until = asked + _TRUSTED_SECONDS
            self._demands.accept(reply, self._free, limit=self.limit, now=now)
        self._demands.end()
        return rises

    def enter_fallback(self, bounds: Bounds) -> None:
        """Continue without the store."""
        fallback = self._fallback = Ledger(self.limit, minute=self._minute, instances=self.processes)
        fallback.in_flight = self._in_flight
        leased = sum(self._free.values())
        self._free = dict.fromkeys(self._free, 0)
        self._demands.clear()
        self.demand_since = math.inf
        if self._weight_factor > 1:
            fallback.raise_weight_factor(self._weight_factor)
        reply = self._reply
        if reply is None:
            return
        # External usage is known from the store; headers report it together with what the other processes use.
        external = max(0.0, reply.cap - LEFT_BY_PLANS * self.limit - reply.for_polls)
        fallback.external.ignore()
        fallback.set_aside = max(0.0, self.limit - MARGIN - reply.cap) + external
        part = fallback.part()
        possible = self.minutes(bounds)
        for minute in sorted({*self._minutes, *islice(self._replied_in, _MOST_MINUTES)}):
            if minute not in possible:
                continue
            seen = self._minutes.get(minute, OfflineUsage(minute, 0, 0))
            if minute not in self._replied_in:
                fallback.catch_up(minute, seen.used, seen.own)
                continue
            rest = min(self._minute, self._minute * (minute + 1) - bounds[0]) / self._minute
            since = max(0.0, self.reported_at - self._replied_at) / self._minute
            left = reply.cap - reply.used - external * rest - self.limit * since
            own = max(0.0, left) / fallback.instances + leased + self._in_flight
            used = max(seen.used, reply.used - leased - self._in_flight)
            fallback.catch_up(minute, used, math.ceil(max(0.0, part - own)))

    def leave_fallback(self) -> None:
        """Continue with the store, which knows what happened without it."""
        self._fallback = None
        self._unused_since = -math.inf

    def _held(self) -> int:
        """Return the weight that the store has to hold for this process after the reported events."""
        return self._in_flight + sum(self._free.values()) + sum(map(_weight, self._events))

    def _available(self, priority: Priority) -> int:
        return self._free[Priority.POLL] + (self._free[Priority.ORDER] if priority is Priority.ORDER else 0)

    def _on_store_clock(self, earlier: float, later: float) -> tuple[float, float]:
        """Return the earliest and the latest time that the store's clock showed at two monotonic times."""
        low, high = self._store_clock()
        return earlier + low, later + high

    def _record(self, event: Event, now: float) -> None:
        self._events.append(event)
        if now < self._events_since:
            self._events_since = now
            self._wake()

    def _forget_past(self, possible: range) -> None:
        """Forget minutes that are surely over, and those that a wrong clock has reported."""
        before, ahead = possible.start - 1, possible.stop + 1
        for counts in (self._minutes, self._offline):
            for minute in [minute for minute in counts if minute < before]:
                del counts[minute]
        for minute in [minute for minute in self._minutes if minute > ahead]:
            del self._minutes[minute]
        kept = [it for it in self._events if not isinstance(it, (Answered, Lost, CallRefused)) or it.stop > before]
        if len(kept) < len(self._events):
            # By how much the count rose is no longer of interest.
            self._events, self._endpoints = kept, [""] * sum(isinstance(it, Answered) for it in kept)

    def _return_unused(self, now: float, *, everything: bool) -> None:
        """Return leased weight that was not needed for a while."""
        if not everything and now < self._unused_since + _UNUSED_SECONDS:
            return
        for priority in self._free:
            if back := self._free[priority] if everything else self._unused[priority]:
                self._free[priority] -= back
                self._events.append(Returned(back, priority))
                self._events_since = min(self._events_since, now)
        self._unused, self._unused_since = dict(self._free), now


def _weight(event: Event) -> int:
    return event.weight if isinstance(event, (Answered, Lost, Returned)) else 0


def _add(counts: dict[int, OfflineUsage], minute: int, used: int, own: int) -> None:
    before = counts.get(minute)
    counts[minute] = (
        OfflineUsage(minute, max(used, before.used), own + before.own) if before else OfflineUsage(minute, used, own)
    )
