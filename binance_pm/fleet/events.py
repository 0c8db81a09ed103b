"""What a fleet tells, as data.

Every event is a frozen Struct that `msgspec.json.encode` writes as one JSON object: its class as ``type``, amounts as
text, times as seconds since the epoch by the exchange's clock. Answers inside a `Reading` stand there as the exchange
writes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import NamedTuple

import msgspec

from binance_pm.budget import Waiting
from binance_pm.enums import AccountStatus
from binance_pm.fleet.thresholds import ThresholdName
from binance_pm.wire import Model


class TimedAnswer(msgspec.Struct, frozen=True):
    """One answer of the exchange, and when it came."""

    answer: Model
    """As the endpoint returns it; of a `UmAccount`, the open positions alone."""
    at: float
    """Seconds since the epoch, by the exchange's clock."""


class Change(NamedTuple):
    """What a figure was, and what it is; None where it was not known."""

    before: Decimal | str | None
    """The previous value."""
    after: Decimal | str | None
    """The new value."""


class _Told(msgspec.Struct, frozen=True, kw_only=True, tag=True, tag_field="type"):
    at: float
    """Seconds since the epoch, by the exchange's clock as far as it is known."""


class _OfAccount(_Told, frozen=True, kw_only=True):
    label: str
    """Which account."""


class Reading(_OfAccount, frozen=True, kw_only=True):
    """An account was read; everything that was started together has been answered or has failed."""

    answers: Mapping[str, TimedAnswer]
    """By the name of the endpoint; those that failed are not in it."""
    changed: Mapping[str, Change]
    """Of ``uni_mmr``, ``account_equity``, ``account_maint_margin``, ``account_status`` and ``unrealized_profit`` those
    that differ from what the `Reading` before told. If part of the profit is in an asset that is no dollar,
    ``unrealized_profit`` is not known, and ``unrealized_profit.BTC`` and so on are told for each asset."""


class StatusChanged(_OfAccount, frozen=True, kw_only=True):
    """The account's status is another one; the first reading of a fleet is no change."""

    before: AccountStatus
    """The previous status."""
    after: AccountStatus
    """The new status."""


class ThresholdCrossed(_OfAccount, frozen=True, kw_only=True):
    """The account crossed a line, or was below it when it was first read."""

    line: ThresholdName
    """Which threshold."""
    threshold: Decimal
    """uniMMR of the line."""
    below: bool
    """True where it fell to the line, False where it rose above it by the hysteresis."""
    uni_mmr: Decimal
    """uniMMR of the account when it crossed the threshold."""


class Stale(_OfAccount, frozen=True, kw_only=True):
    """What is known of the account is older than promised: until `Fresh`, it is not what the account is worth."""

    age: float | None
    """Seconds since the oldest part of the picture came; None where one never did."""
    bound: float
    """Seconds: the planned interval and the fleet's slack."""
    why: str
    """What failed, or what the reading waits for, such as ``um_account: sent 5.0 s ago, no response yet``."""
    waiting: Waiting | None = None
    """What the reading waits for; None if it failed, or was not asked for."""
    ages: Mapping[str, float | None] = {}
    """Seconds since the last good answer of each endpoint, by its name; None where it never came."""
    old: tuple[str, ...] = ()
    """The endpoints whose last good answer is older than `bound`; what the others tell still holds."""


class Fresh(_OfAccount, frozen=True, kw_only=True):
    """The account was read again after `Stale`."""

    age: float
    """Seconds since the oldest part of the picture came."""
    ages: Mapping[str, float | None] = {}
    """Seconds since the last good answer of each endpoint, by its name."""


class AccountFailed(_OfAccount, frozen=True, kw_only=True):
    """A reading failed, in another way than the one before it."""

    endpoint: str
    """Which reading; empty where the account could not be opened at all."""
    error: str
    """The text of the error, without any secret."""
    error_type: str
    """Its class, such as ``AuthenticationError``."""
    retry_at: float | None
    """When it is tried again; None where it is not."""


class HostBlocked(_Told, frozen=True, kw_only=True):
    """The exchange refused (429) or banned (418) the IP: no account of the host is read before `until`."""

    origin: str
    """The origin that refused, such as ``https://papi.binance.com``."""
    until: float
    """Seconds since the epoch, by the exchange's clock."""
    banned: bool
    """Whether the IP is banned (418), not only refused (429)."""


class HostUnblocked(_Told, frozen=True, kw_only=True):
    """The host may be asked again."""

    origin: str
    """The origin to which requests may be sent again."""


class BudgetTight(_Told, frozen=True, kw_only=True):
    """The wishes of all accounts together exceed what the plan may use of a pool, or no longer do.

    It is told once when the budget becomes tight, and once when it no longer is: after a minute in which all fitted.
    """

    pool: str
    """See `Pool.name`."""
    wanted: float
    """Weight a minute that all accounts' wishes come to."""
    available: float
    """Weight a minute that the plan may use."""
    interval: float
    """Seconds between two readings of the calmest account, as a result."""
    is_tight: bool
    """False if everything fits again."""


StateEvent = (
    StatusChanged | ThresholdCrossed | Stale | Fresh | AccountFailed | HostBlocked | HostUnblocked | BudgetTight
)
"""What is never dropped."""

FleetEvent = Reading | StateEvent


def label_of(event: FleetEvent) -> str:
    """Which account an event is about; empty where it is about none."""
    return event.label if isinstance(event, _OfAccount) else ""


class AccountSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What a fleet knows of one account at one moment."""

    label: str
    """Label of the account."""
    product: str
    """Product of the account, see `Product`."""
    answers: Mapping[str, TimedAnswer]
    """The last good answer of each endpoint, by its name."""
    status: AccountStatus | None
    """Risk state; None if it was never read."""
    uni_mmr: Decimal | None
    """Equity over maintenance margin; None if it was never read."""
    account_equity: Decimal | None
    """USD."""
    account_maint_margin: Decimal | None
    """USD."""
    unrealized_profit: Decimal | None
    """Of all USD-M positions, USD; None where they are not read, and where a part is in an asset that is no dollar."""
    lines: Mapping[ThresholdName, Decimal]
    """The lines that are watched, as uniMMR."""
    below: tuple[ThresholdName, ...]
    """The lines that it counts as below."""
    age: float | None
    """Seconds since the oldest part of the picture came; None where one never did."""
    interval: float
    """Planned seconds between two readings."""
    bound: float
    """Seconds of age from which on it is stale."""
    is_stale: bool
    """Whether any of the data is older than `bound`."""
    error: str
    """Why the last reading failed; empty where it did not."""
    retry_at: float | None
    """When a reading that is put off after a failure is tried again, seconds since the epoch."""
    profits: Mapping[str, Decimal] = {}
    """Unrealised profit of all USD-M positions by margin asset, in units of the asset; without those that have none."""
    ages: Mapping[str, float | None] = {}
    """Seconds since the last good answer of each endpoint, by its name; None where it never came."""
    old: tuple[str, ...] = ()
    """The endpoints whose last good answer is older than `bound`; what the others tell still holds."""
    why: str = ""
    """Why it is stale, see `Stale.why`; empty where it is not."""
    waiting: Waiting | None = None
    """What its late reading waits for now."""
