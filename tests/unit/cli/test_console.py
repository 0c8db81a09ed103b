"""Whatever the exchange, or another program in a stream, writes: a terminal obeys nothing of it."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Literal

import msgspec
import pytest

from binance_pm import AccountStatus
from binance_pm.cli import call, tail
from binance_pm.cli.console import printable
from binance_pm.cli.dashboard.screen import screen_of
from binance_pm.cli.dashboard.view import View
from binance_pm.cli.describe import describe_event
from binance_pm.cli.watch import Printer
from binance_pm.fleet import StatusChanged, StreamEntry
from binance_pm.fleet.relay.subscribe import StreamReader
from tests.support.snapshots import NOON, account, calm, changed, fleet_state, responses, told

EVIL = "\x1b[2J\x1b]0;pwned\x07[red]\n\x9b31m\u202e\U000e0041"
STATUS = AccountStatus(EVIL)
TOLD = StatusChanged(label="desk-07", at=NOON, before=AccountStatus.NORMAL, after=STATUS)


def test_what_is_harmless_stays() -> None:
    """Letters of all languages, and what a markup language would take for its own."""
    assert printable("[red]Bücher 机器 🙂 ") == "[red]Bücher 机器 🙂 "


def test_json_stays_the_same_json() -> None:
    """It is read as what was written."""
    assert json.loads(printable(json.dumps(EVIL, ensure_ascii=False))) == EVIL


def test_a_sentence_is_one_line() -> None:
    """Whatever ends a line stands in it as an escape."""
    assert describe_event(TOLD).isprintable()


@pytest.mark.parametrize("form", ["words", "json"])
def test_lines_of_a_watch(capsys: pytest.CaptureFixture[str], form: str) -> None:
    """As JSON too: terminals know orders that JSON leaves as they are."""
    Printer(json=form == "json").receive(TOLD)

    assert capsys.readouterr().out.removesuffix("\n").isprintable()


@pytest.mark.parametrize("form", ["words", "json"])
def test_lines_of_a_stream(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, valkey: str, form: str
) -> None:
    """Other programs write there, also what this version does not know."""
    text = msgspec.json.encode(TOLD).decode()
    found = [
        [StreamEntry(shard=EVIL, run="r", number=1, event=event, text=text) for event in (TOLD, None)],
        KeyboardInterrupt(),
    ]

    def read(_: StreamReader) -> list[StreamEntry]:
        now = found.pop(0)
        if isinstance(now, KeyboardInterrupt):
            raise now
        return now

    monkeypatch.setattr(StreamReader, "read", read)
    with pytest.raises(KeyboardInterrupt):
        tail.run(url=valkey, stream="evil", group="g", from_start=False, json=form == "json")

    lines = capsys.readouterr().out.removesuffix("\n").split("\n")
    assert len(lines) == 2
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize("page", ["table", "account", "events"])
def test_lines_of_the_screen(page: Literal["table", "account", "events"]) -> None:
    """And the columns stay where they are."""
    accounts = changed(calm(), desk_07=account("desk-07", "1.1", status=STATUS))
    history = told(accounts)
    history.receive(TOLD)
    shown = screen_of(
        fleet_state(accounts), history, View(page=page, chosen="desk-07"), width=100, height=40, since=NOON
    )

    lines = ["".join(span.text for span in line) for line in shown.lines]
    assert all(line.isprintable() for line in lines)
    assert any("\\u001b" in line for line in lines)
    # The trend, which rises to its highest bar, begins in one column.
    assert len({line.index("█") for line in lines if page == "table" and line.startswith("desk-")}) <= 1


def test_an_answer_that_was_asked_for() -> None:
    """It is JSON on several lines."""
    answer = responses("1.1", status=STATUS)["account"].response
    text = call.as_json(answer)

    assert all(line.isprintable() for line in text.split("\n"))
    assert json.loads(text)["accountStatus"] == EVIL
    assert Decimal(json.loads(text)["uniMMR"]) == Decimal("1.1")


def test_times_that_no_calendar_has_are_dashes() -> None:
    """The exchange's times, and those in a stream, are whatever stands there."""
    strange = calm()[0]
    read = {
        name: msgspec.structs.replace(one, response=msgspec.structs.replace(one.response, update_time=10**18))
        for name, one in strange.responses.items()
        if name == "account"
    }
    accounts = [msgspec.structs.replace(strange, responses=read)]
    view = View(page="account", chosen=strange.label)
    shown = screen_of(fleet_state(accounts), told(accounts), view, width=100, height=40, since=NOON)

    assert any("--:--:--Z" in span.text for line in shown.lines for span in line)


@pytest.mark.parametrize("uni_mmr", ["1e400", "-1e400", "-1e30", "-0"])
def test_figures_beyond_all_bounds_are_shown(uni_mmr: str) -> None:
    """Whatever one account is said to be worth, the screen goes on."""
    accounts = changed(calm(), desk_07={"uni_mmr": Decimal(uni_mmr)})
    history = told(accounts)
    for view in (View(), View(page="account", chosen="desk-07")):
        shown = screen_of(fleet_state(accounts), history, view, width=100, height=40, since=NOON)

        assert any("desk-07" in span.text for line in shown.lines for span in line)
