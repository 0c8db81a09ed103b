"""The state of one account of a fleet, and the events that new readings cause. No function waits or reads a clock."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from decimal import Decimal
from functools import partial
from typing import Final, Literal, NamedTuple

import msgspec

from binance_pm.amounts import is_near
from binance_pm.api.account import UmAccount
from binance_pm.budget import LimitType, Waiting
from binance_pm.client import Client
from binance_pm.endpoint import ENDPOINTS
from binance_pm.errors import (
    AuthenticationError,
    ConfigurationError,
    ExchangeError,
    PortfolioMarginError,
    RequestRejected,
    SessionClosed,
)
from binance_pm.fleet import schedule
from binance_pm.fleet.events import (
    AccountFailed,
    AccountSnapshot,
    Change,
    Fresh,
    Reading,
    Stale,
    StateEvent,
    StatusChanged,
    ThresholdCrossed,
    TimedResponse,
)
from binance_pm.fleet.summary import AMOUNTS, AccountSummary, Headline, profits_of, summary_of
from binance_pm.fleet.thresholds import Threshold, ThresholdName, is_below
from binance_pm.wire import Model

_LASTING: Final = (AuthenticationError, ConfigurationError, SessionClosed)
PRO_HEADLINE: Final = "pro_account"
"""The endpoint whose figures `PmProAccountUpdate` contains."""
UPDATE_SECONDS: Final = 15.0
"""Seconds without a `PmProAccountUpdate` after which the endpoint is read again."""
CONFIRMATIONS: Final = 1.0
"""The most weight per minute that confirming a listen key takes."""
_FIRST_DELAY: Final = 60.0
_LONGEST_DELAY: Final = 900.0

_Figures = Mapping[str, Decimal | str | None]


class _Failure(NamedTuple):
    """Why the last reading of an endpoint failed, and how long the next one is delayed."""

    kind: tuple[str, int | None]
    """Class and code of the error."""
    text: str
    retry_at: float
    """Monotonic seconds before which the endpoint is not read."""
    delay: float
    """Length of the delay; 0 if there was none."""


class AccountMonitor:
    """One account: its last responses, its failures and its schedule.

    Times are monotonic seconds, except ``at``, which is seconds since the epoch by the exchange's clock.

    Args:
        client: reads the account.
        product: name of the account's product.
        read: names of the endpoints that are read.
        thresholds: the thresholds of uniMMR that are reported.
        hysteresis: see `is_below`.
        slack: seconds beyond the planned interval after which data is stale.
        now: current time.
    """

    def __init__(
        self,
        client: Client,
        product: str,
        read: tuple[str, ...],
        thresholds: tuple[Threshold, ...],
        *,
        hysteresis: Decimal,
        slack: float,
        now: float,
    ) -> None:
        self.client: Final = client
        self.label: Final = client.label
        self.product: Final = product
        self.read: Final = read
        self.thresholds: Final = thresholds
        self.hysteresis: Final = hysteresis
        self.slack: Final = slack
        self.began: Final = now
        self.responses: Final[dict[str, TimedResponse]] = {}
        self.summary: AccountSummary = AccountSummary()
        """The figures of `responses`."""
        self.received_at: Final[dict[str, float]] = {}
        """When the last good response of each endpoint was received."""
        self.in_flight: Final[set[str]] = set()
        """Endpoints that are being read."""
        self.skipped: bool = False
        """Whether a reading was not started with the others because of a closed gate or a pool without room."""
        self.failures: Final[dict[str, _Failure]] = {}
        """By endpoint whose last reading failed, the latest failure last."""
        self.crossed: set[ThresholdName] = set()
        """Thresholds that the account counts as below."""
        self.reported: _Figures = {}
        """The figures of the last `Reading`."""
        self.fall_rate: float = 0.0
        self.is_stale: bool = False
        self.wished_interval: float = 0.0
        self.wished_without_stream: float = 0.0
        """What `wished_interval` would be without a user data stream."""
        self.interval: float = 0.0
        """Planned seconds between two readings."""
        self.max_interval: float = 0.0
        """The longest interval planned since the last reading: a shorter plan must not make the account stale."""
        self.due: float = now
        """When the account should be read next."""
        self.stream: Literal["off", "down", "up"] = "off"
        """Whether the account has a user data stream, and whether it is up."""
        self.has_changed: bool = False
        """Whether the stream has reported a change since the account was last read."""
        self.updated_at: float = -math.inf
        """When the stream last pushed the figures of a Portfolio Margin Pro account whose status is normal."""
        self.start_at: float = now
        """When the next reading is started: when it is due, or earlier or later to keep readings apart."""

    @property
    def error(self) -> str:
        """Why the latest failed reading failed; empty if the last reading of every endpoint succeeded."""
        return next(reversed(self.failures.values())).text if self.failures else ""

    @property
    def max_age(self) -> float:
        """Age in seconds from which on data is stale."""
        return self.max_interval + self.slack

    def age(self, now: float) -> float | None:
        """Return the age of the oldest response in seconds, or None if an endpoint never responded."""
        return now - min(self.received_at.values()) if len(self.received_at) == len(self.read) else None

    def unread_seconds(self, now: float) -> float:
        """Return the seconds since the oldest response, or since monitoring began if an endpoint never responded."""
        return now - min(self.received_at.get(name, self.began) for name in self.read)

    def ages(self, now: float) -> dict[str, float | None]:
        """Return the age of the last good response of each endpoint, None if there was none."""
        return {name: now - self.received_at[name] if name in self.received_at else None for name in self.read}

    def stale_endpoints(self, now: float) -> tuple[str, ...]:
        """Return the endpoints whose last good response, or the start of monitoring, is too long ago."""
        return tuple(name for name in self.read if now - self.received_at.get(name, self.began) >= self.max_age)

    def active(self, now: float) -> tuple[str, ...]:
        """Return the endpoints to be read: without those whose reading is delayed after a failure.

        While the stream pushes the figures of a Portfolio Margin Pro account, the endpoint of these figures is not
        included.
        """
        return tuple(
            name for name in self._polled(now) if name not in self.failures or self.failures[name].retry_at <= now
        )

    def saved(self, now: float) -> float:
        """Return the weight per minute that the stream saves now, less the weight of confirming its listen key."""
        if self.stream != "up" or not self.interval:
            return 0.0
        without = self.interval * self.wished_without_stream / self.wished_interval
        polled = weight_per_minute(self._polled(now), self.interval)
        return max(0.0, weight_per_minute(self.read, without) - polled - CONFIRMATIONS)

    def _polled(self, now: float) -> tuple[str, ...]:
        is_pushed = now - self.updated_at <= UPDATE_SECONDS
        return tuple(name for name in self.read if not (is_pushed and name == PRO_HEADLINE))

    def update_wish(self, *, floor: float, ceiling: float) -> None:
        """Calculate the interval after which the account should be read."""
        uni_mmr = None if self.summary.uni_mmr is None else float(self.summary.uni_mmr)
        thresholds = [float(threshold.at) for threshold in self.thresholds]
        wish = partial(schedule.wish, uni_mmr, thresholds, fall=self.fall_rate, floor=floor)
        self.wished_without_stream = wish(ceiling=ceiling)
        # If positions and balances have not changed, only prices change the figures. The stream of Portfolio Margin Pro
        # does not report changes of positions and balances.
        is_streamed = self.product == "pm" and self.stream == "up" and not self.has_changed
        self.wished_interval = wish(ceiling=ceiling * schedule.STREAMED) if is_streamed else self.wished_without_stream

    def replan(self, interval: float, now: float) -> None:
        """Plan another interval, and scale the rest of the current one.

        Accounts that are spread over the old interval are then spread over the new one, and not all due at once.
        """
        if self.interval and self.due > now:
            self.due = now + (self.due - now) * interval / self.interval
        self.interval = interval
        if not self.is_stale:
            self.max_interval = max(self.max_interval, interval)

    def record_response(self, name: str, response: Model, *, at: float, now: float) -> list[StateEvent]:
        """Store a good response and return the events that it causes.

        Raises:
            ValueError: a figure is implausible; nothing was stored.
        """
        if isinstance(response, UmAccount):
            # The empty positions of 300 symbols would take most of a fleet's memory.
            held = [position for position in response.positions if position.position_amt]
            response = msgspec.structs.replace(response, positions=held)
        _check_figures(response)
        before, last = self.summary, self.received_at.get(name)
        self.responses[name], self.received_at[name] = TimedResponse(response, at), now
        self.summary = summary_of({name: timed.response for name, timed in self.responses.items()})
        self.failures.pop(name, None)
        self.max_interval = self.interval
        self.has_changed = False
        events: list[StateEvent] = []
        if isinstance(response, Headline):
            if before.uni_mmr is not None and before.status is not None and last is not None:
                margins = float(before.uni_mmr), float(response.uni_mmr)
                self.fall_rate = schedule.fall_rate(self.fall_rate, *margins, now - last)
                if before.status != (after := response.account_status):
                    events.append(StatusChanged(label=self.label, at=at, before=before.status, after=after))
            events += self._crossings(response.uni_mmr, at)
        age = self.age(now)
        if self.is_stale and age is not None and age <= self.max_age:
            self.is_stale = False
            events.append(Fresh(label=self.label, at=at, age=age, ages=self.ages(now)))
        return events

    def record_failure(self, name: str, error: Exception, *, at: float, now: float) -> list[StateEvent]:
        """Store a failure, and return an event unless this failure was reported already."""
        kind = type(error).__name__, error.code if isinstance(error, ExchangeError) else None
        is_known = any(kind == failure.kind for failure in self.failures.values())
        before = self.failures.pop(name, None)
        retry_at, delay = (before.retry_at, before.delay) if before else (-math.inf, 0.0)
        # A gateway may reject a request once: only a repeated rejection delays the next reading.
        is_repeated = before is not None and before.kind == kind
        if isinstance(error, _LASTING) or (isinstance(error, RequestRejected) and is_repeated):
            delay = min(2 * delay, _LONGEST_DELAY) or _FIRST_DELAY
            retry_at = now + delay
        # Errors of other packages may contain secrets.
        text = str(error) if isinstance(error, PortfolioMarginError) else f"an unexpected {kind[0]}"
        self.failures[name] = _Failure(kind, text, retry_at, delay)
        if is_known:
            return []
        retry_at = at + max(retry_at, self.due, now) - now
        return [
            AccountFailed(label=self.label, at=at, endpoint=name, error=text, error_type=kind[0], retry_at=retry_at)
        ]

    def reading(self, names: Iterable[str], *, at: float) -> Reading:
        """Return the event for readings that were started together, with the figures that changed."""
        figures, last = self._figures(), self.reported
        changed = {name: Change(last.get(name), value) for name, value in figures.items() if value != last.get(name)}
        self.reported = figures
        responses = {name: self.responses[name] for name in names}
        return Reading(label=self.label, at=at, responses=responses, changed=changed)

    def stale(self, reason: str, waiting: Waiting | None, *, at: float, now: float) -> Stale:
        """Mark the account as stale and return the event."""
        self.is_stale = True
        return Stale(
            label=self.label,
            at=at,
            age=self.age(now),
            max_age=self.max_age,
            reason=reason,
            waiting=waiting,
            ages=self.ages(now),
            stale_endpoints=self.stale_endpoints(now),
        )

    def snapshot(self, reason: str, waiting: Waiting | None, *, at: float, now: float) -> AccountSnapshot:
        """Return what is known of the account now."""
        return AccountSnapshot(
            **msgspec.structs.asdict(self.summary),
            label=self.label,
            product=self.product,
            responses=dict(self.responses),
            thresholds={threshold.name: threshold.at for threshold in self.thresholds},
            crossed=tuple(threshold.name for threshold in self.thresholds if threshold.name in self.crossed),
            age=self.age(now),
            interval=self.interval,
            max_age=self.max_age,
            is_stale=self.is_stale,
            error=self.error,
            retry_at=max((at + one.retry_at - now for one in self.failures.values() if one.delay), default=None),
            ages=self.ages(now),
            stale_endpoints=self.stale_endpoints(now),
            reason=reason,
            waiting=waiting,
            stream=self.stream,
            saved=self.saved(now),
        )

    def _figures(self) -> _Figures:
        summary = self.summary
        profits = summary.profits
        figures: dict[str, Decimal | str | None] = {name: getattr(summary, name) for name in AMOUNTS}
        figures["account_status"] = summary.status
        if profits and figures["unrealized_profit"] is None:
            figures |= {f"unrealized_profit.{asset}": profit for asset, profit in profits.items()}
        # An asset without positions has a profit of 0. If the sum now contains the asset's profit, its figure is None.
        for name, value in self.reported.items():
            asset = name.partition(".")[2]
            if asset and value and name not in figures:
                figures[name] = None if asset in profits else Decimal(0)
        return figures

    def _crossings(self, uni_mmr: Decimal, at: float) -> list[StateEvent]:
        before = self.crossed
        self.crossed = {
            name
            for name, threshold in self.thresholds
            if is_below(threshold, uni_mmr, was_below=name in before, hysteresis=self.hysteresis)
        }
        return [
            ThresholdCrossed(
                label=self.label, at=at, name=name, threshold=threshold, below=name in self.crossed, uni_mmr=uni_mmr
            )
            for name, threshold in self.thresholds
            if (name in before) != (name in self.crossed)
        ]


def weight_per_minute(names: Iterable[str], interval: float) -> float:
    """Return the weight per minute, in the pools of the IP, of reading endpoints at an interval in seconds."""
    return sum(ENDPOINTS[name].poll_weights[LimitType.IP] for name in names) * 60 / interval


def _check_figures(response: Model) -> None:
    """Raise if a figure is implausible: decoding checks responses, but a user's own client may not decode them."""
    figures: list[Decimal] = []
    if isinstance(response, UmAccount):
        figures = [*profits_of(response).values(), *(position.position_amt for position in response.positions)]
    elif isinstance(response, Headline):
        figures = [response.uni_mmr, response.account_equity, response.account_maint_margin]
    if not all(map(is_near, figures)):
        raise ValueError("a figure is not plausible")
