"""Cross margin: orders that lock and exchange balances, stop orders, and order lists.

An order that lacks balance borrows it if its side effect says so; what it receives repays a loan likewise.
"""

from __future__ import annotations

from decimal import Decimal
from hashlib import sha512
from typing import TYPE_CHECKING

from binance_pm.sandbox import order_errors
from binance_pm.sandbox.conditional_event_fields import list_status
from binance_pm.sandbox.event_fields import execution_report
from binance_pm.sandbox.market import Level
from binance_pm.sandbox.matching import Matching, Refusals
from binance_pm.sandbox.messages import Refusal
from binance_pm.sandbox.records import OPEN_STATUSES, ZERO, ListRecord, OrderRecord, TradeRecord

if TYPE_CHECKING:
    from binance_pm.sandbox.contracts import Contract
    from binance_pm.sandbox.loans import Loans
    from binance_pm.sandbox.market import Market, Side
    from binance_pm.sandbox.valuation import Valued
    from binance_pm.sandbox.wallet import Wallet

FEE = Decimal("0.001")
BORROWING = frozenset({"MARGIN_BUY", "AUTO_BORROW_REPAY"})
REPAYING = frozenset({"AUTO_REPAY", "AUTO_BORROW_REPAY"})
STOPS = frozenset({"STOP_LOSS", "STOP_LOSS_LIMIT", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT"})
_MARGIN_REFUSALS = Refusals(order_errors.DUPLICATE_ORDER, order_errors.WOULD_MATCH, None)
_STOP_RESERVE = Decimal("1.05")
"""What a stop order without a limit price locks, as a multiple of its value at the stop price."""
_DIGITS = Decimal("0.00000001")


class CrossMargin:
    """The cross margin of one account; also the `Settlement` of its orders.

    Attributes:
        matching: its orders.
        lists: its order lists, by id.
        trades: all trades, oldest first.
        account_id: the number that queries show.
    """

    def __init__(self, holder: str, market: Market, wallet: Wallet, loans: Loans) -> None:
        self.matching: Matching = Matching(holder, "MARGIN", market, self, _MARGIN_REFUSALS)
        self.lists: dict[int, ListRecord] = {}
        self.trades: list[TradeRecord] = []
        self.account_id: int = int.from_bytes(sha512(holder.encode()).digest()[3:7])
        self._market = market
        self._wallet = wallet
        self._loans = loans
        self._next_trade = 1_000 + int.from_bytes(sha512(f"{holder}:MARGIN".encode()).digest()[:3]) * 1_000
        self._next_list = 1_900

    def place(self, account: Valued, order: OrderRecord, now: float) -> None:
        """Accept an order, after its balance was locked or borrowed.

        Raises:
            Refusal: -2010 for too little balance, a client order id in use, an order that would take or trigger at
                once; or as the loan that is needed is refused.
        """
        order.is_working = order.type not in STOPS
        if not order.is_working and self._is_triggered(order, now):
            raise Refusal(order_errors.WOULD_TRIGGER_AT_ONCE)
        self._lock(account, order, self.needed(order, now), now)
        try:
            self.matching.place(order, now)
        except Refusal:
            self.end(order, now)
            raise

    def place_list(
        self, account: Valued, legs: tuple[OrderRecord, OrderRecord], client_id: str, now: float
    ) -> ListRecord:
        """Accept an OCO: the balance that both orders need is locked once.

        Raises:
            Refusal: as for `place`.
        """
        stop, limit = legs
        if self._is_triggered(stop, now) or self.matching.would_take(limit, now):
            raise Refusal(order_errors.WOULD_TRIGGER_AT_ONCE)
        if any(one.client_id == client_id and one.is_open for one in self.lists.values()):
            raise Refusal(order_errors.DUPLICATE_ORDER)
        for leg in legs:
            self.matching.check_id(leg)
        self._lock(account, stop, max(self.needed(leg, now) for leg in legs), now)
        self._next_list += 1
        stop.is_working = False
        for leg in legs:
            leg.list_id = self._next_list
            self.matching.add(leg, now)
        row = ListRecord(
            list_id=self._next_list,
            client_id=client_id or f"list-{self._next_list}",
            symbol=stop.symbol,
            time=int(now * 1000),
            legs=legs,
            borrowed=stop.borrowed,
            borrowed_asset=_paid_in(stop),
        )
        self.lists[row.list_id] = row
        self._wallet.events.add(list_status(row, row.time))
        return row

    def cancel(self, order: OrderRecord, now: float, client_id: str = "") -> None:
        """Cancel an open order and the other order of its list; ``client_id`` is the id of the request."""
        order.cancel_id = client_id
        legs = self.lists[order.list_id].legs if order.list_id in self.lists else (order,)
        for leg in legs:
            if leg.is_open:
                self.matching.cancel(leg, now)

    def needed(self, order: OrderRecord, now: float) -> Decimal:
        """Return the balance that an order locks: of the quote asset to buy, of the base asset to sell."""
        if not order.is_buy:
            return order.quantity
        if order.price:
            return order.quantity * order.price
        if order.stop_price:
            return (order.quantity * order.stop_price * _STOP_RESERVE).quantize(_DIGITS)
        return self._cost(order.contract, order.quantity, now)

    def quantity_for(self, contract: Contract, side: Side, quote: Decimal, now: float) -> Decimal:
        """Return the quantity that a market order of this value in the quote asset buys or sells."""
        other: Side = "SELL" if side == "BUY" else "BUY"
        quantity, left = ZERO, quote
        for level in self._market.levels(contract, other, now):
            part = min(level.quantity, contract.rounded(left / level.price))
            quantity, left = quantity + part, left - part * level.price
        return quantity

    def step(self, now: float) -> None:
        """Trigger stop orders, and fill the orders that the market crosses now."""
        for order in tuple(self.matching.open.values()):
            if order.is_open and not order.is_working and self._is_triggered(order, now):
                self._end_other_leg(order, now)
                self.matching.activate(order, now)
        self.matching.step(now)

    def room(self, order: OrderRecord) -> Decimal:
        """Return the quantity that is not filled: nothing else limits an order of cross margin."""
        return order.remaining

    def fill(self, order: OrderRecord, level: Level, now: float, *, is_maker: bool) -> None:
        """Exchange the balances of one fill."""
        self._end_other_leg(order, now)
        contract, wallet = order.contract, self._wallet
        cost = level.quantity * level.price
        paid, received = (cost, level.quantity) if order.is_buy else (level.quantity, cost)
        asset = contract.base if order.is_buy else contract.quote
        from_lock = min(paid, order.locked)
        order.locked -= from_lock
        wallet.locked[_paid_in(order)] -= from_lock
        wallet.free[_paid_in(order)] -= paid - from_lock
        fee = (received * FEE).quantize(_DIGITS)
        wallet.free[asset] += received - fee
        time = int(now * 1000)
        for touched in (contract.base, contract.quote):
            wallet.updated["MARGIN", touched] = time
        self._next_trade += 1
        trade = TradeRecord(
            trade_id=self._next_trade,
            order_id=order.order_id,
            symbol=order.symbol,
            side=order.side,
            position_side="BOTH",
            price=level.price,
            quantity=level.quantity,
            is_maker=is_maker,
            commission=fee,
            commission_asset=asset,
            time=time,
        )
        order.trades = [*order.trades, trade]
        self.trades.append(trade)
        if order.side_effect in REPAYING:
            self._loans.repay_what_is_free(asset, now)

    def report(self, order: OrderRecord, kind: str, now: float) -> None:
        """Record the event of an order, and then that of the changed balances."""
        order.reported = order.status
        events, time = self._wallet.events, int(now * 1000)
        if not events.is_recording:
            return
        events.add(execution_report(order, kind, time, events.next_execution()))
        self._wallet.record_margin_balances(time)
        row = self.lists.get(order.list_id)
        if row and all(leg.reported not in OPEN_STATUSES for leg in row.legs):
            events.add(list_status(row, time))

    def end(self, order: OrderRecord, now: float) -> None:
        """Release what the order still locks, and repay what was borrowed for an order that was cancelled."""
        asset = _paid_in(order)
        self._wallet.locked[asset] -= order.locked
        self._wallet.free[asset] += order.locked
        left, order.locked = order.locked, ZERO
        if order.borrowed and order.repays_at_cancel and left:
            self._loans.repay_what_is_free(asset, now, min(left, order.borrowed))

    def _lock(self, account: Valued, order: OrderRecord, needed: Decimal, now: float) -> None:
        asset, wallet = _paid_in(order), self._wallet
        missing = needed - wallet.free[asset]
        if missing > 0:
            if order.side_effect not in BORROWING:
                raise Refusal(order_errors.INSUFFICIENT_BALANCE)
            self._loans.borrow(account, asset, missing, now)
            order.borrowed = missing
        wallet.free[asset] -= needed
        wallet.locked[asset] += needed
        order.locked = needed

    def _end_other_leg(self, order: OrderRecord, now: float) -> None:
        """End the other order of a list, and take over what it locks."""
        if order.list_id not in self.lists:
            return
        for leg in self.lists[order.list_id].legs:
            if leg is not order and leg.is_open:
                order.locked, leg.locked = order.locked + leg.locked, ZERO
                order.borrowed = max(order.borrowed, leg.borrowed)
                self.matching.cancel(leg, now, "EXPIRED")

    def _is_triggered(self, order: OrderRecord, now: float) -> bool:
        price = self._market.price_of(order.contract, now)
        rises = order.is_buy is not order.type.startswith("TAKE_PROFIT")
        return price >= order.stop_price if rises else price <= order.stop_price

    def _cost(self, contract: Contract, quantity: Decimal, now: float) -> Decimal:
        cost = ZERO
        for level in self._market.levels(contract, "SELL", now):
            part = min(quantity, level.quantity)
            cost, quantity = cost + part * level.price, quantity - part
        return cost


def _paid_in(order: OrderRecord) -> str:
    """Return the asset that an order pays with."""
    return order.contract.quote if order.is_buy else order.contract.base
