"""A market generated from a seed, and the value of an account at any time.

A price is a closed formula of seed, symbol and time: there are no steps, and prices can be calculated for any time in
any order. The whole market falls by 3 % in two minutes and recovers in the next two, repeatedly; the price of each
symbol fluctuates around that. Holdings are mostly long, so accounts near a threshold cross it.

Amounts are Decimals of 8 digits. Margin: one maintenance rate for each holding, initial margin twice that.
"""

from __future__ import annotations

import hashlib
import math
from decimal import Decimal
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from binance_pm.sandbox.account import Account

_MAJORS = {
    "BTC": 64_000.0, "ETH": 3_100.0, "BNB": 590.0, "SOL": 150.0, "XRP": 0.62, "DOGE": 0.14, "ADA": 0.45, "AVAX": 28.0,
    "LINK": 14.0, "DOT": 6.2, "LTC": 82.0, "BCH": 410.0, "TRX": 0.13, "ATOM": 7.1, "UNI": 8.3, "NEAR": 5.2,
    "APT": 8.8, "ARB": 0.78, "OP": 1.7, "SUI": 1.1,
}  # fmt: skip
_SYMBOL_COUNT = 300
_MINORS = (f"TKN{number:03}" for number in range(1, _SYMBOL_COUNT - len(_MAJORS) + 1))

SYMBOLS: tuple[str, ...] = tuple(f"{asset}USDT" for asset in (*_MAJORS, *_MINORS))
"""The USD-M symbols of the market. Accounts hold some of the first; the others are listed without a position."""
ETHBTC = "ETHBTC"
"""A USD-M contract that is settled in BTC; only accounts that hold it list it."""

_FALL = 0.03
_FALL_SECONDS = 120.0
_TREMBLE = 0.002
_SHORT_SHARE = 0.2
_RATES = (Decimal("0.04"), Decimal("0.05"), Decimal("0.065"))
_COLLATERAL_RATE = Decimal("0.95")
_DIGITS = Decimal("0.00000001")

# uniMMR above which a Portfolio Margin Pro account has each status; at or below the last, it is liquidated.
# https://developers.binance.com/docs/derivatives/portfolio-margin-pro (read 2026-11-21)
_LINES = ((Decimal("1.5"), "NORMAL"), (Decimal("1.2"), "MARGIN_CALL"), (Decimal("1.05"), "REDUCE_ONLY"))


class Holding(NamedTuple):
    """A position of an account."""

    symbol: str
    amount: Decimal
    """Negative for a short position."""
    entry: Decimal
    """Price at which it was opened."""
    rate: Decimal
    """Maintenance margin as a fraction of the notional."""


class Portfolio(NamedTuple):
    """The holdings of an account; they do not change."""

    wallet: Decimal
    """USDT."""
    collateral: Decimal
    """Value in USD of the assets that count for only 95 %."""
    holdings: tuple[Holding, ...]


class Row(NamedTuple):
    """A position valued at a given time, in the asset in which its contract is settled."""

    symbol: str
    amount: Decimal
    entry: Decimal
    """Price at which it was opened."""
    price: Decimal
    """Mark price."""
    profit: Decimal
    notional: Decimal
    maintenance: Decimal
    initial: Decimal


class Statement:
    """An account valued at a given time.

    Attributes:
        account: the account that is valued.
        opened: milliseconds since the epoch at which the holdings were opened.
        wallet: USDT.
        collateral: value in USD of the assets that count for only 95 %.
        rows: its positions that are settled in USDT, valued.
        in_btc: the position that is settled in BTC, if there is one.
    """

    def __init__(
        self,
        account: Account,
        portfolio: Portfolio,
        *,
        prices: dict[str, Decimal],
        opened: int,
        in_btc: Row | None = None,
        btc_price: Decimal = Decimal(0),
    ) -> None:
        self.account = account
        self.opened = opened
        self.wallet: Decimal = portfolio.wallet
        self.rows: tuple[Row, ...] = tuple(_valued(holding, prices[holding.symbol]) for holding in portfolio.holdings)
        self.in_btc: Row | None = in_btc
        self.collateral: Decimal = portfolio.collateral
        self._btc_price = btc_price

    @cached_property
    def profit(self) -> Decimal:
        """Unrealized profit of all positions that are settled in USDT."""
        return sum((row.profit for row in self.rows), Decimal(0))

    @cached_property
    def maintenance(self) -> Decimal:
        """Maintenance margin of all positions, in USD."""
        return sum((row.maintenance for row in self.rows), self._usd(self.in_btc and self.in_btc.maintenance))

    @cached_property
    def initial(self) -> Decimal:
        """Initial margin of all positions, in USD."""
        return sum((row.initial for row in self.rows), self._usd(self.in_btc and self.in_btc.initial))

    @cached_property
    def equity(self) -> Decimal:
        """USD, after collateral haircut."""
        return self._cash + self.collateral * _COLLATERAL_RATE

    @cached_property
    def actual_equity(self) -> Decimal:
        """USD, without collateral haircut."""
        return self._cash + self.collateral

    @cached_property
    def uni_mmr(self) -> Decimal:
        """Equity over maintenance margin."""
        return self.equity / self.maintenance

    @property
    def free(self) -> Decimal:
        """USD that is not needed for initial margin."""
        return max(self.equity - self.initial, Decimal(0))

    @property
    def status(self) -> str:
        """The status for the threshold that uniMMR exceeds."""
        return next((status for line, status in _LINES if self.uni_mmr > line), "FORCE_LIQUIDATION")

    @property
    def _cash(self) -> Decimal:
        return self.wallet + self.profit + self._usd(self.in_btc and self.in_btc.profit)

    def _usd(self, btc: Decimal | None) -> Decimal:
        return (btc or Decimal(0)) * self._btc_price


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

    def price(self, symbol: str, now: float) -> Decimal:
        """Return the price of the symbol in USDT."""
        first, draws = _nature(self.seed, symbol)
        elapsed = now - self.start
        fall = _FALL / 2 * (1 - math.cos(math.pi * elapsed / self.fall_seconds))
        periods = (5 + 55 * draw for draw in draws)
        tremble = sum(math.sin(2 * math.pi * elapsed / period) for period in periods) * _TREMBLE / len(draws)
        return _rounded(first * (1 - fall + tremble))

    def statement(self, account: Account, now: float) -> Statement:
        """Return the account valued at a given time."""
        portfolio = _portfolio(self.seed, account.label, account.uni_mmr)
        prices = {holding.symbol: self.price(holding.symbol, now) for holding in portfolio.holdings}
        opened = int(self.start * 1000)
        if not account.holds_ethbtc:
            return Statement(account, portfolio, prices=prices, opened=opened)
        eth, btc = self.price("ETHUSDT", now), self.price("BTCUSDT", now)
        # Bought above today's price, for a hundredth of the wallet.
        entry = (self.price("ETHUSDT", self.start) / self.price("BTCUSDT", self.start)).quantize(_DIGITS) * 2
        held = (portfolio.wallet / 100 / eth).quantize(_DIGITS)
        row = _valued(Holding(ETHBTC, held, entry, _RATES[0]), (eth / btc).quantize(_DIGITS))
        return Statement(account, portfolio, prices=prices, opened=opened, in_btc=row, btc_price=btc)


def amount(value: Decimal) -> str:
    """Return the value as the exchange sends it: in plain notation, with 8 decimal places."""
    return f"{value:.8f}"


def _valued(holding: Holding, price: Decimal) -> Row:
    notional = holding.amount * price
    maintenance = abs(notional) * holding.rate
    profit = holding.amount * (price - holding.entry)
    return Row(holding.symbol, holding.amount, holding.entry, price, profit, notional, maintenance, 2 * maintenance)


@lru_cache(maxsize=4096)
def _nature(seed: int, symbol: str) -> tuple[float, tuple[float, ...]]:
    level, *draws = _draws(seed, symbol)[:4]
    return _MAJORS.get(symbol.removesuffix("USDT"), round(10 ** (3 * level - 2), 4)), tuple(draws)


@lru_cache(maxsize=4096)
def _portfolio(seed: int, label: str, uni_mmr: str) -> Portfolio:
    size, count, *_ = _draws(seed, label)
    symbols = SYMBOLS[: len(_MAJORS)]
    first = int(size * len(symbols))
    chosen = [symbols[(first + 3 * number) % len(symbols)] for number in range(4 + int(count * 4))]
    holdings = tuple(_holding(seed, label, symbol, 10 ** (4 + 2 * size)) for symbol in chosen)
    opening = [_valued(holding, _rounded(_nature(seed, holding.symbol)[0])) for holding in holdings]
    equity = Decimal(uni_mmr) * sum((row.maintenance for row in opening), Decimal(0))
    collateral = (equity / 10).quantize(_DIGITS)
    wallet = equity - collateral * _COLLATERAL_RATE - sum((row.profit for row in opening), Decimal(0))
    return Portfolio(wallet.quantize(_DIGITS), collateral, holdings)


def _holding(seed: int, label: str, symbol: str, scale: float) -> Holding:
    worth, side, gain, rate, *_ = _draws(seed, label, symbol)
    price = _nature(seed, symbol)[0]
    held = _rounded(scale * (0.2 + worth) / price)
    entry = _rounded(price * (0.98 + 0.04 * gain))
    return Holding(symbol, -held if side < _SHORT_SHARE else held, entry, _RATES[int(rate * len(_RATES))])


def _draws(*names: object) -> tuple[float, ...]:
    """Return eight numbers from 0 to 1, always the same for the same names."""
    digest = hashlib.sha512(":".join(map(str, names)).encode()).digest()
    return tuple(int.from_bytes(digest[place : place + 8]) / 2**64 for place in range(0, 64, 8))


def _rounded(value: float) -> Decimal:
    return Decimal(f"{value:.8f}")
