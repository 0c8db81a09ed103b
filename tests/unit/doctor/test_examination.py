"""An examination as a program makes it: in order, in a bounded time, and by nothing but queries."""

from __future__ import annotations

import time
from typing import Any

import anyio
import msgspec
import pytest

from binance_pm.budget import Budget
from binance_pm.doctor import Check, Target, examine, target_from_environment
from binance_pm.doctor.check import Report
from binance_pm.signing import Secret
from binance_pm.testing import Fault, Sandbox, running_sandbox
from tests.support.raw_server import serve_raw, silent

PAPI, V1, V2 = "/papi/v1/account", "/sapi/v1/portfolio/account", "/sapi/v2/portfolio/account"
PRO = (
    b'{"uniMMR":"3","accountEquity":"1","actualEquity":"1","accountMaintMargin":"1","accountInitialMargin":"1",'
    b'"totalAvailableBalance":"1","accountStatus":"NORMAL","accountType":"PM_1"}'
)


def subject_of(pm: Sandbox, place: int = 0) -> Target:
    """An account of the local exchange."""
    account = pm.accounts[place]
    return Target(
        label=account.label, origin="here", api_key=Secret(account.api_key), secret=Secret(account.api_secret)
    )


def place_of(pm: Sandbox) -> Any:
    """The options that lead to the local exchange."""
    return {"papi_url": pm.base_url, "sapi_url": pm.base_url, "budget": pm.budget}


def test_checks_are_told_in_their_order_as_they_come() -> None:
    """One that is early waits for those before it; what never comes is not checked."""
    told: list[Check] = []
    report = Report([("configuration", ""), ("clock", "host"), ("egress", "host"), ("limits", "")], told.append)
    report.put(Check("egress", "host", "ok", "first"))
    early = len(told)
    report.put(Check("configuration", "", "ok", "second"))
    report.put(Check("configuration", "", "failed", "twice"))
    report.skip(("clock",), "host", "third")
    report.close("no time")

    assert early == 0
    assert [(one.name, one.verdict, one.finding) for one in told] == [
        ("configuration", "ok", "second"),
        ("clock", "not checked", "third"),
        ("egress", "ok", "first"),
        ("limits", "not checked", "no time"),
    ]


async def test_it_ends_in_time() -> None:
    """Whoever does not answer is left, and each check is told all the same."""
    told: list[Check] = []
    subject = Target(origin="here", api_key=Secret("k" * 64), secret=Secret("s" * 64))
    with serve_raw(silent) as server:
        began = time.monotonic()
        await examine([subject], told.append, papi_url=server.url, sapi_url=server.url, budget=Budget(), seconds=0.3)

    assert time.monotonic() - began < 5
    assert {one.name: one.finding for one in told if one.verdict == "not checked"} | {"tls": ""} == {
        "clock": "0.3 s had passed",
        "tls": "",
        "key": "0.3 s had passed",
        "permissions": "0.3 s had passed",
        "product": "0.3 s had passed",
        "budget": "nothing was answered that tells a count",
        "account": "0.3 s had passed",
        "limits": "nothing was answered",
    }


@pytest.mark.parametrize(
    ("status", "body"),
    [(451, b""), (403, b"<p>The distribution is configured to block access from your country.</p>")],
)
async def test_a_place_that_is_not_served_is_told_once(status: int, body: bytes) -> None:
    """However the exchange says so; the host is not asked for more."""
    told: list[Check] = []
    with running_sandbox(accounts=1) as pm:
        pm.inject(Fault(status=status, body=body, times=None))
        await examine([subject_of(pm)], told.append, **place_of(pm))
        asked = {request.path for request in pm.exchange.requests}

    assert {one.verdict for one in told if one.name in {"permissions", "product", "account"}} == {"not checked"}
    assert all("from a country that it serves" in one.advice for one in told if one.name == "clock")
    assert asked == {"/papi/v1/time"}


async def test_cancelling_leaves_nothing_open() -> None:
    """Within a second."""
    with running_sandbox(accounts=1) as pm:
        pm.inject(Fault(delay=30, times=None))
        with anyio.move_on_after(0.5):
            await examine([subject_of(pm)], lambda _: None, **place_of(pm))
        with anyio.fail_after(1):
            while pm.exchange.open_connections:  # noqa: ASYNC110 - its server runs in another thread
                await anyio.sleep(0.01)


def refusing(path: str, code: int) -> Fault:
    """The exchange refuses one endpoint for good."""
    return Fault(path=path, status=400, code=code, msg="no", times=None)


@pytest.mark.parametrize(
    ("refused", "what"),
    [
        ((V1, V2), "Portfolio Margin (pm): account can be read"),
        ((PAPI, V2), "Portfolio Margin Pro (pm_pro): pro_account can be read"),
    ],
)
async def test_the_product_is_what_answers(refused: tuple[str, str], what: str) -> None:
    """By what the account says of itself, or by the endpoint that serves it."""
    told: list[Check] = []
    with running_sandbox(accounts=1) as pm:
        pm.inject(*(refusing(path, -2015 if path == PAPI else -21001) for path in refused), Fault(path=V1, body=PRO))
        await examine([subject_of(pm)], told.append, **place_of(pm))

    (product,) = [one for one in told if one.name == "product"]
    assert (product.verdict, product.finding) == ("ok", what)


async def test_a_file_that_names_another_product_is_told() -> None:
    """All that is read answers, so it is a warning."""
    told: list[Check] = []
    with running_sandbox(accounts=1) as pm:
        subject = Target(
            label="desk",
            origin="here",
            api_key=Secret(pm.accounts[0].api_key),
            secret=Secret(pm.accounts[0].api_secret),
            product="pm_pro",
            read=("pro_account",),
        )
        await examine([subject], told.append, **place_of(pm))

    (product,) = [one for one in told if one.name == "product"]
    assert (product.verdict, product.advice) == ("warning", 'Write product = "span" in the accounts file.')


async def test_a_file_that_names_an_account_without_portfolio_margin_is_told() -> None:
    """The other products' endpoints are asked to tell why its own is refused."""
    told: list[Check] = []
    with running_sandbox(accounts=1) as pm:
        pm.inject(refusing(PAPI, -2015), refusing(V1, -21001), refusing(V2, -21001))
        subject = msgspec.structs.replace(subject_of(pm), product="pm", read=("account",))
        await examine([subject], told.append, **place_of(pm))

    found = {one.name: one for one in told}
    assert (found["permissions"].verdict, found["product"].verdict) == ("ok", "failed")
    assert found["product"].advice.startswith("Enable Portfolio Margin")


async def test_counts_are_not_read_at_the_turn_of_a_minute() -> None:
    """There it is not known of which minute they are, and others would not be seen."""
    told: list[Check] = []
    with running_sandbox(accounts=1) as pm:
        pm.inject(Fault(path=PAPI, headers={"x-mbx-used-weight-1m": "4000"}), Fault(skew=59.3 - time.time() % 60))
        await examine([subject_of(pm)], told.append, **place_of(pm))
        (arrival,) = [one for one in pm.exchange.requests if one.path == PAPI]

    assert 0.9 < arrival.time % 60 < 50
    assert {one.name: one.verdict for one in told}["budget"] == "warning"


async def test_a_part_that_cannot_be_read_is_told() -> None:
    """The key works, and yet the account could not be watched."""
    told: list[Check] = []
    with running_sandbox(accounts=1) as pm:
        pm.inject(Fault(path=PAPI, status=500, body=b"", times=None))
        subject = msgspec.structs.replace(subject_of(pm), product="pm", read=("account", "um_account"))
        await examine([subject], told.append, **place_of(pm))

    found = {one.name: one for one in told}
    assert (found["permissions"].finding, found["product"].verdict) == ("a signed read works: um_account", "failed")
    assert found["product"].finding.startswith("account: ")
    assert found["account"].verdict == "not checked"


async def test_a_ban_that_is_known_is_told_and_nothing_is_sent() -> None:
    """As after a restart: it was kept."""
    told: list[Check] = []
    with running_sandbox(accounts=1) as pm:
        pm.inject(Fault(status=418, code=-1003, msg="banned", headers={"Retry-After": "20"}))
        await examine([subject_of(pm)], lambda _: None, **place_of(pm))
        before, began = len(pm.exchange.requests), time.monotonic()
        await examine([subject_of(pm)], told.append, **place_of(pm))
        took = time.monotonic() - began
        arrived = len(pm.exchange.requests) - before

    found = {one.name: one for one in told}
    assert took < 5
    assert (arrived, found["clock"].verdict, found["limits"].verdict) == (0, "failed", "failed")
    assert "banned this IP: nothing may be sent for" in found["limits"].finding
    assert {found[name].verdict for name in ("permissions", "product", "budget", "account")} == {"not checked"}


async def test_many_accounts_weigh_what_they_read() -> None:
    """Each reads its own product's endpoint; the clock is asked once for all."""
    told: list[Check] = []
    with running_sandbox(accounts=20) as pm:
        subjects = [
            Target(
                label=account.label,
                origin="here",
                api_key=Secret(account.api_key),
                secret=Secret(account.api_secret),
                product="span",
                read=("span_account",),
            )
            for account in pm.accounts
        ]
        await examine(subjects, told.append, **place_of(pm))
        arrived = len(pm.exchange.requests)

    assert (arrived, {one.verdict for one in told if one.name == "permissions"}) == (22, {"ok"})
    assert [one.target for one in told if one.name == "account"] == [account.label for account in pm.accounts]
    assert told[-1].finding.endswith("this examination weighed 102")


def test_no_text_of_a_subject_shows_its_key() -> None:
    """Neither does what is told of one that is incomplete."""
    whole = {"BINANCE_PM_API_KEY": "k" * 64, "BINANCE_PM_API_SECRET": "s" * 64}
    subject = target_from_environment(whole)

    assert isinstance(subject, Target)
    assert not {"k" * 64, "s" * 64} & {piece.strip("'\"") for piece in repr(subject).replace("=", " ").split()}
    assert isinstance(target_from_environment({"BINANCE_PM_API_KEY": "k" * 64}), Check)
    both = target_from_environment(whole | {"BINANCE_PM_PRIVATE_KEY_FILE": "key.pem"})
    assert isinstance(both, Check)
    assert both.finding == "both BINANCE_PM_API_SECRET and BINANCE_PM_PRIVATE_KEY_FILE are set"


@pytest.mark.timeout(30)
@pytest.mark.parametrize("amount", ["1e999999999", "sNaN", "1_0"])
async def test_an_odd_amount_is_a_failure_of_one_account(amount: str) -> None:
    """The account with the amount fails by the name of the field, soon; the other is examined as ever."""
    told: list[Check] = []
    with running_sandbox(accounts=2) as pm:
        body = PRO.replace(b'"uniMMR":"3"', f'"uniMMR":"{amount}"'.encode())
        for path in (PAPI, V1, V2):
            pm.inject(Fault(path=path, account=pm.accounts[0].label, body=body, times=None))
        await examine([subject_of(pm), subject_of(pm, 1)], told.append, **place_of(pm))

    odd, good = ({one.name: one for one in told if one.target == account.label} for account in pm.accounts)
    assert odd["permissions"].verdict == "failed"
    assert "$.uniMMR" in odd["permissions"].finding
    assert {good[name].verdict for name in ("key", "permissions", "product")} == {"ok"}


async def test_an_account_that_cannot_be_examined_is_its_own_failure() -> None:
    """Whatever goes wrong with one account, the others are examined as ever."""
    told: list[Check] = []
    with running_sandbox(accounts=2) as pm:
        odd = Target(label="odd", origin="here", api_key=Secret(b"\xff" * 64), secret=Secret("s" * 64))
        await examine([odd, subject_of(pm)], told.append, **place_of(pm))

    assert {one.verdict for one in told if one.target == pm.accounts[0].label} == {"ok"}
    assert "failed" in {one.verdict for one in told if one.target == "odd"}
