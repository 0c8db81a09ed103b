"""Positions, leverage, fees and funding of one account's USD-M or COIN-M futures."""

from __future__ import annotations

from decimal import Decimal
from hashlib import sha512
from typing import TYPE_CHECKING

from binance_pm.sandbox.event_fields import account_update, order_trade_update
from binance_pm.sandbox.market import draws
from binance_pm.sandbox.matching import FUTURES_REFUSALS, Matching
from binance_pm.sandbox.records import ZERO, HeldPosition, OrderRecord, TradeRecord

if TYPE_CHECKING:
    from collections.abc import Iterable

    from binance_pm.sandbox.contracts import Contract, Product
    from binance_pm.sandbox.market import Level, Market
    from binance_pm.sandbox.pending_events import Fields
    from binance_pm.sandbox.wallet import Wallet

DEFAULT_LEVERAGE = 20
MAKER_FEE = Decimal("0.0002")
TAKER_FEE = Decimal("0.0005")
_BNB_DISCOUNT = Decimal("0.9")
_DIGITS = Decimal("0.00000001")
_FUNDING = Decimal("0.0001")
"""The highest funding rate, positive or negative, of one interval of eight hours."""


class Futures:
    """The futures of one account and product; also the `Settlement` of its orders.

    Attributes:
        product: UM or CM.
        market: its prices and contracts.
        wallet: the balances of the account.
        matching: its orders.
        positions: the positions by symbol and position side; a flat one may be missing.
        leverage: the leverage by symbol, for symbols whose leverage was changed.
        trades: all trades, oldest first.
        burns_bnb: whether fees are paid in BNB as long as the USD-M wallet has some.
    """

    def __init__(self, holder: str, product: Product, market: Market, wallet: Wallet) -> None:
        self.product: Product = product
        self.market = market
        self.wallet = wallet
        self.matching: Matching = Matching(holder, product, market, self, FUTURES_REFUSALS)
        self.positions: dict[tuple[str, str], HeldPosition] = {}
        self.leverage: dict[str, int] = {}
        self.trades: list[TradeRecord] = []
        self.burns_bnb = False
        self._next_trade = 67_880_000 + int.from_bytes(sha512(f"{holder}:{product}".encode()).digest()[:3]) * 10_000

    @property
    def held(self) -> list[HeldPosition]:
        """The positions that are not flat."""
        return [position for position in self.positions.values() if position.amount]

    def position(self, contract: Contract, side: str) -> HeldPosition:
        """Return the position of a contract and position side."""
        key = (contract.symbol, side)
        if key not in self.positions:
            self.positions[key] = HeldPosition(contract=contract, side=side)
        return self.positions[key]

    def leverage_of(self, symbol: str) -> int:
        """Return the leverage of a symbol."""
        return self.leverage.get(symbol, DEFAULT_LEVERAGE)

    def open_orders(self, symbol: str | None = None) -> list[OrderRecord]:
        """Return the open orders of a symbol, or all."""
        return [order for order in self.matching.open.values() if symbol in (None, order.symbol)]

    def opening(self, order: OrderRecord) -> Decimal:
        """Return the part of an order's remaining quantity that would open or enlarge a position."""
        if order.closing:
            return ZERO
        amount = self.position(order.contract, order.position_side).amount
        against = max(ZERO, -amount if order.is_buy else amount)
        return max(ZERO, order.remaining - against)

    def room(self, order: OrderRecord) -> Decimal:
        """Return the quantity by which the order may still be executed: one that closes cannot turn its position."""
        if not order.closing:
            return order.remaining
        amount = self.position(order.contract, order.position_side).amount
        return max(ZERO, -amount if order.is_buy else amount)

    def fill(self, order: OrderRecord, level: Level, now: float, *, is_maker: bool) -> None:
        """Change the position, and book profit and commission of one fill."""
        contract, time = order.contract, int(now * 1000)
        self._next_trade += 1
        trade = str(self._next_trade)
        signed = level.quantity if order.is_buy else -level.quantity
        position = self.position(contract, order.position_side)
        profit = position.add(signed, level.price, time).quantize(_DIGITS)
        position.realized += profit
        rate = MAKER_FEE if is_maker else TAKER_FEE
        asset, fee = self._fee(contract, contract.notional(level.quantity, level.price) * rate, now)
        record = TradeRecord(
            trade_id=self._next_trade,
            order_id=order.order_id,
            symbol=order.symbol,
            side=order.side,
            position_side=order.position_side,
            price=level.price,
            quantity=level.quantity,
            is_maker=is_maker,
            commission=fee,
            commission_asset=asset,
            profit=profit,
            time=time,
        )
        order.trades = [*order.trades, record]
        self.trades.append(record)
        symbol = order.symbol
        self.wallet.book(self.product, contract.settled_in, profit, "REALIZED_PNL", time, symbol=symbol, trade=trade)
        self.wallet.book(self.product, asset, -fee, "COMMISSION", time, symbol=symbol, trade=trade)

    def end(self, order: OrderRecord, now: float) -> None:
        """Release nothing: orders of futures lock no balance."""

    def report(self, order: OrderRecord, kind: str, now: float) -> None:
        """Record the event of an order; the event of balance and position precedes that of a fill."""
        if not self.wallet.events.is_recording:
            return
        time = int(now * 1000)
        if kind == "TRADE":
            self.wallet.events.add(self._account_update(order, time, now))
        self.wallet.events.add(order_trade_update(order, kind, time, self._open_notional(order.symbol)))

    def _account_update(self, order: OrderRecord, time: int, now: float) -> Fields:
        contract, product = order.contract, self.product
        assets = dict.fromkeys([contract.settled_in, order.trades[-1].commission_asset])
        # In hedge mode, the exchange was seen to push all positions of the symbol, including an empty position BOTH.
        sides = ("BOTH",) if order.position_side == "BOTH" else ("BOTH", "LONG", "SHORT")
        held = [
            self.positions.get((contract.symbol, side)) or HeldPosition(contract=contract, side=side) for side in sides
        ]
        price = self.market.price_of(contract, now)
        balances = [(asset, self.wallet.futures[product, asset], ZERO) for asset in assets]
        return account_update(product, "ORDER", time, balances, [(position, price) for position in held])

    def _open_notional(self, symbol: str) -> tuple[Decimal, Decimal]:
        """Return the value of the open buy orders and that of the open sell orders; 0 on COIN-M."""
        orders = [] if self.product == "CM" else self.open_orders(symbol)
        bids = sum((order.price * order.remaining for order in orders if order.is_buy), ZERO)
        return bids, sum((order.price * order.remaining for order in orders), ZERO) - bids

    def fund(self, now: float) -> None:
        """Book the funding of all positions at the end of an interval of eight hours."""
        for position in self.held:
            contract = position.contract
            rate = funding_rate(self.market.seed, contract.symbol, now)
            notional = contract.notional(position.amount, self.market.price_of(contract, now))
            self.wallet.book(
                self.product,
                contract.settled_in,
                -notional * rate,
                "FUNDING_FEE",
                int(now * 1000),
                symbol=contract.symbol,
            )

    def adopt(self, contract: Contract, quantity: Decimal, entry: Decimal, now: float) -> None:
        """Open a position by a market order that was filled at this price; the sign of the quantity is the side."""
        order = OrderRecord(
            product=self.product,
            contract=contract,
            side="BUY" if quantity > 0 else "SELL",
            type="MARKET",
            quantity=abs(quantity),
        )
        self.matching.adopt(order, entry, now)

    def contracts_of(self, orders: Iterable[OrderRecord]) -> list[str]:
        """Return the symbols with a position or one of these orders, each once."""
        held = (position.contract.symbol for position in self.held)
        return list(dict.fromkeys([*held, *(order.symbol for order in orders)]))

    def _fee(self, contract: Contract, fee: Decimal, now: float) -> tuple[str, Decimal]:
        """Return the asset in which a fee is paid, and the amount."""
        if self.burns_bnb and self.product == "UM":
            bnb = (fee * self.market.usd(contract.settled_in, now) / self.market.usd("BNB", now)) * _BNB_DISCOUNT
            if self.wallet.futures.get((self.product, "BNB"), ZERO) >= bnb:
                return "BNB", bnb.quantize(_DIGITS)
        return contract.settled_in, fee.quantize(_DIGITS)


def funding_rate(seed: int, symbol: str, now: float) -> Decimal:
    """Return the funding rate of the interval that ends at this time; longs pay if the rate is positive."""
    return (Decimal(str(2 * draws(seed, symbol, "funding", int(now))[0] - 1)) * _FUNDING).quantize(_DIGITS)
