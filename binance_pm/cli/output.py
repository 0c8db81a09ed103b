"""What the commands print: safe text, one line for each event and log record, and the console for tables."""

from __future__ import annotations

import json
import logging
import select
import sys
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final, NoReturn, assert_never

import anyio
from rich.console import Console

from binance_pm.amounts import json_of, text_of
from binance_pm.fleet import (
    AccountChange,
    AccountFailed,
    BalanceChanged,
    BudgetTight,
    Change,
    FleetEvent,
    Fresh,
    HostBlocked,
    HostUnblocked,
    PositionChanged,
    Reading,
    Stale,
    StatusChanged,
    ThresholdCrossed,
)

_CHECK_SECONDS: Final = 0.5
"""How often a command that waits for events checks whether its output is still read."""


class Output(Console):
    """A console that raises on a closed pipe, so that `main` decides; rich itself would exit with 1."""

    def on_broken_pipe(self) -> None:
        """Raise `BrokenPipeError`; called by rich when the pipe is closed."""
        raise BrokenPipeError


def printable(text: str) -> str:
    """Return the text with control characters escaped as in JSON: responses may contain terminal commands.

    A line of JSON stays equivalent JSON.
    """
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else json.dumps(letter)[1:-1] for letter in text)


def check_reader() -> None:
    """Raise `BrokenPipeError` if the reader of stdout has ended, such as ``head``.

    Printing notices this only with the next line, which may be hours away.
    """
    if not hasattr(select, "poll"):
        return
    pipe = select.poll()
    # The stdout of Textual or of a test has no file descriptor: the error is a ValueError in both cases.
    with suppress(ValueError):
        # POLLERR and POLLHUP are always reported: they need no event mask.
        pipe.register(sys.stdout, 0)
    if any(flags & (select.POLLERR | select.POLLHUP) for _, flags in pipe.poll(0)):
        raise BrokenPipeError


@asynccontextmanager
async def while_read() -> AsyncGenerator[None]:
    """End the block with `BrokenPipeError` soon after the reader of stdout has ended."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_check_regularly)
        yield
        tasks.cancel_scope.cancel()


async def _check_regularly() -> NoReturn:
    while True:
        await anyio.sleep(_CHECK_SECONDS)
        check_reader()


def print_event(event: FleetEvent, *, as_json: bool) -> None:
    """Print one line for the event immediately."""
    print(printable(json_of(event).decode()) if as_json else describe_event(event), flush=True)


def describe_event(event: FleetEvent) -> str:
    """Return one line with time, type, subject and details of an event, readable and suitable for `grep`."""
    return printable(f"{clock_time(event.at)} {type(event).__name__:<16} {_subject(event)}: {_details(event)}")


def clock_time(at: float) -> str:
    """Return the time of day in UTC to the second, or dashes if no calendar has such a time."""
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return "--:--:--Z"


def log_text(record: logging.LogRecord) -> str:
    """Return a log record as one line, without its time."""
    try:
        text = record.getMessage()
    except Exception:  # noqa: BLE001 - like logging itself, continue if a record cannot be formatted
        text = str(record.msg)
    words = "".join(letter if letter.isprintable() else " " for letter in text).split()
    return f"{record.levelname.lower()}: {' '.join(words)}"


class LogHandler(logging.Handler):
    """A handler that passes each warning and error on as one line, without a traceback."""

    def __init__(self, write: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._write = write

    def emit(self, record: logging.LogRecord) -> None:
        """Pass on a record; called from any thread."""
        self._write(log_text(record))


@contextmanager
def stamped_logs(clock: Callable[[], float]) -> Generator[None]:
    """While the block lasts, write warnings and errors to stderr, stamped by the clock of the events.

    A program with its own logging handlers keeps them.
    """
    root = logging.getLogger()
    if root.handlers:
        yield
        return
    handler = LogHandler(lambda text: print(clock_time(clock()), text, file=sys.stderr, flush=True))
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)


def _subject(event: FleetEvent) -> str:
    match event:
        case HostBlocked() | HostUnblocked():
            return event.origin
        case BudgetTight():
            return event.pool
        case _:
            return event.label


def _details(event: FleetEvent) -> str:  # noqa: C901, PLR0911 - one case for each event
    match event:
        case Reading():
            changes = [f"{name} {_change_text(change)}" for name, change in event.changed.items()]
            return ", ".join(changes) or "nothing changed"
        case PositionChanged() | BalanceChanged():
            return _account_change(event)
        case StatusChanged():
            return f"{event.before} -> {event.after}"
        case ThresholdCrossed():
            way = "at or below" if event.below else "back above"
            return f"uniMMR {_plain(event.uni_mmr)} is {way} {event.name} {_plain(event.threshold)}"
        case Stale():
            since = "never read" if event.age is None else f"last read {event.age:.1f} s ago"
            # Name the late endpoints only if others are up to date.
            which = f"{', '.join(event.stale_endpoints)} " if 0 < len(event.stale_endpoints) < len(event.ages) else ""
            return f"{which}{since}, maximum age {event.max_age:.1f} s: {event.reason}"
        case Fresh():
            return f"fresh again, {event.age:.1f} s old"
        case AccountFailed():
            retry = "no retry" if event.retry_at is None else f"retry at {clock_time(event.retry_at)}"
            return " ".join(filter(None, [event.endpoint, f"{event.error_type}: {event.error} ({retry})"]))
        case HostBlocked():
            return f"{'banned' if event.banned else 'refused'} until {clock_time(event.until)}"
        case HostUnblocked():
            return "requests are allowed again"
        case BudgetTight():
            fits = "is more than" if event.is_tight else "fits"
            room = f"{event.wanted:.0f} per minute {fits} the {event.available:.0f} that may be planned"
            return f"{room}; a calm account is read every {event.interval:.1f} s"
        case _:
            assert_never(event)


def _account_change(event: AccountChange) -> str:
    if isinstance(event, BalanceChanged):
        return f"{event.market} {event.asset} {_plain(event.wallet_balance)}"
    side = "" if event.position_side == "BOTH" else f" {event.position_side}"
    return f"{event.symbol}{side} {_plain(event.position_amt)} at {_plain(event.entry_price)}"


def _change_text(change: Change) -> str:
    return _plain(change.after) if change.before is None else f"{_plain(change.before)} -> {_plain(change.after)}"


def _plain(value: Decimal | str | None) -> str:
    """Return an amount without exponent, a status unchanged, or a dash for an unknown value."""
    return text_of(value) if isinstance(value, Decimal) else value or "-"
