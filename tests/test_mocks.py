"""Mocks of httpx and the engine: a test of a user's program never reaches the exchange by the side of them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Literal

import httpx
import pytest
import respx

from binance_pm import Client, ConfigurationError, ConnectError, PortfolioMarginError, Session
from binance_pm.budget import Budget
from binance_pm.testing import Sandbox
from binance_pm.transport.httpx import replaced
from tests.raw_server import always, answering, http, serve_raw, silent

KEY = "k" * 64
URL = "https://papi.binance.com/papi/v1/ping"
PATCHES = [
    "httpx.AsyncHTTPTransport.handle_async_request",
    "httpx.AsyncClient.send",
    "httpx.AsyncClient._send_single_request",
]


def fresh() -> Session:
    """A session that chooses by itself."""
    return Session(budget=Budget())


def respx_by(name: str) -> respx.MockRouter:
    """A router of respx that takes the place of that library."""
    router = respx.mock(using=name, assert_all_called=False)
    router.get(URL).mock(httpx.Response(200, json={}))
    return router


def patched(target: str) -> Callable[[pytest.MonkeyPatch], list[str]]:
    """Have a function answer in the place of one of httpx, as pytest-httpx and many tests do."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> list[str]:
        seen: list[str] = []

        async def answer(_: object, request: httpx.Request, **options: object) -> httpx.Response:
            del options
            seen.append(str(request.url))
            return httpx.Response(200, json={}, request=request)

        monkeypatch.setattr(target, answer)
        return seen

    return patch


class TestRespx:
    """The usual mock, in both of its ways."""

    @pytest.mark.parametrize("using", ["httpcore", "httpx"])
    async def test_stands_in_when_the_session_opens(self, using: str) -> None:
        """The engine is httpx then."""
        with respx_by(using) as router:
            async with fresh() as session, Client(session=session) as client:
                await client.ping()
                assert session.engine == "httpx"
            assert router.calls.call_count == 1

    @pytest.mark.parametrize("using", ["httpcore", "httpx"])
    async def test_stands_in_when_it_begins_later(self, using: str) -> None:
        """A client that lives longer than a test is answered by the mock as long as there is one."""
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
    async def test_what_is_not_mocked_is_not_sent(self, using: str) -> None:
        """The mock is asked, and says so."""
        with serve_raw(silent) as server:
            async with fresh() as session, Client(session=session, papi_url=server.url, attempts=1) as client:
                with respx_by(using), pytest.raises(PortfolioMarginError, match="AllMockedAssertionError"):
                    await client.ping()
            arrived = len(server.connections)

        assert arrived == 0


async def test_a_mock_of_the_whole_class_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has nothing of what httpx keeps inside."""
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
    """A function of a test in the place of one of httpx."""

    async def test_is_called_when_the_session_opens(self, target: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """With the whole URL, so that it can tell requests apart."""
        seen = patched(target)(monkeypatch)
        async with fresh() as session, Client(session=session) as client:
            await client.ping()
            assert session.engine == "httpx"

        assert seen == [URL]

    async def test_is_called_when_it_begins_later(self, target: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Also on a session of the direct engine, and of the httpx engine."""
        for engine in (None, "httpx"):
            async with Session(budget=Budget(), engine=engine) as session, Client(session=session) as client:
                with monkeypatch.context() as patch:
                    seen = patched(target)(patch)
                    await client.ping()
                assert seen == [URL]

    async def test_pins_are_never_ignored(self, target: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Only the direct engine checks them: nothing is sent, by either."""
        pinned = Session(budget=Budget(), pins=["0" * 64])
        async with pinned, Client(session=pinned) as client:
            patched(target)(monkeypatch)
            with pytest.raises(ConfigurationError, match="pins"):
                await client.ping()
        with pytest.raises(ConfigurationError, match="pins"):
            await Session(budget=Budget(), pins=["0" * 64]).open()

    async def test_the_direct_engine_can_be_asked_for(self, target: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """The argument has the last word."""
        seen = patched(target)(monkeypatch)
        with serve_raw(answering(http(b"{}"))) as server:
            session = Session(budget=Budget(), engine="direct")
            async with session, Client(session=session, papi_url=server.url) as client:
                await client.ping()

        assert seen == []


def test_what_traces_a_client_is_no_mock(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what it wraps, and calls it: a program that is traced keeps its engine."""
    really = httpx.AsyncClient.send

    @functools.wraps(really)
    async def traced(*args: Any, **options: Any) -> httpx.Response:
        return await really(*args, **options)

    monkeypatch.setattr(httpx.AsyncClient, "send", traced)

    assert replaced() == ()


class TestEnvironment:
    """``BINANCE_PM_ENGINE``."""

    @pytest.mark.parametrize(
        ("named", "engine"), [("httpx", "httpx"), ("direct", "direct"), ("auto", "direct"), ("", "direct")]
    )
    async def test_chooses(self, named: str, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where no argument does."""
        monkeypatch.setenv("BINANCE_PM_ENGINE", named)
        async with fresh() as session, Client() as client:
            assert (session.engine, client.session.engine) == (engine, engine)

    async def test_is_read_when_the_session_opens(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A session of a module may be older than the fixture that sets it."""
        session = fresh()
        monkeypatch.setenv("BINANCE_PM_ENGINE", "httpx")
        async with session:
            assert session.engine == "httpx"

    @pytest.mark.parametrize("asked", ["httpx", "direct", "auto"])
    async def test_an_argument_wins(
        self, asked: Literal["httpx", "direct", "auto"], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whatever it says."""
        monkeypatch.setenv("BINANCE_PM_ENGINE", "httpx" if asked != "httpx" else "direct")
        async with Session(budget=Budget(), engine=asked) as session:
            assert session.engine == {"auto": "direct"}.get(asked, asked)

    @pytest.mark.parametrize("named", ["fast", "HTTPX", " direct", "none"])
    async def test_has_to_be_one_of_them(self, named: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """The error names the variable and what it may be."""
        monkeypatch.setenv("BINANCE_PM_ENGINE", named)
        with pytest.raises(ConfigurationError, match="BINANCE_PM_ENGINE"):
            fresh()
        with pytest.raises(ConfigurationError, match="BINANCE_PM_ENGINE"):
            await Client().open()
        assert Session(budget=Budget(), engine="auto")

    async def test_says_so_where_the_direct_engine_cannot_be(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It was not the program that asked for it."""
        monkeypatch.setenv("BINANCE_PM_ENGINE", "direct")
        brought = Session(budget=Budget(), http=httpx.MockTransport(lambda _: httpx.Response(200)))
        with pytest.raises(ConfigurationError, match="BINANCE_PM_ENGINE"):
            await brought.open()


def test_what_is_imported_with_a_mock_is_seen_through() -> None:
    """The functions of httpx are known by where they come from, not by what they were at first."""
    context: AbstractContextManager[Any] = respx_by("httpcore")
    with context:
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
    async def test_holds_for_connections_that_are_open(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A client may have called before the test began."""

        def is_elsewhere(_: str) -> bool:
            return False

        with serve_raw(always(http(b"{}"))) as server:
            session = Session(budget=Budget())
            async with session, Client(session=session, papi_url=server.url, attempts=1) as client:
                await client.ping()
                monkeypatch.setattr("binance_pm.transport.local.is_loopback", is_elsewhere)
                with pytest.raises(ConnectError, match="pm_offline"):
                    await client.ping()
                assert session.budget.snapshot()[0].in_flight == 0

    @pytest.mark.usefixtures("each_engine")
    async def test_leaves_the_local_exchange_reachable(self, pm_sandbox: Sandbox) -> None:
        """It is on this machine."""
        async with pm_sandbox.client() as client:
            await client.um_account()

    @pytest.mark.parametrize("using", ["httpcore", "httpx"])
    async def test_leaves_mocks_alone(self, using: str) -> None:
        """They send nothing."""
        with respx_by(using) as router:
            async with Client() as client:
                await client.ping()
            assert router.calls.call_count == 1
