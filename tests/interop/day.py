"""A day of trading that pushes every kind of event, and the events that a client must have received."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from binance_pm import Client
from binance_pm.sandbox import StreamFault
from tests.support.followers import FakeFollower
from tests.support.paths import SAMPLES
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from binance_pm.sandbox.stream_faults import StreamProduct
    from tests.interop.conftest import Served

BTC = "BTCUSDT"
CM = "BTCUSD_PERP"
PUSHED = ("ACCOUNT_UPDATE--funding", "openOrderLoss", "riskLevelChange")
"""Samples of events that the day of trading does not cause."""


class Day(NamedTuple):
    """A scripted day on one account, whose stream a third-party client follows."""

    served: Served
    client: Client
    told: FakeFollower
    """The messages that the exchange pushed."""

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events that the exchange pushed, oldest first."""
        return [json.loads(message) for message in self.told.messages]

    async def run(self, received: Callable[[], int]) -> None:
        """Let everything happen, and wait until the client has received so many events as were pushed.

        The listen key expires at the end.
        """
        await self._futures()
        await self._margin()
        for name in PUSHED:
            sample = json.loads((SAMPLES / "streams" / f"{name}.json").read_text(encoding="utf-8"))
            self.served.exchange.streams.push(self.served.account.label, sample["message"])
        self.served.exchange.streams.apply(StreamFault(kind="expire_key"))
        await eventually(lambda: received() >= len(self.told.messages), seconds=20)

    async def _futures(self) -> None:
        um, cm, exchange = self.client.um, self.client.cm, self.served.exchange
        exchange.set_price(BTC, Decimal(60_000))
        await um.set_leverage(BTC, 10)
        order = await um.new_order(
            symbol=BTC, side="BUY", type="LIMIT", time_in_force="GTC", quantity="0.02", price="50000"
        )
        await um.modify_order(symbol=BTC, side="BUY", order_id=order.order_id, quantity="0.02", price="59000")
        stop = await um.new_algo_order(
            algo_type="CONDITIONAL", symbol=BTC, side="SELL", type="STOP_MARKET", quantity="0.01", trigger_price="58950"
        )
        await um.new_algo_order(
            algo_type="CONDITIONAL", symbol=BTC, side="SELL", type="STOP_MARKET", quantity="0.01", trigger_price="50000"
        )
        await cm.new_conditional_order(
            symbol=CM, side="SELL", strategy_type="STOP_MARKET", quantity="1", stop_price="58950"
        )
        exchange.set_price(BTC, Decimal(58_900))
        assert (await um.algo_order(algo_id=stop.algo_id)).algo_status == "FINISHED"
        other = await cm.new_order(
            symbol=CM, side="BUY", type="LIMIT", time_in_force="GTC", quantity="1", price="50000"
        )
        await cm.cancel_order(CM, order_id=other.order_id)
        await um.cancel_all_algo_orders(BTC)

    async def _margin(self) -> None:
        margin = self.client.margin
        await margin.borrow("USDT", "100")
        await margin.repay("USDT", "50")
        await margin.new_order(symbol=BTC, side="BUY", type="MARKET", quantity="0.01")
        oco = await margin.new_oco(symbol=BTC, side="BUY", quantity="0.01", price="58000", stop_price="60000")
        await margin.cancel_oco(BTC, order_list_id=oco.order_list_id)
        await self.client.asset_collection("USDT")


@asynccontextmanager
async def scripted_day(served: Served, key: str, *, product: StreamProduct = "pm") -> AsyncGenerator[Day]:
    """Return a day that begins when a third-party client has connected with the listen key of the account."""
    exchange, account = served.exchange, served.account
    await eventually(lambda: any(row["isActive"] for row in exchange.streams.state()))
    told = FakeFollower(key, product=product)
    exchange.streams.open(told)
    async with Client(account.api_key, account.api_secret, papi_url=served.url, label=account.label) as client:
        before = len(exchange.requests)
        yield Day(served, client, told)
        served.ours += len(exchange.requests) - before


def listen_key(served: Served, product: StreamProduct = "pm") -> str:
    """Return the listen key of the account."""
    name = "create_listen_key" if product == "pm" else "pro.create_listen_key"
    fields = served.exchange.respond(name, {}, served.account, served.exchange.now())
    return msgspec.convert(fields, dict[str, str])["listenKey"]
