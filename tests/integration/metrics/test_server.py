"""The scrape over real HTTP: what is answered, to whom, and that it ends."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from threading import Thread

import anyio
import anyio.lowlevel
import httpx
import pytest
import trio
from prometheus_client.metrics_core import Metric

from binance_pm import ConfigurationError
from binance_pm.errors import CallInfo
from binance_pm.fleet import Fleet, Member, Reading
from binance_pm.metrics import Metrics
from binance_pm.metrics import server as module
from binance_pm.testing import Sandbox
from tests.support.scrape import free_port, scrape_over_http


@pytest.fixture
def port() -> int:
    """Where the metrics are served."""
    return free_port()


@asynccontextmanager
async def one_reading(pm: Sandbox, metrics: Metrics) -> AsyncGenerator[Fleet]:
    """A fleet of one account that was read."""
    async with Fleet([Member(pm.client(), product="span")]) as fleet:
        metrics.watch(fleet)
        async for event in fleet.watch(warn="1.5"):
            metrics.receive(event)
            if isinstance(event, Reading):
                break
        yield fleet


async def ask(port: int, request: str) -> bytes:
    """Everything that a request is answered."""
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(request.encode())
        answer = b""
        while True:
            try:
                answer += await stream.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return answer


async def test_a_scrape(pm: Sandbox, port: int) -> None:
    """All of it in one answer, without the series of the library's own bookkeeping."""
    metrics = Metrics()
    async with one_reading(pm, metrics), metrics.serve(port=port):
        now = await scrape_over_http(port)

        assert now.get("account_readings_total", account="account-01", endpoint="span_account") == 1
        assert now.get("events_total", account="account-01", type="Reading") == 1
        assert now.get("account_uni_mmr", account="account-01")
        assert "_created" not in now.text
        assert pm.accounts[0].api_key not in now.text


def test_a_scrape_under_trio(port: int) -> None:
    """As everything else."""

    async def main() -> None:
        from binance_pm.testing import sandbox  # noqa: PLC0415

        metrics = Metrics()
        async with sandbox(in_memory=True, accounts=1) as pm, one_reading(pm, metrics), metrics.serve(port=port):
            assert (await scrape_over_http(port)).get("account_uni_mmr", account="account-01")

    trio.run(main)


async def test_without_an_open_fleet_the_scrape_fails(pm: Sandbox, port: int) -> None:
    """Before it is watched, as while its keys are read, and after it was left."""
    metrics = Metrics()
    async with metrics.serve(port=port), httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
        before = await http.get("/metrics")
        async with one_reading(pm, metrics):
            during = await http.get("/metrics")
        after = await http.get("/metrics")

    assert [answer.status_code for answer in (before, during, after)] == [503, 200, 503]
    assert after.text == "No fleet is watched.\n"


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        ("GET /metrics?x=1 HTTP/1.1", 200),
        ("GET /metrics HTTP/1.0", 200),
        ("GET / HTTP/1.1", 404),
        ("GET /metricsx HTTP/1.1", 404),
        ("POST /metrics HTTP/1.1", 405),
        ("GET /metrics", 400),
        ("\x16\x03\x01 nonsense", 400),
    ],
)
async def test_what_is_asked(pm: Sandbox, port: int, request_line: str, status: int) -> None:
    """One page, by GET."""
    metrics = Metrics()
    async with one_reading(pm, metrics), metrics.serve(port=port):
        answer = await ask(port, f"{request_line}\r\nHost: x\r\n\r\n")

    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"Content-Length: %d\r\n" % len(body) in head
    assert (b"Allow: GET, HEAD" in head) == (status == 405)


async def test_head_has_no_body(pm: Sandbox, port: int) -> None:
    """Only how long it would be."""
    metrics = Metrics()
    async with one_reading(pm, metrics), metrics.serve(port=port):
        answer = await ask(port, "HEAD /metrics HTTP/1.1\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"\r\n\r\n")
    assert b"Content-Length: 0" not in answer


async def test_whoever_talks_too_much_or_leaves_is_hung_up_on(pm: Sandbox, port: int) -> None:
    """And the next scrape is answered."""
    metrics = Metrics()
    async with one_reading(pm, metrics), metrics.serve(port=port):
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            await stream.send(b"GET /metrics HT")

        assert await ask(port, "x" * 20_000) == b""
        assert await scrape_over_http(port)


async def test_whoever_says_nothing_is_hung_up_on(pm: Sandbox, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while."""
    monkeypatch.setattr(module, "_LONGEST_SECONDS", 0.05)
    metrics = Metrics()
    async with one_reading(pm, metrics), metrics.serve(port=port):
        assert await ask(port, "") == b""


async def test_a_port_in_use_is_one_line(port: int) -> None:
    """It says which."""
    with socket.create_server(("127.0.0.1", port)), pytest.raises(OSError, match="cannot listen on") as refused:
        async with Metrics().serve(port=port):
            pass

    assert refused.value.errno == errno.EADDRINUSE
    assert refused.value.strerror == f"cannot listen on 127.0.0.1:{port}: Address already in use"


async def test_leaving_closes_within_a_second(pm: Sandbox, port: int) -> None:
    """Whoever is connected and says nothing does not hold it up; the port is free again."""
    metrics = Metrics()
    async with one_reading(pm, metrics):
        with anyio.fail_after(10):
            async with metrics.serve(port=port):
                silent = await anyio.connect_tcp("127.0.0.1", port)
                await anyio.lowlevel.checkpoint()
                began = time.monotonic()
            took = time.monotonic() - began
        await silent.aclose()

        assert took < 1
        with pytest.raises(OSError):  # noqa: PT011 - whatever it is called, nobody listens
            await anyio.connect_tcp("127.0.0.1", port)
        async with metrics.serve(port=port):
            assert await scrape_over_http(port)


async def test_a_loop_that_hangs_answers_nobody(pm: Sandbox, port: int) -> None:
    """A scrape that fails is seen; old figures would not be."""
    ended: list[str] = []

    def scrape() -> None:
        try:
            httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=0.3)
        except httpx.TimeoutException as error:
            ended.append(type(error).__name__)

    metrics = Metrics()
    async with one_reading(pm, metrics), metrics.serve(port=port):
        thread = Thread(target=scrape)
        thread.start()
        # The loop waits here, and answers nobody.
        thread.join()

    assert ended == ["ReadTimeout"]


async def test_an_error_of_the_callers_own_passes_as_it_is(port: int) -> None:
    """Not in a group, and with its cause."""
    cause = ValueError("why")

    with pytest.raises(ConfigurationError) as raised:
        async with Metrics().serve(port=port):
            raise ConfigurationError(CallInfo("Fleet"), "the caller's") from cause

    assert raised.value.__cause__ is cause


async def test_a_collector_that_fails_ends_nothing(pm: Sandbox, port: int, caplog: pytest.LogCaptureFixture) -> None:
    """The scrape fails and says so in the log; the fleet is watched on."""

    class Broken:
        def collect(self) -> list[Metric]:
            raise RuntimeError("another collector of the program")

    metrics = Metrics()
    metrics.registry.register(Broken())
    async with one_reading(pm, metrics), metrics.serve(port=port):
        answer = await ask(port, "GET /metrics HTTP/1.1\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"RuntimeError" not in answer
    assert "The metrics could not be collected." in caplog.text


async def test_a_listener_that_cannot_accept_is_tried_again(
    pm: Sandbox, port: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As where no file descriptor is left: the watch goes on, and scrapes when there are some again."""
    monkeypatch.setattr(module, "_PAUSE_SECONDS", 0.0)
    failures = [OSError(errno.EMFILE, "Too many open files"), OSError(errno.EMFILE, "Too many open files")]
    create = anyio.create_tcp_listener

    async def failing(*, local_host: str, local_port: int) -> object:
        listener = await create(local_host=local_host, local_port=local_port)
        serve = listener.serve

        async def serve_or_fail(handler: object) -> None:
            if failures:
                raise ExceptionGroup("of a task group", [failures.pop()])
            await serve(handler)  # pyright: ignore[reportArgumentType]

        monkeypatch.setattr(listener, "serve", serve_or_fail)
        return listener

    monkeypatch.setattr(anyio, "create_tcp_listener", failing)
    metrics = Metrics()
    async with one_reading(pm, metrics), metrics.serve(port=port):
        assert await scrape_over_http(port)

    assert caplog.text.count("No scrape can be accepted: [Errno 24] Too many open files") == 2
