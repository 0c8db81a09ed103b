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
from typing import Any, Final

from binance_pm.transport.http import SendFailed
from binance_pm.transport.sockets import unacknowledged, unread

AMBIGUOUS: Final = "more than one response arrived on a connection that was used before: none of them can be trusted"
TOO_EARLY: Final = "a response arrived before the request can have been received: it belongs to another request"

FAREWELL: Final = 31
"""Largest size of a TLS close notification in bytes; the beginning of a response is longer."""

_HEAD_END: Final = b"\r\n\r\n"
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

    Args:
        stream: an `httpcore.AsyncNetworkStream`, as reported by httpcore's trace.
        tls: whether the stream is encrypted.
    """
    read, write = stream.read, stream.write
    answers = ResponseLengths()
    descriptor = descriptor_of(stream)
    size, farewell = 0, FAREWELL if tls else 0

    async def written(buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - httpcore's signature
        nonlocal size
        size = len(buffer) or size
        await write(buffer, timeout)

    async def watched(max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - same
        nonlocal size
        data: bytes = await read(max_bytes, timeout)
        early, size = 0 < size <= unacknowledged(descriptor) and data != b"", 0
        before = answers.count
        surplus = answers.exceeded_by(data)
        ended = answers.count > before
        doubtful = ended and before > 0 and (surplus or unread(descriptor) > farewell)
        if early or surplus or doubtful:
            await stream.aclose()
        if early or doubtful:
            raise SendFailed(TOO_EARLY if early else AMBIGUOUS, sent=True)
        return data

    stream.read, stream.write = watched, written


class ResponseLengths:
    """Tracks where the responses on one connection end. Data that cannot be parsed counts as surplus."""

    def __init__(self) -> None:
        self._head = b""
        self._body: _Body | None = None
        self.count: int = 0
        """How many responses have ended."""

    def exceeded_by(self, data: bytes) -> bool:
        """Return whether the data extends beyond the end of a response."""
        while self._body is None:
            head, end, data = (self._head + data).partition(_HEAD_END)
            if not end:
                self._head = head
                return len(head) > _LONGEST_HEAD
            self._head = b""
            self._body = _body_behind(head + end)
        surplus = self._body.feed(data)
        if surplus is None:
            return False
        self._body = None
        self.count += 1
        return surplus > 0


class _Length:
    """A body of a known length."""

    def __init__(self, length: int) -> None:
        self._left = length

    def feed(self, data: bytes) -> int | None:
        """Return how many of the bytes lie beyond the end of the body, or None if the body has not ended."""
        self._left -= len(data)
        return None if self._left > 0 else -self._left


class _Chunks:
    """A body in chunks."""

    def __init__(self) -> None:
        self._left = 0
        """Bytes missing from the current chunk, including the line end after it."""
        self._line = b""
        self._is_last = False

    def feed(self, data: bytes) -> int | None:
        """See `_Length.feed`."""
        while data:
            if self._left:
                skipped = min(self._left, len(data))
                self._left -= skipped
                data = data[skipped:]
                continue
            line, end, rest = (self._line + data).partition(b"\r\n")
            self._line = b"" if end else line
            if not end:
                return None
            data = rest
            if self._is_last:
                if not line:
                    return len(data)
            elif _SIZE.fullmatch(size := line.partition(b";")[0].strip()) is None:
                return 1
            else:
                length = int(size, 16)
                self._left = length + 2 if length else 0
                self._is_last = not length
        return None


class _UntilClosed:
    """A body that ends when its connection is closed."""

    def feed(self, data: bytes) -> int | None:
        """See `_Length.feed`."""
        del data
        return None


_Body = _Length | _Chunks | _UntilClosed


def _body_behind(head: bytes) -> _Body | None:
    """Return the body that the head announces; None if another head follows."""
    status = _STATUS.search(head)
    code = int(status[1]) if status else 0
    lower = head.lower()
    if 100 <= code < 200:
        return None
    if code in {204, 304}:
        return _Length(0)
    if _CHUNKED.search(lower):
        return _Chunks()
    length = _LENGTH.search(lower)
    return _Length(int(length[1])) if length else _UntilClosed()
