"""The exchange's counters."""

from __future__ import annotations

import pytest

from binance_pm.budget import RULES, Family, Kind, pool_of


def test_portfolio_margin_counts_all_paths_of_an_ip_together() -> None:
    """Two endpoints and two accounts draw on one pool of /papi."""
    one = pool_of("papi", Kind.IP, host="h", path="/papi/v1/account", account="a")
    other = pool_of("papi", Kind.IP, host="h", path="/papi/v2/um/account", account="b")

    assert one == other


def test_pro_counts_every_endpoint_of_an_ip_apart() -> None:
    """Two endpoints of /sapi have a pool each, whoever calls them."""
    one = pool_of("sapi", Kind.IP, host="h", path="/sapi/v1/portfolio/account", account="a")
    same = pool_of("sapi", Kind.IP, host="h", path="/sapi/v1/portfolio/account", account="b")
    other = pool_of("sapi", Kind.IP, host="h", path="/sapi/v2/portfolio/account", account="a")

    assert (one == same, one == other) == (True, False)


@pytest.mark.parametrize(("family", "kind"), [("papi", Kind.ORDERS), ("sapi", Kind.UID)])
def test_what_is_counted_by_account_is_apart_for_each(family: Family, kind: Kind) -> None:
    """Two accounts never share a pool that the exchange counts by account."""
    pools = {pool_of(family, kind, host="h", path=f"/{family}/v1/x", account=account) for account in "ab"}

    assert len(pools) == 2


def test_limits_are_the_documented_ones() -> None:
    """The limits a minute, as general-info of both products tells them."""
    assert {key: rule.limit for key, rule in RULES.items()} == {
        ("papi", Kind.IP): 6_000,
        ("papi", Kind.ORDERS): 1_200,
        ("sapi", Kind.IP): 12_000,
        ("sapi", Kind.UID): 180_000,
        ("api", Kind.IP): 6_000,
    }
