"""What the dashboard makes of a fleet, without a terminal: order, widths, warnings, memory."""

from __future__ import annotations

import asyncio
import random
import time
from decimal import Decimal
from itertools import count
from typing import Any, ClassVar, get_args

import httpx
import msgspec
import pytest
from rich.cells import cell_len

from binance_pm import AccountStatus
from binance_pm.budget import Waiting, WaitReason
from binance_pm.cli.dashboard.history import TREND, History
from binance_pm.cli.dashboard.line import shortened, text_of, wrapped
from binance_pm.cli.dashboard.rows import ORDERS, ordered, rows_of
from binance_pm.cli.dashboard.screen import Screen, budget_lines, screen_of
from binance_pm.cli.dashboard.table import DROPPED, age_text, margin_text, spark, table
from binance_pm.cli.dashboard.view import View, pressed
from binance_pm.cli.watch import dispatch
from binance_pm.fleet import (
    Fresh,
    Reading,
    Stale,
)
from binance_pm.fleet.state import FleetState, GateState
from tests.simulation import virtual
from tests.support.coverage import unmeasured
from tests.support.echo import START, Echo
from tests.support.snapshots import HOST, NOON, account, calm, changed, fleet_state, pools, responses, told

PATIENCE = 100
"""Seconds of the processor."""


def screen(
    shown: FleetState, view: View | None = None, *, size: tuple[int, int] = (80, 24), since: float = NOON
) -> Screen:
    """The screen for what is known, of which nothing was told."""
    return screen_of(shown, History(), view or View(), width=size[0], height=size[1], since=since)


def texts(shown: Screen) -> list[str]:
    """Its lines without styles."""
    return [text_of(line) for line in shown.lines]


def styles(shown: Screen) -> set[str]:
    """All styles that are seen."""
    return {span.style for line in shown.lines for span in line if span.text.strip()}


class TestOrder:
    """Worst first."""

    def test_the_unread_the_blind_and_those_in_alarm_come_first(self) -> None:
        """Then failed ones and warned ones, then all others; among equals the lowest uniMMR."""
        accounts = [
            account("calm", "1.9"),
            account("calmer", "9"),
            account("warned", "1.4", crossed=("warn",)),
            account("failed", "8", error="no"),
            account("stale", "7", is_stale=True),
            account("alarmed", "1.1", crossed=("warn", "alarm")),
            account("liquidated", "5", status=AccountStatus.FORCE_LIQUIDATION),
            account("new status", "6", status=AccountStatus("SOMETHING_NEW")),
            account("at liquidation", "1.05"),
            account("unread", None),
        ]
        random.Random(7).shuffle(accounts)  # noqa: S311

        labels = [row.snapshot.label for row in ordered(rows_of(accounts), "danger")]

        assert labels == [
            "unread", "at liquidation", "alarmed", "liquidated", "new status", "stale",
            "warned", "failed", "calm", "calmer",
        ]  # fmt: skip

    @pytest.mark.parametrize("order", ORDERS)
    def test_what_is_unknown_is_not_last(self, order: str) -> None:
        """Whatever is sorted by, but for the labels themselves."""
        accounts = [account("b", "3"), account("a", "2"), account("z", None)]

        labels = [row.snapshot.label for row in ordered(rows_of(accounts), order)]  # pyright: ignore[reportArgumentType]

        assert labels[0] == ("a" if order == "account" else "z")

    def test_a_part_that_was_never_read_is_no_picture(self) -> None:
        """Although uniMMR is known, and new."""
        (row,) = rows_of([account("a", "9", age=None, is_stale=True)])

        assert (row.condition, row.is_blind) == ("partial", True)


class TestWidth:
    """A screen of any size."""

    @pytest.mark.parametrize("width", [44, 50, 60, 70, 80, 100, 200])
    def test_a_narrow_screen_leaves_columns_out_and_cuts_no_value(self, width: int) -> None:
        """In the stated order; every value of a column that is shown is whole."""
        rows = rows_of(changed(calm(), desk_02={"age": 99.9, "is_stale": True, "max_age": 20.0}))
        shown = table(rows, width, trend=told(calm()).trend)

        head = text_of(shown.head)
        left_out = [name for name in DROPPED if name not in head]
        assert left_out == list(DROPPED[: len(left_out)])
        assert all(cell_len("".join(span.text for span in line)) == width for line in shown.body)
        for row, line in zip(rows, map(text_of, shown.body), strict=True):
            known = row.snapshot
            assert f" {margin_text(known.uni_mmr)} " in f"{line} "
            assert "maint." in left_out or f" {known.account_maint_margin:,.0f} " in line
            assert "equity" in left_out or f" {known.account_equity:,.0f} " in line
            assert "profit" in left_out or f" {known.unrealized_profit:+,.0f} " in line
            assert line.split()[0] == known.label
            assert f" {age_text(known.age or 0)}" in line
        assert "STALE 99.9s" in text_of(shown.body[1])

    def test_eighty_columns_show_all_but_the_last_error(self) -> None:
        """Of accounts of a usual size."""
        head = text_of(table(rows_of(calm()), 80, trend=lambda _: ()).head)

        assert head.split() == ["account", "status", "uniMMR", "trend", "equity", "maint.", "profit", "age"]

    @pytest.mark.parametrize("size", [(1, 1), (10, 3), (43, 5), (80, 8), (300, 100)])
    @pytest.mark.parametrize("page", ["table", "account", "events", "help"])
    def test_every_screen_is_filled(self, size: tuple[int, int], page: str) -> None:
        """Not a line too many or too few, however small it is."""
        view = View(page=page, chosen="desk-03", filter="desk", paused=fleet_state(calm()))  # pyright: ignore[reportArgumentType]
        shown = screen(fleet_state(calm(), gates=[GateState(HOST, 3.0, banned=True)]), view, size=size)

        assert [cell_len("".join(span.text for span in line)) for line in shown.lines] == [size[0]] * size[1]

    def test_columns_never_become_narrower(self) -> None:
        """What was once wide does not make the others jump when it is gone."""
        rich = [account("a", "3", account_equity=Decimal(10**12))]
        before = table(rows_of(rich), 200)
        after = table(rows_of(calm()), 200, widths=before.widths)

        assert text_of(after.head).index("maint.") == text_of(before.head).index("maint.")

    @pytest.mark.parametrize("label", ["d" * 64, "desk-" + "東京" * 20, "🦊" * 30])
    def test_long_labels_keep_both_ends(self, label: str) -> None:
        """They are names; the page of the account shows them whole."""
        short = shortened(label, 24)

        assert cell_len(short) <= 24
        assert (short[0], short[-1], "…" in short) == (label[0], label[-1], True)
        lines = texts(screen(fleet_state([account(label, "3")])))
        assert all(cell_len(line) <= 80 for line in lines)

    def test_long_lines_are_wrapped(self) -> None:
        """At blanks, and within a word that is longer than the line; nothing of them is lost."""
        text = "a bc " + "d" * 30 + " e"
        lines = wrapped(text, 14, indent=2)

        assert max(map(len, lines)) <= 14
        assert all(line.startswith("  ") for line in lines[1:])
        assert "".join(lines).replace(" ", "") == text.replace(" ", "")


class TestFigures:
    """What is written of a value."""

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            ("1.2", "1.20"),
            ("1.19999999", "1.19"),
            ("1.05999", "1.05"),
            ("-0.5", "-0.50"),
            ("999.999", "999.99"),
            ("1234.9", "1,234"),
            ("99999999", ">9,999"),
        ],
    )
    def test_uni_mmr_is_never_rounded_up(self, value: str, text: str) -> None:
        """What is at or below a line is not shown above it."""
        assert margin_text(Decimal(value)) == text

    @pytest.mark.parametrize(
        ("seconds", "text"), [(0.04, "0.0s"), (99.94, "99.9s"), (100, "100s"), (1000, "17m"), (90_000, "25h")]
    )
    def test_ages(self, seconds: float, text: str) -> None:
        """In a few characters at any age."""
        assert age_text(seconds) == text

    def test_a_course_that_hardly_moves_is_flat(self) -> None:
        """A tremble of a thousandth is no fall; a fall is."""
        assert len(set(spark([5.0, 5.001, 4.999], 8))) == 1
        assert spark([8.0, 4.0], 8) == "█▁"
        assert spark([], 8) == ""
        assert spark([0.0, 0.0], 8) == "▅▅"
        assert len(spark([1.0] * 30, 8)) == 8


class TestReasons:
    """Why an account failed or is not seen, on a screen of eighty columns."""

    @pytest.mark.parametrize(
        ("error", "brief"),
        [
            ("account [a]: Invalid API-key, IP. (code -2015, HTTP 401)", "-2015 Invalid API-key, IP"),
            ("um_account [a]: NoResponse. It was sent; a read changes nothing.", "NoResponse"),
            ("account [a]: papi.binance.com: name not resolved. Nothing was sent.", "name not resolved"),
            ("account [a]: 127.0.0.1:1: connection refused (X is set)", "connection refused (X is set)"),
            ("account [a: b]: the whole answer was too long. Try again.", "the whole answer was too long"),
            ("line 3: api_key: DESK_KEY is not set", "line 3: api_key: DESK_KEY is not set"),
            ("an unexpected KeyError", "an unexpected KeyError"),
        ],
    )
    def test_the_brief_reason_begins_with_what_matters(self, error: str, brief: str) -> None:
        """The endpoint, the label and the host stand elsewhere; the exchange's code comes first."""
        (row,) = rows_of([account("a", "3", error=error)])

        assert row.brief_reason == brief

    @pytest.mark.parametrize("reason", get_args(WaitReason))
    def test_what_a_reading_waits_for_fits_the_row(self, reason: WaitReason) -> None:
        """Every reason, in words that are not cut."""
        waiting = Waiting(
            reason=reason, origin=HOST, pool="IP /papi", seconds=41.2, used=5458, limit=6000, external=4027
        )
        late = {
            "is_stale": True,
            "stale_endpoints": ("account", "um_account"),
            "reason": waiting.text,
            "waiting": waiting,
        }
        text = "\n".join(texts(screen(fleet_state(changed(calm(), desk_03=late)))))

        assert waiting.brief in text
        assert "…" not in text
        assert waiting.text

    @pytest.mark.parametrize("width", [60, 70, 80, 100, 120, 200])
    def test_the_reason_of_a_failure_is_in_its_row(self, width: int) -> None:
        """On any screen that has room for more than the values that are never left out."""
        error = "account [desk-03]: Invalid API-key (code -2015, HTTP 401)"
        shown = screen(fleet_state(changed(calm(), desk_03={"error": error})), size=(width, 24))

        (row,) = [text for text in texts(shown) if text.startswith("desk-03")]
        assert "-2015" in row
        assert "FAIL" in row

    def test_a_failure_is_counted_whatever_else_the_account_is(self) -> None:
        """Fresh, stale or never read."""
        accounts = [
            account("fresh", "3", error="no"),
            account("stale", "3", error="no", is_stale=True),
            account("unread", None, error="no"),
            account("well", "3"),
        ]

        head = texts(screen(fleet_state(accounts)))[0]

        assert all(text in head for text in ("1 fresh", "1 stale", "3 failed", "1 unread"))

    @pytest.mark.parametrize("uni_mmr", ["3", None])
    def test_the_first_failure_of_every_account_is_red(self, uni_mmr: str | None) -> None:
        """Whether they were read before or never, and long before they are stale."""
        error = "account [{}]: papi.binance.com: name not resolved. Nothing was sent."
        accounts = [account(f"a{n}", uni_mmr, error=error.format(f"a{n}")) for n in range(3)]
        shown = screen(fleet_state(accounts), since=NOON - 1)

        assert texts(shown)[1] == " FAILING: the last reading of every account failed: name not resolved"
        assert shown.lines[1][0].style == "bold red reverse"
        assert "green" not in styles(shown)

    def test_one_account_that_is_read_is_no_red_screen(self) -> None:
        """The failures of the others stand in their rows."""
        accounts = [account("a", "3", error="no"), account("b", "3")]

        assert not any("FAILING" in text or "BLIND" in text for text in texts(screen(fleet_state(accounts))))

    def test_calls_that_wait_are_explained_below_the_limits(self) -> None:
        """Also on a narrow screen, where the end of a long reason is left out."""
        crowd = Waiting(reason="minute", origin=HOST, pool="IP /papi", seconds=14, used=5458, limit=6000, external=4027)
        limits = pools(5458, external=4027, waiting=10, waiting_for=crowd)

        assert "10 calls: waiting for weight: others used 4,027 of 6,000 of /papi" in texts(
            screen(fleet_state(calm(), limits=limits))
        )


class TestAges:
    """Each reading has its own."""

    def part(self, name: str) -> FleetState:
        """One of the two readings of an account is late."""
        ages = {"account": 1.5, "um_account": 1.5} | {name: 33.7}
        late = {"age": 33.7, "ages": ages, "is_stale": True, "stale_endpoints": (name,)}
        return fleet_state(changed(calm(), desk_03=late))

    def test_what_is_fresh_is_not_struck_out(self) -> None:
        """uniMMR, while the positions are late, and the profit, while uniMMR is."""
        struck = {
            name: {
                span.text.strip()
                for line in screen(self.part(name), size=(200, 60)).lines
                for span in line
                if "strike" in span.style and span.text.strip()
            }
            for name in ("account", "um_account")
        }

        assert struck == {"um_account": {"-123"}, "account": {"NORMAL", "1.90", "100,000", "52,632"}}

    def test_the_age_says_which_is_late(self) -> None:
        """And an account whose uniMMR is fresh does not make the screen blind."""
        rows = {name: rows_of(self.part(name).accounts)[2] for name in ("account", "um_account")}

        assert [rows[name].is_blind for name in ("account", "um_account")] == [True, False]
        assert any(text.endswith("STALE um 33s") for text in texts(screen(self.part("um_account"))))
        assert any(text.endswith("STALE 33.7s") for text in texts(screen(self.part("account"))))
        only = [one for one in self.part("um_account").accounts if one.is_stale]
        assert not any("BLIND" in text for text in texts(screen(fleet_state(only))))

    def test_the_page_of_the_account_tells_the_age_of_each(self) -> None:
        """Beside the reading that is late."""
        page = texts(screen(self.part("um_account"), View(page="account", chosen="desk-03"), size=(100, 60)))

        assert not any(text.startswith("account  at") and "STALE" in text for text in page)
        assert "uniMMR" in " ".join(page)

    def test_what_is_paused_grows_old_part_by_part(self) -> None:
        """Each reading by its own age."""
        ages = {"account": 1.0, "um_account": 15.0}
        paused = FleetState(at=NOON - 10, accounts=[account("a", "3", age=15.0, ages=ages)])
        shown = screen(fleet_state([account("a", "3")]), View(paused=paused))

        assert texts(shown)[3].endswith("STALE um 25s")


class TestProfit:
    """Of contracts that are settled in several assets."""

    BTC: ClassVar[dict[str, Any]] = {
        "unrealized_profit": None,
        "profits": {"BTC": Decimal("-0.5"), "USDT": Decimal(10)},
    }

    def test_no_sum_of_bitcoins_and_dollars_is_shown(self) -> None:
        """Each stands by itself; the page of the account has all digits."""
        shown = fleet_state(changed(calm(), desk_03=self.BTC))
        wide, narrow = (texts(screen(shown, size=size)) for size in ((200, 60), (80, 24)))
        page = texts(screen(shown, View(page="account", chosen="desk-03")))

        assert any("-0.5 BTC +10 USDT" in text for text in wide)
        assert any("-0.5 BTC +10 USDT" in text or "2 assets" in text for text in narrow)
        assert "unrealized profit -0.5 BTC, +10 USDT" in page
        assert not any("9.5" in text for text in (*wide, *narrow, *page))

    @pytest.mark.parametrize("value", ["-0.5", "-0.12345678", "0.00000001", "-12345.6789", "1e30"])
    def test_any_amount_fits_a_narrow_screen(self, value: str) -> None:
        """With fewer digits, but in plain notation and never as a value in dollars."""
        shown = fleet_state(changed(calm(), desk_03={"unrealized_profit": None, "profits": {"BTC": Decimal(value)}}))
        (row,) = [text for text in texts(screen(shown)) if text.startswith("desk-03")]

        assert "profit" in texts(screen(shown))[1]
        assert "BTC" in row or "1 asset" in row
        assert "E" not in row.replace("NORMAL", "")


class TestBudget:
    """The bars of the limits."""

    def test_the_fullest_is_first_and_pools_of_accounts_are_one(self) -> None:
        """Two hundred accounts do not fill the screen with their limits."""
        lines = [text_of(line) for line in budget_lines(pools(), 200)]

        assert [line.split("[")[0].strip() for line in lines] == ["IP /papi", "UID /sapi/v1/portfolio/account (2)"]
        assert "10 of 180,000" in lines[1]

    def test_a_bar_shows_what_is_used_and_what_is_kept(self) -> None:
        """Of a limit of 6000: half used, a tenth kept."""
        (line, _) = budget_lines(pools(3000), 200)

        bar = text_of(line).split("[")[1].split("]")[0]
        assert (bar.count("#"), bar.count("="), len(bar)) == (20, 4, 40)

    @pytest.mark.parametrize("width", [60, 80, 120])
    def test_a_number_is_whole_or_left_out(self, width: int) -> None:
        """Who waits is more important than what others use, and that than the reserve."""
        (line, *_) = budget_lines(pools(6000, external=4321, waiting=12), width)

        text = text_of(line)
        assert "6,000 of 6,000" in text
        assert [word for word in (", 12 waiting", ", others 4,321", ", reserve 600") if word in text] == {
            60: [],
            80: [", 12 waiting"],
            120: [", 12 waiting", ", others 4,321", ", reserve 600"],
        }[width]


class TestWarnings:
    """What must be seen before anything else."""

    def test_no_data_yet(self) -> None:
        """Before the first answer nothing is well, and nothing is green."""
        shown = screen(fleet_state([account("a", None), account("b", None)]), since=NOON - 3)

        assert texts(shown)[1] == " NO DATA YET: watching began 3 s ago"
        assert "green" not in styles(shown)

    def test_never_read(self) -> None:
        """Where that lasts, it is blindness."""
        shown = screen(fleet_state([account("a", None, is_stale=True)]), since=NOON - 30)

        assert texts(shown)[1] == " BLIND: no account was read since the start, 30 s ago"

    def test_one_that_is_read_is_not_blindness(self) -> None:
        """The others are loud enough."""
        accounts = [account("a", "3", age=50, is_stale=True), account("b", "3")]

        assert not any("BLIND" in line for line in texts(screen(fleet_state(accounts))))

    def test_no_account_at_all(self) -> None:
        """An empty screen is not a good one."""
        shown = screen(fleet_state([]))

        assert texts(shown)[1].startswith(" BLIND")
        assert "There is no account." in texts(shown)[3]
        assert "green" not in styles(shown)

    def test_a_plan_that_hardly_reads_is_told(self) -> None:
        """Where others use up the limit, everything is as promised, and yet nobody looks."""
        accounts = [account("a", "3", age=40.0, interval=80.0, max_age=85.0), account("b", "3", age=60.0, max_age=85.0)]

        assert texts(screen(fleet_state(accounts)))[1] == (
            " QUIET: no account was read for 40 s; the most urgent is planned every 15 s"
        )

    @pytest.mark.parametrize(
        ("seconds", "text"), [(0.2, "1 s"), (119.0, "119 s"), (119.5, "0:02:00"), (259_200, "72:00:00")]
    )
    def test_the_gate_counts_down(self, seconds: float, text: str) -> None:
        """To the last second, and for days."""
        shown = screen(fleet_state(calm(), gates=[GateState(HOST, seconds, banned=True)]))

        assert texts(shown)[1].startswith(f" 418, BANNED for {text}, until ")

    def test_a_pause_hides_no_warning(self) -> None:
        """What is paused is the accounts; that nothing is seen any more is said all the same."""
        blind = [account("a", "3", age=30.0, is_stale=True)]
        shown = screen(fleet_state(blind), View(paused=FleetState(at=NOON - 2, accounts=[account("a", "3", age=1.0)])))

        assert texts(shown)[1] == " BLIND: no account was read for 30 s"
        assert texts(shown)[2] == " PAUSED for 2.0s: the accounts are those of 11:59:58Z; p goes on"
        assert texts(shown)[4].endswith(" 3.0s")

    def test_what_is_paused_becomes_stale(self) -> None:
        """A screen that stands still is never mistaken for one that is live."""
        paused = FleetState(at=NOON - 30, accounts=[account("a", "3", age=1.0)])
        shown = screen(fleet_state([account("a", "3", age=1.0)]), View(paused=paused))

        assert texts(shown)[3].endswith("STALE 31.0s")

    def test_a_thousand_accounts_in_trouble_are_all_counted(self) -> None:
        """Where the screen is narrow, words are left out rather than counts."""
        accounts = [account(f"{n}", "1.1", crossed=("alarm",), is_stale=n < 400, error="no") for n in range(999)]
        accounts += [account(f"u{n}", None) for n in range(111)]

        head = texts(screen(fleet_state(accounts)))[0]

        assert all(text in head for text in ("1110 accounts", "400 stale", "999 failed", "111 unread", "999 in alarm"))


class TestKeys:
    """What a key makes of the view."""

    LABELS = ("a", "b", "c")

    def after(self, *keys: str, view: View | None = None) -> View:
        """The view after some keys, of which single letters type themselves."""
        view = view or View()
        for key in keys:
            character = key if len(key) == 1 else None
            view = pressed(view, key, character, labels=self.LABELS, known=fleet_state(calm()), page=2)
        return view

    def test_the_mark_stays_within_the_list(self) -> None:
        """The first key marks the worst."""
        ways = (("up",), ("down", "up"), ("down", "end"), ("down", "pagedown"))

        assert [self.after(*keys).chosen for keys in ways] == ["a", "a", "c", "c"]

    def test_the_mark_goes_where_its_account_goes(self) -> None:
        """It is one of a label, not of a line."""
        view = pressed(View(chosen="c"), "up", None, labels=("b", "c", "a"), known=fleet_state([]), page=2)

        assert view.chosen == "b"

    def test_letters_are_typed(self) -> None:
        """Those that are commands elsewhere too; what cannot be seen is not."""
        view = self.after("slash", "q", "p", "\x07", "s", "backspace")

        assert (view.filter, view.is_typing, view.paused, view.order) == ("qp", True, None, "danger")

    def test_escape_goes_back_step_by_step(self) -> None:
        """The page, then the mark, then the filter."""
        view = self.after("slash", "x", "enter", "down", "enter")
        steps = [(one.page, one.chosen, one.filter) for one in (
            view, self.after("escape", view=view), self.after("escape", "escape", view=view),
            self.after("escape", "escape", "escape", view=view),
        )]  # fmt: skip

        assert steps == [("account", "a", "x"), ("table", "a", "x"), ("table", None, "x"), ("table", None, "")]

    def test_an_empty_list_cannot_be_opened(self) -> None:
        """Where nothing matches the filter."""
        view = pressed(View(), "enter", None, labels=(), known=fleet_state([]), page=2)

        assert pressed(view, "down", None, labels=(), known=fleet_state([]), page=2) == View()

    def test_an_unknown_key_changes_nothing(self) -> None:
        """Nor does it close anything."""
        assert self.after("f5", "x", "tab") == View()


class TestHistory:
    """What is remembered."""

    def test_it_stays_small(self) -> None:
        """Ten thousand readings and events of an account leave what a screen needs."""
        history = History()
        for step in range(10_000):
            history.receive(Reading(label="a", at=NOON, responses=responses(str(3 + step)), changed={}))
            history.receive(Fresh(label="a", at=NOON, age=0.1))

        assert (len(history.log), len(history.events("a")), len(history.trend("a"))) == (500, 10, TREND)
        assert history.trend("a")[-1] == 10_002.0

    def test_readings_do_not_push_events_out(self) -> None:
        """The log is of what happened; what was read stands in the table."""
        history = History()
        history.receive(Stale(label="a", at=NOON, age=None, max_age=5.0, reason="nobody knows"))
        history.receive(Reading(label="b", at=NOON, responses=responses("3"), changed={}))

        assert [entry.text for entry in history.log] == [
            "12:00:00Z Stale            a: never read, 5.0 s were promised: nobody knows"
        ]
        assert history.events("b") == ("12:00:00Z Reading          b: nothing changed",)


def test_a_refresh_costs_little() -> None:
    """The lines of a screen of 200 accounts take a tenth of the time until the next at most."""
    accounts = [account(f"desk-{n:03}", str(2 + n / 100)) for n in range(200)]
    history, shown = told(accounts), fleet_state(accounts)

    def seconds() -> float:
        began = time.process_time()
        screen_of(shown, history, View(), width=200, height=60, since=NOON)
        return time.process_time() - began

    # Other programs only ever make it slower: one fast snapshot is enough.
    with unmeasured():
        assert any(seconds() < 0.025 for _ in range(20))


def test_a_dead_network_is_blindness_within_the_bound() -> None:
    """Fifty accounts, looked at four times a second: no green when the last bound is over, and BLIND is said."""

    async def dead(_: int) -> httpx.Response | None:
        raise httpx.ConnectError("no network")

    async def main() -> tuple[float, float, set[str]]:
        loop = asyncio.get_running_loop()
        echo, history = Echo(loop.time), History()
        async with echo.fleet(50) as fleet, asyncio.TaskGroup() as tasks:
            telling = tasks.create_task(dispatch(fleet.watch(warn="1.5", alarm="1.2"), [history]))

            def seen() -> Screen:
                shown = msgspec.structs.replace(fleet.state(), at=echo.wall())
                return screen_of(shown, history, View(), width=80, height=24, since=START)

            await asyncio.sleep(100)
            assert " 50 fresh " in texts(seen())[0]
            bound = max(known.max_age for known in fleet.snapshot())
            echo.trouble = dead
            for looks in count(1):
                await asyncio.sleep(0.25)
                if any("BLIND" in text for text in texts(seen())):
                    telling.cancel()
                    return looks / 4, bound, styles(seen())
        raise AssertionError

    took, bound, colours = virtual.run(main, patience=PATIENCE)
    print("blind after", took, "promised", bound)  # noqa: T201

    # An account that is unseen is read more often, which is planned once a second.
    assert took <= bound + 0.25 + 1.0
    assert not any("green" in style for style in colours)


def test_a_ban_from_before_is_on_the_first_screen() -> None:
    """Although nothing was sent to the host yet."""

    async def main() -> FleetState:
        echo = Echo(asyncio.get_running_loop().time)
        async with echo.fleet(1) as fleet:
            fleet.budget.gate(HOST).close(echo.clock() + 600, banned=True)
            return msgspec.structs.replace(fleet.state(), at=START)

    shown = texts(screen(virtual.run(main, patience=PATIENCE), since=START))

    assert any(text.startswith(" 418, BANNED for 0:10:00") for text in shown)
