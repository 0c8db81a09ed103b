"""What a client writes to its journal, and what is read from it."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import tracemalloc
from decimal import Decimal
from operator import attrgetter
from pathlib import Path
from typing import Any

import anyio
import anyio.from_thread
import httpx
import pytest
import trio
from msgspec.structs import replace

from binance_pm import (
    ENDPOINTS,
    Budget,
    BudgetExceeded,
    CallInfo,
    Client,
    ConfigurationError,
    JournalEntry,
    JournalError,
    NoResponse,
    PortfolioMarginError,
    RequestRejected,
    Session,
    SessionClosed,
    Timeouts,
    WriteEnded,
    WriteStarted,
    read_journal,
)
from binance_pm.journal_file import HEADER, open_journal
from binance_pm.sandbox.messages import Arrival
from binance_pm.testing import Fault, Sandbox
from tests.support.cancelling import cancelled_at
from tests.support.journals import ended, started
from tests.support.sample import sample_of
from tests.support.waiting import eventually

_ORDER: dict[str, Any] = {
    "symbol": "BTCUSDT",
    "side": "BUY",
    "type": "LIMIT",
    "time_in_force": "GTC",
    "quantity": Decimal("0.010"),
    "price": Decimal("3E+4"),
}
PATH = "/papi/v1/um/order"
LOST = Fault(method="POST", path=PATH, drop=True)
CALL = CallInfo("test")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of a journal that does not exist yet."""
    return tmp_path / "journal.jsonl"


def entries(path: Path) -> list[JournalEntry]:
    """Return all writes of a journal."""
    return list(read_journal(path))


def order(**changed: Any) -> dict[str, Any]:
    """Return the arguments of an order."""
    return _ORDER | changed


def text_of(path: Path) -> str:
    """Return the whole journal."""
    return path.read_text(encoding="utf-8")


def placements(pm: Sandbox) -> list[Arrival]:
    """Return the requests to place an order that have arrived."""
    return [one for one in pm.exchange.requests if (one.method, one.path) == ("POST", PATH)]


class Lines(list[WriteStarted | WriteEnded]):
    """A journal that is a function."""

    def __call__(self, line: WriteStarted | WriteEnded) -> None:
        """Keep a line."""
        self.append(line)


class TestLines:
    """What stands in the journal."""

    async def test_an_order_has_a_line_before_it_and_one_after_it(self, pm: Sandbox, path: Path) -> None:
        """The first says what was sent and until when it can be executed, the second has the exchange's ids."""
        async with pm.client(journal=path) as client:
            placed = await client.um.new_order(**order())

        [entry] = entries(path)
        started, ended, sent = entry.started, entry.ended, dict(placements(pm)[0].params)
        assert {name: str(value) for name, value in started.parameters.items()} == {
            name: value for name, value in sent.items() if name != "timestamp"
        }
        assert (started.endpoint, started.label, started.key_id) == ("um.new_order", client.label, client.key_id)
        assert started.client_id == placed.client_order_id
        assert started.timestamp == int(sent["timestamp"])
        assert started.expires_at == int(sent["timestamp"]) + 5_000
        assert ended is not None
        assert (entry.outcome, ended.ids["order_id"]) == ("done", placed.order_id)
        assert entry.error is None

    async def test_the_line_is_on_the_disk_before_the_first_byte_leaves(self, pm: Sandbox, path: Path) -> None:
        """Written, then flushed, then sent."""
        steps: list[str] = []

        def sync(_: int) -> None:
            steps.append(f"sync after {len(path.read_bytes().splitlines())} lines, {len(placements(pm))} sent")

        file = open_journal(path, CALL, sync=sync)
        async with pm.client(journal=path) as client:
            await client.um.new_order(**order())

        file.close()
        assert steps == ["sync after 2 lines, 0 sent"]

    async def test_reads_and_refused_arguments_leave_no_line(self, pm: Sandbox, path: Path) -> None:
        """Neither changes anything."""
        async with pm.client(journal=path) as client:
            await client.um_account()
            with pytest.raises(ConfigurationError):
                await client.um.new_order(**order(price=None))
            with pytest.raises(BudgetExceeded):
                await client.options(max_wait=0).request("POST", "/papi/v1/x", weight=100_000, returns=dict[str, Any])

        assert text_of(path) == HEADER.decode()

    async def test_a_view_of_the_client_writes_to_the_same_journal(self, pm: Sandbox, path: Path) -> None:
        """Other settings, the same account."""
        async with pm.client(journal=path) as client:
            await client.options(recv_window=1_000).um.new_order(**order())

        started = entries(path)[0].started
        assert started.expires_at == (started.timestamp or 0) + 1_000

    async def test_a_refusal_is_noted_with_its_code(self, pm: Sandbox, path: Path) -> None:
        """The exchange did not execute it."""
        async with pm.client(journal=path) as client:
            with pytest.raises(RequestRejected):
                await client.um.new_order(**order(quantity="0.0000010"))

        [entry] = entries(path)
        assert entry.ended is not None
        assert (entry.outcome, entry.ended.code) == ("refused", -1111)

    async def test_a_connection_that_cannot_be_made_is_noted_as_not_sent(self, path: Path) -> None:
        """Nothing left this machine."""

        def refuse(request: httpx.Request) -> httpx.Response:
            raise httpx.ConnectError("refused", request=request)

        session = Session(http=httpx.MockTransport(refuse), budget=Budget())
        async with Client("k" * 64, "s" * 64, session=session, journal=path) as client:
            with pytest.raises(PortfolioMarginError):
                await client.um.new_order(**order())

        assert [entry.outcome for entry in entries(path)] == ["not_sent"]

    async def test_a_repeated_attempt_has_a_line_of_its_own(self, pm: Sandbox) -> None:
        """Its timestamp is later, and so is the moment until which it can be executed."""
        lines = Lines()
        async with pm.client(journal=lines) as client:
            pm.inject(Fault(method="POST", path=PATH, status=400, code=-1021, msg="Timestamp.", effect=False))
            await client.um.new_order(**order())

        first, second, ended = lines
        assert isinstance(first, WriteStarted)
        assert isinstance(second, WriteStarted)
        assert (first.id, first.attempt) == (second.id, second.attempt - 1)
        assert [str(one.timestamp) for one in (first, second)] == [
            dict(one.params)["timestamp"] for one in placements(pm)
        ]
        assert isinstance(ended, WriteEnded)
        assert (ended.id, ended.outcome) == (first.id, "done")

    async def test_the_last_attempt_counts(self, pm: Sandbox, path: Path) -> None:
        """One call is one write, however often it was attempted."""
        async with pm.client(journal=path) as client:
            pm.inject(Fault(method="POST", path=PATH, status=400, code=-1021, msg="Timestamp.", effect=False))
            await client.um.new_order(**order())

        [entry] = entries(path)
        assert (entry.started.attempt, entry.outcome) == (2, "done")

    async def test_a_cancel_whose_earlier_attempt_was_lost_is_unknown(self, pm: Sandbox, path: Path) -> None:
        """The second attempt was refused, and the first may have been executed."""
        async with pm.client(journal=path) as client:
            placed = await client.um.new_order(**order())
            pm.inject(Fault(method="DELETE", path=PATH, drop=True))
            with pytest.raises(RequestRejected):
                await client.um.cancel_order("BTCUSDT", order_id=placed.order_id)

        assert [entry.outcome for entry in entries(path)] == ["done", "unknown"]


class TestCancelling:
    """A task that is cancelled while it places an order."""

    @pytest.mark.parametrize("engine", ["httpx", "direct"])
    @pytest.mark.pm_sandbox(accounts=1)
    async def test_the_journal_tells_the_truth_at_every_await(
        self, engine: str, pm_sandbox: Sandbox, tmp_path: Path
    ) -> None:
        """If the journal says that nothing was sent, no order arrived."""
        said: list[str] = []
        point = 0
        while True:
            path = tmp_path / f"{point}.jsonl"
            before = len(placements(pm_sandbox))
            async with pm_sandbox.client(session=pm_sandbox.session(engine=engine), journal=path) as client:
                was_cancelled = await cancelled_at(point, client.um.new_order(**order()))
            found = [entry.outcome for entry in read_journal(path)]
            said += found
            if found != ["unknown"]:
                assert (len(placements(pm_sandbox)) > before) == (found == ["done"])
            if not was_cancelled:
                break
            point += 1

        assert {"not_sent", "unknown", "done"} == set(said)

    async def test_a_cancellation_while_the_line_is_flushed_sends_nothing(self, pm: Sandbox, path: Path) -> None:
        """The order is not sent after the disk has finished, either."""
        scope = anyio.CancelScope()
        file = open_journal(path, CALL, sync=lambda _: anyio.from_thread.run_sync(scope.cancel))
        async with pm.client(journal=path) as client:
            with scope:
                await client.um.new_order(**order())

        file.close()
        assert scope.cancelled_caught
        assert [entry.outcome for entry in entries(path)] == ["not_sent"]
        assert placements(pm) == []

    async def test_a_call_in_flight_ends_in_the_journal_of_a_closed_client(
        self, pm_sandbox: Sandbox, path: Path
    ) -> None:
        """The file stays open until then, and is closed afterwards."""
        pm_sandbox.inject(Fault(method="POST", path=PATH, delay_after=0.2))
        async with pm_sandbox.session() as session:
            client = await pm_sandbox.client(session=session, journal=path).open()
            placing = asyncio.create_task(client.um.new_order(**order()))
            await eventually(lambda: bool(placements(pm_sandbox)))
            await client.aclose()
            await placing

        assert [entry.outcome for entry in entries(path)] == ["done"]
        open_journal(path, CALL).close()


@pytest.mark.pm_sandbox(accounts=1)
def test_a_journal_works_on_trio(pm_sandbox: Sandbox, path: Path) -> None:
    """As on asyncio."""

    async def work() -> None:
        async with pm_sandbox.client(journal=path) as client:
            await client.um.new_order(**order())

    trio.run(work)

    assert [entry.outcome for entry in entries(path)] == ["done"]


class TestResolving:
    """Writes whose outcome the journal does not know."""

    async def test_an_unknown_outcome_is_resolved_in_the_journal(self, pm: Sandbox, path: Path) -> None:
        """What resolve() finds out is one more line."""
        async with pm.client(journal=path) as client:
            pm.inject(LOST)
            with pytest.raises(NoResponse) as raised:
                await client.um.new_order(**order())
            [entry] = entries(path)
            assert (entry.outcome, entry.started.id) == ("unknown", raised.value.request and entry.started.id)
            outcome = await client.resolve(raised.value)

        [entry] = entries(path)
        assert entry.ended is not None
        assert (entry.outcome, entry.ended.is_resolved) == ("done", True)
        assert entry.ended.ids["order_id"] == outcome.result.order_id

    async def test_the_call_may_resolve_by_itself(self, pm: Sandbox, path: Path) -> None:
        """With resolve=True the order is returned, and the journal says that it was done."""
        async with pm.client(journal=path, resolve=True) as client:
            pm.inject(LOST)
            await client.um.new_order(**order())

        assert [entry.outcome for entry in entries(path)] == ["done"]

    @pytest.mark.parametrize(
        ("name", "call", "method"),
        [
            ("um.modify_order", {"side": "BUY", "quantity": "0.020", "price": "31000"}, "PUT"),
            ("um.cancel_order", {}, "DELETE"),
        ],
    )
    async def test_another_process_resolves_what_it_reads(
        self, name: str, call: dict[str, Any], method: str, pm: Sandbox, path: Path
    ) -> None:
        """An entry has everything that the error of the lost call had."""
        async with pm.client(journal=path, attempts=1) as client:
            placed = await client.um.new_order(**order())
            pm.inject(Fault(method=method, path=PATH, drop=True))
            with pytest.raises(NoResponse) as raised:
                await attrgetter(name)(client)(symbol="BTCUSDT", order_id=placed.order_id, **call)

        async with pm.client(journal=path) as client:
            [error] = [entry.error for entry in read_journal(path) if entry.error]
            assert error.request is not None
            assert raised.value.request is not None
            assert replace(error.request, parameters={}) == replace(raised.value.request, parameters={})
            assert (error.advice, error.label, error.write) == (raised.value.advice, client.label, True)
            assert (await client.resolve(error)).state == "done"

        assert [entry.outcome for entry in entries(path)] == ["done", "done"]

    async def test_a_loan_stays_unknown(self, pm: Sandbox, path: Path) -> None:
        """No query proves it."""
        async with pm.client(journal=path) as client:
            pm.inject(Fault(method="POST", drop=True))
            with pytest.raises(NoResponse) as raised:
                await client.margin.borrow("USDT", Decimal(10))
            await client.resolve(raised.value)

        [entry] = entries(path)
        assert entry.ended is not None
        assert (entry.outcome, entry.ended.is_resolved) == ("unknown", True)
        assert "margin.loan_history" in entry.ended.reason

    async def test_an_undeclared_endpoint_stays_unknown(self, pm: Sandbox, path: Path) -> None:
        """Nothing says how its outcome is found out."""
        async with pm.client(journal=path) as client:
            pm.inject(Fault(method="POST", drop=True))
            with pytest.raises(NoResponse):
                await client.request("POST", PATH, weight=1, returns=dict[str, Any], params={"symbol": "BTCUSDT"})

        [entry] = entries(path)
        assert entry.error is not None
        assert (entry.error.endpoint, entry.error.outcome) == (f"POST {PATH}", "unknown")

    async def test_entries_of_another_account_are_refused(self, pm: Sandbox, path: Path) -> None:
        """Its key is needed."""
        async with pm.client(journal=path) as client:
            pm.inject(LOST)
            with pytest.raises(NoResponse):
                await client.um.new_order(**order())
        [entry] = entries(path)
        assert entry.error is not None

        async with pm.client(1) as other:
            with pytest.raises(ConfigurationError):
                await other.resolve(entry.error)


class TestFailures:
    """A journal that cannot be written."""

    async def test_nothing_is_sent_if_the_line_cannot_be_written(self, pm: Sandbox, path: Path) -> None:
        """The error is one of those that mean that nothing was sent."""

        def write(_: int, __: bytes) -> int:
            raise OSError(28, "No space left on device")

        file = open_journal(path, CALL, write=write)
        async with pm.client(journal=path) as client:
            with pytest.raises(JournalError) as raised:
                await client.um.new_order(**order())

        assert (raised.value.outcome, raised.value.endpoint) == ("not_done", "um.new_order")
        assert placements(pm) == []
        assert text_of(path) == HEADER.decode()
        file.close()

    async def test_nothing_is_sent_if_the_disk_fails(self, pm: Sandbox, path: Path) -> None:
        """What such a disk holds is not known, so nothing more is written to it."""

        def sync(_: int) -> None:
            raise OSError(5, "Input/output error")

        file = open_journal(path, CALL, sync=sync)
        async with pm.client(journal=path) as client:
            for _ in range(2):
                with pytest.raises(JournalError):
                    await client.um.new_order(**order())

        assert placements(pm) == []
        assert [entry.outcome for entry in entries(path)] == ["unknown"]
        file.close()

    async def test_a_result_is_returned_although_it_cannot_be_written(
        self, pm: Sandbox, path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It is logged that the journal lacks it."""
        written: list[bytes] = []

        def write(descriptor: int, line: bytes) -> int:
            if written:
                raise OSError(28, "No space left on device")
            written.append(line)
            return os.write(descriptor, line)

        file = open_journal(path, CALL, write=write)
        async with pm.client(journal=path) as client:
            placed = await client.um.new_order(**order())

        assert placed.status == "NEW"
        assert [record.levelno for record in caplog.records] == [logging.WARNING]
        assert [entry.outcome for entry in entries(path)] == ["unknown"]
        file.close()

    async def test_a_disk_that_hangs_ends_the_call(self, pm: Sandbox, path: Path) -> None:
        """After the time limit of a request; nothing was sent."""
        event = threading.Event()

        def sync(_: int) -> None:
            event.wait(5)

        file = open_journal(path, CALL, sync=sync)
        session = pm.session(timeouts=Timeouts(total=0.05))
        async with session, pm.client(session=session, journal=path) as client:
            with pytest.raises(PortfolioMarginError) as raised:
                await client.um.new_order(**order())
        event.set()

        assert (raised.value.sent, raised.value.outcome) == (False, "not_done")
        assert [entry.outcome for entry in entries(path)] == ["not_sent"]
        file.close()

    async def test_a_line_that_is_no_json_stops_the_write(self, pm: Sandbox, path: Path) -> None:
        """A label with half of a character."""
        async with pm.client(journal=path, label="\ud800") as client:
            with pytest.raises(JournalError):
                await client.um.new_order(**order())

        assert placements(pm) == []

    async def test_a_function_that_raises_stops_the_write(self, pm: Sandbox) -> None:
        """Its error is the cause."""

        def refuse(_: object) -> None:
            raise KeyError("no database")

        async with pm.client(journal=refuse) as client:
            with pytest.raises(JournalError) as raised:
                await client.um.new_order(**order())

        assert isinstance(raised.value.__cause__, KeyError)
        assert placements(pm) == []

    async def test_a_client_does_not_open_without_its_journal(self, pm: Sandbox, tmp_path: Path) -> None:
        """The session is left as it was."""
        async with pm.session() as session:
            client = pm.client(session=session, journal=tmp_path)
            with pytest.raises(JournalError):
                await client.open()
            with pytest.raises(SessionClosed):
                await client.um_account()

    async def test_clients_of_one_process_share_a_file(self, pm: Sandbox, path: Path) -> None:
        """Two accounts, one journal."""
        async with pm.client(journal=path) as one, pm.client(1, journal=str(path)) as other:
            await one.create_listen_key()
            await other.create_listen_key()

        assert {entry.started.label for entry in entries(path)} == {one.label, other.label}


def writes() -> list[str]:
    """Return the names of all endpoints that change something."""
    return [name for name, endpoint in ENDPOINTS.items() if endpoint.is_write]


@pytest.mark.parametrize("name", writes())
async def test_no_endpoint_writes_a_secret(name: str, path: Path) -> None:
    """Neither the parameters nor the response of any write brings a key, a secret or a signature into the journal."""
    key, secret, listen_key = "canary-key-1733", "canary-secret-9121", "canary-listen-5512"
    sent: list[httpx.Request] = []

    def respond(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        answer = sample_of(name)["answer"]
        return httpx.Response(200, json=answer | {"listenKey": listen_key} if "listenKey" in answer else answer)

    session = Session(http=httpx.MockTransport(respond), budget=Budget())
    async with Client(key, secret, session=session, journal=path) as client:
        # The times in samples have passed.
        options = {"check": False} if ENDPOINTS[name].check else {}
        await attrgetter(name)(client)(**sample_of(name)["call"], **options)

    text = text_of(path)
    signature = sent[0].url.params.get("signature", "no signature")
    assert [entry.outcome for entry in entries(path)] == ["done"]
    assert [one for one in (key, secret, listen_key, signature, "signature") if one in text] == []


async def test_a_parameter_that_is_named_like_a_secret_is_hidden(pm: Sandbox, path: Path) -> None:
    """An endpoint that is not declared here may take one."""
    async with pm.client(journal=path) as client:
        params = {"listenKey": "canary", "symbol": "BTCUSDT"}
        with pytest.raises(PortfolioMarginError):
            await client.request("PUT", "/papi/v1/x", weight=1, returns=dict[str, Any], params=params)

    assert entries(path)[0].started.parameters == {"listenKey": "...", "symbol": "BTCUSDT"}


async def test_the_ids_of_an_undeclared_response_are_noted(pm: Sandbox, path: Path) -> None:
    """By the exchange's names."""
    params = {name: str(value) for name, value in _ORDER.items() if name != "time_in_force"} | {"timeInForce": "GTC"}
    async with pm.client(journal=path) as client:
        answer = await client.request(
            "POST", PATH, weight=1, returns=dict[str, Any], params=params | {"price": "30000"}
        )

    [entry] = entries(path)
    assert entry.ended is not None
    assert entry.ended.ids["order_id"] == answer["orderId"]


class TestReading:
    """Files that are not as a journal should be."""

    @pytest.mark.parametrize(
        "content",
        [
            b"hello\n",
            b'{"a":1}\n' + HEADER,
            HEADER.replace(b"1", b"2"),
            HEADER + b"hello\n",
            HEADER + b'{"line":"begun","id":"1"}\n',
            HEADER + b"\0" * 100 + b"\n",
            HEADER + b"x" * 2**21,
            HEADER + b"\xff\n",
        ],
    )
    def test_garbage_is_refused(self, content: bytes, path: Path) -> None:
        """Except at the end of the file, nothing can be explained by a crash."""
        path.write_bytes(content)

        with pytest.raises(JournalError):
            entries(path)

    @pytest.mark.parametrize("name", ["missing", ".", "\0"])
    def test_a_file_that_cannot_be_read_is_refused(self, name: str, tmp_path: Path) -> None:
        """A missing file, a folder, or no path."""
        with pytest.raises(JournalError):
            entries(tmp_path / name)

    def test_joined_journals_are_read_as_one(self, path: Path) -> None:
        """Such as those of several days."""
        path.write_bytes(HEADER + started("1") + HEADER + started("2"))

        assert [entry.started.id for entry in read_journal(path)] == ["1", "2"]

    def test_memory_does_not_grow_with_the_file(self, path: Path) -> None:
        """A write with a known outcome is passed on and forgotten."""
        with path.open("wb") as file:
            file.write(HEADER)
            for number in range(20_000):
                file.write(started(f"{number}") + ended(f"{number}"))
        tracemalloc.start()
        count = sum(1 for _ in read_journal(path))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()

        assert count == 20_000
        assert peak < 1_000_000
