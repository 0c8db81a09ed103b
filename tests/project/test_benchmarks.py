"""The tests that the benchmarks name."""

from __future__ import annotations

from tests.benchmarks.streams.tested import TESTS
from tests.support.paths import ROOT


def test_the_tests_that_show_targets_exist() -> None:
    """Every test that a benchmark names exists, so that a renamed test does not count as a missed target."""
    files = {file for *_, paths in TESTS for file in paths}
    assert files
    assert {file for file in files if not (ROOT / file).is_file()} == set()
