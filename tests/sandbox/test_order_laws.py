"""What always holds, whatever an account does on the exchange."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from binance_pm.sandbox import SimulatedAccount
from binance_pm.sandbox.contracts import Product
from binance_pm.sandbox.handlers import HANDLERS, Context
from binance_pm.sandbox.market import Market
from binance_pm.sandbox.messages import Refusal
from binance_pm.sandbox.state import AccountState

if TYPE_CHECKING:
    from binance_pm.sandbox.handlers import Fields
    from binance_pm.sandbox.records import OrderRecord

NOON = 1_800_000_000.0
SYMBOLS = {"UM": "BTCUSDT", "CM": "BTCUSD_PERP"}
FORCES = ["GTC", "IOC", "FOK", "GTX"]


class Trading(RuleBasedStateMachine):
    """An account that places, changes and cancels futures orders in a market that jumps."""

    @initialize(
        product=st.sampled_from(["UM", "CM"]), hedged=st.booleans(), seed=st.sampled_from([7, 11]), burns=st.booleans()
    )
    def begin(self, product: Product, seed: int, *, hedged: bool, burns: bool) -> None:
        """Open a rich account with flat positions in the symbol that is traded."""
        self.product: Product = product
        self.now = NOON
        self.market = Market(seed=seed, start=NOON)
        self.market.set_price("BTCUSDT", Decimal(60000), NOON)
        self.state = AccountState(SimulatedAccount("desk", uni_mmr="100"), self.market, is_liquidated=False)
        self.state.is_hedged = hedged
        self.state.um.burns_bnb = burns
        self.state.wallet.book("UM", "BNB", Decimal("0.01"), "TRANSFER", int(NOON * 1000))
        self.before = self.amounts()

    def call(self, name: str, **params: object) -> Fields | None:
        """Return the response of an endpoint, or None if it refused."""
        sent = {"symbol": SYMBOLS[self.product]} | {key: str(value) for key, value in params.items()}
        self.state.advance(self.now, at_once=True)
        self.before = self.amounts()
        try:
            answer = HANDLERS[f"{self.product.lower()}.{name}"](Context(sent, self.now, self.market, self.state))
        except Refusal:
            return None
        assert isinstance(answer, dict)
        return answer

    def orders(self) -> list[OrderRecord]:
        """Return all orders of the product."""
        return list(self.state.futures(self.product).matching.orders.values())

    def amounts(self) -> dict[tuple[str, str], Decimal]:
        """Return the positions."""
        return {key: held.amount for key, held in self.state.futures(self.product).positions.items()}

    @rule(
        side=st.sampled_from(["BUY", "SELL"]),
        leg=st.sampled_from(["LONG", "SHORT"]),
        quantity=st.integers(1, 400),
        offset=st.integers(-20, 20),
        force=st.sampled_from([*FORCES, "MARKET"]),
        prevention=st.sampled_from(["", "EXPIRE_MAKER", "EXPIRE_TAKER", "EXPIRE_BOTH"]),
        reduces=st.booleans(),
    )
    def place(
        self, side: str, leg: str, quantity: int, offset: int, force: str, prevention: str, *, reduces: bool
    ) -> None:
        """Place an order around the market."""
        amount = Decimal(quantity) / 100 if self.product == "UM" else Decimal(quantity)
        params: dict[str, object] = {"side": side, "quantity": amount, "type": "MARKET"}
        if force != "MARKET":
            price = self.market.price("BTCUSDT", self.now).to_integral_value() + offset * 5
            params |= {"type": "LIMIT", "timeInForce": force, "price": price}
        if self.state.is_hedged:
            params["positionSide"] = leg
        elif reduces:
            params["reduceOnly"] = "true"
        if prevention and self.product == "UM":
            params["selfTradePreventionMode"] = prevention
        self.call("new_order", **params)
        self.check_legs(leg if self.state.is_hedged else "BOTH")

    def check_legs(self, leg: str) -> None:
        """An order changes no leg but its own, unless orders of the other leg were its counterparty."""
        now, key = self.amounts(), (SYMBOLS[self.product], leg)
        changed = {one for one in now if now[one] != self.before.get(one, Decimal(0))}
        latest = self.state.futures(self.product).trades[-1:]
        meets = bool(latest) and any(trade.is_maker for trade in self.state.futures(self.product).trades)
        assert changed <= {key} or meets

    @precondition(lambda self: any(order.is_open for order in self.orders()))
    @rule(data=st.data(), quantity=st.integers(1, 400), offset=st.integers(-20, 20))
    def amend(self, data: st.DataObject, quantity: int, offset: int) -> None:
        """Change an open order."""
        order = data.draw(st.sampled_from([order for order in self.orders() if order.is_open]))
        amount = Decimal(quantity) / 100 if self.product == "UM" else Decimal(quantity)
        price = self.market.price("BTCUSDT", self.now).to_integral_value() + offset * 5
        self.call("modify_order", orderId=order.order_id, side=order.side, quantity=amount, price=price)

    @precondition(lambda self: bool(self.orders()))
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        """Cancel an order, open or not: -2011 exactly if it is not open."""
        order = data.draw(st.sampled_from(self.orders()))
        self.state.advance(self.now, at_once=True)
        was_open = order.is_open
        assert (self.call("cancel_order", orderId=order.order_id) is not None) is (
            was_open and order.symbol == SYMBOLS[self.product]
        )

    @rule(price=st.integers(59_900, 60_100), seconds=st.sampled_from([0, 1, 10, 20_000]))
    def jump(self, price: int, seconds: int) -> None:
        """Let time pass, and the price jump."""
        self.now += seconds
        self.state.advance(self.now, at_once=True)
        self.market.set_price("BTCUSDT", Decimal(price), self.now)
        self.state.advance(self.now, at_once=True)

    @invariant()
    def wallets_change_by_income_alone(self) -> None:
        """The rows of each asset add up to its balance."""
        for product, rows in self.state.wallet.income.items():
            sums: defaultdict[str, Decimal] = defaultdict(Decimal)
            for row in rows:
                sums[row.asset] += row.amount
            for asset, total in sums.items():
                assert self.state.wallet.futures[product, asset] == total

    @invariant()
    def positions_are_the_sum_of_the_fills(self) -> None:
        """For each symbol and leg."""
        for desk in (self.state.um, self.state.cm):
            sums: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
            for trade in desk.trades:
                signed = trade.quantity if trade.side == "BUY" else -trade.quantity
                sums[trade.symbol, trade.position_side] += signed
            assert {key: held.amount for key, held in desk.positions.items() if held.amount} == {
                key: total for key, total in sums.items() if total
            }

    @invariant()
    def orders_are_open_or_closed(self) -> None:
        """An order is in the book exactly if it is open, and never filled by more than its quantity."""
        for desk in (self.state.um, self.state.cm):
            assert desk.matching.open == {key: one for key, one in desk.matching.orders.items() if one.is_open}
            for order in desk.matching.orders.values():
                assert 0 <= order.executed <= order.quantity or order.status == "CANCELED"
                assert order.executed == sum(trade.quantity for trade in order.trades)
                assert (order.status == "FILLED") is (order.executed == order.quantity)

    @invariant()
    def legs_keep_their_side(self) -> None:
        """In hedge mode a leg never turns."""
        for desk in (self.state.um, self.state.cm):
            for (_, side), held in desk.positions.items():
                assert side != "LONG" or held.amount >= 0
                assert side != "SHORT" or held.amount <= 0

    @invariant()
    def reduce_only_orders_reduced(self) -> None:
        """Every fill of a reduce-only order made the position smaller."""
        for desk in (self.state.um, self.state.cm):
            amounts: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
            for trade in desk.trades:
                key = (trade.symbol, trade.position_side)
                after = amounts[key] + (trade.quantity if trade.side == "BUY" else -trade.quantity)
                if desk.matching.orders[trade.order_id].reduce_only:
                    assert abs(after) < abs(amounts[key])
                    assert after * amounts[key] >= 0
                amounts[key] = after


TestTrading = Trading.TestCase
TestTrading.settings = settings(
    max_examples=40,
    stateful_step_count=25,
    suppress_health_check=[HealthCheck.too_slow],
)
