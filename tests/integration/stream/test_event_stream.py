"""The stream of a client against the local exchange, as a program sees the stream."""

from __future__ import annotations

import logging
from collections.abc import Generator
from typing import Any

import anyio
import httpx
import pytest
from prometheus_client import CollectorRegistry

from binance_pm import AuthenticationError, Budget, Client, ConfigurationError, Session, SessionClosed
from binance_pm.api.futures_events import AccountConfigUpdate, OrderTradeUpdate
from binance_pm.api.stream_events import PmProAccountUpdate
from binance_pm.metrics import Metrics
from binance_pm.stream.items import StreamDown, StreamGap, StreamItem, StreamUp
from binance_pm.stream.policy import StreamSettings
from binance_pm.stream.queue import TOO_SLOW
from binance_pm.stream.stream import EventStream
from binance_pm.testing import Fault, Sandbox, StreamFault, StreamRules, running_sandbox
from tests.integration.stream.conftest import FAST, Run
from tests.support.streams import order_event
from tests.support.waiting import eventually

ACCOUNT = 11


@pytest.fixture(scope="module")
def pm() -> Generator[Sandbox, None, None]:
    """A local exchange for all tests."""
    with running_sandbox(streams=StreamRules(pro_update=0.1, messages=None)) as sandbox:
        yield sandbox


@pytest.fixture(autouse=True)
def unchanged(pm: Sandbox) -> None:
    """Remove the faults of other tests."""
    pm.clear()
    pm.exchange.streams.delivery = "all"


async def next_of(events: EventStream, *kinds: type[Any]) -> Any:
    """Return the next item of some types."""
    async for item in events:
        if isinstance(item, kinds):
            return item
    raise AssertionError("the stream has ended")


def test_events_are_typed_and_losses_are_reported(run: Run, pm: Sandbox) -> None:
    """A change by REST arrives as an event; a broken connection yields `StreamDown`, `StreamGap`, and then events."""

    async def test() -> None:
        async with pm.client(ACCOUNT) as client, client.stream(FAST) as events:
            assert repr(events) == f"EventStream({client.label}, pm, up)"
            await client.um.set_leverage("BTCUSDT", 9)
            update = await next_of(events, AccountConfigUpdate)
            assert (update.config.symbol, update.config.leverage) == ("BTCUSDT", 9)
            pm.exchange.streams.apply(StreamFault(kind="break", account=client.label))
            down = await next_of(events, StreamDown)
            gap = await next_of(events, StreamGap)
            assert (down.why, down.since) == (gap.why, gap.since)
            assert gap.since < gap.until
            await client.um.set_leverage("BTCUSDT", 10)
            assert (await next_of(events, AccountConfigUpdate)).config.leverage == 10
            assert events.age < 5
            assert events.counts.reconnects == 1
        assert not events.is_up
        with pytest.raises(StopAsyncIteration):
            await anext(events)

    run(test)


def test_no_stream_deletes_or_extends_the_key_of_the_account(run: Run, pm: Sandbox) -> None:
    """If one of two programs of an account ends, the other still receives events."""

    def sent() -> list[tuple[str, str]]:
        return [(one.method, one.path) for one in pm.exchange.requests[before:] if "listenKey" in one.path]

    async def test() -> None:
        async with pm.client(ACCOUNT) as one, one.stream(FAST) as stays:
            async with pm.client(ACCOUNT) as other, other.stream(FAST):
                pass
            await one.um.set_leverage("BTCUSDT", 8)
            assert isinstance(await anext(stays), AccountConfigUpdate)
            await eventually(lambda: len(sent()) >= 4)

    before = len(pm.exchange.requests)
    run(test)
    assert set(sent()) == {("POST", "/papi/v1/listenKey")}


def test_the_pro_stream_has_its_own_key_and_address(run: Run, pm: Sandbox) -> None:
    """The Pro stream yields the figures of the account, and is down if the figures stop."""

    async def test() -> None:
        async with pm.client(ACCOUNT) as client, client.pro.stream(FAST) as events:
            assert (await next_of(events, PmProAccountUpdate)).account_equity > 0
            silent = StreamFault(kind="silent", account=client.label, product="pro")
            pm.exchange.streams.apply(silent)
            assert "PmProAccountUpdate" in (await next_of(events, StreamDown)).why
            await next_of(events, StreamGap)
            await next_of(events, PmProAccountUpdate)

    run(test)
    assert any(request.path == "/fapi/v1/listenKey" for request in pm.exchange.requests)


def test_an_account_without_permission_is_an_error_on_entering(run: Run, pm: Sandbox) -> None:
    """Entering raises the error of the call, not an exception group."""

    async def test() -> None:
        async with Client("unknown" * 9, "secret", papi_url=pm.base_url, session=pm.session()) as client:
            with pytest.raises(AuthenticationError):
                async with client.stream(FAST):
                    raise AssertionError("not reached")

    run(test)


def test_an_error_of_the_body_is_raised_as_it_is(run: Run, pm: Sandbox) -> None:
    """An error of the body is not wrapped in an exception group."""

    async def test() -> None:
        async with pm.client(ACCOUNT) as client:
            with pytest.raises(ZeroDivisionError):
                async with client.stream(FAST):
                    raise ZeroDivisionError

    run(test)


def test_a_stream_that_is_closed_while_it_confirms_its_key_logs_no_warning(
    run: Run, pm: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """The key may be asked for again: the lost response means nothing."""

    def posts() -> int:
        return [request.path for request in pm.exchange.requests].count("/papi/v1/listenKey")

    async def test() -> None:
        async with pm.client(ACCOUNT) as client, client.stream(FAST):
            pm.inject(Fault(method="POST", path="/papi/v1/listenKey", drop=True, delay_after=10))
            before = posts()
            await eventually(lambda: posts() > before)

    run(test)

    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("what", ["client", "session"])
@pytest.mark.parametrize("fault", [None, "break", "half_open"])
def test_a_closed_client_or_session_ends_the_iteration_at_once(run: Run, pm: Sandbox, what: str, fault: Any) -> None:
    """The consumer receives `StreamDown` and then the error, whether the stream is up or down."""

    async def test() -> None:
        # Neither a confirmation nor a ping tells within the test.
        rare = StreamSettings()
        async with (
            pm.session() as session,
            pm.client(ACCOUNT, session=session) as client,
            client.stream(rare) as events,
        ):
            if fault is not None:
                pm.inject(Fault(path="/papi/v1/listenKey", status=503, times=None))
                pm.exchange.streams.apply(StreamFault(kind=fault, account=client.label))
            if fault == "break":
                await next_of(events, StreamDown)
            await (client if what == "client" else session).aclose()
            with anyio.fail_after(1), pytest.raises(SessionClosed) as raised:
                await next_of(events)
            assert not events.is_up
            assert what in raised.value.reason

    run(test)


def test_a_stream_is_entered_once(run: Run, pm: Sandbox) -> None:
    """A stream can be entered a second time neither while it is open nor afterwards."""

    async def test() -> None:
        async with pm.client(ACCOUNT) as client:
            async with client.stream(FAST) as events:
                with pytest.raises(SessionClosed, match="is open"):
                    await events.__aenter__()
                await client.um.set_leverage("BTCUSDT", 7)
                assert isinstance(await anext(events), AccountConfigUpdate)
            with pytest.raises(SessionClosed, match="was closed"):
                await events.__aenter__()

    run(test)


def test_two_consumers_share_the_events_of_a_stream(run: Run, pm: Sandbox) -> None:
    """Each event is yielded once and in order, even after a consumer has left its loop."""

    async def test() -> None:
        got: list[int] = []

        async def consume(events: EventStream, most: int) -> None:
            async for item in events:
                assert isinstance(item, OrderTradeUpdate)
                got.append(item.order.order_id)
                if len(got) >= most:
                    break

        client = pm.client(ACCOUNT)
        async with client, client.stream(FAST) as events:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(consume, events, 19)
                tasks.start_soon(consume, events, 20)
                for number in range(30):
                    pm.exchange.streams.push(client.label, order_event(number))
            await consume(events, 30)
        assert got == list(range(30))

    run(test)


def test_a_stream_needs_an_open_client(run: Run, pm: Sandbox) -> None:
    """A stream does not open a client that is not open."""

    async def test() -> None:
        client = pm.client(ACCOUNT)
        with pytest.raises(SessionClosed):
            await client.stream().__aenter__()
        stream = client.stream()
        with pytest.raises(SessionClosed):
            await anext(stream)
        with pytest.raises(SessionClosed):
            _ = stream.age

    run(test)


def test_a_slow_consumer_keeps_its_connection_and_gets_one_exact_gap(run: Run, pm: Sandbox) -> None:
    """While a consumer sleeps, observers see each of thirty thousand events at once."""
    count = 30_000

    async def test() -> None:
        seen: list[int] = []
        all_seen = anyio.Event()

        def observe(item: object) -> None:
            if isinstance(item, OrderTradeUpdate):
                seen.append(item.order.order_id)
                if len(seen) == count:
                    all_seen.set()

        client = pm.client(ACCOUNT)
        async with client, EventStream(client, "pm", StreamSettings(), observers=[observe]) as events:
            push = pm.exchange.streams.push
            await anyio.to_thread.run_sync(lambda: [push(client.label, order_event(number)) for number in range(count)])
            await all_seen.wait()
            assert events.queued == StreamSettings().queue_size
            got: list[StreamItem] = [await anext(events) for _ in range(10_001)]
            assert events.counts.reconnects == 0
            push(client.label, order_event(count))
            last = await anext(events)

        gap = got[-1]
        assert isinstance(gap, StreamGap)
        assert (gap.lost, gap.why) == (count - 10_000, TOO_SLOW)
        assert not any(isinstance(item, StreamGap | StreamDown) for item in got[:-1])
        assert isinstance(last, OrderTradeUpdate)
        assert seen[:count] == list(range(count))

    run(test)


def test_observers_see_the_state_of_the_stream_and_may_fail(run: Run, pm: Sandbox) -> None:
    """An observer that raises does not stop the reader."""

    async def test() -> None:
        seen: list[str] = []

        def observe(item: object) -> None:
            seen.append(type(item).__name__)
            raise ZeroDivisionError

        client = pm.client(ACCOUNT)
        async with client, EventStream(client, "pm", FAST, observers=[observe], queued=False) as events:
            pm.exchange.streams.apply(StreamFault(kind="close", account=client.label))
            await eventually(lambda: "StreamGap" in seen)
            assert events.queued == 0

        assert seen[0] == StreamUp.__name__
        assert seen[-2:] == ["StreamDown", "StreamGap"]

    run(test)


def test_a_stream_is_refused_on_an_httpx_client_of_the_user(run: Run) -> None:
    """A stream is refused because the egress of the user's httpx client is not known."""

    async def test() -> None:
        async with httpx.AsyncClient() as http, Session(http=http, budget=Budget()) as session:
            client = Client("key" * 20, "secret", session=session)
            await client.open()
            with pytest.raises(ConfigurationError, match="httpx"):
                await client.stream().__aenter__()
            await client.aclose()

    run(test)


def test_the_missing_extra_is_named(run: Run, pm: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the missing extra and the command that installs it."""

    def find_nothing(_: str) -> None:
        return None

    monkeypatch.setattr("binance_pm.stream.source.find_spec", find_nothing)

    async def test() -> None:
        async with pm.client(ACCOUNT) as client:
            with pytest.raises(ConfigurationError, match=r"\[stream\]"):
                await client.stream().__aenter__()

    run(test)


def test_a_half_open_connection_does_not_delay_the_end(run: Run, pm: Sandbox) -> None:
    """A half-open connection does not answer the closing handshake, and the stream ends in time."""

    async def test() -> None:
        async with pm.client(ACCOUNT) as client:
            for seconds in (0.0, 0.1, 0.3):
                began = 0.0
                with anyio.CancelScope() as scope:
                    async with client.stream(FAST):
                        pm.exchange.streams.apply(StreamFault(kind="half_open", account=client.label))
                        await anyio.sleep(seconds)
                        began = anyio.current_time()
                        scope.cancel()
                        await anyio.sleep_forever()
                assert anyio.current_time() - began < 2

    run(test)


async def test_metrics_show_a_stream_while_it_is_open(pm: Sandbox) -> None:
    """Metrics show the state, the queue and the counts of a stream by account and product."""
    metrics = Metrics(CollectorRegistry())

    def value(name: str) -> float | None:
        return metrics.registry.get_sample_value(f"binance_pm_{name}", {"account": client.label, "product": "pm"})

    async with pm.client(ACCOUNT) as client:
        async with client.stream(FAST) as events:
            metrics.watch_stream(events)
            pm.exchange.streams.apply(StreamFault(kind="break", account=client.label))
            await next_of(events, StreamGap)
            shown = {name: value(name) for name in ("stream_up", "stream_gaps_total", "stream_reconnects_total")}
            assert shown == {"stream_up": 1.0, "stream_gaps_total": 1.0, "stream_reconnects_total": 1.0}
            assert value("stream_proof_age_seconds") is not None
            assert value("stream_queued_events") == 0.0
        assert value("stream_up") is None
