"""No listen key is in logs at DEBUG, exceptions, printed forms, metrics, or what the sandbox logs and records."""

from __future__ import annotations

import logging
import traceback
from collections.abc import AsyncIterator, Generator
from typing import Final

import anyio
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from binance_pm import Client
from binance_pm.errors import PortfolioMarginError
from binance_pm.metrics import Metrics
from binance_pm.sandbox.stream_faults import AccountFault, ConnectionFault
from binance_pm.stream.socket import SocketClosed
from binance_pm.stream.stream import EventStream
from binance_pm.testing import Fault, Sandbox, StreamFault, running_sandbox
from tests.integration.stream.conftest import FAST

FAULTS: Final[tuple[ConnectionFault | AccountFault, ...]] = (
    "garbage", "bad_frame", "close", "expire_key", "break", "delete_key", "half_open", "shutdown", "no_pongs",
    "duplicate",
)  # fmt: skip


class Shown:
    """Everything that was shown."""

    def __init__(self) -> None:
        self.texts: Final[list[str]] = []

    def add(self, *things: object) -> None:
        """Add both printed forms of things."""
        self.texts.extend(text for thing in things for text in (repr(thing), str(thing)))

    def add_error(self, error: BaseException) -> None:
        """Add an error with its traceback and attributes."""
        self.add(error, vars(error), "".join(traceback.format_exception(error)))

    async def read(self, items: AsyncIterator[object], seconds: float = 0.6) -> None:
        """Add what a stream yields for a while, and the error that ends it."""
        with anyio.move_on_after(seconds):
            try:
                async for item in items:
                    self.add(item)
            except PortfolioMarginError as error:
                self.add_error(error)


@pytest.fixture
def pm() -> Generator[Sandbox]:
    """A local exchange for one account."""
    with running_sandbox(accounts=1) as pm:
        yield pm


async def follow(pm: Sandbox, stream: EventStream, shown: Shown) -> None:
    """Apply every fault to a stream."""
    metrics = Metrics(CollectorRegistry())
    metrics.watch_stream(stream)
    async with stream as events:
        for fault in FAULTS:
            pm.exchange.streams.apply(StreamFault(kind=fault, account=stream.label, product=stream.product))
            await shown.read(events)
            supervisor = events._opened()
            shown.add(events, vars(events), vars(supervisor), vars(supervisor._keys))
            for connection in (supervisor._current, supervisor._next):
                if connection is not None:
                    shown.add(connection, vars(connection), connection.key, connection.key.secret)
    shown.add(generate_latest(metrics.registry).decode())


async def fail(pm: Sandbox, client: Client, shown: Shown) -> None:
    """Let connections and listen keys fail."""
    unreachable = pm.client(session=client.session, stream_url="ws://127.0.0.1:9")
    async with unreachable as lost, lost.stream(FAST) as events:
        await shown.read(events)
        shown.add(events, vars(events))
    pm.inject(Fault(method="POST", path="/papi/v1/listenKey", status=401, code=-2015, times=1))
    with pytest.raises(PortfolioMarginError) as refused:
        await client.stream(FAST).__aenter__()
    shown.add_error(refused.value)
    async with client.stream(FAST) as events:
        supervisor = events._opened()
        assert supervisor._current is not None
        async with supervisor._source.connect(supervisor._current.key.secret) as socket:
            socket.abort()
            with pytest.raises(SocketClosed) as closed:
                await socket.receive()
        shown.add_error(closed.value)
        await client.session.aclose()
        await shown.read(events)


async def use(pm: Sandbox, shown: Shown) -> None:
    """Apply all faults to the streams of both products."""
    async with pm.client() as client:
        for stream in (client.stream(FAST), client.pro.stream(FAST)):
            await follow(pm, stream, shown)
        await fail(pm, client, shown)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_no_listen_key_is_shown(
    pm: Sandbox, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], backend: str
) -> None:
    """No output shows a listen key under any fault of the streams of both products."""
    shown = Shown()
    caplog.set_level(logging.DEBUG)
    anyio.run(use, pm, shown, backend=backend)
    settings = pm.exchange.streams._states[pm.accounts[0].label].settings
    keys = {key for issued in settings.issued.values() for key in issued}
    shown.add(*pm.exchange.requests, pm.exchange.streams.state(), *capfd.readouterr())
    shown.add(*caplog.records, *map(vars, caplog.records), caplog.text)

    assert len(keys) > 2
    assert len(shown.texts) > 200
    assert [text for text in shown.texts if any(key in text for key in keys)] == []
