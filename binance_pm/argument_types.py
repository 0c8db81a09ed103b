"""Checks that follow from the declared types of an endpoint's parameters."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any, Literal, get_args, get_origin

# The exchange's own pattern, as its refusals with -1100 show it.
_PLAIN = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20})?")


def type_check(parameters: Mapping[str, inspect.Parameter]) -> Callable[[Mapping[str, object]], None] | None:
    """Return a check of the arguments of a call, or None if the types of the parameters exclude nothing.

    The check refuses a value that a `Literal` does not list, an amount that is not above 0 or that is not a decimal
    number in plain notation, and an empty text.

    Args:
        parameters: by name as declared, with resolved annotations.
    """
    rules = {name: rule for name, one in parameters.items() if (rule := _rule_of(one.annotation)) is not None}

    def check(arguments: Mapping[str, object]) -> None:
        for name, value in arguments.items():
            if name in rules and (broken := rules[name](value)):
                raise ValueError(f"{name} {broken}")

    return check if rules else None


def _rule_of(annotation: Any) -> Callable[[object], str] | None:
    """Return a function from an argument to the rule that it breaks, or to an empty text."""
    types = [annotation, *get_args(annotation)]
    if choices := [choice for one in types for choice in _choices(one)]:
        return lambda value: "" if value in choices else f"must be one of {', '.join(choices)}"
    if Decimal in types:
        return _amount
    return _text if str in types else None


def _choices(annotation: Any) -> Iterator[Any]:
    return iter(get_args(annotation) if get_origin(annotation) is Literal else ())


def _text(value: object) -> str:
    return "is empty" if value == "" else ""


def _amount(value: object) -> str:
    match value:
        case bool():
            return "is a bool, which is no amount"
        case int() | Decimal():
            number = Decimal(value)
        case str() if _PLAIN.fullmatch(value):
            number = Decimal(value)
        case str():
            return "must be a decimal number in plain notation, such as 0.001"
        case _:
            return f"is {type(value).__name__}: give Decimal, int or str"
    if not number.is_finite():
        return "is not a finite number"
    return "" if number > 0 else "must be above 0"
