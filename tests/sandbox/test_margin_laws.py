"""What always holds for cross margin, whatever an account does."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from binance_pm.sandbox import SimulatedAccount
from binance_pm.sandbox.handlers import HANDLERS, Context
from binance_pm.sandbox.margin import STOPS
from binance_pm.sandbox.market import Market
from binance_pm.sandbox.messages import Refusal
from binance_pm.sandbox.state import AccountState

NOON = 1_800_000_000.0
PAIR = "BTCUSDT"
EFFECTS = ["NO_SIDE_EFFECT", "MARGIN_BUY", "AUTO_REPAY", "AUTO_BORROW_REPAY"]


class Margin(RuleBasedStateMachine):
    """An account that trades, borrows and repays in a market that jumps."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOON
        self.market = Market(seed=7, start=NOON)
        self.market.set_price(PAIR, Decimal(60000), NOON)
        self.state = AccountState(SimulatedAccount("desk", uni_mmr="30"), self.market, is_liquidated=False)
        self.opening = {asset: self.state.wallet.free[asset] for asset in ("USDT", "USDC", "BTC")}

    def call(self, name: str, **params: object) -> None:
        """Call an endpoint; a refusal changes nothing that the laws see."""
        self.state.advance(self.now, at_once=True)
        sent = {key: str(value) for key, value in params.items()}
        try:
            HANDLERS[f"margin.{name}"](Context(sent, self.now, self.market, self.state))
        except Refusal:
            return

    def price(self, offset: int) -> Decimal:
        """Return a price near the market."""
        return self.market.price(PAIR, self.now).to_integral_value() + offset * 10

    @rule(
        side=st.sampled_from(["BUY", "SELL"]),
        kind=st.sampled_from(["LIMIT", "MARKET", "LIMIT_MAKER", *sorted(STOPS)]),
        quantity=st.integers(1, 300),
        offsets=st.tuples(st.integers(-15, 15), st.integers(-15, 15)),
        effect=st.sampled_from(EFFECTS),
        force=st.sampled_from(["GTC", "IOC", "FOK"]),
    )
    def place(self, side: str, kind: str, quantity: int, offsets: tuple[int, int], effect: str, force: str) -> None:
        """Place an order of any type."""
        params: dict[str, object] = {"symbol": PAIR, "side": side, "type": kind, "sideEffectType": effect}
        params["quantity"] = Decimal(quantity) / 100
        if kind not in {"MARKET", "STOP_LOSS", "TAKE_PROFIT"}:
            params["price"] = self.price(offsets[0])
        if kind in {"LIMIT", "STOP_LOSS_LIMIT", "TAKE_PROFIT_LIMIT"}:
            params["timeInForce"] = force
        if kind in STOPS:
            params["stopPrice"] = self.price(offsets[1])
        self.call("new_order", **params)

    @rule(
        side=st.sampled_from(["BUY", "SELL"]),
        quantity=st.integers(1, 100),
        offset=st.integers(1, 10),
        effect=st.sampled_from(["NO_SIDE_EFFECT", "MARGIN_BUY"]),
    )
    def place_list(self, side: str, quantity: int, offset: int, effect: str) -> None:
        """Place an OCO around the market."""
        sign = -1 if side == "BUY" else 1
        prices = {"price": self.price(sign * offset), "stopPrice": self.price(-sign * offset)}
        amount = Decimal(quantity) / 100
        self.call("new_oco", symbol=PAIR, side=side, quantity=amount, sideEffectType=effect, **prices)

    @precondition(lambda self: bool(self.state.margin.matching.open))
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        """Cancel an open order."""
        order_id = data.draw(st.sampled_from(sorted(self.state.margin.matching.open)))
        self.call("cancel_order", symbol=PAIR, orderId=order_id)

    @rule(asset=st.sampled_from(["USDT", "BTC"]), amount=st.integers(1, 1000), borrows=st.booleans())
    def lend(self, asset: str, amount: int, *, borrows: bool) -> None:
        """Borrow or repay."""
        self.call("borrow" if borrows else "repay", asset=asset, amount=amount if asset == "USDT" else amount / 1000)

    @rule(price=st.integers(59_800, 60_200), seconds=st.sampled_from([0, 1, 3600]))
    def jump(self, price: int, seconds: int) -> None:
        """Let time pass, and the price jump."""
        self.now += seconds
        self.state.advance(self.now, at_once=True)
        self.market.set_price(PAIR, Decimal(price), self.now)
        self.state.advance(self.now, at_once=True)

    @invariant()
    def nothing_is_made_or_lost(self) -> None:
        """What is held less what is owed changes by trades, fees and interest alone."""
        changes: defaultdict[str, Decimal] = defaultdict(Decimal)
        for trade in self.state.margin.trades:
            sign = 1 if trade.side == "BUY" else -1
            changes["BTC"] += sign * trade.quantity
            changes["USDT"] -= sign * trade.quantity * trade.price
            changes[trade.commission_asset] -= trade.commission
        for row in self.state.loans.interest:
            changes[row.asset] -= row.interest
        wallet = self.state.wallet
        for asset, opening in self.opening.items():
            assert wallet.margin(asset) - wallet.owed(asset) == opening + changes[asset]

    @invariant()
    def locks_belong_to_open_orders(self) -> None:
        """Nothing stays locked without an order, and nothing is negative."""
        wallet, orders = self.state.wallet, self.state.margin.matching.open.values()
        for asset, side in (("USDT", "BUY"), ("BTC", "SELL")):
            assert wallet.locked[asset] == sum(order.locked for order in orders if order.side == side)
            assert min(wallet.locked[asset], wallet.borrowed[asset], wallet.interest[asset]) >= 0
            assert wallet.free[asset] >= 0

    @invariant()
    def at_most_one_order_of_a_list_is_executed(self) -> None:
        """And a list has both orders open, or none."""
        for row in self.state.margin.lists.values():
            assert sum(bool(leg.executed) for leg in row.legs) <= 1
            executed = any(leg.executed for leg in row.legs)
            assert executed or len({leg.is_open for leg in row.legs}) == 1 or not row.legs[1].is_open


TestMargin = Margin.TestCase
TestMargin.settings = settings(
    max_examples=15,
    stateful_step_count=20,
    suppress_health_check=[HealthCheck.too_slow],
)
