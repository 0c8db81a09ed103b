"""The lines of the dashboard without a terminal: order, widths, warnings, history; test_screens has whole screens."""

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
from binance_pm.cli.dashboard.rows import ORDERS, Order, ordered, rows_of
from binance_pm.cli.dashboard.screen import Screen, budget_lines, screen_of
from binance_pm.cli.dashboard.table import DROPPED, age_text, margin_text, spark, table
from binance_pm.cli.dashboard.view import Page, View, pressed
from binance_pm.cli.watch import dispatch
from binance_pm.fleet import AccountSnapshot, Fresh, Reading, Stale
from binance_pm.fleet.state import FleetState, GateState
from tests.simulation import virtual
from tests.support.coverage import unmeasured
from tests.support.echo import START, Echo
from tests.support.snapshots import HOST, NOON, account, calm, changed, fleet_state, history_of, pools, responses

NO_NAME = "account [a]: papi.binance.com: name not resolved. Nothing was sent."
FAILED = "the last reading of every account failed: name not resolved"
PATIENCE = 100
"""Seconds of CPU time."""


def screen(
    shown: FleetState, view: View | None = None, *, size: tuple[int, int] = (80, 24), since: float = NOON
) -> Screen:
    """Return the screen for a state without history."""
    return screen_of(shown, History(), view or View(), width=size[0], height=size[1], since=since)


def texts(shown: Screen) -> list[str]:
    """Return the lines without styles."""
    return [text_of(line) for line in shown.lines]


def styles(shown: Screen) -> set[str]:
    """Return the styles of all visible text."""
    return {span.style for line in shown.lines for span in line if span.text.strip()}


class TestOrder:
    """The worst account comes first."""

    def test_stale_accounts_and_alarms_come_first(self) -> None:
        """Failed and warned accounts follow, then all others; among equals the lowest uniMMR comes first."""
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
        random.Random(7).shuffle(accounts)

        labels = [row.snapshot.label for row in ordered(rows_of(accounts), "danger")]

        assert labels == [
            "unread", "at liquidation", "alarmed", "liquidated", "new status", "stale",
            "warned", "failed", "calm", "calmer",
        ]  # fmt: skip

    @pytest.mark.parametrize("order", ORDERS)
    def test_unknown_values_come_first(self, order: Order) -> None:
        """This holds for every order except that of the labels."""
        accounts = [account("b", "3"), account("a", "2"), account("z", None)]

        labels = [row.snapshot.label for row in ordered(rows_of(accounts), order)]

        assert labels[0] == ("a" if order == "account" else "z")

    def test_an_account_with_an_unread_endpoint_is_partial(self) -> None:
        """Its uniMMR counts as stale even if it is known."""
        (row,) = rows_of([account("a", "9", age=None, is_stale=True)])

        assert (row.condition, row.is_headline_stale) == ("partial", True)


class TestWidth:
    """Screens of any size."""

    @pytest.mark.parametrize("width", [44, 50, 60, 70, 80, 100, 200])
    def test_a_narrow_screen_omits_columns_and_cuts_no_value(self, width: int) -> None:
        """The columns are omitted in the documented order."""
        rows = rows_of(changed(calm(), desk_02={"age": 99.9, "is_stale": True, "max_age": 20.0}))
        shown = table(rows, width, trend=history_of(calm()).trend)

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

    @pytest.mark.parametrize("size", [(1, 1), (10, 3), (43, 5), (80, 8), (300, 100)])
    @pytest.mark.parametrize("page", ["table", "account", "events", "help"])
    def test_every_line_is_as_wide_as_the_screen(self, size: tuple[int, int], page: Page) -> None:
        """The number of lines is the height, even of a tiny screen."""
        view = View(page=page, chosen="desk-03", filter="desk", paused=fleet_state(calm()))
        shown = screen(fleet_state(calm(), gates=[GateState(HOST, 3.0, banned=True)]), view, size=size)

        assert [cell_len("".join(span.text for span in line)) for line in shown.lines] == [size[0]] * size[1]

    def test_columns_never_become_narrower(self) -> None:
        """The table does not flicker if a wide value disappears."""
        rich = [account("a", "3", account_equity=Decimal(10**12))]
        before = table(rows_of(rich), 200)
        after = table(rows_of(calm()), 200, widths=before.widths)

        assert text_of(after.head).index("maint.") == text_of(before.head).index("maint.")

    @pytest.mark.parametrize("label", ["d" * 64, "desk-" + "東京" * 20, "🦊" * 30])
    def test_long_labels_keep_both_ends(self, label: str) -> None:
        """The line stays within the screen."""
        short = shortened(label, 24)

        assert cell_len(short) <= 24
        assert (short[0], short[-1], "…" in short) == (label[0], label[-1], True)
        lines = texts(screen(fleet_state([account(label, "3")])))
        assert all(cell_len(line) <= 80 for line in lines)

    def test_long_lines_are_wrapped(self) -> None:
        """A word that is longer than the line is broken, and no letter is lost."""
        text = "a bc " + "d" * 30 + " e"
        lines = wrapped(text, 14, indent=2)

        assert max(map(len, lines)) <= 14
        assert all(line.startswith("  ") for line in lines[1:])
        assert "".join(lines).replace(" ", "") == text.replace(" ", "")


class TestFigures:
    """The text of a value."""

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
        """A value at a threshold is not shown above the threshold."""
        assert margin_text(Decimal(value)) == text

    @pytest.mark.parametrize(
        ("seconds", "text"), [(0.04, "0.0s"), (99.94, "99.9s"), (100, "100s"), (1000, "17m"), (90_000, "25h")]
    )
    def test_ages_are_short(self, seconds: float, text: str) -> None:
        """Any age has a few characters."""
        assert age_text(seconds) == text

    def test_a_trend_that_hardly_moves_is_flat(self) -> None:
        """Bars show only a range of at least two percent."""
        assert len(set(spark([5.0, 5.001, 4.999], 8))) == 1
        assert spark([8.0, 4.0], 8) == "█▁"
        assert spark([], 8) == ""
        assert spark([0.0, 0.0], 8) == "▅▅"
        assert len(spark([1.0] * 30, 8)) == 8


class TestReasons:
    """The reason of a failure or of stale data, on 80 columns."""

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
    def test_the_brief_reason_is_the_first_sentence(self, error: str, brief: str) -> None:
        """Endpoint, label and host are omitted; the exchange's code comes first."""
        (row,) = rows_of([account("a", "3", error=error)])

        assert row.brief_reason == brief

    @pytest.mark.parametrize("reason", get_args(WaitReason))
    def test_every_reason_to_wait_fits_the_row(self, reason: WaitReason) -> None:
        """The brief text is not cut."""
        figures: dict[str, int] = {"used": 5458, "limit": 6000, "external": 4027}
        waiting = Waiting(reason=reason, origin=HOST, pool="IP /papi", seconds=41.2, **figures)
        stale = ("account", "um_account")
        late = {"is_stale": True, "stale_endpoints": stale, "reason": waiting.text, "waiting": waiting}
        text = "\n".join(texts(screen(fleet_state(changed(calm(), desk_03=late)))))

        assert waiting.brief in text
        assert "…" not in text

    @pytest.mark.parametrize("width", [60, 70, 80, 100, 120, 200])
    def test_the_row_of_a_failure_has_its_reason(self, width: int) -> None:
        """The reason replaces less important figures if there is no column for it."""
        error = "account [desk-03]: Invalid API-key (code -2015, HTTP 401)"
        shown = screen(fleet_state(changed(calm(), desk_03={"error": error})), size=(width, 24))

        (row,) = [text for text in texts(shown) if text.startswith("desk-03")]
        assert "-2015" in row
        assert "FAIL" in row


class TestAges:
    """Each endpoint has its own age."""

    def part(self, name: str) -> FleetState:
        """Return a state in which one endpoint of an account is stale."""
        ages = {"account": 1.5, "um_account": 1.5} | {name: 33.7}
        late = {"age": 33.7, "ages": ages, "is_stale": True, "stale_endpoints": (name,)}
        return fleet_state(changed(calm(), desk_03=late))

    def test_only_figures_of_a_stale_endpoint_are_struck_out(self) -> None:
        """The profit comes from the positions, the other figures from the headline endpoint."""
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

    def test_stale_positions_are_not_a_stale_screen(self) -> None:
        """The age names the endpoint, and the page of the account has the age of each."""
        late = [one for one in self.part("um_account").accounts if one.is_stale]
        shown = texts(screen(fleet_state(late)))
        page = texts(screen(self.part("account"), View(page="account", chosen="desk-03"), size=(100, 60)))

        assert any(text.endswith("STALE um 33s") for text in shown)
        assert not any("ALL STALE" in text for text in shown)
        assert any(text.endswith("STALE 33.7s") for text in texts(screen(self.part("account"))))
        assert [text.partition("  ")[0] for text in page if "  STALE 33.7s" in text] == ["account"]

    def test_each_age_increases_during_a_pause(self) -> None:
        """The ages are those at the pause plus its duration."""
        ages = {"account": 1.0, "um_account": 15.0}
        paused = FleetState(at=NOON - 10, accounts=[account("a", "3", age=15.0, ages=ages)])
        shown = screen(fleet_state([account("a", "3")]), View(paused=paused))

        assert texts(shown)[3].endswith("STALE um 25s")


class TestProfit:
    """The profit of contracts that are settled in several assets."""

    BTC: ClassVar[dict[str, Any]] = {
        "unrealized_profit": None,
        "profits": {"BTC": Decimal("-0.5"), "USDT": Decimal(10)},
    }

    def test_bitcoins_and_dollars_are_not_added(self) -> None:
        """Each asset is shown separately; the page of the account has all digits."""
        shown = fleet_state(changed(calm(), desk_03=self.BTC))
        wide, narrow = (texts(screen(shown, size=size)) for size in ((200, 60), (80, 24)))
        page = texts(screen(shown, View(page="account", chosen="desk-03")))

        assert any("-0.5 BTC +10 USDT" in text for text in wide)
        assert any("-0.5 BTC +10 USDT" in text or "2 assets" in text for text in narrow)
        assert "unrealized profit -0.5 BTC, +10 USDT" in page
        assert not any("9.5" in text for text in (*wide, *narrow, *page))

    @pytest.mark.parametrize("value", ["-0.5", "-0.12345678", "0.00000001", "-12345.6789", "1e30"])
    def test_any_amount_fits_a_narrow_screen(self, value: str) -> None:
        """The amount may have fewer digits, but has plain notation and its asset."""
        shown = fleet_state(changed(calm(), desk_03={"unrealized_profit": None, "profits": {"BTC": Decimal(value)}}))
        (row,) = [text for text in texts(screen(shown)) if text.startswith("desk-03")]

        assert "profit" in texts(screen(shown))[1]
        assert "BTC" in row or "1 asset" in row
        assert "E" not in row.replace("NORMAL", "")


@pytest.mark.parametrize(("width", "words"), [(60, 0), (80, 1), (120, 3)])
def test_a_figure_of_a_limit_is_whole_or_omitted(width: int, words: int) -> None:
    """Waiting calls are more important than external usage, and external usage than the reserve."""
    (line, *_) = budget_lines(pools(6000, external=4321, waiting=12), width)

    figures = (", 12 waiting", ", external 4,321", ", reserve 600")
    assert "6,000 of 6,000" in text_of(line)
    assert [figure for figure in figures if figure in text_of(line)] == list(figures[:words])


class TestWarnings:
    """The warnings below the first line."""

    @pytest.mark.parametrize(
        ("accounts", "warning"),
        [
            ([account("a", None), account("b", None)], " NO DATA YET: watching began 30 s ago"),
            ([account("a", None, is_stale=True)], " ALL STALE: no account was read since the start, 30 s ago"),
            ([], " ALL STALE: no account was read since the start, 30 s ago"),
            ([account("a", "3", age=50, is_stale=True)], " ALL STALE: no account was read for 50 s"),
            # The plan hardly reads the accounts, for example because of external usage, but keeps its promise.
            (
                [account("a", "3", age=40.0, interval=80.0, max_age=85.0), account("b", "3", age=60.0, max_age=85.0)],
                " QUIET: no account was read for 40 s; the most urgent is planned every 15 s",
            ),
            ([account("a", "3", error=NO_NAME), account("b", None, error=NO_NAME)], f" FAILING: {FAILED}"),
            ([account("a", "3", age=50, is_stale=True), account("b", "3")], None),
            ([account("a", "3", error="no"), account("b", "3")], None),
        ],
    )
    def test_the_state_of_all_accounts(self, accounts: list[AccountSnapshot], warning: str | None) -> None:
        """A warning is shown unless an account is fresh; problems of single accounts are in their rows."""
        shown = screen(fleet_state(accounts), since=NOON - 30)

        assert any(text == warning for text in texts(shown)[1:2]) or warning is None
        assert any(word in texts(shown)[1] for word in ("ALL STALE", "FAILING", "NO DATA")) is (
            warning is not None and "QUIET" not in warning
        )
        assert warning is None or "QUIET" in warning or "green" not in styles(shown)

    @pytest.mark.parametrize(
        ("seconds", "text"), [(0.2, "1 s"), (119.0, "119 s"), (119.5, "0:02:00"), (259_200, "72:00:00")]
    )
    def test_the_time_until_the_gate_opens(self, seconds: float, text: str) -> None:
        """The remaining time is rounded up, and may be days."""
        shown = screen(fleet_state(calm(), gates=[GateState(HOST, seconds, banned=True)]))

        assert texts(shown)[1].startswith(f" 418, BANNED for {text}, until ")

    def test_a_pause_hides_no_warning(self) -> None:
        """Only the accounts are paused."""
        stale = [account("a", "3", age=30.0, is_stale=True)]
        shown = screen(fleet_state(stale), View(paused=FleetState(at=NOON - 2, accounts=[account("a", "3", age=1.0)])))

        assert texts(shown)[1] == " ALL STALE: no account was read for 30 s"
        assert texts(shown)[2] == " PAUSED for 2.0s: the accounts are those of 11:59:58Z; p resumes"
        assert texts(shown)[4].endswith(" 3.0s")

    def test_paused_accounts_become_stale(self) -> None:
        """Their ages exceed the maximum age during the pause."""
        paused = FleetState(at=NOON - 30, accounts=[account("a", "3", age=1.0)])
        shown = screen(fleet_state([account("a", "3", age=1.0)]), View(paused=paused))

        assert texts(shown)[3].endswith("STALE 31.0s")

    def test_counts_are_never_cut(self) -> None:
        """On a narrow screen, zeros and the word live are omitted first."""
        accounts = [account(f"{n}", "1.1", crossed=("alarm",), is_stale=n < 400, error="no") for n in range(999)]
        accounts += [account(f"u{n}", None) for n in range(111)]

        head = texts(screen(fleet_state(accounts)))[0]

        assert all(text in head for text in ("1110 accounts", "400 stale", "999 failed", "111 unread", "999 in alarm"))


class TestKeys:
    """The view after keys."""

    LABELS = ("a", "b", "c")

    def after(self, *keys: str, view: View | None = None) -> View:
        """Return the view after some keys; single letters have themselves as character."""
        view = view or View()
        for key in keys:
            character = key if len(key) == 1 else None
            view = pressed(view, key, character, labels=self.LABELS, known=fleet_state(calm()), page=2)
        return view

    def test_the_selection_stays_within_the_list(self) -> None:
        """The first key selects the worst account."""
        ways = (("up",), ("down", "up"), ("down", "end"), ("down", "pagedown"))

        assert [self.after(*keys).chosen for keys in ways] == ["a", "a", "c", "c"]

    def test_the_selection_follows_its_account(self) -> None:
        """The selection is a label, not a line."""
        view = pressed(View(chosen="c"), "up", None, labels=("b", "c", "a"), known=fleet_state([]), page=2)

        assert view.chosen == "b"

    def test_letters_are_added_to_the_filter(self) -> None:
        """Letters that are commands elsewhere are added, too; control characters are not."""
        view = self.after("slash", "q", "p", "\x07", "s", "backspace")

        assert (view.filter, view.is_typing, view.paused, view.order) == ("qp", True, None, "danger")

    def test_escape_goes_back_step_by_step(self) -> None:
        """Esc leaves the page, then clears the selection, then the filter."""
        view = self.after("slash", "x", "enter", "down", "enter")
        steps = [(one.page, one.chosen, one.filter) for one in (
            view, self.after("escape", view=view), self.after("escape", "escape", view=view),
            self.after("escape", "escape", "escape", view=view),
        )]  # fmt: skip

        assert steps == [("account", "a", "x"), ("table", "a", "x"), ("table", None, "x"), ("table", None, "")]

    def test_an_empty_list_cannot_be_opened(self) -> None:
        """Enter and the arrows do nothing if no account matches the filter."""
        view = pressed(View(), "enter", None, labels=(), known=fleet_state([]), page=2)

        assert pressed(view, "down", None, labels=(), known=fleet_state([]), page=2) == View()

    def test_an_unknown_key_changes_nothing(self) -> None:
        """The dashboard stays open."""
        assert self.after("f5", "x", "tab") == View()


class TestHistory:
    """The events and trends that are kept."""

    def test_the_history_is_bounded(self) -> None:
        """Of ten thousand readings and events, the last ones are kept."""
        history = History()
        for step in range(10_000):
            history.receive(Reading(label="a", at=NOON, responses=responses(str(3 + step)), changed={}))
            history.receive(Fresh(label="a", at=NOON, age=0.1))

        assert (len(history.log), len(history.events("a")), len(history.trend("a"))) == (500, 10, TREND)
        assert history.trend("a")[-1] == 10_002.0

    def test_readings_are_not_in_the_log(self) -> None:
        """Otherwise they would displace the events; the table shows the readings."""
        history = History()
        history.receive(Stale(label="a", at=NOON, age=None, max_age=5.0, reason="unknown"))
        history.receive(Reading(label="b", at=NOON, responses=responses("3"), changed={}))

        assert [entry.text for entry in history.log] == [
            "12:00:00Z Stale            a: never read, maximum age 5.0 s: unknown"
        ]
        assert history.events("b") == ("12:00:00Z Reading          b: nothing changed",)


def test_a_refresh_costs_little() -> None:
    """The lines of a screen of 200 accounts take at most a tenth of the refresh interval."""
    accounts = [account(f"desk-{n:03}", str(2 + n / 100)) for n in range(200)]
    history, shown = history_of(accounts), fleet_state(accounts)

    def seconds() -> float:
        began = time.process_time()
        screen_of(shown, history, View(), width=200, height=60, since=NOON)
        return time.process_time() - began

    # Other programs only slow a run down: one fast run is enough.
    with unmeasured():
        assert any(seconds() < 0.025 for _ in range(20))


def test_a_network_failure_is_shown_within_the_maximum_age() -> None:
    """When all fifty accounts are older than their maximum age, ALL STALE is shown and nothing is green."""

    async def dead(_: int) -> httpx.Response | None:
        raise httpx.ConnectError("no network")

    async def main() -> tuple[float, float, set[str]]:
        loop = asyncio.get_running_loop()
        echo, history = Echo(loop.time), History()
        async with echo.fleet(50) as fleet, asyncio.TaskGroup() as tasks:
            telling = tasks.create_task(dispatch(fleet.watch(warn="1.5", alarm="1.2"), [history.receive]))

            def seen() -> Screen:
                shown = msgspec.structs.replace(fleet.state(), at=echo.wall())
                return screen_of(shown, history, View(), width=80, height=24, since=START)

            await asyncio.sleep(100)
            assert " 50 fresh " in texts(seen())[0]
            max_age = max(known.max_age for known in fleet.snapshot())
            echo.trouble = dead
            for looks in count(1):
                await asyncio.sleep(0.25)
                if any("ALL STALE" in text for text in texts(seen())):
                    telling.cancel()
                    return looks / 4, max_age, styles(seen())
        raise AssertionError

    took, max_age, colours = virtual.run(main, patience=PATIENCE)

    # An account that was not read is read more often, which is planned once a second.
    assert took <= max_age + 0.25 + 1.0
    assert not any("green" in style for style in colours)


def test_a_known_ban_is_on_the_first_screen() -> None:
    """Nothing has been sent to the host yet."""

    async def main() -> FleetState:
        echo = Echo(asyncio.get_running_loop().time)
        async with echo.fleet(1) as fleet:
            fleet.budget.gate(HOST).close(echo.clock() + 600, banned=True)
            return msgspec.structs.replace(fleet.state(), at=START)

    shown = texts(screen(virtual.run(main, patience=PATIENCE), since=START))

    assert any(text.startswith(" 418, BANNED for 0:10:00") for text in shown)
