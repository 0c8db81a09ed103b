"""Decoders from the body of a response to a Struct."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

import msgspec

from binance_pm.amounts import write_plainly
from binance_pm.finite import TOO_DEEP, check, is_amount_or_none
from binance_pm.quick_check import look_of, surely_plain
from binance_pm.rows import SMALLEST, Rows, are_rows

T = TypeVar("T")


def make_decoder(returns: type[T]) -> Callable[[bytes], T]:
    """Return a function that decodes the body of a response into the given type.

    Fields typed ``Decimal | None`` may be ``""`` on the wire, and times may be text: real responses contain both.
    Numbers are within the bounds of `binance_pm.finite`, and amounts have plain text.

    The function raises ValueError, with the reason and the path, if the body does not match the type.
    """
    strictly = msgspec.json.Decoder(returns).decode
    kind = msgspec.inspect.type_info(returns)
    look = look_of(kind)
    blank = _blank_fields(kind)
    rows = Rows(cast("Any", kind), make_decoder) if are_rows(kind) else None

    def decode_differently(body: bytes) -> T:
        try:
            return msgspec.json.decode(body, type=returns, strict=False)
        except msgspec.ValidationError:
            if blank is None:
                raise
            return msgspec.json.decode(blank.sub(rb"\1null", body), type=returns, strict=False)

    def decode_answer(body: bytes) -> T:
        if len(body) >= SMALLEST and rows and (answer := rows.decode(body)) is not None:
            return answer
        try:
            try:
                # Most responses are as documented, and decoding them strictly is faster.
                answer = strictly(body)
            except msgspec.ValidationError:
                answer = decode_differently(body)
            if look is None or (surely_plain(body) and look(answer)):
                return answer
            check(kind, body)
            return write_plainly(answer)
        except RecursionError as error:
            raise ValueError(TOO_DEEP) from error
        except (msgspec.DecodeError, UnicodeError, TypeError, ArithmeticError) as error:
            # Not every Decimal can be a key or an item of a set.
            check(kind, body)
            raise ValueError(_unexplained(error)) from error

    return decode_answer


def _unexplained(error: Exception) -> str:
    """Describe an error that msgspec raised although `check` found none."""
    if not isinstance(error, msgspec.ValidationError):
        return "the body is not JSON"
    place = re.search(r"`(\$[^`]*)`", str(error))
    return f"unexpected value - at `{place[1] if place else '$'}`"


def _blank_fields(kind: msgspec.inspect.Type) -> re.Pattern[bytes] | None:
    """Return a pattern for ``"name": ""`` of fields typed ``Decimal | None``; JSON text has no unescaped quotes."""
    names = {re.escape(field.encode_name) for field in _fields(kind) if is_amount_or_none(field.type)}
    return re.compile(rf'("(?:{"|".join(sorted(names))})"\s*:\s*)""'.encode()) if names else None


def _fields(kind: msgspec.inspect.Type) -> Iterable[msgspec.inspect.Field]:
    """Yield every field of the type and of the Structs inside it."""
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
