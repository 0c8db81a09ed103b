"""Events, entries of a published stream, and a server whose replies are lost, for tests of streams."""

from __future__ import annotations

import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, cast

import msgspec
import redis

from binance_pm.fleet import Fresh, Reading, StreamEvent, decode_event
from tests.support.raw_server import serve_raw

START = 1_800_000_000.0


class Seen(msgspec.Struct):
    """An entry of the stream."""

    shard: str
    run: str
    number: int
    event: StreamEvent


def fresh(number: int, label: str = "desk-1") -> Fresh:
    """Return a state event identified by a number."""
    return Fresh(at=START + number, label=label, age=float(number))


def reading(number: int, label: str = "desk-1") -> Reading:
    """Return a reading identified by a number."""
    return Reading(at=START + number, label=label, responses={}, changed={})


@contextmanager
def beside(url: str) -> Generator[Any, None, None]:
    """Open a connection to inspect and change the server."""
    client: Any = cast("Any", redis.Redis).from_url(url, protocol=2)
    try:
        yield client
    finally:
        client.close()


def key_of(stream: str, kind: str = "events") -> str:
    """Return the name of a key of a stream."""
    return f"binance-pm:{{{stream}}}:{kind}"


def seen_in(url: str, stream: str) -> list[Seen]:
    """Return all entries of a stream."""
    with beside(url) as client:
        found = client.xrange(key_of(stream))
    entries = [{name.decode(): value.decode() for name, value in words.items()} for _, words in found]
    return [Seen(one["shard"], one["run"], int(one["number"]), decode_event(one["event"])) for one in entries]


@contextmanager
def losing_replies(url: str, is_lost: Callable[[bytes], bool]) -> Generator[str, None, None]:
    """Forward requests to the server of a socket file, and lose some of its replies."""

    def behave(connection: socket.socket) -> None:
        with socket.socket(socket.AF_UNIX) as server:
            server.connect(url.removeprefix("unix://"))
            while sent := connection.recv(2**20):
                server.sendall(sent)
                reply = server.recv(2**20)
                if is_lost(sent):
                    connection.shutdown(socket.SHUT_RDWR)
                    return
                connection.sendall(reply)

    with serve_raw(behave) as between:
        yield between.url.replace("http", "redis")
