"""A decoded response as JSON again."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, cast

import msgspec


def encoded(value: object, like: Any) -> Any:
    """Return a decoded response as JSON again.

    What the type cannot tell is taken from the response: whether a missing amount was empty text or null or left out,
    and whether a number was sent as text.
    """
    match value:
        case msgspec.Struct():
            fields = _tag(value)
            fields |= {field.encode_name: getattr(value, field.name) for field in msgspec.structs.fields(value)}
            return {
                name: encoded(one, like[name] if isinstance(like, dict) and name in like else None)
                for name, one in fields.items()
                if one is not None or (isinstance(like, dict) and name in like)
            }
        case list() | tuple():
            return [encoded(one, other) for one, other in zip(cast("Sequence[object]", value), like, strict=True)]
        case dict():
            return {key: encoded(one, like[key]) for key, one in cast("dict[str, object]", value).items()}
        case _:
            return _scalar(value, like)


def _tag(value: msgspec.Struct) -> dict[str, object]:
    """Return the field that tells the type of an event."""
    config = value.__struct_config__
    return {} if config.tag_field is None else {config.tag_field: config.tag}


def _scalar(value: object, like: Any) -> Any:
    """Return an amount, a number, a text or None in the form that the response has."""
    match value:
        case None:
            return "" if like == "" else None
        case Decimal():
            return type(like)(value) if isinstance(like, int | float) else format(value, "f")
        case int() if isinstance(like, str):
            return str(value)
        case _:
            return value
