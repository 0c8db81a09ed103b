"""Which requests are repeated and which never are: by their method, or by their declaration."""

from __future__ import annotations

from typing import Any

import pytest

from binance_pm import (
    Budget,
    Client,
    ConnectError,
    InvalidResponse,
    IpBanned,
    NoResponse,
    NotDone,
    OutcomeUnknown,
    PortfolioMarginError,
    RateLimited,
    RequestRejected,
    Session,
)
from binance_pm.errors import Repeat
from binance_pm.sandbox import create_app
from binance_pm.testing import Exchange, Fault, Sandbox
from binance_pm.transport.httpx import asgi_transport
from tests.support.clocks import FakeClock
from tests.support.raw_server import refusing_port

DOWNLOAD = "/papi/v1/um/income/asyn"
TIME = "/papi/v1/time"

LOST = Fault(path=DOWNLOAD, drop=True, times=None)
UNKNOWN = Fault(path=DOWNLOAD, status=500, code=-1000, msg="An unknown error occurred.", times=None)
GATEWAY = Fault(path=DOWNLOAD, status=502, body=b"<h1>Bad Gateway</h1>", times=None)
UNREADABLE = Fault(path=DOWNLOAD, status=200, body=b"<h1>Welcome</h1>", times=None)
THROTTLED = Fault(path=DOWNLOAD, status=503, code=-1008, msg="Request throttled.", times=None)
LIMITED = Fault(path=DOWNLOAD, status=429, code=-1003, msg="Too many requests.", times=None)
LIMITED_BY_GATEWAY = Fault(path=DOWNLOAD, status=503, body=b"<p>Too many requests</p>", times=None)
BANNED = Fault(path=DOWNLOAD, status=418, code=-1003, msg="Banned.", times=None)
REJECTED = Fault(path=DOWNLOAD, status=400, code=-1121, msg="Invalid symbol.", times=None)


@pytest.fixture
def pm(clock: FakeClock) -> Sandbox:
    """A local exchange on the test's clock."""
    exchange = Exchange(accounts=1, clock=clock, sleep=clock.sleep)
    return Sandbox(exchange, "http://127.0.0.1", http=asgi_transport(create_app(exchange)))


def session_of(pm: Sandbox, clock: FakeClock) -> Session:
    """Return a session on the test's clock."""
    return pm.session(budget=Budget(monotonic=clock, wall=clock, sleep=clock.sleep))


async def ask(client: Client, method: Any, repeat: Repeat | None) -> object:
    """Make an undeclared call."""
    return await client.request(method, DOWNLOAD, weight=1, returns=dict[str, Any], repeat=repeat)


def sent(pm: Sandbox) -> list[str]:
    """Return the requests at the exchange, in order."""
    return [request.path for request in pm.exchange.requests]


@pytest.mark.parametrize(
    ("fault", "kind", "outcome"),
    [
        (LOST, NoResponse, "unknown"),
        (UNKNOWN, OutcomeUnknown, "unknown"),
        (GATEWAY, OutcomeUnknown, "unknown"),
        (UNREADABLE, InvalidResponse, "unknown"),
        (LIMITED_BY_GATEWAY, RateLimited, "unknown"),
        (THROTTLED, NotDone, "not_done"),
        (LIMITED, RateLimited, "not_done"),
        (BANNED, IpBanned, "not_done"),
        (REJECTED, RequestRejected, "not_done"),
    ],
    ids=lambda value: f"{value.status}" if isinstance(value, Fault) else str(value),
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_a_call_that_uses_up_a_quota_is_sent_once(
    pm: Sandbox, clock: FakeClock, fault: Fault, method: str, kind: type[PortfolioMarginError], outcome: str
) -> None:
    """Whatever the response; the error says whether a part of the quota may be used."""
    pm.inject(fault)
    async with pm.client(session=session_of(pm, clock), max_wait=600) as client:
        with pytest.raises(kind) as caught:
            await ask(client, method, "never")

    assert (sent(pm), clock.slept) == ([DOWNLOAD], [])
    assert (caught.value.write, caught.value.outcome, caught.value.repeat) == (True, outcome, "never")


@pytest.mark.usefixtures("each_engine")
@pytest.mark.pm_sandbox(accounts=1)
async def test_a_download_id_is_requested_once(pm_sandbox: Sandbox) -> None:
    """Over a real connection that breaks: an account has five requests a month."""
    pm_sandbox.inject(LOST)
    async with pm_sandbox.client() as client:
        with pytest.raises(NoResponse):
            await client.request("GET", DOWNLOAD, weight=1500, returns=dict[str, Any], repeat="never")

    assert sent(pm_sandbox) == [DOWNLOAD]


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
@pytest.mark.parametrize("repeat", [None, "same_effect", "never"])
async def test_a_call_refused_for_its_timestamp_is_repeated(
    pm: Sandbox, clock: FakeClock, method: str, repeat: Repeat | None
) -> None:
    """Once, for any call, as none was executed."""
    refusal = Fault(path=DOWNLOAD, status=400, code=-1021, msg="Timestamp for this request is outside.")
    pm.inject(refusal, Fault(path=DOWNLOAD, body=b'{"downloadId":"1"}', status=200))
    async with pm.client(session=session_of(pm, clock)) as client:
        assert await ask(client, method, repeat) == {"downloadId": "1"}

    assert sent(pm) == [DOWNLOAD, TIME, DOWNLOAD]


@pytest.mark.parametrize(
    ("fault", "kind", "outcome"),
    [
        (LOST, NoResponse, "unknown"),
        (UNKNOWN, OutcomeUnknown, "unknown"),
        (GATEWAY, OutcomeUnknown, "unknown"),
        (THROTTLED, NotDone, "not_done"),
    ],
    ids=lambda value: f"{value.status}" if isinstance(value, Fault) else str(value),
)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "GET"])
async def test_an_idempotent_call_is_repeated_like_a_read(
    pm: Sandbox, clock: FakeClock, fault: Fault, method: str, kind: type[PortfolioMarginError], outcome: str
) -> None:
    """A cancellation, or a listen key; the last error still says whether it may have been executed."""
    pm.inject(fault)
    async with pm.client(session=session_of(pm, clock), jitter=lambda: 1.0) as client:
        with pytest.raises(kind) as caught:
            await ask(client, method, "same_effect")

    assert (sent(pm), clock.slept) == ([DOWNLOAD] * 3, [0.2, 0.4])
    assert (caught.value.write, caught.value.outcome, caught.value.repeat) == (True, outcome, "same_effect")
    stamps = {dict(request.params)["timestamp"] for request in pm.exchange.requests}
    assert len(stamps) == 3


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (LIMITED, RateLimited),
        (LIMITED_BY_GATEWAY, RateLimited),
        (BANNED, IpBanned),
        (REJECTED, RequestRejected),
        (UNREADABLE, InvalidResponse),
    ],
)
async def test_an_idempotent_write_is_not_delayed_by_a_refusal(
    pm: Sandbox, clock: FakeClock, fault: Fault, kind: type[PortfolioMarginError]
) -> None:
    """The caller decides whether a cancellation is still wanted after a refusal."""
    pm.inject(fault)
    async with pm.client(session=session_of(pm, clock), max_wait=600) as client:
        with pytest.raises(kind):
            await ask(client, "DELETE", "same_effect")

    assert (sent(pm), clock.slept) == ([DOWNLOAD], [])


@pytest.mark.parametrize(("method", "times"), [("GET", 3), ("POST", 1), ("PUT", 1), ("DELETE", 1)])
async def test_the_method_decides_by_default(pm: Sandbox, clock: FakeClock, method: str, times: int) -> None:
    """GET is a read."""
    pm.inject(LOST)
    async with pm.client(session=session_of(pm, clock)) as client:
        with pytest.raises(NoResponse) as caught:
            await ask(client, method, None)

    assert len(sent(pm)) == times
    assert (caught.value.write, caught.value.repeat) == (method != "GET", None)


@pytest.mark.parametrize(("repeat", "retries"), [("same_effect", 2), ("never", 0), (None, 0)])
async def test_a_call_that_was_not_sent(clock: FakeClock, repeat: Repeat | None, retries: int) -> None:
    """An unsent call has no effect, and is repeated only if any failure is."""
    session = Session(budget=Budget(monotonic=clock, wall=clock, sleep=clock.sleep))
    with refusing_port() as port:
        async with Client("k" * 64, "s", session=session, papi_url=f"http://127.0.0.1:{port}") as client:
            with pytest.raises(ConnectError) as caught:
                await ask(client, "DELETE", repeat)

    assert (caught.value.outcome, len(clock.slept)) == ("not_done", retries)
