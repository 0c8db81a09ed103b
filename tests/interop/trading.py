"""Another client trades, and our client, the exchange and the other client agree on every field."""

from __future__ import annotations

import inspect
import json
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import pytest

from binance_pm import ENDPOINTS, Client
from binance_pm.sandbox.views import recorded_fields
from tests.interop.steps import ENDED, SCRIPTS, Step
from tests.support.encoded import encoded

if TYPE_CHECKING:
    from tests.interop.conftest import Served

Call = Callable[[str, Mapping[str, str]], Any]
_AMOUNTS = ("price", "origQty", "executedQty")
_SAME = ("symbol", "orderId", "side", "status")
_IDS = ("newClientOrderId", "origClientOrderId")


class Trader(NamedTuple):
    """Another client, as a function from our name of an endpoint and its parameters to the response.

    Attributes:
        offers: our names of the endpoints for which the client has a method.
        call: makes a call, and returns the response, or an awaitable of it, as JSON.
        sees: returns what the client can make of a response of an endpoint.
    """

    offers: Collection[str]
    call: Call
    sees: Callable[[str, Any], Any] = lambda _, told: told


Trade = Callable[[Trader], Coroutine[Any, Any, None]]
"""Lets a client do all steps of one product."""


class Trial:
    """One client on one exchange.

    Attributes:
        steps: how often the client called each endpoint.
    """

    def __init__(self, served: Served, ours: Client, trader: Trader) -> None:
        self.served = served
        self.steps: Counter[str] = Counter()
        self._answers: dict[str, Any] = {}
        self._ours = ours
        self._trader = trader

    async def run(self, product: str) -> None:
        """Let the client do all steps of a product that it offers, and compare after each of them."""
        for step in SCRIPTS[product]:
            if step.market:
                self.served.exchange.set_price("BTCUSDT", Decimal(step.market))
            if step.name in self._trader.offers:
                self.steps[step.name] += 1
                await self._step(step)
        if not self.steps:
            pytest.skip(f"the client has no methods for {product}")
        orders = self.served.exchange.orders(self.served.account)
        ended = {row.client_order_id: row.status for row in orders if row.product == product.upper()}
        assert ended.items() >= ENDED[product].items()
        if ENDED[product]:
            self._check_books(product)

    async def _step(self, step: Step) -> None:
        if step.code:
            with pytest.raises(Exception, match=r".*") as refused:
                await self._called(step)
            assert str(step.code) in f"{refused.value} {vars(refused.value)}"
            return
        answer = self._answers[step.name] = await self._called(step)
        if ENDPOINTS[step.name].method == "GET":
            # Our client reads later, but what it reads is compared as of the moment at which the other client read.
            told = await self.read(step.name, step.parameters, self.served.last_moment)
            assert answer == self._trader.sees(step.name, told), (step, answer, told)
            return
        await self._check_write(step, answer)

    async def _called(self, step: Step) -> Any:
        answer = self._trader.call(step.name, step.parameters)
        return await answer if inspect.isawaitable(answer) else answer

    def _check_books(self, product: str) -> None:
        """Compare trades, income, position and wallet, as the client read them, with the records of the exchange."""
        exchange, account, answers = self.served.exchange, self.served.account, self._answers
        trades = answers[f"{product}.trades"]
        symbol = trades[0]["symbol"]
        orders = [row for row in exchange.orders(account) if (row.product, row.symbol) == (product.upper(), symbol)]
        filled: defaultdict[int, Decimal] = defaultdict(Decimal)
        for trade in trades:
            filled[trade["orderId"]] += Decimal(trade["qty"])
        executed: defaultdict[int, Decimal] = defaultdict(Decimal)
        for row in orders:
            # Two ids can look alike to a client that rounds them.
            executed[self._trader.sees("", row.order_id)] += row.executed
        assert filled == {order_id: quantity for order_id, quantity in executed.items() if quantity}
        if f"{product}.income" in answers:
            income: defaultdict[str, Decimal] = defaultdict(Decimal)
            for row in answers[f"{product}.income"]:
                income[row["incomeType"]] += Decimal(row["income"])
            assert income["COMMISSION"] == -_sum(trades, "commission")
            assert income["REALIZED_PNL"] == _sum(trades, "realizedPnl")
        if f"{product}.position_risk" in answers:
            rows = attrgetter(product)(exchange.statement(account))
            held = sum(row.amount for row in rows if row.symbol == symbol)
            assert _sum(answers[f"{product}.position_risk"], "positionAmt") == held
        wallet = next(row["umWalletBalance"] for row in answers["balance"] if row["asset"] == "USDT")
        assert wallet == f"{exchange.statement(account).wallet:.8f}"

    async def read(self, name: str, parameters: Mapping[str, str], moment: float | None = None) -> Any:
        """Return what the exchange tells our client, which has decoded it completely.

        Args:
            name: the endpoint.
            parameters: its parameters, as sent.
            moment: return the response of this moment, in seconds since the epoch; None for the moment of the request.
        """
        endpoint = ENDPOINTS[name]
        method: Callable[..., Awaitable[object]] = attrgetter(name)(self._ours)
        value = await method(**endpoint.arguments(parameters))
        self.served.ours += 1
        told = self.served.answer(endpoint.path)
        assert encoded(value, told) == told
        return told if moment is None else self.served.answer(endpoint.path, moment)

    async def _check_write(self, step: Step, answer: Any) -> None:
        """Compare the response with our type for it, with the exchange's record and with what our client reads."""
        decoded = ENDPOINTS[step.name].decode(json.dumps(answer).encode())
        assert encoded(decoded, answer) == answer, step
        client_order_id = next((step.parameters[name] for name in _IDS if name in step.parameters), None)
        if client_order_id is None:
            return
        product = step.name.partition(".")[0]
        rows = self.served.exchange.orders(self.served.account, client_order_id)
        record = recorded_fields([row for row in rows if row.product == product.upper()][-1])
        assert {name: answer[name] for name in _SAME} == self._trader.sees(
            step.name, {name: record[name] for name in _SAME}
        ), step
        for name in _AMOUNTS:
            assert Decimal(answer[name]) == Decimal(record[name]), step
        told = await self.read(f"{product}.order", {"symbol": answer["symbol"], "origClientOrderId": client_order_id})
        shared = told.keys() & answer.keys() - {"clientOrderId"}
        for name in shared:
            assert _amount(answer[name]) == _amount(self._trader.sees(step.name, told[name])), (step, name)


def _sum(rows: Sequence[Mapping[str, Any]], field: str) -> Decimal:
    """Return the sum of a field that is text."""
    return sum((Decimal(row[field]) for row in rows), Decimal(0))


def _amount(value: object) -> object:
    """Return text that is an amount as a Decimal: an acknowledgement has 0 for 0.000."""
    try:
        return Decimal(value) if isinstance(value, str) else value
    except InvalidOperation:
        return value


def rounded(_: str, told: Any) -> Any:
    """Return a response whose whole numbers are those of JavaScript, which are floats."""
    match told:
        case bool():
            return told
        case int():
            return int(float(told))
        case list():
            return [rounded(_, one) for one in cast("list[object]", told)]
        case dict():
            return {name: rounded(_, one) for name, one in cast("dict[str, object]", told).items()}
        case _:
            return told
