"""The metrics of a fleet in virtual time: the figures, and above all which figures are absent."""

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
from tests.support.echo import START, Echo, Trouble, banned, dead, fine, hanging, refused, watched
from tests.support.scrape import Scrape, scrape

HOST = "https://papi.binance.com"
FIGURES = (
    "account_uni_mmr",
    "account_equity_usd",
    "account_maintenance_margin_usd",
    "account_unrealized_profit_usd",
    "account_status",
)

Look = Callable[[], Scrape]


def measured(
    act: Callable[[Echo, Look], Awaitable[None]],
    *,
    prepare: Callable[[Echo], object] = lambda _: None,
    fleet_of: Callable[[Echo], Fleet] = lambda echo: echo.fleet(2),
) -> None:
    """Count the events of a fleet, by default of two accounts, while an action runs."""
    metrics = Metrics()

    async def inner(echo: Echo, fleet: Fleet) -> None:
        metrics.watch(fleet)
        await act(echo, lambda: scrape(metrics.registry))

    watched(inner, prepare=prepare, fleet_of=fleet_of, receive=metrics.receive)


def test_the_figures_of_an_account() -> None:
    """Each figure has the label of its account."""

    async def act(_: Echo, look: Look) -> None:
        await asyncio.sleep(20)
        now = look()
        own = {"account": "account-1"}
        expected = {
            "account_uni_mmr": 1.4,
            "account_equity_usd": 1,
            "account_maintenance_margin_usd": 1,
            "account_unrealized_profit_usd": 1,
            "account_stale": 0,
            "account_failed": 0,
        }
        assert {name: now.get(name, **own) for name in expected} == expected
        assert 0 <= (now.get("account_age_seconds", **own) or math.nan) < 20
        thresholds = ("warn", "alarm")
        assert [now.get("account_threshold_uni_mmr", **own, threshold=name) for name in thresholds] == [1.5, 1.2]
        assert [now.get("account_below_threshold", **own, threshold=name) for name in thresholds] == [1, 0]
        assert [now.get("events_total", **own, type=kind) for kind in ("ThresholdCrossed", "StatusChanged")] == [1, 0]
        readings = {one.labels["endpoint"]: one.value for one in now.all("account_readings_total", **own)}
        assert readings.keys() == {"account", "um_account"}
        assert min(readings.values()) >= 2
        assert now.all("account_errors_total") == []

    measured(act, prepare=lambda echo: echo.uni_mmr.update({1: "1.4"}))


@pytest.mark.parametrize(("sent", "shown"), [("REDUCE_ONLY", "REDUCE_ONLY"), ("SOMETHING_NEW", "unknown")])
def test_one_status_is_set(sent: str, shown: str) -> None:
    """A status that this version does not know is shown as unknown, because labels are bounded."""

    async def act(_: Echo, look: Look) -> None:
        await asyncio.sleep(20)
        statuses = {one.labels["status"]: one.value for one in look().all("account_status", account="account-0")}
        assert set(statuses) == {*AccountStatus, "unknown"}
        assert [status for status, value in statuses.items() if value] == [shown]

    measured(act, prepare=lambda echo: echo.status.update({0: sent}))


@pytest.mark.parametrize("trouble", [dead, hanging])
def test_figures_of_a_stale_account_are_absent(trouble: Trouble) -> None:
    """Only ages and the crossed threshold remain until the account is read again."""

    async def act(echo: Echo, look: Look) -> None:
        await asyncio.sleep(20)
        assert all(look().all(name, account="account-1") for name in FIGURES)
        echo.trouble = trouble
        await asyncio.sleep(120)
        stale = look()
        for label in ("account-0", "account-1"):
            assert [name for name in FIGURES if stale.all(name, account=label)] == []
            assert stale.get("account_stale", account=label) == 1
            assert (stale.get("account_age_seconds", account=label) or 0) > 100
            assert (stale.get("account_reading_age_seconds", account=label, endpoint="account") or 0) > 100
            assert stale.get("events_total", account=label, type="Stale") == 1
        assert [one.labels["threshold"] for one in stale.all("account_below_threshold")] == ["warn"]
        echo.trouble, echo.uni_mmr = fine, {}
        await asyncio.sleep(150)
        back = look()
        assert all(back.all(name, account="account-1") for name in FIGURES)
        assert back.get("account_stale", account="account-1") == 0
        assert back.get("account_below_threshold", account="account-1", threshold="warn") == 0

    measured(act, prepare=lambda echo: echo.uni_mmr.update({1: "1.4"}))


@pytest.mark.parametrize(("path", "remaining"), [("/papi/v2/um/account", 4), ("/papi/v1/account", 1)])
def test_only_figures_of_stale_endpoints_are_absent(path: str, remaining: int) -> None:
    """If one endpoint hangs, the figures of the other remain."""

    async def act(echo: Echo, look: Look) -> None:
        await asyncio.sleep(20)
        echo.trouble_at(path, hanging)
        await asyncio.sleep(40)
        now = look()
        assert len([name for name in FIGURES if now.all(name)]) == remaining
        assert now.get("account_stale", account="account-0") == 1

    measured(act)


def test_the_age_of_an_account_that_was_never_read_is_infinite() -> None:
    """An alert on its age fires; nothing else is known."""

    async def act(_: Echo, look: Look) -> None:
        for stale in (0, 1):
            await asyncio.sleep(1 + 30 * stale)
            now = look()
            assert now.get("account_age_seconds", account="account-0") == math.inf
            assert now.get("account_reading_age_seconds", account="account-0", endpoint="account") == math.inf
            assert now.get("account_stale", account="account-0") == stale
            assert [name for name in (*FIGURES, "account_below_threshold") if now.all(name)] == []
            assert now.get("account_readings_total", account="account-0", endpoint="account") == 0

    measured(act, prepare=lambda echo: setattr(echo, "trouble", hanging))


def test_old_data_is_stale_before_the_fleet_has_checked_its_age() -> None:
    """After the machine was suspended, a scrape may come first."""

    async def act(echo: Echo, look: Look) -> None:
        await asyncio.sleep(20)
        assert look().get("account_stale", account="account-0") == 0
        echo.ahead = 3600.0
        now = look()
        assert now.get("account_stale", account="account-0") == 1
        assert now.get("account_uni_mmr", account="account-0") is None

    measured(act)


def test_an_account_that_could_not_be_opened_is_stale(tmp_path: Path) -> None:
    """Its age is infinite from the start."""
    file = tmp_path / "accounts.toml"
    entry = '[[accounts]]\nlabel = "{0}"\nproduct = "pm"\napi_key = {{ env = "{1}" }}\napi_secret = {{ env = "KEY" }}\n'
    file.write_text(entry.format("good", "KEY") + entry.format("bad", "UNSET"), encoding="utf-8")

    async def act(_: Echo, look: Look) -> None:
        await asyncio.sleep(20)
        now = look()
        assert now.get("account_equity_usd", account="good") == 7
        assert now.get("account_stale", account="bad") == 1
        assert now.get("account_failed", account="bad") == 1
        assert now.get("account_age_seconds", account="bad") == math.inf
        assert now.get("events_total", account="bad", type="AccountFailed") == 1

    def fleet_of(echo: Echo) -> Fleet:
        return Fleet.from_toml(file, keep_going=True, session=echo.session(), environment={"KEY": "key7"})

    measured(act, fleet_of=fleet_of)


def test_errors_are_counted_by_class_and_endpoint() -> None:
    """Every attempt of a call counts, for its own account."""

    async def trouble(account: int) -> httpx.Response | None:
        return refused(503, -1008, "Request throttled") if account == 1 else None

    async def act(echo: Echo, look: Look) -> None:
        await asyncio.sleep(60)
        now = look()
        errors = now.all("account_errors_total")
        paths = [path for _, account, path in echo.arrived if account == 1]
        assert {tuple(one.labels.values()) for one in errors} == {
            ("account-1", "account", "NotDone"),
            ("account-1", "um_account", "NotDone"),
        }
        assert sum(one.value for one in errors) == len(paths)
        attempts = now.get("request_duration_seconds_count", endpoint="account", outcome="NotDone")
        assert attempts == paths.count("/papi/v1/account")

    measured(act, prepare=lambda echo: setattr(echo, "trouble", trouble))


def test_durations_do_not_include_the_wait_for_weight() -> None:
    """The wait is a histogram of its own."""

    async def trouble(_: int) -> httpx.Response | None:
        await asyncio.sleep(0.3)
        return None

    async def act(_: Echo, look: Look) -> None:
        await asyncio.sleep(60)
        now = look()

        def duration(part: str, **labels: str) -> float | None:
            return now.get(f"request_duration_seconds_{part}", endpoint="account", outcome="ok", **labels)

        calls = duration("count")
        assert calls
        assert duration("sum") == pytest.approx(0.3 * calls, rel=0.01)
        assert [duration("bucket", le=le) for le in ("0.25", "0.5")] == [0, calls]
        assert (now.get("budget_wait_seconds_count", endpoint="account", priority="poll") or 0) >= calls
        assert (now.get("budget_wait_seconds_sum", endpoint="account", priority="poll") or 0) < 0.1 * calls

    measured(act, prepare=lambda echo: setattr(echo, "trouble", trouble))


def test_a_refusal_closes_the_gate_for_a_known_time() -> None:
    """The gate and its remaining time are shown by origin."""

    async def act(echo: Echo, look: Look) -> None:
        await asyncio.sleep(10)
        before = look()
        assert [before.get(f"gate_{name}", origin=HOST) for name in ("closed", "opens_seconds")] == [0, 0]
        assert [one.value for one in before.all("refusals_total", origin=HOST)] == [0, 0]
        echo.trouble = banned
        await asyncio.sleep(20)
        closed = look()
        assert closed.get("gate_closed", origin=HOST) == 1
        assert 90 < (closed.get("gate_opens_seconds", origin=HOST) or 0) <= 120
        assert (closed.get("refusals_total", origin=HOST, status="418") or 0) >= 1
        assert closed.get("refusals_total", origin=HOST, status="429") == 0
        assert [one.value for one in closed.all("events_total", type="HostBlocked")] == [1]
        echo.trouble = fine
        await asyncio.sleep(120)
        assert look().get("gate_closed", origin=HOST) == 0

    measured(act)


def test_an_earlier_ban_is_shown_before_any_call(tmp_path: Path) -> None:
    """The gate of an origin is shown although no pool was drawn on."""
    bans = tmp_path / "bans.json"
    write_ban(bans, HOST, START + 600, now=START)

    def fleet_of(echo: Echo) -> Fleet:
        session = Session(http=echo, budget=Budget(bans=bans, monotonic=echo.clock, wall=echo.wall))
        return Fleet([Member(Client("key0", "secret", label="a", session=session))])

    async def act(echo: Echo, look: Look) -> None:
        await asyncio.sleep(5)
        now = look()
        assert echo.arrived == []
        assert now.get("gate_closed", origin=HOST) == 1
        assert 500 < (now.get("gate_opens_seconds", origin=HOST) or 0) <= 600

    measured(act, fleet_of=fleet_of)


def test_the_figures_of_a_pool() -> None:
    """The figures are those of the budget, in weight."""

    async def act(_: Echo, look: Look) -> None:
        await asyncio.sleep(20)
        now = look()
        pool = {"origin": HOST, "pool": "IP /papi", "account": ""}
        assert [now.get(f"pool_weight_{name}", **pool) for name in ("limit", "in_flight", "external")] == [6_000, 0, 0]
        assert (now.get("pool_weight_used", **pool) or 0) >= 50
        assert (now.get("pool_weight_reserve", **pool) or 0) > 0
        waiting = {one.labels["priority"]: one.value for one in now.all("pool_waiting_calls", **pool)}
        assert waiting == {"order": 0, "poll": 0, "background": 0}
        assert now.get("pool_waiting_reason", **pool, reason="none") == 1

    measured(act)


def test_a_pool_of_an_account_has_the_label_of_the_account() -> None:
    """The budget identifies accounts by digests of their keys, which are not shown."""

    async def act(_: Echo, look: Look) -> None:
        await asyncio.sleep(20)
        now = look()
        pools = now.all("pool_weight_used", pool="UID /sapi/v1/portfolio/account")
        assert {one.labels["account"] for one in pools} == {"account-0", "account-1"}
        assert Client("key0", "secret").key_id not in now.text

    measured(act, fleet_of=lambda echo: echo.fleet(2, product="pm_pro"))


def test_undeclared_endpoints_have_one_name() -> None:
    """Labels are bounded although a program may call any path, and other clients have labels of their own."""

    async def main() -> None:
        echo, metrics = Echo(asyncio.get_running_loop().time), Metrics()
        session = echo.session()
        other = Client("key9", "secret", label="other", session=session)
        async with Fleet([Member(Client("key0", "secret", label="a", session=session))]) as fleet, other:
            metrics.watch(fleet)
            await other.request("GET", "/papi/v1/account", weight=20, returns=dict[str, Any])
            await other.request("POST", "/papi/v1/account", weight=20, returns=dict[str, Any])
            now = scrape(metrics.registry)
        # A write that was done is not a reading.
        assert now.get("account_readings_total", account="other", endpoint="undeclared") == 1
        assert now.get("request_duration_seconds_count", endpoint="undeclared", outcome="ok") == 2
        assert now.get("budget_wait_seconds_count", endpoint="undeclared", priority="order") == 1
        assert now.get("account_readings_total", account="a", endpoint="account") == 0

    virtual.run(main, patience=50)


def test_a_later_fleet_replaces_one_that_was_closed() -> None:
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
    """Counters end in _total, all metrics have the prefix and a help text, and no key is shown."""

    async def act(_: Echo, look: Look) -> None:
        await asyncio.sleep(20)
        text = look().text
        kinds = dict(re.findall(r"^# TYPE (\S+) (\w+)$", text, re.MULTILINE))
        assert "process_start_time_seconds" in kinds
        kinds = {name: kind for name, kind in kinds.items() if not name.startswith("process_")}
        kinds = {name: kind for name, kind in kinds.items() if not name.endswith("_created")}
        assert set(kinds.values()) == {"counter", "gauge", "histogram"}
        assert all(re.fullmatch(r"binance_pm_[a-z_]+", name) for name in kinds)
        assert all((kind == "counter") == name.endswith("_total") for name, kind in kinds.items())
        assert all(name.endswith("_seconds") for name, kind in kinds.items() if kind == "histogram")
        assert all(len(about) > 10 for about in re.findall(r"^# HELP \S+ (.*)$", text, re.MULTILINE))
        assert look().get("build_info") == 1
        assert "key0" not in text
        assert "secret" not in text

    measured(act)


def test_the_global_registry_is_not_used() -> None:
    """A registry contains the metrics once."""
    metrics = Metrics()

    assert not [one for one in prometheus_client.REGISTRY.collect() if one.name.startswith("binance_pm")]
    with pytest.raises(ValueError, match="Duplicated"):
        Metrics(metrics.registry)


def test_a_fleet_that_is_not_open_cannot_be_watched() -> None:
    """Nothing is registered for it."""
    metrics = Metrics()

    with pytest.raises(SessionClosed):
        metrics.watch(Echo(lambda: 0.0).fleet(1))

    names = {one.name for one in scrape(metrics.registry).series}
    assert {name for name in names if not name.startswith("process_")} == {"build_info"}


async def test_another_thread_gets_the_state_from_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the fleet cannot be read, the scrape fails, because a part would look like the whole."""
    async with Echo(asyncio.get_running_loop().time).fleet(1) as fleet:
        metrics = Metrics()
        metrics.watch(fleet)
        await anext(aiter(fleet.watch()))
        now = await anyio.to_thread.run_sync(scrape, metrics.registry)
        assert now.get("account_uni_mmr", account="account-0") == 5

        monkeypatch.setattr(fleet, "snapshot", lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            await anyio.to_thread.run_sync(scrape, metrics.registry)


async def test_a_blocked_event_loop_fails_the_scrape(monkeypatch: pytest.MonkeyPatch) -> None:
    """Old figures would look like new ones."""
    monkeypatch.setattr(module, "_TIMEOUT_SECONDS", 0.05)
    ended: list[type[Exception]] = []

    def ask() -> None:
        try:
            scrape(metrics.registry)
        except TimeoutError as error:
            ended.append(type(error))

    async with Echo(asyncio.get_running_loop().time).fleet(1) as fleet:
        metrics = Metrics()
        metrics.watch(fleet)
        thread = Thread(target=ask)
        thread.start()
        # The event loop is blocked here.
        thread.join()

    assert ended == [TimeoutError]


def test_an_event_loop_that_has_ended_shows_no_account() -> None:
    """This holds even if the fleet was never closed."""
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
