"""Calls are signed with the exchange's time, whatever stands between it and the client says of the time."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from email.utils import formatdate

import httpx
import pytest

from binance_pm import Client, PortfolioMarginError
from binance_pm.testing import Fault, Sandbox

UM, TIME = "/papi/v2/um/account", "/papi/v1/time"
HOUR = 3600.0


class DatingProxy(httpx.AsyncBaseTransport):
    """A proxy that writes a `Date` of its own.

    Args:
        to: what leads to the exchange.
        ahead: by how many seconds its clock is; None writes 1970.
    """

    def __init__(self, to: httpx.AsyncBaseTransport, ahead: float | None) -> None:
        self._to = to
        self._ahead = ahead

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Carry the request, and change what the response says of the time."""
        response = await self._to.handle_async_request(request)
        response.headers["date"] = formatdate(0 if self._ahead is None else time.time() + self._ahead, usegmt=True)
        return response


def behind(pm: Sandbox, ahead: float | None) -> Client:
    """A client behind such a proxy."""
    assert isinstance(pm._http, httpx.AsyncBaseTransport)
    return pm.client(session=pm.session(http=DatingProxy(pm._http, ahead)))


def paths(pm: Sandbox) -> list[str]:
    """What arrived."""
    return [request.path for request in pm.exchange.requests]


@pytest.mark.parametrize("skew", [0.0, HOUR, -HOUR])
@pytest.mark.parametrize("ahead", [-6.0, -60.0, -HOUR, 6.0, HOUR, None])
async def test_a_proxy_with_a_clock_of_its_own_disturbs_no_call(pm: Sandbox, ahead: float | None, skew: float) -> None:
    """Whether or not this machine's clock is right: the time endpoint is asked at most twice for fifty calls."""
    if skew:
        pm.inject(Fault(skew=skew))
    async with behind(pm, ahead) as client:
        for _ in range(50):
            await client.um_account()

    assert paths(pm).count(TIME) <= 2
    assert len(paths(pm)) <= 54


@pytest.mark.parametrize("told", [10**26, 10**400, 2**63, 2**62, -1, 0, 1, 10**12, "NaN", 1e300])
async def test_an_absurd_time_is_not_believed(
    pm: Sandbox, client: Client, caplog: pytest.LogCaptureFixture, told: object
) -> None:
    """The refusal's `Date` has to do, and calls go on."""
    body = f'{{"serverTime":{told}}}'.encode()
    pm.inject(Fault(skew=HOUR), Fault(path=TIME, body=body, times=None))

    with caplog.at_level(logging.WARNING, "binance_pm"):
        for _ in range(3):
            await client.um_account()

    assert "by the Date of the last response alone" in caplog.text


async def test_an_absurd_time_changes_nothing_of_a_clock_that_is_right(pm: Sandbox, client: Client) -> None:
    """Any program may ask for the time; what is far from everything known is not believed."""
    await client.um_account()
    for told in (10**26, 0, -(10**30), 10**12):
        pm.inject(Fault(path=TIME, body=f'{{"serverTime":{told}}}'.encode(), times=1))
        with suppress(PortfolioMarginError):
            await client.server_time()
        await client.um_account()

    assert paths(pm).count(UM) == 5


@pytest.mark.parametrize("skew", [HOUR, -HOUR, 3 * 365 * 86_400.0])
async def test_the_time_alone_does_where_no_response_has_a_date(pm: Sandbox, client: Client, skew: float) -> None:
    """A machine whose clock is wrong by years: what is far from everything known is asked for twice."""
    pm.inject(Fault(skew=skew), Fault(headers={"Date": None}, times=None))

    for _ in range(3):
        await client.um_account()

    assert paths(pm) == [UM, TIME, TIME, UM, UM, UM]


async def test_asking_for_the_time_sets_the_clock(pm: Sandbox, client: Client) -> None:
    """Also where a program asks, and its `Date` agrees: the next call needs no refusal."""
    pm.inject(Fault(skew=HOUR))
    await client.server_time()

    await client.um_account()

    assert paths(pm) == [TIME, UM]
