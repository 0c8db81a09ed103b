"""The dashboard as a person sees it: whole screens, compared as text with those of the directory ``screens``.

``WRITE_SCREENS=1 python -m pytest tests/unit/cli/test_screens.py`` writes them anew; look at what git says has changed.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import msgspec
import pytest
from textual.pilot import Pilot

from binance_pm import AccountStatus
from binance_pm.budget import Waiting
from binance_pm.cli.dashboard.app import Dashboard
from binance_pm.cli.dashboard.history import History
from binance_pm.cli.watch import dispatch
from binance_pm.fleet import AccountFailed, Fleet, HostBlocked, Member, Stale, StatusChanged, ThresholdCrossed
from binance_pm.fleet.state import FleetState, GateState
from binance_pm.testing import Fault, running_sandbox
from tests.support.snapshots import HOST, NOON, account, calm, changed, fleet_state, pools, told

SCREENS = Path(__file__).parent / "screens"
SIZES = [(80, 24), (200, 60)]
ERROR = "um_account [desk-03]: NoResponse. It was sent; a read changes nothing. It is safe to try again."


class Case(NamedTuple):
    """A screen to look at."""

    known: FleetState
    history: History
    keys: tuple[str, ...] = ()
    later: float = 0.0
    """Seconds that pass after the keys were pressed, without any news."""


def normal() -> Case:
    """Nothing to say."""
    return Case(fleet_state(calm()), told(calm()))


def alarm() -> Case:
    """One account fell below both of its lines."""
    status = AccountStatus.REDUCE_ONLY
    accounts = changed(calm(), desk_07=account("desk-07", "1.1999", age=0.4, status=status, crossed=("warn", "alarm")))
    history = told(accounts)
    at, label, worth = NOON - 3, "desk-07", accounts[6].uni_mmr
    assert worth is not None
    history.receive(StatusChanged(label=label, at=at, before=AccountStatus.MARGIN_CALL, after=status))
    history.receive(ThresholdCrossed(label=label, at=at, name="alarm", threshold=worth + 1, below=True, uni_mmr=worth))
    return Case(fleet_state(accounts), history)


def stale() -> Case:
    """One account is not answered, one was refused just now, one was never read."""
    accounts = changed(
        calm(),
        desk_03={"age": 23.4, "is_stale": True, "error": ERROR},
        desk_05={"error": "account [desk-05]: Internal error; unable to process your request. (code -1000, HTTP 503)"},
        desk_09=account("desk-09", None, is_stale=True, error="account [desk-09]: Invalid API-key (code -2015)"),
    )
    history = told(accounts)
    failed = AccountFailed(
        label="desk-03", at=NOON - 4, endpoint="um_account", error=ERROR, error_type="NoResponse", retry_at=NOON + 15
    )
    history.receive(failed)
    history.receive(Stale(label="desk-03", at=NOON - 3, age=20.0, max_age=20.0, reason=ERROR))
    return Case(fleet_state(accounts), history)


def blind() -> Case:
    """Nobody was read for half a minute."""
    accounts = [account(f"desk-{n:02}", str(n + 1), age=30.0 + n, is_stale=True, error=ERROR) for n in range(1, 13)]
    return Case(fleet_state(accounts), told(accounts))


def part() -> Case:
    """Positions are late, uniMMR is not; one account holds contracts that are settled in BTC."""
    crowd = Waiting(reason="minute", origin=HOST, pool="IP /papi", seconds=14.2, used=5458, limit=6000, external=4027)
    late = {
        "age": 21.5,
        "ages": {"account": 1.5, "um_account": 21.5},
        "is_stale": True,
        "stale_endpoints": ("um_account",),
    }
    mixed = {"unrealized_profit": None, "profits": {"BTC": Decimal("-0.5"), "USDT": Decimal(10)}}
    accounts = changed(
        calm(),
        desk_03=late | {"reason": f"um_account [desk-03]: {crowd.text}", "waiting": crowd},
        desk_05=mixed,
        desk_06={"unrealized_profit": None, "profits": {"BTC": Decimal("-0.12345678")}},
    )
    history = told(accounts)
    why = accounts[2].reason
    stale = Stale(
        label="desk-03",
        at=NOON - 1.5,
        age=20.0,
        max_age=20.0,
        reason=why,
        waiting=crowd,
        stale_endpoints=("um_account",),
    )
    history.receive(stale)
    return Case(fleet_state(accounts, limits=pools(5458, external=4027, waiting=10, waiting_for=crowd)), history)


def failing() -> Case:
    """The first reading after the network was cut has failed for every account; nothing is old yet."""
    error = "account [{}]: papi.binance.com: name not resolved. Nothing was sent. Check DNS or the network."
    accounts = [account(f"desk-{n:02}", str(n + 1), error=error.format(f"desk-{n:02}")) for n in range(1, 13)]
    history = told(accounts)
    for snapshot in accounts:
        failed = AccountFailed(
            label=snapshot.label,
            at=NOON - 0.5,
            endpoint="account",
            error=snapshot.error,
            error_type="ConnectError",
            retry_at=NOON + 15,
        )
        history.receive(failed)
    return Case(fleet_state(accounts), history)


def gate() -> Case:
    """A refusal is waited out."""
    history = told(calm())
    history.receive(HostBlocked(at=NOON - 2.6, origin=HOST, until=NOON + 9.4, banned=False))
    closed = Waiting(reason="gate", origin=HOST, seconds=9.4)
    limits = pools(6000, closed=9.4, external=4000, waiting=13, waiting_for=closed)
    return Case(fleet_state(calm(), limits=limits, gates=[GateState(HOST, 9.4, banned=False)]), history)


def paused() -> Case:
    """The accounts stood still half a minute ago, when some were older than others."""
    return Case(fleet_state(calm()), told(calm()), ("p",), later=15.5)


def filtered() -> Case:
    """Those that are calm, while another is in alarm."""
    return alarm()._replace(keys=("slash", *"desk-1"))


def opened() -> Case:
    """The second of the list."""
    return stale()._replace(keys=("down", "down", "enter"))


def asked() -> Case:
    """What the keys do."""
    return normal()._replace(keys=("question_mark",))


CASES: list[Callable[[], Case]] = [normal, alarm, stale, part, failing, blind, gate, paused, filtered, opened, asked]


class Running(NamedTuple):
    """A dashboard that runs without a terminal."""

    dashboard: Dashboard
    pilot: Pilot[int]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for it, twenty seconds at most."""
        with anyio.fail_after(20):
            while not condition():  # noqa: ASYNC110 - the screen tells nobody that it has changed
                await anyio.sleep(0.02)

    def text(self) -> str:
        """What stands on the screen."""
        lines = self.dashboard.screen._compositor.render_strips()
        return "".join(f"{line.text.rstrip()}\n" for line in lines)

    def struck(self, label: str) -> set[str]:
        """The words that are struck out in the row of an account."""
        (row,) = [one for one in self.dashboard.screen._compositor.render_strips() if one.text.startswith(f"{label} ")]
        return {one.text.strip() for one in row if one.style is not None and one.style.strike and one.text.strip()}

    def colours(self) -> set[str]:
        """The names of all colours of letters that are seen."""
        segments = [one for line in self.dashboard.screen._compositor.render_strips() for one in line]
        return {
            segment.style.color.name
            for segment in segments
            if segment.text.strip() and segment.style is not None and segment.style.color is not None
        }


@asynccontextmanager
async def running(
    look: Callable[[], FleetState], history: History, size: tuple[int, int], **options: Any
) -> AsyncGenerator[Running]:
    """A dashboard on a screen of a size, that draws when it is told to."""
    dashboard = Dashboard(look, history, **({"every": None} | options))
    async with dashboard.run_test(size=size) as pilot:
        yield Running(dashboard, pilot)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("case", CASES)
async def test_screen(case: Callable[[], Case], size: tuple[int, int]) -> None:
    """It looks as it was once approved."""
    shown, history, keys, later = case()
    now = [shown]
    async with running(lambda: now[0], history, size) as screen:
        await screen.pilot.press(*keys)
        now[0] = FleetState(at=shown.at + later, accounts=shown.accounts, pools=shown.pools, gates=shown.gates)
        screen.dashboard.draw()
        await screen.pilot.pause()
        text = screen.text()

    file = SCREENS / f"{case.__name__}-{size[0]}x{size[1]}.txt"
    if os.environ.get("WRITE_SCREENS"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    assert len(text.splitlines()) == size[1]
    assert text == file.read_text(encoding="utf-8")


@pytest.mark.parametrize("case", CASES)
async def test_green_is_what_is_surely_well(case: Callable[[], Case]) -> None:
    """It is seen where accounts are well, and nowhere while nothing is known."""
    shown, history, *_ = case()
    async with running(lambda: shown, history, (80, 24)) as screen:
        await screen.pilot.pause()

        assert ("green" in screen.colours()) is (case not in {failing, blind})


async def test_what_is_stale_is_struck_out() -> None:
    """The figures of an account that is not read are not those of the others."""
    shown, history, *_ = stale()
    async with running(lambda: shown, history, (200, 60)) as screen:
        await screen.pilot.pause()

        assert screen.struck("desk-03") == {"NORMAL", "1.90", "100,000", "52,632", "-123"}
        assert screen.struck("desk-06") == set()


async def test_a_fresh_uni_mmr_is_not_struck_out_because_positions_are_late() -> None:
    """The profit alone is as old as they are, and the age says so."""
    shown, history, *_ = part()
    async with running(lambda: shown, history, (200, 60)) as screen:
        await screen.pilot.pause()

        assert screen.struck("desk-03") == {"-123"}
        assert "STALE um 21s" in screen.text()


async def test_everything_can_be_reached_by_keys() -> None:
    """Sort, mark, scroll, open, go back, and leave."""
    shown, history, *_ = alarm()
    async with running(lambda: shown, history, (80, 24)) as screen:

        async def seen_after(*keys: str) -> str:
            await screen.pilot.press(*keys)
            await screen.pilot.pause()
            return screen.text()

        def first() -> str:
            return screen.text().splitlines()[2].split()[0]

        await screen.pilot.pause()
        assert first() == "desk-07"
        assert "sort: account" in await seen_after("s")
        assert first() == "desk-01"
        assert "sort: danger" in await seen_after("S")
        assert "desk-07  pm  REDUCE_ONLY" in await seen_after("enter")
        assert "BTCUSDT" in screen.text()
        assert "BTCUSDT" not in await seen_after("end")
        assert "BTCUSDT" in await seen_after("pageup", "pageup")
        assert "sort: danger" in await seen_after("escape")
        assert "StatusChanged    desk-07" in (await seen_after("e")).splitlines()[2]
        assert "sort: danger" in await seen_after("escape")
        assert "1 of 12 accounts shown" in await seen_after("slash", *"reduce", "enter")
        assert "accounts shown" not in await seen_after("escape", "escape")
        await screen.pilot.press("q")
    assert screen.dashboard.return_value == 0


@pytest.mark.parametrize("mark", ["down", "end"])
async def test_the_marked_account_stays_in_sight(mark: str) -> None:
    """Of a thousand accounts, at the end of the list."""
    accounts = [account(f"desk-{number:04}", str(2 + number)) for number in range(1000)]
    async with running(lambda: fleet_state(accounts), History(), (80, 24)) as screen:
        await screen.pilot.press("down", "end")
        await screen.pilot.press(mark)
        await screen.pilot.pause()
        assert "desk-0999" in screen.text()
        await screen.pilot.press("enter")
        await screen.pilot.pause()
        assert "desk-0999  pm" in screen.text()


async def test_what_is_logged_goes_to_the_events(capfd: pytest.CaptureFixture[str]) -> None:
    """Whoever logs while the screen is shown does not write over it, and afterwards is heard as before."""
    shown, history, *_ = normal()
    log = logging.getLogger("binance_pm.budget")
    handlers = logging.getLogger().handlers[:]
    async with running(lambda: shown, history, (80, 24)) as screen:
        with history.keeping_logs():
            log.warning("%s answered HTTP %d\x1b[2J\nand more", HOST, 429)
            log.info("not worth it")
        screen.dashboard.draw()
        await screen.pilot.pause()

        assert f"warning: {HOST} answered HTTP 429 [2J and more" in " ".join(screen.text().split())
        assert "not worth it" not in screen.text()
    assert logging.getLogger().handlers == handlers
    assert capfd.readouterr() == ("", "")


async def test_a_cut_network_is_seen() -> None:
    """Of a fleet that really reads: within the bound that it promised, no green is left, and BLIND is said."""
    history = History()
    with running_sandbox(accounts=4) as pm:
        session = pm.session()
        members = [Member(pm.client(place, session=session), "span") for place in range(4)]
        async with Fleet(members, floor=0.2, ceiling=0.4, slack=0.6) as fleet, anyio.create_task_group() as tasks:
            tasks.start_soon(dispatch, fleet.watch(warn="1.5"), [history])
            loop_time = anyio.current_time

            def look() -> FleetState:
                return msgspec.structs.replace(fleet.state(), at=NOON + loop_time())

            async with running(look, history, (80, 24), every=0.05) as screen:
                await screen.until(lambda: " 4 fresh " in screen.text() and "green" in screen.colours())
                pm.inject(Fault(drop=True, effect=False, times=None))
                began = loop_time()
                promised = max(snapshot.max_age for snapshot in fleet.snapshot())
                await screen.until(lambda: "BLIND" in screen.text())
                took = loop_time() - began

                assert "green" not in screen.colours()
                assert screen.text().count("STALE") == 4
                assert " 0 fresh  4 stale " in screen.text()
                # A machine with other work may draw late; in virtual time it is exact, see test_dashboard.py.
                assert took <= promised + 3.0
                pm.clear()
                await screen.until(lambda: " 4 fresh " in screen.text())
                assert "BLIND" not in screen.text()
            tasks.cancel_scope.cancel()
