"""Bytes that follow an answer on its connection, or come before it can have been given.

A server that answers one request twice, or late, shifts its connection by one: each request is shown the answer to the
one before it. What both engines do about that:

* A connection that brings bytes beyond the end of an answer is closed at once. The answer before them is believed only
  where it was the first on its connection: on one that was used before it may belong to the request before.
* Bytes that come before the other side has confirmed any of the request are no answer to it.
* A connection on which something has arrived is not used for a request.

What comes alone, after the next request has reached the server and before that is answered, cannot be told from its
answer. So accounts do not share connections, and an answer that is not what was promised ends those of its account.
"""

from __future__ import annotations

import re
from typing import Any, Final

from binance_pm.transport.http import SendFailed
from binance_pm.transport.sockets import unacknowledged, unread

AMBIGUOUS: Final = "more than one response arrived on a connection that was used before: none of them can be trusted"
TOO_EARLY: Final = "a response arrived before the request can have been received: it belongs to another request"

FAREWELL: Final = 31
"""In so many bytes at most TLS says that it ends; the beginning of an answer takes more."""

_HEAD_END: Final = b"\r\n\r\n"
_LONGEST_HEAD: Final = 2**17
_STATUS: Final = re.compile(rb"HTTP/1\.\d (\d{3})")
_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,18})[ \t]*\r\n")
_SIZE: Final = re.compile(rb"[0-9A-Fa-f]{1,15}")
_CHUNKED: Final = re.compile(rb"\r\ntransfer-encoding:[^\r]*chunked[ \t]*\r\n")


def descriptor_of(stream: Any) -> int:
    """The number of the socket under a network stream of httpcore, or -1."""
    opened = stream.get_extra_info("socket")
    return -1 if opened is None else opened.fileno()


def close_on_extra_bytes(stream: Any, *, tls: bool) -> None:
    """Close the network stream of httpcore as soon as it brings more than an answer.

    It raises `SendFailed` in place of an answer that cannot be believed.

    Args:
        stream: an `httpcore.AsyncNetworkStream`, as httpcore's trace tells it.
        tls: whether it is encrypted.
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
    """Follows where the answers on one connection end. What it cannot follow counts as surplus."""

    def __init__(self) -> None:
        self._head = b""
        self._body: _Body | None = None
        self.count: int = 0
        """How many have ended."""

    def exceeded_by(self, data: bytes) -> bool:
        """Whether the data reach beyond the end of an answer."""
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
        """How many of the bytes lie behind the end, or None while it has not come."""
        self._left -= len(data)
        return None if self._left > 0 else -self._left


class _Chunks:
    """A body in chunks."""

    def __init__(self) -> None:
        self._left = 0
        """Bytes of the chunk that have not come, with the line end behind them."""
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
    """A body that ends with its connection."""

    def feed(self, data: bytes) -> int | None:
        """See `_Length.feed`."""
        del data
        return None


_Body = _Length | _Chunks | _UntilClosed


def _body_behind(head: bytes) -> _Body | None:
    """The body that the head announces; None where another head follows."""
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
