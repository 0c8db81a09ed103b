"""Checks of the listen key of an account and of the connections to its user data stream."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from typing import Final

from binance_pm.api.futures_events import StreamEvent
from binance_pm.api.stream_events import ListenKeyExpired
from binance_pm.doctor.account import WAITING
from binance_pm.doctor.check import Check, StreamCheckName, Verdict
from binance_pm.doctor.clock import duration_text
from binance_pm.doctor.stream_events import (
    check_event_time,
    check_events,
    check_update_time,
    has_changed_positions,
)
from binance_pm.doctor.stream_facts import ConnectionFacts, StreamFacts, UnknownKeyFacts
from binance_pm.errors import ExchangeError, PortfolioMarginError
from binance_pm.signing import Secret

SERVER_PING_SECONDS: Final = 180.0
"""How often the server pings, according to the futures pages for the same host."""

_NO_LISTEN_KEY: Final = -1125
_SLOW_SECONDS: Final = 1.0
# A ping that is due at the end of the watch may arrive a little later.
_SLACK: Final = 1.1
_SLOW: Final = "Find the cause of the network delay, or move closer to Binance."
_DELETES: Final = (
    "Find the program that deletes the listen key of the account, for example when it stops: no other program of the "
    "account receives events then."
)
_OPEN_STREAM: Final = "Check egress and tls of the stream's host. A session with pins also needs the pin of this host."


def check_listen_key(label: str, facts: StreamFacts) -> Check:
    """Check whether POST returns the same listen key each time."""
    answers = (facts.first, facts.second, facts.last)
    error = next((one for one in answers if isinstance(one, PortfolioMarginError)), None)
    if error is not None:
        return _refused("listen_key", label, error)
    first, second, last = (one.reveal() if isinstance(one, Secret) else b"" for one in answers)
    if first != second:
        what = (
            "two successive POSTs returned different listen keys, although POST is documented to return the active key"
        )
        advice = "Stop other programs of the account and try again. A stream reconnects each time the key changes."
        return Check("listen_key", label, "warning", what, advice)
    if any(isinstance(one.event, ListenKeyExpired) for one in facts.arrivals):
        what = "the listen key expired during the watch, although POST had extended the key"
        return Check("listen_key", label, "warning", what, "Nothing to do: a stream reports a gap and reconnects.")
    if last != second:
        what = "another listen key is active after the watch, and no event announced the change"
        return Check("listen_key", label, "warning", what, _DELETES)
    return Check("listen_key", label, "ok", "POST returned the same key twice, and again after the watch")


def check_keepalive(label: str, facts: StreamFacts) -> Check:
    """Check whether PUT extends the listen key."""
    if facts.key is None or facts.second is None:
        return Check("keepalive", label, "not checked", "there is no listen key, see listen_key")
    error = facts.keepalive
    if error is None:
        return Check("keepalive", label, "ok", "PUT extends the listen key; only POST proves which key is active")
    if isinstance(error, ExchangeError) and error.code == _NO_LISTEN_KEY:
        what = "PUT finds no listen key (-1125), although POST has just returned one"
        return Check("keepalive", label, "warning", what, _DELETES)
    return _refused("keepalive", label, error)


def check_connections(label: str, facts: StreamFacts) -> Check:
    """Check whether two connections of one key stay open, and whether both receive the events."""
    older, newer = facts.connections
    if facts.key is None:
        return Check("connections", label, "not checked", "there is no listen key, see listen_key")
    if not older.is_opened:
        return Check("connections", label, "failed", older.failure, _OPEN_STREAM)
    if not newer.is_opened:
        what = f"one connection is open, but a second connection with the same key could not be opened: {newer.failure}"
        advice = "Run only one program with a stream for each account; each replacement of its connection causes a gap."
        return Check("connections", label, "warning", what, advice)
    for name, one in _named(facts).items():
        if one.why_ended:
            after = duration_text(one.ended_at - one.opened_at)
            what = f"the {name} of two connections of one key ended after {after}: {one.why_ended}"
            return Check("connections", label, "warning", what, "Nothing to do: a stream reports a gap and reconnects.")
    verdict, what, advice = _deliveries(facts)
    return Check("connections", label, verdict, f"two connections of one key stayed open; {what}", advice)


def check_pings(label: str, facts: StreamFacts) -> Check:
    """Check whether both connections answer pings, and how fast."""
    trips = [trip for one in facts.connections for trip in one.round_trips]
    for name, one in _named(facts).items():
        if one.is_unanswered:
            what = f"the {name} connection did not answer a ping within {facts.pong_seconds:g} s"
            advice = (
                "Look for a firewall or proxy that drops connections. A stream reconnects if a ping is not answered."
            )
            return Check("pings", label, "failed", what, advice)
    if not trips:
        return Check("pings", label, "not checked", "no connection was open long enough")
    middle, longest = duration_text(statistics.median(trips)), duration_text(max(trips))
    what = f"{len(trips)} of {len(trips)} pings answered, round trip {middle} (median) and {longest} (longest)"
    if max(trips) > _SLOW_SECONDS:
        return Check("pings", label, "warning", what, _SLOW)
    return Check("pings", label, "ok", what)


def check_server_pings(label: str, facts: StreamFacts) -> Check:
    """Check how often the server sends pings."""
    pings = facts.older.server_pings
    if not facts.older.is_opened:
        return Check("server_pings", label, "not checked", "no connection was open")
    if len(pings) > 1:
        every = (pings[-1] - pings[0]) / (len(pings) - 1)
        return Check("server_pings", label, "ok", f"the server sends a ping every {duration_text(every)}")
    if pings:
        after = duration_text(pings[0] - facts.older.opened_at)
        return Check("server_pings", label, "ok", f"the server sent its first ping after {after}")
    what = (
        f"no ping from the server within {facts.seconds:g} s; documented for futures: every {SERVER_PING_SECONDS:g} s"
    )
    if facts.seconds > _SLACK * SERVER_PING_SECONDS and not facts.older.why_ended:
        return Check("server_pings", label, "warning", what, "Nothing to do: a stream sends its own pings.")
    return Check("server_pings", label, "not checked", what, f"Use --seconds {1.2 * SERVER_PING_SECONDS:g}.")


STREAM_CHECKS: Final[Mapping[StreamCheckName, Callable[[str, StreamFacts], Check]]] = {
    "listen_key": check_listen_key,
    "keepalive": check_keepalive,
    "connections": check_connections,
    "pings": check_pings,
    "server_pings": check_server_pings,
    "events": check_events,
    "event_time": check_event_time,
    "update_time": check_update_time,
}
"""The checks of the stream of each account, in order; each takes the label of the account and the observed facts."""


def check_unknown_key(host: str, facts: UnknownKeyFacts) -> Check:
    """Check what happens to a connection with a listen key that was made up."""
    match facts.outcome:
        case "silent":
            what = f"{host}: a connection with a made-up listen key opens and stays silent"
        case "answered":
            what = f"{host}: a connection with a made-up listen key opens, and a message arrives"
        case "refused" | "closed":
            what = f"{host}: a connection with a made-up listen key is {facts.outcome}: {facts.why}"
        case "failed":
            return Check("unknown_key", host, "not checked", facts.why)
    return Check("unknown_key", host, "ok", what)


def check_key_sharing(watched: Mapping[str, StreamFacts]) -> Check:
    """Check whether API keys of one account share a listen key; the facts are given by label."""
    known = {label: facts for label, facts in watched.items() if facts.key is not None}
    pairs = [(one, other) for one in known for other in known if one < other]
    pairs = [(one, other) for one, other in pairs if known[one].product == known[other].product]
    for one, other in pairs:
        if _key(known[one]) == _key(known[other]):
            what = f"{one} and {other} have the same listen key: API keys of one account share their listen key"
            return Check("key_sharing", "", "ok", what)
    for one, other in pairs:
        if _balances(known[one]) and _balances(known[one]) == _balances(known[other]):
            what = f"{one} and {other} have equal balances and different listen keys: each API key has its own"
            return Check("key_sharing", "", "ok", what)
    if pairs:
        what = f"{len(known)} API keys have {len(known)} listen keys, but no two seem to belong to one account"
        return Check("key_sharing", "", "not checked", what)
    what = "this check needs two API keys of one account in a file for --accounts"
    return Check("key_sharing", "", "not checked", what)


def check_unanswered(watched: Mapping[str, StreamFacts], sharing: Check) -> Check:
    """Return which questions about streams can only be answered with an order, more time or another key."""
    both = [one for one in watched.values() if _shared_events(one)[1]]
    # The responses of Portfolio Margin Pro are not read.
    moved = [one for one in watched.values() if one.product == "pro" or has_changed_positions(one)]
    pinged = [one for one in watched.values() if one.older.server_pings]
    needs = {
        "an order during the watch": [
            *(["whether both connections receive events"] if not both else []),
            *(["whether updateTime equals T, and how far REST lags behind events"] if not moved else []),
        ],
        "more --seconds": ["how often the server pings"] if not pinged else [],
        "a second API key": ["whether API keys share a listen key"] if sharing.verdict == "not checked" else [],
        "a day": ["when the exchange closes a connection"],
    }
    what = "; ".join(f"needs {need}: {', '.join(questions)}" for need, questions in needs.items() if questions)
    return Check("unanswered", "", "not checked", what)


def _refused(name: StreamCheckName, label: str, error: PortfolioMarginError) -> Check:
    verdict: Verdict = "not checked" if isinstance(error, WAITING) else "failed"
    return Check(name, label, verdict, f"{error.endpoint}: {error.reason}", error.advice)


def _named(facts: StreamFacts) -> dict[str, ConnectionFacts]:
    return {"older": facts.older, "newer": facts.newer}


def _shared_events(facts: StreamFacts) -> tuple[int, int, int]:
    """Return how many events only the older connection, both, and only the newer connection have received."""
    # Events pushed before the newer connection was open may arrive on the older connection a little later.
    since = facts.newer.opened_at + max(facts.older.round_trips, default=0.0)
    older, newer = (
        {one.identity for one in connection.arrivals if one.at >= since} for connection in facts.connections
    )
    # An event near the limit counts if the other connection has received the event at any time.
    on_older, on_newer = ({one.identity for one in connection.arrivals} for connection in facts.connections)
    shared = (older | newer) & on_older & on_newer
    return len(older - shared), len(shared), len(newer - shared)


def _deliveries(facts: StreamFacts) -> tuple[Verdict, str, str]:
    """Return verdict, finding and advice about which of two open connections receives the events."""
    older, shared, newer = _shared_events(facts)
    if not older + shared + newer:
        return "ok", "no event arrived on either connection", ""
    if not older + newer:
        return "ok", f"both received all events: {shared}{_times(facts)}", ""
    what = f"events that arrived on both: {shared}, only on the older: {older}, only on the newer: {newer}"
    advice = "Run only one program with a stream for each account: other connections of the key may miss events."
    return "warning", what, advice


def _times(facts: StreamFacts) -> str:
    """Return whether E is the same in both deliveries of an event."""
    older, newer = (
        {one.identity: one.event.event_time for one in connection.arrivals if isinstance(one.event, StreamEvent)}
        for connection in facts.connections
    )
    differing = sum(older[identity] != newer[identity] for identity in older.keys() & newer.keys())
    return f", {differing} of them with another E" if differing else ", each with the same E"


def _key(facts: StreamFacts) -> bytes:
    return b"" if facts.key is None else facts.key.reveal()


def _balances(facts: StreamFacts) -> frozenset[tuple[str, object]]:
    """Return the assets that the account holds, with amounts that do not depend on prices."""
    balances = facts.answers.get("balance")
    if balances is None or isinstance(balances, PortfolioMarginError):
        return frozenset()
    return frozenset((one.asset, one.total_wallet_balance) for one in balances if one.total_wallet_balance)
