"""What happens in a gap just after an event is known as soon as the live account is current."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from decimal import Decimal
from typing import Any, Literal

import anyio
import pytest

from binance_pm import Client, SessionClosed
from binance_pm.stream.live import LiveAccount
from binance_pm.testing import Sandbox, StreamFault, running_sandbox

LOOPS: tuple[Literal["asyncio", "trio"], ...] = ("asyncio", "trio")
ORDER: dict[str, Any] = {"symbol": "BTCUSDT", "side": "BUY", "quantity": Decimal("0.01")}
RESTING: dict[str, Any] = ORDER | {"type": "LIMIT", "time_in_force": "GTC", "price": Decimal(55_000)}
Body = Callable[[Sandbox, Client, LiveAccount], Coroutine[Any, Any, None]]


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Generator[Callable[[Body], None]]:
    """Run a test with a live account of USD-M and margin."""

    def run_with(body: Body) -> None:
        async def main() -> None:
            with anyio.fail_after(30):
                async with pm.client() as client, client.live_account({"um", "margin"}) as live:
                    await body(pm, client, live)

        anyio.run(main, backend=request.param)

    with running_sandbox() as pm:
        yield run_with


async def current_again(live: LiveAccount) -> None:
    """Wait until a gap is over."""
    while live.is_current:
        await live.changed()
    while not live.is_current:
        await live.changed()


def test_a_cancel_after_the_event_of_the_order(run: Callable[[Body], None]) -> None:
    """An order that is missing from the list after a gap is queried."""

    async def body(pm: Sandbox, client: Client, live: LiveAccount) -> None:
        order = await live.um.new_order(**RESTING)
        pm.exchange.streams.apply(StreamFault(kind="break"))
        await client.um.cancel_order("BTCUSDT", order_id=order.order.order_id)
        await current_again(live)

        assert order.status == "CANCELED"
        assert order.order.order_id not in {one.order_id for one in live.open_orders}

    run(body)


def test_a_margin_balance_after_an_event_of_the_asset(run: Callable[[Body], None]) -> None:
    """A margin balance is read again after an event of the asset, because its row has no update time."""

    async def body(pm: Sandbox, client: Client, live: LiveAccount) -> None:
        order = await live.margin.new_order(**ORDER, type="MARKET")
        await order.ended()
        pm.exchange.streams.apply(StreamFault(kind="break"))
        await client.margin.new_order(**ORDER, type="MARKET")
        await current_again(live)

        free = {row.asset: row.cross_margin_free for row in await client.balance()}
        assert live.balances["BTC"].cross_margin_free == free["BTC"]

    run(body)


def test_a_cancel_on_margin_returns_the_cancelled_order(run: Callable[[Body], None]) -> None:
    """A cancel on margin returns the cancelled order although the response has no update time."""

    async def body(_: Sandbox, __: Client, live: LiveAccount) -> None:
        order = await live.margin.new_order(**RESTING)

        assert (await order.cancel()).status == "CANCELED"

    run(body)


def test_age_and_events_need_an_open_account(run: Callable[[Body], None]) -> None:
    """After the account was left, `age` and `events` raise."""

    async def body(_: Sandbox, client: Client, __: LiveAccount) -> None:
        async with client.live_account({"risk"}) as left:
            assert left.age >= 0

        with pytest.raises(SessionClosed):
            assert left.age
        with pytest.raises(SessionClosed):
            left.events()

    run(body)
