"""Shared by the tests of the transports."""

from __future__ import annotations

import pytest

from tests.support.engines import ENGINES, Departure, Engine


@pytest.fixture
def departure() -> Departure:
    """Counts departures."""
    return Departure()


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Engine:
    """Each of the engines: both give the same guarantees."""
    return ENGINES[request.param]
