"""The live account on real sockets, with asyncio and trio, against the local exchange."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any, Literal

import anyio
import pytest

from binance_pm import Client, ConfigurationError, RequestRejected, SessionClosed
from binance_pm.api.futures_events import OrderTradeUpdate
from binance_pm.errors import PortfolioMarginError
from binance_pm.stream.items import StreamDown, StreamGap
from binance_pm.stream.live import LiveAccount
from binance_pm.stream.policy import StreamSettings
from binance_pm.testing import Fault, Sandbox, StreamFault, running_sandbox

Body = Callable[[Sandbox, Client, LiveAccount], Coroutine[Any, Any, None]]
LOOPS: tuple[Literal["asyncio", "trio"], ...] = ("asyncio", "trio")
ORDER: dict[str, Any] = {"symbol": "BTCUSDT", "side": "BUY", "quantity": Decimal("0.01")}
RESTING: dict[str, Any] = ORDER | {"type": "LIMIT", "time_in_force": "GTC", "price": Decimal(50_000)}
UNPRICED: dict[str, Any] = RESTING | {"price": Decimal("0.0001")}
MARKET: dict[str, Any] = ORDER | {"type": "MARKET"}


@pytest.fixture(scope="module")
def pm() -> Generator[Sandbox]:
    """A local exchange on a socket."""
    with running_sandbox() as running:
        yield running


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest, pm: Sandbox) -> Generator[Callable[..., None]]:
    """Run a test with a live account of USD-M on an event loop."""

    def run_with(body: Body, *, parts: Any = ("um",), settings: StreamSettings | None = None) -> None:
        async def main() -> None:
            with anyio.fail_after(30):
                async with account(pm, parts, settings) as (client, live):
                    await body(pm, client, live)

        anyio.run(main, backend=request.param)

    yield run_with
    pm.clear()


@asynccontextmanager
async def account(
    pm: Sandbox, parts: Any, settings: StreamSettings | None
) -> AsyncGenerator[tuple[Client, LiveAccount]]:
    """A client and its live account."""
    async with pm.client(0) as client, client.live_account(parts, settings=settings) as live:
        yield client, live


async def until(live: LiveAccount, holds: Callable[[], object]) -> None:
    """Wait until a condition holds."""
    while not holds():
        await live.changed()


async def differences(client: Client, live: LiveAccount) -> list[str]:
    """Return the differences between the live account and REST."""
    positions = {one.symbol: one.position_amt for one in await client.um.position_risk() if one.position_amt}
    orders = {one.order_id: one.executed_qty for one in await client.um.open_orders()}
    wallets = {one.asset: one.cross_wallet_balance for one in (await client.um_account()).assets}
    compared = {
        "positions": (positions, {str(key): one.position_amt for key, one in live.positions.items()}),
        "orders": (orders, {one.order_id: one.executed_qty for one in live.open_orders}),
        "wallets": (wallets, {asset: live.balances[asset].um_wallet_balance for asset in wallets}),
    }
    return [f"{name}: {rest} {ours}" for name, (rest, ours) in compared.items() if rest != ours]


def test_is_current_when_it_is_entered(run: Callable[..., None]) -> None:
    """On entering, positions, balances and orders equal those of REST, and risk was read."""

    async def body(_: Sandbox, client: Client, live: LiveAccount) -> None:
        assert live.is_current
        assert not live.is_confirmed
        assert await differences(client, live) == []
        assert live.risk.account_status == "NORMAL"
        assert live.risk_age < 20
        assert live.age < 20
        assert (await live.changed()).is_whole

    run(body)


def test_follows_the_events(run: Callable[..., None]) -> None:
    """Orders of another client of the account appear."""

    async def body(_: Sandbox, client: Client, live: LiveAccount) -> None:
        before = len(live.open_orders)
        await live.changed()

        order = await client.um.new_order(**RESTING)
        await until(live, lambda: len(live.open_orders) == before + 1)
        await client.um.cancel_order("BTCUSDT", order_id=order.order_id)
        await until(live, lambda: len(live.open_orders) == before)
        size = live.positions["BTCUSDT"].position_amt
        await client.um.new_order(**MARKET)
        await until(live, lambda: live.positions["BTCUSDT"].position_amt != size)

        assert await differences(client, live) == []

    run(body)


def test_an_order_is_followed_to_its_end(run: Callable[..., None]) -> None:
    """A market order is filled, and a resting one cancelled."""

    async def body(_: Sandbox, client: Client, live: LiveAccount) -> None:
        filled = await live.um.new_order(**MARKET)
        resting = await live.um.new_order(**RESTING)
        assert resting.status == "NEW"

        assert (await filled.ended()).executed_qty == Decimal("0.01")
        assert (await resting.cancel()).status == "CANCELED"
        assert (await resting.ended()).status == "CANCELED"
        assert await differences(client, live) == []

    run(body)


def test_an_event_shows_an_order_whose_response_is_lost(run: Callable[..., None]) -> None:
    """An event shows an order before the time limit of the request and without a query."""

    async def body(pm: Sandbox, _: Client, live: LiveAccount) -> None:
        queries = len(pm.exchange.requests)
        pm.inject(Fault(method="POST", path="/papi/v1/um/order", drop=True))

        with anyio.fail_after(3):
            order = await live.um.new_order(**RESTING)

        assert order.status == "NEW"
        assert len(pm.exchange.requests) <= queries + 3
        await order.cancel()

    run(body)


def test_an_order_that_was_not_placed_raises(run: Callable[..., None]) -> None:
    """An order without an event or a query result raises four to ten seconds after the request has expired."""

    async def body(pm: Sandbox, _: Client, live: LiveAccount) -> None:
        pm.inject(Fault(method="POST", path="/papi/v1/um/order", drop=True, effect=False))

        with pytest.raises(PortfolioMarginError) as raised:
            await live.um.new_order(**RESTING, recv_window=1000)

        assert raised.value.resolved is not None
        assert raised.value.resolved.state == "not_found"
        assert raised.value.resolved.seconds >= 4

    run(body)


def test_a_refused_order_raises_at_once(run: Callable[..., None]) -> None:
    """After a refusal, the order is not queried."""

    async def body(_: Sandbox, __: Client, live: LiveAccount) -> None:
        with pytest.raises(RequestRejected), anyio.fail_after(3):
            await live.um.new_order(**UNPRICED, check=False)

    run(body)


def test_a_stream_is_a_second_source_for_resolve(run: Callable[..., None]) -> None:
    """`Client.resolve` uses the events of the open stream of the account."""

    async def body(pm: Sandbox, client: Client, _: LiveAccount) -> None:
        lost = Fault(method="POST", path="/papi/v1/um/order", drop=True)
        missing = Fault(method="GET", path="/papi/v1/um/order", status=400, code=-2013, msg="No.", times=None)
        pm.inject(lost, missing)
        with pytest.raises(PortfolioMarginError) as raised:
            await client.um.new_order(**RESTING)

        with anyio.fail_after(5):
            outcome = await client.resolve(raised.value)

        assert outcome.state == "done"
        assert outcome.result.client_order_id == raised.value.client_id
        pm.clear()
        await client.um.cancel_order("BTCUSDT", order_id=outcome.result.order_id)

    run(body)


def test_a_stream_is_a_second_source_for_a_cancel(run: Callable[..., None]) -> None:
    """The event of a cancel proves the cancel although no query responds."""

    async def body(pm: Sandbox, client: Client, _: LiveAccount) -> None:
        order = await client.um.new_order(**RESTING)
        lost = Fault(method="DELETE", path="/papi/v1/um/order", drop=True)
        failing = Fault(method="GET", path="/papi/v1/um/order", status=400, code=-2013, msg="No.", times=None)
        pm.inject(lost, failing)
        with pytest.raises(PortfolioMarginError) as raised:
            await client.options(attempts=1).um.cancel_order("BTCUSDT", order_id=order.order_id)

        with anyio.fail_after(5):
            outcome = await client.resolve(raised.value)

        assert (outcome.state, outcome.result.status) == ("done", "CANCELED")
        assert outcome.result.order_id == order.order_id

    run(body)


def test_is_not_current_while_the_stream_is_down(run: Callable[..., None]) -> None:
    """Changes during an outage are read before the account is current again."""

    async def body(pm: Sandbox, client: Client, live: LiveAccount) -> None:
        resting = await live.um.new_order(**RESTING)
        size = live.positions["BTCUSDT"].position_amt
        pm.inject(Fault(method="POST", path="/papi/v1/listenKey", status=503, effect=False, times=2))
        pm.exchange.streams.apply(StreamFault(kind="break"))
        await until(live, lambda: not live.is_current)
        await client.um.cancel_order("BTCUSDT", orig_client_order_id=resting.client_order_id)
        await client.um.new_order(**MARKET)
        assert live.positions["BTCUSDT"].position_amt == size

        await until(live, lambda: live.is_current)

        assert live.positions["BTCUSDT"].position_amt == size + Decimal("0.01")
        assert (await resting.ended()).status == "CANCELED"
        assert await differences(client, live) == []

    run(body)


def test_the_fills_of_a_gap_can_be_read(run: Callable[..., None]) -> None:
    """Fills that an event has delivered are not repeated."""

    async def body(pm: Sandbox, client: Client, live: LiveAccount) -> None:
        events = live.events()
        await (await live.um.new_order(**MARKET)).ended()
        pm.inject(Fault(method="POST", path="/papi/v1/listenKey", status=503, effect=False, times=2))
        pm.exchange.streams.apply(StreamFault(kind="break"))
        await until(live, lambda: not live.is_current)
        missed = await client.um.new_order(**MARKET)

        gap = None
        async for item in events:
            if isinstance(item, StreamGap):
                gap = item
                break
        assert gap is not None
        fills = [fill async for fill in live.missed_fills(gap)]
        again = [fill async for fill in live.missed_fills(gap)]

        assert [fill.order_id for fill in fills] == [missed.order_id]
        assert again == []

    run(body)


def test_a_slow_consumer_does_not_make_the_account_stale(run: Callable[..., None]) -> None:
    """A slow consumer receives one gap with the exact count, and the account has the newest balance."""

    async def body(pm: Sandbox, _: Client, live: LiveAccount) -> None:
        label, consumer = pm.accounts[0].label, live.events()
        now = int(pm.exchange.streams.now() * 1000)
        for number in range(1, 1001):
            wallet = {"a": "USDT", "wb": str(number), "cw": str(number), "bc": "0"}
            time = now + number
            update = {"m": "DEPOSIT", "B": [wallet], "P": []}
            pm.exchange.streams.push(label, {"e": "ACCOUNT_UPDATE", "fs": "UM", "T": time, "i": "", "a": update})
        await until(live, lambda: live.balances["USDT"].um_wallet_balance == 1000)
        assert live.is_current

        events = 0
        async for item in consumer:
            if isinstance(item, StreamGap):
                assert (item.why, item.lost, events) == ("consumer too slow", 900, 100)
                break
            assert not isinstance(item, StreamDown)
            events += 1

    run(body, settings=StreamSettings(queue_size=100))


def test_a_risk_event_reads_the_risk_figures(run: Callable[..., None]) -> None:
    """After a risk event, the risk figures are read until the state is normal."""

    async def body(pm: Sandbox, _: Client, live: LiveAccount) -> None:
        await live.changed()
        figures = {"u": "1.4", "eq": "1", "ae": "1", "m": "1"}
        pm.exchange.streams.push(pm.accounts[0].label, {"e": "riskLevelChange", "s": "MARGIN_CALL", **figures})

        with anyio.fail_after(5):
            changes = await live.changed()
            while changes.risk is None:
                changes = await live.changed()

        assert changes.risk.account_status == "NORMAL"

    run(body)


@pytest.mark.parametrize("is_down", [False, True])
def test_closing_the_client_ends_every_wait(run: Callable[..., None], is_down: bool) -> None:
    """Closing the client ends the waits for changes, for events, and for the end of an order."""

    async def body(pm: Sandbox, client: Client, live: LiveAccount) -> None:
        ended: list[SessionClosed] = []

        async def wait(what: Callable[[], Awaitable[Any]]) -> None:
            try:
                while True:
                    await what()
            except SessionClosed as error:
                ended.append(error)

        order = await live.um.new_order(**RESTING)
        if is_down:
            pm.inject(Fault(path="/papi/v1/listenKey", status=503, times=None))
            pm.exchange.streams.apply(StreamFault(kind="break"))
            await until(live, lambda: not live.is_current)
        with anyio.fail_after(2):
            async with anyio.create_task_group() as tasks:
                for what in (live.changed, aiter(live.events()).__anext__, order.ended):
                    tasks.start_soon(wait, what)
                await client.aclose()
        assert not live.is_current
        assert len(ended) == 3

    run(body)


def test_an_account_whose_events_are_not_read_keeps_none(run: Callable[..., None]) -> None:
    """Events that are not read use no memory, even if an account is open for months."""

    async def body(_: Sandbox, client: Client, live: LiveAccount) -> None:
        stream: Any = live._stream
        await (await live.um.new_order(**MARKET)).ended()
        assert stream.queued == 0

        events = live.events()
        order = await client.um.new_order(**RESTING)
        await client.um.cancel_order("BTCUSDT", order_id=order.order_id)
        assert isinstance(await anext(events), OrderTradeUpdate)

    run(body)


def test_two_accounts_of_a_client_follow_each_other(run: Callable[..., None]) -> None:
    """Each of two accounts has its own connection and shows the orders that the other has placed."""

    async def body(_: Sandbox, client: Client, live: LiveAccount) -> None:
        async with client.live_account({"um"}) as other:
            order = await live.um.new_order(**RESTING)
            await until(other, lambda: order.order.order_id in {one.order_id for one in other.open_orders})
            await client.um.cancel_order("BTCUSDT", order_id=order.order.order_id)
            await order.ended()
        assert live.is_current

    run(body)


def test_an_order_is_followed_although_its_id_is_used_again(run: Callable[..., None]) -> None:
    """The exchange accepts a client order id again when the first order with it has ended."""

    async def body(_: Sandbox, __: Client, live: LiveAccount) -> None:
        first = await live.um.new_order(**RESTING, new_client_order_id="again")
        with pytest.raises(RequestRejected):
            await live.um.new_order(**RESTING, new_client_order_id="again")
        await first.cancel()
        with anyio.fail_after(3):
            assert (await first.ended()).status == "CANCELED"

        second = await live.um.new_order(**RESTING, new_client_order_id="again")
        assert second.order.order_id != first.order.order_id
        await second.cancel()

    run(body)


def test_an_account_that_is_not_open_is_refused(pm: Sandbox) -> None:
    """An account that is not open raises instead of returning empty or old data."""

    async def main() -> None:
        async with pm.client(0) as client:
            live = client.live_account({"um"})
            await refused(live)
            async with live:
                assert live.balances
            await refused(live)
            with pytest.raises(SessionClosed):
                await anext(live.missed_fills(StreamGap(since=0, until=1, why="test")))

    async def refused(live: LiveAccount) -> None:
        for use in ("positions", "balances", "open_orders", "open_conditional_orders", "risk", "risk_age", "um"):
            with pytest.raises(SessionClosed):
                getattr(live, use)
        with pytest.raises(SessionClosed):
            await live.changed()
        assert not live.is_current

    anyio.run(main)


@pytest.mark.parametrize("options", [{"symbols": {"btcusdt"}}, {"symbols": {1}}, {"symbols": {""}}])
def test_symbols_that_no_order_has_are_refused(pm: Sandbox, options: dict[str, Any]) -> None:
    """Symbols that no order can have are refused."""
    with pytest.raises(ConfigurationError, match="symbols"):
        pm.client(0).live_account({"um"}, **options)


def test_a_symbol_that_is_unknown_is_an_error_on_entering(pm: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """The error is raised, and not logged as well."""

    async def main() -> None:
        async with pm.client(0) as client:
            with pytest.raises(RequestRejected):
                async with client.live_account({"um.orders"}, symbols={"NOPEUSDT"}):
                    raise AssertionError("not reached")

    anyio.run(main)

    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("seconds", [0, -1, "300", True, float("nan")])
def test_an_invalid_interval_is_refused(pm: Sandbox, seconds: Any) -> None:
    """An interval that is not a positive number is refused."""
    with pytest.raises(ConfigurationError, match="verify_every"):
        pm.client(0).live_account(verify_every=seconds)


def test_a_part_that_was_not_chosen_is_refused(run: Callable[..., None]) -> None:
    """A part that was not chosen raises instead of returning an empty result."""

    async def body(_: Sandbox, __: Client, live: LiveAccount) -> None:
        assert live.positions
        for use in ("open_orders", "open_conditional_orders", "risk", "um", "cm", "margin"):
            with pytest.raises(ConfigurationError):
                getattr(live, use)

    run(body, parts={"um.positions"})


def test_stale_responses_do_not_undo_events(run: Callable[..., None]) -> None:
    """A stale response does not undo an event that arrived earlier."""

    async def body(pm: Sandbox, client: Client, live: LiveAccount) -> None:
        await (await live.um.new_order(**MARKET)).ended()
        size = live.positions["BTCUSDT"].position_amt
        pm.inject(Fault(method="GET", stale=5, times=None))
        pm.exchange.streams.push(pm.accounts[0].label, b"not JSON")
        await until(live, lambda: not live.is_current)

        await until(live, lambda: live.is_current)

        assert live.positions["BTCUSDT"].position_amt == size
        pm.clear()
        assert await differences(client, live) == []

    run(body)
