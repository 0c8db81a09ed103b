"""USD-M futures: positions, settings and income."""

from __future__ import annotations

from decimal import Decimal

from binance_pm.declaration import Namespace, get, post
from binance_pm.enums import PositionSide
from binance_pm.wire import Milliseconds, Model


class UmPositionRisk(Model, frozen=True):
    """One position with its prices; amounts in the margin asset of the symbol unless said otherwise."""

    symbol: str
    position_side: PositionSide
    position_amt: Decimal
    """In units of the base asset; negative for a short position, also in hedge mode."""
    entry_price: Decimal
    """Average price at which it was opened."""
    mark_price: Decimal
    liquidation_price: Decimal
    """By the positions of the whole account; 0 if no price would liquidate the account."""
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
    """Price at which nothing would be lost, fees included; no document has it, real responses do."""


class Leverage(Model, frozen=True):
    """The leverage of a symbol, and what it allows."""

    symbol: str
    leverage: int
    max_notional_value: Decimal
    """The largest notional of a position in the symbol."""


class Um(Namespace, name="um"):
    """USD-M futures, as ``client.um``."""

    @get("/papi/v1/um/positionRisk", weights=5)
    async def position_risk(self, symbol: str | None = None, *, recv_window: int | None = None) -> list[UmPositionRisk]:
        """Open USD-M positions with mark price, liquidation price and leverage, of one symbol or of all.

        A symbol without a position may be missing: treat it as flat. In hedge mode a symbol has up to three rows. The
        user data stream tells changes sooner and costs no weight.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/account/Query-UM-Position-Information
        (read 2026-11-29)
        """
        ...

    @post("/papi/v1/um/leverage", weights=1, repeat="same_effect")
    async def set_leverage(self, symbol: str, leverage: int, *, recv_window: int | None = None) -> Leverage:
        """Set the leverage of a USD-M symbol; it is returned with the largest notional that it allows.

        From 1 to the ``initial_leverage`` of the symbol's first bracket, at most 125. The setting is absolute, so a
        request whose response was lost is sent again.

        Raises:
            RequestRejected: code -4028, the leverage is out of range; code -2027, the position is too large for it.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/account/Change-UM-Initial-Leverage
        (read 2026-11-29)
        """
        ...
