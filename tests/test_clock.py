"""The exchange's clock is an interval that holds the truth, and timestamps stay inside what is accepted."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from binance_pm.clock import ServerClock

if TYPE_CHECKING:
    from tests.conftest import FakeClock

SLACK = 0.005
DRIFT = 200e-6


@pytest.fixture
def server(clock: FakeClock) -> ServerClock:
    """A clock of the exchange on a monotonic clock at 100 s, with the wall clock at 5000 s."""
    clock.now = 100.0
    return ServerClock(monotonic=clock, wall=lambda: 5000.0)


def test_the_wall_clock_has_to_do_at_first(server: ServerClock) -> None:
    """Before the first answer the exchange's clock is taken to be within 5 s of the wall clock."""
    assert server.bounds() == (4995.0, 5005.0)


def test_the_first_timestamp_is_the_wall_clock(server: ServerClock) -> None:
    """Before the first answer a request is signed with this machine's own time."""
    assert (server.is_heard, server.milliseconds()) == (False, 5_000_000)


def test_the_first_date_is_known_to_the_second_and_the_way(server: ServerClock, clock: FakeClock) -> None:
    """A `Date` was made somewhere between question and answer, and is cut to the second."""
    clock.now = 100.2
    server.hear(7000, 7001, asked=100.0, answered=100.2)

    assert server.is_heard
    assert server.bounds() == pytest.approx((7000 - SLACK, 7001.2 + SLACK))


def test_a_server_time_is_known_to_the_millisecond(server: ServerClock) -> None:
    """A time endpoint that answers at once leaves a millisecond and the slack."""
    server.hear(7000.5, 7000.501, asked=100.0, answered=100.0)

    assert server.bounds() == pytest.approx((7000.5 - SLACK, 7000.501 + SLACK))


def test_another_date_narrows_the_interval(server: ServerClock, clock: FakeClock) -> None:
    """Dates that are read just before and just after the second turns say where it turns."""
    server.hear(7000, 7001, asked=100.0, answered=100.0)
    clock.now = 100.1
    server.hear(7001, 7002, asked=100.1, answered=100.1)

    assert server.bounds() == pytest.approx((7001 - SLACK, 7001.1 + SLACK), abs=1e-4)


def test_a_wider_answer_widens_nothing(server: ServerClock) -> None:
    """An answer that took long and says less leaves what is known."""
    server.hear(7000.5, 7000.501, asked=100.0, answered=100.0)
    known = server.bounds()
    server.hear(7000, 7001, asked=90.0, answered=100.0)

    assert server.bounds() == known


@pytest.mark.parametrize("shift", [-30.0, 30.0])
def test_a_contradiction_widens_the_interval_to_hold_both(server: ServerClock, shift: float) -> None:
    """Where edges of the exchange disagree, either may be right."""
    server.hear(7000, 7001, asked=100.0, answered=100.0)
    server.hear(7000 + shift, 7001 + shift, asked=100.0, answered=100.0)

    low, high = min(7000, 7000 + shift) - 2 * SLACK, max(7001, 7001 + shift) + 2 * SLACK
    assert server.bounds() == pytest.approx((low, high))


def test_the_answer_after_a_contradiction_narrows_again(server: ServerClock) -> None:
    """One contradiction does not leave the interval wide for ever."""
    server.hear(7000, 7001, asked=100.0, answered=100.0)
    server.hear(7030, 7031, asked=100.0, answered=100.0)
    server.hear(7030, 7031, asked=100.0, answered=100.0)

    assert server.bounds() == pytest.approx((7030 - SLACK, 7031 + SLACK))


def test_silence_widens_the_interval(server: ServerClock, clock: FakeClock) -> None:
    """Two clocks drift apart by up to 200 millionths."""
    server.hear(7000, 7001, asked=100.0, answered=100.0)
    clock.now += 1000

    low, high = 8000 - SLACK - 1000 * DRIFT, 8001 + SLACK + 1000 * DRIFT
    assert server.bounds() == pytest.approx((low, high), abs=1e-6)


def test_answers_that_crossed_are_heard_in_any_order(server: ServerClock) -> None:
    """What is known at one moment is less sure at an earlier one too."""
    server.hear(7100.0, 7100.001, asked=200.0, answered=200.0)
    server.hear(6990.0, 7010.0, asked=100.0, answered=100.0)

    low, high = 7000 - SLACK - 100 * DRIFT, 7000.001 + SLACK + 100 * DRIFT
    assert server.bounds() == pytest.approx((low, high), abs=1e-6)


def test_a_narrow_interval_is_met_in_its_middle(server: ServerClock) -> None:
    """A timestamp is the likeliest time."""
    server.hear(7000.5, 7001.0, asked=100.0, answered=100.0)

    assert server.milliseconds() == 7_000_750


def test_a_wide_interval_is_met_near_its_beginning(server: ServerClock) -> None:
    """A timestamp is at most half a second ahead of the exchange, which refuses a whole one."""
    server.hear(7000, 7020, asked=100.0, answered=100.0)

    assert server.milliseconds() == math.floor((7000 - SLACK + 0.5) * 1000)


def test_steps_of_the_wall_clock_do_not_exist(clock: FakeClock) -> None:
    """After the first answer only the monotonic clock counts."""
    clock.now = 100.0
    wall = [5000.0]
    server = ServerClock(monotonic=clock, wall=lambda: wall[0])
    server.hear(7000, 7001, asked=100.0, answered=100.0)
    known = server.bounds(), server.milliseconds()
    wall[0] = -1e9

    assert (server.bounds(), server.milliseconds()) == known


class Exchanged(NamedTuple):
    """One question to the exchange and its answer."""

    asked: float
    there: float
    back: float
    exact: bool
    """Whether the answer tells milliseconds, or a Date in whole seconds."""


def seconds(most: float) -> st.SearchStrategy[float]:
    """A time between nothing and the given one."""
    return st.floats(0, most)


@settings(deadline=None)
@given(
    offset=st.floats(0, 4e9),
    rate=st.floats(-199e-6, 199e-6),
    heard=st.lists(st.builds(Exchanged, seconds(3600), seconds(10), seconds(10), st.booleans()), min_size=1),
    later=seconds(86_400),
)
def test_the_truth_lies_inside_the_interval(offset: float, rate: float, heard: list[Exchanged], later: float) -> None:
    """Whatever the true time, the drift and the ways, and in whatever order answers come, the bounds hold the truth."""
    now = [0.0]
    server = ServerClock(monotonic=lambda: now[0], wall=lambda: 0.0)

    def truth(moment: float) -> float:
        return offset + moment * (1 + rate)

    for asked, there, back, exact in heard:
        unit = 0.001 if exact else 1.0
        stamp = math.floor(truth(asked + there) / unit) * unit
        answered = asked + there + back
        server.hear(stamp, stamp + unit, asked=asked, answered=answered)
        now[0] = max(now[0], answered)
        low, high = server.bounds()
        assert low <= truth(now[0]) <= high
        assert server.milliseconds() / 1000 <= low + 0.5 + 1e-6

    now[0] += later
    low, high = server.bounds()
    assert low <= truth(now[0]) <= high
