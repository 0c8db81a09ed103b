"""What a ledger keeps free, whom it makes wait for an answer, and how it paces polls."""

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
    """A ledger that has heard of an empty minute 0, and knows that nobody else is there."""
    ledger = Ledger(limit, instances=instances)
    ledger.external.ignore()
    heard(ledger, 0, 0, at=at)
    return ledger


def filled(ledger: Ledger) -> Ledger:
    """The ledger, with a bucket that holds a whole minute's worth, as after a quiet minute."""
    ledger._bucket.tokens = ledger.limit / ledger.instances
    return ledger


def heard(
    ledger: Ledger, weight: int, used: int, *, at: float, took: float = 0.0, priority: Priority = ORDERS
) -> int | None:
    """One call, answered in the minute in which it left."""
    ledger.acquire(weight, priority, at)
    minute = int(at // 60)
    return ledger.settle(weight, used, range(minute, minute + 1), sent=at, now=at + took)


def wait(ledger: Ledger, weight: int, priority: Priority = ORDERS, *, at: float) -> float:
    """How long a call has to wait, where the exchange's clock is known exactly."""
    return ledger.wait(weight, priority, at, (at, at)).seconds


class TestNonsense:
    """What an exchange or a clock says that cannot be."""

    def test_a_count_beyond_all_bounds_leaves_room_for_a_few_calls(self) -> None:
        """They find out that it was not so; otherwise nothing would ever be sent again."""
        ledger = Ledger(LIMIT)
        for number in range(20):
            heard(ledger, 5, 5 * (number + 1), at=number / 2)
        heard(ledger, 5, 2**53, at=10.5)
        ledger.observe_refusal(range(1), 10.5, full=False)

        assert ledger.cap(10.5) >= LIMIT * 0.05 - MARGIN
        assert wait(ledger, 5, at=60.0) == 0.0

    def test_a_minute_that_a_wrong_clock_told_does_not_move_the_bounds(self) -> None:
        """An answer an hour ahead is not proof that the hour has passed."""
        ledger = Ledger(LIMIT)
        heard(ledger, 5, 5, at=3600.0)

        assert ledger.latest_bounds((30.0, 31.0)) == (30.0, 31.0)

    def test_an_exchange_that_tells_no_count_fills_no_memory(self) -> None:
        """What is of minutes that are over is forgotten all the same."""
        ledger = Ledger(LIMIT)
        for second in range(0, 36_000, 30):
            ledger.acquire(5, ORDERS, second)
            ledger.settle(5, None, range(second // 60, second // 60 + 1), sent=second, now=second + 0.1)

        assert len(ledger._pending.batches) <= 310

    def test_a_clock_that_steps_back_makes_no_room(self) -> None:
        """What others may have added since is never less than nothing."""
        ledger = Ledger(LIMIT)
        for number in range(40):
            heard(ledger, 0, 10 * number, at=number / 2)
        full = int(ledger.cap(20.0)) - 390

        assert ledger.wait(full + 1, ORDERS, -580.0, (20.0, 20.0)).seconds > 0


class TestBurstOfOthers:
    """What others used of one minute is no reason to send nothing in the next."""

    @pytest.mark.parametrize("burst", [30, 50, 200])
    def test_polls_go_on_as_soon_as_the_minute_turns(self, burst: int) -> None:
        """However fast others spent before: they are left four fifths of the new minute, not more than all of it."""
        ledger = Ledger(LIMIT)
        used = 0
        for number in range(20):
            used += 5 + burst
            heard(ledger, 5, used, at=40.0 + number)
        assert ledger.external.rate * 60 > LIMIT

        heard(ledger, 5, 5, at=60.5, priority=POLLS)

        waits = [wait(ledger, 5, POLLS, at=60.6)]
        for number in range(5):
            heard(ledger, 5, 10 + 5 * number, at=60.6 + number / 100, priority=POLLS)
            waits.append(wait(ledger, 5, POLLS, at=60.6 + number / 100))
        assert waits == [0.0] * 6

    def test_others_that_go_on_are_left_their_part(self) -> None:
        """Polls alone do not use up what is left of a minute that others will want."""
        ledger = Ledger(LIMIT)
        used = 0
        for number in range(40):
            used += 5 + 12
            heard(ledger, 5, used, at=60.5 + number / 2)

        assert wait(ledger, 100, POLLS, at=80.5) > 1.0
        assert wait(ledger, 100, ORDERS, at=80.5) == 0.0


class TestProof:
    """Which calls are inside a header's count."""

    def test_a_call_of_the_turn_is_proven_by_a_count_as_high_as_its_own(self) -> None:
        """A count only grows within a minute: it is counted once, though it was answered after the other left."""
        ledger = known()
        ledger.acquire(60, ORDERS, 59.9)
        ledger.acquire(5, ORDERS, 60.2)
        ledger.settle(60, 60, range(2), sent=59.9, now=60.3)
        suspected = ledger.used(1)
        ledger.settle(5, 65, range(1, 2), sent=60.2, now=60.4)

        assert (suspected, ledger.used(1)) == (65, 65)

    def test_a_lower_count_proves_nothing(self) -> None:
        """It may be of the minute that began after the call was counted."""
        ledger = known()
        ledger.acquire(60, ORDERS, 59.9)
        ledger.acquire(5, ORDERS, 60.2)
        ledger.settle(60, 60, range(2), sent=59.9, now=60.3)
        ledger.settle(5, 5, range(1, 2), sent=60.2, now=60.4)

        assert ledger.used(1) == 65

    def test_what_is_proven_in_one_minute_stays_suspected_in_the_others(self) -> None:
        """The header of the middle one says nothing of those beside it."""
        ledger = known()
        ledger.acquire(60, ORDERS, 59.0)
        ledger.settle_unknown(60, range(3), known=70.0)
        heard(ledger, 5, 65, at=71.0)

        assert [ledger.used(minute) for minute in range(3)] == [60, 65, 60]

    def test_forgetting_old_minutes_forgets_nothing_of_this_one_nor_of_the_one_before(self) -> None:
        """An answer may come late, and be of the minute that has just ended."""
        ledger = known()
        for minute in (1, 2, 3, 4):
            heard(ledger, 1, 1, at=60.0 * minute)
        for at, minutes in ((299.0, range(4, 5)), (300.0, range(5, 6)), (301.0, range(5, 6))):
            ledger.acquire(60, ORDERS, at)
            ledger.settle(60, None, minutes, sent=at, now=at)

        assert (ledger.used(4), ledger.used(5)) == (61, 120)

    def test_what_a_call_rose_the_count_by_is_told(self) -> None:
        """Where nothing else of ours was on its way since the count before."""
        ledger = known()

        assert [heard(ledger, 5, 7, at=31.0), heard(ledger, 5, 12, at=32.0), heard(ledger, 5, 17, at=61.0)] == [
            7,
            5,
            None,
        ]

    def test_a_rise_is_not_told_where_another_call_was_lost(self) -> None:
        """Its weight may be in it."""
        ledger = known()
        ledger.acquire(9, ORDERS, 31.0)
        ledger.settle_unknown(9, range(1), known=41.0)

        assert heard(ledger, 5, 14, at=32.0) is None


class TestReserve:
    """What is kept for orders and rescues."""

    def test_polls_leave_it_and_orders_use_it(self) -> None:
        """At the start of a minute it is a tenth of the limit."""
        ledger = known(at=0.0)
        heard(ledger, 900, 900, at=0.0)

        assert wait(ledger, 1, POLLS, at=0.0) > 0
        assert wait(ledger, 20, ORDERS, at=0.0) == 0

    def test_it_melts(self) -> None:
        """Polls get what of it the rest of the minute no longer needs, as soon as they wait for it."""
        ledger = known(at=0.0)
        heard(ledger, 930, 930, at=0.0)
        ledger.acquire(1, ORDERS, 1.0)
        seconds = wait(ledger, 1, POLLS, at=1.0)

        assert ledger.reserve((0.0, 0.0)) == 2 * ledger.reserve((0.0, 30.0)) == 100
        assert seconds == pytest.approx(24.2, abs=0.1)
        assert wait(ledger, 1, POLLS, at=1.0 + seconds + 0.01) == 0

    def test_it_is_counted_by_the_clock_that_may_be_latest(self) -> None:
        """As what has melted is given away."""
        assert known().reserve((0.0, 30.0)) == 50


class TestPenalty:
    """What a refusal costs."""

    def test_it_doubles_with_each_minute_that_has_one(self) -> None:
        """Ten refusals of one minute are one."""
        ledger = known()
        caps: list[float] = []
        for minute in (1, 1, 1, 2, 3):
            ledger.observe_refusal(range(minute, minute + 1), 60.0 * minute, full=False)
            caps.append(ledger.cap(60.0 * minute))

        assert caps == [980, 980, 980, 970, 950]

    def test_it_melts_with_each_minute_that_has_none(self) -> None:
        """And is gone in the end."""
        ledger = known()
        for minute in (1, 2, 3):
            ledger.observe_refusal(range(minute, minute + 1), 60.0 * minute, full=False)
        caps: list[float] = []
        for minute in (4, 5, 6, 7, 8):
            heard(ledger, 1, 1, at=60.0 * minute)
            caps.append(ledger.cap(60.0 * minute))

        assert caps == [950, 970, 980, 985, 990]

    def test_it_takes_half_of_the_limit_at_most(self) -> None:
        """Whatever is wrong, calls go on."""
        ledger = known()
        for minute in range(1, 20):
            ledger.observe_refusal(range(minute, minute + 1), 60.0 * minute, full=False)

        assert ledger.cap(2000.0) == LIMIT / 2 - MARGIN

    def test_the_next_call_goes_alone(self) -> None:
        """What was believed was wrong: an answer is waited for, and polls do not come as a burst."""
        ledger = known()
        ledger.observe_refusal(range(1), 31.0, full=False)
        ledger.acquire(1, ORDERS, 31.0)

        assert wait(ledger, 1, ORDERS, at=31.5) == PATIENCE - 0.5

    def test_it_empties_the_bucket_of_polls(self) -> None:
        """After it they drip, faster as less of the minute is left: 100 of 980 + 100 in 30 s."""
        ledger = filled(known())
        before = wait(ledger, 100, POLLS, at=30.0)
        ledger.observe_refusal(range(1), 30.0, full=False)

        assert (before, wait(ledger, 100, POLLS, at=30.0)) == (0.0, pytest.approx(30 * 100 / 1080, abs=0.05))

    def test_a_limit_that_was_surely_hit_fills_the_minute(self) -> None:
        """It is no error of ours: nothing is kept free for it in the next one."""
        ledger = known()
        ledger.observe_refusal(range(1), 31.0, full=True)

        assert (wait(ledger, 1, at=31.0), wait(ledger, 1, at=60.0), ledger.cap(60.0)) == (29.0, 0.0, 990)


class TestWindow:
    """What happens where the exchange's window is not the clock minute."""

    def test_a_count_that_falls_in_mid_minute_halves_the_limit_for_ten_minutes(self) -> None:
        """A minute's worth at the end of one and at the start of the next would be too much."""
        ledger = known()
        heard(ledger, 500, 500, at=31.0)
        heard(ledger, 5, 20, at=32.0)

        assert (ledger.misplaced, ledger.cap(632.0 - 0.1), ledger.cap(632.0)) == (480, 490, 990)

    def test_a_count_that_does_not_fall_at_the_turn_does_too(self) -> None:
        """It goes on as if nothing had begun."""
        ledger = known()
        heard(ledger, 500, 500, at=59.0)
        heard(ledger, 5, 505, at=61.0)

        assert (ledger.misplaced, ledger.cap(62.0)) == (505, 490)

    def test_a_busy_first_moment_of_a_minute_is_nothing_odd(self) -> None:
        """A quarter of the limit is soon used by others."""
        ledger = known()
        heard(ledger, 5, 240, at=59.0)
        heard(ledger, 5, 245, at=61.0)

        assert ledger.misplaced == 0

    def test_a_burst_of_ours_at_the_turn_is_nothing_odd(self) -> None:
        """It may be more than what was used of the whole minute before, when its first answer comes."""
        ledger = known()
        heard(ledger, 300, 300, at=31.0)
        for _ in range(40):
            ledger.acquire(10, ORDERS, 60.0)
        ledger.settle(10, 350, range(1, 2), sent=60.0, now=60.1)

        assert ledger.misplaced == 0

    def test_answers_that_overtake_one_another_are_nothing_odd(self) -> None:
        """A call that left before the highest count was heard may tell a lower one."""
        ledger = known()
        for _ in range(2):
            ledger.acquire(5, ORDERS, 31.0)
        ledger.settle(5, 500, range(1), sent=31.0, now=31.2)
        ledger.settle(5, 20, range(1), sent=31.1, now=31.3)

        assert (ledger.misplaced, ledger.used(0)) == (0, 500)

    def test_a_little_less_is_nothing_odd(self) -> None:
        """The exchange counts in more than one place."""
        ledger = known()
        heard(ledger, 5, 500, at=31.0)
        heard(ledger, 5, 500 - MARGIN, at=32.0)

        assert ledger.misplaced == 0


class TestBlindness:
    """When calls on their way have to do until one is answered."""

    def test_one_call_asks_whether_the_minute_has_turned(self) -> None:
        """Rather than all that wait for the turn; once it was seen to, the next minutes are not asked for."""
        ledger = known()
        heard(ledger, 500, 500, at=59.0)
        ledger.acquire(1, ORDERS, 60.0)
        asks = wait(ledger, 1, at=60.0)
        ledger.settle(1, 1, range(1, 2), sent=60.0, now=60.1)
        ledger.acquire(1, ORDERS, 120.0)

        assert (asks, wait(ledger, 1, at=120.0)) == (PATIENCE, 0.0)

    def test_one_call_asks_where_others_were_not_heard_of_for_long(self) -> None:
        """After two seconds their traffic may have used what is left."""
        ledger = busy(12.0)
        ledger.acquire(1, ORDERS, 42.0)
        fresh = wait(ledger, 1, at=42.0)

        ledger.acquire(1, ORDERS, 42.5)

        assert (fresh, wait(ledger, 1, at=42.5)) == (0.0, PATIENCE)

    def test_nobody_needs_to_ask_where_nobody_else_is(self) -> None:
        """Our own count is exact."""
        ledger = known()
        ledger.acquire(1, ORDERS, 50.0)

        assert wait(ledger, 1, at=50.0) == 0.0


def busy(rate: float, *, seconds: int = 40) -> Ledger:
    """A ledger that has heard of others twice a second, for so long from the start of minute 0."""
    ledger = Ledger(LIMIT)
    for step in range(2 * seconds + 1):
        heard(ledger, 0, int(rate * step / 2), at=step / 2)
    return ledger


class TestOthers:
    """What is kept free for others on the IP."""

    def test_a_twentieth_until_they_were_watched(self) -> None:
        """Then a quarter more than what they may add while a call is on its way."""
        assert (Ledger(LIMIT).cap(0.0), Ledger(LIMIT).cap(0.0, ORDERS)) == (LIMIT - MARGIN - 50, LIMIT - MARGIN)
        assert busy(0.0).cap(40.0) == LIMIT - MARGIN
        assert busy(10.0).cap(40.0) == pytest.approx(LIMIT - MARGIN, abs=2)

    def test_what_they_may_have_added_is_bounded(self) -> None:
        """A tenth of the limit at most, however old the last count is."""
        ledger = busy(12.0)

        used = ledger.used(0)
        room = [weight for weight in range(1, 600) if ledger.wait(weight, ORDERS, 59.9, (59.9, 59.9)).seconds == 0]

        assert max(room) == pytest.approx(LIMIT - MARGIN - used - 100, abs=2)

    def test_somebody_asks_again_however_little_is_left_for_polls(self) -> None:
        """Or what is believed of the others would never be corrected."""
        ledger = busy(12.0)

        assert wait(ledger, 1, POLLS, at=40.0) == 0.0
        heard(ledger, 0, 700, at=40.0)
        assert wait(ledger, 100, POLLS, at=40.1) > 0.0
        assert wait(ledger, 100, POLLS, at=42.2) == 0.0

    def test_who_may_ask_again_in_a_moment_waits_no_longer(self) -> None:
        """What is kept for others and for orders is no longer in the way then; a full minute is."""
        ledger = known(at=0.0)
        heard(ledger, 930, 930, at=0.0)
        kept, full = wait(ledger, 1, POLLS, at=0.5), wait(ledger, 61, POLLS, at=0.5)
        ledger.acquire(1, ORDERS, 1.0)
        under_way = wait(ledger, 1, POLLS, at=1.0)

        assert (kept, full, under_way) == (1.5, 59.5, pytest.approx(24.2, abs=0.1))

    def test_polls_may_use_what_the_others_leave(self) -> None:
        """Weight a minute, if they go on so."""
        ledger = busy(5.0)

        assert ledger.for_polls(40.0) == pytest.approx(LIMIT - MARGIN - 300 - 30, abs=20)


class TestPeers:
    """Programs that share an IP without telling each other."""

    def test_each_has_its_part(self) -> None:
        """Whatever the others use of theirs is theirs."""
        ledger = known(instances=4)
        heard(ledger, 200, 200, at=31.0)

        assert (wait(ledger, 47, at=32.0), wait(ledger, 48, at=32.0)) == (0.0, 28.0)

    def test_no_call_is_heavier_than_a_part(self) -> None:
        """It would never fit."""
        assert [known(instances=4).fits_ever(weight) for weight in (247, 248)] == [True, False]

    def test_what_is_on_its_way_keeps_to_it_too(self) -> None:
        """It may land in a minute that has not begun."""
        ledger = known(instances=4)
        ledger.acquire(200, ORDERS, 30.0)

        assert (wait(ledger, 47, at=30.0), wait(ledger, 48, at=30.0)) == (0.0, math.inf)

    def test_a_call_on_its_way_at_the_turn_is_taken_for_ours_in_either_minute(self) -> None:
        """The header that contains it does not tell it from what the instances have used."""
        ledger = known(instances=4)
        ledger.acquire(100, ORDERS, 59.9)
        ledger.settle(100, 100, range(2), sent=59.9, now=60.1)
        heard(ledger, 5, 105, at=61.0)

        assert (wait(ledger, 142, at=62.0), wait(ledger, 143, at=62.0)) == (0.0, 58.0)

    def test_a_refusal_takes_from_every_part(self) -> None:
        """A hundredth of the limit, of which each bears a fourth."""
        ledger = known(instances=4)
        ledger.observe_refusal(range(1), 31.0, full=False)

        assert (wait(ledger, 245, at=31.0), wait(ledger, 246, at=31.0)) == (0.0, 29.0)

    def test_what_peers_use_of_their_parts_is_not_foreign(self) -> None:
        """Three parts of four may be theirs without a word."""
        ledger = known(instances=4)
        heard(ledger, 5, 5 + 3 * 247, at=31.0)
        used = ledger.external.share
        heard(ledger, 5, 10 + 3 * 247 + 40, at=32.0)

        assert (used, ledger.external.share) == (0, pytest.approx(40, abs=1))

    def test_polls_are_paced_by_the_part(self) -> None:
        """Once the bucket is empty, it drips from the part and not from the whole."""
        ledger = filled(known(instances=4, at=0.0))
        heard(ledger, 247, 247, at=59.0, priority=POLLS)
        heard(ledger, 0, 0, at=60.0)

        assert wait(ledger, 23, POLLS, at=60.0) == pytest.approx(60 * 20 / (990 / 4 + 20), rel=0.01)


class TestCatchingUp:
    """A ledger that was kept elsewhere for a while."""

    def test_learns_the_count_and_our_part_of_it(self) -> None:
        """What was known before stays known."""
        ledger = known()
        heard(ledger, 5, 5, at=31.0)
        ledger.catch_up(0, used=50, own=20)

        assert (ledger.used(0), wait(ledger, 940, at=32.0), wait(ledger, 941, at=32.0)) == (50, 0.0, 28.0)

    def test_never_lowers_the_count(self) -> None:
        """An older one may come late."""
        ledger = known()
        heard(ledger, 5, 70, at=31.0)
        ledger.catch_up(0, used=50, own=0)

        assert ledger.used(0) == 70

    def test_does_not_take_it_for_others(self) -> None:
        """The count rose by what was ours."""
        ledger = known()
        ledger.catch_up(0, used=500, own=0)
        heard(ledger, 5, 505, at=31.0)
        heard(ledger, 5, 510, at=32.0)

        assert (ledger.external.share, ledger.external.rate) == (0, 0.0)

    def test_a_minute_that_was_proven_has_begun(self) -> None:
        """Whatever a slower clock believes, it is not the one before."""
        ledger = known()
        before = ledger.latest_bounds((58.0, 61.0))
        heard(ledger, 5, 5, at=60.0)

        assert (before, ledger.latest_bounds((58.0, 59.0)), ledger.latest_bounds((61.0, 62.0))) == (
            (58.0, 61.0),
            (60.0, 60.0),
            (61.0, 62.0),
        )


class TestPace:
    """How polls are spread over the minute."""

    def test_a_burst_that_fits_is_not_slowed(self) -> None:
        """A whole minute's worth may go at once after a quiet minute; a quarter of it at the start."""
        fresh, quiet = known(at=0.0), filled(known(at=0.0))

        assert (wait(fresh, 250, POLLS, at=0.0), wait(quiet, 890, POLLS, at=0.0)) == (0.0, 0.0)
        assert wait(fresh, 251, POLLS, at=0.0) > 0.0

    def test_a_demand_that_goes_on_is_spread_over_the_minute(self) -> None:
        """After a burst took the bucket, what is left of the next minute drips."""
        ledger = filled(known(at=0.0))
        ledger.acquire(950, POLLS, 0.0)
        ledger.settle(950, 950, range(1), sent=0.0, now=0.1)
        departures = [60.0]
        while len(departures) < 9:
            now = departures[-1] + wait(ledger, 100, POLLS, at=departures[-1])
            ledger.acquire(100, POLLS, now)
            ledger.settle(100, 100 * len(departures), range(1, 2), sent=now, now=now)
            departures.append(now)

        apart = [later - earlier for earlier, later in pairwise(departures[2:])]
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
        """The rate rises as the minute passes, and the wait is told with that in mind."""
        ledger = known(at=at)
        heard(ledger, used, used, at=at)
        ledger.external.rate = theirs
        ledger._bucket.tokens -= spent
        told = wait(ledger, weight, POLLS, at=at)
        paced = ledger.why(weight, POLLS, at, (at, at)) == "pace"
        # At the very end of a minute, the next one is near.
        assume(paced and 0.05 < told < 60 - at - 0.25)

        early, due = deepcopy(ledger), at + 1.001 * told
        assert wait(early, weight, POLLS, at=at + sooner * told) > 0.0
        assert not wait(ledger, weight, POLLS, at=due) or ledger.why(weight, POLLS, due, (due, due)) != "pace"

    def test_orders_pass_by(self) -> None:
        """They do not wait for tokens, and take none from the polls."""

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

    def test_a_poll_that_never_left_gives_its_tokens_back(self) -> None:
        """Cancelling is not a way to be slowed."""
        ledger = filled(known(at=0.0))
        for _ in range(10):
            ledger.acquire(890, POLLS, 0.0)
            ledger.release(890, POLLS)

        assert wait(ledger, 890, POLLS, at=0.0) == 0.0

    def test_only_the_pace_holds_up_who_stands_behind(self) -> None:
        """Where the minute is full, a lighter call of another line may still fit."""
        ledger = known(at=0.0)
        heard(ledger, 960, 960, at=1.0, priority=POLLS)
        full = ledger.wait(100, POLLS, 1.0, (1.0, 1.0))
        ledger.observe_refusal(range(1, 2), 60.0, full=False)
        paced = ledger.wait(100, POLLS, 60.0, (60.0, 60.0))

        assert (full.holds_up, paced.holds_up, paced.seconds > 0) == (False, True, True)


def test_calls_that_weigh_more_than_declared_are_counted_as_more_on_their_way() -> None:
    """Ten times as much at most, and never less than before."""
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
def test_a_long_history_of_any_calls_leaves_little_behind(seed: int) -> None:
    """Hours of answers, losses and gateways, whatever the exchange's clock is believed to be."""
    chance = random.Random(seed)  # noqa: S311 - it is to be the same each time
    ledger, now, most = known(limit=6000), 60.0, 0
    for _ in range(5_000):
        now += chance.expovariate(1 / 2.0)
        low, high = now - chance.choice([0.0, 0.2, 1.0, 20.0]), now + chance.choice([0.0, 0.2, 1.0])
        weight = chance.randint(1, 40)
        ledger.acquire(weight, chance.choice([*Priority]), now)
        minutes = ledger.minutes((low, high))
        end = chance.choice(["answered", "answered", "untold", "lost", "cancelled", "refused"])
        if end == "cancelled":
            ledger.release(weight, POLLS)
        elif end == "lost":
            ledger.settle_unknown(weight, ledger.minutes((low, high + 10)), known=now + 10)
        else:
            used = None if end == "untold" else ledger.used(minutes.start)
            ledger.settle(weight, used, minutes, sent=now - 0.1, now=now)
        if end == "refused":
            ledger.observe_refusal(minutes, now, full=False)
        most = max(most, sum(len(held) for held in vars(ledger).values() if hasattr(held, "__len__")))

    assert ledger.in_flight == 0
    # Answers without a count are kept apart by half seconds, those of a turn by fiftieths of a second.
    assert most < 300


class TestNoSilence:
    """Nothing that is told stops sending for more than a minute."""

    @pytest.mark.parametrize("priority", [POLLS, ORDERS])
    @pytest.mark.parametrize("minutes", [range(1), range(-30_000_000, 1), range(1, 2), range(60, 61), range(10**24)])
    @pytest.mark.parametrize("bounds", [(0.0, 0.0), (-1e9, 0.0), (0.0, 1e9), (-3600.0, -3600.0), (3600.0, 3600.0)])
    def test_a_minute_after_the_last_call_one_may_go(
        self, priority: Priority, minutes: range, bounds: tuple[float, float]
    ) -> None:
        """Whatever the count is, whichever minutes it is of, and wherever the exchange's clock is believed to be."""
        ledger = known()
        ledger.acquire(5, ORDERS, 31.0)
        ledger.settle(5, 2**53, minutes, sent=31.0, now=31.2)
        moments = [
            ledger.wait(5, priority, at, (at + bounds[0], at + bounds[1])).seconds + at for at in (31.2, 60.0, 91.2)
        ]

        assert max(moments) <= 91.21
        assert moments[-1] == 91.2

    def test_a_count_of_more_than_a_minute_before_is_of_another_window(self) -> None:
        """Whatever minute a wrong clock has taken it for: the next count corrects it, and nothing is doubted."""
        ledger = known()
        ledger.acquire(5, ORDERS, 31.0)
        ledger.settle(5, LIMIT, range(1), sent=31.0, now=31.2)

        ledger.acquire(5, ORDERS, 91.3)
        ledger.settle(5, 40, range(1), sent=91.3, now=91.4)

        assert (ledger.misplaced, ledger.most_used((31.4, 31.4)), ledger.cap(91.4)) == (0, 40, ledger.cap(31.2))

    def test_a_full_minute_is_over_a_minute_after_its_count_was_heard(self) -> None:
        """However long the exchange's clock may still show it: its bounds are wide."""
        ledger = known()
        heard(ledger, 5, LIMIT, at=50.0)
        heard(ledger, 5, 40, at=62.0)
        ledger.acquire(5, ORDERS, 107.0)

        waits = [ledger.wait(5, ORDERS, at, (50.0, 119.0)).seconds for at in (109.0, 110.0, 110.1)]

        assert waits == pytest.approx([1.06, 0.06, 0.0])

    def test_a_call_that_may_still_arrive_is_waited_for(self) -> None:
        """A minute after that the exchange's window holds nothing of ours."""
        ledger = known()
        ledger.acquire(600, ORDERS, 31.0)
        ledger.settle_unknown(600, range(1000), known=45.0)

        assert (wait(ledger, 600, at=61.0), wait(ledger, 600, at=105.0)) == (44.0, 0.0)

    def test_a_call_that_never_fits_is_not_let_go(self) -> None:
        """However long nothing was sent."""
        ledger = known(instances=2)

        assert wait(ledger, LIMIT // 2, at=1e9) == math.inf

    def test_a_clock_that_stepped_back_is_not_waited_for(self) -> None:
        """That of a store may: what was written down before is as old as the step."""
        ledger = known(at=3600.0)
        heard(ledger, 5, 2**53, at=3600.0)
        early = ledger.wait(5, ORDERS, 0.0, (3600.0, 3660.0)).seconds

        assert early == 60.0
        assert ledger.wait(5, ORDERS, 60.0, (3600.0, 3660.0)).seconds == 0.0

    def test_a_penalty_of_a_minute_that_never_was_melts(self) -> None:
        """A wrong clock has told it."""
        ledger = known()
        ledger.observe_refusal(range(10_000, 10_001), 31.0, full=False)
        for minute in range(1, 6):
            heard(ledger, 1, 1, at=60.0 * minute)
        melted = ledger.cap(300.0)
        ledger.observe_refusal(range(5, 6), 301.0, full=False)

        assert (melted, ledger.cap(301.0)) == (LIMIT - MARGIN, LIMIT - MARGIN - 10)

    def test_minutes_of_a_wrong_clock_fill_no_memory(self) -> None:
        """Few are kept, those that are nearest."""
        ledger = known()
        for minute in range(100, 10_000, 100):
            ledger.acquire(1, ORDERS, 31.0)
            ledger.settle(1, 1, range(minute, minute + 1), sent=31.0, now=31.0)
            heard(ledger, 1, 1, at=31.0)

        assert max(len(ledger._header), len(ledger._own), len(ledger._header_at)) <= 8


class TestAsking:
    """Who finds out what others have used."""

    def test_the_one_that_asks_waits_for_no_tokens(self) -> None:
        """After a burst of others nothing would drip into the bucket for the rest of the minute."""
        ledger = busy(0.0, seconds=4)
        heard(ledger, 0, 700, at=4.5, priority=POLLS)
        ledger._bucket.tokens = 0.0
        heard(ledger, 0, 700, at=5.0, priority=POLLS)
        soon, heavy = wait(ledger, 5, POLLS, at=5.5), wait(ledger, 21, POLLS, at=7.1)
        asks = wait(ledger, 5, POLLS, at=7.1)
        ledger.acquire(5, POLLS, 7.1)
        behind = ledger.wait(5, POLLS, 7.2, (7.2, 7.2))

        assert (soon <= 1.5, heavy > asks, asks) == (True, True, 0.0)
        assert (behind.seconds > 0, behind.holds_up) == (True, True)

    def test_the_one_that_asks_leaves_no_debt_of_tokens(self) -> None:
        """The polls behind it wait for as many tokens as before."""
        ledger = busy(0.0, seconds=4)
        heard(ledger, 0, 700, at=4.5, priority=POLLS)
        ledger._bucket.tokens = 0.0
        heard(ledger, 0, 700, at=5.0, priority=POLLS)
        asks = wait(ledger, 20, POLLS, at=7.1)
        ledger.acquire(20, POLLS, 7.1)

        assert (asks, ledger._bucket.tokens) == (0.0, 0.0)

    def test_nobody_asks_again_before_the_answer_can_have_come(self) -> None:
        """A gateway that tells no count is not asked all the time."""
        ledger = busy(0.0, seconds=4)
        heard(ledger, 0, 700, at=4.5, priority=POLLS)
        ledger._bucket.tokens = 0.0
        ledger.acquire(5, POLLS, 7.1)
        ledger.settle(5, None, range(1), sent=7.1, now=7.2, is_probe=False)

        assert wait(ledger, 5, POLLS, at=7.3) == pytest.approx(1.8)
