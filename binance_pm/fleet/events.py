"""The events of a fleet.

Every event is a frozen Struct that `msgspec.json.encode` writes as one JSON object: the class as ``type``, amounts as
text, times as seconds since the epoch by the exchange's clock. The responses inside a `Reading` have the exchange's own
field names.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Literal, NamedTuple

import msgspec

from binance_pm.budget import Waiting
from binance_pm.enums import AccountStatus, PositionSide
from binance_pm.fleet.summary import AccountSummary
from binance_pm.fleet.thresholds import ThresholdName
from binance_pm.wire import Model


class TimedResponse(msgspec.Struct, frozen=True):
    """One response of the exchange, and when it was received."""

    response: Model
    """As the endpoint returns it; of a `UmAccount`, only the open positions."""
    at: float
    """Seconds since the epoch, by the exchange's clock."""


class Change(NamedTuple):
    """The old and the new value of a figure; None if the value was not known."""

    before: Decimal | str | None
    """The previous value."""
    after: Decimal | str | None
    """The new value."""


class _Event(msgspec.Struct, frozen=True, kw_only=True, tag=True, tag_field="type"):
    at: float
    """Seconds since the epoch, by the exchange's clock as far as it is known."""


class _AccountEvent(_Event, frozen=True, kw_only=True):
    label: str
    """The label of the account."""


class Reading(_AccountEvent, frozen=True, kw_only=True):
    """An account was read: each request that was started with the others has a response or has failed."""

    responses: Mapping[str, TimedResponse]
    """By name of the endpoint, without those that failed."""
    changed: Mapping[str, Change]
    """Those of ``uni_mmr``, ``account_equity``, ``account_maint_margin``, ``account_status`` and ``unrealized_profit``
    that differ from the previous `Reading`. If a part of the profit is in an asset other than a dollar,
    ``unrealized_profit`` is not known, and each asset has a figure such as ``unrealized_profit.BTC``."""


class PositionChanged(_AccountEvent, frozen=True, kw_only=True):
    """The user data stream of the account reported a change of a position."""

    market: Literal["um", "cm"]
    """USD-M or COIN-M futures."""
    symbol: str
    """Such as ``BTCUSDT``."""
    position_side: PositionSide
    """BOTH in one-way mode, LONG or SHORT in hedge mode."""
    position_amt: Decimal
    """The current size: in units of the base asset on USD-M, in contracts on COIN-M; 0 once closed."""
    entry_price: Decimal
    """The average entry price; 0 once closed."""


class BalanceChanged(_AccountEvent, frozen=True, kw_only=True):
    """The user data stream of the account reported a change of a futures wallet."""

    market: Literal["um", "cm"]
    """USD-M or COIN-M futures."""
    asset: str
    """Such as ``USDT``."""
    wallet_balance: Decimal
    """The current wallet balance, in units of the asset, without unrealized profit."""


class StatusChanged(_AccountEvent, frozen=True, kw_only=True):
    """The status of the account changed; the first reading is not a change."""

    before: AccountStatus
    """The previous status."""
    after: AccountStatus
    """The new status."""


class ThresholdCrossed(_AccountEvent, frozen=True, kw_only=True):
    """uniMMR crossed a threshold, or was at or below the threshold when the account was first read."""

    name: ThresholdName
    """The name of the threshold."""
    threshold: Decimal
    """uniMMR of the threshold."""
    below: bool
    """True if uniMMR fell to the threshold, False if it rose above the threshold by the hysteresis."""
    uni_mmr: Decimal
    """uniMMR of the account when it crossed the threshold."""


class Stale(_AccountEvent, frozen=True, kw_only=True):
    """The data of the account is older than promised, and must not be trusted until `Fresh`."""

    age: float | None
    """Seconds since the oldest response; None if an endpoint never responded."""
    max_age: float
    """Age in seconds from which on the data is stale: the planned interval plus the slack of the fleet."""
    reason: str
    """What failed, or what the reading waits for, such as ``um_account: sent 5.0 s ago, no response yet``."""
    waiting: Waiting | None = None
    """What the reading waits for; None if the reading failed or is not in flight."""
    ages: Mapping[str, float | None] = {}
    """Seconds since the last good response of each endpoint, by name; None if there was none."""
    stale_endpoints: tuple[str, ...] = ()
    """The endpoints whose last good response is older than `max_age`; the data of the others is up to date."""


class Fresh(_AccountEvent, frozen=True, kw_only=True):
    """The account was read again after `Stale`."""

    age: float
    """Seconds since the oldest response."""
    ages: Mapping[str, float | None] = {}
    """Seconds since the last good response of each endpoint, by name."""


class AccountFailed(_AccountEvent, frozen=True, kw_only=True):
    """A reading failed in a way that was not reported yet."""

    endpoint: str
    """The endpoint that failed; empty if the account could not be opened at all."""
    error: str
    """The text of the error, without secrets."""
    error_type: str
    """Its class, such as ``AuthenticationError``."""
    retry_at: float | None
    """When the endpoint is read again, seconds since the epoch; None if it is not."""


class HostBlocked(_Event, frozen=True, kw_only=True):
    """The exchange refused (429) or banned (418) the IP: nothing is sent to the origin before `until`."""

    origin: str
    """The origin that refused, such as ``https://papi.binance.com``."""
    until: float
    """Seconds since the epoch, by the exchange's clock."""
    banned: bool
    """Whether the IP is banned (418), not only refused (429)."""


class HostUnblocked(_Event, frozen=True, kw_only=True):
    """Requests may be sent to the origin again."""

    origin: str
    """The origin to which requests may be sent again."""


class BudgetTight(_Event, frozen=True, kw_only=True):
    """A pool has become too small to read all accounts as often as they need, or has room again.

    The event occurs once when the pool becomes too small, and once after a whole minute in which everything fitted.
    """

    pool: str
    """See `Pool.name`."""
    wanted: float
    """Weight per minute that all accounts together need."""
    available: float
    """Weight per minute that the plan may use."""
    interval: float
    """Resulting seconds between two readings of the calmest account."""
    is_tight: bool
    """False if everything fits again."""


StateEvent = (
    StatusChanged | ThresholdCrossed | Stale | Fresh | AccountFailed | HostBlocked | HostUnblocked | BudgetTight
)
"""Events that are never dropped."""

AccountChange = PositionChanged | BalanceChanged
"""Events of the user data streams. A newer event replaces one of the same position or wallet that still waits."""

FleetEvent = Reading | AccountChange | StateEvent


def label_of(event: FleetEvent) -> str:
    """Return the label of the account that an event is about; empty if the event is not about an account."""
    return event.label if isinstance(event, _AccountEvent) else ""


class AccountSnapshot(AccountSummary, frozen=True, kw_only=True):
    """Everything that is known of one account at one moment."""

    label: str
    """Label of the account."""
    product: str = ""
    """Product of the account, see `ProductName`; empty if the account could not be opened."""
    responses: Mapping[str, TimedResponse] = {}
    """The last good response of each endpoint, by name."""
    thresholds: Mapping[ThresholdName, Decimal] = {}
    """uniMMR of each threshold."""
    crossed: tuple[ThresholdName, ...] = ()
    """The thresholds that uniMMR fell to and has not risen above again by the hysteresis."""
    age: float | None = None
    """Seconds since the oldest response; None if an endpoint never responded."""
    interval: float = 0.0
    """Planned seconds between two readings."""
    max_age: float = 0.0
    """Age in seconds from which on data is stale."""
    is_stale: bool = True
    """Whether the account was reported as stale, or could not be opened."""
    error: str = ""
    """Why the last reading failed; empty if it succeeded."""
    retry_at: float | None = None
    """When a reading that is delayed after a failure is tried again, seconds since the epoch; None if none is."""
    ages: Mapping[str, float | None] = {}
    """Seconds since the last good response of each endpoint, by name; None if there was none."""
    stale_endpoints: tuple[str, ...] = ()
    """The endpoints whose last good response is older than `max_age`; the data of the others is up to date."""
    reason: str = ""
    """Why the account is stale, see `Stale.reason`; empty if it is not."""
    waiting: Waiting | None = None
    """What the late reading waits for now."""
    stream: Literal["off", "down", "up"] = "off"
    """Whether the account has a user data stream, and whether the stream is up. While it is up, the account is polled
    less."""
    saved: float = 0.0
    """Weight per minute that the user data stream saves now, less the weight of confirming its listen key."""
