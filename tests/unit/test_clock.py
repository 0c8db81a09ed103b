"""The exchange's clock is an interval that contains the true time, and timestamps stay within the accepted range."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from binance_pm.clock import ServerClock

if TYPE_CHECKING:
    from tests.support.clocks import FakeClock

Heard = tuple[float, float, float, float]
"""Earliest and latest time, and the monotonic time before and after."""

SLACK = 0.005
DRIFT = 200e-6


@pytest.fixture
def server(clock: FakeClock) -> ServerClock:
    """A clock of the exchange, on a monotonic clock at 100 s with the wall clock at 7050 s."""
    clock.now = 100.0
    return ServerClock(monotonic=clock, wall=lambda: clock.now + 6950.0)


def test_the_wall_clock_is_used_at_first(server: ServerClock) -> None:
    """Before the first response, the exchange's clock is assumed within 5 s of the wall clock."""
    assert server.bounds() == (7045.0, 7055.0)
    assert (server.is_synchronised, server.milliseconds()) == (False, 7_050_000)


@pytest.mark.parametrize(
    ("heard", "now", "bounds"),
    [
        # A `Date` was written between request and response, and is cut to the second.
        ([(7000, 7001, 100.0, 100.2)], 100.2, (7000, 7001.2)),
        # A time endpoint has milliseconds.
        ([(7000.5, 7000.501, 100.0, 100.0)], 100.0, (7000.5, 7000.501)),
        # Dates just before and just after the turn of a second locate the turn.
        ([(7000, 7001, 100.0, 100.0), (7001, 7002, 100.1, 100.1)], 100.1, (7001, 7001.1)),
        # A slow response does not replace what is known.
        ([(7000.5, 7000.501, 100.0, 100.0), (7000, 7001, 90.0, 100.0)], 100.0, (7000.5, 7000.501)),
        # Two clocks drift apart by up to 200 millionths, but the bounds stay within three minutes.
        ([(7000, 7001, 100.0, 100.0)], 1100.0, (8000 - 1000 * DRIFT, 8001 + 1000 * DRIFT)),
        ([(7000, 7001, 100.0, 100.0)], 1e9, (1e9 + 6900 - 60, 1e9 + 6901 + 60)),
        # What is known at one moment is less certain for an earlier one: responses arrive in any order.
        (
            [(7100.0, 7100.001, 200.0, 200.0), (6990.0, 7010.0, 100.0, 100.0)],
            100.0,
            (7000 - 100 * DRIFT, 7000.001 + 100 * DRIFT),
        ),
    ],
)
def test_responses_bound_the_time(
    server: ServerClock, clock: FakeClock, heard: list[Heard], now: float, bounds: tuple[float, float]
) -> None:
    """Each response gives an interval, and the common part of all of them is known."""
    for earliest, latest, asked, answered in heard:
        assert server.observe(earliest, latest, asked=asked, answered=answered)
    clock.now = now

    assert server.is_synchronised
    assert server.bounds() == pytest.approx((bounds[0] - SLACK, bounds[1] + SLACK), rel=0, abs=1e-4)


@pytest.mark.parametrize(("latest", "stamp"), [(7000.9, 7000.45), (7020.0, 7000 - SLACK + 0.5)])
def test_a_timestamp_is_the_likeliest_time(server: ServerClock, latest: float, stamp: float) -> None:
    """The middle of the bounds, but at most half a second ahead: the exchange refuses a whole second."""
    server.observe(7000, latest, asked=100.0, answered=100.0)

    assert server.milliseconds() == pytest.approx(stamp * 1000, abs=1)


@pytest.mark.parametrize("shift", [-4.0, 5.9])
def test_a_small_contradiction_widens_the_interval_to_contain_both(server: ServerClock, shift: float) -> None:
    """If the clocks of the edges differ, either may be right."""
    server.observe(7000, 7001, asked=100.0, answered=100.0)
    believed = server.observe(7000 + shift, 7001 + shift, asked=100.0, answered=100.0)

    low, high = min(7000, 7000 + shift) - 2 * SLACK, max(7001, 7001 + shift) + 2 * SLACK
    apart = abs(shift) - 1 - SLACK
    assert believed
    assert server.bounds() == pytest.approx((low - apart, high + apart), abs=2 * SLACK)


def test_steps_of_the_wall_clock_have_no_effect(clock: FakeClock) -> None:
    """After the first response only the monotonic clock counts."""
    clock.now = 100.0
    wall = [7000.0]
    server = ServerClock(monotonic=clock, wall=lambda: wall[0])
    server.observe(7000, 7001, asked=100.0, answered=100.0)
    known = server.bounds(), server.milliseconds()
    wall[0] = -1e9

    assert (server.bounds(), server.milliseconds()) == known


YEAR_9999 = 253_402_214_400


@pytest.mark.parametrize("date", [0, YEAR_9999, 7050 - 3600, 7050 + 3600, 7050 + 122])
def test_a_first_date_far_from_the_wall_clock_needs_a_second_one(server: ServerClock, date: int) -> None:
    """A cache or proxy may have written it; the wall clock is used until a second response agrees."""
    believed = server.observe(date, date + 1, asked=100.0, answered=100.0)
    bounds = server.bounds()

    assert (believed, server.is_synchronised, bounds) == (False, False, (7045.0, 7055.0))
    assert server.observe(date, date + 0.9, asked=100.1, answered=100.1)
    assert server.bounds() == pytest.approx((date, date + 1), abs=0.2)


def test_a_right_date_after_an_impossible_one_is_accepted_at_once(server: ServerClock) -> None:
    """The wall clock confirms it."""
    server.observe(0, 1, asked=100.0, answered=100.0)

    assert server.observe(7060, 7061, asked=100.0, answered=100.0)
    assert server.bounds() == pytest.approx((7060, 7061), abs=0.01)


ABSURD = [
    0,
    1,
    3600 + 7000,
    YEAR_9999,
    YEAR_9999 + 86_400,
    10**26,
    10.0**300,
    -1,
    -(10**26),
    math.inf,
    -math.inf,
    math.nan,
]


@pytest.mark.parametrize("date", ABSURD)
@pytest.mark.parametrize("exact", [False, True])
def test_a_contradiction_to_the_monotonic_clock_is_ignored(server: ServerClock, date: float, *, exact: bool) -> None:
    """One response changes nothing."""
    server.observe(7000, 7001, asked=100.0, answered=100.0)
    known = server.bounds(), server.milliseconds()

    assert not server.observe(date, date + 1, asked=100.0, answered=100.0, exact=exact)
    assert (server.bounds(), server.milliseconds()) == known


@pytest.mark.parametrize("exact", [False, True])
def test_a_slow_response_is_ignored(server: ServerClock, *, exact: bool) -> None:
    """Its bounds would be as wide as the round trip."""
    assert not server.observe(7000, 7001, asked=0.0, answered=100.0, exact=exact)
    assert not server.is_synchronised


@pytest.mark.parametrize("shift", [-3600.0, 6.5, 3600.0, 1e9])
def test_three_consecutive_dates_over_two_seconds_are_accepted(
    server: ServerClock, clock: FakeClock, shift: float
) -> None:
    """The machine was suspended, so that its monotonic clock stood still."""
    server.observe(7000, 7001, asked=100.0, answered=100.0)
    believed: list[bool] = []
    for second in (1, 2, 3, 4):
        clock.now = 100.0 + second
        date = 7000 + shift + second
        believed.append(server.observe(date, date + 1, asked=clock.now, answered=clock.now))

    assert believed == [False, False, True, True]
    assert server.bounds() == pytest.approx((7004 + shift, 7005 + shift), abs=0.02)


def test_a_constant_date_is_never_accepted(server: ServerClock, clock: FakeClock) -> None:
    """A cache repeats its page a thousand times."""
    server.observe(7000, 7001, asked=100.0, answered=100.0)
    for _ in range(1000):
        clock.now += 0.01
        assert not server.observe(3400, 3401, asked=clock.now, answered=clock.now)

    assert server.bounds() == pytest.approx((7010, 7011), abs=0.02)


def test_wrong_dates_between_right_ones_are_never_accepted(server: ServerClock, clock: FakeClock) -> None:
    """A right date in between shows that the other ones are wrong."""
    for second in range(20):
        clock.now = 100.0 + second
        believed = [
            server.observe(date + second, date + second + 1, asked=clock.now, answered=clock.now)
            for date in (7000, 3400)
        ]
        assert believed == [True, False]

    assert server.bounds() == pytest.approx((7019, 7020), abs=0.02)


@pytest.mark.parametrize("behind", [1.5, 4.0, 6.0, 100.0, 3600.0, -6.0])
@pytest.mark.parametrize("is_first", [True, False])
def test_the_time_endpoint_outweighs_every_date(
    server: ServerClock, clock: FakeClock, behind: float, *, is_first: bool
) -> None:
    """A proxy writes its own `Date`: timestamps still follow the exchange."""
    wrong = 7050 - behind
    if not is_first:
        server.observe(wrong, wrong + 1, asked=100.0, answered=100.0)
    assert server.observe(7050, 7050.001, asked=100.0, answered=100.0, exact=True)
    for _ in range(2000):
        clock.now += 0.5
        date = math.floor(clock.now + 6950 - behind)
        server.observe(date, date + 1, asked=clock.now, answered=clock.now)
        assert server.milliseconds() / 1000 == pytest.approx(clock.now + 6950, abs=0.25)

    assert server.bounds()[1] - server.bounds()[0] < 3


def test_a_time_far_from_all_known_times_is_needed_twice(server: ServerClock) -> None:
    """With a wall clock that is years off and no `Date`, the second time request is accepted."""
    told = [server.observe(1e9, 1e9 + 0.001, asked=100.0, answered=100.0, exact=True) for _ in range(2)]

    assert told == [False, True]
    assert server.milliseconds() == pytest.approx(1e12, abs=10)


def test_a_time_that_agrees_with_a_date_is_accepted_at_once(server: ServerClock) -> None:
    """With a wall clock that is an hour off, the refusal's `Date` and the time endpoint agree."""
    server.observe(3400, 3401, asked=100.0, answered=100.0)

    assert server.observe(3400.5, 3400.501, asked=100.0, answered=100.0, exact=True)
    assert server.milliseconds() == pytest.approx(3_400_500, abs=10)


def test_contradicting_times_are_ignored(server: ServerClock) -> None:
    """Each is far from all earlier ones."""
    assert not any(
        server.observe(time, time + 0.001, asked=100.0, answered=100.0, exact=True) for time in (1e6, 1e7, 1e8, 1e9)
    )


def test_dates_that_agreed_with_the_time_endpoint_win_after_ten_minutes(server: ServerClock, clock: FakeClock) -> None:
    """A machine was suspended after a time request."""
    server.observe(7050, 7050.001, asked=100.0, answered=100.0, exact=True)
    server.observe(7050, 7051, asked=100.0, answered=100.0)
    while not server.observe(clock.now + 7350, clock.now + 7351, asked=clock.now, answered=clock.now):
        clock.now += 10
        assert clock.now < 800

    assert clock.now == 700
    assert server.bounds() == pytest.approx((8050, 8051), abs=0.2)


def test_differing_edges_widen_the_bounds_and_not_the_timestamp(server: ServerClock) -> None:
    """The turn of a minute is less certain; the time of the time endpoint's edge is as certain as before."""
    server.observe(7050, 7050.001, asked=100.0, answered=100.0, exact=True)
    stamp = server.milliseconds()
    server.observe(7050.7, 7051.7, asked=100.0, answered=100.0)

    low, high = server.bounds()
    assert (low < 7049.4, high > 7050.6, server.milliseconds()) == (True, True, stamp)


def test_after_a_refused_timestamp_the_date_is_used(server: ServerClock, clock: FakeClock) -> None:
    """If the time endpoint fails, the latest `Date` alone is accepted; an old one is not."""
    server.observe(3400, 3401, asked=100.0, answered=100.0)
    clock.now = 161.0
    server.trust_date()
    old = server.is_synchronised
    server.observe(9461, 9462, asked=161.0, answered=161.0)
    server.trust_date()

    assert not old
    assert server.bounds() == pytest.approx((9461, 9462), abs=0.1)


def test_after_a_refused_timestamp_a_date_that_never_agreed_is_ignored(server: ServerClock) -> None:
    """A proxy wrote the date before the time request, and still does."""
    server.observe(7050, 7050.001, asked=100.0, answered=100.0, exact=True)
    server.observe(7040, 7041, asked=100.0, answered=100.0)
    server.trust_date()

    assert server.milliseconds() == 7_050_000


def test_a_process_adopts_the_bounds_of_another(server: ServerClock) -> None:
    """Once, before its own first response, and never bounds that are wider than the maximum."""
    server.take_over(1e9, 1e9 + 1000, asked=100.0, answered=100.0)
    low, high = server.bounds()
    server.take_over(2e9, 2e9 + 1, asked=100.0, answered=100.0)

    assert (low, high) == server.bounds() == pytest.approx((1e9 + 477.5, 1e9 + 522.5), abs=0.1)


class Told(NamedTuple):
    """Any response."""

    pause: float
    stamp: float
    width: float
    trip: float
    exact: bool


STAMPS = st.one_of(
    st.floats(6900, 7300),
    st.sampled_from([0.0, 3400.0, 10_600.0, 1e9, 1e20, -5.0, math.nan, math.inf, float(YEAR_9999)]),
    st.floats(),
)


@settings(deadline=None)
@given(
    heard=st.lists(
        st.builds(
            Told,
            st.sampled_from([0.0, 0.3, 1.0, 3.0, 700.0, 1e6]),
            STAMPS,
            st.sampled_from([0.001, 1.0]),
            st.sampled_from([0.0, 0.1, 20.0, 300.0]),
            st.booleans(),
        ),
        max_size=30,
    ),
    runs=st.booleans(),
)
def test_the_bounds_stay_narrow_for_any_responses(heard: list[Told], *, runs: bool) -> None:
    """Three minutes at most, and a timestamp within."""
    now = [100.0]
    server = ServerClock(monotonic=lambda: now[0], wall=lambda: now[0] + 6950)
    for told in heard:
        now[0] += told.pause
        stamp = told.stamp + now[0] * runs
        server.observe(stamp, stamp + told.width, asked=now[0] - told.trip, answered=now[0], exact=told.exact)
        low, high = server.bounds()
        assert high - low <= 180
        assert low - 0.001 <= server.milliseconds() / 1000 <= high


class Exchanged(NamedTuple):
    """One request to the exchange and its response."""

    asked: float
    there: float
    back: float
    exact: bool
    """Whether the response has milliseconds, or a Date in whole seconds."""


def seconds(most: float) -> st.SearchStrategy[float]:
    """Return a time between zero and the given one."""
    return st.floats(0, most)


@settings(deadline=None)
@given(
    offset=st.floats(0, 4e9),
    rate=st.floats(-199e-6, 199e-6),
    heard=st.lists(st.builds(Exchanged, seconds(3600), seconds(10), seconds(10), st.booleans()), min_size=1),
    later=seconds(86_400),
    wrong=st.sampled_from([0.0, -100.0, 100.0, 3600.0, -1e9]),
)
def test_the_true_time_lies_within_the_interval(
    offset: float, rate: float, heard: list[Exchanged], later: float, wrong: float
) -> None:
    """For any true time, drift and latency, and in any order of the responses."""
    now = [0.0]
    server = ServerClock(monotonic=lambda: now[0], wall=lambda: now[0] + offset + wrong)

    def truth(moment: float) -> float:
        return offset + moment * (1 + rate)

    for asked, there, back, exact in heard:
        unit = 0.001 if exact else 1.0
        stamp = math.floor(truth(asked + there) / unit) * unit
        answered = asked + there + back
        server.observe(stamp, stamp + unit, asked=asked, answered=answered, exact=exact)
        now[0] = max(now[0], answered)
        if not server.is_synchronised:
            # The wall clock is wrong, and no response has confirmed the time.
            assert abs(wrong) > 100
            continue
        low, high = server.bounds()
        assert low <= truth(now[0]) <= high
        assert server.milliseconds() / 1000 <= low + 0.5 + 1e-6

    now[0] += later
    low, high = server.bounds()
    assert not server.is_synchronised or low <= truth(now[0]) <= high
