"""Detects bytes that follow a response on its connection, or arrive before a response is possible.

A server that responds to one request twice, or late, shifts its connection by one: each request receives the response
to the previous request. Both engines handle this as follows:

* A connection that delivers bytes beyond the end of a response is closed at once. The response before those bytes is
  accepted only if it was the first on its connection: on a connection that was used before, the response may belong to
  the previous request.
* Bytes that arrive before the peer has acknowledged any byte of the request are not a response to that request.
* A connection on which data has arrived is not used for a request.

A stray response that arrives alone, after the server has received the next request and before it responds to that
request, cannot be distinguished from the real response. Therefore accounts do not share connections, and an invalid
response closes the connections of its account.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import Any, Final

from binance_pm.transport.http import SendFailed
from binance_pm.transport.sockets import unacknowledged, unread

AMBIGUOUS: Final = "more than one response arrived on a connection that was used before: none of them can be trusted"
TOO_EARLY: Final = "a response arrived before the request can have been received: it belongs to another request"

TLS_CLOSE_SIZE: Final = 31
"""Largest size of a TLS close notification in bytes; the beginning of a response is longer."""

_LONGEST_HEAD: Final = 2**17
_STATUS: Final = re.compile(rb"HTTP/1\.\d (\d{3})")
_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,18})[ \t]*\r\n")
_SIZE: Final = re.compile(rb"[0-9A-Fa-f]{1,15}")
_CHUNKED: Final = re.compile(rb"\r\ntransfer-encoding:[^\r]*chunked[ \t]*\r\n")


def descriptor_of(stream: Any) -> int:
    """Return the socket descriptor of an httpcore network stream, or -1."""
    opened = stream.get_extra_info("socket")
    return -1 if opened is None else opened.fileno()


def close_on_extra_bytes(stream: Any, *, tls: bool) -> None:
    """Close the httpcore network stream as soon as it delivers more than a response.

    Reading from the stream raises `SendFailed` instead of returning a response that cannot be trusted.
    """
    read, write = stream.read, stream.write
    responses = ResponseLengths()
    descriptor = descriptor_of(stream)
    size, expected = 0, TLS_CLOSE_SIZE if tls else 0

    async def written(buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - httpcore's signature
        nonlocal size
        size = len(buffer) or size
        await write(buffer, timeout)

    async def watched(max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - as above
        nonlocal size
        data: bytes = await read(max_bytes, timeout)
        early, size = 0 < size <= unacknowledged(descriptor) and data != b"", 0
        before = responses.count
        surplus = responses.exceeded_by(data)
        ended = responses.count > before
        doubtful = ended and before > 0 and (surplus or unread(descriptor) > expected)
        if early or surplus or doubtful:
            await stream.aclose()
        if early or doubtful:
            raise SendFailed(TOO_EARLY if early else AMBIGUOUS, sent=True)
        return data

    stream.read, stream.write = watched, written


class ResponseLengths:
    """Tracks where the responses on one connection end."""

    def __init__(self) -> None:
        self._response: Generator[None, bytes, bytes] = _response()
        next(self._response)
        self.count: int = 0
        """How many responses have ended."""

    def exceeded_by(self, data: bytes) -> bool:
        """Return whether the data extends beyond the end of a response, or cannot be parsed."""
        try:
            self._response.send(data)
            return False
        except StopIteration as ended:
            surplus = bool(ended.value)
        except ValueError:
            surplus = True
        self._response = _response()
        next(self._response)
        self.count += 1
        return surplus


def _response() -> Generator[None, bytes, bytes]:
    """Receive the pieces of one response, and return the bytes after the response."""
    status, head, rest = 100, b"", b""
    while 100 <= status < 200:
        head, rest = yield from _until(b"\r\n\r\n", rest)
        found = _STATUS.search(head)
        status = int(found[1]) if found else 0
    fields = head.lower() + b"\r\n"
    if status in {204, 304}:
        return rest
    if _CHUNKED.search(fields):
        return (yield from _chunks(rest))
    if length := _LENGTH.search(fields):
        return (yield from _beyond(int(length[1]), rest))
    # The body ends with the connection.
    while True:
        yield


def _chunks(rest: bytes) -> Generator[None, bytes, bytes]:
    size = 1
    while size:
        line, rest = yield from _until(b"\r\n", rest)
        digits = line.partition(b";")[0].strip()
        if not _SIZE.fullmatch(digits):
            raise ValueError
        if size := int(digits, 16):
            rest = yield from _beyond(size + 2, rest)
    trailer = b"trailer"
    while trailer:
        trailer, rest = yield from _until(b"\r\n", rest)
    return rest


def _until(mark: bytes, data: bytes) -> Generator[None, bytes, tuple[bytes, bytes]]:
    """Receive data until the mark, and return the data before and after the mark."""
    while mark not in data:
        if len(data) > _LONGEST_HEAD:
            raise ValueError
        data += yield
    before, _, after = data.partition(mark)
    return before, after


def _beyond(size: int, data: bytes) -> Generator[None, bytes, bytes]:
    """Receive as many bytes, and return the bytes after them."""
    while len(data) < size:
        size -= len(data)
        data = yield
    return data[size:]
