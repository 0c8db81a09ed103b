"""Listen keys, and the settings and collateral of Portfolio Margin Pro."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from binance_pm.sandbox import facts, order_errors
from binance_pm.sandbox.handlers.registry import HANDLERS, Context, Fields, handles
from binance_pm.sandbox.loans import BORROWABLE
from binance_pm.sandbox.market import MAJORS, amount
from binance_pm.sandbox.messages import Refusal
from binance_pm.sandbox.records import ZERO
from binance_pm.sandbox.valuation import collateral_rate

if TYPE_CHECKING:
    from binance_pm.sandbox.stream_faults import StreamProduct

_SUCCESS: Fields = {"msg": "success"}
_LOWEST_LEVEL, _HIGHEST_LEVEL = Decimal("1.1"), Decimal("2.0")
_TIER_CAP = Decimal(1_000_000)
_ASSETS = ("USDT", "USDC", *MAJORS)


def _listen_key(context: Context, product: StreamProduct) -> Fields:
    """Return the listen key of the account, which is valid for another hour."""
    return {"listenKey": context.state.settings.extend_listen_key(product, context.now)}


def _keep_listen_key(context: Context, product: StreamProduct) -> Fields:
    """Extend the listen key by an hour."""
    _check_listen_key(context, product)
    context.state.settings.extend_listen_key(product, context.now)
    return {}


def _close_listen_key(context: Context, product: StreamProduct) -> Fields:
    """Delete the listen key, which all programs of the account share."""
    _check_listen_key(context, product)
    context.state.settings.close_listen_key(product)
    return {}


def _check_listen_key(context: Context, product: StreamProduct) -> None:
    if context.state.settings.listen_key(product, context.now) is None:
        raise Refusal(order_errors.NO_LISTEN_KEY)


def _register_listen_key(prefix: str, product: StreamProduct) -> None:
    HANDLERS[f"{prefix}create_listen_key"] = lambda context: _listen_key(context, product)
    HANDLERS[f"{prefix}keepalive_listen_key"] = lambda context: _keep_listen_key(context, product)
    HANDLERS[f"{prefix}close_listen_key"] = lambda context: _close_listen_key(context, product)


_register_listen_key("", "pm")
_register_listen_key("pro.", "pro")


@handles("pro.delta_mode")
def delta_mode(context: Context) -> Fields:
    """Whether the delta mode is on."""
    return {"deltaEnabled": context.state.settings.delta_mode}


@handles("pro.set_delta_mode")
def set_delta_mode(context: Context) -> Fields:
    """Switch the delta mode on or off."""
    context.state.settings.delta_mode = context.flag("deltaEnabled")
    return _SUCCESS


@handles("pro.margin_call_level")
def margin_call_level(context: Context) -> Fields:
    """The level that was set; an empty object without one."""
    level = context.state.settings.margin_call_level
    return {} if level is None else {"marginCallLevel": amount(level)}


@handles("pro.set_margin_call_level")
def set_margin_call_level(context: Context) -> Fields:
    """Set the level of the warning."""
    level = context.decimal("marginCallLevel") or ZERO
    if not _LOWEST_LEVEL <= level <= _HIGHEST_LEVEL:
        raise Refusal(facts.INVALID_PARAMETER, name="marginCallLevel")
    context.state.settings.margin_call_level = level
    return {"marginCallLevel": amount(level)}


@handles("pro.delete_margin_call_level")
def delete_margin_call_level(context: Context) -> Fields:
    """Remove the level of the warning."""
    context.state.settings.margin_call_level = None
    return _SUCCESS


@handles("pro.earn_asset_balance")
def earn_asset_balance(context: Context) -> Fields:
    """What can be transferred in this direction: from savings, or to them."""
    state = context.state
    is_to_futures = context.text("transferType") == "EARN_TO_FUTURE"
    return {"asset": "LDUSDT", "amount": amount(state.settings.earn if is_to_futures else state.earned)}


@handles("pro.earn_asset_transfer")
def earn_asset_transfer(context: Context) -> Fields:
    """Move LDUSDT between savings and the USD-M wallet."""
    state, moved = context.state, context.decimal("amount") or ZERO
    is_to_futures = context.parameters["transferType"] == "EARN_TO_FUTURE"
    available = state.settings.earn if is_to_futures else state.earned
    if not 0 < moved <= available:
        raise Refusal(order_errors.BALANCE_NOT_SUFFICIENT)
    signed = moved if is_to_futures else -moved
    state.settings.earn -= signed
    state.wallet.book("UM", "LDUSDT", signed, "TRANSFER", context.time)
    return _SUCCESS


@handles("pro.asset_index_price")
def asset_index_price(context: Context) -> list[Fields]:
    """The price of an asset in US dollars, or of all."""
    asset = context.text("asset")
    if asset is not None and asset not in BORROWABLE:
        raise Refusal(facts.BAD_ASSET)
    return [
        {"asset": name, "assetIndexPrice": amount(context.market.usd(name, context.now)), "time": context.time}
        for name in _ASSETS
        if asset in (None, name)
    ]


@handles("pro.collateral_rate")
def collateral_rates(_: Context) -> list[Fields]:
    """The fraction of each asset's value that counts as collateral."""
    return [{"asset": asset, "collateralRate": f"{collateral_rate(asset):.4f}"} for asset in _ASSETS]


@handles("pro.tiered_collateral_rate")
def tiered_collateral_rates(_: Context) -> list[Fields]:
    """The same in tiers, of which the local exchange has one for each asset."""
    return [
        {
            "asset": asset,
            "collateralInfo": [
                {
                    "tierFloor": "0.0000",
                    "tierCap": f"{_TIER_CAP:.4f}",
                    "collateralRate": f"{collateral_rate(asset):.4f}",
                    "cum": "0.0000",
                }
            ],
        }
        for asset in _ASSETS
    ]


@handles("pro.margin_asset_leverage")
def margin_asset_leverage(_: Context) -> list[Fields]:
    """The leverage with which assets can be borrowed."""
    return [{"asset": asset, "leverage": 10} for asset in _ASSETS]
