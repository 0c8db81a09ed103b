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
# An amount of more than 64 digits covers at least eight consecutive samples, if every eighth byte is sampled.
_STRIDE: Final = 8
_LONG: Final = b"0" * _STRIDE
_DIGITS: Final = bytes(48 if character in b"0123456789." else 32 for character in range(256))
# Below -64. A number with such an exponent may still be within bounds.
_SMALL_EXPONENT: Final = rb"[0-9][eE]-0*(?:6[5-9]|[7-9][0-9]|[1-9][0-9]{2})"
_POINTS: Final = bytes(
    48 if character in b"0123456789" else 101 if character == 69 else character for character in range(256)
)
"""Makes every digit a zero, and E an e."""
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
    if body[::_STRIDE].translate(_DIGITS).find(_LONG) >= 0:
        return False
    zeros = body.translate(_POINTS)
    # A point without a digit on both sides, or two points in one number; so an exponent follows a digit.
    if zeros.count(b"0.0") != body.count(b"."):
        return False
    if b"0e-" in zeros and re.search(_SMALL_EXPONENT, body):
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


def look_of(  # noqa: PLR0911 - one for each kind
    kind: inspect.Type, outer: tuple[type[Any], ...] = ()
) -> Look | None:
    """Return a quick look at values of a type inside these Structs; None if the type contains no numbers."""
    match kind:
        case inspect.Metadata():
            return look_of(kind.type, outer)
        case inspect.StructType() if not kind.array_like and kind.cls not in outer:
            look = _look_at_structs(_columns(kind, outer))
            return look and (lambda struct: look([struct]))
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
            return None if is_bounded else lambda value: -(2**63) <= value < 2**63
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
    others: list[tuple[attrgetter[Any], Look]]


def _columns(kind: inspect.StructType, outer: tuple[type[Any], ...]) -> _Columns:
    columns = _Columns([], [], [])
    for field in kind.fields:
        if isinstance(field.type, inspect.DecimalType):
            columns.amounts.append(field.name)
        elif is_amount_or_none(field.type):
            columns.missing.append(field.name)
        elif look := look_of(field.type, (*outer, kind.cls)):
            columns.others.append((attrgetter(field.name), look))
    return columns


# Traps everything except a Decimal of at most 64 digits, without a positive exponent, from 1E-64 to below 1E+64.
_STRICT: Final = Context(
    prec=MOST_DIGITS,
    Emax=MOST_DIGITS - 1,
    Emin=-MOST_DIGITS,
    clamp=1,
    traps=[InvalidOperation, Overflow, Subnormal, Inexact, Rounded, Clamped],
)
# Allowed places of the first digit; the text of a number below a millionth has an exponent.
_SMALLEST_PLAIN: Final = -6
_EXHAUST: Final = deque[Decimal](maxlen=0).extend
_PLACES: Final = frozenset(range(-MOST_DIGITS, MOST_DIGITS))
_PLAIN_PLACES: Final = frozenset(range(_SMALLEST_PLAIN, MOST_DIGITS))


def _look_at_structs(columns: _Columns) -> Look | None:
    if not any(columns):
        return None
    amounts, missing, others = columns
    # With two or more names, attrgetter returns tuples.
    read_all = attrgetter(*amounts, *amounts[:1]) if amounts else None
    names = [*amounts, *amounts[:1]]
    read_missing = [(name, attrgetter(name)) for name in missing]

    def look(structs: Sequence[Any]) -> bool:
        if read_all is not None:
            values = list(chain.from_iterable(map(read_all, structs)))
            if not _look_at_amounts(structs, names, values):
                return False
        for name, read in read_missing:
            held = [struct for struct in structs if read(struct) is not None]
            if held and not _look_at_amounts(held, [name], list(map(read, held))):
                return False
        for get, inside in others:
            for struct in structs:
                if not inside(get(struct)):
                    return False
        return True

    return look


def _look_at_amounts(structs: Sequence[Any], names: list[str], values: list[Decimal]) -> bool:
    """Return whether all values of these fields, Struct after Struct, are within bounds."""
    try:
        _EXHAUST(map(_STRICT.plus, values))
    except ArithmeticError:
        return False
    if not all(map(Decimal.is_finite, values)):
        return False
    places = list(map(Decimal.adjusted, values))
    if not _PLAIN_PLACES.issuperset(places):
        if not _PLACES.issuperset(places):
            return False
        _write_plainly(structs, names, values, places)
    return True


def _write_plainly(structs: Sequence[Any], names: list[str], values: list[Decimal], places: list[int]) -> None:
    """Replace the amounts whose text has an exponent."""
    width = len(names)
    for at in compress(count(), map(_SMALLEST_PLAIN.__gt__, places)):
        force_setattr(structs[at // width], names[at % width], PLAIN[str(values[at])])
