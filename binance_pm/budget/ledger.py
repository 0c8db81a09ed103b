"""An upper bound of what one pool of the exchange has counted in each minute, and what may still be sent.

What the exchange does
    It adds the weight of a call to a counter when the call arrives, and resets the counter in every minute of its own
    clock. The header of a response reports the count, including what other programs on the IP have used.

What is guaranteed
    If the exchange's clock is inside the given bounds and weights are not underestimated, our calls alone never raise
    the count of a minute above the limit less `MARGIN`, whatever the latency. A call that was sent and is not proven
    to be inside a header is counted in every minute in which it can have arrived.

What else is kept free
    * for other programs, while a call is in flight: 1.25 times the most that they have recently added;
    * until other programs were observed for two seconds: a twentieth of the limit, for polls;
    * after a refusal: a hundredth of the limit, doubled by each minute with a refusal, halved by each without;
    * for orders and rescues: a reserve that decreases as the minute passes;
    * half of the limit, for ten minutes after the count fell within a minute or did not fall at its end: the exchange's
      window is then not the clock minute, and two minutes' worth could fall into one window.

How polls are paced
    A token bucket fills at the rate of what is left over the time that is left, and holds a whole minute's worth: a
    burst that fits is not slowed, and a lasting demand is spread over the minute. Orders are not paced.

What never happens
    A complete stop for more than a minute, whatever counts, minutes and bounds are reported. A minute after the last of
    our calls can have arrived, the exchange's window contains none of them, wherever it begins: one call may go then,
    and its response corrects the bound.

What is unknown
    How much other programs send between two headers. What is kept free absorbs as much as was seen before; the gate
    ends the rest.

A ledger has no clock and no I/O: every method is given the time. `now` is monotonic, minutes are numbers of the
exchange's clock, `bounds` are the earliest and the latest time that this clock can show.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

from binance_pm.budget.charges import NO_WAIT, Bounds, Wait
from binance_pm.budget.external import ExternalUsage
from binance_pm.budget.pacing import MAX_MINUTES, Penalty, TokenBucket
from binance_pm.budget.pending import PendingCalls
from binance_pm.budget.waiting import WeightReason
from binance_pm.limits import Priority

MARGIN: Final = 10
"""Weight of the limit that is never spent."""
PATIENCE: Final = 2.0
"""Seconds after which another call may ask for the count if the first has no response."""
MAX_LATENCY: Final = 10.0
"""Seconds for which a call without a response can still arrive."""
RESERVE: Final = 0.10
"""The part of the limit that only orders and rescues may use, at the start of a minute."""
LEFT_BY_PLANS: Final = 0.03
"""The part of the limit that polls leave to orders and rescues over a whole minute."""
FIRST_FILL: Final = 0.25
"""The part of the limit in the token bucket at the start: other programs, or orders, may need the rest."""
_STALE_SECONDS, _CAREFUL_SECONDS = 2.0, 600.0
_MAX_WEIGHT_FACTOR: Final = 10.0
# So many minutes after a header, its window has surely ended, however far the clocks have drifted apart.
_WINDOW: Final = 1.001
# Other programs are taken into account if they use a hundredth of the limit in a minute.
_SEEN: Final = 0.01
# A call of up to this part of the limit may be sent to learn the count.
_LIGHT: Final = 0.02
_UNKNOWN: Final = 0.05
_PROJECTION, _MAX_PROJECTED = 1.5, 0.1
# The part of a minute that other programs are left at most: their bursts may add up to more than the limit.
_MAX_EXTERNAL: Final = 0.8
_BURST_FACTOR: Final = 1.25
_BATCHES_A_SECOND: Final = 50
# From so many batches of pending calls on, those of minutes that are over are searched for and forgotten.
_CROWD: Final = 300
_LEAST: Final = 0.05
_LOST, _UNCOUNTED = -1, -2
# A call that was given up after two minutes is counted in the minute after them at the latest.
_IDLE_MINUTES: Final = 4
# Polls are spread so that the last ones of a minute still arrive in it.
_TURN_SECONDS: Final = 0.15
_SHORTEST_REST: Final = 0.05
# A time farther ahead was recorded before the clock stepped back; the clock of a store may.
_AHEAD_SECONDS: Final = 60.0


class Ledger:
    """The bound of one pool.

    Args:
        limit: what the exchange allows in one minute.
        minute: seconds of one minute; only a test exchange has another length than 60.
        instances: how many programs share the limit without a shared budget.
    """

    trusted_until: float = math.inf
    """Acquired weight stays reserved: no other process can have it."""

    def __init__(self, limit: int, *, minute: float = 60.0, instances: int = 1) -> None:
        self.limit: int = limit
        self.external: Final = ExternalUsage(limit, minute)
        self.in_flight: int = 0
        """Weight that is reserved or sent, and not settled: the exchange may count it in any minute to come."""
        self.misplaced: int = 0
        """Weight by which the count fell within a minute, or that it kept at the end of one; 0 if it never did."""
        self.set_aside: float = 0.0
        """Weight of a minute that the instances leave to other programs; headers do not distinguish the two."""
        self._minute: Final = minute
        self.instances: Final = instances
        self._reserve_rate = RESERVE * limit / minute
        """Weight of the reserve that is released with each second."""
        self._weight_factor = 1.0
        self._takes = 0
        self._last: tuple[int, int, int] | None = None
        """How many calls had been admitted when the latest header came, its minute, and its count."""
        self._probed = False
        self._turned = False
        """Whether the count was seen to fall at the start of a minute."""
        self._acquired_at = -math.inf
        self._counted_at = -math.inf
        self._arrived = -math.inf
        """Monotonic time before which every settled call has arrived."""
        self._header: dict[int, int] = {}
        self._header_at: dict[int, float] = {}
        self._own: dict[int, int] = {}
        self._pending: Final = PendingCalls()
        self._careful_until = -math.inf
        self._penalty: Final = Penalty()
        self._bucket: Final = TokenBucket(limit, FIRST_FILL * limit / instances)

    @property
    def external_share(self) -> int:
        """Weight of the latest minute that other programs on the IP surely used."""
        return self.external.share

    def minutes(self, bounds: Bounds) -> range:
        """Return the minutes in which the exchange's clock can be."""
        return range(math.floor(bounds[0] / self._minute), math.floor(bounds[1] / self._minute) + 1)

    def used(self, minute: int) -> int:
        """Return the most that the exchange can count in a minute, except for what other programs add."""
        counted = max(self._header.get(minute, 0), self._own.get(minute, 0))
        return counted + self.in_flight + self._pending.weight(minute)

    def most_used(self, bounds: Bounds) -> int:
        """Return `used` of the fullest minute in which the exchange's clock can be."""
        return max(map(self.used, self._remembered(bounds)), default=self.in_flight)

    def cap(self, now: float, priority: Priority = Priority.POLL) -> float:
        """Return the part of the limit that may be used in a minute."""
        whole = self.limit / 2 if now < self._careful_until else self.limit
        unknown = 0.0 if self.external.is_known or priority is Priority.ORDER else _UNKNOWN * self.limit
        kept = MARGIN + self._penalty.weight + math.floor(_BURST_FACTOR * self.external.burst + unknown)
        # However wrong the bound is, a few calls have to correct it.
        return max(whole - kept, _LEAST * self.limit - MARGIN)

    def reserve(self, bounds: Bounds) -> float:
        """Return the weight that is kept for orders and rescues now."""
        return self._reserve_rate * (self._minute - bounds[1] % self._minute)

    def for_polls(self, now: float) -> float:
        """Return the weight a minute that polls may use if other programs go on as they do."""
        external = self.external.rate * self._minute
        return max(0.0, self.cap(now) - external - LEFT_BY_PLANS * self.limit) / self.instances

    def latest_bounds(self, bounds: Bounds) -> Bounds:
        """Return the bounds, narrowed by the latest minute that a response was proven to be in: it has begun."""
        # A minute far ahead of the bounds was reported by a wrong clock.
        latest = math.floor(bounds[1] / self._minute) + 1
        began = self._minute * max((minute for minute in self._own if 0 <= minute <= latest), default=0)
        return max(bounds[0], began), max(bounds[1], began)

    def part(self) -> float:
        """Return the part of the limit that each instance may use, whatever the other instances use."""
        return (self.limit - MARGIN - self._penalty.weight - self.set_aside) / self.instances

    def fits_ever(self, weight: int) -> bool:
        """Return whether the weight fits into an empty minute."""
        return weight <= (self.limit - MARGIN) / self.instances

    def wait(self, weight: int, priority: Priority, now: float, bounds: Bounds) -> Wait:
        """Return how long a call of the weight has to wait."""
        if max(self._arrived, self._acquired_at, self._counted_at) > now + _AHEAD_SECONDS:
            self._forget_ahead(now)
        cap = self.cap(now, priority)
        # A call that never fits beside other traffic may go when it has the minute for itself.
        room = (cap if cap > weight else min(weight, self.limit - MARGIN)) - weight
        if (
            self.in_flight * self._weight_factor > room
            or self.in_flight + weight > (self.limit - MARGIN) / self.instances
        ):
            return Wait(math.inf, holds_up=True)
        if not self.in_flight:
            # A minute after the last of our calls has arrived, the exchange's window contains none of them.
            if (left := self._arrived + self._minute - now) <= 0:
                return NO_WAIT
            seconds, holds_up = self._wait_for_room(weight, priority, now, bounds, room, cap)
            return Wait(min(seconds, left), holds_up)
        if (left := self._blindness(now, bounds)) > 0:
            return Wait(left, holds_up=True)
        return self._wait_for_room(weight, priority, now, bounds, room, cap)

    def _wait_for_room(
        self, weight: int, priority: Priority, now: float, bounds: Bounds, room: float, cap: float
    ) -> Wait:
        external = self._external_rate
        # What polls leave for each second of the rest of the minute: the reserve, and what other programs use.
        kept = 0.0 if priority is Priority.ORDER else self._reserve_rate + external
        if not self.in_flight and now - self._counted_at > _STALE_SECONDS:
            # One call has to learn the count, or the estimate of external usage is never corrected.
            kept = 0.0
        seconds = 0.0
        for minute in self._remembered(bounds):
            seconds = max(seconds, self._fullness(minute, weight, room, kept, now, bounds))
        if seconds:
            asks_in = self._counted_at + _STALE_SECONDS - now
            if kept and not self.in_flight and asks_in < seconds and self._has_room(weight, room, now, bounds):
                seconds = max(asks_in, _SHORTEST_REST)
            if priority is not Priority.ORDER:
                # While the minute is full, the bucket does not fill.
                self._bucket.pause(now + seconds)
            return Wait(seconds)
        if priority is not Priority.ORDER and (left := self._pace(weight, cap, external, now, bounds)) > 0:
            return Wait(left, holds_up=True)
        return NO_WAIT

    def why(self, weight: int, priority: Priority, now: float, bounds: Bounds) -> WeightReason:
        """Return the reason for which `wait` has no room for a call."""
        if self.wait(weight, priority, now, bounds).seconds == math.inf:
            return "responses"
        if self.in_flight and self._blindness(now, bounds) > 0:
            return "probe"
        cap = self.cap(now, priority)
        room = (cap if cap > weight else min(weight, self.limit - MARGIN)) - weight
        if not self._has_room(weight, room, now, bounds):
            return "minute"
        kept = 0.0 if priority is Priority.ORDER else self._reserve_rate + self._external_rate
        is_kept = any(self._fullness(it, weight, room, kept, now, bounds) for it in self._remembered(bounds))
        return "reserve" if is_kept else "pace"

    def known_wait(self, weight: int, priority: Priority, now: float) -> Wait:
        """Return no wait: no store has reported any."""
        del weight, priority, now
        return NO_WAIT

    def acquire(self, weight: int, priority: Priority, now: float) -> None:
        """Reserve weight for a call that fits."""
        self._takes += 1
        self.in_flight += weight
        self._acquired_at = now
        if priority is not Priority.ORDER:
            self._bucket.tokens -= weight

    def release(self, weight: int, priority: Priority) -> None:
        """Release the weight of a call that was never sent."""
        self.in_flight -= weight
        if priority is not Priority.ORDER:
            self._bucket.tokens += weight

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
        """Settle a call that got a response. See `PoolLedger`."""
        del endpoint
        self.in_flight -= weight
        self._arrived = max(self._arrived, now)
        self._probed = self._probed or used is not None or is_probe
        self._forget(minutes.start)
        if used is None:
            self._settle_uncounted(weight, minutes, now)
            return None
        self._counted_at = max(self._counted_at, sent)
        # If the minute turned in the meantime, the count is the earliest minute's, or that minute is over: attributing
        # it there is right or harmless. The call itself is then pending in the later ones.
        minute = minutes.start
        if minutes.stop - minute > 1:
            self._header[minute] = max(self._header.get(minute, 0), used)
            # A later header proves calls that were settled before its own call was sent: use many small batches.
            self._pending.add(minutes[1:], weight, now, batch=math.floor(now * _BATCHES_A_SECOND), reported=used)
            for later in minutes[1:3]:
                self._prove(later, -math.inf)
            return None
        self._observe_header(minute, used, weight, sent, now)
        self._own[minute] = self._own.get(minute, 0) + weight
        if self._pending.batches:
            self._prove(minute, sent)
        unproven = self.in_flight + self._pending.weight(minute)
        # What the other instances use of their parts is not external.
        external = used - self._own[minute] - unproven
        if self.instances > 1:
            external -= int((self.instances - 1) * self.part())
        self.external.observe(minute, external, unproven, sent=sent, now=now)
        return None if unproven else self._risen(minute)

    def _settle_uncounted(self, weight: int, minutes: range, now: float) -> None:
        """Settle a call whose response has no header."""
        batch = _UNCOUNTED
        if self._counted_at == -math.inf:
            self.external.ignore()
        else:
            batch -= 1 + math.floor(2 * now)
        self._pending.add(minutes, weight, now, batch=batch)

    def settle_unknown(self, weight: int, minutes: range, *, known: float) -> None:
        """Settle a call that was sent and got no response. See `PoolLedger`."""
        self.in_flight -= weight
        self._arrived = max(self._arrived, known)
        self._forget(minutes.start)
        self._pending.add(minutes, weight, known, batch=_LOST)

    def lower_limit(self, limit: int) -> None:
        """Use a smaller limit from now on; a larger one changes nothing."""
        if limit < self.limit:
            self.limit = limit
            self._reserve_rate = RESERVE * limit / self._minute
            self._bucket.capacity, self._bucket.tokens = limit, min(self._bucket.tokens, limit)
            self.external.lower_limit(limit)

    def is_idle(self, now: float) -> bool:
        """Return whether all that the ledger knows has passed, so that a new one bounds the pool as well."""
        is_careful = self._penalty.weight or self._weight_factor > 1 or now < self._careful_until
        idle = _CAREFUL_SECONDS if is_careful else _IDLE_MINUTES * self._minute
        return not self.in_flight and now - self._acquired_at > idle

    def raise_weight_factor(self, times: float) -> None:
        """Count calls in flight as that many times their weight, as the exchange seems to."""
        self._weight_factor = max(self._weight_factor, min(times, _MAX_WEIGHT_FACTOR))

    def catch_up(self, minute: int, used: int, own: int) -> None:
        """Learn the highest count of a minute without reports, and our settled weight that is proven to be in it."""
        # The time is not reported: it was before the next decision.
        self._arrived = math.inf
        self._forget(minute)
        self._header[minute] = max(self._header.get(minute, 0), used)
        # The time of the count is not known: a lower count does not show that it fell.
        self._header_at.pop(minute, None)
        self._own[minute] = self._own.get(minute, 0) + own
        # The rise of the count meanwhile is not external, and the bucket has saved nothing.
        self.external.skip_minute(minute)
        self._bucket.drain(-math.inf)

    def observe_refusal(self, minutes: range, now: float, *, full: bool) -> None:
        """Learn that the exchange refused a call of one of the minutes: the bound was wrong. See `PoolLedger`."""
        minute = minutes.start
        if full:
            self._header[minute] = max(self._header.get(minute, 0), self.limit)
            return
        # The next call goes alone, and the calls behind it one by one.
        self._probed = False
        self._bucket.drain(now)
        self._penalty.add(minute, self.limit)

    def _blindness(self, now: float, bounds: Bounds) -> float:
        """Return the seconds to wait for the response of a call in flight, which reports what others have used."""
        # Other programs, or this one before a restart, may have used most of the minute.
        is_blind = not self._probed
        # If the window is not the clock minute, one call finds that out rather than all that wait for the turn.
        is_blind |= not self._turned and bool(self._header) and math.floor(bounds[1] / self._minute) > max(self._header)
        is_blind |= self._sees_external and now - self._counted_at > _STALE_SECONDS
        return self._acquired_at + PATIENCE - now if is_blind else 0.0

    @property
    def _sees_external(self) -> bool:
        return self.external.rate * self._minute > _SEEN * self.limit

    @property
    def _external_rate(self) -> float:
        """Weight a second that is left to other programs; instances keep to their own part."""
        return min(self.external.rate, _MAX_EXTERNAL * self.limit / self._minute) if self.instances == 1 else 0.0

    def _ours(self, minute: int) -> int:
        return self._own.get(minute, 0) + self.in_flight + self._pending.weight(minute)

    def _has_room(self, weight: int, room: float, now: float, bounds: Bounds) -> bool:
        """Return whether the call would fit if nothing were kept for other programs and for orders."""
        return not any(self._fullness(minute, weight, room, 0.0, now, bounds) for minute in self._remembered(bounds))

    def _fullness(self, minute: int, weight: int, room: float, kept: float, now: float, bounds: Bounds) -> float:
        """Return the seconds until the minute has room, or has surely ended."""
        end = self._minute * (minute + 1)
        ends_in = min(end - bounds[0], self._header_at.get(minute, math.inf) + _WINDOW * self._minute - now)
        if ends_in <= 0:
            return 0.0
        left = room - self.used(minute)
        if self.external.rate:
            left -= self._projected(minute, now, bounds)
        if self.instances > 1:
            # What is kept is kept of the part of each instance.
            left = min(left, (self.part() - self._ours(minute) - weight) * self.instances)
        if left < 0:
            return ends_in
        rest = end - bounds[1]
        if left >= kept * rest:
            return 0.0
        # Only what is kept is in the way, and that decreases.
        return max(_SHORTEST_REST, rest - left / kept)

    def _projected(self, minute: int, now: float, bounds: Bounds) -> float:
        """Return the weight that other programs may have added since the latest header."""
        # Bounded, counted from the minute's start, and not applied to its first call, which corrects the estimate.
        if not self.used(minute):
            return 0.0
        age = max(0.0, min(now - self._counted_at, bounds[1] - self._minute * minute))
        return min(_PROJECTION * self.external.rate * age, _MAX_PROJECTED * self.limit)

    def _pace(self, weight: int, cap: float, external: float, now: float, bounds: Bounds) -> float:
        """Return the seconds until the bucket has tokens for the weight."""
        minute = math.floor(bounds[1] / self._minute)
        rest = max(self._minute * (minute + 1) - bounds[1] - _TURN_SECONDS, _SHORTEST_REST)
        left = cap - self.used(minute)
        if self.instances > 1:
            left = min(left, self.part() - self._ours(minute))
        seconds = self._bucket.wait(weight, left, rest, external, now)
        if not seconds or self.in_flight or not self._sees_external or weight > _LIGHT * self.limit:
            return seconds
        # A light call is sent to learn the count and needs no tokens: how many there should be depends on that count.
        asks_in = max(0.0, max(self._counted_at, self._acquired_at) + _STALE_SECONDS - now)
        if not asks_in:
            self._bucket.tokens = max(self._bucket.tokens, weight)
        return min(seconds, asks_in)

    def _observe_header(self, minute: int, used: int, weight: int, sent: float, now: float) -> None:
        before = self._header.get(minute, 0)
        if sent - self._header_at.get(minute, sent) >= _WINDOW * self._minute:
            # The clock was wrong, and what was known of this minute belongs to another one.
            before = 0
            self._own.pop(minute, None)
        if not before and (last := self._header.get(minute - 1, 0)):
            self._turned = self._turned or used < last
            # A burst of our calls at the turn may be more than the whole minute before it.
            if used - weight - self._ours(minute) >= last > self.limit / 4:
                self._doubt_window(used, now)
        if used >= before:
            self._header[minute], self._header_at[minute] = used, now
        elif sent > self._header_at.get(minute, math.inf) and before - used > MARGIN:
            self._doubt_window(before - used, now)

    def _doubt_window(self, weight: int, now: float) -> None:
        self.misplaced = max(self.misplaced, weight)
        self._careful_until = now + _CAREFUL_SECONDS

    def _risen(self, minute: int) -> int | None:
        # Responses overtake one another: the highest count is the latest.
        used = self._header[minute]
        before, self._last = self._last, (self._takes, minute, used)
        if before is None or before[:2] != (self._takes - 1, minute):
            return None
        return used - before[2]

    def _prove(self, minute: int, sent: float) -> None:
        """Learn that a header of the minute contains all calls that were known when its call was sent."""
        weight = self._pending.prove(minute, sent, self._header.get(minute, -1))
        if weight and self.instances > 1:
            # The header may contain the weight, and this program may use only its own part of the limit.
            self._own[minute] = self._own.get(minute, 0) + weight

    def _remembered(self, bounds: Bounds) -> Iterable[int]:
        """Return the possible minutes of which anything is known: they are few, however many are possible."""
        possible = self.minutes(bounds)
        if possible.stop - possible.start <= 3:
            return possible
        return {minute for minute in self._pending.edges() | set(self._header) | set(self._own) if minute in possible}

    def _forget_ahead(self, now: float) -> None:
        """Treat times that were recorded before the clock stepped back as past; otherwise calls would wait for them."""
        self._arrived, self._acquired_at, self._counted_at = (
            min(it, now) for it in (self._arrived, self._acquired_at, self._counted_at)
        )

    def _forget(self, before: int) -> None:
        # A late response reports an old minute: keep the minute before it as well.
        is_crowded = len(self._header) > 3 or len(self._pending.batches) > _CROWD
        if before - 2 in self._header or before - 2 in self._own or is_crowded:
            for counts in (self._header, self._own, self._header_at):
                for minute in [minute for minute in counts if minute < before - 1]:
                    del counts[minute]
                while len(counts) > MAX_MINUTES:
                    del counts[max(counts)]
            self._pending.forget(before)
        if self._penalty.weight:
            self._penalty.decay(before, self.limit)
