"""Signatures of endpoints: keyword parameters that are declared as a `TypedDict` are written out one by one."""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NotRequired, Required, Unpack, cast, get_args, get_origin, get_type_hints, is_typeddict


def written_out(function: Callable[..., object]) -> tuple[inspect.Signature, type[Any] | None]:
    """Return the signature with each key of an unpacked `TypedDict` as a keyword parameter, and the `TypedDict`.

    A key that is not required may be None, and is None by default.

    Raises:
        ValueError: a variadic parameter is not declared by a `TypedDict`, or a key is a parameter, too.
    """
    signature = inspect.signature(function, eval_str=True)
    parameters = list(signature.parameters.values())
    variadic = [one for one in parameters if one.kind in {one.VAR_POSITIONAL, one.VAR_KEYWORD}]
    if not variadic:
        return signature, None
    options = cast("Any", next(iter(get_args(variadic[-1].annotation)), None))
    if len(variadic) > 1 or get_origin(variadic[0].annotation) is not Unpack or not is_typeddict(options):
        raise ValueError(f"{variadic[0]} is not declared as Unpack[a TypedDict]")
    return signature.replace(parameters=[*parameters[:-1], *_keywords(options)]), options


def descriptions_of(options: type[Any]) -> Mapping[str, str]:
    """Return the docstring below each key of a `TypedDict`; of no key if its source is not at hand."""
    try:
        [class_] = ast.parse(textwrap.dedent(inspect.getsource(options))).body
    except (OSError, TypeError, SyntaxError):
        return {}
    described: dict[str, str] = {}
    if not isinstance(class_, ast.ClassDef):
        return described
    for base in class_.bases:
        # A TypedDict does not keep its bases.
        inherited = vars(sys.modules[options.__module__]).get(base.id) if isinstance(base, ast.Name) else None
        if is_typeddict(inherited):
            described |= descriptions_of(cast("type[Any]", inherited))
    for above, below in zip(class_.body, class_.body[1:], strict=False):
        match above, below:
            case ast.AnnAssign(ast.Name(name)), ast.Expr(ast.Constant(str(text))):
                described[name] = inspect.cleandoc(text)
            case _:
                pass
    return described


def _keywords(options: type[Any]) -> Iterator[inspect.Parameter]:
    required: frozenset[str] = cast("Any", options).__required_keys__
    for name, hint in get_type_hints(options, include_extras=True).items():
        is_required = name in required
        # `__required_keys__` does not know qualifiers that are text, as they are in modules with postponed annotations.
        if (qualifier := get_origin(hint)) in {Required, NotRequired}:
            is_required, hint = qualifier is Required, get_args(hint)[0]  # noqa: PLW2901
        yield inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if is_required else None,
            annotation=hint if is_required else hint | None,
        )
