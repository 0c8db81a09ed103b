"""Client ids for orders, created before the first byte is sent, so that every placement can be asked for.

The exchange accepts ids of 32 characters in every family of orders. It checks only open orders for duplicates, and it
chooses an id itself if a placement has none: that order could not be found after a lost response.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from typing import Final

LONGEST_PREFIX: Final = 10
RESERVED_IDS: Final = ("autoclose-", "adl_autoclose", "settlement_autoclose-", "web_", "ios_", "android_", "electron_")
"""Prefixes of the orders that the exchange and its apps place; liquidations are recognised by them."""

# The digits sort as text in the order of their values, and no two of them look alike.
_DIGITS: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_DIGIT_OF_BYTE: Final = _DIGITS.encode() * 8
_TIME_DIGITS, _RANDOM_DIGITS = 9, 13
_BITS: Final = 5


class ClientIds:
    """Generator of ids that no other generator creates: 9 digits of time and 13 random digits after a prefix.

    Ids of one generator sort in the order in which they were created; ids of several generators sort by their times, in
    milliseconds. The random digits have 65 bits and come from the operating system, so neither threads nor forked
    processes repeat an id.

    Args:
        prefix: begins every id; up to 10 letters, digits, ``-`` and ``_``.
        clock: the wall clock, in seconds since the epoch.

    Raises:
        ValueError: the prefix cannot be used.
    """

    __slots__ = ("_clock", "_last", "_prefix")

    def __init__(self, prefix: str = "", *, clock: Callable[[], float] = time.time) -> None:
        self._prefix: Final = _checked(prefix)
        self._clock = clock
        self._last: int = 0

    def new(self) -> str:
        """Return a new id of 22 characters and the prefix."""
        self._last = max(int(self._clock() * 1000), self._last + 1)
        return self._prefix + _encode(self._last, _TIME_DIGITS) + _random_digits()

    def number(self) -> int:
        """Return a new id for a parameter that takes a whole number of 64 bits."""
        self._last = max(int(self._clock() * 1000), self._last + 1)
        return self._last << 21 | int.from_bytes(os.urandom(3)) >> 3


def _checked(prefix: str) -> str:
    if not re.fullmatch(rf"[A-Za-z0-9_-]{{0,{LONGEST_PREFIX}}}", prefix):
        raise ValueError(f"client_order_id_prefix must be up to {LONGEST_PREFIX} letters, digits, '-' and '_'")
    if taken := [one for one in RESERVED_IDS if prefix.startswith(one[:LONGEST_PREFIX])]:
        raise ValueError(f"client_order_id_prefix begins with {taken[0]!r}, which the exchange reserves")
    return prefix


def _random_digits() -> str:
    return os.urandom(_RANDOM_DIGITS).translate(_DIGIT_OF_BYTE).decode()


def _encode(number: int, digits: int) -> str:
    return "".join([_DIGITS[(number >> shift) & 31] for shift in range(_BITS * (digits - 1), -1, -_BITS)])
