"""The bounded history of a fleet: its events as text, and the latest values of every account's uniMMR."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import Final, NamedTuple

from binance_pm.amounts import is_near
from binance_pm.cli.output import LogHandler, clock_time, describe_event
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
"""Number of values of uniMMR that are kept for each account."""
_LOG: Final = 500
_OF_ACCOUNT: Final = 10
# Values are clipped here: a trend of larger ones is not visible, and they could exceed the range of floats.
_FARTHEST: Final = Decimal(10**12)

_STYLES: Final[dict[type[object], str]] = {
    AccountFailed: "red",
    BudgetTight: "yellow",
    HostBlocked: "bold red",
    ThresholdCrossed: "yellow",
    Stale: "bold red",
    StatusChanged: "bold yellow",
}
# An entry is inserted before entries that are up to this much more recent: events arrive later than log records.
_REORDERED_SECONDS: Final = 2.0


class Entry(NamedTuple):
    """A line of the log."""

    text: str
    style: str = ""
    at: float = 0.0
    """Seconds since the epoch."""


class History:
    """A receiver that keeps the events of a watch for the screen.

    Attributes:
        log: the last 500 entries, oldest first; readings are left out, because the accounts show them.
    """

    def __init__(self) -> None:
        self.log: Final[deque[Entry]] = deque(maxlen=_LOG)
        self._events: Final[dict[str, deque[str]]] = {}
        self._trends: Final[dict[str, deque[float]]] = {}

    def receive(self, event: FleetEvent) -> None:
        """Add an event."""
        text = describe_event(event)
        if isinstance(event, Reading):
            self._remember_value(event)
        else:
            is_well = isinstance(event, BudgetTight) and not event.is_tight
            self._add(Entry(text, "" if is_well else _STYLES.get(type(event), ""), event.at))
        if label := label_of(event):
            self._events.setdefault(label, deque(maxlen=_OF_ACCOUNT)).append(text)

    def say(self, text: str, *, at: float, style: str = "bold") -> None:
        """Add a text that is not an event of the fleet."""
        self.add(f"{clock_time(at)} {text}", at=at, style=style)

    def add(self, text: str, *, at: float, style: str = "") -> None:
        """Add a text that already begins with its time."""
        self._add(Entry(text, style, at))

    def events(self, label: str) -> Sequence[str]:
        """Return the last ten events of an account, oldest first."""
        return tuple(self._events.get(label, ()))

    def trend(self, label: str) -> Sequence[float]:
        """Return the last values of an account's uniMMR, one for each reading, oldest first."""
        return tuple(self._trends.get(label, ()))

    @contextmanager
    def keeping_logs(self, clock: Callable[[], float] = time.time) -> Generator[None]:
        """While the block lasts, add warnings and errors to the history only, stamped by the clock of the events."""
        root = logging.getLogger()
        before = root.handlers[:]
        root.handlers[:] = [LogHandler(lambda text: self.say(text, at=clock(), style="yellow"))]
        try:
            yield
        finally:
            root.handlers[:] = before

    def _add(self, entry: Entry) -> None:
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
