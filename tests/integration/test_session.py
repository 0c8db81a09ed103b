"""What the clients of one egress IP share, and how a session ends."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal, cast

import anyio
import httpx
import pytest
import trio

from binance_pm import (
    AttemptEvent,
    AuthenticationError,
    BudgetExceeded,
    Client,
    ConfigurationError,
    ConnectError,
    InvalidResponse,
    LimitType,
    NoResponse,
    NotDone,
    PortfolioMarginError,
    Priority,
    Session,
    SessionClosed,
    Timeouts,
)
from binance_pm.budget import Budget, process_budget
from binance_pm.session import shared_session
from binance_pm.testing import Fault, Sandbox, running_sandbox, sandbox
from tests.support.certificates import Authority
from tests.support.clocks import ManualClock, settled
from tests.support.raw_server import answering, http, refusing_port, serve_raw, silent
from tests.support.waiting import eventually

pytestmark = pytest.mark.usefixtures("each_engine")

KEY = "k" * 64
PROXY = "http://proxy.example:3128"
MOCK = httpx.MockTransport(lambda _: httpx.Response(200))


def client_of(pm: Sandbox, number: int = 0) -> Client:
    """Return a client without a session of its own."""
    return pm.client(number, session=None)


def listening(session: Session) -> list[AttemptEvent]:
    """Return a list that records the attempts of a session."""
    told: list[AttemptEvent] = []
    session.add_listener(told.append)
    return told


async def errors_of(
    client: Client, until: Callable[[], Awaitable[object]], end: Callable[[], Awaitable[object]], *, calls: int = 1
) -> list[str]:
    """Return the errors of calls that are in flight when something ends them."""
    errors: list[str] = []

    async def call() -> None:
        with pytest.raises(PortfolioMarginError) as caught:
            await client.um_account()
        errors.append(type(caught.value).__name__)

    async with anyio.create_task_group() as tasks:
        for _ in range(calls):
            tasks.start_soon(call)
        await until()
        with anyio.fail_after(5):
            await end()
    return sorted(errors)


class TestShared:
    """The shared session of clients without their own."""

    async def test_clients_share_one_session(self, pm_sandbox: Sandbox) -> None:
        """Two clients draw on one budget, each over its own connections."""
        async with client_of(pm_sandbox) as one, client_of(pm_sandbox, 1) as other:
            for client in (one, other):
                await client.um_account()
            session = shared_session()

            assert session.budget is process_budget()
            assert pm_sandbox.exchange.open_connections == 2

    async def test_the_last_client_closes_it(self, pm_sandbox: Sandbox) -> None:
        """The session stays open for the remaining clients."""
        async with client_of(pm_sandbox) as one:
            session = shared_session()
            async with client_of(pm_sandbox, 1):
                pass
            assert not session.is_closed
            await one.um_account()

        assert session.is_closed

    async def test_the_next_client_opens_a_new_session_on_the_same_budget(self, pm_sandbox: Sandbox) -> None:
        """A closed session is not reopened, and the budget keeps its usage."""
        async with client_of(pm_sandbox):
            first = shared_session()
        async with client_of(pm_sandbox):
            second = shared_session()

        assert first is not second
        assert first.budget is second.budget

    def test_each_event_loop_has_its_own_session(self) -> None:
        """Connections belong to one loop, the budget to the process."""

        async def session() -> Session:
            return shared_session()

        one, other = asyncio.run(session()), asyncio.run(session())

        assert one is not other
        assert one.budget is other.budget


class TestExplicit:
    """A session opened by the caller."""

    async def test_a_client_leaves_it_open(self, pm: Sandbox) -> None:
        """The caller closes the session."""
        async with pm.session() as session:
            async with pm.client(session=session) as client:
                await client.um_account()

            assert not session.is_closed

    async def test_no_client_closes_it(self, pm_sandbox: Sandbox) -> None:
        """Even if the caller has not opened the session: the next client can still use it."""
        session = pm_sandbox.session()
        for _ in range(2):
            async with pm_sandbox.client(session=session) as one, pm_sandbox.client(1, session=session) as other:
                await one.um_account()
                await other.um_account()
                assert repr(session).startswith("Session(open")
            assert not session.is_closed
            await eventually(lambda: not pm_sandbox.exchange.open_connections)

        await session.aclose()
        with pytest.raises(SessionClosed):
            await pm_sandbox.client(session=session).open()

    async def test_an_open_session_keeps_its_connections(self, pm_sandbox: Sandbox) -> None:
        """From one client of an account to the next."""
        session = await pm_sandbox.session().open()
        for _ in range(3):
            async with pm_sandbox.client(session=session) as client:
                await client.um_account()
            assert pm_sandbox.exchange.open_connections == 1
        await session.aclose()

    async def test_its_block_closes_it_for_every_client(self, pm_sandbox: Sandbox) -> None:
        """A client that was not closed does not keep the session open."""
        async with pm_sandbox.session() as session, session:
            client = await pm_sandbox.client(session=session).open()
            await client.um_account()
        assert session.is_closed
        with pytest.raises(SessionClosed):
            await client.um_account()
        await client.aclose()

    async def test_a_client_may_leave_it_during_a_call(self, pm_sandbox: Sandbox) -> None:
        """The call ends, and the next client is not disturbed."""
        pm_sandbox.inject(Fault(delay=60))
        session = pm_sandbox.session()
        client = await pm_sandbox.client(session=session, attempts=1).open()

        async def leave() -> None:
            await client.aclose()
            async with pm_sandbox.client(session=session) as other:
                await other.um_account()

        errors = await errors_of(client, lambda: eventually(lambda: pm_sandbox.exchange.requests), leave, calls=2)

        assert errors == ["NoResponse", "SessionClosed"]
        assert [state.in_flight for state in pm_sandbox.budget.snapshot()] == [0]

    async def test_use_after_close(self, pm: Sandbox) -> None:
        """A client that outlives its session gets an error; closing twice has no effect; nothing reopens."""
        session = pm.session()
        async with session, pm.client(session=session) as client:
            await session.aclose()
            await session.aclose()

            with pytest.raises(SessionClosed) as caught:
                await client.um_account()

        assert (caught.value.endpoint, caught.value.sent) == ("um_account", False)
        assert repr(session).startswith("Session(closed, 0 calls, Budget(")
        with pytest.raises(SessionClosed):
            await session.open()

    def test_is_not_open_before_it_is_entered(self) -> None:
        """A constructor opens nothing."""
        assert repr(Session(budget=Budget())) == "Session(not open, 0 calls, Budget(unused, 0 waiting))"

    def test_a_proxy_has_its_own_budget(self) -> None:
        """Sessions through one proxy share a budget, which is not that of direct connections."""
        first, second = (Session(proxy=f"http://user:{word}@proxy.example:3128") for word in ("a", "b"))

        assert first.budget is second.budget
        assert first.budget is not process_budget()

    @pytest.mark.parametrize(
        "proxy", ["ftp://user:canary@proxy:1", "http://user:canary@proxy:port", "socks5://canary@"]
    )
    async def test_an_invalid_proxy(self, proxy: str) -> None:
        """The error does not show its password."""
        with pytest.raises(ConfigurationError, match="the proxy") as caught:
            async with Session(proxy=proxy, budget=Budget()):
                pass

        assert "canary" not in repr(caught.value)
        assert caught.value.__cause__ is None


class TestEngine:
    """The engine that sends requests."""

    async def test_the_direct_engine_is_the_default(self, each_engine: str) -> None:
        """If it is installed."""
        session = Session(budget=Budget())
        assert session.engine is None
        async with session:
            assert session.engine == each_engine

    @pytest.mark.parametrize("engine", ["httpx", "direct"])
    async def test_can_be_named(self, engine: Literal["httpx", "direct"], pm_sandbox: Sandbox) -> None:
        """The argument outweighs the environment."""
        session = pm_sandbox.session(engine=engine)
        async with pm_sandbox.client(session=session) as client:
            await client.um_account()
            assert session.engine == engine

    @pytest.mark.parametrize("obstacle", [{"http": MOCK}, {"proxy": PROXY}, {"trust_env": True}])
    async def test_is_httpx_if_the_direct_engine_cannot_be_used(self, obstacle: dict[str, Any]) -> None:
        """By default the settings decide; an explicitly requested direct engine is refused."""
        async with Session(budget=Budget(), **obstacle) as session:
            assert session.engine == "httpx"
        with pytest.raises(ConfigurationError):
            await Session(budget=Budget(), engine="direct", **obstacle).open()

    def test_is_httpx_under_trio(self) -> None:
        """The direct engine needs asyncio."""

        async def main() -> None:
            async with Session(budget=Budget()) as session:
                assert session.engine == "httpx"
            with pytest.raises(ConfigurationError):
                async with Session(budget=Budget(), engine="direct"):
                    pass

        trio.run(main)

    async def test_pins_are_never_ignored(self, each_engine: str) -> None:
        """If the engine cannot check pins, the session does not open."""
        pin = ":".join(["AB"] * 32)
        if each_engine == "direct":
            async with Session(budget=Budget(), pins=[pin]) as session:
                assert session.engine == "direct"
            with pytest.raises(ConfigurationError):
                await Session(budget=Budget(), pins=[pin], engine="httpx").__aenter__()
        else:
            with pytest.raises(ConfigurationError):
                await Session(budget=Budget(), pins=[pin]).__aenter__()

    async def test_gets_the_settings_of_the_session(self, tmp_path: Path) -> None:
        """Trusted authorities, and the maximum size of a response."""
        authority = Authority(tmp_path)
        context = authority.server(authority.issue())
        with serve_raw(answering(http(b"{}" + b" " * 100)), tls=context) as server:
            for most, error in ((102, None), (101, PortfolioMarginError)):
                session = Session(tls=authority.client(), max_body=most, budget=Budget())
                async with session, Client(session=session, papi_url=server.url, attempts=1) as client:
                    with pytest.raises(error) if error else nullcontext():
                        await client.ping()

    async def test_pins_hold_for_calls(self, pm_sandbox: Sandbox) -> None:
        """A server without the pinned certificate receives nothing."""
        session = pm_sandbox.session(pins=["0" * 64])
        with pytest.raises(PortfolioMarginError, match="pins"):
            async with pm_sandbox.client(session=session, attempts=1) as client:
                await client.um_account()

        assert not pm_sandbox.exchange.requests


class TestLocalAddress:
    """Another egress IP of the same machine."""

    async def test_calls_use_the_local_address(self, pm_sandbox: Sandbox) -> None:
        """If the system has no such address, nothing is sent."""
        for address, error in (("127.0.0.3", None), ("192.0.2.1", ConnectError)):
            session = pm_sandbox.session(local_address=address)
            async with pm_sandbox.client(session=session, attempts=1) as client:
                with pytest.raises(error) if error else nullcontext():
                    await client.um_account()

        assert len(pm_sandbox.exchange.requests) == 1

    def test_has_its_own_budget(self) -> None:
        """In any spelling."""
        one, same, other = (Session(local_address=text) for text in ("::1", "0:0:0:0:0:0:0:1", "::2"))

        assert one.budget is same.budget
        assert len({id(budget) for budget in (one.budget, other.budget, process_budget())}) == 3

    @pytest.mark.parametrize("address", ["0.0.0.0", "::", "0:0:0:0:0:0:0:0"])
    def test_a_family_is_no_other_egress_ip(self, address: str) -> None:
        """With IPv4 only, the budget is that of the process, or of the proxy."""
        assert Session(local_address=address).budget is process_budget()
        assert Session(local_address=address, trust_env=True).budget is process_budget()
        assert Session(local_address=address, proxy=PROXY).budget is Session(proxy=PROXY).budget

    @pytest.mark.usefixtures("each_engine")
    @pytest.mark.parametrize(("address", "error"), [("0.0.0.0", None), ("::", ConnectError)])
    async def test_calls_use_one_family(
        self, address: str, error: type[ConnectError] | None, pm_sandbox: Sandbox
    ) -> None:
        """The local exchange has only an IPv4 address."""
        session = pm_sandbox.session(local_address=address)
        async with pm_sandbox.client(session=session, attempts=1) as client:
            with pytest.raises(error, match="IPv6") if error else nullcontext():
                await client.um_account()

        assert len(pm_sandbox.exchange.requests) == (0 if error else 1)


@pytest.mark.parametrize(
    "options",
    [
        # Settings that would be ignored.
        *[
            {"http": MOCK, **more}
            for more in ({"proxy": PROXY}, {"trust_env": True}, {"tls": httpx.create_ssl_context()})
        ],
        *[{"http": MOCK, "local_address": address} for address in ("127.0.0.1", "0.0.0.0")],
        *[{"local_address": "127.0.0.1", **more} for more in ({"proxy": PROXY}, {"trust_env": True})],
        # A name may have several addresses, and Python accepts numbers as addresses.
        *[{"local_address": address} for address in ("localhost", 0, True, b"127.0.0.1")],
        {"engine": "fast"},
        {"max_body": 0},
        # Pins that could never match.
        *[{"pins": [pin]} for pin in ("", "ab", "g" * 64, "a" * 63)],
        # None, which elsewhere means no timeout, would fail in the middle of an order.
        *[
            {"timeouts": Timeouts(**{name: seconds})}
            for name in ("connect", "read", "total")
            for seconds in (cast("Any", None), cast("Any", "5"), 0, -1, math.nan)
        ],
    ],
)
def test_an_argument_that_cannot_be_used(options: dict[str, Any]) -> None:
    """The argument is refused at once."""
    with pytest.raises(ConfigurationError):
        Session(**options)


class TestClosing:
    """A session ends within a second, whatever its calls do."""

    @pytest.mark.pm_sandbox(accounts=1)
    async def test_with_calls_in_flight(self, pm_sandbox: Sandbox) -> None:
        """Calls that wait for a response end in `NoResponse`, those that wait for weight in `SessionClosed`."""
        pm_sandbox.inject(Fault(delay=60, times=None))
        session = pm_sandbox.session()
        async with session, pm_sandbox.client(session=session) as client:
            errors = await errors_of(
                client, lambda: eventually(lambda: pm_sandbox.exchange.requests), session.aclose, calls=3
            )

        # Before the first response only one call is sent; the other two wait for that response.
        assert errors == ["NoResponse", "SessionClosed", "SessionClosed"]
        assert (pm_sandbox.budget.waiting, pm_sandbox.budget.snapshot()[0].in_flight) == (0, 0)

    async def test_with_a_call_between_two_attempts(self, pm: Sandbox) -> None:
        """A call that waits before another attempt ends at once."""
        pm.inject(Fault(status=500, code=-1000, msg="x", times=None))
        session = pm.session(budget=Budget(sleep=lambda _: anyio.sleep_forever()))
        async with session, pm.client(session=session) as client:
            assert await errors_of(client, settled, session.aclose) == ["SessionClosed"]

    async def test_with_a_call_that_waits_for_its_signature(self, pm: Sandbox) -> None:
        """A hanging signer delays nothing."""

        async def sign(_: bytes) -> str:
            await anyio.sleep_forever()
            return ""

        session = pm.session()
        async with session, pm.client(api_secret=sign, session=session) as client:
            assert await errors_of(client, settled, session.aclose) == ["SessionClosed"]

        assert [state.used for state in pm.budget.snapshot()] == [0]

    async def test_while_being_cancelled(self, pm: Sandbox) -> None:
        """A cancellation that leads to closing does not interrupt it."""
        closed: list[bool] = []

        class Slow(httpx.AsyncBaseTransport):
            async def aclose(self) -> None:
                await anyio.lowlevel.checkpoint()
                closed.append(True)

        session = pm.session()
        with anyio.CancelScope() as scope:
            async with session:
                vars(session)["_transport"] = Slow()
                scope.cancel()
                await anyio.lowlevel.checkpoint()

        assert closed == [True]


class TestTimeouts:
    """The time limits of one request."""

    def test_can_be_infinite(self) -> None:
        """For callers with their own time limit."""
        forever = Timeouts(connect=math.inf, read=math.inf, total=math.inf)
        assert Session(timeouts=forever).timeouts is forever

    @pytest.mark.pm_sandbox(accounts=1, minute=1e9)
    async def test_total(self, pm_sandbox: Sandbox) -> None:
        """No complete response in time: the request was sent, and its weight stays counted."""
        pm_sandbox.inject(Fault(delay=60))
        session = pm_sandbox.session(timeouts=Timeouts(total=0.2))
        async with pm_sandbox.client(session=session, attempts=1) as client:
            with pytest.raises(NoResponse):
                await client.um_account()

        assert pm_sandbox.budget.snapshot()[0].used == 5

    async def test_total_while_connecting(self) -> None:
        """Nothing was sent: a server that accepts and never speaks TLS delays the request."""
        with serve_raw(silent) as server:
            budget = Budget()
            session = Session(budget=budget, timeouts=Timeouts(total=0.2))
            url = server.url.replace("http", "https")
            async with Client(KEY, "s", session=session, papi_url=url, attempts=1) as client:
                with pytest.raises(ConnectError):
                    await client.um_account()

        assert budget.snapshot()[0].used == 0


class TestListening:
    """`Session.add_listener`: once for each attempt of a call."""

    async def test_a_response(self, pm: Sandbox) -> None:
        """Whose call it was, how long it waited, and how long it took."""
        session = pm.session()
        told = listening(session)
        async with pm.client(session=session) as client:
            await client.um_account()

        (one,) = told
        assert (one.call.endpoint, one.call.label) == ("um_account", "account-01")
        assert (one.priority, one.status, one.error) == (Priority.POLL, 200, None)
        assert 0 <= one.waited < 1
        assert one.seconds is not None
        assert 0 < one.seconds < 5

    async def test_every_attempt_is_reported(self, pm: Sandbox) -> None:
        """A repeated read is reported for each attempt."""
        session = pm.session()
        told = listening(session)
        pm.inject(Fault(status=503, code=-1008, msg="Request throttled", times=2))
        async with pm.client(session=session, jitter=lambda: 0.0) as client:
            await client.um_account()

        assert [(one.status, one.error) for one in told] == [(503, NotDone), (503, NotDone), (200, None)]

    @pytest.mark.parametrize(
        ("fault", "status", "error"),
        [
            (Fault(drop=True), None, NoResponse),
            (Fault(body=b"<html>"), 200, InvalidResponse),
            (Fault(status=401, code=-2015, msg="Invalid API-key"), 401, AuthenticationError),
            (Fault(delay=60), None, NoResponse),
        ],
        ids=["dropped", "garbage", "refused", "too late"],
    )
    async def test_failures(
        self, pm: Sandbox, fault: Fault, status: int | None, error: type[PortfolioMarginError]
    ) -> None:
        """The class of the caller's error, with the time until the failure."""
        session = pm.session(timeouts=Timeouts(total=0.2))
        told = listening(session)
        pm.inject(fault)
        async with pm.client(session=session, attempts=1) as client:
            with pytest.raises(error):
                await client.um_account()

        assert [(one.status, one.error) for one in told] == [(status, error)]
        assert told[0].seconds is not None

    async def test_a_call_that_was_not_sent(self, manual_clock: ManualClock) -> None:
        """No time on the wire: there was no connection, or no weight in time."""
        budget = Budget(limits={("papi", LimitType.IP): 95}, monotonic=manual_clock, wall=manual_clock)
        session = Session(budget=budget)
        told = listening(session)
        with refusing_port() as port:
            url = f"http://127.0.0.1:{port}"
            async with Client(KEY, "s", session=session, papi_url=url, attempts=1, max_wait=0) as client:
                with pytest.raises(ConnectError):
                    await client.um_account()
                with pytest.raises(BudgetExceeded):
                    await client.request("GET", "/papi/v1/x", weight=5_000, returns=object)

        assert [(one.status, one.error, one.seconds) for one in told] == [
            (None, ConnectError, None),
            (None, BudgetExceeded, None),
        ]

    async def test_a_cancelled_call_is_not_reported(self, pm: Sandbox) -> None:
        """Its result is not needed."""
        session = pm.session()
        told = listening(session)
        pm.inject(Fault(delay=60))
        async with pm.client(session=session) as client:
            with anyio.move_on_after(0.05):
                await client.um_account()

        assert told == []

    async def test_a_failing_listener_disturbs_no_call(self, pm: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
        """The call is answered, other listeners are called, and the failure is logged."""

        def fail(_: AttemptEvent) -> None:
            raise RuntimeError("the listener's own")

        session = pm.session()
        session.add_listener(fail)
        told = listening(session)
        async with pm.client(session=session) as client:
            await client.um_account()

        assert len(told) == 1
        assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == [
            "A listener of the session failed."
        ]


@pytest.mark.pm_sandbox(accounts=1)
def test_calls_work_under_trio(pm_sandbox: Sandbox) -> None:
    """Waiting, signing, sending, timing out and closing need no asyncio."""

    async def main() -> None:
        async with pm_sandbox.client() as client:
            async with trio.open_nursery() as nursery:
                for _ in range(5):
                    nursery.start_soon(client.um_account)
            pm_sandbox.inject(Fault(skew=30))
            await client.span_account()
        async with sandbox(in_memory=True, accounts=1) as pm, pm.client() as client:
            await client.span_account()

    trio.run(main)

    assert [request.status for request in pm_sandbox.exchange.requests] == [200] * 5 + [400, 200, 200]


def test_one_budget_serves_threads_with_their_own_event_loops() -> None:
    """Two event loops in two threads draw on one budget, and every call is answered."""
    with running_sandbox(accounts=2, minute=1e9) as pm:

        async def poll(number: int) -> None:
            async with pm.client(number) as client, anyio.create_task_group() as tasks:
                for _ in range(10):
                    tasks.start_soon(client.um_account)

        threads = [threading.Thread(target=anyio.run, args=(poll, number)) for number in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert pm.budget.snapshot()[0].used == pm.exchange.used("papi") == 100
