"""Weight is counted by the clock minute, refused above the limit, and punished in the end."""

from __future__ import annotations

import pytest

from binance_pm.sandbox.limits import Counter, Limits

NOON = 1_800_000_000.0
PAPI = Counter("papi", "127.0.0.1")
IP = "127.0.0.1"


def exhaust(limits: Limits, now: float, times: int) -> None:
    """Offend that many times."""
    for _ in range(times):
        limits.charge({PAPI: 101}, ip=IP, now=now)


def test_counts_within_the_minute() -> None:
    """Weights of one clock minute add up."""
    limits = Limits()
    limits.charge({PAPI: 20}, ip=IP, now=NOON)

    limits.charge({PAPI: 5}, ip=IP, now=NOON + 59.9)

    assert limits.used(PAPI, NOON + 59.9) == 25


def test_forgets_at_the_turn_of_the_minute() -> None:
    """A new clock minute begins at nothing, whenever the first request came."""
    limits = Limits()

    limits.charge({PAPI: 20}, ip=IP, now=NOON + 59.9)

    assert limits.used(PAPI, NOON + 60) == 0


def test_a_short_minute_turns_sooner() -> None:
    """The minute is as long as it is told to be."""
    limits = Limits(minute=3.0)

    assert limits.window_end(NOON + 4) == NOON + 6


def test_the_limit_itself_is_allowed() -> None:
    """What fits exactly is not refused."""
    limits = Limits(limits={"papi": 100})

    assert limits.charge({PAPI: 100}, ip=IP, now=NOON) is None


def test_refuses_above_the_limit() -> None:
    """What passes the limit is refused by the pool that is full."""
    limits = Limits(limits={"papi": 100})

    assert limits.charge({PAPI: 101}, ip=IP, now=NOON) == PAPI


def test_a_refusal_counts_too() -> None:
    """A refused request has used its weight all the same."""
    limits = Limits(limits={"papi": 100})

    exhaust(limits, NOON, 2)

    assert limits.used(PAPI, NOON) == 202


def test_charges_all_pools_of_a_request() -> None:
    """A request that is refused by one pool counts in its others as well."""
    limits = Limits(limits={"papi": 100})
    other = Counter("sapi-ip", IP, "/sapi")

    limits.charge({PAPI: 101, other: 5}, ip=IP, now=NOON)

    assert limits.used(other, NOON) == 5


def test_counters_do_not_mix() -> None:
    """Each address has its own counter."""
    limits = Limits()

    limits.charge({PAPI: 20}, ip=IP, now=NOON)

    assert limits.used(Counter("papi", "127.0.0.2"), NOON) == 0


def test_nine_refusals_are_no_ban() -> None:
    """The ninth refusal in a minute is only a refusal."""
    limits = Limits(limits={"papi": 100})

    exhaust(limits, NOON, 9)

    assert limits.banned_until(IP, NOON) is None


def test_the_tenth_refusal_bans() -> None:
    """The tenth refusal in a minute bans for two minutes."""
    limits = Limits(limits={"papi": 100})

    exhaust(limits, NOON, 10)

    assert limits.banned_until(IP, NOON) == NOON + 120


def test_refusals_of_two_minutes_do_not_add_up() -> None:
    """Refusals are counted by the minute, as weight is."""
    limits = Limits(limits={"papi": 100})
    exhaust(limits, NOON, 9)

    exhaust(limits, NOON + 60, 9)

    assert limits.banned_until(IP, NOON + 60) is None


def test_a_ban_ends() -> None:
    """At the end of the ban the address is free."""
    limits = Limits(limits={"papi": 100})

    exhaust(limits, NOON, 10)

    assert limits.banned_until(IP, NOON + 120) is None


def test_a_ban_is_of_one_address() -> None:
    """Others are not banned."""
    limits = Limits(limits={"papi": 100})

    exhaust(limits, NOON, 10)

    assert limits.banned_until("127.0.0.2", NOON) is None


def test_the_second_ban_is_twice_as_long() -> None:
    """Every further ban doubles."""
    limits = Limits(limits={"papi": 100})
    exhaust(limits, NOON, 10)

    exhaust(limits, NOON + 120, 10)

    assert limits.banned_until(IP, NOON + 120) == NOON + 120 + 240


def test_bans_grow_up_to_three_days() -> None:
    """No ban is longer than three days."""
    limits = Limits(limits={"papi": 100})
    begun = now = NOON
    for _ in range(20):
        exhaust(limits, now, 10)
        begun, now = now, limits.banned_until(IP, now) or 0.0

    assert now - begun == 3 * 24 * 3600


def test_bans_scale_with_the_minute() -> None:
    """Where the minute is short the ban is two of these minutes."""
    limits = Limits(minute=3.0, limits={"papi": 100})

    exhaust(limits, NOON, 10)

    assert limits.banned_until(IP, NOON) == NOON + 6


def test_foreign_traffic_shows_evenly() -> None:
    """A stolen share of 30 % is 900 of 6000 after half of the minute."""
    limits = Limits()

    limits.set_external_usage({"papi": 0.3}, NOON)

    assert limits.used(PAPI, NOON + 30) == 900


def test_foreign_traffic_starts_anew_each_minute() -> None:
    """A new minute begins at nothing, for foreign traffic too."""
    limits = Limits()

    limits.set_external_usage({"papi": 0.3}, NOON)

    assert limits.used(PAPI, NOON + 61) == 30


def test_foreign_traffic_leaves_other_pools_alone() -> None:
    """What is stolen from one pool is not stolen from the next."""
    limits = Limits()

    limits.set_external_usage({"papi": 0.3}, NOON)

    assert limits.used(Counter("api", IP), NOON + 30) == 0


def test_what_was_stolen_stays_used() -> None:
    """When foreign traffic stops the counter does not fall."""
    limits = Limits()
    limits.set_external_usage({"papi": 0.3}, NOON)

    limits.clear_external_usage(NOON + 30)

    assert limits.used(PAPI, NOON + 50) == 900


def test_foreign_traffic_uses_up_the_limit() -> None:
    """A request that would have fitted alone is refused."""
    limits = Limits(limits={"papi": 100})
    limits.set_external_usage({"papi": 1.0}, NOON)

    assert limits.charge({PAPI: 60}, ip=IP, now=NOON + 30) == PAPI


@pytest.mark.parametrize("pool", ["dapi", "PAPI"])
def test_refuses_pools_it_does_not_know(pool: str) -> None:
    """A misspelt pool is an error, not a limit that never applies."""
    with pytest.raises(ValueError, match=pool):
        Limits(limits={pool: 1})
