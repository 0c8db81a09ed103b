"""Unrealised profit of the USD-M side, asset by asset: contracts are settled in USDT, USDC, BTC and others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Final

from binance_pm.amounts import exact_sum
from binance_pm.api.um_account import UmAccount

DOLLARS: Final = frozenset({"USD", "USDT", "USDC", "FDUSD", "BUSD", "TUSD"})
"""Assets of which one counts as one USD. Others have a price, which no answer of the account tells."""

# Quote assets of USD-M contracts, for symbols whose asset the account does not list.
_QUOTES: Final = DOLLARS | {"BTC", "ETH", "BNB"}


def profits_of(um: UmAccount) -> dict[str, Decimal]:
    """Unrealised profit by margin asset, in units of the asset; without those that have none.

    The exchange's own sum of an asset wins. Positions in an asset that it does not list are added by the end of their
    symbol; one whose asset is not known stands under its symbol.
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
    """Their sum in USD; None if one of them is in an asset that is no dollar."""
    if not DOLLARS.issuperset(profits):
        return None
    return exact_sum(profits.values())


def _asset_of(symbol: str, names: Iterable[str]) -> str:
    # Delivery contracts bear their date: BTCUSDT_260327.
    pair = symbol.partition("_")[0]
    return next((name for name in names if pair.endswith(name) and pair != name), symbol)
