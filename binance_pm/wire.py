"""What stands on the wire: parameters as a query, answers as Structs."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any, Final, TypeVar, cast
from urllib.parse import quote

import msgspec

T = TypeVar("T")

Value = str | int | bool | Decimal
"""What a parameter may be. A float is refused: 0.1 is not one tenth, and 0.00001 would be sent as 1e-05."""

_LONGEST_NUMBER: Final = 64


class Answer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Base of every decoded answer: snake_case here, camelCase on the wire.

    Amounts are Decimal. Fields that this version does not know are ignored.
    """


def camel(name: str) -> str:
    """``recv_window`` as the exchange writes it: ``recvWindow``."""
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def encode_query(parameters: Mapping[str, Value | None]) -> str:
    """The parameters as a query in RFC 3986 encoding, in their order, without those that are None.

    Raises:
        ValueError: a value cannot be sent; the text names the parameter, never the value.
    """
    return "&".join(
        f"{quote(name, safe='')}={_encode(name, value)}" for name, value in parameters.items() if value is not None
    )


def decoder(returns: type[T]) -> Callable[[bytes], T]:
    """A function from an answer's body to the given type.

    Fields typed ``Decimal | None`` may be ``""`` on the wire, and times may be text: both are seen in real answers.
    Amounts that are not finite are refused: they would raise in the first comparison, far from here.

    The function raises ValueError where the body is not what the type promises.
    """
    decode = msgspec.json.Decoder(returns, strict=False).decode
    blank = _blank_fields(returns)

    def decode_answer(body: bytes) -> T:
        try:
            try:
                answer = decode(body)
            except msgspec.ValidationError:
                if blank is None:
                    raise
                answer = decode(blank.sub(rb"\1null", body))
        except RecursionError as error:
            raise ValueError("JSON is nested too deeply") from error
        if _may_be_infinite(body):
            _check_finite(answer)
        return answer

    return decode_answer


def _encode(name: str, value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return _plain(name, Decimal(int(value)))
        case Decimal():
            return _plain(name, value)
        case str():
            return _quote(name, value)
        case float():
            raise ValueError(f"{name} is a float, which cannot hold an amount exactly: give Decimal, str or int")
        case _:
            raise ValueError(f"{name} is {type(value).__name__}, which cannot be sent: give str, int, bool or Decimal")


def _plain(name: str, value: Decimal) -> str:
    """Plain notation: the exchange rejects an exponent with -1100."""
    if not value.is_finite():
        raise ValueError(f"{name} is not a finite number")
    # Decimal("1E+999999999") is a valid value whose plain notation would fill the memory.
    if abs(value.adjusted()) > _LONGEST_NUMBER or len(value.as_tuple().digits) > _LONGEST_NUMBER:
        raise ValueError(f"{name} has more than {_LONGEST_NUMBER} digits")
    # Decimal knows a negative zero; the exchange's patterns need not.
    return format(value or abs(value), "f")


def _quote(name: str, value: str) -> str:
    try:
        return quote(value, safe="")
    except UnicodeEncodeError as error:
        raise ValueError(f"{name} has a character that is not valid Unicode") from error


def _blank_fields(returns: type[Any]) -> re.Pattern[bytes] | None:
    """Finds ``"name": ""`` for the fields typed ``Decimal | None``; a JSON text cannot hold unescaped quotes."""
    names = {re.escape(field.encode_name) for field in _fields(returns) if set(_members(field.type)) == _BLANK}
    return re.compile(rf'("(?:{"|".join(sorted(names))})"\s*:\s*)""'.encode()) if names else None


_BLANK: Final = {msgspec.inspect.DecimalType, msgspec.inspect.NoneType}


def _members(kind: msgspec.inspect.Type) -> Iterable[type[msgspec.inspect.Type]]:
    return [type(member) for member in kind.types] if isinstance(kind, msgspec.inspect.UnionType) else []


def _fields(returns: type[Any]) -> Iterable[msgspec.inspect.Field]:
    """Every field of the type and of the Structs inside it."""
    seen: set[type[Any]] = set()
    waiting = [msgspec.inspect.type_info(returns)]
    while waiting:
        match waiting.pop():
            case msgspec.inspect.StructType() as struct if struct.cls not in seen:
                seen.add(struct.cls)
                yield from struct.fields
                waiting += [field.type for field in struct.fields]
            case msgspec.inspect.CollectionType() as collection:
                waiting.append(collection.item_type)
            case msgspec.inspect.DictType() as mapping:
                waiting.append(mapping.value_type)
            case msgspec.inspect.UnionType() as union:
                waiting += union.types
            case _:
                pass


def _may_be_infinite(body: bytes) -> bool:
    """Whether the body has letters of what Decimal reads as not finite, such as nan, sNaN12 and -INF, or an escape."""
    lower = body.lower()
    return b"nan" in lower or b"inf" in lower or b"\\u" in lower


def _check_finite(answer: object) -> None:
    match answer:
        case Decimal() if not answer.is_finite():
            raise ValueError("an amount is not a finite number")
        case float() if not math.isfinite(answer):
            raise ValueError("an amount is not a finite number")
        case msgspec.Struct():
            for name in answer.__struct_fields__:
                _check_finite(getattr(answer, name))
        case list() | tuple():
            for item in cast("Iterable[object]", answer):
                _check_finite(item)
        case dict():
            for item in cast("dict[object, object]", answer).values():
                _check_finite(item)
        case _:
            pass
