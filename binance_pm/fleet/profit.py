"""Unrealized profit of USD-M positions by asset: contracts are settled in USDT, USDC, BTC and other assets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Final

from binance_pm.amounts import exact_sum
from binance_pm.api.account import UmAccount

DOLLARS: Final = frozenset({"USD", "USDT", "USDC", "FDUSD", "BUSD", "TUSD"})
"""Assets counted as one USD per unit. Other assets have a price, which no response about the account contains."""

# Quote assets of USD-M contracts, for symbols whose asset the account does not list.
_QUOTES: Final = DOLLARS | {"BTC", "ETH", "BNB"}


def profits_of(um: UmAccount) -> dict[str, Decimal]:
    """Return the unrealized profit by margin asset, in units of the asset; zero profits are left out.

    The exchange's own sum for an asset takes precedence. The profits of positions in an asset that the exchange does
    not list are added up by the quote asset at the end of their symbol, or by the symbol if that asset is not known.
    """
    listed = {asset.asset: asset.cross_un_pnl for asset in um.assets}
    names = sorted(_QUOTES.union(listed), key=len, reverse=True)
    profits: dict[str, Decimal] = {}
    for position in um.positions:
        asset = _asset_of(position.symbol, names)
        profits[asset] = exact_sum((profits.get(asset, Decimal(0)), position.unrealized_profit))
    profits |= {asset: profit for asset, profit in listed.items() if profit}
    return {asset: profit for asset, profit in sorted(profits.items()) if profit}


def in_dollars(profits: Mapping[str, Decimal]) -> Decimal | None:
    """Return the sum of the profits in USD; None if one of them is in an asset other than a dollar."""
    if not DOLLARS.issuperset(profits):
        return None
    return exact_sum(profits.values())


def _asset_of(symbol: str, names: Iterable[str]) -> str:
    # Symbols of delivery contracts end with the delivery date: BTCUSDT_260327.
    pair = symbol.partition("_")[0]
    return next((name for name in names if pair.endswith(name) and pair != name), symbol)
