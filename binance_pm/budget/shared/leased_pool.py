"""One pool of a shared budget, as one of its processes sees it.

While the store answers, a call needs weight that the store has granted to this process. What a call needs beyond that
is asked for; what nobody needs goes back. How calls ended is told with the next message.

While the store is lost, a ledger of its own bounds the pool: of what was left of the minute when the store was heard
last, and of every later minute, each process uses its part and no more.

A share has no clock and no I/O, as a ledger has none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Final, NamedTuple

from binance_pm.budget.charges import NO_WAIT, Wait
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
"""Seconds after which a reply of the store is not waited for any more."""
LEASE: Final = 5.0
"""Seconds without a message after which the store takes a process for dead."""
# Well before that, the process stops using what it was granted: it may have been asleep.
_TRUSTED_SECONDS: Final = 0.8 * LEASE
_RENEWAL_SECONDS: Final = 1.0
# For so long after its last call a process is counted among those that share a pool.
_ACTIVE_SECONDS: Final = 120.0
# As of `Ledger.is_idle`.
_IDLE_MINUTES: Final = 4
# Events wait for others to travel with.
_GATHER_SECONDS: Final = 0.01
# What was not needed for so long goes back.
_UNUSED_SECONDS: Final = 0.3
# Of more minutes at once no reply tells: the exchange's clock is known better.
_MOST_MINUTES: Final = 5

_ASKING: Final = Wait(math.inf, holds_up=True)


class RiseTold(NamedTuple):
    """By how much a call that was alone on its way raised the exchange's count."""

    endpoint: str
    weight: int
    risen: int


class LeasedPool:
    """The part of one pool that this process has.

    Args:
        limit: what the exchange allows in one minute.
        minute: seconds of one minute.
        expected: how many processes draw on the pool, until the store tells.
        lasting: whether the process is counted among them for a while after its last call.
        store_clock: by how much the store's clock is ahead of the monotonic one, at the least and at the most.
        wake: called when there is something to tell or to ask at once.
    """

    def __init__(
        self,
        limit: int,
        *,
        minute: float,
        expected: int,
        lasting: bool,
        store_clock: Callable[[], tuple[float, float]],
        wake: Callable[[], None],
    ) -> None:
        self.limit: int = limit
        """The smallest that any of the processes was given, as far as is known."""
        self.misplaced: int = 0
        """See `Ledger.misplaced`."""
        self.processes: int = expected
        """How many processes draw on the pool, the most of the last two minutes."""
        self._minute: Final = minute
        self._lasting: Final = lasting
        self._store_clock: Final = store_clock
        self._wake: Final = wake
        self._alone: Ledger | None = None
        """Bounds the pool while the store is lost."""
        self._on_way = 0
        """Weight of calls that were admitted and not settled."""
        self._free = {Priority.ORDER: 0, Priority.POLL: 0}
        """Granted and not used; orders may use what was granted for polls."""
        self._least = dict(self._free)
        """The least of it since `_watched`: nobody needed that."""
        self._watched = self._trusted_until = self._used_at = -math.inf
        self._news: list[Event] = []
        self._about: list[str] = []
        """The endpoint of each answer in `_news`."""
        self._news_since = math.inf
        self._telling: tuple[Event, ...] = ()
        """What was told last, until a reply shows that it arrived."""
        self._telling_about: list[str] = []
        self._untold: dict[int, OfflineUsage] = {}
        """What happened without the store, by minute."""
        self._seen: dict[int, OfflineUsage] = {}
        """The highest count of a minute that was heard, and what of it is ours."""
        self._heft = 1.0
        self._demands: Final = Demands()
        self.wanting_since: float = math.inf
        """Monotonic time since which something is to be asked for; infinite where nothing is."""
        self.reported_at: float = -math.inf
        """Monotonic time at which the store was told of it last."""
        self.is_unsettled: bool = False
        """Whether the store may count weight for this process that it does not have any more."""
        self._counted_at = -math.inf
        """When as many processes as `processes` were told."""
        self._reply: PoolReply | None = None
        self._replied_at = -math.inf
        self._replied_in = range(0)
        """The minutes that the latest reply may tell of."""

    @property
    def in_flight(self) -> int:
        """Weight that all processes hold, as far as is known; of this one alone while the store is lost."""
        return self._reply.in_flight if self._reply and not self._alone else self._on_way + sum(self._free.values())

    @property
    def external_share(self) -> int:
        """Weight of the latest minute that programs used that do not share the budget."""
        return self._reply.external if self._reply else 0

    @property
    def trusted_until(self) -> float:
        """Monotonic time until which the store surely keeps the leased weight for this process."""
        return math.inf if self._alone is not None else self._trusted_until

    def minutes(self, bounds: tuple[float, float]) -> range:
        """The minutes in which the exchange's clock can be."""
        return range(math.floor(bounds[0] / self._minute), math.floor(bounds[1] / self._minute) + 1)

    def most_used(self, bounds: tuple[float, float]) -> int:
        """The most that the exchange can have counted in this minute, as the store told last."""
        if self._alone is not None:
            return self._alone.most_used(bounds)
        return self._reply.used if self._reply else self._on_way

    def cap(self, now: float) -> float:
        """The part of the limit that may be used in a minute, by all processes together."""
        if self._alone is not None:
            return self._alone.cap(now)
        return self._reply.cap if self._reply else self.limit - MARGIN

    def reserve(self, bounds: tuple[float, float]) -> float:
        """What is kept for orders and rescues now."""
        return RESERVE * self.limit * (1.0 - bounds[1] / self._minute % 1.0)

    def for_polls(self, now: float) -> float:
        """Weight a minute that the polls of this process may use: an equal part of what those of all may."""
        if self._alone is not None:
            return self._alone.for_polls(now)
        if self._reply is None:
            return max(0.0, self.cap(now) - LEFT_BY_PLANS * self.limit) / self.processes
        # Whoever was killed is not counted any longer than its lease.
        return self._reply.for_polls / max(1, self._reply.processes)

    def fits_ever(self, weight: int) -> bool:
        """Whether the weight fits into an empty minute; the store may come back."""
        return weight <= self.limit - MARGIN

    def wait(self, weight: int, priority: Priority, now: float, bounds: tuple[float, float]) -> Wait:
        """How long a call of the weight has to wait; what is lacking is asked for."""
        if self._alone is not None:
            # What is too heavy for a part waits for the store, and nobody waits for it.
            return self._alone.wait(weight, priority, now, bounds) if self._alone.fits_ever(weight) else Wait(math.inf)
        if self._available(priority) >= weight and now < self._trusted_until:
            return NO_WAIT
        if denied := self._demands.denied(weight, priority, now):
            return denied.wait(now)
        if not self._demands.is_asked(weight, priority):
            self.wanting_since = min(self.wanting_since, now)
            self._wake()
        return _ASKING

    def known_wait(self, weight: int, priority: Priority, now: float) -> Wait:
        """Return the wait that the store has reported for such a call, if it is long enough to matter."""
        if self._alone is not None or self._available(priority) >= weight:
            return NO_WAIT
        denied = self._demands.denied(weight, priority, now + NEXT_SECONDS)
        return denied.wait(now) if denied else NO_WAIT

    def why(self, weight: int, priority: Priority, now: float, bounds: tuple[float, float]) -> WeightReason:
        """What a call is waiting for for which `wait` has no room, see `Ledger.why`."""
        if self._alone is not None:
            return self._alone.why(weight, priority, now, bounds) if self._alone.fits_ever(weight) else "store"
        reply = self._reply
        if reply is None or not self._demands.denied(weight, priority, -math.inf):
            return "store"
        if reply.used + weight <= reply.cap:
            return "reserve" if reply.external else "pace"
        return "responses" if reply.used - reply.in_flight + weight <= reply.cap else "minute"

    def acquire(self, weight: int, priority: Priority, now: float) -> None:
        """Take weight for a call that fits."""
        self._on_way += weight
        self._used_at = now
        self._demands.use(weight, priority, now)
        if self._alone is not None:
            self._alone.acquire(weight, priority, now)
            return
        own = leased_as(priority)
        first = min(weight, self._free[own])
        self._free[own] -= first
        self._free[Priority.POLL] -= weight - first
        self._least = {priority: min(least, self._free[priority]) for priority, least in self._least.items()}

    def release(self, weight: int, priority: Priority) -> None:
        """Give back the weight of a call that never left: the next one may use it."""
        self._on_way -= weight
        if self._alone is not None:
            self._alone.release(weight, priority)
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
        """Settle a call that was answered, see `Ledger.answer`; by how much the count rose is told later, by `hear`."""
        self._on_way -= weight
        is_sure = minutes.stop - minutes.start == 1
        if is_sure:
            _add(self._seen, minutes.start, used or 0, weight)
        if self._alone is not None:
            self._alone.settle(weight, used, minutes, sent=sent, now=now, is_probe=is_probe)
            if is_sure:
                # A number of answers without end is told as one sum for each minute.
                _add(self._untold, minutes.start, used or 0, weight)
                return None
        earliest, latest = self._on_store_clock(sent, now)
        self._record(Answered(weight, used, minutes.start, minutes.stop, earliest, latest, is_probe), now)
        self._about.append(endpoint)
        return None

    def settle_unknown(self, weight: int, minutes: range, *, known: float) -> None:
        """Settle a call that left and got no answer, see `Ledger.lose`."""
        self._on_way -= weight
        if self._alone is not None:
            self._alone.settle_unknown(weight, minutes, known=known)
        latest = self._on_store_clock(known, known)[1]
        self._record(Lost(weight, minutes.start, minutes.stop, latest), -math.inf)

    def observe_refusal(self, minutes: range, now: float, *, full: bool) -> None:
        """Learn that the exchange refused a call, see `Ledger.refuse`."""
        if self._alone is not None:
            self._alone.observe_refusal(minutes, now, full=full)
        self._record(CallRefused(minutes.start, minutes.stop, self._on_store_clock(now, now)[1], full), -math.inf)

    def raise_weight_factor(self, times: float) -> None:
        """Count calls on their way as that many times their weight."""
        if times > self._heft:
            self._heft = times
            self._record(Heavier(times), -math.inf)
        if self._alone is not None:
            self._alone.raise_weight_factor(times)

    @property
    def has_news(self) -> bool:
        """Whether there is something that the store was not told."""
        return bool(self._news or self._untold)

    def is_idle(self, now: float) -> bool:
        """Whether the store counts nothing of it for this process, and all that it knows has passed."""
        is_used = self._on_way or any(self._free.values()) or self._demands.number or self.is_unsettled
        is_telling = self.has_news or self._telling or now < self.reported_at + LEASE
        knows = self._alone is not None and not self._alone.is_idle(now)
        return not (is_used or is_telling or knows) and now - self._used_at > _IDLE_MINUTES * self._minute

    def due(self, now: float) -> float:
        """Monotonic time at which it has to be told of, or asked for."""
        at = min(self.wanting_since, self._news_since + _GATHER_SECONDS, self._demands.ask_at)
        free = self._free[Priority.ORDER] + self._free[Priority.POLL]
        if free:
            at = min(at, self._watched + _UNUSED_SECONDS)
        if free or self._on_way or (self._lasting and now < self._used_at + _ACTIVE_SECONDS):
            at = min(at, self.reported_at + _RENEWAL_SECONDS)
        return at

    def takes_turns(self, priority: Priority, weight: int) -> bool:
        """Whether so much weight is enough to ask for: the store has granted less of late."""
        return self._demands.takes_turns(priority, weight, self.limit)

    def report(
        self,
        pool: str,
        host: int,
        wanted: Iterable[tuple[Priority, int]],
        now: float,
        *,
        bounds: tuple[float, float],
        again: bool,
        leaving: bool = False,
    ) -> PoolReport:
        """What to tell the store, and what to ask it for.

        Args:
            pool: its name in the store.
            host: the place of its host in the message.
            wanted: priority and weight of the calls that wait, the first one first.
            now: monotonic time.
            bounds: the earliest and the latest that the exchange's clock can show now.
            again: whether the message repeats one without a reply: its events are the same.
            leaving: whether the process ends and keeps nothing that it does not need.
        """
        self._forget_old(self.minutes(bounds))
        self._give_back(now, everything=leaving)
        if not again:
            sums = self._untold.values()
            self._telling = (*self._news, *sums)
            self._telling_about = self._about
            self._news, self._about, self._untold = [], [], {}
            self._news_since = math.inf
        demands: tuple[Demand, ...] = ()
        if leaving or self._alone:
            self._demands.clear()
        else:
            demands = self._demands.ask(wanted, self._free, limit=self.limit, processes=self.processes, now=now)
        self.wanting_since = math.inf
        self.reported_at = now
        held = self._held()
        # What is asked for may be granted by a reply that gets lost.
        self.is_unsettled = held > 0 or bool(demands)
        return PoolReport(pool, host, self.limit, held, self._telling, demands)

    def is_answered(self, reply: PoolReply) -> bool:
        """Whether the reply is one to the latest report."""
        return self._alone is not None or len(reply.granted) == self._demands.number

    def reply_received(
        self, reply: PoolReply, bounds: tuple[float, float], *, asked: float, now: float
    ) -> list[RiseTold]:
        """Learn what the store says.

        Args:
            reply: of the store, to the latest report.
            bounds: the earliest and the latest that the exchange's clock could show then.
            asked: monotonic time before the message was sent.
            now: monotonic time after the reply arrived.
        """
        risen = zip(
            (it for it in self._telling if isinstance(it, Answered)), self._telling_about, reply.risen, strict=False
        )
        rises = [RiseTold(about, event.weight, told) for event, about, told in risen if told is not None]
        self._telling, self._telling_about = (), []
        self._reply, self._replied_at, self._replied_in = reply, now, self.minutes(bounds)
        self.misplaced = reply.misplaced
        self.limit = min(self.limit, reply.limit)
        if self._alone is not None:
            self._alone.lower_limit(self.limit)
        if reply.processes >= self.processes or now > self._counted_at + _ACTIVE_SECONDS:
            self.processes, self._counted_at = max(1, reply.processes), now
        if self._alone is None:
            self._trusted_until = asked + _TRUSTED_SECONDS
            self._demands.accept(reply, self._free, limit=self.limit, now=now)
        self._demands.end()
        return rises

    def enter_fallback(self, bounds: tuple[float, float]) -> None:
        """Do without the store.

        Args:
            bounds: the earliest and the latest that the exchange's clock can show now.
        """
        alone = self._alone = Ledger(self.limit, minute=self._minute, instances=self.processes)
        alone.in_flight = self._on_way
        granted = sum(self._free.values())
        self._free = dict.fromkeys(self._free, 0)
        self._demands.clear()
        self.wanting_since = math.inf
        if self._heft > 1:
            alone.raise_weight_factor(self._heft)
        reply = self._reply
        if reply is None:
            return
        # What others use is known from the store; headers tell it together with what the instances use.
        theirs = max(0.0, reply.cap - LEFT_BY_PLANS * self.limit - reply.for_polls)
        alone.external.ignore()
        alone.set_aside = max(0.0, self.limit - MARGIN - reply.cap) + theirs
        part = alone.part()
        possible = self.minutes(bounds)
        for minute in sorted({*self._seen, *islice(self._replied_in, _MOST_MINUTES)}):
            if minute not in possible:
                continue
            seen = self._seen.get(minute, OfflineUsage(minute, 0, 0))
            if minute not in self._replied_in:
                alone.catch_up(minute, seen.used, seen.own)
                continue
            rest = min(self._minute, self._minute * (minute + 1) - bounds[0]) / self._minute
            since = max(0.0, self.reported_at - self._replied_at) / self._minute
            left = reply.cap - reply.used - theirs * rest - self.limit * since
            mine = max(0.0, left) / alone.instances + granted + self._on_way
            used = max(seen.used, reply.used - granted - self._on_way)
            alone.catch_up(minute, used, math.ceil(max(0.0, part - mine)))

    def leave_fallback(self) -> None:
        """Go on with the store, which knows what happened without it."""
        self._alone = None
        self._watched = -math.inf

    def _held(self) -> int:
        """The weight that the store shall count for this process, after what it is being told."""
        return self._on_way + sum(self._free.values()) + sum(map(_weight, self._news))

    def _available(self, priority: Priority) -> int:
        return self._free[Priority.POLL] + (self._free[Priority.ORDER] if priority is Priority.ORDER else 0)

    def _on_store_clock(self, earlier: float, later: float) -> tuple[float, float]:
        """The earliest and the latest that the store's clock showed at two local moments."""
        low, high = self._store_clock()
        return earlier + low, later + high

    def _record(self, event: Event, now: float) -> None:
        self._news.append(event)
        if now < self._news_since:
            self._news_since = now
            self._wake()

    def _forget_old(self, possible: range) -> None:
        """Forget what is of minutes that are over for everybody, and what a wrong clock has told of others."""
        before, ahead = possible.start - 1, possible.stop + 1
        for counts in (self._seen, self._untold):
            for minute in [minute for minute in counts if minute < before]:
                del counts[minute]
        for minute in [minute for minute in self._seen if minute > ahead]:
            del self._seen[minute]
        kept = [it for it in self._news if not isinstance(it, (Answered, Lost, CallRefused)) or it.stop > before]
        if len(kept) < len(self._news):
            # Nobody asks any more by how much the count rose.
            self._news, self._about = kept, [""] * sum(isinstance(it, Answered) for it in kept)

    def _give_back(self, now: float, *, everything: bool) -> None:
        """Return what was not needed for a while."""
        if not everything and now < self._watched + _UNUSED_SECONDS:
            return
        for priority in self._free:
            if back := self._free[priority] if everything else self._least[priority]:
                self._free[priority] -= back
                self._news.append(Returned(back, priority))
                self._news_since = min(self._news_since, now)
        self._least, self._watched = dict(self._free), now


def _weight(event: Event) -> int:
    return event.weight if isinstance(event, (Answered, Lost, Returned)) else 0


def _add(counts: dict[int, OfflineUsage], minute: int, used: int, own: int) -> None:
    before = counts.get(minute)
    counts[minute] = (
        OfflineUsage(minute, max(used, before.used), own + before.own) if before else OfflineUsage(minute, used, own)
    )
