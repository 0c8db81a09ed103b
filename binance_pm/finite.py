"""Which numbers are accepted, and where a response contains one that is not.

An amount is an optional minus sign, ASCII digits, optionally a point and more digits, optionally an exponent, as text
or as a number: at most 64 significant digits, the first of them at most 64 places from the point, and an exponent from
-64 to 64. Decimal itself would accept ``1_000``, ``+1``, `` 1 ``, digits of other scripts, and ``1e999999999``, whose
plain text fills the memory.

Integers have 64 bits, times are `Milliseconds`, floats are finite, and nothing is nested more than 100 levels deep.

A Decimal does not show how it was written. `check` compares the body with the type value by value, and names the first
value that is not accepted; `binance_pm.quick_check` finds out if this can be skipped. `check` also reports everything
else that does not match the type, in this package's words, whatever the text of msgspec's error.
"""

from __future__ import annotations

import builtins
import json
import math
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from functools import partial
from itertools import repeat
from typing import Any, Final, NoReturn, cast

from msgspec import inspect

from binance_pm.amounts import MOST_DIGITS

TOO_DEEP: Final = "JSON is nested too deeply"

_DEEPEST: Final = 100
_INT64: Final = (-(2**63), 2**63 - 1)
# Compiled when the first value is compared with them.
_AMOUNT: Final = r"-?[0-9]+(?:\.[0-9]+)?(?:[eE](?P<exponent>[+-]?[0-9]{1,3}))?"
_FLOAT: Final = r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?"
# Allows for leading and trailing zeros, sign, point and exponent.
_LONGEST: Final = 2 * MOST_DIGITS + 8
_SHOWN: Final = 24


def check(kind: inspect.Type, body: bytes) -> None:
    """Compare a body with the type that was, or was not, decoded from it.

    Raises:
        ValueError: something is wrong; the text gives the first error and its path.
    """
    try:
        _check(kind, _read(body.decode()), "$", 0)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    except UnicodeDecodeError as error:
        raise ValueError(f"the body is not UTF-8 (byte {error.start})") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"the body is not JSON (character {error.pos})") from None


class _Number(str):
    """A JSON number as it is written."""

    __slots__ = ()


_read: Final = json.JSONDecoder(parse_int=_Number, parse_float=_Number, parse_constant=_Number).decode


_OBJECTS: Final = inspect.StructType, inspect.DictType, inspect.DataclassType, inspect.TypedDictType
_LISTS: Final = inspect.CollectionType, inspect.TupleType, inspect.NamedTupleType
_NAMES: Final[dict[type[Any], str]] = {
    inspect.DecimalType: "an amount",
    inspect.IntType: "an integer",
    inspect.StrType: "text",
    dict: "an object",
    list: "a list",
}


def _shape(kind: inspect.Type) -> type[Any]:
    """Return the class of the raw values that a type can hold: dict, list, bool or str; object if it can hold any."""
    match kind:
        case inspect.Metadata():
            return _shape(kind.type)
        case inspect.StructType() if kind.array_like:
            return list
        case inspect.AnyType() | inspect.CustomType() | inspect.RawType():
            return object
        case inspect.NoneType():
            return type(None)
        case inspect.BoolType():
            return bool
        case _:
            return dict if isinstance(kind, _OBJECTS) else list if isinstance(kind, _LISTS) else str


def _check(  # noqa: C901, PLR0912 - one branch for each kind
    kind: inspect.Type, raw: Any, path: str, depth: int
) -> None:
    if depth > _DEEPEST:
        raise ValueError(TOO_DEEP)
    shape = _shape(kind)
    _expect(shape, raw, path)
    match kind:
        case inspect.Metadata():
            _check(kind.type, raw, path, depth)
        case inspect.DecimalType():
            _check_amount(raw, path)
        case inspect.IntType():
            _check_integer(kind, raw, path)
        case inspect.FloatType():
            _check_float(raw, path)
        case inspect.UnionType():
            _check_union(kind, raw, path, depth)
        case inspect.AnyType() | inspect.CustomType(cls=builtins.object):
            _check_anything(raw, path, depth)
        case inspect.StructType() | inspect.DataclassType() | inspect.TypedDictType() if shape is dict:
            _check_fields(kind.fields, raw, path, depth)
        case inspect.StructType() | inspect.NamedTupleType():
            _check_all([field.type for field in kind.fields], raw, path, depth)
        case inspect.TupleType():
            _check_all(kind.item_types, raw, path, depth)
        case inspect.CollectionType():
            _check_all(repeat(kind.item_type), raw, path, depth)
        case inspect.DictType():
            for key, value in raw.items():
                _check(kind.key_type, key, f"key of {path}", depth + 1)
                _check(kind.value_type, value, f"{path}[...]", depth + 1)
        case _ if shape is not object:
            _check_scalar(kind, raw, path)
        case _:
            pass


def _check_scalar(kind: inspect.Type, raw: Any, path: str) -> None:
    match kind:
        case inspect.StrType() if type(raw) is not str:
            _refuse("text", raw, path)
        case inspect.NoneType() if raw is not None:
            _refuse("null", raw, path)
        # A text may be accepted.
        case inspect.BoolType() if raw is None or isinstance(raw, list | dict):
            _refuse("true or false", cast("object", raw), path)
        # All other types are a single text or number.
        case _ if isinstance(raw, list | dict):
            _refuse("one value", cast("object", raw), path)
        case _:
            pass


def _expect(shape: type[Any], raw: object, path: str) -> None:
    if shape in {dict, list} and type(raw) is not shape:
        _refuse(_NAMES[shape], raw, path)


def _check_amount(raw: Any, path: str) -> None:
    found = re.fullmatch(_AMOUNT, raw) if isinstance(raw, str) and len(raw) <= _LONGEST else None
    if found is None:
        _refuse("an amount", raw, path)
    value = Decimal(str(raw))
    if max(abs(int(found["exponent"] or 0)), abs(value.adjusted()), _digits(value)) > MOST_DIGITS:
        _refuse(f"an amount of at most {MOST_DIGITS} digits and an exponent within {MOST_DIGITS}", raw, path)


def _digits(value: Decimal) -> int:
    """Return the number of significant digits: 1e64 has one, and so has the same number in plain notation."""
    _, digits, exponent = value.as_tuple()
    return len("".join(map(str, digits)).rstrip("0") if exponent == 0 else digits)


def _check_integer(kind: inspect.IntType, raw: Any, path: str) -> None:
    least = _INT64[0] if kind.ge is None else kind.ge
    most = _INT64[1] if kind.le is None else kind.le
    found = re.fullmatch(_AMOUNT, raw) if isinstance(raw, str) and len(raw) <= _LONGEST else None
    value = None if found is None else Decimal(str(raw))
    if value is None or not least <= value <= most or value != value.to_integral_value():
        _refuse(f"an integer from {least} to {most}", raw, path)


def _check_float(raw: Any, path: str) -> None:
    is_finite = isinstance(raw, str) and re.fullmatch(_FLOAT, raw) is not None and math.isfinite(float(raw))
    if not is_finite:
        _refuse("a finite number", raw, path)


def _check_anything(raw: Any, path: str, depth: int) -> None:
    match raw:
        case _Number():
            if raw.lstrip("-").isdigit():
                _check_integer(inspect.IntType(), raw, path)
            else:
                _check_float(raw, path)
        case list():
            _check_all(repeat(inspect.AnyType()), cast("list[Any]", raw), path, depth)
        case dict():
            for value in cast("dict[str, Any]", raw).values():
                _check(inspect.AnyType(), value, f"{path}[...]", depth + 1)
        case _:
            pass


def _check_fields(fields: Iterable[inspect.Field], raw: Mapping[str, Any], path: str, depth: int) -> None:
    for field in fields:
        place = f"{path}.{field.encode_name}"
        if field.encode_name in raw:
            value = raw[field.encode_name]
            if not (value == "" and is_amount_or_none(field.type)):
                _check(field.type, value, place, depth + 1)
        elif field.required:
            raise ValueError(f"a field is missing - at `{place}`")


def _check_all(kinds: Iterable[inspect.Type], raw: Iterable[Any], path: str, depth: int) -> None:
    for place, (kind, value) in enumerate(zip(kinds, raw, strict=False)):
        _check(kind, value, f"{path}[{place}]", depth + 1)


def _check_union(kind: inspect.UnionType, raw: Any, path: str, depth: int) -> None:
    if (raw is None or raw == "null") and kind.includes_none:
        return
    fitting = [member for member in kind.types if isinstance(raw, _shape(member))]
    if not fitting:
        others = [member for member in kind.types if not isinstance(member, inspect.NoneType)]
        names = [_NAMES.get(type(member)) or _NAMES.get(_shape(member), "another value") for member in others]
        _refuse(" or ".join(names), raw, path)
    _check(min(fitting, key=partial(_rank, raw)), raw, path, depth)


def _rank(raw: Any, kind: inspect.Type) -> int:
    """Return the place in which msgspec would choose this member of a union for such a value."""
    if isinstance(raw, dict):
        fields = cast("dict[str, Any]", raw)
        if not isinstance(kind, inspect.StructType) or kind.tag_field is None:
            return 1
        return 0 if str(fields.get(kind.tag_field)) == str(kind.tag) else 1
    is_whole = isinstance(raw, _Number) and raw.lstrip("-").isdigit()
    order = _OF_INTEGER if is_whole else _OF_NUMBER if isinstance(raw, _Number) else _OF_TEXT
    return order.index(type(kind)) if type(kind) in order else len(order)


_OF_TEXT: Final[list[type[inspect.Type]]] = [
    inspect.DecimalType,
    inspect.StrType,
    inspect.EnumType,
    inspect.IntType,
    inspect.FloatType,
]
_OF_INTEGER: Final[list[type[inspect.Type]]] = [inspect.IntType, inspect.FloatType, inspect.DecimalType]
_OF_NUMBER: Final[list[type[inspect.Type]]] = [inspect.FloatType, inspect.DecimalType, inspect.IntType]


def _refuse(wanted: str, raw: object, path: str) -> NoReturn:
    raise ValueError(f"expected {wanted}, got {_shown(raw)} - at `{path}`")


def _shown(raw: object) -> str:
    """Return the value if it is short; a long value is never shown, because it may be a key or fill a log."""
    match raw:
        case None:
            return "null"
        case bool():
            return "true" if raw else "false"
        case str():
            kind = "a number" if isinstance(raw, _Number) else "text"
            if len(raw) > _SHOWN:
                return f"{kind} of {len(raw)} characters"
            return str(raw) if isinstance(raw, _Number) else repr(raw)
        case list():
            return "a list"
        case _:
            return "an object"


def is_amount_or_none(kind: inspect.Type) -> bool:
    """Return whether a field is typed ``Decimal | None``: an empty text is None there."""
    if not isinstance(kind, inspect.UnionType):
        return False
    return {type(member) for member in kind.types} == {inspect.DecimalType, inspect.NoneType}
