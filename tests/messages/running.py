"""For the sections about a running program: waits that are too long, closed sessions, and everything that is logged."""

# Imports that this module does not use are for the sections of messages.txt.
# pyright: reportUnusedImport=false
from __future__ import annotations

import asyncio
import json
import os
import runpy
import sys
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, ExitStack, closing, suppress
from decimal import Decimal
from email.utils import formatdate
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import anyio
import httpx

import binance_pm.version
from binance_pm import Budget, Client, PortfolioMarginError, Session
from binance_pm.api.account import UmAsset
from binance_pm.budget.shared import SharedBudget
from binance_pm.cli.hook import Hook
from binance_pm.cli.watch import dispatch
from binance_pm.declaration import EndpointGroup, get, post
from binance_pm.endpoint import ENDPOINTS, Registry, Weights
from binance_pm.fleet import Fleet, Fresh, Member, Publisher
from binance_pm.fleet.relay.subscribe import StreamReader
from binance_pm.limits import LimitType
from binance_pm.metrics import Metrics
from binance_pm.paging import ById
from binance_pm.resolution import ByClientId
from tests.messages.arguments import HTTP
from tests.messages.fleet import AT
from tests.messages.responses import DATE, Respond, client_of, ping
from tests.messages.stage import KEY, SECRET, Stage, errors_of
from tests.support.clocks import FakeClock, ManualClock, settled
from tests.support.raw_server import refusing_port
from tests.support.relay_streams import beside
from tests.support.sample import sample_of
from tests.support.valkey import free_port, serving_port
from tests.support.waiting import wait_until

PAPI = "https://papi.binance.com"
FRESH = Fresh(at=AT, label="desk", age=1.0)
WITHOUT_JSON = Fresh(at=AT, label="desk", age=object())  # type: ignore[arg-type] - not JSON on purpose


def answer(used: int = 1, status: int = 200, **headers: str) -> Respond:
    """Give every request the same response."""
    told = {"date": DATE, "x-mbx-used-weight-1m": str(used)} | {k.replace("_", "-"): v for k, v in headers.items()}
    return lambda _: httpx.Response(status, headers=told, json={})


def using(desk: Client, weight: int, method: Any = "GET", **options: Any) -> Callable[[], Any]:
    """Return a call of some weight."""
    return partial(desk.request, method, "/papi/v1/x", weight=weight, returns=dict[str, Any], **options)


async def spend(weights: list[int], respond: Respond, *, bans: Path | None = None, **options: Any) -> object:
    """Make calls of some weights, one after another, whatever becomes of each."""
    clock = FakeClock()
    budget = Budget(monotonic=clock, wall=clock, sleep=clock.sleep, bans=bans)
    session = Session(http=httpx.MockTransport(respond), budget=budget)
    async with Client(KEY, SECRET, label="desk", session=session, attempts=1, **options) as desk:
        return await errors_of(*(using(desk, weight) for weight in weights))


async def mistaken() -> object:
    """Make calls whose weight is not what the exchange counts."""
    counts = iter([2, 4, 6, 8, *range(14, 100, 6)])
    return await spend([6] * 4 + [2] * 12, lambda asked: answer(next(counts))(asked))  # noqa: PLW0108 - each call takes the next number


async def waiting() -> object:
    """Make calls that wait behind one without a response."""
    clock, said = ManualClock(), list[object]()
    began = anyio.Event()

    async def respond(asked: httpx.Request) -> httpx.Response:
        if asked.method == "POST":
            began.set()
            await anyio.sleep_forever()
        return answer()(asked)

    async def call(client: Client, weight: int) -> None:
        said.extend(await errors_of(using(client, weight, "POST")))

    budget = Budget(monotonic=clock, wall=clock, sleep=clock.sleep)
    session = Session(http=httpx.MockTransport(respond), budget=budget)
    patient = Client(KEY, SECRET, label="desk", session=session, max_wait=5.0)
    hurried = Client(KEY, SECRET, label="hurried", session=session, max_wait=0.0)
    async with patient, hurried, anyio.create_task_group() as tasks:
        await patient.ping()
        tasks.start_soon(call, patient, 5000)
        await began.wait()
        tasks.start_soon(call, patient, 2000)
        await settled()
        await call(hurried, 1)
        await clock.advance(5.0)
        tasks.cancel_scope.cancel()
    return said


async def turned() -> None:
    """Report a count that falls in the middle of a minute, and then is not reset at its turn."""
    clock, counts = FakeClock(), iter([500, 2, 2, 4, 6])

    def respond(_: httpx.Request) -> httpx.Response:
        used = {"date": formatdate(clock.now, usegmt=True), "x-mbx-used-weight-1m": str(next(counts))}
        return httpx.Response(200, headers=used, json={})

    async with client_of(httpx.MockTransport(respond), clock) as desk:
        for weight, seconds in ((500, 5.0), (2, 70.0), (2, 0.0), (2, 0.0), (2, 0.0)):
            await using(desk, weight)()
            clock.now += seconds


async def late() -> object:
    """Send a call long after it got its weight."""
    clock = FakeClock()

    async def sign(_: bytes) -> str:
        clock.now += 3600
        await using(other, 1, security="NONE")()
        return "x"

    budget = Budget(monotonic=clock, wall=clock, sleep=clock.sleep)
    session = Session(http=httpx.MockTransport(answer()), budget=budget)
    other, desk = Client(session=session), Client(KEY, sign, label="desk", session=session, attempts=1)
    async with other, desk:
        return await desk.span_account()


async def banned(bans: Path) -> object:
    """Be banned, and end the program; without a file that can be written, the ban is not kept."""
    return [await spend([1], answer(status=418, retry_after="300"), bans=bans), await spend([1], answer(), bans=bans)]


def gate(bans: Path | str) -> None:
    """Read a file of bans."""
    Budget(bans=bans).gate(PAPI)


async def closed_client() -> object:
    """Use a client that is not open, open twice, and closed."""
    desk = client_of(HTTP, FakeClock())
    return await errors_of(desk.ping, desk.open, desk.open, desk.aclose, desk.ping, desk.open)


async def closed_session() -> object:
    """Use a client on a session that was closed, and open that session again."""
    session = Session(http=HTTP, budget=Budget())
    async with Client(session=session) as client:
        return await errors_of(session.aclose, client.ping, session.open)


async def closed_in_between() -> object:
    """Close a session while calls wait and are under way."""
    began = anyio.Event()

    async def respond(_: httpx.Request) -> NoReturn:
        began.set()
        await anyio.sleep_forever()
        raise AssertionError

    said: list[object] = []
    session = Session(http=httpx.MockTransport(respond), budget=Budget())

    async def call(client: Client, weight: int) -> None:
        said.extend(await errors_of(using(client, weight, "POST")))

    async with Client(KEY, SECRET, label="desk", session=session) as desk, anyio.create_task_group() as tasks:
        tasks.start_soon(call, desk, 5000)
        await began.wait()
        tasks.start_soon(call, desk, 900)
        await anyio.wait_all_tasks_blocked()
        await session.aclose()
    return sorted(said, key=str)


async def elsewhere() -> object:
    """Use a session, a client and a fleet on another event loop than their own."""
    session = Session(http=HTTP, budget=Budget())
    desk = Client(KEY, SECRET, label="desk", session=session)

    async def watch() -> None:
        fleet.watch()

    async def leave() -> None:
        await fleet.__aexit__(None, None, None)

    async with Fleet([Member(desk)]) as fleet:
        events = fleet.watch()
        acts = (desk.ping, session.open, session.aclose, desk.aclose, leave, watch, events.__anext__)
        return await asyncio.to_thread(asyncio.run, errors_of(*acts))


async def other_process(stage: Stage) -> object:
    """Use a session in another process than its own, and one that a child process has inherited."""
    session = Session(http=HTTP, budget=Budget())
    async with Client(session=session) as client:
        with stage.patch.context() as patch:
            patch.setattr(os, "getpid", lambda: 1)
            errors = await errors_of(client.ping)
        session.abandon("opened in another process")
        return errors + await errors_of(client.ping)


async def fleets() -> object:
    """Use a fleet that is not open, open twice, and closed."""
    fleet = Fleet([Member(client_of(HTTP, FakeClock()))])

    async def budget() -> None:
        assert fleet.budget

    async def close() -> None:
        await fleet.__aexit__(None, None, None)

    async def watch() -> None:
        fleet.watch(warn="much")

    async def watched() -> None:
        events = fleet.watch()
        await fleet.__aenter__()
        await anext(events)

    return await errors_of(budget, fleet.__aenter__, watch, watched, close, budget, fleet.__aenter__)


async def listeners() -> object:
    """Call listeners that fail."""

    def fail(_: object) -> NoReturn:
        raise ZeroDivisionError

    now = FakeClock()
    session = Session(http=httpx.MockTransport(answer(status=429)), budget=Budget(monotonic=now, wall=now))
    session.add_listener(fail)
    session.budget.add_listener(fail)
    async with Client(session=session, attempts=1) as client:
        return await client.ping()


async def mocked(stage: Stage) -> object:
    """Use a session with pins while httpx is mocked: one that is already open, and one that is opened."""

    async def mock(*_: object) -> httpx.Response:
        return httpx.Response(200, json={})

    async with Session(pins=["aa" * 32], budget=Budget()) as session, Client(session=session) as client:
        stage.patch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", mock)
        return await errors_of(client.ping, Session(pins=["aa" * 32]).open)


async def no_threads(stage: Stage) -> object:
    """Look up a name without being able to start a thread."""
    with stage.patch.context() as patch:
        Stage(stage.folder, patch).fails(threading.Thread, "start", RuntimeError())
        return await errors_of(partial(ping, "https://papi.example"))


async def watched(stage: Stage, respond: Callable[[], object]) -> object:
    """Watch a fleet whose client responds so."""

    async def call(*_: object) -> object:
        return respond()

    stage.patch.setattr(Client, "call", call)
    async with Fleet([Member(client_of(HTTP, FakeClock()), read=("account",))]) as fleet:
        event = await anext(fleet.watch())
        return f"{type(event).__name__} {getattr(event, 'error', '')}"


def implausible() -> object:
    """Return an account with a figure that no exchange has."""
    account = ENDPOINTS["account"].decode(json.dumps(sample_of("account")["answer"]).encode())
    held = {name: getattr(account, name) for name in account.__struct_fields__}
    return type(account)(**held | {"uni_mmr": Decimal("1E+999")})


async def hooked(hook: Hook, event: Fresh = FRESH, events: int = 1, *, leaves: bool = False) -> None:
    """Tell a command of events; the watch ends when the command has failed, at once, or while the command runs."""
    async with hook.running():
        for _ in range(events):
            hook.receive(event)
        if leaves:
            await anyio.sleep(0.1)
        elif events == 1:
            await asyncio.to_thread(wait_until, lambda: bool(hook.failures))


async def vanishing(stage: Stage) -> None:
    """Tell a command whose program is gone."""
    program = stage.file("#!/bin/sh\n", mode=0o700)
    hook = Hook(str(program))
    program.unlink()
    await hooked(hook)


async def receivers() -> None:
    """Dispatch an event to a receiver that fails."""

    def fail(_: object) -> NoReturn:
        raise ZeroDivisionError

    async def events() -> AsyncGenerator[Fresh, None]:
        yield FRESH

    await dispatch(events(), [fail])


def unpublished() -> None:
    """Publish to a server that does not respond, and an event that cannot be written."""
    with refusing_port() as port, Publisher(f"redis://127.0.0.1:{port}") as publisher:
        publisher.receive(FRESH)
        publisher.receive(WITHOUT_JSON)
        wait_until(lambda: publisher.is_store_lost)


async def unserved() -> None:
    """Serve metrics on a port that is in use."""
    with refusing_port() as port:
        async with Metrics().serve(host="127.0.0.1", port=port):
            pass


async def scraped(line: str = "GET /metrics HTTP/1.1", *, fails: bool = False) -> object:
    """Return the response to a scrape."""

    def fail() -> NoReturn:
        raise ZeroDivisionError

    async with AsyncExitStack() as stack:
        metrics = Metrics()
        if fails:
            metrics.watch(await stack.enter_async_context(Fleet([Member(client_of(HTTP, FakeClock()))])))
            metrics.registry.collect = fail
        with refusing_port() as port:
            pass
        await stack.enter_async_context(metrics.serve(host="127.0.0.1", port=port))
        stream = await stack.enter_async_context(await anyio.connect_tcp("127.0.0.1", port))
        await stream.send(f"{line}\r\n\r\n".encode())
        said = b""
        with suppress(anyio.EndOfStream):
            while True:
                said += await stream.receive()
        return (said.partition(b"\r\n\r\n")[2] or said).decode()


async def shared(budget: Budget, respond: Respond = lambda _: httpx.Response(200, json={})) -> None:
    """Make a call with a shared budget."""
    session = Session(http=httpx.MockTransport(respond), budget=budget)
    async with Client(KEY, SECRET, label="desk", session=session, attempts=1) as desk:
        with suppress(PortfolioMarginError):
            await using(desk, 1)()


def stores(stage: Stage) -> object:
    """Use a publisher, a reader and a shared budget while their store goes and comes back."""
    stage.is_unordered = True
    port = free_port()
    url = f"redis://127.0.0.1:{port}"
    with ExitStack() as stack:
        server = stack.enter_context(ExitStack())
        server.enter_context(serving_port(port))
        reader = stack.enter_context(closing(StreamReader(url, group="g", stream="one")))
        reader.open()
        publisher = stack.enter_context(Publisher(url, stream="one"))
        first, second = (SharedBudget(url, limits={("papi", LimitType.IP): n}, bans=None) for n in (6000, 3000))
        stack.callback(first.close)
        stack.callback(second.close)
        for budget in (first, second, first):
            asyncio.run(shared(budget))
        asyncio.run(shared(first, lambda _: httpx.Response(429, headers={"retry-after": "200"})))
        wait_until(lambda: second.gate(PAPI).wait(second.monotonic()) > 0)
        server.close()
        publisher.receive(FRESH)
        reader.read()
        wait_until(lambda: publisher.is_store_lost)
        wait_until(lambda: first.is_store_lost)
        server.enter_context(serving_port(port))
        wait_until(lambda: not publisher.waiting)
        wait_until(lambda: bool(reader.read()))
        with beside(url) as client:
            client.xadd("binance-pm:{one}:events", {"colour": "red"}, id="9999999999999-1")
            reader.read()
            client.xgroup_destroy("binance-pm:{one}:events", "g")
        reader.read()
        with closing(StreamReader(url, group="g", stream="one")) as other:
            other.open()
            return reader.read()


async def lost() -> None:
    """Make a call with a shared budget whose store does not respond."""
    with refusing_port() as port, closing(SharedBudget(f"redis://127.0.0.1:{port}", bans=None)) as budget:
        await shared(budget, answer())


async def rows(
    self: object,
    symbol: str,
    *,
    limit: int | None = None,
    from_id: int | None = None,
    start_time: int | None = None,
    end_time: int | None = None,
) -> list[UmAsset]:
    """A method to be declared."""
    raise NotImplementedError((self, symbol, limit, from_id, start_time, end_time))


async def anything(self: object, **options: Any) -> UmAsset:
    """A method that does not say what it takes."""
    raise NotImplementedError((self, options))


async def one(self: object) -> UmAsset:
    """A method that returns one object."""
    raise NotImplementedError(self)


async def optional(self: object, *, check: bool = True, resolve: bool | None = None) -> UmAsset:
    """A method with both call options."""
    raise NotImplementedError((self, check, resolve))


def declaring(*, times: int = 1, verb: Any = get, method: Any = rows, **facts: Any) -> Registry:
    """Declare an endpoint, also in contradiction to itself."""
    registry = Registry()
    for _time in range(times):
        decorated = verb("/papi/v1/ping", **facts)(method)
        type("Things", (EndpointGroup,), {"thing": decorated}, registry=registry)
    list(registry.values())
    return registry


def importing(stage: Stage, module: str, missing: str) -> object:
    """Import a module that needs an extra."""
    stage.without(missing)
    stage.patch.delitem(sys.modules, module, raising=False)
    return import_module(module)


def old_python(stage: Stage) -> object:
    """Run a Python that is too old."""
    stage.patch.setattr(sys, "version_info", (3, 10, 1))
    try:
        return runpy.run_path(binance_pm.version.__file__)
    except SystemExit as ended:
        return ended.code
