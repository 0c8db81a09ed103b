"""A stream whose server pushes what no server should."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, cast

import pytest

from binance_pm.api.futures_events import OrderTradeUpdate
from binance_pm.stream.items import StreamDown, StreamGap
from tests.integration.stream.conftest import Run, slow
from tests.support.stream_server import StreamServer
from tests.support.stream_source import source_of
from tests.support.streams import order_event, supervised

ODD_FRAMES: dict[str, tuple[object, int]] = {
    "nothing": (b"", 0),
    "a blank": (b" ", 0),
    "null": (b"null", 0),
    "deep": (b"[" * 100_000, 0),
    "deep wrappers": (b'{"data":' * 50_000, 0),
    "not UTF-8": (b"\xff\xfe{}", 0),
    "a byte order mark": (b"\xef\xbb\xbf{}", 0),
    "half a surrogate pair": (b'{"e": "\\ud800"}', 0),
    "a number as name": ({"e": 5}, 0),
    "a wrapped fragment": ({"data": {"e": "ORDER_TRADE_UPDATE"}}, 0),
    "two names": (b'{"e":"x","E":1,' + json.dumps(order_event(1)).encode()[1:], 0),
    "a time before 1970": (order_event(1) | {"T": -5}, 0),
    "a time after 9999": (order_event(1) | {"T": 10**18}, 0),
    "an id that is no integer": (order_event(1) | {"o": order_event(1)["o"] | {"i": 1.5}}, 0),
    "an amount of 5,000 digits": (order_event(1) | {"o": order_event(1)["o"] | {"z": "9" * 5_000}}, 0),
    "an amount that is no number": (order_event(1) | {"o": order_event(1)["o"] | {"z": "NaN"}}, 0),
    "numbers as text": (order_event(1) | {"E": "1790000000101", "T": "1790000000100"}, 1),
    "an unknown status": (order_event(1) | {"o": order_event(1)["o"] | {"X": "HALF", "x": "SPLIT"}}, 1),
    "a field twice": (b'{"e":"ORDER_TRADE_UPDATE","E":1,' + json.dumps(order_event(1)).encode()[1:], 1),
    "more fields": (order_event(1) | {"zz": {"a": [1]}}, 1),
    "an unknown event of 900 kB": ({"e": "new", "p": "y" * 900_000}, 1),
}
"""The pushed message, and the number of events that the consumer receives; otherwise it receives a gap."""


@pytest.mark.parametrize("name", ODD_FRAMES)
def test_an_odd_message_is_an_event_or_a_gap(run: Run, server: StreamServer, name: str) -> None:
    """An odd message yields an event or a gap, and the stream continues."""
    message, events = ODD_FRAMES[name]

    async def test() -> None:
        async with supervised(source_of(server), slow()) as stream:
            server.push(cast("Any", message))
            server.push(order_event(2))
            await stream.until(lambda: stream.last_order == 2)
            kinds = [type(item) for item in stream.items[1:]]
            assert kinds.count(StreamGap) == 1 - events
            assert len(kinds) == 2
        assert server.connects == 1

    run(test)


def push_too_much(server: StreamServer) -> None:
    """Push a message above the limit."""
    server.push({"e": "x", "p": "y" * 2**20})


def continue_nothing(server: StreamServer) -> None:
    """Send a continuation without a beginning."""
    server.send_raw(b"\x80\x00")


def send_unknown_opcode(server: StreamServer) -> None:
    """Send a frame of a kind that does not exist."""
    server.send_raw(b"\x8f\x00")


@pytest.mark.parametrize(
    ("send", "why"),
    [
        (push_too_much, "more than 1048576 bytes"),
        (continue_nothing, "violates the websocket protocol"),
        (send_unknown_opcode, "violates the websocket protocol"),
    ],
)
def test_a_frame_that_cannot_be_read_ends_the_connection(
    run: Run, server: StreamServer, send: Callable[[StreamServer], object], why: str
) -> None:
    """A frame that cannot be read ends the connection, because no later frame can be read."""

    async def test() -> None:
        async with supervised(source_of(server), slow()) as stream:
            send(server)
            assert why in (await stream.next_of(StreamDown)).why
            await stream.until(lambda: stream.supervisor.is_up)
            server.push(order_event(1))
            await stream.next_of(OrderTradeUpdate)

    run(test)


def test_a_binary_message_is_read_like_a_text(run: Run, server: StreamServer) -> None:
    """A binary message is decoded like a text message."""

    def send() -> None:
        for connection in server.receivers():
            connection.protocol.send_binary(json.dumps(order_event(1)).encode())
            connection.send_data()

    async def test() -> None:
        async with supervised(source_of(server), slow()) as stream:
            server.call(send)
            await stream.next_of(OrderTradeUpdate)

    run(test)
