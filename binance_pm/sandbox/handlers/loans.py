"""Loans of cross margin and their history."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from binance_pm.sandbox import facts, order_errors
from binance_pm.sandbox.handlers.registry import DAY, Context, Fields, handles
from binance_pm.sandbox.history import shown
from binance_pm.sandbox.loans import BORROW_LIMIT, BORROWABLE, InterestRow, LoanRow
from binance_pm.sandbox.market import amount
from binance_pm.sandbox.messages import Refusal
from binance_pm.sandbox.records import ZERO

_MONTH = 30 * DAY
_ARCHIVED_AFTER = 180 * DAY
_MOST_USD = 50_000
R = TypeVar("R", LoanRow, InterestRow)


def asset_of(context: Context) -> str:
    """Return the asset that was sent.

    Raises:
        Refusal: -1108, the exchange does not have it.
    """
    asset = context.parameters["asset"]
    if asset not in BORROWABLE:
        raise Refusal(facts.BAD_ASSET)
    return asset


@handles("margin.borrow")
def borrow(context: Context) -> Fields:
    """Borrow an amount of an asset."""
    asset, state = asset_of(context), context.state
    return {"tranId": state.loans.borrow(state, asset, context.decimal("amount") or ZERO, context.now)}


@handles("margin.repay")
def repay(context: Context) -> Fields:
    """Repay an amount of a loan, interest first."""
    return {"tranId": context.state.loans.repay(asset_of(context), context.decimal("amount") or ZERO, context.now)}


@handles("margin.repay_debt")
def repay_debt(context: Context) -> Fields:
    """Repay a loan with other assets, which are converted at their index prices."""
    asset, wallet, market = asset_of(context), context.state.wallet, context.market
    owed = context.decimal("amount") or wallet.owed(asset)
    named = context.text("specifyRepayAssets")
    others = named.split(",") if named else [name for name in wallet.assets() if name in BORROWABLE]
    if not 0 < owed <= wallet.owed(asset):
        raise Refusal(order_errors.EXCEEDS_DEBT)
    price = market.usd(asset, context.now)
    if owed * price > _MOST_USD:
        raise Refusal(facts.INVALID_PARAMETER, name="amount")
    if any(other not in BORROWABLE for other in others):
        raise Refusal(facts.BAD_ASSET)
    worth = {other: wallet.free[other] * market.usd(other, context.now) for other in others}
    if sum(worth.values(), ZERO) < owed * price:
        raise Refusal(order_errors.BALANCE_TOO_SMALL)
    left = owed * price
    for other, usd in worth.items():
        part = min(left, usd)
        wallet.free[other] -= part / market.usd(other, context.now)
        left -= part
    wallet.free[asset] += owed
    context.state.loans.repay(asset, owed, context.now)
    return {
        "amount": amount(owed),
        "asset": asset,
        "specifyRepayAssets": others,
        "updateTime": context.time,
        "success": True,
    }


@handles("margin.max_borrowable")
def max_borrowable(context: Context) -> Fields:
    """What can be borrowed now, and the limit of the asset."""
    asset, state = asset_of(context), context.state
    limit = BORROW_LIMIT / context.market.usd(asset, context.now)
    return {"amount": amount(state.loans.most(state, asset, context.now)), "borrowLimit": amount(limit)}


@handles("margin.max_withdraw")
def max_withdraw(context: Context) -> Fields:
    """What can be transferred out of cross margin now."""
    asset = asset_of(context)
    free = context.statement.free / context.market.usd(asset, context.now)
    return {"amount": amount(max(ZERO, min(context.state.wallet.free[asset], free)))}


@handles("margin.loan_history")
def loan_history(context: Context) -> Fields:
    """What was borrowed, newest first."""
    return _page(context, context.state.loans.loans, _loan)


@handles("margin.repay_history")
def repay_history(context: Context) -> Fields:
    """What was repaid, newest first."""
    return _page(
        context,
        context.state.loans.repayments,
        lambda row: _loan(row) | {"amount": amount(row.principal + row.interest), "interest": amount(row.interest)},
    )


@handles("margin.interest_history")
def interest_history(context: Context) -> Fields:
    """The interest of loans, newest first."""
    return _page(
        context,
        context.state.loans.interest,
        lambda row: {
            "txId": row.transaction,
            "interestAccuredTime": row.time,
            "asset": row.asset,
            "rawAsset": row.asset,
            "principal": amount(row.principal),
            "interest": amount(row.interest),
            "interestRate": amount(row.rate),
            "type": row.kind,
        },
    )


@handles("negative_balance_interest_history")
def negative_balance_interest_history(context: Context) -> list[Fields]:
    """The interest of negative balances, newest first."""
    return negative_interest(context, "interestAccuredTime")


def negative_interest(context: Context, time_name: str) -> list[Fields]:
    """Return the interest of negative balances; the name of the time differs between the two products."""
    rows = _wanted(context, context.state.loans.negative)[: context.limit(10, 100, "size")]
    return [
        {
            "asset": row.asset,
            "interest": amount(row.interest),
            time_name: row.time,
            "interestRate": amount(row.rate),
            "principal": amount(row.principal),
        }
        for row in rows
    ]


def _loan(row: LoanRow) -> Fields:
    return {
        "txId": row.transaction,
        "asset": row.asset,
        "principal": amount(row.principal),
        "timestamp": row.time,
        "status": "CONFIRMED",
    }


def _page(context: Context, rows: Sequence[R], fields: Callable[[R], Fields]) -> Fields:
    """Return one page of rows, newest first, and the number of all."""
    found = _wanted(context, rows)
    size, current = context.limit(10, 100, "size"), context.number("current") or 1
    return {"rows": [fields(row) for row in found[(current - 1) * size : current * size]], "total": len(found)}


def _wanted(context: Context, rows: Sequence[R]) -> list[R]:
    """Return the rows of an asset, a transaction and a window, newest first."""
    asset, transaction = context.text("asset"), context.number("txId")
    now = context.time - (_ARCHIVED_AFTER if context.flag("archived") else 0)
    start, end = (0, now) if transaction is not None else context.window(_MONTH)
    return [
        row
        for row in reversed(shown(rows, context.time))
        if asset in (None, row.asset) and transaction in (None, row.transaction) and start <= row.time <= end
        if (row.time < context.time - _ARCHIVED_AFTER) is context.flag("archived")
    ]
