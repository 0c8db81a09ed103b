"""The clients that are compared: each follows the user data streams of some accounts of the local exchange.

Run as ``python -m tests.benchmarks.streams.clients NAME LOOP``, with one line of JSON on standard input: ``url``,
``accounts`` (pairs of API key and secret), ``mode``, and ``options`` of `ours`. In the mode ``times``, each event and
each thing that the client tells its user is a line of JSON on standard output: the index of the account, the order id
or the words, and the time. In the mode ``cost``, each line on standard input is answered with the number of events, the
CPU seconds, the resident memory in kB, and for this package the rotations and reconnects.
"""

# Only a few nox sessions install the other clients, so their types are unknown elsewhere.
# pyright: basic, reportMissingImports=false

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import resource
import ssl
import sys
import threading
import time
import urllib.request
import warnings
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final, NamedTuple

Account = tuple[str, str]
"""API key and secret."""
EXPIRED: Final = "the event"
PM: Final = "/papi/v1/listenKey"


class Told(NamedTuple):
    """Where a client reports what its user receives."""

    event: Callable[[int, int], None]
    """Called with the index of the account and the id of the order of an event."""
    words: Callable[[int, str], None]
    """Called with the index of the account and what the user is told."""


Follow = Callable[..., Coroutine[Any, Any, None]]
_streams: Final[list[Any]] = []
"""The streams of this package."""


async def ours(url: str, accounts: list[Account], told: Told, **options: Any) -> None:
    """This package: typed events, `StreamDown` and `StreamGap`.

    Args:
        url: of the local exchange.
        accounts: the accounts.
        told: where to report.
        **options: `settings` of the streams, their URL (`stream_url`), the file of an `authority` for TLS, and `is_pro`
            for streams of Portfolio Margin Pro.
    """
    from binance_pm import Client, Session
    from binance_pm.api.futures_events import OrderTradeUpdate
    from binance_pm.api.stream_events import ListenKeyExpired, PmProAccountUpdate
    from binance_pm.stream.items import StreamDown, StreamGap
    from binance_pm.stream.policy import StreamSettings

    urls = {"papi_url": url, "sapi_url": url, "stream_url": options.get("stream_url")}
    settings = StreamSettings(**options.get("settings", {}))
    tls = ssl.create_default_context(cafile=options["authority"]) if "authority" in options else None

    async def follow(number: int, account: Account, session: Session) -> None:
        async with Client(*account, session=session, **urls) as client:
            place = client.pro if "is_pro" in options else client
            async with place.stream(settings) as events:
                _streams.append(events)
                async for item in events:
                    match item:
                        case OrderTradeUpdate():
                            told.event(number, item.order.order_id)
                        case PmProAccountUpdate():
                            told.event(number, sys.maxsize)
                        case ListenKeyExpired():
                            told.words(number, EXPIRED)
                        case StreamDown() | StreamGap():
                            told.words(number, type(item).__name__)
                        case _:
                            pass

    async with Session(tls=tls) as session:
        await asyncio.gather(*(follow(number, account, session) for number, account in enumerate(accounts)))


async def python_binance(url: str, accounts: list[Account], told: Told) -> None:
    """Dicts of text; errors are items of the same queue."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"websockets\.", DeprecationWarning)
        from binance import AsyncClient, BinanceSocketManager

    async def follow(number: int, account: Account) -> None:
        client: Any = AsyncClient(*account)
        client.PAPI_URL = f"{url}/papi"
        manager = BinanceSocketManager(client)
        manager.FSTREAM_URL = f"{url.replace('http', 'ws', 1)}/"
        while True:
            try:
                async with manager.portfolio_margin_socket() as socket:
                    while True:
                        event = await socket.recv()
                        if event.get("e") == "ORDER_TRADE_UPDATE":
                            told.event(number, event["o"]["i"])
                        else:
                            told.words(number, EXPIRED if event.get("e") == "listenKeyExpired" else "errors")
            except Exception:  # noqa: BLE001 - any error ends its read loop
                told.words(number, "exception")
                return

    await asyncio.gather(*(follow(number, account) for number, account in enumerate(accounts)))


async def ccxt(url: str, accounts: list[Account], told: Told) -> None:
    """Dicts of text in its unified form."""
    import ccxt.pro as library

    async def follow(number: int, account: Account, stack: AsyncExitStack) -> None:
        paths = {"papi": "papi/v1", "papiV2": "papi/v2", "public": "api/v3"}
        no_snapshots = {"fetchPositionsSnapshot": False, "fetchBalanceSnapshot": False}
        settings: Any = {
            "apiKey": account[0],
            "secret": account[1],
            "urls": {"api": {name: f"{url}/{path}" for name, path in paths.items()}},
            "timeout_on_exit": 0,
            "options": {"defaultType": "swap", "watchPositions": no_snapshots, "watchBalance": no_snapshots},
        }
        client = await stack.enter_async_context(library.binance(settings))
        client.urls["api"]["ws"]["papi"] = f"{url.replace('http', 'ws', 1)}/pm/ws"
        client.set_markets([client.parse_market(CCXT_MARKET)])
        while True:
            try:
                orders = await client.watch_orders(None, None, None, {"portfolioMargin": True})
            except Exception:  # noqa: BLE001 - it reports by exceptions
                told.words(number, "exception")
                await asyncio.sleep(0.1)
            else:
                for order in orders:
                    told.event(number, int(str(order["id"])))

    async with AsyncExitStack() as stack:
        await asyncio.gather(*(follow(number, account, stack) for number, account in enumerate(accounts)))


CCXT_MARKET: Final = {
    "symbol": "BTCUSDT",
    "baseAsset": "BTC",
    "quoteAsset": "USDT",
    "orderTypes": ["LIMIT"],
    "status": "TRADING",
    "contractStatus": "TRADING",
    "contractType": "PERPETUAL",
    "marginAsset": "USDT",
    "deliveryDate": 4133404800000,
    "filters": [
        {"filterType": "PRICE_FILTER", "tickSize": "0.1"},
        {"filterType": "LOT_SIZE", "stepSize": "0.001"},
    ],
}
"""The market that ccxt would read from the exchange's list of symbols, which the local exchange does not serve."""


async def official(url: str, accounts: list[Account], told: Told) -> None:
    """Models of text; events of the connection are callbacks."""
    from binance_common.configuration import ConfigurationRestAPI, ConfigurationWebSocketStreams
    from binance_sdk_derivatives_trading_portfolio_margin import DerivativesTradingPortfolioMargin

    def reader(number: int) -> Callable[[Any], None]:
        def read(event: Any) -> None:
            inner = event.actual_instance
            if getattr(inner, "o", None) is not None and hasattr(inner.o, "i"):
                told.event(number, inner.o.i)
            else:
                told.words(number, EXPIRED)

        return read

    async def follow(number: int, account: Account) -> None:
        sdk = DerivativesTradingPortfolioMargin(
            config_rest_api=ConfigurationRestAPI(*account, base_path=url),
            config_ws_streams=ConfigurationWebSocketStreams(stream_url=f"{url.replace('http', 'ws', 1)}/pm"),
        )
        key: Any = (await asyncio.to_thread(sdk.rest_api.start_user_data_stream)).data().listen_key
        connection: Any = await sdk.websocket_streams.create_connection()
        for kind in ("close", "error", "reconnect"):
            connection.on_connection(kind, lambda *_, kind=kind: told.words(number, f"{kind} event"))
        (await connection.user_data(key)).on("message", reader(number))

    await asyncio.gather(*(follow(number, account) for number, account in enumerate(accounts)))
    await asyncio.Event().wait()


async def raw(url: str, accounts: list[Account], told: Told) -> None:
    """A protocol of asyncio and a decoder of msgspec: the reference."""
    import msgspec

    from binance_pm.api.futures_events import OrderTradeUpdate

    decode = msgspec.json.Decoder(OrderTradeUpdate).decode
    place = url.removeprefix("http://")
    host, _, port = place.partition(":")
    for number, account in enumerate(accounts):
        request = urllib.request.Request(url + PM, method="POST", headers={"X-MBX-APIKEY": account[0]})  # noqa: S310 - loopback
        with await asyncio.to_thread(urllib.request.urlopen, request) as response:
            key = json.load(response)["listenKey"]

        def receive(message: bytes, number: int = number) -> None:
            told.event(number, decode(message).order.order_id)

        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda key=key: RawSocket(place, f"/pm/ws/{key}", receive), host, int(port))
    await asyncio.Event().wait()


class RawSocket(asyncio.Protocol):
    """A websocket that reads unfragmented frames of a server, and answers nothing.

    Args:
        place: host and port.
        path: the path with the listen key.
        receive: called with each message.
    """

    def __init__(self, place: str, path: str, receive: Callable[[bytes], None]) -> None:
        self._receive: Final = receive
        nonce = base64.b64encode(os.urandom(16)).decode()
        self._request: Final = (
            f"GET {path} HTTP/1.1\r\nHost: {place}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {nonce}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        ).encode()
        self._buffer: bytes = b""
        self._is_open: bool = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the websocket."""
        assert isinstance(transport, asyncio.Transport)
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Pass on each complete message."""
        buffer = self._buffer + data if self._buffer else data
        if not self._is_open:
            _, end, buffer = buffer.partition(b"\r\n\r\n")
            self._is_open = bool(end)
        at = 0
        while len(buffer) - at >= 2:
            size, begins = buffer[at + 1], at + 2
            if size == 126:
                size, begins = int.from_bytes(buffer[at + 2 : at + 4], "big"), at + 4
            if len(buffer) < begins + size:
                break
            if buffer[at] == 0x81:
                self._receive(buffer[begins : begins + size])
            at = begins + size
        self._buffer = buffer[at:]


CLIENTS: Final[dict[str, Follow]] = {
    "raw protocol": raw,
    "binance_pm": ours,
    "python-binance": python_binance,
    "ccxt pro": ccxt,
    "official Python": official,
}


def tell_times(number: int, what: int | str) -> None:
    """Print an event or what the user is told."""
    print(json.dumps([number, what, time.time()]), flush=True)


def resident() -> float:
    """Return the resident memory of this process in kB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 1000


def counting() -> Told:
    """Return a report that only counts, and answers each line on standard input."""
    events = 0

    def count(_: int, __: int) -> None:
        nonlocal events
        events += 1

    def answer() -> None:
        for _ in sys.stdin:
            usage = resource.getrusage(resource.RUSAGE_SELF)
            rotations = min((stream.counts.rotations for stream in _streams), default=0)
            reconnects = sum(stream.counts.reconnects for stream in _streams)
            print(json.dumps([events, usage.ru_utime + usage.ru_stime, resident(), rotations, reconnects]), flush=True)

    threading.Thread(target=answer, daemon=True).start()
    return Told(count, lambda *_: None)


def main(name: str, loop: str) -> None:
    """Follow the streams until the process is killed."""
    given = json.loads(sys.stdin.readline())
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    told = Told(tell_times, tell_times) if given["mode"] == "times" else counting()
    factory = asyncio.new_event_loop
    if loop == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(CLIENTS[name](given["url"], given["accounts"], told, **given["options"]))


if __name__ == "__main__":
    main(*sys.argv[1:])
