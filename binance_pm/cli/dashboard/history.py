"""What has been told of a fleet: its events in words, and the course of every account's uniMMR. It stays small."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import Final, NamedTuple

from binance_pm.amounts import is_near
from binance_pm.cli.describe import clock_time, describe_event
from binance_pm.fleet import (
    AccountFailed,
    BudgetTight,
    FleetEvent,
    HostBlocked,
    Reading,
    Stale,
    StatusChanged,
    ThresholdCrossed,
)
from binance_pm.fleet.events import label_of
from binance_pm.fleet.summary import headline_of

TREND: Final = 24
"""How many values of uniMMR are kept of an account."""
_LOG: Final = 500
_OF_ACCOUNT: Final = 10
# Beyond it nobody sees a course, and floats end.
_FARTHEST: Final = Decimal(10**12)

_STYLES: Final[dict[type[object], str]] = {
    AccountFailed: "red",
    BudgetTight: "yellow",
    HostBlocked: "bold red",
    ThresholdCrossed: "yellow",
    Stale: "bold red",
    StatusChanged: "bold yellow",
}


# What is told a little later than something that happened after it stands before that.
_REORDERED_SECONDS: Final = 2.0


class Entry(NamedTuple):
    """A line of the log."""

    text: str
    style: str = ""
    at: float = 0.0
    """Seconds since the epoch."""


class History:
    """A receiver of a watch that remembers for the screen.

    Attributes:
        log: the last five hundred events but readings, which the accounts show; oldest first.
    """

    def __init__(self) -> None:
        self.log: Final[deque[Entry]] = deque(maxlen=_LOG)
        self._events: Final[dict[str, deque[str]]] = {}
        self._trends: Final[dict[str, deque[float]]] = {}

    def receive(self, event: FleetEvent) -> None:
        """Remember an event."""
        told = describe_event(event)
        if isinstance(event, Reading):
            self._remember_value(event)
        else:
            is_well = isinstance(event, BudgetTight) and not event.is_tight
            self._add(Entry(told, "" if is_well else _STYLES.get(type(event), ""), event.at))
        if label := label_of(event):
            self._events.setdefault(label, deque(maxlen=_OF_ACCOUNT)).append(told)

    def say(self, text: str, *, at: float, style: str = "bold") -> None:
        """Remember what is no event of the fleet."""
        self._add(Entry(f"{clock_time(at)} {text}", style, at))

    def events(self, label: str) -> Sequence[str]:
        """The last ten events of an account, oldest first."""
        return tuple(self._events.get(label, ()))

    def trend(self, label: str) -> Sequence[float]:
        """The last values of uniMMR of an account, at each reading one, oldest first."""
        return tuple(self._trends.get(label, ()))

    @contextmanager
    def keeping_logs(self, clock: Callable[[], float] = time.time) -> Generator[None]:
        """While the block lasts, what is logged as a warning or worse stands here, and nowhere else.

        Args:
            clock: that of the events, in seconds since the epoch: a record's own time is this machine's.
        """
        root = logging.getLogger()
        before = root.handlers[:]
        root.handlers[:] = [_Keeper(self, clock)]
        try:
            yield
        finally:
            root.handlers[:] = before

    def _add(self, entry: Entry) -> None:
        """Add a line behind those that happened before it: events come a moment later than what is logged."""
        later: list[Entry] = []
        while self.log and 0 < self.log[-1].at - entry.at <= _REORDERED_SECONDS:
            later.append(self.log.pop())
        self.log.append(entry)
        self.log.extend(reversed(later))

    def _remember_value(self, event: Reading) -> None:
        headline = headline_of({name: timed.response for name, timed in event.responses.items()})
        if headline is not None and is_near(headline.uni_mmr):
            value = min(max(headline.uni_mmr, -_FARTHEST), _FARTHEST)
            self._trends.setdefault(event.label, deque(maxlen=TREND)).append(float(value))


class _Keeper(logging.Handler):
    """Puts records among the events, without their tracebacks: the screen has no room for them."""

    def __init__(self, history: History, clock: Callable[[], float]) -> None:
        super().__init__(logging.WARNING)
        self._history = history
        self._clock = clock

    def emit(self, record: logging.LogRecord) -> None:
        """Called from any thread."""
        self._history.say(logged(record), at=self._clock(), style="yellow")


def logged(record: logging.LogRecord) -> str:
    """A log record as one line, without its time."""
    try:
        text = record.getMessage()
    except Exception:  # noqa: BLE001 - as logging itself, it survives what cannot be written
        text = str(record.msg)
    words = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return f"{record.levelname.lower()}: {words}"
