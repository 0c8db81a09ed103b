"""Two hundred accounts of the local exchange for ten virtual minutes, in a market that falls and rises."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from decimal import Decimal
from itertools import pairwise
from typing import NamedTuple

import pytest

from binance_pm import Budget
from binance_pm.fleet import Fleet, FleetEvent, Member, Stale, StatusChanged
from binance_pm.sandbox import create_app
from binance_pm.testing import Exchange, Sandbox, SimulatedAccount
from binance_pm.transport.httpx import asgi_transport
from tests.simulation import virtual
from tests.support.coverage import unmeasured
from tests.support.echo import START, collect

ACCOUNTS, NEAREST, SECONDS = 200, 5, 600


class Watch(NamedTuple):
    """Results of ten minutes."""

    exchange: Exchange
    events: list[FleetEvent]
    planned: dict[str, list[float]]
    """The interval planned for each account, second by second."""
    arrived: dict[str, list[float]]
    """When each account was read."""


def made() -> list[SimulatedAccount]:
    """Five accounts just above a threshold, the others far from any."""
    starts = ["1.55"] * NEAREST + [str(5 + number % 7) for number in range(ACCOUNTS - NEAREST)]
    return [
        SimulatedAccount(f"account-{number:03}", account_type="PM_2", uni_mmr=start)
        for number, start in enumerate(starts, 1)
    ]


async def ten_minutes() -> Watch:
    """Watch all accounts on one budget, in the time of the event loop."""
    loop = asyncio.get_running_loop()

    def wall() -> float:
        return START + loop.time()

    exchange = Exchange(accounts=made(), clock=wall, liquidation=False)
    pm = Sandbox(exchange, "http://127.0.0.1", http=asgi_transport(create_app(exchange)))
    session = pm.session(budget=Budget(monotonic=loop.time, wall=wall))
    events: list[FleetEvent] = []
    planned: dict[str, list[float]] = defaultdict(list)

    async with (
        Fleet([Member(pm.client(place, session=session)) for place in range(ACCOUNTS)]) as fleet,
        asyncio.TaskGroup() as tasks,
    ):
        taking = tasks.create_task(collect(fleet.watch(warn="1.5", alarm="1.2"), events))
        for _ in range(SECONDS):
            await asyncio.sleep(1)
            for snapshot in fleet.snapshot():
                planned[snapshot.label].append(snapshot.interval)
        taking.cancel()

    arrived: dict[str, list[float]] = defaultdict(list)
    for request in exchange.requests:
        if request.path == "/papi/v1/account":
            arrived[request.account or ""].append(request.time - START)
    return Watch(exchange, events, planned, arrived)


@pytest.fixture(scope="module")
def watch() -> Watch:
    """Ten minutes, watched once for all tests."""
    with unmeasured():
        return virtual.run(ten_minutes, patience=280)


# The first test runs through the ten minutes, which takes long on a busy machine.
pytestmark = pytest.mark.timeout(300)


def test_no_request_is_refused(watch: Watch) -> None:
    """There is no 429, and the weight for polls is used."""
    arrived = watch.exchange.requests

    assert {request.status for request in arrived} == {200}
    weight = sum(20 if request.path == "/papi/v1/account" else 5 for request in arrived)
    assert weight / (SECONDS / 60) > 0.85 * 5_810


def test_every_account_is_read_within_its_planned_interval_and_a_second(watch: Watch) -> None:
    """From first to last reading; the plan may change in between."""
    late = 0.0
    for label, times in watch.arrived.items():
        for before, after in pairwise([0.0, *times, float(SECONDS)]):
            planned = max(watch.planned[label][int(max(before - 1, 0)) : int(after) + 1])
            late = max(late, after - before - planned)
    print("latest:", late)

    assert len(watch.arrived) == ACCOUNTS
    assert late <= 1.0
    assert [event for event in watch.events if isinstance(event, Stale)] == []


def test_equal_accounts_are_read_equally_often(watch: Watch) -> None:
    """Jain's index of the calm accounts is at least 0.99."""
    counts = [len(times) for label, times in watch.arrived.items() if label > f"account-{NEAREST:03}"]
    jain = sum(counts) ** 2 / len(counts) / sum(count**2 for count in counts)
    print("Jain:", jain, Counter(counts))

    assert len(counts) == ACCOUNTS - NEAREST
    assert jain >= 0.99


def test_accounts_nearest_to_a_threshold_are_read_five_times_as_often(watch: Watch) -> None:
    """Each of the five, compared with each calm account."""
    counts = {label: len(times) for label, times in watch.arrived.items()}
    nearest = [count for label, count in counts.items() if label <= f"account-{NEAREST:03}"]
    calm = [count for label, count in counts.items() if label > f"account-{NEAREST:03}"]
    print("nearest:", nearest, "calm:", Counter(calm))

    assert min(nearest) >= 5 * max(calm)


def test_a_change_of_status_is_reported_within_one_planned_interval(watch: Watch) -> None:
    """Every change that lasted long enough, of every account, and no other."""
    reported: dict[str, list[StatusChanged]] = defaultdict(list)
    for event in watch.events:
        if isinstance(event, StatusChanged):
            reported[event.label].append(event)
    changes = 0
    for account in watch.exchange.accounts:
        if Decimal(account.uni_mmr) > 2:
            assert reported[account.label] == []
            continue
        course = [str(watch.exchange.statement(account, START + second / 4).status) for second in range(4 * SECONDS)]
        began = 0
        for place in [*(place for place, (one, other) in enumerate(pairwise(course), 1) if one != other), len(course)]:
            status, since, until = course[began], began / 4, place / 4
            planned = max(watch.planned[account.label][int(since) : int(since) + 20])
            if began and until - since > planned + 1:
                changes += 1
                # The exchange's clock is known to a second.
                seen = [event.at - START - since for event in reported[account.label] if event.after == status]
                assert any(-1.5 <= after <= planned + 1.5 for after in seen)
            began = place
    print("changes of status:", changes)

    assert changes >= 20
