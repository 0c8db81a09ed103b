"""The reference: every public name is on a page, and every public member of a class has a docstring."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
import textwrap
from collections.abc import Iterator
from enum import Enum

import pytest

from binance_pm import api, errors
from binance_pm.enums import OpenEnum
from tests.support.paths import DOCS

PAGES = DOCS / "pages" / "reference"
PACKAGES = (
    "binance_pm",
    "binance_pm.fleet",
    "binance_pm.history",
    "binance_pm.doctor",
    "binance_pm.metrics",
    "binance_pm.testing",
)
REFERENCE = "".join(page.read_text(encoding="utf-8") for page in PAGES.glob("*.md"))
SELECTED = {
    match[1].rpartition(".")[2]: re.split(r", *", match[2])
    for match in re.finditer(
        r"^::: ([\w.]+)\n    options:\n(?:      \w.*\n)*?      members: \[(.+)\]$", REFERENCE, re.MULTILINE
    )
}
"""The members selected by a page, for each class; of other classes, all public members are shown."""


def public_names() -> Iterator[tuple[str, object]]:
    """Return every name that a user imports."""
    for package in PACKAGES:
        module = importlib.import_module(package)
        yield from ((name, getattr(module, name)) for name in module.__all__ if name != "__version__")


def api_classes() -> Iterator[tuple[str, type]]:
    """Return the classes of the topic files, which the reference lists by module."""
    for topic in pkgutil.iter_modules(api.__path__):
        module = importlib.import_module(f"{api.__name__}.{topic.name}")
        for name, value in vars(module).items():
            if isinstance(value, type) and value.__module__ == module.__name__ and not name.startswith("_"):
                yield name, value


def is_ours(value: object) -> bool:
    """Whether a class is declared in this package."""
    return str(getattr(value, "__module__", "")).startswith("binance_pm")


CLASSES = {name: value for name, value in (*public_names(), *api_classes()) if isinstance(value, type)}


def members(kind: type) -> Iterator[tuple[str, bool]]:
    """Return the public members in the source of a class, each with whether it has a docstring."""
    node = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    assert isinstance(node, ast.ClassDef)
    listed = set(re.findall(r"^ +(\w+): ", inspect.getdoc(kind) or "", re.MULTILINE))
    # The members of an open enumeration are values of the exchange.
    has_members = Enum in kind.__mro__ and OpenEnum not in kind.__mro__
    assigned = (ast.AnnAssign, ast.Assign) if has_members else (ast.AnnAssign,)
    for statement, after in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(statement, assigned):
            target = statement.target if isinstance(statement, ast.AnnAssign) else statement.targets[0]
            name = ast.unparse(target)
            yield name, is_text(after) or name in listed
        elif isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            yield statement.name, bool(inspect.getdoc(getattr(kind, statement.name)))
            if statement.name == "__init__":
                yield from ((name, documented or name in listed) for name, documented in attributes(statement))


def attributes(constructor: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[tuple[str, bool]]:
    """Return the attributes that a constructor sets, each with whether a docstring follows."""
    for statement, after in zip(constructor.body, [*constructor.body[1:], None], strict=True):
        if isinstance(statement, ast.AnnAssign | ast.Assign):
            target = statement.target if isinstance(statement, ast.AnnAssign) else statement.targets[0]
            if isinstance(target, ast.Attribute):
                yield target.attr, is_text(after)


def is_text(statement: ast.stmt | None) -> bool:
    """Whether a statement is a docstring."""
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_every_public_member_is_documented(name: str) -> None:
    """Each field, property and method has a docstring, and each attribute has one or is listed by its class."""
    declared = dict(member for kind in reversed(CLASSES[name].__mro__) if is_ours(kind) for member in members(kind))
    shown = SELECTED.get(name) or [member for member in declared if not member.startswith("_")]

    assert inspect.getdoc(CLASSES[name])
    assert [member for member in shown if not declared.get(member)] == []


def test_every_public_name_is_in_the_reference() -> None:
    """Each public name has an entry of its own; responses and errors are listed by module."""
    listed = set(re.findall(r"^::: binance_pm\.(?:\w+\.)*(\w+)$", REFERENCE, re.MULTILINE))
    generated = {name for name, _ in api_classes()} | {name for name in vars(errors) if name in errors_in_tree()}

    assert {name for name, _ in public_names()} - listed - generated == set()


def errors_in_tree() -> set[str]:
    """Return the errors of the module's tree, from which the reference is generated."""
    return set(re.findall(r"^ *\* (\w+)", errors.__doc__ or "", re.MULTILINE))
