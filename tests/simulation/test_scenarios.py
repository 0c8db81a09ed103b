"""The budget in the simulated world: no request is refused, and no weight is left unused."""

from __future__ import annotations

from contextlib import nullcontext

import pytest

from tests.simulation.limiters import OURS, OURS_SHARED
from tests.simulation.scenarios import SCENARIOS, Scenario
from tests.simulation.world import simulate
from tests.support.coverage import unmeasured

SEEDS = (1,)
# The scenarios cover branches that no other test reaches, so coverage is measured.
ALONE = {"edges disagree", "four processes, store gone"}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_scenario(scenario: Scenario, seed: int) -> None:
    """The targets are met, and at every arrival the ledger held what was counted."""
    rival = OURS_SHARED if scenario.shared else OURS

    with nullcontext() if scenario.name in ALONE else unmeasured():
        result = simulate(scenario, rival, seed=seed, minutes=scenario.minutes)

    assert not result.missed(scenario.targets), f"seed {seed}: {result}"


def test_each_scenario_has_its_own_name() -> None:
    """The table finds scenarios by name."""
    names = {scenario.name for scenario in SCENARIOS}

    assert len(names) == len(SCENARIOS)
    assert names > ALONE
