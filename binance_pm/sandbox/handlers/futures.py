"""Futures accounts: assets, positions, leverage, brackets, position mode, fees and settings."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from binance_pm.sandbox import facts, order_errors
from binance_pm.sandbox.event_fields import account_config_update
from binance_pm.sandbox.futures import MAKER_FEE, TAKER_FEE
from binance_pm.sandbox.handlers.registry import Context, Fields, handles, handles_futures
from binance_pm.sandbox.market import SYMBOLS, amount, draws
from binance_pm.sandbox.messages import Refusal
from binance_pm.sandbox.records import ZERO, HeldPosition
from binance_pm.sandbox.views import plain

if TYPE_CHECKING:
    from collections.abc import Iterable

    from binance_pm.sandbox.contracts import Contract, Product
    from binance_pm.sandbox.futures import Futures
    from binance_pm.sandbox.valuation import Row

_ZERO = amount(Decimal(0))
_UM_ASSETS = ("USDT", "BTC", "ETH", "BNB", "USDC")
_SUCCESS: Fields = {"code": 200, "msg": "success"}


@handles("um_account")
def um_account(context: Context) -> Fields:
    """USD-M assets, and positions of the symbols with a position or an open order, or of all if wanted."""
    desk = context.state.um
    symbols = desk.contracts_of(desk.open_orders())
    if context.state.lists_all_symbols:
        symbols = list(dict.fromkeys([*SYMBOLS, *symbols]))
    rows = [(contract, row) for contract, row in _positions(context, "UM", symbols)]
    return {"assets": _assets(context, "UM"), "positions": [_position(contract, row) for contract, row in rows]}


@handles("um.account_v1")
def um_account_v1(context: Context) -> Fields:
    """USD-M assets, and positions of every symbol."""
    desk = context.state.um
    symbols = dict.fromkeys([*SYMBOLS, *desk.contracts_of(desk.open_orders())])
    positions = [
        _position(contract, row, has_notional=False) | _details(context, desk, contract, row)
        for contract, row in _positions(context, "UM", symbols)
    ]
    return {"assets": _assets(context, "UM"), "positions": positions}


@handles("cm_account")
def cm_account(context: Context) -> Fields:
    """COIN-M assets, and positions of the symbols with a position or an open order."""
    desk = context.state.cm
    positions: list[Fields] = []
    for contract, row in _positions(context, "CM", desk.contracts_of(desk.open_orders())):
        details = _details(context, desk, contract, row)
        names = ("positionInitialMargin", "openOrderInitialMargin", "leverage", "entryPrice")
        most = str(contract.most_at(desk.leverage_of(contract.symbol)))
        positions.append(
            _position(contract, row, has_notional=False) | {name: details[name] for name in names} | {"maxQty": most}
        )
    return {"assets": _assets(context, "CM"), "positions": positions}


def _positions(context: Context, product: Product, symbols: Iterable[str]) -> list[tuple[Contract, Row | Leg]]:
    """Return the positions of symbols: one each, or two legs in hedge mode."""
    statement = context.statement
    held = {(row.symbol, row.side): row for row in (statement.um if product == "UM" else statement.cm)}
    sides = ("LONG", "SHORT") if context.state.is_hedged else ("BOTH",)
    found = ((context.market.contract(product, symbol), side) for symbol in symbols for side in sides)
    return [(contract, held.get((contract.symbol, side), side)) for contract, side in found if contract]


Leg = str
"""The position side of a flat position."""


def _position(contract: Contract, row: Row | Leg, *, has_notional: bool = True) -> Fields:
    is_flat = isinstance(row, str)
    fields: Fields = {
        "symbol": contract.symbol,
        "initialMargin": _ZERO if is_flat else amount(row.initial),
        "maintMargin": _ZERO if is_flat else amount(row.maintenance),
        "unrealizedProfit": _ZERO if is_flat else amount(row.profit),
        "positionSide": row if is_flat else row.side,
        "positionAmt": contract.quantity_text(ZERO if is_flat else row.amount),
        "updateTime": 0 if is_flat else row.updated,
    }
    return fields | {"notional": _ZERO if is_flat else amount(row.notional)} if has_notional else fields


def _details(context: Context, desk: Futures, contract: Contract, row: Row | Leg) -> Fields:
    """Return the fields that only the older account of USD-M and that of COIN-M have."""
    leverage = desk.leverage_of(contract.symbol)
    bids, asks = (
        sum((order.price * order.remaining for order in desk.open_orders(contract.symbol) if order.side == side), ZERO)
        for side in ("BUY", "SELL")
    )
    position = ZERO if isinstance(row, str) else row.initial
    orders = context.statement.order_margin.get(contract, ZERO)
    return {
        "initialMargin": amount(position + orders),
        "positionInitialMargin": amount(position),
        "openOrderInitialMargin": amount(orders),
        "leverage": str(leverage),
        "entryPrice": contract.price_text(ZERO if isinstance(row, str) else row.entry),
        "maxNotional": str(contract.most_at(leverage)),
        "bidNotional": amount(bids),
        "askNotional": amount(asks),
    }


def _assets(context: Context, product: Product) -> list[Fields]:
    statement, wallet = context.statement, context.state.wallet
    rows = statement.um if product == "UM" else statement.cm
    always = _UM_ASSETS if product == "UM" else ("BTC",)
    held = [asset for (place, asset), balance in wallet.futures.items() if place == product and balance]
    names = dict.fromkeys([*always, *held, *(row.contract.settled_in for row in rows)])
    return [_asset(context, product, name, rows) for name in names]


def _asset(context: Context, product: Product, name: str, rows: tuple[Row, ...]) -> Fields:
    wallet, own = context.state.wallet, [row for row in rows if row.contract.settled_in == name]
    orders = sum(
        (
            margin
            for contract, margin in context.statement.order_margin.items()
            if (contract.product, contract.settled_in) == (product, name)
        ),
        ZERO,
    )
    positions = sum((row.initial for row in own), ZERO)
    return {
        "asset": name,
        "crossWalletBalance": amount(wallet.futures.get((product, name), ZERO)),
        "crossUnPnl": amount(sum((row.profit for row in own), ZERO)),
        "maintMargin": amount(sum((row.maintenance for row in own), ZERO)),
        "initialMargin": amount(positions + orders),
        "positionInitialMargin": amount(positions),
        "openOrderInitialMargin": amount(orders),
        "updateTime": wallet.updated.get((product, name), 0),
    }


@handles("um.position_risk")
def um_position_risk(context: Context) -> list[Fields]:
    """Open positions with prices and leverage; a flat symbol is missing."""
    symbol = context.symbol("UM")
    return [_risk(context, "UM", row) for row in context.statement.um if symbol in {None, row.symbol}]


@handles("cm.position_risk")
def cm_position_risk(context: Context) -> list[Fields]:
    """Open positions of a margin asset, of a pair, or all."""
    asset, pair = context.text("marginAsset"), context.text("pair")
    return [
        _risk(context, "CM", row)
        for row in context.statement.cm
        if asset in (None, row.contract.settled_in) and pair in (None, row.contract.pair)
    ]


def _risk(context: Context, product: Product, row: Row) -> Fields:
    contract = row.contract
    leverage = context.state.futures(product).leverage_of(contract.symbol)
    size = "maxNotionalValue", "notional"
    if product == "CM":
        size = "maxQty", "notionalValue"
    return {
        "symbol": contract.symbol,
        "positionSide": row.side,
        "positionAmt": contract.quantity_text(row.amount),
        "entryPrice": amount(row.entry),
        "breakEvenPrice": amount(row.entry),
        "markPrice": amount(row.price),
        "liquidationPrice": _ZERO,
        size[0]: str(contract.most_at(leverage)),
        size[1]: amount(row.notional),
        "unRealizedProfit": amount(row.profit),
        "leverage": str(leverage),
        "updateTime": row.updated,
    }


@handles_futures("set_leverage")
def set_leverage(context: Context, product: Product) -> Fields:
    """Store the leverage of a symbol, which limits its position and determines the initial margin."""
    contract, leverage = context.contract(product), context.number("leverage") or 0
    if not 1 <= leverage <= contract.brackets[0].leverage:
        raise Refusal(facts.INVALID_LEVERAGE, leverage=leverage)
    desk = context.state.futures(product)
    price = context.market.price_of(contract, context.now)
    held = [one for one in desk.held if one.contract == contract]
    if any(contract.bracket_size(one.amount, price) > contract.most_at(leverage) for one in held):
        raise Refusal(order_errors.MAX_LEVERAGE_RATIO)
    before = desk.leverage_of(contract.symbol)
    desk.leverage[contract.symbol] = leverage
    if leverage < before and held and not context.state.statement(context.now).free:
        desk.leverage[contract.symbol] = before
        raise Refusal(order_errors.MIN_LEVERAGE_RATIO)
    context.state.wallet.events.add(account_config_update(product, contract.symbol, leverage, context.time))
    name = "maxNotionalValue" if product == "UM" else "maxQty"
    return {"leverage": leverage, name: str(contract.most_at(leverage)), "symbol": contract.symbol}


@handles_futures("leverage_brackets")
def leverage_brackets(context: Context, product: Product) -> list[Fields]:
    """The brackets of a symbol, or of all."""
    symbol = context.symbol(product)
    size = "notional" if product == "UM" else "qty"
    return [
        {
            "symbol": contract.symbol,
            **({"notionalCoef": "1.0"} if product == "UM" else {}),
            "brackets": [
                {
                    "bracket": row.number,
                    "initialLeverage": row.leverage,
                    f"{size}Cap": row.cap,
                    f"{size}Floor": row.floor,
                    "maintMarginRatio": plain(row.ratio),
                    "cum": plain(row.cum),
                }
                for row in contract.brackets
            ],
        }
        for contract in context.market.contracts(product)
        if symbol in (None, contract.symbol)
    ]


@handles_futures("position_mode")
def position_mode(context: Context, _: Product) -> Fields:
    """Whether positions have two legs; the same for USD-M and COIN-M."""
    return {"dualSidePosition": context.state.is_hedged}


@handles_futures("set_position_mode")
def set_position_mode(context: Context, product: Product) -> Fields:
    """Change the position mode of USD-M, which COIN-M follows."""
    state, wanted = context.state, context.flag("dualSidePosition")
    if wanted == state.is_hedged:
        raise Refusal(order_errors.NO_NEED_TO_CHANGE_MODE)
    if product == "CM":
        raise Refusal(order_errors.SAME_MODE_FOR_BOTH)
    if state.um.open_orders() or state.cm.open_orders():
        raise Refusal(order_errors.MODE_WITH_ORDERS)
    if state.um.held or state.cm.held:
        raise Refusal(order_errors.MODE_WITH_POSITIONS)
    state.is_hedged = wanted
    return _SUCCESS


@handles_futures("commission_rate")
def commission_rate(context: Context, product: Product) -> Fields:
    """The fees of a symbol, as fractions."""
    symbol = context.contract(product).symbol
    return {"symbol": symbol, "makerCommissionRate": f"{MAKER_FEE:.6f}", "takerCommissionRate": f"{TAKER_FEE:.6f}"}


@handles_futures("adl_quantile")
def adl_quantile(context: Context, product: Product) -> list[Fields]:
    """The place of each position in the queue for automatic deleveraging, by profit."""
    symbol, state = context.symbol(product), context.state
    rows: dict[str, dict[str, int]] = {}
    for position in state.futures(product).held:
        quantiles = rows.setdefault(position.contract.symbol, {"LONG": 0, "SHORT": 0})
        quantiles["HEDGE" if state.is_hedged else "BOTH"] = 0
        quantiles[position.side] = _quantile(context, position)
    return [{"symbol": name, "adlQuantile": row} for name, row in rows.items() if symbol in (None, name)]


def _quantile(context: Context, position: HeldPosition) -> int:
    contract = position.contract
    profit = contract.gain(position.amount, position.entry, context.market.price_of(contract, context.now))
    if profit <= 0:
        return 0
    return 1 + int(draws(context.market.seed, contract.symbol, position.side, "queue")[0] * 4)


@handles("um.fee_burn")
def fee_burn(context: Context) -> Fields:
    """Whether fees are paid in BNB."""
    return {"feeBurn": context.state.um.burns_bnb}


@handles("um.set_fee_burn")
def set_fee_burn(context: Context) -> Fields:
    """Pay fees in BNB or not."""
    context.state.um.burns_bnb = context.flag("feeBurn")
    return _SUCCESS


@handles("um.account_config")
def account_config(context: Context) -> Fields:
    """The settings of the USD-M account."""
    return {
        "feeTier": 0,
        "canTrade": True,
        "canDeposit": True,
        "canWithdraw": True,
        "dualSidePosition": context.state.is_hedged,
        "updateTime": context.state.opened,
        "multiAssetsMargin": False,
        "tradeGroupId": -1,
    }


@handles("um.symbol_config")
def symbol_config(context: Context) -> list[Fields]:
    """Leverage and margin type of a symbol, or of all."""
    symbol, desk = context.symbol("UM"), context.state.um
    return [
        {
            "symbol": contract.symbol,
            "marginType": "CROSSED",
            "isAutoAddMargin": "false",
            "leverage": desk.leverage_of(contract.symbol),
            "maxNotionalValue": str(contract.most_at(desk.leverage_of(contract.symbol))),
        }
        for contract in context.market.contracts("UM")
        if symbol in (None, contract.symbol)
    ]


@handles("um.trading_status")
def trading_status(context: Context) -> Fields:
    """No indicator: no account of the local exchange breaks the trading rules."""
    context.symbol("UM")
    return {"indicators": {}, "updateTime": context.time}


@handles("um.sign_tradfi_contract")
def sign_tradfi_contract(_: Context) -> Fields:
    """The agreement may be signed again."""
    return _SUCCESS
