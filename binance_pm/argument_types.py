"""Checks that follow from the declared types of an endpoint's parameters."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, get_args, get_origin

# The exchange's own pattern, as its refusals with -1100 show it.
_PLAIN = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20})?")

Rule = Callable[[object], str]
"""Returns what is wrong with an argument, or an empty text."""


def type_check(parameters: Mapping[str, inspect.Parameter]) -> Callable[[Mapping[str, object]], None] | None:
    """Return a check of the arguments of a call, or None if no parameter has a type that can be checked.

    The check refuses a value that a `Literal` does not list, an amount that is not above 0 or that is not a decimal
    number in plain notation, a time, integer or flag of another type, and an empty text.

    Args:
        parameters: by name as declared, with resolved annotations.
    """
    rules = {name: rule for name, one in parameters.items() if (rule := _rule_of(one.annotation)) is not None}

    def check(arguments: Mapping[str, object]) -> None:
        for name, value in arguments.items():
            if name in rules and (broken := rules[name](value)):
                raise ValueError(f"{name} {broken}")

    return check if rules else None


def _rule_of(annotation: Any) -> Rule | None:
    types = [annotation, *get_args(annotation)]
    if literal := next((one for one in types if get_origin(one) is Literal), None):
        return _one_of(get_args(literal))
    # The first type that a union contains tells what it means: Decimal | int | str is an amount.
    meanings: dict[type, Rule] = {Decimal: _amount, datetime: _time, bool: _flag, int: _integer, str: _text}
    return next((rule for kind, rule in meanings.items() if kind in types), None)


def _one_of(choices: tuple[object, ...]) -> Rule:
    refusal = f"must be one of {', '.join(map(str, choices))}"
    return lambda value: "" if value in choices else refusal


def _amount(value: object) -> str:
    match value:
        case bool() | float():
            return f"is {type(value).__name__}: give Decimal, int or str"
        case int() | Decimal():
            number = Decimal(value)
        case str() if _PLAIN.fullmatch(value):
            number = Decimal(value)
        case _:
            return "must be a decimal number in plain notation, such as 0.001"
    if not number.is_finite():
        return "is not a finite number"
    return "" if number > 0 else "must be above 0"


def _time(value: object) -> str:
    if isinstance(value, datetime):
        return "" if value.tzinfo is not None else "is a datetime without a time zone: give one with tzinfo"
    return _integer(value) and "must be a datetime or an integer of milliseconds since the epoch"


def _flag(value: object) -> str:
    return "" if isinstance(value, bool) else "must be True or False"


def _integer(value: object) -> str:
    return "" if isinstance(value, int) and not isinstance(value, bool) else "must be an integer"


def _text(value: object) -> str:
    if not isinstance(value, str):
        return "must be a text"
    return "" if value else "is empty"
