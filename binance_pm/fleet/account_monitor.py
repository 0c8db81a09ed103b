"""What a fleet knows of one account, and which events its news are. Nothing here waits or asks for the time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Final

import msgspec

from binance_pm.amounts import is_near
from binance_pm.api.um_account import UmAccount
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
    TimedAnswer,
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
    """A reading that failed as it will fail again, and waits longer than the others."""

    until: float
    """Monotonic seconds."""
    delay: float


class AccountMonitor:
    """One account.

    Args:
        client: reads it.
        product: what it is on.
        read: the endpoints that make its picture.
        lines: the lines that are told.
        hysteresis: see `is_below`.
        now: monotonic seconds.
    """

    __slots__ = (
        "answers",
        "backoffs",
        "began",
        "came",
        "client",
        "due",
        "error",
        "errors",
        "failing",
        "fall",
        "hysteresis",
        "interval",
        "is_stale",
        "label",
        "left_out",
        "lines",
        "lowered",
        "marks",
        "old",
        "out",
        "product",
        "promised",
        "read",
        "ticket",
        "told",
        "wish",
    )

    def __init__(
        self,
        client: Client,
        product: str,
        read: tuple[str, ...],
        lines: tuple[Threshold, ...],
        *,
        hysteresis: Decimal,
        now: float,
    ) -> None:
        self.client: Final = client
        self.label: Final = client.label
        self.product: Final = product
        self.read: Final = read
        self.lines: Final = lines
        self.marks: Final = tuple(float(line.at) for line in lines)
        self.hysteresis: Final = hysteresis
        self.began: Final = now
        self.answers: Final[dict[str, TimedAnswer]] = {}
        self.came: Final[dict[str, float]] = {}
        """Monotonic seconds of each answer."""
        self.out: Final[set[str]] = set()
        """Readings that are on their way."""
        self.left_out: bool = False
        """Whether a reading was not started with the others of its account, for a gate or a pool without room."""
        self.backoffs: Final[dict[str, Backoff]] = {}
        self.failing: Final[dict[str, _Failure]] = {}
        self.errors: Final[dict[str, str]] = {}
        """What the last try of a reading ended in, where it failed."""
        self.old: Final[set[str]] = set()
        """Readings whose last answer is older than promised."""
        self.lowered: Final[set[ThresholdName]] = set()
        """Lines that it counts as below."""
        self.told: _Figures = {}
        """The figures of the last `Reading`."""
        self.error: str = ""
        self.fall: float = 0.0
        self.is_stale: bool = False
        self.wish: float = 0.0
        self.interval: float = 0.0
        """Planned seconds between two readings."""
        self.promised: float = 0.0
        """The longest that was planned since it was last read: a shorter plan is no reason to call it stale."""
        self.due: float = now
        """When it is read next, monotonic seconds."""
        self.ticket: int = 0
        """Marks its valid place in the heap."""

    @property
    def uni_mmr(self) -> Decimal | None:
        """At its last reading."""
        return self.summary.uni_mmr

    @property
    def summary(self) -> AccountSummary:
        """The figures of the last good responses."""
        return summary_of({name: timed.answer for name, timed in self.answers.items()})

    def age(self, now: float) -> float | None:
        """Seconds since the oldest part of the picture came, None where one never did."""
        return now - min(self.came.values()) if len(self.came) == len(self.read) else None

    def unseen(self, now: float) -> float:
        """Seconds since the picture was whole, or since it was first wanted."""
        return now - min(self.came.get(name, self.began) for name in self.read)

    def ages(self, now: float) -> dict[str, float | None]:
        """Seconds since each of its readings came, None where one never did."""
        return {name: now - self.came[name] if name in self.came else None for name in self.read}

    def grow_old(self, now: float, slack: float) -> None:
        """Note which readings are older than promised, or were wanted for so long."""
        bound = self.promised + slack
        self.old.update(name for name in self.read if now - self.came.get(name, self.began) >= bound)

    def active(self, now: float) -> tuple[str, ...]:
        """The readings that are not put off."""
        return tuple(name for name in self.read if name not in self.backoffs or self.backoffs[name].until <= now)

    def aim(self, *, floor: float, ceiling: float) -> None:
        """Say anew how soon it should be read."""
        uni_mmr = self.uni_mmr
        self.wish = schedule.wish(
            None if uni_mmr is None else float(uni_mmr),
            self.marks,
            fall=self.fall,
            floor=floor,
            ceiling=ceiling,
        )

    def replan(self, interval: float, now: float) -> None:
        """Plan another interval: what is left of the old one shrinks or grows with it.

        So accounts that are spread over the old interval are spread over the new one, and never due all at once.
        """
        if self.interval and self.due > now:
            self.due = now + (self.due - now) * interval / self.interval
        self.interval = interval
        self.promised = max(self.promised, interval)

    def learn(self, name: str, answer: Model, *, at: float, now: float, slack: float) -> list[StateEvent]:
        """Take in an answer, and tell what it means.

        Raises:
            ValueError: a figure cannot be calculated with; what was known before is known still.
        """
        if isinstance(answer, UmAccount):
            # The empty places of three hundred symbols would be most of what a fleet remembers.
            held = [position for position in answer.positions if position.position_amt]
            answer = msgspec.structs.replace(answer, positions=held)
        _check_figures(answer)
        before, since = self.summary, self.came.get(name)
        self.answers[name], self.came[name] = TimedAnswer(answer, at), now
        self.failing.pop(name, None)
        self.errors.pop(name, None)
        self.old.discard(name)
        self.backoffs.pop(name, None)
        self.error = self.error if self.failing else ""
        self.promised = self.interval
        events: list[StateEvent] = []
        if isinstance(answer, Headline):
            if before.uni_mmr is not None and before.status is not None and since is not None:
                self.fall = schedule.fall_rate(self.fall, float(before.uni_mmr), float(answer.uni_mmr), now - since)
                if before.status != answer.account_status:
                    change = before.status, answer.account_status
                    events.append(StatusChanged(label=self.label, at=at, before=change[0], after=change[1]))
            events += self._crossings(answer.uni_mmr, at)
        age = self.age(now)
        if self.is_stale and age is not None and age <= self.promised + slack:
            self.is_stale = False
            self.old.clear()
            events.append(Fresh(label=self.label, at=at, age=age, ages=self.ages(now)))
        return events

    def fail(self, name: str, error: Exception, *, at: float, now: float) -> list[StateEvent]:
        """Take in a failure, and tell it unless it is known."""
        self.error = self.errors[name] = _text(error)
        failure = type(error).__name__, error.code if isinstance(error, ExchangeError) else None
        # A gateway, too, may reject a request, once: an account is not left unseen for that.
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
        told = AccountFailed(
            label=self.label,
            at=at,
            endpoint=name,
            error=self.error,
            error_type=failure[0],
            retry_at=at + retry - now,
        )
        return [told]

    def reading(self, names: Iterable[str], *, at: float) -> Reading:
        """The event for readings that were started together, and what they have changed."""
        figures = self._figures()
        changed = {
            name: Change(self.told.get(name), value) for name, value in figures.items() if value != self.told.get(name)
        }
        self.told = figures
        return Reading(label=self.label, at=at, answers={name: self.answers[name] for name in names}, changed=changed)

    def stale(self, why: str, waiting: Waiting | None, *, at: float, now: float, slack: float) -> Stale:
        """Say that it is too old."""
        self.is_stale = True
        return Stale(
            label=self.label,
            at=at,
            age=self.age(now),
            bound=self.promised + slack,
            why=why,
            waiting=waiting,
            ages=self.ages(now),
            old=self._old_names(),
        )

    def late(self) -> tuple[str, ...]:
        """The readings that make it stale."""
        return self._old_names() or self.read

    def snapshot(
        self, *, at: float, now: float, slack: float, why: str = "", waiting: Waiting | None = None
    ) -> AccountSnapshot:
        """What is known of it now."""
        return AccountSnapshot(
            **msgspec.structs.asdict(self.summary),
            label=self.label,
            product=self.product,
            answers=dict(self.answers),
            lines={line.name: line.at for line in self.lines},
            below=tuple(line.name for line in self.lines if line.name in self.lowered),
            age=self.age(now),
            interval=self.interval,
            bound=self.promised + slack,
            is_stale=self.is_stale,
            error=self.error,
            retry_at=max((at + one.until - now for one in self.backoffs.values()), default=None),
            ages=self.ages(now),
            old=self._old_names(),
            why=why,
            waiting=waiting,
        )

    def _old_names(self) -> tuple[str, ...]:
        return tuple(name for name in self.read if name in self.old)

    def _figures(self) -> _Figures:
        summary = self.summary
        profits = summary.profits
        figures: dict[str, Decimal | str | None] = {name: getattr(summary, name) for name in AMOUNTS}
        figures["account_status"] = summary.status
        if profits and figures["unrealized_profit"] is None:
            figures |= {f"unrealized_profit.{asset}": profit for asset, profit in profits.items()}
        # An asset in which nothing is held any more has no profit; one that is part of the sum is told in it.
        for name, value in self.told.items():
            asset = name.partition(".")[2]
            if asset and value and name not in figures:
                figures[name] = None if profits and asset in profits else Decimal(0)
        return figures

    def _crossings(self, uni_mmr: Decimal, at: float) -> list[StateEvent]:
        events: list[StateEvent] = []
        for name, line in self.lines:
            was_below = name in self.lowered
            below = is_below(line, uni_mmr, was_below=was_below, hysteresis=self.hysteresis)
            if below != was_below:
                (self.lowered.add if below else self.lowered.discard)(name)
                events.append(
                    ThresholdCrossed(label=self.label, at=at, line=name, threshold=line, below=below, uni_mmr=uni_mmr)
                )
        return events


def _check_figures(answer: Model) -> None:
    """What the exchange sends was checked before; answers may come from elsewhere, such as a client of one's own."""
    if isinstance(answer, UmAccount):
        figures = [*profits_of(answer).values(), *(position.position_amt for position in answer.positions)]
    elif isinstance(answer, Headline):
        figures = [answer.uni_mmr, answer.account_equity, answer.account_maint_margin]
    else:
        return
    if not all(map(is_near, figures)):
        raise ValueError("a figure is not plausible")


def _text(error: Exception) -> str:
    # What is not this package's own error may quote anything.
    return str(error) if isinstance(error, PortfolioMarginError) else f"an unexpected {type(error).__name__}"
