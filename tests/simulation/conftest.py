"""Shared by the tests of the simulation: an exchange with a manual clock."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from binance_pm.budget import Charge
from binance_pm.transport.http import HttpResponse
from tests.simulation.calls import PAPI
from tests.simulation.server import MINUTE, Server, Variants


class Exchange:
    """The simulated exchange, 20 s into a minute of its clock."""

    def __init__(self, variants: Variants) -> None:
        self.now: float = 30_000_000 * MINUTE + 20
        self.server = Server(variants, lambda: self.now, Random(1))

    def call(self, weight: int, owner: str = "us") -> HttpResponse:
        """One call arrives now."""
        return self.server.arrive((Charge(PAPI, weight),), owner)


@pytest.fixture
def exchange() -> Callable[[Variants], Exchange]:
    """Makes an exchange with the given variants."""
    return Exchange
