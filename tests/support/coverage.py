"""Leave coverage out of long simulations."""

from __future__ import annotations

import warnings
from collections.abc import Generator
from contextlib import contextmanager

from coverage import Coverage
from coverage.exceptions import CoverageWarning


@contextmanager
def unmeasured() -> Generator[None, None, None]:
    """Coverage does not look on: what takes long in here takes three times as long with it.

    For simulations that go over and over what other tests have covered.
    """
    coverage = Coverage.current()
    if coverage is None:
        yield
        return
    coverage.stop()
    try:
        yield
    finally:
        with warnings.catch_warnings():
            # That the package is imported already is as it should be: coverage looked on when it was.
            warnings.simplefilter("ignore", CoverageWarning)
            coverage.start()
