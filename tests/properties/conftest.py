"""Coverage is not measured in property tests: it doubles their time, and other tests cover the same code."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from tests.support.coverage import unmeasured


@pytest.fixture(scope="module", autouse=True)
def without_coverage() -> Generator[None]:
    """Measure no coverage during the tests of a module."""
    with unmeasured():
        yield
