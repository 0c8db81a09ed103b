"""The live account against a model exchange, in virtual time."""

from __future__ import annotations

import pytest

from tests.simulation.live_account import simulate
from tests.simulation.live_orders import simulate as place
from tests.support.coverage import unmeasured


@pytest.mark.parametrize("seed", range(1, 16))
def test_a_confirmed_account_is_right(seed: int) -> None:
    """A confirmed account is right although responses are stale by up to 5 s and the stream has every fault."""
    with unmeasured():
        one = simulate(seed)

    assert not one.failures
    assert one.figures["looks, confirmed"]


def test_responses_that_are_staler_than_allowed_are_noticed() -> None:
    """The comparison finds errors if responses are staler than allowed."""
    with unmeasured():
        wrong = [failure for seed in range(1, 9) for failure in simulate(seed, stale=60.0).failures]

    assert wrong
    assert not any("promised" in failure for failure in wrong)


@pytest.mark.parametrize("has_stream", [True, False], ids=["live account", "no stream"])
def test_outcomes_of_orders_are_true(*, has_stream: bool) -> None:
    """Outcomes are true although each response to a placement is lost and queries lag by up to 3 s."""
    with unmeasured():
        one = place(7, 400, has_stream=has_stream)

    assert one.figures["wrong"] == 0
    assert one.figures["a query at once would be wrong"] > 40
    assert {"truth: placed", "truth: not placed"} <= set(one.figures)
