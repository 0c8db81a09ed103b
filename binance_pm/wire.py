"""The wire format: parameters as a query, responses as Structs."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Final, Generic, TypeAlias, TypeVar
from urllib.parse import quote

import msgspec

from binance_pm.amounts import MOST_DIGITS

if TYPE_CHECKING:
    from binance_pm.decoding import Decoder

T = TypeVar("T")

Value = str | int | bool | Decimal | datetime
"""The types of a parameter. A float is rejected: 0.1 is not one tenth, and 0.00001 would be sent as 1e-05."""

Amount: TypeAlias = Decimal | int | str
"""An amount that is sent: a quantity, a price or a rate."""

Time: TypeAlias = int | datetime
"""A time that is sent: milliseconds since the epoch, or a datetime with a time zone."""

Milliseconds: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799_999)]
"""A time in milliseconds since the epoch, up to the end of the year 9999; 0 often means "never"."""


_SENT = "str, int, bool, Decimal, datetime"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LARGEST = 2**63
# RFC 3986, 2.3.
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


# Otherwise the garbage collector would visit every position that a program holds, for tens of milliseconds at a time.
# Immutable objects cannot come to refer to themselves.
class Model(msgspec.Struct, frozen=True, kw_only=True, gc=False, rename="camel"):
    """Base of every decoded response: snake_case here, camelCase on the wire.

    Amounts are Decimal. Fields that this version does not know are ignored.
    """


def camel(name: str) -> str:
    """Convert a name such as ``recv_window`` to the exchange's form, ``recvWindow``."""
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def encode_query(parameters: Mapping[str, Value | None]) -> str:
    """Encode the parameters as a query according to RFC 3986, in their order, without those that are None.

    Raises:
        ValueError: a value cannot be sent; the text names the parameter, never the value.
    """
    return "&".join(
        [f"{_quoted_name(name)}={_encode(name, value)}" for name, value in parameters.items() if value is not None]
    )


def milliseconds(name: str, value: Time) -> int:
    """Return a time in milliseconds since the epoch.

    Raises:
        ValueError: the time is a datetime without a time zone; the text names the parameter.
    """
    if not isinstance(value, datetime):
        return value
    if value.tzinfo is None:
        raise ValueError(f"{name} is a datetime without a time zone: give one with tzinfo, such as datetime.now(UTC)")
    return (value - _EPOCH) // timedelta(milliseconds=1)


class LazyDecoder(Generic[T]):
    """A `binance_pm.decoding.Decoder` that is made when the first body arrives.

    Examining a type takes longer than a call, and longer than all other imports.

    Args:
        returns: the type that bodies are decoded into.
    """

    __slots__ = ("_made", "_returns")

    def __init__(self, returns: type[T]) -> None:
        self._returns: Final = returns
        self._made: Decoder[T] | None = None

    def __call__(self, body: bytes) -> T:
        """Return the decoded body; see `Decoder`."""
        return (self._made or self._make())(body)

    def steps(self, body: bytes) -> Generator[None, None, T]:
        """Return the decoded body after some steps; see `Decoder.steps`."""
        return (self._made or self._make()).steps(body)

    def _make(self) -> Decoder[T]:
        from binance_pm.decoding import Decoder  # noqa: PLC0415 - importing this package must not load the decoders

        self._made = made = Decoder(self._returns)
        return made


def decoder(returns: type[T]) -> LazyDecoder[T]:
    """Return a decoder from the body of a response to the given type."""
    return LazyDecoder(returns)


def _encode(name: str, value: object) -> str:
    match value:
        case str():
            return _quote(name, value)
        case bool():
            return "true" if value else "false"
        case int():
            return _plain(name, Decimal(int(value))) if abs(value) > _LARGEST else str(int(value))
        case Decimal():
            return _plain(name, value)
        case datetime():
            return str(milliseconds(name, value))
        case float():
            raise ValueError(f"{name} is a float, which cannot hold an amount exactly: give Decimal, str or int")
        case _:
            raise ValueError(f"{name} is {type(value).__name__}, which cannot be sent: give one of {_SENT}")


# The same names are sent again and again.
@lru_cache(maxsize=1024)
def _quoted_name(name: str) -> str:
    return _quote(name, name)


def _plain(name: str, value: Decimal) -> str:
    """Return the value in plain notation: the exchange rejects an exponent with -1100."""
    if not value.is_finite():
        raise ValueError(f"{name} is not a finite number")
    # Decimal("1E+999999999") is a valid value whose plain notation would fill the memory.
    if abs(value.adjusted()) > MOST_DIGITS or len(value.as_tuple().digits) > MOST_DIGITS:
        raise ValueError(f"{name} has more than {MOST_DIGITS} digits")
    # Decimal has a negative zero, which the exchange's patterns may not allow.
    return format(value or abs(value), "f")


def _quote(name: str, value: str) -> str:
    if _UNRESERVED.issuperset(value):
        return value
    try:
        return quote(value, safe="")
    except UnicodeEncodeError as error:
        raise ValueError(f"{name} has a character that is not valid Unicode") from error
