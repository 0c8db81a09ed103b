"""Orders under faults: none is sent twice, none is forgotten, and every outcome is true."""

from __future__ import annotations

import pytest

from tests.simulation.order_safety import MARKETS, run
from tests.support.coverage import unmeasured


@pytest.mark.parametrize("market", MARKETS)
@pytest.mark.parametrize("seed", [1, 2])
def test_no_order_is_duplicated_or_forgotten(market: str, seed: int) -> None:
    """The client says of every call what the exchange knows of it."""
    with unmeasured():
        figures = run(400, seed, market)

    assert not figures.failures, f"seed {seed}: {figures}"
    assert set(figures.outcomes) >= {"done", "not_done", "not_found", "task cancelled"}
