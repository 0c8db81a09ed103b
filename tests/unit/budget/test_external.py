"""External usage: what other programs on the same IP use."""

from __future__ import annotations

import pytest

from binance_pm.budget.external import ExternalUsage

LIMIT = 6000


class Watched:
    """External usage as seen through our responses."""

    def __init__(self) -> None:
        self.external = ExternalUsage(LIMIT, 60.0)
        self.now = 0.0

    def observe(self, surely: float, *, unproven: int = 0, trip: float = 0.01) -> None:
        """Observe a response with external usage in this minute."""
        self.external.observe(int(self.now / 60), int(surely), unproven, sent=self.now - trip, now=self.now)

    def watch(self, rate: float, seconds: float, *, each: float = 0.5) -> None:
        """Observe external usage at a steady rate, from zero in each minute."""
        for _ in range(round(seconds / each)):
            self.now += each
            self.observe(rate * (self.now % 60))


def test_two_seconds_are_enough_to_know_the_usage() -> None:
    """One second is not enough."""
    watched = Watched()
    watched.watch(10, 1.5)
    before = watched.external.is_known
    watched.watch(10, 1.5)

    assert (before, watched.external.is_known) == (False, True)


def test_a_steady_rate_is_known_at_once_and_kept() -> None:
    """From the first samples on, across the turns of minutes."""
    watched = Watched()
    for _ in range(4):
        watched.watch(20, 50)
        assert watched.external.rate == pytest.approx(20, rel=0.1)


def test_an_impossible_count_has_a_bounded_and_fading_effect() -> None:
    """Such as a senseless header, or a burst after a slow response."""
    watched = Watched()
    watched.watch(0, 10)
    watched.now += 0.6
    watched.observe(2**53, trip=1.9)
    at_once = watched.external.burst
    for _ in range(10):
        watched.now += 60
        watched.observe(0)

    assert 0 < at_once <= LIMIT / 4
    assert watched.external.burst < LIMIT / 100


def test_usage_before_our_first_call_may_continue() -> None:
    """At most three tenths of the limit, for two seconds: the usage may have been ours before a restart."""
    some, much = Watched(), Watched()
    some.observe(600)
    much.observe(6000)
    at_first = some.external.rate, much.external.rate
    for _ in range(5):
        much.now += 0.5
        much.observe(6000)

    assert at_first == (10, 30)
    assert (much.external.rate, much.external.share) == (0.0, 6000)


def test_half_of_a_burst_is_forgotten_in_a_minute() -> None:
    """So is half of a long round trip."""
    watched = Watched()
    watched.watch(0, 2)
    watched.now += 1
    watched.observe(200, trip=0.05)
    watched.external.observe(0, 200, 0, sent=watched.now - 0.01, now=watched.now)
    for _ in range(60):
        watched.now += 1
        watched.observe(200 if watched.now < 60 else 0)

    assert watched.external.burst == pytest.approx(5.0, rel=0.1)


@pytest.mark.parametrize(("trip", "believed"), [(0.001, 0.05), (0.5, 0.5), (60.0, 2.0)])
def test_a_round_trip_is_bounded(trip: float, believed: float) -> None:
    """A call may hang, and a response may seem faster than light allows."""
    watched = Watched()
    watched.observe(0)
    watched.now += 1
    watched.observe(100, trip=trip)

    assert watched.external.burst == pytest.approx(100 * believed, rel=0.02)


def test_samples_within_half_a_second_are_merged() -> None:
    """Two responses at nearly the same time show no rate."""
    watched = Watched()
    watched.observe(0)
    watched.now += 0.001
    watched.observe(50)

    assert (watched.external.burst, watched.external.share) == (0.0, 50)


def test_no_sample_is_taken_with_much_of_ours_in_flight() -> None:
    """The rise may be ours, unless no more than a fiftieth of the limit is in flight."""
    watched = Watched()
    watched.observe(0)
    watched.now += 1
    watched.observe(500, unproven=LIMIT // 50 + 1)
    unseen = watched.external.share
    watched.observe(500, unproven=LIMIT // 50)

    assert (unseen, watched.external.share) == (0, 500)


def test_usage_before_the_first_sample_of_a_minute_is_no_burst() -> None:
    """Its pace is not known."""
    watched = Watched()
    watched.watch(0, 10)
    watched.now = 119.0
    watched.observe(3000)

    assert (watched.external.rate, watched.external.burst, watched.external.share) == (0.0, 0.0, 3000)


def test_a_skipped_minute_gives_no_sample() -> None:
    """Our own usage in that minute is not fully known; the next minute is sampled again."""
    watched = Watched()
    watched.watch(0, 2)
    watched.external.skip_minute(0)
    watched.now += 1
    watched.observe(500)
    passed = watched.external.share
    watched.now = 61.0
    watched.observe(7)

    assert (passed, watched.external.share) == (0, 7)
