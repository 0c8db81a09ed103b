"""For the sections about user data streams."""

# Imports that this module does not use are for the sections of messages.txt.
# pyright: reportUnusedImport=false
from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import Any

import httpx
from websockets.datastructures import Headers
from websockets.http11 import Response

from binance_pm import Budget, Client, Session
from binance_pm.cli.demo import describe_item
from binance_pm.errors import CallInfo, ConnectError
from binance_pm.signing import Secret
from binance_pm.stream.items import StreamDown, StreamGap
from binance_pm.stream.policy import StreamSettings
from binance_pm.stream.stream import EventStream
from binance_pm.stream.websocket import StreamAddress, open_socket
from binance_pm.testing import running_sandbox
from binance_pm.transport.http import Timeouts, TransportSettings
from binance_pm.transport.proxy import read_proxy
from tests.messages.stage import KEY, SECRET, Stage
from tests.support.certificates import Authority
from tests.support.raw_server import serve_raw
from tests.support.stream_server import StreamServer, stream_server
from tests.support.stream_source import source_of
from tests.support.streams import order_event, supervised

QUIET = StreamSettings(confirm_every=60, ping_every=60, overlap=0.01, first_backoff=0.01, longest_backoff=0.02)


async def entered(**options: Any) -> None:
    """Enter a stream of a session with options."""
    async with (
        Session(budget=Budget(), **options) as session,
        Client(KEY, SECRET, session=session, label="desk") as one,
    ):
        await one.stream().__aenter__()


async def refused_stream_url() -> None:
    """Create a client for another server of streams."""
    Client(KEY, SECRET, stream_url="ws://fstream.binance.com")


async def before_entering() -> None:
    """Read from a stream that was not entered."""
    await anext(Client(KEY, SECRET, label="desk").stream())


async def entered_twice() -> None:
    """Enter a stream that is open."""
    with running_sandbox(accounts=1) as pm:
        async with pm.client(label="desk") as one, one.stream() as events:
            await events.__aenter__()


async def state_before_entering() -> None:
    """Ask a stream that was not entered for its age."""
    _ = Client(KEY, SECRET, label="desk").stream().age


async def under(*faults: Callable[[StreamServer], object]) -> None:
    """Run a stream under faults, one after the other."""
    with stream_server() as server:
        async with supervised(source_of(server), QUIET) as stream:
            for number, fault in enumerate(faults, 1):
                fault(server)
                await stream.next_of(StreamGap, number)


async def unreadable() -> None:
    """Push a message that is not JSON."""
    await under(lambda server: server.push(b'{"e":'))


async def unconfirmed() -> None:
    """Make a confirmation and the next attempt to connect fail."""
    asked = 0

    def refuse() -> ConnectError | None:
        nonlocal asked
        asked += 1
        return (
            ConnectError(CallInfo("create_listen_key", "desk"), "papi.binance.com: no answer") if asked == 2 else None
        )

    settings = StreamSettings(confirm_every=0.1, first_backoff=0.01, ping_every=60)
    with stream_server() as server:
        async with supervised(source_of(server, refuse=refuse), settings) as stream:
            await stream.until_true(lambda: server.posts >= 2)


async def not_rotated() -> None:
    """Refuse the new connection of a rotation."""
    refused = False

    def refuse() -> Response | None:
        nonlocal refused
        refused = not refused
        return Response(503, "", Headers({"Content-Length": "0"})) if refused else None

    with stream_server() as server:
        async with supervised(source_of(server), QUIET) as stream:
            server.refuse = refuse
            server.push({"e": "serverShutdown", "E": 1})
            await stream.until_true(lambda: bool(stream.supervisor.counts.rotations))


async def still_down() -> None:
    """Refuse the second connection."""
    refused = 0

    def refuse() -> Response | None:
        nonlocal refused
        refused += 1
        return Response(503, "", Headers({"Content-Length": "0"})) if refused == 1 else None

    with stream_server() as server:
        async with supervised(source_of(server), QUIET) as stream:
            server.refuse = refuse
            server.break_all()
            await stream.next_of(StreamGap)


async def failing_observer() -> None:
    """Run a stream with an observer that fails."""

    def fail(_: object) -> None:
        raise ZeroDivisionError

    with running_sandbox(accounts=1) as pm:
        client = pm.client(label="desk")
        async with client, EventStream(client, "pm", observers=[fail]):
            pass


async def through(stage: Stage, scheme: str, answer: bytes, *more: bytes, user: str = "") -> None:
    """Connect to a stream through a proxy that answers with some bytes."""

    def behave(connection: socket.socket) -> None:
        for piece in (answer, *more):
            connection.recv(2000)
            connection.sendall(piece)

    with serve_raw(behave) as proxy:
        settings = TransportSettings(timeouts=Timeouts(connect=2))
        there = read_proxy(f"{scheme}://{user}{proxy.place}")
        path, tls = Secret("/pm/ws/canary"), Authority(stage.folder).client()
        address = StreamAddress("wss", "stream.example", 443, "stream.example", path, settings, tls, there)
        async with open_socket(address):
            raise AssertionError("not reached")


async def without_extra(stage: Stage) -> None:
    """Enter a stream without the library."""

    def find_nothing(_: str) -> None:
        return None

    stage.patch.setattr("binance_pm.stream.source.find_spec", find_nothing)
    await entered()
