"""The exchange's counters."""

from __future__ import annotations

import pytest

from binance_pm.budget import LIMITS, Family, LimitType, pool_of


@pytest.mark.parametrize(
    ("family", "limit_type", "number"),
    [
        ("papi", LimitType.IP, 1),
        ("papi", LimitType.ORDERS, 2),
        ("sapi", LimitType.IP, 2),
        ("sapi", LimitType.UID, 4),
    ],
)
def test_calls_share_a_pool_if_the_exchange_counts_them_together(
    family: Family, limit_type: LimitType, number: int
) -> None:
    """Each endpoint of Pro has its own pool, and each account if the exchange counts by account."""
    pools = {pool_of(family, limit_type, origin="h", path=path, key_id=key) for path in ("/x", "/y") for key in "ab"}

    assert len(pools) == number


def test_limits_are_the_documented_ones() -> None:
    """The limits per minute, as the general information of both products states them."""
    assert {key: rule.limit for key, rule in LIMITS.items()} == {
        ("papi", LimitType.IP): 6_000,
        ("papi", LimitType.ORDERS): 1_200,
        ("sapi", LimitType.IP): 12_000,
        ("sapi", LimitType.UID): 180_000,
        ("api", LimitType.IP): 6_000,
        ("fapi", LimitType.IP): 2_400,
    }
