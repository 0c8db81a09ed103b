"""The exchange's counters, as data.

Sources (read 2026-11-21):
    https://developers.binance.com/docs/derivatives/portfolio-margin/general-info
    https://developers.binance.com/docs/derivatives/portfolio-margin-pro/general-info
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, StrEnum
from functools import lru_cache
from typing import Final, Literal, NamedTuple

import msgspec

Family = Literal["papi", "sapi", "api", "fapi"]
"""The first part of a path. It determines the host and how weight is counted."""


LimitHit = Literal["ip", "firewall", "orders", "ban"]
"""The limit that was hit: of the IP, the firewall or the orders of one account; or a ban of the IP."""


class LimitType(StrEnum):
    """The requests that a pool counts together."""

    IP = "IP"
    """The requests from one egress IP."""
    UID = "UID"
    """The requests of one account."""
    ORDERS = "ORDERS"
    """The orders of one account."""


class Priority(IntEnum):
    """The priority of a call: the lowest value is served first."""

    ORDER = 0
    """Orders and rescues: never paced, and some weight is kept for them."""
    POLL = 1
    """Repeated reads: paced if all of them together would exceed the limit."""
    BACKGROUND = 2
    """Calls that can wait: served if no poll waits."""


class Pool(NamedTuple):
    """One of the exchange's counters."""

    origin: str
    """Scheme, host and port, such as ``https://papi.binance.com``."""
    family: Family
    """The first part of the path."""
    limit_type: LimitType
    """The unit by which the exchange counts."""
    key_id: str = ""
    """The account, as the digest of its API key; empty if the pool counts an IP."""
    path: str = ""
    """The path of the endpoint; empty if all endpoints of a family are counted together."""

    @property
    def name(self) -> str:
        """Limit type, and path or family, as in the table of endpoints; without host and account."""
        return f"{self.limit_type} {self.path or '/' + self.family}"


class Charge(NamedTuple):
    """The weight of one call in one pool."""

    pool: Pool
    weight: int


class Limit(msgspec.Struct, frozen=True):
    """How the exchange counts by one limit type in one family."""

    limit: int
    """Weight per minute."""
    header: str
    """The response header that contains the count."""
    each_path: bool = False
    """Whether every endpoint has its own counter."""


LIMITS: Final[dict[tuple[Family, LimitType], Limit]] = {
    ("papi", LimitType.IP): Limit(6_000, "x-mbx-used-weight-1m"),
    ("papi", LimitType.ORDERS): Limit(1_200, "x-mbx-order-count-1m"),
    ("sapi", LimitType.IP): Limit(12_000, "x-sapi-used-ip-weight-1m", each_path=True),
    ("sapi", LimitType.UID): Limit(180_000, "x-sapi-used-uid-weight-1m", each_path=True),
    ("api", LimitType.IP): Limit(6_000, "x-mbx-used-weight-1m"),
    # Only the listen keys of Portfolio Margin Pro.
    ("fapi", LimitType.IP): Limit(2_400, "x-mbx-used-weight-1m"),
}


USED_HEADERS: Final = tuple(dict.fromkeys(limit.header for limit in LIMITS.values()))
"""The headers in which the exchange reports what its counters have counted."""


class Feedback(msgspec.Struct, frozen=True):
    """What a response tells the budget; times are seconds since the epoch, by the exchange's clock."""

    status: int
    used: Mapping[str, int]
    """What the exchange has counted in this minute, by header name in lower case."""
    date: int | None = None
    limit: LimitHit | None = None
    """The limit that was hit. The next three fields are set only if a limit was hit."""
    retry_in: float | None = None
    """Seconds to wait, from `Retry-After`."""
    retry_at: int | None = None
    """The time before which nothing may be sent, from `Retry-After`."""
    banned_until: float | None = None
    """The end of the ban, from the message."""


def pool_of(family: Family, limit_type: LimitType, *, origin: str, path: str, key_id: str) -> Pool:
    """Return the pool that counts a call of the path for the account.

    Raises:
        KeyError: the family has no such limit type.
    """
    rule = LIMITS[family, limit_type]
    key_id, path = "" if limit_type is LimitType.IP else key_id, path if rule.each_path else ""
    return _pool(origin, family, limit_type, key_id, path)


_pool = lru_cache(maxsize=256)(Pool)
"""One object for all accounts whose calls the exchange counts together."""
