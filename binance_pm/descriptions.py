"""What a `TypedDict` says of its keys."""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from collections.abc import Mapping
from typing import Any, cast, is_typeddict


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
