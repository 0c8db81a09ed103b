"""The responses of the simulated endpoints, with the exchange's own names and order.

A new endpoint needs one function: path, parameters, security and weights are in ``facts.json``, with the page that
describes the response.
"""

from __future__ import annotations

from decimal import Decimal
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from binance_pm.sandbox import facts
from binance_pm.sandbox.market import ETHBTC, SYMBOLS, amount
from binance_pm.sandbox.messages import RequestRefused
from binance_pm.sandbox.state import DEFAULT_LEVERAGE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from binance_pm.sandbox.market import Market, Row, Statement
    from binance_pm.sandbox.state import AccountState

Fields = dict[str, "str | int | bool | list[Fields]"]


class Context:
    """The data that a handler may use.

    Attributes:
        parameters: as decoded, already checked against the facts.
        now: seconds since the epoch by the exchange's clock.
        market: prices.
    """

    def __init__(
        self, parameters: Mapping[str, str], now: float, market: Market, state: AccountState | None = None
    ) -> None:
        self.parameters = parameters
        self.now = now
        self.market = market
        self._state = state

    @property
    def state(self) -> AccountState:
        """The account of the key that was sent."""
        assert self._state is not None, "an endpoint without a key has no account"  # noqa: S101
        return self._state

    @cached_property
    def statement(self) -> Statement:
        """The account valued now."""
        return self.market.statement(self.state.account, self.now)


Handler: TypeAlias = "Callable[[Context], Fields | list[Fields]]"
F = TypeVar("F", bound="Handler")

HANDLERS: dict[str, Handler] = {}
"""The response to a request that breaks no rule, by the endpoint's name in ``facts.json``."""

_SYMBOLS = {*SYMBOLS, ETHBTC}
_NOTIONAL_AT_ONCE = 100_000_000
"""The largest notional of a position with a leverage of 1."""
_MAX_LEVERAGE = 125
_WEEK = 7 * 24 * 3600 * 1000
_FEE = Decimal("0.0005")
_FIRST_TRANSACTION = 9_689_322_392
_ZERO = amount(Decimal(0))
_FLAT_ASSETS = ("BTC", "ETH", "BNB", "USDC")


def handles(*names: str) -> Callable[[F], F]:
    """Register a function as the handler of endpoints."""

    def register(handler: F) -> F:
        HANDLERS.update(dict.fromkeys(names, handler))
        return handler

    return register


@handles("ping", "pro_ping")
def ping(_: Context) -> Fields:
    """An empty object."""
    return {}


@handles("server_time", "pro_server_time")
def server_time(context: Context) -> Fields:
    """The exchange's clock in milliseconds."""
    return {"serverTime": int(context.now * 1000)}


@handles("account")
def account(context: Context) -> Fields:
    """The whole account as ``GET /papi/v1/account`` returns it.

    As in real responses, two amounts may be empty text: ``totalMarginOpenLoss`` always, and ``totalAvailableBalance``
    if nothing is available.
    """
    statement = context.statement
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


@handles("um_account")
def um_account(context: Context) -> Fields:
    """USD-M assets, and positions of every symbol, most of them flat."""
    statement = context.statement
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


@handles("pro_account")
def pro_account(context: Context) -> Fields:
    """The whole account as ``GET /sapi/v1/portfolio/account`` returns it."""
    statement = context.statement
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


@handles("span_account")
def span_account(context: Context) -> Fields:
    """The whole account, with the maintenance margin by risk unit (one for each base asset)."""
    statement = context.statement
    units: list[Fields] = [
        {"asset": row.symbol.removesuffix("USDT"), "uniMaintainUsd": amount(row.maintenance)} for row in statement.rows
    ]
    statement = context.statement
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


@handles("balance")
def balance(context: Context) -> Fields | list[Fields]:
    """Wallets by asset: all assets as a list, or one requested asset as an object."""
    statement = context.statement
    btc = statement.in_btc
    rows = [
        _balance("USDT", um_wallet=statement.wallet, um_profit=statement.profit, updated=statement.opened),
        # The collateral that counts for 95 % only.
        _balance("USDC", margin=statement.collateral, updated=statement.opened),
        _balance("BTC", um_profit=btc.profit if btc else Decimal(0)),
    ]
    if (asset := context.parameters.get("asset")) is None:
        return rows
    # According to the documents, the single object lacks this field.
    row = next((row for row in rows if row["asset"] == asset), None)
    if row is None:
        raise RequestRefused(facts.BAD_ASSET)
    return {name: value for name, value in row.items() if name != "crossMarginAsset"}


def _balance(
    asset: str,
    *,
    um_wallet: Decimal = Decimal(0),
    um_profit: Decimal = Decimal(0),
    margin: Decimal = Decimal(0),
    updated: int = 0,
) -> Fields:
    return {
        "asset": asset,
        "totalWalletBalance": amount(margin + um_wallet),
        "crossMarginAsset": amount(margin),
        "crossMarginBorrowed": _ZERO,
        "crossMarginFree": amount(margin),
        "crossMarginInterest": _ZERO,
        "crossMarginLocked": _ZERO,
        "umWalletBalance": amount(um_wallet),
        "umUnrealizedPNL": amount(um_profit),
        "cmWalletBalance": _ZERO,
        "cmUnrealizedPNL": "",
        "updateTime": updated,
        "negativeBalance": _ZERO,
    }


@handles("cm_account")
def cm_account(_: Context) -> Fields:
    """COIN-M assets and positions; accounts of the local exchange have none."""
    return {"assets": [_asset("BTC")], "positions": []}


@handles("um.position_risk")
def um_position_risk(context: Context) -> list[Fields]:
    """Open positions with prices and leverage; a flat symbol is missing."""
    statement = context.statement
    symbol = _known_symbol(context)
    rows = [*statement.rows, *([statement.in_btc] if statement.in_btc else [])]
    return [_position_risk(row, context) for row in rows if symbol in {None, row.symbol}]


def _position_risk(row: Row, context: Context) -> Fields:
    leverage = context.state.leverage.get(row.symbol, DEFAULT_LEVERAGE)
    return {
        "symbol": row.symbol,
        "positionSide": "BOTH",
        "positionAmt": amount(row.amount),
        "entryPrice": amount(row.entry),
        "breakEvenPrice": amount(row.entry),
        "markPrice": amount(row.price),
        "liquidationPrice": _ZERO,
        "notional": amount(row.notional),
        "unRealizedProfit": amount(row.profit),
        "leverage": str(leverage),
        "maxNotionalValue": _max_notional(leverage),
        "updateTime": context.statement.opened,
    }


@handles("um.set_leverage")
def set_um_leverage(context: Context) -> Fields:
    """Store the leverage, which limits the notional; `um.position_risk` returns it."""
    symbol, leverage = context.parameters["symbol"], int(context.parameters["leverage"])
    _known_symbol(context)
    if not 1 <= leverage <= _MAX_LEVERAGE:
        raise RequestRefused(facts.INVALID_LEVERAGE, leverage=leverage)
    context.state.leverage[symbol] = leverage
    return {"leverage": leverage, "maxNotionalValue": _max_notional(leverage), "symbol": symbol}


@handles("um.income")
def um_income(context: Context) -> list[Fields]:
    """The fee for opening each position, and the transfer that makes the wallet balance match."""
    parameters, statement = context.parameters, context.statement
    end = int(parameters.get("endTime", context.now * 1000))
    start = int(parameters.get("startTime", end - _WEEK))
    if start > end:
        raise RequestRefused(facts.INVALID_TIME_RANGE)
    symbol = _known_symbol(context)
    rows = [
        row
        for row in _income_rows(statement)
        if symbol in (None, row["symbol"]) and parameters.get("incomeType") in (None, row["incomeType"])
    ]
    limit = min(int(parameters.get("limit", 100)), 1000)
    return rows[:limit] if start <= statement.opened <= end else []


def _income_rows(statement: Statement) -> Iterator[Fields]:
    fees = [(row.symbol, round(-abs(row.amount * row.entry) * _FEE, 8)) for row in statement.rows]
    deposit = statement.wallet - sum((fee for _, fee in fees), Decimal(0))
    for number, (symbol, income) in enumerate([("", deposit), *fees]):
        kind = "COMMISSION" if symbol else "TRANSFER"
        yield {
            "symbol": symbol,
            "incomeType": kind,
            "income": amount(income),
            "asset": "USDT",
            "info": kind,
            "time": statement.opened,
            "tranId": str(_FIRST_TRANSACTION + number),
            "tradeId": str(number) if symbol else "",
        }


@handles("um.open_orders")
def um_open_orders(context: Context) -> list[Fields]:
    """Two orders far from the market that would each close half of a position and need no margin."""
    symbol = _known_symbol(context)
    rows = [row for row in context.statement.rows[:2] if symbol in {None, row.symbol}]
    return [_take_profit(row, context.statement) for row in rows]


def _take_profit(row: Row, statement: Statement) -> Fields:
    is_long = row.amount > 0
    number = int.from_bytes(sha256(f"{statement.account.label}:{row.symbol}".encode()).digest()[:7])
    return {
        "symbol": row.symbol,
        "orderId": number,
        "clientOrderId": f"take-profit-{number % 1_000_000}",
        "side": "SELL" if is_long else "BUY",
        "positionSide": "BOTH",
        "type": "LIMIT",
        "origType": "LIMIT",
        "timeInForce": "GTC",
        "reduceOnly": True,
        "price": amount(row.entry * (Decimal("1.25") if is_long else Decimal("0.75"))),
        "avgPrice": _ZERO,
        "origQty": amount(abs(row.amount) / 2),
        "executedQty": _ZERO,
        "cumQuote": _ZERO,
        "status": "NEW",
        "selfTradePreventionMode": "EXPIRE_MAKER",
        "goodTillDate": 0,
        "priceMatch": "NONE",
        "time": statement.opened,
        "updateTime": statement.opened,
    }


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


def _known_symbol(context: Context) -> str | None:
    """Return the requested symbol, if any; refuse a symbol that the market does not have."""
    symbol = context.parameters.get("symbol")
    if symbol is not None and symbol not in _SYMBOLS:
        raise RequestRefused(facts.BAD_SYMBOL)
    return symbol


def _max_notional(leverage: int) -> str:
    return str(_NOTIONAL_AT_ONCE // leverage)
