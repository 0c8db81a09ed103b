"""A client in another event loop, thread or process than the one in which it was opened."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import stat
import threading
import warnings
from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import pytest
import trio
import uvloop

from binance_pm import Client, Session, SessionClosed
from binance_pm.budget import Budget
from binance_pm.fleet import Fleet, Member
from binance_pm.session import shared_session
from binance_pm.testing import Sandbox
from tests.support.certificates import Authority
from tests.support.raw_server import RawServer, http, read_request, serve_raw

pytestmark = pytest.mark.usefixtures("each_engine")

KEY = "k" * 64

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a coroutine on its own event loop."""
    return request.param


async def awaited(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Await a coroutine that was created before."""
    return await coroutine


def run_on_trio(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine with trio."""
    return trio.run(awaited, coroutine)


@pytest.fixture
def collected() -> Generator[None, None, None]:
    """Collect what an ended event loop left open here, not in another test."""
    yield
    gc.collect()


leaves_open = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


class Counting:
    """Answers every request, and counts arrivals."""

    def __init__(self) -> None:
        self.heads: list[bytes] = []
        self.arrived = threading.Event()
        self.may_answer = threading.Event()
        self.may_answer.set()

    def __call__(self, connection: socket.socket) -> None:
        """Serve one connection."""
        with suppress(OSError):
            while head := read_request(connection):
                self.heads.append(head)
                self.arrived.set()
                self.may_answer.wait(10)
                connection.sendall(http(b"{}"))


def client_of(server: RawServer, session: Session | None = None) -> Client:
    """Return a client of the server with its own budget."""
    return Client(KEY, "s", papi_url=server.url, session=session or Session(budget=Budget()))


async def order(client: Client) -> dict[str, Any]:
    """Send a request that must not be sent twice."""
    return await client.request("POST", "/papi/v1/um/order", weight=1, returns=dict[str, Any])


def in_thread(run: Run, main: Callable[[], Coroutine[Any, Any, Any]]) -> object:
    """Run a coroutine on another event loop in another thread, and return its result or error."""
    results: list[object] = []

    def work() -> None:
        try:
            results.append(run(main()))
        except SessionClosed as error:
            results.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return results[0]


class TestEventLoop:
    """A second event loop."""

    @leaves_open
    @pytest.mark.usefixtures("collected")
    @pytest.mark.parametrize("run", [asyncio.run, uvloop.run, run_on_trio])
    def test_a_client_of_an_ended_loop(self, run: Run) -> None:
        """Nothing is sent or spent; the client can still be closed."""
        behave = Counting()
        with serve_raw(behave) as server:
            budget = Budget()
            client = client_of(server, Session(budget=budget))

            async def first() -> None:
                await client.open()
                await order(client)

            async def second() -> None:
                for _ in range(2):
                    with pytest.raises(SessionClosed, match="POST"):
                        await order(client)
                assert budget.snapshot()[0].used == 1
                await client.aclose()
                await client.aclose()
                with pytest.raises(SessionClosed):
                    await order(client)

            run(first())
            run(second())
            assert len(behave.heads) == 1

    def test_a_session_without_clients_opens_on_the_next_loop(self, run: Run) -> None:
        """The session is open only while a client is open on it."""
        behave = Counting()
        with serve_raw(behave) as server:
            session = Session(budget=Budget())

            async def main() -> None:
                async with Client(KEY, "s", papi_url=server.url, session=session) as client:
                    await order(client)

            run(main())
            run(main())

        assert len(behave.heads) == 2

    @leaves_open
    @pytest.mark.usefixtures("collected")
    def test_each_loop_has_its_own_shared_session(self, run: Run) -> None:
        """A client left open on an ended loop does not block other loops."""
        with serve_raw(Counting()) as server:
            left = Client(KEY, "s", papi_url=server.url)

            async def main(client: Client) -> None:
                await client.open()
                assert not shared_session().is_closed

            run(main(left))
            run(main(Client(KEY, "s", papi_url=server.url)))


class TestThread:
    """An event loop in another thread, while the first one runs."""

    async def test_calls_are_refused_and_the_first_loop_continues(self, run: Run) -> None:
        """On the same connection, as if no other loop had tried."""
        behave = Counting()
        with serve_raw(behave) as server:
            async with client_of(server) as client:
                await order(client)
                for attempt in (lambda: order(client), client.aclose, client.session.aclose, client.session.open):
                    raised = await anyio.to_thread.run_sync(in_thread, run, attempt)
                    assert "opened on another event loop" in str(raised)
                await order(client)
                assert (len(behave.heads), len(server.connections)) == (2, 1)

    async def test_another_client_does_not_open_the_session_there(self, run: Run) -> None:
        """The client fails when opened, not at its first call."""
        with serve_raw(Counting()) as server:
            async with Session(budget=Budget()) as session:
                other = Client(KEY, "s", papi_url=server.url, session=session)
                raised = await anyio.to_thread.run_sync(in_thread, run, other.open)
                assert "the session was opened on another event loop" in str(raised)
                async with other:
                    await order(other)

    async def test_a_call_in_flight_is_not_disturbed(self, run: Run) -> None:
        """Its response arrives at its own loop."""
        behave = Counting()
        behave.may_answer.clear()
        with serve_raw(behave) as server:
            async with client_of(server) as client, anyio.create_task_group() as tasks:
                tasks.start_soon(order, client)
                await anyio.to_thread.run_sync(behave.arrived.wait, 10)
                raised = await anyio.to_thread.run_sync(in_thread, run, client.aclose)
                assert "it stays open" in str(raised)
                behave.may_answer.set()
            assert len(behave.heads) == 1

    async def test_a_fleet(self, run: Run, pm: Sandbox) -> None:
        """The fleet can neither be watched nor left from another event loop; its own loop continues."""
        async with pm.session() as session, Fleet([Member(pm.client(session=session))]) as fleet:
            events = fleet.watch()
            await anext(events)

            async def take() -> None:
                await anext(events)

            async def watch() -> None:
                fleet.watch()

            async def leave() -> None:
                await fleet.__aexit__(None, None, None)

            for attempt in (take, watch, leave):
                raised = await anyio.to_thread.run_sync(in_thread, run, attempt)
                assert "opened on another event loop" in str(raised)
            await anext(events)
            assert fleet.snapshot()


@leaves_open
@pytest.mark.usefixtures("collected")
def test_a_fleet_of_an_ended_loop_can_be_left(run: Run) -> None:
    """Its tasks ended with the loop."""
    with serve_raw(Counting()) as server:
        fleet = Fleet([Member(client_of(server))])

        async def second() -> None:
            await fleet.__aexit__(None, None, None)
            with pytest.raises(SessionClosed):
                fleet.watch()

        run(fleet.__aenter__())
        run(second())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
class TestFork:
    """A child process with copies of its parent's connections."""

    def child_says(self, work: Callable[[], object]) -> str:
        """Return the output of a child of this process."""
        reading, writing = os.pipe()
        with warnings.catch_warnings():
            # The servers of the tests run in threads.
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            # The child ends even if it hangs, as the parent waits for it.
            signal.alarm(20)
            try:
                said = repr(work())
            except BaseException as error:  # noqa: BLE001 - reported to the parent process
                said = repr(error)
            os.write(writing, said.encode())
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as answer:
            said = answer.read()
        os.waitpid(child, 0)
        return said

    @pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
    @pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
    def test_the_child_is_refused_and_the_parent_continues(
        self, factory: Callable[[], asyncio.AbstractEventLoop], tmp_path: Path, *, secure: bool
    ) -> None:
        """The child sends no byte, whatever it does with the client; the parent keeps its connection."""
        authority = Authority(tmp_path)
        behave = Counting()
        tls = authority.server(authority.issue()) if secure else None
        with serve_raw(behave, tls=tls) as server, asyncio.Runner(loop_factory=factory) as runner:
            session = Session(budget=Budget(), tls=authority.client())
            client = client_of(server, session)
            runner.run(client.open())
            runner.run(order(client))

            async def close() -> str:
                await client.aclose()
                await session.aclose()
                return repr(session)

            for main in (lambda: order(client), session.open, client.open):
                for work in (lambda: asyncio.run(main()), lambda: runner.run(main())):  # noqa: B023 - called at once
                    said = self.child_says(work)
                    assert "opened in another process" in said or "the client is open" in said, said
            for work in (lambda: asyncio.run(close()), lambda: runner.run(close())):
                assert "Session(closed" in self.child_says(work)

            runner.run(order(client))
            runner.run(client.aclose())
            assert (len(behave.heads), len(server.connections)) == (2, 1)

    def test_the_child_holds_no_connection(self, run: Run) -> None:
        """The server notices the parent's end, and the child cannot write to the connection."""
        with serve_raw(Counting()) as server:

            async def main() -> None:
                async with client_of(server) as client:
                    await order(client)
                    port = urlsplit(server.url).port
                    assert port in peer_ports()
                    assert self.child_says(lambda: port in peer_ports()) == "False"
                    await order(client)

            run(main())

    def test_a_call_in_flight_belongs_to_the_parent(self, run: Run) -> None:
        """The child does not read its response."""
        behave = Counting()
        behave.may_answer.clear()
        with serve_raw(behave) as server:

            async def main() -> None:
                async with client_of(server) as client, anyio.create_task_group() as tasks:
                    tasks.start_soon(order, client)
                    await anyio.to_thread.run_sync(behave.arrived.wait, 10)
                    said = self.child_says(lambda: in_thread(asyncio.run, lambda: order(client)))
                    behave.may_answer.set()
                    assert "opened in another process" in said
                    await order(client)

            run(main())
            assert len(behave.heads) == 2

    def test_the_child_opens_its_own_client(self, run: Run) -> None:
        """In the same program, without a session too."""
        behave = Counting()
        with serve_raw(behave) as server:

            async def call() -> str:
                async with Client(KEY, "s", papi_url=server.url) as client:
                    return repr(await order(client))

            async def main() -> None:
                async with Client(KEY, "s", papi_url=server.url) as client:
                    await order(client)
                    assert "{}" in self.child_says(lambda: in_thread(asyncio.run, call))
                    await order(client)

            run(main())
            assert (len(behave.heads), len(server.connections)) == (3, 2)


def peer_ports() -> list[int]:
    """Return the ports to which sockets of this process are connected."""
    ports: list[int] = []
    for descriptor in range(1024):
        with suppress(OSError):
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                with socket.socket(fileno=os.dup(descriptor)) as copy:
                    if copy.family in {socket.AF_INET, socket.AF_INET6}:
                        ports.append(copy.getpeername()[1])
    return ports
