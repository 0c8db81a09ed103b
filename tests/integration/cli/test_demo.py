"""``binance-pm demo`` in its own process, and its story in virtual time."""

from __future__ import annotations

import asyncio
import json
import os
import re
import resource
import signal
import subprocess
from collections.abc import Callable
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple

import anyio
import pytest

from binance_pm import Budget
from binance_pm.api.stream_events import UnknownEvent
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
from binance_pm.sandbox import Fault, create_app, serve
from binance_pm.stream.items import StreamDown, StreamGap, StreamItem
from binance_pm.testing import Sandbox
from binance_pm.transport.httpx import asgi_transport
from tests.simulation import virtual
from tests.support.command import COMMAND, at_terminal
from tests.support.echo import START
from tests.support.waiting import eventually

LABELS = [f"account-{number:02}" for number in range(1, 13)]


def second_of(is_meant: Callable[[Fault], bool]) -> float:
    """Return the second of the story at which a fault begins."""
    return next(scene.second for scene in demo.STORY if any(map(is_meant, scene.faults)))


# The seconds from which on an account is lost, the limit is used up, and a request is refused.
SECONDS_OF_FAULTS = [
    second_of(lambda fault: fault.drop),
    second_of(lambda fault: bool(fault.external_usage)),
    second_of(lambda fault: fault.status == 429),
]
# Sequences that set the colour of text or of its background.
COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])(?:;\d+)*m")


class TestOutput:
    """The table, lines and dashboard."""

    def test_a_table_without_a_terminal(self, run: Any) -> None:
        """The table has twelve accounts, the worst first, and the limits, in 80 columns; a seed is another market."""
        ended = {seed: run("demo", f"--seed={seed}") for seed in (7, 8)}

        lines = ended[7].out.splitlines()
        rows = [line.split() for line in lines[1:13]]
        assert (ended[7].code, ended[7].err, max(map(len, lines)) <= 80) == (0, "", True)
        assert lines[0].split() == ["account", "status", "uniMMR", "equity", "maint.", "profit", "age"]
        assert sorted(row[0] for row in rows) == LABELS
        margins = [float(row[2].rstrip("!")) for row in rows]
        assert margins == sorted(margins)
        # If a minute has ended meanwhile, less was used in the new one.
        assert re.search(r"IP /papi +\[\.+=* *\] +\d+ of 6,000", ended[7].out)
        assert re.search(r"IP /sapi/v2/portfolio/account +\[\.+=* *\] +\d+ of 12,000", ended[7].out)
        assert not {row[3] for row in rows} & {line.split()[3] for line in ended[8].out.splitlines()[1:13]}

    def test_lines_without_a_terminal(self, run: Any) -> None:
        """Each event is one line of text or one object, until every account was read."""
        lines = [line.split() for line in run("demo", "--plain").out.splitlines()]
        objects = [json.loads(line) for line in run("demo", "--json").out.splitlines()]

        assert {line[2] for line in lines} == {f"{label}:" for label in LABELS}
        assert "Reading" in {line[1] for line in lines}
        assert {item["label"] for item in objects} == set(LABELS)
        assert all(set(item.get("responses", ())) <= {"span_account", "um_account"} for item in objects)

    def test_the_first_table_costs_less_than_two_seconds(self) -> None:
        """CPU time counts from the start of the process, imports included."""
        # Other programs only slow a run down: one fast run is enough.
        assert any(cpu_seconds("demo", "--once") < 2 for _ in range(3))

    @pytest.mark.usefixtures("interruptible")
    @pytest.mark.parametrize("end", ["q", "ctrl-c", "SIGINT", "SIGTERM"])
    def test_the_dashboard_is_updated_until_it_is_left(self, end: str) -> None:
        """The terminal is restored; the alternate screen and the hidden cursor are left."""
        with at_terminal("demo") as screen:
            screen.wait_for("account-12")
            screen.wait_for("12 fresh")
            screen.wait_for(r"(?s)live \d\d:\d\d:(\d\d)Z.*live \d\d:\d\d:(?!\1)\d\dZ")
            keys = {"q": "q", "ctrl-c": "\x03"}
            if end in keys:
                screen.type(keys[end])
            else:
                screen.signal(signal.Signals[end])

        assert screen.code == {"q": 0, "SIGTERM": 143}.get(end, 130)
        assert ("Traceback" in screen.text, screen.is_restored) == (False, True)
        assert screen.text.count("\x1b[?1049h") == screen.text.count("\x1b[?1049l") == 1
        assert screen.text.rindex("\x1b[?25h") > screen.text.rindex("\x1b[?25l")
        assert COLOUR.search(screen.text)

    @pytest.mark.usefixtures("interruptible")
    def test_no_color_switches_colours_off(self) -> None:
        """The words are the same."""
        with at_terminal("demo", NO_COLOR="1") as screen:
            screen.wait_for("12 fresh")
            screen.type("q")

        assert not COLOUR.search(screen.text)

    @pytest.mark.usefixtures("interruptible")
    @pytest.mark.parametrize(
        ("option", "environment", "reading"),
        [
            ("--plain", {}, "Reading +account-06"),
            ("--no-once", {"TERM": "dumb"}, "Reading +account-06"),
            ("--json", {}, '"label":"account-06"'),
        ],
    )
    def test_lines_at_a_terminal(self, option: str, environment: dict[str, str], reading: str) -> None:
        """The events continue until Ctrl-C, without control sequences; captions are not JSON."""
        with at_terminal("demo", option, **environment) as screen:
            screen.wait_for(rf"(?s)({reading}.*){{3}}")
            screen.signal()

        lines = [line for line in screen.text.replace("^C", "").splitlines() if line.strip()]
        assert (screen.code, "Traceback" in screen.text, "\x1b" in screen.text) == (130, False, False)
        assert any("Twelve accounts" in line for line in lines) is (option != "--json")
        assert all(line.startswith("{") for line in lines) is (option == "--json")


def cpu_seconds(*arguments: str) -> float:
    """Return the CPU time of a command."""
    # Measuring coverage would cost more than what is measured here.
    unwatched = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([*COMMAND, *arguments], check=True, capture_output=True, timeout=20, env=unwatched)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


class Recording(NamedTuple):
    """What two minutes of the demo have shown."""

    events: list[tuple[float, FleetEvent]]
    captions: list[float]
    seconds: list[list[AccountSnapshot]]
    """The accounts at the end of each second."""
    log: list[Entry]
    """The dashboard's log at the end."""
    orders: list[str | None]
    """The accounts that have placed orders."""


async def two_minutes() -> Recording:
    """Run the demo in virtual time."""
    loop = asyncio.get_running_loop()
    clock = demo.story_clock(lambda: START + loop.time())
    exchange = demo.made_exchange(seed=7, clock=clock)
    pm = Sandbox(exchange, "http://127.0.0.1", http=asgi_transport(create_app(exchange)))
    recording, history = Recording([], [], [], [], []), History()

    async def receive() -> None:
        async for event in fleet.watch(warn=demo.WARN, alarm=demo.ALARM):
            recording.events.append((loop.time(), event))
            history.receive(event)

    def say(caption: str) -> None:
        recording.captions.append(loop.time())
        history.say(caption, at=fleet.now())

    async def play() -> None:
        await demo.play(demo.STORY, exchange, say, buy=partial(demo.buy, fleet), sleep=anyio.sleep)

    async with demo.fleet_of(pm, Budget(monotonic=loop.time, wall=clock)) as fleet, asyncio.TaskGroup() as tasks:
        parts = [tasks.create_task(receive()), tasks.create_task(play())]
        with history.keeping_logs(fleet.now):
            for _ in range(122):
                await asyncio.sleep(1)
                recording.seconds.append(fleet.snapshot())
        for part in parts:
            part.cancel()
    recording.log.extend(history.log)
    recording.orders.extend(request.account for request in exchange.requests if request.method == "POST")
    return recording


@pytest.fixture(scope="module")
def recording() -> Recording:
    """Return two minutes of the demo, recorded once for all tests."""
    return virtual.run(two_minutes, patience=100)


class TestStory:
    """The first minute of the demo."""

    def test_every_caption_is_shown_in_its_second(self, recording: Recording) -> None:
        """The captions end within the first minute."""
        assert recording.captions == pytest.approx([scene.second for scene in demo.STORY], abs=0.01)
        assert demo.STORY[-1].second <= 60

    def test_an_account_crosses_both_thresholds_and_recovers(self, recording: Recording) -> None:
        """Its status changes accordingly."""
        changes = [
            (event.label, event.after) for at, event in recording.events if at < 60 and isinstance(event, StatusChanged)
        ]
        courses = {label: [after for other, after in changes if other == label] for label, _ in changes}

        assert ["MARGIN_CALL", "REDUCE_ONLY", "MARGIN_CALL", "NORMAL"] in courses.values()

    def test_each_fault_raises_its_events(self, recording: Recording) -> None:
        """One account is stale, the budget becomes tight, the gate closes, and finally no account is stale."""
        kinds = (Stale, Fresh, BudgetTight, HostBlocked, HostUnblocked)
        first = {kind: next(at for at, event in recording.events if isinstance(event, kind)) for kind in kinds}
        lost, again, refused = SECONDS_OF_FAULTS
        turn = int(demo.MINUTE_TURNS)

        assert lost < first[Stale] < again < first[Fresh] < again + 3
        assert next(event.label for _, event in recording.events if isinstance(event, Stale)) == "account-04"
        assert again < first[BudgetTight] < refused < first[HostBlocked] < refused + 3
        assert first[HostUnblocked] == pytest.approx(turn, abs=1.0)
        assert all(snapshot.is_stale for snapshot in recording.seconds[turn - 2])
        assert not any(snapshot.is_stale for snapshot in recording.seconds[turn + 1])
        assert not any(snapshot.is_stale or snapshot.error for snapshot in recording.seconds[60])
        assert [event.is_tight for _, event in recording.events if isinstance(event, BudgetTight)] == [True]

    def test_the_reason_of_a_stale_account_is_what_its_reading_waits_for(self, recording: Recording) -> None:
        """The readings wait for weight during external usage, and for the gate after the refusal."""
        _, again, refused = SECONDS_OF_FAULTS
        crowd = [event for at, event in recording.events if isinstance(event, Stale) and again < at < refused]
        closed = recording.seconds[int(demo.MINUTE_TURNS) - 3]

        assert len(crowd) >= 10
        assert {event.waiting.reason if event.waiting else None for event in crowd} <= {"minute", "reserve"}
        assert all("of 6,000 of /papi" in event.reason for event in crowd)
        assert {snapshot.waiting.reason for snapshot in closed if snapshot.waiting} == {"gate"}
        assert all("127.0.0.1" in snapshot.reason for snapshot in closed)

    def test_log_records_are_in_order_with_the_events(self, recording: Recording) -> None:
        """Both have the time of the exchange's clock, which differs from this machine's here."""
        stamps = [entry.text.partition(" ")[0] for entry in recording.log]
        refused = [entry for entry in recording.log if "HTTP 429" in entry.text]
        (blocked,) = [event for _, event in recording.events if isinstance(event, HostBlocked)]

        assert stamps == sorted(stamps)
        assert refused
        assert all(abs(entry.at - blocked.at) < 1.5 for entry in refused)

    def test_profits_in_btc_and_in_dollars_are_not_added(self, recording: Recording) -> None:
        """The last account has profits in both; the others have a sum in dollars."""
        *others, last = recording.seconds[60]

        assert (set(last.profits), last.unrealized_profit) == ({"BTC", "USDT"}, None)
        assert last.profits["BTC"] < 0
        assert all(one.unrealized_profit == one.profits["USDT"] for one in others)

    def test_no_fault_follows_the_first_minute(self, recording: Recording) -> None:
        """The market continues to fall and rise."""
        later = {type(event) for at, event in recording.events if at > 62}

        assert StatusChanged in later <= {Reading, StatusChanged, ThresholdCrossed, BudgetTight}

    def test_one_account_places_an_order(self, recording: Recording) -> None:
        """The account whose stream is followed places the order."""
        assert recording.orders == [demo.STREAMED]

    def test_other_seeds_have_the_same_story(self) -> None:
        """With most of them, an account falls through both thresholds."""
        similar = 0
        for seed in range(1, 41):
            exchange = demo.made_exchange(seed=seed, clock=lambda: START)
            seconds = [START + second for second in range(int(demo.FALL_SECONDS))]
            courses = [{exchange.statement(one, at).status for at in seconds} for one in exchange.accounts]
            similar += any({"NORMAL", "MARGIN_CALL", "REDUCE_ONLY"} <= course for course in courses)

        assert similar >= 30

    @pytest.mark.parametrize("second", [0, 9.9, 10, 29, 45, 59.9])
    def test_the_minute_ends_at_its_second_of_the_story(self, second: float) -> None:
        """The clock differs from the real one by at most half a minute."""
        began = 1_800_000_000 + second
        now = demo.story_clock(lambda: began)()

        assert (now + demo.MINUTE_TURNS + 1) % 60 == pytest.approx(1, abs=1e-3)
        assert abs(now - began) <= 30


class TestStream:
    """The user data stream of one account."""

    async def test_a_fill_is_shown_and_the_stream_recovers(self) -> None:
        """The scenes of the stream run back to back on a real socket."""
        exchange = demo.made_exchange(seed=7, clock=demo.story_clock())
        scenes = [scene for scene in demo.STORY if scene.buys or scene.stream_fault]
        items: list[StreamItem] = []

        def shown() -> list[str]:
            texts = [demo.describe_item(item, START) for item in items]
            return [kind for kind, _ in groupby(text.split()[1] for text in texts if text is not None)]

        async def wait(_: float) -> None:
            await eventually(lambda: exchange.streams.open_connections == 1)
            # What was bought before is seen before anything else happens.
            await eventually(lambda: "Fill" in shown() or not orders())

        def orders() -> list[str]:
            return [request.path for request in exchange.requests if request.path.endswith("/order")]

        with serve(exchange) as base_url:
            async with (
                demo.fleet_of(Sandbox(exchange, base_url), Budget()) as fleet,
                anyio.create_task_group() as tasks,
            ):
                tasks.start_soon(demo.follow, fleet, items.append)
                await demo.play(scenes, exchange, lambda _: None, buy=partial(demo.buy, fleet), sleep=wait)
                await eventually(lambda: any(isinstance(item, StreamGap) for item in items), seconds=15)
                tasks.cancel_scope.cancel()

        assert shown() == ["Fill", "StreamDown", "StreamGap"]

    @pytest.mark.parametrize(
        ("item", "what"),
        [
            (StreamDown(since=1.0, why="it broke"), "StreamDown account-07: it broke"),
            (
                StreamGap(since=1.0, until=3.5, why="it broke"),
                "StreamGap account-07: events of 2.5 s may be missing: it broke",
            ),
            (UnknownEvent(event_type="NEW", raw=b"{}"), None),
        ],
    )
    def test_an_item_is_one_line(self, item: StreamItem, what: str | None) -> None:
        """Only fills, `StreamDown` and `StreamGap` are shown."""
        text = demo.describe_item(item, START)

        assert (None if text is None else " ".join(text.split()[1:])) == what
