"""What open streams show of the orders of an account."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest

from binance_pm import NoResponse, Session
from binance_pm.api.stream_events import decode_event
from binance_pm.errors import CallInfo, SentWrite
from binance_pm.stream.items import StreamDown, StreamGap, StreamUp
from binance_pm.stream.order_events import OrderWaiter, attach_waiter, record_orders, waiter_of
from tests.support.stream_messages import execution_report, order_update

T = 1_790_000_000_100


def event(message: dict[str, Any]) -> object:
    """Decode a message."""
    return decode_event(msgspec.json.encode(message))


async def test_without_a_stream_there_is_no_waiter() -> None:
    """The queries decide alone."""
    with attach_waiter(Session(), "desk", OrderWaiter("mine")) as waiter:
        assert waiter is None


async def test_the_next_event_shows_the_order() -> None:
    """Events of other orders, and streams of other accounts, do not."""
    session = Session()
    with (
        record_orders(session, "desk") as recorder,
        record_orders(session, "other") as other,
        attach_waiter(session, "desk", OrderWaiter("mine")) as waiter,
    ):
        assert waiter is not None
        recorder.observe(event(order_update(T, 1, "NEW", client_order_id="another")), 1.0)
        other.observe(event(order_update(T, 2, "NEW")), 1.0)
        assert waiter.order is None

        recorder.observe(event(order_update(T, 3, "NEW")), 1.0)
        recorder.observe(event(order_update(T + 1, 3, "FILLED")), 1.0)

        await waiter.wait()
        assert waiter.order is not None
        assert (waiter.order.order_id, waiter.order.status) == (3, "FILLED")


async def test_an_event_of_the_last_moments_counts() -> None:
    """A caller learns late that its response is lost. The report of a cancel has the id of the order as the old one."""
    session = Session()
    with record_orders(session, "desk") as recorder:
        cancelled = execution_report(T, 3, "CANCELED", client_order_id="the-cancel") | {"C": "mine"}
        recorder.observe(event(cancelled), 1.0)

        with attach_waiter(session, "desk", OrderWaiter("mine")) as waiter:
            assert waiter is not None
            assert waiter.order is not None
            assert waiter.order.client_order_id == "mine"


async def test_an_event_of_an_earlier_order_does_not_count() -> None:
    """A client order id may be used again once its order has ended."""
    session = Session()
    with record_orders(session, "desk") as recorder:
        recorder.observe(event(order_update(T - 60_000, 3, "FILLED")), 1.0)

        with attach_waiter(session, "desk", OrderWaiter("mine", since=T)) as waiter:
            assert waiter is not None
            assert waiter.order is None
            assert not waiter.arrived.is_set()


@pytest.mark.parametrize(
    ("method", "ids"),
    [("cancel_order", {"orderId": "3"}), ("cancel_order", {"origClientOrderId": "mine"}), ("new_order", {})],
)
async def test_waits_for_the_order_of_a_write_in_its_market(method: str, ids: dict[str, str]) -> None:
    """By the id that was sent; a cancel is decided only by the end of the order."""
    error = NoResponse(CallInfo(f"um.{method}", "desk", write=True), "lost")
    error.describe_write(SentWrite({"symbol": "BTCUSDT", **ids}, None if ids else "mine", timestamp=T))
    session = Session()
    with record_orders(session, "desk") as recorder, attach_waiter(session, "desk", waiter_of(error)) as waiter:
        assert waiter is not None
        recorder.observe(event(order_update(T, 3, "CANCELED", symbol="ETHUSDT")), 1.0)
        recorder.observe(event(execution_report(T, 3, "CANCELED", client_order_id="mine") | {"s": "BTCUSDT"}), 1.0)
        recorder.observe(event(order_update(T, 4, "CANCELED", client_order_id="another")), 1.0)
        assert waiter.order is None
        recorder.observe(event(order_update(T, 3, "NEW")), 1.0)
        assert (waiter.order is None) == bool(ids)
        recorder.observe(event(order_update(T, 3, "CANCELED")), 1.0)

        await waiter.wait()
        assert waiter.order is not None
        assert (waiter.order.market, waiter.order.symbol, waiter.order.order_id) == ("um", "BTCUSDT", 3)


@pytest.mark.parametrize("method", ["um.set_leverage", "um.cancel_all_orders", "um.cancel_algo_order"])
def test_other_writes_have_no_order(method: str) -> None:
    """Events of orders tell nothing of them."""
    error = NoResponse(CallInfo(method, "desk", write=True), "lost")
    assert waiter_of(error) is None
    error.describe_write(SentWrite({"symbol": "BTCUSDT", "algoId": "3"}, timestamp=T))

    assert waiter_of(error) is None


async def test_only_the_newest_orders_are_remembered() -> None:
    """A stream may run for weeks."""
    session = Session()
    with record_orders(session, "desk") as recorder:
        for number in range(1_001):
            recorder.observe(event(order_update(T, number, "NEW", client_order_id=f"{number}")), 1.0)

        with (
            attach_waiter(session, "desk", OrderWaiter("0")) as oldest,
            attach_waiter(session, "desk", OrderWaiter("1")) as second,
        ):
            assert oldest is not None
            assert second is not None
            assert (oldest.order is None, second.order is None) == (True, False)


async def test_knows_since_when_a_stream_has_been_up() -> None:
    """A gap may have hidden the event."""
    session = Session()
    with record_orders(session, "desk") as recorder, attach_waiter(session, "desk", OrderWaiter("mine")) as waiter:
        assert waiter is not None
        assert recorder.up_since == math.inf
        recorder.observe(StreamUp(at=0.0), 5.0)
        assert (waiter.is_watched_since(4.9), waiter.is_watched_since(5.0)) == (False, True)

        recorder.observe(StreamDown(since=0.0, why="test"), 6.0)
        assert not waiter.is_watched_since(1e9)
        recorder.observe(StreamGap(since=0.0, until=0.0, why="test"), 7.0)
        assert (waiter.is_watched_since(6.9), waiter.is_watched_since(7.0)) == (False, True)


async def test_nothing_is_left_behind() -> None:
    """Neither of a caller nor of a closed stream."""
    session = Session()
    with record_orders(session, "desk") as recorder:
        with attach_waiter(session, "desk", OrderWaiter("mine")), attach_waiter(session, "desk", OrderWaiter("mine")):
            pass
        assert recorder._waiters == []
    with attach_waiter(session, "desk", OrderWaiter("mine")) as waiter:
        assert waiter is None
