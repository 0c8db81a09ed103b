"""An upper bound of what one pool of the exchange has counted, minute by minute, and what may still be sent.

What the exchange does
    It adds a call's weight to a counter when the call arrives, and starts the counter at nothing in every minute of
    its own clock. An answer's header tells the count, other programs on the IP included.

What is guaranteed
    While the exchange's clock lies inside the interval given and weights are not underestimated, our calls alone never
    make the count of a minute pass the limit less `MARGIN`, whatever the delays on the way. A call that was sent
    and not proven inside a header is counted in every minute in which it can have arrived.

What is kept free besides
    * for what others on the IP add while a call is on its way: a quarter more than the most they have added of late;
    * until they were watched for two seconds: a twentieth of the limit, by polls;
    * after a refusal: a hundredth of the limit, twice as much with each minute that has one, half with each without;
    * for orders and rescues: a part of the limit that melts as the minute passes;
    * half of the limit, for ten minutes after the count fell in the middle of a minute, or did not at its turn: then
      the exchange's window is not the clock minute, and a minute's worth at the end of one and at the start of the
      next would be too much.

How polls are paced
    A token bucket fills at the rate of what is left over the time that is left, and holds a whole minute's worth: a
    burst that fits is not slowed, and a demand that goes on is spread over the minute. Orders pass it by.

What never happens
    That nothing may be sent for more than a minute, whatever counts, minutes and bounds are told. A minute after the
    last of our calls can have arrived, nothing of ours is in the exchange's window, wherever that begins: one call may
    go then, and its answer corrects what is believed.

What nobody knows
    How much others on the IP send between two headers. What is kept free absorbs as much as was seen before, the gate
    ends the rest.

A ledger has no clock and no I/O: every method is told the time. `now` is monotonic, minutes are numbers of the
exchange's clock, `bounds` are the earliest and the latest that this clock can show now.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final, NamedTuple

from binance_pm.budget.external import ExternalUsage
from binance_pm.budget.waiting import WeightReason
from binance_pm.limits import Priority

MARGIN: Final = 10
"""Weight of the limit that is never spent."""
PATIENCE: Final = 2.0
"""Seconds after which another call may ask for the count, where the first was not answered."""
LONGEST_WAY: Final = 10.0
"""Seconds for which a call that got no answer can arrive."""
RESERVE: Final = 0.10
"""The part of the limit that only orders and rescues may use, at the start of a minute."""
LEFT_BY_PLANS: Final = 0.03
"""The part of the limit that polls leave to orders and rescues over a whole minute."""
FIRST_FILL: Final = 0.25
"""The part of a minute that the bucket of polls holds at the start: others, or orders, may need the rest."""
_STALE_SECONDS: Final = 2.0
_CAREFUL_SECONDS: Final = 600.0
_PENALTY, _MOST_PENALTY = 0.01, 0.5
_MOST_WEIGHT_FACTOR: Final = 10.0
# The window of a count has ended so many minutes after it was heard, however far the clocks have drifted apart.
_WINDOW: Final = 1.001
# Others are there if they use a hundredth of the limit in a minute.
_SEEN: Final = 0.01
# A call may ask what they use if it weighs no more of the limit.
_LIGHT: Final = 0.02
_UNKNOWN: Final = 0.05
_PROJECTION: Final = 1.5
_MOST_PROJECTED: Final = 0.1
# The part of a minute that others are left at most: bursts of theirs may add up to more than the limit allows.
_MOST_THEIRS: Final = 0.8
_BURST_FACTOR: Final = 1.25
_BATCHES_A_SECOND: Final = 50
# So many batches of calls are looked through for those of minutes that are over.
_CROWD: Final = 300
_LEAST: Final = 0.05
_LOST, _UNTOLD = -1, -2
# A call that was given up after two minutes is counted in the one after that at the latest.
_IDLE_MINUTES: Final = 4
# Polls are spread so that the last of a minute arrive in it.
_TURN_SECONDS: Final = 0.15
_SHORTEST_REST: Final = 0.05
# What lies farther ahead was written down before the clock stepped back, as a store's may.
_AHEAD_SECONDS: Final = 60.0
# So many minutes are remembered at most, even if a wrong clock has told of some that are far away.
_MOST_MINUTES: Final = 8


class Wait(NamedTuple):
    """How long a call has to wait for a pool."""

    seconds: float
    """0 where it fits now; infinite where only an answer can make room."""
    holds_up: bool = False
    """Whether nobody behind it may use the pool meanwhile; where the minute is full, lighter calls may."""


_FITS: Final = Wait(0.0)


class _Pending(NamedTuple):
    """Calls that may be in any of some minutes and are not proven inside a header."""

    known: float
    """Monotonic time from which all of them surely were counted, if they ever were."""
    weight: int
    told: float = math.inf
    """The highest count that their own answers told: a minute's header that is as high contains them."""


class Ledger:
    """The bound of one pool.

    Args:
        limit: what the exchange allows in one minute.
        minute: seconds of one minute; only a test exchange has another length than 60.
        instances: how many programs share the limit without telling each other.
    """

    def __init__(self, limit: int, *, minute: float = 60.0, instances: int = 1) -> None:
        self.limit: int = limit
        self.external: Final = ExternalUsage(limit, minute)
        self.in_flight: int = 0
        """Weight reserved or sent and not settled: it may be counted in any minute still to come."""
        self.misplaced: int = 0
        """Weight by which the count fell in the middle of a minute, or that it kept over a turn: no minute's does."""
        self.set_aside: float = 0.0
        """Weight of a minute that the instances leave to other programs: headers do not tell these from instances."""
        self._minute: Final = minute
        self.instances: Final = instances
        self._reserve_rate = RESERVE * limit / minute
        """Weight of the reserve that is given up with each second."""
        self._weight_factor = 1.0
        self._takes = 0
        self._last: tuple[int, int, int] | None = None
        """How many calls had been sent when the last count was heard, of which minute, and the count."""
        self._probed = False
        self._turned = False
        """Whether the count was seen to start anew with a minute."""
        self._asked = -math.inf
        self._told = -math.inf
        self._arrived = -math.inf
        """Monotonic time before which everything of ours that was settled has arrived."""
        self._header: dict[int, int] = {}
        self._heard: dict[int, float] = {}
        self._own: dict[int, int] = {}
        self._pending: dict[tuple[range, int], _Pending] = {}
        self._suspected: dict[int, int] = {}
        """The sum of `_pending` for a minute, where it was asked for since the last change."""
        self._careful_until = -math.inf
        self._penalty = 0.0
        self._penalised = -1
        self._tokens = FIRST_FILL * limit / instances
        self._filled_at = -math.inf

    def minutes(self, bounds: tuple[float, float]) -> range:
        """The minutes in which the exchange's clock can be."""
        return range(math.floor(bounds[0] / self._minute), math.floor(bounds[1] / self._minute) + 1)

    def used(self, minute: int) -> int:
        """The most that the exchange can have counted, or still count, in that minute; what others add is unknown."""
        return max(self._header.get(minute, 0), self._own.get(minute, 0)) + self._unproven(minute)

    def most_used(self, bounds: tuple[float, float]) -> int:
        """`used` of the fullest minute in which the exchange's clock can be."""
        return max(map(self.used, self._remembered(bounds)), default=self.in_flight)

    def cap(self, now: float, priority: Priority = Priority.POLL) -> float:
        """The part of the limit that may be used in a minute."""
        whole = self.limit / 2 if now < self._careful_until else self.limit
        unknown = 0.0 if self.external.is_known or priority is Priority.ORDER else _UNKNOWN * self.limit
        kept = MARGIN + self._penalty + math.floor(_BURST_FACTOR * self.external.burst + unknown)
        # Whatever is believed, a few calls have to find out what is so.
        return max(whole - kept, _LEAST * self.limit - MARGIN)

    def reserve(self, bounds: tuple[float, float]) -> float:
        """What is kept for orders and rescues now."""
        return self._reserve_rate * (self._minute - bounds[1] % self._minute)

    def for_polls(self, now: float) -> float:
        """Weight a minute that polls may use, if others go on as they do."""
        theirs = self.external.rate * self._minute
        return max(0.0, self.cap(now) - theirs - LEFT_BY_PLANS * self.limit) / self.instances

    def latest_bounds(self, bounds: tuple[float, float]) -> tuple[float, float]:
        """The bounds, where a minute that an answer was proven to be in has begun for everybody."""
        # A minute far ahead of the bounds was told by a clock that was wrong.
        latest = self._minute_of(bounds[1]) + 1
        began = self._minute * max((minute for minute in self._own if 0 <= minute <= latest), default=0)
        return max(bounds[0], began), max(bounds[1], began)

    def part(self) -> float:
        """The part of a minute that each instance may use, whatever the others use of theirs."""
        return (self.limit - MARGIN - self._penalty - self.set_aside) / self.instances

    def fits_ever(self, weight: int) -> bool:
        """Whether the weight fits into an empty minute."""
        return weight <= (self.limit - MARGIN) / self.instances

    def wait(self, weight: int, priority: Priority, now: float, bounds: tuple[float, float]) -> Wait:
        """How long a call of the weight has to wait."""
        if max(self._arrived, self._asked, self._told) > now + _AHEAD_SECONDS:
            self._forget_ahead(now)
        cap = self.cap(now, priority)
        # What never fits beside the others' traffic may go when it has the minute for itself.
        room = (cap if cap > weight else min(weight, self.limit - MARGIN)) - weight
        if (
            self.in_flight * self._weight_factor > room
            or self.in_flight + weight > (self.limit - MARGIN) / self.instances
        ):
            return Wait(math.inf, holds_up=True)
        if not self.in_flight:
            # Nothing of ours is in the exchange's window a minute after the last of it has arrived.
            if (left := self._arrived + self._minute - now) <= 0:
                return _FITS
            seconds, holds_up = self._wait_for_room(weight, priority, now, bounds, room, cap)
            return Wait(min(seconds, left), holds_up)
        if (left := self._blindness(now, bounds)) > 0:
            return Wait(left, holds_up=True)
        return self._wait_for_room(weight, priority, now, bounds, room, cap)

    def _wait_for_room(
        self, weight: int, priority: Priority, now: float, bounds: tuple[float, float], room: float, cap: float
    ) -> Wait:
        theirs = self._theirs
        # What polls leave of each second that is left of the minute: the reserve that melts, and the others' share.
        kept = 0.0 if priority is Priority.ORDER else self._reserve_rate + theirs
        if not self.in_flight and now - self._told > _STALE_SECONDS:
            # Somebody has to ask, or what is believed of the others is never corrected.
            kept = 0.0
        seconds = 0.0
        for minute in self._remembered(bounds):
            seconds = max(seconds, self._fullness(minute, weight, room, kept, now, bounds))
        if seconds:
            asks_in = self._told + _STALE_SECONDS - now
            if kept and not self.in_flight and asks_in < seconds and self._has_room(weight, room, now, bounds):
                seconds = max(asks_in, _SHORTEST_REST)
            if priority is not Priority.ORDER:
                # While the minute is full, nothing drips into the bucket.
                self._filled_at = max(self._filled_at, now + seconds)
            return Wait(seconds)
        if priority is not Priority.ORDER and (left := self._pace(weight, cap, theirs, now, bounds)) > 0:
            return Wait(left, holds_up=True)
        return _FITS

    def why(self, weight: int, priority: Priority, now: float, bounds: tuple[float, float]) -> WeightReason:
        """What a call is waiting for for which `wait` has no room."""
        cap = self.cap(now, priority)
        room = (cap if cap > weight else min(weight, self.limit - MARGIN)) - weight
        if (
            self.in_flight * self._weight_factor > room
            or self.in_flight + weight > (self.limit - MARGIN) / self.instances
        ):
            return "responses"
        if self.in_flight and self._blindness(now, bounds) > 0:
            return "probe"
        if not self._has_room(weight, room, now, bounds):
            return "minute"
        kept = 0.0 if priority is Priority.ORDER else self._reserve_rate + self._theirs
        is_kept = any(self._fullness(it, weight, room, kept, now, bounds) for it in self._remembered(bounds))
        return "reserve" if is_kept else "pace"

    def acquire(self, weight: int, priority: Priority, now: float) -> None:
        """Take weight for a call that fits."""
        self._takes += 1
        self.in_flight += weight
        self._asked = now
        if priority is not Priority.ORDER:
            self._tokens -= weight

    def release(self, weight: int, priority: Priority) -> None:
        """Give back the weight of a call that never left."""
        self.in_flight -= weight
        if priority is not Priority.ORDER:
            self._tokens += weight

    def settle(
        self, weight: int, used: int | None, minutes: range, *, sent: float, now: float, is_probe: bool = True
    ) -> int | None:
        """Settle a call that was answered.

        Args:
            weight: what was taken for it.
            used: the count that the answer's header tells.
            minutes: the minutes in which it can have been counted.
            sent: monotonic time before its first byte left.
            now: monotonic time after its answer arrived.
            is_probe: whether an answer without a header shows that the exchange sends none; a gateway's does not.

        Returns:
            By how much the count rose with this call, where no other of ours was on its way since the count before.
        """
        self.in_flight -= weight
        self._arrived = max(self._arrived, now)
        self._probed = self._probed or used is not None or is_probe
        self._forget(minutes.start)
        if used is None:
            batch = _UNTOLD
            if self._told == -math.inf:
                self.external.ignore()
            else:
                batch -= 1 + math.floor(2 * now)
            self._suspect(minutes, weight, now, batch=batch)
            return None
        self._told = max(self._told, sent)
        # Where the minute turned on the way, the count is the earliest minute's, or that minute is over: attributing
        # it there is right or harmless. The call itself is then suspected in the later ones.
        minute = minutes.start
        if minutes.stop - minute > 1:
            self._header[minute] = max(self._header.get(minute, 0), used)
            # A later header proves what was answered before it was asked for: many small batches, not one of all.
            self._suspect(minutes[1:], weight, now, batch=math.floor(now * _BATCHES_A_SECOND), told=used)
            for later in minutes[1:3]:
                self._prove(later, -math.inf)
            return None
        self._observe_count(minute, used, weight, sent, now)
        self._own[minute] = self._own.get(minute, 0) + weight
        if self._pending:
            self._prove(minute, sent)
        unproven = self._unproven(minute)
        # What instances use of their parts is theirs to use.
        theirs = used - self._own[minute] - unproven
        if self.instances > 1:
            theirs -= int((self.instances - 1) * self.part())
        self.external.observe(minute, theirs, unproven, sent=sent, now=now)
        return None if unproven else self._risen(minute)

    def settle_unknown(self, weight: int, minutes: range, *, known: float) -> None:
        """Settle a call that left and got no answer.

        Args:
            weight: what was taken for it.
            minutes: the minutes in which it can be counted.
            known: monotonic time after which it can no longer arrive.
        """
        self.in_flight -= weight
        self._arrived = max(self._arrived, known)
        self._forget(minutes.start)
        self._suspect(minutes, weight, known, batch=_LOST)

    def lower_limit(self, limit: int) -> None:
        """Keep to a smaller limit from now on; a larger one changes nothing."""
        if limit < self.limit:
            self.limit = limit
            self._reserve_rate = RESERVE * limit / self._minute
            self._tokens = min(self._tokens, limit)
            self.external.lower_limit(limit)

    def is_idle(self, now: float) -> bool:
        """Whether all that it knows has passed: one that begins anew bounds the pool as well."""
        is_careful = self._penalty or self._weight_factor > 1 or now < self._careful_until
        idle = _CAREFUL_SECONDS if is_careful else _IDLE_MINUTES * self._minute
        return not self.in_flight and now - self._asked > idle

    def raise_weight_factor(self, times: float) -> None:
        """Count calls on their way as that many times their weight, as the exchange seems to."""
        self._weight_factor = max(self._weight_factor, min(times, _MOST_WEIGHT_FACTOR))

    def catch_up(self, minute: int, used: int, own: int) -> None:
        """Learn what happened in a minute while nobody told.

        Args:
            minute: which one.
            used: the highest count that was heard, 0 where none was.
            own: answered weight of ours that is proven to be in it.
        """
        # When it happened is not told: until the next look, at the latest.
        self._arrived = math.inf
        self._forget(minute)
        self._header[minute] = max(self._header.get(minute, 0), used)
        # When it was the count is not known: a lower one does not show that it fell.
        self._heard.pop(minute, None)
        self._own[minute] = self._own.get(minute, 0) + own
        # What the count rose by meanwhile is not others', and nothing was saved up in the bucket.
        self.external.skip_minute(minute)
        self._tokens, self._filled_at = min(self._tokens, 0.0), -math.inf

    def observe_refusal(self, minutes: range, now: float, *, full: bool) -> None:
        """Learn that the exchange refused a call of one of the minutes: our view of it was wrong.

        Args:
            minutes: those in which it can have arrived.
            now: monotonic time.
            full: whether it is surely this pool's limit that was hit.
        """
        minute = minutes.start
        if full:
            self._header[minute] = max(self._header.get(minute, 0), self.limit)
            return
        # Whatever was believed, the next call goes alone, and those behind it one by one.
        self._probed = False
        self._tokens = min(self._tokens, 0.0)
        self._filled_at = now
        self._penalised = _not_ahead(self._penalised, minute)
        if self._penalty:
            self._decay_penalty(minute)
        if minute > self._penalised:
            least, most = _PENALTY * self.limit, _MOST_PENALTY * self.limit
            self._penalty = min(max(least, 2 * self._penalty), most)
            self._penalised = minute

    def _blindness(self, now: float, bounds: tuple[float, float]) -> float:
        """Seconds for which the calls on their way have to do: an answer tells what others have used."""
        # Others, or this program before a restart, may have used most of the minute.
        is_blind = not self._probed
        # Should the window not be the clock minute, one call finds it out rather than all that wait for the turn.
        is_blind |= not self._turned and bool(self._header) and self._minute_of(bounds[1]) > max(self._header)
        is_blind |= self._sees_others and now - self._told > _STALE_SECONDS
        return self._asked + PATIENCE - now if is_blind else 0.0

    @property
    def _sees_others(self) -> bool:
        return self.external.rate * self._minute > _SEEN * self.limit

    @property
    def _theirs(self) -> float:
        """Weight a second that others on the IP are left; instances keep to their own part."""
        return min(self.external.rate, _MOST_THEIRS * self.limit / self._minute) if self.instances == 1 else 0.0

    def _ours(self, minute: int) -> int:
        return self._own.get(minute, 0) + self._unproven(minute)

    def _has_room(self, weight: int, room: float, now: float, bounds: tuple[float, float]) -> bool:
        """Whether only what is kept for others and for orders is in the way."""
        return not any(self._fullness(minute, weight, room, 0.0, now, bounds) for minute in self._remembered(bounds))

    def _fullness(
        self, minute: int, weight: int, room: float, kept: float, now: float, bounds: tuple[float, float]
    ) -> float:
        """Seconds until the minute has room, or has surely ended."""
        end = self._minute * (minute + 1)
        ends_in = min(end - bounds[0], self._heard.get(minute, math.inf) + _WINDOW * self._minute - now)
        if ends_in <= 0:
            return 0.0
        left = room - self.used(minute)
        if self.external.rate:
            left -= self._projected(minute, now, bounds)
        if self.instances > 1:
            # What is kept is kept of everybody's part.
            left = min(left, (self.part() - self._ours(minute) - weight) * self.instances)
        if left < 0:
            return ends_in
        rest = end - bounds[1]
        if left >= kept * rest:
            return 0.0
        # Only what is kept is in the way, and it melts.
        return max(_SHORTEST_REST, rest - left / kept)

    def _projected(self, minute: int, now: float, bounds: tuple[float, float]) -> float:
        """What others may have added since the latest header."""
        # Bounded, from the minute's start on, and never in the way of a minute's first call, which corrects it.
        if not self.used(minute):
            return 0.0
        age = max(0.0, min(now - self._told, bounds[1] - self._minute * minute))
        return min(_PROJECTION * self.external.rate * age, _MOST_PROJECTED * self.limit)

    def _pace(self, weight: int, cap: float, theirs: float, now: float, bounds: tuple[float, float]) -> float:
        """Seconds until the bucket has tokens for the weight."""
        minute = math.floor(bounds[1] / self._minute)
        rest = max(self._minute * (minute + 1) - bounds[1] - _TURN_SECONDS, _SHORTEST_REST)
        left = cap - self.used(minute)
        if self.instances > 1:
            left = min(left, self.part() - self._ours(minute))
        rate = max(left - theirs * rest, weight) / rest
        if -math.inf < self._filled_at < now:
            self._tokens = min(self.limit, self._tokens + rate * (now - self._filled_at))
        self._filled_at = now
        seconds = _seconds_to_fill(weight - self._tokens, rest, max(left, weight), weight, theirs)
        if not seconds or self.in_flight or not self._sees_others or weight > _LIGHT * self.limit:
            return seconds
        # A light call asks for the count and waits for no tokens: how many there should be depends on the answer.
        asks_in = max(0.0, max(self._told, self._asked) + _STALE_SECONDS - now)
        if not asks_in:
            self._tokens = max(self._tokens, weight)
        return min(seconds, asks_in)

    def _observe_count(self, minute: int, used: int, weight: int, sent: float, now: float) -> None:
        before = self._header.get(minute, 0)
        if sent - self._heard.get(minute, sent) >= _WINDOW * self._minute:
            # The clock was wrong, and what was known of this minute is another's.
            before = 0
            self._own.pop(minute, None)
        if not before and (last := self._header.get(minute - 1, 0)):
            self._turned = self._turned or used < last
            # A burst of ours at the turn may be more than the whole minute before it.
            if used - weight - self._ours(minute) >= last > self.limit / 4:
                self._doubt_window(used, now)
        if used >= before:
            self._header[minute], self._heard[minute] = used, now
        elif sent > self._heard.get(minute, math.inf) and before - used > MARGIN:
            self._doubt_window(before - used, now)

    def _doubt_window(self, weight: int, now: float) -> None:
        self.misplaced = max(self.misplaced, weight)
        self._careful_until = now + _CAREFUL_SECONDS

    def _risen(self, minute: int) -> int | None:
        # Answers overtake one another: the highest count is the latest.
        used = self._header[minute]
        before, self._last = self._last, (self._takes, minute, used)
        if before is None or before[:2] != (self._takes - 1, minute):
            return None
        return used - before[2]

    def _unproven(self, minute: int) -> int:
        suspected = self._suspected.get(minute)
        if suspected is None:
            suspected = sum(p.weight for (minutes, _), p in self._pending.items() if minute in minutes)
            self._suspected[minute] = suspected
        return self.in_flight + suspected

    def _suspect(self, minutes: range, weight: int, known: float, *, batch: int, told: float = math.inf) -> None:
        """Remember calls by the minutes they may be in; those of a batch are proven together, with the last of them."""
        key = minutes, batch
        if before := self._pending.get(key):
            known, weight, told = max(known, before.known), weight + before.weight, max(told, before.told)
        self._pending[key] = _Pending(known, weight, told)
        self._suspected.clear()

    def _prove(self, minute: int, sent: float) -> None:
        """A header of the minute that was asked for at `sent` contains what was known before.

        The highest one contains, too, what was counted as the same or less: a count only grows within a minute.
        """
        highest = self._header.get(minute, -1)
        proven = [
            (key, p) for key, p in self._pending.items() if (p.known < sent or p.told <= highest) and minute in key[0]
        ]
        for (minutes, batch), p in proven:
            del self._pending[minutes, batch]
            if self.instances > 1:
                # The header may hold it, and its part of the limit is all that this program may use.
                self._own[minute] = self._own.get(minute, 0) + p.weight
            for side in (range(minutes.start, minute), range(minute + 1, minutes.stop)):
                if side:
                    self._suspect(side, p.weight, p.known, batch=batch, told=p.told)
        if proven:
            self._suspected.clear()

    def _remembered(self, bounds: tuple[float, float]) -> Iterable[int]:
        """The possible minutes of which anything is known: however many are possible, these are few."""
        possible = self.minutes(bounds)
        if possible.stop - possible.start <= 3:
            return possible
        edges = {minute for minutes, _ in self._pending for minute in (minutes.start, minutes.stop - 1)}
        return {minute for minute in edges | set(self._header) | set(self._own) if minute in possible}

    def _forget_ahead(self, now: float) -> None:
        """Take for past what was written down before the clock stepped back; it would be waited for."""
        self._arrived, self._asked, self._told = (min(it, now) for it in (self._arrived, self._asked, self._told))

    def _forget(self, before: int) -> None:
        # An answer that took long tells of an old minute: keep the one before it as well.
        is_crowded = len(self._header) > 3 or len(self._pending) > _CROWD
        if before - 2 in self._header or before - 2 in self._own or is_crowded:
            for counts in (self._header, self._own, self._heard):
                for minute in [minute for minute in counts if minute < before - 1]:
                    del counts[minute]
                while len(counts) > _MOST_MINUTES:
                    del counts[max(counts)]
            for key in [key for key in self._pending if key[0].stop < before]:
                del self._pending[key]
            self._suspected.clear()
        if self._penalty:
            self._decay_penalty(before)

    def _decay_penalty(self, minute: int) -> None:
        """Halve the penalty for every minute that had no refusal."""
        self._penalised = _not_ahead(self._penalised, minute)
        if (clean := minute - self._penalised - 1) > 0:
            self._penalty /= 2 ** min(clean, 60)
            self._penalised += clean
            if self._penalty < _PENALTY * self.limit / 2:
                self._penalty = 0.0

    def _minute_of(self, time: float) -> int:
        return math.floor(time / self._minute)


def _seconds_to_fill(missing: float, rest: float, left: float, least: float, theirs: float) -> float:
    """Seconds until tokens that are missing have dripped in, if nothing is sent meanwhile.

    What is left of the minute is spread over ever fewer seconds, so the rate rises. After x seconds it is
    ``max(left - theirs * (rest - x), least) / (rest - x)``, and counts since the last look: the tokens are there
    as soon as x times that rate reaches them.
    """
    if missing <= 0:
        return 0.0
    b = left - theirs * rest + missing
    by_what_is_left = 2 * missing * rest / (b + math.sqrt(b * b + 4 * theirs * missing * rest))
    return min(by_what_is_left, missing * rest / (least + missing))


def _not_ahead(minute: int, now: int) -> int:
    """A minute that was remembered, or this one if a wrong clock has told one that is far ahead."""
    return minute if minute <= now + _MOST_MINUTES else now
