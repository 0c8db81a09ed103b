"""Transfers between the wallets of an account, negative balances, and the bankruptcy loan."""

from __future__ import annotations

from typing import TYPE_CHECKING

from binance_pm.sandbox import facts, order_errors
from binance_pm.sandbox.handlers.accounts import balances
from binance_pm.sandbox.handlers.loans import negative_interest
from binance_pm.sandbox.handlers.registry import DAY, Context, Fields, handles
from binance_pm.sandbox.loans import BORROWABLE
from binance_pm.sandbox.market import amount
from binance_pm.sandbox.messages import Refusal
from binance_pm.sandbox.records import ZERO
from binance_pm.sandbox.settings import RepaymentRow
from binance_pm.sandbox.views import plain
from binance_pm.sandbox.wallet import collect, cover_negative

if TYPE_CHECKING:
    from binance_pm.sandbox.contracts import Product

_SUCCESS: Fields = {"msg": "success"}
_BNB = "BNB"
_LONGEST_HISTORY = 360 * DAY
_PRODUCTS: tuple[Product, ...] = ("UM", "CM")


@handles("auto_collection", "pro.auto_collection")
def auto_collection(context: Context) -> Fields:
    """Move everything but BNB from the futures wallets to cross margin."""
    _count_collection(context)
    for (product, asset), balance in tuple(context.state.wallet.futures.items()):
        if balance > 0 and asset != _BNB:
            collect(context.state.wallet, product, asset, balance, context.now)
    return _SUCCESS


@handles("asset_collection", "pro.asset_collection")
def asset_collection(context: Context) -> Fields:
    """Move an asset from the futures wallets to cross margin: all of it, or an amount from one wallet."""
    _count_collection(context)
    asset, wanted, kind = context.parameters["asset"], context.decimal("amount"), context.text("futureType")
    if (wanted is None) != (kind is None):
        raise Refusal(order_errors.BAD_COMBINATION)
    wallet = context.state.wallet
    if asset == _BNB or asset not in BORROWABLE:
        raise Refusal(facts.BAD_ASSET)
    if kind == "OPTION":
        # No account of the local exchange holds options.
        raise Refusal(order_errors.BALANCE_NOT_SUFFICIENT)
    for product in _PRODUCTS:
        held = wallet.futures.get((product, asset), ZERO)
        if kind not in (None, product):
            continue
        if wanted is not None and wanted > held:
            raise Refusal(order_errors.BALANCE_NOT_SUFFICIENT)
        if held > 0:
            collect(wallet, product, asset, held if wanted is None else wanted, context.now)
    return _SUCCESS


def _count_collection(context: Context) -> None:
    context.state.settings.count("collection", context.now, most=500, seconds=3600, span="an hour")


@handles("bnb_transfer")
def bnb_transfer(context: Context) -> Fields:
    """Move BNB between cross margin and the USD-M wallet."""
    return _bnb_transfer(context, most=10)


@handles("pro.bnb_transfer")
def pro_bnb_transfer(context: Context) -> Fields:
    """Move BNB between cross margin and the USD-M wallet."""
    return _bnb_transfer(context, most=2)


def _bnb_transfer(context: Context, *, most: int) -> Fields:
    wallet, moved = context.state.wallet, context.decimal("amount") or ZERO
    is_to_um = context.parameters["transferSide"] == "TO_UM"
    available = wallet.free[_BNB] if is_to_um else wallet.futures["UM", _BNB]
    if not 0 < moved <= available:
        raise Refusal(order_errors.BALANCE_NOT_SUFFICIENT)
    context.state.settings.count(f"bnb-{most}", context.now, most=most, seconds=600, span="10 minutes")
    signed = moved if is_to_um else -moved
    wallet.transfer(_BNB, -signed, context.time)
    return {"tranId": wallet.book("UM", _BNB, signed, "TRANSFER", context.time)}


@handles("repay_futures_switch", "pro.repay_futures_switch")
def repay_futures_switch(context: Context) -> Fields:
    """Whether negative balances are covered every hour."""
    return {"autoRepay": context.state.settings.repays_futures}


@handles("set_repay_futures_switch", "pro.set_repay_futures_switch")
def set_repay_futures_switch(context: Context) -> Fields:
    """Let negative balances be covered every hour, or not."""
    settings = context.state.settings
    settings.count("switch", context.now, most=20, seconds=24 * 3600, span="a day")
    settings.repays_futures = context.flag("autoRepay")
    return _SUCCESS


@handles("repay_futures_negative_balance", "pro.repay_futures_negative_balance")
def repay_futures_negative_balance(context: Context) -> Fields:
    """Cover negative balances from cross margin now; nothing happens if there are none."""
    cover_negative(context.state.wallet, context.now)
    return _SUCCESS


@handles("negative_balance_exchange_history")
def negative_balance_exchange_history(context: Context) -> Fields:
    """The conversions that covered negative balances, newest first."""
    start, end = context.window(92 * DAY)
    found = [row for row in reversed(context.state.loans.exchanges) if start <= row.time <= end]
    rows: list[Fields] = [
        {
            "startTime": row.time,
            "endTime": row.time,
            "details": [
                {
                    "asset": row.asset,
                    "negativeBalance": plain(row.negative),
                    "negativeMaxThreshold": plain(row.threshold),
                }
            ],
        }
        for row in found
    ]
    return {"total": len(rows), "rows": rows}


@handles("pro.negative_balance_interest_history")
def pro_negative_balance_interest_history(context: Context) -> list[Fields]:
    """The interest of negative balances, newest first."""
    return negative_interest(context, "interestAccruedTime")


@handles("pro.balance")
def pro_balance(context: Context) -> list[Fields]:
    """Balances by asset; SPAN accounts have options too."""
    asset, is_span = context.text("asset"), context.state.account.account_type == "PM_3"
    options = {"optionWalletBalance": amount(ZERO), "optionEquity": amount(ZERO)} if is_span else {}
    rows = [row | options for row in balances(context) if asset in (None, row["asset"])]
    if not rows:
        raise Refusal(facts.BAD_ASSET)
    return rows


@handles("pro.bankruptcy_loan")
def bankruptcy_loan(context: Context) -> Fields:
    """What the exchange lent when the account was worth less than nothing."""
    liquidation = context.state.liquidation
    return {"asset": "USDT", "amount": amount(liquidation.loan if liquidation else ZERO)}


@handles("pro.repay_bankruptcy_loan")
def repay_bankruptcy_loan(context: Context) -> Fields:
    """Repay the whole loan from USDT of cross margin."""
    state = context.state
    loan = state.liquidation.loan if state.liquidation else ZERO
    if state.liquidation is None or not loan:
        raise Refusal(order_errors.NO_LIABILITY)
    if state.wallet.free["USDT"] < loan:
        raise Refusal(order_errors.TOO_LITTLE_TO_REPAY)
    state.wallet.free["USDT"] -= loan
    state.liquidation.loan = ZERO
    state.settings.repayments.append(RepaymentRow(asset="USDT", amount=loan, time=context.time))
    return {"tranId": state.wallet.new_transaction()}


@handles("pro.bankruptcy_loan_repay_history")
def bankruptcy_loan_repay_history(context: Context) -> Fields:
    """The repayments of the bankruptcy loan, newest first."""
    start, end = context.window(_LONGEST_HISTORY)
    rows = [row for row in reversed(context.state.settings.repayments) if start <= row.time <= end]
    size, current = context.limit(10, 100, "size"), context.number("current") or 1
    page = rows[(current - 1) * size : current * size]
    shown = [{"asset": row.asset, "amount": amount(row.amount), "repayTime": row.time} for row in page]
    return {"total": len(rows), "rows": shown}
