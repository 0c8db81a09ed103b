"""The exchange's counters, as data.

Sources (read 2026-11-21):
    https://developers.binance.com/docs/derivatives/portfolio-margin/general-info
    https://developers.binance.com/docs/derivatives/portfolio-margin-pro/general-info
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Literal, NamedTuple

Family = Literal["papi", "sapi", "api"]
"""The first part of a path: it decides the host and how its weight is counted."""


class Kind(StrEnum):
    """Whose requests a pool counts together."""

    IP = "IP"
    """Those of one egress IP."""
    UID = "UID"
    """Those of one account."""
    ORDERS = "ORDERS"
    """The orders of one account."""


class Pool(NamedTuple):
    """One of the exchange's counters."""

    host: str
    family: Family
    kind: Kind
    account: str = ""
    """Whose pool it is; empty where the IP is counted."""
    path: str = ""
    """Which endpoint's; empty where all of a family are counted together."""

    @property
    def name(self) -> str:
        """Kind, and path or family, as the table of endpoints shows them; not which host and account."""
        return f"{self.kind} {self.path or '/' + self.family}"


class Charge(NamedTuple):
    """What one call costs in one pool."""

    pool: Pool
    weight: int


class Rule(NamedTuple):
    """How the exchange counts one kind in one family."""

    limit: int
    """A minute."""
    header: str
    """The answer's header that tells the count."""
    each_path: bool = False
    """Whether every endpoint has a counter of its own."""


RULES: Final[dict[tuple[Family, Kind], Rule]] = {
    ("papi", Kind.IP): Rule(6_000, "x-mbx-used-weight-1m"),
    ("papi", Kind.ORDERS): Rule(1_200, "x-mbx-order-count-1m"),
    ("sapi", Kind.IP): Rule(12_000, "x-sapi-used-ip-weight-1m", each_path=True),
    ("sapi", Kind.UID): Rule(180_000, "x-sapi-used-uid-weight-1m", each_path=True),
    ("api", Kind.IP): Rule(6_000, "x-mbx-used-weight-1m"),
}


def pool_of(family: Family, kind: Kind, *, host: str, path: str, account: str) -> Pool:
    """The pool that counts a call of the path for the account.

    Raises:
        KeyError: the family has no such kind.
    """
    rule = RULES[family, kind]
    return Pool(host, family, kind, "" if kind is Kind.IP else account, path if rule.each_path else "")
