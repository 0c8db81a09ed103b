"""Third-party clients receive every event of a scripted day as the sandbox pushed the event."""

# Only the nox session installs these clients, so their types are unknown elsewhere.
# pyright: basic, reportMissingImports=false

from __future__ import annotations

import asyncio
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import ccxt.pro
import pytest
from binance_common.configuration import ConfigurationRestAPI, ConfigurationWebSocketStreams
from binance_sdk_derivatives_trading_portfolio_margin import DerivativesTradingPortfolioMargin
from binance_sdk_derivatives_trading_portfolio_margin_pro import DerivativesTradingPortfolioMarginPro

from tests.interop.day import listen_key, scripted_day
from tests.interop.test_ccxt import options
from tests.interop.test_ccxt_unified import Unified
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from tests.interop.conftest import Served

with warnings.catch_warnings():
    # python-binance still imports names of a deprecated interface of websockets.
    warnings.filterwarnings("ignore", r"websockets\.", DeprecationWarning)
    from binance import AsyncClient, BinanceSocketManager

EVERY = {
    "ACCOUNT_CONFIG_UPDATE",
    "ACCOUNT_UPDATE",
    "ALGO_UPDATE",
    "CONDITIONAL_ORDER_TRADE_UPDATE",
    "ORDER_TRADE_UPDATE",
    "balanceUpdate",
    "executionReport",
    "liabilityChange",
    "listStatus",
    "listenKeyExpired",
    "openOrderLoss",
    "outboundAccountPosition",
    "riskLevelChange",
}


def address(served: Served) -> str:
    """The address for websockets."""
    return served.url.replace("http", "ws", 1)


def read_by_sdk(event: Any) -> dict[str, Any]:
    """Return what the official SDK has read of an event: a model of its own, or the payload if it has no model."""
    inner = event.actual_instance
    return inner if isinstance(inner, dict) else inner.to_dict()


async def test_the_official_sdk_receives_every_event(trading: Served) -> None:
    """The official SDK subscribes on `/pm/stream` and receives each event as its own model or unchanged."""
    trading.client = "official SDK, streams"
    account, seen = trading.account, []
    sdk = DerivativesTradingPortfolioMargin(
        config_rest_api=ConfigurationRestAPI(account.api_key, account.api_secret, base_path=trading.url),
        config_ws_streams=ConfigurationWebSocketStreams(stream_url=f"{address(trading)}/pm"),
    )
    key = (await asyncio.to_thread(sdk.rest_api.start_user_data_stream)).data().listen_key
    connection = await sdk.websocket_streams.create_connection()
    try:
        stream = await connection.user_data(key)
        stream.on("message", seen.append)
        async with scripted_day(trading, key) as day:
            await day.run(lambda: len(seen))
            events = day.events
    finally:
        await connection.close_connection(close_session=True)

    assert {event["e"] for event in events} == EVERY
    # Its models have no field for the type of the event, and leave out what is null.
    told = [{name: value for name, value in event.items() if value is not None} for event in events]
    assert [read_by_sdk(event) | {"e": one["e"]} for event, one in zip(seen, told, strict=True)] == told


async def test_the_official_sdk_receives_a_pro_account(trading: Served) -> None:
    """The official SDK subscribes on `/pm-classic/stream` and receives the figures of a Pro account."""
    trading.client, seen = "official SDK, streams", []
    key = listen_key(trading, "pro")
    sdk = DerivativesTradingPortfolioMarginPro(
        config_ws_streams=ConfigurationWebSocketStreams(stream_url=f"{address(trading)}/pm-classic")
    )
    connection = await sdk.websocket_streams.create_connection()
    try:
        (await connection.user_data(key)).on("message", seen.append)
        await eventually(lambda: seen)
        level = {"e": "RISK_LEVEL_CHANGE", "u": "1.18", "s": "REDUCE_ONLY", "eq": "3", "ae": "4", "m": "2"}
        trading.exchange.streams.push(trading.account.label, level, product="pro")
        await eventually(lambda: any(read_by_sdk(event).get("s") == "REDUCE_ONLY" for event in seen))
    finally:
        await connection.close_connection(close_session=True)

    assert read_by_sdk(seen[0]).keys() >= {"u", "eq", "ae", "im", "mm", "avb", "vmw"}


async def test_python_binance_receives_every_event(trading: Served) -> None:
    """python-binance passes on each event unchanged."""
    trading.client = "python-binance, streams"
    account, seen = trading.account, []
    client = AsyncClient(account.api_key, account.api_secret)
    client.PAPI_URL = f"{trading.url}/papi"
    manager = BinanceSocketManager(client)
    manager.FSTREAM_URL = f"{address(trading)}/"

    async def read(socket: Any) -> None:
        while True:
            seen.append(await socket.recv())

    try:
        async with manager.portfolio_margin_socket() as socket:
            reader = asyncio.create_task(read(socket))
            async with scripted_day(trading, listen_key(trading)) as day:
                await day.run(lambda: len(seen))
                events = day.events
            reader.cancel()
            with suppress(asyncio.CancelledError):
                await reader
    finally:
        await client.close_connection()

    assert seen == events


class RecordingCcxt(ccxt.pro.binance):
    """ccxt, which keeps each message that it has read."""

    def handle_message(self, client: Any, message: Any) -> None:
        """Keep a message, and let ccxt handle it."""
        self.seen: list[Any] = [*getattr(self, "seen", []), message]
        super().handle_message(client, message)


async def test_ccxt_receives_every_event(trading: Served) -> None:
    """Each event is read by ccxt, which keeps orders in their final state."""
    trading.client = "ccxt pro"
    account = trading.account
    settings = options(trading, account.api_key, account.api_secret)
    # Its snapshots send a parameter that the exchange does not document.
    no_snapshots = {"fetchPositionsSnapshot": False, "fetchBalanceSnapshot": False}
    settings["options"] = {"defaultType": "swap", "watchPositions": no_snapshots, "watchBalance": no_snapshots}
    async with RecordingCcxt(settings) as client:
        client.urls["api"]["ws"]["papi"] = f"{address(trading)}/pm/ws"
        client.seen = []
        Unified(client, trading)
        watching = asyncio.create_task(client.watch_orders(None, None, None, {"portfolioMargin": True}))
        async with scripted_day(trading, listen_key(trading)) as day:
            await day.run(lambda: len(client.seen))
            events = day.events
            orders = await watching

    assert client.seen == events
    assert orders[0]["info"]["s"] == "BTCUSDT"
    assert {order["status"] for order in client.orders} == {"closed", "canceled"}


@pytest.fixture(autouse=True)
def foreign_warnings() -> None:
    """Ignore the warnings of third-party clients."""
    warnings.simplefilter("ignore")
