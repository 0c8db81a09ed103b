"""Checks of the events that have arrived on a user data stream: their fields and their times."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, cast

import msgspec

from binance_pm.api.account import Balance, UmAccount
from binance_pm.api.futures_events import AccountUpdate, StreamEvent
from binance_pm.api.stream_events import PmProAccountUpdate, UnknownEvent, unwrapped
from binance_pm.doctor.check import Check
from binance_pm.doctor.clock import duration_text
from binance_pm.doctor.stream_facts import ReceivedMessage, StreamFacts
from binance_pm.errors import PortfolioMarginError
from binance_pm.stream.policy import StreamSettings

_UPDATE_SECONDS: Final = StreamSettings().update_timeout
_LATE_SECONDS: Final = 5.0
_SHOWN: Final = 12
_LONGEST_NAME: Final = 40
_REPORT: Final = "Report this line to the authors of this package."
_ACT: Final = "Change an order while the command runs, or use more --seconds."


def check_events(label: str, facts: StreamFacts) -> Check:
    """Check which events have arrived, and whether this version knows their types and fields."""
    found = facts.arrivals
    if not any(one.is_opened for one in facts.connections):
        return Check("events", label, "not checked", "no connection was open")
    missing = _missing_updates(label, facts, found)
    if missing is not None:
        return missing
    if not found:
        what = f"no event within {facts.seconds:g} s; no event is pushed while nothing happens in the account"
        return Check("events", label, "not checked", what, _ACT)
    counts = Counter(_type_of(one) for one in found)
    what = ", ".join(f"{name} {number}" for name, number in sorted(counts.items()))
    dropped = sum(one.dropped for one in facts.connections)
    what = f"within {facts.seconds:g} s: {what}" + (f", and {dropped} more messages" if dropped else "")
    flaws = [*_unknown_fields(found), *_unknown_types(found), *_invalid(found)]
    if flaws:
        return Check("events", label, "warning", "; ".join([what, *flaws]), _REPORT)
    return Check("events", label, "ok", f"{what}; all types and fields are known")


def check_event_time(label: str, facts: StreamFacts) -> Check:
    """Compare the time E of each event with the exchange's clock at its arrival."""
    # The first arrival of an event is the least delayed.
    timed = [(one, one.event) for one in facts.arrivals if isinstance(one.event, StreamEvent)]
    if not timed:
        return Check("event_time", label, "not checked", "no event with a time has arrived")
    # Each delay is an interval, because the exchange's clock is known only as an interval.
    delays = [(at.earliest - event.event_time / 1000, at.latest - event.event_time / 1000) for at, event in timed]
    ahead = -min(latest for _, latest in delays)
    late = max(earliest for earliest, _ in delays)
    if ahead > 0:
        what = f"an event's E is at least {duration_text(ahead)} ahead of the exchange's clock at its arrival"
        advice = "Do not compare E with REST times. See the check named clock for the offset of this machine."
        return Check("event_time", label, "warning", what, advice)
    if late > _LATE_SECONDS:
        what = f"an event arrived at least {duration_text(late)} after its E"
        return Check(
            "event_time", label, "warning", what, "Find the cause of the network delay, or move closer to Binance."
        )
    least = max(0.0, min(earliest for earliest, _ in delays))
    most = max(latest for _, latest in delays)
    what = f"events arrive {duration_text(least)} to {duration_text(most)} after their E, by the exchange's clock"
    return Check("event_time", label, "ok", what)


def check_update_time(label: str, facts: StreamFacts) -> Check:
    """Check which rows have an ``updateTime``, and whether that of a position is the T of the position's event."""
    if facts.product != "pm":
        return Check("update_time", label, "not checked", "this check applies to responses of Portfolio Margin only")
    balances, account = facts.answers.get("balance"), facts.answers.get("um_account")
    error = next((one for one in (balances, account) if isinstance(one, PortfolioMarginError)), None)
    if error is not None:
        return Check("update_time", label, "not checked", f"{error.endpoint}: {error.reason}", error.advice)
    if not isinstance(account, UmAccount) or balances is None:
        return Check("update_time", label, "not checked", "the account was not read, see listen_key")
    of_balances = [one.update_time for one in cast("list[Balance]", balances)]
    held = {(one.symbol, str(one.position_side)): one.update_time for one in account.positions if one.position_amt}
    what = f"updateTime is 0 in {_zeros(of_balances)} balances and in {_zeros([*held.values()])} positions"
    last = _last_changes(facts.arrivals)
    shared = {place: (at, held[place]) for place, at in last.items() if place in held}
    differing = {place: times for place, times in shared.items() if times[0] != times[1]}
    older = sorted(place[0] for place, (event, response) in differing.items() if response < event)
    if older:
        what += f"; a response after the watch shows {', '.join(older)} in the state before the last event"
        advice = "Wait before you read the account after an event: REST lags. A live account waits by itself."
        return Check("update_time", label, "warning", what, advice)
    if shared:
        equal = len(shared) - len(differing)
        what += f"; updateTime equals the T of the last event in {equal} of {len(shared)} changed positions"
    return Check("update_time", label, "ok", what)


def has_changed_positions(facts: StreamFacts) -> bool:
    """Return whether an event named a position."""
    return bool(_last_changes(facts.arrivals))


def _missing_updates(label: str, facts: StreamFacts, found: Sequence[ReceivedMessage]) -> Check | None:
    """Return the check of a Pro stream whose regular update is missing; None if an update arrived or was not due."""
    if facts.product != "pro" or any(isinstance(one.event, PmProAccountUpdate) for one in found):
        return None
    what = f"no PM_PRO_ACCOUNT_UPDATE within {facts.seconds:g} s, although an update is due every 5 s"
    if facts.seconds < _UPDATE_SECONDS:
        return Check("events", label, "not checked", what, f"Use --seconds {_UPDATE_SECONDS:g}.")
    advice = "Check that the account is on Portfolio Margin Pro; otherwise leave out --pro."
    return Check("events", label, "failed", what, advice)


def _type_of(one: ReceivedMessage) -> str:
    if one.event is None:
        return "invalid"
    return _name(one.event.event_type) or "(no type)"


def _unknown_fields(found: Iterable[ReceivedMessage]) -> list[str]:
    """Return which fields of known events this version does not know, without their values."""
    names: dict[str, set[str]] = {}
    for one in found:
        if isinstance(one.event, StreamEvent):
            paths = _surplus(_event_in(one), msgspec.json.decode(msgspec.json.encode(one.event)))
            names.setdefault(one.event.event_type, set()).update(paths)
    return [f"{kind} has unknown fields: {_listed(paths)}" for kind, paths in sorted(names.items()) if paths]


def _unknown_types(found: Iterable[ReceivedMessage]) -> list[str]:
    """Return the unknown types, each with the names of its fields."""
    names: dict[str, set[str]] = {}
    for one in found:
        if isinstance(one.event, UnknownEvent):
            names.setdefault(_type_of(one), set()).update(map(_name, _event_in(one)))
    return [f"{kind} is an unknown type with the fields {_listed(paths)}" for kind, paths in sorted(names.items())]


def _invalid(found: Iterable[ReceivedMessage]) -> list[str]:
    errors = [one.error for one in found if one.event is None]
    return [f"{len(errors)} invalid, the first: {errors[0]}"] if errors else []


def _event_in(arrival: ReceivedMessage) -> Mapping[str, Any]:
    """Return the event of a message as JSON, without a wrapper."""
    return msgspec.json.decode(unwrapped(arrival.message.reveal()))


def _surplus(received: object, known: object, path: str = "") -> set[str]:
    """Return the paths of the fields of a JSON value that its Struct does not have."""
    paths: set[str] = set()
    if isinstance(received, dict) and isinstance(known, dict):
        of_struct = cast("dict[str, object]", known)
        for name, value in cast("dict[str, object]", received).items():
            place = f"{path}{_name(name)}"
            paths |= _surplus(value, of_struct[name], f"{place}.") if name in of_struct else {place}
    elif isinstance(received, list) and isinstance(known, list):
        for one, other in zip(cast("list[object]", received), cast("list[object]", known), strict=False):
            paths |= _surplus(one, other, path)
    return paths


def _listed(names: Iterable[str]) -> str:
    ordered = sorted(names)
    more = f" and {len(ordered) - _SHOWN} more" if len(ordered) > _SHOWN else ""
    return ", ".join(ordered[:_SHOWN]) + more


def _name(text: str) -> str:
    """Return a name that the server has sent, short and printable."""
    return "".join(letter for letter in text if letter.isprintable())[:_LONGEST_NAME]


def _zeros(times: Sequence[int]) -> str:
    return f"{sum(not at for at in times)} of {len(times)}"


def _last_changes(found: Iterable[ReceivedMessage]) -> dict[tuple[str, str], int]:
    """Return the T of the last event about each USD-M position."""
    last: dict[tuple[str, str], int] = {}
    for one in found:
        if isinstance(one.event, AccountUpdate) and one.event.business_unit == "UM":
            for position in one.event.update.positions or ():
                last[position.symbol, str(position.position_side)] = one.event.transaction_time
    return last
