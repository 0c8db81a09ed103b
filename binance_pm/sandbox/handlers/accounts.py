"""The account as a whole: value, margin and balances, and what needs no account."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from binance_pm.sandbox import facts
from binance_pm.sandbox.handlers.registry import Context, Fields, handles
from binance_pm.sandbox.market import amount
from binance_pm.sandbox.messages import Refusal
from binance_pm.sandbox.records import ZERO

if TYPE_CHECKING:
    from binance_pm.sandbox.valuation import Statement

_ZERO = amount(Decimal(0))
_ALWAYS_LISTED = ("USDT", "USDC", "BTC")


@handles("ping", "pro_ping")
def ping(_: Context) -> Fields:
    """An empty object."""
    return {}


@handles("server_time", "pro_server_time")
def server_time(context: Context) -> Fields:
    """The exchange's clock in milliseconds."""
    return {"serverTime": context.time}


@handles("order_rate_limit")
def order_rate_limit(_: Context) -> list[Fields]:
    """The limit of orders of an account."""
    limit = facts.POOLS["papi-orders"].limit
    return [{"rateLimitType": "ORDERS", "interval": "MINUTE", "intervalNum": 1, "limit": limit}]


@handles("account")
def account(context: Context) -> Fields:
    """The whole account as ``GET /papi/v1/account`` returns it.

    As in real responses, two amounts may be empty text: ``totalMarginOpenLoss`` always, and ``totalAvailableBalance``
    if nothing is available.
    """
    statement = context.statement
    return {
        **_equity(statement),
        "accountInitialMargin": amount(statement.initial),
        "accountMaintMargin": amount(statement.maintenance),
        "accountStatus": statement.status,
        "virtualMaxWithdrawAmount": amount(statement.free),
        "totalAvailableBalance": amount(statement.free) if statement.free else "",
        "totalMarginOpenLoss": "",
        "updateTime": context.state.opened,
    }


@handles("pro_account")
def pro_account(context: Context) -> Fields:
    """The whole account as ``GET /sapi/v1/portfolio/account`` returns it."""
    statement = context.statement
    return {
        **_equity(statement),
        "accountMaintMargin": amount(statement.maintenance),
        "accountInitialMargin": amount(statement.initial),
        "totalAvailableBalance": amount(statement.free),
        "accountStatus": statement.status,
        "accountType": statement.account.account_type,
    }


@handles("span_account")
def span_account(context: Context) -> Fields:
    """The whole account, with the maintenance margin by risk unit (one for each base asset)."""
    statement = context.statement
    units: dict[str, Decimal] = {}
    for row in statement.rows:
        usd = row.maintenance * context.market.usd(row.contract.settled_in, context.now)
        units[row.contract.base] = units.get(row.contract.base, ZERO) + usd
    return {
        **_equity(statement),
        "accountMaintMargin": amount(statement.maintenance),
        "riskUnitMMList": [{"asset": asset, "uniMaintainUsd": amount(usd)} for asset, usd in units.items()],
        "marginMM": amount(statement.maintenance - sum(units.values(), ZERO)),
        "otherMM": _ZERO,
        "accountStatus": statement.status,
        "accountType": statement.account.account_type,
    }


def _equity(statement: Statement) -> Fields:
    return {
        "uniMMR": amount(statement.uni_mmr),
        "accountEquity": amount(statement.equity),
        "actualEquity": amount(statement.actual_equity),
    }


@handles("balance")
def balance(context: Context) -> Fields | list[Fields]:
    """Balances by asset: all assets as a list, or one requested asset as an object."""
    rows = balances(context)
    if (asset := context.text("asset")) is None:
        return rows
    row = next((row for row in rows if row["asset"] == asset), None)
    if row is None:
        raise Refusal(facts.BAD_ASSET)
    # According to the documents, the single object lacks this field.
    return {name: value for name, value in row.items() if name != "crossMarginAsset"}


def balances(context: Context) -> list[Fields]:
    """Return the balances of the assets that are always listed, and of all that the account holds."""
    statement = context.statement
    settled = (row.contract.settled_in for row in statement.rows)
    return [
        _balance(context, asset) for asset in dict.fromkeys([*_ALWAYS_LISTED, *context.state.wallet.assets(), *settled])
    ]


def _balance(context: Context, asset: str) -> Fields:
    wallet, statement = context.state.wallet, context.statement
    um, cm = (wallet.futures.get((product, asset), ZERO) for product in ("UM", "CM"))
    has_cm = any(row.contract.settled_in == asset for row in statement.cm)
    updated = (wallet.updated.get((product, asset), 0) for product in ("UM", "CM", "MARGIN"))
    return {
        "asset": asset,
        "totalWalletBalance": amount(wallet.margin(asset) + um + cm),
        "crossMarginAsset": amount(wallet.margin(asset)),
        "crossMarginBorrowed": amount(wallet.borrowed.get(asset, ZERO)),
        "crossMarginFree": amount(wallet.free.get(asset, ZERO)),
        "crossMarginInterest": amount(wallet.interest.get(asset, ZERO)),
        "crossMarginLocked": amount(wallet.locked.get(asset, ZERO)),
        "umWalletBalance": amount(um),
        "umUnrealizedPNL": amount(statement.profit_in(asset, statement.um)),
        "cmWalletBalance": amount(cm),
        "cmUnrealizedPNL": amount(statement.profit_in(asset, statement.cm)) if has_cm else "",
        "updateTime": max(updated),
        "negativeBalance": amount(wallet.negative(asset)),
    }
