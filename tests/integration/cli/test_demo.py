"""``binance-pm demo``, as its user meets it, and its story in virtual time."""

from __future__ import annotations

import asyncio
import json
import os
import re
import resource
import signal
import subprocess
from typing import Any, NamedTuple

import anyio
import pytest

from binance_pm import Budget
from binance_pm.cli import demo
from binance_pm.cli.dashboard.history import Entry, History
from binance_pm.fleet import (
    AccountSnapshot,
    BudgetTight,
    FleetEvent,
    Fresh,
    HostBlocked,
    HostUnblocked,
    Reading,
    Stale,
    StatusChanged,
    ThresholdCrossed,
)
from binance_pm.sandbox import create_app
from binance_pm.testing import Sandbox
from binance_pm.transport.httpx import asgi_transport
from tests.simulation import virtual
from tests.support.command import COMMAND, at_terminal
from tests.support.echo import START

# What sets a colour of letters or of what is behind them.
COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])(?:;\d+)*m")
PATIENCE = 100
"""Seconds of the processor."""


class TestDemo:
    """``binance-pm demo``."""

    def test_once(self, run: Any) -> None:
        """A table of twelve accounts with their pools below, in 80 columns; no terminal means once."""
        ended = run("demo")

        lines = ended.out.splitlines()
        assert (ended.code, ended.err, max(map(len, lines)) <= 80) == (0, "", True)
        assert lines[0].split() == ["account", "status", "uniMMR", "equity", "maint.", "profit", "age"]
        assert sorted(line.split()[0] for line in lines[1:13]) == [f"account-{number:02}" for number in range(1, 13)]
        # Where the minute turned meanwhile, less was used in it.
        assert re.search(r"IP /papi +\[\.+=* *\] +\d+ of 6,000", ended.out)
        assert re.search(r"IP /sapi/v2/portfolio/account +\[\.+=* *\] +\d+ of 12,000", ended.out)

    def test_worst_first(self, run: Any) -> None:
        """Who is nearest to liquidation stands on top."""
        margins = [float(line.split()[2].rstrip("!")) for line in run("demo", "--once").out.splitlines()[1:13]]

        assert margins == sorted(margins)

    def test_another_seed_is_another_market(self, run: Any) -> None:
        """The same accounts, worth something else."""
        equities = [{line.split()[3] for line in run("demo", f"--seed={n}").out.splitlines()[1:13]} for n in (7, 8)]

        assert not equities[0] & equities[1]

    def test_plain(self, run: Any) -> None:
        """One line an event, until each account was read."""
        lines = run("demo", "--plain").out.splitlines()

        assert {line.split()[2] for line in lines} == {f"account-{number:02}:" for number in range(1, 13)}
        assert {line.split()[1] for line in lines} >= {"Reading"}

    def test_json(self, run: Any) -> None:
        """One object an event, and nothing else."""
        objects = [json.loads(line) for line in run("demo", "--json").out.splitlines()]

        assert {item["label"] for item in objects} == {f"account-{n:02}" for n in range(1, 13)}
        reading = next(item for item in objects if item["type"] == "Reading")
        assert set(reading["responses"]) <= {"span_account", "um_account"}

    def test_first_picture_within_two_seconds(self) -> None:
        """Of the processor, from the start of the process, imports included."""
        # Other programs only ever make it slower: one fast start is enough.
        assert any(processor_seconds("demo", "--once") < 2 for _ in range(3))

    @pytest.mark.usefixtures("interruptible")
    @pytest.mark.parametrize("end", ["q", "ctrl-c", "SIGINT", "SIGTERM"])
    def test_at_a_terminal(self, end: str) -> None:
        """A full screen that is updated until it is left, and the terminal is as it was."""
        with at_terminal("demo") as screen:
            screen.wait_for("account-12")
            screen.wait_for("12 fresh")
            screen.wait_for(r"(?s)live \d\d:\d\d:(\d\d)Z.*live \d\d:\d\d:(?!\1)\d\dZ")
            match end:
                case "q":
                    screen.type("q")
                case "ctrl-c":
                    screen.type("\x03")
                case _:
                    screen.signal(signal.Signals[end])

        assert screen.code == {"q": 0, "SIGTERM": 143}.get(end, 130)
        assert "Traceback" not in screen.text
        assert screen.is_restored
        # The screen of its own was entered and left, and the cursor is seen again.
        assert screen.text.count("\x1b[?1049h") == screen.text.count("\x1b[?1049l") == 1
        assert screen.text.rindex("\x1b[?25h") > screen.text.rindex("\x1b[?25l")

    @pytest.mark.usefixtures("interruptible")
    def test_no_colour(self) -> None:
        """Where it is not wanted, no colour is sent; the words are the same."""
        with at_terminal("demo", NO_COLOR="1") as plain:
            plain.wait_for("12 fresh")
            plain.type("q")
        with at_terminal("demo") as coloured:
            coloured.wait_for("12 fresh")
            coloured.type("q")

        assert [bool(COLOUR.search(screen.text)) for screen in (plain, coloured)] == [False, True]

    @pytest.mark.usefixtures("interruptible")
    @pytest.mark.parametrize(
        ("options", "environment"), [(("--plain",), {}), ((), {"TERM": "dumb"})], ids=["asked for", "dumb"]
    )
    def test_lines_at_a_terminal(self, options: tuple[str, ...], environment: dict[str, str]) -> None:
        """The story and its events go on until Ctrl-C, without a control sequence."""
        with at_terminal("demo", *options, **environment) as screen:
            screen.wait_for(r"Z Twelve accounts of a local exchange")
            screen.wait_for(r"(?s)(Reading +account-06.*){3}")
            screen.interrupt()

        assert screen.code == 130
        assert "Traceback" not in screen.text
        assert "\x1b" not in screen.text

    @pytest.mark.usefixtures("interruptible")
    def test_json_at_a_terminal_goes_on(self) -> None:
        """One object an event, and no caption."""
        with at_terminal("demo", "--json") as screen:
            screen.wait_for(r'(?s)("label":"account-06".*){3}')
            screen.interrupt()

        assert screen.code == 130
        assert all(line.startswith("{") for line in screen.text.replace("^C", "").splitlines() if line.strip())


def processor_seconds(*arguments: str) -> float:
    """What a command takes of the processor, however busy the machine is."""
    # Measuring coverage would cost more than what is measured here.
    unwatched = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([*COMMAND, *arguments], check=True, capture_output=True, timeout=20, env=unwatched)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


class Lived(NamedTuple):
    """What two minutes of the demo have shown, by the second."""

    events: list[tuple[float, FleetEvent]]
    captions: list[float]
    known: list[list[AccountSnapshot]]
    """Of every account, at the end of each second."""
    log: list[Entry]
    """What stands in the dashboard's log at the end."""


async def two_minutes() -> Lived:
    """The demo in the time of the event loop."""
    loop = asyncio.get_running_loop()
    clock = demo.story_clock(lambda: START + loop.time())
    exchange = demo.made_exchange(seed=7, clock=clock)
    pm = Sandbox(exchange, "http://127.0.0.1", http=asgi_transport(create_app(exchange)))
    lived, history = Lived([], [], [], []), History()

    async def take() -> None:
        async for event in fleet.watch(warn=demo.WARN, alarm=demo.ALARM):
            lived.events.append((loop.time(), event))
            history.receive(event)

    def say(caption: str) -> None:
        lived.captions.append(loop.time())
        history.say(caption, at=fleet.now())

    async def play() -> None:
        await demo.play(demo.STORY, exchange, say, sleep=anyio.sleep)

    async with demo.fleet_of(pm, Budget(monotonic=loop.time, wall=clock)) as fleet, asyncio.TaskGroup() as tasks:
        parts = [tasks.create_task(take()), tasks.create_task(play())]
        with history.keeping_logs(fleet.now):
            for _ in range(122):
                await asyncio.sleep(1)
                lived.known.append(fleet.snapshot())
        for part in parts:
            part.cancel()
    lived.log.extend(history.log)
    return lived


@pytest.fixture(scope="module")
def lived() -> Lived:
    """Lived through once for all tests."""
    return virtual.run(two_minutes, patience=PATIENCE)


class TestStory:
    """The first minute of the demo, in virtual time."""

    def test_every_caption_is_said_in_its_second(self, lived: Lived) -> None:
        """As the table has it."""
        assert lived.captions == pytest.approx([scene.second for scene in demo.STORY], abs=0.01)
        assert demo.STORY[-1].second <= 60

    def test_an_account_falls_through_both_lines_and_recovers(self, lived: Lived) -> None:
        """Within the first minute."""
        fallen = ["MARGIN_CALL", "REDUCE_ONLY", "MARGIN_CALL", "NORMAL"]
        changes = [
            (event.label, event.after) for at, event in lived.events if at < 60 and isinstance(event, StatusChanged)
        ]
        courses = {label: [after for whose, after in changes if whose == label] for label, _ in changes}

        assert [label for label, course in courses.items() if course == fallen]

    def test_each_fault_is_told_while_it_lasts(self, lived: Lived) -> None:
        """One account is stale, then the budget is tight, then a gate is shut, and at last nothing is wrong."""
        kinds = (Stale, Fresh, BudgetTight, HostBlocked, HostUnblocked)
        first = {kind: next(at for at, event in lived.events if isinstance(event, kind)) for kind in kinds}
        lost, again, refused = (scene.second for scene in demo.STORY if scene.faults)

        assert lost < first[Stale] < again < first[Fresh] < again + 3
        assert next(event.label for _, event in lived.events if isinstance(event, Stale)) == "account-04"
        assert again < first[BudgetTight] < refused < first[HostBlocked] < refused + 3
        assert first[HostUnblocked] == pytest.approx(demo.MINUTE_TURNS, abs=1.0)
        # Within two seconds after it has opened, everything is read again.
        assert not any(snapshot.is_stale for snapshot in lived.known[int(demo.MINUTE_TURNS) + 1])
        # While the gate is shut, nobody pretends to see; at the end everybody sees again.
        assert all(snapshot.is_stale for snapshot in lived.known[int(demo.MINUTE_TURNS) - 2])
        assert not any(snapshot.is_stale or snapshot.error for snapshot in lived.known[60])

    def test_no_reading_is_said_to_be_asked_for_that_waits_in_the_own_budget(self, lived: Lived) -> None:
        """While others use up the limit, it is weight that is waited for; while the gate is shut, that it opens."""
        _, again, refused = (scene.second for scene in demo.STORY if scene.faults)
        crowd = [event for at, event in lived.events if isinstance(event, Stale) and again < at < refused]
        shut = lived.known[int(demo.MINUTE_TURNS) - 3]

        assert len(crowd) >= 10
        for event in crowd:
            assert re.search(r"waiting for weight: others used \d,\d{3} of 6,000 of /papi", event.reason)
            assert event.waiting is not None
            assert event.waiting.reason in {"minute", "reserve"}
        assert all(snapshot.reason.startswith("the gate of 127.0.0.1 is closed for ") for snapshot in shut)
        assert {snapshot.waiting.reason for snapshot in shut if snapshot.waiting} == {"gate"}

    def test_the_budget_becomes_tight_once(self, lived: Lived) -> None:
        """Although others use more and more, and less and less."""
        assert [event.is_tight for _, event in lived.events if isinstance(event, BudgetTight)] == [True]

    def test_what_is_logged_stands_among_the_events_in_order(self, lived: Lived) -> None:
        """By one clock, which is that of the exchange: here it is years and half a minute from the machine's."""
        stamps = [entry.text.partition(" ")[0] for entry in lived.log]
        refused = [entry for entry in lived.log if "warning: http://127.0.0.1 answered HTTP 429" in entry.text]
        (shut,) = [event for _, event in lived.events if isinstance(event, HostBlocked)]

        assert stamps == sorted(stamps)
        assert refused
        assert all(abs(entry.at - shut.at) < 1.5 for entry in refused)

    def test_a_contract_in_btc_is_no_dollar(self, lived: Lived) -> None:
        """The last account holds one: its profit has two assets and no sum; the others' is in dollars."""
        *others, last = lived.known[60]

        assert set(last.profits) == {"BTC", "USDT"}
        assert last.unrealized_profit is None
        assert last.profits["BTC"] < 0
        assert all(one.unrealized_profit == one.profits["USDT"] for one in others)

    def test_afterwards_nothing_fails(self, lived: Lived) -> None:
        """While the market falls and climbs again."""
        later = [event for at, event in lived.events if at > 62]

        assert {type(event) for event in later} <= {Reading, StatusChanged, ThresholdCrossed, BudgetTight}
        assert any(isinstance(event, StatusChanged) for event in later)

    def test_other_seeds_tell_the_same(self) -> None:
        """In most of them, an account is reduced to reducing while the market falls."""
        told: list[int] = []
        for seed in range(1, 41):
            exchange = demo.made_exchange(seed=seed, clock=lambda: START)
            seconds = [START + second for second in range(int(demo.FALL_SECONDS))]
            courses = [[exchange.statement(one, at).status for at in seconds] for one in exchange.accounts]
            told += [seed] if any({"NORMAL", "MARGIN_CALL", "REDUCE_ONLY"} <= set(course) for course in courses) else []

        assert len(told) >= 30

    @pytest.mark.parametrize("second", [0, 9.9, 10, 29, 45, 59.9])
    def test_the_minute_turns_when_the_story_says_so(self, second: float) -> None:
        """Whenever it is started, by a clock that is half a minute from the real one at most."""
        began = 1_800_000_000 + second
        now = demo.story_clock(lambda: began)()

        assert (now + demo.MINUTE_TURNS) % 60 == pytest.approx(0, abs=1e-3) or (now + demo.MINUTE_TURNS) % 60 > 59.999
        assert abs(now - began) <= 30
