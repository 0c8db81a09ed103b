"""On a socket, a stream follows the websocket protocol unless a fault says otherwise."""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, InvalidStatus

from binance_pm.sandbox import Exchange, StreamFault, StreamRules, serve
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

    from websockets.asyncio.client import ClientConnection

    from binance_pm.sandbox.stream_faults import ConnectionFault

EVENT = {"e": "balanceUpdate", "E": 1, "a": "BTC", "d": "1", "U": 1, "T": 1}
OTHER = {"e": "liabilityChange", "E": 1, "a": "BTC", "t": "BORROW", "T": 1, "p": "1", "i": "0", "l": "1"}
LABEL = "account-01"
FAST = StreamRules(tick=0.01, messages=None)


class Server(NamedTuple):
    """An exchange on a socket."""

    exchange: Exchange
    url: str

    def key(self, path: str = "/papi/v1/listenKey") -> str:
        """Return the listen key of the first account."""
        headers = {"X-MBX-APIKEY": self.exchange.accounts[0].api_key}
        return httpx.post(self.url + path, headers=headers).json()["listenKey"]

    @asynccontextmanager
    async def connected(self, path: str = "", **options: Any) -> AsyncGenerator[ClientConnection]:
        """Return a connection that the exchange has accepted; by default, its path has the listen key."""
        before = self.exchange.streams.open_connections
        address = self.url.replace("http", "ws", 1) + (path or f"/pm/ws/{self.key()}")
        options = {"compression": None, "ping_interval": None, "close_timeout": 0.5, "proxy": None} | options
        async with connect(address, **options) as stream:
            await eventually(lambda: self.exchange.streams.open_connections > before)
            yield stream

    def push(self, *events: dict[str, Any]) -> None:
        """Push events to the first account."""
        for event in events:
            self.exchange.streams.push(LABEL, event)

    def apply(self, kind: ConnectionFault, **options: Any) -> None:
        """Apply a fault to every connection."""
        self.exchange.streams.apply(StreamFault(kind=kind, **options))


@pytest.fixture
def server() -> Generator[Server]:
    """An exchange whose market does not move."""
    exchange = Exchange(accounts=1, streams=FAST, liquidation=False)
    with serve(exchange) as url:
        yield Server(exchange, url)


async def received(stream: ClientConnection, count: int) -> list[str]:
    """Return the event types of the next messages."""
    async with asyncio.timeout(10):
        return [json.loads(await stream.recv())["e"] for _ in range(count)]


async def is_answered(stream: ClientConnection, seconds: float = 10.0) -> bool:
    """Whether a ping is answered in time."""
    try:
        async with asyncio.timeout(seconds):
            await (await stream.ping())
    except TimeoutError:
        return False
    return True


async def test_a_stream_follows_its_key(server: Server) -> None:
    """An event of the account arrives as the exchange wrote it."""
    async with server.connected() as stream:
        server.push(EVENT)

        assert json.loads(await stream.recv()) == EVENT
        assert await is_answered(stream)


async def test_a_pro_stream_has_its_own_route(server: Server) -> None:
    """The figures of a Pro account are pushed at once, and then every five seconds."""
    key = server.key("/fapi/v1/listenKey")
    async with server.connected(f"/pm-classic/ws/{key}") as stream:
        assert await received(stream, 1) == ["PM_PRO_ACCOUNT_UPDATE"]


async def test_keys_are_subscribed_to(server: Server) -> None:
    """Subscription requests are answered, and events are wrapped with their key."""
    key = server.key()
    async with server.connected("/pm/stream") as stream:
        replies: list[Any] = []
        for request in (
            {"method": "SUBSCRIBE", "params": [key], "id": "one"},
            {"method": "LIST_SUBSCRIPTIONS", "id": 2},
        ):
            await stream.send(json.dumps(request))
            replies.append(json.loads(await stream.recv()))
        server.push(EVENT)
        wrapped = json.loads(await stream.recv())
        for text in (json.dumps({"method": "UNSUBSCRIBE", "params": [key], "id": 3}), "nonsense"):
            await stream.send(text)
            replies.append(json.loads(await stream.recv()))

    assert replies[:3] == [{"result": None, "id": "one"}, {"result": [key], "id": 2}, {"result": None, "id": 3}]
    assert replies[3]["error"]["msg"] == "Invalid JSON"
    assert wrapped == {"stream": key, "data": EVENT}


async def test_an_unknown_key_connects_and_stays_silent(server: Server) -> None:
    """A connection with an unknown key stays silent but answers pings."""
    async with server.connected("/pm/ws/unknown") as stream:
        server.key()
        server.push(EVENT)

        assert await is_answered(stream)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await stream.recv()


async def test_another_path_is_refused(server: Server) -> None:
    """Another path is answered with 404, and the server continues."""
    with pytest.raises(InvalidStatus) as refused:
        async with server.connected("/ws/abc"):
            pass

    assert refused.value.response.status_code == 404
    assert len(server.key()) == 64


async def test_an_order_reaches_every_connection(server: Server) -> None:
    """An event of an order reaches every connection of its key, on both routes."""
    key = server.key()
    async with server.connected() as plain, server.connected(f"/pm/stream?streams={key}") as wrapped:
        server.push(EVENT)

        assert json.loads(await wrapped.recv())["data"] == json.loads(await plain.recv())


async def test_a_broken_connection_ends_without_a_close_frame(server: Server) -> None:
    """A broken connection ends without a close frame, and the exchange removes the connection."""
    async with server.connected() as stream:
        server.apply("break")

        with pytest.raises(ConnectionClosedError) as closed:
            await stream.recv()
        assert closed.value.rcvd is None
    await eventually(lambda: server.exchange.streams.open_connections == 0)


async def test_a_close_frame_has_code_and_reason(server: Server) -> None:
    """The server sends a close frame with code and reason, and the closing handshake completes."""
    async with server.connected() as stream:
        server.apply("close", code=1012, reason="restart")

        with pytest.raises(ConnectionClosed) as closed:
            await stream.recv()
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1012, "restart")
    await eventually(lambda: server.exchange.open_connections == 0)


async def test_a_half_open_connection_stays_open_and_silent(server: Server) -> None:
    """A half-open connection sends neither events, pongs nor a close frame."""
    async with server.connected() as stream:
        server.apply("half_open")
        server.push(EVENT)

        assert not await is_answered(stream, 0.2)
        assert stream.state.name == "OPEN"
        assert server.exchange.streams.open_connections == 1
        stream.transport.abort()


async def test_a_silent_connection_answers_pings(server: Server) -> None:
    """A silent connection answers pings, but drops events until the fault is healed."""
    async with server.connected() as stream:
        server.apply("silent")
        server.push(EVENT)
        answered = await is_answered(stream)
        server.apply("heal")
        server.push(OTHER)

        assert answered
        assert await received(stream, 1) == ["liabilityChange"]


async def test_silence_may_end_by_itself(server: Server) -> None:
    """Silence with a duration ends by itself."""
    async with server.connected() as stream:
        server.apply("silent", seconds=0.05)
        server.push(EVENT)
        await is_answered(stream)
        await asyncio.sleep(0.1)
        server.push(OTHER)

        assert await received(stream, 1) == ["liabilityChange"]


async def test_a_slow_connection_keeps_the_order(server: Server) -> None:
    """A slow connection delays events, but not pongs, and keeps their order."""
    loop = asyncio.get_running_loop()
    async with server.connected() as stream:
        server.apply("slow", seconds=0.3)
        started = loop.time()
        server.push(EVENT, OTHER, EVENT)
        answered = await is_answered(stream, 0.25)
        kinds = await received(stream, 3)

    assert answered
    assert loop.time() - started >= 0.3
    assert kinds == ["balanceUpdate", "liabilityChange", "balanceUpdate"]


async def test_events_are_duplicated_reordered_and_cut(server: Server) -> None:
    """Each fault applies to as many events as the fault says."""
    async with server.connected() as stream:
        server.apply("duplicate")
        server.push(EVENT, OTHER)
        twice = await received(stream, 3)
        server.apply("reorder")
        server.push(EVENT, OTHER)
        swapped = await received(stream, 2)
        server.apply("reorder", seconds=0.05)
        server.push(EVENT)
        released = await received(stream, 1)
        server.apply("garbage")
        server.push(EVENT, OTHER)
        cut = await stream.recv()

        assert twice == ["balanceUpdate", "balanceUpdate", "liabilityChange"]
        assert swapped == ["liabilityChange", "balanceUpdate"]
        assert released == ["balanceUpdate"]
        with pytest.raises(json.JSONDecodeError):
            json.loads(cut)
        assert await received(stream, 1) == ["liabilityChange"]


async def test_a_client_detects_a_bad_frame(server: Server) -> None:
    """A client ends the connection after a bad frame because of a protocol error."""
    async with server.connected() as stream:
        server.apply("bad_frame")

        with pytest.raises(ConnectionClosedError) as closed:
            await stream.recv()
        assert closed.value.sent is not None
        assert closed.value.sent.code == 1002


async def test_pings_may_stay_unanswered(server: Server) -> None:
    """With the fault, pings are not answered while events are still sent."""
    async with server.connected() as stream:
        server.apply("no_pongs")
        server.push(EVENT)

        assert await received(stream, 1) == ["balanceUpdate"]
        assert not await is_answered(stream, 0.1)
        server.apply("heal")
        assert await is_answered(stream)


async def test_a_shutdown_is_announced(server: Server) -> None:
    """A shutdown is announced with an event in the wrapper of the server."""
    async with server.connected() as stream:
        server.apply("shutdown")

        assert json.loads(await stream.recv())["event"]["e"] == "serverShutdown"


class Counted(logging.Handler):
    """A log handler that counts the pings that a client has received."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.pings = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Count a ping."""
        self.pings += "< PING" in record.getMessage()


async def test_the_server_sends_pings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server sends a ping every 180 seconds of its clock, unless a fault prevents this."""
    now = [1_800_000_000.0]
    exchange = Exchange(accounts=1, clock=lambda: now[0], streams=FAST)
    logger, counted = logging.getLogger("tests.client"), Counted()
    monkeypatch.setattr(logger, "handlers", [counted])
    logger.setLevel(logging.DEBUG)
    with serve(exchange) as url:
        server = Server(exchange, url)
        async with server.connected(logger=logger) as stream:
            for minute in range(1, 4):
                now[0] += 185
                await eventually(lambda: counted.pings == minute)  # noqa: B023 - called at once
                assert await is_answered(stream)
            server.apply("no_pings")
            now[0] += 185
            await asyncio.sleep(0.1)

    assert counted.pings == 3


async def test_a_client_that_answers_no_ping_is_dropped() -> None:
    """The server drops a client after ten minutes without a pong."""
    now = [1_800_000_000.0]
    exchange = Exchange(accounts=1, clock=lambda: now[0], streams=FAST)
    with serve(exchange) as url:
        server = Server(exchange, url)
        async with server.connected() as stream:
            stream.transport.pause_reading()
            now[0] += 185
            await asyncio.sleep(0.1)
            now[0] += 590
            await asyncio.sleep(0.1)
            before = exchange.streams.open_connections
            now[0] += 20
            await eventually(lambda: exchange.streams.open_connections == 0)

    assert before == 1


async def test_a_client_that_sends_too_much_is_disconnected() -> None:
    """A client that sends more than ten messages in a second, pings included, is disconnected."""
    exchange = Exchange(accounts=1)
    with serve(exchange) as url:
        server = Server(exchange, url)
        async with server.connected() as stream:
            for _ in range(11):
                await stream.ping()

            with pytest.raises(ConnectionClosed) as closed:
                await stream.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008


async def test_the_shutdown_of_the_server_ends_every_connection() -> None:
    """The end of the server ends every connection, including half-open ones."""
    exchange = Exchange(accounts=1, streams=FAST)
    with serve(exchange) as url:
        server = Server(exchange, url)
        streams = [server.connected() for _ in range(2)]
        opened = [await stream.__aenter__() for stream in streams]
        exchange.streams.apply(StreamFault(kind="half_open", connections="oldest"))
    for stream in opened:
        with pytest.raises(ConnectionClosedError):
            await stream.recv()
    for stream in streams:
        await stream.__aexit__(None, None, None)

    assert (exchange.open_connections, exchange.streams.open_connections) == (0, 0)
    assert exchange.streams.push(LABEL, EVENT) == 0


async def test_no_log_shows_the_key(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """At DEBUG, neither the library nor the server logs the path of the connection."""
    quiet = logging.getLogger("tests.quiet")
    quiet.disabled = True
    caplog.set_level(logging.DEBUG)
    logging.getLogger("httpx").setLevel(logging.CRITICAL)
    key = server.key()
    async with server.connected(logger=quiet) as stream:
        server.push(EVENT)
        await stream.recv()

    assert key not in caplog.text
