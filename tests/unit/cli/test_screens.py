"""Whole screens of the dashboard, compared with the texts in the directory ``screens``.

``WRITE_SCREENS=1 python -m pytest tests/unit/cli/test_screens.py`` writes the texts; check the difference with git.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
from textual.pilot import Pilot

from binance_pm import AccountStatus
from binance_pm.budget import Waiting
from binance_pm.cli.dashboard.app import Dashboard
from binance_pm.cli.dashboard.history import History
from binance_pm.fleet import AccountFailed, HostBlocked, Stale, StatusChanged, ThresholdCrossed
from binance_pm.fleet.state import FleetState, GateState
from tests.support.snapshots import HOST, NOON, account, calm, changed, fleet_state, history_of, pools

SCREENS = Path(__file__).parent / "screens"
SIZES = [(80, 24), (200, 60)]
ERROR = "um_account [desk-03]: NoResponse. It was sent; a read changes nothing. It is safe to try again."


class Case(NamedTuple):
    """A state, and the keys that are pressed."""

    state: FleetState
    history: History
    keys: tuple[str, ...] = ()
    later: float = 0.0
    """Seconds that pass after the keys without new data."""


def normal() -> Case:
    """All accounts are fresh and calm."""
    return Case(fleet_state(calm()), history_of(calm()))


def alarm() -> Case:
    """One account is below both thresholds."""
    status = AccountStatus.REDUCE_ONLY
    accounts = changed(calm(), desk_07=account("desk-07", "1.1999", age=0.4, status=status, crossed=("warn", "alarm")))
    history = history_of(accounts)
    at, label, worth = NOON - 3, "desk-07", accounts[6].uni_mmr
    assert worth is not None
    history.receive(StatusChanged(label=label, at=at, before=AccountStatus.MARGIN_CALL, after=status))
    history.receive(ThresholdCrossed(label=label, at=at, name="alarm", threshold=worth + 1, below=True, uni_mmr=worth))
    return Case(fleet_state(accounts), history)


def stale() -> Case:
    """One account is stale, one has just failed, one was never read."""
    accounts = changed(
        calm(),
        desk_03={"age": 23.4, "is_stale": True, "error": ERROR},
        desk_05={"error": "account [desk-05]: Internal error; unable to process your request. (code -1000, HTTP 503)"},
        desk_09=account("desk-09", None, is_stale=True, error="account [desk-09]: Invalid API-key (code -2015)"),
    )
    history = history_of(accounts)
    failed = AccountFailed(
        label="desk-03", at=NOON - 4, endpoint="um_account", error=ERROR, error_type="NoResponse", retry_at=NOON + 15
    )
    history.receive(failed)
    history.receive(Stale(label="desk-03", at=NOON - 3, age=20.0, max_age=20.0, reason=ERROR))
    return Case(fleet_state(accounts), history)


def all_stale() -> Case:
    """No account was read for half a minute."""
    accounts = [account(f"desk-{n:02}", str(n + 1), age=30.0 + n, is_stale=True, error=ERROR) for n in range(1, 13)]
    return Case(fleet_state(accounts), history_of(accounts))


def part() -> Case:
    """The positions of one account are stale, and two accounts hold contracts that are settled in BTC."""
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
    history = history_of(accounts)
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
    """The last reading of every account has failed, but the data is still fresh."""
    error = "account [{}]: papi.binance.com: name not resolved. Nothing was sent. Check DNS or the network."
    accounts = [account(f"desk-{n:02}", str(n + 1), error=error.format(f"desk-{n:02}")) for n in range(1, 13)]
    history = history_of(accounts)
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
    """The exchange has refused a request."""
    history = history_of(calm())
    history.receive(HostBlocked(at=NOON - 2.6, origin=HOST, until=NOON + 9.4, banned=False))
    closed = Waiting(reason="gate", origin=HOST, seconds=9.4)
    limits = pools(6000, closed=9.4, external=4000, waiting=13, waiting_for=closed)
    return Case(fleet_state(calm(), limits=limits, gates=[GateState(HOST, 9.4, banned=False)]), history)


def streamed() -> Case:
    """Three accounts have user data streams, one of which is down."""
    up = {"stream": "up", "saved": 49.0, "interval": 30.0}
    accounts = changed(calm(), desk_02=up, desk_05=up, desk_06={"stream": "down"})
    return Case(fleet_state(accounts), history_of(accounts))


def opened_stream() -> Case:
    """The page of an account with a user data stream."""
    return streamed()._replace(keys=("down", "down", "enter"))


def paused() -> Case:
    """The accounts were paused a quarter of a minute ago."""
    return Case(fleet_state(calm()), history_of(calm()), ("p",), later=15.5)


def filtered() -> Case:
    """The filter hides an account in alarm."""
    return alarm()._replace(keys=("slash", *"desk-1"))


def opened() -> Case:
    """The page of the second account."""
    return stale()._replace(keys=("down", "down", "enter"))


def explained() -> Case:
    """The help page."""
    return normal()._replace(keys=("question_mark",))


CASES: list[Callable[[], Case]] = [
    normal, alarm, stale, part, failing, all_stale, gate, streamed, opened_stream, paused, filtered, opened, explained,
]  # fmt: skip


class Running(NamedTuple):
    """A dashboard that runs without a terminal."""

    dashboard: Dashboard
    pilot: Pilot[int]

    async def text(self, *keys: str) -> str:
        """Press keys, and return the text of the screen afterwards."""
        await self.pilot.press(*keys)
        await self.pilot.pause()
        lines = self.dashboard.screen._compositor.render_strips()
        return "".join(f"{line.text.rstrip()}\n" for line in lines)

    def colours(self) -> set[str]:
        """Return the names of the colours of visible text."""
        segments = [one for line in self.dashboard.screen._compositor.render_strips() for one in line]
        styles = [segment.style for segment in segments if segment.text.strip() and segment.style is not None]
        return {style.color.name for style in styles if style.color is not None}


@asynccontextmanager
async def running(
    look: Callable[[], FleetState], history: History, size: tuple[int, int] = (80, 24)
) -> AsyncGenerator[Running]:
    """Run a dashboard on a screen of a size."""
    dashboard = Dashboard(look, history, every=None)
    async with dashboard.run_test(size=size) as pilot:
        yield Running(dashboard, pilot)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("case", CASES)
async def test_screen(case: Callable[[], Case], size: tuple[int, int]) -> None:
    """Each screen is the approved one; green is visible only if an account is certainly calm."""
    shown, history, keys, later = case()
    now = [shown]
    async with running(lambda: now[0], history, size) as screen:
        await screen.pilot.press(*keys)
        now[0] = msgspec.structs.replace(shown, at=shown.at + later)
        screen.dashboard.draw()
        text, colours = await screen.text(), screen.colours()

    file = SCREENS / f"{case.__name__}-{size[0]}x{size[1]}.txt"
    if os.environ.get("WRITE_SCREENS"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    assert len(text.splitlines()) == size[1]
    assert text == file.read_text(encoding="utf-8")
    assert ("green" in colours) is (case not in {failing, all_stale, opened})


async def test_keys() -> None:
    """The keys sort, filter, scroll, open and close pages, and leave the dashboard."""
    shown, history, *_ = alarm()
    async with running(lambda: shown, history) as screen:

        async def first(*keys: str) -> str:
            return (await screen.text(*keys)).splitlines()[2].split()[0]

        assert await first() == "desk-07"
        assert await first("s") == "desk-01"
        assert await first("S") == "desk-07"
        opened = await screen.text("enter")
        assert "desk-07  pm  REDUCE_ONLY" in opened
        assert "BTCUSDT" in opened
        assert "BTCUSDT" not in await screen.text("end")
        assert "BTCUSDT" in await screen.text("pageup", "pageup")
        assert "sort: danger" in await screen.text("escape")
        assert "StatusChanged    desk-07" in (await screen.text("e")).splitlines()[2]
        assert "sort: danger" in await screen.text("escape")
        assert "1 of 12 accounts shown" in await screen.text("slash", *"reduce", "enter")
        assert "accounts shown" not in await screen.text("escape", "escape")
        await screen.pilot.press("q")
    assert screen.dashboard.return_value == 0


@pytest.mark.parametrize("key", ["down", "end"])
async def test_the_selected_account_stays_on_the_screen(key: str) -> None:
    """This holds at the end of a thousand accounts, and for the page of the account."""
    accounts = [account(f"desk-{number:04}", str(2 + number)) for number in range(1000)]
    async with running(lambda: fleet_state(accounts), History()) as screen:
        assert "desk-0999" in await screen.text("down", "end", key)
        assert "desk-0999  pm" in await screen.text("enter")


async def test_warnings_are_added_to_the_events(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """They do not overwrite the screen, and afterwards go to the previous handlers."""
    shown, history, *_ = normal()
    log = logging.getLogger("binance_pm.budget")
    caplog.set_level(logging.INFO, log.name)
    handlers = logging.getLogger().handlers[:]
    async with running(lambda: shown, history) as screen:
        with history.keeping_logs():
            log.warning("%s answered HTTP %d\x1b[2J\nand more", HOST, 429)
            log.info("not worth it")
        screen.dashboard.draw()
        text = " ".join((await screen.text()).split())

    assert f"warning: {HOST} answered HTTP 429 [2J and more" in text
    assert "not worth it" not in text
    assert logging.getLogger().handlers == handlers
    assert capfd.readouterr() == ("", "")
