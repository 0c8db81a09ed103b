"""The budget in the simulated world: nothing is refused, and nothing is left unused."""

from __future__ import annotations

import pytest

from tests.simulation.limiters import OURS, OURS_SHARED
from tests.simulation.scenarios import AWAITED, SCENARIOS, Scenario
from tests.simulation.world import simulate

SEEDS = (1,)
EXPECTED = [scenario for scenario in SCENARIOS if scenario.name not in AWAITED]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("scenario", EXPECTED, ids=lambda scenario: scenario.name)
def test_scenario(scenario: Scenario, seed: int) -> None:
    """The targets are met, and at every arrival the ledger held what was counted."""
    rival = OURS_SHARED if scenario.shared else OURS

    result = simulate(scenario, rival, seed=seed, minutes=scenario.minutes)

    assert not result.missed(scenario.targets), f"seed {seed}: {result}"


def test_what_is_awaited_exists() -> None:
    """A scenario that was renamed is not awaited for ever."""
    assert set(AWAITED) <= {scenario.name for scenario in SCENARIOS}
    assert len({scenario.name for scenario in SCENARIOS}) == len(SCENARIOS)
