"""The findings about user data streams; tests/messages has the texts."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from binance_pm.doctor.check import Check, Verdict
from binance_pm.doctor.stream_checks import (
    STREAM_CHECKS,
    check_connections,
    check_keepalive,
    check_key_sharing,
    check_listen_key,
    check_pings,
    check_server_pings,
    check_unanswered,
    check_unknown_key,
)
from binance_pm.doctor.stream_events import check_event_time, check_events, check_update_time
from binance_pm.doctor.stream_facts import ConnectionFacts, StreamFacts, UnknownKeyFacts
from binance_pm.errors import CallInfo, ConnectError, ExchangeError, GateClosed, RequestRejected
from binance_pm.signing import Secret
from tests.support.stream_facts import (
    POSITION_TIME,
    PUSHED,
    answer,
    arrival,
    connection,
    facts,
    moved,
    never_open,
    order,
)
from tests.support.streams import sample

LOST = ConnectError(CallInfo("create_listen_key", "desk"), "no answer")
CLOSED = GateClosed(CallInfo("create_listen_key", "desk"), "closed", until=1.0, banned=False)
SILENT = facts()
OTHER = Secret("another canary")
EXPIRED = {"e": "listenKeyExpired", "E": PUSHED, "listenKey": "canary"}
UPDATE = sample("PM_PRO_ACCOUNT_UPDATE") | {"E": PUSHED}


def refused(code: int) -> ExchangeError:
    """Return a refusal of PUT."""
    return RequestRejected(CallInfo("keepalive_listen_key", "desk"), "no", status=400, code=code)


def outcome(check: Check) -> tuple[Verdict, bool]:
    """Return the verdict, and whether there is advice."""
    return check.verdict, bool(check.advice)


OK, TOLD, BAD, OPEN = ("ok", False), ("warning", True), ("failed", True), ("not checked", False)


def test_every_check_is_made_in_order() -> None:
    """Every check is made in order, with the label of the account."""
    checks = [check("desk", facts(arrival(order()))) for check in STREAM_CHECKS.values()]

    assert [check.name for check in checks] == list(STREAM_CHECKS)
    assert {check.target for check in checks} == {"desk"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, OK),
        ({"second": OTHER, "last": OTHER}, TOLD),
        ({"last": OTHER}, TOLD),
        ({"newer": connection(arrival(EXPIRED))}, TOLD),
        ({"first": LOST, "second": None, "last": None}, BAD),
        ({"last": LOST}, BAD),
        ({"first": CLOSED, "second": None, "last": None}, ("not checked", True)),
    ],
)
def test_listen_key(changes: dict[str, Any], expected: tuple[Verdict, bool]) -> None:
    """POST must return the same key each time, and no key may expire during the watch."""
    assert outcome(check_listen_key("desk", facts(**changes))) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, OK),
        ({"keepalive": refused(-1125)}, TOLD),
        ({"keepalive": refused(-1102)}, BAD),
        ({"keepalive": LOST}, BAD),
        ({"first": LOST, "second": None}, OPEN),
    ],
)
def test_keepalive(changes: dict[str, Any], expected: tuple[Verdict, bool]) -> None:
    """If PUT does not find the key right after POST, the key was deleted."""
    assert outcome(check_keepalive("desk", facts(**changes))) == expected


@pytest.mark.parametrize(
    ("changes", "expected", "what"),
    [
        ({}, OK, "no event"),
        ({"older": connection(arrival(order())), "newer": connection(arrival(order()))}, OK, "all events: 1, each"),
        ({"older": connection(arrival(order())), "newer": connection()}, TOLD, "only on the older: 1"),
        ({"older": connection(), "newer": connection(arrival(order()))}, TOLD, "only on the newer: 1"),
        (
            {
                "older": connection(arrival(order()), arrival(order(2))),
                "newer": connection(arrival(order())),
            },
            TOLD,
            "arrived on both: 1, only on the older: 1",
        ),
        (
            {"older": connection(arrival(order())), "newer": connection(arrival(order(E=PUSHED + 1)))},
            OK,
            "1 of them with another E",
        ),
        # An event that was pushed before the second connection was open says nothing about it.
        ({"older": connection(arrival(order(), at=1.5)), "newer": connection(opened_at=2.0)}, OK, "no event"),
        ({"older": never_open(), "newer": never_open()}, BAD, "refused"),
        ({"newer": never_open()}, TOLD, "a second connection"),
        ({"older": connection(ended_at=4.0, why_ended="it broke")}, TOLD, "older of two connections"),
        ({"newer": connection(ended_at=4.0, why_ended="it broke")}, TOLD, "after 3.0 s: it broke"),
        ({"first": LOST, "second": None}, OPEN, "see listen_key"),
    ],
)
def test_connections(changes: dict[str, Any], expected: tuple[Verdict, bool], what: str) -> None:
    """Both connections must stay open, and receive every event that was pushed while both were open."""
    check = check_connections("desk", facts(**changes))

    assert outcome(check) == expected
    assert what in check.finding


@pytest.mark.parametrize(
    ("older", "expected"),
    [
        (connection(), OK),
        (connection(round_trips=[0.01, 1.4]), TOLD),
        (connection(is_unanswered=True), BAD),
    ],
)
def test_pings(older: ConnectionFacts, expected: tuple[Verdict, bool]) -> None:
    """A ping without an answer is a failure, a slow answer a warning."""
    assert outcome(check_pings("desk", facts(older=older))) == expected


def test_pings_need_a_connection() -> None:
    """Without an open connection, pings are not checked."""
    assert outcome(check_pings("desk", facts(older=never_open(), newer=never_open()))) == OPEN


@pytest.mark.parametrize(
    ("older", "seconds", "expected", "what"),
    [
        (connection(server_pings=[181.0, 361.0, 541.0]), 600.0, OK, "every 180.0 s"),
        (connection(server_pings=[181.0]), 200.0, OK, "after 180.0 s"),
        (connection(), 20.0, ("not checked", True), "within 20 s"),
        (connection(), 200.0, TOLD, "within 200 s"),
        (connection(ended_at=4.0, why_ended="it broke"), 200.0, ("not checked", True), "within 200 s"),
        (never_open(), 20.0, OPEN, "no connection"),
    ],
)
def test_server_pings(older: ConnectionFacts, seconds: float, expected: tuple[Verdict, bool], what: str) -> None:
    """Only a watch that is longer than the documented interval can miss a ping."""
    check = check_server_pings("desk", facts(older=older, seconds=seconds))

    assert outcome(check) == expected
    assert what in check.finding


class TestEvents:
    """The types and fields of the events."""

    def test_counts_by_type(self) -> None:
        """An event that has arrived on both connections counts once."""
        check = check_events("desk", facts(arrival(order()), arrival(order(2)), arrival(moved(at=1))))

        assert outcome(check) == OK
        assert "ACCOUNT_UPDATE 1, ORDER_TRADE_UPDATE 2" in check.finding

    @pytest.mark.parametrize(
        ("message", "what"),
        [
            (order(zz="secret"), "ORDER_TRADE_UPDATE has unknown fields: zz"),
            (order() | {"o": order()["o"] | {"zz": "secret"}}, "unknown fields: o.zz"),
            (moved(at=1) | {"a": moved(at=1)["a"] | {"B": [{**moved(at=1)["a"]["B"][0], "zz": "secret"}]}}, "a.B.zz"),
            ({"e": "NEW_EVENT", "E": 1, "listenKey": "secret"}, "NEW_EVENT is an unknown type with the fields E, e"),
            (b'{"e":"ORDER_TRADE_UPDATE", "o": {"secret', "1 invalid, the first: the body is not JSON"),
            ({"e": "\n" * 5 + "n" * 99, "E": 1}, f": {'n' * 40} 1; {'n' * 40} is an unknown type"),
        ],
    )
    def test_unknown_types_and_fields_are_named(self, message: dict[str, Any] | bytes, what: str) -> None:
        """Unknown types and fields are listed by name, without values."""
        check = check_events("desk", facts(arrival(message)))

        assert outcome(check) == TOLD
        assert what in check.finding
        assert "secret" not in check.finding

    def test_many_names_are_cut(self) -> None:
        """A long list of names is cut."""
        check = check_events("desk", facts(arrival(order(**{f"z{number:02}": 1 for number in range(30)}))))

        assert "z11 and 18 more" in check.finding

    def test_a_wrapped_event_is_unwrapped(self) -> None:
        """The name of the stream in a wrapper, which is the listen key, does not count as a field."""
        check = check_events("desk", facts(arrival({"stream": "secret", "data": order()})))

        assert outcome(check) == OK
        assert "ORDER_TRADE_UPDATE 1" in check.finding

    def test_messages_that_were_not_kept_are_counted(self) -> None:
        """The limit on messages bounds the memory."""
        older = connection(arrival(order()), dropped=7)

        assert "7 more messages" in check_events("desk", facts(older=older)).finding

    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ({}, ("not checked", True)),
            ({"product": "pro"}, BAD),
            ({"product": "pro", "seconds": 5.0}, ("not checked", True)),
            ({"product": "pro", "newer": connection(arrival(UPDATE))}, OK),
            ({"older": never_open(), "newer": never_open()}, OPEN),
        ],
    )
    def test_silence(self, changes: dict[str, Any], expected: tuple[Verdict, bool]) -> None:
        """Silence is normal on Portfolio Margin; on Portfolio Margin Pro, an update is due every 5 s."""
        assert outcome(check_events("desk", facts(**changes))) == expected


@pytest.mark.parametrize(("late", "expected"), [(0.1, OK), (0.0, OK), (-0.5, TOLD), (9.0, TOLD), (-0.005, OK)])
def test_event_time(late: float, expected: tuple[Verdict, bool]) -> None:
    """An event may neither come from the future nor be seconds old, as far as the exchange's clock is known."""
    assert outcome(check_event_time("desk", facts(arrival(order(), late=late)))) == expected


def test_event_time_needs_an_event_with_a_time() -> None:
    """The time of events is not checked if all events are of unknown types."""
    assert outcome(check_event_time("desk", facts(arrival({"e": "NEW_EVENT"})))) == OPEN


@pytest.mark.parametrize(
    ("changes", "expected", "what"),
    [
        ({}, OK, "0 of 2 balances and in 0 of 2 positions"),
        ({"older": connection(arrival(moved()))}, OK, "1 of 1 changed positions"),
        ({"older": connection(arrival(moved(at=POSITION_TIME - 5)))}, OK, "0 of 1 changed positions"),
        (
            {"older": connection(arrival(moved(at=POSITION_TIME + 5)))},
            TOLD,
            "BTCUSDT in the state before the last event",
        ),
        ({"answers": {"balance": LOST, "um_account": LOST}}, ("not checked", True), "no answer"),
        ({"answers": {}}, OPEN, "see listen_key"),
        ({"product": "pro"}, OPEN, "Portfolio Margin only"),
    ],
)
def test_update_time(changes: dict[str, Any], expected: tuple[Verdict, bool], what: str) -> None:
    """A response that is older than an event shows that REST lags."""
    check = check_update_time("desk", facts(**changes))

    assert outcome(check) == expected
    assert what in check.finding


def test_update_times_of_zero_are_counted() -> None:
    """Balances with an `updateTime` of 0 are counted."""
    balances = [msgspec.structs.replace(one, update_time=0) for one in answer("balance")]

    check = check_update_time("desk", facts(answers={"balance": balances, "um_account": answer("um_account")}))

    assert "2 of 2 balances" in check.finding


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (UnknownKeyFacts("silent"), OK),
        (UnknownKeyFacts("answered"), OK),
        (UnknownKeyFacts("refused", "answered 401"), OK),
        (UnknownKeyFacts("closed", "code 1008"), OK),
        (UnknownKeyFacts("failed", "no route"), OPEN),
    ],
)
def test_unknown_key(found: UnknownKeyFacts, expected: tuple[Verdict, bool]) -> None:
    """Every treatment of an unknown key is fine; only a failure to connect leaves the question open."""
    check = check_unknown_key("stream.example", found)

    assert outcome(check) == expected
    assert found.why in check.finding


def of_key(key: str, **changes: Any) -> StreamFacts:
    """Return observations of a stream with a listen key."""
    secret = Secret(key)
    return facts(first=secret, second=secret, last=secret, **changes)


ELSEWHERE: dict[str, Any] = {"balance": [], "um_account": answer("um_account")}


@pytest.mark.parametrize(
    ("watched", "verdict", "what"),
    [
        ({"a": of_key("1")}, "not checked", "two API keys of one account"),
        ({"a": of_key("1"), "b": of_key("1")}, "ok", "same listen key"),
        ({"a": of_key("1"), "b": of_key("2")}, "ok", "each API key has its own"),
        ({"a": of_key("1"), "b": of_key("2", answers=ELSEWHERE)}, "not checked", "no two seem to"),
        ({"a": of_key("1"), "b": of_key("1", product="pro")}, "not checked", "two API keys of one account"),
        ({"a": of_key("1"), "b": facts(first=LOST, second=None)}, "not checked", "two API keys of one account"),
    ],
)
def test_key_sharing(watched: dict[str, StreamFacts], verdict: Verdict, what: str) -> None:
    """Equal balances show that two API keys belong to one account."""
    check = check_key_sharing(watched)

    assert check.verdict == verdict
    assert what in check.finding


@pytest.mark.parametrize(
    ("watched", "questions"),
    [
        ({"a": SILENT}, ["both connections", "updateTime", "server pings", "share"]),
        ({"a": facts(arrival(order()))}, ["updateTime", "server pings", "share"]),
        ({"a": facts(arrival(moved()))}, ["server pings", "share"]),
        ({"a": facts(arrival(UPDATE), product="pro")}, ["server pings", "share"]),
        ({"a": facts(arrival(moved())), "b": facts(older=connection(server_pings=[181.0]))}, []),
    ],
)
def test_open_questions_are_listed(watched: dict[str, StreamFacts], questions: list[str]) -> None:
    """An answered question is left out; only time shows when the exchange closes a connection."""
    check = check_unanswered(watched, check_key_sharing(watched))

    asked = [one for one in ("both connections", "updateTime", "server pings", "share") if one in check.finding]
    assert (check.verdict, asked) == ("not checked", questions)
    assert "a day" in check.finding


def test_no_finding_shows_a_listen_key() -> None:
    """Neither a check nor the printed form of the observations shows a listen key."""
    observed = facts(arrival(EXPIRED), arrival({"e": "NEW", "listenKey": "canary"}), arrival(b'["canary"]'))

    checks = [check("desk", observed) for check in STREAM_CHECKS.values()]
    assert "canary" not in f"{checks!r}{observed!r}"
