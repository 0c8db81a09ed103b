"""What each endpoint answers, in the exchange's own names and order.

Sources: the pages named beside each row of ``ENDPOINTS`` in ``facts.py``.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from binance_pm.sandbox.market import SYMBOLS, amount

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from binance_pm.sandbox.market import Row, Statement

Fields = dict[str, "str | int | list[Fields]"]

_ZERO = amount(Decimal(0))
_FLAT_ASSETS = ("BTC", "ETH", "BNB", "USDC")


def ping(_now: float) -> Fields:
    """Nothing: that it answers is the answer."""
    return {}


def server_time(now: float) -> Fields:
    """The exchange's clock in milliseconds."""
    return {"serverTime": int(now * 1000)}


def account(statement: Statement) -> Fields:
    """The whole account as ``GET /papi/v1/account`` tells it.

    Two amounts are empty text at times, as real answers have them: ``totalMarginOpenLoss`` always and
    ``totalAvailableBalance`` where nothing is available.
    """
    return {
        "uniMMR": amount(statement.uni_mmr),
        "accountEquity": amount(statement.equity),
        "actualEquity": amount(statement.actual_equity),
        "accountInitialMargin": amount(statement.initial),
        "accountMaintMargin": amount(statement.maintenance),
        "accountStatus": statement.status,
        "virtualMaxWithdrawAmount": amount(statement.free),
        "totalAvailableBalance": amount(statement.free) if statement.free else "",
        "totalMarginOpenLoss": "",
        "updateTime": statement.opened,
    }


def um_account(statement: Statement) -> Fields:
    """USD-M assets, and positions of every symbol, most of them flat."""
    held = {row.symbol: row for row in statement.rows}
    positions = [_position(symbol, held.get(symbol), statement.opened) for symbol in SYMBOLS]
    others = dict.fromkeys(_FLAT_ASSETS, _ZERO)
    if (row := statement.in_btc) is not None:
        positions.append(_position(row.symbol, row, statement.opened))
        others["BTC"] = amount(row.profit)
    usdt = _asset(
        "USDT",
        wallet=amount(statement.wallet),
        profit=amount(statement.profit),
        maintenance=amount(statement.maintenance),
        initial=amount(statement.initial),
        updated=statement.opened,
    )
    return {"assets": [usdt, *(_asset(name, profit=profit) for name, profit in others.items())], "positions": positions}


def pro_account(statement: Statement) -> Fields:
    """The whole account as ``GET /sapi/v1/portfolio/account`` tells it."""
    return {
        "uniMMR": amount(statement.uni_mmr),
        "accountEquity": amount(statement.equity),
        "actualEquity": amount(statement.actual_equity),
        "accountMaintMargin": amount(statement.maintenance),
        "accountInitialMargin": amount(statement.initial),
        "totalAvailableBalance": amount(statement.free),
        "accountStatus": statement.status,
        "accountType": statement.account.account_type,
    }


def span_account(statement: Statement) -> Fields:
    """The whole account with its maintenance margin by risk unit: a base asset each."""
    units: list[Fields] = [
        {"asset": row.symbol.removesuffix("USDT"), "uniMaintainUsd": amount(row.maintenance)} for row in statement.rows
    ]
    return {
        "uniMMR": amount(statement.uni_mmr),
        "accountEquity": amount(statement.equity),
        "actualEquity": amount(statement.actual_equity),
        "accountMaintMargin": amount(statement.maintenance),
        "riskUnitMMList": units,
        "marginMM": _ZERO,
        "otherMM": _ZERO,
        "accountStatus": statement.status,
        "accountType": statement.account.account_type,
    }


PUBLIC: Mapping[tuple[str, str], Callable[[float], Fields]] = {
    ("GET", "/papi/v1/ping"): ping,
    ("GET", "/papi/v1/time"): server_time,
    ("GET", "/api/v3/ping"): ping,
    ("GET", "/api/v3/time"): server_time,
}
"""Answers to anybody, from the exchange's time in seconds."""

OF_ACCOUNT: Mapping[tuple[str, str], Callable[[Statement], Fields]] = {
    ("GET", "/papi/v1/account"): account,
    ("GET", "/papi/v2/um/account"): um_account,
    ("GET", "/sapi/v1/portfolio/account"): pro_account,
    ("GET", "/sapi/v2/portfolio/account"): span_account,
}
"""Answers to the owner, from what the account is worth now."""


def _asset(
    name: str,
    *,
    wallet: str = _ZERO,
    profit: str = _ZERO,
    maintenance: str = _ZERO,
    initial: str = _ZERO,
    updated: int = 0,
) -> Fields:
    return {
        "asset": name,
        "crossWalletBalance": wallet,
        "crossUnPnl": profit,
        "maintMargin": maintenance,
        "initialMargin": initial,
        "positionInitialMargin": initial,
        "openOrderInitialMargin": _ZERO,
        "updateTime": updated,
    }


def _position(symbol: str, row: Row | None, opened: int) -> Fields:
    return {
        "symbol": symbol,
        "initialMargin": amount(row.initial) if row else _ZERO,
        "maintMargin": amount(row.maintenance) if row else _ZERO,
        "unrealizedProfit": amount(row.profit) if row else _ZERO,
        "positionSide": "BOTH",
        "positionAmt": amount(row.amount) if row else _ZERO,
        "updateTime": opened if row else 0,
        "notional": amount(row.notional) if row else _ZERO,
    }
