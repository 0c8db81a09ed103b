"""The websocket connections of the user data streams, on the server of the sandbox.

A connection uses the library's sans-I/O protocol, so that faults below the protocol can be produced: a half-open
connection, or a frame that violates the protocol.

Routes: ``/pm/ws/KEY`` and ``/pm-classic/ws/KEY`` follow one listen key; ``/pm/stream`` and ``/pm-classic/stream``
follow the keys that the client subscribes to, and wrap each event as ``{"stream": KEY, "data": EVENT}``.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from urllib.parse import parse_qs, urlsplit

import msgspec
from websockets.exceptions import InvalidState
from websockets.frames import Frame, Opcode
from websockets.http11 import Request as Handshake
from websockets.protocol import State
from websockets.server import ServerProtocol

from binance_pm.sandbox.stream_faults import EventFilter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from uvicorn.config import Config
    from uvicorn.server import ServerState

    from binance_pm.sandbox.stream_faults import StreamFault, StreamProduct
    from binance_pm.sandbox.streams import EventStreams

STREAMS = "streams"
"""The key under which a server stores the streams of its exchange for its connections."""

# At DEBUG, the library logs the request line, which contains the listen key.
_SILENT = logging.getLogger("binance_pm.sandbox.websocket")
_SILENT.setLevel(logging.CRITICAL + 1)
_SILENT.disabled = True

_PRODUCTS: dict[str, StreamProduct] = {"pm": "pm", "pm-classic": "pro"}
_HOLD_SECONDS = 0.2
_CLOSE_SECONDS = 1.0
_LARGEST = 2**16
# The frame of a text message with a reserved bit that only an extension may set.
_BAD_FRAME = b"\xc1\x02{}"


class Route(NamedTuple):
    """The contents of the path of a connection."""

    product: StreamProduct
    keys: tuple[str, ...]
    is_wrapped: bool


def route_of(path: str) -> Route | None:
    """Return the route of a path; None for a path that the exchange does not have."""
    parts = urlsplit(path)
    first, _, rest = parts.path.lstrip("/").partition("/")
    kind, _, key = rest.partition("/")
    product = _PRODUCTS.get(first)
    if product is None or kind not in {"ws", "stream"} or "/" in key or (kind == "stream" and key):
        return None
    named = parse_qs(parts.query).get("streams", [""])[0] if kind == "stream" else key
    keys = tuple(one for one in named.split("/") if one)
    return Route(product, keys, kind == "stream")


class _FaultyProtocol(ServerProtocol):
    """The protocol of the library, which can be told not to answer pings."""

    answers_pings = True

    def send_frame(self, frame: Frame) -> None:
        if frame.opcode is not Opcode.PONG or self.answers_pings:
            super().send_frame(frame)


class StreamSocket(asyncio.Protocol):
    """One websocket connection; uvicorn creates it when a client asks for one.

    Attributes:
        transport: the connection.
        product: the stream of Portfolio Margin, or that of Portfolio Margin Pro.
        keys: the listen keys that the connection follows.
        opened: when the connection was opened, in seconds of the exchange's clock.
    """

    transport: asyncio.Transport

    def __init__(self, config: Config, server_state: ServerState, app_state: dict[str, Any]) -> None:
        del config
        self.product: StreamProduct = "pm"
        self.keys: set[str] = set()
        self.opened: float = 0.0
        self._streams: EventStreams = app_state[STREAMS]
        self._connections = cast("set[Any]", server_state.connections)
        self._loop = asyncio.get_running_loop()
        self._protocol = _FaultyProtocol(max_size=_LARGEST, logger=_SILENT)
        self._is_wrapped = False
        self._filter = EventFilter()
        self._delay = 0.0
        self._hold = _HOLD_SECONDS
        self._late: deque[tuple[float, bytes]] = deque()
        self._is_half_open = False
        self._sends_pings = True
        self._pinged: float | None = None
        self._ponged = True
        self._arrivals: deque[float] = deque()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over the connection of the HTTP server."""
        self.transport = cast("asyncio.Transport", transport)
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        del exc
        self._streams.close(self)
        self._connections.discard(self)

    def shutdown(self) -> None:
        """End the connection because the server ends."""
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Handle data from the client."""
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Handshake):
                self._accept(event)
            else:
                self._read(cast("Frame", event))
        self._flush()

    def eof_received(self) -> None:
        """Close the connection after the client has closed its side."""
        self._protocol.receive_eof()
        self._flush()

    def deliver(self, key: str, event_type: str, message: bytes) -> None:
        """Send an event of a listen key, from any thread."""
        if self._is_wrapped:
            message = b'{"stream":"%s","data":%s}' % (key.encode(), message)
        self._soon(lambda: self._deliver(event_type, message))

    def apply(self, fault: StreamFault) -> None:
        """Apply a fault to the connection, from any thread."""
        self._soon(lambda: self._apply(fault))

    def close(self, code: int, reason: str) -> None:
        """Send a close frame, from any thread."""
        self._soon(lambda: self._close(code, reason))

    def check(self, now: float) -> None:
        """Send the pings that are due, and end the connection if a pong is missing, from any thread."""
        since = now - (self.opened if self._pinged is None else self._pinged)
        rules = self._streams.rules
        if self._ponged and self._sends_pings and since >= rules.ping:
            self._pinged, self._ponged = now, False
            self._soon(lambda: self._ping(now))
        elif not self._ponged and since >= rules.pong:
            self._soon(self.transport.abort)

    def _soon(self, act: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(act)
        except RuntimeError:
            # The server has ended.
            self._streams.close(self)

    def _accept(self, handshake: Handshake) -> None:
        route = route_of(handshake.path)
        if route is None:
            response = self._protocol.reject(HTTPStatus.NOT_FOUND, "404 Not found")
        else:
            response = self._protocol.accept(handshake)
            self.product, self._is_wrapped = route.product, route.is_wrapped
            self.keys = set(route.keys)
        self._protocol.send_response(response)
        # The response is sent before any event.
        self._flush()
        if response.status_code == HTTPStatus.SWITCHING_PROTOCOLS:
            self._streams.open(self)

    def _read(self, frame: Frame) -> None:
        self._count()
        if frame.opcode is Opcode.PONG:
            self._ponged = True
        elif frame.opcode is Opcode.TEXT:
            self._handle_request(bytes(frame.data))

    def _count(self) -> None:
        """End the connection of a client that sends too many messages."""
        most, now = self._streams.rules.messages, self._loop.time()
        self._arrivals.append(now)
        while now - self._arrivals[0] >= 1:
            self._arrivals.popleft()
        if most is not None and len(self._arrivals) > most:
            self._close(1008, "Too many requests")

    def _handle_request(self, text: bytes) -> None:
        """Answer a request of the client: SUBSCRIBE, UNSUBSCRIBE or LIST_SUBSCRIPTIONS."""
        try:
            request = msgspec.json.decode(text, type=_Subscription)
        except msgspec.DecodeError:
            self._write(msgspec.json.encode({"error": {"code": 3, "msg": "Invalid JSON"}, "id": None}))
            return
        result: list[str] | None = None
        match request.method:
            case "SUBSCRIBE":
                self.keys |= set(request.params)
            case "UNSUBSCRIBE":
                self.keys -= set(request.params)
            case _:
                result = sorted(self.keys)
        self._streams.update_keys()
        self._write(msgspec.json.encode({"result": result, "id": request.id}))

    def _deliver(self, event_type: str, message: bytes) -> None:
        was_holding = self._filter.is_holding
        for one in self._filter.pass_on(event_type, message):
            self._write_later(one)
        if self._filter.is_holding and not was_holding:
            self._loop.call_later(self._hold, self._release)

    def _release(self) -> None:
        for one in self._filter.release():
            self._write_later(one)

    def _write_later(self, message: bytes) -> None:
        if not self._delay and not self._late:
            self._write(message)
            return
        self._late.append((self._loop.time() + self._delay, message))
        if len(self._late) == 1:
            self._loop.call_later(self._delay, self._write_late)

    def _write_late(self) -> None:
        while self._late and self._late[0][0] <= self._loop.time() + 0.001:
            self._write(self._late.popleft()[1])
        if self._late:
            self._loop.call_later(max(0.0, self._late[0][0] - self._loop.time()), self._write_late)

    def _write(self, message: bytes) -> None:
        if self._protocol.state is State.OPEN:
            self._protocol.send_text(message)
            self._flush()

    def _flush(self) -> None:
        """Write the pending data of the protocol, and end the connection if the protocol has ended."""
        data = self._protocol.data_to_send()
        if self._is_half_open or self.transport.is_closing():
            return
        self._write_raw(data)
        if self._protocol.close_expected():
            self._loop.call_later(_CLOSE_SECONDS, self.transport.close)
        if b"" in data:
            # An empty item asks for the end of the connection.
            self.transport.close()

    def _write_raw(self, data: Iterable[bytes]) -> None:
        output = b"".join(data)
        if output:
            self.transport.write(output)

    def _close(self, code: int, reason: str) -> None:
        try:
            self._protocol.send_close(code, reason)
        except InvalidState:
            return
        self._flush()

    def _ping(self, now: float) -> None:
        if self._protocol.state is State.OPEN:
            self._protocol.send_ping(str(int(now * 1000)).encode())
            self._flush()

    def _apply(self, fault: StreamFault) -> None:
        match fault.kind:
            case "break":
                self.transport.abort()
            case "close":
                self._close(fault.code, fault.reason)
            case "half_open":
                self._is_half_open = True
                self.transport.pause_reading()
            case "bad_frame":
                self._write_raw([] if self._is_half_open else [_BAD_FRAME])
            case "shutdown":
                event = {"e": "serverShutdown", "E": int(self._streams.now() * 1000)}
                self._write(msgspec.json.encode({"event": event}))
            case "duplicate" | "reorder" | "garbage":
                self._filter.inject(fault.kind, fault.times)
                self._hold = fault.seconds or _HOLD_SECONDS
            case _:
                self._change(fault)

    def _change(self, fault: StreamFault) -> None:
        """Start or end a lasting fault of the connection."""
        is_healed = fault.kind == "heal"
        self._protocol.answers_pings = is_healed or (fault.kind != "no_pongs" and self._protocol.answers_pings)
        self._sends_pings = is_healed or (fault.kind != "no_pings" and self._sends_pings)
        self._filter.is_silent = not is_healed and (fault.kind == "silent" or self._filter.is_silent)
        if fault.kind == "silent" and fault.seconds:
            self._loop.call_later(fault.seconds, self._end_silence)
        if is_healed or fault.kind == "slow":
            self._delay = fault.seconds if fault.kind == "slow" else 0.0

    def _end_silence(self) -> None:
        self._filter.is_silent = False


class _Subscription(msgspec.Struct):
    """A request of the client."""

    method: str
    params: list[str] = []
    id: int | str | None = None
