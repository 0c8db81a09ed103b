"""Target 8: live accounts and unknown outcomes of orders beside a model exchange, in virtual time."""

from __future__ import annotations

import logging
import os
import statistics
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Final, NamedTuple

from tests.benchmarks.streams.verdicts import Options, Verdict, exactly
from tests.simulation import live_account, live_orders

_SEEDS: Final = (1000, 60)
"""Seeds of live accounts, in a whole and in a quick run."""
_ORDERS: Final = (20_000, 2_000)
_STALE: Final = 5.0
_BATCH: Final = 10


class Looks(NamedTuple):
    """What live accounts of some seeds have shown."""

    figures: Counter[str]
    failures: list[str]


class Outcomes(NamedTuple):
    """What became of orders whose outcome was unknown."""

    orders: int
    wrong: int
    median: float
    """Seconds until the outcome was known."""


def look(first: int) -> Looks:
    """Compare live accounts with the model exchange."""
    logging.disable()
    runs = [live_account.simulate(seed, _STALE) for seed in range(first, first + _BATCH)]
    figures = sum((one.figures for one in runs), Counter[str]())
    return Looks(figures, [failure for one in runs for failure in one.failures])


def place(seed: int, orders: int, has_stream: bool) -> Outcomes:
    """Place orders with an unknown outcome."""
    logging.disable()
    one = live_orders.simulate(seed, orders, has_stream=has_stream)
    return Outcomes(len(one.seconds), one.figures["wrong"], statistics.median(one.seconds))


def run(options: Options) -> list[Verdict]:
    """Print the figures; return the verdicts."""
    seeds, orders, seed = _SEEDS[options.is_quick], _ORDERS[options.is_quick], options.seed
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        placing = {
            name: pool.submit(place, seed, orders, has_stream)
            for name, has_stream in (("with a stream", True), ("without one", False))
        }
        looks = list(pool.map(look, range(seed, seed + seeds, _BATCH)))
        outcomes = {name: future.result() for name, future in placing.items()}
    figures = sum((one.figures for one in looks), Counter[str]())
    failures = [failure for one in looks for failure in one.failures]
    for failure in failures[:20]:
        options.say(failure)
    early = sum("promised" in failure for failure in failures)
    told = f"{seeds:,} seeds from {seed}, responses stale by up to {_STALE:g} s"
    options.say(f"{told}: {figures['looks, confirmed']:,} looks while confirmed, {figures['calls']:,} calls.\n")
    for name, one in outcomes.items():
        options.say(f"{one.orders:,} unknown outcomes {name}: known after {one.median:.1f} s (median).\n")
    return [
        exactly(8, f"wrong although confirmed, {told}", 0, len(failures) - early),
        exactly(8, f"current before its reads, {told}", 0, early),
        *(
            exactly(8, f"wrong verdicts of {one.orders:,} orders {name}, seed {seed}", 0, one.wrong)
            for name, one in outcomes.items()
        ),
    ]
