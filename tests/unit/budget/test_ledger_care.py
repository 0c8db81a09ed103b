"""What a ledger keeps free, which calls it makes wait for a response, and how it paces polls."""

from __future__ import annotations

import math
import random
from copy import deepcopy
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from binance_pm.budget import Priority
from binance_pm.budget.ledger import MARGIN, PATIENCE, Ledger

LIMIT = 1000
POLLS, ORDERS = Priority.POLL, Priority.ORDER


def known(*, instances: int = 1, at: float = 30.0, limit: int = LIMIT) -> Ledger:
    """Return a ledger that has received the count of an empty minute 0 and expects no external usage."""
    ledger = Ledger(limit, instances=instances)
    ledger.external.ignore()
    answered_call(ledger, 0, 0, at=at)
    return ledger


def filled(ledger: Ledger) -> Ledger:
    """Return the ledger with a bucket for a whole minute, as after a quiet minute."""
    ledger._bucket.tokens = ledger.limit / ledger.instances
    return ledger


def answered_call(
    ledger: Ledger, weight: int, used: int, *, at: float, took: float = 0.0, priority: Priority = ORDERS
) -> int | None:
    """Make one call that is answered in the minute in which it was sent."""
    ledger.acquire(weight, priority, at)
    minute = int(at // 60)
    return ledger.settle(weight, used, range(minute, minute + 1), sent=at, now=at + took)


def wait(ledger: Ledger, weight: int, priority: Priority = ORDERS, *, at: float) -> float:
    """Return how long a call has to wait if the exchange's clock is known exactly."""
    return ledger.wait(weight, priority, at, (at, at)).seconds


class TestNonsense:
    """Impossible values of the exchange or of a clock."""

    def test_an_impossible_count_leaves_room_for_a_few_calls(self) -> None:
        """Their responses correct the count; otherwise no call would ever be sent again."""
        ledger = Ledger(LIMIT)
        for number in range(20):
            answered_call(ledger, 5, 5 * (number + 1), at=number / 2)
        answered_call(ledger, 5, 2**53, at=10.5)
        ledger.observe_refusal(range(1), 10.5, full=False)

        assert ledger.cap(10.5) >= LIMIT * 0.05 - MARGIN
        assert wait(ledger, 5, at=60.0) == 0.0

    def test_a_clock_that_steps_back_frees_no_weight(self) -> None:
        """Possible external usage since the last count is never negative."""
        ledger = Ledger(LIMIT)
        for number in range(40):
            answered_call(ledger, 0, 10 * number, at=number / 2)
        full = int(ledger.cap(20.0)) - 390

        assert ledger.wait(full + 1, ORDERS, -580.0, (20.0, 20.0)).seconds > 0


class TestExternalBurst:
    """External usage in one minute does not stop all calls in the next."""

    @pytest.mark.parametrize("burst", [30, 50, 200])
    def test_polls_go_on_as_soon_as_the_minute_turns(self, burst: int) -> None:
        """Even after a fast burst, external usage is left four fifths of the new minute at most."""
        ledger = Ledger(LIMIT)
        used = 0
        for number in range(20):
            used += 5 + burst
            answered_call(ledger, 5, used, at=40.0 + number)
        assert ledger.external.rate * 60 > LIMIT

        answered_call(ledger, 5, 5, at=60.5, priority=POLLS)

        waits = [wait(ledger, 5, POLLS, at=60.6)]
        for number in range(5):
            answered_call(ledger, 5, 10 + 5 * number, at=60.6 + number / 100, priority=POLLS)
            waits.append(wait(ledger, 5, POLLS, at=60.6 + number / 100))
        assert waits == [0.0] * 6

    def test_continued_external_usage_keeps_its_part(self) -> None:
        """Polls do not use up the part of the minute that external usage will need."""
        ledger = Ledger(LIMIT)
        used = 0
        for number in range(40):
            used += 5 + 12
            answered_call(ledger, 5, used, at=60.5 + number / 2)

        assert wait(ledger, 100, POLLS, at=80.5) > 1.0
        assert wait(ledger, 100, ORDERS, at=80.5) == 0.0


class TestProof:
    """Which calls a header's count contains."""

    def test_a_call_at_the_turn_is_proven_by_a_count_as_high_as_its_own(self) -> None:
        """A count only grows within a minute, so the call is counted once although it was answered late."""
        ledger = known()
        ledger.acquire(60, ORDERS, 59.9)
        ledger.acquire(5, ORDERS, 60.2)
        ledger.settle(60, 60, range(2), sent=59.9, now=60.3)
        suspected = ledger.used(1)
        ledger.settle(5, 65, range(1, 2), sent=60.2, now=60.4)

        assert (suspected, ledger.used(1)) == (65, 65)

    def test_reports_by_how_much_a_call_raised_the_count(self) -> None:
        """Only if no other call was in flight since the count before."""
        ledger = known()

        rises = [answered_call(ledger, 5, used, at=at) for used, at in ((7, 31.0), (12, 32.0), (17, 61.0))]
        ledger.acquire(9, ORDERS, 61.5)
        ledger.settle_unknown(9, range(1, 2), known=71.5)

        assert (rises, answered_call(ledger, 5, 31, at=62.0)) == ([7, 5, None], None)


class TestReserve:
    """What is kept for orders and rescues."""

    def test_polls_leave_it_and_orders_use_it(self) -> None:
        """At the start of a minute the reserve is a tenth of the limit."""
        ledger = known(at=0.0)
        answered_call(ledger, 900, 900, at=0.0)

        assert wait(ledger, 1, POLLS, at=0.0) > 0
        assert wait(ledger, 20, ORDERS, at=0.0) == 0

    def test_it_shrinks_during_the_minute(self) -> None:
        """Waiting polls get the part of the reserve that the rest of the minute no longer needs."""
        ledger = known(at=0.0)
        answered_call(ledger, 930, 930, at=0.0)
        ledger.acquire(1, ORDERS, 1.0)
        seconds = wait(ledger, 1, POLLS, at=1.0)

        assert ledger.reserve((0.0, 0.0)) == 2 * ledger.reserve((0.0, 30.0)) == 100
        assert seconds == pytest.approx(24.2, abs=0.1)
        assert wait(ledger, 1, POLLS, at=1.0 + seconds + 0.01) == 0


class TestPenalty:
    """The penalty after a refusal."""

    def test_it_doubles_with_each_minute_that_has_a_refusal_and_halves_without(self) -> None:
        """Ten refusals of one minute count as one, and those of an impossible minute as of the latest."""
        ledger = known()
        caps: list[float] = []
        for minute in (10_000, 1, 1, 2, 3):
            ledger.observe_refusal(range(minute, minute + 1), 60.0 * minute, full=False)
            caps.append(ledger.cap(60.0 * minute))
        for minute in (4, 5, 6, 7, 8):
            answered_call(ledger, 1, 1, at=60.0 * minute)
            caps.append(ledger.cap(60.0 * minute))

        assert caps == [980, 980, 980, 970, 950, 950, 970, 980, 985, 990]

    def test_it_takes_half_of_the_limit_at_most(self) -> None:
        """Calls go on after any number of refusals."""
        ledger = known()
        for minute in range(1, 20):
            ledger.observe_refusal(range(minute, minute + 1), 60.0 * minute, full=False)

        assert ledger.cap(2000.0) == LIMIT / 2 - MARGIN

    def test_the_next_call_goes_alone(self) -> None:
        """Our count was wrong: calls wait for a response, and polls do not come as a burst."""
        ledger = known()
        ledger.observe_refusal(range(1), 31.0, full=False)
        ledger.acquire(1, ORDERS, 31.0)

        assert wait(ledger, 1, ORDERS, at=31.5) == PATIENCE - 0.5

    def test_it_empties_the_bucket_of_polls(self) -> None:
        """Polls are paced after a refusal, faster as the minute passes: 100 of 980 + 100 in 30 s."""
        ledger = filled(known())
        before = wait(ledger, 100, POLLS, at=30.0)
        ledger.observe_refusal(range(1), 30.0, full=False)

        assert (before, wait(ledger, 100, POLLS, at=30.0)) == (0.0, pytest.approx(30 * 100 / 1080, abs=0.05))

    def test_a_limit_that_was_surely_reached_fills_the_minute(self) -> None:
        """Our count was right, so the next minute has no penalty."""
        ledger = known()
        ledger.observe_refusal(range(1), 31.0, full=True)

        assert (wait(ledger, 1, at=31.0), wait(ledger, 1, at=60.0), ledger.cap(60.0)) == (29.0, 0.0, 990)


class TestWindow:
    """Behaviour if the exchange's window is not the clock minute."""

    @pytest.mark.parametrize(
        ("calls", "misplaced"),
        [
            # The count falls within a minute, or goes on as if no new minute had begun.
            ([(500, 500, 31.0), (5, 20, 32.0)], 480),
            ([(500, 500, 1.0), (5, 505, 61.0)], 505),
            # External usage may soon take a quarter of the limit, and the exchange counts in more than one place.
            ([(5, 240, 1.0), (5, 245, 61.0)], 0),
            ([(5, 500, 31.0), (5, 500 - MARGIN, 32.0)], 0),
        ],
    )
    def test_doubt_about_the_window_halves_the_limit_for_ten_minutes(
        self, calls: list[tuple[int, int, float]], misplaced: int
    ) -> None:
        """The weight of a whole minute at the end of one and at the start of the next would be too much."""
        ledger = known(at=0.5)
        for weight, used, at in calls:
            answered_call(ledger, weight, used, at=at)
        ends = calls[-1][2] + 600

        assert ledger.misplaced == misplaced
        assert (ledger.cap(ends - 0.1) <= 490) is bool(misplaced)
        assert ledger.cap(ends) > 900

    def test_our_own_burst_at_the_turn_raises_no_doubt(self) -> None:
        """At its first response, the burst may exceed the usage of the whole minute before."""
        ledger = known()
        answered_call(ledger, 300, 300, at=31.0)
        for _ in range(40):
            ledger.acquire(10, ORDERS, 60.0)
        ledger.settle(10, 350, range(1, 2), sent=60.0, now=60.1)

        assert ledger.misplaced == 0

    def test_responses_out_of_order_raise_no_doubt(self) -> None:
        """A call that was sent before the highest count arrived may return a lower one."""
        ledger = known()
        for _ in range(2):
            ledger.acquire(5, ORDERS, 31.0)
        ledger.settle(5, 500, range(1), sent=31.0, now=31.2)
        ledger.settle(5, 20, range(1), sent=31.1, now=31.3)

        assert (ledger.misplaced, ledger.used(0)) == (0, 500)


class TestBlindness:
    """When further calls wait until a call in flight is answered."""

    def test_one_call_probes_whether_the_minute_has_turned(self) -> None:
        """All others wait; once the turn was confirmed, later minutes need no probe."""
        ledger = known()
        answered_call(ledger, 500, 500, at=59.0)
        ledger.acquire(1, ORDERS, 60.0)
        asks = wait(ledger, 1, at=60.0)
        ledger.settle(1, 1, range(1, 2), sent=60.0, now=60.1)
        ledger.acquire(1, ORDERS, 120.0)

        assert (asks, wait(ledger, 1, at=120.0)) == (PATIENCE, 0.0)

    def test_one_call_probes_after_a_long_time_without_a_count(self) -> None:
        """After two seconds external usage may have taken what is left."""
        ledger = busy(12.0)
        ledger.acquire(1, ORDERS, 42.0)
        fresh = wait(ledger, 1, at=42.0)

        ledger.acquire(1, ORDERS, 42.5)

        assert (fresh, wait(ledger, 1, at=42.5)) == (0.0, PATIENCE)


def busy(rate: float, *, seconds: int = 40) -> Ledger:
    """Return a ledger that has seen external usage twice a second since the start of minute 0."""
    ledger = Ledger(LIMIT)
    for step in range(2 * seconds + 1):
        answered_call(ledger, 0, int(rate * step / 2), at=step / 2)
    return ledger


class TestExternalUsage:
    """What is kept free for other programs on the IP."""

    def test_a_twentieth_until_external_usage_is_known(self) -> None:
        """Afterwards a quarter more than the expected external usage while a call is in flight."""
        assert (Ledger(LIMIT).cap(0.0), Ledger(LIMIT).cap(0.0, ORDERS)) == (LIMIT - MARGIN - 50, LIMIT - MARGIN)
        assert busy(0.0).cap(40.0) == LIMIT - MARGIN
        assert busy(10.0).cap(40.0) == pytest.approx(LIMIT - MARGIN, abs=2)

    def test_expected_external_usage_is_bounded(self) -> None:
        """A tenth of the limit at most, however old the last count is."""
        ledger = busy(12.0)

        used = ledger.used(0)
        room = [weight for weight in range(1, 600) if ledger.wait(weight, ORDERS, 59.9, (59.9, 59.9)).seconds == 0]

        assert max(room) == pytest.approx(LIMIT - MARGIN - used - 100, abs=2)

    def test_a_poll_probes_again_however_little_is_left(self) -> None:
        """Otherwise the estimate of external usage would never be corrected."""
        ledger = busy(12.0)

        assert wait(ledger, 1, POLLS, at=40.0) == 0.0
        answered_call(ledger, 0, 700, at=40.0)
        assert wait(ledger, 100, POLLS, at=40.1) > 0.0
        assert wait(ledger, 100, POLLS, at=42.2) == 0.0

    def test_a_poll_that_may_probe_soon_waits_no_longer(self) -> None:
        """Weight kept for external usage and orders does not delay a probe; a full minute does."""
        ledger = known(at=0.0)
        answered_call(ledger, 930, 930, at=0.0)
        kept, full = wait(ledger, 1, POLLS, at=0.5), wait(ledger, 61, POLLS, at=0.5)
        ledger.acquire(1, ORDERS, 1.0)
        under_way = wait(ledger, 1, POLLS, at=1.0)

        assert (kept, full, under_way) == (1.5, 59.5, pytest.approx(24.2, abs=0.1))

    def test_polls_may_use_what_external_usage_leaves(self) -> None:
        """Weight per minute, if external usage continues at its rate."""
        ledger = busy(5.0)

        assert ledger.for_polls(40.0) == pytest.approx(LIMIT - MARGIN - 300 - 30, abs=20)


class TestInstances:
    """Programs that share an IP without exchanging messages."""

    def test_each_has_its_part(self) -> None:
        """What the other instances use of their parts is not ours."""
        ledger = known(instances=4)
        answered_call(ledger, 200, 200, at=31.0)

        assert (wait(ledger, 47, at=32.0), wait(ledger, 48, at=32.0)) == (0.0, 28.0)

    def test_weight_in_flight_is_bounded_by_the_part_too(self) -> None:
        """A call in flight may be counted in the next minute."""
        ledger = known(instances=4)
        ledger.acquire(200, ORDERS, 30.0)

        assert (wait(ledger, 47, at=30.0), wait(ledger, 48, at=30.0)) == (0.0, math.inf)

    def test_a_call_in_flight_at_the_turn_counts_as_ours_in_either_minute(self) -> None:
        """The header does not separate the call from the usage of the other instances."""
        ledger = known(instances=4)
        ledger.acquire(100, ORDERS, 59.9)
        ledger.settle(100, 100, range(2), sent=59.9, now=60.1)
        answered_call(ledger, 5, 105, at=61.0)

        assert (wait(ledger, 142, at=62.0), wait(ledger, 143, at=62.0)) == (0.0, 58.0)

    def test_usage_of_the_other_instances_is_not_external(self) -> None:
        """The other instances may use three parts of four."""
        ledger = known(instances=4)
        answered_call(ledger, 5, 5 + 3 * 247, at=31.0)
        used = ledger.external.share
        answered_call(ledger, 5, 10 + 3 * 247 + 40, at=32.0)

        assert (used, ledger.external.share) == (0, pytest.approx(40, abs=1))

    def test_polls_are_paced_by_the_part(self) -> None:
        """An empty bucket is refilled from the part, not from the whole limit."""
        ledger = filled(known(instances=4, at=0.0))
        answered_call(ledger, 247, 247, at=59.0, priority=POLLS)
        answered_call(ledger, 0, 0, at=60.0)

        assert wait(ledger, 23, POLLS, at=60.0) == pytest.approx(60 * 20 / (990 / 4 + 20), rel=0.01)


class TestCatchingUp:
    """A ledger that was kept elsewhere for a while."""

    def test_learns_the_count_and_our_part_of_it(self) -> None:
        """Earlier counts are kept."""
        ledger = known()
        answered_call(ledger, 5, 5, at=31.0)
        ledger.catch_up(0, used=50, own=20)

        assert (ledger.used(0), wait(ledger, 940, at=32.0), wait(ledger, 941, at=32.0)) == (50, 0.0, 28.0)

    def test_a_minute_that_was_proven_has_begun(self) -> None:
        """Even if a slower clock still shows the minute before; a minute that a wrong clock reports has not."""
        ledger = known()
        answered_call(ledger, 5, 5, at=3600.0)
        before = ledger.latest_bounds((58.0, 61.0))
        answered_call(ledger, 5, 5, at=60.0)

        assert (before, ledger.latest_bounds((58.0, 59.0)), ledger.latest_bounds((61.0, 62.0))) == (
            (58.0, 61.0),
            (60.0, 60.0),
            (61.0, 62.0),
        )


class TestPace:
    """How polls are spread over the minute."""

    def test_a_burst_that_fits_is_not_slowed(self) -> None:
        """A whole minute's weight may go at once after a quiet minute, a quarter at the start."""
        fresh, quiet = known(at=0.0), filled(known(at=0.0))

        assert (wait(fresh, 250, POLLS, at=0.0), wait(quiet, 890, POLLS, at=0.0)) == (0.0, 0.0)
        assert wait(fresh, 251, POLLS, at=0.0) > 0.0

    def test_continued_demand_is_spread_over_the_minute(self) -> None:
        """After a burst has emptied the bucket, polls of the next minute are paced."""
        ledger = filled(known(at=0.0))
        ledger.acquire(950, POLLS, 0.0)
        ledger.settle(950, 950, range(1), sent=0.0, now=0.1)
        times = [60.0]
        while len(times) < 9:
            now = times[-1] + wait(ledger, 100, POLLS, at=times[-1])
            ledger.acquire(100, POLLS, now)
            ledger.settle(100, 100 * len(times), range(1, 2), sent=now, now=now)
            times.append(now)

        apart = [later - earlier for earlier, later in pairwise(times[2:])]
        assert apart == [pytest.approx(60 / 9, rel=0.15)] * len(apart)

    @given(
        at=st.floats(0, 59),
        used=st.integers(0, 600),
        theirs=st.sampled_from([0.0, 1.0, 5.0]),
        spent=st.integers(0, 900),
        weight=st.integers(21, 300),
        sooner=st.floats(0.01, 0.99),
    )
    def test_the_wait_ends_when_the_tokens_are_there(
        self, at: float, used: int, theirs: float, spent: int, weight: int, sooner: float
    ) -> None:
        """The rate rises as the minute passes, and the wait accounts for that."""
        ledger = known(at=at)
        answered_call(ledger, used, used, at=at)
        ledger.external.rate = theirs
        ledger._bucket.tokens -= spent
        seconds = wait(ledger, weight, POLLS, at=at)
        paced = ledger.why(weight, POLLS, at, (at, at)) == "pace"
        # The next minute is near at the very end of a minute.
        assume(paced and 0.05 < seconds < 60 - at - 0.25)

        early, due = deepcopy(ledger), at + 1.001 * seconds
        assert wait(early, weight, POLLS, at=at + sooner * seconds) > 0.0
        assert not wait(ledger, weight, POLLS, at=due) or ledger.why(weight, POLLS, due, (due, due)) != "pace"

    def test_orders_are_not_paced(self) -> None:
        """Orders do not wait for tokens, and take none from polls."""

        def after_a_burst(orders: int) -> Ledger:
            ledger = filled(known(at=0.0))
            ledger.acquire(950, POLLS, 0.0)
            ledger.settle(950, 0, range(1), sent=0.0, now=0.0)
            for _ in range(orders):
                assert wait(ledger, 5, ORDERS, at=0.1) == 0.0
                ledger.acquire(5, ORDERS, 0.1)
                ledger.settle(5, 0, range(1), sent=0.1, now=0.1)
            return ledger

        assert wait(after_a_burst(4), 200, POLLS, at=0.1) == pytest.approx(
            wait(after_a_burst(0), 200, POLLS, at=0.1), rel=0.05
        )

    def test_only_pacing_blocks_the_calls_behind(self) -> None:
        """If the minute is full, a lighter call of another line may still fit."""
        ledger = known(at=0.0)
        answered_call(ledger, 960, 960, at=1.0, priority=POLLS)
        full = ledger.wait(100, POLLS, 1.0, (1.0, 1.0))
        ledger.observe_refusal(range(1, 2), 60.0, full=False)
        paced = ledger.wait(100, POLLS, 60.0, (60.0, 60.0))

        assert (full.holds_up, paced.holds_up, paced.seconds > 0) == (False, True, True)


def test_calls_heavier_than_declared_count_for_more_in_flight() -> None:
    """At most ten times as much; the factor never falls."""
    ledger = known()
    ledger.acquire(100, ORDERS, 30.0)
    before = wait(ledger, 700, at=30.0)
    ledger.raise_weight_factor(3.0)
    ledger.raise_weight_factor(2.0)
    after = wait(ledger, 700, at=30.0), wait(ledger, 690, at=30.0)
    ledger.raise_weight_factor(1000.0)

    assert (before, after) == (0.0, (math.inf, 0.0))
    ledger.release(99, ORDERS)
    assert (wait(ledger, 980, at=30.0), wait(ledger, 981, at=30.0)) == (0.0, math.inf)


@pytest.mark.parametrize("seed", range(5))
def test_a_long_random_history_leaves_little_in_memory(seed: int) -> None:
    """Hours of responses, losses and gateways, with any bounds of the exchange's clock."""
    chance = random.Random(seed)
    ledger, now, most = known(limit=6000), 60.0, 0
    for _ in range(5_000):
        now += chance.expovariate(1 / 2.0)
        low, high = now - chance.choice([0.0, 0.2, 1.0, 20.0]), now + chance.choice([0.0, 0.2, 1.0])
        weight = chance.randint(1, 40)
        ledger.acquire(weight, chance.choice([*Priority]), now)
        minutes = ledger.minutes((low, high))
        end = chance.choice(["answered", "answered", "without a count", "lost", "cancelled", "refused"])
        if end == "cancelled":
            ledger.release(weight, POLLS)
        elif end == "lost":
            ledger.settle_unknown(weight, ledger.minutes((low, high + 10)), known=now + 10)
        else:
            used = None if end == "without a count" else ledger.used(minutes.start)
            ledger.settle(weight, used, minutes, sent=now - 0.1, now=now)
        if end == "refused":
            ledger.observe_refusal(minutes, now, full=False)
        most = max(most, sum(len(held) for held in vars(ledger).values() if hasattr(held, "__len__")))

    assert ledger.in_flight == 0
    # Answers without a count are kept per half second, those at the turn per fiftieth of a second.
    assert most < 300


class TestNoSilence:
    """No response stops sending for more than a minute."""

    @pytest.mark.parametrize("priority", [POLLS, ORDERS])
    @pytest.mark.parametrize("minutes", [range(1), range(-30_000_000, 1), range(1, 2), range(60, 61), range(10**24)])
    @pytest.mark.parametrize("bounds", [(0.0, 0.0), (-1e9, 0.0), (0.0, 1e9), (-3600.0, -3600.0), (3600.0, 3600.0)])
    def test_one_call_may_go_a_minute_after_the_last(
        self, priority: Priority, minutes: range, bounds: tuple[float, float]
    ) -> None:
        """Whatever the count, its minutes, and the bounds of the exchange's clock."""
        ledger = known()
        ledger.acquire(5, ORDERS, 31.0)
        ledger.settle(5, 2**53, minutes, sent=31.0, now=31.2)
        moments = [
            ledger.wait(5, priority, at, (at + bounds[0], at + bounds[1])).seconds + at for at in (31.2, 60.0, 91.2)
        ]

        assert max(moments) <= 91.21
        assert moments[-1] == 91.2

    def test_a_count_from_over_a_minute_ago_belongs_to_another_window(self) -> None:
        """The next count corrects one of a wrong clock, and raises no doubt about the window."""
        ledger = known()
        ledger.acquire(5, ORDERS, 31.0)
        ledger.settle(5, LIMIT, range(1), sent=31.0, now=31.2)

        ledger.acquire(5, ORDERS, 91.3)
        ledger.settle(5, 40, range(1), sent=91.3, now=91.4)

        assert (ledger.misplaced, ledger.most_used((31.4, 31.4)), ledger.cap(91.4)) == (0, 40, ledger.cap(31.2))

    def test_a_full_minute_ends_a_minute_after_its_count_arrived(self) -> None:
        """Even if wide clock bounds still allow the full minute."""
        ledger = known()
        answered_call(ledger, 5, LIMIT, at=50.0)
        answered_call(ledger, 5, 40, at=62.0)
        ledger.acquire(5, ORDERS, 107.0)

        waits = [ledger.wait(5, ORDERS, at, (50.0, 119.0)).seconds for at in (109.0, 110.0, 110.1)]

        assert waits == pytest.approx([1.06, 0.06, 0.0])

    def test_a_call_that_never_fits_is_never_admitted(self) -> None:
        """However long no call was sent."""
        ledger = known(instances=2)

        assert wait(ledger, LIMIT // 2, at=1e9) == math.inf

    def test_minutes_of_a_wrong_clock_fill_no_memory(self) -> None:
        """Only the few nearest minutes are kept."""
        ledger = known()
        for minute in range(100, 10_000, 100):
            ledger.acquire(1, ORDERS, 31.0)
            ledger.settle(1, 1, range(minute, minute + 1), sent=31.0, now=31.0)
            answered_call(ledger, 1, 1, at=31.0)

        assert max(len(ledger._header), len(ledger._own), len(ledger._header_at)) <= 8


def drained() -> Ledger:
    """Return a ledger that has no tokens left after an external burst."""
    ledger = busy(0.0, seconds=4)
    answered_call(ledger, 0, 700, at=4.5, priority=POLLS)
    ledger._bucket.tokens = 0.0
    return ledger


class TestProbing:
    """Which call finds out about external usage."""

    def test_a_probe_waits_for_no_tokens(self) -> None:
        """After an external burst the bucket would stay empty for the rest of the minute."""
        ledger = drained()
        answered_call(ledger, 0, 700, at=5.0, priority=POLLS)
        soon, heavy = wait(ledger, 5, POLLS, at=5.5), wait(ledger, 21, POLLS, at=7.1)
        asks = wait(ledger, 5, POLLS, at=7.1)
        ledger.acquire(5, POLLS, 7.1)
        behind = ledger.wait(5, POLLS, 7.2, (7.2, 7.2))

        assert (soon <= 1.5, heavy > asks, asks, ledger._bucket.tokens) == (True, True, 0.0, 0.0)
        assert (behind.seconds > 0, behind.holds_up) == (True, True)

    def test_no_second_probe_before_a_response_can_have_arrived(self) -> None:
        """A gateway that returns no count is not probed all the time."""
        ledger = drained()
        ledger.acquire(5, POLLS, 7.1)
        ledger.settle(5, None, range(1), sent=7.1, now=7.2, is_probe=False)

        assert wait(ledger, 5, POLLS, at=7.3) == pytest.approx(1.8)
