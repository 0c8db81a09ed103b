"""What the exchange checks before a futures order or a change of one reaches the matching.

Sources: the tables of required parameters and the filters on the pages of the orders,
https://developers.binance.com/docs/derivatives/portfolio-margin/trade (read 2026-11-29). A limit price may be at most
twice the mark price for a purchase, and at least half of it for a sale: the real exchange is stricter for most symbols.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from binance_pm.sandbox import facts, order_errors
from binance_pm.sandbox.messages import Refusal
from binance_pm.sandbox.records import ZERO
from binance_pm.sandbox.valuation import order_margin

if TYPE_CHECKING:
    from collections.abc import Mapping

    from binance_pm.sandbox.contracts import Contract
    from binance_pm.sandbox.futures import Futures
    from binance_pm.sandbox.market import Market, Side
    from binance_pm.sandbox.records import OrderRecord
    from binance_pm.sandbox.valuation import Valued

_HIGHEST, _LOWEST = Decimal(2), Decimal("0.5")
_LEAST_GOOD_TILL = 600_000
_MOST_GOOD_TILL = 253_402_300_799_000
# Refused since 2025-10-23, though the parameter's table still lists them.
_SUSPENDED_MATCHES = frozenset({"OPPONENT_10", "OPPONENT_20"})


def check_combination(sent: Mapping[str, str], *, is_limit: bool, now: float) -> None:
    """Check which parameters of an order come together.

    Raises:
        Refusal: -1102 or -1106 for one that is missing or must not be there, -1130 for a wrong date or price match.
    """
    require(sent, "quantity")
    if not is_limit:
        forbid(sent, "price", "timeInForce", "priceMatch", "goodTillDate")
        return
    require(sent, "timeInForce")
    check_price_parameters(sent)
    check_good_till(sent, now)


def check_price_parameters(sent: Mapping[str, str]) -> None:
    """Check that a limit order has a price or a price match, and not both.

    Raises:
        Refusal: -1102 if both are missing, -1106 if both are there, -1130 for a suspended price match.
    """
    if "priceMatch" not in sent:
        require(sent, "price")
        return
    forbid(sent, "price")
    if sent["priceMatch"] in _SUSPENDED_MATCHES:
        raise Refusal(facts.INVALID_PARAMETER, name="priceMatch")


def check_good_till(sent: Mapping[str, str], now: float) -> None:
    """Check that an order has an end if it is good till a date, and only then.

    Raises:
        Refusal: -1102 or -1106, or -1130 for an end that is too near or too far.
    """
    if sent.get("timeInForce") != "GTD":
        forbid(sent, "goodTillDate")
        return
    require(sent, "goodTillDate")
    if not now * 1000 + _LEAST_GOOD_TILL < int(sent["goodTillDate"]) < _MOST_GOOD_TILL:
        raise Refusal(facts.INVALID_PARAMETER, name="goodTillDate")


def require(sent: Mapping[str, str], *names: str) -> None:
    """Check that parameters were sent.

    Raises:
        Refusal: -1102.
    """
    for name in names:
        if name not in sent:
            raise Refusal(facts.MANDATORY_MISSING, name=name)


def forbid(sent: Mapping[str, str], *names: str) -> None:
    """Check that parameters were not sent.

    Raises:
        Refusal: -1106.
    """
    for name in names:
        if name in sent:
            raise Refusal(order_errors.NOT_REQUIRED, name=name)


def check_mode(sent: Mapping[str, str], *, is_hedged: bool) -> None:
    """Check position side and reduce-only against the position mode.

    Raises:
        Refusal: -4061, or -1106 for reduce-only in hedge mode.
    """
    if (sent.get("positionSide", "BOTH") == "BOTH") is is_hedged:
        raise Refusal(order_errors.WRONG_POSITION_SIDE)
    if is_hedged:
        forbid(sent, "reduceOnly")


def check_price(contract: Contract, price: Decimal, *, is_buy: bool, market: Market, now: float) -> None:
    """Check a limit price against precision, tick and mark price.

    Raises:
        Refusal: -4001, -1111, -4014, -4016 or -4024.
    """
    check_tick(contract, price)
    mark = market.price_of(contract, now)
    if is_buy and price > mark * _HIGHEST:
        raise Refusal(order_errors.PRICE_TOO_HIGH)
    if not is_buy and price < mark * _LOWEST:
        raise Refusal(order_errors.PRICE_TOO_LOW)


def check_tick(contract: Contract, price: Decimal) -> None:
    """Check any price against precision and tick.

    Raises:
        Refusal: -4001, -1111 or -4014.
    """
    if price <= 0:
        raise Refusal(order_errors.PRICE_TOO_SMALL)
    if price != round(price, contract.digits):
        raise Refusal(order_errors.TOO_PRECISE)
    if price % contract.tick:
        raise Refusal(order_errors.PRICE_OFF_TICK)


def check_quantity(contract: Contract, quantity: Decimal) -> None:
    """Check a quantity against step and range.

    Raises:
        Refusal: -4003, -1111 or -4005.
    """
    if quantity <= 0:
        raise Refusal(order_errors.QUANTITY_TOO_SMALL)
    if quantity % contract.step:
        raise Refusal(order_errors.TOO_PRECISE)
    if quantity > contract.largest:
        raise Refusal(order_errors.QUANTITY_ABOVE_MAXIMUM)


def check_risk(account: Valued, desk: Futures, order: OrderRecord, now: float) -> None:
    """Check an order against notional, position, leverage and margin of the account.

    Raises:
        Refusal: -2022, -2023, -4407, -4164, -2027 or -2019.
    """
    contract, status = order.contract, account.statement(now).status
    price = order.price or desk.market.price_of(contract, now)
    if status in {"FORCE_LIQUIDATION", "BANKRUPTED"}:
        raise Refusal(order_errors.IN_LIQUIDATION)
    if order.closing:
        if desk.room(order) <= 0:
            raise Refusal(order_errors.REDUCE_ONLY_REJECTED)
        return
    if order.quantity * price < contract.least_notional:
        raise Refusal(order_errors.NOTIONAL_TOO_SMALL, least=contract.least_notional)
    opening = desk.opening(order)
    if not opening:
        return
    if status == "REDUCE_ONLY":
        raise Refusal(order_errors.ACCOUNT_REDUCES_ONLY)
    _check_leverage(desk, order, opening, price)
    usd = desk.market.usd(contract.settled_in, now)
    if order_margin(desk, order, now) * usd > account.statement(now).free:
        raise Refusal(order_errors.MARGIN_NOT_SUFFICIENT)


def matched_price(market: Market, contract: Contract, side: Side, match: str, now: float) -> Decimal:
    """Return the price of a price match: that of a level of the own side, or of the other side of the book."""
    kind, _, number = match.partition("_")
    other: Side = "SELL" if side == "BUY" else "BUY"
    return market.levels(contract, side if kind == "QUEUE" else other, now)[int(number or 1) - 1].price


def _check_leverage(desk: Futures, order: OrderRecord, opening: Decimal, price: Decimal) -> None:
    contract = order.contract
    held = desk.position(contract, order.position_side).amount
    same = held if order.is_buy else -held
    total = max(ZERO, same) + opening
    if contract.bracket_size(total, price) > contract.most_at(desk.leverage_of(contract.symbol)):
        raise Refusal(order_errors.MAX_LEVERAGE_RATIO)
