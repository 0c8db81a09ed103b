"""An examination by a program: in order, within its time limit, and by reads only."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import anyio
import pytest

from binance_pm.budget import Budget
from binance_pm.doctor import Check, Target, examine, target_from_environment
from binance_pm.doctor.check import Report
from binance_pm.signing import Secret
from binance_pm.testing import Fault, Sandbox, running_sandbox
from tests.support.raw_server import serve_raw, silent
from tests.support.waiting import eventually

PAPI, V1, V2 = "/papi/v1/account", "/sapi/v1/portfolio/account", "/sapi/v2/portfolio/account"
PRO = (
    b'{"uniMMR":"3","accountEquity":"1","actualEquity":"1","accountMaintMargin":"1","accountInitialMargin":"1",'
    b'"totalAvailableBalance":"1","accountStatus":"NORMAL","accountType":"PM_1"}'
)


def target_of(pm: Sandbox, place: int = 0, **options: Any) -> Target:
    """Return an account of the local exchange."""
    account = pm.accounts[place]
    keys = {"api_key": Secret(account.api_key), "secret": Secret(account.api_secret)}
    return Target(label=account.label, origin="here", **keys, **options)


async def examined(pm: Sandbox, *targets: Target) -> list[Check]:
    """Examine accounts of the local exchange, by default the first."""
    checks: list[Check] = []
    await examine(
        targets or [target_of(pm)], checks.append, papi_url=pm.base_url, sapi_url=pm.base_url, budget=pm.budget
    )
    return checks


def by_name(checks: Sequence[Check], label: str | None = None) -> dict[str, Check]:
    """Return the checks by name, of all accounts or of one."""
    return {check.name: check for check in checks if label in {None, check.target}}


def refusing(path: str, code: int) -> Fault:
    """Return the refusal of all calls of one endpoint."""
    return Fault(path=path, status=400, code=code, msg="no", times=None)


def test_checks_are_reported_in_their_order() -> None:
    """An early check waits for the checks before it; a missing check is not checked."""
    checks: list[Check] = []
    report = Report(checks.append, [("configuration", ""), ("clock", "host"), ("egress", "host"), ("limits", "")])
    report.put(Check("egress", "host", "ok", "first"))
    early = len(checks)
    report.put(Check("configuration", "", "ok", "second"))
    report.put(Check("configuration", "", "failed", "twice"))
    report.skip(("clock",), "host", "third")
    report.close("no time")

    assert early == 0
    assert [(check.name, check.verdict, check.finding) for check in checks] == [
        ("configuration", "ok", "second"),
        ("clock", "not checked", "third"),
        ("egress", "ok", "first"),
        ("limits", "not checked", "no time"),
    ]


async def test_ends_within_its_time_limit() -> None:
    """If a host does not respond, the other checks are still reported."""
    checks: list[Check] = []
    target = Target(origin="here", api_key=Secret("k" * 64), secret=Secret("s" * 64))
    with serve_raw(silent) as server:
        began = time.monotonic()
        await examine([target], checks.append, papi_url=server.url, sapi_url=server.url, budget=Budget(), seconds=0.3)

    assert time.monotonic() - began < 5
    late = {check.name for check in checks if "0.3 s" in check.finding}
    assert late == {"clock", "key", "permissions", "product", "account"}
    assert {check.name for check in checks if check.verdict == "not checked"} == late | {"tls", "budget", "limits"}


@pytest.mark.parametrize(
    ("status", "body"),
    [(451, b""), (403, b"<p>The distribution is configured to block access from your country.</p>")],
)
async def test_a_country_that_is_not_served_is_reported_once(status: int, body: bytes) -> None:
    """Neither form of the refusal leads to further requests."""
    with running_sandbox(accounts=1) as pm:
        pm.inject(Fault(status=status, body=body, times=None))
        checks = await examined(pm)
        paths = {request.path for request in pm.exchange.requests}

    assert {check.verdict for check in checks if check.name in {"permissions", "product", "account"}} == {"not checked"}
    assert by_name(checks)["clock"].advice
    assert paths == {"/papi/v1/time"}


async def test_cancelling_leaves_no_connection_open() -> None:
    """The connections are closed within a second."""
    with running_sandbox(accounts=1) as pm:
        pm.inject(Fault(delay=30, times=None))
        with anyio.move_on_after(0.5):
            await examined(pm)
        await eventually(lambda: not pm.exchange.open_connections, seconds=1)


@pytest.mark.parametrize(
    ("codes", "options", "verdict", "texts"),
    [
        ({V1: -21001, V2: -21001}, {}, "ok", ("(pm)", "account can be read")),
        ({PAPI: -2015, V2: -21001}, {}, "ok", ("(pm_pro)", "pro_account can be read")),
        ({}, {"product": "pm_pro", "read": ("pro_account",)}, "warning", ('product = "span"',)),
        ({PAPI: -2015, V1: -21001, V2: -21001}, {"product": "pm", "read": ("account",)}, "failed", ("Enable",)),
    ],
)
async def test_the_product_is_compared_with_the_file(
    codes: dict[str, int], options: dict[str, Any], verdict: str, texts: tuple[str, ...]
) -> None:
    """The product is known from the response, or from the endpoint that responds; the key itself is accepted."""
    with running_sandbox(accounts=1) as pm:
        bodies = [Fault(path=V1, body=PRO)] if not options else []
        pm.inject(*(refusing(path, code) for path, code in codes.items()), *bodies)
        checks = by_name(await examined(pm, target_of(pm, **options)))

    product = checks["product"]
    assert (checks["permissions"].verdict, product.verdict) == ("ok", verdict)
    assert all(text in product.finding + product.advice for text in texts)


async def test_counts_are_not_read_at_the_turn_of_a_minute() -> None:
    """A count near the turn could belong to either minute, and would hide external usage."""
    with running_sandbox(accounts=1) as pm:
        pm.inject(Fault(path=PAPI, headers={"x-mbx-used-weight-1m": "4000"}), Fault(skew=59.3 - time.time() % 60))
        checks = await examined(pm)
        (arrival,) = [request for request in pm.exchange.requests if request.path == PAPI]

    assert 0.9 < arrival.time % 60 < 50
    assert by_name(checks)["budget"].verdict == "warning"


async def test_an_endpoint_of_the_file_that_cannot_be_read_fails_the_product() -> None:
    """The key works, but the account could not be watched."""
    with running_sandbox(accounts=1) as pm:
        pm.inject(Fault(path=PAPI, status=500, body=b"", times=None))
        checks = by_name(await examined(pm, target_of(pm, product="pm", read=("account", "um_account"))))

    assert (checks["permissions"].verdict, checks["product"].verdict) == ("ok", "failed")
    assert checks["product"].finding.startswith("account: ")
    assert checks["account"].verdict == "not checked"


async def test_a_known_ban_is_reported_and_nothing_is_sent() -> None:
    """The budget remembers the ban of the previous examination."""
    with running_sandbox(accounts=1) as pm:
        pm.inject(Fault(status=418, code=-1003, msg="banned", headers={"Retry-After": "20"}))
        await examined(pm)
        before, began = len(pm.exchange.requests), time.monotonic()
        checks = by_name(await examined(pm))
        took = time.monotonic() - began
        arrived = len(pm.exchange.requests) - before

    assert took < 5
    assert (arrived, checks["clock"].verdict, checks["limits"].verdict) == (0, "failed", "failed")
    assert {checks[name].verdict for name in ("permissions", "product", "budget", "account")} == {"not checked"}


async def test_each_account_reads_only_its_own_endpoints() -> None:
    """The clock is requested once for all accounts."""
    with running_sandbox(accounts=20) as pm:
        targets = [target_of(pm, place, product="span", read=("span_account",)) for place in range(20)]
        checks = await examined(pm, *targets)
        arrived = len(pm.exchange.requests)

    assert (arrived, {check.verdict for check in checks if check.name == "permissions"}) == (22, {"ok"})
    assert [check.target for check in checks if check.name == "account"] == [account.label for account in pm.accounts]
    assert checks[-1].finding.endswith(" 102")


def test_no_text_of_a_target_shows_its_key() -> None:
    """The same holds for the check of an incomplete account."""
    keys = {"BINANCE_PM_API_KEY": "k" * 64, "BINANCE_PM_API_SECRET": "s" * 64}
    target = target_from_environment(keys)
    incomplete = target_from_environment({"BINANCE_PM_API_KEY": "k" * 64})

    assert isinstance(target, Target)
    assert isinstance(incomplete, Check)
    assert not any(text in f"{target!r}{incomplete!r}" for text in ("k" * 20, "s" * 20))


@pytest.mark.timeout(30)
@pytest.mark.parametrize("amount", ["1e999999999", "sNaN", "1_0"])
async def test_an_implausible_amount_fails_only_its_account(amount: str) -> None:
    """The finding names the field, and the other account is examined as usual."""
    with running_sandbox(accounts=2) as pm:
        body = PRO.replace(b'"uniMMR":"3"', f'"uniMMR":"{amount}"'.encode())
        pm.inject(*(Fault(path=path, account=pm.accounts[0].label, body=body, times=None) for path in (PAPI, V1, V2)))
        checks = await examined(pm, target_of(pm), target_of(pm, 1))

    odd, good = (by_name(checks, account.label) for account in pm.accounts)
    assert odd["permissions"].verdict == "failed"
    assert "$.uniMMR" in odd["permissions"].finding
    assert {good[name].verdict for name in ("key", "permissions", "product")} == {"ok"}


async def test_an_unexpected_error_fails_only_its_account() -> None:
    """The other account is examined as usual."""
    with running_sandbox(accounts=2) as pm:
        odd = Target(label="odd", origin="here", api_key=Secret(b"\xff" * 64), secret=Secret("s" * 64))
        checks = await examined(pm, odd, target_of(pm))

    assert {check.verdict for check in by_name(checks, pm.accounts[0].label).values()} == {"ok"}
    assert "failed" in {check.verdict for check in by_name(checks, "odd").values()}
