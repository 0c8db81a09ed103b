"""Checks the arguments of public functions against their annotations, so that an error names the wrong argument.

A parameter that is added later is checked, too. The function itself checks what its types do not
express, such as a range.
"""

from __future__ import annotations

import functools
import inspect
import math
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from types import NoneType, SimpleNamespace, UnionType
from typing import Any, Final, Literal, ParamSpec, Protocol, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from binance_pm.errors import CallInfo, ConfigurationError
from binance_pm.signing import clear_locals

P = ParamSpec("P")
T = TypeVar("T")


def checked(name: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Reject arguments that are not of the declared types.

    The traceback of the error ends here, without local variables: an error reporter would show keys in them.

    Args:
        name: name of the function in an error, such as ``Client``.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        # Annotations may use names that are defined below the function, and resolving them would slow down importing.
        # Those of arguments that are not given may name a library that is not needed.
        signature = functools.cache(lambda: inspect.signature(function))

        @functools.cache
        def hint(parameter: str) -> Any:
            return hint_of(function, parameter)

        def look(*args: object, **kwargs: object) -> None:
            for parameter, value in signature().bind(*args, **kwargs).arguments.items():
                if signature().parameters[parameter].kind not in _VARIADIC:
                    check(parameter, value, hint(parameter))

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                look(*args, **kwargs)
                return function(*args, **kwargs)
            except ConfigurationError as error:
                refusal: Exception = error
            except _WrongTypeError as error:
                refusal = ConfigurationError(CallInfo(name), str(error))
            del args, kwargs
            clear_locals(refusal)
            raise refusal.with_traceback(None) from None

        return call

    return decorate


def check_fields(name: str, thing: object, *, prefix: str = "") -> None:
    """Reject fields of a Struct that are not of the declared types.

    Args:
        name: name of the Struct in an error.
        thing: the Struct.
        prefix: put in front of each field name.

    Raises:
        ConfigurationError: a field has a wrong type; the text names the field.
    """
    try:
        for field, hint in _hints_of_fields(type(thing)).items():
            check(prefix + field, getattr(thing, field), hint)
    except _WrongTypeError as error:
        raise ConfigurationError(CallInfo(name), str(error)) from None


def check(name: str, value: object, hint: Any) -> None:
    """Reject a value that is not of the type.

    Raises:
        ValueError: the value has a wrong type; the text gives the name and the expected type, never a possible secret.
    """
    if not _is_of(value, hint):
        raise _WrongTypeError(f"{name} is {_shown(value, hint)}: give {_words(hint)}")


def hint_of(function: Callable[..., object], parameter: str) -> Any:
    """Return the type of a function's parameter; Any if none is declared."""
    function = inspect.unwrap(function)
    annotations = {parameter: inspect.get_annotations(function).get(parameter, Any)}
    late: dict[str, Any] = {}
    while True:
        try:
            return get_type_hints(SimpleNamespace(__annotations__=annotations), function.__globals__, late)[parameter]
        except NameError as missing:
            # A name that the module loads on demand.
            unknown = str(missing.name)
            late[unknown] = getattr(sys.modules[function.__module__], unknown)


class _WrongTypeError(ValueError):
    pass


_hints_of_fields: Final = functools.cache(get_type_hints)
_VARIADIC: Final = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}


def _is_of(value: object, hint: Any) -> bool:
    kind, parts = get_origin(hint), get_args(hint)
    if kind in {Union, UnionType}:
        return any(_is_of(value, part) for part in parts)
    if kind is Literal:
        return any(type(value) is type(part) and value == part for part in parts)
    if kind is Callable or hint is Callable:
        return callable(value)
    return _holds(value, kind, parts) if kind is not None else _is_one(value, hint)


def _is_one(value: object, hint: Any) -> bool:
    if hint is int or hint is float:
        return _is_number(value, hint)
    if hint is Decimal:
        return isinstance(value, Decimal) and not value.is_nan()
    if hint is Any or not isinstance(hint, type):
        return True
    if issubclass(hint, StrEnum):
        return value in list(hint)
    if Protocol in hint.__mro__:
        return all(hasattr(value, name) for name in vars(cast("type[object]", hint)) if not name.startswith("_"))
    return isinstance(value, hint)


def _is_number(value: object, hint: type) -> bool:
    # bool is a subclass of int, and NaN fails every comparison.
    if type(value) is int:
        return abs(value) <= _LARGEST
    return hint is float and type(value) is float and not math.isnan(value)


def _holds(value: object, kind: type, parts: tuple[Any, ...]) -> bool:
    """Return whether the value is a collection of the kind; its items are checked if this does not consume them."""
    if not isinstance(value, kind) or (isinstance(value, str | bytes) and issubclass(kind, Iterable)):
        return False
    if issubclass(kind, Mapping):
        entries = cast("Mapping[object, object]", value)
        return all(_is_of(key, parts[0]) and _is_of(entry, parts[1]) for key, entry in entries.items())
    if not isinstance(value, Collection):
        return True
    members = cast("Collection[object]", value)
    if kind is not tuple or Ellipsis in parts:
        return all(_is_of(member, parts[0]) for member in members)
    return len(members) == len(parts) and all(map(_is_of, members, parts))


def _wrong_part(value: object, hint: Any) -> tuple[object, Any] | None:
    """Return the first item that is not of its type, and that type; None if the collection itself is of another."""
    for one in get_args(hint) if get_origin(hint) in {Union, UnionType} else [hint]:
        kind, parts = get_origin(one), get_args(one)
        is_fixed = kind is tuple and Ellipsis not in parts
        if is_fixed or not isinstance(kind, type) or not isinstance(value, kind) or isinstance(value, str | bytes):
            continue
        if isinstance(value, Collection):
            members = list(cast("Collection[object]", value))
            pairs = [(member, parts[0]) for member in members]
            if issubclass(kind, Mapping):
                pairs += [(member, parts[1]) for member in cast("Mapping[object, object]", value).values()]
            return next((pair for pair in pairs if not _is_of(*pair)), None)
    return None


def _shown(value: object, hint: Any) -> str:
    """Describe the value; only a value that cannot be a secret is shown itself."""
    if value is None:
        return "None"
    if isinstance(value, int | float) and any(part in _NUMBERS for part in (hint, *get_args(hint))):
        return "too large" if type(value) is int and abs(value) > _LARGEST else repr(value)
    if part := _wrong_part(value, hint):
        return f"{type(value).__name__} with {_shown(*part)} in it"
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__


def _words(hint: Any) -> str:
    kind, parts = get_origin(hint), get_args(hint)
    if kind in {Union, UnionType}:
        return _either(list(dict.fromkeys(map(_words, parts))))
    if kind is Literal:
        return _either([repr(part) for part in parts])
    if kind is Callable or hint is Callable:
        return "a function"
    if kind is tuple and Ellipsis not in parts:
        return f"a tuple of {' and '.join(map(_words, parts))}"
    if kind is not None:
        words = [_words(part) for part in parts if part is not ...]
        return f"a {'mapping' if issubclass(kind, Mapping) else 'tuple or list'} of {' to '.join(words)}"
    name = str(getattr(hint, "__name__", hint))
    return _WORDS.get(hint) or f"a{'n' * name.startswith(tuple('AEIOU'))} {name}"


def _either(words: list[str]) -> str:
    return " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


_NUMBERS: Final = int, float, bool
_LARGEST: Final = 2**63

_WORDS: Final[dict[Any, str]] = {
    str: "text",
    bytes: "bytes",
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    Path: "a pathlib.Path",
    None: "None",
    NoneType: "None",
}
