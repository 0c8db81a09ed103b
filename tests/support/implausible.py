"""Values that no field should hold, as they stand in JSON, and what a response is allowed to hold.

`ODD_AMOUNTS` and the tables beside it are for tests of all fields, all types and all who use what was read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from decimal import Decimal
from enum import Enum
from typing import Any, Final, cast

import msgspec

ODD_AMOUNTS: Final = tuple(
    json.dumps(text, ensure_ascii=False)
    for text in (
        "1_000",
        "_1",
        "1_",
        "1._5",
        "-_1",
        "1_e5",
        " 1 ",
        " 1",
        "1 ",
        "\t1",
        "1\n",
        "+1",
        "+0",
        "-+1",
        "--1",
        "- 1",
        "1,000",
        ".",
        "-",
        ".5",
        "5.",
        "-.5",
        "e5",
        "1e",
        "1e5.0",
        "0x10",
        "1.2.3",
        "NaN",
        "nan",
        "-nan",
        "sNaN",
        "NaN12",
        "Infinity",
        "-Infinity",
        "infinity",
        "inf",
        "+INF",
        "1e65",
        "1e-65",
        "1000e-67",
        "100.5E-0065",
        f"{10**29}e-70",
        "0e65",
        "0E-65",
        "1e400",
        "1E+999999999",
        "1e-999999999",
        "0e999999999",
        "1e99999999999999999999",
        "1" * 65,
        "0" * 200,
        "0." + "1" * 65,
        "0." + "0" * 64 + "1",
        "0." + "0" * 65,
        "1" * 64 + "e64",
        "1." + "0" * 64,
        "9" * 100_000,
        "0." + "0" * 100_000,
        "\u0661\u0662\u0663",
        "1\u0660",
        "\uff11\uff12",
        "\U0001d7d9",
        "\u00a01",
        "1\u2003",
        "\u22121",
        "one",
        "\x00",
        "1\x00",
        "\ufeff1",
    )
)
"""Text that is no amount, although Decimal reads much of it."""

ESCAPED_AMOUNTS: Final = (
    r'"\u0661"',
    r'"\uff11"',
    r'"N\u0061N"',
    r'"1\u005f0"',
    r'"\u00201"',
    r'"\u002b1"',
    r'"1\u00a0"',
)
"""The same, written so that the body is ASCII."""

LARGE_NUMBERS: Final = ("1e400", "-1e400", "1e65", "1e-65", "9" * 65, "9" * 1_000, "1" * 5_000, "0." + "1" * 1_000)
"""JSON numbers out of all bounds."""

ODD_INTEGERS: Final = (
    str(2**63),
    str(-(2**63) - 1),
    str(2**64),
    "9" * 5_000,
    "-" + "9" * 5_000,
    "1.5",
    "1e19",
    "1e400",
    '"9223372036854775808"',
    f'"{"9" * 5_000}"',
    '"1_000"',
    '" 1"',
    '"+1"',
    '"\u0661"',
    '"NaN"',
    '"x"',
    "true",
)
"""No integer of 64 bits."""

ODD_TIMES: Final = ("253402300800000", "-1", str(2**63 - 1), '"-1"', '"253402300800000"', *ODD_INTEGERS)
"""No milliseconds since the epoch within the calendar."""

OTHER_SHAPES: Final = (
    "null",
    "true",
    "[]",
    "{}",
    '[["1"]]',
    '{"a":{"b":1}}',
    '""',
    "-0",
    "0",
    '"0E-8"',
    '"-0E-64"',
    '"1e64"',
    '"' + "x" * 100_000 + '"',
    "[" * 500 + "]" * 500,
    '{"a":' * 997 + "1" + "}" * 997,
    "[" * 5_000 + "]" * 5_000,
    "[" * 5_000,
    "NaN",
    "Infinity",
    "1_0",
    "01",
    "\\",
)
"""What may come for anything: some fields may hold some of these."""

ALL: Final = tuple(
    dict.fromkeys((*ODD_AMOUNTS, *ESCAPED_AMOUNTS, *LARGE_NUMBERS, *ODD_INTEGERS, *ODD_TIMES, *OTHER_SHAPES))
)

GOOD_AMOUNTS: Final = {
    "0": "0",
    "-0": "-0",
    "0.00000000": "0.00000000",
    "-0.00000000": "-0.00000000",
    "0E-8": "0.00000000",
    "0e-64": "0." + "0" * 64,
    "0.00000012": "0.00000012",
    "1E-8": "0.00000001",
    "1e3": "1000",
    "0E+3": "0",
    "007": "7",
    "1e64": "1" + "0" * 64,
    "1" + "0" * 64: "1" + "0" * 64,
    "0." + "1" * 64: "0." + "1" * 64,
    "0." + "0" * 64: "0." + "0" * 64,
    "0" * 65: "0",
    "1E-64": "0." + "0" * 63 + "1",
    "9" * 64: "9" * 64,
    "-" + "9" * 32 + "." + "9" * 32: "-" + "9" * 32 + "." + "9" * 32,
}
"""Amounts as they may be sent, and their plain notation."""


def numbers_in(value: object) -> Iterator[Decimal | int | float]:
    """Every number that a decoded value holds, however deep."""
    waiting: list[Any] = [value]
    while waiting:
        one: Any = waiting.pop()
        match one:
            case Decimal() | float():
                yield one
            case bool() | str() | bytes() | Enum() | None:
                pass
            case int():
                yield one
            case msgspec.Struct():
                waiting += [getattr(one, name) for name in one.__struct_fields__]
            case dict():
                waiting += cast("dict[Any, Any]", one).keys()
                waiting += cast("dict[Any, Any]", one).values()
            case list() | tuple() | set() | frozenset():
                waiting += cast("list[Any]", one)
            case _:
                waiting += [getattr(one, name) for name in one.__dataclass_fields__]


def is_plausible(number: Decimal | float) -> bool:
    """Whether a number is one that any consumer can take."""
    match number:
        case Decimal():
            is_near = number.is_finite() and abs(number.adjusted()) <= 64
            return is_near and len(number.as_tuple().digits) <= 65 and "E" not in str(number)
        case float():
            return math.isfinite(number)
        case _:
            return -(2**63) <= number < 2**63


Place = tuple[str | int, ...]
_MARK: Final = "\ue000mark\ue000"


def fields_of(value: Any, path: Place = ()) -> Iterator[Place]:
    """Yield the place of every value in a sample: for lists, of the first item."""
    yield path
    if isinstance(value, dict):
        for name, inside in cast("dict[str, Any]", value).items():
            yield from fields_of(inside, (*path, name))
    elif isinstance(value, list) and value:
        yield from fields_of(value[0], (*path, 0))


def with_value(value: Any, path: Place, raw: str) -> bytes:
    """Return the sample as JSON with another value in one place."""
    whole = json.loads(json.dumps(value))
    if not path:
        return raw.encode()
    holder = whole
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = _MARK
    return json.dumps(whole, separators=(",", ":"), ensure_ascii=False).replace(f'"{_MARK}"', raw).encode()
