"""The pytest fixture ``pm_sandbox``: a local exchange for one test.

    @pytest.mark.pm_sandbox(accounts=2, minute=3.0)
    async def test_reads_the_account(pm_sandbox: Sandbox) -> None:
        async with pm_sandbox.client() as client:
            await client.span_account()

It needs no asyncio plugin: the exchange runs in a thread of its own.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from binance_pm.testing import Sandbox


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line(
        "markers", "pm_sandbox(**options): options of binance_pm.testing.running_sandbox for the fixture pm_sandbox"
    )


@pytest.fixture
def pm_sandbox(request: pytest.FixtureRequest) -> Generator[Sandbox, None, None]:
    """A local exchange with its accounts and scripted faults; the marker of the same name takes its options."""
    # Imported late: pytest loads this module in every run of every project that has the package installed.
    from binance_pm.testing import running_sandbox  # noqa: PLC0415

    marker: pytest.Mark | None = request.node.get_closest_marker("pm_sandbox")
    options: dict[str, Any] = dict(marker.kwargs) if marker else {}
    with running_sandbox(**options) as pm:
        yield pm
