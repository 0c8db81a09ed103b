"""Response headers, decoded from bytes to text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Final

LONGEST_HEAD: Final = 2**16
"""Largest accepted head, in bytes."""

COMPRESSED: Final = "the response is compressed, although no compression was accepted"
"""Why a compressed response is rejected."""

_MOST_FIELDS: Final = 128


def is_too_long(fields: Sequence[tuple[bytes, bytes]]) -> bool:
    """Return whether the names and values exceed the limits of a head."""
    return len(fields) > _MOST_FIELDS or sum(map(len, chain.from_iterable(fields))) > LONGEST_HEAD


def is_compressed(headers: Mapping[str, str]) -> bool:
    """Return whether the body has a content encoding: a few compressed bytes may expand to gigabytes.

    Args:
        headers: names in lower case, or a mapping that ignores case.
    """
    codings = headers.get("content-encoding")
    return codings is not None and any(coding.strip().lower() not in {"", "identity"} for coding in codings.split(","))


def headers_of(fields: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return the headers with names in lower case, and values without surrounding white space.

    Args:
        fields: names and values as received; values of a repeated name form one list (RFC 9110, 5.3).
    """
    headers = {_name(name): _value(value) for name, value in fields}
    if len(headers) < len(fields):
        for known in headers:
            headers[known] = ", ".join(_value(value) for name, value in fields if _name(name) == known)
    return headers


# The same few names occur in every response.
@lru_cache(maxsize=256)
def _name(raw: bytes) -> str:
    return raw.decode("latin-1").lower()


def _value(raw: bytes) -> str:
    return raw.decode("latin-1").strip(" \t")
