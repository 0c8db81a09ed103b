"""The accounts as rows: blind accounts and accounts in danger come first, and unknown data never counts as good."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Final, Literal, NamedTuple, get_args

import msgspec

from binance_pm.enums import AccountStatus
from binance_pm.fleet import AccountSnapshot
from binance_pm.fleet.products import HEADLINES
from binance_pm.fleet.thresholds import LIQUIDATION

Condition = Literal["unread", "partial", "stale", "failed", "fresh"]
"""The data of an account: never read; partly never read; partly older than promised; last reading failed; all fresh."""
Level = Literal["alarm", "warn", "calm"]
Order = Literal["danger", "account", "status", "uniMMR", "equity", "margin", "profit", "age"]

ORDERS: Final[tuple[Order, ...]] = get_args(Order)

# "um_account [desk-1]: papi.binance.com: ", in which the first or the second part may be missing.
_PLACE: Final = re.compile(r"^(?:[\w.]+ \[[^\]]*\]: )?(?:[\w-]+(?:\.[\w-]+)+(?::\d+)?: )?")
_CODE: Final = re.compile(r"\(code (-?\d+)")

_WARNED: Final = {AccountStatus.MARGIN_CALL, AccountStatus.SUPPLY_MARGIN}


class Row(NamedTuple):
    """One account."""

    snapshot: AccountSnapshot
    condition: Condition
    level: Level
    """The level of danger, by the last reading."""

    @property
    def is_blind(self) -> bool:
        """Whether uniMMR, status and equity are older than promised or were never read."""
        return any(self.is_old(name) for name in self.snapshot.ages or HEADLINES if name in HEADLINES)

    @property
    def headline_age(self) -> float | None:
        """Seconds since uniMMR and status were received, None if they never were."""
        ages = [age for name, age in self.snapshot.ages.items() if name in HEADLINES]
        return ages[0] if ages else self.snapshot.age

    @property
    def has_failed(self) -> bool:
        """Whether the last reading failed, even if the data of the previous reading is fresh."""
        return bool(self.snapshot.error)

    def is_old(self, name: str) -> bool:
        """Return whether the data of an endpoint is older than promised or was never received."""
        snapshot = self.snapshot
        if name not in snapshot.ages:
            return self.condition in {"unread", "partial", "stale"}
        age = snapshot.ages[name]
        return age is None or name in snapshot.stale_endpoints or age > snapshot.max_age

    @property
    def reason(self) -> str:
        """Why the last reading failed or the account is stale; empty if neither is the case."""
        return self.snapshot.error or self.snapshot.reason

    @property
    def brief_reason(self) -> str:
        """The reason in about 28 characters."""
        if not self.snapshot.error and self.snapshot.waiting is not None:
            return self.snapshot.waiting.brief
        return brief_error(self.reason)


class Summary(NamedTuple):
    """The number of accounts in each condition."""

    accounts: int
    fresh: int
    stale: int
    failed: int
    """Accounts whose last reading failed, including stale and unread ones."""
    unread: int
    """Accounts that were never read, or never read completely."""
    alarm: int
    blind: int
    """Accounts whose uniMMR is older than promised or was never read."""

    @property
    def is_blind(self) -> bool:
        """Whether every account is blind, or there are no accounts."""
        return self.blind == self.accounts

    @property
    def is_failing(self) -> bool:
        """Whether the last reading of every account failed."""
        return self.failed == self.accounts > 0


def rows_of(snapshots: Iterable[AccountSnapshot]) -> list[Row]:
    """Return the accounts, each with its condition and level."""
    return [Row(snapshot, _condition(snapshot), _level(snapshot)) for snapshot in map(_plausible, snapshots)]


def ordered(rows: Iterable[Row], by: Order) -> list[Row]:
    """Return the rows sorted; unknown values come first."""
    return sorted(rows, key=_KEYS[by])


def matching(rows: Iterable[Row], text: str) -> list[Row]:
    """Return the rows whose label, status, condition or level contains the text, ignoring case."""
    wanted = text.casefold()
    return [
        row
        for row in rows
        if any(wanted in word.casefold() for word in (row.snapshot.label, row.snapshot.status or "", *row[1:]))
    ]


def summary_of(rows: Iterable[Row]) -> Summary:
    """Return the number of accounts in each condition."""
    rows = list(rows)
    conditions = [row.condition for row in rows]
    return Summary(
        accounts=len(rows),
        fresh=conditions.count("fresh"),
        stale=conditions.count("stale"),
        failed=sum(row.has_failed for row in rows),
        unread=conditions.count("unread") + conditions.count("partial"),
        alarm=sum(row.level == "alarm" for row in rows),
        blind=sum(row.is_blind for row in rows),
    )


def _plausible(snapshot: AccountSnapshot) -> AccountSnapshot:
    """Return the snapshot without implausible figures; an account with such figures counts as failed and in alarm."""
    if not (odd := snapshot.implausible()):
        return snapshot
    error = snapshot.error or f"{odd[0]} is not plausible"
    return msgspec.structs.replace(snapshot.plausible(), error=error, crossed=("alarm",))


def aged(snapshots: Iterable[AccountSnapshot], seconds: float) -> list[AccountSnapshot]:
    """Return the snapshots as they would be a number of seconds later if nothing was read meanwhile."""
    return [_aged(snapshot, seconds) for snapshot in snapshots]


def _aged(snapshot: AccountSnapshot, seconds: float) -> AccountSnapshot:
    age = None if snapshot.age is None else snapshot.age + seconds
    ages = {name: None if since is None else since + seconds for name, since in snapshot.ages.items()}
    return msgspec.structs.replace(
        snapshot, age=age, ages=ages, is_stale=snapshot.is_stale or (age or 0.0) > snapshot.max_age
    )


def common_reason(rows: Iterable[Row]) -> str:
    """Return the most common reason among accounts that have a reason, in brief."""
    # Brief reasons, so that reasons that differ only in seconds count as the same.
    reasons = Counter(row.brief_reason for row in rows if row.reason)
    return reasons.most_common(1)[0][0] if reasons else ""


def brief_error(text: str) -> str:
    """Return the first sentence of an error without endpoint, label and host, after the exchange's code if present."""
    what = _PLACE.sub("", text)
    code = _CODE.search(what)
    sentence = what.partition(" (code ")[0].partition(". ")[0].rstrip(".")
    return f"{code[1]} {sentence}" if code else sentence


def _condition(snapshot: AccountSnapshot) -> Condition:
    if snapshot.age is None:
        return "partial" if snapshot.responses else "unread"
    if snapshot.is_stale or snapshot.stale_endpoints or snapshot.age > snapshot.max_age > 0:
        return "stale"
    return "failed" if snapshot.error else "fresh"


def _level(snapshot: AccountSnapshot) -> Level:
    status, uni_mmr = snapshot.status, snapshot.uni_mmr
    is_known_mild = status is None or status is AccountStatus.NORMAL or status in _WARNED
    if "alarm" in snapshot.crossed or not is_known_mild or (uni_mmr is not None and uni_mmr <= LIQUIDATION):
        return "alarm"
    return "warn" if snapshot.crossed or status in _WARNED else "calm"


def _danger(row: Row) -> tuple[int, Decimal, str]:
    urgent = row.is_blind or row.condition == "partial" or row.level == "alarm"
    rank = 0 if urgent else 2 if row.condition == "fresh" and row.level == "calm" else 1
    return rank, row.snapshot.uni_mmr or Decimal(0), row.snapshot.label


def _lowest(of: Callable[[AccountSnapshot], Decimal | None]) -> Callable[[Row], tuple[bool, Decimal, str]]:
    def key(row: Row) -> tuple[bool, Decimal, str]:
        value = of(row.snapshot)
        return value is not None, value or Decimal(0), row.snapshot.label

    return key


_SEVERITY: Final = {status: place for place, status in enumerate(AccountStatus)}


def _status(row: Row) -> tuple[bool, int, str]:
    status = row.snapshot.status
    return status is not None, -_SEVERITY.get(status or AccountStatus.NORMAL, len(_SEVERITY)), row.snapshot.label


def _age(row: Row) -> tuple[bool, float, str]:
    age = row.snapshot.age
    return age is not None, -(age or 0.0), row.snapshot.label


_KEYS: Final[Mapping[Order, Callable[[Row], tuple[float | Decimal | str, ...]]]] = {
    "danger": _danger,
    "account": lambda row: (row.snapshot.label,),
    "status": _status,
    "uniMMR": _lowest(lambda snapshot: snapshot.uni_mmr),
    "equity": _lowest(lambda snapshot: snapshot.account_equity),
    "margin": _lowest(lambda snapshot: snapshot.account_maint_margin),
    "profit": _lowest(lambda snapshot: snapshot.unrealized_profit),
    "age": _age,
}
