"""Any response ends in a value or one documented error, never in another exception or a hang."""

from __future__ import annotations

import logging
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from binance_pm import ENDPOINTS, Client, ExchangeError, InvalidResponse, NoResponse, PortfolioMarginError
from binance_pm.testing import Fault, Sandbox, sandbox
from tests.benchmarks.answering import body_of
from tests.support.raw_server import serve_raw, silent

SPAN = (
    '{"uniMMR":"%s","accountEquity":"1","actualEquity":"1","accountMaintMargin":"1","riskUnitMMList":[],'
    '"marginMM":"0","otherMM":"0","accountStatus":"NORMAL","accountType":"PM_3"}'
)

RISK = (
    b'{"entryPrice":"98450.5","leverage":"20","markPrice":"98366.67447307","maxNotionalValue":"1000000",'
    b'"positionAmt":"0.427","notional":"42002.57000000","symbol":"BTCUSDT","unRealizedProfit":"-35.79350000",'
    b'"liquidationPrice":"61702.0509059","positionSide":"LONG","updateTime":1795905474765}'
)


@pytest.mark.parametrize(
    "body",
    [
        b"<html><body>Welcome to the hotel</body></html>",
        b"",
        b"null",
        b"[]",
        b"{}",
        b'"text"',
        b"12",
        b'{"uniMMR":',
        b'{"uniMMR":NaN}',
        b"\xff\xfe",
        b"[" * 100_000,
        (SPAN % "NaN").encode(),
        (SPAN % "-Infinity").encode(),
        (SPAN % "").encode(),
        (SPAN % "1,234.5").encode(),
        b"x" * 20_000_000,
        b'{"code":"ok"}',
    ],
    ids=lambda body: repr(body[:20]),
)
async def test_a_200_without_a_valid_body(pm: Sandbox, client: Client, body: bytes) -> None:
    """The error is `InvalidResponse`, and the weight is settled."""
    pm.inject(Fault(body=body))

    with pytest.raises(InvalidResponse) as caught:
        await client.span_account()

    assert (caught.value.endpoint, caught.value.status) == ("span_account", 200)
    assert [state.in_flight for state in pm.budget.snapshot()] == [0]


@pytest.mark.parametrize("name", ["um_account", "um.position_risk"])
async def test_a_large_response(pm: Sandbox, client: Client, name: str) -> None:
    """A large response is decoded like any other, and an error has the path of the invalid value."""
    body = body_of("all change")
    if name == "um.position_risk":
        body = b"[%b]" % b",".join([RISK] * 200)
    endpoint = ENDPOINTS[name]
    for _ in range(4):
        pm.inject(Fault(body=body))

        assert await client.call(endpoint, {}) == msgspec.json.decode(body, type=endpoint.returns)

    pm.inject(Fault(body=body[:-1]))
    with pytest.raises(InvalidResponse, match="the body is not JSON"):
        await client.call(endpoint, {})


async def test_a_refusal_with_status_200(pm: Sandbox, client: Client) -> None:
    """A 200 with the exchange's error inside is that error."""
    pm.inject(Fault(body=b'{"code":-21001,"msg":"Request ID is not a Portfolio Margin Account."}'))

    with pytest.raises(ExchangeError) as caught:
        await client.span_account()

    assert (caught.value.code, caught.value.status) == (-21001, 200)


async def test_fifty_digits_are_kept(pm: Sandbox, client: Client) -> None:
    """An amount keeps all its digits, as text or as a number."""
    digits = "12345678901234567890123456789012345678901234567890.123"
    for text in (SPAN % digits, SPAN.replace('"%s"', "%s") % digits):
        pm.inject(Fault(body=text.encode()))

        assert str((await client.span_account()).uni_mmr) == digits


@pytest.mark.parametrize("cut", [0, 1, 100])
@pytest.mark.pm_sandbox(accounts=1)
async def test_a_truncated_response(pm_sandbox: Sandbox, cut: int) -> None:
    """A body shorter than announced is no response."""
    pm_sandbox.inject(Fault(cut=cut, times=None))
    async with pm_sandbox.client(attempts=1) as client:
        with pytest.raises(NoResponse):
            await client.um_account()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(status=st.integers(200, 599), body=st.binary(max_size=200) | st.text().map(str.encode), data=st.data())
async def test_any_response(status: int, body: bytes, data: st.DataObject) -> None:
    """Any status with any body and any headers ends in a documented error."""
    names = ["Retry-After", "Date", "X-SAPI-USED-IP-WEIGHT-1M", "Location", "Content-Type"]
    text = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40)
    headers: dict[str, Any] = data.draw(st.dictionaries(st.sampled_from(names), text, max_size=5))
    async with sandbox(in_memory=True, accounts=1) as pm, pm.client(attempts=1, max_wait=0) as client:
        pm.inject(Fault(status=status, body=body, headers=headers))

        with pytest.raises(PortfolioMarginError):
            await client.span_account()

        assert [state.in_flight for state in pm.budget.snapshot()] == [0]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("path", ["/sapi/v2/portfolio/account", "//127.0.0.1/x", "http"])
@pytest.mark.pm_sandbox(accounts=1)
async def test_a_redirect_is_refused(
    pm_sandbox: Sandbox, status: int, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """To another port, host, scheme or path: no byte reaches the target."""
    with caplog.at_level(logging.DEBUG), serve_raw(silent) as target:
        location = target.url + path if path.startswith("/") else target.url.replace("http", "https")
        pm_sandbox.inject(Fault(status=status, headers={"Location": location}, body=b"", times=None))
        async with pm_sandbox.client() as client:
            with pytest.raises(InvalidResponse) as caught:
                await client.span_account()
        arrived = len(target.connections)

    assert (arrived, len(pm_sandbox.exchange.requests), caught.value.status) == (0, 1, status)
