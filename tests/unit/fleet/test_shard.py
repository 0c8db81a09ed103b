"""Which process watches which account."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binance_pm.fleet import shard

LABELS = [f"account-{number:04}" for number in range(1, 1001)]


def home(shards: int) -> dict[str, int]:
    """Return the process of each label."""
    return {label: number for number in range(1, shards + 1) for label in shard(LABELS, number, shards)}


@given(st.lists(st.text(min_size=1), unique=True), st.integers(1, 8))
def test_every_label_has_one_process(labels: list[str], shards: int) -> None:
    """Together all processes watch every account once, in the order of the file."""
    parts = [shard(labels, number, shards) for number in range(1, shards + 1)]

    assert sorted(label for part in parts for label in part) == sorted(labels)
    assert all(part == [label for label in labels if label in part] for part in parts)


@pytest.mark.parametrize("shards", range(1, 8))
def test_one_more_process_moves_only_its_own_accounts(shards: int) -> None:
    """A label stays or goes to the new process, and about one in n of them moves."""
    before, after = home(shards), home(shards + 1)
    moved = [label for label in LABELS if before[label] != after[label]]

    assert all(after[label] == shards + 1 for label in moved)
    assert len(moved) == pytest.approx(len(LABELS) / (shards + 1), rel=0.25)


def test_the_processes_have_about_the_same_number() -> None:
    """A thousand accounts on four processes are about 250 each."""
    assert all(200 <= number <= 300 for number in Counter(home(4).values()).values())


@pytest.mark.parametrize(("number", "shards"), [(0, 3), (4, 3), (1, 0), (-1, 2)])
def test_a_process_that_does_not_exist_is_refused(number: int, shards: int) -> None:
    """Processes are numbered from 1."""
    with pytest.raises(ValueError, match=f"shard {number} of {shards}"):
        shard(LABELS, number, shards)
