"""What distinguishes Portfolio Margin, Portfolio Margin Pro and Portfolio Margin Pro SPAN."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from binance_pm.enums import AccountType

ProductName = Literal["pm", "pm_pro", "span"]
"""Portfolio Margin, Portfolio Margin Pro, Portfolio Margin Pro SPAN."""


class Product(msgspec.Struct, frozen=True):
    """One of the exchange's Portfolio Margin products."""

    name: ProductName
    """Name in accounts files and options."""
    label: str
    """Binance's name of the product."""
    account_type: AccountType
    """The account type that the endpoints of Portfolio Margin Pro report."""
    headline: str
    """The endpoint that returns uniMMR and status."""
    read: tuple[str, ...]
    """The endpoints that are read if the user names none."""


PRODUCTS: Final[Mapping[ProductName, Product]] = {
    product.name: product
    for product in (
        Product("pm", "Portfolio Margin", AccountType.PM_2, "account", ("account", "um_account")),
        Product("pm_pro", "Portfolio Margin Pro", AccountType.PM_1, "pro_account", ("pro_account",)),
        Product("span", "Portfolio Margin Pro SPAN", AccountType.PM_3, "span_account", ("span_account",)),
    )
}

HEADLINES: Final = tuple(product.headline for product in PRODUCTS.values())
"""Every account is read by exactly one of these endpoints."""


BY_ACCOUNT_TYPE: Final = {str(product.account_type): product for product in PRODUCTS.values()}
