"""The scrape over real HTTP: which requests get which response, and that the server ends."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from threading import Thread

import anyio
import httpx
import pytest
import trio
from prometheus_client.metrics_core import Metric

from binance_pm import ConfigurationError
from binance_pm.errors import CallInfo
from binance_pm.fleet import Fleet, Member, Reading
from binance_pm.metrics import Metrics
from binance_pm.metrics import server as module
from binance_pm.testing import Sandbox, sandbox
from tests.support.scrape import scrape_over_http
from tests.support.valkey import free_port


@pytest.fixture
def port() -> int:
    """A free port for the metrics."""
    return free_port()


@asynccontextmanager
async def served(pm: Sandbox, port: int, metrics: Metrics | None = None) -> AsyncGenerator[Fleet]:
    """Serve the metrics of a fleet of one account that was read."""
    metrics = metrics or Metrics()
    async with Fleet([Member(pm.client(), product="span")]) as fleet:
        metrics.watch(fleet)
        async for event in fleet.watch(warn="1.5"):
            metrics.receive(event)
            if isinstance(event, Reading):
                break
        async with metrics.serve(port=port):
            yield fleet


async def ask(port: int, request: str) -> bytes:
    """Return the whole response to a request."""
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(request.encode())
        response = b""
        while True:
            try:
                response += await stream.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return response


async def test_a_scrape(pm: Sandbox, port: int) -> None:
    """The response contains all metrics, without the series of the library's own bookkeeping."""
    async with served(pm, port):
        now = await scrape_over_http(port)

    assert now.get("account_readings_total", account="account-01", endpoint="span_account") == 1
    assert now.get("events_total", account="account-01", type="Reading") == 1
    assert now.get("account_uni_mmr", account="account-01")
    assert "_created" not in now.text
    assert pm.accounts[0].api_key not in now.text


def test_a_scrape_under_trio(port: int) -> None:
    """The server answers when the fleet runs on trio."""

    async def main() -> None:
        async with sandbox(in_memory=True, accounts=1) as pm, served(pm, port):
            assert (await scrape_over_http(port)).get("account_uni_mmr", account="account-01")

    trio.run(main)


async def test_without_an_open_fleet_the_scrape_fails(pm: Sandbox, port: int) -> None:
    """The response is 503 before a fleet is watched and after the fleet was closed."""
    metrics = Metrics()
    second = free_port()
    async with metrics.serve(port=port), httpx.AsyncClient() as http:
        statuses = [(await http.get(f"http://127.0.0.1:{port}/metrics")).status_code]
        async with served(pm, second, metrics):
            statuses += [(await http.get(f"http://127.0.0.1:{one}/metrics")).status_code for one in (port, second)]
        statuses.append((await http.get(f"http://127.0.0.1:{port}/metrics")).status_code)

    assert statuses == [503, 200, 200, 503]


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        ("GET /metrics?x=1 HTTP/1.1", 200),
        ("HEAD /metrics HTTP/1.0", 200),
        ("GET / HTTP/1.1", 404),
        ("GET /metricsx HTTP/1.1", 404),
        ("POST /metrics HTTP/1.1", 501),
        ("GET /" + "x" * 70_000 + " HTTP/1.1", 414),
    ],
)
async def test_there_is_one_page(pm: Sandbox, port: int, request_line: str, status: int) -> None:
    """Every other request is refused, and the length of the body is stated."""
    async with served(pm, port):
        response = await ask(port, f"{request_line}\r\nHost: x\r\n\r\n")
        assert await scrape_over_http(port)

    head, _, body = response.partition(b"\r\n\r\n")
    assert b" %d " % status in head.splitlines()[0]
    assert (b"Content-Length: %d\r\n" % len(body) in head + b"\r\n") is not request_line.startswith("HEAD")
    assert bool(body) is not request_line.startswith("HEAD")


async def test_a_silent_client_is_disconnected(pm: Sandbox, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that sends nothing in time gets no response."""
    monkeypatch.setattr("binance_pm.metrics.server._Handler.timeout", 0.05)
    async with served(pm, port):
        assert await ask(port, "GET /metrics HT") == b""


async def test_a_port_in_use_is_reported(port: int) -> None:
    """The error contains the address."""
    with socket.create_server(("127.0.0.1", port)), pytest.raises(OSError, match=f"127.0.0.1:{port}") as refused:
        async with Metrics().serve(port=port):
            pass

    assert refused.value.errno == errno.EADDRINUSE


async def test_leaving_closes_within_a_second(pm: Sandbox, port: int) -> None:
    """A client that is connected and sends nothing does not delay the end, and the port is free again."""
    for _ in range(2):
        async with served(pm, port):
            silent = await anyio.connect_tcp("127.0.0.1", port)
            assert await scrape_over_http(port)
            began = time.monotonic()
        assert time.monotonic() - began < 1
        await silent.aclose()
        with pytest.raises(OSError):  # noqa: PT011 - the kind depends on the system
            await anyio.connect_tcp("127.0.0.1", port)


async def test_a_blocked_event_loop_fails_the_scrape(pm: Sandbox, port: int) -> None:
    """A scrape that fails is noticed; old figures would not be."""
    ended: list[str] = []

    def scrape() -> None:
        try:
            httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=0.3)
        except httpx.TimeoutException as error:
            ended.append(type(error).__name__)

    async with served(pm, port):
        thread = Thread(target=scrape)
        thread.start()
        # The event loop is blocked here.
        thread.join()

    assert ended == ["ReadTimeout"]


async def test_an_error_of_the_callers_block_is_raised_as_it_is(port: int) -> None:
    """The error is not in a group, and keeps its cause."""
    cause = ValueError()

    with pytest.raises(ConfigurationError) as raised:
        async with Metrics().serve(port=port):
            raise ConfigurationError(CallInfo("Fleet"), "the caller's") from cause

    assert raised.value.__cause__ is cause


async def test_a_collector_that_fails_ends_nothing(pm: Sandbox, port: int, caplog: pytest.LogCaptureFixture) -> None:
    """Only the scrape fails, and the error is in the log."""

    class Broken:
        def collect(self) -> list[Metric]:
            raise RuntimeError

    metrics = Metrics()
    metrics.registry.register(Broken())
    async with served(pm, port, metrics):
        response = await ask(port, "GET /metrics HTTP/1.1\r\n\r\n")

    assert b" 500 " in response.splitlines()[0]
    assert b"RuntimeError" not in response
    assert [record.exc_info is not None for record in caplog.records if record.name == module.__name__] == [True]


async def test_a_listener_that_cannot_accept_is_tried_again(
    pm: Sandbox, port: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """If no file descriptor is left, the watch goes on, and scrapes are answered when there are some again."""
    monkeypatch.setattr(module, "_PAUSE_SECONDS", 0.0)
    failures = [OSError(errno.EMFILE, "Too many open files")] * 2
    accept = socket.socket.accept

    def failing(listener: socket.socket) -> object:
        if failures and listener.getsockname()[1] == port:
            raise failures.pop()
        return accept(listener)

    async with served(pm, port):
        with monkeypatch.context() as patch:
            patch.setattr(socket.socket, "accept", failing)
            assert await scrape_over_http(port)

    assert len([record for record in caplog.records if record.name == module.__name__]) == 2
