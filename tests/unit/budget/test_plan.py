"""Whether a polling plan fits the limits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from binance_pm import ENDPOINTS
from binance_pm.budget import LIMITS, Budget, Family, LimitType
from binance_pm.budget.plan import Plan, make_plan
from tests.support.clocks import FakeClock


class Poll(NamedTuple):
    """An endpoint and its poll weights."""

    path: str
    family: Family
    poll_weights: Mapping[LimitType, int]


ACCOUNT = Poll("/papi/v1/account", "papi", {LimitType.IP: 20})
PRO = Poll("/sapi/v1/portfolio/account", "sapi", {LimitType.IP: 5, LimitType.UID: 5})
SPAN = Poll("/sapi/v2/portfolio/account", "sapi", {LimitType.IP: 5})
PER_MINUTE = {key: rule.limit for key, rule in LIMITS.items()}


def plan(accounts: int, every: float, *polls: Poll, available: float = 6000, minute: float = 60) -> Plan:
    """Return a plan in which every pool has the same weight available for polls."""
    return make_plan(
        [(accounts, polls)], every, lambda _family, _kind, _path: available, minute=minute, limits=PER_MINUTE
    )


def test_the_shortest_interval_depends_on_weight_and_minute() -> None:
    """No interval fits if external usage takes the whole limit, and any fits if nothing is polled."""
    plans = [plan(10, 5, ACCOUNT), plan(10, 5, ACCOUNT, minute=6), plan(1, 1e9, ACCOUNT, available=0), plan(10, 1)]

    assert [(made.shortest, made.fits) for made in plans] == [(2, True), (0.2, True), (math.inf, False), (0, True)]
    assert plans[0].pools[0].needed == 2400


def test_endpoints_of_one_pool_are_added() -> None:
    """Endpoints with a pool each are not added."""
    assert [pool.needed for pool in plan(1, 60, ACCOUNT, ACCOUNT).pools] == [40]
    assert [pool.needed for pool in plan(1, 60, PRO, SPAN).pools] == [5, 5, 5]


def test_groups_of_accounts_are_added_in_shared_pools() -> None:
    """For pools of each account, the account with the most readings decides."""
    made = Budget().plan_groups([(3, [ACCOUNT]), (2, [ACCOUNT, PRO]), (1, [PRO, PRO])], 60)

    assert made.accounts == 6
    assert {pool.name: (pool.needed, pool.limit) for pool in made.pools} == {
        "IP /papi": (100, 6_000),
        "IP /sapi/v1/portfolio/account": (20, 12_000),
        "UID /sapi/v1/portfolio/account": (10, 180_000),
    }


def test_the_fullest_pool_decides() -> None:
    """The interval has to fit in every pool."""
    made = make_plan(
        [(10, (ACCOUNT, SPAN))],
        1,
        lambda family, _kind, _path: 6000 if family == "papi" else 100,
        minute=60,
        limits=PER_MINUTE,
    )

    assert (made.shortest, made.fits) == (30, False)


@given(
    accounts=st.integers(1, 1000),
    every=st.floats(0.001, 1e6),
    weight=st.integers(1, 100),
    available=st.floats(0.1, 1e6),
)
def test_the_shortest_interval_fits_itself(accounts: int, every: float, weight: int, available: float) -> None:
    """The shortest interval that a plan reports fits, and a shorter one does not."""
    poll = ACCOUNT._replace(poll_weights={LimitType.IP: weight})
    shortest = plan(accounts, every, poll, available=available).shortest

    assert plan(accounts, shortest, poll, available=available).fits
    assert not plan(accounts, shortest * 0.999, poll, available=available).fits


def test_a_new_budget_plans_with_what_it_keeps_free(clock: FakeClock) -> None:
    """Margin, reserve, and an allowance for external usage that is not yet known."""
    budget = Budget(monotonic=clock, wall=clock)

    assert budget.plan(1, 60, [ENDPOINTS["account"]]).pools[0].available == 6000 - 10 - 300 - 180


def test_instances_plan_with_their_part(clock: FakeClock) -> None:
    """Each of four programs on an IP has a fourth of its limit; limits per account are not divided."""
    one, four = (Budget(monotonic=clock, wall=clock, instances=peers) for peers in (1, 4))

    def available(budget: Budget) -> list[float]:
        return [pool.available for pool in budget.plan(1, 60, [PRO]).pools]

    assert available(four) == [available(one)[0] / 4, available(one)[1]]
