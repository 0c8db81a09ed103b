"""The reports about an account without new responses: which data is stale, and what the readings wait for."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import httpx
import pytest

from binance_pm import Client, LimitType
from binance_pm.fleet import AccountFailed, AccountSnapshot, BudgetTight, Fleet, Fresh, Reading, Stale, StatusChanged
from binance_pm.fleet.account_monitor import AccountMonitor
from tests.support.coverage import unmeasured
from tests.support.echo import START, Echo, dead, events_of, fine, hanging, refused, watched

# An hour of virtual time takes long on a busy machine.
pytestmark = pytest.mark.timeout(300)
UM = "/papi/v2/um/account"


@pytest.mark.parametrize(
    ("path", "late", "fresh"), [(UM, "um_account", "account"), ("/papi/v1/account", "account", "um_account")]
)
def test_each_endpoint_has_its_own_age(path: str, late: str, fresh: str) -> None:
    """If one endpoint hangs, the data of the other stays fresh, and the event names the stale endpoint."""
    snapshots: list[AccountSnapshot] = []

    async def act(echo: Echo, fleet: Fleet) -> None:
        await asyncio.sleep(20)
        echo.trouble_at(path, hanging)
        await asyncio.sleep(16)
        echo.status[0] = "MARGIN_CALL"
        for _ in range(29):
            await asyncio.sleep(1)
            (snapshot,) = snapshots[:] = fleet.snapshot()
            stale = [name for name, age in snapshot.ages.items() if age is None or age >= snapshot.max_age]
            assert list(snapshot.stale_endpoints) == stale

    events = watched(act)

    (stale,) = events_of(Stale, events)
    assert stale.stale_endpoints == (late,)
    assert stale.ages.keys() == {late, fresh}
    assert stale.ages[late] == stale.age == pytest.approx(20.0, abs=0.1)
    assert stale.ages[fresh] < stale.max_age
    assert f"{late} [account-0]: sent " in stale.reason
    (snapshot,) = snapshots
    assert (snapshot.is_stale, snapshot.stale_endpoints) == (True, (late,))
    assert (snapshot.ages[fresh] or 0) < snapshot.max_age < (snapshot.ages[late] or 0)
    assert snapshot.waiting is not None
    assert snapshot.waiting.reason == "response"
    # An endpoint that hangs does not hide a change that another one shows.
    assert [event.at <= START + 53 for event in events_of(StatusChanged, events)] == [True] * (late == "um_account")


def test_a_failure_is_the_reason_while_it_lasts() -> None:
    """The account is stale because one endpoint fails, and the figures of the other are still reported."""

    async def act(echo: Echo, fleet: Fleet) -> None:
        async def trouble(_: int) -> httpx.Response | None:
            return refused(401, -2015, "no permission")

        echo.trouble_at(UM, trouble)
        await asyncio.sleep(100)
        echo.status[0] = "MARGIN_CALL"
        await asyncio.sleep(16)
        (snapshot,) = fleet.snapshot()
        assert (snapshot.status, snapshot.is_stale, snapshot.reason) == ("MARGIN_CALL", True, snapshot.error)

    events = watched(act)

    (stale,), (failed,), _ = (events_of(kind, events) for kind in (Stale, AccountFailed, StatusChanged))
    assert (stale.stale_endpoints, stale.waiting, stale.reason) == (("um_account",), None, failed.error)
    assert {name for event in events_of(Reading, events) for name in event.responses} == {"account"}


def test_stale_endpoints_are_added_and_all_become_fresh_again() -> None:
    """First the positions are stale, then everything, then nothing, with one event each way."""
    stale: list[tuple[str, ...]] = []

    async def act(echo: Echo, fleet: Fleet) -> None:
        await asyncio.sleep(20)
        for trouble, seconds in ((hanging, 30), (dead, 40), (fine, 60)):
            echo.trouble_at(UM, trouble)
            if trouble is dead:
                echo.trouble = dead
            await asyncio.sleep(seconds)
            stale.append(fleet.snapshot()[0].stale_endpoints)

    events = watched(act)

    assert stale == [("um_account",), ("account", "um_account"), ()]
    assert [type(event) for event in events if isinstance(event, Stale | Fresh)] == [Stale, Fresh]
    assert set(events_of(Fresh, events)[0].ages) == {"account", "um_account"}


def test_a_longer_plan_does_not_make_stale_data_fresh() -> None:
    """The maximum age of a stale account stays the same until the account is read."""
    account = AccountMonitor(Client(label="a"), "pm", ("account",), (), hysteresis=Decimal(0), slack=5.0, now=0.0)
    account.replan(10.0, 0.0)
    account.replan(12.0, 1.0)
    assert (account.stale_endpoints(16.9), account.stale_endpoints(17.0)) == ((), ("account",))

    account.stale("", None, at=START, now=17.0)
    account.replan(60.0, 17.0)

    assert account.stale_endpoints(17.0) == ("account",)


def test_no_waiting_reading_is_reported_as_sent() -> None:
    """A reason that mentions sending belongs to a call that the exchange has received."""
    checked: list[str] = []

    async def act(echo: Echo, fleet: Fleet) -> None:
        for second in range(240):
            await echo.use(500 if 60 <= second < 120 else 0, seconds=1)
            if second == 180:
                echo.trouble_at(UM, hanging)
            for snapshot in fleet.snapshot():
                if snapshot.waiting is not None and snapshot.waiting.reason == "response":
                    account = int(snapshot.label.removeprefix("account-"))
                    since = echo.clock() - (snapshot.waiting.seconds or 0.0)
                    assert any(at >= since - 0.01 for at, whose, _ in echo.arrived if whose == account)
                    checked.append(snapshot.label)

    watched(act, accounts=12)

    assert len(set(checked)) == 12


def test_a_tight_budget_is_reported_once_and_once_when_it_is_over() -> None:
    """Two periods of ten minutes with external usage in bursts cause one event each, and one after each."""

    async def act(echo: Echo, _: Fleet) -> None:
        for second in range(0, 3600, 20):
            is_busy = 600 <= second < 1200 or 2400 <= second < 3000
            await echo.use(19 if is_busy and second % 40 == 0 else 0, seconds=20)

    with unmeasured():
        events = watched(act, accounts=4, prepare=lambda echo: echo.limits.update({("papi", LimitType.IP): 600}))

    tight = events_of(BudgetTight, events)
    assert [event.is_tight for event in tight] == [True, False, True, False]
    assert [round((event.at - tight[0].at) / 60) for event in tight[1:]] == pytest.approx([11, 30, 41], abs=1)


def test_a_full_pool_does_not_delay_readings_of_other_pools() -> None:
    """External usage of /papi delays positions, and uniMMR, which another pool counts, stays fresh."""
    late: list[tuple[str, ...]] = []
    options: dict[str, Any] = {"product": "span", "read": ("span_account", "um_account")}

    async def act(echo: Echo, fleet: Fleet) -> None:
        await asyncio.sleep(60 - echo.wall() % 60 + 1)
        await echo.use(400, seconds=50)
        late.extend(snapshot.stale_endpoints for snapshot in fleet.snapshot())

    watched(act, accounts=20, **options, floor=0.5, ceiling=2.0, slack=3.0)

    assert late == [("um_account",)] * 20
