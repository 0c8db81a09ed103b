"""On a socket the exchange starts fast, breaks connections on demand and leaves nothing behind."""

from __future__ import annotations

import logging
import socket
import threading
import time
from typing import TYPE_CHECKING

import anyio
import httpx
import pytest

from binance_pm.sandbox import Exchange, Fault, serve

if TYPE_CHECKING:
    from tests.sandbox.conftest import Caller, FakeClock

PING = "/papi/v1/ping"

# Whether a closed connection shows as its end or as a reset depends on what was still unread.
DROPPED = (httpx.NetworkError, httpx.RemoteProtocolError)


class Stuck:
    """A sleep that never ends, and tells when it has begun."""

    def __init__(self) -> None:
        self.begun = threading.Event()

    async def __call__(self, _: float) -> None:
        """Sleep until cancelled."""
        self.begun.set()
        await anyio.sleep_forever()


def has_ipv6() -> bool:
    """Whether this machine can listen on its own IPv6 address."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


def ask(
    url: str, request: bytes = b"GET /papi/v1/ping HTTP/1.1\r\nHost: sandbox\r\nConnection: close\r\n\r\n"
) -> bytes:
    """Everything the server sends back to a raw request, until it closes."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_answers_on_a_socket(exchange: Exchange) -> None:
    """Within the block the URL answers."""
    with serve(exchange) as url, httpx.Client(base_url=url) as client:
        answer = client.get(PING)

    assert answer.json() == {}


def test_signed_request_on_a_socket(exchange: Exchange, caller: Caller) -> None:
    """A signed request is answered as in memory."""
    with serve(exchange) as url, httpx.Client(base_url=url, headers={"X-MBX-APIKEY": caller.key.api_key}) as client:
        answer = client.get(f"/papi/v1/account?{caller.query()}")

    assert answer.json()["accountStatus"] == "NORMAL"


def test_sends_no_headers_of_the_server(exchange: Exchange) -> None:
    """There is one Date, the exchange's, and nothing about the software."""
    with serve(exchange) as url, httpx.Client(base_url=url) as client:
        headers = client.get(PING).headers

    assert headers.get_list("Date") == ["Fri, 15 Jan 2027 08:00:00 GMT"]
    assert "Server" not in headers


def test_forwarded_addresses_are_not_believed(exchange: Exchange) -> None:
    """Weight is counted for the address of the connection, whatever a header says."""
    with serve(exchange) as url, httpx.Client(base_url=url) as client:
        client.get(PING, headers={"X-Forwarded-For": "10.0.0.1"})

    assert exchange.used("papi", holder="127.0.0.1") == 1


def test_counts_open_connections(exchange: Exchange) -> None:
    """A connection kept alive is counted until it is closed."""
    with serve(exchange) as url, httpx.Client(base_url=url) as client:
        client.get(PING)
        during = exchange.open_connections

    assert (during, exchange.open_connections) == (1, 0)


def test_steered_from_another_thread(exchange: Exchange) -> None:
    """A fault injected while it serves strikes the next request."""
    with serve(exchange) as url, httpx.Client(base_url=url) as client:
        exchange.inject(Fault(status=503))
        answer = client.get(PING)

    assert answer.status_code == 503


@pytest.mark.parametrize(("effect", "used"), [(True, 1), (False, 0)])
def test_fault_drop(exchange: Exchange, *, effect: bool, used: int) -> None:
    """A dropped connection is closed without a byte, before or after the effect."""
    exchange.inject(Fault(drop=True, effect=effect))

    with serve(exchange) as url, httpx.Client(base_url=url) as client, pytest.raises(DROPPED):
        client.get(PING)

    assert exchange.used("papi") == used


def test_a_drop_sends_not_a_byte(exchange: Exchange) -> None:
    """Whoever waits for the answer gets nothing at all."""
    exchange.inject(Fault(drop=True))

    with serve(exchange) as url:
        try:
            received = ask(url)
        except ConnectionResetError:
            received = b""

    assert received == b""


def test_serves_on_after_a_drop(exchange: Exchange) -> None:
    """A dropped connection is one connection."""
    exchange.inject(Fault(drop=True))

    with serve(exchange) as url, httpx.Client(base_url=url) as client:
        with pytest.raises(DROPPED):
            client.get(PING)
        answer = client.get(PING)

    assert answer.status_code == 200


def test_fault_cut(exchange: Exchange) -> None:
    """A body cut short ends before the length that was promised."""
    exchange.inject(Fault(body=b"0123456789", cut=3))

    with serve(exchange) as url:
        head, _, body = ask(url).partition(b"\r\n\r\n")

    assert b"content-length: 10" in head.lower()
    assert body == b"012"


def test_fault_cut_breaks_the_client(exchange: Exchange) -> None:
    """A client notices that the body is not all there."""
    exchange.inject(Fault(cut=1))

    with serve(exchange) as url, httpx.Client(base_url=url) as client, pytest.raises(httpx.RemoteProtocolError):
        client.get(PING)


def test_fault_large_body(exchange: Exchange) -> None:
    """A body of 20 MB arrives whole."""
    exchange.inject(Fault(body=b"x" * 20_000_000))

    with serve(exchange) as url, httpx.Client(base_url=url) as client:
        answer = client.get(PING)

    assert len(answer.content) == 20_000_000


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_fault_redirect(exchange: Exchange, status: int) -> None:
    """A redirect names where it leads."""
    exchange.inject(Fault(status=status, headers={"Location": "http://127.0.0.1:1/"}, body=b""))

    with serve(exchange) as url, httpx.Client(base_url=url) as client:
        answer = client.get(PING)

    assert (answer.status_code, answer.headers["Location"]) == (status, "http://127.0.0.1:1/")


@pytest.mark.parametrize("status", [204, 304])
def test_fault_without_a_body(exchange: Exchange, status: int) -> None:
    """Where HTTP allows no body the answer is well-formed all the same."""
    exchange.inject(Fault(status=status))

    with serve(exchange) as url, httpx.Client(base_url=url) as client:
        answer = client.get(PING)

    assert answer.status_code == status


def test_fault_delay(exchange: Exchange, clock: FakeClock) -> None:
    """Delays are waited for by the sleep the exchange was given, before and after."""
    exchange.inject(Fault(delay=100, delay_after=200))

    with serve(exchange) as url, httpx.Client(base_url=url) as client:
        client.get(PING)

    assert clock.slept == [100, 200]


def hang(url: str, answers: list[object]) -> None:
    """Ask, and note the answer or what came in its place."""
    try:
        answers.append(httpx.get(url + PING, timeout=30))
    except httpx.TransportError as error:
        answers.append(error)


def test_stops_while_a_request_hangs(clock: FakeClock) -> None:
    """When the block ends a hanging request gets no answer, and the end does not wait for it."""
    stuck = Stuck()
    exchange = Exchange(accounts=1, clock=clock, sleep=stuck)
    exchange.inject(Fault(delay=1000))
    answers: list[object] = []

    with serve(exchange) as url:
        asking = threading.Thread(target=hang, args=(url, answers))
        asking.start()
        assert stuck.begun.wait(10)
        begun = time.monotonic()
    took = time.monotonic() - begun
    asking.join(10)

    assert isinstance(answers[0], DROPPED)
    # Who asks would give up after thirty seconds.
    assert took < 10


def test_stops_with_connections_open(exchange: Exchange) -> None:
    """A connection that was left open is closed at the end of the block."""
    with httpx.Client() as client:
        with serve(exchange) as url:
            client.get(url + PING)

        with pytest.raises(httpx.TransportError):
            client.get(url + PING)


def test_leaves_no_thread(exchange: Exchange) -> None:
    """After the block the threads are those of before."""
    before = set(threading.enumerate())

    with serve(exchange) as url:
        httpx.get(url + PING)

    assert set(threading.enumerate()) == before


def test_frees_the_port(exchange: Exchange) -> None:
    """After the block the same port can be served again at once."""
    with serve(exchange) as url:
        httpx.get(url + PING)
    port = int(url.rpartition(":")[2])

    with serve(exchange, port=port) as again:
        assert httpx.get(again + PING).status_code == 200


def test_two_at_a_time() -> None:
    """Exchanges do not disturb one another."""
    one, two = Exchange(accounts=1), Exchange(accounts=1)

    with serve(one) as first, serve(two):
        httpx.get(first + PING)

    assert (one.used("papi"), two.used("papi")) == (1, 0)


def test_an_error_in_the_block_passes(exchange: Exchange) -> None:
    """An error raised in the block comes out as it is."""
    with pytest.raises(LookupError, match="mine"), serve(exchange):
        raise LookupError("mine")


def test_port_taken(exchange: Exchange) -> None:
    """A port that is taken is an OSError that names it."""
    with serve(exchange) as url:
        port = int(url.rpartition(":")[2])
        with pytest.raises(OSError, match=f"{port}"), serve(exchange, port=port):
            pass


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_refuses_other_machines(exchange: Exchange, host: str) -> None:
    """Nothing that others could reach is opened by accident."""
    with pytest.raises(ValueError, match="beyond_loopback"), serve(exchange, host=host):
        pass


def test_other_machines_when_asked(exchange: Exchange) -> None:
    """Whoever asks for it gets it."""
    with serve(exchange, host="0.0.0.0", beyond_loopback=True) as url:
        assert url.startswith("http://0.0.0.0:")


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_six_is_bracketed(exchange: Exchange) -> None:
    """An IPv6 address stands in brackets."""
    with serve(exchange, host="::1") as url:
        assert httpx.get(url + PING).status_code == 200


@pytest.mark.parametrize(
    "provoke", [Fault(drop=True), Fault(cut=1), Fault(status=200, body=b"fine")], ids=["drop", "cut", "fine"]
)
def test_logs_nothing(exchange: Exchange, caplog: pytest.LogCaptureFixture, provoke: Fault) -> None:
    """Neither serving nor failing on demand is news."""
    caplog.set_level(logging.INFO)
    exchange.inject(provoke)
    answers: list[object] = []

    with serve(exchange) as url:
        hang(url, answers)

    assert [record for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))] == []


def test_nonsense_is_refused_in_silence(exchange: Exchange, caplog: pytest.LogCaptureFixture) -> None:
    """What is no HTTP at all is refused and not logged."""
    with serve(exchange) as url:
        answer = ask(url, b"\x16\x03\x01 nonsense\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 400")
    assert caplog.records == []


def test_starts_fast(exchange: Exchange) -> None:
    """A test suite can afford a server for each test."""
    # Other programs only ever make it slower: one fast start is enough.
    assert any(seconds_to_start(exchange) < 1 for _ in range(10))


def seconds_to_start(exchange: Exchange) -> float:
    """From the beginning until it listens."""
    begun = time.monotonic()
    with serve(exchange):
        return time.monotonic() - begun
