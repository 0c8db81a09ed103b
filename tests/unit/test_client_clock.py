"""Calls are signed with the exchange's time, whatever a proxy in between writes as the time."""

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
        """Forward the request, and change the time in the response."""
        response = await self._to.handle_async_request(request)
        response.headers["date"] = formatdate(0 if self._ahead is None else time.time() + self._ahead, usegmt=True)
        return response


def behind(pm: Sandbox, ahead: float | None) -> Client:
    """Return a client behind such a proxy."""
    assert isinstance(pm._http, httpx.AsyncBaseTransport)
    return pm.client(session=pm.session(http=DatingProxy(pm._http, ahead)))


def paths(pm: Sandbox) -> list[str]:
    """Return the paths of the requests."""
    return [request.path for request in pm.exchange.requests]


@pytest.mark.parametrize("skew", [0.0, HOUR, -HOUR])
@pytest.mark.parametrize("ahead", [-6.0, -60.0, -HOUR, 6.0, HOUR, None])
async def test_a_proxy_with_a_wrong_clock_disturbs_no_call(pm: Sandbox, ahead: float | None, skew: float) -> None:
    """With a right or wrong local clock, fifty calls need at most two time requests."""
    if skew:
        pm.inject(Fault(skew=skew))
    async with behind(pm, ahead) as client:
        for _ in range(50):
            await client.um_account()

    assert paths(pm).count(TIME) <= 2
    assert len(paths(pm)) <= 54


@pytest.mark.parametrize("told", [10**26, 10**400, 2**63, 2**62, -1, 0, 1, 10**12, "NaN", 1e300, None])
async def test_an_impossible_time_is_ignored(
    pm: Sandbox, client: Client, caplog: pytest.LogCaptureFixture, told: object
) -> None:
    """The refusal's `Date` is used, and calls go on, as if the time endpoint had failed."""
    body = f'{{"serverTime":{told}}}'.encode()
    pm.inject(Fault(skew=HOUR), Fault(path=TIME, body=body, status=404 if told is None else 200, times=None))

    with caplog.at_level(logging.WARNING, "binance_pm"):
        for _ in range(3):
            await client.um_account()

    assert "by the Date of the last response alone" in caplog.text


async def test_an_impossible_time_does_not_change_a_right_clock(pm: Sandbox, client: Client) -> None:
    """A time far from all known times is ignored, in requests of the program too."""
    await client.um_account()
    for told in (10**26, 0, -(10**30), 10**12):
        pm.inject(Fault(path=TIME, body=f'{{"serverTime":{told}}}'.encode(), times=1))
        with suppress(PortfolioMarginError):
            await client.server_time()
        await client.um_account()

    assert paths(pm).count(UM) == 5


@pytest.mark.parametrize("skew", [HOUR, -HOUR, 3 * 365 * 86_400.0])
async def test_the_time_endpoint_suffices_without_a_date(pm: Sandbox, client: Client, skew: float) -> None:
    """With a local clock that is years off, a time far from all known times is requested twice."""
    pm.inject(Fault(skew=skew), Fault(headers={"Date": None}, times=None))

    for _ in range(3):
        await client.um_account()

    assert paths(pm) == [UM, TIME, TIME, UM, UM, UM]


async def test_requesting_the_time_sets_the_clock(pm: Sandbox, client: Client) -> None:
    """If the `Date` agrees, the next call needs no refusal."""
    pm.inject(Fault(skew=HOUR))
    await client.server_time()

    await client.um_account()

    assert paths(pm) == [TIME, UM]
