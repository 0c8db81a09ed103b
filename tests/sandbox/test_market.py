"""A market that can be asked for any moment."""

from __future__ import annotations

from decimal import Decimal

import pytest

from binance_pm.sandbox.market import SYMBOLS, Market, amount

NOON = 1_800_000_000.0


@pytest.fixture
def market() -> Market:
    """A market that opened at noon."""
    return Market(seed=7, start=NOON)


def test_lists_three_hundred_symbols() -> None:
    """The market is as wide as a real one, and names nothing twice."""
    assert len(set(SYMBOLS)) == 300


@pytest.mark.parametrize("symbol", [SYMBOLS[0], SYMBOLS[-1]])
def test_same_seed_same_price(market: Market, symbol: str) -> None:
    """A price depends on seed, symbol and time alone."""
    assert market.price(symbol, NOON + 17) == Market(seed=7, start=NOON).price(symbol, NOON + 17)


@pytest.mark.parametrize("other", [(8, "SOLUSDT", 17), (7, "ADAUSDT", 17), (7, "SOLUSDT", 18)])
def test_prices_differ(market: Market, other: tuple[int, str, int]) -> None:
    """Another seed, symbol or time is another price."""
    seed, symbol, elapsed = other

    assert market.price("SOLUSDT", NOON + 17) != Market(seed=seed, start=NOON).price(symbol, NOON + elapsed)


def test_every_price_is_positive(market: Market) -> None:
    """Even at the bottom nothing is for free."""
    assert min(market.price(symbol, NOON + 120) for symbol in SYMBOLS) > 0


def test_the_market_falls(market: Market) -> None:
    """After two minutes it is about 3 % lower."""
    change = market.price("BTCUSDT", NOON + 120) / market.price("BTCUSDT", NOON) - 1

    assert change == pytest.approx(Decimal("-0.03"), abs=Decimal("0.003"))


def test_the_market_recovers(market: Market) -> None:
    """After four minutes it is about where it began."""
    change = market.price("BTCUSDT", NOON + 240) / market.price("BTCUSDT", NOON) - 1

    assert change == pytest.approx(Decimal(0), abs=Decimal("0.003"))


@pytest.mark.parametrize(
    ("value", "sent"), [("1E-8", "0.00000001"), ("1E+5", "100000.00000000"), ("-2", "-2.00000000")]
)
def test_amounts_are_plain(value: str, sent: str) -> None:
    """No exponent is ever sent."""
    assert amount(Decimal(value)) == sent
