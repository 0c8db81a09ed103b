"""Duplicates are dropped, and only duplicates."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from binance_pm.stream.identity import SeenEvents


@given(st.lists(st.integers(0, 9)))
def test_each_event_is_passed_on_once(identities: list[int]) -> None:
    """As long as its identity is remembered."""
    seen = SeenEvents(10)

    passed = [identity for identity in identities if seen.is_new(identity)]
    assert passed == list(dict.fromkeys(identities))
    assert seen.duplicates == len(identities) - len(passed)


def test_identities_are_not_forgotten_during_an_overlap() -> None:
    """The second connection may deliver the same events much later; afterwards only the latest are remembered."""
    seen = SeenEvents(10)
    seen.begin_overlap()
    passed = [number for number in [*range(1000), *range(1000)] if seen.is_new(number)]
    seen.end_overlap()

    assert passed == list(range(1000))
    assert len(seen) == 10
    assert all(number in seen for number in range(990, 1000))


@given(st.lists(st.sampled_from(["begin", "end", "new"]), max_size=200))
def test_memory_is_bounded_outside_of_overlaps(steps: list[str]) -> None:
    """The number of identities never exceeds the limit while one connection is open."""
    seen, number, overlap = SeenEvents(5), 0, False
    actions: dict[str, Callable[[], object]] = {"begin": seen.begin_overlap, "end": seen.end_overlap}
    for step in steps:
        if step == "new":
            number += 1
            seen.is_new(number)
        else:
            actions[step]()
            overlap = step == "begin"
        assert overlap or len(seen) <= 5
