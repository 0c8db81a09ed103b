"""Rows of the past, so that tests can read long histories of any shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from itertools import cycle
from typing import TYPE_CHECKING, NamedTuple

from binance_pm.sandbox.loans import DAILY_RATE, InterestRow, LoanRow
from binance_pm.sandbox.records import IncomeRow, OrderRecord, TradeRecord

if TYPE_CHECKING:
    from binance_pm.sandbox.contracts import Contract, Product
    from binance_pm.sandbox.state import AccountState

_PRICE = Decimal(50_000)
_CENT = Decimal("0.01")


class PastRows(NamedTuple):
    """Where and when the rows are."""

    state: AccountState
    product: Product
    contract: Contract
    times: Sequence[int]
    late: Mapping[int, int]

    def appears(self, time: int) -> int:
        """Return when a row of a time is shown first."""
        return time + self.late.get(time, 0)


def add(state: AccountState, name: str, times: Sequence[int], *, symbol: str, late: Mapping[int, int]) -> None:
    """Add rows to a list; see `Exchange.add_history`."""
    if name not in KINDS:
        raise ValueError(f"{name!r} cannot be extended: give one of {', '.join(KINDS)}")
    product: Product = "UM" if name.startswith("um.") else "CM" if name.startswith("cm.") else "MARGIN"
    contract = state.market.contract(product, symbol)
    if contract is None:
        raise ValueError(f"{product} has no symbol {symbol!r}")
    if times:
        KINDS[name](PastRows(state, product, contract, times, late))


def _add_orders(rows: PastRows) -> None:
    desk = rows.state.futures(rows.product)
    first = min(desk.matching.orders, default=desk.matching.new_id()) - len(rows.times)
    for number, time in enumerate(rows.times, first):
        order = _order(rows, number, time)
        order.hidden_until = rows.appears(time) / 1000
        desk.matching.orders[number] = order


def _add_trades(rows: PastRows) -> None:
    desk = rows.state.futures(rows.product)
    order = _order(rows, min(desk.matching.orders, default=desk.matching.new_id()) - 1, rows.times[0])
    desk.matching.orders[order.order_id] = order
    first = min((trade.trade_id for trade in desk.trades), default=50_000_000) - len(rows.times)
    desk.trades[:0] = [
        TradeRecord(
            trade_id=number,
            order_id=order.order_id,
            symbol=order.symbol,
            side=order.side,
            position_side=order.position_side,
            price=_PRICE,
            quantity=rows.contract.step,
            is_maker=True,
            commission=_CENT,
            commission_asset=rows.contract.settled_in,
            time=time,
            appears=rows.appears(time),
        )
        for number, time in enumerate(rows.times, first)
    ]


def _add_income(rows: PastRows) -> None:
    wallet, asset = rows.state.wallet, rows.contract.settled_in
    added = [
        IncomeRow(
            symbol=rows.contract.symbol,
            kind=kind,
            amount=amount,
            asset=asset,
            time=time,
            transaction=wallet.new_transaction(),
            appears=rows.appears(time),
        )
        for time, (kind, amount) in zip(rows.times, cycle(_INCOME), strict=False)
    ]
    wallet.income[rows.product] = sorted([*added, *wallet.income[rows.product]], key=lambda row: row.time)
    wallet.futures[rows.product, asset] += sum(row.amount for row in added)


_INCOME = ("FUNDING_FEE", _CENT), ("COMMISSION", -_CENT), ("FUNDING_FEE", -_CENT), ("REALIZED_PNL", _CENT)


def _add_loans(rows: PastRows) -> None:
    loans = rows.state.loans
    loans.loans = sorted([*_loans(rows), *loans.loans], key=lambda row: row.time)


def _add_repayments(rows: PastRows) -> None:
    loans = rows.state.loans
    loans.repayments = sorted([*_loans(rows), *loans.repayments], key=lambda row: row.time)


def _add_interest(rows: PastRows) -> None:
    added = [
        InterestRow(
            transaction=rows.state.wallet.new_transaction(),
            asset=rows.contract.base,
            principal=_CENT,
            interest=_CENT,
            rate=DAILY_RATE,
            kind="PERIODIC",
            time=time,
            appears=rows.appears(time),
        )
        for time in rows.times
    ]
    rows.state.loans.interest = sorted([*added, *rows.state.loans.interest], key=lambda row: row.time)


def _loans(rows: PastRows) -> list[LoanRow]:
    return [
        LoanRow(
            transaction=rows.state.wallet.new_transaction(),
            asset=rows.contract.base,
            principal=_CENT,
            time=time,
            appears=rows.appears(time),
        )
        for time in rows.times
    ]


def _order(rows: PastRows, number: int, time: int) -> OrderRecord:
    return OrderRecord(
        product=rows.product,
        contract=rows.contract,
        order_id=number,
        client_order_id=f"past-{number}",
        side="BUY",
        quantity=rows.contract.step,
        executed=rows.contract.step,
        paid=rows.contract.step * _PRICE,
        value=rows.contract.notional(rows.contract.step, _PRICE),
        price=_PRICE,
        status="FILLED",
        time=time,
        update_time=time,
    )


KINDS: Mapping[str, Callable[[PastRows], None]] = {
    "um.all_orders": _add_orders,
    "cm.all_orders": _add_orders,
    "um.trades": _add_trades,
    "cm.trades": _add_trades,
    "um.income": _add_income,
    "cm.income": _add_income,
    "margin.loan_history": _add_loans,
    "margin.repay_history": _add_repayments,
    "margin.interest_history": _add_interest,
}
"""The lists that can be extended, by endpoint."""
