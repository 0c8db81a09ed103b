"""Streams under 300 random faults: every loss is reported, and nothing arrives twice or too late."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.simulation.stream_faults import BACKENDS, DELIVERIES, FaultCounts, run
from tests.support.coverage import unmeasured
from tests.support.stream_server import Delivery

SEED, FAULTS = 1, 50


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_lost_event_is_inside_a_reported_gap(backend: str) -> None:
    """Every lost event lies inside a reported gap, whichever connections of a key the exchange serves."""

    def counts_of(delivery: Delivery) -> FaultCounts:
        return run(FAULTS, SEED, delivery, backend)

    # The streams mostly wait, each for its own server: together they take as long as one.
    with unmeasured(), ThreadPoolExecutor(len(DELIVERIES)) as threads:
        results = dict(zip(DELIVERIES, threads.map(counts_of, DELIVERIES), strict=True))

    for delivery, counts in results.items():
        assert counts.is_right, f"seed {SEED}, {delivery}: {counts}"
        assert counts.faults == FAULTS, delivery
        assert counts.gaps, delivery
        assert counts.rotations, delivery
