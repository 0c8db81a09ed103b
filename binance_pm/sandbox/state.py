"""What an account of the local exchange has set; what it holds is the market's."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from binance_pm.sandbox.account import Account

DEFAULT_LEVERAGE = 20


class AccountState:
    """The settings of one account.

    Attributes:
        account: whose they are.
        leverage: by symbol, if it was changed.
    """

    def __init__(self, account: Account) -> None:
        self.account = account
        self.leverage: dict[str, int] = {}
