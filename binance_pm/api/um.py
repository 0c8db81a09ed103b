"""USD-M futures: positions, settings and income."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Literal, TypeAlias

from binance_pm.api.um_algo_orders import UmAlgoOrders
from binance_pm.api.um_orders import UmOrders
from binance_pm.declaration import get, post
from binance_pm.enums import OpenEnum, PositionSide
from binance_pm.limits import Priority
from binance_pm.paging import ByTime
from binance_pm.wire import Milliseconds, Model

UmIncomeType: TypeAlias = Literal[
    "TRANSFER",
    "WELCOME_BONUS",
    "REALIZED_PNL",
    "FUNDING_FEE",
    "COMMISSION",
    "INSURANCE_CLEAR",
    "REFERRAL_KICKBACK",
    "COMMISSION_REBATE",
    "API_REBATE",
    "CONTEST_REWARD",
    "CROSS_COLLATERAL_TRANSFER",
    "OPTIONS_PREMIUM_FEE",
    "OPTIONS_SETTLE_PROFIT",
    "INTERNAL_TRANSFER",
    "DELIVERED_SETTELMENT",
    "COIN_SWAP_DEPOSIT",
    "COIN_SWAP_WITHDRAW",
    "POSITION_LIMIT_INCREASE_FEE",
]
"""The income types that can be requested."""


class IncomeType(OpenEnum):
    """The type of a row of the income history, on USD-M and COIN-M futures."""

    TRANSFER = "TRANSFER"
    WELCOME_BONUS = "WELCOME_BONUS"
    REALIZED_PNL = "REALIZED_PNL"
    FUNDING_FEE = "FUNDING_FEE"
    COMMISSION = "COMMISSION"
    INSURANCE_CLEAR = "INSURANCE_CLEAR"
    REFERRAL_KICKBACK = "REFERRAL_KICKBACK"
    COMMISSION_REBATE = "COMMISSION_REBATE"
    API_REBATE = "API_REBATE"
    CONTEST_REWARD = "CONTEST_REWARD"
    CROSS_COLLATERAL_TRANSFER = "CROSS_COLLATERAL_TRANSFER"
    OPTIONS_PREMIUM_FEE = "OPTIONS_PREMIUM_FEE"
    OPTIONS_SETTLE_PROFIT = "OPTIONS_SETTLE_PROFIT"
    INTERNAL_TRANSFER = "INTERNAL_TRANSFER"
    AUTO_EXCHANGE = "AUTO_EXCHANGE"
    DELIVERED_SETTELMENT = "DELIVERED_SETTELMENT"
    """The exchange's own spelling."""
    COIN_SWAP_DEPOSIT = "COIN_SWAP_DEPOSIT"
    COIN_SWAP_WITHDRAW = "COIN_SWAP_WITHDRAW"
    POSITION_LIMIT_INCREASE_FEE = "POSITION_LIMIT_INCREASE_FEE"


class UmPositionRisk(Model, frozen=True):
    """One position with its prices; amounts in the margin asset of the symbol unless stated otherwise."""

    symbol: str
    """Such as ``BTCUSDT``."""
    position_side: PositionSide
    """Which side the position is on: BOTH in one-way mode, LONG or SHORT in hedge mode."""
    position_amt: Decimal
    """In units of the base asset; negative for a short position, also in hedge mode."""
    entry_price: Decimal
    """Average price at which it was opened."""
    mark_price: Decimal
    """The current mark price."""
    liquidation_price: Decimal
    """Calculated from all positions of the account; 0 if no price would liquidate the account."""
    notional: Decimal
    """Value at the mark price; negative for a short position."""
    un_realized_profit: Decimal
    """At the mark price. The exchange writes ``unRealizedProfit`` here and ``unrealizedProfit`` in `UmAccount`."""
    leverage: Decimal
    """A whole number."""
    max_notional_value: Decimal
    """The largest notional that the leverage allows."""
    update_time: Milliseconds
    """Milliseconds since the epoch; 0 if nothing ever happened."""
    break_even_price: Decimal | None = None
    """Price without profit or loss, fees included; not documented, but present in real responses."""


class Leverage(Model, frozen=True):
    """The leverage of a symbol, and what it allows."""

    symbol: str
    """Such as ``BTCUSDT``."""
    leverage: int
    """The leverage that is set now."""
    max_notional_value: Decimal
    """The largest notional of a position in the symbol."""


class UmIncome(Model, frozen=True):
    """One row of the income history: one change of a USD-M wallet."""

    income_type: IncomeType
    """The type of the change."""
    tran_id: int
    """Unique among the rows of an income type."""
    symbol: str
    """Empty if the row concerns no symbol, such as for a transfer."""
    income: Decimal
    """In units of the asset; negative if the wallet lost."""
    asset: str
    """The asset of the wallet that changed."""
    info: str
    """Usually the same text as the income type."""
    trade_id: str
    """Empty if the row belongs to no trade."""
    time: Milliseconds
    """Milliseconds since the epoch."""


class Um(UmOrders, UmAlgoOrders, name="um"):
    """USD-M futures, as ``client.um``."""

    @get("/papi/v1/um/positionRisk", weights=5)
    async def position_risk(self, symbol: str | None = None, *, recv_window: int | None = None) -> list[UmPositionRisk]:
        """Open USD-M positions with mark price, liquidation price and leverage, of one symbol or of all.

        A symbol without a position may be missing: treat it as flat. In hedge mode a symbol has up to three rows. The
        user data stream reports changes sooner and uses no weight.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/account/Query-UM-Position-Information
        (read 2026-11-29)
        """
        ...

    @post("/papi/v1/um/leverage", weights=1, repeat="same_effect")
    async def set_leverage(self, symbol: str, leverage: int, *, recv_window: int | None = None) -> Leverage:
        """Set the leverage of a USD-M symbol, and return it with the largest notional that it allows.

        The leverage is from 1 to the ``initial_leverage`` of the symbol's first bracket, at most 125. The setting is
        absolute, so a
        request whose response was lost is sent again.

        Raises:
            RequestRejected: code -4028, the leverage is out of range; code -2027, the position is too large for it.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/account/Change-UM-Initial-Leverage
        (read 2026-11-29)
        """
        ...

    @get(
        "/papi/v1/um/income",
        weights=30,
        priority=Priority.BACKGROUND,
        page=ByTime(key=("income_type", "tran_id"), window=timedelta(days=90)),
    )
    async def income(
        self,
        symbol: str | None = None,
        income_type: UmIncomeType | None = None,
        *,
        start_time: int | None = None,
        end_time: int | None = None,
        limit: int | None = None,
        recv_window: int | None = None,
    ) -> list[UmIncome]:
        """Income rows of the USD-M side, oldest first: profits, fees, funding and transfers.

        Without times, the response covers the last seven days; the exchange keeps three months. Both times are
        inclusive milliseconds. The response has at most ``limit`` rows, by default 100 and at most 1000, and may end
        between rows of the same millisecond.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/account/Get-UM-Income-History
        (read 2026-11-29)
        """
        ...
