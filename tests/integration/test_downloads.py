"""Downloads over real sockets: the id, the wait, and the file from another host."""

from __future__ import annotations

import csv
import errno
import logging
import resource
import signal
import socket
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Literal

import anyio
import httpx
import msgspec
import pytest
import pytest_asyncio

from binance_pm import Client, ConfigurationError, NoResponse, Session, SessionClosed, Timeouts
from binance_pm.budget import Budget
from binance_pm.downloads import DownloadedFile, DownloadProgress
from binance_pm.errors import DownloadFailed
from binance_pm.history import export, paginate
from binance_pm.sandbox import serve
from binance_pm.sandbox.file_server import FileArrival
from binance_pm.testing import Exchange, Fault, sandbox
from tests.support.clocks import FakeClock
from tests.support.raw_server import answering, http, read_request, serve_raw, silent

DAY = 86_400_000
ID_PATH, LINK_PATH, FILE_PATH = "/papi/v1/um/trade/asyn", "/papi/v1/um/trade/asyn/id", "/um-trade.csv"
ENGINES: list[Literal["direct", "httpx"]] = ["direct", "httpx"]


class Desk:
    """An account of a local exchange in virtual time, and a client that is open on it."""

    def __init__(self, exchange: Exchange, url: str, clock: FakeClock) -> None:
        self.exchange = exchange
        self.url = url
        self.clock = clock
        self.progress: list[DownloadProgress] = []

    @asynccontextmanager
    async def client(self, **options: Any) -> AsyncGenerator[Client]:
        """Open a client with a session of its own."""
        account = self.exchange.accounts[0]
        budget = Budget(monotonic=self.clock, wall=self.clock, sleep=self.clock.sleep)
        async with (
            Session(budget=budget, **options) as session,
            Client(
                account.api_key, account.api_secret, session=session, papi_url=self.url, sapi_url=self.url
            ) as client,
        ):
            yield client

    @property
    def end(self) -> int:
        """Now, in milliseconds."""
        return int(self.clock.now * 1000)

    def asked(self, path: str) -> int:
        """How often a path of the exchange was requested."""
        return sum(request.path == path for request in self.exchange.requests)

    @property
    def arrivals(self) -> list[FileArrival]:
        """What reached the file server."""
        return self.exchange.files.requests

    def states(self) -> list[str]:
        """The states that were reported, without repetitions in a row."""
        states = [one.state for one in self.progress]
        return [state for n, state in enumerate(states) if n == 0 or states[n - 1] != state]


@pytest.fixture
def desk(clock: FakeClock) -> Generator[Desk]:
    """An exchange that needs 100 s to make a file."""
    exchange = Exchange(accounts=1, clock=clock, sleep=clock.sleep, download_seconds=100)
    with serve(exchange) as url:
        yield Desk(exchange, url, clock)


async def trade(client: Client, orders: int = 3) -> None:
    """Let the account have trades."""
    for _ in range(orders):
        await client.um.new_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.01")


def names(folder: Path) -> list[str]:
    """Return the names in a folder, in order."""
    return sorted(entry.name for entry in folder.iterdir())


def text_of(path: Path) -> str:
    """Return the text of a file."""
    return path.read_text(encoding="utf-8")


async def save(desk: Desk, client: Client, to: Path, **options: Any) -> DownloadedFile:
    """Download the trades of a day."""
    options = {"on_progress": desk.progress.append} | options
    [file] = await client.um.download_trades(desk.end - DAY, desk.end, to=to, **options)
    return file


@pytest.mark.parametrize("engine", ENGINES)
async def test_saves_the_real_trades_and_sends_the_file_server_no_secret(
    desk: Desk, tmp_path: Path, engine: Literal["direct", "httpx"]
) -> None:
    """The file has every trade; its request has neither key nor signature nor cookie, and one id was requested."""
    path = tmp_path / "trades.csv"
    async with desk.client(engine=engine) as client:
        await trade(client)
        file = await save(desk, client, path)
        trades = await client.um.trades(symbol="BTCUSDT")

    rows = list(csv.DictReader(text_of(path).splitlines()))
    [arrival] = desk.arrivals
    account = desk.exchange.accounts[0]
    assert [int(row["id"]) for row in rows if row["symbol"] == "BTCUSDT"] == [one.id for one in trades]
    assert len(trades) >= 3
    assert file == DownloadedFile(
        path=path,
        download_id=file.download_id,
        size=path.stat().st_size,
        start_time=file.start_time,
        end_time=file.end_time,
    )
    assert set(arrival.headers) <= {"host", "user-agent", "accept-encoding", "connection", "accept"}
    assert account.api_key not in str(arrival)
    assert "signature" not in arrival.query.lower()
    assert "timestamp" not in arrival.query
    assert (desk.asked(ID_PATH), names(tmp_path)) == (1, ["trades.csv"])


async def test_waits_with_growing_pauses_and_reports_each_step(desk: Desk, tmp_path: Path) -> None:
    """The link is requested a few times in 100 s, and the progress ends with the whole file."""
    async with desk.client() as client:
        await trade(client)
        await save(desk, client, tmp_path / "trades.csv")

    pauses = desk.clock.slept
    assert pauses == sorted(pauses)
    assert sum(pauses) >= 100
    assert desk.asked(LINK_PATH) == len(pauses) <= 4
    assert desk.states() == ["requesting", "preparing", "receiving", "done"]
    assert [desk.progress[0].download_id, desk.progress[0].per_month] == [None, 5]
    assert desk.progress[1].download_id is not None
    assert (desk.progress[-1].received, desk.progress[-1].fraction) == (desk.progress[-1].size, 1.0)


async def test_a_lost_response_is_not_repeated(desk: Desk, tmp_path: Path) -> None:
    """The request for an id is sent once; the error says that a quota may be used up."""
    desk.exchange.inject(Fault(path=ID_PATH, drop=True, times=None))
    async with desk.client() as client:
        with pytest.raises(NoResponse, match="quota") as caught:
            await save(desk, client, tmp_path / "trades.csv")

    assert (desk.asked(ID_PATH), caught.value.outcome) == (1, "unknown")
    assert names(tmp_path) == []


async def test_gives_up_with_the_id_and_continues_with_it(desk: Desk, tmp_path: Path) -> None:
    """The error has the id, and with the id no second one is requested."""
    path = tmp_path / "trades.csv"
    async with desk.client() as client:
        await trade(client)
        with pytest.raises(DownloadFailed) as caught:
            await save(desk, client, path, give_up_after=50)
        waited = sum(desk.clock.slept)
        [file] = await client.um.download_trades(to=path, download_id=caught.value.download_id)

    assert waited == pytest.approx(50)
    assert (caught.value.path, caught.value.end_time) == (
        path,
        caught.value.start_time and caught.value.start_time + DAY,
    )
    assert (file.download_id, file.start_time, path.exists()) == (caught.value.download_id, None, True)
    assert desk.asked(ID_PATH) == 1


async def test_failures_of_the_link_are_waited_out(desk: Desk, tmp_path: Path) -> None:
    """A lost response and a failure of the exchange do not end the wait for the link."""
    desk.exchange.inject(
        Fault(path=LINK_PATH, drop=True, times=3), Fault(path=LINK_PATH, status=502, body=b"<h1>Bad Gateway</h1>")
    )
    async with desk.client() as client:
        await save(desk, client, tmp_path / "trades.csv")

    assert desk.asked(ID_PATH) == 1


async def test_a_lasting_refusal_of_the_link_has_the_id(desk: Desk, tmp_path: Path) -> None:
    """An error that would be the same again ends the download at once, with the id."""
    desk.exchange.inject(Fault(path=LINK_PATH, status=400, code=-1130, msg="Invalid data sent."))
    async with desk.client() as client:
        with pytest.raises(DownloadFailed) as caught:
            await save(desk, client, tmp_path / "trades.csv")

    assert (desk.asked(LINK_PATH), bool(caught.value.download_id)) == (1, True)


async def test_an_expired_link_is_not_fetched(desk: Desk, tmp_path: Path) -> None:
    """The exchange says that the link has expired."""
    async with desk.client() as client:
        made = await client.um.trade_download_id(desk.end - DAY, desk.end)
        desk.clock.now += 2 * DAY / 1000
        with pytest.raises(DownloadFailed, match="expired"):
            await client.um.download_trades(to=tmp_path / "trades.csv", download_id=made.download_id)

    assert desk.arrivals == []


REDIRECT = Fault(path=FILE_PATH, status=307, headers={"Location": "/papi/v1/balance"}, body=b"")
FAULTS = {
    "cut": Fault(path=FILE_PATH, cut=20),
    "dropped": Fault(path=FILE_PATH, drop=True),
    "refused": Fault(path=FILE_PATH, status=403),
    "longer than sent": Fault(path=FILE_PATH, headers={"Content-Length": "100000"}, cut=100),
    "compressed": Fault(path=FILE_PATH, headers={"Content-Encoding": "gzip"}),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=list(FAULTS))
async def test_an_incomplete_file_has_no_name(desk: Desk, tmp_path: Path, fault: Fault) -> None:
    """Whatever the file server does wrong: an error with the id, no file, and the download can be continued."""
    desk.exchange.inject(fault)
    path = tmp_path / "trades.csv"
    async with desk.client() as client:
        await trade(client)
        with pytest.raises(DownloadFailed) as caught:
            await save(desk, client, path)
        left = names(tmp_path)
        await client.um.download_trades(to=path, download_id=caught.value.download_id)

    assert (left, path.exists(), desk.asked(ID_PATH)) == ([], True, 1)


@pytest.mark.parametrize("engine", ENGINES)
async def test_no_redirect_is_followed(desk: Desk, tmp_path: Path, engine: Literal["direct", "httpx"]) -> None:
    """A redirect to the exchange ends the download: the exchange receives nothing."""
    location = {"Location": f"{desk.url}/papi/v1/balance"}
    desk.exchange.inject(msgspec.structs.replace(REDIRECT, headers=location))
    async with desk.client(engine=engine) as client:
        with pytest.raises(DownloadFailed, match="redirect"):
            await save(desk, client, tmp_path / "trades.csv")

    assert (desk.asked("/papi/v1/balance"), len(desk.arrivals)) == (0, 1)


async def test_a_callers_client_adds_nothing(desk: Desk, tmp_path: Path) -> None:
    """Authentication, cookies and redirects of a caller's httpx client do not apply to the file."""
    brought = httpx.AsyncClient(auth=("user", "canary-password"), cookies={"a": "canary-cookie"}, follow_redirects=True)
    async with brought, desk.client(http=brought) as client:
        await save(desk, client, tmp_path / "trades.csv")

    assert "canary" not in str(desk.arrivals)
    assert not {"authorization", "cookie", "x-mbx-apikey"} & desk.arrivals[0].headers.keys()


async def test_nothing_shows_the_link(desk: Desk, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Neither errors nor `repr` nor log records show the part of the link that is a secret."""
    for name in ("", "httpx", "httpcore", "binance_pm"):
        caplog.set_level(logging.DEBUG, name)
    desk.exchange.inject(Fault(path=FILE_PATH, status=403))
    async with httpx.AsyncClient() as brought, desk.client(http=brought) as client:
        with pytest.raises(DownloadFailed) as caught:
            await save(desk, client, tmp_path / "trades.csv")
        file = await client.um.download_trades(to=tmp_path / "trades.csv", download_id=caught.value.download_id)
        link = await client.um.trade_download_link(caught.value.download_id)

    token = link.url.partition("X-Sig=")[2]
    assert len(token) == 48
    shown = [str(caught.value), repr(caught.value), repr(link), repr(file), caplog.text, *map(repr, desk.progress)]
    assert all(token not in text for text in shown)
    assert "HTTP Request: GET" in caplog.text


class Links:
    """Responses of the exchange with a link to any place."""

    def __init__(self, desk: Desk, url: str) -> None:
        body = {
            "downloadId": "1",
            "status": "completed",
            "url": url,
            "s3Link": None,
            "notified": True,
            "expirationTimestamp": desk.end + DAY,
            "isExpired": None,
        }
        desk.exchange.inject(Fault(path=LINK_PATH, body=msgspec.json.encode(body), times=None))


BAD_LINKS = {
    "plain http": "http://files.example/um-trade.csv",
    "the exchange": "https://papi.binance.com/um-trade.csv",
    "no host": "https:///um-trade.csv",
    "a user name": "https://papi.binance.com@files.example/um-trade.csv",
    "a backslash": "https://files.example\\@papi.binance.com/um-trade.csv",
    "another scheme": "ftp://127.0.0.1/um-trade.csv",
    "a number as address": "http://2130706433/um-trade.csv",
}


@pytest.mark.parametrize("url", BAD_LINKS.values(), ids=list(BAD_LINKS))
async def test_links_to_wrong_places_are_refused(desk: Desk, tmp_path: Path, url: str) -> None:
    """Only https, only a host that no key is sent to, and only what every library reads in the same way."""
    Links(desk, url)
    async with desk.client() as client:
        with pytest.raises(DownloadFailed, match="the link"):
            await save(desk, client, tmp_path / "trades.csv")

    assert desk.arrivals == []


async def test_the_exchanges_own_origin_is_refused(desk: Desk, tmp_path: Path) -> None:
    """A link back to the exchange that the client calls is refused, with any path."""
    before = len(desk.exchange.requests)
    Links(desk, f"{desk.url}/papi/v1/balance")
    async with desk.client() as client:
        with pytest.raises(DownloadFailed, match="keys are sent"):
            await save(desk, client, tmp_path / "trades.csv")

    assert {request.path for request in desk.exchange.requests[before:]} == {ID_PATH, LINK_PATH}


async def from_raw_server(
    desk: Desk, path: Path, behaviour: Callable[[socket.socket], None], **options: Any
) -> DownloadedFile:
    """Download from a server that sends exactly these bytes."""
    with serve_raw(behaviour) as server:
        Links(desk, f"{server.place}/file?X-Sig=1")
        timeouts = options.pop("timeouts", None)
        async with desk.client(timeouts=timeouts) as client:
            return await save(desk, client, path, **options)


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
BROKEN = {
    "a chunk is missing": answering(CHUNKED + b"5\r\nhello\r\n"),
    "no length": answering(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello"),
    "nonsense": answering(b"hello\r\n\r\n"),
    "closed": answering(),
}


@pytest.mark.parametrize("behaviour", BROKEN.values(), ids=list(BROKEN))
async def test_a_file_whose_end_is_not_certain_is_refused(
    desk: Desk, tmp_path: Path, behaviour: Callable[[socket.socket], None]
) -> None:
    """A body without its last chunk, or without any length, could lack its end."""
    with pytest.raises(DownloadFailed):
        await from_raw_server(desk, tmp_path / "trades.csv", behaviour)

    assert names(tmp_path) == []


async def test_a_chunked_file_is_complete_with_its_last_chunk(desk: Desk, tmp_path: Path) -> None:
    """The size is not known in advance."""
    file = await from_raw_server(desk, tmp_path / "trades.csv", answering(CHUNKED + b"5\r\nhello\r\n0\r\n\r\n"))

    assert (text_of(file.path), desk.progress[-2].size, desk.progress[-1].fraction) == ("hello", None, 1.0)


async def test_a_server_that_stops_sending_is_given_up(desk: Desk, tmp_path: Path) -> None:
    """The read timeout applies between two pieces of the file."""

    def stall(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        silent(connection)

    with pytest.raises(DownloadFailed, match="timed out"):
        await from_raw_server(desk, tmp_path / "trades.csv", stall, timeouts=Timeouts(read=0.2))

    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "answer", [http(b"x" * 11), CHUNKED + b"b\r\nhello world\r\n0\r\n\r\n"], ids=["told", "not told"]
)
async def test_a_file_that_is_too_large_is_refused(desk: Desk, tmp_path: Path, answer: bytes) -> None:
    """The size is limited whether the server says it or not."""
    with pytest.raises(DownloadFailed, match="max_bytes"):
        await from_raw_server(desk, tmp_path / "trades.csv", answering(answer), max_bytes=10)

    assert names(tmp_path) == []


@contextmanager
def largest_file(size: int) -> Generator[None]:
    """Let no file of this process grow beyond a size, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


async def test_a_full_disk_is_a_clear_error(desk: Desk, tmp_path: Path) -> None:
    """Nothing is left, and the error has the id."""
    body = b"x" * (3 * 2**20)
    with pytest.raises(DownloadFailed, match="cannot be written") as caught, largest_file(2**20 + 5):
        await from_raw_server(desk, tmp_path / "trades.csv", answering(http(body)))

    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.EFBIG
    assert names(tmp_path) == []


async def test_an_existing_file_is_refused_before_anything_is_sent(desk: Desk, tmp_path: Path) -> None:
    """Unless it may be replaced; a missing folder is refused, too."""
    path = tmp_path / "trades.csv"
    path.write_text("mine", encoding="utf-8")
    async with desk.client() as client:
        for refused in (path, tmp_path / "missing" / "trades.csv"):
            with pytest.raises(ConfigurationError):
                await save(desk, client, refused)
        sent = len(desk.exchange.requests)
        kept = text_of(path)
        await save(desk, client, path, overwrite=True)

    assert (sent, kept) == (0, "mine")
    assert text_of(path).startswith("symbol,id")


async def test_a_file_that_appears_meanwhile_is_kept(desk: Desk, tmp_path: Path) -> None:
    """The name is taken only if it is free at that moment."""
    path = tmp_path / "trades.csv"

    def create(progress: DownloadProgress) -> None:
        if progress.state == "receiving":
            path.write_text("mine", encoding="utf-8")

    async with desk.client() as client:
        with pytest.raises(DownloadFailed, match="cannot be written"):
            await save(desk, client, path, on_progress=create)

    assert (names(tmp_path), text_of(path)) == (["trades.csv"], "mine")


async def test_a_cancelled_download_leaves_nothing(
    desk: Desk, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Cancelled in the middle of the file: no file, a closed connection, and the log has the id."""
    closed = threading.Event()

    def stall(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        silent(connection)
        closed.set()

    with serve_raw(stall) as server:
        Links(desk, f"{server.place}/file?X-Sig=1")
        async with desk.client() as client, anyio.create_task_group() as tasks:

            def cancel(progress: DownloadProgress) -> None:
                if progress.state == "receiving":
                    tasks.cancel_scope.cancel()

            tasks.start_soon(lambda: save(desk, client, tmp_path / "trades.csv", on_progress=cancel))
        is_closed = await anyio.to_thread.run_sync(closed.wait, 5)

    assert (names(tmp_path), is_closed) == ([], True)
    assert "download_id=" in caplog.text


async def test_closing_the_session_ends_a_download(desk: Desk, tmp_path: Path) -> None:
    """The error has the id."""
    with serve_raw(silent_after_head) as server:
        Links(desk, f"{server.place}/file?X-Sig=1")
        async with desk.client() as client, anyio.create_task_group() as tasks:

            def close(progress: DownloadProgress) -> None:
                if progress.state == "receiving":
                    tasks.start_soon(client.session.aclose)

            with pytest.raises(DownloadFailed) as caught:
                await save(desk, client, tmp_path / "trades.csv", on_progress=close)
            assert isinstance(caught.value.__cause__, SessionClosed)

    assert names(tmp_path) == []


def silent_after_head(connection: socket.socket) -> None:
    """Send the head of a file, and never its body."""
    read_request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
    silent(connection)


async def test_a_long_range_is_split_into_files(desk: Desk, tmp_path: Path) -> None:
    """Two and a half years are three files whose ranges meet, and three ids."""
    begin = desk.end - 900 * DAY
    end = desk.end
    async with desk.client() as client:
        files = await client.um.download_orders(begin, end, to=tmp_path / "orders.csv")

    starts, ends = [file.start_time for file in files], [file.end_time for file in files]
    assert [file.path.name for file in files] == names(tmp_path) == ["orders-1.csv", "orders-2.csv", "orders-3.csv"]
    assert (starts[0], ends[-1]) == (begin, end)
    assert starts[1:] == [end + 1 for end in ends[:-1] if end is not None]
    assert desk.asked("/papi/v1/um/order/asyn") == len({file.download_id for file in files}) == 3


@pytest.mark.parametrize(
    "arguments",
    [
        {"start_time": 0, "end_time": 6 * 366 * DAY},
        {"start_time": 2, "end_time": 1},
        {"start_time": 2},
        {"start_time": 1, "end_time": 2, "download_id": "1"},
        {},
    ],
    ids=["more than a month has", "empty", "no end", "times and an id", "nothing"],
)
async def test_a_range_that_cannot_be_downloaded_is_refused(
    desk: Desk, tmp_path: Path, arguments: dict[str, Any]
) -> None:
    """Nothing is sent."""
    async with desk.client() as client:
        with pytest.raises(ConfigurationError):
            await client.um.download_trades(to=tmp_path / "trades.csv", **arguments)

    assert desk.exchange.requests == ()


@pytest_asyncio.fixture
async def in_memory() -> AsyncGenerator[Client]:
    """A client of a local exchange in memory that makes files at once."""
    async with sandbox(in_memory=True, accounts=1, download_seconds=0) as pm:
        budget = Budget(sleep=FakeClock().sleep)
        async with pm.client(session=pm.session(budget=budget)) as client:
            yield client


async def test_downloads_from_an_exchange_in_memory(in_memory: Client, tmp_path: Path) -> None:
    """Tests of users need no socket."""
    await trade(in_memory, 1)
    await in_memory.um.download_income(0, 366 * DAY, to=tmp_path / "none.csv")
    rows = await in_memory.um.income()
    now = rows[-1].time
    [file] = await in_memory.um.download_income(now - DAY, now, to=str(tmp_path / "income.csv"))

    lines = text_of(file.path).splitlines()
    assert (len(lines), lines[0].partition(",")[0]) == (len(rows) + 1, "symbol")
    assert text_of(tmp_path / "none.csv").count("\n") == 1


def test_downloads_and_exports_on_trio(tmp_path: Path) -> None:
    """Both work on either event loop."""

    async def run() -> list[str]:
        async with sandbox(in_memory=True, accounts=1, download_seconds=0) as pm:
            budget = Budget(sleep=FakeClock().sleep)
            async with pm.client(session=pm.session(budget=budget)) as client:
                await client.um.download_income(0, DAY, to=tmp_path / "income.csv")
                await export(paginate(client.um.all_orders, "BTCUSDT"), tmp_path / "orders.parquet")
        return names(tmp_path)

    assert anyio.run(run, backend="trio") == ["income.csv", "orders.parquet"]
