"""The headers of an answer, from bytes to text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Final

LONGEST_HEAD: Final = 2**16
"""Bytes of a head that are accepted."""

COMPRESSED: Final = "the response is compressed, although no compression was accepted"
"""Why such an answer is refused."""

_MOST_FIELDS: Final = 128


def is_too_long(fields: Sequence[tuple[bytes, bytes]]) -> bool:
    """Whether the names and values are more than a head may hold."""
    return len(fields) > _MOST_FIELDS or sum(map(len, chain.from_iterable(fields))) > LONGEST_HEAD


def is_compressed(headers: Mapping[str, str]) -> bool:
    """Whether the body is anything else than what the server means: a few bytes of it may stand for gigabytes.

    Args:
        headers: names in lower case, or in any.
    """
    codings = headers.get("content-encoding")
    return codings is not None and any(coding.strip().lower() not in {"", "identity"} for coding in codings.split(","))


def headers_of(fields: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    """Names in lower case, and values without the white space around them.

    Args:
        fields: names and values as they came; what is said more than once is one list (RFC 9110, 5.3).
    """
    headers = {_name(name): _value(value) for name, value in fields}
    if len(headers) < len(fields):
        for known in headers:
            headers[known] = ", ".join(_value(value) for name, value in fields if _name(name) == known)
    return headers


# The same few names come with every answer.
@lru_cache(maxsize=256)
def _name(raw: bytes) -> str:
    return raw.decode("latin-1").lower()


def _value(raw: bytes) -> str:
    return raw.decode("latin-1").strip(" \t")
