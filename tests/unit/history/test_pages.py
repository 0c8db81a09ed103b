"""Reading long lists with a client: arguments, positions, progress, interruptions and plans."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncGenerator
from decimal import Decimal
from operator import attrgetter
from typing import Any

import httpx
import msgspec
import pytest
import pytest_asyncio

from binance_pm import (
    Admitted,
    Budget,
    BudgetEvent,
    Client,
    ConfigurationError,
    HistoryIncomplete,
    NoResponse,
    Priority,
    Session,
    SessionClosed,
    paginate,
)
from binance_pm.api.um_orders import UmTrade
from binance_pm.history import PageProgress, Pages, Position
from binance_pm.sandbox import Exchange, Fault, create_app
from binance_pm.testing import Sandbox
from binance_pm.transport.httpx import asgi_transport
from tests.support.cancelling import cancelled_at
from tests.support.clocks import START, FakeClock

NOW = int(START * 1000)
DAY = 86_400_000
BEGIN = NOW - 20 * DAY
TIMES = sorted([*range(BEGIN, BEGIN + 3_000, 100), *[BEGIN + 9 * DAY] * 7, *range(NOW - DAY, NOW - DAY + 13)])
NAME = "um.trades"


@pytest.fixture
def exchange(clock: FakeClock) -> Exchange:
    """An exchange with trades of three weeks."""
    exchange = Exchange(accounts=2, clock=clock, sleep=clock.sleep)
    exchange.add_history(exchange.accounts[0], NAME, TIMES)
    exchange.add_history(exchange.accounts[0], "um.income", TIMES)
    return exchange


@pytest.fixture
def pm(exchange: Exchange) -> Sandbox:
    """The same exchange, with clients."""
    return Sandbox(exchange, "http://127.0.0.1", http=asgi_transport(create_app(exchange)))


@pytest_asyncio.fixture
async def session(pm: Sandbox, clock: FakeClock) -> AsyncGenerator[Session, None]:
    """A session in the exchange's time."""
    async with pm.session(budget=Budget(monotonic=clock, wall=clock, sleep=clock.sleep)) as session:
        yield session


@pytest_asyncio.fixture
async def client(pm: Sandbox, session: Session) -> AsyncGenerator[Client, None]:
    """A client of the account with trades."""
    async with pm.client(session=session) as client:
        yield client


def trades(client: Client, **more: Any) -> Pages[UmTrade]:
    """Return the pages of the trades, five rows each."""
    method: Any = client.um.trades
    return paginate(method, "BTCUSDT", **({"start_time": BEGIN, "limit": 5} | more))


async def times_of(pages: Pages[Any], most: float = math.inf) -> list[int]:
    """Return the times of at most so many rows."""
    times: list[int] = []
    if most:
        async for row in pages:
            times.append(row.time)
            if len(times) == most:
                break
    return times


class TestArguments:
    """What can be read, and with which arguments."""

    @pytest.mark.parametrize(
        "method",
        [print, Client.um_account, httpx.AsyncClient().get, Client("k", "s").aclose, Client("k", "s").um_account],
    )
    def test_only_methods_with_pages_can_be_read(self, method: Any) -> None:
        """Of an endpoint, bound to a client."""
        with pytest.raises(ConfigurationError):
            paginate(method)

    @pytest.mark.parametrize(
        ("name", "arguments"),
        [
            ("um.trades", {"symbol": "BTCUSDT", "from_id": 5, "start_time": 7}),
            ("um.trades", {"symbol": "BTCUSDT", "limit": 1}),
            ("um.trades", {"symbol": "BTCUSDT", "limit": 1_001}),
            ("um.trades", {"symbol": "BTCUSDT", "start_time": 8, "end_time": 7}),
            ("margin.loan_history", {"asset": "BTC", "start_time": 7, "current": 2}),
            ("margin.loan_history", {"asset": "BTC", "start_time": 7, "archived": True}),
            ("margin.loan_history", {"asset": "BTC"}),
            ("cm.all_orders", {"pair": "BTCUSD", "order_id": 5}),
            ("um.trades", {"symbol": "BTCUSDT", "start_time": -1}),
            ("um.income", {"end_time": -1}),
            ("um.trades", {"symbol": "BTCUSDT", "start_time": math.nan}),
            ("um.trades", {"symbol": "BTCUSDT", "start_time": Decimal("NaN")}),
            ("um.trades", {"symbol": "BTCUSDT", "end_time": "2026-01-01"}),
            ("um.trades", {"symbol": "BTCUSDT", "limit": 10.0}),
        ],
    )
    def test_arguments_that_select_a_page_are_refused(
        self, client: Client, name: str, arguments: dict[str, Any]
    ) -> None:
        """And so is a range that cannot be read, before anything is sent."""
        namespace, method = name.split(".")

        with pytest.raises(ConfigurationError) as caught:
            paginate(getattr(getattr(client, namespace), method), **arguments)

        assert name in caught.value.endpoint

    def test_a_missing_argument_is_a_type_error(self, client: Client) -> None:
        """As for the method itself."""
        with pytest.raises(TypeError, match="symbol"):
            paginate(client.um.trades)  # pyright: ignore[reportCallIssue] - wrong on purpose

    async def test_a_client_that_is_not_open_reads_nothing(self) -> None:
        """The error comes with the first row."""
        with pytest.raises(SessionClosed):
            await times_of(trades(Client("k" * 64, "s" * 64)))

    async def test_without_a_start_everything_that_is_kept_is_read(self, client: Client) -> None:
        """By id from the first one, by time from the age that the exchange keeps."""
        by_id = await times_of(paginate(client.um.trades, "BTCUSDT"))
        by_time = await times_of(paginate(client.um.income, symbol="BTCUSDT"))

        assert (by_id, by_time) == (TIMES, TIMES)

    async def test_reading_may_begin_at_an_id(self, client: Client) -> None:
        """Instead of a time."""
        rows = [row async for row in paginate(client.um.trades, "BTCUSDT")]

        assert await times_of(paginate(client.um.trades, "BTCUSDT", from_id=rows[9].id)) == TIMES[9:]

    async def test_reading_ends_at_the_given_time(self, client: Client) -> None:
        """Which is included."""
        assert await times_of(trades(client, end_time=BEGIN + 9 * DAY)) == TIMES[:37]

    async def test_endpoints_of_the_client_itself_and_of_pro_are_read(self, client: Client) -> None:
        """The exchange's time is read from the host of the endpoint."""
        start = NOW - 40 * DAY
        assert [row async for row in paginate(client.negative_balance_interest_history, start_time=start)] == []
        assert [row async for row in paginate(client.pro.bankruptcy_loan_repay_history, start_time=start)] == []
        assert [row async for row in paginate(client.margin.all_ocos, start_time=NOW - 3 * DAY)] == []


class TestReading:
    """Every row once, whatever happens between."""

    async def test_calls_come_after_all_others(self, client: Client, session: Session) -> None:
        """Unless another priority is chosen."""
        events: list[BudgetEvent] = []
        session.budget.add_listener(events.append)

        await times_of(trades(client))
        await times_of(trades(client).options(priority=Priority.POLL))

        seen = [event.priority for event in events if isinstance(event, Admitted)]
        assert set(seen) == {Priority.BACKGROUND, Priority.POLL}

    async def test_a_failed_page_is_requested_again(self, client: Client, pm: Sandbox) -> None:
        """By the next iteration of the same pages."""
        pages = trades(client)
        rows = await times_of(pages, 7)
        pm.inject(Fault(path="/papi/v1/um/userTrades", drop=True, times=3))

        with pytest.raises(NoResponse):
            await times_of(pages)
        # Three rows of the second page had come.
        assert rows + TIMES[7:10] + await times_of(pages) == TIMES

    async def test_a_cancellation_loses_nothing(self, client: Client) -> None:
        """In any page; the same pages go on, and so do others at the position."""
        for point in range(400):
            pages, rows = trades(client), list[int]()

            async def gather(pages: Pages[Any] = pages, rows: list[int] = rows) -> None:
                async for row in pages:
                    rows.append(row.time)  # noqa: PERF401 - the rows before the cancellation are kept

            if not await cancelled_at(point, gather()):
                assert point > 10
                break
            others = trades(client).options(position=pages.position) if pages.position else trades(client)
            assert rows + await times_of(others) == TIMES
            assert rows + await times_of(pages) == TIMES

    @pytest.mark.parametrize("name", [NAME, "um.income"])
    async def test_reading_goes_on_behind_each_row(self, client: Client, name: str) -> None:
        """A stored position has the rows behind it, and no others."""

        def pages() -> Pages[Any]:
            if name == NAME:
                return trades(client)
            return paginate(client.um.income, "BTCUSDT", start_time=BEGIN, end_time=NOW - 1, limit=8)

        for count in range(1, len(TIMES) + 1):
            first = pages()
            await times_of(first, count)
            stored = msgspec.json.encode(first.position)
            position = msgspec.json.decode(stored, type=Position)
            assert await times_of(pages().options(position=position)) == TIMES[count:]

    async def test_later_rows_are_read_from_the_last_position(
        self, client: Client, exchange: Exchange, clock: FakeClock
    ) -> None:
        """Reading ends 30 seconds before now, as a row may appear late."""
        late = NOW - 10_000
        exchange.add_history(exchange.accounts[0], "um.income", [late])
        pages = paginate(client.um.income, symbol="BTCUSDT", start_time=BEGIN)
        assert await times_of(pages) == TIMES
        assert pages.position
        assert NOW - 31_000 <= pages.position.time <= NOW - 30_000

        clock.now += 60
        later = paginate(client.um.income, symbol="BTCUSDT", start_time=BEGIN).options(position=pages.position)
        assert await times_of(later) == [late, NOW]

    @pytest.mark.parametrize("name", [NAME, "um.income"])
    async def test_a_later_end_continues_behind_an_earlier_one(self, client: Client, name: str) -> None:
        """No row between the ends is lost, even if the last page had rows beyond the earlier end."""
        method: Any = attrgetter(name)(client)
        rows: list[int] = []
        position: Position | None = None
        for end in (TIMES[7], TIMES[8] - 1, TIMES[11] + 1, NOW - 1):
            pages = paginate(method, "BTCUSDT", start_time=BEGIN, end_time=end, limit=8).options(position=position)
            rows += await times_of(pages)
            assert rows == [time for time in TIMES if time <= end]
            position = pages.position

    async def test_two_tasks_share_the_rows(self, client: Client) -> None:
        """Each row goes to one of them."""
        pages = trades(client)

        parts = await asyncio.gather(times_of(pages), times_of(pages))

        assert sorted(parts[0] + parts[1]) == TIMES

    async def test_an_incomplete_history_is_an_error(self, client: Client, exchange: Exchange) -> None:
        """Each time that it is read; the rows before came."""
        exchange.add_history(exchange.accounts[0], "um.income", [NOW - DAY] * 30)
        pages = paginate(client.um.income, "BTCUSDT", "COMMISSION", start_time=BEGIN, limit=5)

        for _ in range(2):
            with pytest.raises(HistoryIncomplete) as caught:
                await times_of(pages)
            assert (caught.value.endpoint, caught.value.sent) == ("um.income", True)
        assert pages.position
        assert pages.position.time == NOW - DAY

    async def test_progress_is_reported_after_each_page(self, client: Client) -> None:
        """With the part of the time that is read."""
        seen: list[PageProgress] = []

        rows = await times_of(trades(client).options(on_progress=seen.append))

        fractions = [one.fraction for one in seen if one.fraction is not None]
        assert [one.calls for one in seen] == list(range(1, len(seen) + 1))
        assert (seen[-1].rows, fractions[-1]) == (len(rows), 1.0)
        assert fractions == sorted(fractions)
        assert 0 <= fractions[0] < 0.1

    async def test_progress_is_unknown_without_a_start(self, client: Client) -> None:
        """If neither an argument, nor the age that the exchange keeps, nor a row has one."""
        seen: list[PageProgress] = []

        await times_of(paginate(client.margin.trades, "BTCUSDT").options(on_progress=seen.append))

        assert seen == [PageProgress(rows=0, calls=1, fraction=None)]

    async def test_a_failing_progress_function_loses_nothing(self, client: Client) -> None:
        """Its error ends the iteration, and the rows of the page are still there."""

        def fail(_: PageProgress) -> None:
            raise ZeroDivisionError

        pages = trades(client).options(on_progress=fail)
        times: list[int] = []
        while len(times) < len(TIMES):
            try:
                async for row in pages:
                    times.append(row.time)  # noqa: PERF401 - the rows before the error are kept
            except ZeroDivisionError:
                continue
        assert times == TIMES


class TestPosition:
    """Where reading goes on."""

    async def position(self, client: Client) -> Position:
        """Return a position within the trades."""
        pages = trades(client)
        assert pages.position is None
        await times_of(pages, 3)
        assert pages.position is not None
        return pages.position

    async def test_a_position_belongs_to_one_list(self, client: Client, pm: Sandbox, session: Session) -> None:
        """The arguments and the account are the same; times and the size of pages may differ."""
        position = await self.position(client)

        assert await times_of(trades(client, start_time=None, limit=50).options(position=position)) == TIMES[3:]
        async with pm.client(1, session=session) as other:
            for pages in (
                paginate(client.um.trades, "ETHUSDT"),
                paginate(client.um.all_orders, "BTCUSDT"),
                paginate(client.um.income),
                trades(other),
            ):
                with pytest.raises(ConfigurationError):
                    pages.options(position=position)

    @pytest.mark.parametrize(
        "change", [{"version": 2}, {"query": "0" * 16}, {"after": (1, 2, 3)}, {"time": "x"}, {"time": -1}, {"id": -1}]
    )
    async def test_an_altered_position_is_refused(self, client: Client, change: dict[str, Any]) -> None:
        """Such as one of another version of the package."""
        position = msgspec.structs.replace(await self.position(client), **change)

        with pytest.raises(ConfigurationError):
            trades(client).options(position=position)

    @pytest.mark.parametrize("after", [(1, 1, 1, 1), ("", "", "", "")])
    async def test_a_key_of_other_types_is_refused(self, client: Client, after: tuple[int | str, ...]) -> None:
        """It could not be compared with the keys of rows."""
        pages = paginate(client.um.income)
        await anext(pages)
        assert pages.position is not None
        position = msgspec.structs.replace(pages.position, after=after)

        with pytest.raises(ConfigurationError):
            pages.options(position=position)

    async def test_a_position_in_the_future_is_refused(self, client: Client) -> None:
        """It cannot have been reached."""
        position = msgspec.structs.replace(await self.position(client), time=NOW + DAY)

        with pytest.raises(ConfigurationError):
            await times_of(trades(client).options(position=position))

    @pytest.mark.parametrize("options", [{"position": "x"}, {"priority": 2}, {"on_progress": 5}])
    def test_options_are_checked(self, client: Client, options: dict[str, Any]) -> None:
        """Their types are."""
        with pytest.raises(ConfigurationError):
            trades(client).options(**options)


class TestPlan:
    """What is known before the first row."""

    async def test_the_plan_counts_windows_and_rows(self, client: Client) -> None:
        """An upper bound needs the number of rows."""
        pages = paginate(client.um.income, start_time=NOW - 85 * DAY)

        plan, bounded = await pages.plan(), await pages.plan(rows=100_000)

        assert (plan.endpoint, plan.weight, plan.calls_at_least, plan.calls_at_most) == ("um.income", 30, 1, None)
        assert plan.seconds_at_most is None
        assert bounded.calls_at_most == 1 + 101 + 2
        assert bounded.weight_at_most == 30 * 104
        assert bounded.seconds_at_most == pytest.approx(bounded.calls_at_most * 60 / bounded.calls_per_minute)
        assert 0 < bounded.calls_per_minute <= 200

    @pytest.mark.parametrize(
        ("name", "arguments", "calls", "weight"),
        [
            ("um.trades", {"symbol": "BTCUSDT"}, 1, 5),
            ("um.trades", {"symbol": "BTCUSDT", "start_time": NOW - 5 * DAY}, 2, 5),
            ("cm.trades", {"pair": "BTCUSD", "start_time": NOW - 5 * DAY}, 5, 40),
            ("cm.force_orders", {"start_time": NOW - 15 * DAY}, 3, 50),
            ("margin.loan_history", {"asset": "BTC", "start_time": NOW - 59 * DAY}, 4, 10),
            ("um.order_amendments", {"symbol": "BTCUSDT", "order_id": 5, "start_time": NOW - 59 * DAY}, 1, 1),
            ("um.income", {"start_time": NOW}, 0, 30),
        ],
    )
    async def test_the_least_calls(
        self, client: Client, name: str, arguments: dict[str, Any], calls: int, weight: int
    ) -> None:
        """One for each window, however few rows there are."""
        namespace, method = name.split(".")

        plan = await paginate(getattr(getattr(client, namespace), method), **arguments).plan()

        assert (plan.calls_at_least, plan.weight) == (calls, weight)
        assert plan.weight_at_least == calls * weight
        assert plan.seconds_at_least == pytest.approx(calls * 60 / plan.calls_per_minute)

    @pytest.mark.parametrize("rows", [-1, math.nan, "5", True])
    async def test_the_number_of_rows_is_checked(self, client: Client, rows: Any) -> None:
        """It is an integer, and not below 0."""
        with pytest.raises(ConfigurationError):
            await trades(client).plan(rows=rows)

    @pytest.mark.parametrize("start", [0, 1])
    async def test_the_earliest_start_is_reported_as_missing(self, client: Client, start: int) -> None:
        """A start of 0 is a time like any other."""
        plan = await trades(client, start_time=start).plan()

        assert (plan.start, plan.missing_before) == (start, plan.kept_since)

    async def test_what_is_no_longer_kept_is_reported(self, client: Client, caplog: pytest.LogCaptureFixture) -> None:
        """By the plan, by the pages, and once in the log; everything that is kept is read."""
        start = NOW - 200 * DAY
        pages = trades(client, start_time=start)
        orders = await paginate(client.um.all_orders, "BTCUSDT", start_time=NOW - 5 * DAY).plan()

        plan = await pages.plan()
        with caplog.at_level(logging.WARNING, "binance_pm"):
            assert await times_of(pages) == TIMES

        assert (plan.start, plan.kept_since) == (start, plan.missing_before)
        assert plan.missing_before == pytest.approx(NOW - 92 * DAY, abs=2_000)
        assert pages.missing_before == pytest.approx(plan.missing_before, abs=2_000)
        assert ["no longer kept" in record.getMessage() for record in caplog.records] == [True]
        assert (orders.missing_before, orders.unfilled_kept_since) == (None, pytest.approx(NOW - 3 * DAY, abs=2_000))
