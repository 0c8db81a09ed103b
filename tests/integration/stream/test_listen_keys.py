"""The handling of any response to the POST of a listen key."""

from __future__ import annotations

import json
import logging
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

from binance_pm import AuthenticationError, Budget, Client, RequestRejected, Session
from binance_pm.stream.items import StreamDown
from binance_pm.stream.policy import StreamSettings
from binance_pm.transport.http import Timeouts
from tests.integration.stream.conftest import Run
from tests.support.raw_server import serve_raw
from tests.support.waiting import eventually

CANARY = "canary0001"
SETTINGS = StreamSettings(first_backoff=0.01, longest_backoff=0.02)


class Exchange:
    """A server that gives the same response to every POST, and refuses handshakes."""

    def __init__(self, response: bytes) -> None:
        self.response = response
        self.posts = 0
        self.paths: list[str] = []

    def serve(self, connection: socket.socket) -> None:
        """Answer the requests of a connection."""
        while head := _head(connection):
            method, path, _ = head.split(" ", 2)
            if method == "POST":
                self.posts += 1
                connection.sendall(self.response)
            else:
                self.paths.append(path)
                connection.sendall(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                return


def _head(connection: socket.socket) -> str:
    received = b""
    while b"\r\n\r\n" not in received:
        piece = connection.recv(65_536)
        if not piece:
            return ""
        received += piece
    return received.decode()


def response(body: object, status: str = "200 OK", *, header: str = "") -> bytes:
    """Return a response."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"HTTP/1.1 {status}\r\n{header}Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    return head.encode() + content


def first_items(run: Run, exchange: Exchange, is_enough: Callable[[], object]) -> list[Any]:
    """Open a stream, wait for a number of requests, and return the items that the stream has yielded."""

    async def main() -> list[Any]:
        with serve_raw(exchange.serve) as server:
            session = Session(budget=Budget(), timeouts=Timeouts(total=1.0))
            client = Client("k" * 64, "s" * 64, papi_url=server.url, session=session, label="desk")
            async with session, client, client.stream(SETTINGS) as events:
                await eventually(is_enough)
                return [await anext(events)]

    return run(main)


@pytest.mark.parametrize("key", ["a b", "a\r\nX: y", "../../../sapi/v1/x", "?a#b%00", "é☃"])
def test_the_characters_of_a_key_stay_in_its_place(run: Run, key: str) -> None:
    """The characters of a key change neither the path before the key nor the headers."""
    exchange = Exchange(response({"listenKey": key}))
    first_items(run, exchange, lambda: exchange.paths)

    prefix, rest = exchange.paths[0][:7], exchange.paths[0][7:]
    assert prefix == "/pm/ws/"
    assert not set(rest) & set("/?# \r\n")


@pytest.mark.parametrize(
    "body",
    [
        {"listenKey": ""},
        {"listenKey": CANARY * 1_000},
        {"listenKey": None},
        {"listenKey": [CANARY]},
        {"key": CANARY},
        [CANARY],
        b"",
        b"<html>" + CANARY.encode(),
    ],
    ids=["empty", "10,000 characters", "null", "a list inside", "another name", "a list", "nothing", "a page"],
)
def test_a_response_without_a_usable_key_is_down(run: Run, body: object, caplog: pytest.LogCaptureFixture) -> None:
    """No connection is made, the POST is repeated, and no message shows a possible key."""
    caplog.set_level(logging.DEBUG)
    exchange = Exchange(response(body))
    items = first_items(run, exchange, lambda: exchange.posts >= 3)

    assert exchange.paths == []
    assert isinstance(items[0], StreamDown)
    assert CANARY not in repr(items) + caplog.text


@pytest.mark.parametrize("status", ["403 Forbidden", "418 I'm a teapot", "429 Too Many Requests"])
def test_a_limit_is_waited_out(run: Run, status: str) -> None:
    """While a limit is waited out, attempts send nothing, so that a ban is not extended."""
    exchange = Exchange(response({"code": -1003, "msg": "Too many requests."}, status, header="Retry-After: 30\r\n"))
    began = time.monotonic()
    items = first_items(run, exchange, lambda: time.monotonic() - began > 0.5)

    assert isinstance(items[0], StreamDown)
    assert exchange.posts == 1


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [(-2015, "401 Unauthorized", AuthenticationError), (-1125, "400 Bad Request", RequestRejected)],
)
def test_a_refusal_is_an_error_on_entering(run: Run, code: int, status: str, kind: type[Exception]) -> None:
    """A refusal that another attempt would not cure is raised on entering."""
    exchange = Exchange(response({"code": code, "msg": "Refused."}, status))
    with pytest.raises(kind):
        first_items(run, exchange, lambda: False)

    assert exchange.posts == 1


def test_a_redirect_is_not_followed(run: Run) -> None:
    """After a redirect, the API key is not sent to another host."""
    exchange = Exchange(response(b"", "302 Found", header="Location: /papi/v1/elsewhere\r\n"))
    items = first_items(run, exchange, lambda: exchange.posts >= 2)

    assert "redirected" in items[0].why
    assert exchange.paths == []
