"""The settings of an account of the local exchange; its holdings are in the market."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from binance_pm.sandbox.account import Account

DEFAULT_LEVERAGE = 20


class AccountState:
    """The settings of one account.

    Attributes:
        account: the account that the settings belong to.
        leverage: the leverage by symbol, for symbols whose leverage was changed.
    """

    def __init__(self, account: Account) -> None:
        self.account = account
        self.leverage: dict[str, int] = {}
