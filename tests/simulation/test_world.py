"""The simulated exchange and network behave as the real ones are known to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Literal

import pytest

from binance_pm.budget import Charge, Pool
from tests.simulation.calls import PAPI, Ask, charges_of
from tests.simulation.conftest import Exchange
from tests.simulation.limiters import OURS, BudgetLimiter
from tests.simulation.measure import jain, quantile
from tests.simulation.network import Network, Wire
from tests.simulation.scenarios import SCENARIOS
from tests.simulation.server import FOREIGN, Server, Variants, minute_of
from tests.simulation.traffic import ExternalTraffic
from tests.simulation.virtual import run
from tests.simulation.world import simulate
from tests.support.coverage import unmeasured

Make = Callable[[Variants], Exchange]
HEADER = "x-mbx-used-weight-1m"


def test_counts_until_its_minute_turns(exchange: Make) -> None:
    """The header contains the count at this call's arrival, including other programs."""
    it = exchange(Variants())
    first, second = it.call(5), it.call(7, FOREIGN)
    it.now += 40
    third = it.call(1)

    assert [answer.used(HEADER) for answer in (first, second, third)] == [5, 12, 1]
    assert (it.server.owned(PAPI, "us"), third.date) == (1, int(it.now))


def test_a_refused_call_is_counted_too(exchange: Make) -> None:
    """A 429 states the seconds to the next minute and raises the count."""
    it = exchange(Variants())
    it.call(5999)

    refused = it.call(5)

    assert (refused.status, refused.retry_after, refused.used(HEADER)) == (429, 40, 6004)


@pytest.mark.parametrize(("told", "seconds"), [("zero", 0), ("absent", None)])
def test_a_refusal_may_state_no_time(exchange: Make, told: Literal["zero", "absent"], seconds: int | None) -> None:
    """Retry-After may be 0 or absent, and the refusal need not be counted."""
    it = exchange(Variants(retry_after=told, refusals_count=False))
    it.call(5999)

    refused = it.call(5)

    assert (refused.status, refused.retry_after, refused.used(HEADER)) == (429, seconds, 5999)


def test_the_tenth_refusal_bans_and_bans_double(exchange: Make) -> None:
    """Two minutes at first; a call during a ban gets its end."""
    it = exchange(Variants())
    for _ in range(2):
        it.call(6000)
        assert {it.call(1).status for _ in range(10)} == {429}
        banned = it.call(1)
        assert (banned.status, banned.retry_after) == (418, it.server.bans[-1].seconds)
        assert banned.banned_until == pytest.approx(it.now + it.server.bans[-1].seconds)
        it.now += it.server.bans[-1].seconds

    assert [ban.seconds for ban in it.server.bans] == [120, 240]
    assert it.call(1).status == 200


def test_a_rolling_window_forgets_second_by_second(exchange: Make) -> None:
    """The turn of the minute has no effect."""
    it = exchange(Variants(rolling=True))
    it.call(4000)
    it.now += 45
    assert it.call(4000).status == 429
    it.now += 16

    assert it.call(2000).used(HEADER) == 6000


def test_headers_may_be_missing_and_edges_disagree(exchange: Make) -> None:
    """A part of the responses has the count; the date is that of the edge that responded."""
    it = exchange(Variants(header_share=0.5, edges=(-3.0, 0.0, 3.0)))

    answers = [it.call(1) for _ in range(200)]

    assert 60 < sum(answer.used(HEADER) is None for answer in answers) < 140
    assert {(answer.date or 0) - int(it.now) for answer in answers} == {-3, 0, 3}


def test_orders_are_counted_for_each_account_too(exchange: Make) -> None:
    """Too many orders are refused without a stated end, and another account's are not refused."""
    it = exchange(Variants())
    order = charges_of(Ask("orders", "a", 1))
    answers = [it.server.arrive(order, "us") for _ in range(1201)]
    refused = answers[-1]

    assert [answer.status for answer in answers].count(200) == 1200
    assert (refused.status, refused.retry_after, refused.used("x-mbx-order-count-1m")) == (429, None, 1201)
    assert it.server.arrive(charges_of(Ask("orders", "b", 1)), "us").status == 200


def test_each_sapi_endpoint_is_counted_separately(exchange: Make) -> None:
    """The pool of Portfolio Margin does not change."""
    it = exchange(Variants())
    it.call(6000)

    answers = [it.server.arrive(charges_of(Ask("polls", "a", 12_000, path)), "us") for path in ("/sapi/x", "/sapi/y")]

    assert [(answer.status, answer.used("x-sapi-used-ip-weight-1m")) for answer in answers] == [(200, 12_000)] * 2


async def _arrivals(network: Network, calls: int) -> tuple[list[int], list[int], float]:
    """Return in which order calls arrive and are answered, and how long the last response takes."""
    loop = asyncio.get_running_loop()
    arrived: list[int] = []
    answered: list[int] = []
    server = Server(Variants(), loop.time, Random(1))
    wire = Wire(network, server, Random(1), lambda charges, _: arrived.append(charges[0].weight))

    async def carry(number: int) -> None:
        if await wire.carry((Charge(PAPI, number),), "us") is not None:
            answered.append(number)

    async with asyncio.TaskGroup() as group:
        for number in range(1, calls + 1):
            group.create_task(carry(number))
    return arrived, answered, loop.time()


def test_calls_and_responses_overtake_each_other() -> None:
    """All arrive and are answered, each in a random order, within twice the longest latency."""
    arrived, answered, took = run(partial(_arrivals, Network(), 50))

    assert sorted(arrived) == sorted(answered) == list(range(1, 51))
    assert len({tuple(arrived), tuple(answered), tuple(range(1, 51))}) == 3
    assert 0.05 < took < 0.161


def test_some_responses_are_lost() -> None:
    """Half of the lost calls are counted; their callers time out."""
    arrived, answered, took = run(partial(_arrivals, Network(lost=0.5), 400))

    assert len(answered) == pytest.approx(200, abs=40)
    assert len(arrived) == pytest.approx(300, abs=40)
    assert took == pytest.approx(10, abs=0.01)


@pytest.mark.parametrize(
    ("external", "share"),
    [(ExternalTraffic(steady=0.3), 0.3), (ExternalTraffic(steady=0.1, burst=200), 0.1 + 800 / 6000)],
)
def test_external_traffic_uses_its_share(external: ExternalTraffic, share: float) -> None:
    """Of the limit, on average."""

    async def main() -> int:
        loop = asyncio.get_running_loop()
        server = Server(Variants(), loop.time, Random(1))
        tasks = [asyncio.create_task(activity) for activity in external.activities(server, Random(1))]
        await asyncio.wait(tasks, timeout=600)
        for task in tasks:
            task.cancel()
        return sum(server.minute(PAPI, minute_of(60.0 * n)).counted for n in range(10))

    assert run(main) / 60_000 == pytest.approx(share, rel=0.1)


def test_the_same_seed_gives_the_same_world() -> None:
    """All results are equal; another seed gives another world."""
    with unmeasured():
        first, again, other = (simulate(SCENARIOS[1], OURS, seed=seed, minutes=1.5) for seed in (1, 1, 2))

    assert first == again != other


def test_a_violated_bound_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the exchange has counted more of ours than the ledger holds, the result says when."""

    def held(_: BudgetLimiter, pool: Pool) -> int:
        assert pool == PAPI
        return 100

    monkeypatch.setattr(BudgetLimiter, "held", held)

    result = simulate(SCENARIOS[1], OURS, seed=1, minutes=1)

    assert "105 counted, 100 held" in result.broken_bounds[0]


def test_quantiles_and_fairness() -> None:
    """Known values are computed correctly."""
    assert [quantile(range(100), share) for share in (0.5, 0.99, 1)] == [50, 99, 99]
    assert (jain([5, 5, 5, 5]), jain([9, 0, 0]), jain([])) == (1, pytest.approx(1 / 3), 1)
