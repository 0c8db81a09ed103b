"""What became of a write whose response was lost."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine
from decimal import Decimal
from email.utils import formatdate
from operator import attrgetter
from types import SimpleNamespace
from typing import Any, ClassVar, Literal

import httpx
import pytest
import pytest_asyncio

from binance_pm import (
    Budget,
    Client,
    ConfigurationError,
    NoResponse,
    PortfolioMarginError,
    RequestRejected,
    Session,
)
from binance_pm.api.margin_ocos import MarginOco
from binance_pm.api.um_orders import UmOrder
from binance_pm.resolve import find_out
from tests.support.clocks import START, FakeClock
from tests.support.sample import sample_of

KEY, SECRET = "k" * 64, "s" * 64
ORDER = "/papi/v1/um/order"
UNKNOWN = (400, {"code": -2013, "msg": "Order does not exist."})
NOT_OPEN = (400, {"code": -2011, "msg": "Unknown order sent."})
BUSY = (503, {"code": -1008, "msg": "Server is currently overloaded."})
EXPIRES = 5.0
"""Seconds after which the exchange refuses a request of these tests."""

Reply = tuple[int, Any] | Literal["lost"]


class Scripted:
    """An exchange that answers from a script, and whose clock is the test's.

    Attributes:
        replies: what each method and path answers in turn; the last reply is repeated.
        sent: the requests that arrived.
    """

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.replies: dict[str, list[Reply | Callable[[httpx.Request], Reply]]] = {}
        self.sent: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        self.sent.append(request)
        script = self.replies[f"{request.method} {request.url.path}"]
        reply = script.pop(0) if len(script) > 1 else script[0]
        if callable(reply):
            reply = reply(request)
        if reply == "lost":
            raise httpx.ReadTimeout("lost", request=request)
        status, body = reply
        return httpx.Response(status, json=body, headers={"date": formatdate(self.clock(), usegmt=True)})

    def count(self, method: str, path: str) -> int:
        """Return how many requests have arrived."""
        return sum((one.method, one.url.path) == (method, path) for one in self.sent)


@pytest.fixture
def exchange(clock: FakeClock) -> Scripted:
    """An exchange that loses the response to every placement, change and cancel."""
    scripted = Scripted(clock)
    lost = ["POST", "PUT", "DELETE"]
    scripted.replies = {f"{method} {ORDER}": ["lost"] for method in lost}
    scripted.replies |= {"GET /papi/v1/um/openOrders": [(200, [])], "GET /papi/v1/um/userTrades": [(200, [])]}
    return scripted


@pytest_asyncio.fixture
async def desk(exchange: Scripted, clock: FakeClock) -> AsyncGenerator[Client, None]:
    """A client of the scripted exchange."""
    budget = Budget(monotonic=clock, wall=clock, sleep=clock.sleep)
    async with (
        Session(http=httpx.MockTransport(exchange), budget=budget) as session,
        Client(KEY, SECRET, label="desk", session=session, attempts=1) as client,
    ):
        yield client


def row(**changed: Any) -> dict[str, Any]:
    """Return an order as a query returns it, placed at the beginning of the test."""
    return sample_of("um.order")["answer"] | {"time": int(START * 1000), "clientOrderId": "mine"} | changed


async def lost(desk: Client, **order: Any) -> PortfolioMarginError:
    """Place an order whose response is lost."""
    with pytest.raises(NoResponse) as raised:
        await desk.um.new_order(**_ORDER | order)
    return raised.value


_ORDER: dict[str, Any] = {
    "symbol": "BTCUSDT",
    "side": "BUY",
    "type": "LIMIT",
    "time_in_force": "GTC",
    "quantity": Decimal("0.4"),
    "price": Decimal("97120.5"),
    "new_client_order_id": "mine",
}


class TestPlacements:
    """An order that may have been placed."""

    async def test_an_error_carries_the_id_that_the_client_created(self, desk: Client, exchange: Scripted) -> None:
        """The id was sent, and the error says until when the exchange accepts the request."""
        error = await lost(desk, new_client_order_id=None)

        assert error.request is not None
        assert error.request.timestamp is not None
        assert error.client_id is not None
        assert error.client_id == exchange.sent[0].url.params["newClientOrderId"]
        assert error.client_id in str(error)
        assert error.request.timestamp == int(exchange.sent[0].url.params["timestamp"])
        assert error.request.expires_at == error.request.timestamp + EXPIRES * 1000

    async def test_a_longer_recv_window_expires_later(self, desk: Client) -> None:
        """The moment after which nothing of the request can be executed."""
        request = (await lost(desk, recv_window=20_000)).request

        assert request is not None
        assert request.timestamp is not None
        assert request.expires_at == request.timestamp + 20_000

    @pytest.mark.parametrize("given", [{}, {"recv_window": None}])
    async def test_the_window_of_the_client_counts(self, desk: Client, given: dict[str, Any]) -> None:
        """A request of a client with a longer ``recv_window`` expires later, also if the call says None."""
        error = await lost(desk.options(recv_window=30_000), **given)

        assert error.request is not None
        assert error.request.expires_at == (error.request.timestamp or 0) + 30_000

    async def test_a_refusal_before_sending_is_not_done(self, desk: Client) -> None:
        """Nothing was sent, so nothing is looked for."""
        order: dict[str, Any] = {**_ORDER, "price": None}
        with pytest.raises(ConfigurationError) as raised:
            await desk.um.new_order(**order)

        assert (await desk.resolve(raised.value)).state == "not_done"

    async def test_an_order_that_appears_late_is_done(self, desk: Client, exchange: Scripted, clock: FakeClock) -> None:
        """Queries lag behind the matching engine."""
        error = await lost(desk)
        exchange.replies["GET " + ORDER] = [UNKNOWN, UNKNOWN, (200, row())]
        clock.slept.clear()

        outcome = await desk.resolve(error)

        assert (outcome.state, outcome.client_id, outcome.looked_in) == ("done", "mine", ("um.order",))
        assert isinstance(outcome.result, UmOrder)
        assert outcome.result.executed_qty == Decimal("0.030")
        assert clock.slept == [0.25, 0.5]
        assert outcome.seconds == pytest.approx(0.75)
        assert exchange.sent[-1].url.params["origClientOrderId"] == "mine"
        assert exchange.count("POST", ORDER) == 1

    async def test_it_is_not_found_only_after_the_last_moment(self, desk: Client, exchange: Scripted) -> None:
        """Ten seconds after the exchange would have refused the request, and after a look at open orders and fills."""
        error = await lost(desk)
        exchange.replies["GET " + ORDER] = [UNKNOWN]

        outcome = await desk.resolve(error)

        assert outcome.state == "not_found"
        assert EXPIRES + 10 <= outcome.seconds < EXPIRES + 20
        assert exchange.count("GET", ORDER) < 15
        assert outcome.looked_in == ("um.order", "um.open_orders", "um.trades")

    async def test_an_open_order_that_the_query_missed_is_found(self, desk: Client, exchange: Scripted) -> None:
        """The list of open orders may know more than the query."""
        error = await lost(desk)
        exchange.replies["GET " + ORDER] = [UNKNOWN]
        exchange.replies["GET /papi/v1/um/openOrders"] = [(200, [row(clientOrderId="other"), row()])]

        outcome = await desk.resolve(error)

        assert (outcome.state, outcome.result.client_order_id) == ("done", "mine")

    async def test_a_filled_order_that_the_query_missed_is_found(self, desk: Client, exchange: Scripted) -> None:
        """Its fill is in the list of trades, with its order id."""

        def by_id(request: httpx.Request) -> Reply:
            return (200, row(status="FILLED")) if "orderId" in request.url.params else UNKNOWN

        error = await lost(desk)
        exchange.replies["GET " + ORDER] = [by_id]
        other, ours = ({**sample_of("um.trades")["answer"][0], "side": side} for side in ("SELL", "BUY"))
        exchange.replies["GET /papi/v1/um/userTrades"] = [(200, [other, ours])]

        outcome = await desk.resolve(error)

        assert (outcome.state, outcome.result.status) == ("done", "FILLED")

    async def test_an_earlier_order_with_the_same_id_is_not_ours(self, desk: Client, exchange: Scripted) -> None:
        """The id of a closed order can be used again."""
        error = await lost(desk)
        exchange.replies["GET " + ORDER] = [(200, row(time=int(START * 1000) - 60_000))]

        assert (await desk.resolve(error)).state == "not_found"

    async def test_failed_queries_prove_nothing(self, desk: Client, exchange: Scripted) -> None:
        """While they fail the outcome stays unknown, for as long as the caller allows."""
        error = await lost(desk)
        exchange.replies["GET " + ORDER] = [UNKNOWN, BUSY]

        outcome = await desk.resolve(error, give_up_after=40)

        assert outcome.state == "still_unknown"
        assert 40 <= outcome.seconds < 41
        assert exchange.count("GET", ORDER) < 15

    async def test_a_refused_query_is_not_repeated(self, desk: Client, exchange: Scripted) -> None:
        """A revoked key would be refused again and again."""
        error = await lost(desk)
        exchange.replies["GET " + ORDER] = [(401, {"code": -2015, "msg": "Invalid API-key."})]

        assert (await desk.resolve(error)).state == "still_unknown"
        assert exchange.count("GET", ORDER) == 1

    async def test_more_fills_than_are_searched_prove_nothing(self, desk: Client, exchange: Scripted) -> None:
        """Each order of a fill is a query with the priority of orders."""
        error = await lost(desk)
        exchange.replies["GET " + ORDER] = [UNKNOWN]
        trade = sample_of("um.trades")["answer"][0]
        fills = [{**trade, "side": "BUY", "orderId": number} for number in range(1, 30)]
        exchange.replies["GET /papi/v1/um/userTrades"] = [(200, fills)]

        assert (await desk.resolve(error)).state == "still_unknown"
        assert exchange.count("GET", ORDER) < 40

    async def test_another_account_cannot_resolve_it(self, desk: Client, exchange: Scripted) -> None:
        """It would look for the order in its own account."""
        error = await lost(desk)
        async with Client("o" * 64, SECRET, label="desk", session=desk.session) as other:
            with pytest.raises(ConfigurationError):
                await other.resolve(error)
        assert exchange.count("GET", ORDER) == 0

    async def test_a_query_that_recovers_decides(self, desk: Client, exchange: Scripted) -> None:
        """Failures before the order is found do not count."""
        error = await lost(desk)
        exchange.replies["GET " + ORDER] = [BUSY, "lost", (200, row())]

        assert (await desk.resolve(error)).state == "done"

    async def test_a_refused_order_is_not_done(self, desk: Client, exchange: Scripted) -> None:
        """A post-only order that would have taken has no record: no query is made."""
        exchange.replies["POST " + ORDER] = [(400, {"code": -5022, "msg": "Post Only order will be rejected."})]
        with pytest.raises(RequestRejected) as raised:
            await desk.um.new_order(**_ORDER)

        outcome = await desk.resolve(raised.value)

        assert (outcome.state, raised.value.client_id) == ("not_done", "mine")
        assert len(exchange.sent) == 1

    async def test_a_closed_gate_is_waited_out(self, desk: Client, exchange: Scripted, clock: FakeClock) -> None:
        """Queries go through the budget."""
        error = await lost(desk)
        limited = (429, {"code": -1003, "msg": "Too many requests."})
        exchange.replies["GET " + ORDER] = [limited, (200, row())]

        outcome = await desk.resolve(error)

        assert outcome.state == "done"
        assert clock() - START > 1


class TestResolveBeforeRaising:
    """``resolve=True``."""

    async def test_the_order_is_returned(self, desk: Client, exchange: Scripted) -> None:
        """As if its response had arrived."""
        exchange.replies["GET " + ORDER] = [(200, row())]

        order = await desk.um.new_order(**_ORDER, resolve=True)

        assert order.client_order_id == "mine"

    async def test_the_setting_of_the_client_counts(self, exchange: Scripted, clock: FakeClock) -> None:
        """`Client(resolve=True)`, unless a call says otherwise."""
        exchange.replies["GET " + ORDER] = [(200, row())]
        budget = Budget(monotonic=clock, wall=clock, sleep=clock.sleep)
        async with (
            Session(http=httpx.MockTransport(exchange), budget=budget) as session,
            Client(KEY, SECRET, session=session, resolve=True) as client,
        ):
            assert (await client.um.new_order(**_ORDER)).client_order_id == "mine"
            with pytest.raises(NoResponse) as raised:
                await client.um.new_order(**_ORDER, resolve=False)
            assert raised.value.resolved is None

    async def test_an_order_that_was_not_found_raises(self, desk: Client, exchange: Scripted) -> None:
        """The error carries what was found out."""
        exchange.replies["GET " + ORDER] = [UNKNOWN]

        with pytest.raises(NoResponse) as raised:
            await desk.um.new_order(**_ORDER, resolve=True)

        assert raised.value.resolved is not None
        assert raised.value.resolved.state == "not_found"

    async def test_a_session_that_closes_meanwhile(self, desk: Client, exchange: Scripted) -> None:
        """The error of the order is raised, not that of its query."""

        def close(_: httpx.Request) -> Reply:
            session.abandon("closed by the test")
            return UNKNOWN

        session = desk.session
        exchange.replies["GET " + ORDER] = [close]

        with pytest.raises(NoResponse) as raised:
            await desk.um.new_order(**_ORDER, resolve=True)

        assert (raised.value.client_id, raised.value.outcome) == ("mine", "unknown")

    async def test_a_search_that_is_cancelled_is_logged(
        self, desk: Client, exchange: Scripted, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The order is not forgotten with its task."""

        def cancel(_: httpx.Request) -> Reply:
            task.cancel()
            return UNKNOWN

        exchange.replies["GET " + ORDER] = [cancel]
        task = asyncio.ensure_future(desk.um.new_order(**_ORDER, resolve=True))
        with caplog.at_level(logging.WARNING), pytest.raises(asyncio.CancelledError):
            await task

        assert "mine" in caplog.text

    async def test_a_refused_order_raises_at_once(self, desk: Client, exchange: Scripted) -> None:
        """There is nothing to find out."""
        exchange.replies["POST " + ORDER] = [(400, {"code": -2019, "msg": "Margin is insufficient."})]

        with pytest.raises(RequestRejected):
            await desk.um.new_order(**_ORDER, resolve=True)

        assert len(exchange.sent) == 1


class TestChanges:
    """An order whose price and quantity may have been changed."""

    async def changed(self, desk: Client, **change: Any) -> PortfolioMarginError:
        """Change an order; the response is lost."""
        asked: dict[str, Any] = {"symbol": "BTCUSDT", "side": "BUY", "quantity": 2, "price": 100, "order_id": 7}
        with pytest.raises(NoResponse) as raised:
            await desk.um.modify_order(**asked | change)
        return raised.value

    async def test_a_price_match_is_no_price(self, desk: Client, exchange: Scripted) -> None:
        """The quantity alone does not show a change of the price."""
        error = await self.changed(desk, price=None, price_match="QUEUE")
        exchange.replies |= {
            "GET " + ORDER: [(200, row(origQty="2"))],
            "GET /papi/v1/um/orderAmendment": [(200, [])],
        }

        assert (await desk.resolve(error)).state == "not_done"

    async def test_a_change_on_coin_m_has_an_id_too(self, desk: Client, exchange: Scripted) -> None:
        """The client creates one if the caller gives none."""
        exchange.replies["PUT /papi/v1/cm/order"] = ["lost"]
        with pytest.raises(NoResponse) as raised:
            await desk.cm.modify_order(symbol="BTCUSD_PERP", side="BUY", quantity=2, price=100, order_id=7)

        assert raised.value.client_id == exchange.sent[0].url.params["modifyId"]

    async def test_the_id_of_the_change_proves_it(self, desk: Client, exchange: Scripted) -> None:
        """Also if the order was changed again since."""
        error = await self.changed(desk)
        amendments = json.loads(json.dumps(sample_of("um.order_amendments")["answer"]))
        amendments[1]["amendment"]["modifyId"] = int(error.client_id or "")
        exchange.replies |= {
            "GET " + ORDER: [(200, row())],
            "GET /papi/v1/um/orderAmendment": [(200, amendments)],
        }

        assert (await desk.resolve(error)).state == "done"

    @pytest.mark.parametrize(
        ("order", "state"),
        [
            (row(price="100.0", origQty="2.000"), "done"),
            (row(price="99", origQty="2"), "not_done"),
            (row(status="FILLED"), "not_done"),
        ],
    )
    async def test_the_order_shows_it(
        self, desk: Client, exchange: Scripted, order: dict[str, Any], state: str
    ) -> None:
        """New price and quantity; old ones after the last moment; or an order that is closed."""
        error = await self.changed(desk, modify_id=5)
        exchange.replies |= {"GET " + ORDER: [(200, order)], "GET /papi/v1/um/orderAmendment": [(200, [])]}

        outcome = await desk.resolve(error)

        assert (outcome.state, outcome.result.status) == (state, order["status"])


class TestCancels:
    """An order that may have been cancelled."""

    @pytest.mark.parametrize(
        ("replies", "state"),
        [
            ([(200, row(status="CANCELED"))], "done"),
            ([(200, row(status="NEW")), (200, row(status="CANCELED"))], "done"),
            ([(200, row(status="FILLED"))], "not_done"),
            ([(200, row(status="NEW"))], "not_done"),
            ([(200, row(status="NEW")), UNKNOWN], "not_found"),
            ([(200, row(status="PENDING_CANCEL")), (200, row(status="CANCELED"))], "done"),
            ([UNKNOWN], "not_found"),
        ],
    )
    async def test_the_order_shows_it(self, desk: Client, exchange: Scripted, replies: list[Any], state: str) -> None:
        """Its state, for as long as it may change."""
        with pytest.raises(NoResponse) as raised:
            await desk.um.cancel_order("BTCUSDT", orig_client_order_id="mine")
        exchange.replies["GET " + ORDER] = replies

        assert (await desk.resolve(raised.value)).state == state

    async def test_an_order_that_is_not_open_may_be_filled(self, desk: Client, exchange: Scripted) -> None:
        """-2011 does not say that the order was cancelled."""
        exchange.replies |= {"DELETE " + ORDER: [NOT_OPEN], "GET " + ORDER: [(200, row(status="FILLED"))]}
        with pytest.raises(RequestRejected) as raised:
            await desk.um.cancel_order("BTCUSDT", order_id=7)

        outcome = await desk.resolve(raised.value)

        assert (outcome.state, outcome.result.executed_qty) == ("not_done", Decimal("0.030"))

    @pytest.mark.parametrize(
        ("statuses", "state"),
        [(["NEW", "CANCELED"], "done"), (["CANCELED"], "done"), (["TRIGGERED"], "not_done"), (["NEW"], "not_done")],
    )
    async def test_a_conditional_order(self, desk: Client, exchange: Scripted, statuses: list[str], state: str) -> None:
        """Its own state counts, not that of the order that it may have become."""
        path = "/papi/v1/cm/conditional/"
        order = sample_of("cm.open_conditional_order")["answer"]
        exchange.replies |= {
            f"DELETE {path}order": ["lost"],
            f"GET {path}openOrder": [UNKNOWN],
            f"GET {path}orderHistory": [(200, {**order, "strategyStatus": status}) for status in statuses],
        }
        with pytest.raises(NoResponse) as raised:
            await desk.cm.cancel_conditional_order("BTCUSD_PERP", strategy_id=7)

        assert (await desk.resolve(raised.value)).state == state

    LATER: ClassVar[dict[str, Any]] = row(time=int(START * 1000) + 5_000)

    ROWS: ClassVar[list[tuple[list[list[Any]], str]]] = [
        ([[]], "done"),
        ([[row()]], "not_done"),
        ([[], [row()]], "not_done"),
        ([[LATER]], "done"),
    ]

    @pytest.mark.parametrize(("replies", "state"), ROWS)
    async def test_all_orders(self, desk: Client, exchange: Scripted, replies: list[Any], state: str) -> None:
        """The list of open orders has none from before the cancel; at first, it may miss some."""
        exchange.replies |= {
            "DELETE /papi/v1/um/allOpenOrders": ["lost"],
            "GET /papi/v1/um/openOrders": [(200, rows) for rows in replies],
        }
        with pytest.raises(NoResponse) as raised:
            await desk.um.cancel_all_orders("BTCUSDT")

        assert (await desk.resolve(raised.value)).state == state


class TestMarginAndSettings:
    """Writes of other families than USD-M orders."""

    @pytest.mark.parametrize(
        ("name", "arguments", "path", "before", "after"),
        [
            (
                "set_repay_futures_switch",
                {"auto_repay": True},
                "/papi/v1/repay-futures-switch",
                {"autoRepay": False},
                {"autoRepay": True},
            ),
            (
                "pro.set_margin_call_level",
                {"margin_call_level": "1.5"},
                "/sapi/v1/portfolio/margin-call-level",
                {},
                {"marginCallLevel": "1.50000000"},
            ),
            (
                "pro.delete_margin_call_level",
                {},
                "/sapi/v1/portfolio/margin-call-level",
                {"marginCallLevel": "1.50000000"},
                {},
            ),
        ],
    )
    async def test_a_setting_has_its_value(
        self, desk: Client, exchange: Scripted, name: str, arguments: Any, path: str, before: Any, after: Any
    ) -> None:
        """It was changed if the query returns the new value, or none if the value was removed."""
        exchange.replies |= {f"{method} {path}": ["lost"] for method in ("POST", "DELETE")}
        states: list[str] = []
        for value in (after, before):
            exchange.replies[f"GET {path}"] = [(200, value)]
            with pytest.raises(NoResponse) as raised:
                await attrgetter(name)(desk)(**arguments)
            states.append((await desk.resolve(raised.value)).state)

        assert states == ["done", "not_done"]

    @pytest.mark.parametrize(("status", "state"), [("CANCELED", "done"), ("FILLED", "not_done")])
    async def test_the_orders_of_a_list_show_whether_it_was_cancelled(
        self, desk: Client, exchange: Scripted, status: str, state: str
    ) -> None:
        """The list itself only says that no order is open."""
        done = sample_of("margin.oco")["answer"] | {"listOrderStatus": "ALL_DONE"}
        exchange.replies |= {
            "DELETE /papi/v1/margin/orderList": ["lost"],
            "GET /papi/v1/margin/orderList": [(200, done)],
            "GET /papi/v1/margin/order": [(200, sample_of("margin.order")["answer"] | {"status": status})],
        }
        with pytest.raises(NoResponse) as raised:
            await desk.margin.cancel_oco("LTCBTC", list_client_order_id="h2USkA5YQpaXHPIrkd96xE")

        outcome = await desk.resolve(raised.value)

        assert (outcome.state, isinstance(outcome.result, MarginOco)) == (state, True)
        assert outcome.looked_in == ("margin.oco", "margin.order")

    async def test_an_order_list_is_found_by_its_client_id(self, desk: Client, exchange: Scripted) -> None:
        """The query of order lists takes no symbol, and calls the id otherwise."""
        listed = sample_of("margin.oco")["answer"] | {"listClientOrderId": "mine"}
        exchange.replies |= {
            "POST /papi/v1/margin/order/oco": ["lost"],
            "GET /papi/v1/margin/orderList": [(200, listed | {"transactionTime": int(START * 1000)})],
        }
        with pytest.raises(NoResponse) as raised:
            await desk.margin.new_oco(
                symbol="LTCBTC", side="SELL", quantity=1, price=3, stop_price=2, list_client_order_id="mine"
            )

        outcome = await desk.resolve(raised.value)

        assert (outcome.state, outcome.result.order_list_id) == ("done", 27)
        assert dict(exchange.sent[-1].url.params)["origClientOrderId"] == "mine"
        assert "symbol" not in exchange.sent[-1].url.params

    async def test_a_loan_cannot_be_proved(self, desk: Client, exchange: Scripted) -> None:
        """It has no id of the caller, so the reason says what to read, and nothing is asked."""
        exchange.replies["POST /papi/v1/marginLoan"] = ["lost"]
        with pytest.raises(NoResponse) as raised:
            await desk.margin.borrow("USDT", 100)

        outcome = await desk.resolve(raised.value)

        assert (outcome.state, len(exchange.sent)) == ("still_unknown", 1)
        assert "margin.loan_history" in outcome.reason


CANCELLED: list[tuple[Callable[[Client], Coroutine[Any, Any, Any]], str]] = [
    (lambda client: client.um.new_order(**_ORDER), "mine"),
    (lambda client: client.um.cancel_order("BTCUSDT", order_id=7), "um.cancel_order"),
    (lambda client: client.create_listen_key(), ""),
]


@pytest.mark.parametrize(("call", "warning"), CANCELLED, ids=["order", "cancel", "listen key"])
async def test_a_cancelled_write_is_logged(
    clock: FakeClock,
    caplog: pytest.LogCaptureFixture,
    call: Callable[[Client], Coroutine[Any, Any, Any]],
    warning: str,
) -> None:
    """An order is not forgotten when its task is; a listen key may be asked for again."""
    reached = asyncio.Event()

    async def hang(_: httpx.Request) -> httpx.Response:
        reached.set()
        await asyncio.Event().wait()
        raise AssertionError

    budget = Budget(monotonic=clock, wall=clock, sleep=clock.sleep)
    async with (
        Session(http=httpx.MockTransport(hang), budget=budget) as session,
        Client(KEY, SECRET, session=session) as client,
    ):
        task = asyncio.ensure_future(call(client))
        await reached.wait()
        task.cancel()
        with caplog.at_level(logging.WARNING), pytest.raises(asyncio.CancelledError):
            await task

    assert warning in caplog.text
    assert bool(caplog.records) == bool(warning)


async def test_a_read_cannot_be_resolved(desk: Client, exchange: Scripted) -> None:
    """A read changes nothing."""
    exchange.replies["GET " + ORDER] = ["lost"]
    with pytest.raises(NoResponse) as raised:
        await desk.um.order("BTCUSDT", order_id=7)

    with pytest.raises(ConfigurationError):
        await desk.resolve(raised.value)


async def test_an_undeclared_write_stays_unknown(desk: Client, exchange: Scripted) -> None:
    """Only a declaration says which query shows its effect."""
    exchange.replies["POST /papi/v1/new"] = ["lost"]
    with pytest.raises(NoResponse) as raised:
        await desk.request("POST", "/papi/v1/new", weight=1, returns=dict)

    assert (await desk.resolve(raised.value)).state == "still_unknown"


@pytest.mark.parametrize("last", [(400, {"code": -4059, "msg": "No need to change position side."}), BUSY])
async def test_an_earlier_attempt_is_not_forgotten(exchange: Scripted, clock: FakeClock, last: Reply) -> None:
    """A write that is repeated may have been executed by an attempt whose response was lost."""
    exchange.replies |= {
        "POST /papi/v1/um/positionSide/dual": ["lost", last],
        "GET /papi/v1/um/positionSide/dual": [(200, {"dualSidePosition": True})],
    }
    budget = Budget(monotonic=clock, wall=clock, sleep=clock.sleep)
    async with (
        Session(http=httpx.MockTransport(exchange), budget=budget) as session,
        Client(KEY, SECRET, session=session, attempts=2) as client,
    ):
        with pytest.raises(PortfolioMarginError) as raised:
            await client.um.set_position_mode(dual_side_position=True)
        outcome = await client.resolve(raised.value)

    assert raised.value.outcome == "unknown"
    assert "earlier attempt" in str(raised.value)
    assert outcome.state == "done"


class Told:
    """An open stream that has shown an order, or has shown nothing since before it was placed."""

    def __init__(self, order: Any = None) -> None:
        self.order = order

    async def wait(self) -> None:
        """Wait until cancelled if no event shows the order."""
        if self.order is None:
            await asyncio.Event().wait()

    def is_watched_since(self, time: float) -> bool:
        """Return that the stream has been up all the time."""
        return time > 0


class TestStreams:
    """An open user data stream as a second source."""

    async def test_an_event_proves_a_placement_that_no_query_shows(self, desk: Client, exchange: Scripted) -> None:
        """An event proves a placement although queries lag; a few queries are made to return the order."""
        exchange.replies[f"GET {ORDER}"] = [UNKNOWN]
        error = await lost(desk)
        shown = SimpleNamespace()

        outcome = await find_out(desk, error, give_up_after=120.0, events=Told(shown))

        assert (outcome.state, outcome.result) == ("done", shown)
        assert exchange.count("GET", ORDER) == 4
        assert outcome.seconds < 3

    @pytest.mark.parametrize(("status", "state"), [("CANCELED", "done"), ("FILLED", "not_done")])
    async def test_an_event_of_its_end_decides_a_cancel_that_no_query_shows(
        self, desk: Client, exchange: Scripted, status: str, state: str
    ) -> None:
        """The event of an order's end decides a cancel although queries still show the order as open."""
        exchange.replies[f"GET {ORDER}"] = [(200, row(status="NEW"))]
        with pytest.raises(NoResponse) as raised:
            await desk.um.cancel_order("BTCUSDT", order_id=7)
        shown = SimpleNamespace(status=status)

        outcome = await find_out(desk, raised.value, give_up_after=120.0, events=Told(shown))

        assert (outcome.state, outcome.result) == (state, shown)
        assert exchange.count("GET", ORDER) == 4
        assert outcome.seconds < 3

    async def test_an_event_decides_a_cancel_if_the_queries_fail(self, desk: Client, exchange: Scripted) -> None:
        """An event decides a cancel even if every query fails."""
        exchange.replies[f"GET {ORDER}"] = [BUSY]
        with pytest.raises(NoResponse) as raised:
            await desk.um.cancel_order("BTCUSDT", order_id=7)

        outcome = await find_out(
            desk, raised.value, give_up_after=20.0, events=Told(SimpleNamespace(status="CANCELED"))
        )

        assert outcome.state == "done"

    async def test_silence_of_a_stream_decides_sooner(self, desk: Client, exchange: Scripted, clock: FakeClock) -> None:
        """A silent stream decides four seconds after the request has expired, instead of ten."""
        exchange.replies[f"GET {ORDER}"] = [UNKNOWN]
        error = await lost(desk)
        began = clock()

        outcome = await find_out(desk, error, give_up_after=120.0, events=Told())

        assert outcome.state == "not_found"
        assert EXPIRES + 4 <= clock() - began + 1 < EXPIRES + 10
