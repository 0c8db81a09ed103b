"""The exchange's counters."""

from __future__ import annotations

import pytest

from binance_pm.budget import LIMITS, Family, LimitType, pool_of


def test_portfolio_margin_counts_all_paths_of_an_ip_together() -> None:
    """Two endpoints and two accounts draw on one pool of /papi."""
    one = pool_of("papi", LimitType.IP, origin="h", path="/papi/v1/account", key_id="a")
    other = pool_of("papi", LimitType.IP, origin="h", path="/papi/v2/um/account", key_id="b")

    assert one == other


def test_pro_counts_each_endpoint_separately() -> None:
    """Each of two /sapi endpoints has its own pool, for every account."""
    one = pool_of("sapi", LimitType.IP, origin="h", path="/sapi/v1/portfolio/account", key_id="a")
    same = pool_of("sapi", LimitType.IP, origin="h", path="/sapi/v1/portfolio/account", key_id="b")
    other = pool_of("sapi", LimitType.IP, origin="h", path="/sapi/v2/portfolio/account", key_id="a")

    assert (one == same, one == other) == (True, False)


@pytest.mark.parametrize(("family", "kind"), [("papi", LimitType.ORDERS), ("sapi", LimitType.UID)])
def test_accounts_have_separate_pools_if_counted_by_account(family: Family, kind: LimitType) -> None:
    """Two accounts never share a pool that the exchange counts by account."""
    pools = {pool_of(family, kind, origin="h", path=f"/{family}/v1/x", key_id=account) for account in "ab"}

    assert len(pools) == 2


def test_limits_are_the_documented_ones() -> None:
    """The limits per minute, as the general information of both products states them."""
    assert {key: rule.limit for key, rule in LIMITS.items()} == {
        ("papi", LimitType.IP): 6_000,
        ("papi", LimitType.ORDERS): 1_200,
        ("sapi", LimitType.IP): 12_000,
        ("sapi", LimitType.UID): 180_000,
        ("api", LimitType.IP): 6_000,
    }
