"""The holdings with which an account starts, generated from the seed so that its uniMMR is as wanted."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from binance_pm.sandbox.market import MAJORS, SYMBOLS, draws, first_price
from binance_pm.sandbox.records import ZERO

if TYPE_CHECKING:
    from binance_pm.sandbox.account import SimulatedAccount
    from binance_pm.sandbox.contracts import Contract
    from binance_pm.sandbox.market import Market

_SHORT_SHARE = 0.2
_COLLATERAL_RATE = Decimal("0.95")
_DIGITS = Decimal("0.00000001")


class Holding(NamedTuple):
    """A position of an account at the start."""

    contract: Contract
    amount: Decimal
    """Negative for a short position."""
    entry: Decimal
    """Price at which it was opened."""


class Portfolio(NamedTuple):
    """What an account holds at the start."""

    wallet: Decimal
    """USDT in the USD-M wallet."""
    margin: Decimal
    """USDT in cross margin."""
    collateral: Decimal
    """USDC in cross margin, which counts for only 95 %."""
    holdings: tuple[Holding, ...]


def portfolio(account: SimulatedAccount, market: Market) -> Portfolio:
    """Return the holdings with which an account starts; a position that is settled in BTC comes on top."""
    seed, label = market.seed, account.label
    size, count, *_ = draws(seed, label)
    symbols = SYMBOLS[: len(MAJORS)]
    first = int(size * len(symbols))
    chosen = [symbols[(first + 3 * number) % len(symbols)] for number in range(4 + int(count * 4))]
    holdings = tuple(_holding(market, label, symbol, 10 ** (4 + 2 * size)) for symbol in chosen)
    prices = [first_price(seed, symbol) for symbol in chosen]
    pairs = list(zip(holdings, prices, strict=True))
    margin = sum((row.contract.maintenance(row.amount, price) for row, price in pairs), ZERO)
    profit = sum((row.contract.gain(row.amount, row.entry, price) for row, price in pairs), ZERO)
    equity = Decimal(account.uni_mmr) * margin
    collateral = (equity / 10).quantize(_DIGITS)
    wallet = (equity - collateral * _COLLATERAL_RATE - profit).quantize(_DIGITS)
    spare = (max(wallet, ZERO) / 4).quantize(_DIGITS)
    return Portfolio(wallet - spare, spare, collateral, holdings)


def _holding(market: Market, label: str, symbol: str, scale: float) -> Holding:
    contract = market.contract("UM", symbol)
    assert contract is not None, symbol  # noqa: S101 - one of the market's own symbols
    worth, side, gain, *_ = draws(market.seed, label, symbol)
    price = float(first_price(market.seed, symbol))
    held = max(contract.step, contract.rounded(Decimal(str(scale * (0.2 + worth) / price))))
    entry = contract.on_tick(Decimal(str(price * (0.98 + 0.04 * gain))), up=True)
    return Holding(contract, -held if side < _SHORT_SHARE else held, entry)
