"""What the tests of the transports share."""

from __future__ import annotations

import pytest

from tests.transport.engines import ENGINES, Departure, Engine


@pytest.fixture
def departure() -> Departure:
    """Counts departures."""
    return Departure()


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Engine:
    """Each of the engines: what one guarantees, the other does too."""
    return ENGINES[request.param]
