"""Fast checks for responses whose numbers are certainly valid and need no comparison value by value.

Nearly every response is valid, and one with 600 positions holds 3,000 amounts. Therefore `surely_plain` searches the
body for texts that Decimal would accept although amounts are not written that way, and a `Look` examines the decoded
values in C code. Both may say "not sure" of a valid response, which costs time; neither may say "sure" of an invalid
one.
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Callable, Sequence
from decimal import Clamped, Context, Decimal, Inexact, InvalidOperation, Overflow, Rounded, Subnormal
from itertools import chain, compress, count
from operator import attrgetter
from typing import Any, Final, NamedTuple

from msgspec import inspect
from msgspec.structs import force_setattr

from binance_pm.amounts import MOST_DIGITS, PLAIN
from binance_pm.finite import is_amount_or_none

Look = Callable[[Any], bool]
"""Gives the amounts in a value plain text, and returns whether all of its numbers are certainly within bounds."""

_BACKSLASH, _PLUS, _UNDERSCORE = b"\\+_"
_MOST_QUICK_DIGITS: Final = MOST_DIGITS // 2
"""More significant digits, or more zeros in a row, than the quick check examines."""
_ZEROS: Final = b"0" * _MOST_QUICK_DIGITS
# A point without a digit on both sides.
_find_odd_point: Final = re.compile(rb"\.(?!(?<=[0-9]\.)[0-9])").search
_ASCII: Final = bytes(range(128))
_BESIDE_UNDERSCORE: Final = frozenset(b'0123456789"-.eE')


def surely_plain(body: bytes) -> bool:
    """Return whether the body has no text that can be read as a number although it is not written as one."""
    # A blank is odd anywhere except after a colon or comma.
    has_odd_blanks = b" " in body and body.count(b" ") > body.count(b": ") + body.count(b", ")
    if has_odd_blanks or _BACKSLASH in body or _PLUS in body:
        return False
    if not body.isascii() and _has_odd_letters(body):
        return False
    # Searching from the end is faster.
    if body.rfind(_ZEROS) >= 0 or _find_odd_point(body):
        return False
    return _UNDERSCORE not in body or not _has_odd_underscores(body)


def _has_odd_letters(body: bytes) -> bool:
    """Return whether the body contains a digit or blank of another script."""
    letters = set(body.translate(None, _ASCII).decode(errors="replace"))
    return any(letter.isdecimal() or letter.isspace() for letter in letters)


def _has_odd_underscores(body: bytes) -> bool:
    """Return whether both neighbours of an underscore could stand next to one in an amount."""
    before, *rest = body.split(b"_")
    for after in rest:
        if (not before or before[-1] in _BESIDE_UNDERSCORE) and (not after or after[0] in _BESIDE_UNDERSCORE):
            return True
        before = after
    return False


def _unsure(_: object) -> bool:
    return False


def look_of(  # noqa: PLR0911 - one branch for each kind
    kind: inspect.Type, outer: tuple[type[Any], ...] = ()
) -> Look | None:
    """Return a quick look at values of a type inside these Structs; None if the type contains no numbers."""
    match kind:
        case inspect.Metadata():
            return look_of(kind.type, outer)
        case inspect.StructType() if not kind.array_like and kind.cls not in outer:
            return _look_at_struct(_columns(kind, outer))
        case inspect.ListType(inspect.StructType() as item) | inspect.VarTupleType(inspect.StructType() as item) if (
            not item.array_like and item.cls not in outer
        ):
            return _look_at_structs(_columns(item, outer))
        case inspect.UnionType() if kind.includes_none and len(kind.types) == 2:
            inside = next(look_of(one, outer) for one in kind.types if not isinstance(one, inspect.NoneType))
            return inside and (lambda value: value is None or inside(value))
        case inspect.UnionType() if all(isinstance(one, inspect.StructType) for one in kind.types):
            return _look_at_tagged(kind, outer)
        case inspect.IntType():
            is_bounded = kind.ge is not None and kind.le is not None
            return None if is_bounded else _is_int64
        case inspect.FloatType():
            return math.isfinite
        case (
            inspect.StrType()
            | inspect.BoolType()
            | inspect.NoneType()
            | inspect.EnumType()
            | inspect.LiteralType()
            | inspect.BytesType()
        ):
            return None
        case inspect.CollectionType() if not isinstance(kind.item_type, inspect.DecimalType):
            return _unsure if look_of(kind.item_type, outer) else None
        case _:
            return _unsure


def _look_at_tagged(kind: inspect.UnionType, outer: tuple[type[Any], ...]) -> Look:
    """Return a quick look at a value of one of several Structs, chosen by the class of the value."""
    looks: dict[type[Any], Look | None] = {
        one.cls: look_of(one, outer) for one in kind.types if isinstance(one, inspect.StructType)
    }

    def look(value: object) -> bool:
        inside = looks[type(value)]
        return inside is None or inside(value)

    return look


class _Columns(NamedTuple):
    """The fields of a Struct that hold numbers."""

    amounts: list[str]
    """Amounts that are never None."""
    missing: list[str]
    """Amounts that may be None."""
    integers: list[str]
    """Integers without bounds of their own."""
    others: list[tuple[attrgetter[Any], Look]]


def _columns(kind: inspect.StructType, outer: tuple[type[Any], ...]) -> _Columns:
    columns = _Columns([], [], [], [])
    for field in kind.fields:
        if isinstance(field.type, inspect.DecimalType):
            columns.amounts.append(field.name)
        elif is_amount_or_none(field.type):
            columns.missing.append(field.name)
        elif look := look_of(field.type, (*outer, kind.cls)):
            if look is _is_int64:
                columns.integers.append(field.name)
            else:
                columns.others.append((attrgetter(field.name), look))
    return columns


def _is_int64(value: int) -> bool:
    return -(2**63) <= value < 2**63


# Traps every number of more than 32 digits, below 1E-64, from 1E+32 on, or with a positive exponent; infinity and NaN
# pass.
_STRICT: Final = Context(
    prec=_MOST_QUICK_DIGITS,
    Emax=_MOST_QUICK_DIGITS - 1,
    Emin=-MOST_DIGITS,
    clamp=1,
    traps=[InvalidOperation, Overflow, Subnormal, Inexact, Rounded, Clamped],
)
_SMALLEST_PLAIN: Final = -6
"""Least place of the first digit; the text of a number below a millionth has an exponent."""
_exhaust: Final = deque[Decimal](maxlen=0).extend
_round, _is_finite, _place = _STRICT.plus, Decimal.is_finite, Decimal.adjusted
_ZERO: Final = Decimal(0)


def _look_at_struct(columns: _Columns) -> Look | None:
    *numbers, others = columns
    look_at_structs = _look_at_structs(columns)
    if any(numbers):
        return look_at_structs and (lambda struct: look_at_structs([struct]))

    def look(struct: object) -> bool:
        for get, inside in others:  # noqa: SIM110 - a generator would be slower
            if not inside(get(struct)):
                return False
        return True

    return look if others else None


def _look_at_structs(columns: _Columns) -> Look | None:
    """Return a quick look at a list of Structs."""
    looks = [_look_at_each(get, inside) for get, inside in columns.others]
    if columns.integers:
        looks.insert(0, _look_at_integers(columns.integers))
    if columns.amounts or columns.missing:
        looks.insert(0, _look_at_amounts(columns.amounts + columns.missing, may_miss=bool(columns.missing)))
    if len(looks) < 2:
        return looks[0] if looks else None

    def look(structs: Sequence[Any]) -> bool:
        for one in looks:  # noqa: SIM110 - as in `_look_at_struct`
            if not one(structs):
                return False
        return True

    return look


def _look_at_each(get: Callable[[Any], Any], inside: Look) -> Look:
    return lambda structs: all(map(inside, map(get, structs)))


def _look_at_integers(names: list[str]) -> Look:
    read = attrgetter(*names, *names[:1])

    def look(structs: Sequence[Any]) -> bool:
        numbers = list(chain.from_iterable(map(read, structs)))
        return not numbers or (_is_int64(min(numbers)) and _is_int64(max(numbers)))

    return look


def _look_at_amounts(fields: list[str], *, may_miss: bool) -> Look:
    # With two or more names, attrgetter returns tuples.
    names = fields if len(fields) > 1 else fields * 2
    read = attrgetter(*names)

    def look(structs: Sequence[Any]) -> bool:
        values = list(chain.from_iterable(map(read, structs)))
        if may_miss:
            values = [_ZERO if value is None else value for value in values]
        try:
            _exhaust(map(_round, values))
        except ArithmeticError:
            return False
        if not all(map(_is_finite, values)):
            return False
        places = list(map(_place, values))
        smallest = min(places, default=0)
        if smallest < _SMALLEST_PLAIN:
            # The last of 32 digits is within the 64 places, and so is any exponent with which the number was written.
            if smallest < -_MOST_QUICK_DIGITS:
                return False
            _write_plainly(structs, names, values, places)
        return True

    return look


def _write_plainly(structs: Sequence[Any], names: list[str], values: list[Decimal], places: list[int]) -> None:
    """Replace the amounts whose text has an exponent."""
    width = len(names)
    for at in compress(count(), map(_SMALLEST_PLAIN.__gt__, places)):
        force_setattr(structs[at // width], names[at % width], PLAIN[str(values[at])])
