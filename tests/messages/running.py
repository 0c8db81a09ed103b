"""What is said while a program runs: waits that are too long, closed sessions, and everything that is logged."""

from __future__ import annotations

import asyncio
import json
import os
import runpy
import sys
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, ExitStack, closing, suppress
from email.utils import formatdate
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import anyio
import httpx

import binance_pm.version
from binance_pm import Budget, BudgetExceeded, Client, PortfolioMarginError, Session
from binance_pm.api.account import Account
from binance_pm.api.um_account import UmAsset
from binance_pm.budget.shared import SharedBudget
from binance_pm.cli.hook import Hook
from binance_pm.cli.watch import dispatch
from binance_pm.declaration import EndpointGroup, get, post
from binance_pm.endpoint import ENDPOINTS, Registry, Weights
from binance_pm.fleet import Fleet, Fresh, Member, Publisher, decode_event
from binance_pm.fleet.relay.subscribe import StreamReader
from binance_pm.limits import LimitType
from binance_pm.metrics import Metrics
from binance_pm.paging import ById
from tests.messages.responses import DATE, client_of, ping
from tests.messages.stage import KEY, SECRET, Scenario, Stage
from tests.support.clocks import FakeClock, ManualClock, settled
from tests.support.paths import SAMPLES
from tests.support.raw_server import refusing_port
from tests.support.relay_streams import beside, wait_for
from tests.support.valkey import free_port, serving_port

AT = 1_800_000_010.0
Respond = Callable[[httpx.Request], httpx.Response]


def answer(used: int = 1, status: int = 200, **headers: str) -> Respond:
    """The same response to everything."""
    told = {"date": DATE, "x-mbx-used-weight-1m": str(used)} | {k.replace("_", "-"): v for k, v in headers.items()}
    return lambda _: httpx.Response(status, headers=told, json={})


async def spend(weights: list[int], respond: Respond, *, bans: Path | None = None, **options: Any) -> object:
    """Make calls of some weights, one after another, each whatever became of those before."""
    clock = FakeClock()
    budget = Budget(monotonic=clock, wall=clock, sleep=clock.sleep, bans=bans)
    failures: list[object] = []
    session = Session(http=httpx.MockTransport(respond), budget=budget)
    async with Client(KEY, SECRET, label="desk", session=session, attempts=1, **options) as desk:
        for weight in weights:
            try:
                await desk.request("GET", "/papi/v1/x", weight=weight, returns=dict[str, Any])
            except Exception as error:  # noqa: BLE001 - each is shown
                failures.append(error)
    return failures


async def mistaken() -> object:
    """Calls whose weight is not what the exchange counts."""
    counts = iter([2, 4, 6, 8, *range(14, 100, 6)])
    weights = [6] * 4 + [2] * 12
    return await spend(weights, lambda asked: answer(next(counts))(asked))  # noqa: PLW0108 - another one each time


async def waiting() -> object:
    """Calls that wait behind one that is never answered."""
    clock, said = ManualClock(), list[object]()
    began = anyio.Event()

    async def respond(asked: httpx.Request) -> httpx.Response:
        if asked.method == "GET":
            return answer()(asked)
        began.set()
        await anyio.sleep_forever()
        raise AssertionError

    async def call(client: Client, weight: int) -> None:
        try:
            await client.request("POST", "/papi/v1/x", weight=weight, returns=dict[str, Any])
        except BudgetExceeded as error:
            said.append(error)

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


async def turned() -> object:
    """A count that falls in the middle of a minute, and then stays over its turn."""
    clock, counts = FakeClock(), iter([500, 2, 2, 4, 6])
    budget = Budget(monotonic=clock, wall=clock, sleep=clock.sleep)

    def respond(_: httpx.Request) -> httpx.Response:
        used = {"date": formatdate(clock.now, usegmt=True), "x-mbx-used-weight-1m": str(next(counts))}
        return httpx.Response(200, headers=used, json={})

    async with Client(KEY, SECRET, session=Session(http=httpx.MockTransport(respond), budget=budget)) as desk:
        for weight, seconds in ((500, 5.0), (2, 70.0), (2, 0.0), (2, 0.0), (2, 0.0)):
            await desk.request("GET", "/papi/v1/x", weight=weight, returns=dict[str, Any])
            clock.now += seconds
    return None


async def late() -> object:
    """A call that begins to be sent long after its turn had come."""
    clock = FakeClock()

    async def sign(_: bytes) -> str:
        clock.now += 3600
        await budget_user.request("GET", "/papi/v1/y", weight=1, returns=dict[str, Any], security="NONE")
        return "x"

    transport = httpx.MockTransport(answer())
    budget = Budget(monotonic=clock, wall=clock, sleep=clock.sleep)
    session = Session(http=transport, budget=budget)
    budget_user, desk = Client(session=session), Client(KEY, sign, label="desk", session=session, attempts=1)
    async with budget_user, desk:
        return await desk.span_account()


def banned(stage: Stage) -> object:
    """A ban that outlives the program."""
    bans = stage.folder / "bans.json"

    async def act() -> object:
        first = await spend([1], answer(status=418, retry_after="300"), bans=bans)
        return [first, await spend([1], answer(), bans=bans)]

    return act()


def bans(content: bytes | None) -> Scenario:
    """A file of bans that cannot be read, or a folder in its place."""

    def scenario(stage: Stage) -> object:
        path = stage.folder / "bans.json"
        if content is None:
            path.mkdir()
        else:
            path.write_bytes(content)
        return Budget(bans=path).gate("https://papi.binance.com") and None

    return scenario


def unwritable(path: Callable[[Stage], Path]) -> Scenario:
    """A ban that cannot be kept."""
    return lambda stage: spend([1], answer(status=418, retry_after="300"), bans=path(stage))


def homeless(stage: Stage) -> object:
    """The budget of a process whose user has no home directory."""
    stage.patch.delenv("XDG_STATE_HOME", raising=False)

    def fail() -> NoReturn:
        raise RuntimeError

    stage.patch.setattr(Path, "home", fail)
    return import_module("binance_pm.budget.bans").default_path()


async def closed_client() -> object:
    """A client that is not open, open twice, and closed."""
    said: list[object] = []
    desk = client_of(httpx.MockTransport(answer()), FakeClock())
    for act in (desk.ping, desk.open, desk.open, desk.aclose, desk.ping, desk.open):
        try:
            await act()
        except Exception as error:  # noqa: BLE001 - each is shown
            said.append(error)
    return said


async def closed_session() -> object:
    """A client on a session that was closed, and that session opened again."""
    session = Session(http=httpx.MockTransport(answer()), budget=Budget())
    said: list[object] = []
    async with Client(session=session) as client:
        for act in (session.aclose, client.ping, session.open):
            try:
                await act()
            except Exception as error:  # noqa: BLE001 - each is shown
                said.append(error)
    return said


async def closed_in_between() -> object:
    """A session that is closed while calls wait and are under way."""
    began = anyio.Event()

    async def respond(_: httpx.Request) -> httpx.Response:
        began.set()
        await anyio.sleep_forever()
        raise AssertionError

    said: list[object] = []
    session = Session(http=httpx.MockTransport(respond), budget=Budget())

    async def call(client: Client, weight: int) -> None:
        try:
            await client.request("POST", "/papi/v1/x", weight=weight, returns=dict[str, Any])
        except Exception as error:  # noqa: BLE001 - each is shown
            said.append(error)

    async with Client(KEY, SECRET, label="desk", session=session) as desk, anyio.create_task_group() as tasks:
        tasks.start_soon(call, desk, 5000)
        await began.wait()
        tasks.start_soon(call, desk, 900)
        await anyio.wait_all_tasks_blocked()
        await session.aclose()
    return sorted(said, key=str)


def elsewhere(_: Stage) -> object:
    """A session, a client and a fleet that are used on another event loop than their own."""
    session = Session(http=httpx.MockTransport(answer()), budget=Budget())
    desk = Client(KEY, SECRET, label="desk", session=session)
    fleet = Fleet([Member(desk)])
    events: list[Any] = []
    said: list[object] = []

    async def watch() -> None:
        fleet.watch()

    async def leave() -> None:
        await fleet.__aexit__(None, None, None)

    async def use() -> None:
        for act in (desk.ping, session.open, session.aclose, desk.aclose, leave, watch, events[0].__anext__):
            try:
                await act()
            except Exception as error:  # noqa: BLE001 - each is shown
                said.append(error)

    async def own() -> None:
        async with fleet:
            events.append(fleet.watch())
            await asyncio.to_thread(asyncio.run, use())

    asyncio.run(own())
    return said


def other_process(stage: Stage) -> object:
    """A session in another process than its own."""

    async def act() -> object:
        session = Session(http=httpx.MockTransport(answer()), budget=Budget())
        async with Client(session=session) as client:
            with stage.patch.context() as patch:
                patch.setattr(os, "getpid", lambda: 1)
                try:
                    await client.ping()
                except Exception as error:  # noqa: BLE001 - it is shown
                    return error
        return None

    return act()


def abandoned(_: Stage) -> object:
    """A session that a child process has inherited."""

    async def act() -> object:
        session = Session(http=httpx.MockTransport(answer()), budget=Budget())
        async with Client(session=session) as client:
            session.abandon("opened in another process")
            return await client.ping()

    return act()


async def fleets() -> object:
    """A fleet that is not open, open twice, and closed."""
    fleet = Fleet([Member(client_of(httpx.MockTransport(answer()), FakeClock()))])
    said: list[object] = []

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

    for act in (budget, fleet.__aenter__, watch, watched, close, budget, fleet.__aenter__):
        try:
            await act()
        except Exception as error:  # noqa: BLE001 - each is shown
            said.append(error)
    return said


async def listeners() -> object:
    """Listeners that fail."""

    def fail(_: object) -> NoReturn:
        raise ZeroDivisionError

    session = Session(
        http=httpx.MockTransport(answer(status=429)), budget=Budget(monotonic=(now := FakeClock()), wall=now)
    )
    session.add_listener(fail)
    session.budget.add_listener(fail)
    async with Client(session=session, attempts=1) as client:
        return await client.ping()


def mocked(stage: Stage) -> object:
    """A session with pins while httpx is mocked: on opening, and when it is open already."""

    async def mock(*_: object) -> httpx.Response:
        return httpx.Response(200, json={})

    async def act() -> object:
        said: list[object] = []
        async with Session(pins=["aa" * 32], budget=Budget()) as session, Client(session=session) as client:
            stage.patch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", mock)
            for use in (client.ping, Session(pins=["aa" * 32]).open):
                try:
                    await use()
                except Exception as error:  # noqa: BLE001 - each is shown
                    said.append(error)
        return said

    return act()


def no_threads(stage: Stage) -> object:
    """A name to look up where no thread can be started."""

    def fail(_: object) -> NoReturn:
        raise RuntimeError

    async def act() -> object:
        with stage.patch.context() as patch:
            patch.setattr(threading.Thread, "start", fail)
            return await ping("https://papi.example", "direct")

    return act()


def watched(stage: Stage, respond: Callable[[object], object]) -> object:
    """A fleet whose client answers so."""

    async def call(client: object, _endpoint: object, _parameters: object) -> object:
        return respond(client)

    stage.patch.setattr(Client, "call", call)

    async def act() -> object:
        desk = client_of(httpx.MockTransport(answer()), FakeClock())
        async with Fleet([Member(desk, read=("account",))]) as fleet:
            event = await anext(fleet.watch())
            return f"{type(event).__name__} {getattr(event, 'error', '')}"

    return act()


def implausible(_: object) -> Account:
    """An account whose figures no exchange has."""
    text = (SAMPLES / "account.json").read_text(encoding="utf-8")
    account = ENDPOINTS["account"].decode(json.dumps(json.loads(text)["answer"]).encode())
    return type(account)(**{name: getattr(account, name) for name in account.__struct_fields__} | {"uni_mmr": _HUGE})


_HUGE = import_module("decimal").Decimal("1E+999")


async def hooked(script: str, *, longest: float = 20.0, events: int = 1, age: Any = 1.0, leaves: bool = False) -> None:
    """A command that is told of events; the watch ends when it has failed, at once, or when it runs."""
    hook = Hook(script, timeout=longest)
    async with hook.running():
        for _ in range(events):
            hook.receive(Fresh(at=AT, label="desk", age=age))
        if leaves:
            await anyio.sleep(0.1)
        if events == 1 and not leaves:
            await failed(hook)


async def failed(hook: Hook) -> None:
    """Wait for a command to fail."""
    with anyio.fail_after(20):
        while not hook.failures:  # noqa: ASYNC110 - what other processes do wakes nothing here
            await anyio.sleep(0.01)


def vanishing(stage: Stage) -> object:
    """A command whose program is gone."""
    program = stage.file("#!/bin/sh\n", mode=0o700)

    async def act() -> None:
        hook = Hook(str(program))
        program.unlink()
        async with hook.running():
            hook.receive(Fresh(at=AT, label="desk", age=1.0))
            await failed(hook)

    return act()


async def receivers() -> None:
    """A receiver that fails."""

    def fail(_: object) -> None:
        raise ZeroDivisionError

    async def events() -> AsyncGenerator[Fresh, None]:
        yield Fresh(at=AT, label="desk", age=1.0)

    await dispatch(events(), [fail])


def unpublished(_: Stage) -> None:
    """A publisher whose server does not answer, and an event that cannot be written."""
    with refusing_port() as port, Publisher(f"redis://127.0.0.1:{port}") as publisher:
        publisher.receive(Fresh(at=AT, label="desk", age=1.0))
        publisher.receive(Fresh(at=AT, label="desk", age=object()))  # type: ignore[arg-type]
        while not publisher.is_store_lost:
            pass


async def unserved() -> None:
    """A port for metrics that is in use."""
    with refusing_port() as port:
        async with Metrics().serve(host="127.0.0.1", port=port):
            pass


async def scraped(path: str = "/metrics", method: str = "GET", *, fails: bool = False) -> object:
    """What a scrape is answered."""

    class Failing:
        def collect(self) -> NoReturn:
            raise ZeroDivisionError

    async with AsyncExitStack() as stack:
        metrics = Metrics()
        if fails:
            desk = client_of(httpx.MockTransport(answer()), FakeClock())
            metrics.watch(await stack.enter_async_context(Fleet([Member(desk)])))
            metrics.registry.collect = Failing().collect
        with refusing_port() as port:
            pass
        await stack.enter_async_context(metrics.serve(host="127.0.0.1", port=port))
        stream = await stack.enter_async_context(await anyio.connect_tcp("127.0.0.1", port))
        await stream.send(f"{method} {path} HTTP/1.1\r\n\r\n".encode() if method else b"hello\r\n\r\n")
        said = b""
        with suppress(anyio.EndOfStream):
            while True:
                said += await stream.receive()
        return said.partition(b"\r\n\r\n")[2].decode()


def stores(stage: Stage) -> object:
    """What a publisher, a reader and a shared budget say of a store that goes and comes back."""
    stage.is_unordered = True
    port = free_port()
    url = f"redis://127.0.0.1:{port}"

    async def call(budget: Budget, respond: Respond = lambda _: httpx.Response(200, json={})) -> None:
        session = Session(http=httpx.MockTransport(respond), budget=budget)
        async with Client(KEY, SECRET, label="desk", session=session, attempts=1) as desk:
            with suppress(PortfolioMarginError):
                await desk.request("GET", "/papi/v1/x", weight=1, returns=dict[str, Any])

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
            asyncio.run(call(budget))
        asyncio.run(call(first, lambda _: httpx.Response(429, headers={"retry-after": "200"})))
        wait_for(lambda: second.gate("https://papi.binance.com").wait(second.monotonic()) > 0)
        server.close()
        publisher.receive(Fresh(at=AT, label="desk", age=1.0))
        reader.read()
        wait_for(lambda: publisher.is_store_lost)
        wait_for(lambda: first.is_store_lost)
        server.enter_context(serving_port(port))
        wait_for(lambda: not publisher.waiting)
        wait_for(lambda: bool(reader.read()))
        with beside(url) as client:
            client.xadd("binance-pm:{one}:events", {"colour": "red"}, id="9999999999999-1")
            reader.read()
            client.xgroup_destroy("binance-pm:{one}:events", "g")
        reader.read()
        with closing(StreamReader(url, group="g", stream="one")) as other:
            other.open()
            return reader.read()


def lost(_: Stage) -> object:
    """A shared budget whose store does not answer."""

    async def act() -> None:
        with refusing_port() as port:
            budget = SharedBudget(f"redis://127.0.0.1:{port}", bans=None)
            try:
                session = Session(http=httpx.MockTransport(answer()), budget=budget)
                async with Client(KEY, SECRET, label="desk", session=session, attempts=1) as desk:
                    await desk.request("GET", "/papi/v1/x", weight=1, returns=dict[str, Any])
            finally:
                budget.close()

    return act()


async def rows(self: object, symbol: str, *, limit: int | None = None, from_id: int | None = None) -> list[UmAsset]:
    """A method to be declared."""
    raise NotImplementedError((self, symbol, limit, from_id))


async def anything(self: object, **options: Any) -> UmAsset:
    """A method that does not say what it takes."""
    raise NotImplementedError((self, options))


async def one(self: object) -> UmAsset:
    """A method that returns one object."""
    raise NotImplementedError(self)


async def optional(self: object, *, check: bool = True, resolve: bool | None = None) -> UmAsset:
    """A method with both call options."""
    raise NotImplementedError((self, check, resolve))


def declaring(*, times: int = 1, verb: Any = get, method: Any = rows, **facts: Any) -> Scenario:
    """A declaration that contradicts itself."""

    def declare(_: Stage) -> None:
        registry = Registry()
        for _time in range(times):
            decorated = verb("/papi/v1/ping", **facts)(method)
            type("Things", (EndpointGroup,), {"thing": decorated}, registry=registry)

    return declare


def of_one_object(_: Stage) -> object:
    """A list in place of one object."""
    registry = Registry()
    type("Things", (EndpointGroup,), {"one": get("/papi/v1/x", weights=1, single=True)(one)}, registry=registry)
    return registry["one"].decode(b"[]")


DECLARATIONS: dict[str, Scenario] = {
    "endpoint.twice": declaring(times=2, weights=1),
    "endpoint.one object": of_one_object,
    "endpoint.no weights": declaring(),
    "endpoint.unknown fact": declaring(weights=1, repaet="never"),
    "endpoint.any options": declaring(weights=1, method=anything),
    "endpoint.no check": declaring(verb=post, weights=1, method=optional),
    "endpoint.no resolve": declaring(verb=post, weights=1, method=optional, check=print),
    "endpoint.weight without": declaring(weights=Weights(1, without={"symbol": 40})),
    "endpoint.client id of a query": declaring(weights=1, client_id="limit"),
    "endpoint.client id": declaring(verb=post, weights=1, client_id="new_client_order_id"),
    "endpoint.page without parameter": declaring(weights=1, page=ById("order_id")),
    "endpoint.page without field": declaring(weights=1, page=ById("from_id")),
}


def importing(stage: Stage, module: str, missing: str) -> object:
    """A module that needs an extra."""
    stage.without(missing)
    for name in [name for name in sys.modules if name == module]:
        stage.patch.delitem(sys.modules, name)
    return import_module(module)


def old_python(stage: Stage) -> object:
    """A Python that is too old."""
    stage.patch.setattr(sys, "version_info", (3, 10, 1))
    try:
        return runpy.run_path(binance_pm.version.__file__)
    except SystemExit as ended:
        return ended.code


SCENARIOS: dict[str, Scenario] = {
    "budget.never": lambda _: spend([7000], answer()),
    "budget.later than max_wait": lambda _: spend([5000, 1000], answer(5000), max_wait=1.0),
    "budget.waiting": lambda _: waiting(),
    "budget.weights": lambda _: mistaken(),
    "budget.window": lambda _: turned(),
    "budget.late": lambda _: late(),
    "budget.gate": lambda _: spend([1, 1], answer(status=429, retry_after="200")),
    "budget.ban": banned,
    "budget.listeners": lambda _: listeners(),
    "bans.no JSON": bans(b"["),
    "bans.no object": bans(b"[]"),
    "bans.a folder": bans(None),
    "bans.too large": bans(b" " * (2**20 + 1)),
    "bans.no regular file": lambda _: Budget(bans="/dev/null").gate("https://papi.binance.com") and None,
    "bans.odd entry": bans(b'{"https://papi.binance.com": "x"}'),
    "bans.a device": unwritable(lambda _: Path("/dev/null")),
    "bans.no name": unwritable(lambda _: Path("/")),
    "bans.below a file": unwritable(lambda stage: stage.file("") / "bans.json"),
    "bans.no home": homeless,
    "client.closed": lambda _: closed_client(),
    "session.closed": lambda _: closed_session(),
    "session.closed in between": lambda _: closed_in_between(),
    "session.of another event loop": elsewhere,
    "session.of another process": other_process,
    "session.abandoned": abandoned,
    "session.mocked": mocked,
    "session.no threads": no_threads,
    "fleet.closed": lambda _: fleets(),
    "fleet.unexpected failure": lambda stage: watched(stage, lambda _: 1 / 0),
    "fleet.implausible": lambda stage: watched(stage, implausible),
    "hook.fails": lambda _: hooked("false"),
    "hook.hangs": lambda _: hooked("sleep 60", longest=0.1),
    "hook.vanished": vanishing,
    "hook.no JSON": lambda _: hooked("false", age=object()),
    "hook.still running": lambda _: hooked("sleep 60", leaves=True),
    "hook.left": lambda _: hooked("sleep 60", events=2),
    "hook.behind": lambda _: hooked("sleep 60", events=10_002),
    "watch.receiver": lambda _: receivers(),
    "publisher.lost": unpublished,
    "metrics.port": lambda _: unserved(),
    "metrics.not ready": lambda _: scraped(),
    "metrics.fail": lambda _: scraped(fails=True),
    "metrics.path": lambda _: scraped("/"),
    "metrics.method": lambda _: scraped(method="POST"),
    "metrics.no HTTP": lambda _: scraped(method=""),
    "store.lost": lost,
    "store.lost and found": stores,
    "entry.unknown endpoint": lambda _: decode_event(
        '{"type":"Reading","at":1,"label":"desk","responses":{"spot":{"response":{},"at":1}},"changed":{}}'
    ),
    **DECLARATIONS,
    "import.metrics": lambda stage: importing(stage, "binance_pm.metrics", "binance_pm.metrics.metrics"),
    "import.testing": lambda stage: importing(stage, "binance_pm.testing", "binance_pm.sandbox"),
    "import.old Python": old_python,
}
