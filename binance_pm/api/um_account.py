"""The USD-M side of a Portfolio Margin account."""

from __future__ import annotations

from decimal import Decimal

from binance_pm.declaration import EndpointGroup, get
from binance_pm.enums import PositionSide
from binance_pm.wire import Milliseconds, Model


class UmAsset(Model, frozen=True):
    """What the account holds and owes in one margin asset, in units of the asset."""

    asset: str
    """The margin asset, such as ``USDT``."""
    cross_wallet_balance: Decimal
    """Wallet balance in cross margin, without unrealized profit."""
    cross_un_pnl: Decimal
    """Unrealized profit of all positions margined in the asset."""
    maint_margin: Decimal
    """Maintenance margin of the positions margined in the asset."""
    initial_margin: Decimal
    """Initial margin of positions and open orders together."""
    position_initial_margin: Decimal
    """Initial margin of the positions at the mark price."""
    open_order_initial_margin: Decimal
    """Initial margin of the open orders."""
    update_time: Milliseconds
    """Milliseconds since the epoch; 0 if nothing ever happened."""


class UmPosition(Model, frozen=True):
    """One position, which may be empty; amounts in the margin asset of the symbol unless stated otherwise."""

    symbol: str
    """Such as ``BTCUSDT``."""
    initial_margin: Decimal
    """Initial margin at the mark price."""
    maint_margin: Decimal
    """Maintenance margin."""
    unrealized_profit: Decimal
    """Unrealized profit at the mark price."""
    position_side: PositionSide
    """Which side the position is on: BOTH in one-way mode, LONG or SHORT in hedge mode."""
    position_amt: Decimal
    """In units of the base asset; negative for a short position, also in hedge mode."""
    update_time: Milliseconds
    """Milliseconds since the epoch; 0 if nothing ever happened."""
    notional: Decimal
    """Value at the mark price; negative for a short position."""


class UmAccount(Model, frozen=True):
    """Assets and positions of the USD-M side."""

    assets: list[UmAsset]
    """One entry for each margin asset."""
    positions: list[UmPosition]
    """Every symbol of the market: filter on ``position_amt`` for the open ones."""


class UmAccountApi(EndpointGroup):
    """The USD-M side of the account."""

    @get("/papi/v2/um/account", weights=5)
    async def um_account(self, *, recv_window: int | None = None) -> UmAccount:
        """USD-M assets and positions of the account.

        Positions cover every symbol of the market: filter on ``position_amt`` for the open ones. ``account`` returns
        the equity and the risk state of the account.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/account/Get-UM-Account-Detail-V2
        (read 2026-11-21)
        """
        ...
