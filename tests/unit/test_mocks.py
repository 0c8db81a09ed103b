"""Mocks of httpx with either engine: a test of a user's program never reaches the exchange."""

from __future__ import annotations

import functools
from typing import Any

import httpx
import pytest
import respx

from binance_pm import Client, ConfigurationError, ConnectError, PortfolioMarginError, Session
from binance_pm.budget import Budget
from binance_pm.testing import Sandbox
from binance_pm.transport.mocks import replaced
from tests.support.raw_server import always, answering, http, serve_raw, silent

KEY = "k" * 64
URL = "https://papi.binance.com/papi/v1/ping"
PATCHES = [
    "httpx.AsyncHTTPTransport.handle_async_request",
    "httpx.AsyncClient.send",
    "httpx.AsyncClient._send_single_request",
]


def fresh() -> Session:
    """Return a session that chooses its engine."""
    return Session(budget=Budget())


def respx_by(name: str) -> respx.MockRouter:
    """Return a router of respx that replaces that library."""
    router = respx.mock(using=name, assert_all_called=False)
    router.get(URL).mock(httpx.Response(200, json={}))
    return router


def patch(monkeypatch: pytest.MonkeyPatch, target: str) -> list[str]:
    """Let a function respond instead of one of httpx, as pytest-httpx and many tests do; return the called URLs."""
    seen: list[str] = []

    async def answer(_: object, request: httpx.Request, **options: object) -> httpx.Response:
        del options
        seen.append(str(request.url))
        return httpx.Response(200, json={}, request=request)

    monkeypatch.setattr(target, answer)
    return seen


class TestRespx:
    """The usual mock, in both of its variants."""

    @pytest.mark.parametrize("using", ["httpcore", "httpx"])
    async def test_is_used_when_the_session_opens(self, using: str) -> None:
        """The engine is httpx then."""
        with respx_by(using) as router:
            async with fresh() as session, Client(session=session) as client:
                await client.ping()
                assert session.engine == "httpx"
            assert router.calls.call_count == 1

    @pytest.mark.parametrize("using", ["httpcore", "httpx"])
    async def test_is_used_when_the_mock_starts_later(self, using: str) -> None:
        """A client that outlives a test gets the mock's responses while the mock is active."""
        with serve_raw(answering(http(b"{}"))) as server:
            async with fresh() as session, Client(session=session, papi_url=server.url) as client:
                assert session.engine == "direct"
                with respx.mock(using=using) as router:
                    route = router.get(f"{server.url}/papi/v1/ping").mock(httpx.Response(200, json={}))
                    await client.ping()
                    assert (route.call_count, len(server.connections)) == (1, 0)
                await client.ping()
                assert len(server.connections) == 1

    @pytest.mark.parametrize("using", ["httpcore", "httpx"])
    async def test_an_unknown_request_is_not_sent(self, using: str) -> None:
        """The mock raises its own error."""
        with serve_raw(silent) as server:
            async with fresh() as session, Client(session=session, papi_url=server.url, attempts=1) as client:
                with respx_by(using), pytest.raises(PortfolioMarginError, match="AllMockedAssertionError"):
                    await client.ping()
            arrived = len(server.connections)

        assert arrived == 0


async def test_a_mock_of_the_whole_class_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such a mock has none of the internals of httpx."""
    seen: list[str] = []

    class Mock(httpx.AsyncBaseTransport):
        def __init__(self, **options: object) -> None:
            del options

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            seen.append(request.url.path)
            return httpx.Response(200, json={}, request=request)

    monkeypatch.setattr(httpx, "AsyncHTTPTransport", Mock)
    async with fresh() as session, Client(session=session) as client:
        await client.ping()

    assert seen == ["/papi/v1/ping"]


@pytest.mark.parametrize("target", PATCHES)
class TestPatched:
    """A function of a test that replaces one of httpx."""

    async def test_is_called_when_the_session_opens(self, target: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """With the complete URL, so that requests can be distinguished."""
        seen = patch(monkeypatch, target)
        async with fresh() as session, Client(session=session) as client:
            await client.ping()
            assert session.engine == "httpx"

        assert seen == [URL]

    async def test_is_called_when_the_patch_starts_later(self, target: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """On a session with either engine."""
        for engine in (None, "httpx"):
            async with Session(budget=Budget(), engine=engine) as session, Client(session=session) as client:
                with monkeypatch.context() as context:
                    seen = patch(context, target)
                    await client.ping()
                assert seen == [URL]

    async def test_pins_are_never_ignored(self, target: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Only the direct engine checks pins: neither engine sends anything."""
        pinned = Session(budget=Budget(), pins=["0" * 64])
        async with pinned, Client(session=pinned) as client:
            patch(monkeypatch, target)
            with pytest.raises(ConfigurationError, match="pins"):
                await client.ping()
        with pytest.raises(ConfigurationError, match="pins"):
            await Session(budget=Budget(), pins=["0" * 64]).open()

    async def test_the_direct_engine_can_be_requested(self, target: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """The argument overrides the detection of mocks."""
        seen = patch(monkeypatch, target)
        with serve_raw(answering(http(b"{}"))) as server:
            session = Session(budget=Budget(), engine="direct")
            async with session, Client(session=session, papi_url=server.url) as client:
                await client.ping()

        assert seen == []


def test_a_tracer_is_no_mock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tracer wraps the function and calls it: a traced program keeps its engine."""
    really = httpx.AsyncClient.send

    @functools.wraps(really)
    async def traced(*args: Any, **options: Any) -> httpx.Response:
        return await really(*args, **options)

    monkeypatch.setattr(httpx.AsyncClient, "send", traced)

    assert replaced() == ()


class TestEnvironment:
    """``BINANCE_PM_ENGINE``."""

    @pytest.mark.parametrize(
        ("named", "asked", "engine"),
        [
            ("httpx", None, "httpx"),
            ("direct", None, "direct"),
            ("auto", None, "direct"),
            ("", None, "direct"),
            ("direct", "httpx", "httpx"),
            ("httpx", "direct", "direct"),
            ("httpx", "auto", "direct"),
        ],
    )
    async def test_chooses_if_no_argument_does(
        self, named: str, asked: Any, engine: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The variable is read when the session opens: a module's session may be older than a fixture."""
        session = Session(budget=Budget(), engine=asked)
        monkeypatch.setenv("BINANCE_PM_ENGINE", named)
        async with session, Client() as client:
            assert (session.engine, asked or client.session.engine) == (engine, asked or engine)

    @pytest.mark.parametrize("named", ["fast", "HTTPX", " direct", "none"])
    async def test_has_to_be_a_known_engine(self, named: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """The error names the variable and the possible values."""
        monkeypatch.setenv("BINANCE_PM_ENGINE", named)
        with pytest.raises(ConfigurationError):
            fresh()
        with pytest.raises(ConfigurationError, match="BINANCE_PM_ENGINE"):
            await Client().open()
        assert Session(budget=Budget(), engine="auto")

    async def test_an_impossible_direct_engine_is_attributed_to_the_variable(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The program did not request the engine."""
        monkeypatch.setenv("BINANCE_PM_ENGINE", "direct")
        brought = Session(budget=Budget(), http=httpx.MockTransport(lambda _: httpx.Response(200)))
        with pytest.raises(ConfigurationError, match="BINANCE_PM_ENGINE"):
            await brought.open()


def test_functions_imported_during_a_mock_are_recognised() -> None:
    """The functions of httpx are recognised by their module, not by their first value."""
    with respx_by("httpcore"):
        assert replaced() == ("AsyncConnectionPool.handle_async_request",)
    assert replaced() == ()


@pytest.mark.usefixtures("pm_offline")
class TestOffline:
    """The fixture ``pm_offline``."""

    @pytest.mark.usefixtures("each_engine")
    @pytest.mark.parametrize("http", [None, httpx.AsyncClient], ids=["own", "brought"])
    async def test_keeps_calls_off_the_exchange(self, http: type[httpx.AsyncClient] | None) -> None:
        """Not even its name is looked up, and the error names the fixture."""
        session = Session(budget=Budget(), http=http and http())
        async with session, Client(session=session, attempts=1) as client:
            with pytest.raises(ConnectError, match="pm_offline"):
                await client.ping()

    @pytest.mark.usefixtures("each_engine")
    async def test_holds_for_open_connections(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A client may have connected before the test."""

        def is_elsewhere(_: str) -> bool:
            return False

        with serve_raw(always(http(b"{}"))) as server:
            session = Session(budget=Budget())
            async with session, Client(session=session, papi_url=server.url, attempts=1) as client:
                await client.ping()
                monkeypatch.setattr("binance_pm.transport.mocks.is_loopback", is_elsewhere)
                with pytest.raises(ConnectError, match="pm_offline"):
                    await client.ping()
                assert session.budget.snapshot()[0].in_flight == 0

    @pytest.mark.usefixtures("each_engine")
    async def test_leaves_the_local_exchange_reachable(self, pm_sandbox: Sandbox) -> None:
        """The local exchange runs on this machine."""
        async with pm_sandbox.client() as client:
            await client.um_account()

    @pytest.mark.parametrize("using", ["httpcore", "httpx"])
    async def test_leaves_mocks_alone(self, using: str) -> None:
        """Mocks send nothing."""
        with respx_by(using) as router:
            async with Client() as client:
                await client.ping()
            assert router.calls.call_count == 1
