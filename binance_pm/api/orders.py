"""What orders of USD-M, COIN-M and margin have in common."""

from __future__ import annotations

from binance_pm.enums import OpenEnum


class Side(OpenEnum):
    """Whether an order buys or sells."""

    BUY = "BUY"
    SELL = "SELL"


class OrderType(OpenEnum):
    """The type of an order, on USD-M and COIN-M futures."""

    LIMIT = "LIMIT"
    MARKET = "MARKET"


class TimeInForce(OpenEnum):
    """How long a limit order waits to be filled."""

    GTC = "GTC"
    """Until it is cancelled; the exchange cancels it after a year."""
    IOC = "IOC"
    """The part that cannot be filled at once is cancelled."""
    FOK = "FOK"
    """Filled at once and completely, or refused."""
    GTX = "GTX"
    """Refused if any of it could be filled at once: post only."""
    GTD = "GTD"
    """Until ``good_till_date``."""


class OrderStatus(OpenEnum):
    """The state of an order."""

    NEW = "NEW"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    CANCELED = "CANCELED"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"
    EXPIRED_IN_MATCH = "EXPIRED_IN_MATCH"
    """Expired by self-trade prevention."""


class SelfTradePreventionMode(OpenEnum):
    """Which of two matching orders of the same user expires."""

    NONE = "NONE"
    EXPIRE_TAKER = "EXPIRE_TAKER"
    EXPIRE_MAKER = "EXPIRE_MAKER"
    EXPIRE_BOTH = "EXPIRE_BOTH"


class PriceMatch(OpenEnum):
    """The level of the order book at which the exchange prices an order."""

    NONE = "NONE"
    OPPONENT = "OPPONENT"
    OPPONENT_5 = "OPPONENT_5"
    OPPONENT_10 = "OPPONENT_10"
    OPPONENT_20 = "OPPONENT_20"
    QUEUE = "QUEUE"
    QUEUE_5 = "QUEUE_5"
    QUEUE_10 = "QUEUE_10"
    QUEUE_20 = "QUEUE_20"
