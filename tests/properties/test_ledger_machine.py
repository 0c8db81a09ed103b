"""The upper bound of one pool holds, and never blocks forever, for any events in any order."""

from __future__ import annotations

import copy
import math
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from binance_pm.budget import Priority
from binance_pm.budget.ledger import MARGIN, MAX_LATENCY, Ledger

# Shrinking a failing example takes long.
pytestmark = pytest.mark.timeout(600)

LIMIT = 200
MINUTE = 60.0
BEGINNING = 30_000_000 * MINUTE
LANES = st.sampled_from([*Priority])
PASSING = st.sampled_from([0.001, 0.05, 0.3, 0.6, 1.0, 2.5, 7.0, 20.0, 60.0, 130.0])
WEIGHTS = st.one_of(st.integers(1, 40), st.integers(1, LIMIT))


class Call:
    """A call that took weight."""

    def __init__(self, weight: int, priority: Priority) -> None:
        self.weight = weight
        self.priority = priority
        self.sent_at: float | None = None
        self.count: int | None = None
        """The exchange's count when the call arrived."""

    def __repr__(self) -> str:
        return f"Call({self.weight}, {self.priority.name}, sent_at={self.sent_at}, count={self.count})"


class LedgerMachine(RuleBasedStateMachine):
    """A ledger, and an exchange that counts on arrival, by its own clock within the given bounds."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger(LIMIT)
        self.most = float(LIMIT - MARGIN)
        self.now = BEGINNING
        self.blur = (0.0, 0.0)
        self.open: list[Call] = []
        self.straying: list[tuple[float, Call]] = []
        """Lost calls that still arrive, and when."""
        self.ours: Counter[int] = Counter()
        self.theirs: Counter[int] = Counter()
        self.reported: Counter[int] = Counter()
        """The highest count of a minute that a response surely returned."""

    @initialize(since=st.floats(0, MINUTE), instances=st.sampled_from([1, 1, 2, 4]))
    def begin(self, since: float, instances: int) -> None:
        """Start at any moment of a minute; other programs may have a budget of their own."""
        self.now += since
        self.ledger = Ledger(LIMIT, instances=instances)
        self.most /= instances

    @property
    def bounds(self) -> tuple[float, float]:
        """What is known of the exchange's clock."""
        return self.now - self.blur[0], self.now + self.blur[1]

    @property
    def monotonic(self) -> float:
        """This machine's clock."""
        return self.now - BEGINNING + 1000

    @rule(low=st.floats(0, 1.5), high=st.floats(0, 1.5))
    def receive_the_time(self, low: float, high: float) -> None:
        """Change what is known of the exchange's clock."""
        self.blur = low, high

    @rule(seconds=PASSING)
    def let_time_pass(self, seconds: float) -> None:
        """Lost calls arrive meanwhile."""
        until = self.now + seconds
        due = sorted((one for one in self.straying if one[0] <= until), key=lambda one: one[0])
        self.straying = [one for one in self.straying if one[0] > until]
        for at, call in due:
            self.now = at
            self._arrive(call)
        self.now = until

    @rule(weight=st.integers(1, 60))
    def external_call(self, weight: int) -> None:
        """Spend weight of another program on the IP."""
        self.theirs[self._minute] += weight

    @rule(weight=WEIGHTS, priority=LANES, number=st.integers(1, 10))
    def take(self, weight: int, priority: Priority, number: int) -> None:
        """Acquire weight for calls that fit."""
        for _ in range(number):
            if not self._fits(self.ledger, weight, priority):
                break
            self.ledger.acquire(weight, priority, self.monotonic)
            self.open.append(Call(weight, priority))

    @precondition(lambda self: any(call.sent_at is None for call in self.open))
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        """Release the weight of a call that was not sent."""
        call = data.draw(st.sampled_from([call for call in self.open if call.sent_at is None]))
        self.open.remove(call)
        self.ledger.release(call.weight, call.priority)

    @precondition(lambda self: any(call.sent_at is None for call in self.open))
    @rule()
    def send(self) -> None:
        """Send every call that has its weight."""
        for call in self.open:
            call.sent_at = self.now if call.sent_at is None else call.sent_at

    @precondition(lambda self: any(call.sent_at is not None and call.count is None for call in self.open))
    @rule(data=st.data(), all_of_them=st.booleans())
    def arrive(self, data: st.DataObject, all_of_them: bool) -> None:
        """Count calls at the exchange, in any order."""
        in_transit = [call for call in self.open if call.sent_at is not None and call.count is None]
        for call in in_transit if all_of_them else [data.draw(st.sampled_from(in_transit))]:
            self._arrive(call)

    @precondition(lambda self: any(call.count is not None for call in self.open))
    @rule(data=st.data(), has_header=st.sampled_from([True, True, True, False]), is_probe=st.booleans())
    def answer(self, data: st.DataObject, has_header: bool, is_probe: bool) -> None:
        """Return responses late or soon, in any order."""
        self._answer(self._counted(data), has_header=has_header, is_probe=is_probe)

    @precondition(lambda self: any(call.count is not None for call in self.open))
    @rule()
    def answer_all(self) -> None:
        """Answer every counted call, in the order of arrival."""
        for call in [call for call in self.open if call.count is not None]:
            self._answer(call, has_header=True, is_probe=True)

    @precondition(lambda self: any(call.count is not None for call in self.open))
    @rule(data=st.data(), full=st.booleans())
    def refuse(self, data: st.DataObject, full: bool) -> None:
        """Count a call and refuse it."""
        call = self._counted(data)
        minutes = self._minutes(call)
        self._answer(call, has_header=True, is_probe=True)
        self.ledger.observe_refusal(minutes, self.monotonic, full=full)

    @precondition(lambda self: any(call.sent_at is not None for call in self.open))
    @rule(data=st.data(), later=st.one_of(st.none(), st.floats(0, MAX_LATENCY)))
    def lose(self, data: st.DataObject, later: float | None) -> None:
        """Lose a call: counted already, counted within seconds, or never."""
        call = data.draw(st.sampled_from([call for call in self.open if call.sent_at is not None]))
        self._lose(self.ledger, call)
        self.open.remove(call)
        if call.count is None and later is not None:
            self.straying.append((self.now + later, call))

    @rule(times=st.floats(1, 3))
    def expect_heavier(self, times: float) -> None:
        """Find a declared weight too low."""
        self.ledger.raise_weight_factor(times)

    @precondition(lambda self: not self.open and not self.straying and not any(self.blur))
    @rule(weight=st.integers(0, 40))
    def catch_up(self, weight: int) -> None:
        """Take over counts of a time in which another process kept this ledger."""
        own = min(weight, max(0, int(self.most - self.ledger.used(self._minute))))
        self.ours[self._minute] += own
        self.ledger.catch_up(self._minute, self.ours[self._minute] + self.theirs[self._minute], own)

    @rule(weight=WEIGHTS, priority=LANES)
    def everything_ends(self, weight: int, priority: Priority) -> None:
        """Without further events, any call that can ever fit goes within two minutes."""
        ledger, waited = copy.deepcopy(self.ledger), 0.0
        for call in self.open:
            if call.sent_at is None:
                ledger.release(call.weight, call.priority)
            else:
                self._lose(ledger, call)
        assert ledger.in_flight == 0
        for _ in range(30):
            if not ledger.fits_ever(weight):
                return
            low, high = self.bounds
            wait = ledger.wait(weight, priority, self.monotonic + waited, (low + waited, high + waited)).seconds
            if wait == 0:
                return
            waited += max(wait, 0.001)
            assert waited <= 2 * MINUTE + MAX_LATENCY
        pytest.fail(f"looked 30 times in {waited} s")

    @invariant()
    def bound_holds(self) -> None:
        """What the exchange has counted of ours is at most what the ledger holds, and within the limit."""
        for minute in self.ledger.minutes(self.bounds):
            assert max(self.ours[minute], self.reported[minute]) <= self.ledger.used(minute)
        assert max(self.ours.values(), default=0) <= self.most

    @invariant()
    def every_call_is_accounted_for(self) -> None:
        """Weight in flight is the weight acquired and not settled."""
        assert self.ledger.in_flight == sum(call.weight for call in self.open)

    @invariant()
    def memory_is_bounded(self) -> None:
        """Three minutes are kept at most, and the calls that may belong to them."""
        state = vars(self.ledger)
        assert max(len(state["_header"]), len(state["_own"]), len(state["_header_at"])) <= 4

    @invariant()
    def minutes_are_not_doubted(self) -> None:
        """This exchange counts clock minutes; only an external burst at the turn may look otherwise."""
        assert self.ledger.misplaced == 0 or max(self.theirs.values()) > LIMIT / 4

    @property
    def _minute(self) -> int:
        return math.floor(self.now / MINUTE)

    def _fits(self, ledger: Ledger, weight: int, priority: Priority) -> bool:
        return ledger.fits_ever(weight) and ledger.wait(weight, priority, self.monotonic, self.bounds).seconds == 0

    def _arrive(self, call: Call) -> None:
        self.ours[self._minute] += call.weight
        call.count = self.ours[self._minute] + self.theirs[self._minute]

    def _counted(self, data: st.DataObject) -> Call:
        return data.draw(st.sampled_from([call for call in self.open if call.count is not None]))

    def _minutes(self, call: Call, *, longer: float = 0.0) -> range:
        assert call.sent_at is not None
        return self.ledger.minutes((call.sent_at - self.blur[0], self.now + self.blur[1] + longer))

    def _answer(self, call: Call, *, has_header: bool, is_probe: bool) -> None:
        assert call.sent_at is not None
        self.open.remove(call)
        used = call.count if has_header else None
        minutes = self._minutes(call)
        if used is not None and len(minutes) == 1:
            self.reported[minutes.start] = max(used, self.reported[minutes.start])
        at = call.sent_at - self.now + self.monotonic
        self.ledger.settle(call.weight, used, minutes, sent=at, now=self.monotonic, is_probe=is_probe)

    def _lose(self, ledger: Ledger, call: Call) -> None:
        ledger.settle_unknown(call.weight, self._minutes(call, longer=MAX_LATENCY), known=self.monotonic + MAX_LATENCY)


TestLedger: Any = LedgerMachine.TestCase
TestLedger.settings = settings(
    # A busy machine is no failure.
    suppress_health_check=[HealthCheck.too_slow],
    max_examples=150,
    stateful_step_count=40,
)
