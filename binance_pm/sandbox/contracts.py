"""The contracts and pairs of the market: tick and step sizes, leverage brackets, and the value of an amount.

The sizes derive from the price at which the market starts. Ticks and steps are powers of ten.
"""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from functools import lru_cache
from typing import Literal, NamedTuple

Product = Literal["UM", "CM", "MARGIN"]
"""USD-M futures, COIN-M futures, or cross margin."""

_ONE = Decimal(1)
_DIGITS = Decimal("0.00000001")
_LARGEST_STEPS = 10_000_000
"""The largest quantity of one order, in steps."""


class Bracket(NamedTuple):
    """One step of a symbol's leverage brackets, by notional in USD or, for COIN-M, in contracts."""

    number: int
    leverage: int
    floor: int
    cap: int
    ratio: Decimal
    """Maintenance margin as a fraction of the notional."""
    cum: Decimal
    """What the brackets below save, so that maintenance margin has no jumps."""


# Leverage, cap in USD, and maintenance ratio as a multiple of that of the first bracket.
_BRACKETS = (
    (125, 800_000, "1"),
    (50, 2_000_000, "1"),
    (20, 5_000_000, "1"),
    (10, 10_000_000, "1.25"),
    (5, 20_000_000, "1.5"),
    (1, 100_000_000, "2"),
)


class Contract(NamedTuple):
    """A contract, or a pair of cross margin, and the rules for its orders."""

    product: Product
    symbol: str
    base: str
    quote: str
    tick: Decimal
    step: Decimal
    least_notional: Decimal
    """In the quote asset."""
    size: Decimal | None = None
    """Value of one COIN-M contract in USD; None if a quantity is an amount of the base asset."""
    ratio: Decimal = Decimal(0)
    """Maintenance margin as a fraction of the notional, in the first bracket."""

    @property
    def pair(self) -> str:
        """The pair, such as BTCUSD of BTCUSD_PERP."""
        return self.symbol.partition("_")[0]

    @property
    def settled_in(self) -> str:
        """The asset of margin, profit and fees."""
        return self.quote if self.size is None else self.base

    @property
    def digits(self) -> int:
        """Decimal places of a price."""
        return _digits(self.tick) + 1

    @property
    def largest(self) -> Decimal:
        """The largest quantity of one order."""
        return self.step * _LARGEST_STEPS

    @property
    def brackets(self) -> tuple[Bracket, ...]:
        """Its leverage brackets, by notional in USD or, for COIN-M, in contracts."""
        return _brackets(self.ratio, int(self.size or 1))

    def notional(self, quantity: Decimal, price: Decimal) -> Decimal:
        """Return the value of a quantity in the settlement asset; the sign is that of the quantity."""
        return quantity * price if self.size is None else quantity * self.size / price

    def gain(self, quantity: Decimal, entry: Decimal, price: Decimal) -> Decimal:
        """Return the profit of a signed quantity, in the settlement asset."""
        if self.size is None:
            return quantity * (price - entry)
        return quantity * self.size * (1 / entry - 1 / price) if quantity else Decimal(0)

    def quantity_of(self, notional: Decimal, price: Decimal) -> Decimal:
        """Return the quantity of a notional in the quote asset, rounded down to a step."""
        return self.rounded(notional / (self.size or price))

    def rounded(self, quantity: Decimal) -> Decimal:
        """Return the quantity, rounded down to a step."""
        return (quantity / self.step).to_integral_value(ROUND_FLOOR) * self.step

    def on_tick(self, price: Decimal, *, up: bool) -> Decimal:
        """Return the price, rounded to a tick."""
        return (price / self.tick).to_integral_value(ROUND_CEILING if up else ROUND_FLOOR) * self.tick

    def bracket_of(self, size: Decimal) -> Bracket:
        """Return the bracket of a position: its size is a notional in USD or, for COIN-M, a number of contracts."""
        return next((row for row in self.brackets if size <= row.cap), self.brackets[-1])

    def most_at(self, leverage: int) -> int:
        """Return the largest position with this leverage, as a notional in USD or, for COIN-M, in contracts."""
        return max(row.cap for row in self.brackets if row.leverage >= leverage)

    def bracket_size(self, quantity: Decimal, price: Decimal) -> Decimal:
        """Return the size of a position by which its bracket is found."""
        return abs(quantity) * price if self.size is None else abs(quantity)

    def maintenance(self, quantity: Decimal, price: Decimal) -> Decimal:
        """Return the maintenance margin of a position, in the settlement asset."""
        size = self.bracket_size(quantity, price)
        row = self.bracket_of(size)
        margin = size * row.ratio - row.cum
        return margin if self.size is None else margin * self.size / price

    def price_text(self, price: Decimal) -> str:
        """Return the price as the exchange sends it."""
        return f"{price:.{self.digits}f}"

    def quantity_text(self, quantity: Decimal) -> str:
        """Return the quantity as the exchange sends it."""
        return f"{quantity:.{_digits(self.step)}f}"


def um_contract(base: str, quote: str, price: float, usd: float, ratio: Decimal) -> Contract:
    """Return a USD-M contract that trades at about this price; ``usd`` is the price of the base asset in USD."""
    step = min(_ONE, max(_power(-3), _power(-_magnitude(usd))))
    notional = Decimal(5) if quote == "USDT" else Decimal("0.0001")
    return Contract("UM", base + quote, base, quote, _power(_magnitude(price) - 5), step, notional, ratio=ratio)


def cm_contract(base: str, price: float, ratio: Decimal) -> Contract:
    """Return a perpetual COIN-M contract of an asset that trades at about this price."""
    size = Decimal(100 if base == "BTC" else 10)
    tick = _power(_magnitude(price) - 5)
    return Contract("CM", f"{base}USD_PERP", base, "USD", tick, _ONE, Decimal(0), size, ratio)


def margin_pair(base: str, quote: str, price: float, usd: float) -> Contract:
    """Return a pair of cross margin that trades at about this price; ``usd`` is the price of the base asset in USD."""
    tick = max(_DIGITS, _power(_magnitude(price) - 6))
    notional = Decimal(5) if quote == "USDT" else Decimal("0.0001")
    return Contract("MARGIN", f"{base}{quote}", base, quote, tick, min(_ONE, _power(-_magnitude(usd) - 1)), notional)


@lru_cache(maxsize=64)
def _brackets(ratio: Decimal, size: int) -> tuple[Bracket, ...]:
    rows: list[Bracket] = []
    floor, cum, before = 0, Decimal(0), ratio
    for number, (leverage, usd, multiple) in enumerate(_BRACKETS, 1):
        own = ratio * Decimal(multiple)
        cum += floor * (own - before)
        rows.append(Bracket(number, leverage, floor, usd // size, own, cum))
        floor, before = usd // size, own
    return tuple(rows)


def _magnitude(price: float) -> int:
    return math.floor(math.log10(price))


def _power(exponent: int) -> Decimal:
    return _ONE.scaleb(exponent)


def _digits(step: Decimal) -> int:
    return max(0, -int(step.adjusted()))
