"""The state of one account of a fleet, and the events that new readings cause. No function waits or reads a clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Final

import msgspec

from binance_pm.amounts import is_near
from binance_pm.api.account import UmAccount
from binance_pm.budget import Waiting
from binance_pm.client import Client
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
from binance_pm.fleet.profit import profits_of
from binance_pm.fleet.summary import AMOUNTS, AccountSummary, Headline, summary_of
from binance_pm.fleet.thresholds import Threshold, ThresholdName, is_below
from binance_pm.wire import Model

_LASTING: Final = (AuthenticationError, ConfigurationError, SessionClosed)
_FIRST_DELAY: Final = 60.0
_LONGEST_DELAY: Final = 900.0

_Figures = Mapping[str, Decimal | str | None]
_Failure = tuple[str, int | None]


class Backoff(msgspec.Struct, frozen=True):
    """The delay of a reading that would fail again in the same way."""

    until: float
    """Monotonic seconds."""
    delay: float


class AccountMonitor:
    """One account: its last responses, its failures and its schedule.

    Times are monotonic seconds, except ``at``, which is seconds since the epoch by the exchange's clock.

    Args:
        client: reads the account.
        product: name of the account's product.
        read: names of the endpoints that are read.
        thresholds: the thresholds of uniMMR that are reported.
        hysteresis: see `is_below`.
        now: current time.
    """

    __slots__ = (
        "backoffs",
        "began",
        "below",
        "client",
        "due",
        "error",
        "errors",
        "failing",
        "fall_rate",
        "hysteresis",
        "in_flight",
        "interval",
        "is_stale",
        "label",
        "max_interval",
        "overdue",
        "product",
        "read",
        "received_at",
        "reported",
        "responses",
        "skipped",
        "summary",
        "thresholds",
        "ticket",
        "wished_interval",
    )

    def __init__(
        self,
        client: Client,
        product: str,
        read: tuple[str, ...],
        thresholds: tuple[Threshold, ...],
        *,
        hysteresis: Decimal,
        now: float,
    ) -> None:
        self.client: Final = client
        self.label: Final = client.label
        self.product: Final = product
        self.read: Final = read
        self.thresholds: Final = thresholds
        self.hysteresis: Final = hysteresis
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
        self.backoffs: Final[dict[str, Backoff]] = {}
        self.failing: Final[dict[str, _Failure]] = {}
        self.errors: Final[dict[str, str]] = {}
        """Text of the last error of each endpoint whose last reading failed."""
        self.overdue: Final[set[str]] = set()
        """Endpoints whose last good response is older than promised."""
        self.below: Final[set[ThresholdName]] = set()
        """Thresholds that the account counts as below."""
        self.reported: _Figures = {}
        """The figures of the last `Reading`."""
        self.error: str = ""
        self.fall_rate: float = 0.0
        self.is_stale: bool = False
        self.wished_interval: float = 0.0
        self.interval: float = 0.0
        """Planned seconds between two readings."""
        self.max_interval: float = 0.0
        """The longest interval planned since the last reading: a shorter plan must not make the account stale."""
        self.due: float = now
        """When the account is read next."""
        self.ticket: int = 0
        """Identifies the valid entry of the account in the heap."""

    def age(self, now: float) -> float | None:
        """Return the age of the oldest response in seconds, or None if an endpoint never responded."""
        return now - min(self.received_at.values()) if len(self.received_at) == len(self.read) else None

    def unread_seconds(self, now: float) -> float:
        """Return the seconds since the oldest response, or since monitoring began if an endpoint never responded."""
        return now - min(self.received_at.get(name, self.began) for name in self.read)

    def ages(self, now: float) -> dict[str, float | None]:
        """Return the age of the last good response of each endpoint, None if there was none."""
        return {name: now - self.received_at[name] if name in self.received_at else None for name in self.read}

    def mark_overdue(self, now: float, slack: float) -> None:
        """Add to `overdue` the endpoints whose last good response, or the start of monitoring, is too long ago."""
        bound = self.max_interval + slack
        self.overdue.update(name for name in self.read if now - self.received_at.get(name, self.began) >= bound)

    def active(self, now: float) -> tuple[str, ...]:
        """Return the endpoints that are not backing off."""
        return tuple(name for name in self.read if name not in self.backoffs or self.backoffs[name].until <= now)

    def update_wish(self, *, floor: float, ceiling: float) -> None:
        """Calculate the interval after which the account should be read."""
        uni_mmr = self.summary.uni_mmr
        self.wished_interval = schedule.wish(
            None if uni_mmr is None else float(uni_mmr),
            [float(threshold.at) for threshold in self.thresholds],
            fall=self.fall_rate,
            floor=floor,
            ceiling=ceiling,
        )

    def replan(self, interval: float, now: float) -> None:
        """Plan another interval, and scale the rest of the current one.

        Accounts that are spread over the old interval are then spread over the new one, and not all due at once.
        """
        if self.interval and self.due > now:
            self.due = now + (self.due - now) * interval / self.interval
        self.interval = interval
        self.max_interval = max(self.max_interval, interval)

    def record_response(self, name: str, response: Model, *, at: float, now: float, slack: float) -> list[StateEvent]:
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
        for failures in (self.failing, self.errors, self.backoffs):
            failures.pop(name, None)
        self.overdue.discard(name)
        self.error = self.error if self.failing else ""
        self.max_interval = self.interval
        events: list[StateEvent] = []
        if isinstance(response, Headline):
            if before.uni_mmr is not None and before.status is not None and last is not None:
                margins = float(before.uni_mmr), float(response.uni_mmr)
                self.fall_rate = schedule.fall_rate(self.fall_rate, *margins, now - last)
                if before.status != (after := response.account_status):
                    events.append(StatusChanged(label=self.label, at=at, before=before.status, after=after))
            events += self._crossings(response.uni_mmr, at)
        age = self.age(now)
        if self.is_stale and age is not None and age <= self.max_interval + slack:
            self.is_stale = False
            self.overdue.clear()
            events.append(Fresh(label=self.label, at=at, age=age, ages=self.ages(now)))
        return events

    def record_failure(self, name: str, error: Exception, *, at: float, now: float) -> list[StateEvent]:
        """Store a failure, and return an event unless this failure was reported already."""
        self.error = self.errors[name] = _text(error)
        failure = type(error).__name__, error.code if isinstance(error, ExchangeError) else None
        # A gateway may reject a request once: only a repeated rejection delays the next reading.
        is_repeated = isinstance(error, RequestRejected) and self.failing.get(name) == failure
        if is_repeated or isinstance(error, _LASTING):
            before = self.backoffs.get(name)
            delay = _FIRST_DELAY if before is None else min(2 * before.delay, _LONGEST_DELAY)
            self.backoffs[name] = Backoff(now + delay, delay)
        is_known = failure in self.failing.values()
        self.failing[name] = failure
        if is_known:
            return []
        retry = self.backoffs[name].until if name in self.backoffs else max(self.due, now)
        failed = AccountFailed(
            label=self.label,
            at=at,
            endpoint=name,
            error=self.error,
            error_type=failure[0],
            retry_at=at + retry - now,
        )
        return [failed]

    def reading(self, names: Iterable[str], *, at: float) -> Reading:
        """Return the event for readings that were started together, with the figures that changed."""
        figures, last = self._figures(), self.reported
        changed = {name: Change(last.get(name), value) for name, value in figures.items() if value != last.get(name)}
        self.reported = figures
        responses = {name: self.responses[name] for name in names}
        return Reading(label=self.label, at=at, responses=responses, changed=changed)

    def stale(self, reason: str, waiting: Waiting | None, *, at: float, now: float, slack: float) -> Stale:
        """Mark the account as stale and return the event."""
        self.is_stale = True
        return Stale(
            label=self.label,
            at=at,
            age=self.age(now),
            bound=self.max_interval + slack,
            reason=reason,
            waiting=waiting,
            ages=self.ages(now),
            stale_endpoints=self.overdue_endpoints(),
        )

    def overdue_endpoints(self) -> tuple[str, ...]:
        """Return the endpoints whose last good response is older than promised, in the order of `read`."""
        return tuple(name for name in self.read if name in self.overdue)

    def snapshot(
        self, *, at: float, now: float, slack: float, reason: str = "", waiting: Waiting | None = None
    ) -> AccountSnapshot:
        """Return what is known of the account now."""
        return AccountSnapshot(
            **msgspec.structs.asdict(self.summary),
            label=self.label,
            product=self.product,
            responses=dict(self.responses),
            thresholds={threshold.name: threshold.at for threshold in self.thresholds},
            below=tuple(threshold.name for threshold in self.thresholds if threshold.name in self.below),
            age=self.age(now),
            interval=self.interval,
            bound=self.max_interval + slack,
            is_stale=self.is_stale,
            error=self.error,
            retry_at=max((at + one.until - now for one in self.backoffs.values()), default=None),
            ages=self.ages(now),
            stale_endpoints=self.overdue_endpoints(),
            reason=reason,
            waiting=waiting,
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
        events: list[StateEvent] = []
        for name, threshold in self.thresholds:
            was_below = name in self.below
            below = is_below(threshold, uni_mmr, was_below=was_below, hysteresis=self.hysteresis)
            if below != was_below:
                (self.below.add if below else self.below.discard)(name)
                events.append(
                    ThresholdCrossed(
                        label=self.label, at=at, name=name, threshold=threshold, below=below, uni_mmr=uni_mmr
                    )
                )
        return events


def _check_figures(response: Model) -> None:
    """Raise if a figure is implausible: decoding checks responses, but a user's own client may not decode them."""
    if isinstance(response, UmAccount):
        figures = [*profits_of(response).values(), *(position.position_amt for position in response.positions)]
    elif isinstance(response, Headline):
        figures = [response.uni_mmr, response.account_equity, response.account_maint_margin]
    else:
        return
    if not all(map(is_near, figures)):
        raise ValueError("a figure is not plausible")


def _text(error: Exception) -> str:
    # Errors of other packages may contain secrets.
    return str(error) if isinstance(error, PortfolioMarginError) else f"an unexpected {type(error).__name__}"
