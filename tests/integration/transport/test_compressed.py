"""A few compressed bytes may expand to gigabytes: no engine accepts them."""

from __future__ import annotations

import gzip
import resource
import socket
import time

import httpx
import pytest

from tests.support.engines import Engine, failure_of, httpx_engine, only_failure, request, send
from tests.support.raw_server import answering, http, read_request, serve_raw

COMPRESSED = "the response is compressed, although no compression was accepted"


@pytest.mark.parametrize(
    "fields",
    [
        "Content-Encoding: gzip",
        "content-encoding: GZIP",
        "Content-Encoding: unknown",
        "Content-Encoding: gzip, gzip",
        "Content-Encoding: identity, gzip",
        "Content-Encoding: identity\r\nContent-Encoding: br",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: gzip",
    ],
)
async def test_a_compressed_response(fields: str, engine: Engine) -> None:
    """Both engines refuse the response with the same text, as sent."""
    size = "" if "Transfer" in fields else "Content-Length: 12\r\n"
    answer = f"HTTP/1.1 200 OK\r\n{fields}\r\n{size}\r\n2\r\n{{}}\r\n0\r\n\r\n"
    with serve_raw(answering(answer.encode())) as server:
        failure = await only_failure(engine(), request(server.url))

    assert (failure.reason, failure.sent) == (COMPRESSED, True)


@pytest.mark.parametrize("fields", ["Content-Encoding: identity", "Content-Encoding: Identity", "Content-Encoding:"])
async def test_an_uncompressed_response(fields: str, engine: Engine) -> None:
    """The response is accepted."""
    with serve_raw(answering(http(b"{}", headers=f"{fields}\r\n"))) as server:
        async with engine() as transport:
            (answer,) = await send(transport, request(server.url))

    assert answer.body == b"{}"


@pytest.mark.parametrize("status", [403, 418, 429])
async def test_a_compressed_refusal(status: int, engine: Engine) -> None:
    """Its status and Retry-After are kept."""
    headers = "Content-Encoding: gzip\r\nRetry-After: 7\r\n"
    with serve_raw(answering(http(b"abc", status=f"{status} No", headers=headers))) as server:
        async with engine() as transport:
            (answer,) = await send(transport, request(server.url))

    assert (answer.status, answer.retry_after, answer.body) == (status, 7, b"")


async def test_refusing_costs_neither_memory_nor_time(engine: Engine) -> None:
    """1.8 kB that expand to gigabytes are not decompressed."""
    bomb = gzip.compress(gzip.compress(bytes(2**24)))
    with serve_raw(answering(http(bomb, headers="Content-Encoding: gzip, gzip\r\n"))) as server:
        async with engine() as transport:
            before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.thread_time()
            await failure_of(transport, request(server.url))

    assert time.thread_time() - began < 0.1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**13


async def test_the_connection_is_not_reused(engine: Engine) -> None:
    """Bytes after a refused response belong to no request."""

    def behave(connection: socket.socket) -> None:
        while read_request(connection):
            encoding = "Content-Encoding: gzip\r\n" if len(server.connections) == 1 else ""
            connection.sendall(http(b"{}", headers=encoding))

    with serve_raw(behave) as server:
        async with engine() as transport:
            await failure_of(transport, request(server.url))
            await send(transport, request(server.url))

    assert len(server.connections) == 2


class TestBrought:
    """Clients and transports of the caller that decompress."""

    async def test_a_client(self) -> None:
        """The client gets no chance to decompress."""
        with serve_raw(answering(http(gzip.compress(b"{}"), headers="Content-Encoding: gzip\r\n"))) as server:
            async with httpx.AsyncClient(trust_env=False) as http_client:
                failure = await only_failure(httpx_engine(http=http_client), request(server.url))

        assert (failure.reason, failure.sent) == (COMPRESSED, True)

    async def test_a_transport(self) -> None:
        """The response is refused, although it may already be complete in memory."""
        statuses = [200, 429]

        def answer(_: httpx.Request) -> httpx.Response:
            content = gzip.compress(b"{}")
            return httpx.Response(statuses.pop(0), headers={"Content-Encoding": "gzip"}, content=content)

        async with httpx_engine(http=httpx.MockTransport(answer)) as transport:
            failure = await failure_of(transport, request("https://papi.binance.com"))
            (refused,) = await send(transport, request("https://papi.binance.com"))

        assert (failure.reason, refused.status, refused.body) == (COMPRESSED, 429, b"")
