"""The lines of the whole screen, from the state of the fleet, its events and the view that the user has chosen."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from rich.cells import cell_len

from binance_pm.budget import PoolState
from binance_pm.cli.dashboard.account import account
from binance_pm.cli.dashboard.history import Entry, History
from binance_pm.cli.dashboard.line import Line, Span, fitted, line, wrapped
from binance_pm.cli.dashboard.rows import (
    AccountRow,
    aged,
    matching,
    ordered,
    rows_of,
)
from binance_pm.cli.dashboard.table import LOUD, ColumnName, age_text, table
from binance_pm.cli.dashboard.view import View
from binance_pm.cli.output import clock_time
from binance_pm.fleet import AccountSnapshot, FleetState

PAUSED: Final = "bold yellow reverse"
# Number of lines from which on there is room for blank lines.
_AIRY: Final = 30
_FULL: Final = 0.85
_LEAST_BAR: Final = 8
_QUIET_SECONDS: Final = 20.0
_HELP: Final = (
    ("keys", ""),
    ("s, S", "sort by the next or the previous column"),
    ("/", "filter by label, status or state; Esc clears the filter"),
    ("arrows", "select an account, Enter opens it; also PgUp, PgDn, Home, End"),
    ("Esc", "go back to all accounts"),
    ("p", "pause the list; accounts are still read, and ages increase"),
    ("e", "show the latest events"),
    ("q", "quit, as does Ctrl-C"),
    ("words", ""),
    ("STALE", "older than promised; figures that are struck out are outdated"),
    ("STALE um", "only the positions are stale; other figures are up to date"),
    ("NEVER READ", "the account was never read"),
    ("PART UNREAD", "one endpoint of the account was never read"),
    ("FAIL", "the last reading failed; the figures are still up to date"),
    ("failed", "accounts whose last reading failed, even if stale or never read"),
    ("!!", "at or below the alarm threshold or 1.05, or worse than MARGIN_CALL"),
    ("!", "at or below the warn threshold, or MARGIN_CALL"),
    ("ALL STALE", "every uniMMR is stale: no figure on this screen is reliable"),
    ("FAILING", "the last reading of every account failed: ALL STALE will follow"),
    ("QUIET", "no account was read for longer than planned"),
    ("[##..== ]", "weight of this minute: used, free, reserve, safety margin"),
    ("danger", "stale accounts and alarms first, then by uniMMR"),
)


class Screen(NamedTuple):
    """The content of the screen."""

    lines: list[Line]
    """From top to bottom, as many as the screen is high, each as wide as the screen."""
    labels: list[str]
    """Labels of all matching accounts, in their order."""
    body: int
    """Number of accounts that fit on the screen."""
    scrolled: int
    """Number of lines of a text page above the screen."""
    widths: Mapping[ColumnName, int]


def screen_of(
    known: FleetState,
    history: History,
    view: View,
    *,
    width: int,
    height: int,
    since: float,
    widths: Mapping[ColumnName, int] | None = None,
) -> Screen:
    """Return the screen of a state; watching began at ``since`` seconds since the epoch.

    Pausing freezes only the accounts: the head, the warnings, the budget and the events are always current.
    """
    now, still = rows_of(known.accounts), view.paused
    rows = now if still is None else rows_of(aged(one, known.at - still.at) for one in still.accounts)
    found = ordered(matching(rows, view.filter), view.order)
    head = [_head(now, known.at, view, width), *_warnings(now, known, view, since)]
    room, above = height - len(head) - 1, 0
    if view.page == "table":
        head += _narrowing(rows, found, view)
        lines, body, widths = _table_page(known, history, view, found, width, height - len(head) - 1, widths or {})
    else:
        text = _text(view, rows, history, width)
        above = max(0, min(view.scrolled, len(text) - room))
        lines, body = text[above : above + room], room
    filled = [*head, *lines, *[line()] * height][: max(0, height - 1)]
    return Screen(
        lines=[fitted(one, width) for one in (*filled, _keys(view, width))][:height],
        labels=[row.snapshot.label for row in found],
        body=max(1, body),
        scrolled=above,
        widths=widths or {},
    )


def budget_lines(pools: Sequence[PoolState], width: int) -> list[Line]:
    """Return a bar for each limit, the fullest first; the fullest account pool of a path stands for all of them."""
    fullest: dict[tuple[str, ...], PoolState] = {}
    members = Counter[tuple[str, ...]]()
    for state in sorted(pools, key=lambda state: -state.used / state.limit):
        pool = state.pool
        # There is one pool of the IP for each host.
        place = (pool.family, pool.limit_type, pool.path, "" if pool.key_id else pool.origin)
        fullest.setdefault(place, state)
        members[place] += 1
    counts = [members[place] for place in fullest]
    names = [f"{s.pool.name} ({n})" if n > 1 else s.pool.name for s, n in zip(fullest.values(), counts, strict=True)]
    size = max(map(cell_len, names), default=0)
    figures = [_pool_figures(state, width - size - _LEAST_BAR - 4) for state in fullest.values()]
    bar = max(_LEAST_BAR, min(40, width - size - max(map(cell_len, figures), default=0) - 4))
    return [
        (Span(f"{name:<{size}} "), Span(f"[{_bar(state, bar)}]", _bar_style(state)), Span(f" {text}"))
        for name, text, state in zip(names, figures, fullest.values(), strict=True)
    ]


def waiting_lines(pools: Sequence[PoolState], width: int) -> list[Line]:
    """Return what calls wait for, the reason with the most calls first."""
    reasons: dict[str, int] = {}
    for state in pools:
        if (why := state.waiting_for) is not None:
            reasons[why.text] = max(sum(state.waiting.values()), reasons.get(why.text, 0))
    most = sorted(reasons.items(), key=lambda reason: -reason[1])
    return [line(_shortest(f"{number:,} call{'s' * (number != 1)}: {text}", width), "yellow") for text, number in most]


def stream_lines(accounts: Iterable[AccountSnapshot]) -> list[Line]:
    """Return how many user data streams are up and how much they save; empty if no account has a stream."""
    streamed = [one for one in accounts if one.stream != "off"]
    if not streamed:
        return []
    up, saved = sum(one.stream == "up" for one in streamed), sum(one.saved for one in streamed)
    text = f"{up} of {len(streamed)} user data streams up, saving {saved:,.0f} of weight per minute"
    return [line(text, "" if up == len(streamed) else "yellow")]


def _shortest(text: str, width: int) -> str:
    """Return the text without the last parts that do not fit."""
    while len(text) > width and ("; " in text or ", " in text):
        text = text[: max(text.rfind("; "), text.rfind(", "))]
    return text


def _table_page(
    known: FleetState,
    history: History,
    view: View,
    found: list[AccountRow],
    width: int,
    room: int,
    widths: Mapping[ColumnName, int],
) -> tuple[list[Line], int, Mapping[ColumnName, int]]:
    budget = [
        *budget_lines(known.pools, width)[: max(2, room // 8)],
        *stream_lines(known.accounts),
        *waiting_lines(known.pools, width)[: max(1, room // 16)],
    ]
    airy = [line()] if room >= _AIRY else []
    body = max(1, room - 1 - len(budget) - 2 * len(airy) - max(3, room // 5))
    labels = [row.snapshot.label for row in found]
    place = labels.index(view.chosen) if view.chosen in labels else 0
    above = max(0, min(place - body // 2, len(found) - body))
    seen = found[above : above + body]
    shown = table(seen, width, trend=history.trend, chosen=view.chosen, widths=widths)
    rows = shown.body or [line("No account matches the filter." if view.filter else "There are no accounts.", LOUD)]
    lines = [shown.head, *rows, *airy, *budget, *airy]
    return [*lines, *_log(history.log, width, room - len(lines))], body, shown.widths


def _text(view: View, rows: list[AccountRow], history: History, width: int) -> list[Line]:
    """Return a text page."""
    if view.page == "help":
        return _help(width)
    if view.page == "events":
        return [one for entry in reversed(history.log) for one in _entry(entry, width)] or [line("No events yet.")]
    for row in rows:
        if row.snapshot.label == view.chosen:
            label = row.snapshot.label
            return account(row, width, trend=history.trend(label), events=history.events(label))
    return [line(f"{view.chosen} is no longer watched.", LOUD)]


def _head(rows: Sequence[AccountRow], at: float, view: View, width: int) -> Line:
    """Return the counts of accounts; on a narrow screen without the zeros."""
    conditions = Counter(row.condition for row in rows)
    counts = [
        (conditions["stale"], "stale", LOUD),
        (sum(bool(row.snapshot.error) for row in rows), "failed", "bold red"),
        (conditions["unread"] + conditions["partial"], "unread", LOUD),
        (sum(row.level == "alarm" for row in rows), "in alarm", LOUD),
    ]
    fresh = conditions["fresh"]
    accounts = f" {len(rows)} account{'s' * (len(rows) != 1)} "
    whole = [Span(accounts, "bold"), Span(f" {fresh} fresh ", "green" if fresh == len(rows) > 0 else "")]
    whole += [Span(f" {number} {word} ", style if number else "") for number, word, style in counts]
    brief = [Span(text.rstrip(), style) for text, style in whole if not text.startswith(" 0 ")]
    state = "live" if view.paused is None else "PAUSED"
    style = "" if view.paused is None else PAUSED
    for time in (f" {state} {clock_time(at)} ", f" {clock_time(at)}"):
        for left in (whole, brief):
            room = width - len(time)
            if sum(len(text) for text, _ in left) <= room:
                return (*fitted(left, room), Span(time, style))
    return fitted(brief, width)


def _warnings(rows: Sequence[AccountRow], known: FleetState, view: View, since: float) -> list[Line]:
    """Return the warnings that must be seen first."""
    lines: list[Line] = []
    if (staleness := _staleness(rows, known.at - since)) is not None:
        lines.append(staleness)
    for gate in known.gates:
        if not gate.seconds:
            continue
        what = "418, BANNED" if gate.banned else "429, GATE CLOSED"
        host = gate.origin.partition("://")[2] or gate.origin
        until = clock_time(known.at + gate.seconds)
        lines.append(line(f" {what} for {_countdown(gate.seconds)}, until {until}: nothing is sent to {host}", LOUD))
    if view.paused is not None:
        stood = known.at - view.paused.at
        text = f" PAUSED for {age_text(stood)}: the accounts are those of {clock_time(view.paused.at)}; p resumes"
        lines.append(line(text, PAUSED))
    return lines


def _staleness(rows: Sequence[AccountRow], watched: float) -> Line | None:
    """Return a warning if all data is stale, or if no account was read for longer than planned."""
    ages = [row.headline_age for row in rows if row.headline_age is not None]
    # Brief reasons, so that reasons that differ only in seconds count as the same.
    reasons = Counter(row.brief_reason for row in rows if row.reason)
    because = f": {reasons.most_common(1)[0][0]}" if reasons else ""
    is_unknown = all(row.is_headline_stale for row in rows)
    is_late = is_unknown and (bool(ages) or any(row.snapshot.is_stale for row in rows) or not rows)
    if rows and all(row.snapshot.error for row in rows) and not is_late:
        return line(f" FAILING: the last reading of every account failed{because}", LOUD)
    if not is_unknown:
        soonest = min(row.snapshot.interval for row in rows if row.snapshot.interval)
        quiet = f" QUIET: no account was read for {min(ages):.0f} s; the most urgent is planned every {soonest:.0f} s"
        return line(quiet, PAUSED) if min(ages) > _QUIET_SECONDS else None
    if ages:
        return line(f" ALL STALE: no account was read for {min(ages):.0f} s{because}", LOUD)
    if is_late:
        return line(f" ALL STALE: no account was read since the start, {watched:.0f} s ago{because}", LOUD)
    return line(f" NO DATA YET: watching began {watched:.0f} s ago", PAUSED)


def _countdown(seconds: float) -> str:
    """Return the remaining seconds, rounded up."""
    left = math.ceil(seconds)
    return f"{left} s" if left < 120 else f"{left // 3600}:{left // 60 % 60:02}:{left % 60:02}"


def _narrowing(rows: Sequence[AccountRow], found: Sequence[AccountRow], view: View) -> list[Line]:
    """Return how many accounts the filter hides, and how many of them are in danger."""
    if not (view.filter or view.is_typing):
        return []
    labels = {row.snapshot.label for row in found}
    hidden = [row for row in rows if row.snapshot.label not in labels]
    bad = sum(row.is_headline_stale or row.level == "alarm" for row in hidden)
    shown = f" filter: {view.filter}{'_' * view.is_typing}  {len(found)} of {len(rows)} accounts shown"
    return [
        (
            Span(shown, PAUSED),
            Span(f", {bad} hidden {'is' if bad == 1 else 'are'} stale or in alarm" if bad else "", LOUD),
        )
    ]


def _pool_figures(state: PoolState, width: int) -> str:
    """Return the used weight and, if they fit, waiting calls, external usage and the reserve."""
    waiting = sum(state.waiting.values())
    text = f"{state.used:>6,} of {state.limit:,}"
    parts = [
        f", {waiting:,} waiting" if waiting else "",
        f", external {state.external:,}" if state.external else "",
        f", reserve {state.reserve:,}",
    ]
    for part in parts:
        text += part if len(text) + len(part) <= width else ""
    return text


def _bar(state: PoolState, width: int) -> str:
    """Return a bar of used weight, free weight, the reserve, and the safety margin below the limit."""
    used, polls, cap = (
        round(min(1.0, part / state.limit) * width) for part in (state.used, state.cap - state.reserve, state.cap)
    )
    kept = "." * max(0, polls - used) + "=" * max(0, cap - max(used, polls))
    return ("#" * used + kept).ljust(width)


def _bar_style(state: PoolState) -> str:
    if state.closed or state.used >= state.cap:
        return "bold red"
    return "yellow" if state.used >= _FULL * state.cap else "cyan"


def _log(log: Iterable[Entry], width: int, room: int) -> list[Line]:
    """Return the newest events that fit completely, the newest at the bottom."""
    lines: list[Line] = []
    for entry in reversed([*log][-room:] if room > 0 else []):
        more = _entry(entry, width)
        if lines and len(lines) + len(more) > room:
            break
        lines[:0] = more
    return lines[: max(0, room)]


def _entry(entry: Entry, width: int) -> list[Line]:
    return [line(text, entry.style) for text in wrapped(entry.text, width, indent=10)]


def _help(width: int) -> list[Line]:
    lines: list[Line] = []
    for word, text in _HELP:
        if not text:
            lines.append(line(word, "bold"))
        else:
            first, *rest = wrapped(text, max(20, width - 14))
            lines.append((Span(f"  {word:<12}", "cyan"), Span(first)))
            lines += [line(" " * 14 + more) for more in rest]
    return lines


def _keys(view: View, width: int) -> Line:
    if view.is_typing:
        text = " type a label, status or state   Enter: keep   Esc: show all"
    elif view.page == "table":
        text = f" q quit  s sort: {view.order}  / filter  p pause  arrows Enter open  e events  ? help"
    else:
        text = " Esc back  arrows scroll  p pause  q quit"
    return fitted(line(text, "reverse"), width)
