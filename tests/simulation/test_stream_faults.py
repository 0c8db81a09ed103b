"""Streams under 300 random faults: every loss is reported, and nothing arrives twice or too late."""

from __future__ import annotations

import pytest

from tests.simulation.stream_faults import BACKENDS, DELIVERIES, run
from tests.support.coverage import unmeasured
from tests.support.stream_server import Delivery


@pytest.mark.parametrize("delivery", DELIVERIES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_every_lost_event_is_inside_a_reported_gap(backend: str, delivery: Delivery) -> None:
    """Whichever connections of one key the exchange serves."""
    seed = 1
    with unmeasured():
        counts = run(50, seed, delivery, backend)

    assert counts.is_right, f"seed {seed}: {counts}"
    assert counts.faults == 50
    assert counts.gaps
    assert counts.rotations
