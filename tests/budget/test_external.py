"""What others on the same IP spend."""

from __future__ import annotations

import pytest

from binance_pm.budget.external import ExternalUsage

LIMIT = 6000


class Watched:
    """Their traffic as it is heard through our answers."""

    def __init__(self) -> None:
        self.external = ExternalUsage(LIMIT, 60.0)
        self.now = 0.0

    def hear(self, surely: float, *, unproven: int = 0, trip: float = 0.01) -> None:
        """An answer tells what is surely theirs in this minute."""
        self.external.observe(int(self.now / 60), int(surely), unproven, sent=self.now - trip, now=self.now)

    def watch(self, rate: float, seconds: float, *, each: float = 0.5) -> None:
        """They go on at a rate, from nothing in each minute, and we hear of it."""
        for _ in range(round(seconds / each)):
            self.now += each
            self.hear(rate * (self.now % 60))


def test_nobody_is_seen_at_first() -> None:
    """Nothing is known, and nothing believed."""
    external = ExternalUsage(LIMIT, 60.0)

    assert (external.is_known, external.rate, external.burst, external.share) == (False, 0.0, 0.0, 0)


def test_two_seconds_are_enough_to_know_them() -> None:
    """One second is not."""
    watched = Watched()
    watched.watch(10, 1.5)
    before = watched.external.is_known
    watched.watch(10, 1.5)

    assert (before, watched.external.is_known) == (False, True)


def test_a_steady_rate_is_known_at_once_and_kept() -> None:
    """From the first samples on, through the turns of minutes."""
    watched = Watched()
    for _ in range(4):
        watched.watch(20, 50)
        assert watched.external.rate == pytest.approx(20, rel=0.1)


def test_an_absurd_count_is_not_believed_for_long() -> None:
    """A header without sense, or a burst after a slow answer, is bounded at once and fades by the minute."""
    watched = Watched()
    watched.watch(0, 10)
    watched.now += 0.6
    watched.hear(2**53, trip=1.9)
    at_once = watched.external.burst
    for _ in range(10):
        watched.now += 60
        watched.hear(0)

    assert 0 < at_once <= LIMIT / 4
    assert watched.external.burst < LIMIT / 100


def test_a_rate_that_ended_is_forgotten() -> None:
    """A minute later nothing is left of it."""
    watched = Watched()
    watched.watch(20, 30)
    last = watched.now % 60 * 20
    for _ in range(120):
        watched.now += 0.5
        watched.hear(last if watched.now < 60 else 0)

    assert watched.external.rate < 0.5


def test_what_was_used_before_our_first_call_may_go_on() -> None:
    """It is taken for theirs until they were watched, but for no more than three tenths of the limit."""
    some, much = Watched(), Watched()
    some.hear(600)
    much.hear(6000)

    assert (some.external.rate, much.external.rate) == (10, 30)


def test_what_was_used_before_our_first_call_was_our_own_perhaps() -> None:
    """After a restart nobody else is there: two seconds show it."""
    watched = Watched()
    watched.hear(3000)
    for _ in range(5):
        watched.now += 0.5
        watched.hear(3000)

    assert (watched.external.rate, watched.external.share) == (0.0, 3000)


def test_a_jump_is_what_comes_in_one_round_trip() -> None:
    """A burst of two hundred in a second, while a call takes a tenth of it."""
    watched = Watched()
    watched.watch(0, 2)
    watched.now += 1
    watched.hear(200, trip=0.1)

    assert watched.external.burst == pytest.approx(200 * 0.1, rel=0.02)


def test_half_of_a_jump_is_forgotten_in_a_minute() -> None:
    """So is half of a long trip."""
    watched = Watched()
    watched.watch(0, 2)
    watched.now += 1
    watched.hear(200, trip=0.05)
    watched.external.observe(0, 200, 0, sent=watched.now - 0.01, now=watched.now)
    for _ in range(60):
        watched.now += 1
        watched.hear(200 if watched.now < 60 else 0)

    assert watched.external.burst == pytest.approx(5.0, rel=0.1)


@pytest.mark.parametrize(("trip", "believed"), [(0.001, 0.05), (0.5, 0.5), (60.0, 2.0)])
def test_a_trip_is_believed_within_reason(trip: float, believed: float) -> None:
    """A call may hang; the next one is not shorter than light allows."""
    watched = Watched()
    watched.hear(0)
    watched.now += 1
    watched.hear(100, trip=trip)

    assert watched.external.burst == pytest.approx(100 * believed, rel=0.02)


def test_samples_closer_than_half_a_second_are_taken_together() -> None:
    """Two answers that come together show no rate."""
    watched = Watched()
    watched.hear(0)
    watched.now += 0.001
    watched.hear(50)

    assert (watched.external.burst, watched.external.share) == (0.0, 50)


def test_nothing_is_sampled_while_much_of_ours_is_on_its_way() -> None:
    """It may be ours: a fiftieth of the limit is little."""
    watched = Watched()
    watched.hear(0)
    watched.now += 1
    watched.hear(500, unproven=LIMIT // 50 + 1)
    unseen = watched.external.share
    watched.hear(500, unproven=LIMIT // 50)

    assert (unseen, watched.external.share) == (0, 500)


def test_what_came_before_the_first_sample_of_a_minute_is_no_burst() -> None:
    """Nobody knows at which pace it came."""
    watched = Watched()
    watched.watch(0, 10)
    watched.now = 119.0
    watched.hear(3000)

    assert (watched.external.rate, watched.external.burst, watched.external.share) == (0.0, 0.0, 3000)


def test_a_minute_that_was_passed_over_tells_nothing() -> None:
    """Not all that is ours in it is known; the next minute is watched again."""
    watched = Watched()
    watched.watch(0, 2)
    watched.external.skip_minute(0)
    watched.now += 1
    watched.hear(500)
    passed = watched.external.share
    watched.now = 61.0
    watched.hear(7)

    assert (passed, watched.external.share) == (0, 7)


def test_counts_are_not_waited_for_where_there_are_none() -> None:
    """An exchange that does not tell them never will."""
    external = ExternalUsage(LIMIT, 60.0)
    external.ignore()

    assert (external.is_known, external.rate) == (True, 0.0)


def test_less_than_nothing_is_nothing() -> None:
    """Where all that can be ours is more than the count, nothing is surely theirs."""
    watched = Watched()
    watched.hear(-40)
    watched.now = 61.0
    watched.hear(-40)

    assert (watched.external.share, watched.external.rate) == (0, 0.0)
