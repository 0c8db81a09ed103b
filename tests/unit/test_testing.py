"""Helpers for users' tests: the sandbox as a context and as a pytest fixture."""

from __future__ import annotations

import re
import sys
from typing import Any

import pytest

from binance_pm import AccountStatus, BudgetExceeded, RateLimited, Session
from binance_pm.budget import Budget
from binance_pm.extras import installation
from binance_pm.testing import Fault, Sandbox, running_sandbox, sandbox

pytest_plugins = ["pytester"]


@pytest.mark.parametrize("in_memory", [False, True])
async def test_sandbox_and_client(*, in_memory: bool) -> None:
    """Two lines give an exchange and a client."""
    async with sandbox(in_memory=in_memory) as pm, pm.client() as client:
        span = await client.span_account()

    assert span.account_status is AccountStatus.NORMAL
    assert [request.account for request in pm.exchange.requests] == ["account-01"]


async def test_clients_share_the_sandbox_budget(pm: Sandbox) -> None:
    """All clients know what one client spends."""
    async with pm.client(0) as one, pm.client(1) as other:
        await one.um_account()
        await other.um_account()

    assert pm.budget.snapshot()[0].used == 10


async def test_options_of_a_client_are_passed_on(pm: Sandbox) -> None:
    """A client of the sandbox accepts all arguments of a client."""
    budget = Budget(minute=1e9)
    session = pm.session(budget=budget)
    async with pm.client(label="mine", session=session) as client:
        await client.um_account()

    assert (client.label, budget.snapshot()[0].used, pm.budget.snapshot()) == ("mine", 5, [])


async def test_faults_are_injected_and_cleared(pm: Sandbox) -> None:
    """A cleared fault has no effect."""
    pm.inject(Fault(status=400, code=-1000, msg="x", times=None))
    pm.clear()
    async with pm.client() as client:
        await client.um_account()

    assert pm.exchange.requests[-1].status == 200


async def test_the_budget_knows_the_limits() -> None:
    """Clients keep to the lower limits of a sandbox; one with its own budget is refused."""
    limits = {"papi": 35, "api": 60, "sapi-ip": 70, "sapi-uid": 80}
    # A minute that does not turn while the test runs.
    options: dict[str, Any] = {"in_memory": True, "accounts": 1, "limits": limits, "minute": 1e9}
    async with sandbox(**options) as pm, pm.client(max_wait=0) as client:
        await client.account()
        with pytest.raises(BudgetExceeded):
            await client.account()
        async with pm.client(session=pm.session(budget=Budget())) as careless:
            with pytest.raises(RateLimited):
                await careless.account()

    assert [state.limit for state in pm.budget.snapshot()] == [35]


def test_repr_shows_the_address() -> None:
    """The repr contains the URL."""
    with running_sandbox(accounts=3) as pm:
        assert repr(pm) == f"Sandbox({pm.base_url}, 3 accounts)"
        assert repr(pm.session()).startswith("Session(not open")
        assert isinstance(pm.session(), Session)


def test_names_the_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra, the ImportError names the command."""
    monkeypatch.setitem(sys.modules, "binance_pm.sandbox", None)
    monkeypatch.delitem(sys.modules, "binance_pm.testing")

    with pytest.raises(ImportError, match=re.escape(f"needs the extra `sandbox`: {installation('sandbox')}")):
        __import__("binance_pm.testing")


def test_fixture(pytester: pytest.Pytester) -> None:
    """The plugin is discovered; its fixture serves plain, asyncio and parametrised tests alike."""
    pytester.makepyfile(
        """
        import asyncio
        import pytest

        def test_plain(pm_sandbox):
            assert len(pm_sandbox.accounts) == 12

        @pytest.mark.pm_sandbox(accounts=2, minute=3.0)
        def test_marked(pm_sandbox):
            async def read():
                async with pm_sandbox.client(1) as client:
                    return await client.um_account()

            assert asyncio.run(read()).positions
            assert len(pm_sandbox.accounts) == 2
        """
    )

    result = pytester.runpytest_subprocess("--strict-markers", "-p", "no:cacheprovider")

    result.assert_outcomes(passed=2)
