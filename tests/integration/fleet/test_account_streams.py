"""A fleet whose accounts have user data streams, on real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from typing import Any

import anyio
import pytest

from binance_pm.fleet import BalanceChanged, Fleet, FleetEvent, Member, PositionChanged, Reading
from binance_pm.testing import Sandbox, StreamFault, StreamRules, sandbox


async def first(events: AsyncIterator[FleetEvent], holds: Callable[[Any], object]) -> Any:
    """Return the first event for which a condition holds."""
    with anyio.fail_after(15):
        async for event in events:
            if holds(event):
                return event
    raise AssertionError("the events have ended")


def requests_to(pm: Sandbox, path: str) -> int:
    """Return how many requests for a path have arrived."""
    return sum(one.path == path for one in pm.exchange.requests)


async def test_a_change_is_emitted_at_once_and_a_calm_account_is_read_half_as_often() -> None:
    """A change is emitted although the next reading is due only half a minute later."""
    async with sandbox() as pm, pm.session() as session:
        members = [Member(pm.client(session=session), stream=True)]
        async with Fleet(members, floor=20, ceiling=30) as fleet, pm.client(session=session) as trader:
            events = fleet.watch()
            await first(events, lambda event: isinstance(event, Reading))
            await until_up(fleet)
            await first(events, lambda event: isinstance(event, Reading))
            await anyio.sleep(1.2)
            [snapshot] = fleet.snapshot()
            # A weight of 25 every 60 instead of 30 s, less a confirmation of the listen key a minute.
            assert (snapshot.interval, snapshot.saved) == (60, 24)

            await trader.um.new_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity=Decimal("0.01"))

            moved = await first(events, lambda event: isinstance(event, PositionChanged))
            wallet = await first(events, lambda event: isinstance(event, BalanceChanged))
            [row] = [one for one in await trader.um.position_risk() if one.symbol == "BTCUSDT"]
            assert (moved.market, moved.symbol, moved.position_amt) == ("um", "BTCUSDT", row.position_amt)
            assert (wallet.market, wallet.asset) == ("um", "USDT")
            await anyio.sleep(1.2)
            [snapshot] = fleet.snapshot()
            assert (snapshot.interval, snapshot.saved) == (30, 0)


async def test_a_pro_account_is_not_polled_while_its_stream_brings_the_figures() -> None:
    """Each update of a Pro account is emitted as a reading."""
    async with sandbox(streams=StreamRules(pro_update=0.2)) as pm, pm.session() as session:
        client = pm.client(11, session=session)
        async with Fleet([Member(client, product="pm_pro", stream=True)], floor=0.3, ceiling=0.3) as fleet:
            events = fleet.watch()
            await first(events, lambda event: isinstance(event, Reading))
            await until_up(fleet)
            await first(events, lambda event: isinstance(event, Reading) and event.changed)
            await anyio.sleep(0.5)
            polled = requests_to(pm, "/sapi/v1/portfolio/account")

            for _ in range(5):
                await first(events, lambda event: isinstance(event, Reading))
            await anyio.sleep(0.5)

            assert requests_to(pm, "/sapi/v1/portfolio/account") == polled
            [snapshot] = fleet.snapshot()
            assert not snapshot.is_stale
            # All readings, of which each takes a weight of 5.
            assert snapshot.saved == pytest.approx(5 * 60 / 0.3 - 1, rel=0.1)


async def test_an_account_is_read_as_usual_while_its_stream_is_down() -> None:
    """An account is read as usual while its stream is down, and at once when the stream is up again."""
    async with sandbox() as pm, Fleet([Member(pm.client(), stream=True)], floor=20, ceiling=30) as fleet:
        events = fleet.watch()
        await first(events, lambda event: isinstance(event, Reading))
        await until_up(fleet)
        await first(events, lambda event: isinstance(event, Reading))
        before = requests_to(pm, "/papi/v1/account")

        pm.exchange.streams.apply(StreamFault(kind="break"))
        await first(events, lambda event: isinstance(event, Reading))

        assert requests_to(pm, "/papi/v1/account") > before


async def test_without_the_extra_the_account_is_polled(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without the extra, the account is polled, and a warning says what to install."""
    monkeypatch.setattr("binance_pm.fleet.fleet.streams_are_installed", lambda: False)
    async with sandbox() as pm, Fleet([Member(pm.client(), stream=True)]) as fleet:
        await first(fleet.watch(), lambda event: isinstance(event, Reading))

        assert (fleet.snapshot()[0].stream, fleet.snapshot()[0].saved) == ("off", 0)
        assert "stream" in caplog.text


async def until_up(fleet: Fleet) -> None:
    """Wait until the stream of the only account is up."""
    with anyio.fail_after(10):
        while fleet.snapshot()[0].stream != "up":  # noqa: ASYNC110 - a snapshot has no event
            await anyio.sleep(0.01)
