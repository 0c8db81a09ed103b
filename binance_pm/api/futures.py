"""What USD-M and COIN-M futures have in common besides orders."""

from __future__ import annotations

from decimal import Decimal

from msgspec import field

from binance_pm.enums import OpenEnum
from binance_pm.wire import Milliseconds, Model


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


class Income(Model, frozen=True):
    """One row of the income history: one change of a futures wallet."""

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
    """Usually the same text as the income type; may be empty."""
    trade_id: str
    """Empty if the row belongs to no trade."""
    time: Milliseconds
    """Milliseconds since the epoch."""


class CommissionRate(Model, frozen=True):
    """What a trade of a symbol costs, as fractions of the value: 0.0004 is 0.04 %."""

    symbol: str
    """Such as ``BTCUSDT``."""
    maker_commission_rate: Decimal
    """The rate of an order that adds liquidity."""
    taker_commission_rate: Decimal
    """The rate of an order that takes liquidity."""


class PositionMode(Model, frozen=True):
    """The position mode of the account, for every symbol of USD-M and COIN-M."""

    dual_side_position: bool
    """True in hedge mode, with a long and a short position for each symbol; False in one-way mode."""


class AdlQuantile(Model, frozen=True):
    """How soon positions would be deleveraged, from 0 to 4; 4 is the first to go."""

    long: int = field(name="LONG")
    """Of the long position."""
    short: int = field(name="SHORT")
    """Of the short position."""
    both: int | None = field(name="BOTH", default=None)
    """Of the position in one-way mode. None in hedge mode."""
    hedge: int | None = field(name="HEDGE", default=None)
    """A sign of hedge mode, whose value has no meaning. None in one-way mode."""


class SymbolAdlQuantile(Model, frozen=True):
    """How soon the positions of a symbol would be deleveraged."""

    symbol: str
    """Such as ``BTCUSDT``."""
    adl_quantile: AdlQuantile
    """The place in the queue for each side."""
