"""A few compressed bytes may expand to gigabytes: no engine accepts them."""

from __future__ import annotations

import gzip
import resource
import socket
import time

import httpx
import pytest

from binance_pm.transport.http import SendFailed, Timeouts
from tests.support.engines import Departure, Engine, httpx_engine, request
from tests.support.raw_server import answering, http, read_request, serve_raw

COMPRESSED = r"^the response is compressed, although no compression was accepted$"

FIELDS = [
    "Content-Encoding: gzip",
    "content-encoding: GZIP",
    "Content-Encoding: x-gzip",
    "Content-Encoding: deflate",
    "Content-Encoding: br",
    "Content-Encoding: zstd",
    "Content-Encoding: compress",
    "Content-Encoding: gzip, gzip",
    "Content-Encoding: identity, gzip",
    "Content-Encoding: gzip\r\nContent-Encoding: gzip",
    "Content-Encoding: identity\r\nContent-Encoding: br",
    "Content-Encoding: unknown",
]
CODED = ["Transfer-Encoding: gzip, chunked", "Transfer-Encoding: gzip", "Transfer-Encoding: deflate, chunked"]


@pytest.mark.parametrize("fields", FIELDS)
async def test_a_compressed_response(fields: str, departure: Departure, engine: Engine) -> None:
    """Both engines refuse the response with the same text, as sent."""
    with serve_raw(answering(http(b"{}", headers=f"{fields}\r\n"))) as server:
        async with engine() as transport:
            with pytest.raises(SendFailed, match=COMPRESSED) as caught:
                await transport.send(request(server.url), departure)

    assert (caught.value.sent, departure.count) == (True, 1)


@pytest.mark.parametrize("fields", CODED)
async def test_a_compressed_transfer(fields: str, departure: Departure, engine: Engine) -> None:
    """The same for the transfer encoding."""
    body = b"2\r\n{}\r\n0\r\n\r\n"
    with serve_raw(answering(f"HTTP/1.1 200 OK\r\n{fields}\r\n\r\n".encode() + body)) as server:
        async with engine() as transport:
            with pytest.raises(SendFailed, match=COMPRESSED) as caught:
                await transport.send(request(server.url), departure)

    assert (caught.value.sent, departure.count) == (True, 1)


@pytest.mark.parametrize("fields", ["Content-Encoding: identity", "Content-Encoding: Identity", "Content-Encoding:"])
async def test_an_uncompressed_response(fields: str, departure: Departure, engine: Engine) -> None:
    """The response is accepted."""
    with serve_raw(answering(http(b"{}", headers=f"{fields}\r\n"))) as server:
        async with engine() as transport:
            answer = await transport.send(request(server.url), departure)

    assert answer.body == b"{}"


@pytest.mark.parametrize("status", [403, 418, 429])
@pytest.mark.parametrize("fields", ["Content-Encoding: gzip", "Content-Encoding: gzip, br"])
async def test_a_compressed_refusal(status: int, fields: str, departure: Departure, engine: Engine) -> None:
    """Its status and Retry-After are kept."""
    with serve_raw(answering(http(b"abc", status=f"{status} No", headers=f"{fields}\r\nRetry-After: 7\r\n"))) as server:
        async with engine() as transport:
            answer = await transport.send(request(server.url), departure)

    assert (answer.status, answer.retry_after, answer.body) == (status, 7, b"")


async def test_refusing_costs_neither_memory_nor_time(departure: Departure, engine: Engine) -> None:
    """1.8 kB that expand to gigabytes are not decompressed."""
    bomb = gzip.compress(gzip.compress(bytes(2**24)))
    with serve_raw(answering(http(bomb, headers="Content-Encoding: gzip, gzip\r\n"))) as server:
        async with engine(timeouts=Timeouts()) as transport:
            before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.thread_time()
            with pytest.raises(SendFailed, match=COMPRESSED):
                await transport.send(request(server.url), departure)

    assert time.thread_time() - began < 0.1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**13


async def test_the_connection_is_not_reused(departure: Departure, engine: Engine) -> None:
    """Bytes after a refused response belong to no request."""

    def behave(connection: socket.socket) -> None:
        while read_request(connection):
            encoding = "Content-Encoding: gzip\r\n" if len(server.connections) == 1 else ""
            connection.sendall(http(b"{}", headers=encoding))

    with serve_raw(behave) as server:
        async with engine() as transport:
            with pytest.raises(SendFailed, match=COMPRESSED):
                await transport.send(request(server.url), departure)
            answer = await transport.send(request(server.url), departure)

    assert (answer.body, len(server.connections)) == (b"{}", 2)


class TestBrought:
    """Clients and transports of the caller that decompress."""

    @pytest.mark.parametrize("fields", FIELDS)
    async def test_a_client(self, fields: str, departure: Departure) -> None:
        """The client gets no chance to decompress."""
        with serve_raw(answering(http(gzip.compress(b"{}"), headers=f"{fields}\r\n"))) as server:
            async with httpx.AsyncClient(trust_env=False) as http_client, httpx_engine(http=http_client) as transport:
                with pytest.raises(SendFailed, match=COMPRESSED) as caught:
                    await transport.send(request(server.url), departure)

        assert (caught.value.sent, departure.count) == (True, 1)

    async def test_a_transport(self, departure: Departure) -> None:
        """The response is refused, although it may already be complete in memory."""
        statuses = [200, 429]

        def answer(_: httpx.Request) -> httpx.Response:
            content = gzip.compress(b"{}")
            return httpx.Response(statuses.pop(0), headers={"Content-Encoding": "gzip"}, content=content)

        async with httpx_engine(http=httpx.MockTransport(answer)) as transport:
            with pytest.raises(SendFailed, match=COMPRESSED):
                await transport.send(request("https://papi.binance.com"), departure)
            refused = await transport.send(request("https://papi.binance.com"), departure)

        assert (refused.status, refused.body) == (429, b"")
