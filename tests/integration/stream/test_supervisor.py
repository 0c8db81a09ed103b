"""A stream under one fault at a time, on real sockets."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from websockets.asyncio.server import ServerConnection

from binance_pm.api.futures_events import OrderTradeUpdate
from binance_pm.api.stream_events import ListenKeyExpired, PmProAccountUpdate
from binance_pm.errors import CallInfo, ConnectError, GateClosed
from binance_pm.stream.identity import REMEMBERED
from binance_pm.stream.items import StreamDown, StreamGap, StreamUp
from binance_pm.stream.listen_key import ANOTHER_KEY, EXPIRED
from binance_pm.stream.shared import SessionStreams
from binance_pm.stream.supervisor import OVERLAP_NOT_PROVEN, UNREADABLE
from tests.integration.stream.conftest import FAST, Run, slow
from tests.support.stream_server import StreamServer, stream_server
from tests.support.stream_source import source_of
from tests.support.streams import Recorder, order_event, sample, supervised
from tests.support.waiting import eventually

SLACK = 1.0
"""The delay in seconds that a busy machine may add."""


def send_bad_frame(server: StreamServer) -> None:
    """Send a frame with bits that are not allowed."""
    server.send_raw(b"\xff\xff")


FAULTS: list[tuple[Callable[[StreamServer], None], str, float]] = [
    (StreamServer.break_all, "the connection broke", 0.1),
    (StreamServer.close_all, "the exchange closed the connection (code 1001)", 0.1),
    (StreamServer.expire_key, EXPIRED, 0.1),
    (send_bad_frame, "the exchange sent a frame that violates the websocket protocol", 0.1),
    (StreamServer.deafen, "no answer to a ping within 0.25 s", FAST.ping_every + FAST.ping_timeout),
    (StreamServer.delete_key, ANOTHER_KEY, FAST.confirm_every),
]


@pytest.mark.parametrize(("fault", "why", "seconds"), FAULTS)
def test_every_loss_is_reported_in_time_and_ends(
    run: Run, server: StreamServer, fault: Callable[[StreamServer], None], why: str, seconds: float
) -> None:
    """Every loss yields `StreamDown` in time, and then `StreamGap` before the first event."""

    async def test() -> None:
        async with supervised(source_of(server), FAST) as stream:
            server.push(order_event(1))
            await stream.next_of(OrderTradeUpdate)
            began, at = time.time(), anyio.current_time()
            fault(server)
            down = await stream.next_of(StreamDown)
            assert anyio.current_time() - at < seconds + SLACK
            gap = await stream.next_of(StreamGap)
            assert anyio.current_time() - at < seconds + 2 * SLACK
            assert stream.supervisor.is_up
            server.push(order_event(2))
            await stream.next_of(OrderTradeUpdate, 2)

        assert down.why == gap.why == why
        assert down.since == gap.since <= began + 0.01
        assert began < gap.until <= time.time()
        reports = [item for item in stream.items if not isinstance(item, ListenKeyExpired)]
        kinds = [type(item).__name__ for item in reports]
        assert kinds == ["StreamUp", "OrderTradeUpdate", "StreamDown", "StreamGap", "OrderTradeUpdate"]

    run(test)


def test_garbage_is_a_gap_of_one_event_and_the_connection_stays(run: Run, server: StreamServer) -> None:
    """Garbage is reported as a gap of one event, and later events still arrive."""

    async def test() -> None:
        async with supervised(source_of(server), slow()) as stream:
            server.push(b'{"e": "ORDER_TRADE_UPDATE", "o"')
            server.push(order_event(1) | {"T": "never"})
            server.push(order_event(1))
            await stream.next_of(OrderTradeUpdate)
            gaps = stream.all_of(StreamGap)

        assert [(gap.lost, gap.why) for gap in gaps] == [(1, UNREADABLE)] * 2
        assert server.connects == 1

    run(test)


def test_announced_shutdowns_on_each_connection_cause_no_busy_loop(run: Run, server: StreamServer) -> None:
    """After a rotation on an announced shutdown, the next rotation waits for the longest pause between attempts."""
    shutdown = json.dumps({"e": "serverShutdown", "E": 1}).encode()
    server.greet = lambda connection: server._send(connection, shutdown)

    async def test() -> None:
        async with supervised(source_of(server), slow(overlap=0.0, longest_backoff=60.0)) as stream:
            await stream.until_true(lambda: bool(stream.supervisor.counts.rotations))
            await anyio.sleep(0.5)
            assert stream.supervisor.counts.rotations == 1
            assert server.connects == 2

    run(test)


def test_exact_duplicates_on_one_connection_are_dropped(run: Run, server: StreamServer) -> None:
    """Of exact duplicates on one connection, one is passed on."""

    async def test() -> None:
        async with supervised(source_of(server), slow()) as stream:
            for number in (1, 1, 2, 1, 2, 3):
                server.push(order_event(number))
            await stream.next_of(OrderTradeUpdate, 3)
            assert [event.order.order_id for event in stream.all_of(OrderTradeUpdate)] == [1, 2, 3]
            assert stream.supervisor.seen.duplicates == 3

    run(test)


def test_a_pong_does_not_prove_the_key(run: Run, server: StreamServer) -> None:
    """After a DELETE by another program, pongs continue, but the gap begins at the last proof of the key."""

    async def test() -> None:
        async with supervised(source_of(server), slow(ping_every=0.05, confirm_every=1.0)) as stream:
            await anyio.sleep(0.2)
            deleted = time.time()
            server.delete_key()
            server.push(order_event(1))
            gap = await stream.next_of(StreamGap)

        assert gap.why == ANOTHER_KEY
        assert gap.since <= deleted

    run(test)


def test_every_connection_is_preceded_by_a_post(run: Run, server: StreamServer) -> None:
    """A POST precedes every connection, because a connection with a dead key would stay silent."""

    async def test() -> None:
        async with supervised(source_of(server), slow()) as stream:
            for number in (1, 2, 3):
                server.delete_key()
                server.break_all() if number == 1 else stream.supervisor.reconnect("asked for")
                server.call(lambda: [one.transport.abort() for one in server.connections])
                await stream.next_of(StreamGap, number)
                server.push(order_event(number))
                await stream.next_of(OrderTradeUpdate, number)

        assert server.posts == server.connects == 4

    run(test)


def test_a_closed_gate_does_not_keep_the_stream_down(run: Run, server: StreamServer) -> None:
    """While the gate is closed, a key that was confirmed within its lifetime is used, and confirmed later."""
    refused = False

    def refuse() -> GateClosed | None:
        return GateClosed(CallInfo("create_listen_key"), "closed", until=0.0, banned=True) if refused else None

    async def test() -> None:
        nonlocal refused
        async with supervised(source_of(server, refuse=refuse), slow()) as stream:
            refused = True
            server.break_all()
            await stream.next_of(StreamGap)
            proven = stream.supervisor.proven_at
            refused = False
            await anyio.sleep(0.5)
            assert stream.supervisor.proven_at > proven
            assert stream.supervisor.is_up

        assert server.posts == 2

    run(test)


def test_a_key_that_was_not_confirmed_for_its_lifetime_is_not_used(run: Run, server: StreamServer) -> None:
    """A key that was not confirmed within its lifetime is not used: the stream is down until a POST succeeds."""
    refused = False

    def refuse() -> ConnectError | None:
        return ConnectError(CallInfo("create_listen_key"), "no answer") if refused else None

    async def test() -> None:
        nonlocal refused
        settings = slow(confirm_every=0.1, key_lifetime=0.4)
        async with supervised(source_of(server, refuse=refuse), settings) as stream:
            refused = True
            down = await stream.next_of(StreamDown)
            assert "confirmed" in down.why
            await anyio.sleep(0.3)
            assert not stream.supervisor.is_up
            assert server.connects == 1
            refused = False
            await stream.next_of(StreamGap)

    run(test)


def test_a_failed_first_attempt_is_reported_as_down(run: Run, server: StreamServer) -> None:
    """If the first attempt fails, entering returns and the first item is `StreamDown`."""
    refused = True

    def refuse() -> ConnectError | None:
        return ConnectError(CallInfo("create_listen_key"), "no answer") if refused else None

    async def test() -> None:
        nonlocal refused
        began = time.time()
        async with supervised(source_of(server, refuse=refuse), slow()) as stream:
            assert [type(item) for item in stream.items] == [StreamDown]
            refused = False
            gap = await stream.next_of(StreamGap)
            assert stream.all_of(StreamUp) == []
        assert gap.since >= began - 0.01

    run(test)


def test_the_expiry_of_another_key_is_ignored(run: Run, server: StreamServer) -> None:
    """An announced expiry of another key does not end the connection."""

    async def test() -> None:
        async with supervised(source_of(server), slow()) as stream:
            server.push({"e": "listenKeyExpired", "E": 1, "listenKey": "another"})
            server.push(order_event(1))
            await stream.next_of(OrderTradeUpdate)
            assert stream.all_of(StreamDown) == []

    run(test)


def test_a_silent_pro_stream_is_down_although_pongs_arrive(run: Run, server: StreamServer) -> None:
    """The gap of a silent Pro stream begins at the last event, not at the last pong or POST."""

    async def test() -> None:
        settings = slow(ping_every=0.05, confirm_every=0.1, update_timeout=0.5)
        async with supervised(source_of(server, product="pro"), settings) as stream:
            for number in range(3):
                server.push(sample("PM_PRO_ACCOUNT_UPDATE") | {"E": number})
                await anyio.sleep(0.25)
            assert len(stream.all_of(PmProAccountUpdate)) == 3
            last = time.time() - 0.2
            gap = await stream.next_of(StreamGap)

        assert "PmProAccountUpdate" in gap.why
        assert gap.since < last

    run(test)


async def _rotate(stream: Recorder, server: StreamServer, first: int) -> int:
    """Rotate while events are pushed; return the number of the last one."""
    rotations, number = stream.supervisor.counts.rotations, first
    server.push({"e": "serverShutdown", "E": number})
    while stream.supervisor.counts.rotations == rotations:
        number += 1
        server.push(order_event(number))
        await anyio.sleep(0.002)
    return number


@pytest.mark.parametrize("delivery", ["all", "newest", "oldest"])
def test_a_rotation_reports_a_gap_until_the_overlap_is_proven(run: Run, delivery: Any) -> None:
    """A rotation reports a gap until an event has arrived on both connections."""

    async def test() -> None:
        with stream_server(delivery) as server:
            async with supervised(source_of(server), slow()) as stream:
                last = await _rotate(stream, server, 0)
                first_gaps = len(stream.all_of(StreamGap))
                last = await _rotate(stream, server, last)
                server.push(order_event(last + 1))
                await stream.until(lambda: stream.last_order == last + 1)
                gaps = stream.all_of(StreamGap)

            numbers = [event.order.order_id for event in stream.all_of(OrderTradeUpdate)]
            assert numbers == sorted(set(numbers))
            assert stream.all_of(StreamDown) == []
            assert server.connects == 3
            assert server.close_codes[:2] == [1000, 1000]
            if delivery == "all":
                assert gaps == []
                assert numbers == list(range(1, last + 2))
            else:
                assert first_gaps == 1
                assert [gap.why for gap in gaps] == [OVERLAP_NOT_PROVEN] * 2

    run(test)


def test_held_events_are_passed_on_if_the_new_connection_breaks(run: Run) -> None:
    """Held events are passed on if the new connection breaks, because no other connection may have received them."""

    async def test() -> None:
        with stream_server("newest") as server:
            async with supervised(source_of(server), slow(overlap=5.0)) as stream:
                server.push({"e": "serverShutdown", "E": 1})
                await eventually(lambda: len(server.connections) == 2)
                await anyio.sleep(0.1)
                server.push(order_event(1))
                await anyio.sleep(0.1)
                assert stream.all_of(OrderTradeUpdate) == []
                server.break_all()
                await stream.next_of(StreamDown)
                assert stream.last_order == 1
                await stream.until(lambda: stream.supervisor.is_up)

    run(test)


def test_the_old_connection_may_break_during_a_rotation(run: Run, server: StreamServer) -> None:
    """If the old connection breaks during a rotation with a proven overlap, the stream is never down."""

    async def test() -> None:
        async with supervised(source_of(server), slow(overlap=5.0)) as stream:
            server.push({"e": "serverShutdown", "E": 1})
            await eventually(lambda: len(server.connections) == 2)
            await anyio.sleep(0.2)
            for number in (1, 2, 3):
                server.push(order_event(number))
            await stream.next_of(OrderTradeUpdate, 3)
            server.call(server.connections[0].transport.abort)
            await anyio.sleep(0.1)
            server.push(order_event(4))
            await stream.next_of(OrderTradeUpdate, 4)
            assert stream.all_of(StreamDown) == []
            assert stream.supervisor.seen.duplicates >= 3

    run(test)


def test_a_new_connection_that_does_not_answer_ends_both(run: Run) -> None:
    """If a new connection with an unproven overlap does not answer, the gap covers events on the old one."""

    async def test() -> None:
        with stream_server("oldest") as server:
            settings = slow(ping_timeout=0.2, first_backoff=0.0)
            async with supervised(source_of(server), settings) as stream:
                server.greet = server._deafen
                server.push({"e": "serverShutdown", "E": 1})
                await eventually(lambda: server.connects == 2)
                first = server.push(order_event(1))
                down = await stream.next_of(StreamDown)
                server.greet = lambda _: None
                gap = await stream.next_of(StreamGap)

            assert "no answer to a ping" in down.why
            assert gap.since <= first <= gap.until

    run(test)


@pytest.mark.parametrize("is_proven", [True, False], ids=["overlap proven", "overlap not proven"])
def test_a_connection_that_ends_during_its_rotation_is_replaced_once(
    run: Run,
    server: StreamServer,
    is_proven: bool,
) -> None:
    """A connection that the exchange closes during its rotation is replaced only once."""

    async def test() -> None:
        async with supervised(source_of(server), slow(overlap=0.5)) as stream:
            if is_proven:
                await _rotate(stream, server, 0)
            connects = server.connects
            server.push({"e": "serverShutdown", "E": 2})
            await eventually(lambda: len(server.connections) == 2)
            await anyio.sleep(0.1)
            server.call(lambda: close(server.connections[0]))
            await anyio.sleep(1.0)
            assert stream.supervisor.is_up
            assert len(server.connections) == 1
            assert len(stream.all_of(StreamDown)) == (0 if is_proven else 1)
            assert server.connects - connects == (1 if is_proven else 2)

    def close(connection: ServerConnection) -> None:
        connection.protocol.send_close(1001, "")
        connection.send_data()

    run(test)


def test_no_identity_is_forgotten_while_two_connections_overlap(run: Run, server: StreamServer) -> None:
    """Each event is passed on once, even if a new connection holds more events than are usually remembered."""
    count = 3 * REMEMBERED

    async def test() -> None:
        async with supervised(source_of(server), slow(overlap=1.0)) as stream:
            await _rotate(stream, server, 0)
            first = stream.last_order
            server.push({"e": "serverShutdown", "E": 2})
            await eventually(lambda: len(server.connections) == 2)
            for number in range(1, count + 1):
                server.push(order_event(first + number))
            await stream.until(lambda: stream.last_order == first + count)
            await stream.until_true(lambda: stream.supervisor.counts.rotations == 2)

            numbers = [event.order.order_id for event in stream.all_of(OrderTradeUpdate)]
            assert numbers == sorted(set(numbers))
            assert stream.supervisor.seen.duplicates >= count

    run(test)


def test_a_rotation_that_cannot_connect_keeps_the_old_connection(run: Run, server: StreamServer) -> None:
    """If a rotation cannot connect, the old connection stays, and the rotation is tried again after pauses."""

    async def test() -> None:
        async with supervised(source_of(server), slow()) as stream:
            refused = 0

            def refuse() -> Any:
                nonlocal refused
                refused += 1
                return server.connections[0].respond(503, "") if refused < 4 else None

            server.refuse = refuse
            server.push({"e": "serverShutdown", "E": 1})
            number = 0
            while not stream.supervisor.counts.rotations:
                number += 1
                server.push(order_event(number))
                await anyio.sleep(0.01)
            await stream.until(lambda: stream.last_order == number)
            assert len(stream.all_of(OrderTradeUpdate)) == number
            assert stream.all_of(StreamDown) == []
            assert refused == 4

    run(test)


def test_connections_are_replaced_at_their_age(run: Run, server: StreamServer) -> None:
    """Connections are replaced at their age, one after the other."""

    async def test() -> None:
        async with supervised(source_of(server), slow(rotate_after=0.3, rotate_jitter=0.1)) as stream:
            while stream.supervisor.counts.rotations < 3:
                await anyio.sleep(0.05)
                assert len(server.connections) <= 2
            assert stream.all_of(StreamDown) == []

    run(test)


def test_events_on_a_connection_that_breaks_at_once_lie_within_the_gap(run: Run, server: StreamServer) -> None:
    """An event on a connection that breaks before its first pong is not passed on and lies within the gap."""
    pushed: list[float] = []

    def greet(connection: ServerConnection) -> None:
        if not pushed:
            server._send(connection, json.dumps(order_event(1)).encode())
            connection.transport.write_eof()
            server._deafen(connection)
            pushed.append(time.time())

    async def test() -> None:
        async with supervised(source_of(server), FAST) as stream:
            server.greet = greet
            server.break_all()
            gap = await stream.next_of(StreamGap)
            server.push(order_event(2))
            event = await stream.next_of(OrderTradeUpdate)
            assert event.order.order_id == 2
            assert gap.since <= pushed[0] <= gap.until
            assert server.connects >= 3

    run(test)


def test_a_server_that_closes_at_once_is_not_asked_again_at_once(run: Run, server: StreamServer) -> None:
    """Only the first attempt after a loss is made at once; later attempts wait."""

    async def test() -> None:
        async with supervised(source_of(server), slow(first_backoff=600.0, longest_backoff=600.0)) as stream:
            for _ in range(20):
                server.break_all()
                await anyio.sleep(0.03)
            assert stream.all_of(StreamDown)
            assert 2 <= server.connects <= 3

    run(test)


def test_streams_of_a_session_reconnect_one_after_the_other(run: Run, server: StreamServer) -> None:
    """All streams of a session together stay below a limit of attempts per second."""

    async def test() -> None:
        settings = slow(attempts_per_second=10)
        shared = SessionStreams(settings)
        times: list[float] = []
        began = 0.0
        async with anyio.create_task_group() as tasks:

            async def follow() -> None:
                async with supervised(source_of(server), settings, shared) as stream:
                    await stream.next_of(StreamGap)
                    times.append(anyio.current_time())
                    await anyio.sleep_forever()

            for _ in range(15):
                tasks.start_soon(follow)
            await eventually(lambda: len(server.connections) == 15)
            await anyio.sleep(0.3)
            began = anyio.current_time()
            server.break_all()
            await eventually(lambda: len(times) == 15)
            tasks.cancel_scope.cancel()
        assert 0.9 < max(times) - began < 2.5 + SLACK

    run(test)


def test_hundreds_of_reconnections_leave_nothing(server: StreamServer) -> None:
    """Hundreds of reconnections leave no objects of earlier connections."""
    rounds = 200

    async def test() -> None:
        settings = slow(attempts_per_second=10_000, attempts_per_5_minutes=10_000_000, ping_every=1e-9)
        async with supervised(source_of(server), settings) as stream:
            grown: list[int] = []
            for _ in range(2):
                for _ in range(rounds):
                    stream.supervisor.reconnect("again")
                    await stream.until_true(lambda: not stream.supervisor.is_up)
                    await stream.until_true(lambda: stream.supervisor.is_up)
                assert len(stream.all_of(StreamGap)) == rounds
                stream.items.clear()
                gc.collect()
                grown.append(len(gc.get_objects()))
            # A connection alone is dozens of objects; timers of closed connections may still be there.
            assert grown[1] - grown[0] < 5 * rounds

    anyio.run(test)
