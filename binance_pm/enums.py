"""The exchange's enumerations.

Received values are members of an `OpenEnum`: if the exchange adds a value, it is kept, not refused.

Source: https://developers.binance.com/docs/derivatives/portfolio-margin/common-definition (read 2026-11-21)
"""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class OpenEnum(StrEnum):
    """An enumeration that keeps values it does not know.

    An unknown value becomes a member that equals its text and has the same hash and the same printed form. Iteration
    over the class does not list it.
    """

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, str):
            return None
        member = str.__new__(cls, value)
        member._name_ = value
        member._value_ = value
        return member

    def __reduce_ex__(self, _: object) -> tuple[type[Self], tuple[str]]:
        # By value: some releases of Python 3.11 look members up by name, and unknown values are not listed.
        return type(self), (self._value_,)

    @property
    def is_known(self) -> bool:
        """Whether this version of the package lists the value."""
        return self._value_ in type(self)._value2member_map_


class AccountStatus(OpenEnum):
    """The risk state of a portfolio margin account, mildest first."""

    NORMAL = "NORMAL"
    """No restriction."""
    MARGIN_CALL = "MARGIN_CALL"
    """A margin call: add margin or reduce positions."""
    SUPPLY_MARGIN = "SUPPLY_MARGIN"
    """Margin must be added."""
    REDUCE_ONLY = "REDUCE_ONLY"
    """Only orders that reduce positions are accepted."""
    ACTIVE_LIQUIDATION = "ACTIVE_LIQUIDATION"
    """The account is being liquidated actively."""
    FORCE_LIQUIDATION = "FORCE_LIQUIDATION"
    """The account is being liquidated by force."""
    BANKRUPTED = "BANKRUPTED"
    """The account is bankrupt."""


class AccountType(OpenEnum):
    """The portfolio margin product of an account."""

    PM_1 = "PM_1"
    """Portfolio Margin Pro."""
    PM_2 = "PM_2"
    """Portfolio Margin."""
    PM_3 = "PM_3"
    """Portfolio Margin Pro SPAN."""


class PositionSide(OpenEnum):
    """BOTH in one-way mode, LONG or SHORT in hedge mode."""

    BOTH = "BOTH"
    """The one position of a symbol in one-way mode."""
    LONG = "LONG"
    """The long position of a symbol in hedge mode."""
    SHORT = "SHORT"
    """The short position of a symbol in hedge mode."""
