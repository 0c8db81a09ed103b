"""Amounts with plain text: ``str`` of a Decimal such as ``0.00000000`` is ``0E-8``, which msgspec would write, too.

msgspec writes a Decimal by its text and rejects subclasses of Decimal. Members of an enumeration are written by their
value, whatever other types they have: a `PlainDecimal` is both a Decimal and such a member, and its value is the plain
text.
"""

from __future__ import annotations

import decimal
import re
from collections.abc import Callable, Iterable
from decimal import Decimal
from enum import Enum
from functools import cache
from typing import Any, Final, Self, cast

import msgspec
from msgspec.structs import force_setattr

MOST_DIGITS: Final = 64
"""Limit for amounts received or sent: significant digits, and places between the first digit and the point."""

_EXACT: Final = decimal.Context(
    prec=1_000, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN, traps=[decimal.InvalidOperation]
)


class PlainDecimal(Decimal, Enum):
    """A Decimal that ``str``, `msgspec` and everything else that uses its text write without an exponent.

    A `PlainDecimal` equals, hashes and calculates like the same Decimal; the result of a calculation is a Decimal.
    """

    # An enumeration without members cannot be called, but `statistics.mean` calls the type of its arguments.
    ZERO = "0"

    def __new__(cls, text: str) -> Self:
        """Create the member for the text."""
        amount = Decimal.__new__(cls, text)
        amount._value_ = Decimal.__format__(amount, "f")
        return amount

    @classmethod
    def _missing_(cls, value: Any) -> PlainDecimal:
        return _from_text(Decimal.__str__(Decimal(value)))

    def __str__(self) -> str:
        return self._value_

    def __repr__(self) -> str:
        return Decimal.__repr__(self)

    def __format__(self, format_spec: str) -> str:  # pyright: ignore[reportIncompatibleMethodOverride] - `Decimal` has an undocumented parameter
        return Decimal.__format__(self, format_spec or "f")

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _: object) -> Self:
        return self

    def __conform__(self, _: object) -> str:
        # sqlite3 looks up an adapter by the exact type: an adapter registered for Decimal is not found.
        return self._value_

    def __reduce_ex__(self, _: object) -> tuple[Any, ...]:
        return _from_text, (Decimal.__str__(self),)


class _Plain(dict[str, PlainDecimal]):
    """Maps the text of a Decimal with an exponent to the amount in plain notation; zeros are created once."""

    def __missing__(self, text: str) -> PlainDecimal:
        amount = _from_text(text)
        if not amount and len(self) < _MOST_ZEROS:
            self[text] = amount
        return amount


_MOST_ZEROS: Final = 1_000
PLAIN: Final = _Plain()
"""The mapping behind `plain`, for callers that know that the text has an exponent and few digits."""


def plain(value: Decimal) -> Decimal:
    """Return the same amount, as a `PlainDecimal` if its text has an exponent.

    An amount with more digits than any text should have is returned unchanged.
    """
    if "E" not in (text := str(value)) or not is_near(value):
        return value
    return PLAIN[text]


def is_near(value: Decimal) -> bool:
    """Return whether an amount can be written out, which is true of every decoded amount."""
    return value.is_finite() and abs(value.adjusted()) <= _MOST_PLACES and len(value.as_tuple().digits) <= _MOST_PLACES


def text_of(value: Decimal, form: str = "f") -> str:
    """Format the amount; with an exponent if plain notation would fill a screen, or the memory."""
    if value.is_nan():
        return "NaN"
    return format(value, form if is_near(value) or value.is_infinite() else ".6E")


def exact_sum(values: Iterable[Decimal]) -> Decimal:
    """Return the sum with all digits, whatever the precision of the caller's context, in plain notation."""
    total = Decimal(0)
    for value in values:
        total = _EXACT.add(total, value)
    return plain(total)


def write_plainly(value: Any) -> Any:
    """Apply `plain` to every Decimal in the value: in place if possible, else in a copy."""
    match value:
        case Decimal():
            return plain(value)
        case list():
            items = cast("list[Any]", value)
            items[:] = map(write_plainly, items)
        case dict():
            mapping = cast("dict[Any, Any]", value)
            items = [(_name(key), write_plainly(item)) for key, item in mapping.items()]
            mapping.clear()
            mapping.update(items)
        case tuple() | set() | frozenset():
            items, kind = cast("Iterable[Any]", value), cast("type[Any]", type(cast("object", value)))
            # A NamedTuple takes its items as separate arguments.
            return kind(*map(write_plainly, items)) if hasattr(kind, "_fields") else kind(map(write_plainly, items))
        case msgspec.Struct():
            for name in value.__struct_fields__:
                _replace(value, name, force_setattr)
        case _:
            for name in getattr(cast("object", value), "__dataclass_fields__", ()):
                _replace(value, name, object.__setattr__)
    return cast("object", value)


def json_of(value: object) -> bytes:
    """Return the value as JSON with amounts in plain notation, including those that do not come from a response."""
    text = msgspec.json.encode(value)
    return msgspec.json.encode(write_plainly(value)) if re.search(_WITH_EXPONENT, text) else text


_WITH_EXPONENT: Final = rb'"-?\d[\d.]*E[+-]\d+"'
# Plain text with more places would fill a screen, or the memory.
_MOST_PLACES: Final = 200


def _from_text(text: str) -> PlainDecimal:
    amount = Decimal.__new__(PlainDecimal, text)
    amount._value_ = Decimal.__format__(amount, "f")
    return amount


@cache
def _can_be_name() -> bool:
    """Return whether msgspec accepts such members as names, which it does from 0.22 on."""
    try:
        msgspec.json.encode({PLAIN["0E-8"]: None})
    except TypeError:
        return False
    return True


def _name(key: Any) -> Any:
    return plain(key) if isinstance(key, Decimal) and _can_be_name() else key


def _replace(holder: Any, name: str, assign: Callable[[Any, str, Any], None]) -> None:
    before = getattr(holder, name)
    after = write_plainly(before)
    if after is not before:
        assign(holder, name, after)
