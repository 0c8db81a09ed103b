"""What a scrape tells of a fleet, in virtual time: the figures, and above all what is not known."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from threading import Thread
from typing import Any

import anyio.to_thread
import httpx
import prometheus_client
import pytest

from binance_pm import AccountStatus, Budget, Client, Session, SessionClosed
from binance_pm.budget.bans import write_ban
from binance_pm.fleet import Fleet, Member
from binance_pm.metrics import Metrics
from binance_pm.metrics import metrics as module
from tests.simulation import virtual
from tests.support.echo import START, Echo, refused
from tests.support.scrape import Scrape, scrape

HOST = "https://papi.binance.com"
LINES = {"warn": "1.5", "alarm": "1.2"}

Act = Callable[[Echo, Callable[[], Scrape]], Awaitable[None]]


def watched(act: Act, *, accounts: int = 2, prepare: Callable[[Echo], None] = lambda _: None, **options: Any) -> None:
    """Watch accounts while something is done and scraped."""

    async def main() -> None:
        echo = Echo(asyncio.get_running_loop().time)
        prepare(echo)
        async with echo.fleet(accounts, **options) as fleet:
            await measured(fleet, lambda look: act(echo, look))

    virtual.run(main, patience=50)


async def measured(fleet: Fleet, act: Callable[[Callable[[], Scrape]], Awaitable[None]]) -> None:
    """Count the events of a fleet while something is done."""
    metrics = Metrics()
    metrics.watch(fleet)
    async with asyncio.TaskGroup() as tasks:
        taking = tasks.create_task(count(metrics, fleet))
        await act(lambda: scrape(metrics.registry))
        taking.cancel()


async def count(metrics: Metrics, fleet: Fleet) -> None:
    """Give every event to the metrics."""
    async for event in fleet.watch(**LINES):
        metrics.receive(event)


async def fine(_: int) -> httpx.Response | None:
    """Everything is answered."""
    return None


async def dead(_: int) -> httpx.Response | None:
    """Nothing gets through."""
    raise httpx.ConnectError("no network")


async def hanging(_: int) -> httpx.Response | None:
    """No answer ever comes."""
    await asyncio.sleep(1e6)
    return None


def test_the_figures_of_an_account() -> None:
    """As the exchange told them, under its own label."""

    async def act(_: Echo, look: Callable[[], Scrape]) -> None:
        await asyncio.sleep(20)
        now = look()
        mine = {"account": "account-1"}
        assert now.get("account_uni_mmr", **mine) == 1.4
        assert now.get("account_equity_usd", **mine) == 1
        assert now.get("account_maintenance_margin_usd", **mine) == 1
        assert now.get("account_unrealized_profit_usd", **mine) == 1
        assert now.get("account_stale", **mine) == 0
        assert 0 <= (now.get("account_age_seconds", **mine) or math.nan) < 20
        assert [now.get("account_threshold_uni_mmr", **mine, threshold=line) for line in LINES] == [1.5, 1.2]
        assert [now.get("account_below_threshold", **mine, threshold=line) for line in LINES] == [1, 0]
        assert now.get("events_total", **mine, type="ThresholdCrossed") == 1
        assert now.get("events_total", **mine, type="StatusChanged") == 0
        readings = {one.labels["endpoint"]: one.value for one in now.all("account_readings_total", **mine)}
        assert readings.keys() == {"account", "um_account"}
        assert min(readings.values()) >= 2
        assert now.all("account_errors_total") == []

    watched(act, prepare=lambda echo: echo.uni_mmr.update({1: "1.4"}))


@pytest.mark.parametrize(("told", "shown"), [("REDUCE_ONLY", "REDUCE_ONLY"), ("SOMETHING_NEW", "unknown")])
def test_one_status_is_set(told: str, shown: str) -> None:
    """One that this version does not know is not spelt out: labels are bounded."""

    async def act(_: Echo, look: Callable[[], Scrape]) -> None:
        await asyncio.sleep(20)
        told_now = {one.labels["status"]: one.value for one in look().all("account_status", account="account-0")}
        assert set(told_now) == {*AccountStatus, "unknown"}
        assert [status for status, value in told_now.items() if value] == [shown]

    watched(act, prepare=lambda echo: echo.status.update({0: told}))


FIGURES = (
    "account_uni_mmr",
    "account_equity_usd",
    "account_maintenance_margin_usd",
    "account_unrealized_profit_usd",
    "account_status",
)


@pytest.mark.parametrize("trouble", [dead, hanging])
def test_figures_of_a_stale_account_are_absent(trouble: Callable[[int], Awaitable[httpx.Response | None]]) -> None:
    """No graph goes on all green while nobody sees the account; that it was below a line is not taken back."""

    async def act(echo: Echo, look: Callable[[], Scrape]) -> None:
        await asyncio.sleep(20)
        assert all(look().all(name, account="account-1") for name in FIGURES)
        echo.trouble = trouble
        await asyncio.sleep(120)
        blind = look()
        for label in ("account-0", "account-1"):
            assert [name for name in FIGURES if blind.all(name, account=label)] == []
            assert blind.get("account_stale", account=label) == 1
            assert (blind.get("account_age_seconds", account=label) or 0) > 100
            assert blind.get("events_total", account=label, type="Stale") == 1
        assert blind.get("account_below_threshold", account="account-1", threshold="warn") == 1
        assert blind.get("account_below_threshold", account="account-1", threshold="alarm") is None
        assert blind.all("account_below_threshold", account="account-0") == []
        echo.trouble, echo.uni_mmr = fine, {}
        await asyncio.sleep(150)
        back = look()
        assert all(back.all(name, account="account-1") for name in FIGURES)
        assert back.get("account_stale", account="account-1") == 0
        assert back.get("account_below_threshold", account="account-1", threshold="warn") == 0

    watched(act, prepare=lambda echo: echo.uni_mmr.update({1: "1.4"}))


def test_the_age_of_an_account_that_was_never_read_is_infinite() -> None:
    """So that an alert on its age fires; nothing else is known."""

    async def act(_: Echo, look: Callable[[], Scrape]) -> None:
        for stale in (0, 1):
            await asyncio.sleep(1 + 30 * stale)
            now = look()
            assert now.get("account_age_seconds", account="account-0") == math.inf
            assert now.get("account_stale", account="account-0") == stale
            assert [name for name in (*FIGURES, "account_below_threshold") if now.all(name)] == []
            assert now.get("account_readings_total", account="account-0", endpoint="account") == 0

    watched(act, prepare=lambda echo: setattr(echo, "trouble", hanging))


def test_a_picture_older_than_its_bound_is_stale_before_the_fleet_has_looked() -> None:
    """As after the machine was asleep, when the scrape comes first."""

    async def main() -> None:
        jump = 0.0
        loop = asyncio.get_running_loop()
        echo = Echo(lambda: loop.time() + jump)
        async with echo.fleet(1) as fleet:

            async def act(look: Callable[[], Scrape]) -> None:
                nonlocal jump
                await asyncio.sleep(20)
                assert look().get("account_stale", account="account-0") == 0
                jump = 3600.0
                asleep = look()
                assert asleep.get("account_stale", account="account-0") == 1
                assert asleep.get("account_uni_mmr", account="account-0") is None

            await measured(fleet, act)

    virtual.run(main, patience=50)


def test_an_account_that_could_not_be_opened_is_blind(tmp_path: Path) -> None:
    """With --keep-going it is no gap: its age is infinite, and it is stale from the start."""
    file = tmp_path / "accounts.toml"
    entry = '[[accounts]]\nlabel = "{0}"\nproduct = "pm"\napi_key = {{ env = "{1}" }}\napi_secret = {{ env = "KEY" }}\n'
    file.write_text(entry.format("good", "KEY") + entry.format("bad", "UNSET"), encoding="utf-8")

    async def main() -> None:
        echo = Echo(asyncio.get_running_loop().time)
        environment = {"KEY": "key7"}
        async with Fleet.from_toml(file, keep_going=True, session=echo.session(), environment=environment) as fleet:

            async def act(look: Callable[[], Scrape]) -> None:
                await asyncio.sleep(20)
                now = look()
                assert now.get("account_equity_usd", account="good") == 7
                assert now.get("account_stale", account="bad") == 1
                assert now.get("account_age_seconds", account="bad") == math.inf
                assert now.get("events_total", account="bad", type="AccountFailed") == 1

            await measured(fleet, act)

    virtual.run(main, patience=50)


def test_errors_are_counted_by_class_and_endpoint() -> None:
    """Every attempt of a call counts, under its own account."""

    async def trouble(account: int) -> httpx.Response | None:
        return refused(503, -1008, "Request throttled") if account == 1 else None

    async def act(echo: Echo, look: Callable[[], Scrape]) -> None:
        await asyncio.sleep(60)
        now = look()
        errors = now.all("account_errors_total")
        asked = [path for _, account, path in echo.arrived if account == 1]
        assert {one.labels["account"] for one in errors} == {"account-1"}
        assert {(one.labels["endpoint"], one.labels["error"]) for one in errors} == {
            ("account", "NotDone"),
            ("um_account", "NotDone"),
        }
        assert sum(one.value for one in errors) == len(asked)
        assert now.get("request_duration_seconds_count", endpoint="account", outcome="NotDone") == asked.count(
            "/papi/v1/account"
        )

    watched(act, prepare=lambda echo: setattr(echo, "trouble", trouble))


def test_durations_are_those_of_the_wire() -> None:
    """Waiting for weight is a histogram of its own; a call that never left took no time on the wire."""

    async def trouble(_: int) -> httpx.Response | None:
        await asyncio.sleep(0.3)
        return None

    async def act(_: Echo, look: Callable[[], Scrape]) -> None:
        await asyncio.sleep(60)
        now = look()
        calls = now.get("request_duration_seconds_count", endpoint="account", outcome="ok")
        assert calls
        spent = now.get("request_duration_seconds_sum", endpoint="account", outcome="ok")
        assert spent == pytest.approx(0.3 * calls, rel=0.01)
        assert now.get("request_duration_seconds_bucket", endpoint="account", outcome="ok", le="0.25") == 0
        assert now.get("request_duration_seconds_bucket", endpoint="account", outcome="ok", le="0.5") == calls
        assert (now.get("budget_wait_seconds_count", endpoint="account", priority="poll") or 0) >= calls
        assert (now.get("budget_wait_seconds_sum", endpoint="account", priority="poll") or 0) < 0.1 * calls

    watched(act, prepare=lambda echo: setattr(echo, "trouble", trouble))


def test_a_refusal_closes_the_gate_for_a_known_time() -> None:
    """Told by host, with what is left of it."""

    async def trouble(_: int) -> httpx.Response | None:
        answer = refused(418, -1003, "Way too many requests; IP banned until 1800000150000")
        answer.headers["Retry-After"] = "120"
        return answer

    async def act(echo: Echo, look: Callable[[], Scrape]) -> None:
        await asyncio.sleep(10)
        before = look()
        assert [before.get(f"gate_{what}", origin=HOST) for what in ("closed", "opens_seconds")] == [0, 0]
        assert [one.value for one in before.all("refusals_total", origin=HOST)] == [0, 0]
        echo.trouble = trouble
        await asyncio.sleep(20)
        shut = look()
        assert shut.get("gate_closed", origin=HOST) == 1
        assert 90 < (shut.get("gate_opens_seconds", origin=HOST) or 0) <= 120
        assert (shut.get("refusals_total", origin=HOST, status="418") or 0) >= 1
        assert shut.get("refusals_total", origin=HOST, status="429") == 0
        assert [one.value for one in shut.all("events_total", type="HostBlocked")] == [1]
        echo.trouble = fine
        await asyncio.sleep(120)
        assert look().get("gate_closed", origin=HOST) == 0

    watched(act)


def test_a_ban_from_before_is_seen_before_any_call(tmp_path: Path) -> None:
    """Nothing is sent, so no pool was drawn on; the gate is shown all the same."""

    async def main() -> None:
        echo = Echo(asyncio.get_running_loop().time)
        bans = tmp_path / "bans.json"
        write_ban(bans, HOST, START + 600, now=START)
        session = Session(http=echo, budget=Budget(bans=bans, monotonic=echo.clock, wall=echo.wall))
        async with Fleet([Member(Client("key0", "secret", label="a", session=session))]) as fleet:

            async def act(look: Callable[[], Scrape]) -> None:
                await asyncio.sleep(5)
                now = look()
                assert echo.arrived == []
                assert now.get("gate_closed", origin=HOST) == 1
                assert 500 < (now.get("gate_opens_seconds", origin=HOST) or 0) <= 600

            await measured(fleet, act)

    virtual.run(main, patience=50)


def test_the_figures_of_a_pool() -> None:
    """Those of the budget, in weight."""

    async def act(_: Echo, look: Callable[[], Scrape]) -> None:
        await asyncio.sleep(20)
        now = look()
        pool = {"origin": HOST, "pool": "IP /papi", "account": ""}
        assert now.get("pool_weight_limit", **pool) == 6_000
        assert (now.get("pool_weight_used", **pool) or 0) >= 50
        assert now.get("pool_weight_in_flight", **pool) == 0
        assert (now.get("pool_weight_reserve", **pool) or 0) > 0
        assert now.get("pool_weight_external", **pool) == 0
        waiting = {one.labels["priority"]: one.value for one in now.all("pool_waiting_calls", **pool)}
        assert waiting == {"order": 0, "poll": 0, "background": 0}

    watched(act)


def test_pools_of_an_account_bear_its_label() -> None:
    """The budget knows accounts by digests of their keys."""

    async def main() -> None:
        echo = Echo(asyncio.get_running_loop().time)
        session = echo.session()
        clients = [Client(f"key{n}", "secret", label=f"account-{n}", session=session) for n in range(2)]
        async with Fleet([Member(client, product="pm_pro") for client in clients]) as fleet:

            async def act(look: Callable[[], Scrape]) -> None:
                await asyncio.sleep(20)
                now = look()
                mine = now.all("pool_weight_used", pool="UID /sapi/v1/portfolio/account")
                assert {one.labels["account"] for one in mine} == {"account-0", "account-1"}
                assert clients[0].key_id not in now.text

            await measured(fleet, act)

    virtual.run(main, patience=50)


def test_endpoints_made_on_the_spot_have_one_name() -> None:
    """A program may call any path: labels are bounded. Other clients of the session are counted under theirs."""

    async def main() -> None:
        echo = Echo(asyncio.get_running_loop().time)
        session = echo.session()
        other = Client("key9", "secret", label="other", session=session)
        async with Fleet([Member(Client("key0", "secret", label="a", session=session))]) as fleet, other:

            async def act(look: Callable[[], Scrape]) -> None:
                await other.request("GET", "/papi/v1/account", weight=20, returns=dict[str, Any])
                await other.request("POST", "/papi/v1/account", weight=20, returns=dict[str, Any])
                now = look()
                # A write that was done is no reading.
                assert now.get("account_readings_total", account="other", endpoint="undeclared") == 1
                assert now.get("request_duration_seconds_count", endpoint="undeclared", outcome="ok") == 2
                assert now.get("budget_wait_seconds_count", endpoint="undeclared", priority="order") == 1
                assert now.get("account_readings_total", account="a", endpoint="account") == 0

            await measured(fleet, act)

    virtual.run(main, patience=50)


def test_a_later_fleet_takes_the_place_of_one_that_was_left() -> None:
    """Counters go on, and nothing is counted twice although budget and session are the same."""

    async def main() -> None:
        echo = Echo(asyncio.get_running_loop().time)
        metrics = Metrics()
        async with echo.session() as session:
            for turn in (1, 2):
                client = Client("key0", "secret", label="a", session=session)
                async with Fleet([Member(client, read=("account",))]) as fleet:
                    metrics.watch(fleet)
                    await anext(aiter(fleet.watch()))
                    now = scrape(metrics.registry)
                    assert now.get("account_uni_mmr", account="a") == 5
                    assert now.get("account_readings_total", account="a", endpoint="account") == turn
                left = scrape(metrics.registry)
                assert left.all("account_uni_mmr") == left.all("account_age_seconds") == left.all("gate_closed") == []
                assert left.get("account_readings_total", account="a", endpoint="account") == turn

    virtual.run(main, patience=50)


def test_names_follow_the_conventions() -> None:
    """Counters end in _total, all have the package's prefix and are explained; no key is shown."""

    async def act(_: Echo, look: Callable[[], Scrape]) -> None:
        await asyncio.sleep(20)
        text = look().text
        kinds = dict(re.findall(r"^# TYPE (\S+) (\w+)$", text, re.MULTILINE))
        assert "process_start_time_seconds" in kinds
        kinds = {name: kind for name, kind in kinds.items() if not name.startswith("process_")}
        kinds = {name: kind for name, kind in kinds.items() if not name.endswith("_created")}
        assert set(kinds.values()) == {"counter", "gauge", "histogram"}
        assert all(re.fullmatch(r"binance_pm_[a-z_]+", name) for name in kinds)
        assert {name for name, kind in kinds.items() if kind == "counter"} == {
            name for name in kinds if name.endswith("_total")
        }
        assert all(name.endswith("_seconds") for name, kind in kinds.items() if kind == "histogram")
        assert all(len(about) > 10 for about in re.findall(r"^# HELP \S+ (.*)$", text, re.MULTILINE))
        assert look().get("build_info") == 1
        assert "key0" not in text
        assert "secret" not in text

    watched(act)


def test_the_global_registry_is_left_alone() -> None:
    """And a registry has the metrics once."""
    metrics = Metrics()

    assert not [one for one in prometheus_client.REGISTRY.collect() if one.name.startswith("binance_pm")]
    with pytest.raises(ValueError, match="Duplicated"):
        Metrics(metrics.registry)


def test_a_fleet_that_is_not_open_cannot_be_watched() -> None:
    """Nothing is registered for it."""

    async def main() -> None:
        metrics = Metrics()
        with pytest.raises(SessionClosed):
            metrics.watch(Echo(asyncio.get_running_loop().time).fleet(1))
        shown = {one.name for one in scrape(metrics.registry).series}
        assert {name for name in shown if not name.startswith("process_")} == {"build_info"}

    virtual.run(main)


async def test_another_thread_is_answered_by_the_event_loop() -> None:
    """As by prometheus_client's own server."""
    echo = Echo(asyncio.get_running_loop().time)
    async with echo.fleet(1) as fleet:
        metrics = Metrics()
        metrics.watch(fleet)
        await anext(aiter(fleet.watch()))

        now = await anyio.to_thread.run_sync(scrape, metrics.registry)

        assert now.get("account_uni_mmr", account="account-0") == 5


async def test_a_loop_that_hangs_fails_the_scrape(monkeypatch: pytest.MonkeyPatch) -> None:
    """Old figures would look like new ones."""
    monkeypatch.setattr(module, "_TIMEOUT_SECONDS", 0.05)
    echo = Echo(asyncio.get_running_loop().time)
    ended: list[str] = []

    def ask() -> None:
        try:
            scrape(metrics.registry)
        except TimeoutError as error:
            ended.append(type(error).__name__)

    async with echo.fleet(1) as fleet:
        metrics = Metrics()
        metrics.watch(fleet)
        await anext(aiter(fleet.watch()))
        thread = Thread(target=ask)
        thread.start()
        # The loop waits here, and answers nobody.
        thread.join()

    assert ended == ["TimeoutError"]


async def test_a_fleet_that_cannot_be_read_fails_the_scrape(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of it would look like all of it."""

    def fail() -> None:
        raise RuntimeError("a mistake of ours")

    async with Echo(asyncio.get_running_loop().time).fleet(1) as fleet:
        metrics = Metrics()
        metrics.watch(fleet)
        monkeypatch.setattr(fleet, "snapshot", fail)

        with pytest.raises(RuntimeError, match="a mistake of ours"):
            await anyio.to_thread.run_sync(scrape, metrics.registry)


def test_a_loop_that_has_ended_shows_no_account() -> None:
    """Even where its fleet was never left."""
    metrics = Metrics()

    async def main() -> Fleet:
        fleet = await Echo(asyncio.get_running_loop().time).fleet(1).__aenter__()
        metrics.watch(fleet)
        await anext(aiter(fleet.watch()))
        assert scrape(metrics.registry).get("account_uni_mmr") == 5
        return fleet

    loop = asyncio.new_event_loop()
    try:
        fleet = loop.run_until_complete(main())
        waiting = asyncio.all_tasks(loop)
        for task in waiting:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*waiting, return_exceptions=True))
    finally:
        loop.close()

    assert fleet.members
    assert scrape(metrics.registry).all("account_age_seconds") == []
