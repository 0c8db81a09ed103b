"""How often each account is read."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binance_pm.fleet import schedule

FLOOR, CEILING = 1.0, 15.0
LINES = (1.5, 1.2)

amounts = st.floats(0.5, 10)
falls = st.floats(0, 0.02)
delays = st.floats(-100, 1000)


def wish(uni_mmr: float | None, *, fall: float = 0.0) -> float:
    """The interval wished by an account with the thresholds 1.5 and 1.2."""
    return schedule.wish(uni_mmr, LINES, fall=fall, floor=FLOOR, ceiling=CEILING)


def test_calm_accounts_wish_the_maximum_and_those_at_the_last_threshold_the_minimum() -> None:
    """An account without a reading is not known to be in danger."""
    assert wish(3.0) == CEILING
    assert wish(None) == CEILING
    assert wish(1.05) == pytest.approx(FLOOR)
    assert wish(0.5) == pytest.approx(FLOOR)


def test_an_account_at_the_first_threshold_is_read_many_times_as_often() -> None:
    """Being near any threshold matters more than near which."""
    assert wish(3.0) / wish(1.5) > 8
    assert wish(3.0) / wish(1.55) > 5


@given(amounts, amounts, falls)
def test_nearer_is_sooner(one: float, other: float, fall: float) -> None:
    """Of two accounts that differ only in uniMMR, the lower is never read later."""
    low, high = sorted((one, other))

    assert wish(low, fall=fall) <= wish(high, fall=fall)


@given(amounts, falls, falls)
def test_falling_faster_is_sooner(uni_mmr: float, one: float, other: float) -> None:
    """An account counts as where its fall will lead in a while."""
    slow, fast = sorted((one, other))

    assert wish(uni_mmr, fall=fast) <= wish(uni_mmr, fall=slow)


@given(st.one_of(st.none(), amounts), st.floats(-1, 1))
def test_a_wish_is_between_minimum_and_maximum(uni_mmr: float | None, fall: float) -> None:
    """Whatever is known of the account."""
    assert FLOOR * 0.999 <= wish(uni_mmr, fall=fall) <= CEILING * 1.001


def test_without_thresholds_liquidation_counts() -> None:
    """An account without thresholds is read more often near liquidation."""
    assert schedule.wish(1.06, (), fall=0.0, floor=FLOOR, ceiling=CEILING) < 2 * FLOOR


def test_a_fall_counts_at_once_and_is_forgotten_slowly() -> None:
    """A tenth in ten seconds is a hundredth a second, half of it half a minute later; a rise is no fall."""
    falling = schedule.fall_rate(0.0, 2.0, 1.8, 10.0)

    assert falling == pytest.approx(0.01)
    assert schedule.fall_rate(falling, 1.8, 1.9, 30.0) == pytest.approx(0.005)
    assert schedule.fall_rate(0.0, 1.8, 1.9, 30.0) == 0.0
    assert schedule.fall_rate(0.3, 1.8, 1.0, 0.0) == 0.3


demands = st.lists(
    st.tuples(st.floats(0.1, 900), st.dictionaries(st.sampled_from("abc"), st.floats(0.001, 10), min_size=1)),
    max_size=50,
)


@given(demands)
def test_the_plan_keeps_a_tenth_of_every_pool(wishes: list[tuple[float, dict[str, float]]]) -> None:
    """Whatever is wished, the intervals leave a tenth of the weight for polls if that is possible."""
    by = schedule.stretches(schedule.loads(wishes))
    planned = [(schedule.stretched(interval, costs, by), costs) for interval, costs in wishes]

    assert all(interval >= wished * 0.999 for (interval, _), (wished, _) in zip(planned, wishes, strict=True))
    if all(interval < schedule.LONGEST for interval, _ in planned):
        assert all(load <= schedule.PLANNED * 1.001 for load in schedule.loads(planned).values())


@given(st.lists(st.tuples(st.floats(1, 900), st.floats(0.01, 10), delays), min_size=1, max_size=50))
def test_longer_overdue_is_sooner_within_a_small_part_of_the_pool(accounts: list[tuple[float, float, float]]) -> None:
    """Only overdue accounts are read up to twice as often, for a twentieth of the pool together."""
    plans = [(interval, {"a": cost}) for interval, cost, _ in accounts]
    overdue = [late for _, _, late in accounts]
    hurries = schedule.hurries(plans, overdue)
    hurried = [(interval / times, costs) for (interval, costs), times in zip(plans, hurries, strict=True)]
    ordered = [times for _, times in sorted(zip(overdue, hurries, strict=True))]

    assert all(1 <= times <= 2 for times in hurries)
    assert all(times == 1 for late, times in zip(overdue, hurries, strict=True) if late <= 0)
    assert all(sooner <= later + 1e-9 for sooner, later in pairwise(ordered))
    assert schedule.loads(hurried)["a"] <= schedule.loads(plans)["a"] + 0.0501


def test_one_overdue_account_is_read_twice_as_often() -> None:
    """If there is room."""
    assert schedule.hurries([(10.0, {"a": 0.1})] * 3, [-1.0, 30.0, 60.0]) == [1, 1.5, 2]


turns = st.lists(
    st.builds(schedule.Turn, st.floats(0, 300), st.just(300.0), st.floats(0.1, 3).map(lambda cost: {"a": cost})),
    max_size=40,
)


@given(turns)
def test_accounts_due_together_are_started_one_by_one_before(accounts: list[schedule.Turn]) -> None:
    """Each starts when due at the latest, and no two closer than the rate allows."""
    starts = schedule.levelled(accounts, rate=0.5)
    order = sorted((start, turn.due, turn.costs["a"]) for start, turn in zip(starts, accounts, strict=True))

    assert all(start <= turn.due for start, turn in zip(starts, accounts, strict=True))
    for (start, _, cost), (following, *_) in pairwise(order):
        assert following - start >= cost / 0.5 - 1e-6 or following - start >= min(c for *_, c in order) / 0.5 - 1e-6


def test_an_account_without_competition_starts_when_due() -> None:
    """As late as possible."""
    accounts = [schedule.Turn(due, 60.0, {"a": 1.0}) for due in (10.0, 20.0, 20.5)]

    assert schedule.levelled(accounts, rate=1.0) == [10.0, 19.5, 20.5]


def test_room_is_left_for_frequent_accounts() -> None:
    """Frequent accounts start when due, and calm ones are further apart."""
    accounts = [schedule.Turn(1.0, 2.0, {"a": 1.0}), *[schedule.Turn(20.0, 60.0, {"a": 1.0})] * 2]

    assert sorted(schedule.levelled(accounts, rate=1.0)) == [1.0, 18.0, 20.0]


def test_no_interval_is_infinite() -> None:
    """If nothing is left of a pool, an account is still read at some time."""
    by = schedule.stretches(schedule.loads([(10.0, {"full": math.inf})]))

    assert schedule.stretched(10.0, ("full",), by) == schedule.LONGEST
