"""Settings and rules of USD-M futures."""

from __future__ import annotations

from decimal import Decimal
from typing import Unpack

from binance_pm.api.checks import between
from binance_pm.api.futures import CommissionRate, PositionMode
from binance_pm.api.orders import CallOptions, Success
from binance_pm.declaration import Namespace, get, post
from binance_pm.endpoint import Weights
from binance_pm.enums import OpenEnum
from binance_pm.resolution import ByValue
from binance_pm.wire import Milliseconds, Model


class MarginType(OpenEnum):
    """How the margin of a position is kept."""

    CROSSED = "CROSSED"
    """Together with that of all other positions, as always in a Portfolio Margin account."""
    ISOLATED = "ISOLATED"


class TradingRule(OpenEnum):
    """A rule on how orders are used, whose violation may restrict the account."""

    UFR = "UFR"
    """Ratio of orders that are not filled."""
    IFER = "IFER"
    """Ratio of IOC and FOK orders that expire."""
    GCR = "GCR"
    """Ratio of GTC orders that are cancelled."""
    DR = "DR"
    """Ratio of orders below a small value."""
    TMV = "TMV"
    """Number of violations of several rules together, on the whole account."""


class Leverage(Model, frozen=True):
    """The leverage of a symbol, and what it allows."""

    symbol: str
    """Such as ``BTCUSDT``."""
    leverage: int
    """The leverage that is set now."""
    max_notional_value: Decimal
    """The largest notional of a position in the symbol."""


class UmAccountConfig(Model, frozen=True):
    """The settings of the USD-M side."""

    fee_tier: int
    """The fee level."""
    can_trade: bool
    """Whether the account may trade."""
    can_deposit: bool
    """Whether the account may be paid into."""
    can_withdraw: bool
    """Whether the account may be withdrawn from."""
    dual_side_position: bool
    """True in hedge mode, False in one-way mode."""
    update_time: Milliseconds
    """To be ignored, according to the documents."""
    multi_assets_margin: bool
    """Whether all assets together are the margin of a position."""
    trade_group_id: int
    """The group of accounts that self-trade prevention treats as one; -1 for none."""


class UmSymbolConfig(Model, frozen=True):
    """The settings of a USD-M symbol."""

    symbol: str
    """Such as ``BTCUSDT``."""
    margin_type: MarginType
    """How the margin of a position is kept."""
    is_auto_add_margin: str
    """``"true"`` or ``"false"``, as text."""
    leverage: int
    """The leverage that is set now."""
    max_notional_value: Decimal
    """The largest notional of a position in the symbol."""


class UmBracket(Model, frozen=True):
    """A range of notional values, and the leverage that it allows."""

    bracket: int
    """The number of the bracket; 1 has the highest leverage."""
    initial_leverage: int
    """The highest leverage."""
    notional_cap: Decimal
    """The upper end of the range."""
    notional_floor: Decimal
    """The lower end of the range."""
    maint_margin_ratio: Decimal
    """Maintenance margin as a fraction of the notional."""
    cum: Decimal
    """An amount that is subtracted from the maintenance margin, so that it grows steadily over the brackets."""


class UmLeverageBrackets(Model, frozen=True):
    """The brackets of a USD-M symbol."""

    symbol: str
    """Such as ``BTCUSDT``."""
    brackets: list[UmBracket]
    """The brackets, that of the highest leverage first."""
    notional_coef: Decimal | None = None
    """The account's own factor of the notional values. None if the account has none."""


class FeeBurn(Model, frozen=True):
    """Whether the account pays fees in BNB."""

    fee_burn: bool
    """Whether fees are paid in BNB, at a discount."""


class TradingIndicator(Model, frozen=True):
    """The state of one trading rule."""

    indicator: TradingRule
    """The rule."""
    is_locked: bool
    """Whether the rule restricts trading now."""
    planned_recover_time: Milliseconds
    """When the restriction will end, in milliseconds since the epoch."""
    value: Decimal
    """The current value."""
    trigger_value: Decimal
    """The value from which trading is restricted."""


class TradingStatus(Model, frozen=True):
    """The states of the trading rules."""

    indicators: dict[str, list[TradingIndicator]]
    """By symbol; with the key ``ACCOUNT`` if the whole account is restricted."""
    update_time: Milliseconds
    """Milliseconds since the epoch."""


class UmSettings(Namespace, name="um"):
    """Settings and rules of USD-M futures."""

    @get("/papi/v1/um/accountConfig", weights=5)
    async def account_config(self, *, recv_window: int | None = None) -> UmAccountConfig:
        """Permissions, fee tier and modes of the USD-M side.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/account/Get-UM-Futures-Account-Config
        (read 2026-11-29)
        """
        ...

    @get("/papi/v1/um/symbolConfig", weights=5)
    async def symbol_config(self, symbol: str | None = None, *, recv_window: int | None = None) -> list[UmSymbolConfig]:
        """Leverage and margin type of one USD-M symbol or of every symbol, as a list in both cases.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/account/Get-UM-Futures-Symbol-Config
        (read 2026-11-29)
        """
        ...

    @get("/papi/v1/um/leverageBracket", weights=1)
    async def leverage_brackets(
        self, symbol: str | None = None, *, recv_window: int | None = None
    ) -> list[UmLeverageBrackets]:
        """Leverage and maintenance margin by notional, of one USD-M symbol or of every symbol.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/account/UM-Notional-and-Leverage-Brackets
        (read 2026-11-29)
        """
        ...

    @post(
        "/papi/v1/um/leverage",
        weights=1,
        repeat="same_effect",
        resolve=ByValue(query="um.symbol_config", parameter="leverage", field="leverage"),
        check=between("leverage", 1),
    )
    async def set_leverage(self, symbol: str, leverage: int, **options: Unpack[CallOptions]) -> Leverage:
        """Set the leverage of a USD-M symbol, and return it with the largest notional that it allows.

        The leverage is from 1 to the ``initial_leverage`` of the symbol's first bracket, at most 125. The setting is
        absolute, so a request whose response was lost is sent again.

        Raises:
            RequestRejected: code -4028, the leverage is out of range; code -2027, the position is too large for it.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/account/Change-UM-Initial-Leverage
        (read 2026-11-29)
        """
        ...

    @get("/papi/v1/um/positionSide/dual", weights=30)
    async def position_mode(self, *, recv_window: int | None = None) -> PositionMode:
        """Whether the account is in hedge mode. USD-M and COIN-M have the same mode.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/account/Get-UM-Current-Position-Mode
        (read 2026-11-29)
        """
        ...

    @post(
        "/papi/v1/um/positionSide/dual",
        weights=1,
        repeat="same_effect",
        resolve=ByValue(query="um.position_mode", parameter="dual_side_position", field="dual_side_position"),
    )
    async def set_position_mode(self, *, dual_side_position: bool, **options: Unpack[CallOptions]) -> Success:
        """Switch every symbol of USD-M and COIN-M to hedge mode, or to one-way mode.

        Raises:
            RequestRejected: code -4059, the mode is set already; code -4067 or -4068, there are open orders or
                positions; code -4531, COIN-M prevents the change.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/account/Change-UM-Position-Mode
        (read 2026-11-29)
        """
        ...

    @get("/papi/v1/um/commissionRate", weights=20)
    async def commission_rate(self, symbol: str, *, recv_window: int | None = None) -> CommissionRate:
        """What trades of a USD-M symbol cost the account.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/account/Get-User-Commission-Rate-for-UM
        (read 2026-11-29)
        """
        ...

    @get("/papi/v1/um/feeBurn", weights=30)
    async def fee_burn(self, *, recv_window: int | None = None) -> FeeBurn:
        """Whether fees of USD-M trades are paid in BNB.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/trade/Get-UM-Futures-BNB-Burn-Status
        (read 2026-11-29)
        """
        ...

    @post(
        "/papi/v1/um/feeBurn",
        weights=1,
        repeat="same_effect",
        resolve=ByValue(query="um.fee_burn", parameter="fee_burn", field="fee_burn"),
    )
    async def set_fee_burn(self, *, fee_burn: bool, **options: Unpack[CallOptions]) -> Success:
        """Pay fees of USD-M trades in BNB at a discount, or stop paying them in BNB.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/trade/Toggle-BNB-Burn-On-UM-Futures-Trade
        (read 2026-11-29)
        """
        ...

    @get("/papi/v1/um/apiTradingStatus", weights=Weights(1, without={"symbol": 10}))
    async def trading_status(self, symbol: str | None = None, *, recv_window: int | None = None) -> TradingStatus:
        """The trading rules of USD-M that restrict a symbol or the account, with their current values.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/account/Portfolio-Margin-UM-Trading-Quantitative-Rules-Indicators
        (read 2026-11-29)
        """
        ...

    @post("/papi/v1/um/stock/contract", weights=5, security="USER_DATA")
    async def sign_tradfi_contract(self, *, recv_window: int | None = None) -> Success:
        """Sign the agreement that trading of USD-M perpetual contracts on stocks and commodities requires.

        No query shows whether it was signed.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/trade/PM-TradFi-Perps
        (read 2026-11-29)
        """
        ...
