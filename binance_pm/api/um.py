"""USD-M futures: positions, and all other topics together."""

from __future__ import annotations

from decimal import Decimal

from binance_pm.api.account import UmAsset
from binance_pm.api.futures import SymbolAdlQuantile
from binance_pm.api.um_algo_orders import UmAlgoOrders
from binance_pm.api.um_history import UmHistory
from binance_pm.api.um_orders import UmOrders
from binance_pm.api.um_settings import UmSettings
from binance_pm.declaration import get
from binance_pm.enums import PositionSide
from binance_pm.wire import Milliseconds, Model


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


class UmPositionV1(Model, frozen=True):
    """One position, which may be empty; amounts in the margin asset of the symbol unless stated otherwise."""

    symbol: str
    """Such as ``BTCUSDT``."""
    initial_margin: Decimal
    """Initial margin of position and open orders together."""
    maint_margin: Decimal
    """Maintenance margin."""
    unrealized_profit: Decimal
    """Unrealized profit at the mark price."""
    position_initial_margin: Decimal
    """Initial margin of the position at the mark price."""
    open_order_initial_margin: Decimal
    """Initial margin of the open orders."""
    leverage: Decimal
    """A whole number."""
    entry_price: Decimal
    """Average price at which it was opened."""
    max_notional: Decimal
    """The largest notional that the leverage allows."""
    bid_notional: Decimal
    """To be ignored, according to the documents."""
    ask_notional: Decimal
    """To be ignored, according to the documents."""
    position_side: PositionSide
    """Which side the position is on: BOTH in one-way mode, LONG or SHORT in hedge mode."""
    position_amt: Decimal
    """In units of the base asset; negative for a short position, also in hedge mode."""
    update_time: Milliseconds
    """Milliseconds since the epoch; 0 if nothing ever happened."""
    notional: Decimal | None = None
    """Value at the mark price; not documented, but present in real responses."""
    break_even_price: Decimal | None = None
    """Price without profit or loss, fees included; not documented, but present in real responses."""


class UmAccountV1(Model, frozen=True):
    """Assets and positions of the USD-M side, with every symbol of the market."""

    assets: list[UmAsset]
    """One entry for each margin asset."""
    positions: list[UmPositionV1]
    """Every symbol of the market: filter on ``position_amt`` for the open ones."""


class Um(UmOrders, UmAlgoOrders, UmSettings, UmHistory, name="um"):
    """USD-M futures, as ``client.um``."""

    @get("/papi/v1/um/account", weights=5)
    async def account_v1(self, *, recv_window: int | None = None) -> UmAccountV1:
        """USD-M assets and positions with leverage and entry prices, for every symbol of the market.

        The response is about 300 kB. `Client.um_account` has only symbols with a position or an open order, and fewer
        fields.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/account/Get-UM-Account-Detail
        (read 2026-11-29)
        """
        ...

    @get("/papi/v1/um/positionRisk", weights=5)
    async def position_risk(self, symbol: str | None = None, *, recv_window: int | None = None) -> list[UmPositionRisk]:
        """Open USD-M positions with mark price, liquidation price and leverage, of one symbol or of all.

        A symbol without a position may be missing: treat it as flat. In hedge mode a symbol has up to three rows. The
        user data stream reports changes sooner and uses no weight.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/account/Query-UM-Position-Information
        (read 2026-11-29)
        """
        ...

    @get("/papi/v1/um/adlQuantile", weights=5)
    async def adl_quantile(
        self, symbol: str | None = None, *, recv_window: int | None = None
    ) -> list[SymbolAdlQuantile]:
        """How soon USD-M positions would be deleveraged, of one symbol or of all. The values change every 30 seconds.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/trade/UM-Position-ADL-Quantile-Estimation
        (read 2026-11-29)
        """
        ...
