"""The main figures of an account, taken from the responses of its endpoints.

USD-M contracts are settled in USDT, USDC, BTC and other assets, so profit is summed by asset.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Final, Self

import msgspec

from binance_pm.amounts import exact_sum, is_near
from binance_pm.api.account import Account, ProAccount, SpanAccount, UmAccount
from binance_pm.enums import AccountStatus
from binance_pm.fleet.products import HEADLINES

Headline = Account | ProAccount | SpanAccount
"""The responses that contain uniMMR and status."""

DOLLARS: Final = frozenset({"USD", "USDT", "USDC", "FDUSD", "BUSD", "TUSD"})
"""Assets counted as one USD per unit. Other assets have a price, which no response about the account contains."""

# Quote assets of USD-M contracts, for symbols whose asset the account does not list.
_QUOTES: Final = DOLLARS | {"BTC", "ETH", "BNB"}

AMOUNTS = ("uni_mmr", "account_equity", "account_maint_margin", "unrealized_profit")


class AccountSummary(msgspec.Struct, frozen=True, kw_only=True):
    """Status, margin and profit of an account; None for each figure that is not known."""

    status: AccountStatus | None = None
    """Risk state."""
    uni_mmr: Decimal | None = None
    """Equity over maintenance margin."""
    account_equity: Decimal | None = None
    """USD."""
    account_maint_margin: Decimal | None = None
    """USD."""
    unrealized_profit: Decimal | None = None
    """USD, of all USD-M positions; None if they are not read, or if a part is in an asset other than a dollar."""
    profits: Mapping[str, Decimal] = {}
    """Unrealized profit of all USD-M positions by margin asset, in units of the asset; zero profits are left out."""

    def implausible(self) -> list[str]:
        """Return the names of the figures that are too large or too small to calculate with."""
        amounts = {name: getattr(self, name) for name in AMOUNTS}
        amounts |= {f"profits in {asset}": profit for asset, profit in self.profits.items()}
        return [name for name, value in amounts.items() if value is not None and not is_near(value)]

    def plausible(self) -> Self:
        """Return a copy in which implausible figures are not known."""
        if not (odd := self.implausible()):
            return self
        unknown: dict[str, object] = {name: None for name in AMOUNTS if name in odd}
        profits = {asset: profit for asset, profit in self.profits.items() if is_near(profit)}
        return msgspec.structs.replace(self, profits=profits, **unknown)


def headline_of(responses: Mapping[str, object]) -> Headline | None:
    """Return the response that contains uniMMR and status, by name of endpoint; None if there is none."""
    found = (responses.get(name) for name in HEADLINES)
    return next((response for response in found if isinstance(response, Headline)), None)


def summary_of(responses: Mapping[str, object]) -> AccountSummary:
    """Return the figures that the responses contain.

    Args:
        responses: by name of endpoint.
    """
    headline, um = headline_of(responses), responses.get("um_account")
    profits = profits_of(um) if isinstance(um, UmAccount) else None
    return AccountSummary(
        status=headline and headline.account_status,
        uni_mmr=headline and headline.uni_mmr,
        account_equity=headline and headline.account_equity,
        account_maint_margin=headline and headline.account_maint_margin,
        unrealized_profit=None if profits is None else in_dollars(profits),
        profits=profits or {},
    )


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
