"""COIN-M futures: positions, settings and income, and all other topics together."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Literal, TypeAlias, Unpack

from binance_pm.api.checks import between, time_range
from binance_pm.api.cm_conditional_orders import CmConditionalOrders
from binance_pm.api.cm_orders import CmOrders
from binance_pm.api.futures import CommissionRate, Income, PositionMode, SymbolAdlQuantile
from binance_pm.api.orders import CallOptions, Success, Window
from binance_pm.declaration import get, post
from binance_pm.enums import PositionSide
from binance_pm.limits import Priority
from binance_pm.paging import ByTime
from binance_pm.resolution import ByValue
from binance_pm.wire import Milliseconds, Model

CmIncomeType: TypeAlias = Literal[
    "TRANSFER",
    "WELCOME_BONUS",
    "FUNDING_FEE",
    "REALIZED_PNL",
    "COMMISSION",
    "INSURANCE_CLEAR",
    "DELIVERED_SETTELMENT",
]
"""The income types that can be requested."""


class CmPositionRisk(Model, frozen=True):
    """One position with its prices; amounts in the coin of the symbol unless stated otherwise."""

    symbol: str
    """Such as ``BTCUSD_PERP``."""
    position_side: PositionSide
    """Which side the position is on: BOTH in one-way mode, LONG or SHORT in hedge mode."""
    position_amt: Decimal
    """In contracts; negative for a short position, also in hedge mode."""
    entry_price: Decimal
    """Average price at which it was opened, in USD."""
    mark_price: Decimal
    """The current mark price, in USD."""
    liquidation_price: Decimal
    """In USD, calculated from all positions of the account; 0 if no price would liquidate the account."""
    un_realized_profit: Decimal
    """At the mark price. The exchange writes ``unRealizedProfit`` here and ``unrealizedProfit`` in `CmAccount`."""
    leverage: Decimal
    """A whole number."""
    max_qty: Decimal
    """The largest position that the leverage allows."""
    notional_value: Decimal
    """Value at the mark price."""
    update_time: Milliseconds
    """Milliseconds since the epoch; 0 if nothing ever happened."""
    break_even_price: Decimal | None = None
    """Price without profit or loss, fees included; not documented, but present in real responses."""


class CmLeverage(Model, frozen=True):
    """The leverage of a COIN-M symbol, and what it allows."""

    symbol: str
    """Such as ``BTCUSD_PERP``."""
    leverage: int
    """The leverage that is set now."""
    max_qty: Decimal
    """The largest position in the symbol."""


class CmBracket(Model, frozen=True):
    """A range of quantities, and the leverage that it allows."""

    bracket: int
    """The number of the bracket; 1 has the highest leverage."""
    initial_leverage: int
    """The highest leverage."""
    qty_cap: Decimal
    """The upper end of the range. The documents of the product call it a quantity of the base asset."""
    qty_floor: Decimal
    """The lower end of the range, in the same unit."""
    maint_margin_ratio: Decimal
    """Maintenance margin as a fraction of the value."""
    cum: Decimal
    """An amount that is subtracted from the maintenance margin, so that it grows steadily over the brackets."""


class CmLeverageBrackets(Model, frozen=True):
    """The brackets of a COIN-M symbol."""

    symbol: str
    """Such as ``BTCUSD_PERP``."""
    brackets: list[CmBracket]
    """The brackets, that of the highest leverage first."""


class Cm(CmOrders, CmConditionalOrders, name="cm"):
    """COIN-M futures, as ``client.cm``."""

    @get("/papi/v1/cm/positionRisk", weights=1)
    async def position_risk(
        self, margin_asset: str | None = None, pair: str | None = None, *, recv_window: int | None = None
    ) -> list[CmPositionRisk]:
        """Open COIN-M positions with mark price, liquidation price and leverage, of a margin asset, a pair, or all.

        Positions count contracts. A symbol without a position may be missing: treat it as flat.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/account/Query-CM-Position-Information
        (read 2026-11-29)
        """
        ...

    @get("/papi/v1/cm/leverageBracket", weights=1)
    async def leverage_brackets(
        self, symbol: str | None = None, *, recv_window: int | None = None
    ) -> list[CmLeverageBrackets]:
        """Leverage and maintenance margin by quantity, of one COIN-M symbol or of every symbol.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/account/CM-Notional-and-Leverage-Brackets
        (read 2026-11-29)
        """
        ...

    @post(
        "/papi/v1/cm/leverage",
        weights=1,
        repeat="same_effect",
        resolve=ByValue(query="cm.position_risk", parameter="leverage", field="leverage"),
        check=between("leverage", 1),
    )
    async def set_leverage(self, symbol: str, leverage: int, **options: Unpack[CallOptions]) -> CmLeverage:
        """Set the leverage of a COIN-M symbol, and return it with the largest position that it allows.

        The leverage is from 1 to the ``initial_leverage`` of the symbol's first bracket, at most 125. The setting is
        absolute, so a request whose response was lost is sent again.

        Raises:
            RequestRejected: code -4028, the leverage is out of range; code -2027, the position is too large for it.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/account/Change-CM-Initial-Leverage
        (read 2026-11-29)
        """
        ...

    @get("/papi/v1/cm/positionSide/dual", weights=30)
    async def position_mode(self, *, recv_window: int | None = None) -> PositionMode:
        """Whether the account is in hedge mode. USD-M and COIN-M have the same mode.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/account/Get-CM-Current-Position-Mode
        (read 2026-11-29)
        """
        ...

    @post(
        "/papi/v1/cm/positionSide/dual",
        weights=1,
        repeat="same_effect",
        resolve=ByValue(query="cm.position_mode", parameter="dual_side_position", field="dual_side_position"),
    )
    async def set_position_mode(self, *, dual_side_position: bool, **options: Unpack[CallOptions]) -> Success:
        """Switch every symbol to hedge mode, or to one-way mode; the mode must be that of USD-M.

        Raises:
            RequestRejected: code -4059, the mode is set already; code -4067 or -4068, there are open orders or
                positions; code -4220, USD-M has another mode.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/account/Change-CM-Position-Mode
        (read 2026-11-29)
        """
        ...

    @get("/papi/v1/cm/commissionRate", weights=20)
    async def commission_rate(self, symbol: str, *, recv_window: int | None = None) -> CommissionRate:
        """What trades of a COIN-M symbol cost the account.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/account/Get-User-Commission-Rate-for-CM
        (read 2026-11-29)
        """
        ...

    @get("/papi/v1/cm/adlQuantile", weights=5)
    async def adl_quantile(
        self, symbol: str | None = None, *, recv_window: int | None = None
    ) -> list[SymbolAdlQuantile]:
        """How soon COIN-M positions would be deleveraged, of one symbol or of all. The values change every 30 seconds.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/trade/CM-Position-ADL-Quantile-Estimation
        (read 2026-11-29)
        """
        ...

    @get(
        "/papi/v1/cm/income",
        weights=30,
        priority=Priority.BACKGROUND,
        page=ByTime(
            key=("income_type", "tran_id", "symbol", "asset"),
            most=1000,
            window=timedelta(days=200),
            split="income_type",
        ),
        check=time_range(timedelta(days=200)),
    )
    async def income(
        self, symbol: str | None = None, income_type: CmIncomeType | None = None, **window: Unpack[Window]
    ) -> list[Income]:
        """Income rows of the COIN-M side, oldest first: profits, fees, funding and transfers.

        A range of time is at most 200 days, and the last 200 days by default. The response has at most ``limit`` rows,
        by default 100 and at most 1000, and may end between rows of the same millisecond.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/account/Get-CM-Income-History
        (read 2026-11-29)
        """
        ...
