"""The header fields of a response, found in the bytes of its head when they are asked for.

Two or three of the exchange's 23 fields are needed. Collecting all of them would cost a fifth of a call.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

_END: Final = b"\r\n"


class Head(Mapping[str, str]):
    """The header fields of a response by name in lower case; the values of a repeated field form one list.

    A parser must have accepted the head before: each field is one line, its name a token, and no line is folded.

    Args:
        received: the status line and the lines of the fields, without the empty line.
    """

    __slots__ = ("_lower", "_received")

    def __init__(self, received: bytes) -> None:
        self._received: Final = received + _END
        self._lower: Final = self._received.lower()

    def __getitem__(self, name: str) -> str:
        value = self.get(name)
        if value is None:
            raise KeyError(name)
        return value

    def get(self, name: str, default: Any = None) -> Any:
        """Return the value of a field, or the default."""
        mark = _mark(name)
        start = self._lower.find(mark)
        if start < 0:
            return default
        values: list[str] = []
        while start >= 0:
            start += len(mark)
            end = self._lower.find(_END, start)
            values.append(self._received[start:end].decode("latin-1").strip(" \t"))
            start = self._lower.find(mark, end)
        return ", ".join(values)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._lower.find(_mark(name)) >= 0

    def __iter__(self) -> Iterator[str]:
        lines = self._lower.split(_END)[1:-1]
        return iter(dict.fromkeys(line.partition(b":")[0].decode("latin-1") for line in lines))

    def __len__(self) -> int:
        return len(list(self))

    @property
    def lines(self) -> int:
        """How many lines there are, including the status line."""
        return self._lower.count(b"\n")

    @property
    def has_codings(self) -> bool:
        """Whether a field may name a content encoding or transfer encoding."""
        return self._lower.find(b"-encoding:") >= 0


# The same few names are asked for.
@lru_cache(maxsize=64)
def _mark(name: str) -> bytes:
    return f"\r\n{name}:".encode()
