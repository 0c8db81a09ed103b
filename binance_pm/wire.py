"""What stands on the wire: parameters as a query, answers as Structs."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from functools import cache
from itertools import chain
from operator import attrgetter
from typing import Any, Final, TypeVar, cast
from urllib.parse import quote

import msgspec

T = TypeVar("T")

Value = str | int | bool | Decimal
"""What a parameter may be. A float is refused: 0.1 is not one tenth, and 0.00001 would be sent as 1e-05."""

_LONGEST_NUMBER: Final = 64


# The garbage collector would look at every position that a program holds, for tens of milliseconds at a time; but what
# cannot be changed cannot come to hold itself.
class Answer(msgspec.Struct, frozen=True, kw_only=True, gc=False, rename="camel"):
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
    strictly = msgspec.json.Decoder(returns).decode
    # To look into the type takes longer than a call: it waits until there is an answer.
    kind = cache(lambda: msgspec.inspect.type_info(returns))
    finiteness = cache(lambda: _finiteness(kind(), ()))
    blank = cache(lambda: _blank_fields(kind()))

    def decode_differently(body: bytes) -> T:
        try:
            return msgspec.json.decode(body, type=returns, strict=False)
        except msgspec.ValidationError:
            pattern = blank()
            if pattern is None:
                raise
            return msgspec.json.decode(pattern.sub(rb"\1null", body), type=returns, strict=False)

    def decode_answer(body: bytes) -> T:
        try:
            try:
                # Mostly an answer is just as it is documented, and faster to read so.
                answer = strictly(body)
            except msgspec.ValidationError:
                answer = decode_differently(body)
        except RecursionError as error:
            raise ValueError("JSON is nested too deeply") from error
        except TypeError as error:
            # Not every Decimal can be a key or an item of a set.
            raise ValueError("an amount is not a finite number") from error
        is_finite = finiteness()
        if is_finite is not None and not is_finite(answer):
            raise ValueError("an amount is not a finite number")
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


def _blank_fields(kind: msgspec.inspect.Type) -> re.Pattern[bytes] | None:
    """Finds ``"name": ""`` for the fields typed ``Decimal | None``; a JSON text cannot hold unescaped quotes."""
    names = {re.escape(field.encode_name) for field in _fields(kind) if set(_members(field.type)) == _BLANK}
    return re.compile(rf'("(?:{"|".join(sorted(names))})"\s*:\s*)""'.encode()) if names else None


_BLANK: Final = {msgspec.inspect.DecimalType, msgspec.inspect.NoneType}


def _members(kind: msgspec.inspect.Type) -> Iterable[type[msgspec.inspect.Type]]:
    return [type(member) for member in kind.types] if isinstance(kind, msgspec.inspect.UnionType) else []


def _fields(kind: msgspec.inspect.Type) -> Iterable[msgspec.inspect.Field]:
    """Every field of the type and of the Structs inside it."""
    seen: set[type[Any]] = set()
    waiting = [kind]
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


_Check = Callable[[Any], bool]


def _finiteness(  # noqa: PLR0911 - one for each kind
    kind: msgspec.inspect.Type, outer: tuple[type[Any], ...]
) -> _Check | None:
    """A function that tells whether every number in a value of the type is finite; None where there are no numbers.

    Args:
        kind: the type.
        outer: the Structs and dataclasses that it stands in: one that holds itself is looked into as deep as it goes.
    """
    match kind:
        case msgspec.inspect.DecimalType():
            return Decimal.is_finite
        case msgspec.inspect.FloatType():
            return math.isfinite
        case msgspec.inspect.Metadata():
            return _finiteness(kind.type, outer)
        case msgspec.inspect.StructType() | msgspec.inspect.DataclassType():
            return _any_is_finite if kind.cls in outer else _of_fields(kind.fields, (*outer, kind.cls))
        case msgspec.inspect.CollectionType():
            return _of_items(kind.item_type, outer)
        case msgspec.inspect.DictType():
            return _of_mapping(_of_items(kind.key_type, outer), _of_items(kind.value_type, outer))
        case msgspec.inspect.UnionType():
            members = [_finiteness(member, outer) for member in kind.types]
            others = [member for member in kind.types if not isinstance(member, msgspec.inspect.NoneType)]
            if len(others) == 1 and (inside := _finiteness(others[0], outer)):
                return lambda value: value is None or inside(value)
            return _any_is_finite if any(members) else None
        case (
            msgspec.inspect.AnyType()
            | msgspec.inspect.TupleType()
            | msgspec.inspect.NamedTupleType()
            | msgspec.inspect.TypedDictType()
        ):
            return _any_is_finite
        case _:
            return None


def _of_fields(fields: Iterable[msgspec.inspect.Field], outer: tuple[type[Any], ...]) -> _Check | None:
    checks = [(attrgetter(field.name), _finiteness(field.type, outer)) for field in fields]
    needed = [(get, check) for get, check in checks if check is not None]

    def is_finite(value: object) -> bool:
        # A generator would cost as much again, for every answer.
        for get, check in needed:  # noqa: SIM110
            if not check(get(value)):
                return False
        return True

    return is_finite if needed else None


def _of_mapping(keys: _Check | None, values: _Check | None) -> _Check | None:
    if keys is None:
        return values and (lambda mapping: values(mapping.values()))
    return lambda mapping: keys(mapping) and (values is None or values(mapping.values()))


def _of_items(kind: msgspec.inspect.Type, outer: tuple[type[Any], ...]) -> _Check | None:
    """For each of many values: what is done for six hundred positions is left to C."""
    names = _decimals(kind)
    if len(names) > 1:
        amounts = attrgetter(*names)
        return lambda values: all(map(Decimal.is_finite, chain.from_iterable(map(amounts, values))))
    check = _finiteness(kind, outer)
    return check and (lambda values: all(map(check, values)))


def _decimals(kind: msgspec.inspect.Type) -> list[str]:
    """The names of a Struct's fields that are Decimal, where nothing else in it has to be looked at."""
    if not isinstance(kind, msgspec.inspect.StructType):
        return []
    plain = [field.name for field in kind.fields if isinstance(field.type, msgspec.inspect.DecimalType)]
    checks = [field for field in kind.fields if _finiteness(field.type, (kind.cls,)) is not None]
    return plain if len(plain) == len(checks) else []


def _any_is_finite(answer: object) -> bool:
    match answer:
        case Decimal():
            return answer.is_finite()
        case float():
            return math.isfinite(answer)
        case msgspec.Struct():
            return all(_any_is_finite(getattr(answer, name)) for name in answer.__struct_fields__)
        case list() | tuple():
            return all(map(_any_is_finite, cast("Iterable[object]", answer)))
        case dict():
            return all(map(_any_is_finite, cast("dict[object, object]", answer).values()))
        case _:
            return all(_any_is_finite(getattr(answer, name)) for name in getattr(answer, "__dataclass_fields__", ()))
