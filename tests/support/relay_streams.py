"""Shared by tests of a published stream: events, entries of the stream, and a server whose replies are lost."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, cast

import msgspec
import redis

from binance_pm.fleet import Fresh, Reading, StreamEvent, decode_event
from tests.support.raw_server import serve_raw

LONGEST = 20.0
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
    """A connection to inspect and change the server."""
    client: Any = cast("Any", redis.Redis).from_url(url, protocol=2)
    try:
        yield client
    finally:
        client.close()


def seen_in(url: str, stream: str) -> list[Seen]:
    """Return everything in a stream."""
    with beside(url) as client:
        found = client.xrange(f"binance-pm:{{{stream}}}:events")
    told = [{name.decode(): value.decode() for name, value in words.items()} for _, words in found]
    return [Seen(one["shard"], one["run"], int(one["number"]), decode_event(one["event"])) for one in told]


def wait_for(holds: Callable[[], bool]) -> None:
    """Wait for another thread or process."""
    until = time.monotonic() + LONGEST
    while not holds():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.01)


@contextmanager
def losing_replies(path: str, which: Callable[[bytes], bool]) -> Generator[str, None, None]:
    """Forward to the server of a socket file; some replies are lost."""

    def behave(connection: socket.socket) -> None:
        with socket.socket(socket.AF_UNIX) as server:
            server.connect(path)
            while sent := connection.recv(2**20):
                server.sendall(sent)
                reply = server.recv(2**20)
                if which(sent):
                    connection.shutdown(socket.SHUT_RDWR)
                    return
                connection.sendall(reply)

    with serve_raw(behave) as between:
        yield between.url.replace("http", "redis")
