"""The main figures of an account, taken from the responses of its endpoints."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Self

import msgspec

from binance_pm.amounts import is_near
from binance_pm.api.account import Account, ProAccount, SpanAccount, UmAccount
from binance_pm.enums import AccountStatus
from binance_pm.fleet.products import HEADLINES
from binance_pm.fleet.profit import in_dollars, profits_of

Headline = Account | ProAccount | SpanAccount
"""The responses that contain uniMMR and status."""

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
