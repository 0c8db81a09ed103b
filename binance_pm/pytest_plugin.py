"""The pytest fixtures ``pm_sandbox``, a local exchange for one test, and ``pm_offline``, which blocks other hosts.

    @pytest.mark.pm_sandbox(accounts=2, minute=3.0)
    async def test_reads_the_account(pm_sandbox: Sandbox) -> None:
        async with pm_sandbox.client() as client:
            await client.span_account()

The fixtures need no asyncio plugin, because the exchange runs in its own thread. With ``pm_offline``, a call to a host
that is not this machine raises `ConnectError`, unless a mock of httpx responds to the call::

    @pytest.mark.usefixtures("pm_offline")
    async def test_stays_offline() -> None: ...
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
    """A local exchange with accounts and faults; the marker of the same name sets its options."""
    from binance_pm.testing import running_sandbox  # noqa: PLC0415 - pytest loads this module in each run of any project

    marker: pytest.Mark | None = request.node.get_closest_marker("pm_sandbox")
    options: dict[str, Any] = dict(marker.kwargs) if marker else {}
    with running_sandbox(**options) as pm:
        yield pm


@pytest.fixture
def pm_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Block other hosts: a call to another machine raises `ConnectError`, unless a mock of httpx responds to it."""
    monkeypatch.setattr("binance_pm.transport.mocks.IS_OFFLINE", True)
