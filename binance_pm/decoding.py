"""Decoders from the body of a response to a Struct."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable
from typing import Any, Final, Generic, TypeVar, cast

import msgspec

from binance_pm.amounts import write_plainly
from binance_pm.finite import TOO_DEEP, check, is_amount_or_none
from binance_pm.quick_check import look_of, surely_plain
from binance_pm.rows import SMALLEST, Rows, are_rows

T = TypeVar("T")


class Decoder(Generic[T]):
    """A function that decodes the body of a response into a type, all at once or in steps.

    Fields typed ``Decimal | None`` may be ``""`` on the wire, and times may be text: real responses contain both.
    Numbers are within the bounds of `binance_pm.finite`, and amounts have plain text.

    Args:
        returns: the type.
    """

    def __init__(self, returns: type[T]) -> None:
        self._returns: Final = returns
        kind = msgspec.inspect.type_info(returns)
        self._kind: Final = kind
        self._strictly: Final = msgspec.json.Decoder(returns).decode
        self._look: Final = look_of(kind)
        self._blank: Final = _blank_fields(kind)
        self._rows: Final = Rows(cast("Any", kind), Decoder) if are_rows(kind) else None

    def __call__(self, body: bytes) -> T:
        """Return the decoded body.

        Raises:
            ValueError: the body does not match the type; the text gives the reason and the path.
        """
        if len(body) < SMALLEST:
            try:
                return self._checked(self._strictly(body), body)
            except _ERRORS:
                # The slower way finds out whether the body can be decoded.
                pass
        steps = self.steps(body)
        try:
            while True:
                next(steps)
        except StopIteration as end:
            return end.value

    def steps(self, body: bytes) -> Generator[None, None, T]:
        """Return the decoded body after steps, none of which takes much longer than decoding without checks.

        Raises:
            ValueError: as for a call.
        """
        if self._rows is not None and len(body) >= SMALLEST:
            answer = yield from self._rows.steps(body)
            if answer is not None:
                return answer
        try:
            yield
            answer = self._decode(body)
            yield
            return self._checked(answer, body)
        except _ERRORS as error:
            raise self._refusal(error, body) from error

    def _decode(self, body: bytes) -> T:
        try:
            # Most responses are as documented, and decoding them strictly is faster.
            return self._strictly(body)
        except msgspec.ValidationError:
            pass
        try:
            return msgspec.json.decode(body, type=self._returns, strict=False)
        except msgspec.ValidationError:
            if self._blank is None:
                raise
            return msgspec.json.decode(self._blank.sub(rb"\1null", body), type=self._returns, strict=False)

    def _checked(self, answer: T, body: bytes) -> T:
        if self._look is None or (surely_plain(body) and self._look(answer)):
            return answer
        check(self._kind, body)
        return write_plainly(answer)

    def _refusal(self, error: Exception, body: bytes) -> ValueError:
        """Return the error for a body that could not be decoded; raise it if `check` finds the reason."""
        if isinstance(error, RecursionError):
            return ValueError(TOO_DEEP)
        check(self._kind, body)
        return ValueError(_unexplained(error))


# Not every Decimal can be a key or an item of a set, which raises the last two.
_ERRORS: Final = (RecursionError, msgspec.DecodeError, UnicodeError, TypeError, ArithmeticError)


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
