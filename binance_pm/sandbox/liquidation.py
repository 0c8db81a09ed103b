"""Liquidation: positions are closed step by step while uniMMR is at or below 1.05.

The size of a step is this exchange's own choice: in each step, a fifth of every position, until uniMMR is above the
line. If the account is worth nothing any more, all positions are closed at once, and what is missing becomes the
bankruptcy loan.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from binance_pm.sandbox.market import Level
from binance_pm.sandbox.records import ZERO, OrderRecord
from binance_pm.sandbox.valuation import LIQUIDATION

if TYPE_CHECKING:
    from binance_pm.sandbox.futures import Futures
    from binance_pm.sandbox.records import HeldPosition
    from binance_pm.sandbox.valuation import Valued

_SHARE = Decimal("0.2")
_SECONDS = 1.0
"""The least time between two steps."""


class Liquidation:
    """The liquidation of one account.

    Attributes:
        orders: the orders that closed positions by force, oldest first.
        loan: what the exchange lent in USDT when the account was worth less than nothing.
    """

    def __init__(self, *desks: Futures) -> None:
        self.orders: list[OrderRecord] = []
        self.loan: Decimal = ZERO
        self._desks = desks
        self._checked = 0.0

    def step(self, account: Valued, at: float) -> None:
        """Close positions if the account needs it at this time."""
        if abs(at - self._checked) < _SECONDS or not any(desk.held for desk in self._desks):
            return
        self._checked = at
        statement = account.statement(at)
        if statement.uni_mmr > LIQUIDATION:
            return
        share = _SHARE if statement.equity > 0 else Decimal(1)
        for desk in self._desks:
            for order in tuple(desk.matching.open.values()):
                desk.matching.cancel(order, at)
            for position in desk.held:
                self._close(desk, position, share, at)
        if share == 1:
            self._lend(account, at)

    def _close(self, desk: Futures, position: HeldPosition, share: Decimal, at: float) -> None:
        contract, is_long = position.contract, position.amount > 0
        quantity = min(abs(position.amount), max(contract.step, contract.rounded(abs(position.amount) * share)))
        order = OrderRecord(
            product=desk.product,
            contract=contract,
            client_order_id=f"autoclose-{int(at * 1000)}{len(self.orders) % 1_000_000:06}",
            side="SELL" if is_long else "BUY",
            position_side=position.side,
            time_in_force="IOC",
            quantity=quantity,
            closing=True,
        )
        # At the best price, however large: the insurance fund takes what the book cannot.
        level = Level(desk.market.best(contract, "BUY" if is_long else "SELL", at), quantity)
        order.price = level.price
        desk.matching.adopt(order, level.price, at)
        self.orders.append(order)

    def _lend(self, account: Valued, at: float) -> None:
        """Replace what is missing by a loan."""
        missing = -account.statement(at).actual_equity
        if missing > 0:
            self.loan += missing.quantize(Decimal("0.01"))
            self._desks[0].wallet.book("UM", "USDT", missing, "INSURANCE_CLEAR", int(at * 1000))
