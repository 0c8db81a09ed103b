"""The accounts as rows: stale accounts and accounts in danger come first, and unknown data never counts as good."""

from __future__ import annotations

import re
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


class AccountRow(NamedTuple):
    """One account."""

    snapshot: AccountSnapshot
    condition: Condition
    level: Level
    """The level of danger, by the last reading."""

    @property
    def is_headline_stale(self) -> bool:
        """Whether uniMMR, status and equity are older than promised or were never read."""
        return any(self.is_stale(name) for name in self.snapshot.ages or HEADLINES if name in HEADLINES)

    @property
    def headline_age(self) -> float | None:
        """Seconds since uniMMR and status were received, None if they never were."""
        ages = [age for name, age in self.snapshot.ages.items() if name in HEADLINES]
        return ages[0] if ages else self.snapshot.age

    def is_stale(self, name: str) -> bool:
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
        """The reason in about 28 characters: what is awaited, or the first sentence of the error after its code."""
        if not self.snapshot.error and self.snapshot.waiting is not None:
            return self.snapshot.waiting.brief
        what = _PLACE.sub("", self.reason)
        code = _CODE.search(what)
        sentence = what.partition(" (code ")[0].partition(". ")[0].rstrip(".")
        return f"{code[1]} {sentence}" if code else sentence


def rows_of(snapshots: Iterable[AccountSnapshot]) -> list[AccountRow]:
    """Return the accounts, each with its condition and level."""
    return [AccountRow(snapshot, _condition(snapshot), _level(snapshot)) for snapshot in map(_plausible, snapshots)]


def ordered(rows: Iterable[AccountRow], by: Order) -> list[AccountRow]:
    """Return the rows sorted; unknown values come first."""
    return sorted(rows, key=_KEYS[by])


def matching(rows: Iterable[AccountRow], text: str) -> list[AccountRow]:
    """Return the rows whose label, status, condition or level contains the text, ignoring case."""
    wanted = text.casefold()
    return [
        row
        for row in rows
        if any(wanted in word.casefold() for word in (row.snapshot.label, row.snapshot.status or "", *row[1:]))
    ]


def _plausible(snapshot: AccountSnapshot) -> AccountSnapshot:
    """Return the snapshot without implausible figures; an account with such figures counts as failed and in alarm."""
    if not (odd := snapshot.implausible()):
        return snapshot
    error = snapshot.error or f"{odd[0]} is not plausible"
    return msgspec.structs.replace(snapshot.plausible(), error=error, crossed=("alarm",))


def aged(snapshot: AccountSnapshot, seconds: float) -> AccountSnapshot:
    """Return the snapshot as it would be a number of seconds later if nothing was read meanwhile."""
    age = None if snapshot.age is None else snapshot.age + seconds
    ages = {name: None if since is None else since + seconds for name, since in snapshot.ages.items()}
    return msgspec.structs.replace(
        snapshot, age=age, ages=ages, is_stale=snapshot.is_stale or (age or 0.0) > snapshot.max_age
    )


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


def _danger(row: AccountRow) -> tuple[int, Decimal, str]:
    urgent = row.is_headline_stale or row.condition == "partial" or row.level == "alarm"
    rank = 0 if urgent else 2 if row.condition == "fresh" and row.level == "calm" else 1
    return rank, row.snapshot.uni_mmr or Decimal(0), row.snapshot.label


def _unknown_first(
    of: Callable[[AccountSnapshot], Decimal | float | None],
) -> Callable[[AccountRow], tuple[bool, Decimal | float, str]]:
    """Return a sort key: unknown values, then the lowest, and the label among equals."""

    def key(row: AccountRow) -> tuple[bool, Decimal | float, str]:
        value = of(row.snapshot)
        return value is not None, value or 0, row.snapshot.label

    return key


_SEVERITY: Final = {status: place for place, status in enumerate(AccountStatus)}

_KEYS: Final[Mapping[Order, Callable[[AccountRow], tuple[float | Decimal | str, ...]]]] = {
    "danger": _danger,
    "account": lambda row: (row.snapshot.label,),
    "status": _unknown_first(lambda known: -_SEVERITY.get(known.status, len(_SEVERITY)) if known.status else None),
    "uniMMR": _unknown_first(lambda known: known.uni_mmr),
    "equity": _unknown_first(lambda known: known.account_equity),
    "margin": _unknown_first(lambda known: known.account_maint_margin),
    "profit": _unknown_first(lambda known: known.unrealized_profit),
    "age": _unknown_first(lambda known: None if known.age is None else -known.age),
}
