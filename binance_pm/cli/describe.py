"""One line of text for each event of a fleet."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import assert_never

from binance_pm.amounts import text_of
from binance_pm.cli.console import printable
from binance_pm.fleet import (
    AccountFailed,
    BudgetTight,
    Change,
    FleetEvent,
    Fresh,
    HostBlocked,
    HostUnblocked,
    Reading,
    Stale,
    StatusChanged,
    ThresholdCrossed,
)


def describe_event(event: FleetEvent) -> str:
    """Return one line with time, type, subject and details of an event, readable and suitable for `grep`."""
    return printable(f"{clock_time(event.at)} {type(event).__name__:<16} {_subject(event)}: {_details(event)}")


def clock_time(at: float) -> str:
    """Return the time of day in UTC to the second, or dashes if no calendar has such a time."""
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return "--:--:--Z"


def plain(value: Decimal | str | None) -> str:
    """Return an amount without exponent, a status unchanged, or a dash for an unknown value."""
    if isinstance(value, Decimal):
        return text_of(value)
    return value or "-"


def _subject(event: FleetEvent) -> str:
    match event:
        case HostBlocked() | HostUnblocked():
            return event.origin
        case BudgetTight():
            return event.pool
        case _:
            return event.label


def _details(event: FleetEvent) -> str:  # noqa: PLR0911 - one for each event
    match event:
        case Reading():
            changes = [f"{name} {_change_text(change)}" for name, change in event.changed.items()]
            return ", ".join(changes) or "nothing changed"
        case StatusChanged():
            return f"{event.before} -> {event.after}"
        case ThresholdCrossed():
            way = "at or below" if event.below else "back above"
            return f"uniMMR {plain(event.uni_mmr)} is {way} {event.name} {plain(event.threshold)}"
        case Stale():
            since = "never read" if event.age is None else f"last read {event.age:.1f} s ago"
            # Name the late endpoints only if others are up to date.
            which = f"{', '.join(event.stale_endpoints)} " if 0 < len(event.stale_endpoints) < len(event.ages) else ""
            return f"{which}{since}, {event.max_age:.1f} s were promised: {event.reason}"
        case Fresh():
            return f"read again, {event.age:.1f} s old"
        case AccountFailed():
            again = "not tried again" if event.retry_at is None else f"tried again at {clock_time(event.retry_at)}"
            return " ".join(filter(None, [event.endpoint, f"{event.error_type}: {event.error} ({again})"]))
        case HostBlocked():
            return f"{'banned' if event.banned else 'refused'} until {clock_time(event.until)}"
        case HostUnblocked():
            return "may be asked again"
        case BudgetTight():
            fits = "is more than" if event.is_tight else "fits"
            room = f"{event.wanted:.0f} a minute {fits} the {event.available:.0f} that may be planned"
            return f"{room}; the calmest account is read every {event.interval:.1f} s"
        case _:
            assert_never(event)


def _change_text(change: Change) -> str:
    return plain(change.after) if change.before is None else f"{plain(change.before)} -> {plain(change.after)}"
