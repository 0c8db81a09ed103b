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
        raise ValueError(f"it is not UTF-8 (byte {error.start})") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON (character {error.pos})") from None


class _Number(str):
    """A JSON number as it is written."""

    __slots__ = ()


_read: Final = json.JSONDecoder(parse_int=_Number, parse_float=_Number, parse_constant=_Number).decode


def _check(kind: inspect.Type, raw: Any, path: str, depth: int) -> None:
    if depth > _DEEPEST:
        raise ValueError(TOO_DEEP)
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
        case _:
            _check_structure(kind, raw, path, depth)


def _check_amount(raw: Any, path: str) -> None:
    found = re.fullmatch(_AMOUNT, raw) if isinstance(raw, str) and len(raw) <= _LONGEST else None
    if found is None:
        _refuse("an amount", raw, path)
    value = Decimal(str(raw))
    if (
        abs(int(found["exponent"] or 0)) > MOST_DIGITS
        or abs(value.adjusted()) > MOST_DIGITS
        or _digits(value) > MOST_DIGITS
    ):
        _refuse(f"an amount of at most {MOST_DIGITS} digits and an exponent within {MOST_DIGITS}", raw, path)


def _digits(value: Decimal) -> int:
    """Return the number of significant digits: 1e64 has one, and so has the same number in plain notation."""
    _, digits, exponent = value.as_tuple()
    is_whole = exponent == 0
    return len("".join(map(str, digits)).rstrip("0") if is_whole else digits)


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


def _check_structure(  # noqa: C901, PLR0912 - one for each kind
    kind: inspect.Type, raw: Any, path: str, depth: int
) -> None:
    match kind:
        case inspect.StructType() if kind.array_like:
            kinds = [field.type for field in kind.fields]
            _check_all(kinds, _expect(raw, list[Any], "a list", path), path, depth)
        case inspect.StructType() | inspect.DataclassType() | inspect.TypedDictType():
            _check_fields(kind.fields, _expect(raw, dict[str, Any], "an object", path), path, depth)
        case inspect.NamedTupleType():
            kinds = [field.type for field in kind.fields]
            _check_all(kinds, _expect(raw, list[Any], "a list", path), path, depth)
        case inspect.TupleType():
            _check_all(kind.item_types, _expect(raw, list[Any], "a list", path), path, depth)
        case inspect.CollectionType():
            _check_all(repeat(kind.item_type), _expect(raw, list[Any], "a list", path), path, depth)
        case inspect.DictType():
            for key, value in _expect(raw, dict[str, Any], "an object", path).items():
                _check(kind.key_type, key, f"key of {path}", depth + 1)
                _check(kind.value_type, value, f"{path}[...]", depth + 1)
        case inspect.StrType():
            if type(raw) is not str:
                _refuse("text", raw, path)
        case inspect.BoolType():
            # A text may be accepted.
            if raw is None or isinstance(raw, list | dict):
                _refuse("true or false", cast("object", raw), path)
        case inspect.NoneType():
            if raw is not None:
                _refuse("null", raw, path)
        case inspect.RawType() | inspect.CustomType():
            pass
        case _:
            # All other types are a single text or number.
            if isinstance(raw, list | dict):
                _refuse("one value", cast("object", raw), path)


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
    fitting = [member for member in kind.types if _fits(member, raw)]
    if len(fitting) > 1:
        fitting = _closest(fitting, raw)
    if not fitting:
        others = [_name(member) for member in kind.types if not isinstance(member, inspect.NoneType)]
        _refuse(" or ".join(others), raw, path)
    _check(fitting[0], raw, path, depth)


def _fits(kind: inspect.Type, raw: Any) -> bool:  # noqa: PLR0911 - one for each kind
    """Return whether the type may hold such a value, judged by the value's JSON type."""
    match kind:
        case inspect.Metadata():
            return _fits(kind.type, raw)
        case inspect.AnyType() | inspect.CustomType():
            return True
        case inspect.NoneType():
            return raw is None
        case inspect.StructType():
            return isinstance(raw, list if kind.array_like else dict)
        case inspect.DictType() | inspect.DataclassType() | inspect.TypedDictType():
            return isinstance(raw, dict)
        case inspect.CollectionType() | inspect.TupleType() | inspect.NamedTupleType():
            return isinstance(raw, list)
        case inspect.BoolType():
            return isinstance(raw, bool)
        case _:
            return isinstance(raw, str)


def _closest(kinds: list[inspect.Type], raw: Any) -> list[inspect.Type]:
    """Return those of several members of a union that msgspec would choose, best first."""
    if isinstance(raw, dict):
        return sorted(kinds, key=lambda kind: not _is_tagged(kind, cast("dict[str, Any]", raw)))
    is_whole = isinstance(raw, _Number) and raw.lstrip("-").isdigit()
    if is_whole:
        order: tuple[type[inspect.Type], ...] = (inspect.IntType, inspect.FloatType, inspect.DecimalType)
    elif isinstance(raw, _Number):
        order = (inspect.FloatType, inspect.DecimalType, inspect.IntType)
    else:
        order = (inspect.DecimalType, inspect.StrType, inspect.EnumType, inspect.IntType, inspect.FloatType)
    return sorted(kinds, key=lambda kind: order.index(type(kind)) if type(kind) in order else len(order))


def _is_tagged(kind: inspect.Type, raw: Mapping[str, Any]) -> bool:
    if not isinstance(kind, inspect.StructType) or kind.tag_field is None:
        return False
    return str(raw.get(kind.tag_field)) == str(kind.tag)


def _name(kind: inspect.Type) -> str:
    match kind:
        case inspect.DecimalType():
            return "an amount"
        case inspect.IntType():
            return "an integer"
        case inspect.StrType():
            return "text"
        case inspect.StructType() | inspect.DictType() | inspect.DataclassType() | inspect.TypedDictType():
            return "an object"
        case inspect.CollectionType() | inspect.TupleType() | inspect.NamedTupleType():
            return "a list"
        case _:
            return "another value"


def _expect(raw: Any, shape: type[Any], what: str, path: str) -> Any:
    if not isinstance(raw, cast("Any", shape).__origin__):
        _refuse(what, raw, path)
    return raw


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
