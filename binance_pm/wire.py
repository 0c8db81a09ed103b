"""What stands on the wire: parameters as a query, answers as Structs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from functools import cache
from typing import Annotated, Any, TypeAlias, TypeVar, cast
from urllib.parse import quote

import msgspec

from binance_pm.amounts import MOST_DIGITS, write_plainly
from binance_pm.finite import TOO_DEEP, check, is_amount_or_none
from binance_pm.quick_check import look_of, surely_plain
from binance_pm.rows import SMALLEST, Rows, are_rows

T = TypeVar("T")

Value = str | int | bool | Decimal
"""What a parameter may be. A float is refused: 0.1 is not one tenth, and 0.00001 would be sent as 1e-05."""

Milliseconds: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799_999)]
"""A time in milliseconds since the epoch, as far as calendars go: until the end of 9999; 0 often means "never"."""


# The garbage collector would look at every position that a program holds, for tens of milliseconds at a time; but what
# cannot be changed cannot come to hold itself.
class Model(msgspec.Struct, frozen=True, kw_only=True, gc=False, rename="camel"):
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
    Numbers are within the bounds of `binance_pm.finite`, and amounts have plain text.

    The function raises ValueError if the body is not what the type promises: with what is wrong, and its path.
    """
    # To look into the type takes longer than a call, or than importing all else: it waits until there is a response.
    strictly = cache(lambda: msgspec.json.Decoder(returns).decode)
    kind = cache(lambda: msgspec.inspect.type_info(returns))
    quick_look = cache(lambda: look_of(kind()))
    blank = cache(lambda: _blank_fields(kind()))
    rows = cache(lambda: Rows(cast("Any", kind()), decoder) if are_rows(kind()) else None)

    def decode_differently(body: bytes) -> T:
        try:
            return msgspec.json.decode(body, type=returns, strict=False)
        except msgspec.ValidationError:
            pattern = blank()
            if pattern is None:
                raise
            return msgspec.json.decode(pattern.sub(rb"\1null", body), type=returns, strict=False)

    def decode_answer(body: bytes) -> T:
        if len(body) >= SMALLEST and (by_rows := rows()) and (answer := by_rows.decode(body)) is not None:
            return answer
        try:
            try:
                # Mostly an answer is just as it is documented, and faster to read so.
                answer = strictly()(body)
            except msgspec.ValidationError:
                answer = decode_differently(body)
            look = quick_look()
            if look is None or (surely_plain(body) and look(answer)):
                return answer
            check(kind(), body)
            return write_plainly(answer)
        except RecursionError as error:
            raise ValueError(TOO_DEEP) from error
        except (msgspec.DecodeError, UnicodeError, TypeError, ArithmeticError) as error:
            # Not every Decimal can be a key or an item of a set.
            check(kind(), body)
            raise ValueError(_unexplained(error)) from error

    return decode_answer


def _unexplained(error: Exception) -> str:
    """What can be said of what msgspec refused and `check` would not."""
    if not isinstance(error, msgspec.ValidationError):
        return "it is not JSON"
    place = re.search(r"`(\$[^`]*)`", str(error))
    return f"a value has another type - at `{place[1] if place else '$'}`"


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
    if abs(value.adjusted()) > MOST_DIGITS or len(value.as_tuple().digits) > MOST_DIGITS:
        raise ValueError(f"{name} has more than {MOST_DIGITS} digits")
    # Decimal knows a negative zero; the exchange's patterns need not.
    return format(value or abs(value), "f")


def _quote(name: str, value: str) -> str:
    try:
        return quote(value, safe="")
    except UnicodeEncodeError as error:
        raise ValueError(f"{name} has a character that is not valid Unicode") from error


def _blank_fields(kind: msgspec.inspect.Type) -> re.Pattern[bytes] | None:
    """Finds ``"name": ""`` for the fields typed ``Decimal | None``; a JSON text cannot hold unescaped quotes."""
    names = {re.escape(field.encode_name) for field in _fields(kind) if is_amount_or_none(field.type)}
    return re.compile(rf'("(?:{"|".join(sorted(names))})"\s*:\s*)""'.encode()) if names else None


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
