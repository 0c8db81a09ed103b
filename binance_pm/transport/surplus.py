"""Bytes that follow an answer on its connection.

httpcore keeps what a server sends beyond the end of an answer, and takes it for the answer to the next request on that
connection: one account would be shown what belongs to another. A connection that brings such bytes is closed at once,
so that it is never used again; the answer before them is whole.
"""

from __future__ import annotations

import re
from typing import Any, Final

_HEAD_END: Final = b"\r\n\r\n"
_LAST_CHUNK: Final = b"\r\n0\r\n\r\n"
_LONGEST_HEAD: Final = 2**17
_STATUS: Final = re.compile(rb"HTTP/1\.\d (\d{3})")
_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,18})[ \t]*\r\n")
_CHUNKED: Final = re.compile(rb"\r\ntransfer-encoding:[^\r]*chunked[ \t]*\r\n")


def watch_surplus(stream: Any) -> None:
    """Close the network stream of httpcore as soon as it brings more than an answer.

    Args:
        stream: an `httpcore.AsyncNetworkStream`, as httpcore's trace tells it.
    """
    read = stream.read
    answers = Answers()

    async def watched(max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - httpcore's signature
        data: bytes = await read(max_bytes, timeout)
        if answers.exceeded_by(data):
            await stream.aclose()
        return data

    stream.read = watched


class Answers:
    """Follows where the answers on one connection end. What it cannot follow counts as surplus."""

    def __init__(self) -> None:
        self._head = b""
        self._body: _Body | None = None

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
    """A body in chunks. Should a chunk hold the mark of the end, the connection is given up too early, no more."""

    def __init__(self) -> None:
        # The mark begins with the end of a line: the head's, where there is no chunk at all.
        self._tail = _HEAD_END[:2]

    def feed(self, data: bytes) -> int | None:
        """See `_Length.feed`."""
        seen = self._tail + data
        at = seen.find(_LAST_CHUNK)
        self._tail = seen[-len(_LAST_CHUNK) + 1 :]
        return None if at < 0 else len(seen) - at - len(_LAST_CHUNK)


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
