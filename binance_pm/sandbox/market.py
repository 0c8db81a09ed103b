"""A market generated from a seed: prices at any time, contracts, and the depth of their order books.

A price is a closed formula of seed, symbol and time: there are no steps, and prices can be calculated for any time in
any order. The whole market falls by 3 % in two minutes and recovers in the next two, repeatedly; the price of each
symbol fluctuates around that. A price that was set holds from then on.

Mark price, index price and the middle of the order book are the same. The book of a contract has twenty levels on each
side; their quantities derive from the seed, and trades do not use them up for longer than an instant.
"""

from __future__ import annotations

import hashlib
import math
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple

from binance_pm.sandbox.contracts import cm_contract, margin_pair, um_contract

if TYPE_CHECKING:
    from collections.abc import Mapping

    from binance_pm.sandbox.contracts import Contract, Product

MAJORS: Mapping[str, float] = {
    "BTC": 64_000.0, "ETH": 3_100.0, "BNB": 590.0, "SOL": 150.0, "XRP": 0.62, "DOGE": 0.14, "ADA": 0.45, "AVAX": 28.0,
    "LINK": 14.0, "DOT": 6.2, "LTC": 82.0, "BCH": 410.0, "TRX": 0.13, "ATOM": 7.1, "UNI": 8.3, "NEAR": 5.2,
    "APT": 8.8, "ARB": 0.78, "OP": 1.7, "SUI": 1.1,
}  # fmt: skip
"""The assets with COIN-M contracts and pairs of cross margin, and their prices at the start."""
_SYMBOL_COUNT = 300
_MINORS = (f"TKN{number:03}" for number in range(1, _SYMBOL_COUNT - len(MAJORS) + 1))

SYMBOLS: tuple[str, ...] = tuple(f"{asset}USDT" for asset in (*MAJORS, *_MINORS))
"""The USD-M symbols of the market that are settled in USDT."""
ETHBTC = "ETHBTC"
"""A USD-M contract that is settled in BTC."""
STABLE = frozenset({"USDT", "USDC", "USD", "LDUSDT"})
"""The assets that are worth one US dollar."""

_FALL = 0.03
_FALL_SECONDS = 120.0
_TREMBLE = 0.002
_RATES = (Decimal("0.04"), Decimal("0.05"), Decimal("0.065"))
_DIGITS = Decimal("0.00000001")
_LEVELS = 20
_LEVEL_USD = 30_000
"""About the value of the first level of a book; the second has twice this value, and so on."""
_SPREAD = Decimal("0.0001")

Side = Literal["BUY", "SELL"]


class Level(NamedTuple):
    """One price of an order book and the quantity that is offered or wanted there."""

    price: Decimal
    quantity: Decimal


class Market:
    """The market of one exchange.

    Attributes:
        seed: the seed from which the market is generated.
        start: when the market begins to fall, in seconds since the epoch.
        fall_seconds: how long the market falls, and then rises.
    """

    def __init__(self, *, seed: int, start: float, fall_seconds: float = _FALL_SECONDS) -> None:
        self.seed = seed
        self.start = start
        self.fall_seconds = fall_seconds
        self._set: dict[str, list[tuple[float, Decimal]]] = {}
        self._contracts: dict[Product, dict[str, Contract]] = _contracts(seed)

    def price(self, symbol: str, now: float) -> Decimal:
        """Return the price of a USD-M symbol in its quote asset."""
        if symbol == ETHBTC:
            return (self.price("ETHUSDT", now) / self.price("BTCUSDT", now)).quantize(_DIGITS)
        held = self._held(symbol, now)
        return _rounded(self._formula(symbol, now)) if held is None else held

    def estimate(self, symbol: str, now: float) -> float:
        """Return the price of a symbol in USDT as a float, for checks that run often."""
        held = self._held(symbol, now)
        return self._formula(symbol, now) if held is None else float(held)

    def set_price(self, symbol: str, price: Decimal, now: float) -> None:
        """Let a symbol that is quoted in USDT trade at this price from now on."""
        self._set.setdefault(symbol, []).append((now, price))

    def usd(self, asset: str, now: float) -> Decimal:
        """Return the index price of an asset in US dollars."""
        return Decimal(1) if asset in STABLE else self.price(f"{asset}USDT", now)

    def contract(self, product: Product, symbol: str) -> Contract | None:
        """Return a contract or a pair; None if the market does not have it."""
        return self._contracts[product].get(symbol)

    def contracts(self, product: Product) -> tuple[Contract, ...]:
        """Return all contracts or pairs of a product."""
        return tuple(self._contracts[product].values())

    def price_of(self, contract: Contract, now: float) -> Decimal:
        """Return the mark price of a contract or pair, in its quote asset."""
        if contract.quote in STABLE:
            return self.usd(contract.base, now)
        return (self.usd(contract.base, now) / self.usd(contract.quote, now)).quantize(_DIGITS)

    def best(self, contract: Contract, side: Side, now: float) -> Decimal:
        """Return the best price of the orders on this side of the book."""
        bid = contract.on_tick(self.price_of(contract, now), up=False)
        return bid if side == "BUY" else bid + contract.tick

    def levels(self, contract: Contract, side: Side, now: float) -> tuple[Level, ...]:
        """Return the orders on this side of the book, best price first."""
        best = self.best(contract, side, now)
        gap = max(contract.tick, contract.on_tick(best * _SPREAD, up=True))
        away = -gap if side == "BUY" else gap
        quote = self.usd(contract.quote, now)
        levels: list[Level] = []
        for number, draw in enumerate(_depth(self.seed, contract.symbol, side), 1):
            usd = Decimal(int(_LEVEL_USD * number * (0.5 + draw)))
            price = max(best + away * (number - 1), contract.tick)
            levels.append(Level(price, max(contract.step, contract.quantity_of(usd / quote, price))))
        return tuple(levels)

    def _held(self, symbol: str, now: float) -> Decimal | None:
        """Return the price that was set, if there is one."""
        rows = self._set.get(symbol, ())
        return next((price for since, price in reversed(rows) if since <= now), None)

    def _formula(self, symbol: str, now: float) -> float:
        first, draws = _nature(self.seed, symbol)
        elapsed = now - self.start
        fall = _FALL / 2 * (1 - math.cos(math.pi * elapsed / self.fall_seconds))
        periods = (5 + 55 * draw for draw in draws)
        tremble = sum(math.sin(2 * math.pi * elapsed / period) for period in periods) * _TREMBLE / len(draws)
        return first * (1 - fall + tremble)


def amount(value: Decimal) -> str:
    """Return the value as the exchange sends it: in plain notation, with 8 decimal places."""
    return f"{value:.8f}"


def first_price(seed: int, symbol: str) -> Decimal:
    """Return the price of a symbol in USDT when the market starts."""
    return _rounded(_nature(seed, symbol)[0])


def draws(*names: object) -> tuple[float, ...]:
    """Return eight numbers from 0 to 1, always the same for the same names."""
    digest = hashlib.sha512(":".join(map(str, names)).encode()).digest()
    return tuple(int.from_bytes(digest[place : place + 8]) / 2**64 for place in range(0, 64, 8))


@lru_cache(maxsize=16)
def _contracts(seed: int) -> dict[Product, dict[str, Contract]]:
    """Return the contracts and pairs by product and symbol."""
    first = {symbol.removesuffix("USDT"): _nature(seed, symbol)[0] for symbol in SYMBOLS}
    ratios = {asset: _RATES[int(draws(seed, f"{asset}USDT")[5] * len(_RATES))] for asset in first}
    um = [um_contract(asset, "USDT", price, price, ratios[asset]) for asset, price in first.items()]
    um.append(um_contract("ETH", "BTC", first["ETH"] / first["BTC"], first["ETH"], _RATES[0]))
    cm = [cm_contract(asset, first[asset], ratios[asset]) for asset in MAJORS]
    pairs = [margin_pair(asset, "USDT", first[asset], first[asset]) for asset in MAJORS]
    others = (asset for asset in MAJORS if asset != "BTC")
    pairs += [margin_pair(asset, "BTC", first[asset] / first["BTC"], first[asset]) for asset in others]
    return {
        "UM": {row.symbol: row for row in um},
        "CM": {row.symbol: row for row in cm},
        "MARGIN": {row.symbol: row for row in pairs},
    }


@lru_cache(maxsize=4096)
def _nature(seed: int, symbol: str) -> tuple[float, tuple[float, ...]]:
    level, *others = draws(seed, symbol)[:4]
    return MAJORS.get(symbol.removesuffix("USDT"), round(10 ** (3 * level - 2), 4)), tuple(others)


@lru_cache(maxsize=4096)
def _depth(seed: int, symbol: str, side: Side) -> tuple[float, ...]:
    return tuple(draws(seed, symbol, side, number)[0] for number in range(_LEVELS))


def _rounded(value: float) -> Decimal:
    return Decimal(f"{value:.8f}")
