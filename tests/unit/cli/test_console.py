"""No text of the exchange or of a stream can control the terminal."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Literal

import msgspec
import pytest

from binance_pm import AccountStatus
from binance_pm.cli.dashboard.screen import screen_of
from binance_pm.cli.dashboard.view import View
from binance_pm.cli.output import describe_event, print_event, printable
from binance_pm.cli.response import as_json as response_json
from binance_pm.cli.tail import as_json, as_text
from binance_pm.fleet import StatusChanged, StreamEntry
from tests.support.snapshots import NOON, account, calm, changed, fleet_state, history_of, responses

EVIL = "\x1b[2J\x1b]0;pwned\x07[red]\n\x9b31m\u202e\U000e0041"
STATUS = AccountStatus(EVIL)
TOLD = StatusChanged(label="desk-07", at=NOON, before=AccountStatus.NORMAL, after=STATUS)


def test_printable_text_is_unchanged() -> None:
    """Letters of all languages and rich's markup stay; escaped JSON is equivalent."""
    assert printable("[red]Bücher 机器 🙂 ") == "[red]Bücher 机器 🙂 "
    assert json.loads(printable(json.dumps(EVIL, ensure_ascii=False))) == EVIL


@pytest.mark.parametrize("as_json", [False, True])
def test_an_event_is_one_printable_line(capsys: pytest.CaptureFixture[str], as_json: bool) -> None:
    """JSON is escaped, too: it may contain control characters of terminals."""
    print_event(TOLD, as_json=as_json)

    assert capsys.readouterr().out.removesuffix("\n").isprintable()
    assert describe_event(TOLD).isprintable()


@pytest.mark.parametrize("event", [TOLD, None])
def test_lines_of_a_stream_are_printable(event: StatusChanged | None) -> None:
    """Other programs can write to the stream, even unknown events."""
    entry = StreamEntry(shard=EVIL, run="r", number=1, event=event, text=msgspec.json.encode(TOLD).decode())

    # `tail.run` prints both through `printable`.
    assert printable(as_json(entry)).isprintable()
    assert printable(as_text(entry)).isprintable()


@pytest.mark.parametrize("page", ["table", "account", "events"])
def test_lines_of_the_screen_are_printable(page: Literal["table", "account", "events"]) -> None:
    """The columns keep their places."""
    accounts = changed(calm(), desk_07=account("desk-07", "1.1", status=STATUS))
    history = history_of(accounts)
    history.receive(TOLD)
    shown = screen_of(
        fleet_state(accounts), history, View(page=page, chosen="desk-07"), width=100, height=40, since=NOON
    )

    lines = ["".join(span.text for span in line) for line in shown.lines]
    assert all(line.isprintable() for line in lines)
    assert any("\\u001b" in line for line in lines)
    # The highest bar of each trend is in the same column.
    assert len({line.index("█") for line in lines if page == "table" and line.startswith("desk-")}) <= 1


def test_a_response_is_printable_json() -> None:
    """The response has several lines."""
    answer = responses("1.1", status=STATUS)["account"].response
    text = response_json(answer)

    assert all(line.isprintable() for line in text.split("\n"))
    assert json.loads(text)["accountStatus"] == EVIL
    assert Decimal(json.loads(text)["uniMMR"]) == Decimal("1.1")


def test_times_outside_the_calendar_are_dashes() -> None:
    """The exchange could send any number as a time."""
    strange = calm()[0]
    read = {
        name: msgspec.structs.replace(one, response=msgspec.structs.replace(one.response, update_time=10**18))
        for name, one in strange.responses.items()
        if name == "account"
    }
    accounts = [msgspec.structs.replace(strange, responses=read)]
    view = View(page="account", chosen=strange.label)
    shown = screen_of(fleet_state(accounts), history_of(accounts), view, width=100, height=40, since=NOON)

    assert any("--:--:--Z" in span.text for line in shown.lines for span in line)


@pytest.mark.parametrize("uni_mmr", ["1e400", "-1e400", "-1e30", "-0"])
def test_implausible_figures_do_not_stop_the_screen(uni_mmr: str) -> None:
    """The account is still shown."""
    accounts = changed(calm(), desk_07={"uni_mmr": Decimal(uni_mmr)})
    history = history_of(accounts)
    for view in (View(), View(page="account", chosen="desk-07")):
        shown = screen_of(fleet_state(accounts), history, view, width=100, height=40, since=NOON)

        assert any("desk-07" in span.text for line in shown.lines for span in line)
